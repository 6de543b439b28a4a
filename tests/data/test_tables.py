"""Tables in: every way to write one gives the same rows, and what a column is follows from its cells."""

from __future__ import annotations

import datetime
import gzip
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv, feather, ipc, parquet

import shendu.data
from shendu.data import Dataset, cells, times
from shendu.data.cells import Cells
from shendu.data.column import Column
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.known import KNOWN
from shendu.data.tables.files import recognised
from shendu.errors import UserError
from shendu.field import Field
from shendu.recipes import labelled
from shendu.shown import option

pytestmark = pytest.mark.usefixtures("fresh_cache")

ROWS = 40
AGE = [20 + i % 7 for i in range(ROWS)]
CITY = [("Köln", "Ulm", "Bonn")[i % 3] for i in range(ROWS)]
PRICE = [1000.5 + 3 * i for i in range(ROWS)]
BOUGHT = [("no", "yes")[i % 2] for i in range(ROWS)]
FRAME = pa.table({"age": AGE, "city": CITY, "price": PRICE, "bought": BOUGHT})


def written(sign: str = ",", price: str = "{}", header: bool = True) -> str:
    lines = [sign.join(FRAME.column_names)] * header
    cells_of = zip(AGE, CITY, PRICE, BOUGHT, strict=True)
    lines += [sign.join([str(a), c, price.format(p), b]) for a, c, p, b in cells_of]
    return "\n".join(lines) + "\n"


def opened(path: Path, content: str | bytes, **how: Any) -> Dataset:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return shendu.data.open(path, **how)


def rows_of(data: Dataset, part: str = "train") -> np.ndarray:
    return data.splits[part].column("row")


def fields_of(data: Dataset) -> dict[str, Column]:
    column = data.fields[data.input]
    assert isinstance(column, Row)
    return {field.name: field for field in column.columns}


def column_of(tmp_path: Path, values: list[str], **how: Any) -> tuple[Dataset, Column | None, np.ndarray]:
    """A table with this column between others; its field and its stored values."""
    lines = ["other,it,y", *(f'{i % 5}.5,"{value}",{"ab"[i % 2]}' for i, value in enumerate(values))]
    data = opened(tmp_path / "one.csv", "\n".join(lines) + "\n", **how)
    field = fields_of(data).get("it")
    start = dict(zip(fields_of(data), data.fields["row"].starts, strict=True)).get("it", 0)  # type: ignore[attr-defined]
    return data, field, rows_of(data)[:, start : start + (field.width if field else 0)]


# ---- ways to write one table


def german(value: float) -> str:
    return f"{value:,.1f}".replace(",", "_").replace(".", ",").replace("_", ".")


GERMAN = "\n".join(
    [
        ";".join(FRAME.column_names),
        *(";".join([str(a), c, f"{german(p)} €", b]) for a, c, p, b in zip(AGE, CITY, PRICE, BOUGHT, strict=True)),
    ]
)
FORMS: dict[str, tuple[str, bytes]] = {
    "comma": ("a.csv", written().encode()),
    "semicolon": ("a.csv", written(";").encode()),
    "tab": ("a.tsv", written("\t").encode()),
    "bar": ("a.psv", written("|").encode()),
    "blanks": ("a.csv", written(", ").encode()),
    "carriage returns": ("a.csv", written().replace("\n", "\r\n").encode()),
    "no last line end": ("a.csv", written().rstrip().encode()),
    "blank lines": ("a.csv", (written() + "\n\n").encode()),
    "byte order mark": ("a.csv", b"\xef\xbb\xbf" + written().encode()),
    "utf-16": ("a.csv", written().encode("utf-16")),
    "utf-16 without mark": ("a.csv", written(";").encode("utf-16-le")),
    "cp1252": ("a.csv", written().encode("cp1252")),
    "quotes": ("a.csv", ('"' + written('","').rstrip().replace("\n", '"\n"') + '"\n').encode()),
    "gzip": ("a.csv.gz", gzip.compress(written().encode())),
    "thousands": ("a.csv", written(price='"{:,}"').encode()),
    "apostrophes": ("a.csv", written(";", "{:,}").replace("1,0", "1'0").replace("1,1", "1'1").encode()),
    "dollars": ("a.csv", written(price='"${:,}"').encode()),
    "percentages": ("a.csv", written(price="{} %").encode()),
    "decimal comma": ("a.csv", GERMAN.encode()),
    "no ending": ("a.data", written().encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_table_in_every_spelling(form: str, tmp_path: Path) -> None:
    name, content = FORMS[form]
    data = opened(tmp_path / name, content)
    field = fields_of(data)
    assert [f.kind for f in field.values()] == ["number", "category", "number"]
    assert field["city"].names == ("Köln", "Ulm", "Bonn")
    expected = [[a, ("Köln", "Ulm", "Bonn").index(c) + 2, p] for a, c, p in zip(AGE, CITY, PRICE, strict=True)]
    np.testing.assert_array_equal(rows_of(data), np.array(expected, np.float32))
    assert data.classes == ("no", "yes")
    np.testing.assert_array_equal(data.splits["train"].column("target"), np.arange(ROWS) % 2)


def json_lines() -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in FRAME.to_pylist()).encode()


def save(kind: str, folder: Path) -> Any:
    path = folder / f"a.{kind}"
    match kind:
        case "parquet":
            parquet.write_table(FRAME, path)
        case "feather":
            feather.write_feather(FRAME, path)
        case "jsonl":
            path.write_bytes(json_lines())
        case "jsonl.gz":
            path.write_bytes(gzip.compress(json_lines()))
        case "xlsx":
            book = pytest.importorskip("openpyxl").Workbook()
            for row in [FRAME.column_names, *zip(*FRAME.to_pydict().values(), strict=True)]:
                book.active.append(row)
            book.save(path)
    return path


@pytest.mark.parametrize("kind", ["parquet", "feather", "jsonl", "jsonl.gz", "xlsx"])
def test_binary_forms_and_objects_agree_with_the_text(kind: str, tmp_path: Path) -> None:
    data = shendu.data.open(save(kind, tmp_path))
    text = opened(tmp_path / "b.csv", written())
    np.testing.assert_array_equal(rows_of(data), rows_of(text))
    assert data.fields == text.fields


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, held: pa.Table) -> None:
        self.held = held

    def __arrow_c_stream__(self, schema: object = None) -> object:
        return self.held.__arrow_c_stream__(schema)


def test_frames_in_memory(tmp_path: Path) -> None:
    text = opened(tmp_path / "b.csv", written())
    views = FRAME.set_column(1, "city", FRAME.column("city").cast(pa.string_view()))
    for held in (
        FRAME,
        Frame(FRAME),
        Frame(views),
        Frame(FRAME.set_column(1, "city", FRAME["city"].cast(pa.large_string()))),
    ):
        data = shendu.data.open(held, target="bought")
        np.testing.assert_array_equal(rows_of(data), rows_of(text))
    assert shendu.data.open(data.source).hash == data.hash


def test_saved_by_datasets(tmp_path: Path) -> None:
    labelled = FRAME.set_column(3, "bought", pa.array([i % 2 for i in range(ROWS)]))
    about = {
        "features": {
            "bought": {"names": ["no", "yes"], "_type": "ClassLabel"},
            "age": {"dtype": "int64", "_type": "Value"},
        }
    }
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        with ipc.new_stream(tmp_path / part / "data-00000-of-00001.arrow", labelled.schema) as stream:
            stream.write_table(labelled)
        (tmp_path / part / "dataset_info.json").write_text(json.dumps(about))
    data = shendu.data.open(tmp_path)
    assert data.classes == ("no", "yes")
    np.testing.assert_array_equal(rows_of(data, "test"), rows_of(opened(tmp_path / "b.csv", written())))


def test_parts_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(written())
    (tmp_path / "test.csv").write_text("bought,city,price,age\nyes,Rom,2.5,30\n")
    data = shendu.data.open(tmp_path)
    np.testing.assert_array_equal(rows_of(data, "test"), np.array([[30, 1, 2.5]], np.float32))  # by name; Rom is unseen
    (tmp_path / "test.csv").write_text("city,price,age\nUlm,2.5,30\n")
    data = shendu.data.open(tmp_path)
    assert "test" not in data.splits
    assert (
        f"{tmp_path}/test.csv has no column bought and is left out (for its predictions: shendu predict)" in data.notes
    )


def test_no_header(tmp_path: Path) -> None:
    data = opened(tmp_path / "a.csv", written(header=False))
    assert list(fields_of(data)) == ["column_1", "column_2", "column_3"]
    assert "a.csv has no header, so its columns are named column_1 to column_4" in data.notes
    words = "red,round\ngreen,long\nred,long\ngreen,round\n" * 6
    assert list(fields_of(opened(tmp_path / "b.csv", words))) == ["column_1"]
    assert list(fields_of(opened(tmp_path / "c.csv", "colour,shape\n" + words))) == ["colour"]


def test_line_breaks_and_signs_within_quotes(tmp_path: Path) -> None:
    lines = "".join(f'{i}.5,"a, ""b""\nc{i % 2}",{"xy"[i % 2]}\n' for i in range(30))
    data = opened(tmp_path / "a.csv", "n,words,y\n" + lines)
    assert fields_of(data)["words"].names == ('a, "b"\nc0', 'a, "b"\nc1')
    inches = "".join(f'{i % 4}" pipe,{i}.5,{"xy"[i % 2]}\n' for i in range(31))
    assert fields_of(opened(tmp_path / "b.csv", "size,n,y\n" + inches))["size"].names[0] == '0" pipe'


# ---- kinds


def test_missing_values_in_every_spelling(tmp_path: Path) -> None:
    values = [*("", "NA", "N/A", "?", "null", "-", " nan", "None "), *("1.5", "2.5") * 10]
    _, field, stored = column_of(tmp_path, values)
    assert field is not None
    assert field.kind == "number"
    assert np.isnan(stored[:8]).all()
    assert np.isfinite(stored[8:]).all()
    _, field, stored = column_of(tmp_path, [*("", "NA", "?", "-"), *("red", "blue") * 10], missing="NA,?,-")
    assert field == Column(name="it", kind="category", names=("red", "blue"), missing=("NA", "?", "-"))
    assert stored[:4, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("values", "kind", "names"),
    [
        (["yes", "no"], "boolean", ("false", "true")),
        (["True", "FALSE"], "boolean", ("false", "true")),
        (["01234", "04711", "99999"], "category", ("01234", "04711", "99999")),
        (["7", "11", "100"], "number", ()),
        (["1e3", "-2.5", "+4", ".5"], "number", ()),
        (["12 kg", "13 kg"], "number", ()),
        (["12 kg", "13 lb"], "category", ("12 kg", "13 lb")),
        (["a", "b", "c"], "category", ("a", "b", "c")),
        (["2020-02-29", "2021-03-01"], "date", ()),
        (["1999-12", "2001-01"], "date", ()),
        (["31.12.1999", "1.1.2000"], "date", ()),
        (["12/31/1999", "01/13/2000 4:05 PM"], "date", ()),
        (["31 Dec 1999", "1-January-2000"], "date", ()),
        (["Dec 31, 1999", "January 1 2000"], "date", ()),
        (["2020-13-01", "2020-14-01"], "category", ("2020-13-01", "2020-14-01")),
        (["30.02.2020", "31.02.2020"], "category", ("30.02.2020", "31.02.2020")),
    ],
)
def test_kinds(values: list[str], kind: str, names: tuple[str, ...], tmp_path: Path) -> None:
    _, field, _ = column_of(tmp_path, values * 12)
    assert field is not None
    assert (field.kind, field.names) == (kind, names)


WAYS = {
    "Y-m-d": "%Y-%m-%d %H:%M:%S", "Y-m": "%Y-%m", "d.m.Y": "%d.%m.%y %H:%M", "m/d/Y": "%m/%d/%Y %I:%M:%S %p", "d b Y": "%a, %d %b %Y %H:%M",
    "b d Y": "%B %d, %Y", "b d H Y": "%a %b %d %H:%M:%S %Y", "m/Y": "%m/%Y", "b Y": "%b %Y", "Y b": "%Y %B", "Y-Q": "%Y-Q", "Q-Y": "Q %Y",
    "Y-W": "%G-W%V-%u", "Ymd": "%Y%m%d", "YmdHMS": "%Y%m%dT%H%M", "Ym": "%Y%m",
}  # fmt: skip
"""A form of dates -> how the standard library writes and reads it; Q alone is ours."""


def written_as(moment: datetime.datetime, way: str) -> tuple[str, datetime.datetime]:
    """How a moment is written, and the moment that is left of it."""
    if "Q" in way:
        quarter = (moment.month - 1) // 3
        text = moment.strftime(way.replace("Q", f"Q{quarter + 1}"))
        return text, datetime.datetime(moment.year, 3 * quarter + 1, 1)
    text = moment.strftime(way)
    return text, datetime.datetime.strptime(text, way)


@pytest.mark.parametrize("form", list(times.DATES))
def test_dates_against_the_calendar(form: str) -> None:
    first = datetime.datetime(1975, 1, 1)
    when = [first + datetime.timedelta(days=97 * i, seconds=86_000 - 431 * i) for i in range(190)]
    texts, left = zip(*(written_as(moment, WAYS[form]) for moment in when), strict=True)
    cell = Cells("d", pa.chunked_array([texts]))
    found = times.moments_of(cell, form)
    expected = np.array(left, "datetime64[us]")
    np.testing.assert_array_equal(found, expected)
    parts = cells.dates(cell, form)
    day = (expected.astype("datetime64[D]") - np.datetime64("2000-01-01")).astype(int)
    np.testing.assert_allclose(np.floor(parts[:, 0] + 1e-3), day, atol=1)
    week = [moment.weekday() / 7 for moment in left]
    np.testing.assert_allclose(
        np.stack([np.sin(np.multiply(week, 2 * np.pi)), np.cos(np.multiply(week, 2 * np.pi))], 1),
        parts[:, 3:5],
        atol=1e-5,
    )


def test_texts(tmp_path: Path) -> None:
    values = [f"this film was {'good' if i % 2 else 'bad'} and number {i} of many" for i in range(30)]
    data, field, stored = column_of(tmp_path, values)
    assert field is not None
    assert (field.kind, field.length) == ("text", 9)
    assert {"film", "good", "bad"} <= set(field.names)
    assert "17" not in field.names
    shown = data.fields["row"].show({"": rows_of(data)[1]})
    assert shown == "other=1.5, it=this film was good and number … of many"


def test_ordered_categories(tmp_path: Path) -> None:
    _, field, stored = column_of(tmp_path, ["L", "S", "M", "XL"] * 10, types=("it=ordered:S|M|L",))
    assert field == Column(name="it", kind="ordered", names=("S", "M", "L"))
    assert stored[:4, 0].tolist() == [4, 2, 3, 1]
    sizes = pa.DictionaryArray.from_arrays(pa.array([2, 0, 1] * 10), pa.array(["S", "M", "L"]), ordered=True)
    data = shendu.data.open(pa.table({"size": sizes, "n": np.arange(30) / 4, "y": ["a", "b", "c"] * 10}))
    assert fields_of(data)["size"] == Column(name="size", kind="ordered", names=("S", "M", "L"))


def test_what_is_left_out(tmp_path: Path) -> None:
    lines = "".join(f"{i},k{i},same,,{i % 3}.5,{'xy'[i % 2]}\n" for i in range(30))
    data = opened(tmp_path / "a.csv", "id,key,one,void,n,y\n" + lines)
    assert list(fields_of(data)) == ["n"]
    assert data.notes[-1] == (
        "left out: id (all values differ), key (all values differ), one (of one value), void (without values) (to keep one: --type id=number)"
    )
    kept = opened(tmp_path / "a.csv", "id,key,one,void,n,y\n" + lines, types=("id=number", "n=ignore"))
    assert list(fields_of(kept)) == ["id"]


def test_words_among_numbers_count_as_missing(tmp_path: Path) -> None:
    data, field, stored = column_of(tmp_path, [*map(str, range(39)), "unknown"])
    assert field is not None
    assert field.kind == "number"
    assert np.isnan(stored[39, 0])
    assert "column it: numbers, and 1 words such as 'unknown' that count as missing" in data.notes
    assert column_of(tmp_path, [*map(str, range(30)), *["unknown"] * 10])[1].kind == "category"  # type: ignore[union-attr]


def test_rare_names_are_unseen(tmp_path: Path) -> None:
    _, field, stored = column_of(tmp_path, ["a"] * 20 + ["b"] * 10 + ["once"])
    assert field is not None
    assert field.names == ("a", "b")
    assert stored[30, 0] == 1


# ---- the target


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1], ("0", "1")),
        ([0.0, 1.0], ("0.0", "1.0")),
        ([10, 9, 8], ("8", "9", "10")),
        ([True, False], ("False", "True")),
        (["b", "a"], ("a", "b")),
        (["007", "008"], ("007", "008")),
    ],
)
def test_classes(values: list[Any], classes: tuple[str, ...]) -> None:
    frame = pa.table({"n": np.arange(60) / 7, "y": values * (60 // len(values))})
    data = shendu.data.open(frame)
    assert data.classes == classes


@pytest.mark.parametrize("values", [[0.5, 1.5], list(range(30)), [1, 2, 3, 4, 5.5]])
def test_numbers(values: list[Any]) -> None:
    frame = pa.table({"n": np.arange(60) / 7, "y": pa.array(values * (60 // len(values)), pa.float64())})
    assert isinstance(shendu.data.open(frame).fields["target"], Number)
    if len(values) < 5:
        assert isinstance(shendu.data.open(frame, task="classes").fields["target"], Category)


def test_which_column_is_the_target() -> None:
    def target(*names: str, **how: Any) -> str:
        frame = pa.table({name: np.arange(40) % (i + 2) for i, name in enumerate(names)})
        return next(note for note in shendu.data.open(frame, **how).notes if "learned" in note).split()[0]

    assert target("a", "Income", "b") == "Income"
    assert target("a", "b", "c") == "c"
    assert target("a", "Income", "b", target="a") == "a"


def test_rows_without_a_target_are_left_out() -> None:
    y = [None if i % 10 == 0 else i / 3 for i in range(40)]
    data = shendu.data.open(pa.table({"n": np.arange(40), "c": ["u", "v"] * 20, "y": y}))
    assert len(data.splits["train"]) == 36
    assert rows_of(data)[0].tolist() == [1, 2]
    assert "4 of 40 rows of the train part have no y and are left out" in data.notes


# ---- rows


def test_prediction_matches_columns_by_name(tmp_path: Path) -> None:
    data = opened(tmp_path / "a.csv", written())
    row = data.fields["row"]
    expected = rows_of(data)[:3]
    few = FRAME.slice(0, 3)
    for raw in (
        few,
        few.to_pylist(),
        few.to_pydict(),
        Frame(few),
        few.select(["price", "city", "age"]),
        expected,
        torch.tensor(expected),
    ):
        np.testing.assert_array_equal(row.parse(raw)[""], expected)
    np.testing.assert_array_equal(row.parse(few.to_pylist()[0])[""], expected[:1])
    np.testing.assert_array_equal(
        row.parse({"age": None, "city": "Rom", "price": "1.5"})[""], np.array([[np.nan, 1, 1.5]], np.float32)
    )
    batch = labelled(data).encode(few.to_pylist())
    mean, std = np.array(data.mean, np.float32), np.array(data.std, np.float32)
    np.testing.assert_allclose(batch["x"].numpy(), (expected - mean) / std, rtol=1e-5)
    assert (data.mean[1], data.std[1]) == (0.0, 1.0)


def test_files_are_predicted_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened(tmp_path / "a.csv", written())
    row = data.fields["row"]
    named = FRAME.append_column("id", [[f"k{i}" for i in range(ROWS)]])
    parquet.write_table(named, tmp_path / "b.parquet")
    monkeypatch.setattr("shendu.data.tables.delimited.LINE_MOST", 256)
    monkeypatch.setattr("shendu.data.tables.formats._PIECE", 16)
    monkeypatch.setattr("shendu.data.PIECE", 1)
    for path, first in ((tmp_path / "a.csv", "1"), (tmp_path / "b.parquet", "k0")):
        found = list(shendu.data.pieces([path], {"x": row}))
        assert len(found) > 2
        assert found[0].names[0] == first
        assert found[0].key == ("row" if first == "1" else "id")
        assert len({name for piece in found for name in piece.names}) == ROWS
        np.testing.assert_array_equal(np.concatenate([piece.stored["x"] for piece in found]), rows_of(data))
    single = tmp_path / "c.csv"
    single.write_text("age,city,price\n25,Ulm,3.5\n")
    (piece,) = shendu.data.pieces([single], {"x": row})
    assert (piece.names, piece.stored["x"].tolist()) == (["1"], [[25, 3, 3.5]])


def test_row_is_saved_and_shown() -> None:
    row = Row(columns=(
        Column(name="n", kind="number", form=","), Column(name="c", kind="category", names=("u", "v")),
        Column(name="d", kind="date", form="Y-m-d"), Column(name="t", kind="text", names=("one", "two"), length=3),
    ))  # fmt: skip
    assert Field.from_json(json.loads(json.dumps(row.to_json()))) == row
    assert (row.stored, row.numeric, row.coded, row.texts) == ((11,), (0, 2, 3, 4, 5, 6, 7), ((1, 4),), ((8, 3, 4),))
    stored = row.parse({"n": "2,5", "c": "v", "d": "2000-01-03", "t": "Two, one: three four"})[""]
    assert row.show({"": stored[0]}) == "n=2.5, c=v, d=2000-01-03, t=two one …"
    assert (
        row.show({"": row.parse({"n": None, "c": None, "d": None, "t": None})[""][0]})
        == "n=missing, c=missing, d=missing, t=missing"
    )
    example = row.example(50)[""]
    assert example.shape == (50, 11)
    assert example[:, 1].unique().tolist() == [0, 1, 2, 3]
    known = row.fitted([{"": stored}, {"": stored}])
    assert (known.mean[0], known.std[0], known.mean[1], known.std[1]) == (2.5, 1.0, 0.0, 1.0)


# ---- known sets


def test_published_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHENDU_DATA", raising=False)
    folder = tmp_path / "adult"
    folder.mkdir()
    names = KNOWN["adult"].table.names  # type: ignore[union-attr]
    line = "{}, Private, 77516, {}, 13, Never-married, ?, Husband, White, Male, 0, {}, 40, Cuba, {}\n"
    rows = [line.format(30 + i, ("BA", "MA")[i % 2], i % 3, ("<=50K", ">50K")[i % 2]) for i in range(20)]
    (folder / "adult.data").write_text("".join(rows) + "\n")
    (folder / "adult.test").write_text(
        "|1x3 Cross validator\n" + "".join(row.replace("K\n", "K.\n") for row in rows[:6])
    )
    data = shendu.data.open("adult", data_dir=tmp_path)
    assert data.classes == ("<=50K", ">50K")
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 20, "test": 6}
    np.testing.assert_array_equal(rows_of(data, "test"), rows_of(data)[:6])
    assert set(fields_of(data)) == {"age", "education", "capital-loss"}
    assert names[-1] == "income"
    with pytest.raises(UserError) as caught:
        shendu.data.open("california-housing", data_dir=tmp_path)
    assert str(caught.value).startswith(
        "california-housing is not on this machine: put housing.csv from https://github.com/ageron/data/tree/main/housing into "
    )


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows", "kinds"),
    [
        ("adult", {"train": 32_561, "test": 16_281}, {"number": 6, "category": 8}),
        ("california-housing", {"train": 20_640}, {"number": 8, "category": 1}),
    ],
)
def test_real_tables(name: str, rows: dict[str, int], kinds: dict[str, int]) -> None:
    data = shendu.data.open(name)
    assert {part: len(split) for part, split in data.splits.items()} == rows
    found = [field.kind for field in fields_of(data).values()]
    assert {kind: found.count(kind) for kind in found} == kinds


def test_types_are_part_of_the_cached_outcome(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    first = opened(path, written())
    second = shendu.data.open(path, types=("age=category",))
    assert fields_of(first)["age"].kind == "number"
    assert fields_of(second)["age"].kind == "category"
    assert recognised(path) == "csv"


def test_whole_numbers_beyond_what_a_float_tells_apart() -> None:
    table = pa.table(
        {"a": pa.array([2**60 + 7 * i % 11 * 2**50 for i in range(30)]), "b": list(range(30)), "y": ["p", "q"] * 15}
    )
    row = shendu.data.open(table, target="y").splits["train"].column("row")
    assert row[0, 0] == 2**60


def test_tables_in_archives(tmp_path: Path) -> None:
    rows = [f"{i},{'p' if i % 3 else 'q'}" for i in range(40)]
    train, test = "\n".join(["a,y", *rows]), "\n".join(["a,y", *rows[:9]])
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as packed:
        packed.writestr("wrapped/people.csv", train)
        packed.writestr("wrapped/README.md", "what it is")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as packed:
        packed.writestr("train.csv", train)
        packed.writestr("test.csv", test)
    assert len(shendu.data.open(tmp_path / "one.zip").splits["train"]) == 40
    found = shendu.data.open(tmp_path / "two.zip")
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 40, "test": 9}
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as packed:
        packed.writestr("a.csv", train)
        packed.writestr("b.csv", test)
    with pytest.raises(UserError) as caught:
        shendu.data.open(tmp_path / "many.zip")
    assert str(caught.value) == (
        f"{tmp_path}/many.zip is a folder of tables: name one of them, such as {tmp_path}/many.zip/a.csv, "
        "or name them train.csv and test.csv"
    )


@pytest.mark.parametrize(
    ("names", "parts", "left"),
    [
        (("train.csv", "test.csv", "sample_submission.csv"), {"train", "test"}, "sample_submission.csv"),
        (("training_set.csv", "dev_set.csv", "test_set.csv"), {"train", "validation", "test"}, ""),
        (("people_train.csv", "people_eval.csv", "notes.csv"), {"train", "test"}, "notes.csv"),
    ],
)
def test_parts_by_their_names(names: tuple[str, ...], parts: set[str], left: str, tmp_path: Path) -> None:
    """In a folder, an archive and in memory; what is no part is named."""
    for i, name in enumerate(names):
        (tmp_path / name).write_text("a,y\n" + "".join(f"{i + n},{'uv'[n % 2]}\n" for n in range(20)))
    packed = tmp_path.parent / f"{tmp_path.name}.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for name in names:
            file.write(tmp_path / name, name)
    objects = {Path(name).stem: csv.read_csv(tmp_path / name) for name in names}
    for given in (tmp_path, packed, objects):
        data = shendu.data.open(given, target="y")
        assert parts == set(data.splits) - {"validation"} | (parts & {"validation"})
        named = [note for note in data.notes if note.startswith("left aside, no part by its name: ")]
        assert [left.removesuffix(".csv") in note for note in named] == [True] * bool(left), type(given)


def test_splits_that_are_no_parts_are_named(tmp_path: Path) -> None:
    """As the texts without labels that some sets have."""
    table = pa.table({"a": list(range(20)), "y": ["u", "v"] * 10})
    data = shendu.data.open({"train": table, "test": table, "unsupervised": table}, target="y")
    assert "left aside, no part by its name: unsupervised; read: train, test" in data.notes
    with pytest.raises(UserError, match="two validation tables, valid and another: leave one out"):
        shendu.data.open({"train": table, "val": table, "valid": table}, target="y")


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_in_several_files_is_one(packed: bool, tmp_path: Path) -> None:
    """As hubs cut large ones; one of the files alone is what its path says."""
    cut = {"train-00000-of-00002": (0, 24), "train-00001-of-00002": (24, 16), "test-00000-of-00001": (0, 10)}
    for name, (start, rows) in cut.items():
        parquet.write_table(FRAME.slice(start, rows), tmp_path / f"{name}.parquet")
    place = tmp_path
    if packed:
        place = tmp_path.parent / f"{tmp_path.name}.zip"
        with zipfile.ZipFile(place, "w") as file:
            for name in cut:
                file.write(tmp_path / f"{name}.parquet", f"data/{name}.parquet")
    data = shendu.data.open(place, target="bought")
    whole = shendu.data.open({"train": FRAME, "test": FRAME.slice(0, 10)}, target="bought")
    for part in ("train", "test"):
        np.testing.assert_array_equal(data.splits[part].column("row"), whole.splits[part].column("row"))
    if not packed:
        alone = shendu.data.open(tmp_path / "train-00001-of-00002.parquet", target="bought")
        assert len(alone.splits["train"].column("row")) == 16
        (tmp_path / "train-00001-of-00002.parquet").unlink()
        with pytest.raises(UserError, match=r"is one of 2 files, and train-00001-of-00002\.parquet is not there"):
            shendu.data.open(tmp_path, target="bought")


def test_tables_that_lie_deeper_are_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("about")
    parquet.write_table(FRAME, tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(
        UserError, match=f"the tables of {tmp_path} lie deeper: name their folder, such as {tmp_path}/data"
    ):
        shendu.data.open(tmp_path, target="bought")


# ---- names of files


@pytest.mark.parametrize("name", ["{}.png", "images/{}.JPG", "C:\\a\\{}.tiff", "/data/{}.jpeg", "IMG_{}.webp"])
def test_names_of_pictures_are_no_numbers(name: str, tmp_path: Path) -> None:
    lines = ["filename,size,label", *(f"{name.format(i)},{i % 7},{'ab'[i % 2]}" for i in range(60))]
    with pytest.raises(UserError) as found:
        opened(tmp_path / "labels.csv", "\n".join(lines) + "\n", target="label")
    assert str(found.value) == (
        f"column filename holds names of picture files, such as '{name.format(0)}', and a table does not read what is in them: "
        "put the pictures into class folders, or the files themselves into the cells (Parquet, as `datasets` writes it); or "
        "leave the column out with --type filename=ignore"
    )
    data = opened(tmp_path / "labels.csv", "\n".join(lines) + "\n", target="label", types=("filename=ignore",))
    assert list(fields_of(data)) == ["size"]


def test_other_names_of_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"column it holds names of recording files, such as '0\.wav'"):
        column_of(tmp_path, [f"{i}.wav" for i in range(40)])
    data, field, _ = column_of(tmp_path, [f"{i % 4}.png" for i in range(40)])
    assert field is not None
    assert (field.kind, set(field.names)) == ("category", {"0.png", "1.png", "2.png", "3.png"})
    assert "column it: names of picture files are categories, what is in the files is not read" in data.notes
    data, field, _ = column_of(tmp_path, [f"https://a.b/{i}.jpg" for i in range(40)])
    assert field is None
    assert "left out: it (links to pictures)" in data.notes


def test_a_folder_of_pictures_and_a_table_of_their_classes(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.new("L", (8, 8), i).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "labels.csv").write_text("filename,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(6)))
    with pytest.raises(UserError) as found:
        shendu.data.open(tmp_path)
    assert str(found.value) == (
        f"{tmp_path} has only one class (images), and labels.csv (may name the classes, but is not read beside pictures): there is "
        "nothing to tell apart, add a folder for a second class"
    )


# ---- advice that can be followed as it stands


@pytest.mark.parametrize(
    "name", ["house price", "a<b", "price $", "it's", "a|b", "größe", "a=b", "% a", "#1", "a;b", "*"]
)
def test_advice_works_in_a_shell(name: str, tmp_path: Path) -> None:
    quoted = '"' + name + '"'
    lines = [f"{quoted},id,y", *(f"{i % 7}.5,{i},{'ab'[i % 2]}" for i in range(60))]
    data = opened(tmp_path / "a.csv", "\n".join(lines) + "\n", target="y")
    (note,) = (note for note in data.notes if f": {name} (another: " in note)
    words = shlex.split(note.split("(another: ")[1].removesuffix(")"))
    assert words == ["--type", f"{name}=category"]
    again = opened(tmp_path / "a.csv", "\n".join(lines) + "\n", target="y", types=(words[1],))
    assert fields_of(again)[name].kind == "category"


@pytest.mark.parametrize("word", ["<NA>", "?", "none", "#N/A", "a b", "größe=1", ""])
def test_an_option_is_one_word_of_a_shell(word: str) -> None:
    assert shlex.split(option("--missing", word), comments=True) == ["--missing", word]
