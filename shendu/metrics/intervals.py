"""How sure figures are: rows drawn anew, and closed forms.

Shape letters: R rows, G groups of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import NormalDist

import torch
from torch import Tensor

from shendu import chance

RESAMPLES, RESAMPLED = 400, 10_000
"""How often groups are drawn anew, and how many at most."""
_Z = 1.959964
_DRAW = 20261122


class Draws:
    """The bootstrap (Efron 1979): whole groups of rows, which have equal `ids` int64 [R], drawn with replacement.

    Iterated, it gives row numbers int64, 400 times and each time the same. The percentiles are moved outwards as
    Student's t asks for few groups (Hesterberg 2015, section 5.3). Of more than 10,000 groups so many are drawn, and the
    spread is scaled down to the whole (Bickel, Götze and van Zwet 1997). `units`: how many units the rows are of, each
    drawn by itself (0: some belong together); where it is not given, rows of ids that are all different.
    """

    def __init__(self, ids: Tensor, units: int | None = None) -> None:
        many = ids.unique(return_counts=True)[1]
        self.groups, self._many, self._order = len(many), many, ids.argsort(stable=True)
        self._first = many.cumsum(0) - many
        alone = len(ids) if self.groups == len(ids) else 0
        self.units = alone if units is None else units
        self.drawn = min(self.groups, RESAMPLED)
        self.tail = tail(self.groups)
        self.shrink = math.sqrt(self.drawn / self.groups) if self.groups else 1.0

    def __iter__(self) -> Iterator[Tensor]:
        if self.groups < 2:
            return  # nothing is known from one
        generator = chance.generator(_DRAW)
        for _ in range(RESAMPLES):
            yield self._rows(torch.randint(self.groups, (self.drawn,), generator=generator))

    def _rows(self, groups: Tensor) -> Tensor:
        if len(self._order) == self.groups:
            return self._order[groups]
        many = self._many[groups]
        before = many.cumsum(0) - many
        return self._order[torch.arange(int(many.sum())) + (self._first[groups] - before).repeat_interleave(many)]

    def ends(self, figures: dict[str, float], drawn: Iterable[dict[str, float]]) -> dict[str, tuple[float, float]]:
        """Name -> (low, high), from the figures of all rows and those of each drawing.

        A figure is left out where its ends are not finite, and where they are equal: rows that are all alike tell nothing.
        """
        found = list(drawn)
        ends = {name: self._between(figure, [each[name] for each in found]) for name, figure in figures.items()}
        return {name: (low, high) for name, (low, high) in ends.items() if -math.inf < low < high < math.inf}

    def _between(self, figure: float, drawn: list[float]) -> tuple[float, float]:
        values = torch.tensor(drawn, dtype=torch.float64)
        values = values[values.isfinite()]
        if not len(values):
            return math.nan, math.nan
        low, high = values.quantile(torch.tensor([self.tail, 1 - self.tail], dtype=torch.float64)).tolist()
        if self.drawn < self.groups:
            return figure + self.shrink * (low - figure), figure + self.shrink * (high - figure)
        return low, high


def tail(groups: int) -> float:
    """The share of drawn figures beyond either end of the interval: Φ(-t·√(n/(n-1))) instead of 2.5%."""
    if groups < 2:
        return 0.0
    v = groups - 1
    t = _Z + (_Z**3 + _Z) / (4 * v) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * v * v)  # Abramowitz and Stegun 26.7.5
    return NormalDist().cdf(-t * math.sqrt(groups / v))


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927): in [0, 1], and sound for few rows and for shares of 0 and 1."""
    share = hits / rows
    middle = (share + _Z * _Z / (2 * rows)) / (1 + _Z * _Z / rows)
    reach = _Z / (1 + _Z * _Z / rows) * math.sqrt(share * (1 - share) / rows + _Z * _Z / (4 * rows * rows))
    return max(0.0, middle - reach), min(1.0, middle + reach)
