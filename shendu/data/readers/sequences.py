"""Sequences of letters: in a table's column, in columns of single letters, or as they are.

Tables of them are found to be such by the reader of tables.

Shape letters: N rows, L length.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu.data.fields.sequence import Sequence, characters
from shendu.data.reader import USUAL, Items, Reader
from shendu.errors import UserError, near
from shendu.field import Field
from shendu.reading import Reading
from shendu.shown import option

if TYPE_CHECKING:
    import pyarrow as pa

    from shendu.data.cells import Cells
    from shendu.data.files import cache

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


class Sequences(Reader):
    """A sequence that is given as it is."""

    name = "sequences"

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        mine = [field.kind for field in fields.values()] == [Sequence.kind]
        return 0.9 if mine and isinstance(given, str) and given.isalpha() and not Path(given).exists() else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        (name,) = fields
        yield "input", [given if len(given) <= 24 else f"{given[:21]}…"], {name: [given]}

    def sent(self, data: bytes, named: str, fields: dict[str, Field]) -> dict[str, Any] | None:
        """A sequence a line; a table is read by another reader."""
        if [field.kind for field in fields.values()] != [Sequence.kind] or Path(named).suffix not in ("", ".txt"):
            return None
        return {name: [line.strip() for line in data.decode("ascii", "replace").split()] for name in fields}


def spelt(found: pa.Table, field: Sequence, where: str) -> np.ndarray:
    """The sequences [N] of a table's rows, by the columns' names. Raises UserError."""
    from shendu.data.cells import Cells

    for name in field.columns:
        if name not in found.column_names:
            raise UserError(f"{where} has no column '{name}', which the model reads{near(name, found.column_names)}")
    return joined([Cells(name, found.column(name)) for name in field.columns])


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


# ---- a table of sequences --------------------------------------------------------------------------------------------


def columns_of(found: pa.Table, target: str, said: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """The column that holds sequences, or those that spell one, where a table has little else; empty: it has none."""
    forced = tuple(name for name, (kind, _) in said.items() if kind == "sequence")
    return forced or (_found_in(found, target, said) if _found_in(found.slice(0, HEAD), target, said) else ())


def _found_in(found: pa.Table, target: str, said: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    from shendu.data.cells import Cells

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
    covered = [column.coded.counts[[word in core for word in column.coded.words]].sum() for column in columns]
    there = [column.coded.counts.sum() for column in columns]
    return (
        len(core) >= CORE
        and sum(covered) >= SURE * sum(there)
        and all(len(core & a) >= len(core) / 2 for a in alphabets)
    )


def decoded(
    tables: Mapping[str, pa.Table], names: tuple[str, ...], target: str, where: Mapping[str, str], room: cache.Room
) -> tuple[Sequence, dict[str, np.ndarray], list[str]]:
    """(the column, part -> codes [N, L], notes) of tables whose sequences stand in the named columns. Raises UserError."""
    from shendu.data.cells import Cells

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
        stored = column.codes_of(spelt(table, column, where[part]), where[part])
        codes[part] = room(part, "sequence", stored.shape)
        codes[part][:] = stored
    what = f"column {names[0]} is" if len(names) == 1 else f"{len(names)} columns of single letters ({names[0]}, …) are"
    least, most = int(lengths.min()), column.length
    span = f"{most}" if least == most else f"{least} to {most}"
    notes = [
        f"{what} read as sequences of {''.join(letters)}, {span} letters long "
        f"(another: {option('--type', f'{names[0]}=category')})"
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
