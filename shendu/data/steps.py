"""The step of a series in time: months, working days, days, hours or parts of a second, found out from its times.

Times are taken as they are where they are even as moments; by the calendar of their own clocks where each day, working day or
month has one row, whatever the hour and however clocks are put; and to the nearest step where they are nearly even.

Shape letters: T rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from shendu.data.fields.series import Unit

if TYPE_CHECKING:
    from shendu.data.timeline import Timeline

SECOND, DAY = 1_000_000, 86_400_000_000
"""In microseconds."""
WEEK_SECONDS, DAY_SECONDS, HOUR = 604_800, 86_400, 3_600
LONGEST_DAY = 96
"""Steps of a day that are still a season: quarters of an hour; below them an hour is."""
NEAR = 0.05
"""Share of a step by which a time may be off it: an hour of a day."""
AROUND = 4
"""Days by which the rows of a monthly series may lie apart within their months: first or last working days."""
WORKING = ("1111100", "1111001", "1111110", "1111101", "1111011", "1110011")
"""Weeks of working days that are known, Monday first: a few days are enough to see them."""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
NICE = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1200,
    1800,
    *(HOUR * h for h in (1, 2, 3, 4, 6, 8, 12, 24)),
    WEEK_SECONDS,
)
"""Seconds that a step which is nearly even is likely to be of."""
_EPOCH = np.datetime64("1970-01-01", "D")


@dataclass(frozen=True)
class Step:
    """From one row to the next: so many units; of working days, which days of a week are, Monday first (1111100)."""

    unit: Unit
    every: int
    week: str = ""

    def __str__(self) -> str:
        """In words: month, 3 months, week, day, hour, 15 minutes, 1."""
        every, name = self.every, str(self.unit)
        if self.unit == "number":
            return str(every)
        if self.unit == "second":
            for size, word in (
                (WEEK_SECONDS, "week"),
                (DAY_SECONDS, "day"),
                (HOUR, "hour"),
                (60, "minute"),
                (1, "second"),
            ):
                if every % size == 0:
                    every, name = every // size, word
                    break
        elif self.unit == "microsecond" and every % 1000 == 0:
            every, name = every // 1000, "millisecond"
        elif self.unit == "month" and every % 12 == 0:
            every, name = every // 12, "year"
        elif self.unit == "weekday" and self.week != WORKING[0]:
            name = f"day of {', '.join(name for name, works in zip(DAYS, self.week, strict=True) if works == '1')}"
        return name if every == 1 else f"{every} {name}s"

    @property
    def season(self) -> int:
        """Steps of a year of months or weeks, of a week of days, of a day of hours, of an hour; 1 where there is none."""
        every = self.every
        if self.unit == "month":
            return 12 // every if 12 % every == 0 else 1
        if self.unit == "weekday":
            return self.week.count("1") if every == 1 else 1
        if self.unit in ("number", "microsecond"):
            return 1
        if every in (WEEK_SECONDS, DAY_SECONDS):
            return {WEEK_SECONDS: 52, DAY_SECONDS: 7}[every]
        if every < DAY_SECONDS and DAY_SECONDS % every == 0 and DAY_SECONDS // every <= LONGEST_DAY:
            return DAY_SECONDS // every
        return HOUR // every if every < HOUR and HOUR % every == 0 else 1


@dataclass(frozen=True)
class Grid:
    """The times of a series: whole numbers of units, int64 [T], whole steps apart, more than one where rows are absent."""

    ticks: np.ndarray
    step: Step
    clock: int = 0
    """Microseconds of the day at which working days are written."""
    east: int | None = None
    """Seconds east of UTC with which moments are written; None: without."""
    form: str = ""
    note: str = ""

    def written(self, tick: int) -> str:
        """A time as a person writes it: 1961-01 of months, 1961-01-31 of days, with the clock below them."""
        unit, every = self.step.unit, self.step.every
        if unit == "number":
            return str(tick)
        if unit == "month":
            month = np.datetime64(tick, "M")
            if self.form in ("Y-Q", "Q-Y"):
                return f"{str(month)[:4]}Q{tick % 12 // 3 + 1}"
            return str(month) if every % 12 else str(month)[:4]
        if unit == "weekday":
            return moment(_day_of(tick, self.step.week) * DAY + self.clock)
        micros = tick * (SECOND if unit == "second" else 1)
        if self.form == "Y-W" and unit == "second" and every % WEEK_SECONDS == 0:
            return "{}-W{:02}".format(*np.datetime64(micros, "us").astype("datetime64[D]").item().isocalendar())
        return moment(micros, self.east)


def moment(micros: int, east: int | None = None) -> str:
    """2024-01-31, with the clock where it is not midnight, and with the offset where there is one."""
    text = str(np.datetime64(int(micros) + (east or 0) * SECOND, "us")).replace("T", " ")
    text = text.removesuffix("000").removesuffix(".000")
    if east is None:
        return text.removesuffix(" 00:00:00")
    hours, minutes = divmod(abs(east) // 60, 60)
    return f"{text}{'-' if east < 0 else '+'}{hours:02}:{minutes:02}"


class Uneven(Exception):
    """Times are not a whole number of steps apart: the commonest step, the one that is odd, and the time before it."""

    def __init__(self, step: Step, odd: Step, before: str) -> None:
        super().__init__()
        self.step, self.odd, self.before = step, odd, before


def found(line: Timeline, known: Step | None = None) -> Grid:
    """The grid of sorted times, no two alike; on a known step where they fit it. Raises Uneven."""
    if line.numbers is not None:
        grid = _on(line.numbers, "number", known.every if known and known.unit == "number" else 0)
        if grid is None:
            raise _uneven(line.numbers, "number", None)
        return grid
    moments, wall = line.times.moments.astype(np.int64), line.times.wall.astype(np.int64)
    east = None if np.isnan(line.times.east[-1]) else int(line.times.east[-1])
    ways = [way for step in ((known, None) if known else (None,)) for way in _ways(moments, wall, east, step)]
    grid = next((grid for grid in ways if grid), None)
    if grid is None:
        months = _months_of(_days(wall)[0])
        raise _uneven(moments, "microsecond", east) if months is None else _uneven(months, "month", None)
    return replace(grid, form=line.form)


def _ways(moments: np.ndarray, wall: np.ndarray, east: int | None, known: Step | None) -> Iterator[Grid | None]:
    """Grids, the surest first; with a known step those on it alone."""
    days, clock, spread = _days(wall)
    unit = known.unit if known else ""
    one_a_day = bool((np.diff(days) > 0).all())
    if one_a_day and unit in ("", "month") and (months := _months_of(days)) is not None:
        yield _on(months, "month", known.every if known else 0)
    if one_a_day and unit in ("", "weekday"):
        yield _working(days, clock, spread, known)
    if unit in ("", "second", "microsecond"):
        daily = one_a_day and (not known or (unit == "second" and known.every % DAY_SECONDS == 0))
        if daily and not spread:
            yield _daily(days, clock, spread, known)
        yield _exact(moments, east, known)
        if daily:
            yield _daily(days, clock, spread, known)
        yield _nearly(moments, east, known)


def _days(wall: np.ndarray) -> tuple[np.ndarray, int, int]:
    """(the day that each time belongs to, int64 [T], the usual time of day, how far from it the times are), in microseconds.

    A day is the 24 hours around the usual time: a few seconds before midnight and a few after are one time of day."""
    of_day = wall % DAY
    if (of_day == of_day[0]).all():
        return wall // DAY, int(of_day[0]), 0
    turn = np.exp(2j * np.pi * of_day / DAY).mean()
    middle = int(np.angle(turn) / (2 * np.pi) * DAY) % DAY
    off = (of_day - middle + DAY // 2) % DAY - DAY // 2
    usual = (middle + int(np.median(off))) % DAY
    usual = round(usual / (60 * SECOND)) * 60 * SECOND % DAY
    off = (of_day - usual + DAY // 2) % DAY - DAY // 2
    return (wall - off - usual) // DAY, usual, int(np.abs(off).max())


def _mode(steps: np.ndarray) -> int:
    """The commonest step."""
    lengths, counts = np.unique(steps, return_counts=True)
    return int(lengths[counts.argmax()])


def _on(ticks: np.ndarray, unit: Unit, every: int) -> Grid | None:
    """Ticks that are whole steps apart, most of them one (0: the commonest); None where they are not."""
    steps = np.diff(ticks)
    every = every or _mode(steps)
    even = every > 0 and not (steps % every).any() and (steps == every).sum() * 2 >= len(steps)
    return Grid(ticks, Step(unit, every)) if even else None


def _months_of(days: np.ndarray) -> np.ndarray | None:
    """The months of rows that are one a month, on about the same day of it, counted from its beginning or from its end."""
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    last = (months + 1).astype("datetime64[D]").astype(np.int64)
    apart = min(int(np.ptp(days - first)), int(np.ptp(last - days)))
    if apart > AROUND or not (np.diff(months.astype(np.int64)) > 0).all():
        return None
    return months.astype(np.int64)


def _working(days: np.ndarray, clock: int, spread: int, known: Step | None) -> Grid | None:
    """A row for each working day: on some days of the week there is never one."""
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday
    there = "".join("01"[bool((weekday == day).any())] for day in range(7))
    week = known.week if known else there
    if any(week[day] < there[day] for day in range(7)) or not (known or _is_week(days, week)):
        return None
    grid = _on(_count_of(days, week), "weekday", known.every if known else 0)
    if grid is None or (not known and grid.step.every != 1):
        return None
    step = Step("weekday", grid.step.every, week)
    return Grid(grid.ticks, step, 0 if spread else clock, note=_one_a("working day", spread))


def _is_week(days: np.ndarray, week: str) -> bool:
    """Whether the days of the week that have rows are working days: some days off were passed, or many weeks say so."""
    enough = len(days) >= 6 and (week in WORKING or days[-1] - days[0] >= 28)
    if not 2 <= week.count("1") <= 6 or not enough:
        return False
    return bool((np.diff(days)[np.diff(_count_of(days, week)) == 1] > 1).any())


def _count_of(days: np.ndarray, week: str) -> np.ndarray:
    return np.busday_count(_EPOCH, days.astype("datetime64[D]"), weekmask=week).astype(np.int64)


def _day_of(tick: int, week: str) -> int:
    first = np.busday_offset(_EPOCH, 0, roll="forward", weekmask=week)
    return int(np.busday_offset(first, tick, weekmask=week).astype(np.int64))


def _exact(moments: np.ndarray, east: int | None, known: Step | None) -> Grid | None:
    size: Unit = "microsecond" if (moments % SECOND).any() else "second"
    if known and known.unit != size:
        return None
    ticks = moments // SECOND if size == "second" else moments
    grid = _on(ticks, size, known.every if known else 0)
    return grid and Grid(grid.ticks, grid.step, 0, east)


def _daily(days: np.ndarray, clock: int, spread: int, known: Step | None) -> Grid | None:
    """A row a day (or a week) by the clocks of the place: the days on which they are put have 23 and 25 hours."""
    grid = _on(days, "second", known.every // DAY_SECONDS if known else 0)
    if grid is None:
        return None
    ticks = days * DAY_SECONDS + (0 if spread else clock // SECOND)
    return Grid(ticks, Step("second", grid.step.every * DAY_SECONDS), 0, None, "", _one_a("day", spread))


def _one_a(what: str, spread: int) -> str:
    return f"at times of day up to {_span(spread)} apart from the usual, taken as one row per {what}" if spread else ""


def _nearly(moments: np.ndarray, east: int | None, known: Step | None) -> Grid | None:
    """Times that are a little off an even step, taken to the nearest."""
    steps = np.diff(moments)
    if known:
        every = known.every * (SECOND if known.unit == "second" else 1)
    else:
        middle = float(np.median(steps))
        nice = [n * SECOND for n in NICE if abs(n * SECOND - middle) <= NEAR * middle]
        every = min(nice, key=lambda n: abs(n - middle), default=round(middle))
    if every <= 0:
        return None
    apart = np.round(steps / every).astype(np.int64)
    off = np.abs(steps - apart * every)
    if (apart < 1).any() or (off > 2 * NEAR * every).any() or (apart == 1).sum() * 2 < len(apart):
        return None
    places = np.append(0, np.cumsum(apart))
    places -= places[-1]
    base = round(moments[-1] / every) * every
    if abs(moments[-1] - base) > 2 * NEAR * every:
        base = int(moments[-1])
    whole = every % SECOND == 0 and base % SECOND == 0
    ticks = base + places * every
    note = f"up to {_span(int(off.max()))} off an even step, taken as even"
    if whole:
        return Grid(ticks // SECOND, Step("second", every // SECOND), 0, east, "", note)
    return Grid(ticks, Step("microsecond", every), 0, east, "", note)


def _span(micros: int) -> str:
    """A length of time in words, rounded up to one unit."""
    for size, word in (
        (3600 * SECOND, "hour"),
        (60 * SECOND, "minute"),
        (SECOND, "second"),
        (1000, "millisecond"),
        (1, "microsecond"),
    ):
        if micros >= size:
            count = -(-micros // size)
            return f"{count:,} {word}{'s' * (count > 1)}"
    return "0 seconds"


def _uneven(ticks: np.ndarray, unit: Unit, east: int | None) -> Uneven:
    if unit == "microsecond" and not (ticks % SECOND).any():
        ticks, unit = ticks // SECOND, "second"
    steps = np.diff(ticks)
    every = _mode(steps)
    odd = np.flatnonzero(steps % every)
    at = int(odd[0]) if len(odd) else int(np.flatnonzero(steps != every)[0])
    grid = Grid(ticks, Step(unit, every), 0, east)
    return Uneven(grid.step, Step(unit, int(steps[at])), grid.written(int(ticks[at])))
