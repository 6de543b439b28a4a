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
LOOKED_AT = 100_000
"""Distinct texts that tell a form, evenly drawn from more."""
DISTINCT = 0.9
"""Bounds make of different texts the same number; at least so many numbers have to be left, or the texts are names."""
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


def parsed(values: pa.Array, form: str) -> np.ndarray:
    """float64 [D], NaN where a text is no number of this form."""
    if form in CLOCKS:
        return _clock(values, form)
    sign, unit = split(form)
    return taken_apart(values, sign).of(unit)


def split(form: str) -> tuple[str, str]:
    """(decimal sign, unit)."""
    return (",", form[1:]) if form.startswith(",") else ("", form)


def taken_apart(values: pa.Array, sign: str) -> Numerals:
    """Texts with a decimal sign, whatever their unit."""
    point, gaps = ("," if sign else r"\."), _GAPS[sign]
    indian = "" if sign else r"|[1-9]\d?(?:,\d{2})+,\d{3}"
    whole = rf"(?:[1-9]\d{{0,2}}(?:[{gaps}]\d{{3}})+{indian}|\d+)"
    number = rf"(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][-+−]?\d+)?"
    before, after = rf"(?:{_BEFORE})?", rf"(?:{_AFTER})?"
    found = pc.extract_regex(
        pc.utf8_normalize(values, "NFKC"),
        rf"^(?P<bound>[<>≤≥~≈]=?)?\s*(?P<first>[-+−–]?)\s*(?P<outer>{before})\s*(?P<open>\(?)\s*(?P<inner>[-+−–]?)\s*"
        rf"(?P<before>{before})\s*(?P<second>[-+−–]?)\s*(?P<number>{number})(?P<letter>(?:(?:k|K|M|B|bn)\b)?)(?P<more>\+?)\s*"
        rf"(?P<after>{after})\s*(?P<close>\)?)\s*(?P<behind>{after})(?P<last>[−–-]?)$",
    )
    part = {field.name: pc.struct_field(found, field.name) for field in found.type}
    bare = pc.replace_substring(pc.replace_substring_regex(part["number"], rf"[{gaps}]", ""), "−", "-")
    sizes = pc.replace_substring(bare, ",", ".").cast(pa.float64()).to_numpy(zero_copy_only=False)
    closed = _flags(pc.equal(part["open"], "("))
    signs = [_flags(pc.is_in(part[name], pa.array(list("-−–")))) for name in ("first", "inner", "second", "last")]
    minus = sum(map(np.int64, (closed, *signs)))
    around = [part[name] for name in ("outer", "before", "after", "behind")]
    several = sum(_flags(pc.not_equal(unit, "")).astype(np.int64) for unit in around) > 1
    units = pc.binary_join_element_wise(*around, "")
    shaped = pc.or_(pc.equal(units, ""), pc.and_(pc.match_substring_regex(units, _UNIT), pc.less_equal(pc.utf8_length(units), LONGEST)))
    wrong = several | ~_flags(shaped) | (closed != _flags(pc.equal(part["close"], ")"))) | (minus > 1)
    bounds = _flags(pc.or_(pc.not_equal(pc.fill_null(part["bound"], ""), ""), pc.equal(part["more"], "+")))
    numbers = np.where(wrong, np.nan, np.where(minus == 1, -sizes, sizes))
    return Numerals(numbers, _singular(units), part["letter"], bounds)


def _singular(units: pa.Array) -> pa.Array:
    """years -> year, lbs -> lb; ms stays."""
    return pc.replace_substring_regex(units, r"^(.*\pL{2})s$", r"\1")


def _flags(found: pa.Array) -> np.ndarray:
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)


def _clock(values: pa.Array, form: str) -> np.ndarray:
    """Seconds, float64 [D]."""
    halved, plain = pc.extract_regex(values, _HALVES), pc.extract_regex(values, _TWO)
    seconds = np.full(len(values), np.nan)
    for found, names in ((plain, False), (halved, True)):
        fits = pc.is_valid(found).to_numpy(zero_copy_only=False)
        if not fits.any():
            continue
        a, b, c = (_figures(pc.struct_field(found, name)) for name in "abc")
        three = _flags(pc.starts_with(pc.struct_field(found, "c"), ":"))
        if names:
            late = _flags(pc.equal(pc.utf8_lower(pc.struct_field(found, "p")), "p"))
            fits &= (a >= 1) & (a <= 12)
            a = a % 12 + 12 * late
        short = (form == "m:s") & ~three & (not names)  # 2:03.5: what follows the second part is a share of a second
        seconds = np.where(fits, np.where(short, a * 60 + b + c, a * 3600 + b * 60 + c), seconds)
    return seconds


def _figures(text: pa.Array) -> np.ndarray:
    """`:15`, `.5`, `:15.5`, `8` or nothing -> float64."""
    bare = pc.replace_substring(pc.replace_substring(text, ":", ""), ",", ".")
    return pc.fill_null(pc.if_else(pc.equal(bare, ""), "0", bare), "0").cast(pa.float64()).to_numpy(zero_copy_only=False)


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


def form_of(values: pa.Array, hint: str = "") -> str:
    """The form in which most of the distinct texts are numbers; the hint decides between two signs that would both do."""
    values = values.take(pa.array(range(0, len(values), len(values) // LOOKED_AT))) if len(values) > LOOKED_AT else values
    best, most = "", 0
    for sign in (",", "") if hint else ("", ","):
        unit, count = usual(taken_apart(values, sign))
        if count > most:
            best, most = sign + unit, count
    if most < len(values):
        clock = _clock_form(values)
        if int(np.isfinite(_clock(values, clock)).sum()) > most:
            return clock
    return best


def usual(found: Numerals) -> tuple[str, int]:
    """(the unit that most texts have, how many are numbers of it)."""
    there = found.units.filter(pa.array(np.isfinite(found.values)))
    counts = pc.value_counts(there.filter(pc.not_equal(there, "")))
    if not len(counts):
        return "", len(there)
    times = counts.field("counts").to_numpy(zero_copy_only=False)
    unit = counts.field("values")[int(times.argmax())].as_py()
    return unit, int(np.isfinite(found.of(unit)).sum())


def blurred(values: pa.Array, form: str) -> bool:
    """Whether reading bounds as numbers makes one of what is several: <=50K and >50K are names."""
    if form in CLOCKS:
        return False
    found = taken_apart(values, split(form)[0])
    numbers = found.of(split(form)[1])
    there = np.isfinite(numbers)
    if not (found.bounds & there).any():
        return False
    return found.bounds[there].mean() > 0.5 or len(np.unique(numbers[there])) < DISTINCT * there.sum()


def told(values: pa.Array, form: str) -> list[str]:
    """What of a form a person should know, in words."""
    if form in CLOCKS:
        return ["times of a clock in seconds" if form == CLOCKS[0] else "minutes and seconds in seconds"]
    sign, unit = split(form)
    found = taken_apart(values, sign)
    there = pa.array(np.isfinite(found.of(unit)))
    words = ["written with a decimal comma"] if sign else []
    words += [f"in the unit '{unit}'"] if unit else []
    for what, pattern in (
        ("thousands signs", rf"\d[{_GAPS[sign]}]\d{{3}}"),
        ("accounting negatives", r"\(|-$"),
        ("k, M or B for thousands, millions, billions", r"\d(?:k|K|M|B|bn)\b"),
    ):
        if pc.any(pc.match_substring_regex(values, pattern).filter(there)).as_py() and not (unit in _TIMES and "k," in what):
            words.append(f"with {what}")
    bounds = bounds_of(values, form)
    return words + ([bounds] if bounds else [])


def bounds_of(values: pa.Array, form: str) -> str:
    """What is made of bounds, in words; empty: there are none."""
    found = taken_apart(values, split(form)[0])
    bounds = values.filter(pa.array(found.bounds & np.isfinite(found.of(split(form)[1]))))
    return f"bounds such as '{bounds[0]}' are the number that they name" if len(bounds) else ""


def is_currency(unit: str) -> bool:
    return bool(unit) and bool(pc.match_substring_regex(pa.array([unit]), rf"^{_BEFORE}$")[0].as_py())


def several_units(values: pa.Array) -> list[str]:
    """The units of what are numbers in a few of them, so that they are no numbers together; else none."""
    found = max((taken_apart(values, sign) for sign in ("", ",")), key=lambda read: np.isfinite(read.values).sum())
    counts = pc.value_counts(found.units.filter(pa.array(np.isfinite(found.values))))
    units = [unit for unit in counts.field("values").to_pylist() if unit]
    several = not any(re.search(r"\d", unit) for unit in units) and 2 <= len(units) <= UNITS_MOST and np.isfinite(found.values).mean() > DISTINCT
    return units if several else []


def without_unit(values: pa.Array, unit: str) -> bool:
    """Whether none of these texts has a unit."""
    return not pc.any(pc.match_substring(values, unit)).as_py()
