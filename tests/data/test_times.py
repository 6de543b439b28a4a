"""Times: every way to write one moment is that moment, in series and in tables; and what is no time says why."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shendu.data
from shendu.data import steps, timeline, times
from shendu.data.cells import Cells
from shendu.data.fields.series import Series
from shendu.data.readers.series import SeriesReader
from shendu.data.steps import Grid, Step
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")
BERLIN = ZoneInfo("Europe/Berlin")
Moments = list[datetime.datetime]


def cell(values: list[Any], kind: Any = None) -> Cells:
    return Cells("t", pa.chunked_array([pa.array(values, kind)]))


def read(values: list[Any], kind: Any = None) -> timeline.Timeline:
    return timeline.ways(cell(values, kind), "x")[0]


def hours(count: int, start: str = "2024-10-26T12:00", zone: ZoneInfo = BERLIN, every: float = 3600) -> Moments:
    first = datetime.datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(datetime.UTC)
    return [(first + datetime.timedelta(seconds=every * i)).astimezone(zone) for i in range(count)]


def grid(values: list[Any], known: Step | None = None, form: str = "") -> Grid:
    """The grid of times; of two ways to read them, the one that takes fewer steps."""
    found = []
    for way in timeline.ways(cell(values), "x", form):
        try:
            found.append(steps.found(way.take(np.argsort(way.times.moments, kind="stable")), known))
        except steps.Uneven:
            continue
    return min(found, key=lambda one: int(one.ticks[-1] - one.ticks[0]) // one.step.every)


# ---- one moment, written in many ways

MOMENT = datetime.datetime(2024, 10, 27, 0, 30, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2024-10-27T02:30:00+02:00", "2024-10-27T01:30:00+01:00", "2024-10-27T00:30:00Z", "2024-10-27 00:30Z", "2024-10-27T00:30:00.000+00:00",
        "2024-10-27 02:30:00 +0200", "2024-10-27T02:30+02", "2024-10-26T19:30:00-05:00", "2024-10-27T06:00:00+0530", "2024-10-27 00:30 UTC",
        "2024-10-27 02:30 GMT+2", "20241027T003000Z", "20241027T023000+0200", "27.10.2024 02:30 +02:00", "Sun, 27 Oct 2024 02:30:00 +0200",
        "10/27/2024 2:30 AM +02:00", "2024-10-27T02:30:00+02:00[Europe/Berlin]", "27 October 2024 00:30 Z", "October 27, 2024 00:30Z",
        "2024-10-27T02:30:00−02:00".replace("−02", "+02"),
    ],
)  # fmt: skip
def test_offsets_name_the_moment(written: str) -> None:
    line = read([written])
    assert line.times.zoned.all()
    assert line.times.moments.tolist() == [MOMENT.replace(tzinfo=None)]


@pytest.mark.parametrize(
    ("number", "unit"),
    [(1729989000, "seconds"), (1729989000.0, "seconds"), (1729989000_000, "milliseconds"), (1729989000_000_000, "microseconds"), (1729989000_000_000_000, "nanoseconds")],
)  # fmt: skip
@pytest.mark.parametrize("kind", [str, float, int])
def test_numbers_since_1970_are_moments_and_it_is_said(number: float, unit: str, kind: Callable[[float], Any]) -> None:
    given = [kind(number), kind(number + (60 if unit == "seconds" else 60_000))]
    line = read(given)
    assert line.times.moments[0].astype("datetime64[s]") == np.datetime64("2024-10-27T00:30:00")
    assert f"read as {unit} since 1970 in UTC" in line.note


@pytest.mark.parametrize(
    ("kind", "give"),
    [
        (pa.timestamp("s", "UTC"), None), (pa.timestamp("ms", "Europe/Berlin"), None), (pa.timestamp("us", "+02:00"), None),
        (pa.timestamp("ns", "America/New_York"), None),
    ],
)  # fmt: skip
def test_typed_times_with_a_zone_are_moments(kind: pa.DataType, give: None) -> None:
    line = read([MOMENT], kind)
    assert line.times.moments.tolist() == [MOMENT.replace(tzinfo=None)]
    assert line.times.zoned.all()


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.integers(0, 4_000_000_000),
    east=st.integers(-14 * 4, 14 * 4),
    fraction=st.sampled_from([0, 500_000, 1]),
)
def test_any_moment_in_any_zone(seconds: int, east: int, fraction: int) -> None:
    zone = datetime.timezone(datetime.timedelta(minutes=15 * east))
    moment = datetime.datetime(1970, 1, 1, microsecond=fraction) + datetime.timedelta(seconds=seconds)
    local = moment.replace(tzinfo=datetime.UTC).astimezone(zone)
    for text in (
        local.isoformat(),
        local.strftime("%Y-%m-%d %H:%M:%S.%f%z"),
        local.strftime("%d/%m/%Y %H:%M:%S.%f %z"),
    ):
        found = times.read(pa.array([text]), "d.m.Y" if "/" in text else "Y-m-d")
        assert found.moments.tolist() == [moment]
        assert found.wall.tolist() == [local.replace(tzinfo=None)]


# ---- other ways to write times


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2010-01", "2010-01-01"), ("2010/01", "2010-01-01"), ("2010M01", "2010-01-01"), ("201002", "2010-02-01"), ("Jan 2010", "2010-01-01"),
        ("January 2010", "2010-01-01"), ("Jan-10", "2010-01-01"), ("Jan '10", "2010-01-01"), ("2010 Feb", "2010-02-01"), ("02/2010", "2010-02-01"), ("2010年2月", "2010-02-01"),
        ("2000Q1", "2000-01-01"), ("2000-Q2", "2000-04-01"), ("2000 q3", "2000-07-01"), ("Q4 2000", "2000-10-01"), ("4Q00", "2000-10-01"), ("Q1/2000", "2000-01-01"),
        ("2015-W02", "2015-01-05"), ("2015W02", "2015-01-05"), ("2015-W02-3", "2015-01-07"), ("2020-W53", "2020-12-28"),
        ("20240131", "2024-01-31"), ("202401311215", "2024-01-31T12:15"), ("2024013112", "2024-01-31T12"), ("20240131 12:15", "2024-01-31T12:15"),
        ("31.1.2024", "2024-01-31"), ("31/01/24", "2024-01-31"), ("01/31/2024", "2024-01-31"), ("31-Jan-2024", "2024-01-31"), ("Jan 31st, 2024", "2024-01-31"),
        ("Wed Jan 31 12:15:00 2024", "2024-01-31T12:15"), ("2024年1月31日", "2024-01-31"), ("2024. 1. 31.", "2024-01-31"), ("2024-01-31 24:00", "2024-02-01"),
        ("1/31/2024 12:15 AM", "2024-01-31T00:15"), ("1/31/2024 4 PM", "2024-01-31T16"), ("2024-01-31T12:15:30,25", "2024-01-31T12:15:30.25"),
    ],
)  # fmt: skip
def test_what_people_write(written: str, expected: str) -> None:
    assert read([written]).times.wall.tolist() == [np.datetime64(expected, "us").item()]


REFUSED: dict[str, tuple[list[Any], str]] = {
    "a zone by its name": (["2024-10-27 02:30 CEST"], "t of x holds '2024-10-27 02:30 CEST' in row 1, whose zone CEST does not say how far it is from UTC: write the offset, like 2024-01-31 12:00+02:00"),
    "no date": (["12:30", "13:30"], "t of x holds '12:30' in row 1, a time of day without its date: write it like 2024-01-31 12:00"),
    "both orders": (["13/01/2024", "01/13/2024"], "t of x holds '01/13/2024' in row 2, with the month first, and '13/01/2024' in row 1 with the day first: write all of them like 2024-01-31"),
    "some offsets": (["2024-01-01T00:00", "2024-01-01T01:00Z"], "t of x says no offset from UTC in row 1 ('2024-01-01T00:00') and does in row 2 ('2024-01-01T01:00Z'): write all of them with it, or none"),
    "fractions": ([0.0, 0.5], "t of x holds '0.5' in row 2, a number with a fraction, which says no moment by itself: write times like 2024-01-31 12:00:00.5, or whole numbers such as 1, 2, 3"),
    "months or days": (["Jan-01", "Jan-02", "Feb-01"], "t of x holds 'Jan-01' in row 1, which may be a month of a year or a day of a month: write it like 2010-01, or 2010-01-31"),
    "a month that is none": (["2010-13"], "t of x holds '2010-13' in row 1, which is no date: write it like 2024-01-31, or name another column with --time"),
    "week 53 of a year of 52": (["2015-W54"], "t of x holds '2015-W54' in row 1, which is no date: write it like 2024-01-31, or name another column with --time"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_time_says_why(name: str, one_line: Any) -> None:
    values, line = REFUSED[name]
    with pytest.raises(UserError) as caught:
        timeline.ways(cell(values), "x")
    assert one_line(caught.value) == line


@pytest.mark.parametrize("count", [100_000_001, 1, 200_001])
def test_numbers_that_count_rows_stay_numbers(count: int) -> None:
    line = read(list(range(count, count + 60)))
    assert line.numbers is not None
    assert line.numbers.tolist() == list(range(count, count + 60))


# ---- steps


def iso(moments: Moments) -> list[str]:
    return [moment.isoformat() for moment in moments]


def days_of(week: str, count: int, clock: str = "") -> list[str]:
    """Days from a Monday on, those that a week has."""
    every = [datetime.date(2023, 1, 2) + datetime.timedelta(days=i) for i in range(4 * count)]
    return [f"{day}{clock}" for day in every if week[day.weekday()] == "1"][:count]


def months_of(day: Callable[[datetime.date], datetime.date], count: int = 40) -> list[str]:
    return [str(day(datetime.date(2010 + i // 12, i % 12 + 1, 1))) for i in range(count)]


def last_of(first: datetime.date) -> datetime.date:
    return (first + datetime.timedelta(days=31)).replace(day=1) - datetime.timedelta(days=1)


def last_working(first: datetime.date) -> datetime.date:
    last = last_of(first)
    return last - datetime.timedelta(days=max(0, last.weekday() - 4))


def wobbly(every: float, by: float, count: int = 200) -> list[str]:
    rng = np.random.default_rng(0)
    start = datetime.datetime(2024, 1, 1)
    return [str(start + datetime.timedelta(seconds=every * i + by * float(rng.uniform(-1, 1)))) for i in range(count)]


STEPS: dict[str, tuple[list[Any], str, str]] = {
    "hours over the end of summer time": (iso(hours(60)), "hour", "2024-10-28 23:00:00+01:00"),
    "quarters of it in UTC": ([m.astimezone(datetime.UTC).isoformat() for m in hours(60, every=900)], "15 minutes", "2024-10-27 01:00:00+00:00"),
    "hours over its beginning": (iso(hours(60, "2024-03-30T12:00")), "hour", "2024-04-02 01:00:00+02:00"),
    "local midnights": ([m.replace(hour=0).isoformat() for m in hours(60, every=86400)], "day", "2024-12-25"),
    "local midnights in UTC": ([m.replace(hour=0).astimezone(datetime.UTC).isoformat() for m in hours(60, every=86400)], "day", "2024-12-24"),
    "working days at an hour": (days_of("1111100", 60, " 16:00:00"), "weekday", "2023-03-27 16:00:00"),
    "working days from Sunday": (days_of("1111001", 60), "day of Mon, Tue, Wed, Thu, Sun", "2023-03-27"),
    "six days": (days_of("1111110", 60), "day of Mon, Tue, Wed, Thu, Fri, Sat", "2023-03-13"),
    "three days": (days_of("1010100", 60), "day of Mon, Wed, Fri", "2023-05-22"),
    "month ends": (months_of(last_of), "month", "2013-05"),
    "last working days": (months_of(last_working), "month", "2013-05"),
    "middles of months": (months_of(lambda d: d.replace(day=15)), "month", "2013-05"),
    "quarters": ([f"{2000 + i // 4}Q{i % 4 + 1}" for i in range(40)], "3 months", "2010Q1"),
    "weeks": ([f"2015-W{i:02}" for i in range(2, 42)], "week", "2015-W42"),
    "day first": ([f"01/{i % 12 + 1:02}/{2010 + i // 12}" for i in range(40)], "month", "2013-05"),
    "month first": ([f"{i % 12 + 1:02}/01/{2010 + i // 12}" for i in range(40)], "month", "2013-05"),
    "minutes, seconds off": (wobbly(60, 2.5), "minute", "2024-01-01 03:20:00"),
    "days, minutes off midnight": (wobbly(86400, 200), "day", "2024-07-19"),
    "days at any hour": (wobbly(86400, 20_000), "day", "2024-07-19"),
    "milliseconds": ([1704067200000 + 10 * i for i in range(60)], "10 milliseconds", "2024-01-01 00:00:00.600+00:00"),
    "a clock that is slow": ([str(datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=60.02 * i)) for i in range(60)], "60020 milliseconds", "2024-01-01 01:00:01.200"),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_step_and_next_time(name: str) -> None:
    values, step, after = STEPS[name]
    found = grid(values)
    assert (str(found.step), found.written(int(found.ticks[-1]) + found.step.every)) == (step, after)
    assert (np.diff(found.ticks) == found.step.every).all()
    assert grid(values[-4:], found.step, found.form).step == found.step, "a known step needs few rows"


def test_what_is_nearly_even_is_said() -> None:
    assert grid(wobbly(60, 2.5)).note == "up to 5 seconds off an even step, taken as even"
    assert (
        grid(wobbly(86400, 20_000)).note
        == "at times of day up to 7 hours apart from the usual, taken as one row per day"
    )


@settings(max_examples=10, deadline=None)
@given(
    every=st.sampled_from([60, 600, 3600, 86_400]),
    share=st.floats(0.001, 0.045),
    gaps=st.sets(st.integers(5, 90), max_size=8),
    seed=st.integers(0, 99),
)
def test_jitter_moves_no_row_to_another_step(every: int, share: float, gaps: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = [i for i in range(100) if i not in gaps]
    off = (rng.uniform(-share, share, len(kept)) * every * 1000).round() * 1000
    moments = np.datetime64("2024-03-01T00:00", "us") + (np.array(kept) * every * 1_000_000 + off.astype(np.int64))
    found = grid([str(moment) for moment in moments])
    assert found.step == Step("second", every)
    np.testing.assert_array_equal((found.ticks - found.ticks[0]) // every, np.array(kept) - kept[0])


@pytest.mark.parametrize("odd", [["2024-01-01", "2024-01-03", "2024-01-04", "2024-01-09", "2024-01-11", "2024-01-12"], [f"2024-{m:02}-{d}" for m in range(1, 7) for d in ("01", "15")]])  # fmt: skip
def test_uneven_steps_stay_uneven(odd: list[str]) -> None:
    with pytest.raises(steps.Uneven):
        steps.found(read(odd))


# ---- in a series, and in a table


def series_of(when: Any, moments: Moments) -> tuple[Any, Series]:
    data = shendu.data.open(
        pa.table({"time": when, "y": np.sin(np.arange(len(moments)))}), time="time", target="y", horizon=2
    )
    field = data.fields["window"]
    assert isinstance(field, Series)
    return data, field


def test_one_series_in_every_dress() -> None:
    moments = hours(80)
    dresses = [
        iso(moments),
        [m.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for m in moments],
        [m.astimezone(ZoneInfo("Asia/Kolkata")).strftime("%d/%m/%Y %H:%M %z") for m in moments],
        [int(m.timestamp()) for m in moments],
        [int(m.timestamp() * 1000) for m in moments],
        pa.array(moments, pa.timestamp("us", "Europe/Berlin")),
        pa.array(moments, pa.timestamp("ns", "UTC")),
        [m.astimezone(datetime.UTC).replace(tzinfo=None) for m in moments],
    ]
    first, wanted = series_of(dresses[0], moments)
    assert not any("no row" in note for note in first.notes)
    for dress in dresses[1:]:
        data, field = series_of(dress, moments)
        assert field == wanted
        for part in first.splits:
            np.testing.assert_array_equal(data.splits[part].column("window"), first.splits[part].column("window"))


def test_pandas_periods_are_months() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"time": pandas.period_range("2010-01", periods=60, freq="M"), "y": np.sin(np.arange(60))})
    field = shendu.data.open(frame, time="time", target="y", horizon=2).fields["window"]
    assert isinstance(field, Series)
    assert (field.unit, field.every) == ("month", 1)


def test_an_hour_that_is_twice_says_what_to_do(one_line: Any) -> None:
    moments = hours(60)
    with pytest.raises(UserError) as caught:
        series_of([m.strftime("%Y-%m-%d %H:%M") for m in moments], moments)
    assert one_line(caught.value) == (
        "the table has 2 rows for the time 2024-10-27 02:00:00: one row per step is forecast, so write the times with their offset "
        "from UTC (+02:00): clocks were put back there"
    )


def test_which_comes_first_may_be_said(one_line: Any) -> None:
    written = [f"{i % 12 + 1:02}/01/{2010 + i // 12}" for i in range(40)]
    table = pa.table({"time": written, "y": np.sin(np.arange(40))})
    data = shendu.data.open(table, time="time", target="y", horizon=2)
    assert "times such as '01/01/2010' begin with the month (else: --type time=date:d.m.Y)" in data.notes
    said = shendu.data.open(table, time="time", target="y", horizon=2, types=("time=date:m/d/Y",))
    assert said.fields["window"] == data.fields["window"]
    with pytest.raises(UserError) as caught:
        shendu.data.open(pa.table({"time": ["01/13/2010", *written[1:]], "y": np.arange(40.0)}), time="time", target="y", horizon=2, types=("time=date:d.m.Y",))  # fmt: skip
    assert "holds '01/13/2010' in row 1, which is not written so" in one_line(caught.value)


def test_a_short_table_is_forecast_from(tmp_path: Path) -> None:
    """Four working days do not show that weekends are free; the model knows it."""
    field = Series(window=4, horizon=2, time="time", value="y", unit="weekday", week="1111100", season=5)
    path = tmp_path / "new.csv"
    path.write_text("time,y\n" + "".join(f"2024-01-0{d} 16:00,{d}\n" for d in (2, 3, 4, 5)))
    ((_, names, _),) = SeriesReader().items(path, {"x": field})
    assert names == ["2024-01-08 16:00:00", "2024-01-09 16:00:00"]


def test_dates_of_a_table_are_moments_in_every_dress() -> None:
    moments = hours(60)
    dresses = [iso(moments), [m.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for m in moments], pa.array(moments, pa.timestamp("us", "Europe/Berlin"))]  # fmt: skip
    made = [shendu.data.open(pa.table({"when": d, "y": ["a", "b"] * 30}), target="y") for d in dresses]
    rows = [data.splits["train"].column("row") for data in made]
    expected = [(m - datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)).total_seconds() / 86400 for m in moments]
    field = made[0].fields["row"].columns[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(rows[0][:, 0] + field.offset, expected, atol=1e-3)
    for other in rows[1:]:
        np.testing.assert_array_equal(other, rows[0])
    assert "column when: times with their offset from UTC, read in UTC" in made[0].notes


def test_an_offset_that_is_gone_is_not_guessed(one_line: Any) -> None:
    row = shendu.data.open(pa.table({"when": iso(hours(60)), "y": ["a", "b"] * 30}), target="y").fields["row"]
    with pytest.raises(UserError) as caught:
        row.parse({"when": ["2024-10-27 02:30"]})
    assert one_line(caught.value) == (
        "column when had times with their offset from UTC in training, and here it holds '2024-10-27 02:30': "
        "write them with it, like 2024-01-31 12:00+00:00"
    )


def test_times_without_an_offset_among_those_with_it_are_missing() -> None:
    written = [*iso(hours(58)), "2024-10-27 02:30", "2024-10-27 01:30"]
    data = shendu.data.open(pa.table({"when": written, "y": ["a", "b"] * 30}), target="y")
    assert "column when: times with their offset from UTC, read in UTC (2 without one count as missing)" in data.notes
    rows = data.splits["train"].column("row")
    assert np.isnan(rows[:, 0]).tolist() == [False] * 58 + [True] * 2
    again = data.fields["row"].parse({"when": written[57:]})[""]
    np.testing.assert_array_equal(again, rows[57:])


CODES = {
    "parts over a slash": [f"{1000 + k * 61 % 8999}/{k % 12 + 1}" for k in range(120)],
    "parts over a line": [f"{1000 + k * 61 % 8999}-{k % 9 + 1}" for k in range(120)],
    "three parts": [f"{1000 + k * 61 % 8999}.{k % 12 + 1}.{k % 28 + 1}" for k in range(120)],
    "a year behind": [f"{k % 12 + 1}/{1000 + k * 61 % 8999}" for k in range(120)],
    "a letter": [f"{1000 + k * 61 % 8999}Q{k % 4 + 1}" for k in range(120)],
}


@pytest.mark.parametrize("name", CODES)
def test_codes_are_no_dates(name: str) -> None:
    """Though each could be one of a year from 1000 to 9999."""
    codes = CODES[name]
    data = shendu.data.open(pa.table({"v": codes, "n": np.sin(np.arange(120)), "y": ["a", "b"] * 60}), target="y")
    assert [column.kind for column in data.fields["row"].columns] == ["number"]  # type: ignore[attr-defined]
    assert any(note.startswith("left out: v") for note in data.notes)
    assert not times.looks_like(cell(codes))


@pytest.mark.parametrize(
    "written", [[f"{1600 + i * 7}-{i % 12 + 1:02}" for i in range(40)], [f"{850 + 37 * i:04}-01-15" for i in range(40)]]
)
def test_far_years_are_dates(written: list[str]) -> None:
    """Of old books, and of any year in full ISO; where a person names the column, of any year in any form."""
    data = shendu.data.open(pa.table({"v": written, "y": ["a", "b"] * 20}), target="y")
    assert [column.kind for column in data.fields["row"].columns] == ["date"]  # type: ignore[attr-defined]
    said = shendu.data.open(
        pa.table({"v": ["2850/1", "3605/2"] * 20, "y": ["a", "b"] * 20}), target="y", types=("v=date:Y-m",)
    )
    assert not np.isnan(said.splits["train"].column("row")[:, 0]).any()


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ("0000-00-00", "dates, and 24 words such as '0000-00-00' that count as missing"),
        ("31.11.2020", "dates, and 24 words such as '31.11.2020' that count as missing"),
        ("NA", "24 times 'NA' counts as missing among dates"),
    ],
)
def test_what_among_dates_is_unread_is_said(odd: str, told: str) -> None:
    written = [odd if i % 5 == 0 else f"2020-01-{i % 28 + 1:02}" for i in range(120)]
    table = pa.table({"v": written, "y": ["a", "b"] * 60})
    data = shendu.data.open(table, target="y")
    assert f"column v: {told}" in data.notes
    assert np.isnan(data.splits["train"].column("row")[:, 0]).tolist() == [i % 5 == 0 for i in range(120)]
    if odd != "NA":
        with pytest.raises(UserError, match=f"24 cells cannot be read, such as '{odd}'"):
            shendu.data.open(table, target="y", strict=True)
