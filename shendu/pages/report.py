"""report: one page for the eye about a finished run: its curves, what its task shows, why the model says what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu import parallel
from shendu.core import Recipe
from shendu.metrics.evaluation import Measured
from shendu.pages import compression, explanation
from shendu.pages.card import command, plain
from shendu.pages.drawing import (
    INK,
    LINE,
    MAIN,
    PERCENT,
    SECOND,
    drawing,
    figure,
    labelled,
    number_axis,
    share_axis,
    svg,
)
from shendu.pages.sections import grouped
from shendu.pages.templates import filled
from shendu.run import Folder, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from shendu.predictor import Predictor

PARTS = {"test": "Test", "validation": "Validation", "train": "Training"}
POINTS = 300
"""Points of a curve."""
TITLES = {"rmse": "RMSE", "mae": "MAE", "r2": "R²", "auc": "AUC", "mase": "MASE", "smape": "sMAPE",
          "bits-per-character": "bits per character", "bleu": "BLEU"}  # fmt: skip
LOGGED = ("stage", "step", "total", "seconds", "samples")
"""Entries of a line of metrics.jsonl that are no curve."""


def write(folder: Folder, recipe: Recipe, predictor: Predictor, measured: Measured, part: str) -> Path:
    """Writes report.html from what was measured on a part (its `badness` too), and returns its path."""
    made, result = folder.need("recipe.json"), folder.need("result.json")
    history, task, again = folder.history(), predictor.task, predictor.again(recipe.splits[part])
    higher = {name: more for metric in task.metrics().values() for name, more in metric.higher.items()}
    name = PARTS[part].lower()
    with parallel.evaluating(predictor.model):
        shown = task.sections(measured, again, predictor.model, name)
    shown = [*compression.sections(result), *shown]
    shown += explanation.sections(predictor, measured, again, name)
    page = {
        "made": made, "result": result, "sure": result.get("intervals", {}), "part": part, "parts": PARTS,
        "summary": made["summary"],
        "figures": list(dict.fromkeys(name for figures in result["metrics"].values() for name in figures)),
        "curves": curves(history, made, higher), "command": command(made), "settings": settings(made),
        "environment": folder.read("env.json") or {},
        "notes": [*made["data"].get("notes", ()), *recipe.notes, *remarks(predictor)],
        "selection": selection(history, made, higher),
        "tiles": [headline(result, part), *tiles(recipe.splits[part].rows, made, result, part)],
        "rows": measured.count, "sections": grouped(shown), "counted": task.counted, "sampled": task.sampled,
    }  # fmt: skip
    path = folder.path / "report.html"
    write_text(path, filled("report.html", page, figure=figure, plain=plain, between=between))
    return path


def remarks(predictor: Predictor) -> list[str]:
    """What the model has to say of itself after training."""
    return [predictor.model.remark()] if "remark" in predictor.task.can else []  # type: ignore[operator]


# ---- figures as text -------------------------------------------------------------------------------------------------


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


def settings(made: dict[str, Any]) -> dict[str, Any]:
    """The network's sizes and how it was trained: what was set, and what is not at rest (0, none, auto)."""
    how = made["settings"]
    elsewhere = {"seed", "steps", "batch_size", "accumulate"}  # in lines of their own
    elsewhere |= {"momentum"} if how.get("optimizer") not in ("momentum", "nesterov", "muon") else set()
    active = {name: value for name, value in how.items() if value not in (0, [], "inf", "auto", "")}
    found = {**made["choices"], **made["model"], **active}
    return {name: value for name, value in found.items() if name not in elsewhere}


def selection(history: list[dict[str, Any]], made: dict[str, Any], higher: dict[str, bool]) -> str:
    """Which weights were kept, and why."""
    averaged = f" averaged over the steps (decay {made['ema']:g})" if made["ema"] else ""
    best = chosen(history, made["select_by"], higher)
    if best is None:
        return f"The weights{averaged} after the last step were kept."
    name, step, value = (
        made["select_by"],
        best["total"],
        figure(best[f"validation {made['select_by']}"], made["select_by"]),
    )
    return f"Of the weights{averaged}, those with the best {name} on the validation part were kept: {value}, at step {step:,}."


def chosen(history: list[dict[str, Any]], select_by: str, higher: dict[str, bool]) -> dict[str, Any] | None:
    """The line of the validation that decided, the first of equals; None where there was none."""
    lines = [line for line in history if line.get(f"validation {select_by}") is not None]
    if not lines or select_by not in higher:
        return None
    sign = 1 if higher[select_by] else -1
    return max(lines, key=lambda line: sign * line[f"validation {select_by}"])


# ---- drawings --------------------------------------------------------------------------------------------------------


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS points: the means of equal spans; NaN only where a whole span is NaN."""
    if len(x) <= POINTS:
        return x, y
    bins = np.arange(len(x)) * POINTS // len(x)
    there = np.isfinite(y)
    count = np.bincount(bins, there, minlength=POINTS)
    total = np.bincount(bins, np.where(there, y, 0.0), minlength=POINTS)
    ends = np.flatnonzero(np.diff(bins, append=POINTS))
    return x[ends], np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curves(history: list[dict[str, Any]], made: dict[str, Any], higher: dict[str, bool]) -> list[dict[str, Any]]:
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
            panels.append(curve(name, x, y, history, made, higher, f"curve{len(panels)}"))
    return panels


def curve(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    history: list[dict[str, Any]],
    made: dict[str, Any],
    higher: dict[str, bool],
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
    best = chosen(history, made["select_by"], higher)
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
