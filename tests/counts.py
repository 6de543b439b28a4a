"""What a network costs and what its layers leave, worked out without memory: on torch's meta device."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(net: Any, side: int = 224) -> float:
    """Multiplications with addition, in millions, for one picture through the network that a Config describes."""
    with torch.device("meta"):
        built, x = net.build().eval(), torch.zeros(1, net.channels, side, side)
        with FlopCounterMode(display=False) as counter:
            built(x)
    return counter.get_total_flops() / 2e6


def shapes(net: Any, side: int = 224) -> dict[str, tuple[int, ...]]:
    """Dotted name of a module -> the shape [C, H, W] that it leaves of one picture."""
    found: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        built, x = net.build().eval(), torch.zeros(1, net.channels, side, side)
        for name, module in built.named_modules():
            module.register_forward_hook(watch(found, name))
        built(x)
    return found


def watch(found: dict[str, tuple[int, ...]], name: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        found[name] = tuple(output.shape[1:])

    return hook


def shaken(net: nn.Module) -> nn.Module:
    """The network in eval mode with BatchNorm figures that are none of a fresh one."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()
