"""A bare nn.Module as a system: trained on a target by a loss, without a file of its own.

Its run holds weights alone; whoever opens it gives the module again.

Shape letters: B rows, O outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import At, Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.recipes import Training, answers, labelled, supervised
from shendu.tasks import Task

OwnLoss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) -> the mean over the rows of a batch, or a number per row."""


LOOKED_AT = 10_000
"""Rows that are looked through before training."""


class Bare:
    """What a system's module says, said of a module that a person has built."""

    SPLIT, SIZES, REFERENCES = "", (), ()
    from_folder = None

    def __init__(self, module: nn.Module, loss: OwnLoss | None = None) -> None:
        self.module, self.loss = module, loss
        self.__name__ = type(module).__name__
        self.__doc__ = f"{self.__name__}, a module of one's own"

    @property
    def Config(self) -> Any:
        """What builds copies of the module as it is now."""
        return described(self.module)

    def recipe(self, data: Dataset, **choices: Any) -> Recipe:
        """Supervised training of the parameters that have requires_grad; every field of Training can be chosen.

        The module takes prepared rows (pictures float [B, C, H, W], numbers [B, …], both standardised; texts as codes) and answers
        logits [B, classes], or numbers [B, O] in standard units. Raises UserError for another shape.
        """
        task = labelled(data)
        check_shape(self.__name__, self.module, task, data)
        how = Training(epochs=10, batch_size=128, lr=1e-3, optimizer="adamw", schedule="one-cycle")
        (how,) = settle(choices, how)
        coupled = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self.module.modules())
        own = copy.deepcopy(self.loss)  # its parameters, where it has any, are trained too: as copies
        objective = (lambda model: ByFunction(copy.deepcopy(own), coupled)) if own else None
        trains = trained(self.module)
        if not trains:
            raise UserError(f"{self.__name__} has no parameter to train: set requires_grad on those that are to learn")
        return supervised(data, self.Config(), how, coupled=coupled, objective=objective, trains=trains)

    def published(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights

    def unusable(self, weights: Any) -> str:
        return ""

    def settings_of(self, file: Any) -> dict[str, Any]:
        return {}


def described(module: nn.Module) -> Any:
    """A class of settings, none, that builds copies of a module as it is now."""
    begun = copy.deepcopy(module)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        def build(self) -> nn.Module:
            return copy.deepcopy(begun)

    return Config


def trained(module: nn.Module, prefix: str = "") -> tuple[str, ...]:
    """The prefixes of the parameters that have requires_grad, as few as say it."""
    wanted = [p.requires_grad for p in module.parameters()]
    if all(wanted):
        return (prefix,) if wanted else ()
    dot = f"{prefix}." if prefix else ""
    here = [f"{dot}{name}" for name, p in module.named_parameters(recurse=False) if p.requires_grad]
    return (*here, *(name for key, child in module.named_children() for name in trained(child, f"{dot}{key}")))


def check_values(name: str, task: Task, data: Dataset) -> None:
    """Raises UserError for what no plain network learns from: empty cells, and two classes that are written as real numbers."""
    batch = task.held_out(data, "train").batch(At(0, min(LOOKED_AT, len(data.splits["train"]))))
    if any(t.is_floating_point() and t.isnan().any() for t in task.taken(batch)):
        raise UserError(
            f"{data.name} has empty cells, which {name} would be given as NaN; fill them in, or use a system for tables"
        )
    y = data.splits["train"].column(data.target)
    if not task.labels and y.ndim == 1 and set(np.unique(y[:LOOKED_AT]).tolist()) == {0.0, 1.0}:
        raise UserError(
            f"the target of {data.name} holds 0.0 and 1.0 alone: give whole numbers or booleans for two classes, and let {name} "
            "answer [B, 2], one logit per class"
        )


def check_shape(name: str, module: nn.Module, task: Task, data: Dataset) -> None:
    """Raises UserError where a module does not take such rows, or answers them in another shape."""
    check_values(name, task, data)
    rows = task.prepare(task.example(2))
    place = next((p.device for p in module.parameters()), torch.device("cpu"))
    taken = [t.to(place) for t in task.taken(rows)]
    was = module.training
    try:
        with torch.no_grad():  # the module itself, since what is lazy gets its shapes by it
            found = module.eval()(*taken)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shapes = " and ".join(f"{t.dtype} {['B', *t.shape[1:]]}".replace("torch.", "").replace("'", "") for t in taken)
        raise UserError(
            f"{name} does not take the rows of {data.name}, {shapes}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        module.train(was)
    wanted = answers(task)
    shape = list(found.shape) if isinstance(found, Tensor) else [f"a {type(found).__name__}"]
    if shape != [2, wanted] and not (wanted == 1 and shape == [2]):
        what = "classes" if task.labels else "numbers in the target"
        of = "B, " * (shape[:1] == [2])
        raise UserError(
            f"{name} answers [{of}{', '.join(map(str, shape[bool(of) :]))}] where {data.name} has {wanted} {what}: "
            f"let it answer [B, {wanted}]"
        )


class ByFunction(Objective):
    """A person's own function of outputs and targets."""

    def __init__(self, loss: OwnLoss, coupled: bool) -> None:
        super().__init__()
        self.loss, self.coupled = loss, coupled

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        outputs, y = model(batch["x"]), batch["y"]
        if not isinstance(outputs, Tensor):  # several answers while it trains
            return self.summed(self.loss(outputs, y), len(y))
        if y.is_floating_point() and y.dim() < outputs.dim():
            y = y.view_as(outputs)
        return self.summed(self.loss(outputs.float(), y), len(y))

    def summed(self, value: Tensor, rows: int) -> Loss:
        """A mean, or a number per row, as a sum over the rows."""
        if not isinstance(value, Tensor):
            raise UserError(
                f"the loss gives a {type(value).__name__}: let it return a tensor, the mean or a number per row"
            )
        if value.dim():
            return Loss({"loss": value.flatten(1).mean(1).sum() if value.dim() > 1 else value.sum()})
        return Loss({"loss": value * rows})
