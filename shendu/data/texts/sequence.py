"""Sequences of letters (DNA, RNA, proteins, anything written in a small alphabet), each letter one code.

A network takes one channel per letter; a letter that stands for several (N for any base) is spread over what it may be.

Shape letters: B batch, N rows, L length, A letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.errors import UserError, near
from shendu.field import Field

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from shendu.data.files import cache
    from shendu.data.tables.cells import Cells
    from shendu.field import Batch

AMBIGUOUS = {
    "ACGT": ("R=AG", "Y=CT", "S=CG", "W=AT", "K=GT", "M=AC", "B=CGT", "D=AGT", "H=ACT", "V=ACG", "N=ACGT", "X=ACGT"),
    "ACGU": ("R=AG", "Y=CU", "S=CG", "W=AU", "K=GU", "M=AC", "B=CGU", "D=AGU", "H=ACU", "V=ACG", "N=ACGU", "X=ACGU"),
    "ACDEFGHIKLMNPQRSTVWY": ("B=DN", "Z=EQ", "J=IL", "X=ACDEFGHIKLMNPQRSTVWY"),
}
"""Alphabet -> what its further letters may be (nomenclature of IUPAC-IUB 1984)."""
LETTERS_MOST, LENGTH_MOST = 26, 10_000
SHORTEST, DISTINCT_MOST, SPACES_MOST = 15, 0.7, 0.05
"""Letters that a word must have on average to be taken for a sequence; shares of its letters that differ, and of blanks."""
PLACES, CORE = 10, 4
"""Columns of single letters are one sequence from so many columns on, and where they share so many letters."""
HEAD = 1000
"""Rows that are looked at first: a large table of other things is not searched."""
OTHERS = 2
"""Further columns that a table of sequences may have (names and ids), which are then not read."""
SURE = 0.99


@dataclass(frozen=True, kw_only=True)
class Sequence(Field):
    """Letters: uint8 [N, length], 0 where a sequence is over; a network takes float [B, letters, length]."""

    kind: ClassVar[str] = "sequence"
    words: ClassVar[str] = "sequences of letters"
    explains: ClassVar[str] = "marks"
    spaced: ClassVar[bool] = False
    dtype: ClassVar[str] = "uint8"

    letters: tuple[str, ...]
    length: int
    ambiguous: tuple[str, ...] = ()
    """Further letters with what they may be: N=ACGT."""
    columns: tuple[str, ...] = ("sequence",)
    """Of a table: the column of whole sequences, or one column per letter."""

    @property
    def stored(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.letters), self.length)

    @cached_property
    def symbols(self) -> str:
        """What the codes 1, 2, … stand for."""
        return "".join((*self.letters, *(word[0] for word in self.ambiguous)))

    @cached_property
    def meaning(self) -> np.ndarray:
        """float32 [1 + symbols, A]: each code's shares of the letters."""
        found = np.zeros((1 + len(self.symbols), len(self.letters)), np.float32)
        for code, symbol in enumerate(self.symbols, 1):
            may = next((word[2:] for word in self.ambiguous if word[0] == symbol), symbol)
            found[code, [self.letters.index(letter) for letter in may]] = 1 / len(may)
        return found

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        import torch

        shares = torch.from_numpy(self.meaning).to(own[""].device)
        return {"": shares[own[""].long()].transpose(1, 2).contiguous()}

    def store(self, raw: Any) -> np.ndarray:
        """From a sequence, a list of them, a table or a dict by its columns' names, or from stored codes."""
        if isinstance(raw, np.ndarray) and raw.dtype.kind in "US":
            raw = raw.astype(str).tolist()
        if isinstance(raw, np.ndarray) or hasattr(raw, "detach"):
            return self._as_stored(np.asarray(raw))
        if isinstance(raw, str) or (isinstance(raw, list | tuple) and all(isinstance(word, str) for word in raw)):
            return self._coded(np.array([raw] if isinstance(raw, str) else raw, np.str_), "the input")
        from shendu.data.tables import table

        return self.of_table(raw if hasattr(raw, "column_names") else table.from_object(raw), "the table")

    def _as_stored(self, array: np.ndarray) -> np.ndarray:
        rows = array[None] if array.ndim == 1 else array
        if rows.shape[1:] != self.stored or rows.min(initial=0) < 0 or rows.max(initial=0) > len(self.symbols):
            raise UserError(
                f"the model takes sequences, or codes 0 to {len(self.symbols)} of shape [n, {self.length}]; "
                f"this array has shape {list(array.shape)}"
            )
        return rows.astype(np.uint8)

    def of_table(self, found: pa.Table, where: str) -> np.ndarray:
        """uint8 [n, L] of a table's rows, by the columns' names. Raises UserError."""
        from shendu.data.tables.cells import Cells

        for name in self.columns:
            if name not in found.column_names:
                raise UserError(
                    f"{where} has no column '{name}', which the model reads{near(name, found.column_names)}"
                )
        return self._coded(joined([Cells(name, found.column(name)) for name in self.columns]), where)

    def _coded(self, words: np.ndarray, where: str) -> np.ndarray:
        """uint8 [n, L] of an array of strings [n]; raises UserError for a strange letter and for what is too long."""
        chars, lengths = characters(words)
        if chars.shape[1] > self.length:
            row = int((lengths > self.length).argmax())
            raise UserError(
                f"row {row + 1:,} of {where} has {lengths[row]:,} letters, and the model reads {self.length}: cut it"
            )
        table = np.full(256, 255, np.uint8)
        table[[0, ord(" ")]] = 0
        for code, symbol in enumerate(self.symbols, 1):
            table[ord(symbol)] = code
            if symbol.isupper() and symbol.lower() not in self.symbols:
                table[ord(symbol.lower())] = code
        codes = table[chars]
        if (codes == 255).any():
            row = int((codes == 255).any(1).argmax())
            strange = sorted({chr(c) for c in chars[row][codes[row] == 255]})
            raise UserError(
                f"row {row + 1:,} of {where} has the letter '{strange[0]}', which the model has not seen: it reads {self.symbols}"
            )
        out = np.zeros((len(words), self.length), np.uint8)
        out[:, : codes.shape[1]] = codes
        return out

    def items(self, given: Any) -> Iterator[tuple[list[str], Any]]:
        """A table's file in pieces of some thousand rows, a sequence as it is, or an object."""
        from shendu.data.tables import table

        if not isinstance(given, str | Path):
            held = (
                table.from_object(given)
                if isinstance(given, Mapping) or hasattr(given, "__arrow_c_stream__")
                else given
            )
            yield _numbered(held), held
            return
        path = Path(given)
        if not path.exists():
            if isinstance(given, str) and given.isalpha():
                yield [given if len(given) <= 24 else f"{given[:21]}…"], given
                return
            raise UserError(f"no such file: {path}")
        if path.is_dir():
            raise UserError(f"{path} is a folder: name the table in it")
        if path.suffix.lower() == ".npy":
            yield [str(path)], np.load(path, allow_pickle=False)
            return
        found = table.read(path)[0]
        yield _numbered(found), found

    @property
    def units(self) -> int:
        return self.length

    def hide(self, own: Batch, keep: Tensor, other: Batch | None = None) -> Batch:
        """Letters are taken away: code 0."""
        return {"": own[""].masked_fill(~keep, 0) if other is None else own[""].where(keep, other[""])}

    def unit_names(self, own: dict[str, np.ndarray]) -> list[str]:
        return [self.symbols[code - 1] if code else "" for code in own[""].tolist()]

    def show(self, own: dict[str, np.ndarray]) -> str:
        return "".join(self.symbols[code - 1] if code else " " for code in own[""].tolist()).rstrip()

    def example(self, n: int) -> Batch:
        import torch

        codes = torch.randint(1, len(self.letters) + 1, (n, self.length), generator=torch.Generator().manual_seed(n))
        return {"": codes.to(torch.uint8)}


def _numbered(held: Any) -> list[str]:
    if isinstance(held, str):
        return ["1"]
    rows = held.num_rows if hasattr(held, "num_rows") else len(held)
    return [str(row + 1) for row in range(rows)]


def joined(columns: list[Cells]) -> np.ndarray:
    """The sequences [N] that the cells of one or several columns spell; a letter that is missing among several is a blank."""
    absent = "" if len(columns) == 1 else " "
    text = _words(columns[0], absent)
    for column in columns[1:]:
        text = np.char.add(text, _words(column, absent))
    return text


def _words(column: Cells, absent: str) -> np.ndarray:
    """The cells [N] without the blanks in them."""
    words = (
        np.char.replace(np.array(column.coded.words, np.str_), " ", "") if column.coded.words else np.array([], "<U1")
    )
    return np.append(words, absent)[column.coded.codes]


def characters(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Latin-1 codes uint8 [N, longest], 0 behind a word's end; lengths [N]); other characters become a question mark."""
    if not len(words):
        return np.zeros((0, 0), np.uint8), np.zeros(0, np.int64)
    points = np.ascontiguousarray(words).view(np.uint32).reshape(len(words), -1)
    return np.where(points < 256, points, ord("?")).astype(np.uint8), (points > 0).sum(1)


# ---- a table of sequences --------------------------------------------------------------------------------------------


def columns_of(found: pa.Table, target: str, said: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """The column that holds sequences, or those that spell one, where a table has little else; empty: it has none."""
    forced = tuple(name for name, (kind, _) in said.items() if kind == "sequence")
    return forced or (_found_in(found, target, said) if _found_in(found.slice(0, HEAD), target, said) else ())


def _found_in(found: pa.Table, target: str, said: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    from shendu.data.tables.cells import Cells

    free = [name for name in found.column_names if name != target and said.get(name, ("",))[0] != "ignore"]
    words = [Cells(name, found.column(name)) for name in free if name not in said]
    words = [column for column in words if column.is_plain and not column.is_number and not column.is_time]
    whole = [column.name for column in words if _is_sequence(column)]
    if len(whole) == 1 and len(free) - 1 <= OTHERS:
        return tuple(whole)
    letters = [column for column in words if max(map(len, column.coded.words), default=0) == 1]
    if len(letters) < PLACES or len(free) - len(letters) > OTHERS or not _share_letters(letters):
        return ()
    return tuple(column.name for column in letters)


def _is_sequence(column: Cells) -> bool:
    """Long words of letters alone, most rows of their own, that repeat their letters as names and codes do not."""
    words = column.coded.words
    some = [word.upper() for word in words[:HEAD]]
    if 2 * len(words) < len(column) or not some or np.mean([len(word) for word in some]) < SHORTEST:
        return False
    fits = np.mean([word.isascii() and word.replace(" ", "").isalpha() for word in words])
    repeated = np.mean([len(set(word)) / len(word) for word in some]) < DISTINCT_MOST
    spaced = np.mean([word.count(" ") / len(word) for word in some]) > SPACES_MOST
    return bool(fits >= SURE and repeated and not spaced and len(set("".join(some)) - {" "}) <= LETTERS_MOST)


def _share_letters(columns: list[Cells]) -> bool:
    """Whether single letters mean the same in all columns: nearly every cell holds a letter that most columns have."""
    alphabets = [set(column.coded.words) for column in columns]
    if not all(word.isalpha() for alphabet in alphabets for word in alphabet):
        return False
    core = {word for word in set.union(*alphabets) if sum(word in a for a in alphabets) > len(columns) / 2}
    held = [column.coded.counts[[word in core for word in column.coded.words]].sum() for column in columns]
    there = [column.coded.counts.sum() for column in columns]
    return (
        len(core) >= CORE and sum(held) >= SURE * sum(there) and all(len(core & a) >= len(core) / 2 for a in alphabets)
    )


def decoded(
    tables: Mapping[str, pa.Table], names: tuple[str, ...], target: str, where: Mapping[str, str], room: cache.Room
) -> tuple[Sequence, dict[str, np.ndarray], list[str]]:
    """(the column, part -> codes [N, L], notes) of tables whose sequences stand in the named columns. Raises UserError."""
    from shendu.data.tables.cells import Cells

    words = joined([Cells(name, tables["train"].column(name)) for name in names])
    chars, lengths = characters(words)
    if not lengths.all():
        raise UserError(f"row {lengths.argmin() + 1:,} of {where['train']} has no sequence: leave it out")
    if chars.shape[1] > LENGTH_MOST:
        raise UserError(
            f"row {lengths.argmax() + 1:,} of {where['train']} has {lengths.max():,} letters, and at most {LENGTH_MOST:,} are "
            "read: cut it into pieces"
        )
    letters, ambiguous = _alphabet(chars, where["train"])
    column = Sequence(letters=letters, ambiguous=ambiguous, length=chars.shape[1], columns=names)
    codes = {}
    for part, table in tables.items():
        stored = column.of_table(table, where[part])
        codes[part] = room(part, "sequence", stored.shape)
        codes[part][:] = stored
    what = f"column {names[0]} is" if len(names) == 1 else f"{len(names)} columns of single letters ({names[0]}, …) are"
    notes = [
        f"{what} read as sequences of {''.join(letters)}, {lengths.min()} to {column.length} letters long "
        f"(another: --type {names[0]}=category)"
    ]
    unread = [name for name in tables["train"].column_names if name not in (*names, target)]
    if unread:
        notes.append(f"not read: {', '.join(unread)}; the sequences alone are")
    return column, codes, notes


def _alphabet(chars: np.ndarray, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(letters, further letters with what they may be) of Latin-1 codes [N, L], in capitals. Raises UserError."""
    counts = np.bincount(chars.reshape(-1), minlength=256)
    count: dict[str, int] = {}
    for code in np.flatnonzero(counts):
        if code and chr(code) != " ":
            count[chr(code).upper()] = count.get(chr(code).upper(), 0) + int(counts[code])
    for alphabet, further in AMBIGUOUS.items():
        known = sum(count.get(letter, 0) for letter in alphabet)
        if count.keys() <= {*alphabet, *(word[0] for word in further)} and known >= 0.8 * sum(count.values()):
            return tuple(alphabet), further
    if len(count) > 2 * LETTERS_MOST:
        raise UserError(
            f"the sequences of {where} hold {len(count)} different signs, too many for letters: "
            "read the column as text with --type NAME=text"
        )
    return tuple(sorted(count)), ()
