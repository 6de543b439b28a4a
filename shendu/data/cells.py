"""The cells of a table's column as numbers, dates, codes or word ids: one set of functions for training and prediction.

Work is done per column, and on its distinct values where it cannot be done on numbers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shendu.data import labels, numerals, offsets, times
from shendu.data.column import CODED, DATE, LETTERS, MISSING, NAMED, UNSEEN, Column
from shendu.data.words import ALONE, JOINERS, MARKS, SPACE
from shendu.errors import UserError
from shendu.field import Some, Unread

ABSENT = (
    *("", "?", "-", "--", ".", "#N/A", "#NA", "#NULL!", "#DIV/0!", "#VALUE!", "N/A", "n/a", "NA", "<NA>", "na"),
    *("NaN", "nan", "NAN", "-nan", "NaT", "null", "NULL", "Null", "None", "none", "NONE", "nil", "missing"),
)
"""How tables write that there is no value: among numbers and dates. Among words each but the first is a word."""
YES, NO = ("true", "yes", "y", "t", "on"), ("false", "no", "n", "f", "off")
_LARGEST = 1e37
"""Beyond it float32 arithmetic overflows, so such numbers count as missing."""
EXACT = 2**53
"""Beyond it a float64 tells not all whole numbers apart."""

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


def _as_float(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Durations and times of day in seconds, and decimals, as float64; all else as it is."""
    kind = column.type
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        ticks = column.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64()).cast(pa.float64())
        return pc.divide(ticks, {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit])
    return column


def _without(column: pa.ChunkedArray, missing: tuple[str, ...]) -> pa.ChunkedArray:
    """The column, null where a cell is one of these words, or the number that one of them is."""
    if pa.types.is_string(column.type):
        absent = pc.is_in(pc.utf8_trim_whitespace(column), pa.array(missing))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        absent = pc.is_in(
            column.cast(pa.float64(), safe=False),
            pa.array([n for word in missing if (n := _number(word)) is not None], pa.float64()),
        )
    else:
        return column
    return pc.if_else(absent, pa.scalar(None, column.type), column)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


class Cells:
    """One column of a table and the views of it that are needed, each made once; `missing`: words that say that nothing is known."""

    def __init__(
        self, name: str, column: pa.ChunkedArray, missing: tuple[str, ...] = (), composed: bool = False
    ) -> None:
        """`composed`: words in Unicode's composed form, in which two ways to write a letter are one."""
        self.order: tuple[str, ...] = ()
        self.ordered = False
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
            self.ordered = bool(column.type.ordered)
            names = column.chunk(0).dictionary if column.num_chunks else pa.array([], column.type.value_type)
            self.order = tuple(map(str, names.to_pylist()))
            named = [_text_of(chunk.dictionary).take(chunk.indices) for chunk in column.chunks]
            column = pa.chunked_array(named, None if named else column.type.value_type)
        elif pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
            column = column.cast(pa.string())
        if composed and pa.types.is_string(column.type) and not pc.all(pc.string_is_ascii(column)).as_py():
            column = pc.utf8_normalize(column, "NFC")
        before = column.null_count
        column = _without(column, missing) if missing else column
        self.left = column.null_count - before
        """How many cells are one of the words."""
        self.given = column
        """As it came; `column` has durations, times of day and decimals as float64."""
        self.name, self.column = name, _as_float(column)

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
    def says(self) -> np.ndarray:
        """bool [N]: where there is more than a word for nothing."""
        there = pc.is_valid(self.column)
        if pa.types.is_string(self.column.type):
            there = pc.and_(there, pc.invert(self._absent))
        elif pa.types.is_floating(self.column.type):
            there = pc.and_(there, pc.invert(pc.fill_null(pc.is_nan(self.column), True)))
        return there.to_numpy()

    @cached_property
    def _absent(self) -> pa.ChunkedArray:
        return pc.is_in(pc.utf8_trim_whitespace(self.column), pa.array(ABSENT))

    def word_for_nothing(self) -> Some | None:
        """How many texts are words for nothing, and the one that is the most usual; None: none is."""
        if not pa.types.is_string(self.column.type) or not pc.any(self._absent).as_py():
            return None
        words = pc.utf8_trim_whitespace(self.column.filter(self._absent))
        found = pc.value_counts(words.filter(pc.not_equal(words, "")))
        if not len(found):
            return None
        times = found.field("counts").to_numpy(zero_copy_only=False)
        return Some(int(times.sum()), found.field("values")[int(times.argmax())].as_py())

    @cached_property
    def plain(self) -> np.ndarray | None:
        """float64 [N] where every value is a plain number as it stands, NaN where one is missing; else None.

        Whole numbers beyond 2^53 are rounded: `exact` has their digits.
        """
        found = self._bare
        return None if found is None else found.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)

    @cached_property
    def _bare(self) -> pa.ChunkedArray | None:
        """Plain numbers: as they are stored, or float64 of texts."""
        if self.is_number:
            return self.column
        if not pa.types.is_string(self.column.type):
            return None
        for column in (lambda: self.column, lambda: self._sayings):
            try:
                return column().cast(pa.float64())
            except pa.ArrowInvalid:
                continue
        return None

    @property
    def _sayings(self) -> pa.ChunkedArray:
        """Texts trimmed of blanks, null where one is a word for nothing."""
        return pc.if_else(self._absent, pa.scalar(None, pa.string()), pc.utf8_trim_whitespace(self.column))

    @cached_property
    def exact(self) -> np.ndarray | None:
        """int64 [N], 0 where one is missing, of whole numbers of which a float64 would lose digits; None: it has them all."""
        values = self.plain
        if values is None or not len(values) or not np.nanmax(np.abs(values), initial=0.0) >= EXACT:
            return None
        whole = self.column if self.is_number else self._sayings
        try:
            return pc.fill_null(whole.cast(pa.int64()), 0).to_numpy()
        except pa.ArrowInvalid:
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
        if trimmed.equals(found.dictionary) and not pc.any(pc.equal(trimmed, "")).as_py():
            return Coded(trimmed, codes)
        again = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed).dictionary_encode()
        renumbered = np.append(pc.fill_null(again.indices, -1).to_numpy(zero_copy_only=False), -1)
        return Coded(again.dictionary, renumbered[codes])

    @cached_property
    def sayings(self) -> pa.Array:
        """The distinct values without the words for nothing."""
        return self.coded.values.filter(pc.invert(pc.is_in(self.coded.values, pa.array(ABSENT))))

    @cached_property
    def written_numbers(self) -> numerals.Written:
        """The distinct values as numbers."""
        return numerals.Written(self.coded.values)

    @cached_property
    def labels(self) -> labels.Labels:
        """The values as classes: each its own text, or the text of its own Python value."""
        return labels.of(self.given)

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
    """float64 [N], NaN where a value is missing or is no number of this form (`shendu.data.numerals`)."""
    if cells.plain is not None and (not form.startswith(",") or cells.is_number):
        return _finite(cells.plain)
    if cells.is_time or pa.types.is_boolean(cells.column.type):
        return _finite(
            cells.column.cast(pa.int64() if cells.is_time else pa.int8())
            .cast(pa.float64(), safe=False)
            .to_numpy(zero_copy_only=False)
        )
    return cells.coded.spread(_finite(cells.written_numbers.parsed(form)), np.nan)


def less(cells: Cells, form: str, away: float) -> np.ndarray:
    """Numbers less an offset, float64 [N]: of whole numbers beyond what a float64 tells apart all digits count."""
    values = numbers(cells, form)
    if cells.exact is None or not away:
        return values - away
    near = np.abs(values - away) < 2.0**62
    left = np.where(near, cells.exact, int(away)) - int(away)
    return np.where(near, left.astype(np.float64), values - away)


def numbers_form(cells: Cells, hint: str, sign: str = "") -> str:
    """How most of the distinct values are written; the hint (`,`) decides where both decimal signs would do, if none is said."""
    if cells.is_number or (cells.plain is not None and _is_decimal(cells, hint or sign.strip("."))):
        return ""
    return cells.written_numbers.form(hint, sign)


def _is_decimal(cells: Cells, hint: str) -> bool:
    """Whether plain numbers are what they are: a column of a million different ones is not to be coded for it."""
    return not hint and not numerals.may_part(cells.column)


def blurred(cells: Cells, form: str) -> bool:
    """Whether reading them as numbers makes one of what is several."""
    return cells.plain is None and cells.written_numbers.blurred(form)


def reread_all(given: list[Cells], columns: tuple[Column, ...], comma: bool) -> tuple[list[Column], tuple[str, ...]]:
    """(the columns that a run has learned, with the forms that they have in this table; what of that a person should know)."""
    both = list(zip(given, columns, strict=True))
    sign = _sign_of([(cells, column.form) for cells, column in both if column.kind == "number"], comma)
    found = [replace(column, form=reread(cells, column, sign)) for cells, column in both]
    notes = [
        note
        for cells, column, now in zip(given, columns, found, strict=True)
        for note in reread_told(cells, column, now)
    ]
    return found, tuple(notes)


def reread(cells: Cells, column: Column, sign: str | None) -> str:
    """The form of a column here: dates by the form that reads more of them; numbers with the unit that was learned and the decimal
    sign that reads more of them. `sign` decides where both do as well; None: the learned one does."""
    if not pa.types.is_string(cells.column.type) or column.kind not in ("number", "date"):
        return column.form
    return _redated(cells, column.form) if column.kind == "date" else _renumbered(cells, column.form, sign)


def _renumbered(cells: Cells, form: str, sign: str | None) -> str:
    learned, unit = numerals.split(form)
    if form in numerals.CLOCKS or (cells.plain is not None and not learned and _is_decimal(cells, sign or "")):
        return form
    count = {s: cells.written_numbers.count(s + unit) for s in ("", ",")}
    better = learned if sign is None else sign
    parted = cells.written_numbers.parted_by() if count[better] == count[_other(better)] else None
    better = better if parted is None else parted
    better = better if count[better] >= count[_other(better)] else _other(better)
    price = "" if unit else cells.written_numbers.read(better).usual()[0]
    signs = bool(pc.any(pc.match_substring_regex(cells.sayings, "[.,]")).as_py())
    return (better if signs else learned) + (price if numerals.is_currency(price) else unit)


def _redated(cells: Cells, form: str) -> str:
    """Another form where it reads more, and no third one does as well: 1/2/2020 may be either."""
    if form == "Y-m-d" and cells.times is not None:
        return form
    read = int((~np.isnat(times.read(cells.sayings, form or "Y-m-d").wall)).sum())
    if read == len(cells.sayings):
        return form
    count = {
        f: int((~np.isnat(times.read(cells.sayings, f).wall)).sum()) for f in times.DATES if f not in times.NUMBERS
    }
    most = max(count.values())
    best = [f for f in count if count[f] == most]
    return best[0] if len(best) == 1 and most > read else form


def reread_told(cells: Cells, column: Column, now: Column) -> list[str]:
    """What a person should know of how a column is read here, that has other cells than in training."""
    notes = []
    if column.kind == "date" and now.form != column.form:
        notes.append(f"column {column.name}: dates are read as {now.form}, unlike {column.form} in training")
    if (
        column.kind in ("category", "ordered")
        and cells.is_plain
        and len(cells.coded.values)
        and labels.places(cells.coded.values, column.names).max() < 0
    ):
        notes.append(
            f"column {column.name}: none of its values is one that training had, such as '{cells.coded.values[0]}'"
        )
    if column.kind != "number" or column.form in numerals.CLOCKS or not cells.is_plain or not cells.says.any():
        return notes
    (before, learned), (sign, unit) = numerals.split(column.form), numerals.split(now.form)
    if sign != before:
        notes.append(f"column {column.name}: read {cells.written_numbers.decimals(now.form)}, unlike in training")
    if unit != learned:
        notes.append(f"column {column.name}: in {unit}, and training had no unit: read as the numbers that they are")
    if learned and (cells.plain is not None or cells.written_numbers.without_unit(now.form)):
        notes.append(f"column {column.name}: numbers without a unit are taken to be in '{learned}' as in training")
    if cells.plain is None and (bounds := cells.written_numbers.bounds(now.form)):
        notes.append(f"column {column.name}: {bounds}")
    return notes


def _sign_of(columns: list[tuple[Cells, str]], comma: bool) -> str | None:
    """The decimal sign that a table is written with whose columns were learned in these forms; None: they do not say.

    It decides about cells that are numbers with either sign, such as 1,234.
    """
    for cells, form in columns:
        if cells.plain is None and form not in numerals.CLOCKS and pa.types.is_string(cells.column.type):
            sign, unit = numerals.split(form)
            if cells.written_numbers.count(_other(sign) + unit) > cells.written_numbers.count(sign + unit):
                return _other(sign)
    return "," if comma else None


def _other(sign: str) -> str:
    return "" if sign else ","


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
    if field.kind == "boolean":
        said = pc.index_in(truths(cells.coded.values), pa.array(field.names, pa.string()))
        found = pc.fill_null(said, MISSING - NAMED)  # nothing is learned of a third truth
        places = found.to_numpy(zero_copy_only=False)
    else:
        places = labels.places(cells.coded.values, field.names)
    return cells.coded.spread(places.astype(np.float32) + NAMED, MISSING)


def truths(values: pa.Array) -> pa.Array:
    """`true` and `false` for every way to say so; anything else stays as it is."""
    lower = pc.utf8_lower(values)
    said = pc.if_else(pc.is_in(lower, pa.array([*NO, "0", "0.0"])), "false", lower)
    return pc.if_else(pc.is_in(lower, pa.array([*YES, "1", "1.0"])), "true", said)


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
    if field.kind == "number" and cells.exact is not None:
        away = exact_offset(cells.exact[cells.says])
    else:
        values = days(cells, field.form, field.zoned) if field.kind == "date" else numbers(cells, field.form)
        (away,) = offsets.found(values[:, None]) or (0.0,)
    return replace(field, offset=away) if away else field


def exact_offset(values: np.ndarray) -> float:
    """The offset of whole numbers int64 [N] beyond what a float64 tells apart; 0 where float32 loses nothing that counts."""
    values = values[:: -(-len(values) // offsets.ROWS_LEAST)]
    away = float(values[0])
    left = np.array([int(value) - int(away) for value in values.tolist()], np.float64)
    step = float(np.spacing(np.float32(np.abs(values.astype(np.float64)).max())))
    return away if 0 < left.std() * offsets.FEWEST < step else 0.0


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
        found = offsets.without(less(cells, field.form, field.offset), ())[:, None]
    assert found.shape[1] == (DATE if field.kind == "date" else 1)
    if len(cells) and np.isnan(found[:, 0]).all():
        first = next((i for i in np.flatnonzero(cells.says)[:1]), None)
        if first is not None:
            raise UserError(
                f"column {cells.name} was a {field.kind} in training, and here it holds '{cells.written(int(first))}': "
                "write it as it was there, or check whether the columns are shifted"
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


def unread(cells: Cells, field: Column, found: np.ndarray) -> Unread | None:
    """Cells that say something of which stored values [N, width] know nothing; None: there are none."""
    if field.kind == "text":
        return None
    if field.kind in ("category", "ordered"):
        unseen = found[:, 0] == UNSEEN
        some = unseen.any() and (found[:, 0] >= NAMED).any()  # that all are is told otherwise
        return Unread(unseen=_some(cells, unseen)) if some else None
    nothing = found[:, 0] == MISSING if field.kind == "boolean" else np.isnan(found[:, 0])
    if not nothing.any():
        return None
    told = Unread(_some(cells, nothing & cells.says), cells.word_for_nothing() or Some())
    return told if any(some.cells for some in told) else None


def _some(cells: Cells, which: np.ndarray) -> Some:
    found = np.flatnonzero(which)
    return Some(len(found), cells.written(int(found[0]))) if len(found) else Some()
