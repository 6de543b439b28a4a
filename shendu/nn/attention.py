"""Attention of several heads (Vaswani et al. 2017), with what was added to it since as choices.

torch's fused kernel never holds the weights. On a processor it is slow in half precision, and has no dropout: there
`InBlocks` trains.

Shape letters: B rows, T places, S places that are looked at, W width, H heads, K heads of keys and values, D = W / H.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from shendu import chance
from shendu.errors import UserError
from shendu.nn.cache import KeyValues
from shendu.nn.dropout import Dropout
from shendu.nn.norms import EPSILON, norm
from shendu.nn.positions import rotate
from shendu.nn.precision import exact


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
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kv_heads = kv_heads or heads
        check_heads(width, heads, kv_heads)
        self.heads, self.kv_heads, self.causal, self.size = heads, kv_heads, causal, width // heads
        self.project = nn.Linear(width, (heads + 2 * kv_heads) * self.size, bias=bias)
        """Queries of all heads, then their keys, then their values."""
        self.out = nn.Linear(width, width, bias=bias)
        self.norms = nn.ModuleList(norm("rms", self.size) for _ in range(2 * qk_norm))
        self.dropout = Dropout(dropout).p

    def forward(
        self, x: Tensor, turned: Tensor | None = None, memory: KeyValues | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """x [B, T, W] -> [B, T, W].

        `turned` are `positions.angles` of the places [2, T, D / 2]. With a `memory` the places follow those in it, and are
        added to it. `mask` bool, of a shape that fits [B, H, T, S]: where False, a place is not looked at.
        """
        q, k, v = self.heads_of(x, turned)
        before = memory.count if memory is not None else 0
        if memory is not None:
            k, v = memory.add(k, v)
        if self.kv_heads < self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        if self.causal and before and x.shape[1] > 1:
            mask = later(x.shape[1], before, x.device)
        if memory is not None and memory.seen is not None:
            mask = memory.seen
        causal = self.causal and not before and mask is None
        y = attend(q, k, v, mask, causal=causal, dropout=self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).flatten(2))

    def heads_of(self, x: Tensor, turned: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, D], normed and turned, keys [B, K, T, D] the same, and values [B, K, T, D]."""
        directions = self.heads + self.kv_heads
        parts = self.project(x).unflatten(2, (-1, self.size))
        if (self.norms or turned is not None) and in_training_on_a_processor(x):
            counts = ((self.norms[0], self.heads), (self.norms[1], self.kv_heads)) if self.norms else ()
            weights = torch.cat([cast(Tensor, n.weight).expand(count, -1) for n, count in counts]) if counts else None
            directed: Tensor = Directed.apply(parts[:, :, :directions], weights, turned)
            q, k = directed.transpose(1, 2).split([self.heads, self.kv_heads], 1)
            return q, k, parts[:, :, directions:].transpose(1, 2)
        q, k, v = parts.transpose(1, 2).split([self.heads, self.kv_heads, self.kv_heads], 1)
        if self.norms:
            q, k = self.norms[0](q), self.norms[1](k)
        if turned is not None:
            q, k = rotate(q, turned), rotate(k, turned)
        return q, k, v


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, dropout: float) -> Tensor:
    """softmax(q kᵀ / √D) v: q [B, H, T, D], k and v [B, H, S, D] -> [B, H, T, D].

    Where mask (bool, [B, 1, 1, S] or what fits [T, S]) is true; `causal`, without a mask: up to the same place. `dropout` is that
    of the weights.
    """
    if in_training_on_a_processor(q) and (dropout or (q.dtype in HALF and k.shape[2] <= MOST)):
        if mask is not None:
            mask = mask.expand(-1, q.shape[1], -1, -1).flatten(0, 1) if mask.dim() == 4 else mask
        found: Tensor = InBlocks.apply(*(t.flatten(0, 1) for t in (q, k, v)), mask, causal, dropout)
        return found.unflatten(0, q.shape[:2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout)


HALF = (torch.bfloat16, torch.float16)
MOST = 1024
"""Places up to which the weights are kept where they need not be: at twice as many they take four times the memory."""
BLOCK = 64
"""Queries that are worked on at once: causal ones look at no key behind their block."""


class InBlocks(torch.autograd.Function):
    """Attention of N = B · H heads, the weights of which are kept, dropped ones as 0. Shapes: [N, T, D], mask [N, T or 1, S]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, dropout: float) -> Tensor:
        ctx.scale, out, kept = q.shape[2] ** -0.5, torch.empty_like(q), []
        seen = mask if mask is not None else torch.ones(BLOCK, BLOCK, dtype=torch.bool).tril_()
        hidden = q.new_zeros(seen.shape).masked_fill_(~seen, -torch.inf)
        for at, end in blocks(q, k, causal):
            part = q[:, at]
            if causal:
                scores = torch.bmm(part * ctx.scale, k[:, :end].mT)
                scores[:, :, at.start :] += hidden[: part.shape[1], : part.shape[1]]
            elif mask is not None:
                scores = torch.baddbmm(
                    hidden if hidden.shape[-2] == 1 else hidden[..., at, :], part, k.mT, alpha=ctx.scale
                )
            else:
                scores = torch.bmm(part * ctx.scale, k.mT)
            looked = scores.softmax(2)
            dropped = chance.dropout(looked, dropout) if dropout else looked
            out[:, at] = dropped @ v[:, :end]
            kept += [looked, dropped] if dropout else [looked]
        ctx.save_for_backward(q, k, v, *kept)
        ctx.causal, ctx.dropout = causal, dropout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for at, end in blocks(q, k, ctx.causal):
            looked = kept.pop(0)
            dropped = kept.pop(0) if ctx.dropout else looked
            part = above[:, at]
            d_v[:, :end] += dropped.mT @ part
            d = (part @ v[:, :end].mT).mul_(
                dropped
            )  # what was dropped has no gradient, what was kept has the factor in it
            d.addcmul_(looked, d.sum(2, keepdim=True), value=-1).mul_(ctx.scale)
            d_q[:, at] = d @ k[:, :end]
            d_k[:, :end] += d.mT @ q[:, at]
        return d_q, d_k, d_v, None, None, None


def blocks(q: Tensor, k: Tensor, causal: bool) -> Iterator[tuple[slice, int]]:
    """Queries, and how many keys the last of them sees at most."""
    places = q.shape[1]
    for start in range(0, places, BLOCK):
        stop = min(start + BLOCK, places)
        yield slice(start, stop), stop if causal else k.shape[1]


def in_training_on_a_processor(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.device.type == "cpu" and not torch.compiler.is_compiling()


PIECE = 1 << 18
"""Numbers that are normed and turned at once: a megabyte in float32."""


class Directed(torch.autograd.Function):
    """RMSNorm and `positions.rotate` of queries and keys, in pieces that stay in a processor's cache.

    Step by step over whole batches they take some twenty walks through memory. N = H + K.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor | None, turned: Tensor | None) -> Tensor:
        """x [B, T, N, D], weights [N, D] of the norms, turned [2, T, D / 2] -> [B, T, N, D]."""
        out, scales = x.new_empty(x.shape), x.new_empty(*x.shape[:3], 1, dtype=exact(x.dtype))
        for piece, to, scale in pieces(x, out, scales):
            y = piece.to(scales.dtype)
            if weights is not None:
                torch.rsqrt(y.square().mean(3, keepdim=True).add_(EPSILON), out=scale)
                y = (y * scale).mul_(weights)
            turn(y, turned, 1, to)
        ctx.save_for_backward(x, scales, weights, turned)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        x, scales, weights, turned = ctx.saved_tensors
        gradient = x.new_empty(x.shape)
        d_weights: Any = torch.zeros_like(weights) if weights is not None else None
        for piece, scale, above, to in pieces(x, scales, outer, gradient):
            if d_weights is None:
                turn(above.to(scale.dtype), turned, -1, to)
                continue
            d = turn(above.to(scale.dtype), turned, -1, torch.empty_like(above, dtype=scale.dtype))
            normed = piece * scale
            d_weights += (d * normed).sum((0, 1))
            d.mul_(weights)
            to.copy_(torch.addcmul(d, normed, (d * normed).mean(3, keepdim=True), value=-1).mul_(scale))
        return gradient, d_weights, None


def turn(y: Tensor, turned: Tensor | None, way: int, to: Tensor) -> Tensor:
    """Writes y [B, T, N, D] turned forwards (way 1) or back (-1) into `to`, and returns that."""
    if turned is None:
        return to.copy_(y)
    cosine, sine = turned[:, :, None].to(y.dtype)
    (one, other), (to_one, to_other) = y.chunk(2, 3), to.chunk(2, 3)
    to_one.copy_(torch.addcmul(one * cosine, other, sine, value=-way))
    to_other.copy_(torch.addcmul(other * cosine, one, sine, value=way))
    return to


def pieces(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """All tensors, some rows at a time."""
    rows = max(1, PIECE // max(1, x[:1].numel()))
    return zip(*(t.split(rows) for t in (x, *others)), strict=True)


def later(places: int, before: int, device: torch.device) -> Tensor:
    """bool [T, S]: places that follow `before` others look at those, at themselves and at what stands between."""
    return torch.ones(places, before + places, dtype=torch.bool, device=device).tril(before)


def check_heads(width: int, heads: int, kv_heads: int, position: str = "") -> None:
    """Raises UserError for heads that do not divide, or whose size cannot be turned (position="rope")."""
    if heads < 1 or width < heads or width % heads:
        raise UserError(f"heads={heads} do not share a width of {width} equally; write it like width=128, heads=4")
    if kv_heads < 1 or heads % kv_heads:
        raise UserError(
            f"kv_heads={kv_heads} is no divisor of heads={heads}; write it like kv_heads={1 if heads < 4 else heads // 4}"
        )
    if position == "rope" and width // heads % 2:
        raise UserError(
            f"heads={heads} of a width of {width} have an odd size, which cannot be turned; "
            "write it like width=128, heads=4, or position=learned"
        )
