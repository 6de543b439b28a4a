"""Quantisation-aware training: while it learns, a network computes with its weights as they will be rounded.

Rounding has no gradient, so the gradient passes as if nothing had been rounded (B. Jacob et al.: Quantization and training of neural
networks for efficient integer-arithmetic-only inference. CVPR 2018; Y. Bengio et al.: Estimating or propagating gradients through
stochastic neurons. arXiv:1308.3432, 2013). It is a change while a network is trained; what comes out is rounded for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from shendu.compressing import Change, layer_of
from shendu.compressing.packing import BITS, packable, rounded
from shendu.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Rounding(Change):
    """Weights are rounded whenever they are used."""

    kind: ClassVar[str] = "rounding"
    bits: int
    weights: list[str]

    def apply(self, model: nn.Module) -> None:
        if self.bits not in BITS:
            raise UserError(f"weights are not rounded to {self.bits} bits; write it like 8")
        for name in self.weights:
            module, _, key = name.rpartition(".")
            holder = layer_of(model, module) if module else model
            if key not in holder._parameters:
                raise UserError(f"the network has no weight called {name}")
            parametrize.register_parametrization(holder, key, Rounded(self.bits), unsafe=True)


class Rounded(nn.Module):
    """A weight as it will be read from its file; its gradient passes."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (rounded(weight.detach(), self.bits) - weight.detach())


def rounding(model: nn.Module, bits: int) -> Rounding:
    """Of all weights that are packed, tied ones apart: a table that also stands elsewhere is rounded at the end."""
    uses: dict[int, int] = {}
    for module in model.modules():
        for p in module._parameters.values():
            uses[id(p)] = uses.get(id(p), 0) + 1
    named = dict(model.named_parameters())
    return Rounding(bits=bits, weights=[name for name in packable(named, bits) if uses[id(named[name])] == 1])


def settled(model: nn.Module) -> None:
    """Weights as plain ones again, rounded for good."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
