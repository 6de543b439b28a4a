"""Series: windows without leakage, steps and seasons found out, and one line for what is no series."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shendu import data as data_module
from shendu.data.dataset import Dataset
from shendu.data.fields.series import Series
from shendu.data.readers import series
from shendu.data.steps import Grid, Step
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

pytestmark = pytest.mark.usefixtures("fresh_cache")


def months(count: int, start: str = "1990-01", every: int = 1) -> list[str]:
    return [str(np.datetime64(start, "M") + every * i) for i in range(count)]


def rising(count: int) -> list[Any]:
    return [100 + i + 10 * (i % 12) for i in range(count)]


def table(path: Path, times: list[Any], values: list[Any], header: str = "month,sales") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *(f"{t},{v}" for t, v in zip(times, values, strict=True))]) + "\n")
    return path


def opened(tmp_path: Path, times: list[Any], values: list[Any], **how: Any) -> Dataset:
    return data_module.open(table(tmp_path / "s.csv", times, values), **{"time": "month", "target": "sales", **how})


def items(column: Any, path: Path) -> list[Any]:
    return list(series.SeriesReader().items(path, {"x": column}))


def np_room(split: str, field: str, shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    return np.zeros(shape, dtype)


# ---- windows


@given(
    rows=st.integers(60, 200),
    horizon=st.integers(1, 14),
    split=st.sampled_from(["", "last:15", "0.3"]),
    season=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_windows_are_the_past_and_what_came_next(rows: int, horizon: int, split: str, season: bool) -> None:
    """Values that are their own row numbers show where each window lies."""
    line = series.Line(
        np.arange(rows, dtype=np.float32), Grid(np.arange(rows), Step("month" if season else "number", 1))
    )
    made = series.windowed(line, "t", "v", "x", Reading(horizon=horizon, split=split), np_room)
    column = made.fields["window"]
    assert isinstance(column, Series)
    past, ahead = (
        np.concatenate([made.splits[part][key] for part in ("train", "test")]) for key in ("window", "ahead")
    )
    np.testing.assert_array_equal(np.diff(past, axis=1), 1)
    np.testing.assert_array_equal(np.diff(ahead, axis=1), 1)
    np.testing.assert_array_equal(ahead[:, 0], past[:, -1] + 1)
    train, test = made.splits["train"]["ahead"], made.splits["test"]["ahead"]
    assert train.max() + 1 == test.min()
    assert test.max() == rows - 1
    assert past[0, 0] == 0
    assert len(train) >= series.FEWEST


def test_what_is_learned_from_does_not_depend_on_the_test_part() -> None:
    values = np.arange(120, dtype=np.float32) % 13
    made = []
    for last in (0.0, 1e6):
        line = series.Line(np.append(values[:96], values[96:] + last), Grid(np.arange(120), Step("month", 1)))
        made.append(series.windowed(line, "t", "v", "x", Reading(), np_room))
    for key in ("window", "ahead"):
        np.testing.assert_array_equal(made[0].splits["train"][key], made[1].splits["train"][key])
    assert made[0].fields["window"].naive == made[1].fields["window"].naive  # type: ignore[union-attr]


def test_a_long_series_has_a_validation_part_apart_from_the_training_part() -> None:
    line = series.Line(np.arange(3000, dtype=np.float32), Grid(np.arange(3000), Step("month", 1)))
    made = series.windowed(line, "t", "v", "x", Reading(), np_room)
    train, held_out, test = (made.splits[part]["ahead"] for part in ("train", "validation", "test"))
    assert train.max() < held_out.min()
    assert held_out.max() < test.min()
    assert len(held_out) > 250


def test_split_off_leaves_a_series_as_it_is(tmp_path: Path) -> None:
    data = opened(tmp_path, months(120), rising(120))
    assert data.split_off("last:24") is data


def test_naive_is_the_error_of_a_season_ago(tmp_path: Path) -> None:
    values = [float(v) for v in np.random.default_rng(0).normal(size=120).round(3)]
    column = opened(tmp_path, months(120), values, split="last:20", horizon=6).fields["window"]
    assert isinstance(column, Series)
    known = np.array(values[:100])
    assert column.naive == pytest.approx(np.abs(known[12:] - known[:-12]).mean(), rel=1e-5)


def test_naive_of_an_exact_season_is_that_of_one_step(tmp_path: Path) -> None:
    column = opened(tmp_path, months(120), [i % 12 for i in range(120)]).fields["window"]
    assert isinstance(column, Series)
    assert column.naive == pytest.approx(np.abs(np.diff(np.arange(96) % 12)).mean())


# ---- steps in time


@pytest.mark.parametrize(
    ("times", "unit", "season", "after"),
    [
        (months(60), "month", 12, "1995-01"),
        (months(60, every=3), "3 months", 4, "2005-01"),
        (months(60, every=12), "year", 1, "2050"),
        ([f"{y}" for y in range(1900, 1960)], "year", 1, "1960"),
        ([str(np.datetime64("1999-12-31") + i) for i in range(60)], "day", 7, "2000-02-29"),
        ([str(np.datetime64("2000-01-03") + 7 * i) for i in range(200)], "week", 52, "2003-11-03"),
        ([str(np.busday_offset("2000-01-03", i)) for i in range(60)], "weekday", 5, "2000-03-27"),
        ([str(np.datetime64("2000-01-01T00:00") + 60 * i) for i in range(200)], "hour", 24, "2000-01-09 08:00:00"),
        ([str(np.datetime64("2000-01-01T00:00") + 15 * i) for i in range(900)], "15 minutes", 96, "2000-01-10 09:00:00"),
        ([str((np.datetime64("2000-01", "M") + i + 1).astype("datetime64[D]") - 1) for i in range(60)], "month", 12, "2005-01"),
        (list(range(1, 61)), "1", 1, "61"),
    ],
)  # fmt: skip
def test_step_and_season_are_found(tmp_path: Path, times: list[Any], unit: str, season: int, after: str) -> None:
    data = opened(tmp_path, times, rising(len(times)), horizon=1)
    column = data.fields["window"]
    assert isinstance(column, Series)
    assert (str(Step(column.unit, column.every, column.week)), column.season) == (unit, season)
    ((key, names, values),) = items(column, tmp_path / "s.csv")
    assert (key, names) == (column.time, [after])
    np.testing.assert_array_equal(values["x"], rising(len(times)))


def test_rows_in_any_order_are_the_same_series(tmp_path: Path) -> None:
    times, values = months(80), rising(80)
    straight = opened(tmp_path, times, values)
    order = np.random.default_rng(0).permutation(80)
    mixed = opened(tmp_path, [times[i] for i in order], [values[i] for i in order])
    for part in ("train", "test"):
        np.testing.assert_array_equal(mixed.splits[part].column("window"), straight.splits[part].column("window"))
    assert any("sorted by month" in note for note in mixed.notes)
    assert not any("sorted" in note for note in straight.notes)


def test_missing_values_are_filled_from_the_past_alone(tmp_path: Path) -> None:
    values = rising(60)
    gap = [*values[:30], "", "", *values[32:58], "", ""]
    data = opened(tmp_path, months(60), gap)
    assert any("2 missing values of sales are filled with the value before" in note for note in data.notes)
    assert any("2 rows without sales at the ends" in note for note in data.notes)
    column = data.fields["window"]
    ((_, names, read),) = items(column, tmp_path / "s.csv")
    assert (names[0], names[-1], len(names)) == ("1994-11", "1995-10", 12)
    assert read["x"][30] == read["x"][31] == values[29]


def test_words_that_say_that_nothing_is_known(tmp_path: Path) -> None:
    """A number that stands for nothing too: in training, when the run is asked, and when it is measured on other rows."""
    values = rising(60)
    said = [*values[:30], -999, "lost", *values[32:]]
    data = opened(tmp_path / "a", months(60), said, missing="-999,lost")
    wanted = opened(tmp_path / "b", months(60), [*values[:30], "", "", *values[32:]])
    np.testing.assert_array_equal(data.splits["train"].column("window"), wanted.splits["train"].column("window"))
    assert "--missing -999,lost: 2 cells of sales" in data.notes
    column = data.fields["window"]
    ((_, _, read),) = items(column, tmp_path / "a" / "s.csv")
    assert read["x"][30] == read["x"][31] == values[29]


def test_rows_that_are_absent_are_missing_values(tmp_path: Path) -> None:
    """A table without some rows is the series of one that has them, empty; and what is done is said."""
    without, empty = broken(without=[10, 11, 30]), broken(values={10: "", 11: "", 30: ""})
    made, wanted = opened(tmp_path / "a", *without), opened(tmp_path / "b", *empty)
    for part in ("train", "test"):
        for key in ("window", "ahead"):
            np.testing.assert_array_equal(made.splits[part].column(key), wanted.splits[part].column(key))
    assert f"{tmp_path / 'a' / 's.csv'} has no row for 1990-11 and 2 more steps: taken as missing values" in made.notes
    assert any("3 missing values of sales are filled" in note for note in made.notes)


def test_a_season_may_be_named(tmp_path: Path) -> None:
    column = opened(tmp_path, months(80), rising(80), season=6).fields["window"]
    assert isinstance(column, Series)
    assert (column.season, column.horizon, column.window) == (6, 6, 12)
    assert opened(tmp_path, months(80), rising(80), season=1, horizon=3).fields["window"].season == 1  # type: ignore[attr-defined]


def test_what_is_not_said_is_found_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    rows = "\n".join(f"shop,{t},{v}" for t, v in zip(months(60), rising(60), strict=True))
    path.write_text(f"where,month,sales\n{rows}\n")
    data = data_module.open(path, horizon=3)
    for word in ("ordered by month", "sales is forecast", "not used: where", "the last 15 of 60 rows, from 1993-10 on"):
        assert any(word in note for note in data.notes), word


def test_a_data_frame_is_a_series_too(tmp_path: Path) -> None:
    import pyarrow as pa

    made = pa.table({"month": months(60), "sales": rising(60)})
    one = data_module.open(made, time="month", target="sales")
    other = opened(tmp_path, months(60), rising(60))
    np.testing.assert_array_equal(one.splits["test"].column("ahead"), other.splits["test"].column("ahead"))


# ---- prediction


def test_the_end_of_a_longer_series_is_read(tmp_path: Path) -> None:
    column = Series(window=24, horizon=12, time="month", value="sales", unit="month", season=12)
    path = table(tmp_path / "new.csv", months(40), rising(40))
    (piece,) = data_module.pieces([path], {"x": column})
    assert (piece.key, piece.names[0], piece.names[-1], len(piece.names)) == ("month", "1993-05", "1994-04", 12)
    np.testing.assert_array_equal(piece.stored["x"], [rising(40)[-24:]])
    windows = np.arange(48, dtype=np.float32).reshape(2, 24)
    np.testing.assert_array_equal(column.parse(windows)[""], windows)


def test_a_column_of_a_file_says_the_same(tmp_path: Path) -> None:

    column = Series(window=24, horizon=12, time="month", value="sales", unit="month", season=12, naive=3.5)
    assert Field.from_json(column.to_json()) == column
    assert dataclasses.replace(column, naive=1.0) == column, "another series' error is no other kind of column"


# ---- broken series, each with its line


def broken(**change: Any) -> tuple[list[Any], list[Any]]:
    times, values = [*months(60)], rising(60)
    for row, time in change.get("times", {}).items():
        times[row] = time
    for row, value in change.get("values", {}).items():
        values[row] = value
    for row in sorted(change.get("without", ()), reverse=True):
        del times[row], values[row]
    return times, values


BROKEN: dict[str, tuple[tuple[list[Any], list[Any]], dict[str, Any], str]] = {
    "time column missing": (broken(), {"time": "moth"}, "PATH has no column 'moth' for --time; did you mean 'month'?"),
    "target missing": (broken(), {"target": "sale"}, "PATH has no column 'sale' for --target; did you mean 'sales'?"),
    "time is the target": (broken(), {"target": "month"}, "--time and --target are both month: name the column that is to be forecast with --target"),
    "a date that is none": (broken(times={7: "1990-13"}), {}, "month of PATH holds '1990-13' in row 8, which is no date: write it like 2024-01-31, or name another column with --time"),
    "no dates at all": ((["a", "b"] * 30, rising(60)), {}, "month of PATH holds 'a' in row 1, which is no date: write it like 2024-01-31, or name another column with --time"),
    "a time is empty": (broken(times={3: ""}), {}, "month of PATH is empty in row 4: each row needs its time"),
    "a time twice": (broken(times={9: "1990-09"}), {}, "PATH has 2 rows for the month 1990-09-01: one row per step is forecast, so keep one series or sum them first"),
    "a long gap": (broken(without=range(10, 30)), {}, "sales of PATH is missing in 20 of 60 rows, one per month, too many to fill: give a coarser step, such as monthly means"),
    "a century that is wrong": (broken(times={59: "3994-12"}), {}, "sales of PATH is missing in 24,000 of 24,060 rows, one per month, too many to fill: give a coarser step, such as monthly means"),
    "a season below zero": (broken(), {"season": -1}, "season=-1 is no number of steps; write it like --season 12"),
    "uneven steps": ((["2000-01-01", "2000-01-03", "2000-01-04", "2000-01-09"] + [f"2001-01-{d:02}" for d in (1, 6, 9, 11, 17, 30)], rising(10)), {}, "month of PATH goes in uneven steps: mostly one 2 days, and day after 2000-01-03; give one row per step, such as daily sums"),
    "a word among the values": (broken(values={4: "many"}), {}, "sales of PATH holds 'many' in row 5, which is no number: correct it, or empty the cell"),
    "infinity": (broken(values={4: "inf"}), {}, "sales of PATH holds 'inf' in row 5, which is no number: correct it, or empty the cell"),
    "no values": ((months(20), [""] * 20), {}, "sales of PATH has no values at all: name another column with --target"),
    "mostly missing": (broken(values=dict.fromkeys(range(5, 40), "")), {}, "sales of PATH is missing in 35 of 60 rows, one per month, too many to fill: give a coarser step, such as monthly means"),
    "constant": ((months(60), [3] * 60), {}, "sales of PATH is always 3: there is nothing to forecast, name another column with --target"),
    "too short": ((months(20), rising(20)), {}, "PATH has 20 rows, too few for a horizon of 12 and a test part of 12: 33 are needed, or a shorter one like --horizon 5"),
    "far too short": ((months(4), rising(4)), {}, "PATH has 4 rows, too few for a horizon of 12 and a test part of 12: 33 are needed, or add earlier rows"),
    "two rows": ((months(2), rising(2)), {}, "PATH has 2 rows with a value, too few to see a step in time: add more"),
    "horizon beyond the test part": (broken(), {"split": "last:6"}, "a horizon of 12 is longer than the test part of PATH, its last 6 rows: write --split last:12 or more, or --horizon 6"),
    "a fold of a series": (broken(), {"split": "2/5"}, "--split 2/5 would draw rows from the middle of a series; write it like --split last:24 or 0.2"),
    "classes of a series": (broken(), {"task": "classes"}, "--task classes and --time, --horizon or --season contradict each other: leave one of them out"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_series_gets_its_line(name: str, tmp_path: Path, one_line: Any) -> None:
    (times, values), how, expected = BROKEN[name]
    with pytest.raises(UserError) as caught:
        opened(tmp_path, times, values, **how)
    assert one_line(caught.value).replace(str(tmp_path / "s.csv"), "PATH") == expected


def test_a_table_without_dates_or_with_many_numbers(tmp_path: Path, one_line: Any) -> None:
    path = table(tmp_path / "s.csv", list("abcdef"), [1, 2, 3, 4, 5, 6], "name,x")
    with pytest.raises(UserError) as caught:
        data_module.open(path, task="forecast")
    assert (
        one_line(caught.value)
        == f"{path} has no column of dates (name, x): name the one that orders the rows with --time"
    )
    rows = [f"{m},{i},{i}" for i, m in enumerate(months(40))]
    path.write_text("\n".join(["month,a,b", *rows]))
    with pytest.raises(UserError) as caught:
        data_module.open(path, time="month")
    assert one_line(caught.value) == f"{path} has columns a, b: name the one to forecast with --target"


PREDICTED: dict[str, tuple[list[Any], list[Any], str, str]] = {
    "a column renamed": (months(30), rising(30), "month,sold", "PATH has no column 'sales', which the model reads"),
    "another step": (months(30, every=3), rising(30), "month,sales", "PATH has one row per 3 months, and the model was trained on one per month"),
    "too few rows": (months(10), rising(10), "month,sales", "PATH has 10 rows, and the model reads the last 24: add earlier ones"),
}  # fmt: skip


@pytest.mark.parametrize("name", PREDICTED)
def test_what_cannot_be_forecast_gets_its_line(name: str, tmp_path: Path, one_line: Any) -> None:
    times, values, header, expected = PREDICTED[name]
    column = Series(window=24, horizon=12, time="month", value="sales", unit="month", season=12)
    path = table(tmp_path / "new.csv", times, values, header)
    with pytest.raises(UserError) as caught:
        items(column, path)
    assert one_line(caught.value).replace(str(path), "PATH").startswith(expected)


def test_arrays_that_are_no_windows_get_one_line(one_line: Any) -> None:
    column = Series(window=24, horizon=12)
    for wrong in (np.zeros(5), np.zeros((3, 7))):
        with pytest.raises(UserError) as caught:
            column.parse(wrong)[""]
        assert f"this input has shape {list(wrong.shape)}" in one_line(caught.value)
    with pytest.raises(UserError, match="NaN or infinity"):
        column.parse(np.full(24, np.nan))[""]
