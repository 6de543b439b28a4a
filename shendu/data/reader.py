"""The contract of a reader: a door from outside data to stored rows, and to plain values where a model is asked.

A file under data/readers/ is a reader; a person's own class is one as soon as it is defined.
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from shendu.data.files import archive
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

if TYPE_CHECKING:
    from shendu.data.files.cache import Decoded, Room

Items = Iterator[tuple[str, list[str], dict[str, Any] | str]]
"""(what the names are: `input`, `row`, a column; a name per row; field's name -> plain values for its `parse`), in pieces.

Text in place of values: why these rows cannot be read; with no names, a line that a person should know.
"""
OWN, LAST = 0.9, 0.3
"""How sure a reader is of what it reads by itself; of a path that nobody reads, so that it can say what is wrong with it."""
HEAD = 512
USUAL = Reading()
"""Nothing is said of how it is to be read."""


@dataclass(frozen=True)
class Place:
    """What was given: a folder or an archive whose files are listed, a file, or Python objects."""

    given: Any
    path: Path | None = None
    """None: Python objects."""
    tree: archive.Tree | None = None
    """Of a folder, and of an archive that was looked into."""
    names: list[str] = field(default_factory=list)
    """The tree's files, sorted."""

    @classmethod
    def of(cls, given: Any) -> Place:
        """Of a path, whose folder is listed now, or of objects."""
        if not isinstance(given, str | os.PathLike):
            return cls(given)
        path = Path(os.path.expanduser(given))
        return cls(given, path)._with(archive.Folder(path)) if path.is_dir() else cls(given, path)

    @classmethod
    def within(cls, path: str | os.PathLike[str]) -> Place:
        """Of a path; the files of an archive are listed too. Raises UserError for a damaged one."""
        place = cls.of(path)
        return place.unpacked() if place.file and place.file.is_file() and place.is_archive() else place

    def _with(self, tree: archive.Tree) -> Place:
        return Place(self.given, self.path, tree, sorted(tree.sizes))

    def unpacked(self) -> Place:
        """The archive that this file is, its files listed. Raises UserError for a damaged one."""
        assert self.path
        return self._with(archive.Zip(self.path) if zipfile.is_zipfile(self.path) else archive.Tar(self.path))

    def __str__(self) -> str:
        return str(self.path) if self.path else f"the {type(self.given).__name__}"

    @property
    def folder(self) -> Path | None:
        """Where it is a folder on the disk."""
        return self.path if isinstance(self.tree, archive.Folder) else None

    @property
    def file(self) -> Path | None:
        """Where it is a file that nobody has looked into."""
        return self.path if self.tree is None else None

    @property
    def name(self) -> str:
        """The last part of the path, without the suffixes that only say how it is packed."""
        assert self.path
        if self.folder:
            return self.path.absolute().name or str(self.path)
        name = self.path.name
        for suffix in (".gz", ".tgz", ".tar", ".zip", ".npz", ".csv", ".tsv", ".jsonl", ".parquet", ".xlsx", ".txt"):
            name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
        return name or self.path.name

    @cached_property
    def head(self) -> bytes:
        """A file's first bytes, unpacked where they are gzipped; empty where that fails."""
        try:
            return self._head()
        except (OSError, UserError):
            return b""

    def _head(self) -> bytes:
        """The same; raises UserError for a damaged file."""
        assert self.path
        with self.path.open("rb") as file:
            head = file.read(HEAD)
            if head[:2] != b"\x1f\x8b":
                return head
            file.seek(0)
            try:
                return gzip.GzipFile(fileobj=file).read(HEAD)
            except EOFError as error:
                raise UserError(f"{self.path} is a truncated gzip file: download or copy it again") from error
            except (gzip.BadGzipFile, zlib.error) as error:
                raise UserError(f"{self.path} is a damaged gzip file ({error}): download or copy it again") from error

    def is_archive(self) -> bool:
        """Whether a file is a zip or tar archive, by its content. Raises UserError for a damaged one."""
        head = self._head()
        if head[:2] == b"PK" or head[257:262] == b"ustar":
            return True
        try:
            tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")  # from before POSIX: no name, but a checksum
        except tarfile.HeaderError:
            return False
        return True


class Claim(NamedTuple):
    """How sure a reader is that a place holds what it reads."""

    sureness: float
    """0 to 1; the surest reads."""
    why: str = ""
    """What speaks for it, in some words: said where another reader is nearly as sure."""
    found: Any = None
    """What the reader found out, so that it need not look again."""


class Key(NamedTuple):
    """What decides the outcome of a reading: whether it is in the cache already."""

    files: Mapping[str, Path]
    """Those that count, by name; none: the objects themselves."""
    options: dict[str, Any]
    """All else, as JSON."""
    name: str = ""
    """What the data is called, if not by its place."""
    at: Path | None = None
    """Where it is, if not at its place: the folder that a file is a part of."""


class Reader:
    """A door. Its first half makes a data set of a place, its second half gives a model's fields their values."""

    known: ClassVar[dict[str, type[Reader]]] = {}
    """Name -> class, of those that are imported."""
    name: ClassVar[str]
    """As a person names it with --reader."""
    wanted: ClassVar[str] = "a file that can be read"
    """What to give instead of a file that cannot be read, for a message."""
    spoiled: ClassVar[bool] = False
    """True: among what is asked about, single files may turn out unreadable, so answers have a column for why."""

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            Reader.known[cls.name] = cls

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        """How sure it is of a place, by names and first bytes; None: it cannot read it."""
        return None

    def key(self, claim: Claim) -> Key:
        """Of the claim that won, before anything is decoded. Raises UserError."""
        return Key({}, {})

    def read(self, claim: Claim, room: Room) -> Decoded:
        """The columns that a claim is about. Raises UserError."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it reads")

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> Decoded | None:
        """The same as a run takes it: encoded by its fields, the input first, then the targets, that are not fitted anew.

        None: this door has no such way; what `read` makes has to have the same fields. Raises UserError for a column that is
        missing, a class that the run has not, and what cannot be read.
        """
        return None

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        """How sure it is, 0 to 1, that it can give these fields' values for what a person asks a model about."""
        return 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        """The values, in pieces of some thousand rows at most. Raises UserError."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it offers")

    def sent(self, data: bytes, named: str, fields: dict[str, Field]) -> dict[str, Any] | None:
        """Plain values of the bytes of one file, which may come from anyone: nothing but they are read, whatever they name.

        `named` is what the file is said to be called. None: it reads no such files for these fields. Raises UserError for
        what cannot be read.
        """
        return None


# ---- what a person asks about -------------------------------------------------------------------------------------


def there(word: str | os.PathLike[str]) -> bool:
    """Whether a word is the path of something that is there; a long text is none."""
    try:
        return os.path.exists(os.path.expanduser(word))
    except (OSError, ValueError):
        return False


def is_path(word: str, suffixes: frozenset[str] = frozenset()) -> bool:
    """Whether a word on the command line names a file: it is there, or it could be nothing else."""
    return there(word) or (
        not re.search(r"\s", word) and ("/" in word or os.path.splitext(word)[1].lower() in suffixes)
    )


def short(text: str, most: int = 40) -> str:
    """A text's beginning, as its name."""
    return text if len(text) <= most else text[: most - 1] + "…"
