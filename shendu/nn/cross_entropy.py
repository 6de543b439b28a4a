"""Cross-entropy over large vocabularies, in pieces that stay in a processor's cache.

Written in whole matrices, a smoothed cross-entropy of half-precision logits walks some ten times through memory: a copy in
float32, the logarithms, two gradients and their sum, the copy back. Here each piece of rows makes all of these steps before
the next one is read.

Shape letters: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from shendu.nn.precision import exact

PIECE = 1 << 18
"""Logits that are worked on at once: a megabyte in float32."""


def cross_entropy(logits: Tensor, target: Tensor, *, ignored: int, label_smoothing: float = 0.0) -> Tensor:
    """Summed over rows: logits [N, V] of any float type against target int64 [N], whose rows `ignored` count nothing; float32
    at least.

    The same as torch's of logits in that type. `label_smoothing` is the share of the probability that is spread over the
    vocabulary (Szegedy et al. 2016).
    """
    if logits.device.type != "cpu" or torch.compiler.is_compiling():
        how: Any = {"ignore_index": ignored, "label_smoothing": label_smoothing, "reduction": "sum"}
        return F.cross_entropy(logits.to(exact(logits.dtype)), target, **how)
    counts = target != ignored
    weights = counts[:, None].to(exact(logits.dtype))
    total: Tensor = InPieces.apply(logits, target.masked_fill(~counts, 0), weights, label_smoothing)
    return total


class InPieces(torch.autograd.Function):
    """Forward keeps e^(logits - the row's largest) in the logits' own type, so that backward has no exponentials to take."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, counts: Tensor, smoothing: float) -> Tensor:
        raised, shares, total = torch.empty_like(logits), torch.empty_like(counts), counts.new_zeros(())
        for x, y, c, kept, share in pieces(logits, target[:, None], counts, raised, shares):
            x = x.to(c.dtype)
            most = x.amax(1, keepdim=True)
            rows = most - (1 - smoothing) * x.gather(1, y)
            if smoothing:
                rows -= smoothing * x.mean(1, keepdim=True)
            e = x.sub_(most).exp_() if x.dtype != logits.dtype else (x - most).exp_()
            kept.copy_(e)
            whole = e.sum(1, keepdim=True)
            torch.div(c, whole, out=share)
            total += ((rows + whole.log_()) * c).sum()
        ctx.save_for_backward(raised, target, counts, shares)
        ctx.smoothing = smoothing
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        raised, target, counts, shares = ctx.saved_tensors
        smoothing, gradient = ctx.smoothing, torch.empty_like(raised)
        for kept, y, c, share, out in pieces(raised, target[:, None], counts * outer, shares * outer, gradient):
            p = kept * share
            if smoothing:
                p.sub_(c * (smoothing / raised.shape[1]))
            out.copy_(p.scatter_add_(1, y, c * (smoothing - 1)))
        return gradient, None, None, None


def pieces(logits: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    rows = max(1, PIECE // max(1, logits.shape[1]))
    return zip(*(t.split(rows) for t in (logits, *others)), strict=True)
