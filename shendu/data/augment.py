"""Augmentation of whole batches by tensor operations; every draw depends on (key, sample) alone.

Pictures keep their size: `resized-crop` enlarges a part of one to the whole. What is evaluated is the whole picture as it is
stored, so there is no centre crop, and no second size to keep apart from that of training.

Shape letters: B batch, H height, W width, C channels, N samples, M mel bands, T frames. Pictures come as stored, uint8
[B, H, W, C], recordings too, int16 [B, N].
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import chance
from shendu.data.dataset import Dataset
from shendu.data.fields.audio import Audio
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.errors import UserError, unknown
from shendu.field import Field

KINDS = {
    "resized-crop": "enlarge a part of N to all of the area and aspect 3/4 to 4/3, bilinear (resized-crop:0.08; Szegedy et al. 2015)",
    "crop": "zero-pad by N pixels, then crop to the old size at random (crop:4)",
    "flip": "mirror left and right with probability 1/2",
    "shift": "move by up to N pixels, bilinear (shift:2)",
    "rotate": "turn by up to N degrees, bilinear (rotate:10)",
    "jitter": "change brightness, contrast and saturation by up to the share N, hue by N/4 of a turn (jitter:0.4)",
    "randaugment": "two operations out of fourteen, of magnitude N of 30 (randaugment:9; Cubuk et al. 2020)",
    "cutout": "set an N by N square to the mean (cutout:8; DeVries & Taylor 2017)",
    "delay": "begin up to N seconds earlier or later (delay:0.1)",
    "noise": "add white noise N to N + 30 decibels below the recording (noise:20)",
    "specmask": "set a band of up to N mels and a stretch of up to N frames to the mean (specmask:8; Park et al. 2019)",
    "mixup": "blend with another sample, share from Beta(N, N) (mixup:0.2; Zhang et al. 2018)",
    "cutmix": "paste a box of another sample, area from Beta(N, N), classes by area (cutmix:1; Yun et al. 2019)",
}
SUITS = {
    "Image": (
        "resized-crop",
        "crop",
        "flip",
        "shift",
        "rotate",
        "jitter",
        "randaugment",
        "cutout",
        "mixup",
        "cutmix",
    ),
    "Audio": ("delay", "noise", "specmask", "mixup"),
    "Number": ("mixup",),
}
"""Kind of the input column -> what can be done to it."""
DRAWS = 8
MOST = 1000.0
"""No number of an augmentation is larger."""
MOSTS = {"resized-crop": 1.0, "jitter": 1.0, "randaugment": 30.0}
"""Nor, of these, than this."""
LIKE = {"resized-crop": "0.08", "jitter": "0.4", "randaugment": "9", "mixup": "0.2", "cutmix": "1", "delay": "0.2"}
"""A usual number, where it is not 4."""


@dataclass(frozen=True)
class Augment:
    """What is done to a training batch; all zero: nothing."""

    resized_crop: float = 0.0
    crop: int = 0
    flip: bool = False
    shift: float = 0.0
    rotate: float = 0.0
    jitter: float = 0.0
    randaugment: float = 0.0
    cutout: int = 0
    delay: float = 0.0
    noise: float = 0.0
    specmask: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def geometric(self) -> bool:
        return bool(self.resized_crop or self.crop or self.flip or self.shift or self.rotate)

    @property
    def photographic(self) -> bool:
        return bool(self.jitter or self.randaugment)

    @property
    def mixes(self) -> bool:
        """Whether classes are blended."""
        return bool(self.mixup or self.cutmix)

    @property
    def acoustic(self) -> bool:
        return bool(self.delay or self.noise)

    @property
    def drawn(self) -> bool:
        return bool(self.geometric or self.photographic or self.acoustic or self.cutout or self.specmask)


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
        like = f"{name}:{LIKE.get(name, '4')}"
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= MOST:
            raise UserError(f"augmentation '{word}' lacks its number; write it like {like}")
        if value > MOSTS.get(name, MOST) or (name == "resized-crop" and value == 0):
            least = "above 0 and " if name == "resized-crop" else ""
            raise UserError(f"augmentation '{word}' must be {least}at most {MOSTS[name]:g}; write it like {like}")
        values[name.replace("-", "_")] = int(value) if name in ("crop", "cutout", "specmask") else value
    made = Augment(**values)  # type: ignore[arg-type]
    if made.resized_crop and (made.crop or made.shift):
        other = "crop" if made.crop else "shift"
        raise UserError(f"resized-crop moves the picture already; leave {other} out")
    return made


def of(words: tuple[str, ...], column: Field) -> Augment:
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
    h, w = x.shape[1:3]
    dx, dy = (2 * u[:, 4] - 1) * shift * 2 / w, (2 * u[:, 5] - 1) * shift * 2 / h
    turned = _turned((2 * u[:, 3] - 1) * angle, h, w)
    return _sampled(x.permute(0, 3, 1, 2).float(), _rows(*turned[:2], dx, *turned[2:], dy)).permute(0, 2, 3, 1)


def _turned(turn: Tensor, h: int, w: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The entries xx, xy, yx, yy of a rotation [B] in coordinates from -1 to 1, which a picture's sides stretch."""
    cos, sin = turn.cos(), turn.sin()
    return cos, -sin * h / w, sin * w / h, cos


def _rows(xx: Tensor, xy: Tensor, dx: Tensor, yx: Tensor, yy: Tensor, dy: Tensor) -> Tensor:
    """Six numbers per picture [B] as its affine map [B, 2, 3], from a place in the result to one in the picture."""
    return torch.stack([torch.stack([xx, xy, dx], 1), torch.stack([yx, yy, dy], 1)], 1)


def _sampled(x: Tensor, theta: Tensor) -> Tensor:
    """Pictures [B, C, H, W] through affine maps [B, 2, 3], bilinear, zeros outside."""
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)


ASPECT = 4 / 3


def _resized(x: Tensor, u: Tensor, least: float, flip: bool, angle: float) -> Tensor:
    """A part of the picture, turned and mirrored, enlarged to its whole: one bilinear map.

    Area uniform from `least` to 1, aspect log-uniform from 3/4 to 4/3 as far as a part of that area fits into the picture
    (where others draw again until one does), place uniform.
    """
    h, w = x.shape[1:3]
    area = least + (1 - least) * u[:, 4]
    widest, narrowest = w / (h * area), w * area / h
    low, high = (torch.full_like(area, end).clamp(narrowest, widest) for end in (1 / ASPECT, ASPECT))
    aspect = low * (high / low) ** u[:, 5]
    across, down = (area * h / w * aspect).sqrt(), (area * w / h / aspect).sqrt()
    dx, dy = (1 - across) * (2 * u[:, 1] - 1), (1 - down) * (2 * u[:, 0] - 1)
    xx, xy, yx, yy = _turned((2 * u[:, 3] - 1) * angle, h, w)
    side = torch.where(u[:, 2] < 0.5, -1.0, 1.0) if flip else torch.ones_like(area)
    theta = _rows(across * xx * side, across * xy, dx, down * yx * side, down * yy, dy)
    return _sampled(x.permute(0, 3, 1, 2).float(), theta).permute(0, 2, 3, 1)


# ---- colours and RandAugment -----------------------------------------------------------------------------------------

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
    xx, xy, yx, yy = _turned(size["rotate"] * TURN, h, w)
    xy, yx = xy + size["shear-x"] * SHEAR * h / w, yx + size["shear-y"] * SHEAR * w / h
    return _sampled(x, _rows(xx, xy, size["move-x"] * MOVE * 2, yx, yy, size["move-y"] * MOVE * 2))


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


def kept(samples: Tensor, how: Augment, shape: torch.Size, *key: int) -> Tensor:
    """How much of a sample is kept where it is mixed with another: a share (mixup), or 0 in a box and 1 around it (cutmix).

    `shape` is that of the batch, [B, …] (cutmix: [B, C, H, W]); returns [B, 1, …], which goes with it. With both, each
    sample has one of the two.
    """
    ones = [1] * (len(shape) - 1)
    shares = mixing_share(chance.uniform(samples, 1, *key, 1), how.mixup).view(-1, *ones) if how.mixup else None
    if not how.cutmix:
        assert shares is not None
        return shares
    u = chance.uniform(samples, 4, *key, 4)
    around = outside_a_box(u, how.cutmix, *shape[-2:])
    return around if shares is None else torch.where(u[:, 3].view(-1, *ones) < 0.5, shares, around)


def outside_a_box(u: Tensor, alpha: float, height: int, width: int) -> Tensor:
    """1 outside of a box and 0 in it, [B, 1, H, W]: area from Beta(alpha, alpha), the picture's aspect, a uniform centre.

    u [B, 3 or more] in [0, 1). What reaches over the border is cut off, so the box may be smaller than drawn.
    """
    side = (1 - mixing_share(u[:, :1], alpha)).sqrt()
    inside = []
    for size, centre in ((height, u[:, 1:2]), (width, u[:, 2:3])):
        long = (side * size).long()
        first = (centre * size).long() - long // 2
        place = torch.arange(size, device=u.device)
        inside.append((place >= first) & (place < first + long))
    return 1.0 - (inside[0][:, None, :, None] & inside[1][:, None, None, :]).float()


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
