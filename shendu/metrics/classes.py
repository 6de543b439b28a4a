"""Figures of classes: how often they are right, and how sure. They read the logits and the target `y`.

Shape letters: B rows of a batch, R rows that were counted, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.core import Batch, Metric, Outputs, Resampling
from shendu.metrics.intervals import wilson
from shendu.parallel import double


def asked(outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor]:
    """The logits as they are, the same in the target's shape where a row has one output ([B] or [B, 1]), and the target."""
    logits = outputs["logits"].detach()
    target = batch["y"].to(logits.device)
    if logits.shape == target.shape:
        return logits, logits, target
    single = logits.squeeze(-1) if logits.shape == (*target.shape, 1) else None
    return logits, single, target


def _counted(values: Tensor) -> Tensor:
    """float64 [B, 2] of values [B, …]: a row's sum, and of how many it is."""
    each = double(values).reshape(len(values), -1)
    return torch.stack([each.sum(1), torch.full_like(each[:, :1], each.shape[1])[:, 0]], 1)


class Hits(Metric):
    """accuracy: the share of labels that are predicted. error-rate: the share of those that are not.

    Of logits [B, C, …] against labels [B, …]. The largest output is the prediction; of one output per row ([B] or [B, 1])
    the sign. Of maps of labels each row counts all of its places.
    """

    higher: Mapping[str, bool] = {"accuracy": True, "error-rate": False}

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        logits, single, target = asked(outputs, batch)
        return _counted(logits.argmax(1) == target if single is None else (single > 0) == (target > 0))

    def figures(self, rows: Tensor) -> dict[str, float]:
        hits, count = rows.sum(0).tolist()
        return {"accuracy": hits / count, "error-rate": (count - hits) / count}

    def intervals(self, rows: Tensor, draws: Resampling) -> dict[str, tuple[float, float]]:
        """Wilson's, where each unit is one label; else what drawing shows."""
        hits, count = map(round, rows.sum(0).tolist())
        if count != draws.units:
            return super().intervals(rows, draws)
        return {"accuracy": wilson(hits, count), "error-rate": wilson(count - hits, count)}


class CrossEntropy(Metric):
    """Mean negative log-likelihood of the labels in nats."""

    higher: Mapping[str, bool] = {"cross-entropy": False}

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        logits, single, target = asked(outputs, batch)
        if single is None:
            return _counted(F.cross_entropy(_at_least_float(logits), target, reduction="none"))
        single = _at_least_float(single)
        return _counted(F.binary_cross_entropy_with_logits(single, (target > 0).to(single.dtype), reduction="none"))

    def figures(self, rows: Tensor) -> dict[str, float]:
        nats, count = rows.sum(0).tolist()
        return {"cross-entropy": nats / count}


def _at_least_float(t: Tensor) -> Tensor:
    return t if t.dtype == torch.float64 else t.float()


class AUC(Metric):
    """Area under the ROC curve of two classes: how often a row of the second ranks above one of the first, ties half.

    Exact (Mann and Whitney 1947). Rows are a score and whether it is the second's. NaN while one of the classes is missing.
    """

    higher: Mapping[str, bool] = {"auc": True}
    groups = 0

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        logits, single, target = asked(outputs, batch)
        if single is None and logits.shape[1:] != (2,):
            raise ValueError(f"auc is for two classes, these outputs are {list(logits.shape)}")
        score = double(logits[:, 1]) - double(logits[:, 0]) if single is None else double(single)
        return torch.stack([score, (target > 0).to(score)], 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        return _area(_places(rows), rows[:, 1])

    def intervals(self, rows: Tensor, draws: Resampling) -> dict[str, tuple[float, float]]:
        places = _places(rows)
        return draws.ends(_area(places, rows[:, 1]), (_area(places[draw], rows[draw, 1]) for draw in draws))


def _places(rows: Tensor) -> Tensor:
    """The place of each score among the different ones, int64 [R], so that they are sorted once."""
    return rows[:, 0].unique(return_inverse=True)[1]


def _area(places: Tensor, second: Tensor) -> dict[str, float]:
    ours = places.bincount(second)
    theirs = places.bincount() - ours
    pairs = float(ours.sum() * theirs.sum())
    return {"auc": float((ours * (theirs.cumsum(0) - theirs / 2)).sum()) / pairs if pairs else math.nan}


class Predictions(Metric):
    """No figure: rows are the true and the predicted class of each label (of one output per row 0 or 1), and the probability
    of what is predicted."""

    higher: Mapping[str, bool] = {}
    groups = 0

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        logits, single, target = asked(outputs, batch)
        if single is None:
            sure, predicted = F.softmax(_at_least_float(logits).nan_to_num(), 1).max(1)
        else:
            target, predicted = target > 0, single > 0
            sure = _at_least_float(single).abs().sigmoid()
        return torch.stack([double(t.flatten()) for t in (target, predicted, sure)], 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        return {}
