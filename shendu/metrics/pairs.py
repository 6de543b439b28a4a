"""Figures of embeddings: whether what is alike is near. They read `embedding` [B, D] and the classes `y` [B].

Shape letters: B rows of a batch, R rows that were counted, D numbers of an embedding, N pairs, T thresholds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.core import Batch, Metric, Outputs, Resampling
from shendu.parallel import double

COMPARED = 2000
"""Of more rows every so-many-th is compared with the others: two million pairs say enough."""
MANY, FEW_DRAWS, DRAWN_PAIRS = 500, 100, 1 << 17
"""Of more rows than the first, figures of pairs are drawn anew at most so often; and so many pairs of one class and of two are
weighed then, evenly over their similarities."""


class Curve(NamedTuple):
    """What each threshold on the similarity accepts: float64 [T] each, from the highest threshold (nothing) on."""

    thresholds: Tensor
    false: Tensor
    """The share of pairs of different classes that are accepted."""
    true: Tensor
    """The share of pairs of one class that are accepted."""


def _compared(rows: Tensor) -> Tensor:
    """Numbers of the rows that are compared, int64: all, or every so-many-th."""
    if len(rows) <= COMPARED:
        return torch.arange(len(rows), device=rows.device)
    return torch.linspace(0, len(rows) - 1, COMPARED, dtype=torch.float64).round().long().to(rows.device)


def _pairs(z: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosine, whether of one class, and the numbers of both rows, of every pair of rows [B, D] and [B]."""
    z = F.normalize(double(z), dim=1)
    i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
    return (z @ z.T)[i, j], target[i] == target[j], i, j


def compared(embeddings: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of every pair of rows, float64 [N], and whether they are of one class, bool [N]; of [B, D] and [B]."""
    at = _compared(embeddings)
    similarity, same, _, _ = _pairs(embeddings[at], target.to(at.device)[at])
    return similarity, same


def roc(similarity: Tensor, same: Tensor) -> Curve:
    """The receiver operating characteristic of pairs [N]; equal similarities are accepted together."""
    order = similarity.argsort(descending=True)
    similarity, same = double(similarity)[order], same[order]
    last = _last(similarity)
    false, true = (F.pad(kind.cumsum(0)[last].double() / kind.sum().double(), (1, 0)) for kind in (~same, same))
    return Curve(torch.cat([similarity.new_full((1,), math.inf), similarity[last]]), false, true)


def _last(similarity: Tensor) -> Tensor:
    """Places int64 of the last of each run of equal similarities, in their order."""
    ends = torch.ones_like(similarity, dtype=torch.bool)
    ends[:-1] = similarity[1:] != similarity[:-1]
    return ends.nonzero()[:, 0]


Shares = Callable[[int], tuple[float, float]]
"""Place on a curve -> the shares of pairs of different classes and of one that are accepted."""


def _shares(curve: Curve) -> Shares:
    return lambda place: (float(curve.false[place]), float(curve.true[place]))


def equal_error(curve: Curve) -> float:
    """The rate at which as many of one class are refused as of two are accepted, between neighbouring thresholds linearly.

    NaN where there are no pairs of one class, or none of two.
    """
    return _crossing(_shares(curve), len(curve.false))


def _crossing(shares: Shares, many: int) -> float:
    if many < 2 or not math.isfinite(sum(shares(many - 1))):
        return math.nan
    after = bisect_left(range(many), 1.0, key=lambda place: sum(shares(place)))  # it rises from 0 to 2
    low, high = shares(after - 1), shares(after)
    return low[0] + (1 - sum(low)) / (sum(high) - sum(low)) * (high[0] - low[0])


def lowest(curve: Curve, false: float) -> int:
    """The place on a curve of the lowest threshold that accepts at most this share of pairs of different classes."""
    return _lowest(_shares(curve), len(curve.false), false)


def _lowest(shares: Shares, many: int, false: float) -> int:
    return max(1, bisect_right(range(many), false, key=lambda place: shares(place)[0])) - 1


def threshold_at(curve: Curve, false: float) -> float:
    """A threshold that accepts at most this share of pairs of different classes, midway to the next lower similarity."""
    at = lowest(curve, false)
    above = 1.0 if at == 0 else float(curve.thresholds[at])
    return (above + float(curve.thresholds[min(at + 1, len(curve.thresholds) - 1)])) / 2


class Verification(Metric):
    """How well one class is told from two by all pairs of rows; of more than 2,000 rows, of every so-many-th.

    equal-error-rate: where the share of pairs of one class that are refused is that of pairs of two that are accepted.
    true-accept-rate: the share of pairs of one class that are accepted where at most a share of `false` of the others is.
    Rows are their number, class and embedding [R, 2 + D]: a row that is there twice is no pair with itself.
    """

    higher: Mapping[str, bool] = {"equal-error-rate": False, "true-accept-rate": True}
    groups = 0

    def __init__(self, false: float = 0.01) -> None:
        self.false = false

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        z = double(outputs["embedding"])
        number, target = (double(batch[name].to(z.device))[:, None] for name in ("sample", "y"))
        return torch.cat([number, target, z], 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        similarity, same, _, _ = self._sorted(rows[_compared(rows)])
        return self._all(same, _last(similarity))

    def intervals(self, rows: Tensor, draws: Resampling) -> dict[str, tuple[float, float]]:
        """A pair counts as often as both of its rows were drawn, so that pairs are compared and sorted once."""
        at = _compared(rows)
        similarity, same, first, second = self._sorted(rows[at])
        figures, few = self._all(same, _last(similarity)), _thinned(same)
        same, first, second, last = same[few], first[few], second[few], _last(similarity[few])

        def drawn(draw: Tensor) -> dict[str, float]:
            times = draw.bincount(minlength=len(rows))[at].float()
            weight = times.index_select(0, first).mul_(times.index_select(0, second))
            true = weight * same
            false = weight.sub_(true).cumsum(0)  # whole numbers below 2²⁴: exact
            return self._rates(_added(false, true.cumsum(0), last), len(last) + 1)

        return draws.ends(figures, map(drawn, islice(draws, FEW_DRAWS) if len(rows) > MANY else draws))

    def _sorted(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pairs of rows of different numbers, from the most similar on: cosine, whether of one class, and both rows."""
        similarity, same, i, j = _pairs(rows[:, 2:], rows[:, 1])
        order = similarity.argsort(descending=True, stable=True)
        if len(rows[:, 0].unique()) < len(rows):
            order = order[rows[i[order], 0] != rows[j[order], 0]]
        return similarity[order], same[order], i[order], j[order]

    def _all(self, same: Tensor, last: Tensor) -> dict[str, float]:
        return self._rates(_added((~same).cumsum(0), same.cumsum(0), last), len(last) + 1)

    def _rates(self, shares: Shares, many: int) -> dict[str, float]:
        error = _crossing(shares, many)
        accepted = shares(_lowest(shares, many, self.false))[1] if math.isfinite(error) else math.nan
        return {"equal-error-rate": error, "true-accept-rate": accepted}


def _thinned(same: Tensor) -> Tensor:
    """Which of sorted pairs are weighed, bool [N]: of each kind every so-many-th, where they are many."""
    keep = torch.zeros_like(same)
    for kind in (same, ~same):
        places = kind.nonzero()[:, 0]
        keep[places[:: -(-len(places) // DRAWN_PAIRS) or 1]] = True
    return keep


def _added(false: Tensor, true: Tensor, last: Tensor) -> Shares:
    """The shares at each of the `last` places of what is added up over sorted pairs; before them none is accepted."""
    of_two, of_one = (float(sums[-1]) if len(sums) else 0.0 for sums in (false, true))

    def shares(place: int) -> tuple[float, float]:
        if not of_two or not of_one:
            return math.nan, math.nan
        if not place:
            return 0.0, 0.0
        at = last[place - 1]
        return float(false[at]) / of_two, float(true[at]) / of_one

    return shares


class OneShot(Metric):
    """The share of rows whose class is that of the most similar shown row: of each class the first row is shown.

    The classes in the order of their codes form episodes of `ways` each (0: one of all); a last one of fewer is left out.
    Rows are a class and its embedding [R, 1 + D]. For the interval the rows that are asked for are drawn, the shown ones stay.
    """

    groups = 0

    def __init__(self, ways: int = 0, name: str = "rank-1") -> None:
        self.ways, self.name, self.higher = ways, name, {name: True}

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        z = double(outputs["embedding"])
        return torch.cat([double(batch["y"].to(z.device))[:, None], z], 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        return self._share(self.counts(rows))

    def intervals(self, rows: Tensor, draws: Resampling) -> dict[str, tuple[float, float]]:
        counts = self.counts(rows)
        return draws.ends(self._share(counts), (self._share(counts[draw]) for draw in draws))

    def counts(self, rows: Tensor) -> Tensor:
        """Whether each row is right, and whether it is asked for: float64 [R, 2], whose sums are all that the figure needs."""
        found, kind = rows[:, 0].unique(return_inverse=True)
        ways = min(self.ways or len(found), len(found))
        place, episode = (torch.arange(many, device=rows.device) for many in (len(rows), len(found)))
        episode = episode // ways
        first = place.new_full((len(found),), len(rows)).scatter_reduce(0, kind, place, "amin")
        z = F.normalize(rows[:, 1:], dim=1)
        similarity = (z @ z[first].T).masked_fill(episode[kind][:, None] != episode, -math.inf)
        asked = (first[kind] != place) & (episode[kind] < len(found) // ways)
        return torch.stack([asked & (similarity.argmax(1) == kind), asked], 1).double()

    def _share(self, counts: Tensor) -> dict[str, float]:
        right, asked = counts.sum(0).tolist()
        return {self.name: right / asked if asked else math.nan}
