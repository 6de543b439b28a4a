"""Augmentation of whole batches by tensor operations; every draw depends on (key, sample) alone.

Shape letters: B batch, H height, W width, C channels, N samples, M mel bands, T frames. Pictures come as stored, uint8
[B, H, W, C], recordings too, int16 [B, N].
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import chance
from shendu.data.audio import Audio
from shendu.data.columns import Category, Column, Image
from shendu.data.dataset import Dataset
from shendu.errors import UserError, unknown

KINDS = {
    "crop": "zero-pad by N pixels, then crop to the old size at random (crop:4)",
    "flip": "mirror left and right with probability 1/2",
    "shift": "move by up to N pixels, bilinear (shift:2)",
    "rotate": "turn by up to N degrees, bilinear (rotate:10)",
    "cutout": "set an N by N square to the mean (cutout:8; DeVries & Taylor 2017)",
    "delay": "begin up to N seconds earlier or later (delay:0.1)",
    "noise": "add white noise N to N + 30 decibels below the recording (noise:20)",
    "specmask": "set a band of up to N mels and a stretch of up to N frames to the mean (specmask:8; Park et al. 2019)",
    "mixup": "blend with another sample, share from Beta(N, N) (mixup:0.2; Zhang et al. 2018)",
}
SUITS = {
    "Image": ("crop", "flip", "shift", "rotate", "cutout", "mixup"),
    "Audio": ("delay", "noise", "specmask", "mixup"),
    "Number": ("mixup",),
}
"""Kind of the input column -> what can be done to it."""
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
    delay: float = 0.0
    noise: float = 0.0
    specmask: int = 0
    mixup: float = 0.0

    @property
    def geometric(self) -> bool:
        return bool(self.crop or self.flip or self.shift or self.rotate)

    @property
    def acoustic(self) -> bool:
        return bool(self.delay or self.noise)

    @property
    def drawn(self) -> bool:
        return bool(self.geometric or self.acoustic or self.cutout or self.specmask)


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
                f"augmentation '{word}' lacks its number; write it like {name}:{'0.2' if name in ('mixup', 'delay') else 4}"
            )
        values[name] = int(value) if name in ("crop", "cutout", "specmask") else value
    return Augment(**values)  # type: ignore[arg-type]


def of(words: tuple[str, ...], column: Column) -> Augment:
    """Words as they apply to a column (delays in its samples); raises UserError for one that does not suit it."""
    kind = type(column).__name__
    suits = SUITS.get(kind, ())
    if wrong := [word for word in words if word.partition(":")[0] in KINDS and word.partition(":")[0] not in suits]:
        can = f"use {', '.join(suits)}" if suits else "leave it out"
        raise UserError(f"augment={wrong[0]} is not for inputs of type {kind.lower()}; {can}")
    how = parse(words)
    return replace(how, delay=how.delay * column.rate) if isinstance(column, Audio) else how


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


def acoustic(x: Tensor, u: Tensor, how: Augment, samples: Tensor, *key: int) -> Tensor:
    """Delay and noise. x [B, N], u [B, DRAWS] in [0, 1); noise is keyed by sample. Returns x's type, or float32."""
    if how.delay:
        x = _delayed(x, ((2 * u[:, 0] - 1) * how.delay).long())
    if how.noise:
        x = x.float()
        power = x.square().mean(1, keepdim=True) * 10 ** (-(how.noise + 30 * u[:, 1, None]) / 10)
        x = x + (2 * chance.uniform(samples, x.shape[1], *key) - 1) * (3 * power).sqrt()
    return x


def _delayed(x: Tensor, by: Tensor) -> Tensor:
    """Moved by so many samples [B], zeros where nothing was."""
    place = torch.arange(x.shape[1], device=x.device) - by[:, None]
    inside = (place >= 0) & (place < x.shape[1])
    return x.gather(1, place.clamp(0, x.shape[1] - 1)) * inside


def specmask(x: Tensor, u: Tensor, most: int) -> Tensor:
    """One band and one stretch of zeros (the mean, after normalising) per spectrogram. x float [B, 1, M, T]."""
    hidden = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
    for dim, width, start in ((2, u[:, 2], u[:, 3]), (3, u[:, 4], u[:, 5])):
        size = x.shape[dim]
        wide = (width * (min(most, size) + 1)).long()
        first = (start * (size - wide + 1)).long()
        place = torch.arange(size, device=x.device)
        covered = (place >= first[:, None]) & (place < (first + wide)[:, None])
        hidden |= covered.view(len(x), 1, *((size, 1) if dim == 2 else (1, size)))
    return x.masked_fill(hidden, 0.0)


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
    """What suits a known set; else what changes no meaning: colour pictures cropped and mirrored, gray ones, which may be
    writing, shifted by a fourteenth of their side; recordings by a tenth of a second, with noise and hidden parts.
    """
    column = data.fields[data.input]
    if isinstance(column, Audio):
        return ("delay:0.1", "noise:15", "specmask:8")
    if not isinstance(column, Image):
        return ()
    if data.name in _USUAL:
        return _USUAL[data.name]
    if mirrors(data):
        return (f"crop:{max(1, round(min(column.height, column.width) / 8))}", "flip")
    return (f"shift:{max(1, round(column.width / 14))}",)


def mirrors(data: Dataset) -> bool:
    """Whether a picture keeps its class when it is mirrored: colour ones do, unless a class's name speaks of left and right."""
    column, target = data.fields[data.input], data.fields.get(data.target)
    names = target.names if isinstance(target, Category) else ()
    sided = any(word in ("left", "right") for name in names for word in re.split(r"[\W_]+", name.lower()))
    return isinstance(column, Image) and column.channels >= 3 and not sided


def reason(data: Dataset, words: tuple[str, ...]) -> tuple[str, ...]:
    """The note on what is done to a person's own pictures; none for a known set."""
    if data.name in _USUAL or not isinstance(data.fields[data.input], Image):
        return ()
    done = ",".join(words)
    if "flip" in words:
        return (f"augmentation: {done}, since photos may be mirrored (if these may not: --set augment=shift:2)",)
    return (
        f"augmentation: {done}, not mirrored, since these may be writing, or have sides (photos: --set augment={done},flip)",
    )
