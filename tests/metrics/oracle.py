"""Figures over a whole split, exact over uneven batches and over ranks: sums are kept in float64, not means of means.

Every metric reads the target `y` of a batch: int64 labels, or real numbers. Shape letters: B rows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.core import MASKED, Batch, Running
from shendu.errors import UserError


def _double(t: Tensor) -> Tensor:
    """In float64, on the same device where it can (Apple's GPUs cannot)."""
    return (t.cpu() if t.device.type == "mps" else t).detach().double()


class _Mean:
    """A mean of something over what was seen: NaN where nothing was."""

    def __init__(self) -> None:
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = 0

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One value per thing that is counted, [B, …]."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it is the mean of")

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.add(self.values(outputs, batch["y"]))

    def add(self, values: Tensor) -> None:
        values = _double(values)
        self.total = self.total.to(values.device) + values.sum()
        self.count += values.numel()

    def compute(self) -> float:
        from shendu.parallel import sum_over_ranks

        total, count = sum_over_ranks(torch.stack([self.total, torch.full_like(self.total, self.count)])).tolist()
        return total / count if count else math.nan


def _single(outputs: Tensor, target: Tensor) -> Tensor | None:
    """The outputs in the target's shape where a row has one output ([B] or [B, 1]), else None."""
    if outputs.shape == target.shape:
        return outputs
    if outputs.shape == (*target.shape, 1):
        return outputs.squeeze(-1)
    return None


def _hits(outputs: Tensor, target: Tensor) -> Tensor:
    """Whether each label is the largest output's ([B, C, …]); for one output per row, whether its sign is right."""
    single = _single(outputs, target)
    if single is None:
        return outputs.argmax(1) == target
    return (single > 0) == (target > 0)


class Score(_Mean):
    """The mean of one of the figures [B] or [B, K] that a model gives each row itself."""

    def __init__(self, figure: int = 0, higher: bool = False) -> None:
        super().__init__()
        self.figure, self.higher = figure, higher

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs.reshape(len(outputs), -1)[:, self.figure]


class Accuracy(_Mean):
    """The share of labels that are predicted."""

    higher = True

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        return _hits(outputs, target)


class ErrorRate(_Mean):
    """The share of labels that are not predicted."""

    higher = False

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        return ~_hits(outputs, target)


class CrossEntropy(_Mean):
    """Mean negative log-likelihood of the labels in nats, from logits."""

    higher = False

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        single = _single(outputs, target)
        if single is None:
            return F.cross_entropy(outputs, target, reduction="none")
        return F.binary_cross_entropy_with_logits(single, (target > 0).to(single.dtype), reduction="none")


def _errors(outputs: Tensor, target: Tensor) -> Tensor:
    """Outputs minus target in float64; [B] and [B, 1] are the same, and nothing broadcasts."""
    return _double(outputs) - _double(target).reshape(outputs.shape)


class MSE(_Mean):
    """Mean squared error over all elements."""

    higher = False

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        return _errors(outputs, target).square()


class RMSE(MSE):
    """Root of the mean squared error."""

    def compute(self) -> float:
        return math.sqrt(super().compute())


class MAE(_Mean):
    """Mean absolute error over all elements."""

    higher = False

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        return _errors(outputs, target).abs()


class MASE(MAE):
    """Mean absolute error over that of a naive forecast (Hyndman and Koehler 2006): below 1 is better than naive.

    `naive`: the error, within the training part, of forecasting the value of one season ago.
    """

    def __init__(self, naive: float = 1.0) -> None:
        super().__init__()
        self.naive = naive

    def compute(self) -> float:
        return super().compute() / self.naive


class SMAPE(_Mean):
    """Symmetric mean absolute percentage error, 0 to 200 (Makridakis 1993); 0 where both are 0."""

    higher = False

    def values(self, outputs: Tensor, target: Tensor) -> Tensor:
        size = _double(outputs).abs() + _double(target).reshape(outputs.shape).abs()
        return 200 * _errors(outputs, target).abs() / size.clamp(min=1e-300)


class R2:
    """Coefficient of determination, 1 - residual / total sum of squares; averaged over the outputs of a row.

    The total is gathered in one pass as count, mean and squared deviations (Chan, Golub and LeVeque 1983): the
    difference of large sums would lose all digits of targets far from 0. A constant target counts 1 where it is met
    exactly and 0 otherwise; fewer than two rows give NaN.
    """

    higher = True

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.deviation = self.residual = torch.zeros((), dtype=torch.float64)

    def update(self, outputs: Tensor, batch: Batch) -> None:
        rows = len(outputs)
        if not rows:
            return
        errors = _errors(outputs, batch["y"]).reshape(rows, -1)
        target = _double(batch["y"]).reshape(rows, -1)
        mean = target.mean(0)
        apart = mean - self.mean.to(mean.device)
        spread = (target - mean).square().sum(0) + apart.square() * self.count * rows / (self.count + rows)
        self.deviation = self.deviation.to(mean.device) + spread
        self.residual = self.residual.to(mean.device) + errors.square().sum(0)
        self.mean = self.mean.to(mean.device) + apart * rows / (self.count + rows)
        self.count += rows

    def compute(self) -> float:
        from shendu.parallel import sum_over_ranks

        count = sum_over_ranks(torch.full_like(self.mean, self.count))
        mean = sum_over_ranks(self.mean * self.count) / count
        total = sum_over_ranks(self.deviation + self.count * (self.mean - mean).square())
        residual = sum_over_ranks(self.residual.clone())
        explained = torch.where(total > 0, 1 - residual / total, (residual == 0).double())
        return float(explained.mean()) if float(count.min()) >= 2 else math.nan


class AUC:
    """Area under the ROC curve of two classes: how often a row of the second ranks above one of the first, ties half.

    Exact (Mann and Whitney 1947): every row's score is kept, 8 bytes each. NaN while one of the classes is missing.
    """

    higher = True

    def __init__(self) -> None:
        self.scores: list[Tensor] = []
        self.second: list[Tensor] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        target = batch["y"]
        score = _single(outputs, target)
        if score is None:
            if outputs.shape[1:] != (2,):
                raise ValueError(f"auc is for two classes, these outputs are {list(outputs.shape)}")
            score = _double(outputs[:, 1]) - _double(outputs[:, 0])
        self.scores.append(_double(score))
        self.second.append((target > 0).to(self.scores[-1].device))

    def compute(self) -> float:
        from shendu.parallel import concat_over_ranks

        empty = torch.empty(0, dtype=torch.float64)
        scores = concat_over_ranks(torch.cat(self.scores) if self.scores else empty)
        second = concat_over_ranks(torch.cat(self.second).double() if self.second else empty)
        _, place, rows = scores.unique(return_inverse=True, return_counts=True)
        ours = torch.zeros(len(rows), dtype=torch.float64, device=scores.device).index_add_(0, place, second)
        theirs = rows - ours
        pairs = float(ours.sum() * theirs.sum())
        return float((ours * (theirs.cumsum(0) - theirs / 2)).sum()) / pairs if pairs else math.nan


class NatsPerToken:
    """The mean over tokens of -log p of each, from its mean in each row (outputs [B]); masked targets do not count."""

    higher = False

    def __init__(self) -> None:
        self.nats = self.units = torch.zeros((), dtype=torch.float64)

    def counted(self, target: Tensor) -> Tensor:
        """How many of what the figure is per there are in targets [B, T]."""
        return (target != MASKED).sum()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        rows = (batch["y"] != MASKED).sum(1)
        self.nats = self.nats.to(outputs.device) + (_double(outputs) * _double(rows)).sum()
        self.units = self.units.to(outputs.device) + _double(self.counted(batch["y"]))

    def compute(self) -> float:
        from shendu.parallel import sum_over_ranks

        nats, units = sum_over_ranks(torch.stack([self.nats, self.units])).tolist()
        return nats / units if units else math.nan


class Perplexity(NatsPerToken):
    """exp of nats per token: as many equally likely tokens would be as hard to tell."""

    def compute(self) -> float:
        return math.exp(min(super().compute(), 700.0))


class BitsPerCharacter(NatsPerToken):
    """Bits per character of the text, whatever its tokens are: a fair figure between tokenizers.

    `characters` int64 [V]: how many characters each token begins.
    """

    def __init__(self, characters: Tensor) -> None:
        super().__init__()
        self.characters = characters

    def counted(self, target: Tensor) -> Tensor:
        return self.characters.to(target.device)[target[target != MASKED]].sum()

    def compute(self) -> float:
        return super().compute() / math.log(2)


class BLEU:
    """Corpus BLEU (Papineni et al. 2002), 0 to 100, of lower-cased texts with one reference each, as sacrebleu has it.

    `texts` turns codes [B, L] into B texts. A row's share of the figure are counts [10]: the lengths of its translation and
    its reference, n-grams matched and n-grams in all, n = 1 … 4.
    """

    higher = True

    def __init__(self, texts: Callable[[Tensor], list[str]]) -> None:
        self.texts = texts
        self.sentence = _sacrebleu()(lowercase=True, effective_order=True)
        self.total = torch.zeros(10, dtype=torch.float64)

    @property
    def signature(self) -> str:
        """In sacrebleu's own words (Post 2018): what a figure must share to be compared with this one."""
        from sacrebleu import __version__

        return f"nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:{__version__}"

    def counts(self, outputs: Tensor, target: Tensor) -> Tensor:
        """float64 [B, 10]; their sums are all that the figure needs."""
        scores = [
            self.sentence.sentence_score(translation, [reference])
            for translation, reference in zip(self.texts(outputs), self.texts(target), strict=True)
        ]
        rows = [[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, 10)

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.total = self.total + self.counts(outputs, batch["y"]).sum(0)

    def compute(self) -> float:
        from shendu.parallel import sum_over_ranks

        ours, theirs, *ngrams = (int(count) for count in sum_over_ranks(self.total.clone()).tolist())
        if not theirs:
            return math.nan
        return float(_sacrebleu().compute_bleu(ngrams[:4], ngrams[4:], ours, theirs, smooth_method="exp").score)


def _sacrebleu() -> Any:
    try:
        from sacrebleu.metrics import BLEU as score
    except ImportError:
        raise UserError('BLEU is measured by the package sacrebleu: pip install "shendu[text]"') from None
    return score


# ---- embeddings ------------------------------------------------------------------------------------------------------

COMPARED = 2000
"""Of more rows every so-many-th is compared with the others: two million pairs say enough."""


class Curve(NamedTuple):
    """What each threshold on the similarity accepts: float64 [T] each, from the highest threshold (nothing) on."""

    thresholds: Tensor
    false: Tensor
    """The share of pairs of different classes that are accepted."""
    true: Tensor
    """The share of pairs of one class that are accepted."""


def compared(embeddings: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of every pair of rows, float64 [N], and whether they are of one class, bool [N]; of [B, D] and [B]."""
    if len(target) > COMPARED:
        rows = torch.linspace(0, len(target) - 1, COMPARED, dtype=torch.float64).round().long()
        embeddings, target = embeddings[rows], target[rows]
    z = F.normalize(_double(embeddings), dim=1)
    i, j = torch.triu_indices(len(z), len(z), 1)
    return (z @ z.T)[i, j], target[i] == target[j]


def roc(similarity: Tensor, same: Tensor) -> Curve:
    """The receiver operating characteristic of pairs [N]; equal similarities are accepted together."""
    order = similarity.argsort(descending=True)
    similarity, same = _double(similarity)[order], same[order]
    last = torch.ones_like(same)
    last[:-1] = similarity[1:] != similarity[:-1]
    nothing = torch.zeros(1, dtype=torch.float64, device=similarity.device)
    false, true = (torch.cat([nothing, kind.cumsum(0)[last].double() / kind.sum().double()]) for kind in (~same, same))
    return Curve(torch.cat([nothing + math.inf, similarity[last]]), false, true)


def equal_error(curve: Curve) -> float:
    """The rate at which as many of one class are refused as of two are accepted, between neighbouring thresholds linearly.

    NaN where there are no pairs of one class, or none of two.
    """
    gap = curve.false - (1 - curve.true)
    if len(gap) < 2 or not bool(gap.isfinite().all()):
        return math.nan
    after = int((gap >= 0).nonzero()[0, 0])
    share = float(gap[after - 1] / (gap[after - 1] - gap[after]))
    return float(curve.false[after - 1].lerp(curve.false[after], share))


def lowest(curve: Curve, false: float) -> int:
    """The place on a curve of the lowest threshold that accepts at most this share of pairs of different classes."""
    return int((curve.false <= false).sum().clamp(min=1)) - 1


def threshold_at(curve: Curve, false: float) -> float:
    """A threshold that accepts at most this share of pairs of different classes, midway to the next lower similarity."""
    at = lowest(curve, false)
    above = 1.0 if at == 0 else float(curve.thresholds[at])
    return (above + float(curve.thresholds[min(at + 1, len(curve.thresholds) - 1)])) / 2


class _OfPairs:
    """A figure of all pairs of embeddings [B, D] of a part."""

    pairwise = True

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.outputs.append(outputs.detach())
        self.targets.append(batch["y"])

    def whole(self) -> tuple[Tensor, Tensor]:
        from shendu.parallel import concat_over_ranks

        return concat_over_ranks(torch.cat(self.outputs)), concat_over_ranks(torch.cat(self.targets))

    def curve(self) -> Curve:
        return roc(*compared(*self.whole()))


class EqualErrorRate(_OfPairs):
    """Where the share of pairs of one class that are refused is that of pairs of two that are accepted."""

    higher = False

    def compute(self) -> float:
        return equal_error(self.curve())


class TrueAccepts(_OfPairs):
    """The share of pairs of one class that are accepted where a share of at most `false` of the others is."""

    higher = True

    def __init__(self, false: float = 0.01) -> None:
        super().__init__()
        self.false = false

    def compute(self) -> float:
        curve = self.curve()
        return float(curve.true[lowest(curve, self.false)]) if equal_error(curve) >= 0 else math.nan


class OneShot(_OfPairs):
    """The share of rows whose class is that of the most similar shown row: of each class the first row is shown.

    The classes of a part in the order of their codes form episodes of `ways` each (0: one of all); a last one of fewer
    is left out. A row's share of the figure are counts [2]: whether it is right, and whether it is asked for.
    """

    higher = True

    def __init__(self, ways: int = 0) -> None:
        super().__init__()
        self.ways = ways
        self.total = torch.zeros(2, dtype=torch.float64)

    def counts(self, outputs: Tensor, target: Tensor) -> Tensor:
        """float64 [B, 2] of all rows of a part; their sums are all that the figure needs."""
        found, kind = target.unique(return_inverse=True)
        ways = min(self.ways or len(found), len(found))
        place, episode = (
            torch.arange(len(target), device=target.device),
            torch.arange(len(found), device=target.device) // ways,
        )
        first = place.new_full((len(found),), len(target)).scatter_reduce(0, kind, place, "amin")
        z = F.normalize(_double(outputs), dim=1)
        similarity = (z @ z[first].T).masked_fill(episode[kind][:, None] != episode, -math.inf)
        asked = (first[kind] != place) & (episode[kind] < len(found) // ways)
        return torch.stack([asked & (similarity.argmax(1) == kind), asked], 1).double()

    def compute(self) -> float:
        total = self.counts(*self.whole()).sum(0) if self.outputs else self.total
        right, asked = total.tolist()
        return right / asked if asked else math.nan


METRICS: dict[str, type[Running]] = {
    "accuracy": Accuracy,
    "auc": AUC,
    "error-rate": ErrorRate,
    "cross-entropy": CrossEntropy,
    "mse": MSE,
    "rmse": RMSE,
    "mae": MAE,
    "mase": MASE,
    "smape": SMAPE,
    "r2": R2,
}
"""Name -> metric."""
