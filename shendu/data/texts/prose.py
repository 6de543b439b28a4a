"""Running text: a book, a play, a program; one long line of characters that a language model reads from left to right.

A part of it is a contiguous stretch: the first nine tenths are learned from, and what is measured comes after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data.columns import files_of
from shendu.data.dataset import Dataset, Split
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import SPLITS, suffix
from shendu.data.reading import Reading
from shendu.errors import UserError
from shendu.field import Field

if TYPE_CHECKING:
    from shendu.field import Batch

SUFFIXES = (".txt",)
SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
"""The parts of a text that comes in one piece, in the order of reading."""
SMALLEST_TO_SPLIT = 400
"""Bytes: of a shorter text nothing is set aside."""
BYTES_MOST = 1 << 31
SHOWN = 60
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Prose(Field):
    """Running text as its bytes in UTF-8, uint8 [N]: a row is a byte, and the order of the rows is that of reading."""

    kind: ClassVar[str] = "prose"
    words: ClassVar[str] = "running text"
    dtype: ClassVar[str] = "uint8"

    @property
    def stored(self) -> tuple[int, ...]:
        return ()

    def store(self, raw: Any) -> np.ndarray:
        """From a text, a .txt file (a Path), bytes, or an array of them; raises UserError for what is no text."""
        if isinstance(raw, str):
            return np.frombuffer(checked(raw.encode("utf-8", "replace"), "the text"), np.uint8)
        if isinstance(raw, Path):
            return np.frombuffer(read_file(raw), np.uint8)
        if isinstance(raw, bytes | bytearray):
            return np.frombuffer(checked(bytes(raw), "the text"), np.uint8)
        array = np.asarray(raw.detach().cpu().numpy() if hasattr(raw, "detach") else raw)
        if array.ndim != 1 or array.dtype != np.uint8:
            raise UserError(
                f"the model takes text, or its bytes in UTF-8 as uint8 [n]; this array is {array.dtype} {list(array.shape)}"
            )
        return np.frombuffer(checked(array.tobytes(), "the array"), np.uint8)

    def items(self, given: Any) -> Iterator[tuple[list[str], Any]]:
        """A .txt file, a folder of them; a word that is no path is the text itself."""
        if isinstance(given, str) and not (given.lower().endswith(SUFFIXES) or _there(given)):
            yield [given if len(given) <= SHOWN else given[: SHOWN - 1] + "…"], given
        elif isinstance(given, str | Path):
            yield from ((names, Path(path)) for names, path in files_of(given, SUFFIXES, "texts"))
        else:
            yield [type(given).__name__], given

    def show(self, own: dict[str, np.ndarray]) -> str:
        """A byte's character."""
        return bytes([int(own[""])]).decode("ascii", "replace")

    def example(self, n: int) -> Batch:
        """n letters."""
        import torch

        return {"": torch.randint(97, 123, (n,), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)}


def _there(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        return False


# ---- files -----------------------------------------------------------------------------------------------------------


def joinable(names: list[str]) -> list[str]:
    """The .txt files of a folder that has no class folders, in the order of their names; empty: it is another kind of folder."""
    texts = [name for name in names if suffix(name) in SUFFIXES]
    return sorted(texts) if texts and all("/" not in name for name in texts) else []


def read(files: Mapping[str, Path], name: str, reading: Reading, room: Room, shares: Mapping[str, float]) -> Decoded:
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
    return Decoded(fields={"text": Prose()}, splits=splits, input="text", target="text", ordered=True, notes=notes)


def _named(files: Mapping[str, Path]) -> dict[str, bytes]:
    """The parts, where the files' names are those of parts and one is train.txt; else none."""
    found = {SPLITS.get(Path(name).stem.lower(), ""): path for name, path in files.items()}
    if "train" not in found or "" in found or len(found) < len(files):
        return {}
    return {part: read_file(found[part]) for part in SHARES if part in found}


def _cut(data: bytes, name: str, split: str, shares: Mapping[str, float]) -> tuple[dict[str, bytes], str]:
    """The parts of one text, cut between characters, and a note of what was set aside."""
    size = len(data)
    if split:
        held = _held(split, size)
        if not 0 < held < size - 1:
            raise UserError(
                f"{name} has {size:,} bytes, and --split {split} leaves no training text; use a share like 0.1"
            )
        shares = {"train": 0.95 * (1 - held / size), "validation": 0.05 * (1 - held / size), "test": held / size}
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


def _held(split: str, size: int) -> int:
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


def checked(data: bytes, where: str) -> bytes:
    """The bytes, if they are text in UTF-8; raises UserError that says where they are not."""
    if not data:
        raise UserError(f"{where} is empty: there is no text to read")
    if (zero := data.find(b"\0")) >= 0:
        raise UserError(f"{where} is no text: byte {zero:,} is a zero; give plain text, saved as UTF-8")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{where} is not UTF-8: byte {error.start:,}, in line {line:,}, is {data[error.start]:#04x}; "
            "save it as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8"
        ) from None
    return data


def check(data: bytes, name: str) -> None:
    """Raises UserError for a text in which there is nothing to predict."""
    beginning = data[: 1 << 20].decode("utf-8", "ignore")
    if len(beginning) == 1:
        raise UserError(f"{name} is one character long: nothing follows it that could be predicted, give more text")
    if len(set(beginning)) == 1 and len(data) < 1 << 20:
        raise UserError(f"{name} is one character ({beginning[0]!r}) over and over: there is nothing to learn from it")


def whole(data: Dataset) -> Dataset:
    """Running text in one part, `test`, as it is measured by a model that has learned from another; other data as it is."""
    if not isinstance(data.fields[data.input], Prose):
        return data
    text = np.concatenate([data.splits[part].column(data.input) for part in SHARES if part in data.splits])
    return replace(data, splits={"test": Split({data.input: text})}, notes=())
