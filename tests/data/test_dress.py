"""Metamorphic tests: the same data in another dress are the same fields, and so the same model, figures and predictions.

A dress loses nothing unless a test says what it may change. hypothesis draws the data and the dress.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pyarrow import feather, parquet

import shendu
import shendu.data
from shendu.data.dataset import Dataset
from shendu.data.fields.row import Row

pytestmark = pytest.mark.usefixtures("fresh_cache")

FEW = settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
ROWS = 40
TOWNS = ("Köln", "Ulm", "São Paulo", "Łódź")
WESTERN = ("Köln", "Ulm", "São Paulo", "Nîmes")


# ---- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sheet:
    """Columns of Python values (None: missing); `size` has cents, `count` is whole, `town` a category, `kind` the target."""

    columns: dict[str, list[Any]]

    def written(self, shown: Callable[[str, Any], str] = lambda name, value: str(value)) -> list[list[str]]:
        """Header and cells as text; a missing one is empty."""
        rows = zip(*self.columns.values(), strict=True)
        words = [["" if v is None else shown(n, v) for n, v in zip(self.columns, row, strict=True)] for row in rows]
        return [list(self.columns), *words]

    def changed(self, **columns: list[Any]) -> Sheet:
        return Sheet({**self.columns, **columns})


@st.composite
def sheets(draw: st.DrawFn, towns: tuple[str, ...] = TOWNS) -> Sheet:
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    cents = rng.choice(np.arange(-10_000_000, 10_000_000, 7), ROWS, replace=False)
    size: list[Any] = [int(c) / 100 for c in cents]
    for row in draw(st.sets(st.integers(0, ROWS - 1), max_size=5)):
        size[row] = None
    count = [int(c) for c in rng.integers(1000, 90_000, ROWS)]
    town = [towns[i % len(towns)] for i in rng.permutation(ROWS)]
    kind = [("good", "none", "poor")[i % 3] for i in rng.permutation(ROWS)]
    return Sheet({"size": size, "count": count, "town": town, "kind": kind})


def csv_bytes(
    rows: list[list[str]], sign: str = ",", encoding: str = "utf-8", quoting: Any = csv.QUOTE_MINIMAL, end: str = "\n"
) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=sign, quoting=quoting, lineterminator=end).writerows(rows)
    return out.getvalue().encode(encoding)


def plain(sheet: Sheet) -> bytes:
    return csv_bytes(sheet.written())


def opened(content: bytes, name: str = "it.csv", **how: Any) -> Dataset:
    """A file of this content; it lies in a new folder, whose name no two share."""
    path = Path(tempfile.mkdtemp(), name)
    path.write_bytes(content)
    return shendu.data.open(path, **{"target": "kind", "task": "classes", **how})


def decoded(data: Dataset, part: str = "train") -> dict[str, np.ndarray]:
    """Column -> what is stored of it; the target under its own name."""
    row = data.fields["row"]
    assert isinstance(row, Row)
    values = data.splits[part].column("row")
    found = {c.name: values[:, s : s + c.width] for c, s in zip(row.columns, row.starts, strict=True)}
    return {**found, "target": data.splits[part].column("target")}


def prepared(data: Dataset, part: str = "train") -> dict[str, np.ndarray]:
    """The same as a network reads it: numbers standardised."""
    row = data.fields["row"]
    assert isinstance(row, Row)
    known = row.statistics()
    values = (data.splits[part].column("row").astype(np.float64) - known["mean"]) / known["std"]
    return {c.name: values[:, s : s + c.width] for c, s in zip(row.columns, row.starts, strict=True)}


def alike(one: Dataset, other: Dataset) -> None:
    """Equal fields and equal bits, whatever the order of columns."""
    a, b = decoded(one), decoded(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    columns = [{c.name: replace(c) for c in data.fields["row"].columns} for data in (one, other)]  # type: ignore[attr-defined]
    assert {n: (c.kind, c.names) for n, c in columns[0].items()} == {
        n: (c.kind, c.names) for n, c in columns[1].items()
    }
    assert one.classes == other.classes


DELIMITED: dict[str, dict[str, Any]] = {
    "semicolon": {"sign": ";"}, "tab": {"sign": "\t"}, "bar": {"sign": "|"}, "all quoted": {"quoting": csv.QUOTE_ALL},
    "windows line ends": {"end": "\r\n"}, "byte order mark": {"encoding": "utf-8-sig"}, "utf-16": {"encoding": "utf-16"},
    "utf-16 and tabs": {"encoding": "utf-16", "sign": "\t"},
}  # fmt: skip


@pytest.mark.parametrize("dress", DELIMITED)
@FEW
@given(sheet=sheets())
def test_a_delimited_file(dress: str, sheet: Sheet) -> None:
    alike(opened(plain(sheet)), opened(csv_bytes(sheet.written(), **DELIMITED[dress])))


@FEW
@given(sheet=sheets(WESTERN))
def test_a_western_encoding(sheet: Sheet) -> None:
    alike(opened(plain(sheet)), opened(csv_bytes(sheet.written(), encoding="cp1252")))


def grouped(sign: str, point: str) -> Callable[[str, Any], str]:
    """Numbers with a thousands sign and a decimal sign."""

    def shown(name: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        text = f"{value:,.2f}" if name == "size" else f"{value:,}"
        return text.translate(str.maketrans({",": sign, ".": point}))

    return shown


@pytest.mark.parametrize(
    ("sign", "point"),
    [
        (",", "."),
        (".", ","),
        ("\N{NO-BREAK SPACE}", ","),
        (" ", "."),
        ("'", "."),
        ("\N{RIGHT SINGLE QUOTATION MARK}", "."),
    ],
)
@FEW
@given(sheet=sheets())
def test_thousands_and_decimal_signs(sign: str, point: str, sheet: Sheet) -> None:
    alike(opened(plain(sheet)), opened(csv_bytes(sheet.written(grouped(sign, point)), sign=";")))


def sized(form: Callable[[float], str]) -> Callable[[str, Any], str]:
    return lambda name, value: form(value) if name == "size" else str(value)


UNITS: dict[str, Callable[[float], str]] = {
    "kilograms": lambda v: f"{v:.2f} kg", "dollars": lambda v: f"{'-' * (v < 0)}${abs(v):,.2f}", "euros behind": lambda v: f"{v:.2f} €",
    "accounting": lambda v: f"({-v:,.2f})" if v < 0 else f"{v:,.2f}", "degrees": lambda v: f"{v:.2f}°C",
    "a word before": lambda v: f"USD {v:.2f}",
}  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
@FEW
@given(sheet=sheets())
def test_units_are_no_categories(unit: str, sheet: Sheet) -> None:
    alike(opened(plain(sheet)), opened(csv_bytes(sheet.written(sized(UNITS[unit])))))


@FEW
@given(sheet=sheets())
def test_percent_is_a_number(sheet: Sheet) -> None:
    """What a percent sign changes: the numbers may be divided by a hundred, which standardising undoes."""
    one, other = (
        prepared(opened(each)) for each in (plain(sheet), csv_bytes(sheet.written(sized(lambda v: f"{v:.2f}%"))))
    )
    np.testing.assert_allclose(one["size"], other["size"], rtol=1e-5)


def frame(sheet: Sheet) -> pd.DataFrame:
    return pd.DataFrame(sheet.columns)


def excel(sheet: Sheet) -> bytes:
    out = io.BytesIO()
    frame(sheet).to_excel(out, index=False)
    return out.getvalue()


def zipped(sheet: Sheet) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("it.csv", plain(sheet))
    return out.getvalue()


def columnar(write: Callable[..., None]) -> Callable[[Sheet], bytes]:
    def made(sheet: Sheet) -> bytes:
        out = io.BytesIO()
        write(pa.table(sheet.columns), out)
        return out.getvalue()

    return made


def json_lines(sheet: Sheet) -> bytes:
    rows = zip(*sheet.columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(sheet.columns, row, strict=True))) + "\n" for row in rows).encode()


FILES: dict[str, Callable[[Sheet], bytes]] = {
    "it.parquet": columnar(parquet.write_table), "it.feather": columnar(feather.write_feather), "it.jsonl": json_lines,
    "it.xlsx": excel, "it.zip": zipped,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@FEW
@given(sheet=sheets())
def test_another_container(name: str, sheet: Sheet) -> None:
    alike(opened(plain(sheet)), opened(FILES[name](sheet), name))


def categorical(sheet: Sheet) -> pd.DataFrame:
    """What the type changes: it has an order of names, which the codes follow; here the one that they have without it."""
    return frame(sheet).astype(
        {"town": pd.CategoricalDtype(list(dict.fromkeys(sheet.columns["town"]))), "kind": "category"}
    )


OBJECTS: dict[str, Callable[[Sheet], Any]] = {
    "pandas": frame, "pandas of arrow": lambda s: frame(s).convert_dtypes(dtype_backend="pyarrow"), "nullable": lambda s: frame(s).convert_dtypes(),
    "categories": categorical, "arrow": lambda s: pa.table(s.columns),
    "dicts": lambda s: [dict(zip(s.columns, row, strict=True)) for row in zip(*s.columns.values(), strict=True)],
    "a named index": lambda s: frame(s).set_index(pd.RangeIndex(7, 7 + ROWS, name="key")),
    "an index of the target's names": lambda s: frame(s).set_index(pd.Index(s.columns["kind"], name="label")),
    "table and targets": lambda s: (frame(s).drop(columns="kind"), s.columns["kind"]),
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
@FEW
@given(sheet=sheets())
def test_tables_in_memory(name: str, sheet: Sheet) -> None:
    made = OBJECTS[name](sheet)
    how = {"task": "classes"} if isinstance(made, tuple) else {"target": "kind", "task": "classes"}
    alike(opened(plain(sheet)), shendu.data.open(made, **how))


@FEW
@given(sheet=sheets(), order=st.permutations(("size", "count", "town", "kind")))
def test_order_of_columns(sheet: Sheet, order: list[str]) -> None:
    alike(opened(plain(sheet)), opened(plain(Sheet({name: sheet.columns[name] for name in order}))))


LABELS: dict[str, tuple[str, ...]] = {
    "eighteen digits": ("842000000000000101", "842000000000000102", "842000000000000103"), "versions": ("1.1", "1.10", "1.2"),
    "zeros before": ("01", "1", "10"), "truth": ("False", "True", "maybe"), "words for nothing": ("-", "NA", "null"),
    "signs": ("?", "n/a", "none"), "numbers with a point": ("1.0", "2.0", "3.0"), "exponents": ("1e5", "1e6", "2e5"),
    "capitals": ("Yes", "YES", "yes"), "two scripts": ("да", "はい", "نعم"),
}  # fmt: skip


@pytest.mark.parametrize("spelled", LABELS)
@FEW
@given(sheet=sheets())
def test_spelling_of_labels(spelled: str, sheet: Sheet) -> None:
    """Three labels stay three, each its own text. What the spelling changes: the order of the classes."""
    to = dict(zip(("good", "none", "poor"), LABELS[spelled], strict=True))
    labels = [to[kind] for kind in sheet.columns["kind"]]
    data = opened(plain(sheet.changed(kind=labels)))
    assert sorted(data.classes or ()) == sorted(LABELS[spelled])
    assert [data.classes[code] for code in data.splits["train"].column("target")] == labels  # type: ignore[index]
    np.testing.assert_array_equal(decoded(data)["size"], decoded(opened(plain(sheet)))["size"])


@FEW
@given(sheet=sheets(), constant=st.sampled_from((1e9, -1e9, 1.7e9)))
def test_an_added_constant(sheet: Sheet, constant: float) -> None:
    """What it changes: numbers are rounded by float64 near the constant, 1e-7 of theirs."""
    moved = sheet.changed(count=[int(v + constant) for v in sheet.columns["count"]])
    one, other = prepared(opened(plain(sheet))), prepared(opened(plain(moved)))
    np.testing.assert_allclose(one["count"], other["count"], rtol=0, atol=2e-6)


@FEW
@given(sheet=sheets())
def test_another_scale(sheet: Sheet) -> None:
    """What it changes: standardised numbers in their last bits."""
    smaller = sheet.changed(size=[None if v is None else float(f"{v * 1e-6:.8g}") for v in sheet.columns["size"]])
    one, other = prepared(opened(plain(sheet))), prepared(opened(plain(smaller)))
    np.testing.assert_allclose(one["size"], other["size"], rtol=1e-5, atol=1e-6)


# ---- times ------------------------------------------------------------------------------------------------------------

BEGIN = datetime(2024, 10, 26, 20, tzinfo=UTC)
EAST = timezone(timedelta(hours=5, minutes=30))
TIMES: dict[str, Callable[[datetime], str]] = {
    "utc": lambda t: t.isoformat(), "Z": lambda t: f"{t:%Y-%m-%dT%H:%M:%SZ}", "another zone": lambda t: t.astimezone(EAST).isoformat(),
    "summer and winter": lambda t: t.astimezone(timezone(timedelta(hours=2 if t.day < 27 else 1))).isoformat(),
    "seconds": lambda t: str(int(t.timestamp())), "milliseconds": lambda t: str(int(t.timestamp()) * 1000),
    "by a blank": lambda t: f"{t:%Y-%m-%d %H:%M:%S}", "day first": lambda t: f"{t:%d.%m.%Y %H:%M}", "slashes": lambda t: f"{t:%Y/%m/%d %H:%M}",
}  # fmt: skip


@pytest.mark.parametrize("written", TIMES)
def test_formats_of_time_and_zones(written: str) -> None:
    """An hourly series across the end of summer time: no row is lost, doubled or invented."""
    times = [BEGIN + timedelta(hours=i) for i in range(120)]
    values = [round(10 + 3 * np.sin(i / 4), 3) for i in range(120)]
    rows = [["time", "y"], *([TIMES[written](t), str(v)] for t, v in zip(times, values, strict=True))]
    data = opened(csv_bytes(rows), target="y", time="time", task="auto", horizon=6)
    want = opened(
        csv_bytes([rows[0], *([t.isoformat(), str(v)] for t, v in zip(times, values, strict=True))]),
        target="y",
        time="time",
        task="auto",
        horizon=6,
    )
    assert {n: len(s) for n, s in data.splits.items()} == {n: len(s) for n, s in want.splits.items()}
    for part in want.splits:
        for name in want.splits[part].columns:
            np.testing.assert_array_equal(data.splits[part].column(name), want.splits[part].column(name))


# ---- what a dress does to a model ---------------------------------------------------------------------------------------


SMALL = {
    "quiet": True,
    "device": "cpu",
    "precision": "fp32",
    "compile": "off",
    "steps": 12,
    "split": "0.25",
    "members": 2,
    "hidden": (8,),
}


def test_the_same_model_figures_and_predictions(tmp_path: Path) -> None:
    sheet = drawn(11)
    german = csv_bytes(sheet.written(grouped(".", ",")), sign=";", encoding="utf-16")
    paths = {"plain.csv": plain(sheet), "german.csv": german, "it.parquet": FILES["it.parquet"](sheet)}
    runs = []
    for name, content in paths.items():
        (tmp_path / name).write_bytes(content)
        runs.append(
            shendu.train("tabm", tmp_path / name, target="kind", task="classes", out=tmp_path / f"run-{name}", **SMALL)
        )
    first, *others = runs
    for run in others:
        assert run.result["metrics"] == first.result["metrics"]
        assert (run.path / "model.safetensors").read_bytes() == (first.path / "model.safetensors").read_bytes()
    answers = [run.predict(tmp_path / name) for run in runs for name in paths]
    assert all(each == answers[0] for each in answers), "each model asked about each dress"


def drawn(seed: int) -> Sheet:
    rng = np.random.default_rng(seed)
    size = [int(c) / 100 for c in rng.choice(10_000_000, ROWS, replace=False)]
    count = [int(c) for c in rng.integers(1000, 90_000, ROWS)]
    town = [TOWNS[i % 4] for i in rng.permutation(ROWS)]
    return Sheet(
        {
            "size": size,
            "count": count,
            "town": town,
            "kind": [("good", "none", "poor")[i % 3] for i in rng.permutation(ROWS)],
        }
    )


def test_order_of_the_test_rows_changes_no_figure(tmp_path: Path) -> None:
    """What it changes: sums in their last bits."""
    new = drawn(13)
    turned = Sheet({name: values[::-1] for name, values in new.columns.items()})
    for name, sheet in {"it.csv": drawn(12), "new.csv": new, "turned.csv": turned}.items():
        (tmp_path / name).write_bytes(plain(sheet))
    run = shendu.train("tabm", tmp_path / "it.csv", target="kind", task="classes", out=tmp_path / "run", **SMALL)
    one, other = (run.evaluate(tmp_path / name) for name in ("new.csv", "turned.csv"))
    assert one["rows"] == other["rows"] == ROWS
    assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-6)


# ---- pictures and recordings --------------------------------------------------------------------------------------------


@st.composite
def photos(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """`cat/3` -> pixels [6, 5, 3]."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {f"{('cat', 'dog', 'Ürs')[i % 3]}/{i}": rng.integers(0, 256, (6, 5, 3), np.uint8) for i in range(12)}


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, kind, **({"lossless": True} if kind == "webp" else {}))
    return out.getvalue()


def seen(data: Dataset) -> dict[str, Any]:
    parts = {part: (split.column(data.input), split.column(data.targets[0])) for part, split in data.splits.items()}
    return {"classes": data.classes, **parts}


def same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    assert one["classes"] == other["classes"]
    for part in one.keys() - {"classes"}:
        for a, b in zip(one[part], other[part], strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("kind", ["bmp", "tiff", "webp", "ppm"])
@FEW
@given(shown=photos())
def test_lossless_formats_of_pictures(kind: str, shown: dict[str, np.ndarray], make: SimpleNamespace) -> None:
    made = [
        make.write(Path(tempfile.mkdtemp(), "pets"), {f"{n}.{k}": encoded(p, k) for n, p in shown.items()})
        for k in ("png", kind)
    ]
    same(*(seen(shendu.data.open(place)) for place in made))


@pytest.mark.parametrize("packed", ["pets.zip", "pets.tar", "pets.tar.gz"])
@FEW
@given(shown=photos())
def test_packed_pictures(packed: str, shown: dict[str, np.ndarray], make: SimpleNamespace) -> None:
    files = {f"{name}.png": encoded(pixels, "png") for name, pixels in shown.items()}
    place = Path(tempfile.mkdtemp())
    archive = (make.write_zip if packed.endswith("zip") else make.write_tar)(place / packed, files)
    same(seen(shendu.data.open(make.write(place / "pets", files))), seen(shendu.data.open(archive)))


PARTS = [
    ("train", "test"),
    ("training", "testing"),
    ("Train", "Test"),
    ("TRAIN", "TEST"),
    ("seg_train", "seg_test"),
    ("train", "eval"),
]


@pytest.mark.parametrize("names", PARTS, ids="-".join)
@FEW
@given(shown=photos(), outer=st.booleans())
def test_parts_under_every_usual_name(
    names: tuple[str, str], outer: bool, shown: dict[str, np.ndarray], make: SimpleNamespace
) -> None:
    """What the name says: whether the second part is to be tested or validated on."""

    def placed(train: str, test: str, above: str = "") -> dict[str, bytes]:
        return {
            f"{above}{train if i < 8 else test}/{name}.png": encoded(p, "png")
            for i, (name, p) in enumerate(sorted(shown.items(), key=lambda e: int(e[0].split("/")[1])))
        }

    usual = seen(shendu.data.open(make.write(Path(tempfile.mkdtemp(), "pets"), placed("train", "test"))))
    other = seen(
        shendu.data.open(make.write(Path(tempfile.mkdtemp(), "pets"), placed(*names, above="pets/" if outer else "")))
    )
    if names[1] == "eval" and "validation" in other:
        other["test"] = other.pop("validation")
    same(usual, other)


@pytest.mark.parametrize(
    ("suffix", "how"), [("flac", {}), ("w64", {}), ("aiff", {}), ("au", {}), ("caf", {}), ("wav", {"format": "WAVEX"})]
)
@FEW
@given(seed=st.integers(0, 2**32 - 1))
def test_lossless_formats_of_recordings(suffix: str, how: dict[str, Any], seed: int, make: SimpleNamespace) -> None:
    rng = np.random.default_rng(seed)
    heard = {f"{('hiss', 'hum')[i % 2]}/{i}": rng.integers(-(2**15), 2**15, 800).astype(np.int16) for i in range(8)}

    def written(end: str, **more: Any) -> Iterator[tuple[str, bytes]]:
        for name, samples in heard.items():
            out = io.BytesIO()
            soundfile.write(out, samples, 8000, subtype="PCM_16", **{"format": end.upper(), **more})
            yield f"{name}.{end}", out.getvalue()

    made = [make.write(Path(tempfile.mkdtemp(), "it"), dict(each)) for each in (written("wav"), written(suffix, **how))]
    one, other = (shendu.data.open(place) for place in made)
    assert one.classes == other.classes
    for part in one.splits:
        for name in one.splits[part].columns:
            a, b = (data.splits[part].column(name) for data in (one, other))
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
