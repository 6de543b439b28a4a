"""predict and evaluate on a person's own files: rows keep their order and names, mistakes get one exact line."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

import shendu
from shendu import Run, UserError, cli
from shendu.systems.sequence import transformer
from shendu.verbs import predict as verb

JOBS = ("nurse", "baker", "pilot")


def people(rows: int, seed: int = 0, jobs: tuple[str, ...] = JOBS) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(rows):
        age, job = int(rng.integers(18, 80)), str(rng.choice(jobs))
        made.append({"person_id": f"p{i}", "age": age, "job": job, "income": "high" if age > 45 else "low"})
    return made


def table(path: Path, rows: list[dict[str, Any]], names: tuple[str, ...] = ()) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A table network that has learned who earns much: those above 45."""
    folder = tmp_path_factory.mktemp("people")
    data = table(folder / "people.csv", people(300))
    return shendu.train(
        "tabm", str(data), target="income", out=folder / "run", quiet=True, device="cpu", precision="fp32",
        steps=150, members=2, hidden=(16,), lr=0.01,
    )  # fmt: skip


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Run:
    x = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    out = tmp_path_factory.mktemp("numbers") / "run"
    return shendu.train("linear", (x, x @ np.array([1.0, -2.0])), out=out, quiet=True, device="cpu", steps=30)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("photos")
    pictures(folder / "data", ("dark", "light"), (8, 8))
    return shendu.train(
        "mlp", str(folder / "data"), out=folder / "run", quiet=True, device="cpu", steps=60, hidden=(8,)
    )


def pictures(folder: Path, classes: tuple[str, ...], size: tuple[int, int], count: int = 15) -> Path:
    rng = np.random.default_rng(0)
    for label in classes:
        (folder / label).mkdir(parents=True)
        base = 200 if label == "light" else 20
        for i in range(count):
            Image.fromarray((base + rng.integers(0, 40, size)).astype(np.uint8)).save(folder / label / f"{i}.png")
    return folder


def written(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["shendu", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


# ---- files of predictions --------------------------------------------------------------------------------------------


def test_a_table_comes_back_in_its_order_with_its_ids(run: Run, tmp_path: Path) -> None:
    rows = people(40, seed=1)[::-1]
    new = table(tmp_path / "new.csv", rows, ("job", "age", "person_id"))
    path, count = verb.write(run, str(new), out=tmp_path / "predictions.csv")
    found = written(path)
    assert count == len(found) == 40
    assert list(found[0]) == ["person_id", "label", "probability", "p_high", "p_low"]
    assert [row["person_id"] for row in found] == [row["person_id"] for row in rows]
    right = sum(row["label"] == given["income"] for row, given in zip(found, rows, strict=True))
    assert right >= 36
    for row in found:
        shares = [float(row["p_high"]), float(row["p_low"])]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert float(row["probability"]) == max(shares)
        assert row["label"] == ("high", "low")[int(np.argmax(shares))]


def test_rows_without_an_id_are_numbered(run: Run, tmp_path: Path) -> None:
    new = table(tmp_path / "new.csv", people(5), ("age", "job"))
    verb.write(run, str(new), out=tmp_path / "out.csv")
    assert [row["row"] for row in written(tmp_path / "out.csv")] == ["1", "2", "3", "4", "5"]


def test_the_three_kinds_of_file_agree(run: Run, tmp_path: Path) -> None:
    new = str(table(tmp_path / "new.csv", people(30, seed=2)))
    for suffix in ("csv", "jsonl", "parquet"):
        verb.write(run, new, out=tmp_path / f"out.{suffix}")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == run.predict(new)
    columns = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    spelled = written(tmp_path / "out.csv")
    assert columns["label"] == [row["label"] for row in lines] == [row["label"] for row in spelled]
    assert columns["person_id"] == [row["input"] for row in lines]
    assert columns["p_low"] == pytest.approx([row["probabilities"]["low"] for row in lines])
    assert [float(row["probability"]) for row in spelled] == pytest.approx(columns["probability"])


def test_a_long_table_is_written_in_pieces(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory at once is a piece of the file, and the pieces say what the whole says."""
    from shendu.data.tables import delimited, formats

    new = tmp_path / "new.parquet"

    parquet.write_table(pyarrow.Table.from_pylist(people(3000, seed=3)), new)
    whole = run.predict(str(new))
    monkeypatch.setattr(formats, "_PIECE", 700)
    monkeypatch.setattr("shendu.data.PIECE", 1)
    parts = list(verb.predictions(run, str(new)))
    assert [len(part) for part in parts] == [700, 700, 700, 700, 200]
    assert list(itertools.chain(*parts)) == whole
    monkeypatch.setattr(delimited, "LINE_MOST", 1 << 13)
    parts = list(verb.predictions(run, str(table(tmp_path / "new.csv", people(3000, seed=3)))))
    assert max(map(len, parts)) < 1000
    assert list(itertools.chain(*parts)) == whole


def test_numbers_and_a_single_row(numbers: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(2, dtype=np.float32))
    verb.write(numbers, str(tmp_path / "rows.npy"), out=tmp_path / "out.csv")
    found = written(tmp_path / "out.csv")
    assert list(found[0]) == ["input", "value"]
    assert [row["input"] for row in found] == [f"{tmp_path / 'rows.npy'}[{i}]" for i in range(2)]
    said = [row["value"] for row in numbers.predict(np.eye(2, dtype=np.float32))]
    assert [float(row["value"]) for row in found] == pytest.approx(said)
    assert [row["value"] for row in numbers.predict(np.array([1.0, 0.0]))] == pytest.approx(said[:1])


def test_a_folder_of_pictures_of_other_sizes(photos: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "new", ("light",), (30, 20), count=3)
    pictures(tmp_path / "new" / "more", ("dark",), (9, 9), count=3)
    path, count = verb.write(photos, str(tmp_path / "new"), out=tmp_path / "out.csv")
    found = written(path)
    assert count == 6
    assert [(Path(row["input"]).parent.name, row["label"]) for row in found] == [("light", "light")] * 3 + [
        ("dark", "dark")
    ] * 3


def test_many_classes_have_no_column_each(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((204, 2)).astype(np.float32)
    names = np.array([f"c{i:02d}" for i in range(51)])[np.arange(204) % 51]
    many = shendu.train("mlp", (x, names), out=tmp_path / "run", quiet=True, device="cpu", steps=2, hidden=(4,))
    np.save(tmp_path / "x.npy", x[:3])
    verb.write(many, str(tmp_path / "x.npy"), out=tmp_path / "out.csv")
    assert list(written(tmp_path / "out.csv")[0]) == ["input", "label", "probability"]


def test_a_forecast_has_a_row_per_step(tmp_path: Path) -> None:
    months = np.arange("2015-01", "2024-01", dtype="datetime64[M]")
    lines = [f"{m},{50 + 10 * np.sin(i * np.pi / 6):.3f}" for i, m in enumerate(months)]
    (tmp_path / "sales.csv").write_text("\n".join(["month,sales", *lines]), encoding="utf-8")
    series = shendu.train(
        "nbeats",
        str(tmp_path / "sales.csv"),
        time="month",
        horizon=3,
        out=tmp_path / "run",
        quiet=True,
        device="cpu",
        steps=3,
    )
    verb.write(series, str(tmp_path / "sales.csv"), out=tmp_path / "out.csv")
    rows = written(tmp_path / "out.csv")
    assert [list(row) for row in rows] == [["month", "value"]] * 3
    assert [row["month"] for row in rows] == ["2024-01", "2024-02", "2024-03"]
    said = [row["value"] for row in series.predict(str(tmp_path / "sales.csv"))]
    assert said == pytest.approx([float(row["value"]) for row in rows])
    past = np.array([float(line.split(",")[1]) for line in lines], np.float32)
    (whole,) = series.predict(past)
    assert whole["values"] == pytest.approx(said), "an array has no times: its forecast is one row"
    both = series.predict(past, str(tmp_path / "sales.csv"))
    assert [row["input"] for row in both] == ["ndarray", "2024-01", "2024-02", "2024-03"]
    (tmp_path / "later.csv").write_text("\n".join(["month,sales", *lines[20:]]), encoding="utf-8")
    later = series.evaluate(str(tmp_path / "later.csv"))
    assert later["rows"] == len(lines) - 20 - series.task.input.window - 3 + 1


def test_a_file_is_there_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    rows = people(5)
    new = table(tmp_path / "new.csv", rows)
    out = tmp_path / "out.csv"
    out.write_text("as it was", encoding="utf-8")
    (tmp_path / "bad.csv").write_text("age\n3\n", encoding="utf-8")
    with pytest.raises(UserError, match="no column 'job'"):
        verb.write(run, str(new), str(tmp_path / "bad.csv"), out=out)
    assert out.read_text(encoding="utf-8") == "as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.csv", "new.csv", "out.csv"]


# ---- on the command line ---------------------------------------------------------------------------------------------


def test_the_terminal_shows_twenty_rows_and_counts_the_rest(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = table(tmp_path / "new.csv", people(1030, seed=4))
    code, out, _ = call(monkeypatch, capsys, "predict", run.path, new)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["input", "label", "probability"]
    assert len(lines) == 22
    assert lines[-1] == "… and 1,010 more (--out predictions.csv writes all)"
    code, out, _ = call(monkeypatch, capsys, "predict", run.path, new, "--out", tmp_path / "p.csv")
    assert (code, out) == (0, f"1,030 rows -> {tmp_path / 'p.csv'}\n")
    assert len(written(tmp_path / "p.csv")) == 1030


def test_evaluate_prints_intervals(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(monkeypatch, capsys, "evaluate", run.path)
    assert code == 0
    low, high = run.result["intervals"]["test"]["accuracy"]
    assert low < run.result["metrics"]["test"]["accuracy"] <= high
    assert re.search(rf"accuracy +{run.result['metrics']['test']['accuracy']:.4f} +{low:.4f}–{high:.4f}", out)
    assert f"{low:.4f} to {high:.4f}" in (run.path / "README.md").read_text(encoding="utf-8")


# ---- other data, encoded as the run's own ----------------------------------------------------------------------------


def test_the_runs_own_codes_are_used(run: Run, tmp_path: Path) -> None:
    """Another file has other categories, fewer classes and another order: its figures agree with its predictions."""
    other = people(50, seed=5, jobs=("pilot", "welder", "nurse"))
    path = table(tmp_path / "other.csv", other, ("income", "job", "age"))
    found = run.evaluate(str(path))
    said = [row["label"] for row in run.predict(str(path))]
    right = np.mean([label == row["income"] for label, row in zip(said, other, strict=True)])
    assert found["rows"] == 50
    assert found["metrics"]["accuracy"] == pytest.approx(right)
    assert right > 0.85
    low, high = found["intervals"]["accuracy"]
    assert low < right <= high + 1e-9


def test_one_class_alone_can_be_measured(run: Run, tmp_path: Path) -> None:
    old = [row for row in people(80, seed=6) if row["income"] == "high"]
    found = run.evaluate(str(table(tmp_path / "old.csv", old)))
    assert found["rows"] == len(old)
    assert found["metrics"]["accuracy"] > 0.8


def test_rows_without_a_target_are_left_out(run: Run, tmp_path: Path) -> None:
    rows = [{**row, "income": "" if i % 3 == 0 else row["income"]} for i, row in enumerate(people(30, seed=7))]
    assert run.evaluate(str(table(tmp_path / "some.csv", rows)))["rows"] == 20


def test_an_arrow_table_is_measured_like_its_file(run: Run, tmp_path: Path) -> None:
    rows = people(40, seed=8)
    assert (
        run.evaluate(pyarrow.Table.from_pylist(rows))["metrics"]
        == run.evaluate(str(table(tmp_path / "f.csv", rows)))["metrics"]
    )


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_are_brought_to_the_runs_size(photos: Run, tmp_path: Path, packed: bool) -> None:
    import shutil

    folder = pictures(tmp_path / "other", ("light", "dark"), (21, 17), count=4)
    given = shutil.make_archive(str(tmp_path / "other"), "zip", folder) if packed else str(folder)
    found = photos.evaluate(given)
    assert found["rows"] == 8
    assert found["metrics"]["accuracy"] == 1


def test_arrays_with_fewer_classes_keep_the_runs_numbers(photos: Run) -> None:
    light = np.full((4, 8, 8, 1), 220, np.uint8)
    dark = np.full((1, 8, 8, 1), 30, np.uint8)
    found = photos.evaluate((np.concatenate([light, dark]), np.array(["light"] * 4 + ["dark"])))
    assert found["metrics"]["accuracy"] == 1


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Tables and folders that are wrong in one way each."""
    rows = people(30)
    made = {
        "lacks": table(tmp_path / "lacks.csv", rows, ("age", "income")),
        "renamed": table(tmp_path / "renamed.csv", [{**r, "jobs": r["job"]} for r in rows], ("age", "jobs", "income")),
        "shifted": table(tmp_path / "shifted.csv", [{**r, "age": r["job"], "job": r["age"]} for r in rows]),
        "classes": table(tmp_path / "classes.csv", [{**r, "income": "medium"} for r in rows]),
        "untold": table(tmp_path / "untold.csv", rows, ("age", "job")),
        "misnamed": table(
            tmp_path / "misnamed.csv", [{**r, "incomes": r["income"]} for r in rows], ("age", "job", "incomes")
        ),
        "blank": table(tmp_path / "blank.csv", [{**r, "income": ""} for r in rows]),
        "good": table(tmp_path / "good.csv", rows),
    }
    made["none"] = tmp_path / "none.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows).slice(0, 0), made["none"])
    for name, text in (("empty", ""), ("header", "age,job,income\n"), ("binary", "\0\1\2\3" * 50)):
        made[name] = tmp_path / f"{name}.csv"
        made[name].write_text(text, encoding="utf-8")
    return made


PREDICT = [
    ("lacks", "out.csv", "there is no column 'job', which the model reads; known: age, income"),
    ("renamed", "out.csv", "there is no column 'job', which the model reads; did you mean 'jobs'?"),
    (
        "shifted",
        "out.csv",
        "column age was a number in training, and here it holds '{job}': write it as it was there, or check whether the columns are shifted",
    ),
    ("good", "out.xls", "--out {dir}/out.xls is none of .csv, .jsonl, .parquet; write it like out.csv"),
    ("good", "out.jsonll", "--out {dir}/out.jsonll is none of .csv, .jsonl, .parquet; did you mean '.jsonl'?"),
    ("good", "out", "--out {dir}/out is none of .csv, .jsonl, .parquet; write it like out.csv"),
    ("good", "", "--out {dir} is a folder; name a file in it, like {dir}/predictions.csv"),
    ("good", "no/out.csv", "--out {dir}/no/out.csv: there is no folder {dir}/no; make it, or choose another file"),
    ("good", "good.csv", "--out {dir}/good.csv is the input itself; choose another file"),
]


@pytest.mark.parametrize(("name", "out", "line"), PREDICT, ids=[f"{name}-{out}" for name, out, _ in PREDICT])
def test_predicting_with_a_mistake(
    run: Run, files: dict[str, Path], tmp_path: Path, name: str, out: str, line: str
) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        verb.write(run, str(files[name]), out=tmp_path / out)
    assert str(caught.value) == line.format(dir=tmp_path, job=people(1)[0]["job"])
    assert sorted(p.name for p in tmp_path.iterdir()) == before


EMPTY = [
    ("empty", "{dir}/empty.csv is empty"),
    ("header", "{dir}/header.csv has only a header (age, job, income): add rows below it"),
    ("none", "nothing to predict: {dir}/none.parquet holds no rows"),
    ("binary", "{dir}/binary.csv"),
    ("nowhere", "no such file: {dir}/nowhere.csv"),
]


@pytest.mark.parametrize(("name", "line"), EMPTY, ids=[name for name, _ in EMPTY])
def test_predicting_from_nothing(
    run: Run, files: dict[str, Path], tmp_path: Path, one_line: Any, name: str, line: str
) -> None:
    with pytest.raises(UserError) as caught:
        run.predict(str(files.get(name, tmp_path / f"{name}.csv")))
    assert line.format(dir=tmp_path) in one_line(caught.value)


def test_a_full_disk_is_one_line(run: Run, files: dict[str, Path]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with (
        pytest.raises(UserError, match=r"cannot write .*out\.csv \(No space left on device\); choose another file"),
        verb.whole(files["good"].with_name("out.csv")),
        open("/dev/full", "w", encoding="utf-8") as file,
    ):
        file.write("x" * 10**6)


EVALUATE = [
    ("lacks", "{file}: there is no column 'job', which the model reads; known: age, income"),
    (
        "shifted",
        "{file}: column age was a number in training, and here it holds '{job}': write it as it was there, or check whether the columns are shifted",
    ),
    ("classes", "{file} has the class 'medium' in row 1, which the run has not: its classes are high, low"),
    ("untold", "{file} has no target column 'income' to compare predictions with; for its predictions: shendu predict"),
    ("misnamed", "{file} has no target column 'income' to compare predictions with; did you mean 'incomes'?"),
    ("blank", "blank.csv has no rows with a target: there is nothing to measure"),
    ("header", "{file} has only a header (age, job, income): add rows below it"),
]


@pytest.mark.parametrize(("name", "line"), EVALUATE, ids=[name for name, _ in EVALUATE])
def test_evaluating_with_a_mistake(run: Run, files: dict[str, Path], name: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        run.evaluate(str(files[name]))
    assert str(caught.value) == line.format(file=files[name], job=people(1)[0]["job"])


def test_evaluating_pictures_with_a_mistake(photos: Run, tmp_path: Path) -> None:
    other = pictures(tmp_path / "other", ("light", "darkk"), (8, 8), count=2)
    with pytest.raises(UserError) as caught:
        photos.evaluate(str(other))
    assert str(caught.value) == f"{other} has the class 'darkk', which the run has not; did you mean 'dark'?"
    (other / "darkk").rename(other / "dark")
    (other / "dark" / "0.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        photos.evaluate(str(other))
    assert str(caught.value) == (
        f"{other} has 1 unreadable picture, the first is dark/0.png (an empty file): mend or remove them, or add --skip-bad"
    )
    assert photos.evaluate(str(other), skip_bad=True)["rows"] == 3


def test_evaluating_another_kind_of_data(
    run: Run, photos: Run, files: dict[str, Path], tmp_path: Path, one_line: Any
) -> None:
    folder = pictures(tmp_path / "pictures", ("light", "dark"), (8, 8), count=2)
    for wrong, given in ((run, str(folder)), (run, "digits"), (photos, "digits")):
        with pytest.raises(UserError) as caught:
            wrong.evaluate(given)
        assert "give data of the same" in one_line(caught.value)


def test_nothing_at_all(run: Run) -> None:
    with pytest.raises(UserError) as caught:
        run.predict()
    assert str(caught.value) == f"nothing to predict: shendu predict {run.path} INPUT"


# ---- texts of another language ---------------------------------------------------------------------------------------

RUSSIAN = "скучный фильм, плохая игра"


def opinions_in(folder: Path, good: str, bad: str) -> Path:
    for label, text in (("good", good), ("bad", bad)):
        (folder / label).mkdir(parents=True)
        for i in range(12):
            (folder / label / f"{i}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("films")
    data = opinions_in(folder / "data", "a fine film with a fine end", "a dull film with a dull end")
    return shendu.train("lstm", str(data), out=folder / "run", quiet=True, steps=2, batch_size=8, width=4, units=4)


def test_words_that_were_never_learned_are_said_once(
    films: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    films.predict("a fine film", say=said.append)
    films.predict("a fine удивительный film", say=said.append)
    assert said == []
    films.predict(RUSSIAN, "плохо", say=said.append)
    assert said == ["100% of the words are none that the model has learned, so its answers say little"]
    monkeypatch.setattr("shendu.data.PIECE", 2)
    films.predict(*[RUSSIAN] * 7, say=said.append)
    assert len(said) == 2
    code, out, err = call(monkeypatch, capsys, "predict", films.path, RUSSIAN)
    assert (code, err) == (0, f"{said[0]}\n")
    assert RUSSIAN in out


def test_figures_on_texts_of_another_language_come_with_a_warning(films: Run, tmp_path: Path) -> None:
    said: list[str] = []
    english = opinions_in(tmp_path / "english", "a fine film", "a dull film")
    russian = opinions_in(tmp_path / "russian", "хороший фильм a", RUSSIAN)
    films.evaluate(str(english), say=said.append)
    assert said == []
    assert films.evaluate(str(russian), say=said.append)["rows"] == 24
    assert said == ["86% of the words are none that the model has learned, so its answers say little"]


def parallel_lines(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True)
    for language, line in texts.items():
        (folder / f"train.{language}").write_text(f"{line}\n" * 8, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("german")
    data = parallel_lines(folder / "data", de="ein mann liest", en="a man reads")
    how = {"width": 16, "heads": 2, "layers": 1, "inner": 16, "vocabulary": 262, "longest": 16, "beam": 1}
    return shendu.train("transformer", str(data), out=folder / "run", quiet=True, steps=1, batch_size=4, **how)


def test_sentences_that_are_cut_are_said_once(
    german: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 16 codes that are read the last is the end: 15 letters fit."""
    said: list[str] = []
    fits, longer = "q" * 14, "q" * 15  # and a blank before the word
    german.predict(fits, say=said.append)
    assert said == []
    assert german.task.encode([fits])["x"].shape == german.task.encode([longer])["x"].shape == (1, 16)
    stored = german.task.input.parse(["ein mann", "a"])
    assert np.array_equal(german.task.encoded({"x": stored[""]})["x"], german.task.rows(["ein mann", "a"])), "no zeros"
    german.predict(longer, longer, fits, longer, say=said.append)
    line = "3 sentences have more than the 16 codes that the network reads: what comes after them is left out"
    assert said == [line]
    monkeypatch.setattr("shendu.data.PIECE", 1)
    assert (
        call(monkeypatch, capsys, "predict", german.path, longer, longer)[2]
        == line.replace("3 sentences have", "1 sentence has") + "\n"
    )
    data = parallel_lines(tmp_path / "long", de=longer, en="a man")
    german.evaluate(str(data), say=said.append)
    assert said[1:] == [line.replace("3", "8")]


def test_training_sentences_that_are_cut_are_noted(tmp_path: Path) -> None:
    folder = parallel_lines(tmp_path / "long", de="ein mann", en="a man")
    for language, line in (("de", "zyxwvuts" * 3), ("en", "fgh" * 9)):
        with (folder / f"train.{language}").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    notes = []
    for longest in (8, 64):
        data = shendu.open_data(str(folder)).split_off()
        notes.append(transformer.recipe(data, vocabulary=260, longest=longest).notes)
    assert len(notes[1]) == 1
    assert notes[0][1:] == ("10 training sentences are cut to the first 8 codes (longest=16 reads more)",)


def test_a_translator_is_not_measured_on_other_languages(german: Run, tmp_path: Path, one_line: Any) -> None:
    french = parallel_lines(tmp_path / "french", de="ein mann liest", fr="un homme lit")
    with pytest.raises(UserError) as caught:
        german.evaluate(str(french))
    assert one_line(caught.value) == (
        f"{german.path} was trained on sentences of en, french holds sentences of fr; give data of the same size and kind"
    )
    assert german.evaluate(str(parallel_lines(tmp_path / "more", de="ein kind", en="a child")))["rows"] == 8


# ---- cells that cannot be read


def test_cells_that_cannot_be_read_are_counted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_line: Any
) -> None:
    rows = people(30)
    for i in (3, 7):
        rows[i]["age"] = "old"
    rows[9]["age"] = "NA"
    path = table(tmp_path / "new.csv", rows)
    line = "column age: 2 cells cannot be read, such as 'old', and count as missing; 1 cell, such as 'NA', taken as missing"
    said: list[str] = []
    assert len(run.predict(str(path), say=said.append)) == 30
    assert said == [line]
    said.clear()
    run.evaluate(str(path), say=said.append)
    assert said == [line]
    for verb_ in ("predict", "evaluate"):
        code, _, err = call(monkeypatch, capsys, verb_, run.path, path, "--strict")
        unread = line.partition(";")[0]
        assert (code, err) == (2, f"shendu: {unread}: correct them, or leave --strict out\n")
    with pytest.raises(UserError) as caught:
        run.predict(rows, strict=True)
    one_line(caught.value)
    clean = table(tmp_path / "clean.csv", people(30))
    assert len(run.predict(str(clean), strict=True)) == 30


def test_the_same_rows_in_another_dress_are_answered_alike(run: Run, tmp_path: Path) -> None:
    rows = people(40)
    said: list[str] = []
    plain = run.predict(rows, say=said.append)
    dresses = [
        [{**row, "age": str(row["age"])} for row in rows],
        [{**row, "age": float(row["age"])} for row in rows],
        [{**row, "age": f"{row['age']}.0"} for row in rows],
    ]
    for dressed in dresses:
        assert run.predict(dressed, say=said.append) == plain
    assert said == []
    german = tmp_path / "german.csv"
    german.write_text("age;job\n" + "".join(f"{row['age']},0;{row['job']}\n" for row in rows))
    labels = [row["label"] for row in run.predict(str(german), say=said.append)]
    assert labels == [row["label"] for row in plain]
    assert said == ["column age: read with a decimal comma, unlike in training"]


@pytest.mark.parametrize("targets", [[True, False], [2**60, 2**60 + 1]], ids=str)
def test_a_label_comes_back_as_the_value_that_it_was(targets: list[Any], tmp_path: Path) -> None:
    import pandas as pd

    y = targets * (60 // len(targets))
    frame = pd.DataFrame({"a": np.arange(60) % len(targets) + np.arange(60) / 1000, "y": y})
    made = shendu.train(
        "tabm", frame, target="y", task="classes", out=tmp_path / "run", quiet=True, device="cpu", steps=2, members=2,
        hidden=(8,),
    )  # fmt: skip
    rows = Run(made.path).predict(frame.head(4))
    assert {type(row["label"]) for row in rows} == {type(targets[0])}
    assert all(set(row["probabilities"]) == set(targets) for row in rows)
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        verb.write(made, frame.head(4), out=tmp_path / name)
    assert [row["label"] for row in written(tmp_path / "p.csv")] == [str(row["label"]) for row in rows]
    assert parquet.read_table(tmp_path / "p.parquet")["label"].to_pylist() == [row["label"] for row in rows]
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines] == [row["label"] for row in rows]
    own = made.evaluate(frame)["metrics"]["accuracy"]
    frame.to_csv(tmp_path / "same.csv", index=False)
    assert made.evaluate(str(tmp_path / "same.csv"))["metrics"]["accuracy"] == own


# ---- what cannot be read, or not be written --------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of three good pictures and two bad ones, some with names that a terminal or a spreadsheet would obey."""
    folder = pictures(tmp_path / "mixed", ("light",), (9, 9), count=1)
    light = (folder / "light" / "0.png").read_bytes()
    (folder / "=cmd|calc.png").write_bytes(light)
    (folder / "e\x1b[31mvil.png").write_bytes(light)
    (folder / "bad.png").write_bytes(b"hello")
    (folder / "empty.png").write_bytes(b"")
    return folder


def test_a_bad_file_is_named_and_the_exit_code_is_three(
    photos: Run, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(mixed)
    code, out, err = call(monkeypatch, capsys, "predict", photos.path, ".")
    rows = [line.split(maxsplit=1) for line in out.splitlines()]
    assert code == 3
    assert [name for name, _ in rows] == [
        "input",
        "=cmd|calc.png",
        "bad.png",
        "e\\x1b[31mvil.png",
        "empty.png",
        "light/0.png",
    ]
    assert rows[2][1] == "cannot be read: not a picture"
    assert (
        err
        == "2 inputs cannot be read, named with the reason (--skip-bad leaves them out); the first is bad.png (not a picture)\n"
    )
    code, out, err = call(monkeypatch, capsys, "predict", photos.path, ".", "--skip-bad")
    assert (code, len(out.splitlines())) == (0, 4)
    assert err == "2 inputs cannot be read, left out; the first is bad.png (not a picture)\n"
    code, out, _ = call(monkeypatch, capsys, "predict", photos.path, ".", "--json")
    told = json.loads(out)
    assert (code, told[1]) == (3, {"input": "bad.png", "error": "not a picture"})
    assert "\x1b" not in out
    assert told[2]["input"] == "e\x1b[31mvil.png", "JSON is exact"


def test_files_of_predictions_name_the_bad_ones(photos: Run, mixed: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for suffix in ("csv", "jsonl", "parquet"):
        _, count = verb.write(photos, str(mixed), out=tmp_path / f"out.{suffix}", say=said.append)
        assert count == 5
    spelled = written(tmp_path / "out.csv")
    columns = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(spelled[0]) == list(columns) == ["input", "label", "probability", "p_dark", "p_light", "error"]
    assert columns["label"] == ["light", None, "light", None, "light"] == [line.get("label") for line in lines]
    assert columns["error"] == ["", "not a picture", "", "an empty file", ""] == [row["error"] for row in spelled]
    assert [row["p_light"] for row in spelled][1] == ""
    assert float(spelled[0]["p_light"]) == pytest.approx(columns["p_light"][0])
    assert columns["p_light"][1] is None
    _, count = verb.write(photos, str(mixed), out=tmp_path / "good.csv", skip_bad=True, say=said.append)
    assert (count, len(written(tmp_path / "good.csv"))) == (3, 3)
    assert len(said) == 4


def test_a_name_that_is_a_formula_is_text_in_a_table(
    photos: Run, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mixed)
    verb.write(photos, "=cmd|calc.png", "e\x1b[31mvil.png", out=tmp_path / "out.csv")
    assert [row["input"] for row in written(tmp_path / "out.csv")] == ["'=cmd|calc.png", "e\\x1b[31mvil.png"]
    verb.write(photos, "=cmd|calc.png", out=tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet")["input"].to_pylist() == ["=cmd|calc.png"]


def test_classes_and_columns_that_are_formulas(tmp_path: Path) -> None:
    """Their names are exact in the model, and text in a table; numbers stay numbers."""
    rows = [{"=a": i, "\x1b[2Jb": i % 3, "y": ("=x", "-1", "@z")[i % 3]} for i in range(60)]
    table(tmp_path / "t.csv", rows)
    how = {"steps": 2, "members": 2, "hidden": (4,), "quiet": True, "device": "cpu"}
    run = shendu.train("tabm", str(tmp_path / "t.csv"), target="y", out=tmp_path / "run", **how)
    assert set(run.task.labels) == {"=x", "-1", "@z"}
    verb.write(run, str(tmp_path / "t.csv"), out=tmp_path / "out.csv")
    assert {row["label"] for row in written(tmp_path / "out.csv")} <= {"'=x", "-1", "'@z"}
    assert "\x1b" not in run.report.read_text(encoding="utf-8") + (run.path / "README.md").read_text(encoding="utf-8")


def test_a_table_with_a_ragged_row(run: Run, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = tmp_path / "t.csv"
    path.write_text("age,job\n30,nurse\n40\n50,pilot\n", encoding="utf-8")
    assert call(monkeypatch, capsys, "predict", run.path, path)[0] == 2
    code, out, err = call(monkeypatch, capsys, "predict", run.path, path, "--skip-bad")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["input", "1", "3"])
    assert err == f"1 row of {path} with too few or too many cells left out (--skip-bad)\n"


def test_ragged_rows_are_left_out_and_cells_that_cannot_be_read_are_told(
    run: Run, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("age,job\n30,nurse\n40\nold,pilot\n", encoding="utf-8")
    line = "column age: 1 cell cannot be read, such as 'old', and counts as missing"
    code, out, err = call(monkeypatch, capsys, "predict", run.path, path, "--skip-bad")
    assert (code, [row.split()[0] for row in out.splitlines()]) == (0, ["input", "1", "3"])
    assert set(err.splitlines()) == {f"1 row of {path} with too few or too many cells left out (--skip-bad)", line}
    code, _, err = call(monkeypatch, capsys, "predict", run.path, path, "--skip-bad", "--strict")
    assert (code, err.splitlines()[-1]) == (2, f"shendu: {line}: correct them, or leave --strict out")


def test_inputs_whose_rows_are_called_otherwise_are_no_one_file(run: Run, tmp_path: Path, one_line: Any) -> None:
    with_ids = table(tmp_path / "a.csv", people(3))
    without = table(tmp_path / "b.csv", people(3), ("age", "job"))
    for suffix in ("csv", "parquet"):
        with pytest.raises(UserError) as caught:
            verb.write(run, str(with_ids), str(without), out=tmp_path / f"out.{suffix}")
        assert one_line(caught.value) == (
            "the inputs differ: the rows of one are called by person_id, of another by row; predict each into a file of its own"
        )


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_folder_that_cannot_be_written_to(
    run: Run, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the folder is one where nothing can be made; no time is spent before that is known."""
    if not os.path.isdir("/proc"):
        pytest.skip("no /proc here")
    monkeypatch.setattr(verb, "pieces", lambda *words: pytest.fail("the model was asked"))
    with pytest.raises(UserError, match=rf"^cannot write /proc/out.{suffix} \(.*\); choose another file with --out$"):
        verb.write(run, str(table(tmp_path / "new.csv", people(3))), out=f"/proc/out.{suffix}")


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_terminal_that_cannot_be_written_to(
    run: Run,
    tmp_path: Path,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    new = table(tmp_path / "new.csv", people(3))
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, _, err = call(monkeypatch, capsys, "predict", run.path, new, *words)
    assert (code, err) == (
        2,
        "shendu: cannot write the output (No space left on device); make room, or send it elsewhere\n",
    )


@pytest.mark.parametrize("given", [{"age": [], "job": []}, {}, [{}], []], ids=str)
def test_an_input_without_rows_is_one_line(given: Any, run: Run, one_line: Any) -> None:
    for what in (given, pd.DataFrame(given or {})) if given != [{}] else (given,):
        with pytest.raises(UserError) as caught:
            run.predict(what)
        assert one_line(caught.value) == f"nothing to predict: this {type(what).__name__} holds no rows"
