"""Numbers far from zero: near 1.7e9 a float32 moves in steps of 128. They are learned as the same data without the offset is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import shendu
from shendu import data as data_module
from shendu.data import moments, offsets
from shendu.data.column import Column
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.fields.series import Series
from shendu.field import Field
from shendu.saved import Saved
from shendu.tasks.regress import Regress
from shendu.verbs.audit import audit
from shendu.verbs.predict import words_of, write

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 240))
Y = 20 * A - 10 * B
SMALL = {"quiet": True, "say": lambda text: None, "device": "cpu", "precision": "fp32", "compile": "off"}


def figures(run: Any) -> dict[str, float]:
    found = run.result["metrics"]
    return found.get("test", found)


def trained(system: str, data: Any, out: Path, **choices: Any) -> Any:
    return shendu.train(system, data, out=out, **{**SMALL, "steps": 60, **choices})


# ---- which numbers have one


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=100), RNG.normal(size=100) * 1e9, RNG.normal(size=100) + 100, RNG.lognormal(0, 3, 100), np.arange(1000.0),
        np.full(50, 1.7e9), RNG.integers(0, 2, 100), 1990 + np.arange(30.0), np.array([np.nan] * 5), np.array([]),
        np.array([1e300, 2.0]), np.array([np.inf, 1.0]), np.array([1.7e9, np.nan]), -119 + 2 * RNG.normal(size=100),
    ],
)  # fmt: skip
def test_ordinary_numbers_keep_their_bytes(values: np.ndarray) -> None:
    assert offsets.found(values[:, None]) == ()
    left = offsets.without(values[:, None], ())
    with np.errstate(over="ignore"):
        assert left.tobytes() == values[:, None].astype(np.float32).tobytes()


@pytest.mark.parametrize(
    ("center", "std"),
    [(1.7e9, 20.0), (1.7e12, 3e3), (1e12, 1.0), (48.1234567, 1e-4), (2460000.5, 1.0), (-2e9, 20.0), (123456789, 50)],
)
def test_what_is_stored_and_the_offset_are_the_number(center: float, std: float) -> None:
    values = (center + std * RNG.normal(size=500))[:, None]
    (offset,) = away = offsets.found(values)
    assert abs(offset - center) < 3 * std
    stored = offsets.without(values, away)
    assert stored.dtype == np.float32
    step = max(std * 2.0**-22, float(np.spacing(abs(center))))
    np.testing.assert_allclose(stored.astype(np.float64) + offset, values, rtol=0, atol=2 * step)
    whole = np.arange(500)[:, None] + int(center)
    exact = offsets.without(whole, offsets.found(whole))
    np.testing.assert_array_equal(exact.astype(np.float64) + sum(offsets.found(whole)), whole)


def test_each_number_of_a_row_has_its_own() -> None:
    values = np.stack([A, A + 1.7e9, B + 1e12], 1)
    away = offsets.found(values)
    assert away[0] == 0 != away[1]
    stored = offsets.without(values, away, (3,))
    np.testing.assert_array_equal(stored[:, 0], A.astype(np.float32))
    _, std = moments.of_numbers(stored).settled()
    np.testing.assert_allclose(std, values.std(0), rtol=1e-4)


def test_fields_without_one_are_written_as_before() -> None:
    fields: tuple[Field, ...] = (Number(), Series(window=4, horizon=2), Row(columns=(Column(name="a", kind="number"),)))
    for field in fields:
        assert "offset" not in json.dumps(field.to_json())
    column = Column(name="a", kind="number", offset=1.7e9 + 0.25)
    for field in (Number(offset=(1.7e9 + 0.25,)), Series(window=4, horizon=2, offset=(2.0,)), Row(columns=(column,))):
        again = Field.from_json(json.loads(json.dumps(field.to_json())))
        assert again.offset == field.offset != ()


def test_a_task_has_no_float64_buffer_to_move() -> None:
    """Apple's GPUs have none; there the offset is added on the CPU."""
    field = Number(offset=(1.7e9,), mean=(0.5,), std=(20.0,))
    task = Regress({"x": Number(shape=(2,))}, {"y": field})
    assert {t.dtype for t in task.buffers()} == {torch.float32}
    z = torch.linspace(-2, 2, 5, requires_grad=True)
    value = task.own(z)
    assert value.dtype == torch.float64
    np.testing.assert_allclose(value.detach() - 1.7e9, 20 * z.detach() + 0.5, rtol=1e-6)
    value.sum().backward()
    torch.testing.assert_close(z.grad, torch.full((5,), 20.0))
    torch.testing.assert_close(task.said({"value": value.detach()})["y"], z.detach())


# ---- tables


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("offset")
    table().to_csv(folder / "t.csv", index=False)
    return trained("tabm", folder / "t.csv", folder / "run", target="when", steps=100)


def table(shift: float = 0.0) -> pd.DataFrame:
    """Epoch milliseconds, a coordinate and a Julian date, of which whole milliseconds are to be foretold."""
    day = 2460000.5 + B / 4
    return pd.DataFrame({"seen": (1.7e12 + shift + 1000 * A).astype(np.int64), "lat": 48.1234567 + A * 1e-4, "day": day,
                         "when": (1.6e12 + 1000 * Y).astype(np.int64)})  # fmt: skip


@pytest.mark.slow
def test_a_table_is_learned_as_without_its_offsets(run: Any, tmp_path: Path) -> None:
    plain = table()
    plain = pd.DataFrame({"seen": plain.seen - int(1.7e12), "lat": (plain.lat - 48) * 1e4, "day": plain.day - 2460000,
                          "when": plain.when - int(1.6e12)})  # fmt: skip
    other = trained("tabm", plain, tmp_path / "run", target="when", steps=100)
    assert figures(run)["r2"] == pytest.approx(figures(other)["r2"], abs=0.02)
    assert figures(run)["r2"] > 0.8
    assert figures(run)["rmse"] == pytest.approx(figures(other)["rmse"], rel=0.15)


def test_every_door_asks_the_same(run: Any, tmp_path: Path) -> None:
    rows = table()[:20].drop(columns="when")
    rows.to_csv(tmp_path / "new.csv", index=False)
    rows.to_parquet(tmp_path / "new.parquet")
    asked = [rows, tmp_path / "new.csv", tmp_path / "new.parquet", rows.to_dict("records"), rows.to_dict("list")]
    found = [[row["value"] for row in shendu.predict(run.path, each)] for each in asked]
    assert all(each == found[0] for each in found)
    assert np.std(np.array(found[0]) - table().when[:20]) < 0.5 * np.std(table().when)
    measured = shendu.evaluate(run.path, table(), device="cpu", say=lambda text: None)["metrics"]
    assert measured["r2"] > 0.8
    away = np.array([row["value"] for row in shendu.predict(run.path, table())]) - table().when
    assert measured["rmse"] == pytest.approx(np.sqrt(np.mean(away**2)), rel=1e-4)


def test_predictions_have_their_digits_in_files_and_on_the_screen(run: Any, tmp_path: Path) -> None:
    said = [row["value"] for row in shendu.predict(run.path, table()[:5])]
    path, _ = write(run.path, table()[:5], out=tmp_path / "p.csv")
    with path.open() as file:
        written = [row["value"] for row in csv.DictReader(file)]
    assert [float(word) for word in written] == said
    assert all(len(word.partition(".")[2]) <= 4 for word in written), "no digits that a float32 of the distance has not"
    assert [float(words_of(row)[1]) for row in shendu.predict(run.path, table()[:5])] == pytest.approx(said, rel=1e-14)
    assert words_of({"input": "1", "value": float(np.float32(1234567.8))})[1] == "1.23457e+06"


def test_rows_are_shown_as_they_were_given(run: Any) -> None:
    task = Saved(run.path).task
    stored = task.input.parse(table()[:1])[""]
    seen = table().iloc[0]
    said = task.input.show({"": stored[0]})
    assert f"seen={int(seen.seen)}" in said
    assert f"lat={seen.lat:.9f}" in said
    found = {name: values for name, values, _ in task.input.features("row", {"": stored})}
    assert found["seen"][0] == pytest.approx(seen.seen, abs=1)
    assert found["day"][0] == pytest.approx(seen.day, abs=1e-6)
    np.testing.assert_array_equal(task.input.parse(table()[["seen", "lat", "day"]].to_numpy()[:1])[""], stored)
    page = (Path(run.path) / "report.html").read_text(encoding="utf-8")
    assert "1,600,00" in page


def test_an_audit_tells_true_numbers() -> None:
    frame = table()
    frame.loc[7, "seen"] = int(1.7e12) + 10**6
    said = "\n".join(" ".join(line) for line in audit(frame, target="when").lines())
    assert "seen = 1700001000000" in said


def test_other_data_are_measured_from_the_runs_offset(tmp_path: Path) -> None:
    x = np.stack([A, B], 1)
    run = trained("linear", (x + 1e9, Y + 1.7e9), tmp_path / "run", steps=400)
    assert figures(run)["r2"] > 0.99
    moved = data_module.open((x[:50] + 1e9 + 3, Y[:50] + 1.7e9 + 30))
    found = shendu.evaluate(run.path, moved, device="cpu", say=lambda text: None)["metrics"]
    assert found["rmse"] == pytest.approx(abs(3 * 20 - 3 * 10 - 30), abs=1)
    again = [row["value"] for row in shendu.predict(run.path, x[:5] + 1e9)]
    np.testing.assert_allclose(np.array(again) - 1.7e9, Y[:5], atol=1)


def test_the_same_rows_beside_any_target(tmp_path: Path) -> None:
    """What is learned in standard units does not depend on the offset."""
    x = np.stack([A, B], 1)
    runs = [
        trained("mlp", {"x": torch.tensor(x), "y": torch.tensor(Y + away)}, tmp_path / str(away))
        for away in (0.0, 2.0**30, 1e12)
    ]
    found = [figures(run)["rmse"] for run in runs]
    np.testing.assert_allclose(found, found[0], rtol=1e-2)


def test_dates_within_a_second_of_each_other_differ() -> None:
    when = pd.to_datetime("2024-03-01 12:00:00") + pd.to_timedelta(np.arange(200), unit="s")
    data = data_module.open(pd.DataFrame({"when": when, "y": A[:200]}), target="y")
    values = data.splits["train"].column(data.input)[:, 0]
    assert len(np.unique(values)) == len(values)
    assert "2024-03-01" in data.fields[data.input].show({"": data.splits["train"].column(data.input)[0]})


# ---- series


def test_a_series_far_from_zero(tmp_path: Path) -> None:
    t = np.arange(120)
    wave = 20 * np.sin(t / 2) + RNG.normal(size=120)
    runs = [
        trained(
            "nbeats",
            pd.DataFrame({"time": t, "v": wave + away}),
            tmp_path / str(away),
            time="time",
            target="v",
            season=6,
            steps=30,
        )
        for away in (0.0, 2e9)
    ]
    near, far = (figures(run) for run in runs)
    assert far["mase"] == pytest.approx(near["mase"], rel=0.02)
    assert far["mae"] == pytest.approx(near["mae"], rel=0.02)
    assert far["smape"] == pytest.approx(100 * far["mae"] / 2e9, rel=0.01)
    told = [
        shendu.predict(run.path, pd.DataFrame({"time": t, "v": wave + away}))
        for run, away in zip(runs, (0.0, 2e9), strict=True)
    ]
    near, far = ([row["value"] for row in rows] for rows in told)
    np.testing.assert_allclose(np.array(far) - 2e9, near, atol=0.5)
