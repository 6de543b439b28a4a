"""What a page shows of numbers: predicted against true, the residuals, forecasts.

Shape letters: R rows, D numbers of each, W values of a window, H steps that are forecast.
"""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from torch import Tensor

from shendu.pages.drawing import INK, LINE, MAIN, drawing, figure, labelled, number_axis, svg
from shendu.pages.sections import Section, Told

DOTS = 800
"""Dots of a scatter plot."""


def sections(rows: Tensor, count: int = 0) -> list[Section]:
    """Predicted against true, and the residuals, of rows [R, 2D]: the truth, then what was predicted.

    `count` are the rows that were measured, where these are some of them.
    """
    true, predicted = (t.numpy() for t in rows.chunk(2, 1))
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
    errors = predicted - true
    left = errors[np.isfinite(errors)]
    below.hist(left, bins=min(40, max(5, round(math.sqrt(len(left))))), color=MAIN, alpha=0.8, edgecolor="none")
    below.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    labelled(below, "predicted minus true", "rows" if true.shape[1] == 1 else "values")
    for drawn in (axes, below):
        number_axis(drawn.xaxis)
        number_axis(drawn.yaxis)
    body = {
        "scatter": svg(scatter, "scatter"), "residuals": svg(residuals, "residuals"), "dots": len(picked),
        "rows": count or len(true), "some": len(true),
        "bias": figure(left.sum() / max(1, len(left))), "spread": figure(float(np.median(np.abs(left))) if len(left) else None),
    }  # fmt: skip
    return [Section("Predictions", "numbers", body)]


def forecasts(
    rows: Tensor, windows: np.ndarray, ahead: Tensor, truth: Tensor, told: list[Told], season: int, part: str
) -> Section:
    """Some forecasts, each with the window [W] before it, what came then [H] and the last season repeated."""
    lines = []
    for row, window, said, true, words in zip(rows.tolist(), windows, ahead, truth, told, strict=True):
        history, forecast, came = window.reshape(-1), said.reshape(-1).numpy(), true.reshape(-1).numpy()
        naive = np.resize(history[-season:], len(came))
        drawn = line(history, came, forecast, naive, f"forecast{row}")
        lines.append({"line": drawn, "row": row, "sure": words.sure})
    return Section("Forecasts", "forecasts", {"lines": lines, "part": part})


def line(history: np.ndarray, truth: np.ndarray, forecast: np.ndarray, naive: np.ndarray, name: str) -> Markup:
    """What came before, what came then, what was forecast, and the season before repeated."""
    drawn, axes = drawing(2.6, 0.2)
    ahead = np.arange(1, len(truth) + 1)
    axes.plot(np.arange(1 - len(history), 1), history, color=INK, linewidth=1.2)
    joined = np.append(0, ahead)
    for values, colour, style in ((naive, INK, (0, (2, 2))), (truth, INK, "-"), (forecast, MAIN, "-")):
        axes.plot(joined, np.append(history[-1:], values), color=colour, linewidth=1.6 if colour == MAIN else 1.2,
                  linestyle=style)  # fmt: skip
    axes.axvline(0, color=LINE, linewidth=1.2)
    number_axis(axes.xaxis)
    number_axis(axes.yaxis)
    labelled(axes, "steps from the last known value")
    return svg(drawn, name)
