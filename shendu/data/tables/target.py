"""The column that a table is to predict: which one it is, and what it becomes, classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shendu.data import cells, labels, offsets
from shendu.data.cells import Cells
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.tables.delimited import few
from shendu.data.tables.kinds import SURE, short_type, whole, zero_padded
from shendu.errors import UserError, near
from shendu.field import Field
from shendu.shown import option

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
    notes: tuple[str, ...]


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


def prepared(
    columns: dict[str, Cells],
    where: dict[str, str],
    task: str,
    said: tuple[str, str],
    comma: bool,
    end: str,
    strict: bool = False,
) -> Target:
    """What the target becomes; `said`: what kind of column it is, and the decimal sign of its numbers. Raises UserError."""
    kind, sign = said
    train = columns["train"]
    if not train.is_plain:
        raise UserError(
            f"the target {train.name} of {where['train']} holds {short_type(train)}s: name a plain column with --target"
        )
    if not (train.labels.codes >= 0).any():
        raise UserError(
            f"the target {train.name} of {where['train']} has no values at all: name another column with --target"
        )
    asked = {"number": "numbers", "category": "classes", "boolean": "classes", "ordered": "classes"}.get(kind, task)
    if train.is_time:
        if asked == "numbers":
            raise dates_told(train.name, where["train"])
        return _class_target(columns, where, False, "" if asked == "classes" else "it holds dates", end)
    form = cells.numbers_form(train, "," if comma else "", sign if kind == "number" else "")
    values = cells.numbers(train, form)
    there = values[~np.isnan(values)]
    numeric = _is_numeric(train, there, form)
    wanted, why = (asked, "") if asked not in ("auto", "") else _task_of(train, there, numeric)
    if wanted == "numbers":
        return _number_target(columns, where, form, numeric, why, strict)
    return _class_target(columns, where, numeric and wanted != asked, why, end)


def _is_numeric(train: Cells, there: np.ndarray, form: str) -> bool:
    """Whether it holds numbers: words for nothing among them are missing."""
    if train.order or len(there) < SURE * max(1, int(train.says.sum())) or cells.blurred(train, form):
        return False
    if there.min() == there.max() and train.exact is None:
        return not train.word_for_nothing()  # what is left would be nothing to learn: the word is a class
    return not zero_padded(train)


def _task_of(train: Cells, there: np.ndarray, numeric: bool) -> tuple[str, str]:
    if not numeric or pa.types.is_boolean(train.column.type):
        return "classes", "it is a categorical" if train.order else "it holds words"
    if not whole(there):
        return "numbers", "it holds fractions"
    distinct = len(np.unique(there if train.exact is None else train.exact[train.says]))
    if distinct <= 2 or (distinct <= CLASSES_FEW and len(there) >= 5 * distinct):
        return "classes", f"whole numbers of {distinct} values"
    return "numbers", f"whole numbers of {distinct:,} values"


def _number_target(
    columns: dict[str, Cells], where: dict[str, str], form: str, numeric: bool, why: str, strict: bool
) -> Target:
    name, train, kept, notes = columns["train"].name, columns["train"], {}, []
    for part, column in columns.items():
        if column.is_time:
            raise dates_told(name, where[part])
    found = {part: cells.numbers(column, form) for part, column in columns.items()}
    for part, column in columns.items():
        if column.plain is not None and np.isinf(column.plain).any():
            row = int(np.flatnonzero(np.isinf(column.plain))[0])
            raise UserError(
                f"the target {name} of {where[part]} is infinite in row {row + 1:,}: correct it, or empty the cell"
            )
        bad = np.flatnonzero(np.isnan(found[part]) & column.says)
        if not numeric and part == "train" and len(bad):
            raise UserError(
                f"the target {name} of {where[part]} holds '{column.written(int(bad[0]))}' in row {bad[0] + 1:,}, which is no number: "
                "correct it, or learn classes with --task classes"
            )
        notes += [unread_target(name, part, len(bad), column.written(int(bad[0])))] if len(bad) else []
        if strict and len(bad):
            raise UserError(f"{notes[-1]}: correct them, or leave --strict out")
        there = ~np.isnan(found[part])
        kept[part] = None if there.all() else there
    values = found["train"][~np.isnan(found["train"])]
    _check_changes(train, values, where["train"])
    away = offset_of(train, values)
    _check_digits(train, values, away, where["train"])
    stored = {part: cells.less(column, form, away)[~np.isnan(found[part])] for part, column in columns.items()}
    told = train.written_numbers.told(form) if train.plain is None or form else []
    notes += (
        [f"the numbers of {name} are read as they are written: {', '.join(told).replace('NAME', name)}"] if told else []
    )
    return Target(
        column=Number(offset=(away,) if away else (), form=form),
        values={part: offsets.without(less, ()) for part, less in stored.items()},
        kept=kept,
        notes=(*([f"{name} is learned as a number, since {why} (else: --task classes)"] if why else []), *notes),
    )


def dates_told(name: str, where: str) -> UserError:
    return UserError(
        f"the target {name} of {where} holds dates, and a number is learned: give the days since one of them as a column of numbers, "
        f"or learn them as classes with --task classes; to forecast a series in the order of time: {option('--time', name)}"
    )


def unread_target(name: str, part: str, count: int, example: str) -> str:
    return f"{count:,} rows of the {part} part are left out, since their {name} is no number, such as '{example}'"


def offset_of(train: Cells, values: np.ndarray) -> float:
    if train.exact is not None:
        return cells.exact_offset(train.exact[train.says])
    return (offsets.found(values[:, None]) or (0.0,))[0]


def _check_changes(train: Cells, values: np.ndarray, where: str) -> None:
    if not len(values) or (
        values.min() == values.max() and (train.exact is None or np.ptp(train.exact[train.says]) == 0)
    ):
        raise _constant(train.name, where, f"{values[0]:g}" if len(values) else "missing")


def _check_digits(train: Cells, values: np.ndarray, away: float, where: str) -> None:
    """Raises UserError where the answer, a float64, could not tell the values apart."""
    if (
        train.exact is not None
        and away
        and np.spacing(np.abs(values).max()) > offsets.FEWEST * np.ptp(train.exact[train.says])
    ):
        raise UserError(
            f"the target {train.name} of {where} differs only behind its fifteenth digit, which no answer has: subtract "
            f"{int(train.exact[train.says].min())} from it, or learn classes with --task classes"
        )


def _constant(name: str, where: str, value: str) -> UserError:
    return UserError(
        f"the target {name} of {where} is always {value}: there is nothing to learn, name another column with --target"
    )


def _class_target(columns: dict[str, Cells], where: dict[str, str], numeric: bool, why: str, end: str) -> Target:
    train = columns["train"]
    names = _class_names(train, end, numeric)
    rows = int((train.labels.codes >= 0).sum())
    _check_classes(train.name, where["train"], names, rows)
    values, kept = {}, {}
    for part, column in columns.items():
        found, words = class_codes(column, names, end)
        strange = np.flatnonzero(found == -2)
        if len(strange):
            raise UserError(
                f"{where[part]} has the class '{words(strange[0])}' in row {strange[0] + 1:,}, which {where['train']} has not: "
                f"its classes are {few(names)}"
            )
        there_are = found >= 0
        kept[part] = None if there_are.all() else there_are
        values[part] = found[there_are]
    other = "" if train.is_time else " (else: --task numbers)"
    note = f"{train.name} is learned as {len(names)} classes, since {why}{other}" if why else ""
    return Target(
        column=Category(names=tuple(names), type=train.labels.type),
        values=values,
        kept=kept,
        notes=(*([note] if note else []), *_told(train, names, numeric)),
    )


def _told(train: Cells, names: list[str], numeric: bool) -> list[str]:
    """What was made of words for nothing, and of numbers that are written in several ways."""
    notes = []
    if told := labels.TOLD.get(train.labels.type):
        notes.append(f"the classes of {train.name} are {told}")
    absent = train.word_for_nothing()
    if absent and numeric:
        notes.append(f"{absent.cells:,} rows say '{absent.example}' among the numbers of {train.name}, which counts as missing "
                     "(else: --task classes)")  # fmt: skip
    elif absent and absent.example in names:
        notes.append(
            f"'{absent.example}' is one of the classes of {train.name} (if it means that nothing is known: "
            f"{option('--missing', absent.example)})"
        )
    twice = labels.alike(names)
    truths = [name for name in twice if labels.is_truth(name)]
    for what, some in (("number", [name for name in twice if name not in truths]), ("truth value", truths)):
        if some:
            notes.append(
                f"{few(some)} of {train.name} are the same {what}, written in several ways, and classes of their own"
            )
    return notes


def _class_names(train: Cells, end: str, numeric: bool) -> list[str]:
    texts = [text.removesuffix(end) if end else text for text in train.labels.sorted()]
    present = {text for text in texts if not (numeric and text in cells.ABSENT)}
    return [name for name in train.order if name in present] or [
        text for text in dict.fromkeys(texts) if text in present
    ]


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


def class_codes(column: Cells, names: list[str], end: str = "") -> tuple[np.ndarray, Any]:
    """(int64 [N]: the class, -1 missing, -2 none of them; a function that tells what a row says).

    A word for nothing that is no class is missing.
    """
    texts = column.labels.texts
    if end:
        texts = pa.array([text.removesuffix(end) for text in texts.to_pylist()], pa.string())
    found = labels.places(texts, names)
    absent = pc.is_in(texts, pa.array(cells.ABSENT)).to_numpy(zero_copy_only=False)
    found = np.where(found >= 0, found, np.where(absent, -1, -2))
    return np.append(found, -1)[column.labels.codes], column.written
