"""Runs beside each other: counts against counting by hand, a sound page, and a plot in which no name covers another."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text
from torch import nn

import shendu
from shendu import Run, cli
from shendu.core import Batch, Outputs
from shendu.data.fields.number import Number
from shendu.errors import UserError
from shendu.run import Folder
from shendu.tasks import Task
from shendu.verbs import compare as verb
from shendu.verbs.compare import Comparison, Line, compare


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        shendu.train(system, "digits", out=folder / name, steps=5, quiet=True, precision="fp32", **choices)
        for name, system, choices in (
            ("a", "lenet", {}), ("b", "mlp", {"hidden": "8"}), ("c", "mlp", {"hidden": "16,8"}), ("d", "lenet", {}),
        )
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "SPENT", 0.0)


def line(label: str, figure: float, cost: int, interval: list[float] | None = None) -> Line:
    return Line(
        run=label, label=label, system=label, data="digits", figure=figure, interval=interval, parameters=1000,
        multiply_adds=cost, training_per_second=1.0, inference_per_second=1.0, seconds=1.0, device="cpu", precision="fp32",
    )  # fmt: skip


# ---- figures


def test_every_run_has_its_line(runs: list[Run]) -> None:
    found = compare(*runs[:3])
    assert (found.metric, found.part) == ("accuracy", "test")
    assert [each.label for each in found.lines] == ["lenet", "mlp hidden=8", "mlp hidden=16,8"]
    for each, run in zip(found.lines, runs, strict=False):
        assert each.figure == run.result["metrics"]["test"]["accuracy"]
        assert each.interval == run.result["intervals"]["test"]["accuracy"]
        assert each.parameters == sum(p.numel() for p in run.model.parameters())
        assert each.training_per_second == run.result["samples_per_second"]
        assert each.inference_per_second > 0
    lenet = 6 * 25 * 28 * 28 + 16 * 6 * 25 * 10 * 10 + 400 * 120 + 120 * 84 + 84 * 10
    assert [each.multiply_adds for each in found.lines] == [lenet, 64 * 8 + 8 * 10, 64 * 16 + 16 * 8 + 8 * 10]
    assert found.notes == ()
    assert json.loads(json.dumps(found.to_json()))["runs"][1]["system"] == "mlp"


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(5, 7, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0]


class Attending(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)


class Asking(Task):
    """Ones in this shape, by way of a product."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__({"x": Number(shape=shape[1:])}, {})
        self.ones = shape

    def example(self, n: int) -> Batch:
        return {"x": torch.ones(n, *self.ones[1:])}

    def prepare(self, stored: Batch) -> Batch:
        return {"x": stored["x"] @ torch.eye(stored["x"].shape[-1])}

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        return {"logits": model(batch["x"])}


@pytest.mark.parametrize(
    ("model", "shape", "wanted"),
    [
        (nn.Linear(5, 7), (1, 5), 35),
        (nn.Conv2d(4, 6, 3, groups=2, bias=False), (1, 4, 8, 8), 6 * 2 * 9 * 36),
        (Recurrent(), (1, 11, 5), 11 * 4 * 7 * (5 + 7)),
        (Attending(), (1, 2, 9, 4), 2 * 2 * 9 * 9 * 4),
        (nn.ReLU(), (1, 5), 0),
    ],
)
def test_multiply_adds_by_hand(model: nn.Module, shape: tuple[int, ...], wanted: int) -> None:
    """Of the network alone: what prepares its rows (here a product) is none of it."""
    assert verb.multiply_adds(model, Asking(shape)) == wanted


def test_runs_that_are_alike_are_told_apart_by_their_folders(runs: list[Run]) -> None:
    assert verb.labels([runs[0], runs[3]]) == ["lenet (a)", "lenet (d)"]
    assert verb.labels([runs[0]]) == ["lenet"]


def test_mistakes(runs: list[Run], tmp_path: Path, one_line: Any) -> None:
    numbers = shendu.train(
        "linear", (torch.rand(40, 3).numpy(), torch.rand(40).numpy()), out=tmp_path / "n", quiet=True
    )
    unfinished = tmp_path / "u"
    unfinished.mkdir()
    Folder(unfinished).write("recipe.json", {})
    for given, text in (
        ((), "compare needs runs: shendu compare RUN RUN …; `shendu runs` lists those under runs/"),
        ((tmp_path / "none",), f"{tmp_path / 'none'} is no run (it has no recipe.json); `shendu runs` lists those under runs/"),
        ((unfinished,), f"{unfinished} is not finished; continue it with: shendu train --resume {unfinished}"),
        ((runs[0], numbers), f"{numbers.path} and {runs[0].path} have no figure in common; compare runs of one task"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            compare(*given)
        assert one_line(caught.value) == text
    left = f"left out, since it is not finished: {unfinished} (continue it with: shendu train --resume {unfinished})"
    assert left in compare(unfinished, runs[0]).notes
    with pytest.raises(UserError) as caught:
        Comparison(metric="accuracy", part="test", lines=(), notes=()).write(tmp_path / "x.pdf")
    assert one_line(caught.value) == "a comparison is written as .html, .png, .svg; write it like --out compare.html"


def test_what_is_not_like_with_like_is_said(runs: list[Run], tmp_path: Path) -> None:
    gates = shendu.train("mlp", "xor", out=tmp_path / "x", steps=2, quiet=True)
    results = [runs[0].result, {**gates.result, "precision": "bf16"}]
    assert list(verb.notes([runs[0], gates], results)) == [
        "the runs are of different data (digits, xor), so their figures are not of one kind",
        "they were trained with another precision each (fp32, bf16), so their training speeds are not of one kind",
    ]


# ---- for the eye


def crowd(count: int) -> Comparison:
    """Networks of nearly the same figure and cost."""
    lines = [
        line(f"network-{i} depth={i}", 0.9 + 0.002 * (i % 3), int(4e7 * 1.12**i), [0.89 + 0.002 * (i % 3), 0.915])
        for i in range(count)
    ]
    return Comparison(metric="accuracy", part="test", lines=tuple(lines), notes=())


@pytest.mark.parametrize("count", [1, 2, 7, 14])
def test_no_name_covers_another_or_leaves_the_plot(count: int) -> None:
    figure = verb.plot(crowd(count))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    assert {label.get_text() for label in labels} == {f"network-{i} depth={i}" for i in range(count)}
    assert len(labels) == count
    boxes = [tuple(Text.get_window_extent(label, canvas.get_renderer()).extents) for label in labels]
    frame = tuple(axes.get_window_extent().extents)
    dots = axes.transData.transform([(each.multiply_adds, each.figure) for each in crowd(count).lines])
    for i, box in enumerate(boxes):
        assert verb.area(box) - verb.shared(box, frame) < 1
        assert not any(verb.shared(box, other) > 1 for other in boxes[i + 1 :])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in dots)


def test_networks_without_products_and_a_single_one_are_drawn(tmp_path: Path) -> None:
    lines = (line("words", 0.5, 0), line("other", 0.5, 0))
    for some in (lines, lines[:1]):
        target = Comparison(metric="accuracy", part="test", lines=some, notes=()).write(tmp_path / "deep" / "p.png")
        assert target.read_bytes().startswith(b"\x89PNG")


class Page(HTMLParser):
    """Fails where a tag is not closed or something is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "img")
        assert all(str(value).startswith("#") for name, value in attrs if name in ("src", "href", "xlink:href"))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_on_the_command_line(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    out = tmp_path / "compare.html"
    monkeypatch.setattr(sys, "argv", ["shendu", "compare", *(str(run.path) for run in runs[:3]), "--out", str(out)])
    cli.main()
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[:4] == ["run", "accuracy", "parameters", "multiply-adds"]
    assert rows[1].split()[:4] == ["lenet", f"{runs[0].result['metrics']['test']['accuracy']:.4f}", "61,706", "417k"]
    assert rows[-1] == str(out)
    text = out.read_text()
    assert "http" not in text
    words = Page(text).words
    for word in ("mlp hidden=16,8", "61,706", "multiply-adds", "rows/s inference"):
        assert word in words
    monkeypatch.setattr(sys, "argv", ["shendu", "compare", str(runs[0].path), "--json"])
    cli.main()
    assert json.loads(capsys.readouterr().out)["runs"][0]["parameters"] == 61706
