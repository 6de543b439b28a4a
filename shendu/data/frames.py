"""Tables in memory (dicts, pandas, polars, pyarrow, `datasets`) as pyarrow tables whose columns have names of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shendu.errors import UserError
from shendu.reading import Reading
from shendu.shown import option
from shendu.untrusted import DEPTH_MOST

COLUMNS_MOST = 10_000
COMMA, PARTED = b"decimal", b"delimiter"
"""What a table's schema says that was read from a text: that its numbers have a decimal comma; what parts its cells."""


def check_unique(names: list[str], path: Path | str) -> None:
    for name in names if len(set(names)) < len(names) else ():
        if names.count(name) > 1:
            raise UserError(
                f"{path} has {names.count(name)} columns named '{name}': give each column a name of its own"
            )


def named(table: pa.Table, path: Path | str) -> pa.Table:
    """The table with names of one line; raises UserError for too many columns, and for two of one name."""
    if table.num_columns > COLUMNS_MOST:
        raise UserError(
            f"{path} has {table.num_columns:,} columns, more than the {COLUMNS_MOST:,} that are read: leave some out"
        )
    names = [one_line(name) for name in table.column_names]
    check_unique(names, path)
    return table.rename_columns(names).replace_schema_metadata(table.schema.metadata)


def named_classes(table: pa.Table, features: Any) -> pa.Table:
    """Class numbers as the names that `datasets` keeps beside them."""
    try:
        labels = {name: about["names"] for name, about in features.items() if about.get("_type") == "ClassLabel"}
    except (KeyError, AttributeError, TypeError):
        return table
    for name, classes in labels.items():
        place = table.column_names.index(name) if name in table.column_names else -1
        if place >= 0 and pa.types.is_integer(table.schema.types[place]):
            numbers = table.column(place)
            table = table.set_column(
                place, name, pc.take(pa.array(list(map(str, classes))), pc.if_else(pc.less(numbers, 0), None, numbers))
            )
    return table


def is_table(raw: Any) -> bool:
    """Whether this is a table of named columns: of pandas, polars, pyarrow or `datasets`, known by what it can do."""
    return _is_dataset(raw) or (hasattr(raw, "__arrow_c_stream__") and hasattr(raw, "columns"))


def _is_dataset(raw: Any) -> bool:
    return hasattr(raw, "with_format") and hasattr(raw, "features") and hasattr(raw, "__len__")


def comma(table: pa.Table) -> bool:
    """Whether a table comes from a text whose numbers have a decimal comma."""
    return COMMA in (table.schema.metadata or {})


def semicolon(table: pa.Table) -> bool:
    """Whether a table comes from a text whose cells are parted by semicolons."""
    return (table.schema.metadata or {}).get(PARTED) == b";"


def index_of(table: pa.Table) -> list[str]:
    """The columns that were the index of a pandas table."""
    try:
        kept = json.loads((table.schema.metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, TypeError, ValueError):
        return []
    return [name for name in (one_line(str(name)) for name in kept) if name in table.column_names]


def without_index(table: pa.Table, reading: Reading | None = None) -> tuple[pa.Table, list[str]]:
    """(the table without a pandas index that nobody asks for, its names); the times of a series are asked for."""
    reading = reading or Reading()
    asked = {reading.target, reading.time, *(re.sub(r"=\w+(:.+)?$", "", word) for word in reading.types)}
    drop = [name for name in index_of(table) if name not in asked]
    if reading.forecasts and not reading.time:
        drop = [name for name in drop if not pa.types.is_temporal(table.schema.field(name).type)]
    return table.drop_columns(drop), [name for name in drop if not name.startswith("__index_level_")]


def index_note(names: list[str]) -> str:
    return f"the index {', '.join(names)} is no column (to read it: {option('--type', f'{names[0]}=number')}, or what it is)"


def with_targets(rows: Any, targets: Any) -> pa.Table:
    """A table and the column of what is to be predicted. Raises UserError."""
    table, name = from_object(rows), str(getattr(targets, "name", None) or "target")
    values = _array(targets)
    if len(values) != table.num_rows:
        raise UserError(
            f"the table has {table.num_rows:,} rows, and there are {len(values):,} targets: give one per row"
        )
    if name in table.column_names:
        raise UserError(f"the table has a column '{name}' too, as the targets are called: rename one of them")
    return table.append_column(name, values)


def _array(targets: Any) -> pa.Array:
    """What is to be predicted, each value as it is: whole numbers with gaps are no floats, and a categorical keeps its order."""
    try:
        found = pa.array(targets, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return typed(targets.tolist() if hasattr(targets, "tolist") else list(targets))
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def from_object(raw: Any) -> pa.Table:
    """A table of a dict, a list of dicts, a `datasets` table, or whatever has the Arrow interface (pandas, polars, pyarrow).

    Raises UserError.
    """
    if isinstance(raw, pa.Table):
        table = raw
    elif _is_dataset(raw):
        table = named_classes(raw.with_format("arrow")[:], raw.features.to_dict())
    elif hasattr(raw, "__arrow_c_stream__"):
        try:
            whole = hasattr(raw, "reset_index")  # pandas: its index is kept for who asks for it
            table = pa.Table.from_pandas(_with_moments(raw), preserve_index=True) if whole else pa.table(raw)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UserError(
                f"this {type(raw).__name__} cannot be read ({str(error).splitlines()[0][:160]}): make its columns of one type each"
            ) from None
    elif isinstance(raw, Mapping):
        table = _of_dict(raw)
    elif isinstance(raw, list | tuple) and raw and all(isinstance(row, Mapping) for row in raw):
        names = dict.fromkeys(str(name) for row in raw for name in row)
        table = pa.table({name: typed([row.get(name) for row in raw]) for name in names})
    else:
        raise UserError(
            f"rows cannot be a {type(raw).__name__}: give a dict, a list of dicts, or a pandas, polars or pyarrow table"
        )
    return named(table, "the table")


def _with_moments(raw: Any) -> Any:
    """A table whose periods (months, quarters of pandas) are the moments at which they begin."""
    kinds: Any = getattr(raw, "dtypes", ())
    named = kinds.items() if hasattr(kinds, "items") else ()
    periods = [name for name, kind in named if str(kind).startswith("period[")]
    if periods:
        raw = raw.copy(deep=False)
        for name in periods:
            raw[name] = raw[name].dt.to_timestamp()
    return raw


def _of_dict(raw: Mapping[Any, Any]) -> pa.Table:
    """One row (a value a column), or lists of equal length."""
    listed = {str(k): v if isinstance(v, list | tuple) or getattr(v, "ndim", 0) == 1 else [v] for k, v in raw.items()}
    if len({len(values) for values in listed.values()}) > 1:
        counts = ", ".join(f"{name} {len(values):,}" for name, values in list(listed.items())[:6])
        raise UserError(f"the columns have different lengths ({counts}): give each column one value per row")
    return pa.table({name: typed(list(values)) for name, values in listed.items()})


def typed(values: list[Any]) -> pa.Array:
    """A typed array; as text where the values are of several types.

    Raises UserError for two values of other types and one text, and for lists that are nested too deep for Arrow.
    """
    _check_depth(values)
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array(_texts(values), pa.string())


def _texts(values: list[Any]) -> list[str | None]:
    kinds: dict[str, type] = {}
    texts = [None if value is None or value != value else str(value) for value in values]
    for value, text in zip(values, texts, strict=True):
        if text is not None and kinds.setdefault(text, type(value)) is not type(value):
            names = sorted({kinds[text].__name__, type(value).__name__})
            raise UserError(f"a column holds {text} as {' and as '.join(names)}: make its values of one type")
    return texts


def _check_depth(values: list[Any]) -> None:
    """Level by level, since what recurses ends the process; raises UserError."""
    level: list[Any] = [value for value in values if isinstance(value, list | tuple | Mapping)]
    for _ in range(DEPTH_MOST):
        if not level:
            return
        inner = (one.values() if isinstance(one, Mapping) else one for one in level)
        level = [value for some in inner for value in some if isinstance(value, list | tuple | Mapping)]
    raise UserError(f"a column holds lists or dicts nested deeper than {DEPTH_MOST}: give one flat value per row")


def one_line(text: str) -> str:
    """A name or cell without line breaks, for a message and as a column's name."""
    return " ".join(text.split())
