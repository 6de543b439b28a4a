"""What a set that is known by name says of itself, and how its files are looked for in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shendu.reading import Published, Reading


@dataclass(frozen=True)
class File:
    """A file as its publisher offers it; `size` in bytes, `urls` mirrors in the order in which they are tried."""

    key: str
    filename: str
    sha256: str
    size: int
    urls: tuple[str, ...]


def local(key: str, filename: str, size: int, sha256: str) -> File:
    """A file that is not fetched: a person puts it where it is found."""
    return File(key, filename, sha256, size, ())


def named(entry: Known, folder: Path) -> dict[str, Path] | None:
    """All files under their published names; any size, since a person may keep a part of a set."""
    files = {file.key: folder / file.filename for file in entry.files}
    if all(path.is_file() for path in files.values()):
        return files
    parts = sorted(folder.glob(entry.part)) if entry.part else []
    return {entry.files[0].key: parts[0]} if parts else None


@dataclass(frozen=True, kw_only=True)
class Known:
    """A data set that a name stands for."""

    name: str
    summary: str
    kind: str
    """What reads its files: idx, cifar-binary, archive, table, pairs, prose, omniglot; of a set that is made, `generated`."""
    make: Callable[[], dict[str, Any]] | None = None
    """What makes it: `fields`, `splits` (split -> field -> array), `input`, `target` and `notes` of a Dataset."""
    files: tuple[File, ...] = ()
    look: Callable[[Known, Path], dict[str, Path] | None] = named
    """How its files are looked for in a folder: key -> file, or None where one is missing."""
    classes: tuple[str, ...] = ()
    licence: str
    home: str = ""
    within: str = ""
    """The set whose folder it may lie in."""
    part: str = ""
    """How the file of an archive's part is called: aclImdb*.tar.gz."""
    reading: Reading = field(default_factory=Reading)
    """How the files of an archive are to be read."""
    table: Published | None = None
    """What the files of a table do not say themselves."""
    languages: tuple[str, str] = ("", "")
    """Of sentence pairs: from which, and to which."""
    shares: dict[str, float] = field(default_factory=dict)
    """The parts of running text, from its beginning to its end."""
    augment: tuple[str, ...] = ()
    """The usual augmentation of its training rows; empty: what suits its input in general."""
