"""Numbers in their usual dress: found by the share of cells that one form reads, kept with the column, used when a model is asked."""

from __future__ import annotations

import contextlib
import csv
import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shendu.data
from shendu.data import cells, numerals
from shendu.data.cells import Cells
from shendu.data.column import Column
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.readers.series import SeriesReader
from shendu.data.tables.kinds import Judged, judge
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")


def read(values: list[Any]) -> tuple[Judged, list[float]]:
    """What a column is found to be, and its stored values."""
    column = Cells("it", pa.chunked_array([values]))
    found = judge(column, None, False)
    assert found.field, found
    return found, cells.stored(column, found.field)[:, 0].tolist()


NUMBERS: list[tuple[list[Any], str, list[float], str]] = [
    (["(1,234.00)", "5.5", "-3"], "", [-1234, 5.5, -3], "with thousands signs, with accounting negatives"),
    (["$1,234.50", "-$3", "($2)"], "$", [1234.5, -3, -2], "in the unit '$'"),
    (["$(1,234.50)", "$3", "$ 4"], "$", [-1234.5, 3, 4], "with accounting negatives"),
    (["1.234,50 €", "3,5 €", "2 €"], ",€", [1234.5, 3.5, 2], "written with a decimal comma, in the unit '€'"),
    (["R$ 5,50", "R$ 1.234,00", "R$ 2,5"], ",R$", [5.5, 1234, 2.5], "in the unit 'R$'"),
    (["USD 5", "USD 7.5"], "USD", [5, 7.5], "in the unit 'USD'"),
    (["12 kg", "13kg", "14"], "kg", [12, 13, 14], "in the unit 'kg'"),
    (["20 °C", "−3 °C", "5.5°C"], "°C", [20, -3, 5.5], "in the unit '°C'"),
    (["12 km/h", "3.5 km/h"], "km/h", [12, 3.5], "in the unit 'km/h'"),
    (["1 year", "2 years", "11 years"], "year", [1, 2, 11], "in the unit 'year'"),
    (["12%", "3.5 %"], "%", [12, 3.5], "in the unit '%'"),
    (["5kg", "1500kg"], "kg", [5, 1500], "in the unit 'kg'"),
    (["1.2k", "900", "3M"], "", [1200, 900, 3e6], "with k, M or B for thousands, millions, billions"),
    (["5 M", "5M", "7 M"], "M", [5, 5, 7], "in the unit 'M'"),
    (["12,34,567", "1,00,000"], "", [1234567, 100000], "with thousands signs"),
    (["1'234'567", "12"], "", [1234567, 12], "with thousands signs"),
    (["1,234.5-", "5-"], "", [-1234.5, -5], "with accounting negatives"),
    (["08:30", "23:59", "0:05"], "h:m:s", [30600, 86340, 300], "times of a clock in seconds"),
    (["8:30 AM", "12:15 pm", "12:00 am"], "h:m:s", [30600, 44100, 0], "times of a clock in seconds"),
    (["59:10", "1:02:03"], "m:s", [3550, 3723], "minutes and seconds in seconds"),
    (["2:03.45", "1:59.10"], "m:s", [123.45, 119.1], "minutes and seconds in seconds"),
    ([datetime.time(8, 30), datetime.time(0, 5)], "", [30600, 300], ""),
    ([datetime.timedelta(hours=2), datetime.timedelta(seconds=1)], "", [7200, 1], ""),
    (["１２", "３.５"], "", [12, 3.5], ""),
    (["１２メートル", "３.５メートル"], "メートル", [12, 3.5], "in the unit 'メートル'"),
    (["12 m²", "13 m2", "14㎡"], "m2", [12, 13, 14], "in the unit 'm2'"),
    (["5 L/100km", "6.5L/100km"], "L/100km", [5, 6.5], "in the unit 'L/100km'"),
    (["5mg/5ml", "15 mg/5ml"], "mg/5ml", [5, 15], "in the unit 'mg/5ml'"),
    (["3 A4", "50 A4"], "A4", [3, 50], "in the unit 'A4'"),
    (["20 ℃", "3.5°C"], "°C", [20, 3.5], "in the unit '°C'"),
    (["2 m s⁻¹", "3.5 m s⁻¹"], "m s⁻¹", [2, 3.5], "in the unit 'm s⁻¹'"),
]


@pytest.mark.parametrize(("values", "form", "numbers", "said"), NUMBERS, ids=[str(case[0][0]) for case in NUMBERS])
def test_numbers_in_their_usual_dress(values: list[Any], form: str, numbers: list[float], said: str) -> None:
    found, stored = read(values * 10)
    assert found.field is not None
    assert (found.field.kind, found.field.form) == ("number", form)
    np.testing.assert_allclose(stored[: len(values)], numbers, rtol=1e-6)
    assert said in found.why


@pytest.mark.parametrize(
    "values",
    [
        ["<=50K", ">50K"], ["0+", "1+", "2+"], ["30-39", "40-49"], ["10.0.0.1", "10.0.0.2"], ["A1", "A2"], ["Q1", "Q2"], ["1/2", "3/4"],
        ["1.2.3", "1.2.4"], ["5 kg", "300 g"], ["(5", "6)"], ["--5", "-6-"], ["$5€", "$6€"],
        ["1h01", "2h02", "3h30"], ["1007x1013", "1014x1026"], ["4ft11", "5ft02"], ["3y3m", "4y11m"], ["1 A1", "2 A2"], ["1h30m", "2h15m"],
        ["100m2", "101m3"], ["6130mg/2ml", "6130mg/6ml"], ["50₂", "51₂"], ["10³", "10⁴"], ["5⁻", "6⁻"], ["5⁺", "6⁺"], ["1½", "2¼"], ["①", "②"],
        ["7⒈", "8⒈"], ["Ⅳ", "Ⅻ"], ["㏩", "㏪"], ["1²", "2"], ["1st", "2nd", "3rd", "4th"],
    ],
)  # fmt: skip
def test_what_is_no_number(values: list[str]) -> None:
    found, _ = read(values * 10)
    assert found.field is not None
    assert (found.field.kind, set(found.field.names)) == ("category", set(values))


def test_numbers_in_several_units_are_said() -> None:
    assert read(["5 kg", "300 g"] * 10)[0].why == (
        "numbers in several units (kg, g) are no numbers together: write them in one"
    )


@pytest.mark.parametrize(
    ("values", "units"),
    [
        ([f"{i}.25 kg" if i % 2 else f"{i}25 g" for i in range(1, 41)], "kg, g"),
        ([f"{i}m{2 + i % 2}" for i in range(40)] * 2, "m2, m3"),
        (["6130mg/2ml", "6130mg/6ml"] * 10, "mg/2ml, mg/6ml"),
    ],
)
def test_several_units_are_said_of_texts_and_of_units_with_digits(values: list[str], units: str) -> None:
    told = f"numbers in several units ({units}) are no numbers together: write them in one"
    assert read(values)[0].why == told


def test_marks_beside_a_number_are_no_digits_of_it() -> None:
    """As in tables with footnotes: 1000² is a thousand and its second note, and a letter is a unit that is said."""
    values = [f"{1000 + i}²" if i % 30 == 0 else f"{1000 + i}" for i in range(120)]
    found, stored = read(values)
    assert found.why == "numbers, and 4 words such as '1000²' that count as missing"
    assert np.isnan(stored).tolist() == [i % 30 == 0 for i in range(120)]
    assert np.nanmax(stored) == 1119
    assert asked(["7²", "7½", "7"]) == ([pytest.approx(math.nan, nan_ok=True)] * 2 + [7], "2 cells cannot be read, such as '7²', and count as missing", ())  # fmt: skip
    assert read(["1030ᵃ", "1031"] * 10)[0].why == "numbers: in the unit 'ᵃ'"
    assert read(["5ᵏ", "6ᵏ"] * 10)[1][:2] == [5, 6]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 999), st.integers(0, 99)), min_size=2, max_size=30, unique=True))
def test_no_digit_of_a_number_is_thrown_away(both: list[tuple[int, int]]) -> None:
    """Of `3h07` nothing is read, and of two such texts not the same."""
    texts = pa.array([f"{a}h{b:02d}" for a, b in both])
    written = numerals.Written(texts)
    for unit in {f"h{b:02d}" for _, b in both}:
        expected = [a if f"h{b:02d}" == unit else math.nan for a, b in both]
        np.testing.assert_array_equal(written.parsed(unit), expected)


# ---- a point or a comma before three digits


def parted(whole: int, sign: str = ".") -> str:
    """16957 as 16.957."""
    return f"{whole:,}".replace(",", sign)


def table_of(tmp_path: Path, delimiter: str = ";", **columns: list[Any]) -> Path:
    path = tmp_path / "parted.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([columns, *zip(*columns.values(), strict=True)])
    return path


LABELS = ["a", "b"] * 60
SIZES = [int(10 ** (2 + i * 37 % 120 / 35)) for i in range(120)]
"""From a hundred to a quarter of a million, which end in any digit."""
THIRDS = ["1", "1.333", "1.667", "2", "2.333"] * 24


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("dress", ["{}", "-{}", "{} €", "${}"])
@pytest.mark.parametrize("sign", [".", ","])
def test_a_sign_for_thousands_is_no_decimal_sign(delimiter: str, dress: str, sign: str, tmp_path: Path) -> None:
    values = [dress.format(parted(size, sign)) for size in SIZES]
    data = shendu.data.open(table_of(tmp_path, delimiter, v=values, y=LABELS))
    expected = [-float(size) if dress == "-{}" else float(size) for size in SIZES]
    assert data.splits["train"].column("row")[:, 0].tolist() == expected
    if sign == ".":
        (told,) = [note for note in data.notes if note.startswith("column v:")]
        assert "written with points for thousands" in told
        assert told.endswith("if the points are decimal: --type v=number:.")


def test_a_target_with_points_for_thousands_is_in_its_own_unit(tmp_path: Path) -> None:
    path = table_of(tmp_path, n=[i / 7 for i in range(120)], y=[parted(size) for size in SIZES])
    data = shendu.data.open(path, task="numbers")
    assert data.splits["train"].column("target").tolist() == SIZES
    assert any(note.startswith("the numbers of y are read as they are written: written with points for thousands") for note in data.notes)  # fmt: skip
    said = shendu.data.open(path, types=("y=number:.",)).splits["train"].column("target")
    np.testing.assert_allclose(said, [float(parted(size)) for size in SIZES], rtol=1e-6)


def test_a_series_with_points_for_thousands_is_read_so_when_it_is_short(tmp_path: Path) -> None:
    values = [500 + 20 * i for i in range(100)]
    days = [str(datetime.date(2024, 1, 1) + datetime.timedelta(days=i)) for i in range(100)]
    data = shendu.data.open(table_of(tmp_path, t=days, v=[parted(v) for v in values]), time="t", target="v", horizon=2)
    assert data.splits["test"].column("ahead")[-1].tolist() == values[-2:]
    assert any("the numbers of v are read as they are written: written with points for thousands" in note for note in data.notes)  # fmt: skip
    field = data.fields["window"]
    end = table_of(tmp_path, t=days[-30:], v=[parted(v) for v in values[-30:]])
    *_, (_, _, read_) = SeriesReader().items(end, {"x": field})
    assert read_["x"].tolist() == values[-30:]


@pytest.mark.parametrize(
    ("delimiter", "values", "told"),
    [
        (",", THIRDS, True),
        (";", THIRDS, True),
        (";", [parted(250_000 + 500 * i) for i in range(120)], True),
        (",", [f"{1 + i / 7:.3f}" for i in range(120)], False),
        (";", [f"{i / 7:.3f}" for i in range(120)], False),
        (",", [f"{1 + i / 7:.3f}" if i % 9 else "-999" for i in range(120)], True),
        (",", [f"{i / 8:g}" for i in range(120)], False),
    ],
)
def test_what_may_be_a_decimal_point_is_one_and_it_is_said(delimiter: str, values: list[str], told: bool, tmp_path: Path) -> None:  # fmt: skip
    path = table_of(tmp_path, delimiter, v=values, n=[*range(120)], y=LABELS)
    data = shendu.data.open(path)
    np.testing.assert_allclose(data.splits["train"].column("row")[:, 0], [float(v) for v in values], rtol=1e-6)
    like = next(v for v in values if "." in v)
    note = f"v holds numbers such as '{like}', whose points are read as decimal points (if they part thousands: --type v=number:,)"
    assert (note in data.notes) == told
    if told:
        said = shendu.data.open(path, types=("v=number:,",))
        expected = [float(v.replace(".", "")) for v in values]
        assert said.splits["train"].column("row")[:, 0].tolist() == expected
        assert not any("--type v=number:" in note for note in said.notes)


@pytest.mark.parametrize("delimiter", [";", ","])
def test_one_table_has_one_decimal_sign(delimiter: str, tmp_path: Path) -> None:
    """2,605 beside 0,14 is two and a half, and 2.605 there is two thousand."""
    commas = [parted(2605 + 11 * i, ",") for i in range(120)]
    points = [parted(2605 + 11 * i) for i in range(120)]
    other = [f"{i / 7:.2f}".replace(".", ",") for i in range(120)]
    rows = shendu.data.open(table_of(tmp_path, delimiter, u=commas, v=points, w=other, y=LABELS))
    found = rows.splits["train"].column("row")
    np.testing.assert_allclose(found[:, 0], [2.605 + 0.011 * i for i in range(120)], rtol=1e-5)
    assert found[:, 1].tolist() == [2605 + 11 * i for i in range(120)]
    told = [note for note in rows.notes if note.startswith(("column u", "column v"))]
    assert told == [
        "column u: numbers: written with a decimal comma, if the commas part thousands: --type u=number:.",
        "column v: numbers: written with points for thousands, with thousands signs, if the points are decimal: --type v=number:.",
    ]
    alone = shendu.data.open(table_of(tmp_path, delimiter, u=commas, y=LABELS))
    assert "column u: numbers: with thousands signs, if the commas are decimal: --type u=number:," in alone.notes
    with pytest.raises(UserError, match="--type u=number:x names no decimal sign: write --type u=number"):
        shendu.data.open(table_of(tmp_path, delimiter, u=commas, y=LABELS), types=("u=number:x",))


def test_points_for_thousands_when_a_model_is_asked() -> None:
    learned = [*map(parted, SIZES)]
    assert asked(learned, form="") == (
        [*map(float, SIZES)], "", ("column it: read with points for thousands, unlike in training",),
    )  # fmt: skip
    assert asked(["1.234", "879", "16957"], form=",") == ([1234, 879, 16957], "", ())
    assert asked(["1.234"], form="")[0] == [pytest.approx(1.234)]


def test_bounds_among_numbers_are_the_number_that_they_name() -> None:
    found, stored = read([*map(str, range(5, 40)), "<5", ">40"])
    assert stored[-2:] == [5, 40]
    assert found.why == "numbers: bounds such as '<5' are the number that they name"


def dressed(value: float, dress: str) -> str:
    """A number with two decimals as people write it."""
    plain, minus = f"{abs(value):,.2f}", value < 0
    german = plain.translate(str.maketrans(",.", ".,"))
    sign = "-" * minus
    return {
        "plain": f"{value:.2f}", "thousands": sign + plain, "accounting": f"({plain})" if minus else plain, "dollar": f"{sign}${plain}",
        "german": sign + german, "euro": f"{sign}{german} €", "unit": f"{sign}{plain} mg/dL", "percent": f"{sign}{plain}%",
        "swiss": sign + plain.replace(",", "’"), "french": sign + german.replace(".", "\u202f"), "last": plain + sign,
    }[dress]  # fmt: skip


DRESSES = (
    *("plain", "thousands", "accounting", "dollar", "german", "euro", "unit", "percent", "swiss", "french", "last"),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=30, unique=True), st.sampled_from(DRESSES))
def test_a_dress_changes_no_number(hundredths: list[int], dress: str) -> None:
    values = [*(h / 100 for h in hundredths), 0.25]
    texts = pa.array([dressed(value, dress) for value in values])
    written = numerals.Written(texts)
    np.testing.assert_array_equal(written.parsed(written.form()), values)


CELL = st.text(alphabet="0123456789.,-+()$€%kgM:<> '", max_size=12)


@settings(max_examples=10, deadline=None)
@given(st.lists(CELL, min_size=20, max_size=60))
def test_any_cell_is_a_number_or_none(texts: list[str]) -> None:
    """What Python reads as a plain number is that number."""
    written = numerals.Written(pa.array(texts))
    found = {form: written.parsed(form).tolist() for form in ("", ",", "kg", "$", *numerals.CLOCKS)}
    for text, value in zip(texts, found[""], strict=True):
        with contextlib.suppress(ValueError):
            assert value == float(text)


# ---- when a model is asked


def asked(values: list[Any], *, kind: Any = "number", **column: Any) -> tuple[list[float], str, tuple[str, ...]]:
    """(what is stored, what is said of cells that cannot be read, notes)."""
    row = Row(columns=(Column(name="it", kind=kind, **column), Column(name="other", kind="number")))
    stored, unread, notes = row.read({"it": values, "other": list(range(len(values)))})
    return stored[""][:, 0].tolist(), str(unread.get("it", "")), notes


@pytest.mark.parametrize(
    ("form", "values", "numbers"),
    [
        ("", [7], [7]), ("", ["7"], [7]), ("", [7.0], [7]), ("", ["7.0", "07"], [7, 7]), ("", ["1,234"], [1234]), ("", ["(5)"], [-5]),
        ("", [True], [1]), (",", ["1,5"], [1.5]), (",", ["1.234"], [1234]), (",", [1.5], [1.5]), ("kg", ["5 kg", "6kg"], [5, 6]), ("m2", ["5 m²"], [5]),
        ("h:m:s", ["8:30 pm"], [73800]), ("h:m:s", [datetime.time(8, 30)], [30600]),
    ],
)  # fmt: skip
def test_the_same_values_in_another_dress(form: str, values: list[Any], numbers: list[float]) -> None:
    assert asked(values, form=form) == (numbers, "", ())


@pytest.mark.parametrize(
    ("form", "values", "numbers", "note"),
    [
        ("", ["1,5", "1,234"], [1.5, 1.234], "column it: read with a decimal comma, unlike in training"),
        (",", ["1.5", "1,234.5"], [1.5, 1234.5], "column it: read with a decimal point, unlike in training"),
        ("", ["$5"], [5], "column it: in $, and training had no unit: read as the numbers that they are"),
        ("%", [0.5], [0.5], "column it: numbers without a unit are taken to be in '%' as in training"),
        ("m2", ["5", "6"], [5, 6], "column it: numbers without a unit are taken to be in 'm2' as in training"),
        ("", ["<5", "6"], [5, 6], "column it: bounds such as '<5' are the number that they name"),
    ],
)
def test_what_is_taken_is_said(form: str, values: list[Any], numbers: list[float], note: str) -> None:
    stored, unread, notes = asked(values, form=form)
    np.testing.assert_allclose(stored, numbers, rtol=1e-6)
    assert (unread, notes) == ("", (note,))


@pytest.mark.parametrize(
    ("form", "bad"),
    [
        ("", "err"),
        ("", "12 kg"),
        ("", "12%"),
        ("", "inf"),
        ("", "1e400"),
        ("kg", "5 g"),
        ("m2", "5 m3"),
        ("$", "€5"),
        ("h:m:s", "noon"),
    ],
)
def test_what_cannot_be_read_is_counted(form: str, bad: str) -> None:
    stored, unread, notes = asked([bad, "NA", None, "1" if form != "h:m:s" else "8:30", bad], form=form)
    assert np.isnan(stored).tolist() == [True, True, True, False, True]
    assert (
        unread
        == f"2 cells cannot be read, such as '{bad}', and count as missing; 1 cell, such as 'NA', taken as missing"
    )


def test_other_kinds_in_another_dress() -> None:
    names = ("7", "8", "01")
    for value, code in ((7, 2), ("7", 2), (7.0, 2), ("7.0", 2), (1, 4), ("1", 4), ("01", 4)):
        assert asked([value], kind="category", names=names)[0] == [code]
    assert asked(["9"], kind="category", names=names)[2] == (
        "column it: none of its values is one that training had, such as '9'",
    )
    assert asked(["9", "7", "6"], kind="category", names=names)[1] == (
        "2 cells of none of the categories that were learned, such as '9'"
    )
    truths = ("false", "true")
    for value in (True, "yes", "TRUE", 1, 1.0, "1"):
        assert asked([value], kind="boolean", names=truths)[0] == [3]
    assert asked(["maybe"], kind="boolean", names=truths)[:2] == (
        [0], "1 cell cannot be read, such as 'maybe', and counts as missing",
    )  # fmt: skip
    assert asked(["31.12.2020"], kind="date", form="Y-m-d")[2] == (
        "column it: dates are read as d.m.Y, unlike Y-m-d in training",
    )
    stored, unread, _ = asked(
        ["01.02.2020", "2020-01-01"], kind="date", form="Y-m-d"
    )  # February or January: not to be told
    assert unread == "1 cell cannot be read, such as '01.02.2020', and counts as missing"
    assert math.isnan(stored[0])


def test_a_test_part_in_another_dress(tmp_path: Path) -> None:
    lines = [f"{i}.25,{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(["it,y", *lines]))
    (tmp_path / "test.csv").write_text("it;y\n3,25;a\n5,5;b\nerr;a\n")
    data = shendu.data.open(tmp_path)
    assert data.splits["test"].column("row")[:2, 0].tolist() == [3.25, 5.5]
    assert data.notes[-2:] == (
        "test part, column it: read with a decimal comma, unlike in training",
        "test part, column it: 1 cell cannot be read, such as 'err', and counts as missing",
    )
    with pytest.raises(UserError, match="such as 'err', and counts as missing: correct them, or leave --strict out"):
        shendu.data.open(tmp_path, strict=True)


def test_a_target_in_its_usual_dress() -> None:
    frame = pa.table(
        {"n": np.arange(60) / 7, "y": [f"({i},500.25) $" if i % 2 else f"{i},250.5 $" for i in range(1, 61)]}
    )
    data = shendu.data.open(frame, target="y")
    assert data.splits["train"].column("target")[:3].tolist() == [-1500.25, 2250.5, -3500.25]
    assert data.fields["target"] == Number()
    odd = pa.table({"n": np.arange(60) / 7, "y": [*(f"{i}.25" for i in range(59)), "err"]})
    line = "1 rows of the train part are left out, since their y is no number, such as 'err'"
    assert line in shendu.data.open(odd, target="y").notes
    with pytest.raises(UserError, match=f"{line}: correct them, or leave --strict out"):
        shendu.data.open(odd, target="y", strict=True)
    assert (
        "the numbers of y are read as they are written: in the unit '$', with thousands signs, with accounting negatives"
        in data.notes
    )


def test_whole_numbers_beyond_a_float_keep_their_digits() -> None:
    first = 1_700_000_000_000_000_000
    for values in ([first + i for i in range(40)], [str(first + i) for i in range(40)]):
        data = shendu.data.open(pa.table({"when": values, "b": list(range(40)), "y": ["p", "q"] * 20}), target="y")
        stored = data.splits["train"].column("row")[:, 0]
        assert np.diff(stored).tolist() == [1] * 39
        row = data.fields["row"]
        assert row.parse({"when": [first + 7], "b": [0]})[""][0, 0] == stored[7]  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="differs only behind its fifteenth digit"):
        shendu.data.open(pa.table({"n": list(range(40)), "y": [first + i for i in range(40)]}), task="numbers")
