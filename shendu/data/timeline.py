"""The column that orders a series' rows: every way in which it can be read, as moments or as plain numbers.

Shape letters: T rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from shendu.data import cells as columns
from shendu.data import times
from shendu.data.times import AMBIGUOUS, COMPACT, DATES, EPOCHS, FIRST, NUMBERS, Times
from shendu.errors import UserError
from shendu.shown import option

if TYPE_CHECKING:
    from shendu.data.cells import Cells

WRITE = "write it like 2024-01-31, or name another column with --time"
CALLED = re.compile(
    r"(?i)(date|time|datetime|timestamp|ts|ds|day|week|month|quarter|year|period|epoch|unix)(_.*)?|.*_(date|time|at|ts)"
)
"""How columns of numbers are called that may hold times."""
_SURE = 1e9
"""Numbers from here on may be seconds since 1970 though they go up by one."""


@dataclass(frozen=True)
class Timeline:
    """One way to read the column: its times, or numbers [T] where it holds plain ones; the form, and what was guessed."""

    times: Times
    numbers: np.ndarray | None = None
    form: str = ""
    note: str = ""

    def take(self, rows: np.ndarray) -> Timeline:
        return replace(self, times=self.times.take(rows), numbers=None if self.numbers is None else self.numbers[rows])


def ways(cells: Cells, where: str, form: str = "") -> list[Timeline]:
    """In this form where all cells can be read in it; else the likeliest first, two where nothing but the steps can tell.

    Raises UserError for what is no time.
    """
    if not cells.is_plain:
        raise UserError(f"{cells.name} of {where} holds {cells.column.type}, which is no time: {WRITE}")
    empty = np.isnat(times.of_cells(cells, "").wall) if cells.is_time else ~cells.says
    if empty.any():
        raise UserError(f"{cells.name} of {where} is empty in row {empty.argmax() + 1:,}: each row needs its time")
    if cells.is_time:
        return [Timeline(times.of_cells(cells, ""))]
    if form and not np.isnat((found := times.of_cells(cells, form)).wall).any():
        _check_zones(cells, found, where)
        return [Timeline(found, form=form)]
    if (numbers := _plain(cells)) is not None:
        return list(_of_numbers(cells, numbers, where))
    return _of_words(cells, where)


def _plain(cells: Cells) -> np.ndarray | None:
    """float64 [T] where each cell is a number as it stands."""
    found = columns.numbers(cells, "")
    return found if np.isfinite(found).all() and (cells.is_number or cells.plain is not None) else None


# ---- words -----------------------------------------------------------------------------------------------------------


def _of_words(cells: Cells, where: str) -> list[Timeline]:
    values = cells.coded.values
    head = values.slice(0, 1000)
    shares = {form: float((~np.isnat(times.read(head, form).wall)).mean()) for form in DATES}
    best = max(shares, key=lambda form: shares[form])
    forms = [best, AMBIGUOUS[best]] if best in AMBIGUOUS else [best]
    found = {form: times.of_cells(cells, form) for form in forms}
    whole = [form for form in forms if not np.isnat(found[form].wall).any()]
    if not whole:
        raise _unread(cells, found, where)
    _check_zones(cells, found[whole[0]], where)
    if best == "b Y":
        _check_years(cells, found[best], where)
    return [Timeline(found[form], form=form, note=_guessed(cells, form) if len(whole) > 1 else "") for form in whole]


def _guessed(cells: Cells, form: str) -> str:
    other = AMBIGUOUS[form]
    return f"times such as '{cells.written(0)}' begin with the {FIRST[form]} (else: {option('--type', f'{cells.name}=date:{other}')})"


def _check_years(cells: Cells, found: Times, where: str) -> None:
    """Raises UserError where the number behind a month is more likely a day: Jan-01, Jan-02 … Feb-01."""
    moments = found.wall.astype(np.int64)
    sorted_ = (np.diff(moments) >= 0).all() or (np.diff(moments) <= 0).all()
    if not sorted_ and not re.search(r"\d{4}$", cells.written(0)):
        raise UserError(
            f"{cells.name} of {where} holds '{cells.written(0)}' in row 1, which may be a month of a year or a day of a month: "
            "write it like 2010-01, or 2010-01-31"
        )


def _check_zones(cells: Cells, found: Times, where: str) -> None:
    """Raises UserError where some times say how far they are from UTC and others do not."""
    said = found.zoned
    if said.any() and not said.all():
        without = int((~said).argmax())
        raise UserError(
            f"{cells.name} of {where} says no offset from UTC in row {without + 1:,} ('{cells.written(without)}') and does in "
            f"row {said.argmax() + 1:,} ('{cells.written(int(said.argmax()))}'): write all of them with it, or none"
        )


def _unread(cells: Cells, found: dict[str, Times], where: str) -> UserError:
    """What is wrong with the first cell that is no time."""
    name, missing = cells.name, {form: np.isnat(read.wall) for form, read in found.items()}
    best = min(missing, key=lambda form: missing[form].sum())
    row = int(missing[best].argmax())
    holds = f"{name} of {where} holds '{cells.written(row)}' in row {row + 1:,}, "
    if other := next((form for form in missing if form != best and not missing[form][row]), ""):
        fits = int((missing[other] & ~missing[best]).argmax())
        return UserError(
            f"{holds}with the {FIRST[other]} first, and '{cells.written(fits)}' in row {fits + 1:,} with the {FIRST[best]} first: "
            "write all of them like 2024-01-31"
        )
    written = str(cells.column[row].as_py()).strip()
    if zone := re.search(r"(?<=[\d ])([A-Z]{2,5}|[A-Z][a-z]+/[A-Z]\w+)$", written):
        bare = times.pa.array([written[: zone.start()].strip()])
        if any(not np.isnat(times.read(bare, form).wall[0]) for form in DATES):
            return UserError(
                f"{holds}whose zone {zone[0]} does not say how far it is from UTC: write the offset, like 2024-01-31 12:00+02:00"
            )
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?", written):
        return UserError(f"{holds}a time of day without its date: write it like 2024-01-31 12:00")
    return UserError(f"{holds}which is no date: {WRITE}")


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _of_numbers(cells: Cells, numbers: np.ndarray, where: str) -> Iterator[Timeline]:
    """Years, 20240131, 202401, seconds since 1970; or what merely counts rows."""
    whole = bool((numbers == np.round(numbers)).all())
    counts = whole and len(numbers) > 1 and bool((np.diff(np.sort(numbers)) == 1).all())
    like = cells.written(0)
    if whole and not counts and (compact := _compact(numbers)):
        form, found = compact
        at = str(found.wall[0]).replace("T", " ").removesuffix(".000000").removesuffix(" 00:00:00")
        yield Timeline(
            found, None, form, f"{cells.name} of {where} is read as dates, {like} as {at[:7] if form == 'Ym' else at}"
        )
        return
    if whole and len(numbers) and numbers.min() >= 1000 and numbers.max() <= 2999:
        years = (numbers.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[us]")
        yield Timeline(Times(years, np.full(len(years), np.nan)))
        return
    for unit, (least, most, micros) in EPOCHS.items():
        if least <= numbers.min() and numbers.max() <= most and not (counts and numbers.min() < _SURE):
            since = np.round(numbers * micros).astype(np.int64).astype("datetime64[us]")
            first = str(since[0].astype("datetime64[s]")).replace("T", " ")
            note = f"{cells.name} of {where} is read as {unit} since 1970 in UTC, {like} as {first}"
            yield Timeline(Times(since, np.zeros(len(since))), None, "", note)
            return
    if not whole:
        row = int((numbers != np.round(numbers)).argmax())
        raise UserError(
            f"{cells.name} of {where} holds '{cells.written(row)}' in row {row + 1:,}, a number with a fraction, which says no "
            "moment by itself: write times like 2024-01-31 12:00:00.5, or whole numbers such as 1, 2, 3"
        )
    yield Timeline(
        Times(np.full(len(numbers), np.datetime64("NaT", "us")), np.full(len(numbers), np.nan)),
        numbers.astype(np.int64),
    )


def _compact(numbers: np.ndarray) -> tuple[str, Times] | None:
    """Dates that are written in digits alone, where all are in one form and in years that are likely."""
    texts = times.pa.array(numbers.astype(np.int64).astype(str))
    for form in NUMBERS:
        found = times.read(texts, form)
        if not np.isnat(found.wall).any():
            years = found.wall.astype("datetime64[Y]").astype(np.int64) + 1970
            if COMPACT[0] <= years.min() and years.max() <= COMPACT[1]:
                return form, found
    return None


def may_order(cells: Cells) -> bool:
    """Whether a column of numbers is called like times and holds what is read as such."""
    if not CALLED.fullmatch(cells.name) or (numbers := _plain(cells) if cells.is_plain else None) is None:
        return False
    try:
        return next(_of_numbers(cells, numbers, "")).numbers is None
    except UserError:
        return False
