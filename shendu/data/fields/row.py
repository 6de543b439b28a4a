"""Rows of a table: numbers, categories, dates and words of several columns in one float32 matrix.

Shape letters: B rows, W the width of a row (the sum of its fields' widths).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data import moments, offsets
from shendu.data.column import CODED, NAMED, Column
from shendu.errors import UserError, near
from shendu.field import Field, Unread, Values, spread

if TYPE_CHECKING:
    from torch import Tensor

    from shendu.field import Batch

_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Row(Field):
    """Rows of a table: float32 [N, W]; a network takes the same, its numbers standardised, NaN where one is missing.

    A category is a code (0 missing, 1 unseen, 2 the first name), a text the ids of its words (0 padding, 1 unknown).
    """

    kind: ClassVar[str] = "row"
    words: ClassVar[str] = "tables"
    explains: ClassVar[str] = "columns"
    tabular: ClassVar[bool] = True

    columns: tuple[Column, ...]
    mean: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """Of the numbers that are there in the training rows; 0 of codes and word ids."""
    std: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """1 of codes and word ids."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Position of each column's first number."""
        return tuple(np.cumsum([0, *(field.width for field in self.columns[:-1])]).tolist())

    @property
    def stored(self) -> tuple[int, ...]:
        return (sum(field.width for field in self.columns),)

    @cached_property
    def offset(self) -> tuple[float, ...]:
        """Per position; empty where no column has any."""
        if not any(column.offset for column in self.columns):
            return ()
        return tuple(
            o for column in self.columns for o in (column.offset, *(0.0,) * (column.width - 1))[: column.width]
        )

    @property
    def numeric(self) -> tuple[int, ...]:
        """Positions of real numbers; a date has six."""
        placed = zip(self.columns, self.starts, strict=True)
        return tuple(s + i for f, s in placed if f.kind in ("number", "date") for i in range(f.width))

    @property
    def coded(self) -> tuple[tuple[int, int], ...]:
        """(position, cardinality) of each category, boolean and ordered category."""
        placed = zip(self.columns, self.starts, strict=True)
        return tuple((s, len(f.names) + NAMED) for f, s in placed if f.kind in CODED)

    @property
    def texts(self) -> tuple[tuple[int, int, int], ...]:
        """(first position, length, vocabulary size) of each text."""
        placed = zip(self.columns, self.starts, strict=True)
        return tuple((s, f.length, len(f.names) + NAMED) for f, s in placed if f.kind == "text")

    def fitted(self, chunks: Iterable[Values]) -> Row:
        means, stds = moments.merged(moments.of_numbers(values[""]) for values in chunks).settled()
        numeric = set(self.numeric)
        mean = tuple(m if i in numeric else 0.0 for i, m in enumerate(means))
        return replace(self, mean=mean, std=tuple(s if i in numeric else 1.0 for i, s in enumerate(stds)))

    def statistics(self) -> dict[str, tuple[float, ...]]:
        width = self.stored[0]
        return {"mean": self.mean or (0.0,) * width, "std": self.std or (1.0,) * width}

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        """Numbers standardised (NaN stays NaN), codes and word ids as they are."""
        return {"": (own[""] - fit["mean"]) * (1 / fit["std"])}

    def parse(self, values: Any) -> Values:
        """From a dict, a list of dicts, a pandas, polars or pyarrow table, by the columns' names; or from stored rows.

        Other columns are let be. Raises UserError for one that is missing, or that holds something else than in training.
        """
        return self.read(values)[0]

    def read(self, values: Any) -> tuple[Values, dict[str, Unread], tuple[str, ...]]:
        if isinstance(values, np.ndarray) or hasattr(values, "detach"):
            return {"": self._as_stored(np.asarray(values))}, {}, ()
        from shendu.data import cells, frames

        table = frames.from_object(values)
        for column in self.columns:
            if column.name not in table.column_names:
                raise UserError(
                    f"there is no column '{column.name}', which the model reads{near(column.name, table.column_names)}"
                )
        given = [cells.Cells(c.name, table.column(c.name), c.missing, composed=True) for c in self.columns]
        columns, notes = cells.reread_all(given, self.columns, frames.comma(table))
        found = np.empty((table.num_rows, *self.stored), np.float32)
        unread = {}
        for there, column, start in zip(given, columns, self.starts, strict=True):
            own = found[:, start : start + column.width]
            own[:] = cells.stored(there, column)
            if bad := cells.unread(there, column, own):
                unread[column.name] = bad
        return {"": found}, unread, notes

    def _as_stored(self, array: np.ndarray) -> np.ndarray:
        rows = array[None] if array.ndim == 1 else array
        if rows.ndim != 2 or rows.shape[1:] != self.stored:
            raise UserError(
                f"the model takes stored rows of {self.stored[0]} numbers, this array has shape {list(array.shape)}; "
                "give a table or dicts, whose columns are found by name"
            )
        return offsets.without(rows, self.offset, self.stored)

    @property
    def feature_count(self) -> int:
        return len(self.columns)

    def features(self, name: str, own: Values) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
        for column, start in zip(self.columns, self.starts, strict=True):
            if column.kind != "text":
                values = own[""][:, start]
                yield column.name, values.astype(np.float64) + column.offset if column.offset else values, column.names

    def taken_apart(self, x: Tensor) -> tuple[Tensor, tuple[tuple[Tensor, int], ...], tuple[Tensor, ...]]:
        codes = tuple((x[:, position], size) for position, size in self.coded)
        return x[:, list(self.numeric)], codes, tuple(x[:, start : start + length] for start, length, _ in self.texts)

    @property
    def units(self) -> int:
        return len(self.columns)

    def hide(self, own: Batch, keep: Tensor, other: Batch | None = None) -> Batch:
        """Columns of other rows, or missing ones."""
        import torch

        width = torch.tensor([column.width for column in self.columns])
        kept = keep.repeat_interleave(width, 1)
        nothing = torch.zeros(self.stored)
        nothing[list(self.numeric)] = float("nan")
        return {"": torch.where(kept, own[""], nothing if other is None else other[""])}

    def unit_names(self, own: dict[str, np.ndarray]) -> list[str]:
        """`age = 39`, …"""
        placed, std = zip(self.columns, self.starts, strict=True), self.statistics()["std"]
        return [f"{c.name} = {_shown(c, own[''][s : s + c.width], std[s])}" for c, s in placed]

    def show(self, own: dict[str, np.ndarray]) -> str:
        """`age=39, workclass=State-gov, …`, the first eight columns."""
        placed, std = list(zip(self.columns, self.starts, strict=True)), self.statistics()["std"]
        words = [f"{f.name}={_shown(f, own[''][s : s + f.width], std[s])}" for f, s in placed[:_SHOWN]]
        return ", ".join(words) + (", …" if len(placed) > _SHOWN else "")

    def entry(self) -> dict[str, Any]:
        """A line for each column: its name, its kind, whether it is a number, and the known values of one that has few."""
        asked = [
            {
                "name": c.name,
                "kind": c.kind,
                "numeric": c.kind == "number",
                "choices": list(c.names) if c.kind in CODED else [],
            }
            for c in self.columns
        ]
        return {"as": "columns", "columns": asked}

    def example(self, n: int) -> Batch:
        import torch

        x = spread(n, self.stored, self.statistics())
        below = [(s, size) for s, size in self.coded]
        below += [(s + i, size) for s, length, size in self.texts for i in range(length)]
        turn = torch.Generator().manual_seed(n)
        for position, size in below:
            x[:, position] = torch.randint(size, (n,), generator=turn).to(x.dtype)
        return {"": x}


def _shown(field: Column, values: np.ndarray, std: float) -> str:
    if field.kind == "number":
        if np.isnan(values[0]):
            return "missing"
        return offsets.written(float(values[0]) + field.offset, std) if field.offset else f"{values[0]:.6g}"
    if field.kind == "date":
        return (
            "missing"
            if np.isnan(values[0])
            else str(np.datetime64("2000-01-01") + int(np.floor(values[0] + field.offset)))
        )
    words = [_named(field, int(code)) for code in values if field.kind != "text" or code]
    return " ".join(words) or "missing"


def _named(field: Column, code: int) -> str:
    if code < NAMED:
        return ("missing", "other")[code] if field.kind != "text" else "…"
    return field.names[code - NAMED]
