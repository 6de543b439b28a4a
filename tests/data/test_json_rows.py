"""JSON as rows: a list of objects or an object a line; whole numbers keep their digits."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import shendu
import shendu.data
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.mark.parametrize("form", ["lines", "list", "indented"])
@pytest.mark.parametrize(
    "ids",
    [
        (123456789012345678901, 123456789012345678902, 223456789012345678902),
        (12345678901234567890, 12345678901234567891, 12345678901234567892),
        (-(2**65), -(2**65) - 1, 5),
        (2**53, 2**53 + 1, 2**63 + 1),
    ],
    ids=str,
)
def test_whole_numbers_keep_their_digits(form: str, ids: tuple[int, ...], tmp_path: Path) -> None:
    rows = [{"n": i % 7, "y": ids[i % 3]} for i in range(120)]
    path = tmp_path / ("a.jsonl" if form == "lines" else "a.json")
    lines = (
        "\n".join(map(json.dumps, rows))
        if form == "lines"
        else json.dumps(rows, indent=2 * (form == "indented") or None)
    )
    path.write_text(lines)
    data = shendu.data.open(path, target="y", task="classes")
    assert set(map(str, data.classes)) == set(map(str, ids))


def test_beside_fractions(tmp_path: Path) -> None:
    rows = [{"n": i % 7, "y": (2**53 + 1, 2**53, 1.5)[i % 3]} for i in range(120)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for name in ("a.jsonl", "a.json"):
        data = shendu.data.open(tmp_path / name, target="y", task="classes")
        assert set(data.classes) == {"9007199254740993", "9007199254740992", "1.5"}


def test_a_list_of_objects_is_a_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [i / 8 for i in range(80)], "c": ["rot", None] * 40, "y": ["ü", "b"] * 40})
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.to_json(tmp_path / "b.json", orient="records", lines=True)
    frame.to_json(tmp_path / "c.jsonl", orient="records", force_ascii=False)
    frame.to_parquet(tmp_path / "d.parquet")
    data = [shendu.data.open(tmp_path / name, target="y") for name in ("d.parquet", "a.json", "b.json", "c.jsonl")]
    for other in data[1:]:
        assert other.fields == data[0].fields
        assert (other.splits["train"].column("row") == data[0].splits["train"].column("row")).all()
    run = shendu.train("tabm", tmp_path / "a.json", target="y", steps=5, quiet=True, out=tmp_path / "run")
    assert shendu.predict(run.path, tmp_path / "a.json") == shendu.predict(run.path, tmp_path / "d.parquet")
    assert (
        shendu.evaluate(run.path, tmp_path / "a.json").keys()
        == shendu.evaluate(run.path, tmp_path / "d.parquet").keys()
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1, 2]", 'is no list of JSON objects, each a row: write it like [{"a": 1}, {"a": 2}]'),
        ("[]", 'is no list of JSON objects, each a row: write it like [{"a": 1}, {"a": 2}]'),
        ('[{"a": 1}', "is no sound JSON (Expecting ',' delimiter: line 1 column 10 (char 9)): write it again"),
        ('[{"a": 1}, {"a": "x"}]', "has a number as 'a' in object 1 and a text in object 2: make them alike"),
        ("[" * 100_000 + "]" * 100_000, "has lists or objects nested deeper than 64: give flat objects"),
        ('[{"a": ' + "[" * 100 + "]" * 100 + "}]", ": a column holds lists or dicts nested deeper than 64: give one flat value per row"),
    ],
    ids=range(6),
)  # fmt: skip
def test_lists_that_are_no_tables(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError) as found:
        shendu.data.open(path, target="a")
    assert str(found.value) == f"{path} {why}".replace(f"{path} :", f"{path}:")


def test_json_of_another_form(tmp_path: Path) -> None:
    pd.DataFrame({"n": [1, 2], "y": ["a", "b"]}).to_json(tmp_path / "a.json", indent=1)
    with pytest.raises(UserError, match="is neither a JSON list of flat objects nor one object a line"):
        shendu.data.open(tmp_path / "a.json", target="y")
