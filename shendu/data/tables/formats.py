"""Tables as they lie on a disk (CSV and its kin, Parquet, JSONL, Arrow, Excel, ARFF), as pyarrow tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from shendu import untrusted
from shendu.data import frames
from shendu.data.tables import arff, delimited
from shendu.data.tables.files import recognised
from shendu.data.tables.nesting import Shallow
from shendu.errors import UserError

_CELLS_PER_BYTE = 10_000
_PIECE = 1 << 16


def read(
    path: Path, skip_bad: bool = False, *, names: tuple[str, ...] = (), skip: int = 0
) -> tuple[pa.Table, list[str], bool]:
    """(the table, what was decided, whether its numbers have a decimal comma); text tables come as text cells.

    `names`: columns of a file without header; `skip`: lines that come first and are none of it. Raises UserError.
    """
    kind = recognised(path) or "csv"
    if kind != "csv":
        return frames.named(_READERS[kind](path), path), [], False
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
            about.num_columns > frames.COLUMNS_MOST
            or about.num_rows * about.num_columns > _CELLS_PER_BYTE * path.stat().st_size
        ):
            raise UserError(
                f"{path} says it has {about.num_rows:,} rows of {about.num_columns:,} columns: too many for its size"
            )
        table = file.read()
        return frames.named_classes(table, _own_features(table))
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
            table = arrow_json.read_json(pa.PythonFile(Shallow(file, path), mode="r"), options)
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
    frames.check_unique(names, path)
    columns = [[row[i] if i < len(row) else None for row in rows[1:]] for i in range(width)]
    return pa.table([frames.typed(values) for values in columns], names=names)


_READERS = {
    "parquet": _read_parquet,
    "arrow": read_arrow,
    "jsonl": _read_jsonl,
    "excel": _read_excel,
    "arff": arff.read,
}


def saved_features(folder: Path) -> Any:
    """What `datasets` wrote beside a table about its columns; None where there is nothing."""
    return untrusted.lenient(folder / "dataset_info.json", dict[str, Any], {}).get("features")


def _own_features(table: pa.Table) -> Any:
    """What `datasets` wrote about the columns into a Parquet file's schema; None where there is nothing."""
    try:
        return untrusted.parsed((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return None


def pieces(given: Any, known: tuple[str, ...], *, rows: int = 0, ragged: list[int] | None = None) -> Iterator[pa.Table]:
    """A table's file, or an object, in pieces of some thousand `rows`; `known`: columns that a header is recognised by.

    The numbers of rows with too few or too many cells go to `ragged`, where it is given. Raises UserError.
    """
    if not isinstance(given, str | Path):
        table = frames.from_object(given)
        yield from (
            table.slice(start, rows or len(table)) for start in range(0, len(table), rows or max(1, len(table)))
        )
        return
    path = Path(given).expanduser()
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the table in it")
    kind = recognised(path) or "csv"
    if kind == "csv":
        how = delimited.layout(path, known=known)
        yield from delimited.pieces(path, how, ragged)
    elif kind == "parquet":
        yield from _parquet_pieces(path, rows or _PIECE)
    else:
        for batch in read(path)[0].to_batches(max_chunksize=rows or _PIECE):
            yield pa.Table.from_batches([batch])


def _parquet_pieces(path: Path, rows: int) -> Iterator[pa.Table]:
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(rows):
            yield frames.named(pa.Table.from_batches([batch]), path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet") from error
