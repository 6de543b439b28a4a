"""Losses by name, summed over the rows of a batch: the loop divides by the rows of a whole step.

Shape letters: B rows, C classes, … further dimensions. Outputs of half precision are made float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.errors import UserError, unknown

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(outputs, target) -> a scalar, summed over the rows."""

LOSSES: dict[str, str] = {
    "cross-entropy": "negative log-likelihood of the class, from logits (int labels or a distribution)",
    "mse": "squared error, averaged over the elements of a row",
    "l1": "absolute error, averaged over the elements of a row",
    "huber": "squared error up to 1, linear beyond, averaged over the elements of a row",
    "bce": "binary cross-entropy from logits: one output per row, or several labels",
    "hinge": "margin of 1 to the best wrong class (Crammer-Singer), or to the other of two",
    "kl": "Kullback-Leibler divergence from log-probabilities to a target distribution",
}
"""Name -> what it is, in one line."""


def loss(name: str, *, label_smoothing: float = 0.0) -> LossFunction:
    """The named loss as a function of outputs and target.

    `label_smoothing` (0 to 1, below 1) mixes the target with the uniform distribution (Szegedy et al. 2016); it is for
    cross-entropy and bce. Raises UserError for an unknown name or a number out of range, and the function itself for
    shapes that do not belong together.
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    if not 0 <= label_smoothing < 1:
        raise UserError(f"label_smoothing={label_smoothing:g} is not in [0, 1); write it like label_smoothing=0.1")
    smoothed: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"cross-entropy": _cross_entropy, "bce": _bce}
    plain: dict[str, LossFunction] = {"mse": _mse, "l1": _l1, "huber": _huber, "hinge": _hinge, "kl": _kl}
    if name in plain and label_smoothing:
        raise UserError(f"label_smoothing is not for the loss '{name}'; use cross-entropy, or label_smoothing=0")

    def call(outputs: Tensor, target: Tensor) -> Tensor:
        if outputs.dtype in (torch.float16, torch.bfloat16):
            outputs = outputs.float()
        if name in plain:
            return plain[name](outputs, target)
        return smoothed[name](outputs, target, label_smoothing)

    return call


def _matching(name: str, outputs: Tensor, target: Tensor) -> Tensor:
    """The target in the outputs' shape and type: [B] and [B, 1] are the same; anything else must not broadcast."""
    squeezed = [t.shape[:-1] if t.ndim > 1 and t.shape[-1] == 1 else t.shape for t in (outputs, target)]
    if squeezed[0] != squeezed[1]:
        raise UserError(
            f"loss '{name}' compares outputs {list(outputs.shape)} with targets {list(target.shape)}, "
            "which differ in shape; for classes use loss=cross-entropy"
        )
    return target.reshape(outputs.shape).to(outputs.dtype)


def _per_row(total: Tensor, outputs: Tensor) -> Tensor:
    """A sum over all elements -> the sum over rows of each row's mean."""
    return total / math.prod(outputs.shape[1:])


def _cross_entropy(outputs: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Outputs [B, C, …], target int64 [B, …] or a distribution [B, C, …]."""
    if target.is_floating_point():
        target = _matching("cross-entropy", outputs, target)
    elif outputs.ndim < 2 or outputs.shape[:1] + outputs.shape[2:] != target.shape:
        raise UserError(
            f"loss 'cross-entropy' takes outputs [rows, classes], not {list(outputs.shape)}, for labels "
            f"{list(target.shape)}; for one output per row use loss=bce"
        )
    return F.cross_entropy(outputs, target, reduction="sum", label_smoothing=smoothing)


def _mse(outputs: Tensor, target: Tensor) -> Tensor:
    return _per_row(F.mse_loss(outputs, _matching("mse", outputs, target), reduction="sum"), outputs)


def _l1(outputs: Tensor, target: Tensor) -> Tensor:
    return _per_row(F.l1_loss(outputs, _matching("l1", outputs, target), reduction="sum"), outputs)


def _huber(outputs: Tensor, target: Tensor) -> Tensor:
    return _per_row(F.huber_loss(outputs, _matching("huber", outputs, target), reduction="sum"), outputs)


def _bce(outputs: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Outputs [B], [B, 1] or [B, labels]; target 0 or 1 (or between) of the same shape; mean over a row's labels."""
    target = _matching("bce", outputs, target) * (1 - smoothing) + smoothing / 2
    return _per_row(F.binary_cross_entropy_with_logits(outputs, target, reduction="sum"), outputs)


def _hinge(outputs: Tensor, target: Tensor) -> Tensor:
    """Outputs [B, C] with labels [B] (Crammer and Singer 2001), or [B] or [B, 1] with targets -1 or +1 (or 0 and 1)."""
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        if target.shape != outputs.shape[:1]:
            raise UserError(
                f"loss 'hinge' takes one label per row, not targets {list(target.shape)} "
                f"for outputs {list(outputs.shape)}; for several labels per row use loss=bce"
            )
        own = outputs.gather(1, target[:, None])
        others = outputs.scatter(1, target[:, None], -math.inf)
        return (1 + others.amax(1, keepdim=True) - own).clamp(min=0).sum()
    side = torch.where(_matching("hinge", outputs, target) > 0, 1.0, -1.0)
    return (1 - side * outputs).clamp(min=0).sum()


def _kl(outputs: Tensor, target: Tensor) -> Tensor:
    """Outputs: log-probabilities [B, C, …]; target: probabilities of the same shape."""
    return F.kl_div(outputs, _matching("kl", outputs, target), reduction="sum")
