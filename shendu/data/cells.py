"""The cells of a table's column as numbers, dates, codes or word ids: one set of functions for training and prediction.

Work is done per column, and on its distinct values where it cannot be done on numbers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shendu.data import offsets, times
from shendu.data.column import CODED, DATE, LETTERS, MISSING, NAMED, UNSEEN, Column
from shendu.data.words import ALONE, JOINERS, MARKS, SPACE
from shendu.errors import UserError

ABSENT = (
    *("", "?", "-", "--", ".", "#N/A", "#NA", "#NULL!", "#DIV/0!", "#VALUE!", "N/A", "n/a", "NA", "<NA>", "na"),
    *("NaN", "nan", "NAN", "-nan", "NaT", "null", "NULL", "Null", "None", "none", "NONE", "nil", "missing"),
)
"""How tables write that there is no value."""
MINUS = "-"
"""Is a value where the column has a plus sign too."""
YES, NO = ("true", "yes", "y", "t", "on"), ("false", "no", "n", "f", "off")
_LARGEST = 1e37
"""Beyond it float32 arithmetic overflows, so such numbers count as missing."""

_COIN = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF)"
_GAPS = {"": r",'’_\s\x{a0}\x{202f}", ",": r".'’_\s\x{a0}\x{202f}"}
"""Thousands separators by the decimal sign."""


def _number(form: str) -> str:
    point = "," if form else r"\."
    digits = rf"(?:[1-9]\d{{0,2}}(?:[{_GAPS[form]}]\d{{3}})+|\d+)"
    value = rf"(?:{digits}(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?"
    return rf"^(?:{_COIN}\s*)?[-+−]?\s*(?:{_COIN}\s*)?{value}\s*(?:%|{_COIN})?$"


_FIRST = np.datetime64("2000-01-01", "s")
_BETWEEN = rf"[^\pL\pN{MARKS}{ALONE}'!?]+"
"""What stands between words."""


@dataclass(frozen=True)
class Coded:
    """A column as indices into its distinct values (-1: missing), trimmed of blanks; counts [distinct]."""

    values: pa.Array
    codes: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    @cached_property
    def words(self) -> list[str]:
        return self.values.to_pylist()

    def spread(self, per_value: np.ndarray, missing: float) -> np.ndarray:
        """What belongs to each distinct value [distinct, …] -> what belongs to each row [N, …]."""
        filled = np.concatenate([per_value, np.full((1, *per_value.shape[1:]), missing, per_value.dtype)])
        return filled[self.codes]


def _text_of(values: pa.Array) -> pa.Array:
    text = pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type)
    return values.cast(pa.string()) if text else values


class Cells:
    """One column of a table and the views of it that are needed, each made once."""

    def __init__(self, name: str, column: pa.ChunkedArray) -> None:
        self.order: tuple[str, ...] = ()
        self.ordered = False
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
            self.ordered = bool(column.type.ordered)
            self.order = tuple(map(str, column.chunk(0).dictionary.to_pylist())) if column.num_chunks else ()
            named = [_text_of(chunk.dictionary).take(chunk.indices) for chunk in column.chunks]
            column = pa.chunked_array(named, None if named else pa.string())
        elif pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
            column = column.cast(pa.string())
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        self.name, self.column = name, column

    def __len__(self) -> int:
        return len(self.column)

    @property
    def is_number(self) -> bool:
        """Stored as a number already."""
        return pa.types.is_integer(self.column.type) or pa.types.is_floating(self.column.type)

    @property
    def is_time(self) -> bool:
        return pa.types.is_timestamp(self.column.type) or pa.types.is_date(self.column.type)

    @property
    def is_plain(self) -> bool:
        """False: lists, objects or bytes, which are no cells."""
        kind = self.column.type
        return (
            pa.types.is_string(kind)
            or self.is_number
            or self.is_time
            or pa.types.is_boolean(kind)
            or pa.types.is_null(kind)
        )

    @cached_property
    def plain(self) -> np.ndarray | None:
        """float64 [N] where every value is a plain number as it stands, NaN where one is missing; else None."""
        if self.is_number:  # whole numbers beyond 2^53 are rounded
            return self.column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if not pa.types.is_string(self.column.type):
            return None
        for column in (lambda: self.column, lambda: pc.utf8_trim_whitespace(self.column)):
            try:
                return column().cast(pa.float64()).to_numpy(zero_copy_only=False)
            except pa.ArrowInvalid:
                continue
        return None

    @cached_property
    def times(self) -> np.ndarray | None:
        """datetime64[us] [N] where every value is an ISO date as it stands, or with its offset from UTC; NaT where one is missing.

        None where one is something else."""
        if not pa.types.is_string(self.column.type):
            return None
        for zone in (None, "UTC"):
            try:
                found = self.column.cast(pa.timestamp("us", zone)).cast(pa.timestamp("us"))
            except pa.ArrowInvalid:
                continue
            return found.to_numpy(zero_copy_only=False)
        return None

    @cached_property
    def coded(self) -> Coded:
        found = self._as_words().dictionary_encode()
        found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        if isinstance(found, pa.ChunkedArray):
            found = found.chunk(0) if found.num_chunks else pa.array([], pa.string()).dictionary_encode()
        codes = pc.fill_null(found.indices, -1).to_numpy(zero_copy_only=False)
        trimmed = pc.utf8_trim_whitespace(found.dictionary.cast(pa.string()))
        signs = pc.any(pc.equal(trimmed, "+")).as_py()
        absent = pc.is_in(trimmed, pa.array([word for word in ABSENT if not (signs and word == MINUS)]))
        if not pc.any(absent).as_py() and trimmed.equals(found.dictionary):
            return Coded(trimmed, codes)
        again = pc.if_else(absent, pa.scalar(None, pa.string()), trimmed).dictionary_encode()
        renumbered = np.append(pc.fill_null(again.indices, -1).to_numpy(zero_copy_only=False), -1)
        return Coded(again.dictionary, renumbered[codes])

    def _as_words(self) -> pa.ChunkedArray:
        column = self.column
        if pa.types.is_floating(column.type):
            numbers = column.to_numpy(zero_copy_only=False)
            there = numbers[np.isfinite(numbers)]
            missing = ~np.isfinite(numbers)
            if np.array_equal(there, np.round(there)) and (not len(there) or np.abs(there).max() < 2**53):
                column = pa.array(np.where(missing, 0, numbers).astype(np.int64), mask=missing)
            else:
                column = pa.array(numbers, mask=missing)
        return pa.chunked_array([column] if isinstance(column, pa.Array) else column.chunks, column.type).cast(
            pa.string()
        )

    def written(self, row: int) -> str:
        """A cell as it stands, for a message."""
        text = " ".join(str(self.column[row].as_py()).split())
        return text if len(text) <= 40 else text[:37] + "…"


# ---- numbers ---------------------------------------------------------------------------------------------------------


def numbers(cells: Cells, form: str) -> np.ndarray:
    """float64 [N], NaN where a value is missing or is no number; `form` `,`: written with a decimal comma."""
    if cells.plain is not None and (not form or cells.is_number):
        return _finite(cells.plain)
    if cells.is_time or pa.types.is_boolean(cells.column.type):
        return _finite(
            cells.column.cast(pa.int64() if cells.is_time else pa.int8())
            .cast(pa.float64(), safe=False)
            .to_numpy(zero_copy_only=False)
        )
    return cells.coded.spread(_parsed(cells.coded.values, form), np.nan)


def numbers_form(cells: Cells, hint: str) -> str:
    """How most of the distinct values are written: `,` or nothing; the hint decides where both would do."""
    if cells.is_number or (cells.plain is not None and not hint):
        return ""
    share = {form: np.isfinite(_parsed(cells.coded.values, form)).sum() for form in ("", ",")}
    return "," if share[","] > share[""] or (hint and share[","] == share[""]) else ""


def _parsed(values: pa.Array, form: str) -> np.ndarray:
    """float64 [distinct], NaN where a value is no number."""
    fits = pc.match_substring_regex(values, _number(form))
    bare = pc.replace_substring_regex(values, rf"{_COIN}|%|[{_GAPS[form]}]", "")
    bare = pc.replace_substring_regex(pc.replace_substring(bare, "−", "-"), ",", ".")
    return _finite(
        pc.if_else(fits, bare, pa.scalar(None, pa.string())).cast(pa.float64()).to_numpy(zero_copy_only=False)
    )


def _finite(values: np.ndarray) -> np.ndarray:
    if not len(values) or np.nanmax(np.abs(values), initial=0.0) < _LARGEST:
        return values
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


# ---- dates -----------------------------------------------------------------------------------------------------------


def days(cells: Cells, form: str, zoned: bool | None = None) -> np.ndarray:
    """float64 [N]: days since 2000-01-01, NaN where a value is missing or is no date of this form."""
    when = times.moments_of(cells, form, zoned).astype("datetime64[s]")
    seconds = (when - _FIRST).astype(np.float64)
    return np.where(np.isnat(when), np.nan, seconds) / 86_400


def dates(cells: Cells, form: str, offset: float = 0.0, zoned: bool | None = None) -> np.ndarray:
    """float32 [N, 6]: days since 2000-01-01 less an offset, sine and cosine of the year and of the week, share of the day."""
    when = times.moments_of(cells, form, zoned).astype("datetime64[s]")
    there = ~np.isnat(when)
    seconds = np.where(there, when, _FIRST).astype("datetime64[s]").astype(np.int64) - _FIRST.astype(np.int64)
    days, rest = np.divmod(seconds, 86_400)
    distinct, at = np.unique(days, return_inverse=True)
    found = np.empty((len(when), DATE), np.float32)
    found[:, 0] = days + rest / 86_400 - offset
    found[:, 1:5] = _turns(distinct)[at]
    found[:, 5] = rest / 86_400
    found[~there] = np.nan
    return found


def _turns(days: np.ndarray) -> np.ndarray:
    """float32 [D, 4]: sine and cosine of the year and of the week."""
    day = _FIRST.astype("datetime64[D]") + days
    of_year = (day - day.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64) / 365.25
    of_week = (days - 2) / 7  # 2000-01-03 was a Monday
    return np.stack([f(2 * np.pi * share) for share in (of_year, of_week) for f in (np.sin, np.cos)], axis=1).astype(
        np.float32
    )


# ---- codes and words -------------------------------------------------------------------------------------------------


def codes(cells: Cells, field: Column) -> np.ndarray:
    """float32 [N]: 0 missing, 1 a value that is not among the names, 2 the first name."""
    values = truths(cells.coded.values) if field.kind == "boolean" else cells.coded.values
    found = pc.fill_null(pc.index_in(values, pa.array(field.names, pa.string())), UNSEEN - NAMED)
    return cells.coded.spread(found.to_numpy(zero_copy_only=False).astype(np.float32) + NAMED, MISSING)


def truths(values: pa.Array) -> pa.Array:
    """`true` and `false` for every way to say so; anything else stays as it is."""
    lower = pc.utf8_lower(values)
    said = pc.if_else(pc.is_in(lower, pa.array([*NO, "0"])), "false", lower)
    return pc.if_else(pc.is_in(lower, pa.array([*YES, "1"])), "true", said)


def split_words(values: pa.Array, form: str = "") -> tuple[pa.Array, np.ndarray]:
    """(the words of all texts as words.py has them, or their letters, one after the other; how many each text has).

    Entities of HTML are blanks here, and of a word of more than 40 letters the first 40 are kept."""
    text = pc.utf8_normalize(pc.replace_substring_regex(values, f"[{JOINERS}]", ""), "NFKC")
    if form == LETTERS:
        text = pc.replace_substring_regex(pc.utf8_trim_whitespace(pc.utf8_lower(text)), r"\s+", SPACE)
        lists = pc.split_pattern(pc.replace_substring_regex(text, r"(?s)(.)", r"\1 "), " ")
    else:
        text = pc.replace_substring_regex(text, r"</?[a-zA-Z][^<>]{0,200}>|&#?\w{1,10};|'{2,}", " ")
        text = pc.replace_substring(pc.utf8_lower(text), "\u2019", "'")
        text = pc.replace_substring_regex(text, f"[{ALONE}!?]", r" \0 ")
        lists = pc.split_pattern_regex(text, _BETWEEN)
    words, owners = pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    if form != LETTERS:
        words = pc.utf8_slice_codeunits(pc.utf8_trim(words, "'"), 0, 40)
    there = pc.not_equal(words, "")
    kept = owners[there.to_numpy(zero_copy_only=False)]
    return words.filter(there), np.bincount(kept, minlength=len(values))


def word_ids(cells: Cells, field: Column) -> np.ndarray:
    """float32 [N, length]: 0 padding, 1 unknown, 2 the vocabulary's first word; what is longer is cut."""
    words, counts = split_words(cells.coded.values, field.form)
    found = pc.fill_null(pc.index_in(words, pa.array(field.names, pa.string())), UNSEEN - NAMED)
    ids = found.to_numpy(zero_copy_only=False).astype(np.float32) + NAMED
    text = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    per_value = np.zeros((len(counts), field.length), np.float32)
    kept = place < field.length
    per_value[text[kept], place[kept]] = ids[kept]
    return cells.coded.spread(per_value, 0)


def with_offset(cells: Cells, field: Column) -> Column:
    """A column of numbers or dates with the offset that its training values need."""
    if field.kind not in ("number", "date"):
        return field
    values = days(cells, field.form, field.zoned) if field.kind == "date" else numbers(cells, field.form)
    (away,) = offsets.found(values[:, None]) or (0.0,)
    return replace(field, offset=away) if away else field


def stored(cells: Cells, field: Column) -> np.ndarray:
    """float32 [N, width] of a column; raises UserError where nothing in it is what the field holds."""
    if not cells.is_plain:
        raise UserError(
            f"column {cells.name} holds {cells.column.type}, and the model reads a {field.kind}: give plain values"
        )
    if field.kind in CODED:
        return codes(cells, field)[:, None]
    if field.kind == "text":
        return word_ids(cells, field)
    if field.kind == "date":
        _check_zone(cells, field)
        found = dates(cells, field.form, field.offset, field.zoned)
    else:
        found = offsets.without(numbers(cells, field.form), (field.offset,))[:, None]
    assert found.shape[1] == (DATE if field.kind == "date" else 1)
    if len(cells) and np.isnan(found[:, 0]).all():
        first = next((i for i in np.flatnonzero(cells.coded.codes >= 0)[:1]), None)
        if first is not None:
            raise UserError(
                f"column {cells.name} was a {field.kind} in training, and here it holds '{cells.written(int(first))}': "
                "check whether the columns are shifted"
            )
    return found


def _check_zone(cells: Cells, field: Column) -> None:
    """Raises UserError where all times say how far they are from UTC and those of the training did not, or the other way round."""
    if times.zoned(cells, field.form) == field.zoned:
        return
    found = times.of_cells(cells, field.form)
    there = ~np.isnat(found.wall)
    if not there.any() or (found.zoned == field.zoned)[there].any():
        return
    here, row = cells.written(int(there.argmax())), ("without", "with")
    raise UserError(
        f"column {cells.name} had times {row[field.zoned]} their offset from UTC in training, and here it holds '{here}': "
        f"write them {row[field.zoned]} it, like 2024-01-31 12:00{'+00:00' if field.zoned else ''}"
    )
