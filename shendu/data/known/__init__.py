"""The data sets that are known by name: what they are, where their files are found, and from where they are fetched.

A file of this folder says in SETS which sets it knows, and each set says its reader or its maker.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shendu.data.files import cache, download
from shendu.data.known.entry import File, Known
from shendu.errors import UserError, unknown
from shendu.reading import Published

__all__ = ["KNOWN", "File", "Found", "Known", "Published", "find", "generate", "known", "listing", "on_disk"]


@dataclass(frozen=True)
class Found:
    """Where a data set's files are.

    `files`: for `idx` the keys `train_images`, `train_labels`, `test_images`, `test_labels` (gzipped or not); for
    `cifar-binary` either `archive` (a .tar.gz) or `folder` (with data_batch_*.bin in it); `archive` for `archive`; `text` for
    `prose`; for `table` the parts `train` and perhaps `test`; none for `generated`.
    """

    name: str
    kind: str
    files: dict[str, Path] = field(default_factory=dict)


KNOWN: dict[str, Known] = {
    entry.name: entry
    for file in sorted(file.name for file in pkgutil.iter_modules(__path__))
    for entry in vars(importlib.import_module(f"{__name__}.{file}")).get("SETS", ())
}


def known(name: str) -> Known:
    """The entry of a name; raises UserError that names the near one."""
    if name not in KNOWN:
        raise unknown("data set", name, KNOWN)
    return KNOWN[name]


def find(
    name: str,
    data_dir: str | Path | None = None,
    *,
    fetch: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Found:
    """The files of a known set: from `data_dir`, else from the folders of $SHENDU_DATA, else downloaded.

    In such a folder the files may lie directly or in a folder of the set's name; they are a person's own and used as
    they are. `progress` is called with a download's file name, bytes so far and bytes in all.

    Raises UserError for an unknown name, for a `data_dir` that does not exist, for a failed download, and, where
    `fetch` is False, for a set that would have to be downloaded.
    """
    entry = known(name)
    files = _search(entry, data_dir)
    if files is None:
        if not all(file.urls for file in entry.files):
            raise UserError(
                f"{name} is not on this machine: put {' and '.join(file.filename for file in entry.files)} "
                f"from {entry.home} into {_downloads(name)}, or name the folder that has it with --data-dir"
            )
        if not fetch:
            raise UserError(
                f"{name} is not on this machine: put {', '.join(file.filename for file in entry.files)} "
                f"into {_downloads(name)}, or name the folder that has it with --data-dir"
            )
        files = {file.key: _download(name, file, progress) for file in entry.files}
    return Found(name, entry.kind, files)


def generate(name: str) -> dict[str, Any]:
    """A built-in set: `fields`, `splits` (split -> field -> array), `input`, `target` and `notes` of a Dataset.

    Raises UserError for a name that is not built in.
    """
    made = {entry.name: entry.make for entry in KNOWN.values() if entry.make}
    if name not in made:
        raise unknown("built-in data set", name, made)
    return made[name]()


def on_disk(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder (or CIFAR archive) in which a set is found; None where it is built in or would be downloaded."""
    entry = known(name)
    files = _search(entry, data_dir)
    if not files:
        return None
    packed = files.get("archive") or files.get("folder")
    return packed or next(iter(files.values())).parent


def listing(data_dir: str | Path | None = None) -> list[dict[str, str]]:
    """For each known set its `name`, `summary`, `licence`, `home` (where a person finds it) and `where` it is here: built in, a path,
    how much would be downloaded, or that a person puts it here."""
    rows = []
    for name, entry in KNOWN.items():
        if entry.make:
            where = "built in"
        elif path := on_disk(name, data_dir):
            where = str(path)
        elif not all(file.urls for file in entry.files):
            where = "to be put here by hand"
        else:
            where = f"would download {sum(file.size for file in entry.files) / 2**20:.1f} MiB"
        rows.append(
            {"name": name, "summary": entry.summary, "licence": entry.licence, "home": entry.home, "where": where}
        )
    return rows


def _search(entry: Known, data_dir: str | Path | None) -> dict[str, Path] | None:
    """Key -> file from the first place that has all of them; None where no place has."""
    places = list(_places(data_dir))
    if entry.make:
        return {}
    for place in places:
        for folder in (place / entry.name, place / entry.within, place):
            if files := entry.look(entry, folder):
                return files
    downloads = {file: _downloads(entry.name) / file.filename for file in entry.files}
    if all(path.is_file() and path.stat().st_size == file.size for file, path in downloads.items()):
        return {file.key: path for file, path in downloads.items()}
    return None


def _places(data_dir: str | Path | None) -> Iterator[Path]:
    """The folders in which a person keeps data sets."""
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not folder.is_dir():
            why = "is not a folder" if folder.exists() else "does not exist"
            raise UserError(f"--data-dir {data_dir}: {why}; name the folder that has the data sets' files")
        yield folder
    for name in os.environ.get("SHENDU_DATA", "").split(os.pathsep):
        if name and (folder := Path(name).expanduser()).is_dir():
            yield folder


def _downloads(name: str) -> Path:
    return cache.root() / "downloads" / name


def _download(name: str, file: File, progress: Callable[[str, int, int], None] | None) -> Path:
    def report(done: int, size: int) -> None:
        if progress:
            progress(file.filename, done, size)

    to = _downloads(name) / file.filename
    return download.fetch(file.urls, to, sha256=file.sha256, size=file.size, progress=report)
