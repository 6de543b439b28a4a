"""Colours changed, and RandAugment's fourteen operations, on whole batches.

Shape letters: B batch, H height, W width, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from shendu import chance
from shendu.data.augment.geometry import sampled, theta_of, turned
from shendu.data.augment.words import MOSTS, Augment

LUMA = (0.299, 0.587, 0.114)
HUE = 0.25
"""Turn of the hue, in full turns, at a jitter of 1."""


def photographic(x: Tensor, how: Augment, samples: Tensor, *key: int) -> Tensor:
    """RandAugment, then jitter. x uint8 or float [B, H, W, C] of 0 to 255, keyed by sample; returns float32, same shape."""
    x = x.permute(0, 3, 1, 2).float().contiguous()
    if how.randaugment:
        x = randaugment(x, chance.uniform(samples, 4, *key, 1), how.randaugment / MOSTS["randaugment"])
    if how.jitter:
        x = jitter(x, chance.uniform(samples, 4, *key, 2), how.jitter)
    return x.permute(0, 2, 3, 1)


def jitter(x: Tensor, u: Tensor, most: float) -> Tensor:
    """Brightness, contrast, saturation and hue, in this order; values are cut off at 0 and 255 once, at the end.

    x [B, C, H, W] of 0 to 255, u [B, 4] in [0, 1). Factors are uniform from 1 - most to 1 + most; contrast is about the mean
    brightness. Saturation and hue are for three channels: a turn about the gray axis that keeps the brightness.
    """
    bright, contrast, saturation = (1 + (2 * u[:, i] - 1) * most for i in range(3))
    return recoloured(x, bright, contrast, saturation, (2 * u[:, 3] - 1) * most * HUE)


def recoloured(x: Tensor, bright: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Factors and turns [B] done to pictures [B, C, H, W]; 1, 1, 1, 0 change nothing."""
    x = x * _each(bright)
    middle = brightness(x).mean((1, 2, 3), dtype=torch.float64, keepdim=True).float()
    x = middle + (x - middle) * _each(contrast)
    if x.shape[1] == 3:
        x = _turned_hue(x, saturation, hue)
    return x.clamp(0, 255)


def _each(values: Tensor) -> Tensor:
    """[B] against [B, C, H, W]."""
    return values[:, None, None, None]


def brightness(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 1, H, W]: the weighted mean of three channels, the plain one of others."""
    if x.shape[1] == 3:
        return LUMA[0] * x[:, :1] + LUMA[1] * x[:, 1:2] + LUMA[2] * x[:, 2:]
    return x.mean(1, keepdim=True)


def _turned_hue(x: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Colour differences (R - Y, B - Y) scaled and turned, in the plane whose axes YIQ takes; brightness is kept."""
    y = brightness(x)
    i, q = (sum(w * (x[:, c : c + 1] - y) for c, w in enumerate(row)) for row in TO_IQ)
    angle = 2 * math.pi * hue
    cos, sin = _each(saturation * angle.cos()), _each(saturation * angle.sin())
    i, q = cos * i - sin * q, sin * i + cos * q
    return torch.cat([y + a * i + b * q for a, b in FROM_IQ], 1)


def _yiq() -> tuple[list[list[float]], list[list[float]]]:
    """YIQ's colour axes (FCC, 1953), and the way back as the exact inverse."""
    rows = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
    return rows[1:].tolist(), torch.linalg.inv(rows)[:, 1:].tolist()


TO_IQ, FROM_IQ = _yiq()

SHEAR, MOVE, TURN, FACTOR, BITS = 0.3, 150 / 331, math.radians(30), 0.9, 4
"""At full magnitude: shear, share of the side, angle, change of a factor, bits that are dropped."""


def randaugment(x: Tensor, u: Tensor, strength: float) -> Tensor:
    """Two operations per picture, drawn with replacement, each of `strength` of its full magnitude, either way round.

    x [B, C, H, W] of 0 to 255, u [B, 4] in [0, 1). Zeros come in where a picture moves.
    """
    for turn in (0, 1):
        chosen = (u[:, turn] * len(OPERATIONS)).long()
        x = operated(x, chosen, torch.where(u[:, 2 + turn] < 0.5, -strength, strength))
    return x


def operated(x: Tensor, chosen: Tensor, strength: Tensor) -> Tensor:
    """Picture b through operation chosen[b] of OPERATIONS, of strength[b] in -1 … 1: groups of rows, each as one batch."""
    done, first = x.clone(), 1
    for names, operation in _GROUPS:
        rows = ((chosen >= first) & (chosen < first + len(names))).nonzero()[:, 0]
        if len(rows):
            done[rows] = operation(x[rows], chosen[rows] - first, strength[rows])
        first += len(names)
    return done


def moved(x: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Shears, translations and rotations, as one affine map per picture."""
    h, w = x.shape[-2:]
    size = {name: torch.where(which == i, strength, 0.0) for i, name in enumerate(MOVES)}
    xx, xy, yx, yy = turned(size["rotate"] * TURN, h, w)
    xy, yx = xy + size["shear-x"] * SHEAR * h / w, yx + size["shear-y"] * SHEAR * w / h
    return sampled(x, theta_of(xx, xy, size["move-x"] * MOVE * 2, yx, yy, size["move-y"] * MOVE * 2))


def coloured(x: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    bright, contrast, saturation = (torch.where(which == i, 1 + strength * FACTOR, 1.0) for i in range(len(COLOURS)))
    return recoloured(x, bright, contrast, saturation, torch.zeros_like(strength))


def sharpened(x: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Away from (or towards, below 0) a smoothed picture: weights of 1 around 5, over 13; the border stays."""
    if min(x.shape[-2:]) < 3:
        return x
    across = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    inside = x[..., 1:-1, 1:-1]
    smooth = (across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :] + 4 * inside) / 13
    sharp = x.clone()
    sharp[..., 1:-1, 1:-1] = smooth + (inside - smooth) * _each(1 + strength * FACTOR)
    return sharp.clamp(0, 255)


def posterized(x: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Up to BITS low bits dropped."""
    step = 2.0 ** _each((strength.abs() * BITS).round())
    return (x.round() / step).floor() * step


def solarized(x: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Values from a threshold on inverted; it falls from 256 to 0."""
    return torch.where(x >= 256 * (1 - _each(strength.abs())), 255 - x, x)


def autocontrasted(x: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Each channel stretched to 0 … 255; one of a single value stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) * (255 / (high - low).clamp(min=1e-6)), x)


def equalized(x: Tensor, which: Tensor, strength: Tensor) -> Tensor:
    """Each channel's values spread evenly: whole levels by the running count of those below (as imaging libraries do it)."""
    levels = x.round().long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.int64, device=x.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    top = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - top) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, table.gather(2, levels), levels).float().view(x.shape)


MOVES = ("shear-x", "shear-y", "move-x", "move-y", "rotate")
COLOURS = ("brightness", "contrast", "saturation")
_GROUPS: tuple[tuple[tuple[str, ...], Callable[[Tensor, Tensor, Tensor], Tensor]], ...] = (
    (MOVES, moved), (COLOURS, coloured), (("sharpness",), sharpened), (("posterize",), posterized),
    (("solarize",), solarized), (("autocontrast",), autocontrasted), (("equalize",), equalized),
)  # fmt: skip
"""Operations that are computed together: pictures [B, C, H, W], each one's number in its group, its strength."""
OPERATIONS = ("identity", *(name for names, _ in _GROUPS for name in names))
"""RandAugment's fourteen."""
