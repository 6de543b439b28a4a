"""What a page shows of classes: what is taken for what, the figures of each class, how far probabilities can be trusted.

Shape letters: R rows, C classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shendu.pages.drawing import INK, MAIN, drawing, labelled, share_axis, svg
from shendu.pages.sections import Section

MATRIX_CLASSES, PAIRS, CLASS_ROWS = 30, 20, 200
"""Up to how many classes the confusion matrix is drawn, how many confused pairs are listed instead, classes in a table."""
BINS, CERTAIN = 15, 10
"""Bins of the calibration curve, and rows below which one is drawn pale."""


def sections(labels: tuple[str, ...], rows: Tensor, part: str) -> list[Section]:
    """Confusions, and classes with their calibration, of rows [R, 3]: true and predicted class, the latter's probability."""
    true, predicted, sure = rows[:, 0].long(), rows[:, 1].long(), rows[:, 2]
    count = partial(torch.bincount, minlength=len(labels))
    support, claimed, hits = count(true), count(predicted), count(true[true == predicted])
    recall, precision = hits / support.clamp(min=1), hits / claimed.clamp(min=1)
    f1 = 2 * hits / (support + claimed).clamp(min=1)
    many = len(labels) > MATRIX_CLASSES
    order = f1.argsort(stable=True).tolist() if many else list(range(len(labels)))
    order = [k for k in order if support[k] or claimed[k]]
    table = [{
        "name": labels[k], "precision": float(precision[k]) if claimed[k] else None,
        "recall": float(recall[k]) if support[k] else None, "f1": float(f1[k]), "rows": int(support[k]),
    } for k in order[:CLASS_ROWS]]  # fmt: skip
    confused = {
        "classes": labels, "matrix": [] if many else matrix(len(labels), true, predicted), "many": many, "rows": len(rows),
        "part": part, "pairs": pairs(labels, true, predicted, support),
    }  # fmt: skip
    each = {
        "table": table, "macro": float(f1[order].mean()), "many": many, "unlisted": max(0, len(order) - CLASS_ROWS),
        "calibration": calibration(sure.numpy(), (true == predicted).double().numpy()),
    }  # fmt: skip
    return [
        Section("Classes" if many else "Confusion", "confusion", confused),
        Section("Classes and probabilities", "classes", each),
    ]


def matrix(classes: int, true: Tensor, predicted: Tensor) -> list[list[tuple[int, float]]]:
    """Per true class, per predicted class: the count, and its share of the true class's rows."""
    counts = torch.bincount(true * classes + predicted, minlength=classes**2).view(classes, classes)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return [list(zip(c, s, strict=True)) for c, s in zip(counts.tolist(), shares.tolist(), strict=True)]


def pairs(labels: tuple[str, ...], true: Tensor, predicted: Tensor, support: Tensor) -> list[dict[str, Any]]:
    """The most frequent confusions, as (true, taken for, how often, share of the true class's rows)."""
    wrong = true != predicted
    codes, counts = torch.unique(true[wrong] * len(labels) + predicted[wrong], return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:PAIRS]
    found = []
    for code, times in zip(codes[order].tolist(), counts[order].tolist(), strict=True):
        was, taken = divmod(code, len(labels))
        found.append(
            {"true": labels[was], "predicted": labels[taken], "times": times, "share": times / int(support[was])}
        )
    return found


def calibration(sure: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Accuracy against stated probability, and the expected calibration error over equal bins (Guo et al. 2017)."""
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
