"""Recordings delayed, and under noise, as whole batches.

Shape letters: B batch, N samples. Recordings come as stored, int16 [B, N].
"""

from __future__ import annotations

import torch
from torch import Tensor

from shendu import chance
from shendu.data.augment.words import Augment


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
