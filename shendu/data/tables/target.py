"""The column that a table is to predict: which one it is, and what it becomes, classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shendu.data import cells, offsets
from shendu.data.cells import Cells
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.tables.delimited import few
from shendu.data.tables.kinds import SURE, short_type, whole, zero_padded
from shendu.errors import UserError, near
from shendu.field import Field

TARGETS = ("target", "label", "labels", "class", "y", "outcome", "income", "survived", "species")
"""Names of columns that are usually what is to be predicted."""
CLASSES_FEW = 20
"""Whole numbers of at most so many values, each of five rows on average, are classes."""
CLASSES_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Target:
    """The target's column, its values per part, and which rows have one (None: all)."""

    column: Field
    values: dict[str, np.ndarray]
    kept: dict[str, np.ndarray | None]
    note: str


def choose_target(names: list[str], wanted: str, where: str) -> tuple[str, str]:
    """(the column to predict, the note that says why). Raises UserError for an unknown one."""
    if wanted:
        if wanted not in names:
            raise UserError(f"{where} has no column '{wanted}' to predict{near(wanted, names)}")
        return wanted, ""
    lower = {name.lower(): name for name in reversed(names)}
    if usual := next((lower[name] for name in TARGETS if name in lower), ""):
        return usual, f"the target is {usual}, by its name (another: --target NAME)"
    return names[-1], f"the target is {names[-1]}, the last column (another: --target NAME)"


def prepared(columns: dict[str, Cells], where: dict[str, str], task: str, kind: str, comma: bool, end: str) -> Target:
    train = columns["train"]
    if not train.is_plain:
        raise UserError(
            f"the target {train.name} of {where['train']} holds {short_type(train)}s: name a plain column with --target"
        )
    form = cells.numbers_form(train, "," if comma else "")
    values = cells.numbers(train, form)
    there = values[~np.isnan(values)]
    given = (
        int((train.coded.codes >= 0).sum()) if train.plain is None else len(values) - int(np.isnan(train.plain).sum())
    )
    if not given:
        raise UserError(
            f"the target {train.name} of {where['train']} has no values at all: name another column with --target"
        )
    numeric = len(there) >= SURE * given and not train.order and not zero_padded(train) and not train.is_time
    wanted = {"number": "numbers", "category": "classes", "boolean": "classes", "ordered": "classes"}.get(kind, task)
    if wanted in ("auto", ""):
        wanted, why = _task_of(train, there, numeric)
    else:
        why = "as said"
    if wanted == "numbers":
        return _number_target(columns, where, form, numeric, why)
    return _class_target(columns, where, there if numeric else None, form, why, end)


def _task_of(train: Cells, there: np.ndarray, numeric: bool) -> tuple[str, str]:
    if not numeric or pa.types.is_boolean(train.column.type):
        return "classes", "it holds words"
    if not whole(there):
        return "numbers", "it holds fractions"
    distinct = len(np.unique(there))
    if distinct <= 2 or (distinct <= CLASSES_FEW and len(there) >= 5 * distinct):
        return "classes", f"whole numbers of {distinct} values"
    return "numbers", f"whole numbers of {distinct:,} values"


def _number_target(columns: dict[str, Cells], where: dict[str, str], form: str, numeric: bool, why: str) -> Target:
    name, values, kept = columns["train"].name, {}, {}
    for part, column in columns.items():
        if column.plain is not None and np.isinf(column.plain).any():
            row = int(np.flatnonzero(np.isinf(column.plain))[0])
            raise UserError(
                f"the target {name} of {where[part]} is infinite in row {row + 1:,}: correct it, or empty the cell"
            )
        found = cells.numbers(column, form)
        if not numeric and part == "train":
            bad = int(np.flatnonzero(np.isnan(found) & (column.coded.codes >= 0))[0])
            raise UserError(
                f"the target {name} of {where[part]} holds '{column.written(bad)}' in row {bad + 1:,}, which is no number: "
                "correct it, or learn classes with --task classes"
            )
        there = ~np.isnan(found)
        kept[part] = None if there.all() else there
        values[part] = found[there]
    train = values["train"]
    if train.min() == train.max():
        raise _constant(name, where["train"], f"{train[0]:g}")
    offset = offsets.found(train[:, None])
    return Target(
        column=Number(offset=offset),
        values={part: offsets.without(found, offset) for part, found in values.items()},
        kept=kept,
        note=f"{name} is learned as a number, since {why} (else: --task classes)",
    )


def _constant(name: str, where: str, value: str) -> UserError:
    return UserError(
        f"the target {name} of {where} is always {value}: there is nothing to learn, name another column with --target"
    )


def _class_target(
    columns: dict[str, Cells], where: dict[str, str], there: np.ndarray | None, form: str, why: str, end: str
) -> Target:
    train = columns["train"]
    numbers = np.unique(there) if there is not None and not pa.types.is_boolean(train.column.type) else None
    names = [f"{value:.15g}" for value in numbers] if numbers is not None else _class_names(train, end)
    rows = int((train.coded.codes >= 0).sum())
    _check_classes(train.name, where["train"], names, rows)
    values, kept = {}, {}
    for part, column in columns.items():
        found, words = class_codes(column, names, numbers, form, end)
        strange = np.flatnonzero(found == -2)
        if len(strange) and part != "train":
            raise UserError(
                f"{where[part]} has the class '{words(strange[0])}' in row {strange[0] + 1:,}, which {where['train']} has not: "
                f"its classes are {few(names)}"
            )
        there_are = found >= 0
        kept[part] = None if there_are.all() else there_are
        values[part] = found[there_are]
    note = f"{train.name} is learned as {len(names)} classes, since {why} (else: --task numbers)"
    return Target(column=Category(names=tuple(names)), values=values, kept=kept, note=note)


def _class_names(train: Cells, end: str) -> list[str]:
    present = {word.removesuffix(end) if end else word for word in train.coded.words}
    return [name for name in train.order if name in present] or sorted(present)


def _check_classes(name: str, where: str, names: list[str], rows: int) -> None:
    if len(names) == 1:
        raise _constant(name, where, f"'{few(names)}'")
    if len(names) == rows > 2:
        raise UserError(
            f"the target {name} of {where} is an id: all {rows:,} values differ; name another column with --target"
        )
    if len(names) > max(2, rows / 2) or len(names) > CLASSES_MOST:
        raise UserError(
            f"the target {name} of {where} has {len(names):,} classes for {rows:,} rows, too few rows to learn each: "
            "name another column with --target"
        )


def class_codes(
    column: Cells, names: list[str], numbers: np.ndarray | None, form: str, end: str
) -> tuple[np.ndarray, Any]:
    """(int64 [N]: the class, -1 missing, -2 none of them; a function that tells what a row says)."""
    if numbers is not None:
        values = cells.numbers(column, form)
        at = np.minimum(np.searchsorted(numbers, values), len(numbers) - 1)
        found = np.where(np.isnan(values), -1, np.where(numbers[at] == values, at, -2))
        return found.astype(np.int64), column.written
    index = {name: i for i, name in enumerate(names)}
    per_value = np.array(
        [index.get(word.removesuffix(end) if end else word, -2) for word in column.coded.words], np.int64
    )
    return column.coded.spread(per_value, -1), column.written
