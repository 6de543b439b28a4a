"""Labels are their own text or value, words are values, and an index is no column, until a person says otherwise."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

import shendu
import shendu.data
from shendu.data import Dataset, labels
from shendu.data.cells import ABSENT
from shendu.data.column import Column
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading
from shendu.shown import option, plain
from shendu.tasks import from_file
from shendu.tasks.classify import Classify

pytestmark = pytest.mark.usefixtures("fresh_cache")


def from_csv(tmp_path: Path, values: list[str], **how: Any) -> Dataset:
    lines = [f'{i}.5,"{value}"' for i, value in enumerate(values)]
    (tmp_path / "a.csv").write_text("\n".join(["n,y", *lines]) + "\n")
    return shendu.data.open(tmp_path / "a.csv", **how)


def columns_of(data: Dataset) -> dict[str, Column]:
    row = data.fields["row"]
    assert isinstance(row, Row)
    return {column.name: column for column in row.columns}


# ---- words that may say that nothing is known


@pytest.mark.parametrize("word", [word for word in ABSENT if word])
def test_a_word_is_a_class(word: str, tmp_path: Path) -> None:
    for data in (
        from_csv(tmp_path, [word, "crack", "dent"] * 10),
        shendu.data.open(pd.DataFrame({"n": np.arange(30) / 2, "y": [word, "crack", "dent"] * 10}), target="y"),
    ):
        assert set(data.classes) == {word, "crack", "dent"}
        assert len(data.splits["train"]) == 30
        assert (
            f"'{word}' is one of the classes of y (if it means that nothing is known: {option('--missing', word)})"
            in data.notes
        )


def test_a_word_is_missing_where_it_is_said(tmp_path: Path) -> None:
    data = from_csv(tmp_path, ["NA", "crack", "?", "dent"] * 10, missing="NA,?")
    assert data.classes == ("crack", "dent")
    assert "--missing 'NA,?': 20 cells of y" in data.notes
    assert "20 of 40 rows of the train part have no y and are left out" in data.notes
    assert "--missing 'NA,?': no cell of the columns to learn from says so" in data.notes
    frame = pa.table({"it": ["NA", "red", "blue"] * 10, "m": [-999, 1, 2] * 10, "y": ["p", "q"] * 15})
    data = shendu.data.open(frame, target="y", missing="NA,-999")
    assert "--missing NA,-999: 10 cells of it, 10 cells of m" in data.notes
    assert columns_of(data)["it"].names == ("red", "blue")
    row = data.fields["row"]
    asked = row.parse({"it": ["NA", "red"], "m": [-999, 1]})[""]  # type: ignore[attr-defined]
    assert asked[0, 0] == 0
    assert np.isnan(asked[:, 1]).tolist() == [True, False]


def test_a_word_is_missing_among_numbers(tmp_path: Path) -> None:
    data = from_csv(tmp_path, ["none", "1", "2"] * 10)
    assert data.classes == ("1", "2")
    assert "10 rows say 'none' among the numbers of y, which counts as missing (else: --task classes)" in data.notes
    assert from_csv(tmp_path, ["none", "1", "2"] * 10, task="classes").classes == ("1", "2", "none")
    assert from_csv(tmp_path, ["none", "1"] * 15).classes == ("1", "none")
    frame = pa.table({"n": ["NA", "1.5", "2.5"] * 10, "c": ["none", "u", "v"] * 10, "y": ["p", "q"] * 15})
    data = shendu.data.open(frame, target="y")
    assert columns_of(data)["c"].names == ("none", "u", "v")
    assert "column n: 10 times 'NA' counts as missing among numbers" in data.notes
    assert data.notes[-1] == (
        "read as values like any other: 'none' of c (10 rows) (if they mean that nothing is known: --missing none)"
    )


def test_what_the_format_calls_missing(tmp_path: Path) -> None:
    (tmp_path / "a.arff").write_text(
        "@relation r\n@attribute n numeric\n@attribute y {none,low,high}\n@data\n" + "1,none\n2,low\n3,high\n4,?\n" * 8
    )
    data = shendu.data.open(tmp_path / "a.arff")
    assert (data.classes, len(data.splits["train"])) == (("high", "low", "none"), 24)
    frame = pd.DataFrame({"n": range(30), "y": [None, "none", np.nan, "a", "none"] * 6})
    assert shendu.data.open(frame, target="y").classes == ("a", "none")


def test_the_words_are_kept_in_order() -> None:
    assert Reading(missing=" NA, ? ,").absent == ("NA", "?")


# ---- labels


@pytest.mark.parametrize(
    "values",
    [
        ["842384729384729385", "842384729384729386", "1284729384729384729"], ["1", "01"], ["1.0", "2.0"], ["True", "False"], ["1e5", "1e6"],
        ["007", "8"], ["TRUE", "true"], ["+1", "-1"], ["5 stars", "1 star"], ["$1", "$2"], ["50%", "100%"], ["2020-01-01", "2020-02-01"],
    ],
)  # fmt: skip
def test_a_label_is_its_own_text(values: list[str], tmp_path: Path) -> None:
    data = from_csv(tmp_path, values * 15)
    assert set(data.classes) == set(values)
    found = [data.classes[code] for code in data.splits["train"].column("target")]
    assert found == values * 15


def test_versions_are_classes_of_their_own(tmp_path: Path) -> None:
    assert from_csv(tmp_path, ["1.1", "1.10", "1.2"] * 10, task="classes").classes == ("1.1", "1.10", "1.2")
    data = from_csv(tmp_path, ["1", "01", "2"] * 10)
    assert "01, 1 of y are the same number, written in several ways, and classes of their own" in data.notes
    data = from_csv(tmp_path, ["TRUE", "True", "true", "1.0", "1"] * 10)
    assert (
        "TRUE, True, true of y are the same truth value, written in several ways, and classes of their own"
        in data.notes
    )
    assert "1, 1.0 of y are the same number, written in several ways, and classes of their own" in data.notes


@pytest.mark.parametrize("values", [[1, "1", 2], [True, "True"], [1, True, "1"]], ids=str)
def test_values_of_several_types_are_not_merged(values: list[Any]) -> None:
    """1 and "1" are two values, which as texts would be one."""
    with pytest.raises(UserError, match=r"a column holds .* as .* and as str: make its values of one type"):
        shendu.data.open([{"n": i / 2, "y": values[i % len(values)]} for i in range(30)], target="y")
    kept = shendu.data.open([{"n": i / 2, "y": (1, "a")[i % 2]} for i in range(30)], target="y")
    assert kept.classes == ("1", "a")


@pytest.mark.parametrize(
    ("targets", "values"),
    [
        (pd.Series([3, 1, 2] * 10), (1, 2, 3)),
        (pd.Series([1, 2, None] * 10, dtype="Int64"), (1, 2)),
        (pd.Series([True, None, False] * 10, dtype="boolean"), (False, True)),
        (pd.Series(["b", "a"] * 15, dtype="category"), ("a", "b")),
        (pd.Series([3, 1] * 15).astype(pd.CategoricalDtype([3, 1])), (3, 1)),
        (pd.Series([1.0, np.nan, 0.0] * 10), (0.0, 1.0)),
        (pd.Series(["NA", "b"] * 15, dtype="string"), ("NA", "b")),
        (pd.Series([" a", "a"] * 15), (" a", "a")),
        (np.array([2**60, 2**60 + 1] * 15), (2**60, 2**60 + 1)),
        (np.array([1, 0] * 15, np.uint8), (0, 1)),
        ([np.int64(7), np.int64(8)] * 15, (7, 8)),
    ],
    ids=str,
)
def test_a_label_from_python_is_its_own_value(targets: Any, values: tuple[Any, ...]) -> None:
    data = shendu.data.open((pd.DataFrame({"n": np.arange(30) / 2}), targets))
    field = data.fields["target"]
    assert isinstance(field, Category)
    assert field.values == values
    assert list(map(type, field.values)) == list(map(type, values))
    assert Field.from_json(field.to_json()).values == values  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("y", "how", "kind"),
    [
        (np.array([1, 2] * 15), {}, (1, 2)),
        (np.array([1, 2] * 15), {"task": "numbers"}, None),
        (np.arange(30), {}, None),
        (np.arange(30), {"task": "classes"}, tuple(range(30))),
        (np.array([1.0, 2.0] * 15), {}, None),
        (np.array([1.0, 2.0] * 15), {"task": "classes"}, (1.0, 2.0)),
        (np.array([True, False] * 15), {}, (False, True)),
        (np.array(["1", "1.0"] * 15), {}, ("1", "1.0")),
    ],
    ids=str,
)
def test_what_targets_of_arrays_are(y: np.ndarray, how: dict[str, Any], kind: tuple[Any, ...] | None) -> None:
    data = shendu.data.open((np.zeros((30, 2)), y), **how)
    field = data.fields[data.target]
    assert isinstance(field, Number) if kind is None else field.values == kind  # type: ignore[attr-defined]
    guessed = not how and y.dtype.kind in "if"
    assert any("else: --task" in note for note in data.notes) == guessed


def test_few_targets_are_what_the_run_says() -> None:
    data = shendu.data.open(
        (np.zeros((3, 2)), np.arange(3)),
        fields={"x": Number(shape=(2,)), "y": Category(names=("0", "1", "2"), type="int")},
    )
    assert data.splits["train"].column("y").tolist() == [0, 1, 2]


def test_a_label_in_another_dress() -> None:
    texts = pa.array(["7", "7.0", "07", "+7", "8", "true", "1.10"])
    assert labels.places(texts, ("7", "01", "1", "True", "1.1")).tolist() == [0, 0, 0, 0, -1, 3, -1]
    assert labels.places(pa.array(["1", "001"]), ("01", "1")).tolist() == [1, -1], (
        "two that say the same are told apart by their text"
    )
    assert labels.places(pa.array(["842384729384729386"]), ("842384729384729385",)).tolist() == [-1]


@given(st.lists(st.text(alphabet="01.+-aTrue ", min_size=1, max_size=5), min_size=1, max_size=8, unique=True))
def test_every_label_is_found_as_itself(names: list[str]) -> None:
    assert labels.places(pa.array(names), tuple(names)).tolist() == list(range(len(names)))


@pytest.mark.parametrize("values", [(10, 20), (False, True), (0.5, 1.5), ("01", "1")], ids=str)
def test_an_answer_is_the_label_itself(values: tuple[Any, ...]) -> None:
    names, kind = labels.of_values(np.array(values))
    task = Classify({"x": Number(shape=(1,))}, {"y": Category(names=names, type=kind)})
    outputs = {"logits": torch.tensor([[0.0, 1.0], [1.0, 0.0]])}
    rows = task.decode(outputs, {})
    assert [row["label"] for row in rows] == [values[1], values[0]]
    assert {type(row["label"]) for row in rows} == {type(values[0])}
    assert list(rows[0]["probabilities"]) == list(values)
    assert task.columns(outputs, {})["label"] == [values[1], values[0]]
    again = from_file(json.loads(json.dumps(task.to_json())))
    assert again.decode(outputs, {}) == rows


# ---- an index of pandas


def indexed(index: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(30) / 2, "y": ["u", "v"] * 15}, index=index)


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([i * 7 % 31 for i in range(30)], name="id"),
        pd.RangeIndex(100, 130, name="id"),
        pd.MultiIndex.from_arrays([range(30), [i % 3 for i in range(30)]], names=["id", "kind"]),
        pd.date_range("2020-01-01", periods=30, name="id"),
        pd.Index([f"r{i}" for i in range(30)]),
    ],
    ids=lambda index: type(index).__name__,
)
def test_an_index_is_no_column(index: Any, tmp_path: Path) -> None:
    frame = indexed(index)
    frame.to_parquet(tmp_path / "a.parquet")
    for given_ in (frame, tmp_path / "a.parquet", {"train": frame}):
        data = shendu.data.open(given_, target="y")
        assert list(columns_of(data)) == ["a"]
    data = shendu.data.open((frame.drop(columns="y"), frame["y"]))
    assert list(columns_of(data)) == ["a"]
    assert columns_of(data)["a"].name == "a"


def test_an_index_that_is_asked_for() -> None:
    frame = indexed(pd.Index([i * 7 % 31 for i in range(30)], name="id"))
    note = "the index id is no column (to read it: --type id=number, or what it is)"
    assert note in shendu.data.open(frame, target="y").notes
    data = shendu.data.open(frame, target="y", types=("id=number",))
    assert list(columns_of(data)) == ["a", "id"]
    row = data.fields["row"]
    assert row.parse(frame.head(2))[""][:, 1].tolist() == [0, 7]  # type: ignore[attr-defined]
    series = pd.DataFrame({"v": np.arange(60) % 7.0}, index=pd.date_range("2020-01-01", periods=60, name="when"))
    assert shendu.data.open(series, horizon=3).input == shendu.data.open(series, time="when").input


# ---- dates, decimals and what else Python has


@pytest.mark.parametrize(
    ("targets", "values"),
    [
        ([Decimal("1.10"), Decimal("2.20")], (Decimal("1.10"), Decimal("2.20"))),
        ([dt.time(1), dt.time(2, 3, 4, 5)], (dt.time(1), dt.time(2, 3, 4, 5))),
        ([dt.date(2024, 1, 1), dt.date(2024, 1, 2)], (dt.date(2024, 1, 1), dt.date(2024, 1, 2))),
        ([pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02 03:04:05.678")], None),
        ([pd.Timestamp("2024-01-01", tz="Europe/Berlin"), pd.Timestamp("2024-06-01", tz="Europe/Berlin")], None),
        ([pd.Timedelta(days=1), pd.Timedelta(days=-2, seconds=5, microseconds=7)], None),
        ([dt.timedelta(hours=30), dt.timedelta(seconds=1)], None),
        ([pd.Timestamp(1), pd.Timestamp(2)], ("1970-01-01 00:00:00.000000001", "1970-01-01 00:00:00.000000002")),
    ],
    ids=str,
)  # fmt: skip
def test_other_labels_from_python(targets: list[Any], values: tuple[Any, ...] | None, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": np.arange(30) / 2, "y": targets * 15})
    frame.to_parquet(tmp_path / "a.parquet")
    for given_ in (frame, tmp_path / "a.parquet"):
        field = shendu.data.open(given_, target="y", task="classes").fields["target"]
        assert isinstance(field, Category)
        assert set(field.values) == set(values or targets)
        assert Field.from_json(field.to_json()).values == field.values  # type: ignore[attr-defined]
        assert json.loads(json.dumps(plain(list(field.values)))) == list(field.names)


def test_moments_and_periods_say_what_they_come_back_as() -> None:
    frame = pd.DataFrame({"n": np.arange(30) / 2, "y": pd.PeriodIndex(["2024-01", "2024-02"] * 15, freq="M")})
    data = shendu.data.open(frame, target="y")
    assert data.fields["target"].values == (dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1))  # type: ignore[attr-defined]
    assert "the classes of y are moments, and come back as datetime.datetime" in data.notes


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns", "UTC")], ids=str)
def test_dates_as_the_target(kind: pa.DataType, tmp_path: Path) -> None:
    days = pa.array([dt.datetime(2024, 1, 1 + i % 2) for i in range(40)], pa.timestamp("ms")).cast(kind)
    parquet.write_table(pa.table({"n": [i / 2 for i in range(40)], "y": days}), tmp_path / "a.parquet")
    data = shendu.data.open(tmp_path / "a.parquet", target="y")
    assert len(data.classes) == 2
    assert "y is learned as 2 classes, since it holds dates" in data.notes
    with pytest.raises(
        UserError, match=r"the target y of .* holds dates, and a number is learned: .*; to forecast .*: --time y"
    ):
        shendu.data.open(tmp_path / "a.parquet", target="y", task="numbers")


def test_answers_of_such_labels_are_json(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": np.arange(40) % 2.0, "y": [Decimal("1.10"), Decimal("2.20")] * 20})
    run = shendu.train("tabm", frame, target="y", task="classes", steps=5, quiet=True, out=tmp_path / "run")
    (row,) = run.predict({"n": 0.0})
    assert isinstance(row["label"], Decimal)
    from shendu.verbs.predict import write

    frame.to_parquet(tmp_path / "a.parquet")
    for suffix in ("jsonl", "csv", "parquet"):
        assert write(run.path, tmp_path / "a.parquet", out=tmp_path / f"out.{suffix}")[1] == 40
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first["label"] in ("1.10", "2.20")
