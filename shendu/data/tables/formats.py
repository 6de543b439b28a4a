"""Tables as they lie on a disk (CSV and its kin, Parquet, JSON, Arrow, Excel, ARFF), as pyarrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from shendu import untrusted
from shendu.data import frames
from shendu.data.reader import USUAL
from shendu.data.tables import arff, delimited, excel, json_rows
from shendu.data.tables.files import recognised
from shendu.errors import UserError
from shendu.reading import Reading

_CELLS_PER_BYTE = 10_000
_PIECE = 1 << 16


def read(
    path: Path, reading: Reading = USUAL, *, names: tuple[str, ...] = (), skip: int = 0
) -> tuple[pa.Table, list[str], bool]:
    """(the table, what was decided, whether its numbers have a decimal comma); text tables come as text cells.

    `names`: columns of a file without header; `skip`: lines that come first and are none of it. Raises UserError.
    """
    kind = recognised(path) or "csv"
    notes: list[str] = []
    if kind == "excel":
        table, notes = excel.read(path, reading.sheet)
        return frames.named(table, path), notes, False
    if kind != "csv":
        return frames.named(_READERS[kind](path), path), [], False
    how = delimited.layout(path, names=names, skip=skip, encoding=reading.encoding)
    table, ragged = delimited.read(path, how, reading.skip_bad)
    if ragged:
        notes.append(f"{ragged:,} rows of {path.name} with too few or too many cells left out (--skip-bad)")
    if not how.header and not names:
        notes.append(f"{path.name} has no header, so its columns are named {how.names[0]} to {how.names[-1]}")
    notes += _encoding_told(path, how, reading)
    return table, notes, how.comma


def _encoding_told(path: Path, how: delimited.Layout, reading: Reading) -> list[str]:
    if how.encoding == "utf-8":
        return []
    guess = how.encoding == "cp1252" and not reading.encoding
    more = ", since it is no UTF-8 and its words look Western European (another: --encoding NAME)" if guess else ""
    return [f"{path.name} read as {how.encoding} text{more}"]


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


_READERS = {
    "parquet": _read_parquet,
    "arrow": read_arrow,
    "jsonl": json_rows.read_lines,
    "json": json_rows.read,
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


def pieces(
    given: Any,
    known: tuple[str, ...],
    *,
    rows: int = 0,
    ragged: list[int] | None = None,
    reading: Reading = USUAL,
    told: list[str] | None = None,
) -> Iterator[pa.Table]:
    """A table's file, or an object, in pieces of some thousand `rows`; `known`: columns that a header is recognised by.

    The numbers of rows with too few or too many cells go to `ragged`, where it is given, and what was decided to `told`. Raises
    UserError.
    """
    told = [] if told is None else told
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
        how = delimited.layout(path, known=known, encoding=reading.encoding)
        told += _encoding_told(path, how, reading)
        yield from delimited.pieces(path, how, ragged)
    elif kind == "parquet":
        yield from _parquet_pieces(path, rows or _PIECE)
    else:
        table, notes, _ = read(path, reading)
        told += notes
        for batch in table.to_batches(max_chunksize=rows or _PIECE):
            yield pa.Table.from_batches([batch])


def _parquet_pieces(path: Path, rows: int) -> Iterator[pa.Table]:
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(rows):
            yield frames.named(pa.Table.from_batches([batch]), path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet") from error
