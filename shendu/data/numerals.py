"""How numbers are written: texts -> float64, by the form that a column was found to have.

A form is a decimal sign (nothing: a point; a comma) and the unit behind it: "", ",", "kg", ",€", "%"; or it is one of CLOCKS, whose
numbers are seconds. Read in every form: thousands, accounting negatives, a minus at the end, thousands and millions as letters
(5k, 1.2M), and bounds (<5, 10+) as the number they name. A number without a unit is one in the column's unit; one in another unit
is none, since nothing says how many of the one the other is.

Shape letters: D distinct texts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CLOCKS = ("h:m:s", "m:s")
"""Times of day and durations: 8:30 is half past eight in the first, eight and a half minutes in the second."""
_LONGEST, _PIECE, _HEAD = 64, 1 << 18, 1000
"""Bytes of a text that may be a number; texts that are read at once; cells that are looked at first."""
DISTINCT = 0.9
"""Bounds make of different texts the same number; at least so many numbers have to be left, or the texts are names."""
BARE_LEAST, BARE_LARGE = 3, 100
"""Different numbers without a sign that show what it does in others, and how large one of them is where it parts thousands."""
SAY = "--type NAME=number:"
"""What stands before the decimal sign that a person says."""
UNITS_MOST = 5
"""More signs behind numbers are no units, but parts of names."""

_GAPS = {"": r",'’_\s\x{a0}\x{202f}", ",": r".'’_\s\x{a0}\x{202f}"}
"""Thousands separators by the decimal sign."""
_CODES = "USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|TRY|BRL|MXN|ZAR|KRW|SGD|HKD|THB|ILS|AED|RUB|UAH"
_BEFORE = rf"(?:[A-Z]{{0,2}}\p{{Sc}}|(?:{_CODES})\b|Rs\.?|kr\.?)"
_NO_UNIT = r"(),+<>:;=?!#&\"\s−–\-"
_AFTER = rf"[^\d{_NO_UNIT}.'’_~≈≤≥*/|\\][^{_NO_UNIT}]*(?: [^\d{_NO_UNIT}]+)?"
"""Cheap to match; what such words begin with, and how long they are, is asked of the few that are found."""
_UNIT, LONGEST = r"^[\pL°%‰\p{Sc}]", 20
_FIXED, _ORDINALS = r"\D+[23]?(?:/\d*\D+[23]?)?", ("st", "nd", "rd", "th")
"""Units whose digits are their own (m2, mg/5ml), unlike those of 6ft02; what stands behind numbers that count."""
_MARKS = r"[\p{No}\p{Nl}ʰ-ʸˠ-ˤᴬ-ᵪᶛ-ᶿⁱⁿₐ-ₜ⁺-⁾₊-₎㋀-㋋㍘-㍰㏠-㏾]"
"""Signs that NFKC makes digits, signs or letters of (², ½, ①, Ⅳ, ⁻, ᵏ): they are no part of the number that they stand beside."""
_TIMES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}
_TWO = r"^(?P<a>\d{1,4}):(?P<b>[0-5]\d)(?P<c>(?::[0-5]\d)?(?:[.,]\d+)?)$"
_HALVES = r"^(?P<a>\d{1,2})(?::(?P<b>[0-5]\d))?(?P<c>(?::[0-5]\d)?) ?(?P<p>[AaPp])\.?[Mm]\.?$"


class Numerals(NamedTuple):
    """Texts read with a decimal sign: numbers [D], NaN where one is none; their units; letters of magnitude; which are bounds."""

    values: np.ndarray
    units: pa.Array
    letters: pa.Array
    bounds: np.ndarray

    def of(self, unit: str) -> np.ndarray:
        """float64 [D], NaN where a text has another unit."""
        bare = pc.equal(self.units, "")
        if unit not in _TIMES:
            return np.where(_flags(pc.or_(bare, pc.equal(self.units, unit))), self.values * self._times(), np.nan)
        mine = _flags(pc.or_(pc.equal(self.units, unit), pc.and_(bare, pc.equal(self.letters, unit))))
        return np.where(mine, self.values, np.where(_flags(bare), self.values * self._times(), np.nan))

    def _times(self) -> np.ndarray:
        at = pc.fill_null(pc.index_in(self.letters, pa.array(list(_TIMES))), len(_TIMES))
        return np.array([*_TIMES.values(), 1.0])[at.to_numpy(zero_copy_only=False)]

    def usual(self) -> tuple[str, int]:
        """(the unit that most texts have, how many are numbers of it)."""
        there = self.units.filter(pa.array(np.isfinite(self.values)))
        counts = pc.value_counts(there.filter(pc.not_equal(there, "")))
        if not len(counts):
            return "", len(there)
        times = counts.field("counts").to_numpy(zero_copy_only=False)
        unit = counts.field("values")[int(times.argmax())].as_py()
        return unit, int(np.isfinite(self.of(unit)).sum())


class Written:
    """Distinct texts [D] as numbers, read with each decimal sign once."""

    def __init__(self, values: pa.Array) -> None:
        self.values = values
        self._read: dict[str, Numerals] = {}

    def read(self, sign: str) -> Numerals:
        """With a decimal sign, whatever the unit."""
        if sign not in self._read:
            self._read[sign] = _taken_apart(self.values, sign)
        return self._read[sign]

    def parsed(self, form: str) -> np.ndarray:
        """float64 [D], NaN where a text is no number of this form."""
        if form in CLOCKS:
            return _clock(self.values, form)
        sign, unit = split(form)
        return self.read(sign).of(unit)

    def count(self, form: str) -> int:
        """How many are numbers of this form."""
        return int(np.isfinite(self.parsed(form)).sum())

    def form(self, hint: str = "", sign: str = "") -> str:
        """The form in which most are numbers, with this decimal sign (`.` or `,`) where one is said; where both signs would do as well,
        what they part decides, and then the hint."""
        found = {one: self.read(one).usual() for one in ("", ",") if not sign or one == sign.strip(".")}
        most = max(count for _, count in found.values())
        signs = [one for one in found if found[one][1] == most]
        best = signs[0] if len(signs) == 1 else self._sign(hint)
        form = best + found[best][0] if most else ""
        clock = _clock_form(self.values) if most < len(self.values) else ""
        return clock if clock and self.count(clock) > most else form

    def _sign(self, hint: str) -> str:
        parted = self.parted_by()
        return hint if parted is None else parted

    def parted_by(self) -> str | None:
        """The decimal sign of numbers that show that the other sign parts thousands; None: they do not show it."""
        return "," if self.parted(".") else "" if self.parted(",") else None

    def parted(self, sign: str) -> bool | None:
        """Whether a point or a comma parts thousands among numbers; None: it may be decimal as well; False: it is, or there is none."""
        there = np.isfinite(self.read("").values) | np.isfinite(self.read(",").values)
        return _parted(self.values.filter(pa.array(there)), sign)

    def blurred(self, form: str) -> bool:
        """Whether reading bounds as numbers makes one of what is several: <=50K and >50K are names."""
        if form in CLOCKS:
            return False
        bounds, numbers = self.read(split(form)[0]).bounds, self.parsed(form)
        there = np.isfinite(numbers)
        if not (bounds & there).any():
            return False
        return bool(bounds[there].mean() > 0.5 or len(np.unique(numbers[there])) < DISTINCT * there.sum())

    def told(self, form: str, said: bool = False) -> list[str]:
        """What of a form a person should know, in words; `said`: they have said its decimal sign."""
        if form in CLOCKS:
            return ["times of a clock in seconds" if form == CLOCKS[0] else "minutes and seconds in seconds"]
        sign, unit = split(form)
        there = self.values.filter(pa.array(np.isfinite(self.parsed(form))))
        words = [f"written {self.decimals(form)}"] if sign else []
        words += [f"in the unit '{unit}'"] if unit else []
        for what, pattern in _DRESS[sign].items():
            if pc.any(pc.match_substring_regex(there, pattern)).as_py() and not (unit in _TIMES and "k," in what):
                words.append(f"with {what}")
        if not said and sign and self.parted(".") is not False:
            words.append(f"if the points are decimal: {SAY}.")
        elif not said and self.parted(",") is None:
            words.append(f"if the commas {f'part thousands: {SAY}.' if sign else f'are decimal: {SAY},'}")
        bounds = self.bounds(form)
        return words + ([bounds] if bounds else [])

    def decimals(self, form: str) -> str:
        """With which decimal sign they are read."""
        if not split(form)[0]:
            return "with a decimal point"
        return "with points for thousands" if self.parted(".") is not False else "with a decimal comma"

    def bounds(self, form: str) -> str:
        """What is made of bounds, in words; empty: there are none."""
        found = self.values.filter(pa.array(self.read(split(form)[0]).bounds & np.isfinite(self.parsed(form))))
        return f"bounds such as '{found[0]}' are the number that they name" if len(found) else ""

    def several_units(self) -> list[str]:
        """The units of what are numbers in a few of them, so that they are no numbers together; else none."""
        found = max((self.read(sign) for sign in ("", ",")), key=lambda read: np.isfinite(read.values).sum())
        there = np.isfinite(found.values)
        if there.mean() < DISTINCT:
            return []
        units = [unit for unit in found.units.filter(pa.array(there)).unique().to_pylist() if unit]
        if not 2 <= len(units) <= UNITS_MOST or set(units) <= set(_ORDINALS):
            return []
        return units if all(re.fullmatch(_FIXED, unit) for unit in units) else []

    def without_unit(self, form: str) -> bool:
        """Whether none of the numbers of this form has its unit."""
        sign, unit = split(form)
        return not pc.any(pc.equal(self.read(sign).units, unit)).as_py()


_DRESS = {
    sign: {
        "thousands signs": rf"\d[{gaps}]\d{{3}}",
        "accounting negatives": r"\(|-$",
        "k, M or B for thousands, millions, billions": r"\d(?:k|K|M|B|bn)\b",
    }
    for sign, gaps in _GAPS.items()
}


def split(form: str) -> tuple[str, str]:
    """(decimal sign, unit)."""
    return (",", form[1:]) if form.startswith(",") else ("", form)


def is_currency(unit: str) -> bool:
    return bool(unit) and bool(pc.match_substring_regex(pa.array([unit]), rf"^{_BEFORE}$")[0].as_py())


# ---- what stands around digits: asked of the few shapes that a column has, such as $1,000.00


def _taken_apart(values: pa.Array, sign: str) -> Numerals:
    texts = values if pc.all(pc.string_is_ascii(values)).as_py() else _normal(values)
    short = pc.less_equal(pc.binary_length(texts), _LONGEST)
    texts = (
        pc.if_else(short, texts, "").combine_chunks()
        if isinstance(texts, pa.ChunkedArray)
        else pc.if_else(short, texts, "")
    )
    shapes = _shaped_all(texts, None)
    shape, at = _shapes(shapes.dictionary, sign), shapes.indices.to_numpy(zero_copy_only=False)
    numbered = _flags(pc.match_substring_regex(shape.units, r"\d")) & shape.fits
    if numbered.any():  # a unit is its own text: 6ft02 and 6ft11 are in two
        shapes = _shaped_all(texts, np.where(numbered, shape.end, _LONGEST)[at])
        shape, at = _shapes(shapes.dictionary, sign), shapes.indices.to_numpy(zero_copy_only=False)
    fits, sizes = shape.fits[at] if len(at) else np.zeros(0, bool), np.full(len(values), np.nan)
    rows = np.flatnonzero(fits)
    for i in range(0, len(rows), _PIECE):
        some = rows[i : i + _PIECE]
        sizes[some] = _sizes(texts.take(pa.array(some)), shape.begin[at[some]], shape.end[at[some]], sign)
    units, letters = (pc.take(words, shapes.indices) for words in (shape.units, shape.letters))
    return Numerals(np.where(shape.minus[at], -sizes, sizes), units, letters, shape.bounds[at])


def _normal(values: pa.Array) -> pa.Array:
    """In NFKC (１２ is 12), but for texts with a sign that is no digit and would become one."""
    return pc.if_else(pc.match_substring_regex(values, _MARKS), values, pc.utf8_normalize(values, "NFKC"))


def _shaped_all(texts: pa.Array, end: np.ndarray | None) -> pa.DictionaryArray:
    """The shapes of texts, which keep the digits from the byte `end` [D] on."""
    ends = [None if end is None else end[i : i + _PIECE] for i in range(0, len(texts), _PIECE)]
    pieces = [_shaped(texts.slice(i * _PIECE, _PIECE), end) for i, end in enumerate(ends)]
    return pa.concat_arrays(pieces or [texts]).dictionary_encode()


def _shaped(texts: pa.Array, end: np.ndarray | None) -> pa.Array:
    """Texts with 0 for every digit, but 1 for the first one where it is none."""
    starts, data = _bytes(texts)
    shape, digits = data.copy(), (data >= ord("0")) & (data <= ord("9"))
    shape[digits] = ord("0")
    before = np.concatenate([[0], np.cumsum(digits)])
    first = digits & (before[:-1] == np.repeat(before[starts[:-1]], np.diff(starts)))
    shape[first & (data != ord("0"))] = ord("1")
    if end is not None:
        own = np.arange(len(data)) >= np.repeat(starts[:-1] + end, np.diff(starts))
        shape[own] = data[own]
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(starts), pa.py_buffer(shape))


def _bytes(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(where each text begins, and the end of the last, int32 [D + 1]; the bytes of all)."""
    whole = pa.concat_arrays([texts]) if texts.offset else texts
    _, offsets, data = whole.buffers()
    starts = np.frombuffer(offsets, np.int32, len(whole) + 1, whole.offset * 4)
    held = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return starts - starts[0], held[starts[0] : starts[-1]]


class _Shapes(NamedTuple):
    """Of distinct shapes: which are numbers, in which bytes; their units and letters of magnitude; which are negative, which bounds."""

    fits: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    units: pa.Array
    letters: pa.Array
    minus: np.ndarray
    bounds: np.ndarray


def _shapes(values: pa.Array, sign: str) -> _Shapes:
    point, gaps = ("," if sign else r"\."), _GAPS[sign]
    indian = "" if sign else r"|[1-9]\d?(?:,\d{2})+,\d{3}"
    whole = rf"(?:[1-9]\d{{0,2}}(?:[{gaps}]\d{{3}})+{indian}|\d+)"
    number = rf"(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?"
    before, after = rf"(?:{_BEFORE})?", rf"(?:{_AFTER})?"
    found = pc.extract_regex(
        values,
        rf"^(?P<head>(?P<bound>[<>≤≥~≈]=?)?\s*(?P<first>[-+−–]?)\s*(?P<outer>{before})\s*(?P<open>\(?)\s*(?P<inner>[-+−–]?)\s*"
        rf"(?P<before>{before})\s*(?P<second>[-+−–]?)\s*)(?P<number>{number})(?P<letter>(?:(?:k|K|M|B|bn)\b)?)(?P<more>\+?)\s*"
        rf"(?P<after>{after})\s*(?P<close>\)?)\s*(?P<behind>{after})(?P<last>[−–-]?)$",
    )
    part = {field.name: pc.struct_field(found, field.name) for field in found.type}
    begin, length = (
        pc.fill_null(pc.binary_length(part[name]), 0).to_numpy(zero_copy_only=False) for name in ("head", "number")
    )
    closed = _flags(pc.equal(part["open"], "("))
    signs = [_flags(pc.is_in(part[name], pa.array(list("-−–")))) for name in ("first", "inner", "second", "last")]
    minus = np.sum([closed, *signs], axis=0)
    around = [part[name] for name in ("outer", "before", "after", "behind")]
    several = np.sum([_flags(pc.not_equal(unit, "")) for unit in around], axis=0) > 1
    units = pc.replace_substring(pc.replace_substring(pc.binary_join_element_wise(*around, ""), "²", "2"), "³", "3")
    long = pc.greater(pc.utf8_length(units), LONGEST)
    shaped = pc.or_(pc.equal(units, ""), pc.and_not(pc.match_substring_regex(units, _UNIT), long))
    fits = _flags(shaped) & ~several & (closed == _flags(pc.equal(part["close"], ")"))) & (minus < 2)
    bounds = _flags(pc.or_(pc.not_equal(pc.fill_null(part["bound"], ""), ""), pc.equal(part["more"], "+")))
    return _Shapes(fits, begin, begin + length, _singular(units), part["letter"], minus == 1, bounds)


def _singular(units: pa.Array) -> pa.Array:
    """years -> year, lbs -> lb; ms stays."""
    return pc.replace_substring_regex(units, r"^(.*\pL{2})s$", r"\1")


def _sizes(texts: pa.Array, begin: np.ndarray, end: np.ndarray, sign: str) -> np.ndarray:
    """float64 [D] of the bytes that are a number, without the signs around it and those for thousands."""
    starts, data = _bytes(texts)
    row = np.repeat(np.arange(len(texts)), np.diff(starts))
    place = np.arange(len(data)) - starts[row]
    kept = (
        (place >= begin[row])
        & (place < end[row])
        & np.isin(data, np.frombuffer(f"0123456789eE+-{sign or '.'}".encode(), np.uint8))
    )
    held, lengths = data[kept], np.bincount(row[kept], minlength=len(texts))
    bare = np.where(held == ord(","), np.uint8(ord(".")), held)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    numbers = pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(bare))
    return numbers.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _flags(found: pa.Array) -> np.ndarray:
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)


# ---- a point or a comma before three digits


def may_part(column: pa.ChunkedArray) -> bool:
    """A cheap look: whether points in a column of plain numbers may part thousands, since three digits stand behind each."""
    decimal = r"(?:^|\D)0\.\d|\.(?:\d{0,2}|\d{4,})(?:\D|$)|\d{4}\.|[eE]"
    head = pc.match_substring_regex(column.slice(0, _HEAD), decimal)
    return not pc.any(head).as_py() and bool(pc.any(pc.match_substring(column, ".")).as_py())


def _parted(texts: pa.Array, sign: str) -> bool | None:
    """Of texts [D] that are numbers: whether the sign parts thousands; None: nothing tells it from a decimal sign.

    It is a decimal sign where other than three digits stand behind one. It parts thousands where one number has it twice; or where
    numbers without it end below a thousand and reach into the hundreds, and those with it end in a zero, which is written only by
    who writes all zeros, or are all smaller than those, were they read as decimals.
    """
    found = pc.extract_regex(texts, r"(?P<digits>[.,]?\d[\d.,]*)(?P<power>[eE][-+]?\d)?").drop_null()
    digits = pc.struct_field(found, "digits")
    has = pc.match_substring(digits, sign)
    with_it, bare = digits.filter(has), digits.filter(pc.invert(has))
    grouped = pc.match_substring_regex(with_it, rf"^[1-9]\d{{0,2}}(?:[{sign}]\d{{3}})+$")
    odd = pc.or_(
        pc.not_equal(pc.struct_field(found, "power"), ""), pc.and_not(pc.invert(has), pc.utf8_is_digit(digits))
    )
    if not len(with_it) or _flags(odd).any() or not _flags(grouped).all():
        return False
    if pc.max(pc.count_substring(with_it, sign)).as_py() > 1:
        return True
    sizes = np.unique(bare.cast(pa.float64()).to_numpy(zero_copy_only=False))
    sizes = sizes[sizes > 0]
    if len(sizes) < BARE_LEAST or not BARE_LARGE <= sizes[-1] < 1000:
        return None
    decimals = pc.replace_substring(with_it, sign, ".").cast(pa.float64())
    zeros = pc.any(pc.ends_with(with_it, "0")).as_py()
    return True if zeros or sizes[0] > pc.max(decimals).as_py() else None


# ---- clocks


def _clock(values: pa.Array, form: str) -> np.ndarray:
    """Seconds, float64 [D]."""
    seconds = np.full(len(values), np.nan)
    for pattern, halved in ((_TWO, False), (_HALVES, True)):
        found = pc.extract_regex(values, pattern)
        fits = pc.is_valid(found).to_numpy(zero_copy_only=False)
        if not fits.any():
            continue
        a, b, c = (_figures(pc.struct_field(found, name)) for name in "abc")
        three = _flags(pc.starts_with(pc.struct_field(found, "c"), ":"))
        if halved:
            fits = fits & (a >= 1) & (a <= 12)
            a = a % 12 + 12 * _flags(pc.equal(pc.utf8_lower(pc.struct_field(found, "p")), "p"))
        short = (form == "m:s") & ~three & (not halved)  # 2:03.5: what follows the second part is a share of a second
        seconds = np.where(fits, np.where(short, a * 60 + b + c, a * 3600 + b * 60 + c), seconds)
    return seconds


def _figures(text: pa.Array) -> np.ndarray:
    """`:15`, `.5`, `:15.5`, `8` or nothing -> float64."""
    bare = pc.replace_substring(pc.replace_substring(text, ":", ""), ",", ".")
    return (
        pc.fill_null(pc.if_else(pc.equal(bare, ""), "0", bare), "0").cast(pa.float64()).to_numpy(zero_copy_only=False)
    )


def _clock_form(values: pa.Array) -> str:
    """How a column's clock times are meant."""
    found = pc.extract_regex(values, _TWO).drop_null()
    if not len(found):
        return CLOCKS[0]
    third, first = pc.struct_field(found, "c"), pc.struct_field(found, "a")
    three, shares = _flags(pc.starts_with(third, ":")), _flags(pc.match_substring_regex(third, r"^[.,]"))
    if shares.any():
        return CLOCKS[1]
    hours = _flags(pc.equal(pc.binary_length(first), 2))[three]
    return CLOCKS[1] if three.any() and not three.all() and not hours.all() else CLOCKS[0]
