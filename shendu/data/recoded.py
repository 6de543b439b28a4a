"""Other data as a run takes it: encoded by the run's own columns (its names, vocabularies, sizes), not by columns of its own.

A table's columns are found by name, its unseen values have the code of unseen values, pictures and recordings are
brought to the run's size and rate, and classes are those of the run.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu.data.columns import Category
from shendu.data.dataset import Dataset, Split
from shendu.data.files import archive, layout
from shendu.data.pictures import cifar, idx
from shendu.data.reading import Reading
from shendu.data.signals.series import Series
from shendu.data.texts.pairs import Sentence
from shendu.errors import UserError, near
from shendu.field import Field

if TYPE_CHECKING:
    import pyarrow as pa

OF_FILES = {"Image": "picture", "Audio": "recording", "Text": "text"}
"""Kind of column -> kind of files (layout.KINDS) that it is read from."""


def open_as(data: Any, input: Field, target: Field, reading: Reading) -> Dataset | None:
    """The data with these columns; None for what has no such door (arrays, known names, binary files).

    Raises UserError for a column that is missing, a class that the run has not, and what cannot be read.
    """
    if isinstance(input, Sentence):
        return None
    if hasattr(data, "__arrow_c_stream__"):
        from shendu.data.tables import formats

        rows = _rows(formats.from_object(data), "the table", input, target, reading)
        return _dataset("table", input, target, {"train": rows})
    if not isinstance(data, str | os.PathLike):
        return None
    path = Path(os.path.expanduser(data))
    if tables := _tables(path):
        return _of_tables(path, tables, input, target, reading)
    if tree := _files(path):
        return _of_files(path, tree, input, target, reading)
    return None


def _dataset(name: str, input: Field, target: Field, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Dataset:
    splits = {part: Split({"input": x, "target": y}) for part, (x, y) in parts.items() if len(x)}
    if not splits:
        raise UserError(f"{name} has no rows with a target: there is nothing to measure")
    fields = {"input": input, "target": target}
    return Dataset(
        name=name, source=name, hash="", fields=fields, splits=splits, input="input", target="target",
        ordered=isinstance(input, Series),
    )  # fmt: skip


# ---- tables ----------------------------------------------------------------------------------------------------------


def _tables(path: Path) -> dict[str, Path]:
    """Part -> file; empty where a path is no table."""
    from shendu.data.tables import formats, table

    if path.is_file() and path.stat().st_size and formats.recognised(path):
        return {"train": path}
    if not path.is_dir():
        return {}
    names = sorted(archive.Folder(path).sizes)
    return {} if any(map(layout.kind_of, names)) else table.in_folder(path, names) or {}


def _of_tables(path: Path, tables: Mapping[str, Path], input: Field, target: Field, reading: Reading) -> Dataset:
    from shendu.data.tables import formats

    parts = {}
    for part, file in tables.items():
        read, _, comma = formats.read(file, reading.skip_bad)
        parts[part] = _rows(read, str(file), input, target, reading, comma)
    return _dataset(path.name, input, target, parts)


def _rows(
    read: pa.Table, where: str, input: Field, target: Field, reading: Reading, comma: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(stored rows, targets) of those rows that have a target."""
    if isinstance(input, Series):
        return _windows(read, where, input, comma)
    x = _stored(read, where, input)
    free = [name for name in read.column_names if name not in _read_by(input)]
    y, there = _targets(read, _target_name(free, read.column_names, where, reading), where, target, comma)
    return x[there], y[there]


def _read_by(input: Field) -> set[str]:
    """The table's columns that an input column is made of."""
    fields = [field.name for field in getattr(input, "fields", ())]
    return {*fields, *getattr(input, "columns", ()), getattr(input, "column", "")}


def _windows(read: pa.Table, where: str, input: Series, comma: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every window of a series with what came after it."""
    line = input.line(read, where, comma)
    width = input.window + input.horizon
    if len(line.values) < width:
        raise UserError(
            f"{where} has {len(line.values):,} rows, and a window with its forecast takes {width}: add earlier ones"
        )
    both = np.lib.stride_tricks.sliding_window_view(line.values, width)
    return both[:, : input.window].copy(), both[:, input.window :].copy()


def _stored(read: pa.Table, where: str, input: Field) -> np.ndarray:
    try:
        return input.store(read)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _target_name(free: list[str], names: list[str], where: str, reading: Reading) -> str:
    from shendu.data.tables.target import choose_target

    if not free or (reading.target and reading.target not in names):
        wanted = f"target column '{reading.target}'" if reading.target else "column besides those that the model reads"
        close = near(reading.target, free) if reading.target else ""
        close = close if "did you mean" in close else "; for its predictions: shendu predict"
        raise UserError(f"{where} has no {wanted} to compare predictions with{close}")
    return choose_target(free, reading.target, where)[0]


def _targets(read: pa.Table, name: str, where: str, target: Field, comma: bool) -> tuple[np.ndarray, np.ndarray]:
    """(targets as the column stores them, which rows have one)."""
    from shendu.data.tables import cells
    from shendu.data.tables.target import _class_codes

    column = cells.Cells(name, read.column(name))
    form = cells.numbers_form(column, "," if comma else "")
    if not isinstance(target, Category):
        values = cells.numbers(column, form).astype(np.float32)
        return values, np.isfinite(values)
    names = list(target.names)
    codes, written = _class_codes(column, names, _as_numbers(names), form, "")
    strange = np.flatnonzero(codes == -2)
    if len(strange):
        raise UserError(
            f"{where} has the class '{written(strange[0])}' in row {strange[0] + 1:,}, which the run has not: "
            f"its classes are {', '.join(names[:8])}{', …' * (len(names) > 8)}"
        )
    return codes, codes >= 0


def _as_numbers(names: list[str]) -> np.ndarray | None:
    """The numbers that classes are named after; None where they are words."""
    try:
        numbers = np.array([float(name) for name in names])
    except ValueError:
        return None
    return numbers if [f"{number:.15g}" for number in numbers] == names else None


# ---- files -----------------------------------------------------------------------------------------------------------


def _files(path: Path) -> archive.Tree | None:
    """The files of a folder or archive that are data by their kind; None where there are none."""
    if path.is_dir():
        tree: archive.Tree = archive.Folder(path)
        if idx.pairs(path, (name for name in tree.sizes if "/" not in name)):
            return None
    elif zipfile.is_zipfile(path) and path.suffix.lower() != ".npz":
        tree = archive.Zip(path)
    elif path.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
        tree = archive.Tar(path)
    else:
        return None
    names = sorted(tree.sizes)
    return tree if any(map(layout.kind_of, names)) and not cifar.relevant(names) else None


def _of_files(path: Path, tree: archive.Tree, input: Field, target: Field, reading: Reading) -> Dataset | None:
    laid = layout.plan(sorted(tree.sizes), str(path), reading)
    if not isinstance(target, Category) or OF_FILES.get(type(input).__name__) != laid.kind:
        return None
    for label in sorted({label for rows in laid.splits.values() for _, label in rows}):
        if label not in target.names:
            raise UserError(f"{path} has the class '{label}', which the run has not{near(label, target.names)}")
    stored, bad = _read(path, tree, laid.names(), input)
    layout.refuse(bad, str(path), laid.kind, reading.skip_bad)
    parts = {}
    for part, rows in laid.splits.items():
        good = [(entry, label) for entry, label in rows if entry in stored]
        x = [stored[entry] for entry, _ in good] or [np.empty((0, *input.stored), input.dtype)]
        parts[part] = np.concatenate(x), np.array([target.names.index(label) for _, label in good], np.int64)
    return _dataset(path.name, input, target, parts)


def _read(
    path: Path, tree: archive.Tree, names: list[str], input: Field
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Entry -> its stored row, and entry -> why it cannot be read."""
    stored, bad = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for entry, data in tree.each(names):
            file = path / entry if path.is_dir() else _unpacked(Path(scratch) / f"file{layout.suffix(entry)}", data())
            try:
                stored[entry] = input.store(file)
            except UserError as error:
                bad[entry] = str(error).removeprefix(f"cannot read {file}: ").split("; give a ")[0]
    return stored, bad


def _unpacked(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file
