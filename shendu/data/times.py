"""Times as people write them, as microseconds since 1970: ISO and other dates, months, quarters, weeks, with or without an offset from UTC.

A time that says how far it is from UTC is the moment that it names, so that two ways to write one moment are one. Work is
done on a column's distinct values.

Shape letters: N rows, D distinct values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shendu.data.steps import SECOND

if TYPE_CHECKING:
    from shendu.data.cells import Cells

_ZONE = r"Z|z|UTC|GMT|(?:UTC|GMT)?[-+−]\d{1,2}(?::?\d{2})?"
_CLOCK = (
    r"(?:(?:[T ]+|, ?)(?P<H>\d{1,2})(?:[:.](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)? ?(?P<p>[AaPp]\.?[Mm]\.?)?"
    rf" ?(?P<z>{_ZONE})?(?:\[[\w/+-]+\])?|(?P<o>Z|[-+]\d{{2}}:\d{{2}}))?"
)
"""A clock time, and how far it is from UTC; or a day's offset."""
_DAY_NAME = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}[.,]? +)?"
_MONTH, _YEAR = r"(?P<b>[A-Za-z]{3,9})", r"(?P<y>\d{4}|\d{2})"
DATES = {
    "Y-m-d": rf"{_DAY_NAME}(?P<y>\d{{4}})[-/.年년] ?(?P<m>\d{{1,2}})[-/.月월] ?(?P<d>\d{{1,2}})[日일.]?{_CLOCK}",
    "Y-m": r"(?P<y>\d{4})(?:[-/年년] ?|[Mm])(?P<m>\d{1,2})[月월]?",
    "d.m.Y": rf"{_DAY_NAME}(?P<d>\d{{1,2}})[-/.] ?(?P<m>\d{{1,2}})[-/.] ?{_YEAR}{_CLOCK}",
    "m/d/Y": rf"{_DAY_NAME}(?P<m>\d{{1,2}})[-/](?P<d>\d{{1,2}})[-/]{_YEAR}{_CLOCK}",
    "d b Y": rf"{_DAY_NAME}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-. ]+{_MONTH}[-., ]+{_YEAR}{_CLOCK}",
    "b d Y": rf"{_DAY_NAME}{_MONTH}[. ]+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[, ]+(?P<y>\d{{4}}){_CLOCK}",
    "b d H Y": rf"{_DAY_NAME}{_MONTH} +(?P<d>\d{{1,2}}) +(?P<H>\d{{1,2}}):(?P<M>\d{{2}})(?::(?P<S>\d{{2}}))? +(?P<y>\d{{4}})",
    "m/Y": r"(?P<m>\d{1,2})[-/.](?P<y>\d{4})",
    "b Y": rf"{_MONTH}(?:[-., /]+{_YEAR}| ?['’](?P<s>\d{{2}}))",
    "Y b": rf"(?P<y>\d{{4}})[-., /]+{_MONTH}",
    "Y-Q": r"(?P<y>\d{4})[-_/ ]?[Qq](?P<q>[1-4])",
    "Q-Y": r"(?:[Qq](?P<q>[1-4])[-_/ ']*|(?P<r>[1-4])[Qq][-_/ ']*)(?P<y>\d{4}|\d{2})",
    "Y-W": r"(?P<y>\d{4})[-_ ]?W(?P<w>\d{2})(?:-?(?P<e>[1-7]))?",
    "Ymd": rf"(?P<y>\d{{4}})(?P<m>\d{{2}})(?P<d>\d{{2}}){_CLOCK}",
    "YmdHMS": rf"(?P<y>\d{{4}})(?P<m>\d{{2}})(?P<d>\d{{2}})[T _-]?(?P<H>\d{{2}})(?:(?P<M>\d{{2}})(?P<S>\d{{2}})?)?(?P<z>{_ZONE})?",
    "Ym": r"(?P<y>\d{4})(?P<m>\d{2})",
}
"""How times are written. A column whose cells are plain numbers is one of numbers unless the person says otherwise."""
NUMBERS = ("Ymd", "YmdHMS", "Ym")
"""Those that are written in digits alone."""
AMBIGUOUS = {"d.m.Y": "m/d/Y", "m/d/Y": "d.m.Y"}
FIRST = {"d.m.Y": "day", "m/d/Y": "month"}
"""What comes first in the two."""
EPOCHS = {
    "seconds": (1e8, 4.2e9, 1e6),
    "milliseconds": (1e11, 4.2e12, 1e3),
    "microseconds": (1e14, 4.2e15, 1.0),
    "nanoseconds": (1e17, 4.2e18, 1e-3),
}
"""Unit of times since 1970 -> the least and the greatest number (1973 to 2103), and how many microseconds it is."""
COMPACT = (1900, 2100)
"""Years that numbers such as 20240131 are taken for."""
LIKELY = (1500, 2200)
"""Years of what is guessed to be a date: 3605-2 and 1061/2 are codes. An ISO date with its day says what it is."""
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_SPELT = {spelt: i for i, name in enumerate(_MONTHS, 1) for spelt in {name, name[:3]}} | {"sept": 9}
_NEVER = np.datetime64("NaT", "us")
_HEAD = 1000
"""Distinct values by which a form is chosen first."""


@dataclass(frozen=True)
class Times:
    """What clocks show, datetime64[us] [N], NaT where there is no time; and seconds east of UTC, NaN where none are said."""

    wall: np.ndarray
    east: np.ndarray

    @property
    def moments(self) -> np.ndarray:
        """datetime64[us] [N], in UTC where the offset from it is said."""
        return self.wall - (np.nan_to_num(self.east) * SECOND).astype("timedelta64[us]")

    @property
    def zoned(self) -> np.ndarray:
        """bool [N]: where an offset is said."""
        return ~np.isnan(self.east) & ~np.isnat(self.wall)

    def take(self, rows: np.ndarray) -> Times:
        return Times(self.wall[rows], self.east[rows])


# ---- one form --------------------------------------------------------------------------------------------------------


def read(values: pa.Array, form: str) -> Times:
    """Distinct values [D] that are written in one form."""
    parts = pc.extract_regex(values, rf"^{DATES[form]}$")
    names = [field.name for field in parts.type]

    def text(name: str) -> pa.Array:
        found = pc.struct_field(parts, name)
        return pc.if_else(pc.equal(found, ""), None, found)

    def part(name: str, otherwise: int) -> np.ndarray:
        if name not in names:
            return np.full(len(values), otherwise, np.int64)
        return pc.fill_null(text(name).cast(pa.int64()), otherwise).to_numpy(zero_copy_only=False)

    year, day = part("y", 1970), part("d", 1)
    if "s" in names:
        year = np.where((short := part("s", -1)) >= 0, short, year)
    year = np.where(year < 70, year + 2000, np.where(year < 100, year + 1900, year))
    month = _named_months(text("b")) if "b" in names else part("m", 1)
    if "q" in names:
        month = 3 * np.maximum(part("q", 0), part("r", 0)) - 2
    hour, minute, second = part("H", 0), part("M", 0), part("S", 0)
    right = pc.is_valid(parts).to_numpy(zero_copy_only=False) & (month >= 1) & (month <= 12) & (day >= 1)
    if "p" in names:
        half = _halves(text("p"))
        right &= (half < 0) | ((hour >= 1) & (hour <= 12))
        hour = np.where(half >= 0, hour % 12 + 12 * half, hour)
    months = np.where(right, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    right &= days.astype("datetime64[M]") == months
    if "w" in names:
        days, right = _weeks(year, part("w", 1), part("e", 1), right)
    right &= (hour < 24) | ((hour == 24) & (minute == 0) & (second == 0))
    right &= (minute < 60) & (second < 61)
    micros = (hour * 3600 + minute * 60 + second) * SECOND + (_fractions(text("f")) if "f" in names else 0)
    wall = np.where(right, days.astype("datetime64[us]") + micros, _NEVER)
    return Times(wall, _offsets([text(name) for name in ("z", "o") if name in names], len(values)))


def _named_months(words: pa.Array) -> np.ndarray:
    """1 to 12, 0 where a word is no month."""
    lower = pc.utf8_lower(words)
    place = pc.index_in(lower, pa.array(list(_SPELT)))
    numbers = np.array([*_SPELT.values(), 0])
    return numbers[pc.fill_null(place, -1).to_numpy(zero_copy_only=False)]


def _halves(words: pa.Array) -> np.ndarray:
    """0 in the morning, 1 in the afternoon, -1 on a clock of 24 hours."""
    first = pc.utf8_lower(pc.utf8_slice_codeunits(words, 0, 1))
    return pc.fill_null(pc.index_in(first, pa.array(["a", "p"])), -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _fractions(digits: pa.Array) -> np.ndarray:
    """Microseconds of the digits behind a second."""
    padded = pc.utf8_slice_codeunits(pc.utf8_rpad(digits, 6, "0"), 0, 6)
    return pc.fill_null(padded.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)


def _weeks(year: np.ndarray, week: np.ndarray, day: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(days [D] of ISO weeks, which there are): week 1 is the one with the year's fourth of January."""

    def monday(of: np.ndarray) -> np.ndarray:
        fourth = (of - 1970).astype("datetime64[Y]").astype("datetime64[D]") + 3
        return fourth - (fourth.astype(np.int64) + 3) % 7

    days = monday(year) + 7 * (week - 1) + (day - 1)
    return days, right & (week >= 1) & (monday(year) + 7 * (week - 1) < monday(year + 1))


def _offsets(texts: list[pa.Array], count: int) -> np.ndarray:
    """float64 [D]: seconds east of UTC, NaN where nothing is said."""
    east = np.full(count, np.nan)
    for text in texts:
        bare = pc.replace_substring_regex(pc.replace_substring(text, "−", "-"), "(?i)utc|gmt|z|:", "")
        digits = pc.fill_null(bare, "")
        sign = np.where(pc.starts_with(digits, "-").to_numpy(zero_copy_only=False), -1, 1)
        digits = pc.replace_substring_regex(digits, "[-+]", "")
        short = pc.less_equal(pc.utf8_length(digits), 2)
        number = pc.if_else(short, pc.binary_join_element_wise(digits, "00", ""), digits).cast(pa.int64())
        hours, minutes = np.divmod(number.to_numpy(zero_copy_only=False), 100)
        east = np.where(pc.is_valid(text).to_numpy(zero_copy_only=False), sign * (hours * 3600 + minutes * 60), east)
    return east


# ---- a column --------------------------------------------------------------------------------------------------------


def form_of(values: pa.Array, forms: Iterable[str], guessed: bool = False) -> tuple[str, float]:
    """(the form that most of the distinct values are written in, its share of them); `guessed`: in years that are likely."""
    if not len(values):
        return "", 0.0
    taken = _likely if guessed else _there
    shares = {form: float(taken(values, read(values, form).wall).mean()) for form in forms}
    best = max(shares, key=lambda form: shares[form])
    return best, shares[best]


def _there(values: pa.Array, wall: np.ndarray) -> np.ndarray:
    return ~np.isnat(wall)


def _likely(values: pa.Array, wall: np.ndarray) -> np.ndarray:
    years = wall.astype("datetime64[Y]").astype(np.int64) + 1970
    iso = pc.match_substring_regex(values, r"^\d{4}-\d\d-\d\d(?:[T ]|$)").to_numpy(zero_copy_only=False)
    return ~np.isnat(wall) & (iso | ((years >= LIKELY[0]) & (years <= LIKELY[1])))


def of_cells(cells: Cells, form: str) -> Times:
    """The times [N] of a column: of its type, or written in this form, or in another that can be read one way only."""
    if cells.is_time:
        return _typed(cells.column)
    values = cells.coded.values
    form = form or form_of(values.slice(0, _HEAD), DATES)[0] or "Y-m-d"
    found = read(values, form)
    for other in DATES if np.isnat(found.wall).any() else ():
        if other not in (form, *AMBIGUOUS, *NUMBERS):
            more = read(values, other)
            new = np.isnat(found.wall) & ~np.isnat(more.wall)
            found = Times(np.where(new, more.wall, found.wall), np.where(new, more.east, found.east))
    return Times(np.append(found.wall, _NEVER)[cells.coded.codes], np.append(found.east, np.nan)[cells.coded.codes])


def _typed(column: pa.ChunkedArray) -> Times:
    """Of dates and timestamps; one with a zone is what that zone's clocks show."""
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    micros = column.cast(pa.timestamp("us", zone), safe=False)
    moments = micros.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).astype("datetime64[us]")
    if not zone:
        return Times(moments, np.full(len(moments), np.nan))
    wall = pc.local_timestamp(micros).to_numpy(zero_copy_only=False).astype("datetime64[us]")
    away = (wall - moments).astype("timedelta64[s]")
    return Times(wall, np.where(np.isnat(away), np.nan, away.astype(np.float64)))


def moments_of(cells: Cells, form: str, zoned: bool | None = None) -> np.ndarray:
    """datetime64[us] [N], NaT where a value is missing or is no time; and where it says an offset from UTC (or none) and is not to."""
    if not cells.is_time and form == "Y-m-d" and cells.times is not None:
        return cells.times
    found = of_cells(cells, form)
    return found.moments if zoned is None else np.where(found.zoned == zoned, found.moments, _NEVER)


def zoned(cells: Cells, form: str) -> bool:
    """Whether most times of a column say how far they are from UTC, by its first cells: a long column is not to be coded for it."""
    if cells.is_time:
        return bool(pa.types.is_timestamp(cells.column.type) and cells.column.type.tz)
    if not pa.types.is_string(cells.column.type):
        return False
    chunks = cells.column.slice(0, _HEAD).drop_null().combine_chunks()
    head = read(pc.utf8_trim_whitespace(chunks), form)
    return bool(head.zoned.sum() * 2 > (~np.isnat(head.wall)).sum())


def looks_like(cells: Cells) -> bool:
    """Whether most of a column's values are times that are not written as plain numbers."""
    if cells.is_time or not cells.is_plain or cells.is_number:
        return cells.is_time
    forms = (form for form in DATES if form not in NUMBERS)
    return form_of(cells.sayings.slice(0, _HEAD), forms, guessed=True)[1] > 0.5
