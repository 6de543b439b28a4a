"""What clients send, as a model's stored rows. A text is never taken for a path, and no address is followed.

Shape letters: R rows of a request.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any, NamedTuple

import numpy as np
import torch

from shendu.core import Batch
from shendu.data.ragged import joined
from shendu.data.readers import readers
from shendu.errors import UserError
from shendu.field import Field, Values
from shendu.shown import plain
from shendu.tasks import Task

ROWS_MOST = 4096
"""Rows of a request."""
LETTERS_MOST = 1 << 20
"""Of a text."""
CELL_MOST = 1 << 14
"""Letters of a table's cell."""


class Sent(NamedTuple):
    """A file as it was sent: no value of JSON is a tuple."""

    name: str
    data: bytes


class Read(NamedTuple):
    """A request's rows as they are stored [R, …], and what is to be said about how they were read."""

    stored: Batch
    notes: list[str]


def rows_of(task: Task, values: Any) -> Read:
    """Rows of plain values: each the value of the only input, or an object of values by the inputs' names; a file as `Sent`.

    A picture or recording is its file's bytes in base64, alone or behind `data:…;base64,`, or its numbers as they are stored.
    Raises UserError for what does not fit.
    """
    if not isinstance(values, list) or not values:
        raise UserError('give at least one row, like {"inputs": [row, …]}')
    if len(values) > ROWS_MOST:
        raise UserError(f"{len(values):,} rows are more than the {ROWS_MOST:,} of one request; send them in several")
    names = list(task.inputs)
    named = all(isinstance(row, dict) and row.keys() == set(names) for row in values)
    if named and len(names) == 1 and task.input.tabular:  # a table's only column may be called as its row is
        named = all(isinstance(row[names[0]], dict) for row in values)
    if not named and len(names) > 1:
        raise UserError(f"a row is an object with {', '.join(names)}")
    found: dict[str, Any] = {}
    notes: list[str] = []
    for name, field in task.inputs.items():
        own, said = _values_of(field, name, [row[name] for row in values] if named else values)
        found |= {name + part: rows for part, rows in own.items()}
        notes += said
    return settled(task, found, notes)


def settled(task: Task, found: dict[str, Any], notes: list[str]) -> Read:
    """Stored values of all inputs as a batch, with a warning where answers may not be worth much. Raises UserError."""
    if line := task.unsure(found):
        notes = [*notes, line]
    stored = {name: torch.as_tensor(owned(rows)) for name, rows in task.encoded(found).items()}
    counts = {len(t) for t in stored.values()}
    if counts == {0} or len(counts) != 1:
        raise UserError("the inputs have different numbers of rows, or none; send as many of each")
    if counts.pop() > ROWS_MOST:
        raise UserError(f"these are more than the {ROWS_MOST:,} rows of one request; send them in several")
    return Read(stored, list(dict.fromkeys(notes)))


def owned(rows: Any) -> Any:
    """Rows that nobody else's memory holds: a file's own bytes cannot be written to, which tensors want."""
    return rows.copy() if isinstance(rows, np.ndarray) and not rows.flags.writeable else rows


def _values_of(field: Field, name: str, values: list[Any]) -> tuple[Values, list[str]]:
    """One input's values as they are stored, and notes."""
    if field.running and len(values) > 1:
        raise UserError("give one text at a time: running text is read from its beginning")
    if any(isinstance(value, tuple) or _is_file(field, value) for value in values):
        return _of_files(field, name, values)
    for value in values:
        check_plain(value)
    try:
        own, unread, notes = field.read(_as_stored(field, values))
    except UserError:
        raise
    except Exception as error:  # of a shape or type that nobody thought of: it is the sender's
        raise UserError(f"the rows do not fit {field.words} ({_first_line(error)})") from None
    return own, [*notes, *(f"column {column}: {bad}" for column, bad in unread.items())]


def _is_file(field: Field, value: Any) -> bool:
    return isinstance(value, str) and field.filed


def _of_files(field: Field, name: str, values: list[Any]) -> tuple[Values, list[str]]:
    """Files one by one."""
    parts: list[Values] = []
    notes: list[str] = []
    for value in values:
        file = (
            Sent(*value) if isinstance(value, tuple) else Sent("", decoded(value)) if isinstance(value, str) else None
        )
        if file is None:
            own, said = _values_of(field, name, [value])
        else:
            plain = file_as_values(file, {name: field})[name]
            own, unread, why = field.read(plain)
            said = [*why, *(f"column {column}: {bad}" for column, bad in unread.items())]
        parts.append(own)
        notes += said
    return {part: joined([own[part] for own in parts]) for part in parts[0]}, notes


def file_as_values(file: Sent, fields: dict[str, Field]) -> dict[str, Any]:
    """A file's plain values, by the first reader that reads such files for these fields. Raises UserError."""
    if not file.data:
        raise UserError("the file is empty; send one that holds something")
    for reader in readers().values():
        found = reader.sent(file.data, file.name, fields)
        if found is not None:
            return found
    words = ", ".join(field.words for field in fields.values())
    raise UserError(f"the model takes {words}, and not as a file; send them as JSON")


def decoded(text: str) -> bytes:
    """The bytes of base64, alone or in a data URL; raises UserError for anything else."""
    head, sign, body = text.partition(",")
    if sign and head.startswith("data:"):
        if not head.endswith(";base64"):
            raise UserError("a data URL is read in base64 alone: data:image/png;base64,…")
        text = body
    elif "://" in text[:20]:
        raise UserError("addresses are not followed; send the file itself, in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("the text is no base64; send a file's bytes in base64") from None


def check_plain(value: Any) -> None:
    """Raises UserError for a text that is too long, and for numbers that nothing can hold."""
    if isinstance(value, str) and len(value) > LETTERS_MOST:
        raise UserError(
            f"a text of {len(value):,} letters is longer than the {LETTERS_MOST:,} that are read; send it in pieces"
        )
    if isinstance(value, dict):
        for cell in value.values():
            if isinstance(cell, dict | list):
                raise UserError("a cell is a number, a text, true, false or null, not a list or an object")
            if isinstance(cell, str) and len(cell) > CELL_MOST:
                raise UserError(f"a cell of {len(cell):,} letters is longer than the {CELL_MOST:,} that are read")


def _as_stored(field: Field, values: list[Any]) -> Any:
    """Nested lists of numbers as an array of the field's type; anything else as it is. Raises UserError for uneven lists."""
    if not all(isinstance(value, list | int | float) and not isinstance(value, bool) for value in values):
        return values
    try:
        array = np.asarray(values)
    except ValueError:
        raise UserError("the rows have different lengths; give all the same") from None
    if array.dtype.kind not in "iuf":
        raise UserError("the rows hold other things than numbers")
    return as_type(array, field.dtype)


def as_type(array: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers in another type; raises UserError where that cannot hold them."""
    wanted = np.dtype(dtype)
    if array.dtype == wanted or wanted.kind == "f":
        return array
    info = np.iinfo(wanted)
    if array.size and (
        array.min() < info.min or array.max() > info.max or (array.dtype.kind == "f" and (array % 1).any())
    ):
        raise UserError(f"the numbers are not whole numbers from {info.min:,} to {info.max:,}")
    return array.astype(wanted)


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def finite(value: Any) -> Any:
    """A value as JSON can say it: null for what is no finite number, a date and the like as their texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else plain(value)
