"""Figures of numbers, in the target's unit. They read `value` and `truth`.

Shape letters: B rows of a batch, R rows that were counted, D numbers of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from shendu.core import Batch, Metric, Outputs
from shendu.parallel import double


def _both(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Truth and prediction in float64 [B, D]; [B] and [B, 1] are the same, and nothing broadcasts."""
    value = double(outputs["value"])
    truth = double(outputs["truth"]).reshape(len(value), -1)
    return truth, value.reshape(truth.shape)


class Errors(Metric):
    """Errors of values [B, …]; rows [R, 2D].

    rmse: the root of the mean squared error. mae: the mean absolute error. r2: the coefficient of determination,
    1 - residual / total sum of squares, averaged over the D numbers. In two passes: the difference of large sums
    would lose all digits of targets far from 0. A constant target counts 1 where it is met exactly and 0 otherwise; fewer
    than two rows give NaN.
    """

    higher: Mapping[str, bool] = {"rmse": False, "mae": False, "r2": True}
    groups = 0

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        return torch.cat(_both(outputs), 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        truth, value = rows.chunk(2, 1)
        errors = value - truth
        squares = errors.square()
        return {"rmse": math.sqrt(squares.mean()), "mae": float(errors.abs().mean()), "r2": _explained(truth, squares)}


def _explained(truth: Tensor, squares: Tensor) -> float:
    if len(truth) < 2:
        return math.nan
    apart = truth - truth[0]  # exactly 0 of a constant, which no mean needs to be
    total, residual = (apart - apart.mean(0)).square().sum(0), squares.sum(0)
    return float(torch.where(total > 0, 1 - residual / total, (residual == 0).double()).mean())


class ForecastErrors(Metric):
    """Errors of forecasts [B, steps], a row for each step of each window.

    mase: the absolute error over that of a naive forecast (Hyndman and Koehler 2006), `naive`: that error, within the
    training part, of forecasting the value of one season ago; below 1 is better. smape: the symmetric absolute percentage
    error, 0 to 200 (Makridakis 1993), 0 where both are 0.
    """

    higher: Mapping[str, bool] = {"mase": False, "mae": False, "rmse": False, "smape": False}

    def __init__(self, naive: float = 1.0) -> None:
        self.naive = naive

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        truth, value = (t.flatten() for t in _both(outputs))
        errors = (value - truth).abs()
        share = 200 * errors / (value.abs() + truth.abs()).clamp(min=1e-300)
        return torch.stack([errors, errors.square(), share, torch.ones_like(errors)], 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        errors, squares, shares, count = rows.sum(0).tolist()
        mae = errors / count
        return {"mase": mae / self.naive, "mae": mae, "rmse": math.sqrt(squares / count), "smape": shares / count}


class Mean(Metric):
    """The mean of a figure [B] that the model gives each row itself, under its name."""

    def __init__(self, name: str, higher: bool = False) -> None:
        self.name, self.higher = name, {name: higher}

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        values = double(outputs[self.name]).reshape(-1)
        return torch.stack([values, torch.ones_like(values)], 1)

    def figures(self, rows: Tensor) -> dict[str, float]:
        total, count = rows.sum(0).tolist()
        return {self.name: total / count}
