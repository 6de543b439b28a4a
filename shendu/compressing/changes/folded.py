"""BatchNorm folded into the convolution, or linear layer, before it: in use it is one factor and one addend per channel.

y = g (w x - m) / √(v + e) + b is a layer of weights w g / √(v + e) and bias b - g m / √(v + e) (B. Jacob et al.: Quantization and
training of neural networks for efficient integer-arithmetic-only inference. CVPR 2018, section 3.2).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from shendu.compressing import Change, layer_of, put
from shendu.compressing.units import Ask, close
from shendu.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Folded(Change):
    """BatchNorms are gone, and the layers before them have a bias."""

    kind: ClassVar[str] = "folded"
    pairs: dict[str, str]
    """Layer -> the BatchNorm behind it."""

    def apply(self, model: nn.Module) -> None:
        for name, norm in self.pairs.items():
            layer, behind = layer_of(model, name), layer_of(model, norm)
            if not folds(layer) or not isinstance(behind, nn.modules.batchnorm._BatchNorm):
                raise UserError(f"the network's {norm} is no BatchNorm behind {name}")
            biased(layer)
            put(model, norm, nn.Identity())


def folds(layer: nn.Module) -> bool:
    """Torch's own layers: another class may leave its bias out of what it computes."""
    return type(layer) in (nn.Conv2d, nn.Conv1d, nn.Linear)


def biased(layer: Any) -> None:
    """Gives a layer a bias of zeros where it has none."""
    if layer.bias is None:
        layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))


def folded(model: nn.Module, ask: Ask) -> tuple[Folded, nn.Module] | None:
    """The network with each BatchNorm folded whose input is what a layer has just answered; None where there is none, or where
    something else reads that answer too."""
    found, made = neighbours(model, ask), copy.deepcopy(model)
    for name, norm in found.items():
        fold(layer_of(made, name), layer_of(made, norm))
        put(made, norm, nn.Identity())
    return (Folded(pairs=found), made) if found and close(ask.answers(made), ask.answers(model)) else None


def neighbours(model: nn.Module, ask: Ask) -> dict[str, str]:
    """Layer -> the BatchNorm that is called with its very answer."""
    answered: dict[int, str] = {}
    kept: list[Tensor] = []
    pairs: dict[str, str] = {}

    def answering(name: str) -> Any:
        def note(module: nn.Module, args: Any, out: Tensor) -> None:
            answered[id(out)] = name
            kept.append(out)

        return note

    def asked(name: str) -> Any:
        def note(module: nn.Module, args: Any, out: Tensor) -> None:
            before = answered.get(id(args[0]))
            if before and before not in pairs:
                pairs[before] = name

        return note

    hooks = []
    for name, module in model.named_modules():
        if folds(module):
            hooks.append(module.register_forward_hook(answering(name)))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            hooks.append(module.register_forward_hook(asked(name)))
    try:
        ask.answers(model)
    finally:
        for hook in hooks:
            hook.remove()
    return pairs


def fold(layer: Any, norm: Any) -> None:
    with torch.no_grad():
        factor = (norm.running_var.double() + norm.eps).rsqrt() * (norm.weight.double() if norm.affine else 1.0)
        bias = layer.bias.double() if layer.bias is not None else 0.0
        bias = (bias - norm.running_mean.double()) * factor + (norm.bias.double() if norm.affine else 0.0)
        layer.weight.copy_(layer.weight.double() * factor.view(-1, *[1] * (layer.weight.dim() - 1)))
        biased(layer)
        layer.bias.copy_(bias)
