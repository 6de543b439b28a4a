"""Small learners that show one trait of the loop each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shendu import optim
from shendu.core import At, Batch, Loss, Metric, Objective, Outputs, Recipe, Stage
from shendu.metrics.numbers import Errors
from shendu.nn.dropout import Dropout
from shendu.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Net:
    """Builds whatever it is given."""

    make: Callable[[], nn.Module]

    def build(self) -> nn.Module:
        return self.make()


class Rows:
    """Sample i is row i % rows of x [N, ...] and y [N]."""

    acts = False

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.rows = x, y, len(x)
        self.asked: list[At] = []

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        self.asked.append(at)
        rows = torch.arange(at.start, at.start + at.size) % self.rows
        return {"x": self.x[rows], "y": self.y[rows]}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Squares(Objective):
    """Σ (model(x) - y)²."""

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        return Loss({"loss": (model(batch["x"])[:, 0] - batch["y"]).square().sum()})


class Plain(Task):
    """A task that changes nothing; it is measured by the metrics that it is given."""

    def __init__(self, **metrics: Metric) -> None:
        super().__init__({}, {})
        self.given = metrics or {"errors": Errors()}

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        return {"value": model(batch["x"])[:, 0], "truth": batch["y"]}

    def metrics(self) -> dict[str, Metric]:
        return self.given


def rows(count: int = 64, inputs: int = 3, seed: int = 0) -> Rows:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, inputs, generator=g)
    return Rows(x, x @ torch.linspace(-1, 2, inputs) + 0.1 * torch.randn(count, generator=g))


def network(dropout: float = 0.2) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), Dropout(dropout), nn.Linear(8, 1))


def stage(**more: Any) -> Stage:
    source = more.pop("rows", None) or rows()
    chosen = {
        "objective": lambda model: Squares(), "source": lambda model: source, "steps": 20, "batch_size": 8,
        "optimizer": optim.optimizer("momentum", lr=0.01),
    }  # fmt: skip
    return Stage(**{**chosen, **more})


def recipe(
    *stages: Stage, make: Callable[[], nn.Module] = network, validation: Rows | None = None, **more: Any
) -> Recipe:
    return Recipe(
        model=Net(make=make),
        stages=stages or (stage(),),
        task=Plain(),
        splits={"train": rows(), **({"validation": validation} if validation else {})},
        **more,
    )
