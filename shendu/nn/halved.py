"""Linear layers whose weights are held in half precision, for networks that write: each new token walks through all of them.

On a processor the time of such a walk is the time of reading the weights. Half the bytes are read in a third of the time and
less, since FBGEMM lays them out as it reads them.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
WORTH = 1_000_000
"""Weights from which a network is worth it: smaller ones stay in a processor's cache."""


class Halved(nn.Module):
    """A linear layer with weights rounded to float16, which has 11 bits; bfloat16, in which networks are trained here, has 8.

    Inputs and sums are float32. Without gradients, on a processor.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight, bias = layer.weight.detach(), layer.bias
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight, None if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] -> [..., O]."""
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return y


def halved(model: Network) -> Network:
    """The network with the weights of its linear layers in half precision, for writing; the rest is shared with `model`, which
    stays as it is. It is `model` itself where that would not be faster: on a GPU, without FBGEMM, or for a small network.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear]
    weights = [layer.weight for layer in layers]
    able = "fbgemm" in torch.backends.quantized.supported_engines
    if not able or sum(w.numel() for w in weights) < WORTH or any(outside(w) for w in weights):
        return model
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, {**shared, **{id(layer): Halved(layer) for layer in layers}})


def outside(weight: Tensor) -> bool:
    """Whether a weight is no float32 on a processor, or larger than half precision can say."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return True
    return not bool(weight.detach().abs().max() < torch.finfo(torch.float16).max)
