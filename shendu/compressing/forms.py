"""A network in other forms, and the rows by which they are made: rounded, sparse, of low rank, the mean of several.

Shape letters: B rows.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shendu.compressing import packing
from shendu.compressing.changes import factored
from shendu.compressing.packing import Packing
from shendu.compressing.units import Ask
from shendu.core import At, Batch, Recipe
from shendu.errors import UserError
from shendu.objectives.sparse import smallest
from shendu.parallel import evaluating

CALIBRATED = 512
"""Training rows by which the range of inputs, and BatchNorm's statistics, are known."""


def asking_of(recipe: Recipe) -> Ask:
    """A few rows of a recipe: of the held-out parts for the answer, of the training for the loss."""
    part = next(part for part in ("validation", "train") if part in recipe.splits)
    batch = recipe.splits[part].batch(At(0, min(3, recipe.splits[part].rows)))
    batch.setdefault("sample", torch.arange(len(next(iter(batch.values())))))
    stage, metrics = recipe.stages[-1], frozenset(recipe.task.metrics())

    def loss(model: nn.Module) -> Any:
        if not stage.steps:
            return ()
        source = stage.source(model)
        size = min(stage.batch_size, 8)
        drawn = source.batch(At(0, size), model) if source.acts else source.batch(At(0, size))
        return stage.objective(model)(model, drawn, torch.tensor(0)).sums

    return Ask(batch, lambda model: recipe.task.measure(model, batch, metrics), loss)


def calibration(recipe: Recipe) -> list[Batch]:
    """Rows of the training part, as they are measured."""
    source, size = recipe.splits["train"], 64
    return [source.batch(At(i, min(size, source.rows - i))) for i in range(0, min(CALIBRATED, source.rows), size)]


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Matrices and kernels: what is pruned one by one."""
    named_weights = {
        name: p.detach() for name, p in model.named_parameters() if p.dim() > 1 and p.numel() >= packing.LEAST
    }
    if not named_weights:
        raise UserError("this network has no weights that are worth pruning")
    return named_weights


def zeroed(model: nn.Module, share: float) -> nn.Module:
    made = copy.deepcopy(model)
    named_weights = dict(made.named_parameters())
    with torch.no_grad():
        for name, mask in smallest(weights_of(made), share).items():
            named_weights[name].mul_(mask)
    return made


def thin(model: nn.Module, share: float) -> nn.Module:
    made = copy.deepcopy(model)
    factored.factored(made, share)
    return made


def in_bits(model: nn.Module, bits: int) -> nn.Module:
    made = copy.deepcopy(model)
    with torch.no_grad():
        for p in weights_of(made).values():
            p.copy_(packing.rounded(p, bits))
    return made


def round_in_place(model: nn.Module, kept: Packing) -> None:
    """Gives a network the weights that it will have when it is read again."""
    named_weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, how in kept.items():
            named_weights[name].copy_(packing.rounded(named_weights[name], how["bits"]))


def mean(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The mean of the weights of networks of one kind (M. Wortsman et al.: Model soups: averaging weights of multiple fine-tuned models
    improves accuracy without increasing inference time. ICML 2022)."""
    states = [model.state_dict() for model in models]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(t.dtype)
        if t.is_floating_point()
        else t
        for name, t in states[0].items()
    }


@torch.no_grad()
def renormed(model: nn.Module, recipe: Recipe) -> None:
    """BatchNorm's statistics anew, by training rows: those of averaged weights are not the average of theirs."""
    norms = [
        each
        for each in model.modules()
        if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.track_running_stats
    ]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # all batches count the same
            norm.train()
        for batch in calibration(recipe):
            recipe.task.measure(model, batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
