"""Figures of a model over a whole split, and how sure they are.

Shape letters: B rows of the split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from shendu import chance, parallel
from shendu.core import At, Batch, Metric, Processor, Source

BATCH = 500
SHARES = ("accuracy", "error-rate")
"""Metrics that are a share of the rows."""
RESAMPLES, RESAMPLED = 400, 10_000
"""How often rows are drawn anew, and how many at most."""
_Z = 1.959964
_DRAW = 20261122


def outputs_of(
    model: nn.Module, processor: Processor, batch: dict[str, Tensor], device: torch.device, precision: str
) -> Tensor:
    """Outputs in float32 for a prepared batch; the caller is in `parallel.evaluating`."""
    with parallel.autocast(device, precision):
        outputs = processor.call(model, parallel.to_device(batch, device))
    return outputs.float()


def measure(
    model: nn.Module,
    processor: Processor,
    source: Source,
    metrics: dict[str, Callable[[], Metric]],
    device: torch.device,
    precision: str = "fp32",
    most: int = 0,
    pulse: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Name -> figure over the source's rows (the first `most` of them where given); `pulse` is called per batch.

    Where memory runs out, smaller batches are measured: a figure does not depend on how the rows are batched.
    """
    running = {name: build() for name, build in metrics.items()}
    rows = min(source.rows, most) if most else source.rows
    start, size = 0, BATCH
    with parallel.evaluating(model):
        while start < rows:
            pulse()
            try:
                batch = parallel.to_device(source.batch(At(start, min(size, rows - start))), device)
                outputs = outputs_of(model, processor, batch, device, precision)
            except Exception as error:
                if size == 1 or not parallel.out_of_memory(error):
                    raise
                size //= 2
                continue
            for metric in running.values():
                metric.update(outputs, batch)
            start += size
    return {name: metric.compute() for name, metric in running.items()}


@runtime_checkable
class Signed(Protocol):
    """A metric of which there are variants: its figures compare with those that have its signature."""

    @property
    def signature(self) -> str: ...


def signatures(metrics: dict[str, Callable[[], Metric]]) -> dict[str, str]:
    """Name -> signature, of those metrics that have one."""
    built = {name: build() for name, build in metrics.items()}
    return {name: metric.signature for name, metric in built.items() if isinstance(metric, Signed)}


class Outputs:
    """Not a figure but the outputs and targets themselves, gathered in the same pass as the figures."""

    higher = True

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.outputs.append(outputs.cpu())
        self.targets.append(batch["y"].cpu())

    def compute(self) -> float:
        return float(sum(map(len, self.outputs)))


# ---- how sure a figure is --------------------------------------------------------------------------------------------


@runtime_checkable
class Mean(Protocol):
    """A metric that is (a function of) the mean of one value per thing counted, so that its values are computed once."""

    total: Tensor
    count: int

    def values(self, outputs: Tensor, target: Tensor) -> Tensor: ...

    def compute(self) -> float: ...


@runtime_checkable
class Counted(Protocol):
    """A metric that is a function of the sums of each row's counts [B, K] (BLEU), so that these are counted once."""

    total: Tensor

    def counts(self, outputs: Tensor, target: Tensor) -> Tensor: ...

    def compute(self) -> float: ...


def intervals(
    outputs: Tensor, targets: Tensor, metrics: dict[str, Callable[[], Metric]], overlap: int = 1
) -> dict[str, list[float]]:
    """Name -> [low, high], the 95% interval of each figure over the rows [B, …] that it was measured on.

    A share of rows has Wilson's interval; every other figure is computed anew on rows drawn with replacement (the
    bootstrap, Efron 1979), under a fixed seed. The percentiles are moved outwards as Student's t asks for few rows
    (Hesterberg 2015, section 5.3). Of more than 10,000 rows so many are drawn, and the spread is scaled down to the
    whole (Bickel, Götze and van Zwet 1997). Where neighbouring rows share `overlap` values of the target (windows of a
    series), the series' moments are drawn instead, each with all that was forecast for it. A figure without an interval
    is left out: nothing is known from one row, nor from rows that are all alike.
    """
    outputs, targets = outputs.cpu(), targets.cpu()
    rows = len(targets)
    found: dict[str, list[float]] = {}
    rest = dict(metrics)
    for name in SHARES:
        if name in rest and targets.dim() == 1 and rows:
            share = _figure(outputs, targets, rest.pop(name))
            found[name] = list(wilson(round(share * rows), rows))
    if rest and rows + overlap > 2:
        found |= _bootstrap(outputs, targets, rest, overlap)
    known = {name: (low, high) for name, (low, high) in found.items() if -math.inf < low < high < math.inf}
    return {name: list(known[name]) for name in metrics if name in known}


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927): in [0, 1], and sound for few rows and for shares of 0 and 1."""
    share = hits / rows
    middle = (share + _Z * _Z / (2 * rows)) / (1 + _Z * _Z / rows)
    reach = _Z / (1 + _Z * _Z / rows) * math.sqrt(share * (1 - share) / rows + _Z * _Z / (4 * rows * rows))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _bootstrap(
    outputs: Tensor, targets: Tensor, metrics: dict[str, Callable[[], Metric]], overlap: int
) -> dict[str, list[float]]:
    known = len(targets) + overlap - 1
    drawn = min(known, RESAMPLED)
    g = chance.generator(_DRAW)
    draws = [torch.randint(known, (drawn,), generator=g) for _ in range(RESAMPLES)]
    tail, shrink = _tail(known), math.sqrt(drawn / known)
    levels = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    found = {}
    for name, build in metrics.items():
        values = torch.tensor(_resampled(outputs, targets, build, draws, overlap), dtype=torch.float64)
        values = values[values.isfinite()]
        low, high = values.quantile(levels).tolist() if len(values) else (math.nan, math.nan)
        if drawn < known:
            figure = _figure(outputs, targets, build)
            low, high = (figure + shrink * (end - figure) for end in (low, high))
        found[name] = [low, high]
    return found


def _resampled(
    outputs: Tensor, targets: Tensor, build: Callable[[], Metric], draws: Sequence[Tensor], overlap: int
) -> list[float]:
    """The figure on each drawing; a mean's values are computed once, other figures have none for overlapping rows."""
    whole = build()
    if isinstance(whole, Counted):
        return _recounted(whole.counts(outputs, targets), build, draws)
    if getattr(whole, "pairwise", False):
        return []  # a row drawn twice would be a pair with itself
    if not isinstance(whole, Mean):
        return [_figure(outputs[rows], targets[rows], build) for rows in draws] if overlap == 1 else []
    values = whole.values(outputs, targets).reshape(len(targets), -1).double()
    at = torch.arange(len(targets))[:, None] + (
        torch.arange(overlap) if overlap > 1 else torch.zeros(values.shape[1], dtype=torch.int64)
    )
    sums = torch.zeros(len(targets) + overlap - 1, dtype=torch.float64).index_add(0, at.view(-1), values.view(-1))
    counts = at.view(-1).bincount(minlength=len(sums))
    figures = []
    for rows in draws:
        metric = build()
        assert isinstance(metric, Mean)
        metric.total, metric.count = sums[rows].sum(), int(counts[rows].sum())
        figures.append(metric.compute())
    return figures


def _recounted(counts: Tensor, build: Callable[[], Metric], draws: Sequence[Tensor]) -> list[float]:
    figures = []
    for rows in draws:
        metric = build()
        assert isinstance(metric, Counted)
        metric.total = counts[rows].sum(0)
        figures.append(metric.compute())
    return figures


def _tail(n: int) -> float:
    """The share of resamples beyond either end of the interval: Φ(-t·√(n/(n-1))) instead of 2.5%."""
    v = n - 1
    t = _Z + (_Z**3 + _Z) / (4 * v) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * v * v)  # Abramowitz and Stegun 26.7.5
    return NormalDist().cdf(-t * math.sqrt(n / v))


def _figure(outputs: Tensor, targets: Tensor, build: Callable[[], Metric]) -> float:
    metric = build()
    metric.update(outputs, {"y": targets})
    return metric.compute()
