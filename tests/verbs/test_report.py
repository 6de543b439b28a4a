"""The report: its figures against brute force and published values, and a sound page for every kind of run."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shendu.data.processors.supervised import Supervised
from shendu.measure import Outputs
from shendu.pages.rows import Rows
from shendu.sources.static import Static

import shendu
from shendu import chance
from shendu.core import At
from shendu.data.column import Column
from shendu.data.dataset import Split
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.fields.sequence import Sequence
from shendu.data.fields.series import Series
from shendu.data.fields.text import Text
from shendu.errors import UserError
from shendu.metrics import METRICS
from shendu.pages import drawing, explanation, report
from shendu.verbs.train import affordable, doubtful

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Reads a page and fails where a tag is not closed, an id is double, or something is loaded from elsewhere."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.seen: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        assert self.open == []
        self.body = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids, f"id {value} is given twice"
                self.ids.add(str(value))
            if name in ("src", "href", "xlink:href"):
                assert str(value).startswith(("data:image/png;base64,", "#")), f"{name}={value}"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def checked(path: Path) -> Page:
    """The page, sound, in one file and of a size to send around."""
    page = Page(path)
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.seen)
    assert "http" not in page.text
    assert "@import" not in page.text
    assert not re.search(r"#0a000\d", page.text), "a stand-in was not replaced by a colour of the page"
    assert path.stat().st_size < 1_500_000
    return page


def trained(tmp_path: Path, system: str, data: Any, **choices: Any) -> Page:
    run = shendu.train(system, data, out=tmp_path / "run", quiet=True, device="cpu", precision="fp32", **choices)
    return checked(run.report)


def fake_rows(outputs: torch.Tensor, targets: torch.Tensor, names: tuple[str, ...] = ()) -> Rows:
    target = Category(names=names) if names else Number()
    processor = Supervised(Number(shape=(2,)), target, [0.0, 0.0], [1.0, 1.0])
    split = Split({"x": np.zeros((len(outputs), 2), np.float32), "y": targets.numpy()})
    return Rows(processor, Static(split, processor, x="x", y="y", classes=len(names)), outputs, targets)


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_headline_is_the_first_figure_with_its_interval() -> None:
    result = {
        "metrics": {"test": {"accuracy": 0.9166, "auc": 0.9}},
        "intervals": {"test": {"accuracy": [0.8875, 0.9422]}},
    }
    assert report.headline(result, "test") == {
        "name": "Test accuracy", "value": "91.66%", "more": "95% interval 88.75\u2060–\u206094.22%",
    }  # fmt: skip
    numbers = {"metrics": {"test": {"rmse": math.nan}}, "intervals": {"test": {}}}
    assert report.headline(numbers, "test") == {
        "name": "Test RMSE", "value": "–", "more": "too few rows for an interval",
    }  # fmt: skip


def test_few_rows_do_not_tell_a_model_from_the_commonest_class() -> None:
    targets = torch.tensor([0] * 8 + [1] * 2)
    rows, shown = fake_rows(torch.eye(2)[targets], targets, ("no", "yes")), Outputs()
    shown.update(rows.outputs, {"y": targets})
    said = "10 test rows do not tell this model from one that always says no, which is right in 80.0% of them"
    assert doubtful(rows.processor, shown, {"accuracy": [0.72, 1.0]}, "test") == said
    assert doubtful(rows.processor, shown, {"accuracy": [0.81, 1.0]}, "test") == ""
    assert doubtful(fake_rows(rows.outputs[:, 0], targets.float()).processor, shown, {"rmse": [0.1, 1.0]}, "test") == ""
    numbers = fake_rows(rows.outputs[:, 0], targets.float()).processor
    said = "10 test rows do not tell this model from one that always says their mean"
    assert [doubtful(numbers, shown, {"r2": [low, 0.9]}, "test") for low in (-0.1, 0.1)] == [said, ""]


def test_a_time_limit_measures_as_many_training_rows_as_fit() -> None:
    assert [affordable(seconds, 0.05) for seconds in (math.inf, 100.0, -3.0)] == [10_000, 2000, 500]
    assert affordable(1.0, 0.0) == 10_000


def test_class_figures_agree_with_counting() -> None:
    g = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(300, 4, generator=g), torch.randint(3, (300,), generator=g)
    names = ("a", "b", "c", "never")
    rows = fake_rows(outputs, targets, names)
    found = report.of_classes(rows)
    true, predicted = targets.tolist(), outputs.argmax(1).tolist()
    both = list(zip(true, predicted, strict=True))
    assert [[count for count, _ in line] for line in found["matrix"]] == [
        [both.count((i, j)) for j in range(4)] for i in range(4)
    ]
    for k, line in enumerate(found["table"]):
        hits = both.count((k, k))
        assert line["name"] == names[k]
        assert line["rows"] == true.count(k)
        assert line["recall"] == (pytest.approx(hits / true.count(k)) if true.count(k) else None)
        assert line["precision"] == pytest.approx(hits / predicted.count(k))
        assert line["f1"] == pytest.approx(2 * hits / (true.count(k) + predicted.count(k)))
    wrong = sorted((both.count((i, j)) for i in range(4) for j in range(4) if i != j), reverse=True)
    assert [pair["times"] for pair in found["pairs"]] == [w for w in wrong if w]


def test_calibration_error_agrees_with_its_definition() -> None:
    g = torch.Generator().manual_seed(1)
    outputs, targets = 3 * torch.randn(200, 3, generator=g), torch.randint(3, (200,), generator=g)
    sure, predicted = outputs.softmax(1).max(1)
    error = 0.0
    for i in range(report.BINS):
        inside = (sure >= i / report.BINS) & (sure < (i + 1) / report.BINS)
        if inside.any():
            right = (predicted == targets)[inside].double().mean()
            error += float(inside.double().mean() * (right - sure[inside].double().mean()).abs())
    found = report.calibration(fake_rows(outputs, targets, ("a", "b", "c")))
    assert found["error"] == pytest.approx(error, abs=1e-6)
    certain = torch.tensor([[200.0, 0.0], [0.0, 200.0]])
    assert report.calibration(fake_rows(certain, torch.tensor([0, 1]), ("a", "b")))["error"] == 0


def test_worst_rows_are_the_most_confident_wrong_ones() -> None:
    outputs = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 9.0], [0.0, 2.0]])
    rows = fake_rows(outputs, torch.tensor([1, 1, 1, 0]), ("a", "b"))
    assert rows.worst == [0, 3, 1]
    card = rows.card(0)
    assert (card["true"], card["predicted"], card["sure"], card["right"]) == ("b", "a", "95.3%", False)


def test_worst_numbers_are_the_furthest_off() -> None:
    rows = fake_rows(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.5, -2.0, 3.0]))
    assert rows.worst == [1, 0]
    assert rows.card(1)["sure"] == "4"


def test_thinning_keeps_means_ends_and_gaps() -> None:
    x, y = np.arange(1.0, 9001.0), np.sin(np.arange(9000.0))
    thin_x, thin_y = report.thinned(x, y)
    assert len(thin_x) == len(thin_y) == report.POINTS
    assert thin_x[-1] == 9000
    assert thin_y.mean() == pytest.approx(y.mean(), abs=1e-9)
    y[:60], y[100] = np.nan, np.nan
    assert np.isnan(report.thinned(x, y)[1]).tolist() == [True, True] + [False] * (report.POINTS - 2)
    np.testing.assert_array_equal(report.thinned(x[:10], y[:10]), (x[:10], y[:10]))


def test_attributions_of_a_linear_model_add_up_and_leave_it_alone() -> None:
    processor = Supervised(Number(shape=(3,)), Category(names=("a", "b")), [0.0] * 3, [1.0] * 3)
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(3, 2)).train()
    x = torch.randn(7, 3)
    found = explanation.attributions(model, processor, x)
    assert found is not None
    logits, chosen = model.eval()(x).max(1)
    torch.testing.assert_close(found.sum(1), (logits - model[1].bias[chosen]).detach())
    model.train()
    explanation.attributions(model, processor, x)
    assert model.training
    assert model[0].training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_no_explanation_where_there_is_no_gradient() -> None:
    processor = Supervised(Number(shape=(2,)), Category(names=("a", "b")), [0.0] * 2, [1.0] * 2)

    class Step(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x > 0).float()

    class Deaf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(x), 2)

    assert explanation.attributions(Step(), processor, torch.randn(4, 2)) is None
    assert explanation.attributions(Deaf(), processor, torch.randn(4, 2)) is None


# ---- pages -----------------------------------------------------------------------------------------------------------


def test_digits_page_has_every_section_and_is_rebuilt_to_the_byte(tmp_path: Path) -> None:
    page = trained(tmp_path, "lenet", "digits", steps=30, batch_size=32)
    for heading in (
        "Curves",
        "Confusion",
        "Per class",
        "Calibration",
        "Worst mistakes",
        "Explanations",
        "How it was made",
    ):
        assert heading in page.body
    assert "The test part chose nothing" in page.body
    assert "95% interval" in page.body
    assert "shendu train lenet digits --set steps=30 --set batch_size=32" in page.body
    assert page.seen.count("svg") >= 4
    assert page.seen.count("img") == report.MISTAKES + 2 * explanation.EXPLAINED
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"{100 * result['metrics']['test']['accuracy']:.2f}%" in page.body
    (tmp_path / "run" / "report.html").unlink()
    assert shendu.report(tmp_path / "run") == tmp_path / "run" / "report.html"
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == page.text


def test_four_rows_without_a_test_part(tmp_path: Path) -> None:
    page = trained(tmp_path, "mlp", "xor", steps=60)
    assert "Training accuracy" in page.body
    assert "No rows were held back" in page.body
    assert "x[0]" in page.body


def test_a_model_that_is_built_has_no_curves_and_no_explanations(tmp_path: Path) -> None:
    page = trained(tmp_path, "neuron", "xor")
    assert "75.00%" in page.body
    assert "Curves" not in page.body
    assert "Explanations" not in page.body


def test_regression_page(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(400, 3, generator=g)
    y = x @ torch.tensor([1.0, -2.0, 0.0]) + 0.1 * torch.randn(400, generator=g)
    page = trained(tmp_path, "linear", (x, y), steps=50)
    for word in ("Test RMSE", "Predicted against true", "Residuals", "The rows that are furthest off", "x[1]"):
        assert word in page.body
    assert page.body.index("x[1]") < page.body.index("x[0]") < page.body.index("x[2]"), "by importance"


def test_two_hundred_classes_with_hostile_names(tmp_path: Path) -> None:
    names = np.array([f"<script>alert({i})</script>" if i % 2 else f'"&{i}' for i in range(200)])
    x = np.random.default_rng(0).standard_normal((1200, 4)).astype(np.float32)
    page = trained(tmp_path, "mlp", (x, names[np.arange(1200) % 200]), steps=3, hidden=(4,))
    assert "<script>alert(1)</script>" in page.body, "shown as text"
    assert "Most frequent confusions" in page.body
    assert "weakest first" in page.body
    assert "matrix" not in re.sub(r"<style>.*?</style>", "", page.text, flags=re.S)


def test_hostile_names_in_a_matrix(tmp_path: Path) -> None:
    names = np.array(['"><img src=x onerror=alert(1)>', "b"])
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    page = trained(tmp_path, "mlp", (x, names[np.arange(60) % 2]), steps=2, hidden=(4,))
    assert names[0] in page.body


def test_large_colour_pictures_stay_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (400, 128, 100, 3), dtype=np.uint8)
    page = trained(tmp_path, "perceptron", (pixels, rng.integers(0, 5, 400)), steps=2)
    assert page.seen.count("img") == report.MISTAKES + 2 * explanation.EXPLAINED


def test_gaps_and_several_stages_in_the_curves(tmp_path: Path) -> None:
    trained(tmp_path, "mlp", "xor", steps=4)
    folder = shendu.Run(tmp_path / "run").folder
    made = folder.read("recipe.json")
    made["stages"] = [{**made["stages"][0], "name": name} for name in ("greedy", "wake-sleep", "fine")]
    folder.write("recipe.json", made)
    (folder.path / "metrics.jsonl").unlink()
    total = 0
    for stage in (0, 2):
        for step in range(400):
            total += 1
            folder.log({"stage": stage, "step": step, "total": total, "loss": float("nan") if step < 200 else 5.0 ** -(step % 7),
                        "lr": 0.1, "energy": float("nan")})  # fmt: skip
    folder.log({"stage": 2, "step": 400, "total": total, "validation accuracy": None, "validation error-rate": None})
    page = checked(shendu.report(tmp_path / "run"))
    for word in ("greedy", "fine", "Training loss", "log scale", "Learning rate"):
        assert word in page.body
    assert "Energy" not in page.body, "nothing but gaps is no curve"
    assert "Validation" not in page.body


def test_outputs_that_are_no_numbers() -> None:
    outputs = torch.tensor([[float("nan"), 1.0], [float("inf"), 0.0], [0.0, 1.0]])
    rows = fake_rows(outputs, torch.tensor([0, 1, 1]), ("a", "b"))
    assert report.of_classes(rows)["calibration"]["error"] >= 0
    for value in ("nan", "inf"):
        rows = fake_rows(torch.tensor([2.0, float(value), 3.0]), torch.tensor([1.0, 2.0, 3.0]))
        assert rows.worst == [1, 0]
        assert "<svg" in report.of_numbers(rows)["scatter"]
        assert report.of_numbers(rows)["bias"] == "0.5"
    assert report.of_numbers(fake_rows(torch.tensor([float("nan")]), torch.tensor([1.0])))["spread"] == "–"


def test_untouched_by_the_caller_s_matplotlib_and_leaves_it_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    first = drawing.svg(drawing.drawing()[0], "a")
    assert dict(matplotlib.rcParams) == before
    assert drawing.svg(drawing.drawing()[0], "a") == first


# ---- explanations of every kind of input -----------------------------------------------------------------------------


class Says(torch.nn.Module):
    """A model that is a function of its input."""

    def __init__(self, said: Any) -> None:
        super().__init__()
        self.said, self.bias = said, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.said(x) + self.bias


def rows_of(
    column: Any, stored: np.ndarray, model: torch.nn.Module, targets: torch.Tensor, names: tuple[str, ...]
) -> Rows:
    target = Category(names=names) if names else Number(shape=tuple(targets.shape[1:]))
    width = (1,) if isinstance(column, Series) else column.shape[:1]
    processor = Supervised(column, target, [0.0] * width[0], [1.0] * width[0])
    source = Static(Split({"x": stored, "y": targets.numpy()}), processor, x="x", y="y", classes=len(names))
    with torch.no_grad():
        outputs = processor.call(model.eval(), source.batch(At(0, len(stored))))
    return Rows(processor, source, outputs, targets)


def test_a_columns_importance_is_what_its_shuffling_costs() -> None:
    """Of three columns one decides, one is ignored, and a date is shuffled in all its six numbers together."""
    row = Row(
        columns=(
            Column(name="age", kind="number"),
            Column(name="day", kind="date"),
            Column(name="job", kind="category", names=("a", "b")),
        )
    )
    stored = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    stored[:, 7] = 2 + np.arange(300) % 2
    model = Says(lambda x: torch.stack([-9 * x[:, 0], 9 * x[:, 0]], 1))
    targets = torch.from_numpy((stored[:, 0] > 0).astype(np.int64))
    rows = rows_of(row, stored, model, targets, ("no", "yes"))
    found = explanation.explain(model, rows, {"accuracy": METRICS["accuracy"]})
    assert [bar.name for bar in found.bars] == ["age", "day", "job"]
    assert found.bars[0].value == pytest.approx(0.5, abs=0.06), "sign of one number against another's"
    assert 0 < found.bars[0].spread < 0.05
    assert [bar.value for bar in found.bars[1:]] == [0, 0]
    assert "the accuracy falls when the column's values are shuffled among 300 rows" in found.how
    for row_number, parts in found.parts.items():
        assert parts[0].name == f"age = {stored[row_number, 0]:.6g}"
        assert [part.value for part in parts[1:]] == pytest.approx([0, 0], abs=1e-6)


def test_a_columns_part_is_against_other_rows_values() -> None:
    """A sum of columns: what each adds is its value less the mean of the others'."""
    row = Row(columns=(Column(name="a", kind="number"), Column(name="b", kind="number")))
    stored = np.arange(20, dtype=np.float32).reshape(10, 2)
    model = Says(lambda x: x[:, :1] * 3 + x[:, 1:])
    rows = rows_of(row, stored, model, torch.zeros(10), ())
    for number, parts in explanation.contributions(model, rows).items():
        added = {part.name.split(" = ")[0]: part.value for part in parts}
        others = torch.randperm(10, generator=chance.generator(explanation._DRAW))[: explanation.OTHERS].numpy()
        mean = stored[others].mean(0)
        assert added == pytest.approx(
            {"a": 3 * (stored[number, 0] - mean[0]), "b": stored[number, 1] - mean[1]}, rel=1e-4
        )


def test_words_that_are_taken_away() -> None:
    """A bag of words: what a word adds to the log-odds is the difference of its two weights."""
    text = Text(names=("good", "bad", "film"), length=5)
    weight = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 2.0], [1.5, 0.0], [0.0, 0.0]])
    model = Says(lambda x: weight[x.long()].sum(1))
    stored = text.parse(["good film", "bad film film", "good unheard"])[""]
    rows = rows_of(text, stored, model, torch.tensor([1, 0, 1]), ("neg", "pos"))
    marks = explanation.explain(model, rows, {}).marks
    assert {row: [word for word, _ in found] for row, found in marks.items()} == {
        0: ["good", "film"], 1: ["bad", "film", "film"], 2: ["good", "…"],
    }  # fmt: skip
    assert [value for _, value in marks[1]] == pytest.approx([1.5, 0, 0])
    assert [value for _, value in marks[0]] == pytest.approx([2, 0])


def test_letters_that_are_taken_away() -> None:
    column = Sequence(letters=("A", "C", "G", "T"), length=4)
    model = Says(lambda x: torch.stack([x[:, 2].sum(1), 0 * x[:, 2].sum(1)], 1))
    rows = rows_of(column, column.parse(["ACGT", "GG"])[""], model, torch.tensor([0, 0]), ("site", "none"))
    found = explanation.explain(model, rows, {})
    assert found.marks[0] == [("A", 0), ("C", 0), ("G", 1), ("T", 0)]
    assert [letter for letter, _ in found.marks[1]] == ["G", "G"]
    assert not found.spaced


def test_a_forecast_stands_beside_the_season_before() -> None:
    column = Series(window=6, horizon=4, season=3)
    stored = np.arange(60, dtype=np.float32).reshape(10, 6)
    model = Says(lambda x: x[:, -1:] + torch.arange(1, 5))
    rows = rows_of(column, stored, model, torch.zeros(10, 4), ())
    lines = explanation.explain(model, rows, {}).lines
    assert len(lines) == explanation.LINES
    assert {0, 9} <= set(lines)
    first = lines[0]
    assert first.history.tolist() == [0, 1, 2, 3, 4, 5]
    assert first.naive.tolist() == [3, 4, 5, 3]
    assert first.forecast.tolist() == [6, 7, 8, 9]


def test_a_table_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    age, job = rng.integers(18, 80, 200), rng.choice(["<b>nurse</b>", "baker"], 200)
    lines = [f"{a},{j},{'high' if a > 45 else 'low'}" for a, j in zip(age, job, strict=True)]
    (tmp_path / "people.csv").write_text("\n".join(["age,job,income", *lines]))
    page = trained(tmp_path, "tabm", str(tmp_path / "people.csv"), steps=20, members=4, hidden=(16,))
    for word in (
        "Explanations",
        "when the column's values are shuffled",
        "job = <b>nurse</b>",
        "age =",
        "95% interval",
    ):
        assert word in page.body
    assert "what each column adds to the probability of the predicted class" in page.body


def test_a_forecast_page(tmp_path: Path) -> None:
    months = np.arange("2015-01", "2024-01", dtype="datetime64[M]")
    sales = 50 + 10 * np.sin(np.arange(len(months)) * np.pi / 6) + np.random.default_rng(0).standard_normal(len(months))
    lines = [f"{m},{v:.2f}" for m, v in zip(months, sales, strict=True)]
    (tmp_path / "sales.csv").write_text("\n".join(["month,sales", *lines]))
    page = trained(tmp_path, "nbeats", str(tmp_path / "sales.csv"), steps=5, time="month", horizon=6)
    for word in (
        "Test MASE",
        "Forecasts",
        "dotted the last season repeated",
        "steps from the last known value",
    ):
        assert word in page.body


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_an_unfinished_run_says_how_to_finish_it(tmp_path: Path) -> None:
    trained(tmp_path, "mlp", "xor", steps=2)
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(UserError, match="not finished; continue it with: shendu train --resume"):
        shendu.report(tmp_path / "run")


def test_changed_data_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, "mlp", "xor", steps=2)
    folder = shendu.Run(tmp_path / "run").folder
    made = folder.read("recipe.json")
    made["data"]["hash"] = "0" * 64
    folder.write("recipe.json", made)
    with pytest.raises(UserError, match="xor has changed since"):
        shendu.report(tmp_path / "run")


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        shendu.report(tmp_path)


def test_the_command_says_how_the_data_was_read() -> None:
    reading = {
        "target": "in come",
        "time": "",
        "horizon": 12,
        "types": ["zip=category", "a=text"],
        "task": "auto",
        "skip_bad": True,
    }
    made = {"system": "tabm", "data": {"given": "people.csv", "reading": reading}, "choices": {"steps": 3}}
    assert report.command(made) == (
        "shendu train tabm people.csv --target 'in come' --horizon 12 --type zip=category --type a=text --skip-bad --set steps=3"
    )


def test_settings_of_several_numbers_are_written_as_they_are_typed(tmp_path: Path) -> None:
    trained(tmp_path, "mlp", "xor", steps=2, hidden=(3, 2))
    page = checked(shendu.report(shendu.Run(tmp_path / "run")))
    assert "--set hidden=3,2" in page.body
