"""Parts of samples that are hidden (cutout, specmask), and samples that are mixed (mixup, cutmix), as whole batches.

Shape letters: B batch, H height, W width, C channels, M mel bands, T frames.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import chance
from shendu.data.augment.words import Augment


def cutout(x: Tensor, u: Tensor, size: int) -> Tensor:
    """One square of zeros (the mean, after normalising) per picture. x float [B, C, H, W]; the centre lies inside."""
    h, w = x.shape[-2:]
    top, left = (u[:, 6, None] * h).long() - size // 2, (u[:, 7, None] * w).long() - size // 2
    down, across = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    rows = (down >= top) & (down < top + size)
    columns = (across >= left) & (across < left + size)
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def specmask(x: Tensor, u: Tensor, most: int) -> Tensor:
    """One band and one span of zeros (the mean, after normalising) per spectrogram. x float [B, 1, M, T]."""
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
