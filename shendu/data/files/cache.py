"""The store of decoded columns: one memory-mapped .npy per split and part of a field, keyed by the content of the sources."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from shendu import untrusted
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.category import Category
from shendu.data.moments import chunks
from shendu.data.ragged import Ragged
from shendu.errors import UserError
from shendu.field import Field, Storage
from shendu.reading import anew

VERSION = 7
"""Part of every hash: to be raised when the same bytes would decode to other columns."""
_SETTLED_NS = 2 * 10**9
"""A file changed within the last two seconds may change again under the same time stamp, so it is not indexed."""
_ABANDONED_S = 24 * 3600
_SMALL, _BLOCK = 1 << 16, 64
"""Bytes of a file that is hashed in one piece; files that are handed to a thread at once."""


class Room(Protocol):
    """Makes room in the entry that is being written."""

    def __call__(self, split: str, key: str, shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
        """A zeroed array of a split's column (a field's name + part), on the disk already."""
        ...


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a reader makes of its source; the columns are stored as their fields say."""

    fields: dict[str, Field]
    splits: dict[str, dict[str, Any]]
    """Split -> a field's name + part -> its stored values; only the training split needs to have targets."""
    inputs: tuple[str, ...]
    targets: tuple[str, ...] = ()
    ordered: bool = False
    notes: tuple[str, ...] = ()

    @property
    def storage(self) -> dict[str, Storage]:
        """A field's name + part -> how it is stored."""
        return {name + part: how for name, field in self.fields.items() for part, how in field.storage().items()}

    def rows(self, split: str) -> int:
        """How many rows a split has."""
        name = self.inputs[0]
        return len(self.splits[split][name + next(iter(self.fields[name].storage()))])


def root() -> Path:
    """The cache's folder: $SHENDU_CACHE, else shendu/ in the user's cache folder."""
    if own := os.environ.get("SHENDU_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "shendu"


def through_files(
    files: Mapping[str, Path], options: dict[str, Any], name: str, source: str, decode: Callable[[Room], Decoded]
) -> Dataset:
    """The stored columns of some files, decoded now if need be.

    `files` maps the names that count to the files; `options` is all else that decides the outcome (JSON).
    The very files of an earlier call, with their sizes and times, are not read again. Raises UserError.
    """
    index = _index(files, options)
    try:
        digest = index.read_text(encoding="ascii") if index and not anew.get() else ""
    except (OSError, ValueError):
        digest = ""
    known = _is_digest(digest)
    if not known:
        digest = _digest_files(files, options)
    dataset = (None if anew.get() else load(digest, name, source)) or _store(digest, name, source, decode)
    if index and not known:
        _remember(index, digest)
    return dataset


def through_arrays(decoded: Decoded, name: str, source: str = "") -> Dataset:
    """The stored copy of arrays in memory; without a `source` it is `cache:<hash>`. Raises UserError."""
    sha = hashlib.sha256(_canonical([VERSION, _describe(decoded)]))
    for split, arrays in sorted(decoded.splits.items()):
        for field, values in sorted(arrays.items()):
            for array in values.parts if isinstance(values, Ragged) else (values,):
                sha.update(f"\0{split}\0{field}\0{array.dtype.str}\0{array.shape}\0".encode())
                for part in chunks(array):
                    sha.update(np.ascontiguousarray(part).data)
    digest = sha.hexdigest()
    source = source or f"cache:{digest}"
    return load(digest, name, source) or _store(digest, name, source, lambda room: decoded)


def in_memory(decoded: Decoded, name: str) -> Dataset:
    """A data set that is never written to the disk, and so cannot be reopened. Raises UserError."""
    check(decoded, name)
    return _as_dataset(replace(decoded, fields=fitted(decoded)), name)


def as_encoded(decoded: Decoded, name: str) -> Dataset:
    """Data that is encoded by a run's fields, which stay as they were fitted on its own rows."""
    return _as_dataset(decoded, name, name)


def _as_dataset(decoded: Decoded, name: str, source: str = "") -> Dataset:
    splits = {part: Split(columns) for part, columns in decoded.splits.items()}
    return Dataset(
        name=name, source=source, hash="", fields=decoded.fields, splits=splits, inputs=decoded.inputs,
        targets=decoded.targets, ordered=decoded.ordered, notes=decoded.notes,
    )  # fmt: skip


def in_memory_room(split: str, key: str, shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    """Room in memory."""
    return np.zeros(shape, dtype)


def reopen(source: str) -> Dataset:
    """The data set of `cache:<hash>`; raises UserError where the cache no longer holds it."""
    digest = source.removeprefix("cache:")
    dataset = load(digest, "", source) if _is_digest(digest) else None
    if dataset is None:
        raise UserError(f"'{source}' is not in the cache {root()}: open the arrays themselves again")
    return dataset


def load(digest: str, name: str, source: str) -> Dataset | None:
    """The entry of a hash, memory-mapped copy-on-write; None where it is missing or damaged."""
    folder = root() / "data" / digest
    try:
        about = untrusted.read(folder / "dataset.json", dict[str, Any])
        fields = {name: Field.from_json(value) for name, value in about["fields"].items()}
        storage = {key + part: how for key, field in fields.items() for part, how in field.storage().items()}
        splits = {
            split: Split(
                {key: _map(folder / f"{split}.{key}.npy", kept["rows"], storage[key]) for key in kept["columns"]}
            )
            for split, kept in about["splits"].items()
        }
        return Dataset(
            name=name or about["name"],
            source=source,
            hash=digest,
            fields=fields,
            splits=splits,
            inputs=tuple(about["inputs"]),
            targets=tuple(about["targets"]),
            ordered=bool(about["ordered"]),
            notes=tuple(about["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, EOFError):
        return None  # whatever is wrong with an entry, decoding again mends it


def _map(path: Path, rows: int, how: Storage) -> Any:
    if how.ragged:
        return _map_ragged(path, rows, how)
    values = np.load(path, mmap_mode="c", allow_pickle=False)
    if values.shape != (rows, *how.shape) or values.dtype != np.dtype(how.dtype):
        raise ValueError(f"{path} is not what dataset.json says")
    return np.asarray(values)


def _map_ragged(path: Path, rows: int, how: Storage) -> Ragged:
    values, offsets = (np.load(part, mmap_mode="c", allow_pickle=False) for part in (path, _offsets(path)))
    whole = len(offsets) == rows + 1 and offsets[0] == 0 and offsets[-1] == len(values)
    right = values.dtype == np.dtype(how.dtype) and values.shape[1:] == how.shape
    if not right or not whole or (np.diff(offsets) < 0).any():
        raise ValueError(f"{path} is not what dataset.json says")
    return Ragged(np.asarray(values), np.asarray(offsets))


def _offsets(path: Path) -> Path:
    """Beside the values of rows of varying length, where each begins and ends."""
    return path.with_suffix(".offsets.npy")


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True).encode()


def _describe(decoded: Decoded) -> dict[str, Any]:
    return {
        "fields": {name: field.to_json() for name, field in decoded.fields.items()},
        "inputs": list(decoded.inputs),
        "targets": list(decoded.targets),
        "ordered": decoded.ordered,
        "notes": list(decoded.notes),
    }


def _index(files: Mapping[str, Path], options: dict[str, Any]) -> Path | None:
    """Where the hash of these files is noted, by path, size, times, device and inode; None where one is too fresh, or gone.

    Two files that change places keep their sizes and times; a device and an inode of 0 are those of a file system without.
    """
    stamps, newest = [], 0
    for name, path in sorted(files.items()):
        try:
            about = os.stat(path)
        except OSError:
            return None  # the reader says what is wrong with it
        newest = max(newest, about.st_mtime_ns)
        same = about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_dev, about.st_ino
        stamps.append((name, os.path.abspath(path), *same))
    if abs(time.time_ns() - newest) < _SETTLED_NS:
        return None
    return root() / "index" / hashlib.sha256(_canonical([VERSION, options, stamps])).hexdigest()


def _remember(index: Path, digest: str) -> None:
    """Notes a hash; a cache that cannot be written only costs time."""
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        part = index.with_name(f"{index.name}.{os.getpid()}.part")
        part.write_text(digest, encoding="ascii")
        part.replace(index)
    except OSError:
        pass


def _digest_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            small = os.fstat(file.fileno()).st_size < _SMALL  # file_digest clears a buffer of 256 KiB first
            return hashlib.sha256(file.read()).digest() if small else hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b"unreadable"  # the reader says so, by name


def _digest_files(files: Mapping[str, Path], options: dict[str, Any]) -> str:
    """sha256 over names and contents, in the order of names."""
    sha = hashlib.sha256(_canonical([VERSION, options]))
    names = sorted(files)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = [names[at : at + _BLOCK] for at in range(0, len(names), _BLOCK)]
        for block, digests in zip(blocks, pool.map(lambda b: [_digest_file(files[n]) for n in b], blocks), strict=True):
            for name, digest in zip(block, digests, strict=True):
                sha.update(_canonical(name) + b"\0" + digest)
    return sha.hexdigest()


def check(decoded: Decoded, name: str) -> None:
    """Raises UserError for data that nothing can be learned from: no rows, unequal counts, one class, bad labels."""
    if not decoded.splits.get("train") or not decoded.rows("train"):
        raise UserError(f"{name} has no training rows: put some into its train part")
    for split, columns in decoded.splits.items():
        rows = {key: len(values) for key, values in columns.items()}
        if len(set(rows.values())) > 1:
            counts = " but ".join(f"{count:,} rows of {key}" for key, count in rows.items())
            raise UserError(f"{name} has {counts} in its {split} part: both must have one row per sample")
    for target in decoded.targets:
        field = decoded.fields[target]
        if not isinstance(field, Category):
            continue
        for split, columns in decoded.splits.items():
            labels = columns.get(target, np.empty(0, np.int64))
            bad = np.flatnonzero((labels < 0) | (labels >= len(field.names)))
            if len(bad):
                raise UserError(
                    f"{name} has label {labels[bad[0]]} in row {bad[0]:,} of its {split} part, "
                    f"outside of its {len(field.names)} classes 0 to {len(field.names) - 1}: correct the labels"
                )
        if len(field.names) < 2:
            only = field.names[0] if field.names else "none"
            raise UserError(f"{name} has only one class ({only}): there is nothing to tell apart, add a second class")


def _store(digest: str, name: str, source: str, decode: Callable[[Room], Decoded]) -> Dataset:
    """Decodes into a temporary folder, which then becomes the entry in one step. Raises UserError."""
    final = root() / "data" / digest
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent)
        scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=final.parent))
        try:
            _write(scratch, name, decode)
            _publish(scratch, final)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write the cache {root()}: {error.strerror or error}; "
            "set SHENDU_CACHE=FOLDER to a folder that is writable and has room"
        ) from error
    dataset = load(digest, name, source)
    if dataset is None:
        raise UserError(f"the cache entry {final} vanished while it was read: run the command again")
    return dataset


def _write(folder: Path, name: str, decode: Callable[[Room], Decoded]) -> None:
    def room(split: str, key: str, shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
        path = folder / f"{split}.{key}.npy"
        values = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk is then an error here, not a bus error at some later write
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return values

    decoded = decode(room)
    check(decoded, name)
    storage = decoded.storage
    splits = {split: columns for split, columns in decoded.splits.items() if decoded.rows(split)}
    for split, columns in splits.items():
        for key, values in columns.items():
            path = folder / f"{split}.{key}.npy"
            if isinstance(values, Ragged):
                _save(path, values.values.astype(storage[key].dtype, copy=False))
                _save(_offsets(path), values.offsets)
            elif isinstance(values, np.memmap) and str(values.filename) == str(path):
                values.flush()
            else:
                path.unlink(missing_ok=True)
                _save(path, values.astype(storage[key].dtype, copy=False))
    kept = {split: {"rows": decoded.rows(split), "columns": list(columns)} for split, columns in splits.items()}
    about = {"version": VERSION, "name": name, **_describe(replace(decoded, fields=fitted(decoded))), "splits": kept}
    with (folder / "dataset.json").open("wb") as file:
        file.write(json.dumps(about, indent=1).encode())
        _sync(file)
    _sync_folder(folder)


def fitted(decoded: Decoded) -> dict[str, Field]:
    """The fields, the inputs' with what they need to know of the training rows."""
    train, done = decoded.splits["train"], dict(decoded.fields)
    for name in decoded.inputs:
        own = {part: train[name + part] for part in decoded.fields[name].storage()}
        done[name] = decoded.fields[name].fitted([own])
    return done


def _save(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, values)
        _sync(file)


def _publish(scratch: Path, final: Path) -> None:
    """Renames an entry to its place; one that is there already is as good (a race), or is set aside: damaged, or not
    wanted."""
    for _ in range(10):
        try:
            os.rename(scratch, final)
            _sync_folder(final.parent)
            return
        except OSError:
            if not final.exists():
                raise
        if not anew.get() and load(final.name, "", "") is not None:
            return
        aside = Path(tempfile.mkdtemp(prefix=".part-", dir=final.parent))
        try:
            os.rename(final, aside / "damaged")
        except FileNotFoundError:
            pass  # another process set it aside first
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what a killed process left a day ago or earlier."""
    for old in folder.glob(".part-*"):
        try:
            abandoned = time.time() - old.stat().st_mtime > _ABANDONED_S
        except OSError:
            continue
        if abandoned:
            shutil.rmtree(old, ignore_errors=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
