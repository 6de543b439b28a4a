"""Pictures and recordings in the cells of a table, as `datasets` and the Parquet files of its hub keep them.

Such a cell is a structure of the file's `bytes` and its `path`; the one or the other may be missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shendu.data.fields.category import Category
from shendu.data.files.archive import ENTRY_BYTES_MOST, Read
from shendu.data.files.layout import Plan
from shendu.data.tables.delimited import few
from shendu.data.tables.target import Target
from shendu.errors import UserError

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
