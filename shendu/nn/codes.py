"""Pictures of what codes hold: rows beside their reconstructions, rows at the places of their codes, walks between them.

Shape letters: B rows, K numbers of a code, C channels, H, W picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

CANVAS = 12
"""Pictures along a side of a map of codes."""


def side_by_side(x: Tensor, reconstructed: Tensor) -> Tensor:
    """[B, C, H, W] twice -> [B, C, H, 2W]: each row, and to its right what became of it."""
    return torch.cat([x, reconstructed], 3)


def plane(codes: Tensor) -> Tensor:
    """[B, K] -> [B, 2]: codes of two numbers as they are, longer ones along their two main directions (PCA)."""
    flat = codes.flatten(1).float()
    if flat.shape[1] == 2:
        return flat
    if flat.shape[1] == 1 or len(flat) < 2:
        return torch.cat([flat[:, :1], torch.zeros_like(flat[:, :1])], 1)
    centred = flat - flat.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    return centred @ directions.T


def placed(x: Tensor, codes: Tensor) -> Tensor:
    """Rows x [B, C, H, W] at the places of their codes [B, K] -> one picture [1, C, 12H, 12W]; empty places are mid-way."""
    _, channels, height, width = x.shape
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
    canvas = x.new_full((1, channels, CANVAS * height, CANVAS * width), (low + high) / 2)
    at = plane(codes)
    share = (at - at.min(0).values) / (at.max(0).values - at.min(0).values).clamp(min=1e-12)
    left = (share[:, 0] * (CANVAS - 1) * width).round().int().tolist()
    top = ((1 - share[:, 1]) * (CANVAS - 1) * height).round().int().tolist()
    for picture, column, row in zip(x, left, top, strict=True):
        canvas[0, :, row : row + height, column : column + width] = picture
    return canvas


def between(codes: Tensor, walks: int = 8, steps: int = 8) -> Tensor:
    """Straight walks from each of the first codes [B, K] to the one after it -> [walks · steps, K], ends included."""
    flat = codes.flatten(1)
    walks = min(walks, len(flat))
    begin, end = flat[:walks, None], flat.roll(-1, 0)[:walks, None]
    share = torch.linspace(0, 1, steps, device=flat.device).view(1, -1, 1)
    return (begin + (end - begin) * share).flatten(0, 1)


def turned(end: Tensor, steps: int) -> Iterator[Tensor]:
    """The way to normal codes from others, drawn now, in so many steps: on the sphere, where what lies between is normal too."""
    begin = torch.randn_like(end) if steps else end
    for i in range(steps):
        turn = math.pi / 2 * i / steps
        yield math.cos(turn) * begin + math.sin(turn) * end
    yield end


def lattice(low: Tensor, high: Tensor, side: int = 16) -> Tensor:
    """Points of the rectangle between two corners [2], row by row from the top left -> [side², 2]."""
    across, down = (torch.linspace(float(low[i]), float(high[i]), side, device=low.device) for i in (0, 1))
    return torch.stack(torch.meshgrid(down.flip(0), across, indexing="ij")[::-1], -1).reshape(-1, 2)


def side(classes: int) -> int:
    """Rows and columns of a square of pictures with a class per row: eight, or as many as there are classes up to sixteen."""
    return min(16, max(8, classes))
