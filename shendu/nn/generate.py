"""Writing on: one token at a time, drawn from what a model of sequences says follows.

Shape letters: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from shendu import chance
from shendu.core import Steps
from shendu.errors import UserError
from shendu.nn.cache import begins

DRAW = 5
"""Key of the draws."""
ENDED = -1


def generate(
    model: Steps,
    prompt: Tensor,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: Collection[int] = (),
    never: Collection[int] = (),
    seed: int = 0,
) -> Iterator[Tensor]:
    """Continues prompts int64 [B, T] by at most `length` tokens each, yielded one by one: int64 [B].

    At temperature 0 the likeliest token is taken, else one is drawn from the `top_k` likeliest (0: all) and of those from the
    fewest that hold `top_p` of the probability (Holtzman et al. 2020). A row that has drawn a token of `stop` is ended: it
    yields -1 from then on, and the drawing is over when all have ended. Tokens of `never` are not drawn. Draws are keyed by
    (seed, row, place): a row's text does not depend on how many others are drawn. The model is in eval mode and without
    gradients. Raises UserError.
    """
    check(prompt, length, temperature, top_k, top_p)
    rows = torch.arange(len(prompt), device=prompt.device)
    ended = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    ends, left_out = (torch.tensor(sorted(some), dtype=torch.int64, device=prompt.device) for some in (stop, never))
    state, tokens = None, prompt
    for place in range(length):
        logits, state = model.step(tokens, state)
        u = chance.uniform(rows, 1, seed, DRAW, place)[:, 0]
        drawn = draw(logits.float().index_fill(1, left_out, -torch.inf), u, temperature, top_k, top_p)
        yield drawn.masked_fill(ended, ENDED)
        if len(ends):
            ended |= torch.isin(drawn, ends)
            if bool(ended.all()):
                return
        tokens = drawn[:, None]


def draw(logits: Tensor, u: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """One token of each row int64 [B], from logits [B, V] and uniform numbers u [B] (the inverse of the distribution)."""
    if temperature == 0:
        return logits.argmax(-1)
    ordered, tokens = logits.sort(dim=-1, descending=True, stable=True)
    if top_k:
        ordered, tokens = ordered[:, :top_k], tokens[:, :top_k]
    shares = ((ordered - ordered[:, :1]).double() / temperature).softmax(-1)
    below = shares.cumsum(-1) - shares
    shares = shares.masked_fill(below >= top_p, 0.0)
    reached = shares.cumsum(-1)
    place = (reached <= u[:, None].double() * reached[:, -1:]).sum(-1, keepdim=True)
    return tokens.gather(1, place.clamp(max=tokens.shape[1] - 1))[:, 0]


def check(prompt: Tensor, length: int, temperature: float, top_k: int, top_p: float) -> None:
    for name, value, right, like in (
        ("length", length, length >= 1, "200"), ("temperature", temperature, 0 <= temperature < 1e4, "0.8"),
        ("top-k", top_k, top_k >= 0, "40"), ("top-p", top_p, 0 < top_p <= 1, "0.9"),
    ):  # fmt: skip
        if not right:
            raise UserError(f"--{name} {value} is out of range; write it like --{name} {like}")
    if not prompt.shape[1]:
        raise UserError("the prompt holds no token; begin with at least one")


class Afresh:
    """The same model without a cache: its whole window is read anew for every token. What a cache must equal."""

    def __init__(self, model: nn.Module, context: int) -> None:
        self.model, self.context = model, context

    def step(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        seen = tokens if state is None else torch.cat([state, tokens], 1)
        begin = begins(seen.shape[1], self.context) if self.context else 0
        return self.model(seen[:, begin:])[:, -1], seen
