"""Broken tables: what is wrong, why and how to mend it, in the one line that the person sees; and nothing worse."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import shendu.data
from shendu.data import Dataset
from shendu.data.column import Column
from shendu.data.fields.row import Row
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")


def rows(n: int, line: Callable[[int], str]) -> str:
    return "".join(line(i) for i in range(n))


def parquet_bytes() -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table({"a": list(range(2000)), "y": [str(i % 3) for i in range(2000)]}), out)
    return out.getvalue()


GOOD = "a,b,y\n" + rows(30, lambda i: f"{i},{'pq'[i % 2]},{'uv'[i % 2]}\n")
PQ = parquet_bytes()

CASES: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "spaces only": ("a.csv", "   \n\n", {}, "{} is empty: expected a header and rows"),
    "only a header": ("a.csv", "a,b,y\n", {}, "{} has only a header (a, b, y): add rows below it"),
    "one column": (
        "a.csv",
        "a:b\n1:2\n3:4\n",
        {},
        "{} has only one column (a:b): its cells must be parted by commas, semicolons, tabs or bars",
    ),
    "one row": (
        "a.csv",
        "a,b,y\n1,2,3\n",
        {},
        "the target y of {} is always '3': there is nothing to learn, name another column with --target",
    ),
    "one class": (
        "a.csv",
        "a,y\n" + rows(30, lambda i: f"{i},x\n"),
        {},
        "the target y of {} is always 'x': there is nothing to learn, name another column with --target",
    ),
    "constant number": (
        "a.csv",
        "a,y\n" + rows(30, lambda i: f"{i},2.5\n"),
        {},
        "the target y of {} is always 2.5: there is nothing to learn, name another column with --target",
    ),
    "target empty": (
        "a.csv",
        "a,y\n" + rows(30, lambda i: f"{i},\n"),
        {},
        "the target y of {} has no values at all: name another column with --target",
    ),
    "target unknown": ("a.csv", GOOD, {"target": "Y"}, "{} has no column 'Y' to predict; known: a, b, y"),
    "target unknown 2": ("a.csv", GOOD, {"target": "zzz"}, "{} has no column 'zzz' to predict; known: a, b, y"),
    "all values missing": (
        "a.csv",
        "a,b,y\n" + rows(30, lambda i: f",NA,{'uv'[i % 2]}\n"),
        {},
        "{} has no column to learn y from (left out: a (without values), b (without values))",
    ),
    "inf target": (
        "a.csv",
        "a,y\n" + rows(30, lambda i: f"{i},{'inf' if i == 7 else i * 1.5}\n"),
        {},
        "the target y of {} is infinite in row 8: correct it, or empty the cell",
    ),
    "words in a number target": (
        "a.csv",
        "a,y\n" + rows(30, lambda i: f"{i},{'x' if i % 3 == 1 else i * 1.5}\n"),
        {"task": "numbers"},
        "the target y of {} holds 'x' in row 2, which is no number: correct it, or learn classes with --task classes",
    ),
    "duplicate names": (
        "a.csv",
        "a,b,a\n1,2,3\n",
        {},
        "{} has 2 columns named 'a': give each column a name of its own",
    ),
    "short row": (
        "a.csv",
        GOOD + "7,p\n",
        {},
        "{} has 2 cells in line 32 but 3 columns: correct the line, or leave such rows out with --skip-bad",
    ),
    "long row": (
        "a.csv",
        GOOD + "7,p,u,9\n" + GOOD[6:],
        {},
        "{} has 4 cells in line 32 but 3 columns: correct the line, or leave such rows out with --skip-bad",
    ),
    "ragged after a line break in quotes": (
        "a.csv",
        'a,b,y\n1,"p\nq",u\n2,x\n' + rows(9, lambda i: f"{i},p,u\n"),
        {},
        "{} has 2 cells in line 4 but 3 columns: correct the line, or leave such rows out with --skip-bad",
    ),
    "open quote": (
        "a.csv",
        GOOD + '7,"p,u\n' + GOOD[6:],
        {},
        '{} has a quote (") in line 32 that is never closed: close it, or double it',
    ),
    "png": (
        "a.csv",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9,
        {},
        "{} is no table but a PNG picture: give a CSV, Parquet or JSONL file",
    ),
    "noise": (
        "a.csv",
        bytes((i * 37 + 11) % 256 for i in range(5000)),
        {},
        "{} is no table but binary data: give a CSV, Parquet or JSONL file",
    ),
    "zip as csv": (
        "a.csv",
        b"PK\x03\x04" + b"\0" * 60,
        {},
        "{} is damaged or cut short (truncated header): download or pack it again",
    ),
    "xls": (
        "a.xls.csv",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(200),
        {},
        "{} is no table but an old Excel file (.xls): give a CSV, Parquet or JSONL file",
    ),
    "nul": (
        "a.csv",
        GOOD.replace("p", "p\0"),
        {},
        "{} holds NUL bytes, so it is no text: export the table as CSV again",
    ),
    "utf-32": ("a.csv", GOOD.encode("utf-32"), {}, "{} is UTF-32 text: save it as UTF-8"),
    "utf-16 cut": (
        "a.csv",
        GOOD.encode("utf-16")[:-1],
        {},
        "{} is damaged UTF-16 text (it may have been cut): copy it again, or save it as UTF-8",
    ),
    "no known encoding": (
        "a.csv",
        GOOD.encode() + b"1,\x81\x8d,u\n",
        {},
        "{} is neither UTF-8, UTF-16 nor cp1252 text (byte 0x81): name its encoding with --encoding "
        "(cp1251, koi8-r, cp1250, shift_jis, gb18030, big5, euc-kr, …), or save it as UTF-8",
    ),
    "gz cut": (
        "a.csv.gz",
        gzip.compress((GOOD * 200).encode())[:-30],
        {},
        "{} is a truncated gzip file: download or copy it again",
    ),
    "gz damaged": (
        "a.csv.gz",
        gzip.compress((GOOD * 200).encode())[:12] + b"\xff\xff\xff\xff" * 20,
        {},
        "{} is a damaged gzip file (Error -3 while decompressing data: invalid code lengths set): download or copy it again",
    ),
    "parquet cut": ("a.parquet", PQ[:-300], {}, "{} is a damaged or truncated Parquet file: download or copy it again"),
    "parquet damaged": (
        "a.parquet",
        PQ[:4] + b"\xff" * 300 + PQ[304:],
        {},
        "{} is a damaged or truncated Parquet file: download or copy it again",
    ),
    "text posing as parquet": (
        "a.parquet",
        GOOD,
        {},
        "{} is a damaged or truncated Parquet file: download or copy it again",
    ),
    "jsonl broken": (
        "a.jsonl",
        '{"a": 1, "y": "u"}\n{"a": 2, "y": \n',
        {},
        '{} has no JSON in line 2: write one object a line, like {{"a": 1}}',
    ),
    "jsonl list": (
        "a.jsonl",
        '{"a": 1, "y": "u"}\n[1, 2]\n',
        {},
        '{} has no object in line 2: write one object a line, like {{"a": 1}}',
    ),
    "jsonl mixed": (
        "a.jsonl",
        '{"a": 1, "y": "u"}\n\n{"a": "x", "y": "v"}\n',
        {},
        "{} has a number as 'a' in line 1 and a text in line 3: make them alike",
    ),
    "jsonl nested target": (
        "a.jsonl",
        rows(9, lambda i: f'{{"a": {i}, "y": {{"b": {i}}}}}\n'),
        {},
        "the target y of {} holds structs: name a plain column with --target",
    ),
    "jsonl nested only": (
        "a.jsonl",
        rows(30, lambda i: f'{{"a": [{i}], "y": "{"uv"[i % 2]}"}}\n'),
        {},
        "{} has no column to learn y from (left out: a (nested (list)))",
    ),
    "jsonl nested said": (
        "a.jsonl",
        rows(30, lambda i: f'{{"a": [{i}], "y": "{"uv"[i % 2]}"}}\n'),
        {"types": ("a=number",)},
        "column a holds list<item: int64>, which cannot be a number: leave it out with --type a=ignore",
    ),
    "huge cell": (
        "a.csv",
        "a,y\n1,u\n" + "x" * 6_000_000 + ",v\n",
        {},
        "{} has a cell of 6,000,000 bytes in column a: a quote may be open, or it is no table",
    ),
    "huge json": (
        "a.jsonl",
        '{"a": 1, "y": "u"}\n{"a": "' + "x" * 6_000_000 + '"}\n',
        {},
        "{} has line 2 longer than 4 MiB: one object a line is expected",
    ),
    "100,000 columns": (
        "a.csv",
        ",".join(f"c{i}" for i in range(100_000)) + "\n" + ",".join("1" * 100_000) + "\n",
        {},
        "{} has 100,000 columns, more than the 10,000 that are read: leave some out",
    ),
    "no line end in a MiB": (
        "a.csv",
        "a," * 3_000_000,
        {},
        "{} has 524,289 columns, more than the 10,000 that are read: leave some out",
    ),
    "10,000 classes": (
        "a.csv",
        "a,y\n" + rows(12_000, lambda i: f"{i % 7},k{i % 10_000}\n"),
        {},
        "the target y of {} has 10,000 classes for 12,000 rows, too few rows to learn each: name another column with --target",
    ),
    "target is an id": (
        "a.csv",
        "a,y\n" + rows(200, lambda i: f"{i % 7},k{i}\n"),
        {},
        "the target y of {} is an id: all 200 values differ; name another column with --target",
    ),
    "only ids": (
        "a.csv",
        "id,y\n" + rows(30, lambda i: f"{i},{'uv'[i % 2]}\n"),
        {},
        "{} has no column to learn y from (left out: id (all values differ) (to keep one: --type id=number))",
    ),
    "no date": (
        "a.csv",
        "d,a,y\n" + rows(30, lambda i: f"2020-13-{i},1.{i},{'uv'[i % 2]}\n"),
        {"types": ("d=date",)},
        "column d holds no date in row 1: '2020-13-0'; write it like 2020-12-31, or leave --type d=date out",
    ),
    "no number": (
        "a.csv",
        "d,a,y\n" + rows(30, lambda i: f"x{i},1.{i},{'uv'[i % 2]}\n"),
        {"types": ("d=number",)},
        "column d holds no number in row 1: 'x0'; write it like 12.5, or leave --type d=number out",
    ),
    "no boolean": (
        "a.csv",
        "d,a,y\n" + rows(30, lambda i: f"x{i},1.{i},{'uv'[i % 2]}\n"),
        {"types": ("d=boolean",)},
        "column d is no boolean: it holds 'x0'; leave --type d=boolean out",
    ),
    "order of others": ("a.csv", GOOD, {"types": ("b=ordered:S|M",)}, "column b holds none of S, M: it holds p, q"),
    "order without names": (
        "a.csv",
        GOOD,
        {"types": ("b=ordered",)},
        "--type b=ordered does not say the order: write it like --type 'b=ordered:low|middle|high'",
    ),
    "type of no column": (
        "a.csv",
        GOOD,
        {"types": ("bb=number",)},
        "--type bb=number: there is no column 'bb'; did you mean 'b'?",
    ),
    "type of no kind": (
        "a.csv",
        GOOD,
        {"types": ("b=categorie",)},
        "unknown kind of column for --type b: 'categorie'; did you mean 'category'?",
    ),
    "type without kind": (
        "a.csv",
        GOOD,
        {"types": ("b",)},
        "--type b does not say what the column is; write it like --type zip=category",
    ),
    "form of no date": (
        "a.csv",
        GOOD,
        {"types": ("b=date:Y.m",)},
        "unknown form of dates for --type b=date: 'Y.m'; did you mean 'Ym'?",
    ),
    "all ignored": (
        "a.csv",
        GOOD,
        {"types": ("a=ignore", "b=ignore")},
        "{} has no column to learn y from (left out: a (as said), b (as said))",
    ),
    "split unfit": (
        "a.csv",
        GOOD,
        {"split": "2"},
        "--split 2 is no share, fold or number of last rows; write it like 0.2, 0.2@3, 2/5, last:24 or classes:0.25",
    ),
    "no gz in gz": (
        "a.csv.gz",
        b"\x1f\x8b" + b"hello" * 30,
        {},
        "{} is a damaged gzip file (Unknown compression method): download or copy it again",
    ),
}
FOLDERS: dict[str, tuple[dict[str, str], str]] = {
    "renamed in test": (
        {"train.csv": GOOD, "test.csv": GOOD.replace("b", "bb", 1)},
        "{}/test.csv lacks the column 'b' of {}/train.csv; did you mean 'bb'?",
    ),
    "class only in test": (
        {"train.csv": GOOD, "test.csv": "a,b,y\n1,p,u\n2,q,w\n"},
        "{}/test.csv has the class 'w' in row 2, which {}/train.csv has not: its classes are u, v",
    ),
    "words in test's numbers": (
        {"train.csv": GOOD, "test.csv": "b,a,y\n" + rows(20, lambda i: f"{i},{'pq'[i % 2]},u\n")},
        "{}/test.csv: column a was a number in training, and here it holds 'p': write it as it was there, or check whether the columns are shifted",
    ),
    "shifted test": (
        {"train.csv": GOOD, "test.csv": "a,b,y\n" + rows(20, lambda i: f"{'pq'[i % 2]},{i},u\n")},
        "{}/test.csv: column a was a number in training, and here it holds 'p': write it as it was there, or check whether the columns are shifted",
    ),
    "several tables": (
        {"x.csv": GOOD, "z.csv": GOOD},
        "{} is a folder of tables: name one of them, such as {}/x.csv, or name them train.csv and test.csv",
    ),
    "two test parts": (
        {"train.csv": GOOD, "test.csv": GOOD, "test.tsv": GOOD},
        "{} has two test parts, test.csv and test.tsv: leave one",
    ),
}


def refused(data: Any, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        shendu.data.open(data, **how)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("case", CASES)
def test_broken_file(case: str, tmp_path: Path) -> None:
    name, content, how, line = CASES[case]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert refused(path, **how) == line.format(*[path] * line.count("{}"))


@pytest.mark.parametrize("case", FOLDERS)
def test_parts_that_do_not_fit(case: str, tmp_path: Path) -> None:
    files, line = FOLDERS[case]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert refused(tmp_path) == line.format(*[tmp_path] * line.count("{}"))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    line = b"1,2,3\n" * 100_000
    with gzip.open(path, "wb", 1) as file:
        for _ in range(450):
            file.write(line)
    assert path.stat().st_size < 2 << 20
    assert refused(path) == f"{path} unpacks to more than 256 MiB: unpack it yourself and give the file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(GOOD)
    path.chmod(0)
    assert refused(path) == f"cannot read {path}: Permission denied"


def test_excel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"PK\x03\x04" + bytes(200))
    assert refused(path) == f"{path} is a damaged or truncated Excel file: download or copy it again"
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.append(["a", "y"])
    book.save(path)
    assert refused(path) == f"{path} has no rows below the header of its first sheet: add some"
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    assert refused(path) == f"{path} needs openpyxl: pip install 'shendu[excel]', or save the sheet as CSV"


def test_skip_bad_leaves_ragged_rows_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(GOOD + "7,p\n8,p,u,9\n9,q,v\n")
    data = shendu.data.open(path, skip_bad=True)
    assert len(data.splits["train"]) == 31
    assert "2 rows of a.csv with too few or too many cells left out (--skip-bad)" in data.notes


def test_two_parquet_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table([[1, 2], [3, 4], ["a", "b"]], names=["x", "x", "y"]), path)
    assert refused(path) == f"{path} has 2 columns named 'x': give each column a name of its own"


def test_frames_that_cannot_be_learned() -> None:
    twice = pa.table([[1, 2], [3, 4], ["a", "b"]], names=["x", "x", "y"])
    assert refused(twice) == "the table has 2 columns named 'x': give each column a name of its own"
    none = pa.table({"x": pa.array([], pa.int64()), "y": pa.array([], pa.string())})
    assert refused(none) == "the table has only a header (x, y): add rows below it"
    assert refused(pa.table({"x": [1.0, 2.0]})).startswith("the table has only one column (x): ")


ROW = Row(columns=(Column(name="age", kind="number"), Column(name="town", kind="category", names=("Ulm",))))


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"age": 3}, "there is no column 'town', which the model reads; known: age"),
        ({"age": 3, "Town": "Ulm"}, "there is no column 'town', which the model reads; did you mean 'Town'?"),
        ({"age": "old", "town": "Ulm"}, "column age was a number in training, and here it holds 'old': write it as it was there, or check whether the columns are shifted"),
        ({"age": [[1]], "town": ["Ulm"]}, "column age holds list<item: int64>, and the model reads a number: give plain values"),
        ({"age": [1, 2], "town": ["Ulm"]}, "the columns have different lengths (age 2, town 1): give each column one value per row"),
        (7, "rows cannot be a int: give a dict, a list of dicts, or a pandas, polars or pyarrow table"),
        (np.zeros((2, 3)), "the model takes stored rows of 2 numbers, this array has shape [2, 3]; give a table or dicts, whose columns are found by name"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit(raw: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        ROW.parse(raw)[""]
    assert str(caught.value) == line


def test_files_that_cannot_be_predicted(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("town,age\nUlm,3\nUlm\n")
    (tmp_path / "none").mkdir()
    for given_, line in (
        (tmp_path / "no.csv", f"no such file: {tmp_path}/no.csv"),
        (tmp_path / "none", f"{tmp_path / 'none'} is a folder: name the table in it"),
        (path, f"{path} has 1 cells in line 3 but 2 columns: correct the line, or leave such rows out with --skip-bad"),
    ):
        with pytest.raises(UserError) as caught:
            list(shendu.data.pieces([given_], {"x": ROW}))
        assert str(caught.value) == line


# ---- fuzzing

WORDS = [
    "1",
    "2.5",
    "-3",
    "1e400",
    "nan",
    "inf",
    "x",
    "yes",
    "no",
    "2020-01-01",
    "31.02.2020",
    "",
    "?",
    '"',
    '"a"',
    "\\",
    "0" * 40,
    "é",
    "\x07",
    "$1,000",
    "01",
]


@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=30),
    st.sampled_from([",", ";", "\t", "|", ", "]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-16", "cp1252", "utf-8-sig"]),
)
def test_any_cells(table: list[list[str]], sign: str, end: str, encoding: str) -> None:
    survives("a.csv", end.join(sign.join(row) for row in table).encode(encoding))


@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".feather", ".csv.gz", ".data", ".arff"]),
    st.binary(max_size=400),
)
def test_any_bytes(ending: str, content: bytes) -> None:
    survives(f"a{ending}", content)


SEEDS = {".csv": GOOD.encode(), ".csv.gz": gzip.compress(GOOD.encode()), ".parquet": PQ,
         ".jsonl": rows(20, lambda i: f'{{"a": {i}, "y": "{"uv"[i % 2]}"}}\n').encode()}  # fmt: skip


@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 3)), max_size=8),
)
def test_mutated_files(ending: str, changes: list[tuple[int, int, int]]) -> None:
    content = bytearray(SEEDS[ending])
    for place, byte, how in changes:
        at = place % max(1, len(content))
        content[at : at + (how < 2)] = [bytes([byte]), b"", bytes([byte]), content[at : at + 20]][how]
    survives(f"a{ending}", bytes(content))


def survives(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name
        path.write_bytes(content)
        try:
            data = shendu.data.open(path)
        except UserError as refusal:
            lines = str(refusal).splitlines()
            data = None
        if data is None:
            assert len(lines) == 1
            return
        assert isinstance(data, Dataset)
        values = data.splits["train"].column(data.input)
        assert not np.isinf(values).any()
