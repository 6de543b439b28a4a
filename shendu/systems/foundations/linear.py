"""Linear regression (1805): the least-squares plane, found by gradient descent.

One matrix and one bias, the sum of squared errors, and the slope to walk down: all that deep learning does later is
already here. A class is predicted by regressing on its indicator (1 for the class, 0 elsewhere).

A.-M. Legendre: Nouvelles méthodes pour la détermination des orbites des comètes, 1805.
B. Widrow, M. Hoff: Adaptive switching circuits, IRE WESCON 1960 (gradient descent on it, sample by sample).

Deviations: (1) inputs and numeric targets are standardised, which changes the path and not the solution.

Shape letters: B rows, I inputs, O outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.recipes import Training, answers, check_reads, labelled, supervised


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the one layer."""

    inputs: int = 1
    outputs: int = 1

    def build(self) -> Linear:
        return Linear(self)


class Linear(nn.Module):
    """y = W x + b, starting at zero."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layer = nn.Linear(config.inputs, config.outputs)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> [B, O]."""
        return self.layer(x.flatten(1))


class IndicatorSquares(Objective):
    """Squared distance between the outputs [B, O] and the class's indicator."""

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        outputs = model(batch["x"]).float()
        y = batch["y"] if batch["y"].is_floating_point() else F.one_hot(batch["y"], outputs.shape[1]).to(outputs)
        return Loss({"loss": (outputs - y).square().sum()})


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Small data by full-batch descent to the solution; large data by mini-batches."""
    check_reads("linear", data, "number", "image", "audio", "sequence")
    task = labelled(data)
    net = Config(inputs=math.prod(task.shape), outputs=answers(task))
    large = len(data.splits["train"]) > 5000
    how = Training(epochs=20, batch_size=256, lr=1e-3, optimizer="adam", schedule="cosine")
    if not large:
        how = replace(
            how, steps=1000, batch_size=0, lr=0.03, optimizer="nesterov", schedule="constant", select_by="none"
        )
    net, how = settle(choices, net, how, given=("inputs", "outputs"))
    return supervised(data, net, how, objective=(lambda model: IndicatorSquares()) if task.labels else None)


def tiny() -> tuple[Any, dict[str, Any]]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(200, 3, generator=g)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 3 + 0.1 * torch.randn(200, generator=g)
    return (x, y), {"steps": 100}


REFERENCES = (
    {"data": "mnist", "metric": "error-rate", "published": None, "target": 0.15,
     "source": "the least-squares solution itself: `pytest tests/systems -k least_squares` holds the two equal on small data"},
)  # fmt: skip
