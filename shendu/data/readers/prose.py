"""Running text from one .txt file, or from several joined.

A part of it is a contiguous piece: the first nine tenths are learned from, and what is measured comes after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shendu.data.class_folders import files_of
from shendu.data.fields.prose import Prose, checked
from shendu.data.files import layout
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import count, suffix
from shendu.data.files.parts import part_of
from shendu.data.reader import USUAL, Claim, Items, Key, Place, Reader, short, there
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

SUFFIXES = (".txt",)
SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
"""The parts of a text that comes in one piece, in the order of reading."""
SMALLEST_TO_SPLIT = 400
"""Bytes: of a shorter text nothing is set aside."""
BYTES_MOST = 1 << 31
SHOWN = 60
SURE, PERHAPS = 0.69, 0.4
"""Of a folder of nothing but texts, a little less than of one of as many files in class folders; of a .txt file, which may be a table."""
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Found:
    """The files of one text, named as a person sees them."""

    files: Mapping[str, Path]
    name: str
    reading: Reading
    notes: tuple[str, ...] = ()
    """What of the place is left out."""


class RunningText(Reader):
    """A text that is read from left to right; a word that is no path is a text itself."""

    name = "prose"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        if path := place.file:
            mine = path.suffix.lower() in SUFFIXES
            sure = 1.0 if reading.task == "text" else PERHAPS
            return Claim(sure, f"a {path.suffix} file", Found({path.name: path}, place.name, reading)) if mine else None
        texts = [] if reading.label_from or not place.folder else joinable(place.names)
        names = texts if reading.reader else [name for name in layout.of_their_own(place.names) if name in set(texts)]
        if not names:
            return None
        assert place.folder
        about = sorted(set(texts) - set(names))
        notes: tuple[str, ...] = (f"about the data, left out: {layout.counted(about, 'text')}",) if about else ()
        notes += layout.aside(place.names, layout.TEXTS)
        found = Found({name: place.folder / name for name in names}, place.name, reading, notes)
        why = f"{count(len(names), 'text')} among {count(len(place.names), 'file')}"
        return Claim(SURE * len(names) / len(place.names), why, found)

    def key(self, claim: Claim) -> Key:
        found: Found = claim.found
        return Key(found.files, {**options(found.reading, SHARES), "notes": list(found.notes)})

    def read(self, claim: Claim, room: Room) -> Decoded:
        found: Found = claim.found
        made = decoded(found.files, found.name, found.reading, room, SHARES)
        return replace(made, notes=(*made.notes, *found.notes))

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> Decoded | None:
        """All of it in one part, `test`: what is measured by a model that has learned from another text."""
        if {field.kind for field in fields.values()} != {Prose.kind}:
            return None
        found: Found = claim.found
        parts = _named(found.files) or {"test": b"\n".join(read_file(path) for path in found.files.values())}
        check(whole := b"".join(parts.values()), found.name)
        text = np.frombuffer(whole, np.uint8)
        names = list(fields)
        splits = {"test": dict.fromkeys(names, text)}
        return Decoded(fields=fields, splits=splits, inputs=(names[0],), targets=(names[-1],), ordered=True)

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        mine = [field.kind for field in fields.values()] == [Prose.kind]
        return 0.9 if mine and isinstance(given, str | Path) else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        (name,) = fields
        if isinstance(given, str) and not (given.lower().endswith(SUFFIXES) or there(given)):
            yield "input", [short(given, SHOWN)], {name: [given]}
            return
        for file in files_of(Path(given).expanduser(), SUFFIXES, "texts"):
            yield "input", [str(file)], {name: [read_file(file)]}

    def sent(self, data: bytes, named: str, fields: dict[str, Field]) -> dict[str, Any] | None:
        if [field.kind for field in fields.values()] != [Prose.kind]:
            return None
        return {name: [checked(data, "the text")] for name in fields}


def options(reading: Reading, shares: Mapping[str, float]) -> dict[str, Any]:
    """What decides the outcome besides the files."""
    return {"kind": "prose", "split": reading.split, "shares": dict(shares)}


def joinable(names: list[str]) -> list[str]:
    """The .txt files of a folder that has no class folders, in the order of their names; empty: it is another kind of folder."""
    texts = [name for name in names if suffix(name) in SUFFIXES]
    return sorted(texts) if texts and all("/" not in name for name in texts) else []


def decoded(files: Mapping[str, Path], name: str, reading: Reading, room: Room, shares: Mapping[str, float]) -> Decoded:
    """One text, or several joined, in parts; `files` are named as a person sees them.

    Files called train.txt, validation.txt and test.txt are the parts themselves. Raises UserError for what is no text in
    UTF-8, for a text without anything to predict, and for a --split that would take rows from its middle.
    """
    parts = _named(files)
    if parts and reading.split:
        raise UserError(f"{name} has parts of its own; leave --split {reading.split} out")
    notes: tuple[str, ...] = ()
    if not parts:
        whole = b"\n".join(read_file(path) for path in files.values())
        if len(files) > 1:
            notes += (f"{len(files):,} texts joined in the order of their names",)
        parts, note = _cut(whole, name, reading.split, shares)
        notes += (note,) if note else ()
    check(parts["train"], name)
    splits = {}
    for part, data in parts.items():
        column = room(part, "text", (len(data),), Prose.dtype)
        column[:] = np.frombuffer(data, np.uint8)
        splits[part] = {"text": column}
    return Decoded(
        fields={"text": Prose()}, splits=splits, inputs=("text",), targets=("text",), ordered=True, notes=notes
    )


def _named(files: Mapping[str, Path]) -> dict[str, bytes]:
    """The parts, where the files' names are those of parts and one is train.txt; else none."""
    found = {part_of(Path(name).stem): path for name, path in files.items()}
    if "eval" in found:
        found.setdefault("test" if "test" not in found else "validation", found.pop("eval"))
    if "train" not in found or "" in found or len(found) < len(files):
        return {}
    return {part: read_file(found[part]) for part in SHARES if part in found}


def _cut(data: bytes, name: str, split: str, shares: Mapping[str, float]) -> tuple[dict[str, bytes], str]:
    """The parts of one text, cut between characters, and a note of what was set aside."""
    size = len(data)
    if split:
        held_out = _held_out(split, size)
        if not 0 < held_out < size - 1:
            raise UserError(
                f"{name} has {size:,} bytes, and --split {split} leaves no training text; use a share like 0.1"
            )
        shares = {
            "train": 0.95 * (1 - held_out / size),
            "validation": 0.05 * (1 - held_out / size),
            "test": held_out / size,
        }
    elif size < SMALLEST_TO_SPLIT:
        return {"train": data}, f"{name} has only {size:,} bytes: none are set aside"
    ends, total = [0], 0.0
    for share in shares.values():
        total += share
        ends.append(_between(data, min(size, int(total * size + 1e-9))))
    ends[-1] = size
    parts = {part: data[ends[i] : ends[i + 1]] for i, part in enumerate(shares)}
    rest = ", ".join(f"{len(parts[part]):,} for {part}" for part in parts if part != "train")
    return {part: piece for part, piece in parts.items() if piece}, f"the end of {name} is set aside: {rest} (bytes)"


def _between(data: bytes, at: int) -> int:
    """The place, from `at` on, where a character begins."""
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at


def _held_out(split: str, size: int) -> int:
    if "/" in split or "@" in split:
        raise UserError(
            f"--split {split} would take pieces from the middle of a text; write it like --split 0.1 or last:5000"
        )
    return int(split.removeprefix("last:")) if split.startswith("last:") else round(float(split) * size)


def read_file(path: Path) -> bytes:
    """A text file's bytes, without a mark of its encoding; raises UserError where it cannot be read as UTF-8."""
    try:
        size = path.stat().st_size
        if size > BYTES_MOST:
            raise UserError(
                f"{path} has {size / 2**30:.1f} GB; a text is read whole, give at most {BYTES_MOST >> 30} GB of it"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {path} ({getattr(error, 'strerror', None) or error}); give a text file") from None
    return checked(data.removeprefix(_MARK), str(path))


def check(data: bytes, name: str) -> None:
    """Raises UserError for a text in which there is nothing to predict."""
    beginning = data[: 1 << 20].decode("utf-8", "ignore")
    if len(beginning) == 1:
        raise UserError(f"{name} is one character long: nothing follows it that could be predicted, give more text")
    if len(set(beginning)) == 1 and len(data) < 1 << 20:
        raise UserError(f"{name} is one character ({beginning[0]!r}) over and over: there is nothing to learn from it")
