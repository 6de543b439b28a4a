"""Figures of a model over a whole split: rows are asked in slices, counted, and added up where there are many.

Shape letters: N rows of the split, R rows that were counted, K numbers of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from shendu import chance, parallel
from shendu.core import At, Batch, Metric, Outputs, Source
from shendu.errors import out_of_memory
from shendu.metrics.intervals import Draws

if TYPE_CHECKING:
    from shendu.tasks import Task

_FOLD, _RANK = 7, 1 << 40


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured."""

    figures: dict[str, float]
    """Name -> figure, of all metrics together."""
    intervals: dict[str, tuple[float, float]]
    """Name -> (low, high), the 95% interval of each figure of which it is known."""
    rows: dict[str, Tensor]
    """Name of a metric -> its rows, float64 [R, K]: each one, or added up in groups."""
    badness: Tensor
    """How bad each measured row is, float32 [N] in their order; empty where it was not asked for."""
    count: int
    """Rows of the split that were measured."""


def evaluate(
    ask: Callable[[Batch], Outputs],
    source: Source,
    metrics: Mapping[str, Metric],
    *,
    badness: Callable[[Outputs, Batch], Tensor] | None = None,
    most: int = 0,
    size: int = 500,
    intervals: bool = True,
    pulse: Callable[[], None] = lambda: None,
) -> Measured:
    """Figures over the source's rows (the first `most` of them where given), `size` of them at once; `pulse` is called before each.

    `ask` says what is counted of a prepared batch; the caller has put the model into eval mode. Each rank measures
    neighbouring rows, and all of them return the same. Where memory runs out, fewer rows are asked at once: a figure does
    not depend on how the rows are sliced.
    """
    count = min(source.rows, most) if most else source.rows
    counted = {name: _Counted(metric.groups) for name, metric in metrics.items()}
    bad: list[Tensor] = []
    start, end = (count * (parallel.rank() + after) // parallel.world() for after in (0, 1))
    while start < end:
        pulse()
        many = min(size, end - start)
        try:
            batch = _batch(source, start, many)
            outputs = ask(batch)
            found = {name: metric.rows(outputs, batch) for name, metric in metrics.items()}
            worse = badness(outputs, batch) if badness else torch.empty(0)
        except Exception as error:
            if many == 1 or not out_of_memory(error):
                raise
            size = max(1, many // 2)
            continue
        bad.append(worse.detach().float())
        for name, rows in found.items():
            counted[name].add(rows, batch)
        start += many
    figures: dict[str, float] = {}
    known: dict[str, tuple[float, float]] = {}
    kept: dict[str, Tensor] = {}
    for name, metric in metrics.items():
        rows, ids, units = counted[name].whole()
        figures |= metric.figures(rows) if len(rows) else dict.fromkeys(metric.higher, math.nan)
        if intervals and len(rows):
            known |= metric.intervals(rows, Draws(ids, units))
        kept[name] = rows
    worst = parallel.concat_over_ranks(torch.cat([torch.empty(0), *(each.cpu() for each in bad)]))
    return Measured(figures, known, kept, worst, count)


def floats(outputs: Outputs) -> Outputs:
    """Outputs of half precision as float32; whole numbers and float64 as they are."""
    half = (torch.bfloat16, torch.float16)
    return {name: t.float() if t.dtype in half else t for name, t in outputs.items()}


def asking(
    task: Task, model: nn.Module, device: torch.device, precision: str, wanted: frozenset[str]
) -> Callable[[Batch], Outputs]:
    """What the wanted metrics of a task count of prepared batches, asked of a model on a device."""

    def ask(batch: Batch) -> Outputs:
        with parallel.autocast(device, precision):
            return floats(task.measure(model, parallel.to_device(batch, device), wanted))

    return ask


def _batch(source: Source, start: int, size: int) -> Batch:
    """Prepared rows start … start+size-1, and the number of each as `sample`."""
    batch = source.batch(At(start, size))
    return batch if "sample" in batch else {**batch, "sample": torch.arange(start, start + size)}


class _Counted:
    """One metric's rows: in their order, or added up in groups where they are many, so that memory is bounded.

    Rows of equal ids are added up, and where there are still too many ids, those of equal hashes of them: what belongs
    together stays together.
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self.rows: list[Tensor] = []
        self.ids: list[Tensor] = []
        self.waiting = self.units = 0
        self.parts = self.grouped = self.hashed = False

    def add(self, rows: Tensor, batch: Batch) -> None:
        """Adds rows [R, K] of a batch: one for each of its groups' numbers or its rows, or else of parts that are drawn one by one."""
        ids = batch.get("group", batch["sample"]).flatten()
        if len(ids) != len(rows):
            self.parts = True
            ids = torch.arange(self.units, self.units + len(rows)) + parallel.rank() * _RANK
        elif "group" in batch:
            self.grouped = True
        self.rows.append(rows)
        self.ids.append(self._hashes(ids) if self.hashed else ids)
        self.units += len(rows)
        self.waiting += len(rows)
        if self.groups and self.waiting > 2 * self.groups:
            self._fold()

    def whole(self) -> tuple[Tensor, Tensor, int | None]:
        """The rows of all ranks in their order, float64 [R, K] on the CPU, their ids [R], and of how many units they are.

        0 units: some belong together; None: the ids tell.
        """
        width = self.rows[0].shape[1] if self.rows else 0
        state = torch.tensor([self.units, self.parts, self.grouped, width, width > 0])
        units, parts, grouped, widths, ranks = parallel.sum_over_ranks(state).tolist()
        many = bool(self.groups) and units > self.groups
        if many:
            self._fold()
            if int(parallel.sum_over_ranks(torch.tensor(self.hashed, dtype=torch.int64))) and not self.hashed:
                self._hash()
        empty = torch.empty(0, widths // max(1, ranks), dtype=torch.float64)
        self.rows = [parallel.concat_over_ranks(torch.cat([empty, *(rows.cpu() for rows in self.rows)]))]
        self.ids = [parallel.concat_over_ranks(torch.cat([_NONE, *(ids.cpu() for ids in self.ids)]))]
        if many:
            self._fold()
        elif parts:
            self.ids = [torch.arange(units)]
        return self.rows[0], self.ids[0], (0 if many else None) if grouped else units

    def _fold(self) -> None:
        """Adds up rows of equal ids, and those of equal hashes where there are too many ids; on the CPU, in a fixed order."""
        if not self.rows:
            return
        rows, (found, place) = torch.cat([each.cpu() for each in self.rows]), _distinct(self.ids)
        if not self.hashed and len(found) > self.groups:
            self._hash()
            found, place = _distinct(self.ids)
        sums = torch.zeros(len(found), rows.shape[1], dtype=torch.float64).index_add_(0, place, rows)
        self.rows, self.ids, self.waiting = [sums], [found], len(found)

    def _hash(self) -> None:
        self.hashed = True
        self.ids = [self._hashes(ids) for ids in self.ids]

    def _hashes(self, ids: Tensor) -> Tensor:
        return chance.mix(ids, _FOLD) % self.groups


_NONE = torch.empty(0, dtype=torch.int64)


def _distinct(ids: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The ids that there are, and the place of each among them."""
    found, place = torch.cat([each.cpu() for each in ids]).unique(return_inverse=True)
    return found, place
