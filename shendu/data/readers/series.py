"""Time series: a column of times and a column of numbers become windows of the past and what came after them.

A row is a window of past values and, as its target, the next `horizon` values, one row per step in time. The last rows
of the series are the test part, and no window that is learned from reaches into it: windows of the test part may look
back across the border, as a forecaster may, never ahead.

Shape letters: N rows, T steps of the series, W window, H horizon.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu import config
from shendu.data import offsets, steps
from shendu.data.class_folders import ARRAYS
from shendu.data.fields.number import Number
from shendu.data.fields.series import Series
from shendu.data.files import cache
from shendu.data.reader import USUAL, Claim, Items, Key, Place, Reader
from shendu.data.steps import Grid, Step
from shendu.data.tables import files, loading
from shendu.data.tables.loading import Loaded
from shendu.errors import UserError, near
from shendu.field import Field
from shendu.reading import Reading
from shendu.shown import option

if TYPE_CHECKING:
    import pyarrow as pa

    from shendu.data.cells import Cells
    from shendu.data.timeline import Timeline

FEWEST = 8
"""Windows that must be there to learn from."""
ENOUGH = 1000
"""Of so many windows a tenth is the validation part; fewer are all learned from, since the latest rows matter most."""
MISSING_MOST = 0.2


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
            found, notes, comma = formats.read(path, reading)
            yield from (("", [], note) for note in notes)
            line = line_for(found, field, where, comma)
        if len(line.values) < field.window:
            raise UserError(
                f"{where} has {len(line.values):,} rows, and the model reads the last {field.window}: add earlier ones"
            )
        yield from (("", [], note) for note in line.unlike)
        ahead = [int(line.grid.ticks[-1]) + field.every * (i + 1) for i in range(field.horizon)]
        yield field.time, [line.grid.written(tick) for tick in ahead], {name: line.values}

    def sent(self, data: bytes, named: str, fields: dict[str, Field]) -> dict[str, Any] | None:
        """A table's end."""
        if [field.kind for field in fields.values()] != [Series.kind] or (end := files.ending(named)) not in files.SENT:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"table{end}"
            path.write_bytes(data)
            try:
                return next(
                    values for _, names, values in self.items(path, fields) if names and not isinstance(values, str)
                )
            except UserError as error:
                raise UserError(str(error).replace(str(path), "the table")) from None


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
    """A series in the order of time: values float64 [T], their times, and what was decided."""

    values: np.ndarray
    grid: Grid
    notes: tuple[str, ...] = ()
    numbers: str = ""
    """How the values are written."""
    unlike: tuple[str, ...] = ()
    """What of that is not as in training."""


def line_of(
    found: pa.Table,
    time: str,
    value: str,
    where: str,
    comma: bool = False,
    known: Step | None = None,
    form: str = "",
    missing: tuple[str, ...] = (),
    numbers: str | None = None,
    sign: str = "",
) -> Line:
    """On a known step where the times fit it; the words `missing` say that a value is not known, `numbers` how values were written in
    training, `sign` what a person says their decimal sign is.

    Raises UserError for times that are none, double or uneven, and for values that are no numbers.
    """
    from shendu.data import timeline
    from shendu.data.cells import Cells

    ways = timeline.ways(Cells(time, found.column(time)), where, form)
    cells = Cells(value, found.column(value), missing)
    values, written, told = _numbers(cells, where, comma, numbers, sign)
    said = (f"{option('--missing', ','.join(missing))}: {cells.left:,} cells of {value}",) if missing else ()
    lines, refusals = [], []
    for way in ways:
        try:
            lines.append(_line(way, values, time, value, where, known))
        except UserError as refusal:
            refusals.append(refusal)
    if not lines:
        raise refusals[0]
    line = min(lines, key=lambda line: len(line.values))
    return replace(line, notes=(*said, *told, *line.notes), numbers=written, unlike=told if numbers is not None else ())


def _line(way: Timeline, values: np.ndarray, time: str, value: str, where: str, known: Step | None) -> Line:
    order = np.argsort(way.times.moments if way.numbers is None else way.numbers, kind="stable")
    notes = [way.note] if way.note else []
    if (order[:-1] > order[1:]).any():
        notes.append(f"the rows of {where} are sorted by {time}")
    values = values[order]
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        raise UserError(f"{value} of {where} has no values at all: name another column with --target")
    first, last = int(there[0]), int(there[-1]) + 1
    if last - first < len(values):
        notes.append(f"{len(values) - (last - first):,} rows without {value} at the ends of {where} are left out")
    values, kept = values[first:last], way.take(order[first:last])
    if len(values) < 3 and not known:
        raise UserError(f"{where} has {len(values)} rows with a value, too few to see a step in time: add more")
    grid = _even(kept, time, where, known)
    notes += [f"the times of {where} lie {grid.note}"] if grid.note else []
    step = grid.step
    rows = int(grid.ticks[-1] - grid.ticks[0]) // step.every + 1
    lacking = rows - int((~np.isnan(values)).sum())
    if lacking > MISSING_MOST * rows:
        raise UserError(
            f"{value} of {where} is missing in {lacking:,} of {rows:,} rows, one per {step}, too many to fill: "
            "give a coarser step, such as monthly means"
        )
    if rows > len(values):
        notes.append(f"{where} has no row for {_absent(grid)}: taken as missing values")
        grid, values = _complete(grid, values)
    missing = np.isnan(values)
    if missing.any():
        notes.append(
            f"{int(missing.sum()):,} missing values of {value} are filled with the value before, which knows nothing of "
            "what comes after (fill them in the table for another way)"
        )
        values = values[np.maximum.accumulate(np.where(missing, 0, np.arange(len(values))))]
    return Line(values, grid, tuple(notes))


def _numbers(
    cells: Cells, where: str, comma: bool, known: str | None, sign: str
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """(float64 [T], NaN where a value is missing; how they are written; notes). Raises UserError for what is no number."""
    from shendu.data import cells as read
    from shendu.data.column import Column

    form = read.reread(cells, Column(name=cells.name, kind="number", form=known), None) if known else ""
    form = form or read.numbers_form(cells, "," if comma else "", sign)
    if known is not None:
        learned = Column(name=cells.name, kind="number", form=known)
        notes = read.reread_told(cells, learned, replace(learned, form=form))
    else:
        told = cells.written_numbers.told(form, bool(sign)) if cells.plain is None or form else []
        notes = [f"the numbers of {cells.name} are read as they are written: {', '.join(told)}"] if told else []
    values = read.numbers(cells, form)
    bad = np.flatnonzero(np.isnan(values) & cells.says)
    if len(bad):
        raise UserError(
            f"{cells.name} of {where} holds '{cells.written(int(bad[0]))}' in row {bad[0] + 1:,}, which is no number: "
            "correct it, or empty the cell"
        )
    return values, form, tuple(note.replace("NAME", cells.name) for note in notes)


def _even(line: Timeline, time: str, where: str, known: Step | None) -> Grid:
    """The grid of sorted times; raises UserError for double and for uneven ones."""
    when = line.numbers if line.numbers is not None else line.times.moments
    double = np.flatnonzero(when[1:] == when[:-1])
    if len(double):
        first = when[double[0]]
        at = str(first) if line.numbers is not None else steps.moment(line.times.wall[double[0]].astype(np.int64))
        raise UserError(
            f"{where} has {int((when == first).sum()):,} rows for the {time} {at}: one row per step is forecast, so "
            + (
                "write the times with their offset from UTC (+02:00): clocks were put back there"
                if _put_back(line, double)
                else "keep one series or sum them first"
            )
        )
    try:
        return steps.found(line, known)
    except steps.Uneven as uneven:
        raise UserError(
            f"{time} of {where} goes in uneven steps: mostly one {uneven.step}, and {uneven.odd} after {uneven.before}; "
            "give one row per step, such as daily sums"
        ) from None


def _put_back(line: Timeline, double: np.ndarray) -> bool:
    """Whether all double times lie in an early hour of a Sunday in which clocks are put back, and say no offset."""
    if line.numbers is not None or line.times.zoned.any():
        return False
    when = line.times.wall[double]
    days = when.astype("datetime64[D]")
    hours = (when - days).astype("timedelta64[h]").astype(np.int64)
    return bool(((days.astype(np.int64) + 4) % 7 == 0).all() and (hours <= 3).all())


def _complete(grid: Grid, values: np.ndarray) -> tuple[Grid, np.ndarray]:
    """The same with a row for every step, NaN where there was none."""
    every, first = grid.step.every, grid.ticks[0]
    places = (grid.ticks - first) // every
    whole = np.full(places[-1] + 1, np.nan)
    whole[places] = values
    return replace(grid, ticks=first + every * np.arange(len(whole))), whole


def _absent(grid: Grid) -> str:
    """The steps without a row, in words."""
    apart = np.diff(grid.ticks) // grid.step.every
    first = grid.written(int(grid.ticks[(apart > 1).argmax()]) + grid.step.every)
    more = int((apart - 1).sum()) - 1
    return first + (f" and {more:,} more step{'s' * (more > 1)}" if more else "")


def line_for(found: pa.Table, field: Series, where: str, comma: bool = False) -> Line:
    """A table's series as a model reads it, in the order of time; raises UserError for a column that is missing, and for another step."""
    for name in (field.time, field.value):
        if name not in found.column_names:
            raise UserError(f"{where} has no column '{name}', which the model reads{near(name, found.column_names)}")
    known = Step(field.unit, field.every, field.week)
    line = line_of(found, field.time, field.value, where, comma, known, field.form, field.missing, field.numbers)
    if line.grid.step != known:
        raise UserError(
            f"{where} has one row per {line.grid.step}, and the model was trained on one per {known}: give a series of the same step"
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
    from shendu.data.tables.kinds import parse_types, points_told

    found, where, notes, comma = loaded.tables["train"], loaded.where["train"], loaded.notes, loaded.comma
    if reading.task not in ("auto", "forecast"):
        raise UserError(
            f"--task {reading.task} and --time, --horizon or --season contradict each other: leave one of them out"
        )
    time, value, why = _columns(found, reading, where)
    form = _said_form(found, reading, time, where)
    kind, sign = parse_types(reading.types, found.column_names).get(value, ("number", ""))
    if kind != "number":
        said, right = option("--type", f"{value}={kind}"), option("--type", f"{value}=number")
        raise UserError(f"{said}: numbers are forecast; leave it out, or write {right}")
    line = line_of(found, time, value, where, comma, form=form, missing=reading.absent, sign=sign)
    why += points_told(found.select([value]), () if not sign else (f"{value}=number",), comma)
    if line.values.min() == line.values.max():
        raise UserError(
            f"{value} of {where} is always {line.values[0]:g}: there is nothing to forecast, name another column with --target"
        )
    return windowed(line, time, value, where, reading, room, (*notes, *why, *line.notes))


def _columns(found: pa.Table, reading: Reading, where: str) -> tuple[str, str, list[str]]:
    """(the column of times, the column to forecast, notes). Raises UserError."""
    names, notes = found.column_names, []
    for asked, name in (("time", reading.time), ("target", reading.target)):
        if name and name not in names:
            raise UserError(f"{where} has no column '{name}' for --{asked}{near(name, names)}")
    if reading.time and reading.time == reading.target:
        raise UserError(
            f"--time and --target are both {reading.time}: name the column that is to be forecast with --target"
        )
    time = reading.time or _time_among(found, [name for name in names if name != reading.target])
    if not time:
        raise UserError(
            f"{where} has no column of dates ({', '.join(names)}): name the one that orders the rows with --time"
        )
    if not reading.time:
        notes.append(f"the rows are ordered by {time}, the first column of dates (another: --time NAME)")
    value = reading.target
    if not value:
        numbers = [name for name in names if name != time and _numeric(found, name, reading.absent)]
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


def _said_form(found: pa.Table, reading: Reading, time: str, where: str) -> str:
    """How the times are written, where the person says so. Raises UserError where they are not."""
    from shendu.data import times
    from shendu.data.cells import Cells
    from shendu.data.tables.kinds import parse_types

    kind, form = parse_types(reading.types, found.column_names).get(time, ("date", ""))
    if kind != "date":
        raise UserError(
            f"{option('--type', f'{time}={kind}')}: rows are ordered by times; leave it out, or write {option('--type', f'{time}=date')}"
        )
    column = Cells(time, found.column(time))
    unread = np.isnat(times.of_cells(column, form).wall) if form and not column.is_time else np.zeros(0, bool)
    if unread.any():
        raise UserError(
            f"{option('--type', f'{time}=date:{form}')}: {where} holds '{column.written(int(unread.argmax()))}' in row "
            f"{unread.argmax() + 1:,}, which is not written so: correct it, or leave the form out"
        )
    return form


def _time_among(found: pa.Table, names: list[str]) -> str:
    """The first column of times, or else of numbers that are called and read like times; empty: there is none."""
    from shendu.data import timeline, times
    from shendu.data.cells import Cells

    columns = [Cells(name, found.column(name)) for name in names]
    return next((c.name for like in (times.looks_like, timeline.may_order) for c in columns if like(c)), "")


def _numeric(found: pa.Table, name: str, missing: tuple[str, ...]) -> bool:
    from shendu.data.cells import Cells

    column = Cells(name, found.column(name), missing)
    return column.is_number or column.plain is not None


def windowed(
    line: Line, time: str, value: str, where: str, reading: Reading, room: cache.Room, notes: tuple[str, ...] = ()
) -> cache.Decoded:
    """Every window of a line, stride 1, and the values after it; the last rows are the test part. Raises UserError."""
    rows, step, season = len(line.values), line.grid.step, reading.season or line.grid.step.season
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
        window=window, horizon=horizon, time=time, value=value, unit=step.unit, every=step.every, week=step.week,
        season=season, form=line.grid.form, numbers=line.numbers, missing=reading.absent, naive=_naive(values[:before], season),
        offset=offset,
    )  # fmt: skip
    origins = {"train": (window, before - horizon + 1), "test": (before, rows - horizon + 1)}
    if origins["train"][1] - window >= ENOUGH:
        kept = (origins["train"][1] - window) // 10
        origins["validation"] = (origins["train"][1] - kept, origins["train"][1])
        origins["train"] = (window, origins["validation"][0] - horizon + 1)
    splits = {part: _windows(values, column, *ends, part, room) for part, ends in origins.items()}
    notes = (
        *notes,
        f"one row per {step}, so a season is {season} {'step' if season == 1 else 'steps'}; the last {window} values are read and "
        f"the next {horizon} forecast (others: --season N, --horizon N)",
        f"the last {held_out} of {rows:,} rows, from {line.grid.written(int(line.grid.ticks[before]))} on, are the test part "
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
