"""Time series: a column of times and a column of numbers become windows of the past and what came after them.

A row is a window of past values and, as its target, the next `horizon` values, one row per step in time. The last rows
of the series are the test part, and no window that is learned from reaches into it: windows of the test part may look
back across the border, as a forecaster may, never ahead.

Shape letters: N rows, T steps of the series, W window, H horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu import config
from shendu.data import offsets
from shendu.data.class_folders import ARRAYS
from shendu.data.fields.number import Number
from shendu.data.fields.series import Series, Unit
from shendu.data.files import cache
from shendu.data.reader import USUAL, Claim, Items, Key, Place, Reader
from shendu.data.tables import files, loading
from shendu.data.tables.loading import Loaded
from shendu.errors import UserError, near
from shendu.field import Field
from shendu.reading import Reading

if TYPE_CHECKING:
    import pyarrow as pa

    from shendu.data.cells import Cells

DAY, WEEK, HOUR = 86_400, 604_800, 3_600
FEWEST = 8
"""Windows that must be there to learn from."""
ENOUGH = 1000
"""Of so many windows a tenth is the validation part; fewer are all learned from, since the latest rows matter most."""
MISSING_MOST = 0.2
LONGEST_DAY = 96
"""Steps of a day that are still a season: quarters of an hour; below them an hour is."""


class SeriesReader(Reader):
    """The series of a table's file: --time, --horizon, --season or --task forecast say that it is one."""

    name = "series"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        sure = files.sureness(place) if place.path and reading.forecasts else None
        return Claim(*sure, (place, reading)) if sure else None

    def key(self, claim: Claim) -> Key:
        place, reading = claim.found
        found = files.parts_of(place)
        check_one(found, place.name)
        return Key(found, options(reading))

    def read(self, claim: Claim, room: cache.Room) -> cache.Decoded:
        place, reading = claim.found
        return decoded(loading.loaded(place, reading), reading, room)

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> cache.Decoded | None:
        place, reading = claim.found
        mine = next(iter(fields.values())).kind == Series.kind
        return encoded(loading.loaded(place, reading), fields) if mine else None

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        if [field.kind for field in fields.values()] != [Series.kind]:
            return 0.0
        path = isinstance(given, str | Path) and Path(given).suffix.lower() not in ARRAYS
        return 0.9 if path or isinstance(given, Mapping) or hasattr(given, "__arrow_c_stream__") else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        """A table's end, and the times that are forecast from there."""
        from shendu.data import frames
        from shendu.data.tables import formats

        ((name, field),) = fields.items()
        assert isinstance(field, Series)
        if not isinstance(given, str | Path):
            line, where = line_for(frames.from_object(given), field, "the table"), "the table"
        elif place := files.packed(given):
            read, where = loading.loaded(place, reading), str(given)
            check_one(read.where, where)
            line = line_for(read.tables["train"], field, where, read.comma)
        else:
            path, where = Path(given).expanduser(), str(given)
            if not path.is_file():
                raise UserError(
                    f"{path} is a folder: name the table in it" if path.is_dir() else f"no such file: {path}"
                )
            found, notes, comma = formats.read(path, reading.skip_bad)
            yield from (("", [], note) for note in notes)
            line = line_for(found, field, where, comma)
        if len(line.values) < field.window:
            raise UserError(
                f"{where} has {len(line.values):,} rows, and the model reads the last {field.window}: add earlier ones"
            )
        ahead = [int(line.ticks[-1]) + field.every * (i + 1) for i in range(field.horizon)]
        yield field.time, [written(tick, field.unit, field.every) for tick in ahead], {name: line.values}


def options(reading: Reading) -> dict[str, Any]:
    """What decides the outcome besides the files."""
    return {"kind": "series", "reading": config.to_json(reading.said())}


def check_one(found: Mapping[str, Path | str], name: str) -> None:
    """Raises UserError for a series in several files."""
    if len(found) > 1:
        raise UserError(
            f"{name} has {len(found)} files, and a series is one: its last rows are its test part; name {found['train']}"
        )


# ---- a table as a line of values -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A series in the order of time: values float64 [T] and their times as whole numbers of units, `every` apart."""

    ticks: np.ndarray
    values: np.ndarray
    unit: Unit
    every: int
    notes: tuple[str, ...] = ()


def line_of(found: pa.Table, time: str, value: str, where: str, comma: bool = False) -> Line:
    """Raises UserError for times that are none, double or uneven, and for values that are no numbers."""
    from shendu.data.cells import Cells

    when, unit = _times(Cells(time, found.column(time)), where)
    values = _numbers(Cells(value, found.column(value)), where, comma)
    order = np.argsort(when, kind="stable")
    notes = [] if (order[:-1] < order[1:]).all() else [f"the rows of {where} are sorted by {time}"]
    when, values = when[order], values[order]
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        raise UserError(f"{value} of {where} has no values at all: name another column with --target")
    first, last = int(there[0]), int(there[-1]) + 1
    if last - first < len(values):
        notes.append(f"{len(values) - (last - first):,} rows without {value} at the ends of {where} are left out")
    when, values = when[first:last], values[first:last]
    if len(when) < 3:
        raise UserError(f"{where} has {len(when)} rows with a value, too few to see a step in time: add more")
    ticks, unit, every = _even(when, unit, time, where)
    steps = int(ticks[-1] - ticks[0]) // every + 1
    lacking = steps - int((~np.isnan(values)).sum())
    if lacking > MISSING_MOST * steps:
        raise UserError(
            f"{value} of {where} is missing in {lacking:,} of {steps:,} rows, one per {spoken(unit, every)}, too many to fill: "
            "give a coarser step, such as monthly means"
        )
    if steps > len(ticks):
        notes.append(f"{where} has no row for {_absent(ticks, unit, every)}: taken as missing values")
        ticks, values = _complete(ticks, values, every)
    missing = np.isnan(values)
    if missing.any():
        notes.append(
            f"{int(missing.sum()):,} missing values of {value} are filled with the value before, which knows nothing of "
            "what comes after (fill them in the table for another way)"
        )
        values = values[np.maximum.accumulate(np.where(missing, 0, np.arange(len(values))))]
    return Line(ticks, values, unit, every, tuple(notes))


def _times(cells: Cells, where: str) -> tuple[np.ndarray, Unit]:
    """int64 [T] of seconds since 1970, or of plain whole numbers; raises UserError for what is neither."""
    from shendu.data import cells as read

    name = cells.name
    if cells.is_time:
        when = read.moments_of(cells, "")
        if np.isnat(when).any():
            raise UserError(
                f"{name} of {where} is empty in row {np.isnat(when).argmax() + 1:,}: each row needs its time"
            )
        return when.astype(np.int64), "second"
    empty = np.flatnonzero(cells.coded.codes < 0)
    if len(empty):
        raise UserError(f"{name} of {where} is empty in row {empty[0] + 1:,}: each row needs its time")
    form, share = read.date_form(cells.coded.values, tuple(read.DATES))
    whole = read.numbers(cells, "")
    plain = bool(np.isfinite(whole).all() and (whole == np.round(whole)).all())
    if share == 1.0 and not (plain and form == "Ymd" and (np.diff(np.sort(whole)) == 1).all()):
        return read.moments_of(cells, form).astype(np.int64), "second"
    if plain:
        years = bool(len(whole) and whole.min() >= 1000 and whole.max() <= 2999)
        if years:
            return (whole.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[s]").astype(
                np.int64
            ), "second"
        return whole.astype(np.int64), "number"
    bad = np.isnat(read.moments_of(cells, form)) if share > 0.5 else ~np.isfinite(whole)
    raise UserError(
        f"{name} of {where} holds '{cells.written(int(bad.argmax()))}' in row {bad.argmax() + 1:,}, which is no date: "
        "write it like 2024-01-31, or name another column with --time"
    )


def _numbers(cells: Cells, where: str, comma: bool) -> np.ndarray:
    """float64 [T], NaN where a value is missing; raises UserError for what is no number."""
    from shendu.data import cells as read

    values = read.numbers(cells, read.numbers_form(cells, "," if comma else ""))
    there = np.isfinite(cells.plain) | np.isinf(cells.plain) if cells.plain is not None else cells.coded.codes >= 0
    bad = np.flatnonzero(np.isnan(values) & there)
    if len(bad):
        raise UserError(
            f"{cells.name} of {where} holds '{cells.written(int(bad[0]))}' in row {bad[0] + 1:,}, which is no number: "
            "correct it, or empty the cell"
        )
    return values


def _even(when: np.ndarray, unit: Unit, time: str, where: str) -> tuple[np.ndarray, Unit, int]:
    """(times as whole numbers of a unit, the unit, units per step) of sorted times, apart by whole steps, more than one
    where rows are absent; raises UserError for uneven ones."""
    double = np.flatnonzero(when[1:] == when[:-1])
    if len(double):
        raise UserError(
            f"{where} has {int((when == when[double[0]]).sum()):,} rows for the {time} {_moment(when[double[0]], unit)}: "
            "one row per step is forecast, so keep one series or sum them first"
        )
    ticks, unit = _units(when, unit)
    steps = np.diff(ticks)
    lengths, counts = np.unique(steps, return_counts=True)
    every = int(lengths[counts.argmax()])
    odd = np.flatnonzero(steps % every)
    if len(odd) or counts.max() * 2 < len(steps):
        at = int(odd[0]) if len(odd) else int(np.flatnonzero(steps != every)[0])
        raise UserError(
            f"{time} of {where} goes in uneven steps: mostly one {spoken(unit, every)}, and {spoken(unit, int(steps[at]))} after "
            f"{written(int(ticks[at]), unit, every)}; give one row per step, such as daily sums"
        )
    return ticks, unit, every


def _complete(ticks: np.ndarray, values: np.ndarray, every: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with a row for every step, NaN where there was none."""
    places = (ticks - ticks[0]) // every
    whole = np.full(places[-1] + 1, np.nan)
    whole[places] = values
    return ticks[0] + every * np.arange(len(whole)), whole


def _absent(ticks: np.ndarray, unit: Unit, every: int) -> str:
    """The steps without a row, in words."""
    steps = np.diff(ticks) // every
    first = written(int(ticks[(steps > 1).argmax()]) + every, unit, every)
    more = int((steps - 1).sum()) - 1
    return first + (f" and {more:,} more step{'s' * (more > 1)}" if more else "")


def _units(when: np.ndarray, unit: Unit) -> tuple[np.ndarray, Unit]:
    """Months where all times are the same day of a month (or all its last), weekdays where no weekend has a row."""
    if unit == "number":
        return when, unit
    moments = when.astype("datetime64[s]")
    days, months = moments.astype("datetime64[D]"), moments.astype("datetime64[M]")
    if (days == moments).all():
        of_month = (days - months.astype("datetime64[D]")).astype(np.int64)
        ends = (days + 1).astype("datetime64[M]") > months
        if ((of_month == of_month[0]).all() or ends.all()) and (np.diff(months.astype(np.int64)) > 0).all():
            return months.astype(np.int64), "month"
        weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        if (weekday < 5).all() and (np.diff(days.astype(np.int64)) == 3).any() and len(days) > 5:
            return np.busday_count(np.datetime64("1970-01-01"), days).astype(np.int64), "weekday"
    return when, "second"


def _moment(when: int, unit: Unit) -> str:
    text = str(when) if unit == "number" else str(np.datetime64(int(when), "s")).replace("T", " ")
    return text.removesuffix(" 00:00:00")


def written(tick: int, unit: Unit, every: int) -> str:
    """A time as a person writes it: 1961-01 of months, 1961-01-31 of days, with the clock below them."""
    if unit == "month":
        return str(np.datetime64(tick, "M")) if every % 12 else str(np.datetime64(tick, "M"))[:4]
    if unit == "weekday":
        return str(np.busday_offset(np.datetime64("1970-01-01"), tick))
    return _moment(tick, unit) if unit == "number" or every % DAY else str(np.datetime64(tick, "s"))[:10]


def spoken(unit: Unit, every: int) -> str:
    """A step in words: month, 3 months, week, day, hour, 15 minutes, 1."""
    if unit == "number":
        return str(every)
    if unit == "second":
        for size, word in ((WEEK, "week"), (DAY, "day"), (HOUR, "hour"), (60, "minute"), (1, "second")):
            if every % size == 0:
                every, name = every // size, word
                break
    elif unit == "month" and every % 12 == 0:
        every, name = every // 12, "year"
    else:
        name = unit
    return name if every == 1 else f"{every} {name}s"


def season_of(unit: Unit, every: int) -> int:
    """Steps of a year of months or weeks, of a week of days, of a day of hours, of an hour; 1 where there is none."""
    if unit == "month":
        return 12 // every if 12 % every == 0 else 1
    if unit == "weekday":
        return 5 if every == 1 else 1
    if unit == "number":
        return 1
    if every in (WEEK, DAY):
        return {WEEK: 52, DAY: 7}[every]
    if every < DAY and DAY % every == 0 and DAY // every <= LONGEST_DAY:
        return DAY // every
    return HOUR // every if every < HOUR and HOUR % every == 0 else 1


def line_for(found: pa.Table, field: Series, where: str, comma: bool = False) -> Line:
    """A table's series as a model reads it, in the order of time; raises UserError for a column that is missing, and for another step."""
    for name in (field.time, field.value):
        if name not in found.column_names:
            raise UserError(f"{where} has no column '{name}', which the model reads{near(name, found.column_names)}")
    line = line_of(found, field.time, field.value, where, comma)
    if (line.unit, line.every) != (field.unit, field.every):
        raise UserError(
            f"{where} has one row per {spoken(line.unit, line.every)}, and the model was trained on one per "
            f"{spoken(field.unit, field.every)}: give a series of the same step"
        )
    return line


# ---- windows ---------------------------------------------------------------------------------------------------------


def encoded(found: Loaded, fields: dict[str, Field]) -> cache.Decoded:
    """Every window of each part's series with what came after it. Raises UserError."""
    x, y = fields
    field = fields[x]
    assert isinstance(field, Series)
    splits, width = {}, field.window + field.horizon
    for part, table in found.tables.items():
        where = found.where[part]
        line = line_for(table, field, where, found.comma)
        if len(line.values) < width:
            raise UserError(
                f"{where} has {len(line.values):,} rows, and a window with its forecast takes {width}: add earlier ones"
            )
        both = np.lib.stride_tricks.sliding_window_view(offsets.without(line.values, field.offset), width)
        splits[part] = {x: both[:, : field.window].copy(), y: both[:, field.window :].copy()}
    return cache.Decoded(fields=fields, splits=splits, inputs=(x,), targets=(y,), ordered=True)


def decoded(loaded: Loaded, reading: Reading, room: cache.Room) -> cache.Decoded:
    """Windows of the training table's series in splits. Raises UserError."""
    found, where, notes, comma = loaded.tables["train"], loaded.where["train"], loaded.notes, loaded.comma
    if reading.task not in ("auto", "forecast"):
        raise UserError(
            f"--task {reading.task} and --time, --horizon or --season contradict each other: leave one of them out"
        )
    time, value, why = _columns(found, reading, where)
    line = line_of(found, time, value, where, comma)
    if line.values.min() == line.values.max():
        raise UserError(
            f"{value} of {where} is always {line.values[0]:g}: there is nothing to forecast, name another column with --target"
        )
    return windowed(line, time, value, where, reading, room, (*notes, *why, *line.notes))


def _columns(found: pa.Table, reading: Reading, where: str) -> tuple[str, str, list[str]]:
    """(the column of times, the column to forecast, notes). Raises UserError."""
    names, notes = found.column_names, []
    for option, name in (("time", reading.time), ("target", reading.target)):
        if name and name not in names:
            raise UserError(f"{where} has no column '{name}' for --{option}{near(name, names)}")
    if reading.time and reading.time == reading.target:
        raise UserError(
            f"--time and --target are both {reading.time}: name the column that is to be forecast with --target"
        )
    time = reading.time or next((name for name in names if name != reading.target and _dated(found, name)), "")
    if not time:
        raise UserError(
            f"{where} has no column of dates ({', '.join(names)}): name the one that orders the rows with --time"
        )
    if not reading.time:
        notes.append(f"the rows are ordered by {time}, the first column of dates (another: --time NAME)")
    value = reading.target
    if not value:
        numbers = [name for name in names if name != time and _numeric(found, name)]
        if len(numbers) != 1:
            which = f"columns {', '.join(numbers[:6])}" if numbers else "no other column of numbers"
            raise UserError(f"{where} has {which}: name the one to forecast with --target")
        value = numbers[0]
        notes.append(f"{value} is forecast, the only column of numbers (another: --target NAME)")
    others = [name for name in names if name not in (time, value)]
    if others:
        notes.append(
            f"not used: {', '.join(others[:6])}{', …' if len(others) > 6 else ''}; the past of {value} alone is read"
        )
    return time, value, notes


def _dated(found: pa.Table, name: str) -> bool:
    from shendu.data import cells as read
    from shendu.data.cells import Cells

    column = Cells(name, found.column(name))
    return column.is_time or (column.is_plain and not column.is_number and _share(read.date_form, column) > 0.5)


def _share(form: Any, column: Cells) -> float:
    from shendu.data import cells as read

    return form(column.coded.values, tuple(f for f in read.DATES if f != "Ymd"))[1]


def _numeric(found: pa.Table, name: str) -> bool:
    from shendu.data.cells import Cells

    column = Cells(name, found.column(name))
    return column.is_number or column.plain is not None


def windowed(
    line: Line, time: str, value: str, where: str, reading: Reading, room: cache.Room, notes: tuple[str, ...] = ()
) -> cache.Decoded:
    """Every window of a line, stride 1, and the values after it; the last rows are the test part. Raises UserError."""
    rows, season = len(line.values), reading.season or season_of(line.unit, line.every)
    horizon = reading.horizon or season
    held_out = _held_out(reading.split, rows, horizon, season, where)
    before = rows - held_out
    window = min(2 * max(season, horizon), before - horizon - FEWEST + 1)
    if window < 2:
        shorter = (rows - FEWEST - 1) // (1 if reading.split else 2) - (held_out if reading.split else 0)
        cure = f"a shorter one like --horizon {shorter}" if 0 < shorter < horizon else "add earlier rows"
        raise UserError(
            f"{where} has {rows:,} rows, too few for a horizon of {horizon} and a test part of {held_out}: "
            f"{horizon + held_out + FEWEST + 1:,} are needed, or {cure}"
        )
    offset = offsets.found(line.values[:before, None])
    values = offsets.without(line.values, offset)
    column = Series(
        window=window, horizon=horizon, time=time, value=value, unit=line.unit, every=line.every, season=season,
        naive=_naive(values[:before], season), offset=offset,
    )  # fmt: skip
    origins = {"train": (window, before - horizon + 1), "test": (before, rows - horizon + 1)}
    if origins["train"][1] - window >= ENOUGH:
        kept = (origins["train"][1] - window) // 10
        origins["validation"] = (origins["train"][1] - kept, origins["train"][1])
        origins["train"] = (window, origins["validation"][0] - horizon + 1)
    splits = {part: _windows(values, column, *ends, part, room) for part, ends in origins.items()}
    step = spoken(line.unit, line.every)
    notes = (
        *notes,
        f"one row per {step}, so a season is {season} {'step' if season == 1 else 'steps'}; the last {window} values are read and "
        f"the next {horizon} forecast (others: --season N, --horizon N)",
        f"the last {held_out} of {rows:,} rows, from {written(int(line.ticks[before]), line.unit, line.every)} on, are the test part "
        "(another: --split last:N); no window that is learned from reaches into it",
    )
    fields: dict[str, Field] = {"window": column, "ahead": Number(shape=(horizon,), offset=offset * horizon)}
    return cache.Decoded(
        fields=fields, splits=splits, inputs=("window",), targets=("ahead",), ordered=True, notes=notes
    )


def _held_out(split: str, rows: int, horizon: int, season: int, where: str) -> int:
    """How many of the last rows are the test part: two seasons, at most a quarter, at least one horizon."""
    if not split:
        return max(horizon, min(2 * season, rows // 4))
    if "/" in split or "@" in split:
        raise UserError(
            f"--split {split} would draw rows from the middle of a series; write it like --split last:24 or 0.2"
        )
    held_out = int(split.removeprefix("last:")) if split.startswith("last:") else round(float(split) * rows)
    if held_out < horizon:
        raise UserError(
            f"a horizon of {horizon} is longer than the test part of {where}, its last {held_out} rows: "
            f"write --split last:{horizon} or more, or --horizon {max(1, held_out)}"
        )
    return held_out


def _naive(values: np.ndarray, season: int) -> float:
    """MASE's unit (Hyndman and Koehler 2006); of one step where a season repeats itself exactly."""
    exact = values.astype(np.float64)
    for back in (season, 1):
        error = float(np.abs(exact[back:] - exact[:-back]).mean()) if len(exact) > back else 0.0
        if error:
            return error
    return float(np.abs(exact).max()) or 1.0


def _windows(
    values: np.ndarray, column: Series, first: int, end: int, part: str, room: cache.Room
) -> dict[str, np.ndarray]:
    """Windows [N, W] that end before each origin, and the values [N, H] from it on."""
    count, view = end - first, np.lib.stride_tricks.sliding_window_view
    past = room(part, "window", (count, column.window), "float32")
    past[:] = view(values[first - column.window : end - 1], column.window)
    ahead = room(part, "ahead", (count, column.horizon), "float32")
    ahead[:] = view(values[first : end + column.horizon - 1], column.horizon)
    return {"window": past, "ahead": ahead}
