"""Norms of a layer's features, by name."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from shendu.errors import unknown

NORMS = ("layer", "rms")
"""LayerNorm (Ba, Kiros and Hinton 2016); RMSNorm (Zhang and Sennrich 2019), which leaves mean and bias out."""
EPSILON = 1e-5


def norm(name: str, width: int, *, bias: bool = True) -> nn.Module:
    """Over the last dimension, of `width` features; raises UserError for an unknown name."""
    if name == "layer":
        return nn.LayerNorm(width, eps=EPSILON, bias=bias)
    if name == "rms":
        return RMSNorm(width, eps=EPSILON)
    raise unknown("norm", name, NORMS)


class RMSNorm(nn.RMSNorm):
    """torch's, whose weights follow the features into half precision."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
