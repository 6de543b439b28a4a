"""Pictures cropped, mirrored, shifted, turned and enlarged, as whole batches; the same as one affine map per sample.

Shape letters: B batch, H height, W width, C channels. Pictures come as stored, uint8 [B, H, W, C].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.data.augment.words import Augment


def geometric(x: Tensor, u: Tensor, how: Augment) -> Tensor:
    """Crop, flip, shift and rotate. x uint8 [B, H, W, C], u [B, DRAWS] in [0, 1); returns uint8 or float32, same shape."""
    if how.resized_crop:
        return _resized(x, u, how.resized_crop, how.flip, math.radians(how.rotate))
    if how.crop or how.flip:
        x = _crop_flip(x, u, how.crop, how.flip)
    if how.shift or how.rotate:
        x = _affine(x, u, how.shift, math.radians(how.rotate))
    return x


def _crop_flip(x: Tensor, u: Tensor, pad: int, flip: bool) -> Tensor:
    """Both in one gather of pixels."""
    b, h, w, _ = x.shape
    top, left = ((u[:, i, None] * (2 * pad + 1)).long() for i in (0, 1))
    down, across = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    if flip:
        across = torch.where(u[:, 2, None] < 0.5, w - 1 - across, across)
    rows, columns = top + down, left + across
    padded = F.pad(x, (0, 0, pad, pad, pad, pad)) if pad else x
    return padded[torch.arange(b, device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _affine(x: Tensor, u: Tensor, shift: float, angle: float) -> Tensor:
    """Rotation about the centre and translation, zeros outside."""
    return sampled(x.permute(0, 3, 1, 2).float(), _moving(u, shift, angle, *x.shape[1:3])).permute(0, 2, 3, 1)


def _moving(u: Tensor, shift: float, angle: float, h: int, w: int) -> Tensor:
    dx, dy = (2 * u[:, 4] - 1) * shift * 2 / w, (2 * u[:, 5] - 1) * shift * 2 / h
    xx, xy, yx, yy = turned((2 * u[:, 3] - 1) * angle, h, w)
    return theta_of(xx, xy, dx, yx, yy, dy)


def turned(turn: Tensor, h: int, w: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The entries xx, xy, yx, yy of a rotation [B] in coordinates from -1 to 1, which a picture's sides stretch."""
    cos, sin = turn.cos(), turn.sin()
    return cos, -sin * h / w, sin * w / h, cos


def theta_of(xx: Tensor, xy: Tensor, dx: Tensor, yx: Tensor, yy: Tensor, dy: Tensor) -> Tensor:
    """Six numbers per picture [B] as its affine map [B, 2, 3], from a place in the result to one in the picture."""
    return torch.stack([torch.stack([xx, xy, dx], 1), torch.stack([yx, yy, dy], 1)], 1)


def sampled(x: Tensor, theta: Tensor) -> Tensor:
    """Pictures [B, C, H, W] through affine maps [B, 2, 3], bilinear, zeros outside."""
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)


ASPECT = 4 / 3


def _resized(x: Tensor, u: Tensor, least: float, flip: bool, angle: float) -> Tensor:
    """A part of the picture, turned and mirrored, enlarged to its whole: one bilinear map."""
    theta = _enlarging(u, least, flip, angle, *x.shape[1:3])
    return sampled(x.permute(0, 3, 1, 2).float(), theta).permute(0, 2, 3, 1)


def _enlarging(u: Tensor, least: float, flip: bool, angle: float, h: int, w: int) -> Tensor:
    """Area uniform from `least` to 1, aspect log-uniform from 3/4 to 4/3 as far as a part of that area fits into the picture
    (where others draw again until one does), place uniform.
    """
    area = least + (1 - least) * u[:, 4]
    widest, narrowest = w / (h * area), w * area / h
    low, high = (torch.full_like(area, end).clamp(narrowest, widest) for end in (1 / ASPECT, ASPECT))
    aspect = low * (high / low) ** u[:, 5]
    across, down = (area * h / w * aspect).sqrt(), (area * w / h / aspect).sqrt()
    dx, dy = (1 - across) * (2 * u[:, 1] - 1), (1 - down) * (2 * u[:, 0] - 1)
    xx, xy, yx, yy = turned((2 * u[:, 3] - 1) * angle, h, w)
    side = torch.where(u[:, 2] < 0.5, -1.0, 1.0) if flip else torch.ones_like(area)
    return theta_of(across * xx * side, across * xy, dx, down * yx * side, down * yy, dy)


def affine(u: Tensor, how: Augment, height: int, width: int) -> Tensor:
    """What `geometric` does to pictures, as one map per sample [B, 2, 3]: for fields that move together.

    u [B, DRAWS] in [0, 1). A map is as torch's affine_grid has it: from a place in the result to one in the picture, both
    from -1 to 1 across its sides. What a crop takes away may come back where a shift follows it.
    """
    angle = math.radians(how.rotate)
    if how.resized_crop:
        return _enlarging(u, how.resized_crop, how.flip, angle, height, width)
    top, left = ((u[:, i] * (2 * how.crop + 1)).long() - how.crop for i in (0, 1))
    side = torch.where(u[:, 2] < 0.5, -1.0, 1.0) if how.flip else torch.ones_like(u[:, 2])
    moved = _moving(u, how.shift, angle, height, width)
    x, y = moved[:, 0] * side[:, None], moved[:, 1]
    none = torch.zeros_like(side)
    dx, dy = (torch.stack([none, none, 2 * by / sides], 1) for by, sides in ((left, width), (top, height)))
    return torch.stack([x + dx, y + dy], 1)
