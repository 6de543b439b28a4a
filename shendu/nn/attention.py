"""Attention of several heads (Vaswani et al. 2017), with what was added to it since as choices.

torch's fused kernel computes it, which never holds the weights; attention dropout would need them, so there is none.

Shape letters: B rows, T places, S places that are looked at, W width, H heads, K heads of keys and values, D = W / H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.errors import UserError
from shendu.nn.cache import KeyValues
from shendu.nn.norms import norm
from shendu.nn.positions import rotate


class SelfAttention(nn.Module):
    """Each place looks at itself and, with `causal`, at those before it, else at all.

    `kv_heads` below `heads`: groups of heads share keys and values (Ainslie et al. 2023). `qk_norm`: queries and keys are
    normed, so that products stay bounded (Henry et al. 2020). Rotary positions are given with the input. Raises UserError for
    heads that do not divide.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kv_heads: int = 0,
        bias: bool = True,
        causal: bool = True,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        kv_heads = kv_heads or heads
        check_heads(width, heads, kv_heads)
        self.heads, self.kv_heads, self.causal, self.size = heads, kv_heads, causal, width // heads
        self.project = nn.Linear(width, (heads + 2 * kv_heads) * self.size, bias=bias)
        """Queries of all heads, then their keys, then their values."""
        self.out = nn.Linear(width, width, bias=bias)
        self.norms = nn.ModuleList(norm("rms", self.size) for _ in range(2 * qk_norm))

    def forward(
        self, x: Tensor, turned: Tensor | None = None, memory: KeyValues | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """x [B, T, W] -> [B, T, W].

        `turned` are `positions.angles` of the places [2, T, D / 2]. With a `memory` the places follow those in it, and are
        added to it. `mask` bool, of a shape that fits [B, H, T, S]: where False, a place is not looked at.
        """
        q, k, v = self.heads_of(x)
        if self.norms:
            q, k = self.norms[0](q), self.norms[1](k)
        if turned is not None:
            q, k = rotate(q, turned), rotate(k, turned)
        before = memory.count if memory is not None else 0
        if memory is not None:
            k, v = memory.add(k, v)
        if self.kv_heads < self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        if self.causal and before and x.shape[1] > 1:
            mask = later(x.shape[1], before, x.device)
        causal = self.causal and not before and mask is None
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def heads_of(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, D], keys and values [B, K, T, D]."""
        sizes = [self.heads * self.size, self.kv_heads * self.size, self.kv_heads * self.size]
        q, k, v = (part.unflatten(2, (-1, self.size)).transpose(1, 2) for part in self.project(x).split(sizes, 2))
        return q, k, v


def later(places: int, before: int, device: torch.device) -> Tensor:
    """bool [T, S]: places that follow `before` others look at those, at themselves and at what stands between."""
    return torch.ones(places, before + places, dtype=torch.bool, device=device).tril(before)


def check_heads(width: int, heads: int, kv_heads: int) -> None:
    if heads < 1 or width < heads or width % heads:
        raise UserError(f"heads={heads} do not share a width of {width} equally; write it like width=128, heads=4")
    if kv_heads < 1 or heads % kv_heads:
        raise UserError(
            f"kv_heads={kv_heads} is no divisor of heads={heads}; write it like kv_heads={1 if heads < 4 else heads // 4}"
        )
