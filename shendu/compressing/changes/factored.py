"""Low-rank factorisation: a layer's matrix as the product of two thin ones.

The truncated singular value decomposition is the nearest matrix of its rank (C. Eckart and G. Young: The approximation of one
matrix by another of lower rank. Psychometrika 1936). A convolution [O, I, h, w] is the matrix [O, I h w]: some kernels, then a 1x1
convolution that mixes what they see (E. Denton et al.: Exploiting linear structure within convolutional networks. NeurIPS 2014).

Shape letters: O leaving, I entering, r rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from shendu.compressing import Change, layer_of, put
from shendu.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Factored(Change):
    """Layers become two each, of a rank."""

    kind: ClassVar[str] = "factored"
    ranks: dict[str, int]

    def apply(self, model: nn.Module) -> None:
        for name, rank in self.ranks.items():
            layer = layer_of(model, name)
            if not can(layer) or not 1 <= int(rank) <= full(layer):
                raise UserError(f"the network's layer {name} cannot be of rank {rank}")
            put(model, name, pair(layer, int(rank)))


def can(layer: nn.Module) -> bool:
    """Whether a layer is one matrix: linear, or a convolution without groups."""
    return type(layer) is nn.Linear or (
        type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
    )


def matrix(layer: Any) -> Tensor:
    """[O, I], or [O, I h w]."""
    found: Tensor = layer.weight.detach().flatten(1)
    return found


def full(layer: Any) -> int:
    """The highest rank that a layer can have."""
    return min(len(layer.weight), layer.weight[0].numel())


def worth(layer: Any, share: float) -> int:
    """The rank at which the two layers have a share of the parameters of the one; 0: there is none."""
    rows, columns = len(layer.weight), layer.weight[0].numel()
    return min(full(layer), int(share * rows * columns / (rows + columns)))


def pair(layer: Any, rank: int) -> nn.Sequential:
    """Two layers in the place of one, of no particular weights, on its device."""
    how: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    bias = layer.bias is not None
    if type(layer) is nn.Linear:
        return nn.Sequential(
            nn.Linear(layer.in_features, rank, bias=False, **how), nn.Linear(rank, layer.out_features, bias=bias, **how)
        )
    looks = {
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
    }
    return nn.Sequential(
        nn.Conv2d(layer.in_channels, rank, bias=False, **looks, **how),
        nn.Conv2d(rank, layer.out_channels, 1, bias=bias, **how),
    )


def split(layer: Any, rank: int) -> nn.Sequential:
    """The nearest pair of that rank, the singular values shared between both."""
    u, s, v = torch.linalg.svd(matrix(layer).double(), full_matrices=False)
    root = s[:rank].sqrt()
    found: Any = pair(layer, rank)
    with torch.no_grad():
        found[0].weight.copy_((root[:, None] * v[:rank]).view_as(found[0].weight))
        found[1].weight.copy_((u[:, :rank] * root).view_as(found[1].weight))
        if layer.bias is not None:
            found[1].bias.copy_(layer.bias)
    return found


def factored(model: nn.Module, share: float) -> Factored:
    """Factors layers in place so that each keeps at most a share of its parameters; raises UserError where none can be.

    Tables that also stand elsewhere (tied weights) and layers that would be of a rank below 1 stay as they are.
    """
    seen: dict[int, int] = {}
    for module in model.modules():
        for p in module._parameters.values():
            seen[id(p)] = seen.get(id(p), 0) + 1
    ranks = {}
    for name, layer in list(model.named_modules()):
        if name and can(layer) and seen[id(layer.weight)] == 1 and 1 <= (rank := worth(layer, share)) < full(layer):
            put(model, name, split(layer, rank))
            ranks[name] = rank
    if not ranks:
        raise UserError("no layer of this network is a matrix that could be factored; use --int8, or --prune")
    return Factored(ranks=ranks)
