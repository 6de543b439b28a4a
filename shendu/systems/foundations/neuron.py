"""McCulloch-Pitts neuron (1943): a threshold unit built by hand, not learned.

It fires when enough of its exciting inputs fire and no inhibiting one does. AND, OR and NOT are one unit each; XOR is
none, whatever the threshold, but three units in two layers make it. That gap is where this field begins.

W. McCulloch, W. Pitts: A logical calculus of the ideas immanent in nervous activity. Bull. Math. Biophysics 5, 1943.

Deviations: (1) the unit is found by trying all of them against the truth table, where the paper writes it down;
(2) time steps are left out: the circuits here have no loops.

Shape letters: B rows, I inputs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from shendu import optim
from shendu.config import settle
from shendu.core import At, Batch, Loss, Objective, Recipe, Source, Stage
from shendu.data.dataset import Dataset
from shendu.data.fields.number import Number
from shendu.errors import UserError
from shendu.recipes import Training
from shendu.tasks.classify import Classify

MOST_INPUTS = 8


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many inputs the unit has."""

    inputs: int = 2

    def build(self) -> Neuron:
        return Neuron(self)


class Neuron(nn.Module):
    """One unit: `kind` [I] is +1 (exciting), -1 (inhibiting) or 0 (not connected)."""

    kind: Tensor
    threshold: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.register_buffer("kind", torch.zeros(config.inputs))
        self.register_buffer("threshold", torch.ones(()))

    def fires(self, x: Tensor) -> Tensor:
        """x [B, I] of zeros and ones -> bool [B]; one active inhibiting input is a veto."""
        excited = x @ self.kind.clamp(min=0) >= self.threshold
        vetoed = x @ self.kind.clamp(max=0) < 0
        return excited & ~vetoed

    def forward(self, x: Tensor) -> Tensor:
        """Scores [B, 2] for silent and firing."""
        fires = self.fires(x).float()
        return torch.stack([1 - fires, fires], 1)


def gate(kind: list[int], threshold: int) -> Neuron:
    """A unit by construction: `gate([1, 1], 2)` is AND, `gate([1, 1], 1)` is OR, `gate([-1], 0)` is NOT."""
    unit = Neuron(Config(inputs=len(kind)))
    unit.kind.copy_(torch.tensor(kind))
    unit.threshold.fill_(threshold)
    return unit


def exclusive_or(x: Tensor) -> Tensor:
    """XOR from three units in two layers: (a and not b) or (b and not a). x [B, 2] -> bool [B]."""
    only_first, only_second = gate([1, -1], 1).fires(x), gate([-1, 1], 1).fires(x)
    return gate([1, 1], 1).fires(torch.stack([only_first, only_second], 1).float())


def all_units(inputs: int) -> list[tuple[tuple[int, ...], int]]:
    """Every McCulloch-Pitts unit with this many inputs: kinds of connection and thresholds."""
    return [(kind, t) for kind in itertools.product((0, 1, -1), repeat=inputs) for t in range(inputs + 2)]


class Construct(Objective):
    """Takes, of all units, the one with the fewest mistakes on the truth table; no gradient, so a stage of no steps."""

    def enter(self, model: nn.Module, source: Source) -> None:
        assert isinstance(model, Neuron)
        table = source.batch(At(0, source.rows))
        x, y = table["x"], table["y"].bool()

        def mistakes(unit: tuple[tuple[int, ...], int]) -> tuple[int, int]:
            kind, threshold = unit
            return int((gate(list(kind), threshold).fires(x) != y).sum()), sum(map(abs, kind))

        kind, threshold = min(all_units(x.shape[1]), key=mistakes)
        model.kind.copy_(torch.tensor(kind))
        model.threshold.fill_(threshold)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        raise AssertionError("a McCulloch-Pitts unit is built, not trained")


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data that is no truth table of zeros and ones with two classes."""
    field, table = data.fields[data.input], data.splits["train"].column(data.input)
    binary = set(table.reshape(-1)[:100_000].tolist()) <= {0, 1}
    if not isinstance(field, Number) or len(field.shape) != 1 or not binary or len(data.classes) != 2:
        raise UserError(
            f"a McCulloch-Pitts neuron needs inputs of 0 and 1 and two classes, {data.name} is not of that kind; try: and, or, not, xor"
        )
    if field.shape[0] > MOST_INPUTS:
        raise UserError(
            f"all units of {field.shape[0]} inputs are too many to try (at most {MOST_INPUTS}); use perceptron"
        )
    net, how = settle(choices, Config(), Training(steps=0), given=("inputs",))
    net = Config(inputs=field.shape[0])
    task = Classify({"x": replace(field, mean=(), std=())}, {"y": data.fields[data.target]})
    stage = Stage(
        objective=lambda model: Construct(),
        source=lambda model: task.held_out(data, "train"),
        optimizer=optim.optimizer("sgd", lr=1.0),
        steps=0,
        batch_size=1,
        trains=(),
        name="construct",
    )
    return Recipe(
        model=net,
        stages=(stage,),
        task=task,
        splits={part: task.held_out(data, part) for part in data.splits},
        seed=how.seed,
    )


def tiny() -> tuple[Any, dict[str, Any]]:
    return "and", {}


REFERENCES = (
    {
        "data": "and",
        "metric": "accuracy",
        "published": 1.0,
        "target": 1.0,
        "source": "McCulloch & Pitts 1943: one unit",
    },
    {"data": "or", "metric": "accuracy", "published": 1.0, "target": 1.0, "source": "McCulloch & Pitts 1943: one unit"},
    {
        "data": "not",
        "metric": "accuracy",
        "published": 1.0,
        "target": 1.0,
        "source": "McCulloch & Pitts 1943: one unit",
    },
    {
        "data": "xor",
        "metric": "accuracy",
        "published": 0.75,
        "target": 0.75,
        "source": "Minsky & Papert 1969: no single unit",
    },
)
