"""report: one page for the eye about a finished run: its curves, what it confuses, its worst mistakes and why."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor, nn

from shendu import parallel, registry
from shendu.core import Recipe, Remarks, Running
from shendu.data.processors.language import Language
from shendu.data.processors.supervised import Supervised
from shendu.errors import UserError
from shendu.measure import Outputs, measure
from shendu.run import Folder, write_text
from shendu.sources.static import Static
from shendu.verbs.drawing import (
    INK,
    LINE,
    MAIN,
    PERCENT,
    SECOND,
    drawing,
    figure,
    heat,
    labelled,
    number_axis,
    picture,
    share_axis,
    svg,
)
from shendu.verbs.evaluate import _of_run
from shendu.verbs.explanation import Bar, Line, explain
from shendu.verbs.galleries import OF, PARTS
from shendu.verbs.opened import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = dict[str, Callable[[], Running]]

MATRIX_CLASSES, PAIRS, CLASS_ROWS = 30, 20, 200
"""Up to how many classes the confusion matrix is drawn, how many confused pairs are listed instead, classes in a table."""
MISTAKES, MISTAKES_TOLD = 24, 12
"""Rows that are shown as pictures, and as text."""
BINS, CERTAIN, POINTS, DOTS = 15, 10, 300, 800
"""Bins of the calibration curve, and rows below which one is drawn pale; points of a curve; dots of a scatter plot."""
TITLES = {"rmse": "RMSE", "mae": "MAE", "r2": "R²", "auc": "AUC", "mase": "MASE", "smape": "sMAPE",
          "bits-per-character": "bits per character", "bleu": "BLEU"}  # fmt: skip
LOGGED = ("stage", "step", "total", "seconds", "samples")
"""Entries of a line of metrics.jsonl that are no curve."""


def report(run: Run | str | Path, *, data_dir: str | Path | None = None) -> Path:
    """Writes the report of a finished run anew from its data, and returns its path.

    Raises UserError for what is no finished run, and for data that is missing or has changed.
    """
    from shendu.verbs.train import TRAIN_FIGURE_ROWS  # train writes reports, so it imports this module

    opened = run if isinstance(run, Run) else Run(run)
    if opened.result is None:
        raise opened.unfinished()
    made, dataset = opened.recipe, _of_run(opened, data_dir)
    if dataset.hash != made["data"]["hash"]:
        raise UserError(f"{dataset.name} has changed since {opened.path} was trained on it; restore it, or train anew")
    recipe = registry.load(made["system"]).recipe(dataset, **made["choices"])
    part = next(part for part in PARTS if part in recipe.splits)
    device, shown = parallel.choose_device(), Outputs()
    model = parallel.place(opened.model, device)
    most = TRAIN_FIGURE_ROWS if part == "train" else 0
    precision = opened.result["precision"]
    measure(model, recipe.processor, recipe.splits[part], {"outputs": lambda: shown}, device, precision, most)
    return write(opened.folder, recipe, model, shown, part)


def write(folder: Folder, recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> Path:
    """Writes report.html from the outputs that were gathered on a part, and returns its path.

    `shown` holds the outputs of the part's first rows, in order: logits [B, classes] or values [B, ...].
    """
    made, result = folder.read("recipe.json"), folder.read("result.json")
    history = folder.history()
    page = {
        "made": made, "result": result, "sure": result.get("intervals", {}), "part": part, "parts": PARTS,
        "summary": registry.entry(made["system"]).summary,
        "figures": list(dict.fromkeys(name for figures in result["metrics"].values() for name in figures)),
        "curves": curves(history, made, recipe), "command": command(made), "settings": settings(made),
        "environment": folder.read("env.json") or {},
        "notes": [*made["data"].get("notes", ()), *recipe.notes, *([model.remark()] if isinstance(model, Remarks) else [])],
        "selection": selection(history, made, recipe.metrics),
        "tiles": [headline(result, part), *tiles(recipe.splits[part].rows, made, result, part)],
        "rows": len(torch.cat(shown.outputs)), "galleries": OF[type(recipe.processor)](recipe, model, shown, part),
        "supervised": isinstance(recipe.processor, Supervised), "language": isinstance(recipe.processor, Language),
        **(of_supervised(recipe, model, shown, part) if isinstance(recipe.processor, Supervised) else {}),
    }  # fmt: skip
    path = folder.path / "report.html"
    write_text(path, template().render(page))
    return path


def of_supervised(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> dict[str, Any]:
    """What a page shows of a learned target: confusions or residuals, the worst mistakes, explanations."""
    processor, source = recipe.processor, recipe.splits[part]
    assert isinstance(processor, Supervised)
    assert isinstance(source, Static)
    rows = Rows(processor, source, torch.cat(shown.outputs).float(), torch.cat(shown.targets))
    return {
        "labelled": bool(processor.labels),
        **(of_classes(rows) if processor.labels else of_numbers(rows)),
        "mistakes": [rows.card(row) for row in rows.worst[: MISTAKES if rows.pictured else MISTAKES_TOLD]],
        "wrong": int((rows.badness > 0).sum()),
        "pictured": rows.pictured, **explanations(model, rows, recipe.metrics),
    }  # fmt: skip


def template() -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    house = jinja2.Environment(
        loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    house.filters.update(figure=figure, plain=plain, between=between)
    return house.get_template("report.html")


# ---- figures as text -------------------------------------------------------------------------------------------------


def plain(value: Any) -> str:
    """A setting as a person would type it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def headline(result: dict[str, Any], part: str) -> dict[str, str]:
    """The task's first figure with its 95% interval."""
    name, value = next(iter(result["metrics"][part].items()))
    sure = result.get("intervals", {}).get(part, {}).get(name)
    more = f"95% interval {between(sure, name)}" if sure else "too few rows for an interval"
    return {"name": f"{PARTS[part]} {TITLES.get(name, name)}", "value": figure(value, name), "more": more}


def between(ends: list[float], name: str = "") -> str:
    """`91.0–96.2%`."""
    low, high = (figure(end, name) for end in ends)
    return f"{low.removesuffix('%')}\u2060–\u2060{high}"


def tiles(rows: int, made: dict[str, Any], result: dict[str, Any], part: str) -> list[dict[str, str]]:
    trained, compiled = made["data"]["rows"]["train"], ", compiled" if result["compiled"] else ""
    given = [
        (f"{PARTS[part]} rows", f"{rows:,}", f"trained on {trained:,}"),
        ("Parameters", f"{result['parameters']:,}", "trained weights" if result["parameters"] else "nothing is learned by gradient"),
        ("Training", duration(result["seconds"]), f"{result['steps']:,} steps"),
        ("Speed", f"{result['samples_per_second']:,.0f}", "samples per second"),
        ("Device", result["device"], f"{result['precision']}{compiled}"),
    ]  # fmt: skip
    return [{"name": name, "value": value, "more": more} for name, value, more in given]


def command(made: dict[str, Any]) -> str:
    """The line that makes this run again."""
    words = ["shendu", "train", made["system"], made["data"]["given"]]
    for name, value in made["data"].get("reading", {}).items():
        option = "--type" if name == "types" else f"--{name.replace('_', '-')}"
        given = value if isinstance(value, list) else [value] if value not in ("", 0, False, "auto") else []
        words += [word for one in given for word in ([option] if one is True else [option, str(one)])]
    for name, value in made["choices"].items():
        words += ["--set", f"{name}={plain(value)}"]
    return shlex.join(words)


def settings(made: dict[str, Any]) -> dict[str, Any]:
    """The network's sizes and how it was trained: what was set, and what is not at rest (0, none, auto)."""
    how = made["settings"]
    elsewhere = {"seed", "steps", "batch_size", "accumulate"}  # in lines of their own
    elsewhere |= {"momentum"} if how.get("optimizer") not in ("momentum", "nesterov", "muon") else set()
    active = {name: value for name, value in how.items() if value not in (0, [], "inf", "auto", "")}
    found = {**made["choices"], **made["model"], **active}
    return {name: value for name, value in found.items() if name not in elsewhere}


def selection(history: list[dict[str, Any]], made: dict[str, Any], metrics: Metrics) -> str:
    """Which weights were kept, and why."""
    averaged = f" averaged over the steps (decay {made['ema']:g})" if made["ema"] else ""
    best = chosen(history, made["select_by"], metrics)
    if best is None:
        return f"The weights{averaged} after the last step were kept."
    name, step, value = (
        made["select_by"],
        best["total"],
        figure(best[f"validation {made['select_by']}"], made["select_by"]),
    )
    return f"Of the weights{averaged}, those with the best {name} on the validation part were kept: {value}, at step {step:,}."


def chosen(history: list[dict[str, Any]], select_by: str, metrics: Metrics) -> dict[str, Any] | None:
    """The line of the validation that decided, the first of equals; None where there was none."""
    lines = [line for line in history if line.get(f"validation {select_by}") is not None]
    if not lines or select_by not in metrics:
        return None
    sign = 1 if metrics[select_by]().higher else -1
    return max(lines, key=lambda line: sign * line[f"validation {select_by}"])


# ---- rows ------------------------------------------------------------------------------------------------------------


class Rows:
    """The measured rows of a part: outputs and targets, and how wrong each one is (0: right)."""

    def __init__(self, processor: Supervised, source: Static, outputs: Tensor, targets: Tensor) -> None:
        self.processor, self.source, self.outputs, self.targets = processor, source, outputs, targets
        self.pictured = not isinstance(processor.input.show(source.stored(0, 1)["x"][0].cpu().numpy()), str)
        if processor.labels:
            self.shares = outputs.nan_to_num().softmax(1)
            self.sureness, self.predicted = self.shares.max(1)
            self.badness = self.sureness * (self.predicted != targets)
        else:
            self.errors = (outputs.double() - targets.reshape(outputs.shape)).reshape(len(outputs), -1)
            self.badness = self.errors.square().mean(1).sqrt().nan_to_num(math.inf)
        order = self.badness.argsort(descending=True, stable=True)
        self.worst: list[int] = order[self.badness[order] > 0].tolist()

    def inputs(self, rows: Iterable[int]) -> Tensor:
        """Prepared inputs of some rows."""
        return torch.cat([self.source.batch(row, 1, None)["x"] for row in rows])

    def card(self, row: int) -> dict[str, Any]:
        """What the page shows of one row."""
        labels = self.processor.labels
        if labels:
            predicted = int(self.predicted[row])
            words = {"true": labels[int(self.targets[row])], "predicted": labels[predicted]}
            words["sure"] = f"{100 * float(self.sureness[row]):.1f}%"
        else:
            words = {"true": values(self.targets[row]), "predicted": values(self.outputs[row])}
            words["sure"] = figure(float(self.badness[row]))
        stored = self.processor.input.show(self.source.stored(row, 1)["x"][0].cpu().numpy())
        right = bool(self.badness[row] == 0)
        shown = {"input": stored} if isinstance(stored, str) else {"picture": picture(stored)}
        return {"row": row, "right": right, **words, **shown}


def values(t: Tensor) -> str:
    """The first few numbers of a row."""
    numbers = t.reshape(-1).tolist()
    return ", ".join(figure(v) for v in numbers[:6]) + (", …" if len(numbers) > 6 else "")


# ---- drawings --------------------------------------------------------------------------------------------------------


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS points: the means of equal stretches; NaN only where a whole stretch is NaN."""
    if len(x) <= POINTS:
        return x, y
    bins = np.arange(len(x)) * POINTS // len(x)
    there = np.isfinite(y)
    count = np.bincount(bins, there, minlength=POINTS)
    total = np.bincount(bins, np.where(there, y, 0.0), minlength=POINTS)
    ends = np.flatnonzero(np.diff(bins, append=POINTS))
    return x[ends], np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curves(history: list[dict[str, Any]], made: dict[str, Any], recipe: Recipe) -> list[dict[str, Any]]:
    """One drawing per logged figure over the steps: the loss, validation, the learning rate, what else was logged."""
    names = list(dict.fromkeys(name for line in history for name in line if name not in LOGGED))
    if "validation accuracy" in names and "validation error-rate" in names:
        names.remove("validation error-rate")
    rank = {"loss": 0, "lr": 2}
    names.sort(key=lambda name: 1 if name.startswith("validation ") else rank.get(name, 3))
    panels: list[dict[str, Any]] = []
    for name in names:
        lines = [line for line in history if name in line]
        x = np.array([line["total"] for line in lines], dtype=float)
        y = np.array([line[name] for line in lines], dtype=float)
        if np.isfinite(y).any():
            panels.append(curve(name, x, y, history, made, recipe, f"curve{len(panels)}"))
    return panels


def curve(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    history: list[dict[str, Any]],
    made: dict[str, Any],
    recipe: Recipe,
    key: str,
) -> dict[str, Any]:
    """One figure over the steps, with the stages set off where there are several."""
    drawn, axes = drawing()
    few = len(x) <= 40
    stage = np.array([line["stage"] for line in history if name in line])
    for number in np.unique(stage):
        steps, figures = thinned(x[stage == number], y[stage == number])
        axes.plot(steps, figures, color=MAIN, linewidth=1.5, marker="o" if few else None, markersize=3.5)
    finite = y[np.isfinite(y)]
    notes = [f"last {figure(float(finite[-1]), name)}"] if name != "lr" else [f"highest {figure(float(finite.max()))}"]
    best = chosen(history, made["select_by"], recipe.metrics)
    if best is not None and name == f"validation {made['select_by']}":
        axes.plot([best["total"]], [best[name]], color=SECOND, marker="o", markersize=6, linestyle="none")
        notes = [f"best {figure(best[name], name)}"]
    last = max(line["total"] for line in history)
    axes.set_xlim(-0.015 * last, 1.015 * last)
    number_axis(axes.xaxis)
    if name.removeprefix("validation ") in PERCENT:
        share_axis(axes.yaxis)
    elif name == "loss" and finite.min() > 0 and finite.max() > 50 * finite.min():
        from matplotlib.ticker import FuncFormatter, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
        notes.append("log scale")
    else:
        number_axis(axes.yaxis)
    if name == "lr":
        axes.set_ylim(0, 1.08 * finite.max() or 1)
    stages_apart(axes, history, made)
    labelled(axes, "step")
    titles = {
        "loss": "Training loss",
        "lr": "Learning rate",
        **{f"validation {k}": f"Validation {v}" for k, v in TITLES.items()},
    }
    title = titles.get(name, name[:1].upper() + name[1:])
    return {"title": title, "note": ", ".join(notes), "svg": svg(drawn, key)}


def stages_apart(axes: Axes, history: list[dict[str, Any]], made: dict[str, Any]) -> None:
    """Every other stage shaded, and its name written in where there is room."""
    reached: dict[int, int] = {}
    for line in history:
        reached[line["stage"]] = max(line["total"], reached.get(line["stage"], 0))
    if len(reached) < 2:
        return
    begin, whole = 0, max(reached.values())
    for i, (number, end) in enumerate(sorted(reached.items())):
        if i % 2:
            axes.axvspan(begin, end, color=LINE, alpha=0.45, linewidth=0)
        label = made["stages"][number]["name"] if number < len(made["stages"]) else str(number)
        if (end - begin) / whole > 0.018 * len(label) + 0.02:
            axes.annotate(label, ((begin + end) / 2, 1.02), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                          fontsize=8, color=INK, annotation_clip=False)  # fmt: skip
        begin = end


# ---- classes ---------------------------------------------------------------------------------------------------------


def of_classes(rows: Rows) -> dict[str, Any]:
    """Confusions, the figures of each class, and the calibration."""
    labels, true, predicted = rows.processor.labels, rows.targets, rows.predicted
    count = partial(torch.bincount, minlength=len(labels))
    support, claimed, hits = count(true), count(predicted), count(true[true == predicted])
    recall, precision = hits / support.clamp(min=1), hits / claimed.clamp(min=1)
    f1 = 2 * hits / (support + claimed).clamp(min=1)
    order = list(range(len(labels))) if len(labels) <= MATRIX_CLASSES else f1.argsort(stable=True).tolist()
    order = [k for k in order if support[k] or claimed[k]]
    table = [{
        "name": labels[k], "precision": float(precision[k]) if claimed[k] else None,
        "recall": float(recall[k]) if support[k] else None, "f1": float(f1[k]), "rows": int(support[k]),
    } for k in order[:CLASS_ROWS]]  # fmt: skip
    return {
        "classes": labels, "table": table, "macro": float(f1[order].mean()), "many": len(labels) > MATRIX_CLASSES,
        "unlisted": max(0, len(order) - CLASS_ROWS),
        "matrix": matrix(rows) if len(labels) <= MATRIX_CLASSES else [], "pairs": pairs(rows, support),
        "calibration": calibration(rows),
    }  # fmt: skip


def matrix(rows: Rows) -> list[list[tuple[int, float]]]:
    """Per true class, per predicted class: the count, and its share of the true class's rows."""
    classes = len(rows.processor.labels)
    counts = torch.bincount(rows.targets * classes + rows.predicted, minlength=classes**2).view(classes, classes)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return [list(zip(c, s, strict=True)) for c, s in zip(counts.tolist(), shares.tolist(), strict=True)]


def pairs(rows: Rows, support: Tensor) -> list[dict[str, Any]]:
    """The most frequent confusions, as (true, taken for, how often, share of the true class's rows)."""
    labels, wrong = rows.processor.labels, rows.badness > 0
    codes, counts = torch.unique(rows.targets[wrong] * len(labels) + rows.predicted[wrong], return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:PAIRS]
    found = []
    for code, times in zip(codes[order].tolist(), counts[order].tolist(), strict=True):
        true, predicted = divmod(code, len(labels))
        found.append(
            {"true": labels[true], "predicted": labels[predicted], "times": times, "share": times / int(support[true])}
        )
    return found


def calibration(rows: Rows) -> dict[str, Any]:
    """Accuracy against stated probability, and the expected calibration error over equal bins (Guo et al. 2017)."""
    sure = rows.sureness.double().numpy()
    right = (rows.badness == 0).double().numpy()
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    there = count > 0
    stated = np.bincount(bins, sure, minlength=BINS)[there] / count[there]
    true = np.bincount(bins, right, minlength=BINS)[there] / count[there]
    weight = count[there] / len(sure)
    drawn, axes = drawing(3.4, 0.26)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    many = count[there] >= CERTAIN
    axes.plot(stated[many], true[many], color=MAIN, linewidth=1.3)
    for dots, alpha in ((many, 1.0), (~many, 0.35)):
        axes.scatter(
            stated[dots], true[dots], s=14 + 160 * weight[dots], color=MAIN, alpha=alpha, linewidths=0, zorder=3
        )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    share_axis(axes.xaxis)
    share_axis(axes.yaxis)
    labelled(axes, "stated probability", "share that was right")
    return {"svg": svg(drawn, "calibration"), "error": float((weight * np.abs(true - stated)).sum())}


# ---- numbers ---------------------------------------------------------------------------------------------------------


def of_numbers(rows: Rows) -> dict[str, Any]:
    """Predicted against true, and the residuals."""
    true = rows.targets.reshape(len(rows.targets), -1).double().numpy()
    predicted = rows.outputs.reshape(true.shape).double().numpy()
    picked = np.unique(np.linspace(0, len(true) - 1, min(len(true), DOTS // true.shape[1] + 1)).round().astype(int))
    x, y = true[picked].ravel(), predicted[picked].ravel()
    both = np.concatenate([x, y])
    finite = both[np.isfinite(both)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    pad = 0.04 * (high - low or 1.0)
    scatter, axes = drawing(3.4, 0.26)
    ends = [low - pad, high + pad]
    axes.plot(ends, ends, color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    axes.scatter(x, y, s=9, color=MAIN, alpha=0.45, linewidths=0, zorder=3)
    axes.set(xlim=ends, ylim=ends)
    labelled(axes, "true", "predicted")
    residuals, below = drawing(3.4, 0.26)
    left = rows.errors[rows.errors.isfinite()].numpy()
    below.hist(left, bins=min(40, max(5, round(math.sqrt(len(left))))), color=MAIN, alpha=0.8, edgecolor="none")
    below.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    labelled(below, "predicted minus true", "rows" if true.shape[1] == 1 else "values")
    for drawn in (axes, below):
        number_axis(drawn.xaxis)
        number_axis(drawn.yaxis)
    return {
        "scatter": svg(scatter, "scatter"), "residuals": svg(residuals, "residuals"), "dots": len(picked),
        "bias": figure(left.sum() / max(1, len(left))), "spread": figure(float(np.median(np.abs(left))) if len(left) else None),
    }  # fmt: skip


# ---- explanations ----------------------------------------------------------------------------------------------------


def explanations(model: nn.Module, rows: Rows, metrics: dict[str, Callable[[], Running]]) -> dict[str, Any]:
    """`bars`: what counts altogether; `explained`: cards of single rows with what speaks for their prediction."""
    found = explain(model, rows, metrics)
    most = max((abs(bar.value) for bar in found.bars), default=0.0) or 1.0
    bars = [
        {"name": bar.name, "share": max(0.0, bar.value) / most, "value": weight(bar.value),
         "spread": f"±{weight(bar.spread)}" if bar.spread else ""}
        for bar in found.bars
    ]  # fmt: skip
    cards = [{**rows.card(row), "heat": heat(values)} for row, values in found.maps.items()]
    cards += [{**rows.card(row), "marks": marked(marks)} for row, marks in found.marks.items()]
    cards += [
        {**rows.card(row), "parts": signed(parts, bool(rows.processor.labels))} for row, parts in found.parts.items()
    ]
    cards += [{**rows.card(row), "line": forecast(each, f"forecast{row}")} for row, each in found.lines.items()]
    return {"bars": bars, "inputs": found.inputs, "how": found.how, "explained": cards, "spaced": found.spaced,
            "forecasts": bool(found.lines),
            "heard": type(rows.processor.input).__name__ == "Audio"}  # fmt: skip


def forecast(line: Line, name: str) -> Markup:
    """What came before, what came then, what was forecast, and the season before repeated."""
    drawn, axes = drawing(2.6, 0.2)
    ahead = np.arange(1, len(line.truth) + 1)
    axes.plot(np.arange(1 - len(line.history), 1), line.history, color=INK, linewidth=1.2)
    joined = np.append(0, ahead)
    for values, colour, style in ((line.naive, INK, (0, (2, 2))), (line.truth, INK, "-"), (line.forecast, MAIN, "-")):
        axes.plot(joined, np.append(line.history[-1:], values), color=colour, linewidth=1.6 if colour == MAIN else 1.2,
                  linestyle=style)  # fmt: skip
    axes.axvline(0, color=LINE, linewidth=1.2)
    number_axis(axes.xaxis)
    number_axis(axes.yaxis)
    labelled(axes, "steps from the last known value")
    return svg(drawn, name)


def weight(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else figure(value)


def marked(marks: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Words with their strength in percent of the row's strongest, above 0 for the prediction."""
    most = max(abs(value) for _, value in marks) or 1.0
    return [{"text": text, "strength": round(100 * value / most), "value": f"{value:+.3g}"} for text, value in marks]


def signed(parts: Sequence[Bar], shares: bool) -> list[dict[str, Any]]:
    """Bars to either side: percentage points of probability, or the target's unit."""
    most = max(abs(bar.value) for bar in parts) or 1.0
    return [{
        "name": bar.name, "share": bar.value / most,
        "value": f"{100 * bar.value:+.1f}%" if shares else f"{bar.value:+.4g}",
    } for bar in parts]  # fmt: skip
