"""The report: its figures against brute force and published values, and a sound page for every kind of run."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import shendu
from shendu import chance
from shendu.data.column import Column
from shendu.data.dataset import Split
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.fields.sequence import Sequence
from shendu.data.fields.series import Series
from shendu.data.fields.text import Text
from shendu.errors import UserError
from shendu.field import Field
from shendu.metrics.evaluation import Measured
from shendu.pages import cards, classes, drawing, explanation, numbers, report
from shendu.predictor import Predictor
from shendu.sources.rows import Rows
from shendu.tasks import Again, Task
from shendu.tasks.classify import Classify
from shendu.tasks.forecast import Forecast
from shendu.tasks.regress import Regress
from shendu.verbs.train import affordable

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


class Seen(NamedTuple):
    """What a page is made of: a model that was measured on some rows."""

    predictor: Predictor
    measured: Measured
    again: Again

    @property
    def task(self) -> Task:
        return self.predictor.task

    def looked_at(self) -> explanation.Asked:
        """The rows that are explained."""
        rows = torch.tensor(explanation.to_explain(self.task, self.measured))
        return explanation.Asked(*self, "x", rows, *cards.cards(self.task, rows, self.again))

    def explained(self) -> dict[str, Any]:
        return explanation.sections(*self, "test")[0].body


def seen(task: Task, model: torch.nn.Module, x: np.ndarray, targets: torch.Tensor, overlap: int = 1) -> Seen:
    source = Rows(Split({"x": x, "y": targets.numpy()}), task, overlap=overlap)
    predictor = Predictor(task, model, "cpu", "fp32")
    return Seen(predictor, predictor.evaluate(source, worst=True), predictor.again(source))


def told(outputs: torch.Tensor, targets: torch.Tensor, names: tuple[str, ...] = ()) -> Seen:
    """A model that says these outputs."""
    given = {"x": Number(shape=tuple(outputs.shape[1:]))}
    task = Classify(given, {"y": Category(names=names)}) if names else Regress(given, {"y": Number()})
    return seen(task, torch.nn.Identity(), outputs.numpy(), targets)


def of_classes(found: Seen) -> dict[str, Any]:
    confused, each = classes.sections(found.task.labels, found.measured.rows["predictions"], "test")
    return {**confused.body, **each.body}


def of_numbers(found: Seen) -> dict[str, Any]:
    (section,) = numbers.sections(found.measured.rows["errors"])
    return section.body


def worst(found: Seen) -> list[dict[str, Any]]:
    return cards.worst(found.task, found.measured, found.again, "test").body["cards"]


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

    def warned(found: Seen, name: str, low: float) -> str:
        return found.task.warning(dataclasses.replace(found.measured, intervals={name: (low, 1.0)}), "test")

    labelled = told(torch.eye(2)[targets], targets, ("no", "yes"))
    said = "10 test rows do not tell this model from one that always says no, which is right in 80.0% of them"
    assert [warned(labelled, "accuracy", low) for low in (0.72, 0.81)] == [said, ""]
    measured = told(torch.eye(2)[targets, 0], targets.float())
    said = "10 test rows do not tell this model from one that always says their mean"
    assert [warned(measured, "r2", low) for low in (-0.1, 0.1)] == [said, ""]
    assert warned(measured, "rmse", 0.1) == ""


def test_a_time_limit_measures_as_many_training_rows_as_fit() -> None:
    assert [affordable(seconds, 0.05) for seconds in (math.inf, 100.0, -3.0)] == [10_000, 2000, 500]
    assert affordable(1.0, 0.0) == 10_000


def test_class_figures_agree_with_counting() -> None:
    g = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(300, 4, generator=g), torch.randint(3, (300,), generator=g)
    names = ("a", "b", "c", "never")
    found = of_classes(told(outputs, targets, names))
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
    for i in range(classes.BINS):
        inside = (sure >= i / classes.BINS) & (sure < (i + 1) / classes.BINS)
        if inside.any():
            right = (predicted == targets)[inside].double().mean()
            error += float(inside.double().mean() * (right - sure[inside].double().mean()).abs())
    found = of_classes(told(outputs, targets, ("a", "b", "c")))
    assert found["calibration"]["error"] == pytest.approx(error, abs=1e-6)
    certain = torch.tensor([[200.0, 0.0], [0.0, 200.0]])
    assert of_classes(told(certain, torch.tensor([0, 1]), ("a", "b")))["calibration"]["error"] == 0


def test_worst_rows_are_the_most_confident_wrong_ones() -> None:
    outputs = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 9.0], [0.0, 2.0]])
    found = worst(told(outputs, torch.tensor([1, 1, 1, 0]), ("a", "b")))
    assert [card["row"] for card in found] == [0, 3, 1]
    card = found[0]
    assert (card["true"], card["predicted"], card["sure"], card["right"]) == ("b", "a", "95.3%", False)


def test_worst_numbers_are_the_furthest_off() -> None:
    found = worst(told(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.5, -2.0, 3.0])))
    assert [(card["row"], card["sure"]) for card in found] == [(1, "4"), (0, "0.5")]


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
    task = Classify({"x": Number(shape=(3,))}, {"y": Category(names=("a", "b"))})
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(3, 2)).train()
    x = torch.randn(7, 3)
    logits, chosen = model.eval()(x).max(1)
    model.train()
    found = explanation.attributions(task, model, {"x": x, "y": chosen})["x"]
    torch.testing.assert_close(found.sum(1), (logits - model[1].bias[chosen]).detach())
    assert model.training
    assert model[0].training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_no_explanation_where_there_is_no_gradient() -> None:
    task = Classify({"x": Number(shape=(2,))}, {"y": Category(names=("a", "b"))})

    class Step(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x > 0).float()

    class Deaf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(x), 2)

    batch = {"x": torch.randn(4, 2), "y": torch.zeros(4, dtype=torch.int64)}
    assert explanation.attributions(task, Step(), batch) == {}
    assert explanation.attributions(task, Deaf(), batch) == {}


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
    assert page.seen.count("img") == cards.MISTAKES + 2 * explanation.EXPLAINED
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"{100 * result['metrics']['test']['accuracy']:.2f}%" in page.body
    (tmp_path / "run" / "report.html").unlink()
    assert shendu.report(tmp_path / "run") == tmp_path / "run" / "report.html"
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == page.text


def test_four_rows_without_a_test_part(tmp_path: Path) -> None:
    page = trained(tmp_path, "mlp", "xor", steps=60)
    assert "Training accuracy" in page.body
    assert "No rows were held out" in page.body
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
    assert page.seen.count("img") == cards.MISTAKES + 2 * explanation.EXPLAINED


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
    assert of_classes(told(outputs, torch.tensor([0, 1, 1]), ("a", "b")))["calibration"]["error"] >= 0
    for value in ("nan", "inf"):
        found = told(torch.tensor([2.0, float(value), 3.0]), torch.tensor([1.0, 2.0, 3.0]))
        assert [card["row"] for card in worst(found)] == [1, 0]
        assert "<svg" in of_numbers(found)["scatter"]
        assert of_numbers(found)["bias"] == "0.5"
    assert of_numbers(told(torch.tensor([float("nan")]), torch.tensor([1.0])))["spread"] == "–"


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


def classified(
    field: Field, stored: np.ndarray, model: torch.nn.Module, targets: torch.Tensor, names: tuple[str, ...]
) -> Seen:
    return seen(Classify({"x": field}, {"y": Category(names=names)}), model, stored, targets)


def test_rows_of_every_class_are_explained_wherever_they_lie() -> None:
    """Sorted by class, as folders are read, with the last class wrong."""
    targets = torch.arange(4).repeat_interleave(700)
    said = 9 * torch.eye(5)[torch.where(targets == 3, 4, targets)]
    found = told(said, targets, ("a", "b", "c", "d", "e"))
    rows = explanation.to_explain(found.task, found.measured)
    assert rows[:3] == [0, 700, 1400], "the first right row of each class"
    assert targets[rows].tolist() == [0, 1, 2, 0, 3, 3, 3, 3], "half of them wrong"


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
    found = classified(row, stored, model, targets, ("no", "yes"))
    looked = found.looked_at()
    bars, used = explanation.importance(looked, "accuracy", higher=True)
    assert used == 300
    assert [bar.name for bar in bars] == ["age", "day", "job"]
    assert bars[0].value == pytest.approx(0.5, abs=0.06), "sign of one number against another's"
    assert 0 < bars[0].spread < 0.05
    assert [bar.value for bar in bars[1:]] == [0, 0]
    assert "the accuracy falls when the column's values are shuffled among 300 rows" in found.explained()["how"]
    for number, parts in zip(looked.rows.tolist(), explanation.contributions(looked), strict=True):
        assert parts[0].name == f"age = {stored[number, 0]:.6g}"
        assert [part.value for part in parts[1:]] == pytest.approx([0, 0], abs=1e-6)


def test_a_columns_part_is_against_other_rows_values() -> None:
    """A sum of columns: what each adds is its value less the mean of the others'."""
    row = Row(columns=(Column(name="a", kind="number"), Column(name="b", kind="number")))
    stored = np.arange(20, dtype=np.float32).reshape(10, 2)
    model = Says(lambda x: x[:, :1] * 3 + x[:, 1:])
    looked = seen(Regress({"x": row}, {"y": Number()}), model, stored, torch.zeros(10)).looked_at()
    for number, parts in zip(looked.rows.tolist(), explanation.contributions(looked), strict=True):
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
    found = classified(text, stored, model, torch.tensor([1, 0, 1]), ("neg", "pos")).explained()
    assert found["spaced"]
    assert {card["row"]: [(mark["text"], mark["value"]) for mark in card["marks"]] for card in found["cards"]} == {
        0: [("good", "+2"), ("film", "+0")],
        1: [("bad", "+1.5"), ("film", "+0"), ("film", "+0")],
        2: [("good", "+2"), ("…", "+0")],
    }


def test_letters_that_are_taken_away() -> None:
    column = Sequence(letters=("A", "C", "G", "T"), length=4)
    model = Says(lambda x: torch.stack([x[:, 2].sum(1), 0 * x[:, 2].sum(1)], 1))
    stored = column.parse(["ACGT", "GG"])[""]
    found = classified(column, stored, model, torch.tensor([0, 0]), ("site", "none")).explained()
    first, second = (card["marks"] for card in found["cards"])
    assert [(mark["text"], mark["strength"]) for mark in first] == [("A", 0), ("C", 0), ("G", 100), ("T", 0)]
    assert [mark["text"] for mark in second] == ["G", "G"]
    assert not found["spaced"]


def test_a_forecast_stands_beside_the_season_before(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Series(window=6, horizon=4, season=3)
    stored = np.arange(60, dtype=np.float32).reshape(10, 6)
    model = Says(lambda x: x[:, -1:] + torch.arange(1, 5))
    truth = torch.zeros(10, 4)
    found = seen(Forecast({"x": column}, {"y": Number(shape=(4,))}), model, stored, truth, overlap=4)
    drawn: list[tuple[np.ndarray, ...]] = []
    line = numbers.line
    monkeypatch.setattr(numbers, "line", lambda *given: drawn.append(given[:4]) or line(*given))
    pairs, forecasts = found.task.sections(found.measured, found.again, model, "test")
    assert [card["row"] for card in forecasts.body["lines"]] == [0, 7, 8, 9], "first, last, furthest off"
    assert [values.tolist() for values in drawn[0]] == [
        [0, 1, 2, 3, 4, 5], [0, 0, 0, 0], [6, 7, 8, 9], [3, 4, 5, 3],
    ], "the window, what came, the forecast, the season before"  # fmt: skip
    assert pairs.body["bias"] == drawing.figure(float(np.mean([r * 6 + 5 + h for r in range(10) for h in range(1, 5)])))


def test_of_many_forecasts_some_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "DOTS", 10)
    task = Forecast({"x": Series(window=2, horizon=1)}, {"y": Number(shape=(1,))})
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    found = seen(task, Says(lambda x: x[:, -1:]), x, torch.zeros(100, 1))
    pairs, _ = task.sections(found.measured, found.again, found.predictor.model, "test")
    assert (pairs.body["some"], pairs.body["rows"]) == (10, 100)
    assert pairs.body["bias"] == "100", "of the first, the last, and those evenly between"


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
        "Predicted against true",
        "Residuals",
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
