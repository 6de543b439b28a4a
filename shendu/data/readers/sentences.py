"""Sentence pairs: a sentence of one language and its translation, from text files that are parallel by line.

A folder holds train.SOURCE and train.TARGET, perhaps val.* and test.* too, gzipped or not: line n of one file is the
translation of line n of the other.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shendu import config
from shendu.data.fields.sentence import BYTES_MOST, Sentence
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.parts import part_of
from shendu.data.ragged import Ragged
from shendu.data.reader import USUAL, Claim, Items, Key, Place, Reader, short, there
from shendu.errors import UserError, unknown
from shendu.field import Field
from shendu.reading import Reading
from shendu.shown import option

SOURCE, TARGET = "source", "target"
FILE_MOST = 4 << 30
"""Bytes of a file when it is unpacked."""
PIECE = 500
"""Lines of a file that are translated at once."""
SURE = 0.96
_NAME = re.compile(r"(train|val|valid|validation|dev|test[\w-]*)\.([a-z]{2,3}(?:[-_][A-Za-z]{2,4})?)(?:\.gz)?")
_NO_LANGUAGES = {"csv", "tsv", "txt", "npy", "npz", "zip", "tar", "tgz", "xls", "xml", "gif", "jpg", "png", "wav", "py"}

Parts = dict[str, dict[str, str]]
"""Part -> language -> name of a file."""


@dataclass(frozen=True)
class Found:
    """Parallel files, `PART.LANGUAGE` -> path, and what is translated to what."""

    files: Mapping[str, Path]
    source: str
    target: str
    reading: Reading
    notes: tuple[str, ...] = ()


class Sentences(Reader):
    """Parallel text files of two languages; a sentence is given as it is, or as a file of such."""

    name = "sentences"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        if not place.folder:
            return None
        parts, left_out = parts_of(place.names)
        if len(parts.get("train", {})) < 2:
            return None
        return Claim(
            SURE, f"parallel files of {' and '.join(sorted(parts['train']))}", (place.folder, parts, left_out, reading)
        )

    def key(self, claim: Claim) -> Key:
        found = parallel(*claim.found)
        return Key(found.files, options(found))

    def read(self, claim: Claim, room: Room) -> Decoded:
        found = parallel(*claim.found)
        return decoded(found.files, found.source, found.target, found.notes)

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        mine = [field.kind for field in fields.values()] == [Sentence.kind]
        return 0.9 if mine and isinstance(given, str | Path) else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        """A text file's lines, or those of a folder's files in this language; anything else is the sentence itself."""
        (name,) = fields
        if isinstance(given, str) and not there(given):
            yield "input", [short(given)], {name: [given]}
            return
        for path in _files_of(Path(given).expanduser(), fields[name]):
            lines = [line.decode() for line in read_lines(path)]
            for start in range(0, len(lines), PIECE):
                piece = lines[start : start + PIECE]
                yield "input", [short(line) for line in piece], {name: piece}

    def sent(self, data: bytes, named: str, fields: dict[str, Field]) -> dict[str, Any] | None:
        """A sentence a line."""
        if [field.kind for field in fields.values()] != [Sentence.kind]:
            return None
        lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
        return dict.fromkeys(fields, lines)


def _files_of(path: Path, field: Field) -> list[Path]:
    """A file as it is, or a folder's files in the field's language, part by part. Raises UserError where there are none."""
    if not path.is_dir():
        return [path]
    assert isinstance(field, Sentence)
    parts, _ = parts_of(Place.of(path).names)
    if not (found := [path / files[field.language] for files in parts.values() if field.language in files]):
        raise UserError(
            f"{path} holds no file of {field.language} such as test.{field.language}: name the file to translate"
        )
    return found


def parallel(path: Path, parts: Parts, left_out: list[str], reading: Reading) -> Found:
    """The files of a folder, each beside its translation. Raises UserError for one that lacks it."""
    source, target = _direction(path, sorted(parts["train"]), reading)
    for part, files in parts.items():
        if lacks := [language for language in (source, target) if language not in files]:
            there = next(iter(files.values()))
            raise UserError(f"{path} has {there} but no {part} file of {lacks[0]} beside it; add it, or remove {there}")
    paths = {f"{part}.{language}": path / parts[part][language] for part in parts for language in (source, target)}
    notes = [f"sentences are translated from {source} to {target}; {option('--target', source)} turns it round"]
    if left_out:
        notes.append(f"further test files, left out: {', '.join(left_out)}")
    return Found(paths, source, target, reading, tuple(notes))


def parts_of(names: list[str]) -> tuple[Parts, list[str]]:
    """Which files are of which part and language; and those of further test parts, which are not read."""
    found: Parts = {}
    tests: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        match = _NAME.fullmatch(name)
        if match is None or match[2] in _NO_LANGUAGES:
            continue
        stem, language = match[1], match[2]
        into = tests if stem.startswith("test") else found
        into.setdefault(stem if into is tests else part_of(stem), {}).setdefault(language, name)
    first, *others = tests.values() or [{}]
    return {**found, **({"test": first} if first else {})}, [name for files in others for name in files.values()]


def _direction(path: Path, languages: list[str], reading: Reading) -> tuple[str, str]:
    if len(languages) > 2:
        raise UserError(
            f"{path} has training files of {', '.join(languages)}; a pair is of two languages: remove the others"
        )
    if reading.target and reading.target not in languages:
        raise unknown("language", reading.target, languages)
    target = reading.target or languages[1]
    return next(language for language in languages if language != target), target


def options(found: Found) -> dict[str, Any]:
    """What decides the outcome besides the files."""
    return {
        "kind": "pairs", "direction": [found.source, found.target], "notes": found.notes,
        "reading": config.to_json(found.reading.said()),
    }  # fmt: skip


def decoded(files: Mapping[str, Path], source: str, target: str, notes: tuple[str, ...] = ()) -> Decoded:
    """Sentences and their translations of every part, as `Ragged` bytes; raises UserError."""
    splits: dict[str, dict[str, Any]] = {}
    for part in ("train", "validation", "test"):
        if f"{part}.{source}" in files:
            one, other = files[f"{part}.{source}"], files[f"{part}.{target}"]
            splits[part] = {SOURCE: _column(one, other), TARGET: _column(other, one)}
            _check_lines(one, len(splits[part][SOURCE]), other, len(splits[part][TARGET]))
    fields: dict[str, Field] = {SOURCE: Sentence(language=source), TARGET: Sentence(language=target)}
    return Decoded(fields=fields, splits=splits, inputs=(SOURCE,), targets=(TARGET,), notes=notes)


def _column(path: Path, other: Path) -> Ragged:
    return Ragged.of(read_lines(path, f"{path.name} and {other.name}"), Sentence.dtype)


def _check_lines(one: Path, lines: int, other: Path, others: int) -> None:
    if lines != others:
        raise UserError(
            f"{one} has {lines:,} lines but {other.name} has {others:,}: line n of one must be the translation of line n "
            "of the other"
        )


def read_lines(path: Path, where: str = "") -> list[bytes]:
    """A text file's lines in UTF-8 without surrounding space, gzipped or not; `where` names the files of a pair.

    Raises UserError for an empty file, bytes that are not UTF-8, an empty line, and a line that is no sentence.
    """
    data = _unpacked(path)
    if not data.strip():
        raise UserError(f"{path} is empty: it needs one sentence a line")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} in line {at:,}; save it as UTF-8"
        ) from None
    lines = [b" ".join(line.replace(b"\0", b" ").split()) for line in data.removesuffix(b"\n").split(b"\n")]
    for number, line in enumerate(lines, 1):
        if not line:
            raise UserError(
                f"{path} has an empty line {number:,}: write its sentence, or take the line out of {where or path.name}"
            )
        if len(line) > BYTES_MOST:
            raise UserError(
                f"{path} has {len(line):,} bytes in line {number:,}, {BYTES_MOST:,} are the most: split it into sentences "
                f"in {where or path.name}"
            )
    return lines


def _unpacked(path: Path) -> bytes:
    """A file's bytes without a byte-order mark; raises UserError."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            data = file.read(FILE_MOST + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}): download or copy it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > FILE_MOST:
        raise UserError(f"{path} has more than {FILE_MOST >> 30} GiB of text: train on a part of it")
    return data.removeprefix(b"\xef\xbb\xbf")
