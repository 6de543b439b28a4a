"""Tables as they lie on a disk (CSV and its kin, Parquet, JSONL, Arrow, Excel, ARFF) or in memory, as pyarrow tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shendu.data.tables import arff, delimited
from shendu.errors import UserError

SUFFIXES = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".psv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
    **dict.fromkeys((".xlsx", ".xlsm"), "excel"),
    ".arff": "arff",
}
_MAYBE = ("", ".data", ".dat", ".txt", ".test", ".train", ".asc")
"""Endings of files that are tables where their lines have the same number of cells."""
_CELLS_PER_BYTE = 10_000
_PIECE = 1 << 16


def recognised(path: Path) -> str:
    """`csv`, `jsonl`, `parquet`, `arrow` or `excel`, by content and ending; empty: no table."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    packed = head[:2] == b"\x1f\x8b"
    ending = (path.with_suffix("") if packed and path.suffix.lower() == ".gz" else path).suffix.lower()
    kind = SUFFIXES.get(ending, "")
    if head[:2] == b"PK" or head[257:262] == b"ustar":
        return "excel" if kind == "excel" else ""
    if kind or packed or ending not in _MAYBE:
        return kind
    return "csv" if _even(head) else ""


def _even(head: bytes) -> bool:
    """Whether the lines of a text have the same number of cells, two or more."""
    try:
        lines = head.decode("utf-8").splitlines()[:-1][:50]
    except UnicodeDecodeError:
        return False
    lines = [line for line in lines if line.strip()]
    return len(lines) >= 2 and any(
        min(counts := [line.count(sign) for line in lines[1:]]) == max(counts) >= 1 for sign in delimited.DELIMITERS
    )


def read(
    path: Path, skip_bad: bool = False, *, names: tuple[str, ...] = (), skip: int = 0
) -> tuple[pa.Table, list[str], bool]:
    """(the table, what was decided, whether its numbers have a decimal comma); text tables come as text cells.

    `names`: columns of a file without header; `skip`: lines that come first and are none of it. Raises UserError.
    """
    kind = recognised(path) or "csv"
    if kind != "csv":
        return _named(_READERS[kind](path), path), [], False
    how = delimited.layout(path, names=names, skip=skip)
    table, ragged = delimited.read(path, how, skip_bad)
    notes = []
    if ragged:
        notes.append(f"{ragged:,} rows of {path.name} with too few or too many cells left out (--skip-bad)")
    if not how.header and not names:
        notes.append(f"{path.name} has no header, so its columns are named {how.names[0]} to {how.names[-1]}")
    if how.encoding != "utf-8":
        notes.append(f"{path.name} read as {how.encoding} text")
    return table, notes, how.comma


def _read_parquet(path: Path) -> pa.Table:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        about = file.metadata
        if (
            about.num_columns > delimited.COLUMNS_MOST
            or about.num_rows * about.num_columns > _CELLS_PER_BYTE * path.stat().st_size
        ):
            raise UserError(
                f"{path} says it has {about.num_rows:,} rows of {about.num_columns:,} columns: too many for its size"
            )
        table = file.read()
        return named_classes(table, _own_features(table))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet") from error


def read_arrow(path: Path) -> pa.Table:
    from pyarrow import feather, ipc

    try:
        with path.open("rb") as file:
            whole = file.read(6) == b"ARROW1"
        if whole:
            return feather.read_table(path)
        with pa.memory_map(str(path)) as source, ipc.open_stream(source) as stream:
            return stream.read_all()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Arrow") from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is a damaged or truncated {what} file: download or copy it again")


def _read_jsonl(path: Path) -> pa.Table:
    from pyarrow import json as arrow_json

    try:
        with delimited.raw(path) as file:
            options = arrow_json.ReadOptions(block_size=delimited.LINE_MOST)
            table = arrow_json.read_json(pa.PythonFile(file, mode="r"), options)
    except (pa.ArrowException, UnicodeError) as error:
        raise _json_fault(path, error) from error
    return table


def _json_fault(path: Path, error: Exception) -> UserError:
    """The first line that is no flat object, or whose value is of another type than before."""
    seen: dict[str, tuple[str, int]] = {}
    with delimited.raw(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if len(line) > delimited.LINE_MOST:
                return UserError(
                    f"{path} has line {number:,} longer than {delimited.LINE_MOST >> 20} MiB: one object a line is expected"
                )
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                return UserError(f'{path} has no JSON in line {number:,}: write one object a line, like {{"a": 1}}')
            if not isinstance(row, dict):
                return UserError(f'{path} has no object in line {number:,}: write one object a line, like {{"a": 1}}')
            for key, value in row.items():
                kind = _json_kind(value)
                before, at = seen.setdefault(key, (kind, number)) if kind else (kind, number)
                if before != kind:
                    return UserError(
                        f"{path} has a {before} as '{key}' in line {at:,} and a {kind} in line {number:,}: make them alike"
                    )
    return UserError(
        f"{path} cannot be read as JSON lines ({str(error).splitlines()[0][:120]}): write one flat object a line"
    )


def _json_kind(value: Any) -> str:
    return {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}.get(
        type(value), ""
    )


def _read_excel(path: Path) -> pa.Table:
    try:
        import openpyxl
    except ImportError:
        raise UserError(f"{path} needs openpyxl: pip install 'shendu[excel]', or save the sheet as CSV") from None
    try:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        rows = [row for row in sheet.iter_rows(values_only=True) if any(cell is not None for cell in row)]
    except Exception as error:  # openpyxl raises whatever the damaged part made it raise
        raise _damaged(path, "Excel") from error
    if len(rows) < 2:
        raise UserError(f"{path} has no rows below the header of its first sheet: add some")
    names = [str(name).strip() if name is not None else f"column_{i + 1}" for i, name in enumerate(rows[0])]
    width = max(map(len, rows))
    names += [f"column_{i + 1}" for i in range(len(names), width)]
    _check_unique(names, path)
    columns = [[row[i] if i < len(row) else None for row in rows[1:]] for i in range(width)]
    return pa.table([_array(values) for values in columns], names=names)


_READERS = {
    "parquet": _read_parquet,
    "arrow": read_arrow,
    "jsonl": _read_jsonl,
    "excel": _read_excel,
    "arff": arff.read,
}


def _check_unique(names: list[str], path: Path | str) -> None:
    for name in names if len(set(names)) < len(names) else ():
        if names.count(name) > 1:
            raise UserError(
                f"{path} has {names.count(name)} columns named '{name}': give each column a name of its own"
            )


def _named(table: pa.Table, path: Path | str) -> pa.Table:
    """The table with names of one line; raises UserError for too many columns, and for two of one name."""
    if table.num_columns > delimited.COLUMNS_MOST:
        raise UserError(
            f"{path} has {table.num_columns:,} columns, more than the {delimited.COLUMNS_MOST:,} that are read: leave some out"
        )
    names = [delimited.one_line(name) for name in table.column_names]
    _check_unique(names, path)
    return table.rename_columns(names)


def saved_features(folder: Path) -> Any:
    """What `datasets` wrote beside a table about its columns; None where there is nothing."""
    try:
        return json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))["features"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _own_features(table: pa.Table) -> Any:
    """What `datasets` wrote about the columns into a Parquet file's schema; None where there is nothing."""
    try:
        return json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return None


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


def pieces(given: Any, known: tuple[str, ...]) -> Iterator[pa.Table]:
    """A table's file in pieces of some thousand rows, or an object as one; `known`: columns that a header is recognised by."""
    if not isinstance(given, str | Path):
        yield from_object(given)
        return
    path = Path(given)
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the table in it")
    kind = recognised(path) or "csv"
    if kind == "csv":
        how = delimited.layout(path, known=known)
        yield from delimited.pieces(path, how)
    elif kind == "parquet":
        yield from _parquet_pieces(path)
    else:
        for batch in read(path)[0].to_batches(max_chunksize=_PIECE):
            yield pa.Table.from_batches([batch])


def _parquet_pieces(path: Path) -> Iterator[pa.Table]:
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(_PIECE):
            yield _named(pa.Table.from_batches([batch]), path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet") from error


# ---- objects ---------------------------------------------------------------------------------------------------------


def is_table(raw: Any) -> bool:
    """Whether this is a table of named columns: of pandas, polars, pyarrow or `datasets`, known by what it can do."""
    return _is_dataset(raw) or (hasattr(raw, "__arrow_c_stream__") and hasattr(raw, "columns"))


def _is_dataset(raw: Any) -> bool:
    return hasattr(raw, "with_format") and hasattr(raw, "features") and hasattr(raw, "__len__")


def beside(rows: Any, targets: Any) -> pa.Table:
    """A table and the column of what is to be predicted. Raises UserError."""
    table, name = from_object(rows), str(getattr(targets, "name", None) or "target")
    values = _array(targets.tolist() if hasattr(targets, "tolist") else list(targets))
    if len(values) != table.num_rows:
        raise UserError(
            f"the table has {table.num_rows:,} rows, and there are {len(values):,} targets: give one per row"
        )
    if name in table.column_names:
        raise UserError(f"the table has a column '{name}' too, as the targets are called: rename one of them")
    return table.append_column(name, values)


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
            table = pa.table(raw)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UserError(
                f"this {type(raw).__name__} cannot be read ({str(error).splitlines()[0][:160]}): make its columns of one type each"
            ) from None
    elif isinstance(raw, Mapping):
        table = _of_dict(raw)
    elif isinstance(raw, list | tuple) and raw and all(isinstance(row, Mapping) for row in raw):
        names = dict.fromkeys(str(name) for row in raw for name in row)
        table = pa.table({name: _array([row.get(name) for row in raw]) for name in names})
    else:
        raise UserError(
            f"rows cannot be a {type(raw).__name__}: give a dict, a list of dicts, or a pandas, polars or pyarrow table"
        )
    drop = [name for name in table.column_names if name.startswith("__index_level_")]
    table = table.drop_columns(drop)
    return _named(table, "the table")


def _of_dict(raw: Mapping[Any, Any]) -> pa.Table:
    """One row (a value a column), or lists of equal length."""
    listed = {str(k): v if isinstance(v, list | tuple) or getattr(v, "ndim", 0) == 1 else [v] for k, v in raw.items()}
    if len({len(values) for values in listed.values()}) > 1:
        counts = ", ".join(f"{name} {len(values):,}" for name, values in list(listed.items())[:6])
        raise UserError(f"the columns have different lengths ({counts}): give each column one value per row")
    return pa.table({name: _array(list(values)) for name, values in listed.items()})


def _array(values: list[Any]) -> pa.Array:
    """A typed array; as text where the values are of several types."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([None if value is None or value != value else str(value) for value in values], pa.string())
