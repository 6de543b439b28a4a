"""Figures over a whole split, exact over uneven batches and over ranks: sums are kept in float64, not means of means.

Every metric reads the target `y` of a batch: int64 labels, or real numbers. Shape letters: B rows, C classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.core import Batch, Metric


def _double(t: Tensor) -> Tensor:
    """In float64, on the same device where it can (Apple's GPUs cannot)."""
    return (t.cpu() if t.device.type == "mps" else t).detach().double()


class _Mean:
    """A mean of something over what was seen: NaN where nothing was."""

    def __init__(self) -> None:
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = 0

    def add(self, values: Tensor) -> None:
        """One value per thing that is counted."""
        values = _double(values)
        self.total = self.total.to(values.device) + values.sum()
        self.count += values.numel()

    def compute(self) -> float:
        from shendu.parallel import sum_over_ranks

        total, count = sum_over_ranks(torch.stack([self.total, torch.full_like(self.total, self.count)])).tolist()
        return total / count if count else math.nan


def _single(outputs: Tensor, target: Tensor) -> Tensor | None:
    """The outputs in the target's shape where a row has one output ([B] or [B, 1]), else None."""
    if outputs.shape == target.shape:
        return outputs
    if outputs.shape == (*target.shape, 1):
        return outputs.squeeze(-1)
    return None


def _hits(outputs: Tensor, target: Tensor) -> Tensor:
    """Whether each label is the largest output's ([B, C, …]); for one output per row, whether its sign is right."""
    single = _single(outputs, target)
    if single is None:
        return outputs.argmax(1) == target
    return (single > 0) == (target > 0)


class Accuracy(_Mean):
    """The share of labels that are predicted."""

    higher = True

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.add(_hits(outputs, batch["y"]))


class ErrorRate(_Mean):
    """The share of labels that are not predicted."""

    higher = False

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.add(~_hits(outputs, batch["y"]))


class CrossEntropy(_Mean):
    """Mean negative log-likelihood of the labels in nats, from logits."""

    higher = False

    def update(self, outputs: Tensor, batch: Batch) -> None:
        target = batch["y"]
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        single = _single(outputs, target)
        if single is None:
            self.add(F.cross_entropy(outputs, target, reduction="none"))
        else:
            self.add(F.binary_cross_entropy_with_logits(single, (target > 0).to(single.dtype), reduction="none"))


def _errors(outputs: Tensor, target: Tensor) -> Tensor:
    """Outputs minus target in float64; [B] and [B, 1] are the same, and nothing broadcasts."""
    return _double(outputs) - _double(target).reshape(outputs.shape)


class MSE(_Mean):
    """Mean squared error over all elements."""

    higher = False

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.add(_errors(outputs, batch["y"]).square())


class RMSE(MSE):
    """Root of the mean squared error."""

    def compute(self) -> float:
        return math.sqrt(super().compute())


class MAE(_Mean):
    """Mean absolute error over all elements."""

    higher = False

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.add(_errors(outputs, batch["y"]).abs())


class R2:
    """Coefficient of determination, 1 - residual / total sum of squares; averaged over the outputs of a row.

    The total is gathered in one pass as count, mean and squared deviations (Chan, Golub and LeVeque 1983): the
    difference of large sums would lose all digits of targets far from 0. A constant target counts 1 where it is met
    exactly and 0 otherwise; fewer than two rows give NaN.
    """

    higher = True

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.deviation = self.residual = torch.zeros((), dtype=torch.float64)

    def update(self, outputs: Tensor, batch: Batch) -> None:
        rows = len(outputs)
        if not rows:
            return
        errors = _errors(outputs, batch["y"]).reshape(rows, -1)
        target = _double(batch["y"]).reshape(rows, -1)
        mean = target.mean(0)
        apart = mean - self.mean.to(mean.device)
        spread = (target - mean).square().sum(0) + apart.square() * self.count * rows / (self.count + rows)
        self.deviation = self.deviation.to(mean.device) + spread
        self.residual = self.residual.to(mean.device) + errors.square().sum(0)
        self.mean = self.mean.to(mean.device) + apart * rows / (self.count + rows)
        self.count += rows

    def compute(self) -> float:
        from shendu.parallel import sum_over_ranks

        count = sum_over_ranks(torch.full_like(self.mean, self.count))
        mean = sum_over_ranks(self.mean * self.count) / count
        total = sum_over_ranks(self.deviation + self.count * (self.mean - mean).square())
        residual = sum_over_ranks(self.residual.clone())
        explained = torch.where(total > 0, 1 - residual / total, (residual == 0).double())
        return float(explained.mean()) if float(count.min()) >= 2 else math.nan


METRICS: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "error-rate": ErrorRate,
    "cross-entropy": CrossEntropy,
    "mse": MSE,
    "rmse": RMSE,
    "mae": MAE,
    "r2": R2,
}
"""Name -> metric."""
