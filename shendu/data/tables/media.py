"""Pictures and recordings in the cells of a table, as `datasets` and the Parquet files of its hub keep them.

Such a cell is a structure of the file's `bytes` and its `path`; the one or the other may be missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shendu.data import frames
from shendu.data.fields.category import Category
from shendu.data.files.archive import ENTRY_BYTES_MOST, Read
from shendu.data.files.layout import Plan
from shendu.data.reader import USUAL, Place
from shendu.data.tables import files, formats, loading
from shendu.data.tables.delimited import few
from shendu.data.tables.kinds import ID
from shendu.data.tables.target import Target
from shendu.errors import UserError
from shendu.reading import Reading

AT_ONCE = 256
"""Rows whose files are in memory at once where a model is asked about them."""
_SOUND = (b"fLaC", b"OggS", b"FORM")


def column_of(table: pa.Table) -> str:
    """The first column whose cells are files; empty: there is none."""
    return next((field.name for field in table.schema if _is_file(field.type)), "")


def _is_file(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or {kind.field(i).name for i in range(kind.num_fields)} != {"bytes", "path"}:
        return False
    inside = kind.field("bytes").type
    return pa.types.is_binary(inside) or pa.types.is_large_binary(inside) or pa.types.is_null(inside)


class Rows:
    """Parts of a table as a tree of files (archive.Tree): `train row 1`, `train row 2`, …"""

    def __init__(self, columns: dict[str, pa.ChunkedArray], where: Path) -> None:
        self.path = where
        self.columns = columns
        self.places = {f"{part} row {i + 1}": (part, i) for part, column in columns.items() for i in range(len(column))}
        lengths = [
            pc.fill_null(pc.binary_length(pc.struct_field(c, "bytes").cast(pa.large_binary())), 0)
            for c in columns.values()
        ]
        sizes = np.concatenate([length.to_numpy() for length in lengths])
        self.sizes = dict(zip(self.places, sizes.tolist(), strict=True))

    def each(self, names: Collection[str], most: int = ENTRY_BYTES_MOST) -> Iterator[tuple[str, Read]]:
        for name in names:
            yield name, lambda name=name: self._read(name, most)  # type: ignore[misc]

    def _read(self, name: str, most: int) -> bytes:
        part, row = self.places[name]
        cell = self.columns[part][row].as_py() or {}
        if cell.get("bytes") is not None:
            return cell["bytes"][:most]
        if not cell.get("path"):
            return b""
        with open(cell["path"], "rb") as file:
            return file.read(most)


def kind_in(given: Any) -> str:
    """`picture` or `recording` where a table (a file, a folder or an archive of such, an object) has files in its cells."""
    if not (files.may_hold_files(given) if isinstance(given, str | Path) else _may_hold_files(given)):
        return ""
    for _, table in _tables(given, USUAL, 1):
        if not table.num_rows or not (name := column_of(table)):
            return ""
        tree = Rows({"": table.column(name).slice(0, 1)}, Path())
        return "recording" if _is_sound(next(read() for _, read in tree.each([*tree.places], 16))) else "picture"
    return ""


def _may_hold_files(given: Any) -> bool:
    """The same of a table in memory, also one of rows as dicts."""
    rows = isinstance(given, list | tuple) and bool(given) and isinstance(given[0], Mapping)
    cells = rows and any(isinstance(cell, Mapping) and cell.keys() == {"bytes", "path"} for cell in given[0].values())
    return bool(cells or frames.is_table(given) or hasattr(given, "__arrow_c_stream__"))


def asked(given: Any, reading: Reading) -> Iterator[tuple[str, Rows, dict[str, str]]]:
    """What rows are called (by their id's column, or `row`), the files in their cells, and each one's name; some at a time."""
    done: dict[str, int] = {}
    for part, table in _tables(given, reading, AT_ONCE):
        name, first = column_of(table), done.get(part, 0)
        done[part] = first + table.num_rows
        key = next((other for other in table.column_names if other != name and ID.fullmatch(other)), "row")
        names = table.column(key).to_pylist() if key != "row" else range(first + 1, done[part] + 1)
        tree = Rows({"": table.column(name)}, Path())
        yield key, tree, {entry: f"{part} {word}".strip() for entry, word in zip(tree.places, names, strict=True)}


def _tables(given: Any, reading: Reading, rows: int) -> Iterator[tuple[str, pa.Table]]:
    """(part, some rows) of a table; the part is empty where there is one only. Raises UserError."""
    place = Place.within(given) if isinstance(given, str | Path) else None
    if place is None or place.file:
        yield from (("", table) for table in formats.pieces(given, (), rows=rows, reading=reading))
        return
    found = loading.loaded(place, reading).tables
    for part, table in found.items():
        for start in range(0, table.num_rows, rows):
            yield (part if len(found) > 1 else ""), table.slice(start, rows)


def planned(tables: dict[str, pa.Table], name: str, target: Target, where: dict[str, str]) -> tuple[Rows, Plan]:
    """The files of a column, and their classes as those of class folders are planned. Raises UserError."""
    if not isinstance(target.column, Category):
        raise UserError(
            f"the files in {name} of {where['train']} are told apart by classes, and the target holds numbers: "
            "name another column with --target, or add --task classes"
        )
    tree = Rows({part: table.column(name) for part, table in tables.items()}, Path(where["train"]))
    names = target.column.names
    labels = {part: [names[code] for code in values.tolist()] for part, values in target.values.items()}
    splits = {part: [(f"{part} row {i + 1}", label) for i, label in enumerate(found)] for part, found in labels.items()}
    first = next(read() for _, read in tree.each([splits["train"][0][0]], 16))
    kind = "recording" if _is_sound(first) else "picture"
    note = f"the {kind}s in {name} are learned from"
    others = [other for other in tables["train"].column_names if other != name]
    more = (f"not used: {few(others)}",) if others else ()
    return tree, Plan(kind, splits, (note, *more))


def _is_sound(head: bytes) -> bool:
    """Whether a file begins like WAV, FLAC, OGG, AIFF or MP3; a JPEG begins with FF D8."""
    mpeg = head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
    return head[:4] in _SOUND or head[8:12] == b"WAVE" or mpeg
