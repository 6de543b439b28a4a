"""Beam search: the most probable sequence that a decoder can be led to, with a penalty for brevity.

Shape letters: B sequences, A of them that are not found yet, K hypotheses of each, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

State = dict[str, Tensor]
Step = Callable[[Tensor, State, State], tuple[Tensor, State]]
"""(last tokens int64 [A, K], what a sequence has [A, …], what a hypothesis has [A, K, …]) -> log-probabilities [A, K, V]
of the next token, and what each hypothesis has then."""


def search(
    step: Step,
    fixed: State,
    moving: State,
    limits: Tensor,
    *,
    width: int,
    penalty: float,
    begin: int,
    end: int,
    padding: int,
) -> Tensor:
    """The best sequence of each row, int64 [B, longest limit]: up to and with `end`, `padding` behind it.

    `limits` int64 [B] are the most tokens, `end` included; `fixed` [B, …] and `moving` [B, 1, …] are where decoding begins.
    Hypotheses Y are ranked by log P(Y) / ((5 + |Y|) / 6) ** penalty (Wu et al. 2016, equation 14), finished ones among the
    others. A row ends when no hypothesis can overtake its best finished one, or at its limit, where finished ones go
    first. Width 1 is greedy decoding.
    """
    device = limits.device
    found = torch.full((len(limits), int(limits.max())), padding, device=device)
    rows = torch.arange(len(limits), device=device)
    tokens = torch.full((len(limits), 1, 1), begin, device=device)
    total = torch.zeros(len(limits), 1, device=device)
    length, over = torch.zeros_like(total, dtype=torch.int64), torch.zeros_like(total, dtype=torch.bool)
    for t in range(1, found.shape[1] + 1):
        logs, moving = step(tokens[:, :, -1], fixed, moving)
        sums = total[..., None] + _continued(logs.float(), over, begin, padding)
        lengths = length + ~over
        scores = sums / _brevity(lengths, penalty)[..., None]
        best, at = scores.flatten(1).topk(min(width, scores[0].numel()))
        parent, token = at // logs.shape[-1], at % logs.shape[-1]
        total, length = sums.flatten(1).gather(1, at), lengths.gather(1, parent)
        over = over.gather(1, parent) | (token == end)
        tokens = torch.cat([_of(tokens, parent), token[..., None]], 2)
        reach = (total / _brevity(limits[rows], penalty)[:, None]).masked_fill(over, -torch.inf).amax(1)
        finished = best.masked_fill(~over, -torch.inf)
        closed = (finished.amax(1) >= reach) & over.any(1) | (limits[rows] <= t)
        if closed.any():
            chosen = torch.where(over.any(1), finished.argmax(1), 0)[closed]
            found[rows[closed], :t] = tokens[closed, chosen, 1:]
            if closed.all():
                break
            left = ~closed
            fixed = {name: value[left] for name, value in fixed.items()}
            moving = {name: value[left] for name, value in moving.items()}
            rows, tokens, total, length, over, parent = (v[left] for v in (rows, tokens, total, length, over, parent))
        moving = {name: _of(value, parent) for name, value in moving.items()}
    return found


def _continued(logs: Tensor, over: Tensor, begin: int, padding: int) -> Tensor:
    """Log-probabilities [A, K, V] of what may follow: after the end padding alone, before it no padding and no beginning."""
    logs = logs.index_fill(2, torch.tensor([begin, padding], device=logs.device), -torch.inf)
    ended = torch.full_like(logs[:1, :1], -torch.inf)
    ended[..., padding] = 0.0
    return torch.where(over[..., None], ended, logs)


def _brevity(lengths: Tensor, penalty: float) -> Tensor:
    return ((5 + lengths) / 6) ** penalty


def _of(values: Tensor, parent: Tensor) -> Tensor:
    """What the hypotheses `parent` [A, K] had, of values [A, K', …]."""
    return values[torch.arange(len(values), device=values.device)[:, None], parent]
