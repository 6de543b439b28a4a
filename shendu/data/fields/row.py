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
from shendu.data.column import CODED, LETTERS, MISSING, NAMED, UNSEEN, Column
from shendu.errors import UserError, near
from shendu.field import Field, Port, Size, Snippet, Unread, Values, spread

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
        named = [name for name in table.column_names if not name.startswith("__index_level_")]  # pandas' own
        for column in self.columns:
            if column.name not in table.column_names:
                raise UserError(f"there is no column '{column.name}', which the model reads{near(column.name, named)}")
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

    def ports(self) -> dict[str, Port]:
        """A tensor per column, by its name: numbers and moments by tensor arithmetic, words by their codes."""
        return {column.name: _port(column) for column in self.columns}

    def received(self, given: Batch) -> Batch:
        import torch

        return {"": torch.cat([_received(column, given[column.name]) for column in self.columns], 1)}

    def tokenizers(self) -> dict[str, str]:
        from shendu.data import wordlists

        makers = {True: wordlists.of_letters, False: wordlists.of_cells}
        texts = [column for column in self.columns if column.kind == "text"]
        return {column.name: makers[column.form == LETTERS](column.names).to_str() for column in texts}

    def snippet(self, role: str, argument: str, stem: str, words: bool) -> Snippet:
        """A row as JSON, and how each column is given as the description beside the graph says it."""
        texts = [column.name for column in self.columns if column.kind == "text"]
        lines = [f'row, inputs = json.loads({argument}), json.load(open("{stem or "model."}json"))["inputs"]']
        imports = ["import json"]
        if texts:
            imports.append("from tokenizers import Tokenizer")
            lines += [f"for name in {texts}:"]
            lines += [f'    row[name] = Tokenizer.from_file(f"{stem}{{name}}.tokenizer.json").encode(row[name]).ids']
        if words:
            given = '{n: np.array([row[n]], object if "words" in i else i["dtype"]) for n, i in inputs.items()}'
        else:
            lines.append(
                'row = {n: i["words"].get(row[n], i["otherwise"]) if "words" in i else row[n] for n, i in inputs.items()}'
            )
            given = '{n: np.array([row[n]], i["dtype"]) for n, i in inputs.items()}'
        return Snippet(given, tuple(imports), tuple(lines), """'{"COLUMN": VALUE, …}'""")

    def control(self) -> dict[str, Any]:
        """A form of the columns."""
        kinds = {"number": "number", "date": "moment", "text": "words"}
        fields = []
        for column in self.columns:
            about: dict[str, Any] = {"name": column.name, "field": kinds.get(column.kind, "choice")}
            if column.kind == "text":
                rule = "letters" if column.form == LETTERS else "cells"
                about |= {"vocabulary": list(column.names), "rule": rule, "length": column.length}
            elif column.kind != "number":
                about |= {"names": list(column.names)}
            fields.append(about)
        return {"control": "cells", "fields": fields}

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        """Moments from days of single precision are whole seconds again, nearly: what is stored is that of these seconds."""
        values = np.asarray(own[""])
        given, stored = {}, values.copy()
        for column, start in zip(self.columns, self.starts, strict=True):
            cells = values[:, start : start + column.width]
            given[column.name] = _offered(column, cells)
            if column.kind == "date":
                stored[:, start : start + column.width] = _dated(given[column.name], column.offset)
            elif column.offset:
                stored[:, start] = given[column.name] - column.offset
        return given, {"": stored}

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


# ---- what an exported graph is given ---------------------------------------------------------------------------------


EPOCH, DAY = 946_684_800, 86_400
"""Seconds from 1970 to 2000, and of a day."""
TRUTHS = ("false", "true")


def _port(column: Column) -> Port:
    if column.kind == "number":
        unit = f", in {column.form}" if column.form else ""
        return Port("float64" if column.offset else "float32", (), f"numbers{unit}; NaN where one is missing")
    if column.kind == "date":
        zone = "in UTC" if column.zoned else "on the clock of the table"
        return Port("float64", (), f"seconds since 1970-01-01 00:00, {zone}; NaN where it is missing")
    if column.kind == "text":
        return Port(
            "int64", (Size("words"),), f"codes of words, 0 behind a text's end; the first {column.length} are read"
        )
    from shendu.data import cells

    said = dict.fromkeys(("", *column.missing), MISSING) | {n: NAMED + i for i, n in enumerate(column.names)}
    if column.kind != "boolean":
        return Port("int64", (), "words", said, UNSEEN)
    ways = dict(zip(TRUTHS, ((*cells.NO, "0", "0.0"), (*cells.YES, "1", "1.0")), strict=True))
    return Port(
        "int64", (), "yes or no", {**{w: said[n] for n in column.names for w in ways.get(n, ())}, **said}, MISSING
    )


def _received(column: Column, given: Tensor) -> Tensor:
    """One column's cells [B, …] -> its part of a row, float32 [B, width]."""
    import torch
    import torch.nn.functional as F

    if column.kind == "text":
        return F.pad(given, (0, column.length))[:, : column.length].float()
    if column.kind == "date":
        return _turned(given, column.offset)
    if column.kind in CODED:
        return given.float()[:, None]
    away = given - column.offset if column.offset else given
    return torch.where(given.abs() < _LARGEST, away, torch.nan).float()[:, None]


_LARGEST = 1e37
"""Beyond it numbers count as missing, as in cells."""


def _turned(given: Tensor, offset: float) -> Tensor:
    """Seconds since 1970 [B] as `cells.dates` stores moments, float32 [B, 6]; the years of the Gregorian calendar by whole numbers."""
    import torch

    there = given.isfinite()
    seconds = torch.where(there, given, 0.0).floor().long() - EPOCH
    days, rest = seconds.div(DAY, rounding_mode="floor"), seconds.remainder(DAY).double() / DAY
    shifted = days + 730_425  # days since 0000-03-01, where years begin in March and leap days are their last
    era = shifted.div(146_097, rounding_mode="floor")
    of_era = shifted - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    year = era * 400 + year
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    january = torch.where(of_year >= 306, of_year - 306, of_year + 59 + leap.long())
    turns = [2 * torch.pi * share for share in (january.double() / 365.25, (days - 2).double() / 7)]
    parts = [days.double() + rest - offset, *(f(turn) for turn in turns for f in (torch.sin, torch.cos)), rest]
    return torch.where(there[:, None], torch.stack(parts, 1), torch.nan).float()


def _offered(column: Column, cells: np.ndarray) -> np.ndarray:
    """One column's stored cells [N, width] -> what a graph is given."""
    if column.kind == "text":
        return cells.astype(np.int64)
    if column.kind in CODED:
        return cells[:, 0].astype(np.int64)
    if column.kind == "number":
        return cells[:, 0].astype(np.float64) + column.offset if column.offset else cells[:, 0]
    return np.rint((np.floor(cells[:, 0].astype(np.float64) + column.offset) + cells[:, 5]) * DAY) + EPOCH


def _dated(seconds: np.ndarray, offset: float) -> np.ndarray:
    """Seconds since 1970 as moments are stored, float32 [N, 6]."""
    import pyarrow as pa

    from shendu.data import cells

    there = np.isfinite(seconds)
    moments = np.where(there, seconds, 0).astype(np.int64).astype("datetime64[s]")
    moments[~there] = np.datetime64("NaT")
    given = cells.Cells("", pa.chunked_array([pa.array(moments)]))
    return cells.dates(given, "Y-m-d", offset)


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
