"""Labels: the values of a column as classes, and which class a label is that is written in another way.

A label is its own text, and one from Python its own value, whose type is kept beside the text. "1" and "01" are two classes, as are
"1.1" and "1.10"; where there is only one of them, the other finds it, since tools write 1 for what they have read as 01.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Type = Literal["text", "int", "float", "bool", "decimal", "date", "time", "datetime", "duration"]
_LENGTH = re.compile(r"(?:(-?\d+) days?,? )?(\d+):(\d\d):(\d\d)(?:\.(\d{6}))?")


def _duration(text: str) -> timedelta:
    found = _LENGTH.fullmatch(text)
    if not found:
        raise ValueError(f"{text} is no duration")
    days, hours, minutes, seconds, parts = (int(part or 0) for part in found.groups())
    return timedelta(days, seconds, parts, 0, minutes, hours)


TYPES: dict[str, Callable[[str], Any]] = {
    "int": int, "float": float, "bool": lambda text: text == "True", "text": str, "decimal": Decimal, "date": date.fromisoformat,
    "time": time.fromisoformat, "datetime": datetime.fromisoformat, "duration": _duration,
}  # fmt: skip
"""Type of a label -> what makes it of its text."""
TOLD = {
    "datetime": "moments, and come back as datetime.datetime",
    "duration": "durations, and come back as datetime.timedelta",
}
"""Of types that pandas has its own for, what is said."""


@dataclass(frozen=True)
class Labels:
    """Distinct labels as texts, in the order in which they come; the row's label, -1 where it has none [N]; their type in TYPES."""

    texts: pa.Array
    codes: np.ndarray
    type: Type = "text"

    def sorted(self) -> list[str]:
        """Numbers by their size, all else by the alphabet."""
        texts = self.texts.to_pylist()
        try:
            sizes = self.texts.cast(pa.float64()).to_pylist()
        except pa.ArrowInvalid:
            return sorted(texts)
        if self.type == "int":
            return sorted(texts, key=int)
        return [text for _, text in sorted(zip(sizes, texts, strict=True))]


def of(column: pa.ChunkedArray) -> Labels:
    """Of a column of plain values; a blank is no label."""
    kind = column.type
    found = column.dictionary_encode()
    found = found.unify_dictionaries().combine_chunks() if found.num_chunks else pa.array([], kind).dictionary_encode()
    found = found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
    codes = pc.fill_null(found.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    values = found.dictionary.to_pylist()
    type = _type(kind)
    if type in TOLD:
        values, type = _to_microseconds(values, type)
    texts = [None if value is None or value != value or not str(value).strip() else str(value) for value in values]
    if None in texts:
        places = np.cumsum([text is not None for text in texts]) - 1
        codes = np.append(np.where([text is None for text in texts], -1, places), -1)[codes]
    return Labels(pa.array([text for text in texts if text is not None], pa.string()), codes, type)


def _to_microseconds(values: list[Any], type: Type) -> tuple[list[Any], Type]:
    """(moments or durations as those of Python, their type); texts where one has digits behind microseconds."""
    kept = [value for value in values if value is not None and value == value]
    if any(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0) for value in kept):
        return values, "text"
    plain = {"datetime": "to_pydatetime", "duration": "to_pytimedelta"}[type]
    return [getattr(v, plain)() if hasattr(v, plain) and v == v else v for v in values], type


def _type(kind: pa.DataType) -> Type:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_floating(kind):
        return "float"
    others: dict[Type, Callable[[Any], bool]] = {
        "decimal": pa.types.is_decimal, "date": pa.types.is_date, "time": pa.types.is_time, "datetime": pa.types.is_timestamp,
        "duration": pa.types.is_duration,
    }  # fmt: skip
    return next((type for type, fits in others.items() if fits(kind)), "text")


def of_values(values: np.ndarray) -> tuple[tuple[str, ...], Type]:
    """(distinct values as texts, their type), of an array of numbers, booleans or texts."""
    kinds: dict[str, Type] = {"b": "bool", "i": "int", "u": "int", "f": "float"}
    return tuple(map(str, values.tolist())), kinds.get(values.dtype.kind, "text")


def valued(names: tuple[str, ...], type: str) -> tuple[Any, ...]:
    """Labels as the Python values that they were."""
    return tuple(map(TYPES[type], names))


def places(values: pa.Array, names: tuple[str, ...] | list[str]) -> np.ndarray:
    """int64 [D]: which of the names each value is, -1 where it is none: by its text, else by the whole number or truth that it says."""
    known = pa.array(list(names), pa.string())
    found = pc.index_in(values, known)
    if found.null_count:
        plain = _plain(known)
        counted = pc.value_counts(plain)
        once = counted.field("values").filter(pc.equal(counted.field("counts"), 1))
        other = pc.index_in(
            _plain(values), pc.if_else(pc.is_in(plain, once), plain, pa.scalar(None, pa.string())), skip_nulls=True
        )
        found = pc.coalesce(found, other)
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def taken_alike(values: pa.Array, names: tuple[str, ...] | list[str]) -> dict[str, str]:
    """Value -> the name that it is taken for, of those that are not its own text."""
    there = places(values, names)
    return {v: names[i] for v, i in zip(values.to_pylist(), there.tolist(), strict=True) if i >= 0 and v != names[i]}


def alike(names: list[str]) -> list[str]:
    """Those that say the same whole number or truth as another."""
    plain = _plain(pa.array(names, pa.string()))
    counted = pc.value_counts(plain.drop_null())
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    return [name for name, said in zip(names, pc.is_in(plain, twice).to_pylist(), strict=True) if said]


def is_truth(name: str) -> bool:
    return name.lower() in ("true", "false")


def _plain(texts: pa.Array) -> pa.Array:
    """7 for 07, +7 and 7.0; true for True; null for what is neither a whole number nor a truth."""
    lower = pc.utf8_lower(texts)
    known = pc.match_substring_regex(lower, r"^(?:true|false|[-+]?\d+(?:\.0*)?)$")
    bare = pc.replace_substring_regex(lower, r"^\+?(-?)0*(\d+?)(?:\.0*)?$", r"\1\2")
    return pc.if_else(known, bare, pa.scalar(None, pa.string()))
