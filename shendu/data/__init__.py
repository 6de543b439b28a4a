"""Three doors to data, one result: a known name, a path whose content is recognised, or Python objects."""

from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shendu import config
from shendu.data import arrays
from shendu.data.columns import Category, Image, Number
from shendu.data.dataset import Dataset, Split
from shendu.data.files import archive, cache, layout
from shendu.data.pictures import cifar, folder, idx
from shendu.data.reading import Reading
from shendu.data.signals import audio
from shendu.data.texts import pairs, prose, text
from shendu.errors import UserError, unknown
from shendu.field import Field

__all__ = ["Category", "Dataset", "Field", "Image", "Number", "Reading", "Split", "open"]

PUBLIC = ("open_data",)

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".npz")
_READERS: dict[str, Callable[..., cache.Decoded]] = {"picture": folder.read, "recording": audio.read, "text": text.read}
"""Kind of files (layout.KINDS) -> what reads them."""
_EXPECTED = (
    "a folder, zip or tar.gz of class folders, IDX or CIFAR-10 binary files, an .npz, a table (CSV, Parquet, JSONL), "
    "or a text (.txt)"
)


def open(data: Any, *, data_dir: str | Path | None = None, reading: Reading | None = None, **how: Any) -> Dataset:
    """A data set by name, by path, or from arrays; decoded once, then memory-mapped from the cache.

    `data`: a known name; a path to pictures in class folders (folder, zip, tar), IDX files, CIFAR-10 binary files, an
    .npz or a table (CSV, Parquet, JSONL, Excel); a Dataset; a pandas, polars, pyarrow or Hugging Face `datasets` table, a
    dict of such with a train part, or (table, targets); (x, y) of arrays or tensors; a dict with x_train, y_train (or x, y),
    x_val, …, y_test; or `cache:<hash>`. A name wins over a file of the
    same name (write ./mnist for the file). `data_dir` is where known sets are looked for; `how` (or a `reading`) says
    how it is to be read: target, label_from, skip_bad, … (see `Reading`). The splits are those of the source
    (`split_off()` adds what is missing). Raises UserError.
    """
    said: Reading = reading or config.settle(how, Reading())[0]
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | os.PathLike):
        from shendu.data.tables import table

        if tables := table.objects(data):
            return table.open_objects(tables, said)
    if said.task == "anomaly":
        data = arrays.without_labels(data)
    if isinstance(data, Mapping):
        return cache.through_arrays(arrays.decode(data, "data"), "data")
    if isinstance(data, tuple | list) and len(data) == 2:
        return cache.through_arrays(arrays.decode({"x": data[0], "y": data[1]}, "data"), "data")
    if not isinstance(data, str | os.PathLike):
        raise UserError(
            f"data cannot be a {type(data).__name__}: give a name, a path, a table, (x, y), or a dict of arrays"
        )
    if isinstance(data, str) and data.startswith("cache:"):
        return cache.reopen(data)
    if isinstance(data, str) and (named := _open_name(data, data_dir, said)):
        return named
    return _open_path(Path(os.path.expanduser(data)), said)


def _open_name(name: str, data_dir: str | Path | None, reading: Reading) -> Dataset | None:
    """A known set; None where the word is a path. Raises UserError where it is neither."""
    from shendu.data import catalogue

    if name not in catalogue.KNOWN:
        if not os.path.exists(os.path.expanduser(name)):
            raise nothing_called(name, "data set", catalogue.KNOWN)
        return None
    found = catalogue.find(name, data_dir)
    if found.kind == "generated":
        return cache.through_arrays(cache.Decoded(**catalogue.generate(name)), name, name)
    classes = tuple(catalogue.KNOWN[name].classes)
    options = {"kind": found.kind, "classes": list(classes)}
    if found.kind == "idx":
        files = {key.replace("-", "_"): path for key, path in found.files.items()}
        return cache.through_files(files, options, name, name, lambda room: idx.read(files, name, classes))
    if found.kind == "table":
        from shendu.data.tables import table

        entry = catalogue.KNOWN[name]
        return table.open_files(found.files, name, name, reading.over(entry.reading), entry.table)
    if found.kind == "prose":
        return _open_prose(found.files, name, name, reading, catalogue.KNOWN[name].shares)
    if found.kind == "omniglot":
        from shendu.data.pictures import omniglot

        return cache.through_files(
            found.files, {**options, "side": omniglot.SIDE}, name, name, lambda room: omniglot.read(found.files, name)
        )
    if found.kind == "pairs":
        source, target = name.split("-")[-2:]
        if reading.target not in ("", target):
            raise UserError(
                f"{name} is translated to {target}; for the other direction train on multi30k-{target}-{source}"
            )
        return pairs.open_files(found.files, source, target, name, name, reading)
    if found.kind == "archive":
        return _open_file(found.files["archive"], reading.over(catalogue.KNOWN[name].reading), name)
    if unpacked := found.files.get("folder"):
        tree = archive.Folder(unpacked)
        files = {entry: unpacked / entry for entry in cifar.relevant(sorted(tree.sizes))}
        return cache.through_files(files, options, name, name, lambda room: cifar.read(tree, name, classes))
    packed = found.files["archive"]
    return cache.through_files(
        {"archive": packed}, options, name, name, lambda room: cifar.read(_tree(packed), name, classes)
    )


def nothing_called(word: str, kind: str, known: Iterable[str]) -> UserError:
    """The error for a word that is neither a name nor a path; one that looks like a path gets no list of names."""
    if not word.strip():
        return UserError("the data's name is empty: give a name (`shendu list`) or a path")
    if "/" in word or "." in word:
        return UserError(f"there is no file or folder {word}: check the path")
    return UserError(f"{unknown(kind, word, known)} (there is no file or folder of that name)")


def _open_path(path: Path, reading: Reading) -> Dataset:
    try:
        if path.is_dir():
            return _open_folder(path, reading)
        if not path.exists():
            raise UserError(f"there is no file or folder {path}: check the path")
        if not path.is_file():
            raise UserError(f"{path} is no regular file: expected {_EXPECTED}")
        if not path.stat().st_size:
            raise UserError(f"{path} is empty: download or copy it again")
        return _open_file(path, reading)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _open_folder(path: Path, reading: Reading) -> Dataset:
    tree = archive.Folder(path)
    names = sorted(tree.sizes)
    if not names:
        raise UserError(f"the folder {path} is empty: expected {_EXPECTED}")
    name, source = path.absolute().name or str(path), str(path.absolute())
    if files := idx.pairs(path, (entry for entry in names if "/" not in entry)):
        return cache.through_files(files, {"kind": "idx"}, name, source, lambda room: idx.read(files, name))
    if parallel := pairs.in_folder(path, names, reading):
        return parallel
    if records := cifar.relevant(names):
        files = {entry: path / entry for entry in records}
        return cache.through_files(files, {"kind": "cifar"}, name, source, lambda room: cifar.read(tree, str(path)))
    if not any(layout.kind_of(entry) for entry in names) and (tables := _open_tables(path, names, reading)):
        return tables
    if not reading.label_from and (texts := prose.joinable([entry for entry in names if layout.kind_of(entry)])):
        return _open_prose({entry: path / entry for entry in texts}, name, source, reading, prose.SHARES)
    inner = [entry for entry in names if "/" not in entry and entry.lower().endswith(_ARCHIVES)]
    if inner and not any(layout.kind_of(entry) for entry in names):
        raise UserError(f"{path} is a folder of archives: name one of them, such as {path / inner[0]}")
    laid = layout.plan(names, str(path), reading)
    files = {entry: path / entry for entry in laid.names()}
    options = {"kind": laid.kind, "reading": config.to_json(reading.said()), "laid": [laid.splits, laid.notes]}
    return cache.through_files(
        files, options, name, source, lambda room: _READERS[laid.kind](tree, laid, str(path), room, reading.skip_bad)
    )


def _open_tables(path: Path, names: list[str], reading: Reading) -> Dataset | None:
    """A folder of a table, of train.csv and test.csv, or of what `datasets` saved; None for another folder."""
    from shendu.data.tables import table

    name, source = path.absolute().name, str(path.absolute())
    if saved := table.saved_parts(path, names):
        return table.open_saved(path, saved, name, source, reading)
    if parts := table.in_folder(path, names):
        return table.open_files(parts, name, source, reading)
    return None


def _open_file(path: Path, reading: Reading, known: str = "") -> Dataset:
    from shendu.data.tables import table

    name, source = known or _stem(path), known or str(path.absolute())
    written = path.suffix.lower() in prose.SUFFIXES
    if table.recognised(path) and not (written and reading.task == "text"):
        return table.open_files({"train": path}, name, source, reading)
    if written:
        return _open_prose({path.name: path}, name, source, reading, prose.SHARES)
    kind = _sniff(path)
    if kind == "idx":
        files = idx.pairs(path.parent, (entry.name for entry in path.parent.iterdir()))
        if path not in files.values() and path.with_suffix("") not in files.values():
            raise UserError(f"{path} is an IDX file of unknown part: name it like train-images-idx3-ubyte")
        return _open_folder(path.parent, reading)
    if kind == "npz":
        return cache.through_files(
            {"npz": path}, {"kind": "npz"}, name, source, lambda room: arrays.decode(arrays.load(path), str(path))
        )

    def decode(room: cache.Room) -> cache.Decoded:
        tree = _tree(path)
        names = sorted(tree.sizes)
        if not names:
            raise UserError(f"{path} is empty: expected {_EXPECTED}")
        if cifar.relevant(names):
            return cifar.read(tree, str(path))
        inner = [entry for entry in names if entry.lower().endswith(_ARCHIVES)]
        if inner and not any(layout.kind_of(entry) for entry in names):
            raise UserError(f"{path} holds other archives, such as {inner[0]}: unpack it and name one of them")
        if not any(layout.kind_of(entry) for entry in names) and (
            tabled := table.in_archive(tree, path, names, reading, room)
        ):
            return tabled
        laid = layout.plan(names, str(path), reading)
        return _READERS[laid.kind](tree, laid, str(path), room, reading.skip_bad)

    return cache.through_files(
        {"archive": path}, {"kind": "archive", "reading": config.to_json(reading.said())}, name, source, decode
    )


def _open_prose(
    files: Mapping[str, Path], name: str, source: str, reading: Reading, shares: Mapping[str, float]
) -> Dataset:
    """Running text from one file, or from several joined."""
    options = {"kind": "prose", "split": reading.split, "shares": dict(shares)}
    return cache.through_files(
        files, options, name, source, lambda room: prose.read(files, name, reading, room, shares)
    )


def _tree(path: Path) -> archive.Tree:
    return archive.Zip(path) if zipfile.is_zipfile(path) else archive.Tar(path)


def _stem(path: Path) -> str:
    """The name without the suffixes that only say how it is packed."""
    name = path.name
    for suffix in (".gz", ".tgz", ".tar", ".zip", ".npz", ".csv", ".tsv", ".jsonl", ".parquet", ".xlsx", ".txt"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name or path.name


def _sniff(path: Path) -> str:
    """`idx`, `npz` or `archive`, by content; raises UserError for anything else."""
    with path.open("rb") as file:
        head = file.read(512)
        if head[:2] == b"\x1f\x8b":
            file.seek(0)
            try:
                head = gzip.GzipFile(fileobj=file).read(512)
            except EOFError as error:
                raise UserError(f"{path} is a truncated gzip file: download or copy it again") from error
            except (gzip.BadGzipFile, zlib.error) as error:
                raise UserError(f"{path} is a damaged gzip file ({error}): download or copy it again") from error
    if head[:2] == b"PK":
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # of the first entry
        return "npz" if name.endswith(b".npy") else "archive"
    if head[257:262] == b"ustar":
        return "archive"
    if head[:3] == b"\0\0\x08" and head[3:4] in (b"\x01", b"\x03"):
        return "idx"
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")  # from before POSIX: no name, but a checksum
    except tarfile.HeaderError:
        raise UserError(f"{path} is no data that can be read: expected {_EXPECTED}") from None
    return "archive"


open_data = open


# ---- a person's inputs -----------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Some rows of a person's input, as they are stored."""

    key: str
    names: list[str]
    stored: dict[str, Any]


PIECE = 500


def pieces(inputs: Iterable[Any], fields: Mapping[str, Field]) -> Iterator[Piece]:
    """INTERIM."""
    ((name, column),) = fields.items()
    key, names, rows = "input", [], []

    def whole() -> Piece:
        return Piece(key, names, {name: np.array(rows[0]) if len(rows) == 1 else np.concatenate(rows)})

    for words, item in (each for given in inputs for each in column.items(given)):
        stored = column.store(item)
        if type(column).__name__ == "Prose":
            yield Piece("input", words, {name: np.array(stored)})
            continue
        if len(words) == 1 < len(stored):
            words = [f"{words[0]}[{i}]" for i in range(len(stored))]
        now = _key_of(item, column)
        if names and (now != key or len(words) != len(stored)):
            yield whole()
            names, rows = [], []
        key = now
        names = [*names, *words]
        rows.append(stored)
        if len(names) >= PIECE or len(words) != len(stored):
            yield whole()
            names, rows = [], []
    if names:
        yield whole()


def _key_of(item: Any, column: Field) -> str:
    from shendu.data.signals.series import Line, Series
    from shendu.data.tables.row import Row

    if isinstance(column, Series) and isinstance(item, Line):
        return column.time
    if not isinstance(column, Row) or not hasattr(item, "column_names"):
        return "input"
    from shendu.data.tables import table

    return table.identifier(item, column) or "row"
