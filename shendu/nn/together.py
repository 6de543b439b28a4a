"""Several texts that are written at once, each at its own place: one walk through the weights serves all of them.

What a network gives of a text is what it gives when that text is alone, but for the last bits: sums of other shapes are added
up in another order.

Shape letters: B texts, V vocabulary, U units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shendu.core import Steps
from shendu.nn.cache import Cache, Several


class Together:
    """Texts of one network; each joins with its prompt and may leave at any time. In eval mode and without gradients."""

    def __init__(self, model: Steps, most: int) -> None:
        """`most` texts at once."""
        self.model, self.most = model, most
        self.count = 0
        self._state: Any = None

    def join(self, tokens: Tensor) -> Tensor:
        """A text more, behind the others: tokens [T], at least one -> logits of what follows [V]."""
        logits, state = self.model.step(tokens[None])
        if self.count == 0:
            self._state = Several(self.most) if isinstance(state, Cache) else None
        if isinstance(state, Cache):
            self._state.join(state)
        else:
            self._state = state if self._state is None else side_by_side(self._state, state)
        self.count += 1
        return logits[0]

    def step(self, tokens: Tensor) -> Tensor:
        """The next token of each text [B] -> logits of what follows [B, V]."""
        logits, self._state = self.model.step(tokens[:, None], self._state)
        return logits

    def leave(self, row: int) -> None:
        """A text is over; the last one takes its place."""
        self.count -= 1
        if isinstance(self._state, Several):
            self._state.leave(row)
        elif self.count:
            order = torch.arange(self.count)
            if row < self.count:
                order[row] = self.count
            self._state = picked(self._state, order)
        else:
            self._state = None


def side_by_side(one: Any, other: Any) -> Any:
    """Recurrent states [1, B, U], in tuples and lists, of some texts and of others."""
    if isinstance(one, Tensor):
        return torch.cat([one, other], 1)
    return type(one)(side_by_side(a, b) for a, b in zip(one, other, strict=True))


def picked(state: Any, rows: Tensor) -> Any:
    """The states of some texts."""
    if isinstance(state, Tensor):
        return state.index_select(1, rows.to(state.device))
    return type(state)(picked(each, rows) for each in state)
