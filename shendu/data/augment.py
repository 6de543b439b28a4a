"""Augmentation of whole batches by tensor operations; every draw depends on (key, sample) alone.

Shape letters: B batch, H height, W width, C channels. Pictures come as stored: uint8 [B, H, W, C].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import chance
from shendu.data.columns import Image
from shendu.data.dataset import Dataset
from shendu.errors import UserError, unknown

KINDS = {
    "crop": "zero-pad by N pixels, then crop to the old size at random (crop:4)",
    "flip": "mirror left and right with probability 1/2",
    "shift": "move by up to N pixels, bilinear (shift:2)",
    "rotate": "turn by up to N degrees, bilinear (rotate:10)",
    "cutout": "set an N by N square to the mean (cutout:8; DeVries & Taylor 2017)",
    "mixup": "blend with another sample, share from Beta(N, N) (mixup:0.2; Zhang et al. 2018)",
}
DRAWS = 8
MOST = 1000.0
"""No number of an augmentation is larger."""


@dataclass(frozen=True)
class Augment:
    """What is done to a training batch; all zero: nothing."""

    crop: int = 0
    flip: bool = False
    shift: float = 0.0
    rotate: float = 0.0
    cutout: int = 0
    mixup: float = 0.0

    @property
    def geometric(self) -> bool:
        return bool(self.crop or self.flip or self.shift or self.rotate)


def parse(words: tuple[str, ...]) -> Augment:
    """`("crop:4", "flip")` -> Augment; raises UserError for an unknown word or a number that is none."""
    values: dict[str, float | int | bool] = {}
    for word in words:
        name, _, number = word.partition(":")
        if name not in KINDS:
            raise unknown("augmentation", name, KINDS)
        if name == "flip":
            values["flip"] = True
            continue
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= MOST:
            raise UserError(
                f"augmentation '{word}' lacks its number; write it like {name}:{'0.2' if name == 'mixup' else 4}"
            )
        values[name] = int(value) if name in ("crop", "cutout") else value
    return Augment(**values)  # type: ignore[arg-type]


def geometric(x: Tensor, u: Tensor, how: Augment) -> Tensor:
    """Crop, flip, shift and rotate. x uint8 [B, H, W, C], u [B, DRAWS] in [0, 1); returns uint8 or float32, same shape."""
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
    h, w = x.shape[1:3]
    turn = (2 * u[:, 3] - 1) * angle
    dx, dy = (2 * u[:, 4] - 1) * shift * 2 / w, (2 * u[:, 5] - 1) * shift * 2 / h
    cos, sin = turn.cos(), turn.sin()
    theta = torch.stack([torch.stack([cos, -sin * h / w, dx], 1), torch.stack([sin * w / h, cos, dy], 1)], 1)
    images = x.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).permute(0, 2, 3, 1)


def cutout(x: Tensor, u: Tensor, size: int) -> Tensor:
    """One square of zeros (the mean, after normalising) per picture. x float [B, C, H, W]; the centre lies inside."""
    h, w = x.shape[-2:]
    top, left = (u[:, 6, None] * h).long() - size // 2, (u[:, 7, None] * w).long() - size // 2
    down, across = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    rows = (down >= top) & (down < top + size)
    columns = (across >= left) & (across < left + size)
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


@lru_cache(maxsize=8)
def _beta_quantiles(alpha: float, points: int = 4096) -> Tensor:
    """Quantiles of Beta(alpha, alpha), by inverting its distribution function.

    Over the log-odds z of a share the density is (share (1 - share))^alpha: smooth, and small at both ends for every alpha.
    """
    reach = 10 + 30 / alpha
    z = torch.linspace(-reach, reach, points * 8 + 1, dtype=torch.float64)
    cumulative = ((F.logsigmoid(z) + F.logsigmoid(-z)) * alpha).exp().cumsum(0)
    wanted = (torch.arange(points, dtype=torch.float64) + 0.5) / points * cumulative[-1]
    return z[torch.searchsorted(cumulative, wanted).clamp(max=len(z) - 1)].sigmoid().float()


def mixing_share(u: Tensor, alpha: float) -> Tensor:
    """Shares distributed as Beta(alpha, alpha), from uniform numbers; same shape."""
    table = _beta_quantiles(alpha).to(u.device)
    return table[(u * len(table)).long()]


def draws(samples: Tensor, *key: int) -> Tensor:
    """The numbers that augment samples: [B, DRAWS]."""
    return chance.uniform(samples, DRAWS, *key)


_USUAL = {
    "mnist": ("rotate:10", "shift:2"),
    "digits": ("shift:0.5",),
    "fashion-mnist": ("crop:2", "flip"),
    "cifar10": ("crop:4", "flip"),
}


def usual(data: Dataset) -> tuple[str, ...]:
    """What suits a known set; for other pictures a shift by a fourteenth of the side, which changes no meaning."""
    column = data.fields[data.input]
    if not isinstance(column, Image):
        return ()
    return _USUAL.get(data.name, (f"shift:{max(1, round(column.width / 14))}",))
