"""A tree of files, be it a folder, a zip or a tar(.gz): listed and read in place, never unpacked to disk.

Nothing that an outsider wrote into an archive is trusted: names, sizes and counts have limits.
"""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from shendu.errors import UserError

ENTRIES_MOST = 10_000_000
ENTRY_BYTES_MOST = 1 << 29
TOTAL_BYTES_MOST = 1 << 40
SMALL = 1 << 16
NO_DATA = frozenset(
    {
        *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),  # of desktops
        *("@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found"),  # of disks
        "_background_noise_",  # of the speech commands: minutes to be mixed in, no class
    }
)
"""Files and folders, in lower case, that lie among data and are none, besides hidden ones: neither learned from nor asked about."""
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)
"""What zipfile and tarfile raise on damaged bytes."""

Read = Callable[[], bytes]


class Tree(Protocol):
    """Files below one root."""

    path: Path
    sizes: dict[str, int]
    """Name relative to the root ('/' between parts) -> bytes, of every file that is not hidden."""

    def each(self, names: Collection[str], most: int = ENTRY_BYTES_MOST) -> Iterator[tuple[str, Read]]:
        """Every named file once, in the order that is quickest to read; `read()` may be called from any thread.

        With `most` only so many bytes of a file's beginning are read. `read()` raises OSError, or UserError where the
        archive itself is damaged.
        """
        ...


def visible(name: str) -> bool:
    """False for hidden files and what desktops and disks leave behind."""
    return not any(part.startswith(".") or part.lower() in NO_DATA for part in name.split("/"))


class File:
    """A file by itself, whatever it is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes = {path.name: path.stat().st_size}

    def each(self, names: Collection[str], most: int = ENTRY_BYTES_MOST) -> Iterator[tuple[str, Read]]:
        for name in names:
            yield name, lambda: _beginning(self.path, self.sizes[name], most)  # noqa: B023


class Folder:
    """A folder on disk; links are followed, each folder once, so that loops end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        seen: set[tuple[int, int]] = set()
        waiting = [(path, "")]
        while waiting:
            folder, prefix = waiting.pop()
            try:
                about = folder.stat()
                if (about.st_dev, about.st_ino) in seen:
                    continue
                seen.add((about.st_dev, about.st_ino))
                with os.scandir(folder) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
                waiting += [
                    (Path(entry.path), f"{prefix}{entry.name}/")
                    for entry in reversed(entries)
                    if visible(entry.name) and not self._add(entry, prefix)
                ]
            except OSError as error:
                raise UserError(f"cannot read the folder {folder}: {error.strerror or error}") from error

    def _add(self, entry: os.DirEntry[str], prefix: str) -> bool:
        """Notes a file; False for a folder. A link to nowhere, or to itself, counts as a file that cannot be read."""
        try:
            if entry.is_dir():
                return False
            about = entry.stat()
            if not stat.S_ISREG(about.st_mode):
                return True
            size = about.st_size
        except OSError:
            size = 0
        self.sizes[prefix + entry.name] = size
        if len(self.sizes) > ENTRIES_MOST:
            raise UserError(f"{self.path} holds more than {ENTRIES_MOST:,} files: name the folder of the data itself")
        return True

    def each(self, names: Collection[str], most: int = ENTRY_BYTES_MOST) -> Iterator[tuple[str, Read]]:
        for name in names:
            yield name, lambda name=name: self._read(name, most)  # type: ignore[misc]

    def _read(self, name: str, most: int) -> bytes:
        return _beginning(os.path.join(self.path, name), self.sizes[name], most)


def _beginning(path: str | Path, size: int, most: int) -> bytes:
    """A file's first bytes; raises OSError where it is too large to be read whole."""
    if size > most == ENTRY_BYTES_MOST:
        raise OSError(f"larger than {ENTRY_BYTES_MOST:,} bytes")
    with open(path, "rb") as file:
        return file.read(most)


class _Listing:
    """The checked names and sizes of an archive's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self._seen = self._total = 0

    def add(self, name: str, size: int, is_file: bool) -> str:
        """The name of a file to be read (regular, visible, not seen before), else "". UserError beyond the limits."""
        self._seen += 1
        if self._seen > ENTRIES_MOST:
            raise UserError(f"{self.path} has more than {ENTRIES_MOST:,} entries: split it up")
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if ".." in parts or name.startswith(("/", "\\")) or (parts and ":" in parts[0][1:2]) or "\0" in name:
            raise UserError(f"{self.path} has an entry outside of its folder ({name!r}): pack it without such paths")
        self._total += max(size, 0)
        if size > ENTRY_BYTES_MOST or self._total > TOTAL_BYTES_MOST:
            raise UserError(
                f"{self.path} would unpack to more than {TOTAL_BYTES_MOST:,} bytes, or {name!r} in it to more than "
                f"{ENTRY_BYTES_MOST:,}: unpack it yourself and name the folder"
            )
        clean = "/".join(parts)
        if not is_file or not clean or not visible(clean) or clean in self.sizes:
            return ""
        self.sizes[clean] = size
        return clean


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turns what damaged bytes raise into one line."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} is damaged or cut short ({what}): download or pack it again") from error


class Zip:
    """A zip archive; entries are found by the directory at its end, so any thread can read any of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        listing = _Listing(path)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        with _damage(path):
            self._file = zipfile.ZipFile(path)
            for info in self._file.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.flag_bits & 1:
                    raise UserError(f"{path} is encrypted: unpack it yourself and name the folder")
                is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
                if name := listing.add(_spelled(info), info.file_size, is_file):
                    self._infos[name] = info
        self.sizes = listing.sizes

    def each(self, names: Collection[str], most: int = ENTRY_BYTES_MOST) -> Iterator[tuple[str, Read]]:
        for name in names:
            yield name, lambda name=name: self._read(name, most)  # type: ignore[misc]

    def _read(self, name: str, most: int) -> bytes:
        info = self._infos[name]
        if info.file_size <= min(SMALL, most) and (data := self._small(info)) is not None:
            return data
        try:
            with self._file.open(self._infos[name]) as file:
                return file.read(min(self.sizes[name], most))  # never more than its directory entry says
        except _DAMAGE as error:
            raise OSError(f"damaged in the archive ({error})") from error

    def _small(self, info: zipfile.ZipInfo) -> bytes | None:
        """A small entry, in one read: zipfile needs longer to open one than to decompress it. None: left to zipfile."""
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or self._file.fp is None:
            return None
        try:
            head = 30 + len(info.filename.encode()) + len(info.extra) + 64
            raw = os.pread(self._file.fp.fileno(), head + info.compress_size, info.header_offset)
            start = 30 + sum(struct.unpack_from("<HH", raw, 26))
            data = raw[start : start + info.compress_size]
            if info.compress_type == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-15).decompress(data, info.file_size)
        except (OSError, AttributeError, struct.error, zlib.error):
            return None
        whole = len(data) == info.file_size and zlib.crc32(data) == info.CRC and raw[:4] == b"PK\3\4"
        return data if whole else None


def _spelled(info: zipfile.ZipInfo) -> str:
    """An entry's name: where it is not said to be UTF-8, but is (as Apple's archives have it), it is read as that."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


class Tar:
    """A tar archive, plain or gzip, read from front to back each time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self.sizes = {name: size for name, size, _ in self._walk()}

    def each(self, names: Collection[str], most: int = ENTRY_BYTES_MOST) -> Iterator[tuple[str, Read]]:
        wanted = set(names)
        for name, _, read in self._walk():
            if name in wanted:
                data = read(most)
                yield name, lambda data=data: data  # type: ignore[misc]

    def _walk(self) -> Iterator[tuple[str, int, Callable[[int], bytes]]]:
        listing = _Listing(self.path)
        with _damage(self.path), self.path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            opened: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            stream: Any = _Capped(opened)
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
                    is_file = member.isreg() and not member.issparse()
                    if name := listing.add(member.name, member.size, is_file):
                        yield name, member.size, _reader(archive, member)


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[int], bytes]:
    def read(most: int) -> bytes:
        file = archive.extractfile(member)
        wanted = min(member.size, most)
        data = file.read(wanted) if file else b""
        if len(data) < wanted:
            raise EOFError(f"{member.name} ends early")
        return data

    return read


class _Capped:
    """A stream of which no single read, and no position, can be beyond the limits: tarfile trusts its headers."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= ENTRY_BYTES_MOST:
            raise ValueError("an entry beyond the limit")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if not 0 <= offset <= TOTAL_BYTES_MOST:
            raise ValueError("an entry beyond the limit")
        return self._stream.seek(offset, whence)
