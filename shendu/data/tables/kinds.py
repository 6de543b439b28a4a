"""What kind each column of a table is, by its training rows or by what the person says, and why.

A column is a number, a category, an ordered category, a boolean, a date or a free text; or it is left out, since it holds
nothing, one value, or a name for every row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shendu.data import cells, frames, numerals, times
from shendu.data.cells import Cells
from shendu.data.column import LETTERS, Column
from shendu.data.files.layout import PICTURES, RECORDINGS
from shendu.data.tables.delimited import few
from shendu.data.words import ALONE, cut_note, length_kept
from shendu.errors import UserError, near, unknown
from shendu.shown import option

KINDS = ("number", "category", "ordered", "boolean", "date", "text", "sequence", "ignore")
SIGNS = ("", ".", ",")
"""Decimal signs that a person may say of numbers."""
NAMES_MOST, RAREST, NAME_LONGEST = 1000, 2, 200
"""A category keeps its most frequent names, none that occurs less often than that, and none of more characters."""
NAMES_FEW = 100
"""Values of so many words that most rows share with others are names up to so many of them, and texts beyond."""
VOCABULARY_MOST, WORDS_MOST, SHARE_WHOLE = 10_000, 64, 0.95
_FREE_WORDS = 4
"""Words that a text has on average; a category has fewer."""
RECURS, EVERYWHERE, _HEAD = 0.5, 0.9, 5_000
"""Words of a text that stand in other texts too, on average, so that there is something to learn from them; those in more than this
share of the texts tell nothing. Judged by so many different texts."""
SURE = 0.95
"""Share of values that must be numbers (or dates) for a column to hold them; the rest count as missing."""
ID = re.compile(r"(?i:#|(row|record|line)?[_ ]?(id|idx|index|nr|no|number)|row|.+[_ ]id|uuid|guid|unnamed.*)|.+Id")
"""How columns are called that name their rows."""
_IDS = 20
"""Below so many rows, values that all differ are no sign of an id."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a column was found to be: a field, or why it is left out; `why` where the reason is the column's own.

    `cure` is the kind as which something could be learned from a column that is left out, `cut` says where a row's texts are cut."""

    field: Column | None = None
    left: str = ""
    cure: str = ""
    why: str = ""
    cut: str = ""


def parse_types(words: tuple[str, ...], names: list[str]) -> dict[str, tuple[str, str]]:
    """Column -> (kind, what stands behind its colon). Raises UserError for an unknown column or kind."""
    said = {}
    for word in words:
        name, kind, detail = re.fullmatch(r"(.+)=(\w+)(?::(.+))?", word).groups("")  # type: ignore[union-attr]
        if name not in names:
            raise UserError(f"{option('--type', word)}: there is no column '{name}'{near(name, names)}")
        if kind not in KINDS:
            raise unknown(f"kind of column for {option('--type', name)}:", kind, KINDS)
        if kind == "ordered" and len(detail.split("|")) < 2:
            raise UserError(
                f"{option('--type', word)} does not say the order: write it like {option('--type', f'{name}=ordered:low|middle|high')}"
            )
        if kind == "date" and detail and detail not in times.DATES:
            raise unknown(f"form of dates for {option('--type', f'{name}=date:')}", detail, times.DATES)
        if kind == "number" and detail not in SIGNS:
            raise UserError(
                f"{option('--type', word)} names no decimal sign: write {option('--type', f'{name}=number:.')} or "
                f"{option('--type', f'{name}=number:,')}"
            )
        said[name] = (kind, detail)
    return said


def judge(column: Cells, said: tuple[str, str] | None, comma: bool) -> Judged:
    """What kind a column of the training part is. Raises UserError where it is not what the person says."""
    if said:
        return _as_said(column, *said, comma)
    if not column.is_plain:
        return Judged(left=f"nested ({short_type(column)})")
    if not column.says.any():
        return Judged(left="empty")
    if column.is_time:
        return _date(column, "")
    if media := _media(column):
        return _names_of_files(column, media)
    if _is_iso(column):
        same = pc.min_max(column.column.drop_null())
        alike = same["min"] == same["max"] and not column.column.null_count
        return Judged(left="constant") if alike else _date(column, "Y-m-d")
    if not column.order and not pa.types.is_boolean(column.column.type):
        found = _as_number(column, comma)
        if found:
            return found
    if not len(column.coded.values):
        return Judged(left="empty")
    if len(column.coded.values) == 1 and column.coded.codes.min() >= 0:
        return Judged(left="constant")
    return _with_units(column, _as_words(column))


def _media(column: Cells) -> str:
    """`picture` or `recording` where the values are names of such files; empty: they are something else."""
    if not pa.types.is_string(column.column.type):
        return ""
    for of in (PICTURES, RECORDINGS):
        ends = rf"(?i)[^/\\]({'|'.join(re.escape(end) for end in sorted(of.suffixes))})\s*$"
        head = pc.match_substring_regex(column.column.slice(0, 100).drop_null(), ends)
        if len(head) and not pc.any(head).as_py():
            continue  # a column of a million distinct values is not to be coded for this
        if len(column.sayings) and pc.mean(pc.match_substring_regex(column.sayings, ends)).as_py() >= SURE:
            return of.word
    return ""


def _names_of_files(column: Cells, kind: str) -> Judged:
    """Of names that recur, a category; links are left out; raises UserError for files that are the data themselves."""
    rows, distinct = int((column.coded.codes >= 0).sum()), len(column.coded.values)
    if distinct * 2 <= rows:
        field = _category(column)
        return Judged(field=field, why=f"names of {kind} files are categories, what is in the files is not read")
    if pc.any(pc.match_substring(column.sayings, "://")).as_py():
        return Judged(left=f"links to {kind}s")
    raise UserError(
        f"column {column.name} holds names of {kind} files, such as '{column.written(0)}', and a table does not read what is in "
        f"them: put the {kind}s into class folders, or the files themselves into the cells (Parquet, as `datasets` writes it); "
        f"or leave the column out with {option('--type', f'{column.name}=ignore')}"
    )


def _with_units(column: Cells, found: Judged) -> Judged:
    """Says of what are numbers in several units why they are none."""
    mine = not found.field or found.field.kind in ("category", "text")
    units = column.written_numbers.several_units() if mine and pa.types.is_string(column.column.type) else []
    why = (
        f"numbers in several units ({', '.join(units)}) are no numbers together: write them in one"
        if units
        else found.why
    )
    return replace(found, why=why)


def _is_iso(column: Cells) -> bool:
    """Whether all values are ISO dates: a column of a million distinct times is not to be coded first."""
    if not pa.types.is_string(column.column.type):
        return False
    head = column.column.slice(0, 100).drop_null()
    return (
        bool(len(head) and pc.all(pc.match_substring_regex(head, r"^\d{4}-\d\d-\d\d")).as_py())
        and column.times is not None
    )


def short_type(column: Cells) -> str:
    return str(column.column.type).split("<")[0]


def _as_number(column: Cells, comma: bool) -> Judged | None:
    """A number, an id, or codes of digits; None where it is something else."""
    form = cells.numbers_form(column, "," if comma else "")
    values = cells.numbers(column, form)
    there = values[~np.isnan(values)] if column.exact is None else column.exact[column.says]
    bad = np.flatnonzero(np.isnan(values) & column.says)
    if not len(there) or len(bad) > (1 - SURE) * (len(there) + len(bad)) or cells.blurred(column, form):
        return None
    if there.min() == there.max() and len(there) == len(values):
        return Judged(left="constant")
    if (
        ID.fullmatch(column.name)
        and len(there) == len(values) >= _IDS
        and whole(there)
        and len(np.unique(there)) == len(there)
    ):
        return Judged(left="id", cure="number")
    if length := zero_padded(column):
        return Judged(field=_category(column), why=f"codes of {length} digits, some begin with 0")
    return Judged(field=Column(name=column.name, kind="number", form=form), why=_numbers_told(column, form, bad))


def _numbers_told(column: Cells, form: str, bad: np.ndarray, said: bool = False) -> str:
    """How numbers are written, and what among them counts as missing."""
    told = column.written_numbers.told(form, said) if column.plain is None or form else []
    return "; ".join([*([f"numbers: {', '.join(told)}"] if told else []), *_missing_told(column, "numbers", bad)])


def _missing_told(column: Cells, kind: str, bad: np.ndarray) -> list[str]:
    """What among numbers or dates counts as missing: words for nothing, and cells `bad` that cannot be read."""
    absent = column.word_for_nothing()
    words = [f"{absent.cells:,} times '{absent.example}' counts as missing among {kind}"] if absent else []
    if len(bad):
        words.append(f"{kind}, and {len(bad):,} words such as '{column.written(int(bad[0]))}' that count as missing")
    return words


_SEPARATE = r"(?:\d+{0}(?:\d{{1,2}}|\d{{4,}})|0{0}\d+)\s?[%€]?$"
_POINT, _COMMA = (r"^[-+]?" + _SEPARATE.format(sign) for sign in (r"\.", ","))
"""Numbers whose sign is a decimal one, since other than three digits stand behind it."""
_WITH_COMMA = r"^[-+]?\d[\d.]*(?:,\d+)?\s?[%€]?$"


def decimal_comma(table: pa.Table) -> bool:
    """Whether a column of texts holds numbers whose comma is a decimal sign, so that those of the others are too."""
    for column in table.columns:
        if _any_head(column, _COMMA):
            said = Cells("", column.slice(0, _HEAD)).sayings
            if pc.mean(pc.match_substring_regex(said, _WITH_COMMA).cast(pa.int8())).as_py() >= SURE:
                return True
    return False


def _any_head(column: pa.ChunkedArray, pattern: str) -> bool:
    """Whether one of the first cells is so written."""
    if not pa.types.is_string(column.type):
        return False
    return bool(pc.any(pc.match_substring_regex(column.slice(0, _HEAD), pattern)).as_py())


def points_told(table: pa.Table, types: tuple[str, ...], comma: bool) -> tuple[str, ...]:
    """Says of what columns it cannot be told whether their points part thousands, where they are read as decimal points.

    Where all numbers have one, thousands are unlikely but in tables whose cells are parted by semicolons, as where the comma is decimal.
    """
    said, notes = parse_types(types, table.column_names), []
    comma_likely = frames.semicolon(table) and not any(_any_head(column, _POINT) for column in table.columns)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in said or not pa.types.is_string(column.type) or not numerals.may_part(column):
            continue
        given = Cells(name, column)
        form = cells.numbers_form(given, "," if comma else "")
        there, bare = given.sayings, pc.invert(pc.match_substring(given.sayings, "."))
        some = pc.any(pc.match_substring_regex(there.filter(bare), "[1-9]")).as_py()
        numbers = given.written_numbers.count(form) >= SURE * max(1, len(there))
        if (
            numbers
            and not form.startswith(",")
            and (some or comma_likely)
            and given.written_numbers.parted(".") is None
        ):
            like = given.written(int(pc.index(pc.match_substring(column, "."), True).as_py()))
            notes.append(
                f"{name} holds numbers such as '{like}', whose points are read as decimal points (if they part thousands: "
                f"{option('--type', f'{name}=number:,')})"
            )
    return tuple(notes)


def whole(values: np.ndarray) -> bool:
    return bool(np.array_equal(values, np.round(values)))


def zero_padded(column: Cells) -> int:
    """The length of codes such as 01234 (all of one length); 0 where the column holds none."""
    if column.is_number or column.plain is None:
        return 0
    lead = column.column.filter(pc.starts_with(column.column, "0"))
    if not len(lead) or not pc.any(pc.match_substring_regex(lead, r"^0\d+$")).as_py():
        return 0
    span = pc.min_max(pc.utf8_length(column.sayings))
    return span["max"].as_py() if span["min"] == span["max"] else 0


def _as_words(column: Cells) -> Judged:
    """A boolean, a date, a text, an id or a category."""
    coded = column.coded
    if column.order:
        kind = "ordered" if column.ordered else "category"
        present = set(coded.words)
        return Judged(field=Column(name=column.name, kind=kind, names=tuple(n for n in column.order if n in present)))  # type: ignore[arg-type]
    lower = {word.lower() for word in coded.words} if len(coded.words) <= 4 else set()
    if any(lower == {yes, no} for yes, no in zip(cells.YES, cells.NO, strict=True)):
        return Judged(field=Column(name=column.name, kind="boolean", names=("false", "true")))
    forms = tuple(form for form in times.DATES if form not in times.NUMBERS)
    form, share = times.form_of(column.sayings.slice(0, 1000), forms, guessed=True)
    if share >= SURE and times.form_of(column.sayings, (form,), guessed=True)[1] >= SURE:
        return _date(column, form, _ambiguous(column, form))
    rows, distinct = int((coded.codes >= 0).sum()), len(coded.values)
    spaces = pc.mean(pc.count_substring(coded.values, " ")).as_py()
    recurring = _recurring(column, by_row=False) if distinct > min(NAMES_FEW, rows / 2) else 0.0
    free = recurring >= (RECURS if distinct > rows / 2 else _FREE_WORDS - 1)
    if free or (distinct > rows / 2 and spaces + 1 >= _FREE_WORDS):
        return _text(column)
    if distinct == rows >= _IDS:
        return Judged(left="id", cure="text")
    field = _category(column)
    return Judged(field=field) if field.names else Judged(left="rare", cure="text")


def _date(column: Cells, form: str, why: str = "") -> Judged:
    """A date, with what is said of its zone, and of what is none."""
    zoned, iso = times.zoned(column, form), form == "Y-m-d" and column.times is not None
    found = None if iso or column.is_time else times.of_cells(column, form)
    bad = np.flatnonzero(np.isnat(found.wall) & column.says) if found else np.empty(0, int)
    words = [why] if why else []
    if zoned:
        without = int((~np.isnat(found.wall) & ~found.zoned).sum()) if found else 0
        lacking = f" ({without:,} without one count as missing)" if without else ""
        words.append(f"times with their offset from UTC, read in UTC{lacking}")
    words += _missing_told(column, "dates", bad)
    return Judged(field=Column(name=column.name, kind="date", form=form, zoned=zoned), why="; ".join(words))


def _ambiguous(column: Cells, form: str) -> str:
    """Says so where day and month could be the other way round."""
    other = times.AMBIGUOUS.get(form)
    if other and times.form_of(column.sayings, (other,))[1] >= SURE:
        return f"dates, the {times.FIRST[form]} first; else {option('--type', f'{column.name}=date:{other}')}"
    return ""


def _category(column: Cells) -> Column:
    """The most frequent names, the most frequent first; none where hardly one occurs twice."""
    counts, words = column.coded.counts, column.coded.words
    order = np.argsort(-counts, kind="stable")[:NAMES_MOST]
    least = RAREST if len(column) >= _IDS else 1
    names = tuple(words[i] for i in order if counts[i] >= least and len(words[i]) <= NAME_LONGEST)
    return Column(name=column.name, kind="category", names=names)


def _recurring(column: Cells, by_row: bool) -> float:
    """How many words a text has on average that recur in other rows, or other values: words of letters, each once, by script.

    What is written without spaces around it is one word (a name, an address, a number with letters), but for scripts that are written
    so, of which each character is one."""
    values = column.coded.values.slice(0, _HEAD)
    weights = column.coded.counts[: len(values)] if by_row else np.ones(len(values))
    spaced = pc.replace_substring_regex(pc.utf8_lower(values), f"[{ALONE}]", r" \0 ")
    lists = pc.split_pattern_regex(spaced, r"[\s,;|]+")
    found, owners = (
        pc.list_flatten(lists).dictionary_encode(),
        pc.list_parent_indices(lists).to_numpy(zero_copy_only=False),
    )
    is_word = pc.match_substring_regex(found.dictionary, rf"^[^\pN]*\pL[^\pN]*$|^[{ALONE}]$").to_numpy(
        zero_copy_only=False
    )
    pairs = np.unique(owners.astype(np.int64) * len(is_word) + found.indices.to_numpy(zero_copy_only=False))
    owners, words = np.divmod(pairs, max(1, len(is_word)))
    times = np.bincount(words, weights=weights[owners], minlength=len(is_word))
    tells = is_word & (times >= RAREST) & (times <= EVERYWHERE * weights.sum())
    return float((weights[owners] * tells[words]).sum() / max(1, weights.sum()))


def as_text(column: Cells) -> Judged:
    """A column of words that is left out otherwise, as the only one that there is to learn from."""
    judged = _text(column)
    return replace(judged, why="; ".join(why for why in ("kept, since there is no other", judged.why) if why))


def _text(column: Cells) -> Judged:
    """A text of the words that recur; of single letters where hardly a word does."""
    short = (pc.mean(pc.count_substring(column.coded.values, " ")).as_py() or 0) + 1 < _FREE_WORDS
    form = LETTERS if short and _recurring(column, by_row=True) < RECURS else ""
    words, counts = cells.split_words(column.coded.values, form)
    coded = words.dictionary_encode()
    owners = np.repeat(np.arange(len(counts)), counts)
    codes = coded.indices.to_numpy(zero_copy_only=False)
    times = np.bincount(codes, weights=column.coded.counts[owners], minlength=len(coded.dictionary))
    order = np.argsort(-times, kind="stable")[:VOCABULARY_MOST]
    kept = order[times[order] >= (RAREST if len(column) >= _IDS else 1)]
    names = tuple(coded.dictionary.take(kept).to_pylist())
    length = length_kept(counts, SHARE_WHOLE, WORDS_MOST)
    field = Column(name=column.name, kind="text", names=names, length=length, form=form)
    cut = cut_note(counts, length, SHARE_WHOLE, WORDS_MOST, f"{len(counts):,} different texts", form or "words")
    return Judged(
        field=field, why="hardly a word occurs twice, so it is read letter by letter" if form else "", cut=cut
    )


def _as_said(column: Cells, kind: str, detail: str, comma: bool) -> Judged:
    name = column.name
    if kind == "ignore":
        return Judged(left="ignored")
    if not column.is_plain:
        raise UserError(
            f"column {name} holds {column.column.type}, which cannot be a {kind}: leave it out with {option('--type', f'{name}=ignore')}"
        )
    if kind == "number":
        form = cells.numbers_form(column, "," if comma else "", detail)
        unread = np.isnan(cells.numbers(column, form))
        _check_said(column, unread, "number", "12.5")
        why = _numbers_told(column, form, np.flatnonzero(unread & column.says), bool(detail))
        return Judged(field=Column(name=name, kind="number", form=form), why=why)
    if kind == "date":
        form = detail or times.form_of(column.sayings.slice(0, 1000), tuple(times.DATES))[0] or "Y-m-d"
        _check_said(column, np.isnat(times.moments_of(column, form)), "date", "2020-12-31")
        return _date(column, form)
    if kind == "text":
        return _text(column)
    if kind == "boolean":
        odd = sorted(set(cells.truths(column.sayings).to_pylist()) - {"true", "false"})
        if odd:
            raise UserError(
                f"column {name} is no boolean: it holds '{few(odd[:1])}'; leave {option('--type', f'{name}=boolean')} out"
            )
        return Judged(field=Column(name=name, kind="boolean", names=("false", "true")))
    if kind == "ordered":
        names = tuple(word.strip() for word in detail.split("|"))
        if not set(names) & set(column.coded.words):
            raise UserError(
                f"column {name} holds none of {', '.join(names)}: it holds {few(sorted(column.coded.words))}"
            )
        return Judged(field=Column(name=name, kind="ordered", names=names))
    field = _category(column)
    if not field.names:
        raise UserError(
            f"column {name} is no category: hardly a value occurs twice; read its words with {option('--type', f'{name}=text')}"
        )
    return Judged(field=field)


def _check_said(column: Cells, unread: np.ndarray, kind: str, like: str) -> None:
    bad = np.flatnonzero(unread & column.says)
    if len(bad) * 2 > column.says.sum():
        raise UserError(
            f"column {column.name} holds no {kind} in row {bad[0] + 1:,}: '{column.written(int(bad[0]))}'; "
            f"write it like {like}, or leave {option('--type', f'{column.name}={kind}')} out"
        )


_ONE = {"number": "a number", "category": "a category", "boolean": "a boolean", "ordered": "an ordered category", "date": "a date",
        "text": "free text"}  # fmt: skip
_PLURALS = {"number": "numbers", "category": "categories", "boolean": "booleans", "ordered": "ordered categories", "date": "dates",
            "text": "free texts"}  # fmt: skip
_LEFT = {
    "empty": "without values",
    "constant": "of one value",
    "id": "all values differ",
    "rare": "hardly a value occurs twice",
    "ignored": "as said",
}
_OTHERWISE = {
    "number": "category",
    "category": "text",
    "boolean": "category",
    "ordered": "category",
    "date": "category",
    "text": "category",
}


def explained(judged: Mapping[str, Judged]) -> list[str]:
    """Notes on all columns: one per kind, one per column with a reason of its own, one on those left out."""
    notes = []
    for kind, plural in _PLURALS.items():
        names = [name for name, j in judged.items() if j.field and j.field.kind == kind]
        if names:
            what = f"1 column is {_ONE[kind]}" if len(names) == 1 else f"{len(names)} columns are {plural}"
            notes.append(f"{what}: {few(names)} (another: {option('--type', f'{names[0]}={_OTHERWISE[kind]}')})")
    notes += [
        f"column {name}: {j.why.replace(numerals.SAY, option('--type', f'{name}=number:'))}"
        for name, j in judged.items()
        if j.why
    ]
    if sum(j.field is not None for j in judged.values()) > 1:  # else it is no row, and its reader says where it is cut
        notes += [f"column {name}: {j.cut}" for name, j in judged.items() if j.cut]
    left = [f"{name} ({_LEFT.get(j.left, j.left)})" for name, j in judged.items() if not j.field]
    if left:
        first, kind = next(((name, j.cure) for name, j in judged.items() if j.cure), ("", ""))
        notes.append(
            f"left out: {few(left)}" + (f" (to keep one: {option('--type', f'{first}={kind}')})" if first else "")
        )
    return notes
