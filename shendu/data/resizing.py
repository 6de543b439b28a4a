"""Pillow's `ImageOps.fit`, bilinear and antialiased, as tensor operations: a graph that holds it takes pictures of any size.

Pillow weighs the pixels along each axis by triangles, with weights of PRECISION bits, and rounds to whole levels after each axis.
Here each axis is a product with a matrix of these weights, cut into two halves whose sums are whole numbers that float32 holds
exactly, so the levels are Pillow's own. They are off by one level at most, and only so where a sum lies between two levels to the
last bit, or a triangle spans more than 2^(24 - 8 - 11) = 32 pixels (some in 10,000); and of pictures that are taller than the
wanted shape, of which Pillow 13 resizes some first down and then across, where here it is always first across (up to a third).

Shape letters: B pictures, C channels, h x w pixels of those given, H x W of those wanted, N pixels along an axis, n of those wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRECISION = 22
"""Bits of a weight."""
HALF = 11


def fit(x: Tensor, height: int, width: int) -> Tensor:
    """Pictures [B, h, w, C] of levels 0 to 255 -> float32 [B, H, W, C]: the largest centred part of the wanted shape, resized."""
    tall, wide = (torch.full((), x.shape[axis], dtype=torch.float64) for axis in (1, 2))
    ratio = width / height
    across = weights(wide, torch.minimum(wide, tall * ratio), x.shape[2], width)
    down = weights(tall, torch.minimum(tall, wide / ratio), x.shape[1], height)
    rows = x.permute(0, 3, 1, 2).float()
    narrow = levels(*(rows @ part.T for part in halves(across)))
    return levels(*(part @ narrow for part in halves(down))).permute(0, 2, 3, 1)


def weights(length: Tensor, kept: Tensor, given: int, wanted: int) -> Tensor:
    """Whole numbers [n, N], of which each row adds up to about 2^PRECISION: those of an axis of `length` pixels, of which the
    middle `kept` become `wanted` ones. Scalars are float64 [], `given` is the length as a dimension."""
    start = ((length - kept) * 0.5).float()  # Pillow's box is of single precision
    scale = (((length - kept) * 0.5 + kept).float() - start).double() / wanted
    wide = scale.clamp(min=1.0)
    centre = start.double() + (torch.arange(wanted, dtype=torch.float64) + 0.5)[:, None] * scale
    first, last = (centre - wide + 0.5).clamp(min=0).floor(), torch.minimum((centre + wide + 0.5).floor(), length)
    pixel = torch.arange(given, dtype=torch.float64)
    near = (1 - ((pixel - centre + 0.5) * (1 / wide)).abs()).clamp(min=0)
    near = torch.where((pixel >= first) & (pixel < last), near, 0.0)
    return (near / near.sum(1, keepdim=True) * 2.0**PRECISION + 0.5).floor()


def halves(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Their upper and their lower bits, float32."""
    upper = (weights / 2.0**HALF).floor()
    return upper.float(), (weights - upper * 2.0**HALF).float()


def levels(upper: Tensor, lower: Tensor) -> Tensor:
    """Sums of both halves -> the level, rounded and cut as Pillow does it."""
    carried = (lower / 2.0**HALF).floor()
    return ((upper + carried + 2.0 ** (PRECISION - HALF - 1)) / 2.0 ** (PRECISION - HALF)).floor().clamp(0, 255)
