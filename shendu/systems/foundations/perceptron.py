"""Perceptron (1958): Rosenblatt's unit, and the first rule that learns.

Wrong answers pull the weights towards the missed pattern, right ones leave them alone. Written as a loss, the sum of
-y f over the rows where y f <= 0, the rule is one step of gradient descent with rate 1. On separable data it makes at
most (R / gamma)^2 mistakes (Novikoff 1962); on others it never settles, which is why the averaged weights are kept.

F. Rosenblatt: The perceptron: a probabilistic model for information storage and organization in the brain.
Psychological Review 65, 1958.

Deviations: (1) the random, fixed retina-to-association connections are left out: inputs are standardised pixels;
(2) more than two classes by Kesler's construction: the best wrong class is pushed down, the right one pulled up;
(3) the weights that are evaluated are averaged over the steps (Freund & Schapire 1999) where ema is above 0.

Shape letters: B rows, I inputs, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.recipes import Training, check_reads, supervised


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes: inputs are flattened, two classes need one unit."""

    inputs: int = 2
    classes: int = 2

    def build(self) -> Perceptron:
        return Perceptron(self)


class Perceptron(nn.Module):
    """Linear threshold units, starting at zero."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.units = nn.Linear(config.inputs, 1 if config.classes == 2 else config.classes)
        nn.init.zeros_(self.units.weight)
        nn.init.zeros_(self.units.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> scores [B, K]; with two classes -f and f of the one unit."""
        f = self.units(x.flatten(1))
        return torch.cat([-f, f], 1) if f.shape[1] == 1 else f


class Criterion(Objective):
    """The perceptron criterion. `relu(-y f)` would not do: at zero weights it has no gradient, and nothing would start."""

    mistakes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mistakes", torch.zeros((), dtype=torch.int64))

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        scores, y = model(batch["x"]).float(), batch["y"]
        right = scores.gather(1, y[:, None])[:, 0]
        best_wrong = scores.scatter(1, y[:, None], -torch.inf).amax(1)
        margin = right - best_wrong
        if scores.shape[1] == 2:
            margin = margin / 2  # of two classes the margin is f - (-f)
        wrong = margin <= 0
        self.mistakes += wrong.sum()
        return Loss({"loss": -(margin * wrong).sum()}, {"mistakes": self.mistakes})


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError where the target is a number, or blended."""
    check_reads("perceptron", data, "number", "image", "audio", "sequence")
    big = len(data.splits["train"]) > 10_000
    net = Config(inputs=math.prod(data.fields[data.input].shape), classes=len(data.classes))
    how = Training(
        epochs=3 if big else 20, batch_size=1, lr=1.0, optimizer="sgd", ema=0.9999 if big else 0.999, validations=3
    )
    if len(data.splits["train"]) < 100:
        how = replace(how, epochs=50, ema=0.0)
    net, how = settle(choices, net, how, given=("inputs", "classes"))
    if (mixing := augment.parse(how.augment)).mixes:
        word = "mixup" if mixing.mixup else "cutmix"
        raise UserError(f"the perceptron's rule needs one class per row, and {word} blends them; leave {word} out")
    return supervised(data, net, how, objective=lambda model: Criterion())


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 60, "batch_size": 8}


REFERENCES = (
    {"data": "digits", "metric": "error-rate", "published": None, "target": 0.08, "source": ""},
    {"data": "mnist", "metric": "error-rate", "published": 0.12, "target": 0.12,
     "source": "LeCun et al. 1998: linear classifier (1-layer network), 12.0% test error"},
)  # fmt: skip
