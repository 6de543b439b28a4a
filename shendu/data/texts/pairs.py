"""Sentence pairs: a sentence of one language and its translation, from text files that are parallel by line.

A folder holds train.SOURCE and train.TARGET, perhaps val.* and test.* too, gzipped or not: line n of one file is the
translation of line n of the other. Stored are the bytes in UTF-8 and where each sentence begins; what are tokens is the
affair of who learns from them.

Shape letters: N sentences, W bytes kept of a sentence that is to be translated.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu import config
from shendu.data.dataset import Dataset, Split
from shendu.data.files import cache
from shendu.data.files.cache import Decoded
from shendu.data.ragged import Ragged
from shendu.data.reading import Reading
from shendu.errors import UserError, unknown
from shendu.field import Field

if TYPE_CHECKING:
    from shendu.field import Batch

SOURCE, TARGET = "source", "target"
BYTES_MOST, FILE_MOST = 4096, 4 << 30
"""Bytes of a sentence, and of a file when it is unpacked."""
PIECE = 500
"""Lines of a file that are translated at once."""
_SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}
_NAME = re.compile(r"(train|val|valid|validation|dev|test[\w-]*)\.([a-z]{2,3}(?:[-_][A-Za-z]{2,4})?)(?:\.gz)?")
_NO_LANGUAGES = {"csv", "tsv", "txt", "npy", "npz", "zip", "tar", "tgz", "xls", "xml", "gif", "jpg", "png", "wav", "py"}

Parts = dict[str, dict[str, str]]
"""Part -> language -> name of a file."""


@dataclass(frozen=True, kw_only=True)
class Sentence(Field):
    """Sentences of a language as bytes in UTF-8: rows of varying length (ragged.py)."""

    kind: ClassVar[str] = "sentence"
    words: ClassVar[str] = "sentence pairs"
    dtype: ClassVar[str] = "uint8"
    ragged: ClassVar[bool] = True

    language: str = ""
    """As the files' names have it: de, en, …"""

    @property
    def stored(self) -> tuple[int, ...]:
        return ()

    def store(self, raw: Any) -> np.ndarray:
        """From a text, a list of texts, or sentences as they are stored -> uint8 [N, W], zeros behind each one's last byte."""
        if isinstance(raw, Ragged):
            return raw.padded(BYTES_MOST)
        if isinstance(raw, str):
            raw = [raw]
        if isinstance(raw, list | tuple) and raw and all(isinstance(text, str) for text in raw):
            return Ragged.of([_checked(text) for text in raw], self.dtype).padded(BYTES_MOST)
        array = raw.detach().cpu().numpy() if hasattr(raw, "detach") else np.asarray(raw)
        if array.ndim != 2 or array.dtype != np.uint8 or array.shape[1] > BYTES_MOST:
            raise UserError(
                "the model takes sentences: a text, a list of texts, or their bytes in UTF-8 as uint8 [n, bytes]; "
                f"this input is {array.dtype} {list(array.shape)}"
            )
        return np.pad(array, ((0, 0), (0, BYTES_MOST - array.shape[1])))

    def items(self, given: Any) -> Iterator[tuple[list[str], Any]]:
        """A text file's lines; anything else is the sentence itself."""
        if isinstance(given, Path) or (isinstance(given, str) and _is_file(given)):
            lines = [line.decode() for line in read_lines(Path(given))]
            for start in range(0, len(lines), PIECE):
                piece = lines[start : start + PIECE]
                yield [_short(line) for line in piece], piece
        else:
            yield [_short(given) if isinstance(given, str) else type(given).__name__], given

    def brief(self) -> str:
        return f"sentences of {self.language}" if self.language else "sentences of a language without a name"

    def show(self, own: dict[str, np.ndarray]) -> str:
        return text_of(own[""])

    def example(self, n: int) -> Batch:
        import torch

        letters = torch.randint(ord("a"), ord("z") + 1, (n, 24), generator=torch.Generator().manual_seed(n))
        letters[:, 5::6] = ord(" ")
        return {"": letters.to(torch.uint8)}


def text_of(row: np.ndarray) -> str:
    """A sentence's bytes [W], or its codes in a longer row -> the text."""
    return row.tobytes().rstrip(b"\0").decode("utf-8", "replace")


def dense(dataset: Dataset) -> Dataset:
    """The same data, rows of varying length padded with zeros to the longest: for looking at, not for learning."""
    ragged = [name for name, column in dataset.fields.items() if column.ragged]
    splits = dataset.splits
    for name in ragged:
        parts = {part: split.column(name) for part, split in splits.items()}
        longest = max(int(rows.lengths.max(initial=1)) for rows in parts.values())  # type: ignore[attr-defined]
        padded = {part: rows.padded(longest) for part, rows in parts.items()}  # type: ignore[attr-defined]
        others = {
            part: {key: split.column(key) for key in split.columns if key != name} for part, split in splits.items()
        }
        splits = {part: Split({**others[part], name: padded[part]}) for part in splits}
    return replace(dataset, splits=splits) if ragged else dataset


def _checked(text: str) -> bytes:
    """A sentence's bytes; raises UserError for none, and for too many."""
    data = " ".join(text.replace("\0", " ").split()).encode("utf-8", "replace")
    if not data:
        raise UserError('there is no word in one of the sentences; write it like "Ein Mann liest."')
    if len(data) > BYTES_MOST:
        raise UserError(
            f"the sentence '{_short(text)}' has {len(data):,} bytes, {BYTES_MOST:,} are the most; translate it in pieces"
        )
    return data


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _is_file(word: str) -> bool:
    try:
        return os.path.isfile(word)
    except (OSError, ValueError):
        return False


# ---- files -----------------------------------------------------------------------------------------------------------


def in_folder(path: Path, names: list[str], reading: Reading) -> Dataset | None:
    """The data set of a folder of parallel text files; None for another folder. Raises UserError."""
    parts, left_out = parts_of(names)
    if len(parts.get("train", {})) < 2:
        return None
    source, target = _direction(path, sorted(parts["train"]), reading)
    for part, files in parts.items():
        if lacks := [language for language in (source, target) if language not in files]:
            there = next(iter(files.values()))
            raise UserError(f"{path} has {there} but no {part} file of {lacks[0]} beside it; add it, or remove {there}")
    paths = {f"{part}.{language}": path / parts[part][language] for part in parts for language in (source, target)}
    notes = [f"sentences are translated from {source} to {target}; --target {source} turns it round"]
    if left_out:
        notes.append(f"further test files, left out: {', '.join(left_out)}")
    return open_files(paths, source, target, path.absolute().name, str(path.absolute()), reading, tuple(notes))


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
        into.setdefault(stem if into is tests else _SPLITS[stem], {}).setdefault(language, name)
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


def open_files(
    files: Mapping[str, Path],
    source: str,
    target: str,
    name: str,
    place: str,
    reading: Reading,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """The data set of parallel files, `PART.LANGUAGE` -> path; raises UserError for files that are not parallel."""
    options = {
        "kind": "pairs",
        "direction": [source, target],
        "notes": notes,
        "reading": config.to_json(reading.said()),
    }
    return cache.through_files(files, options, name, place, lambda room: read(files, source, target, notes))


def read(files: Mapping[str, Path], source: str, target: str, notes: tuple[str, ...] = ()) -> Decoded:
    """Sentences and their translations of every part, as `Ragged` bytes; raises UserError."""
    splits: dict[str, dict[str, Any]] = {}
    for part in ("train", "validation", "test"):
        if f"{part}.{source}" in files:
            one, other = files[f"{part}.{source}"], files[f"{part}.{target}"]
            splits[part] = {SOURCE: _column(one, other), TARGET: _column(other, one)}
            _parallel(one, len(splits[part][SOURCE]), other, len(splits[part][TARGET]))
    fields: dict[str, Field] = {SOURCE: Sentence(language=source), TARGET: Sentence(language=target)}
    return Decoded(fields=fields, splits=splits, input=SOURCE, target=TARGET, notes=notes)


def _column(path: Path, beside: Path) -> Ragged:
    return Ragged.of(read_lines(path, f"{path.name} and {beside.name}"), Sentence.dtype)


def _parallel(one: Path, lines: int, other: Path, others: int) -> None:
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
