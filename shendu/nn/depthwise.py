"""Depthwise convolution, by the kernels that are fast on a processor.

oneDNN has none for the gradient of a depthwise convolution in bfloat16 with a stride, or over maps of one or two pixels: what is
computed in its place takes ten to forty times as long as in float32 (torch 2.13, AVX-512 BF16).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 2
"""Pixels a side."""


class Depthwise(nn.Conv2d):
    """Each of `maps` by itself: a kernel of odd size k, its padding k // 2, no bias. Weights as nn.Conv2d's [C, 1, k, k]."""

    def __init__(self, maps: int, kernel: int, stride: int = 1) -> None:
        super().__init__(maps, maps, kernel, stride, kernel // 2, groups=maps, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, ⌈H / stride⌉, ⌈W / stride⌉]."""
        if x.shape[2:] == (1, 1):  # all but the kernel's middle lies on padding
            middle = self.weight[:, 0, self.padding[0], self.padding[1]]  # type: ignore[index]
            return x * middle.to(x.dtype)[:, None, None]
        lowered = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if lowered and (max(self.stride) > 1 or max(x.shape[2:]) <= SMALL):
            with torch.autocast("cpu", enabled=False):
                return self.over(x.float()).to(torch.get_autocast_dtype("cpu"))
        return self.over(x)

    def over(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding, groups=self.groups)
