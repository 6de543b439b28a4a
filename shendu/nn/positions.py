"""Rotary positions (Su et al. 2021): queries and keys are turned by their place, so that products see only distances.

Shape letters: B rows, H heads, T places, D features of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10_000.0


def rates(features: int, base: float = BASE) -> Tensor:
    """By how much each pair of D features turns from place to place, base^(-2i/D): float64 [D / 2]."""
    return base ** -(torch.arange(0, features, 2, dtype=torch.float64) / features)


def angles(places: int, features: int, base: float = BASE) -> Tensor:
    """Cosine and sine [2, places, D / 2] of place · base^(-2i/D)."""
    turned = torch.arange(places, dtype=torch.float64)[:, None] * rates(features, base)
    return torch.stack([turned.cos(), turned.sin()]).float()


def rotate(x: Tensor, turned: Tensor) -> Tensor:
    """Queries or keys x [B, H, T, D] turned by `angles` of their places [2, T, D / 2]: feature i and D/2 + i are a pair."""
    cosine, sine = turned.to(x.dtype)
    one, other = x.chunk(2, -1)
    return torch.cat([one * cosine - other * sine, other * cosine + one * sine], -1)
