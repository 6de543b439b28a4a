"""Multilayer perceptron (1986): hidden layers, trained by back-propagating the error.

Layers of units between input and output make what one layer cannot (XOR, to begin with); the chain rule, applied from
the output backwards, says how much each weight is to blame. Everything after it is a question of which layers.

D. Rumelhart, G. Hinton, R. Williams: Learning representations by back-propagating errors. Nature 323, 1986.

Deviations: (1) ReLU and He initialisation where the paper has sigmoids and small random weights (activation=sigmoid
brings them back); (2) dropout (Srivastava et al. 2014) between layers of networks for large data; (3) AdamW with a
one-cycle schedule where the paper has gradient descent with momentum (optimizer=momentum).

Shape letters: B rows, I inputs, O outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.nn.activations import activation
from shendu.nn.dropout import Dropout
from shendu.recipes import Training, answers, check_reads, labelled, supervised


@dataclass(frozen=True, kw_only=True)
class Config:
    """Widths of the layers."""

    inputs: int = 2
    outputs: int = 2
    hidden: tuple[int, ...] = (1024, 1024)
    activation: str = "relu"
    input_dropout: float = 0.2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if min(self.hidden, default=1) < 1:
            raise UserError(f"hidden={self.hidden} has a layer without units; write it like hidden=64,64")

    def build(self) -> MLP:
        return MLP(self)


class MLP(nn.Module):
    """Fully connected layers with an activation and dropout after each hidden one."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = (config.inputs, *config.hidden)
        layers: list[nn.Module] = [nn.Flatten(), Dropout(config.input_dropout)]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation(config.activation), Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], config.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> logits or values [B, O]."""
        return self.layers(x)


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """A small tanh network without noise for small data, a wide one with dropout for large."""
    check_reads("mlp", data, "number", "image", "audio", "sequence")
    task = labelled(data)
    net = Config(inputs=math.prod(task.shape), outputs=answers(task))
    how = Training(
        epochs=20, batch_size=128, lr=1e-3, optimizer="adamw", schedule="one-cycle", weight_decay=0.01,
        label_smoothing=0.1 if task.labels else 0.0,
    )  # fmt: skip
    rows = len(data.splits["train"])
    if rows < 5000:
        net = replace(net, hidden=(64,), activation="tanh", input_dropout=0.0, dropout=0.0)
        how = replace(how, steps=1000, batch_size=64, lr=0.01, label_smoothing=0.0)
    if rows < 100:
        net = replace(net, hidden=(16,))
        how = replace(how, steps=500, batch_size=0, lr=0.03, optimizer="adam", schedule="constant", weight_decay=0.0)
    net, how = settle(choices, net, how, given=("inputs", "outputs"))
    return supervised(data, net, how)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 40, "batch_size": 32, "hidden": (32,), "input_dropout": 0.1, "dropout": 0.1}


SUITS = {"number": "rows of numbers are learned by fully connected layers"}

REFERENCES = (
    {"data": "xor", "metric": "accuracy", "published": 1.0, "target": 1.0, "source": "Rumelhart et al. 1986"},
    {"data": "mnist", "metric": "error-rate", "published": 0.0125, "target": 0.014,
     "source": "Srivastava et al. 2014, table 2: dropout network, 2 layers of 1,024 ReLUs, 1.25%"},
)  # fmt: skip
