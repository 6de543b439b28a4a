"""What a Transformer remembers while it writes: keys and values of every layer, so that each token is read once.

At the context's end the window slides by half of it and what is left of it is read anew. Keys and values of deeper layers
have seen tokens that the window has lost, so only then is the text exactly that of a model that reads its whole window for
every token; and on average a token still costs little more than one step.

Shape letters: B rows, H heads, T new tokens, D features of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class KeyValues:
    """One layer's keys and values: buffers of fixed size that are filled from the left."""

    def __init__(self, room: int) -> None:
        self.room, self.count = room, 0
        self.keys = self.values = torch.empty(0)

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps those of new tokens [B, H, T, D]; returns all there are, as views."""
        if not self.count:
            shape = (*keys.shape[:2], self.room, keys.shape[3])
            self.keys, self.values = keys.new_empty(shape), values.new_empty(shape)
        end = self.count + keys.shape[2]
        self.keys[:, :, self.count : end], self.values[:, :, self.count : end] = keys, values
        self.count = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Cache:
    """The tokens of the window [B, at most `context`], and each layer's keys and values."""

    def __init__(self, layers: int, context: int) -> None:
        self.tokens = torch.empty(0)
        self.layers = [KeyValues(context) for _ in range(layers)]

    @property
    def count(self) -> int:
        """How many tokens have been read."""
        return self.layers[0].count


def begins(count: int, context: int) -> int:
    """The place where the window over a text of `count` tokens begins: it slides by half the context at a time."""
    by = max(1, context // 2)
    return max(0, -(-(count - context) // by) * by)


def read_on(
    read: Callable[[Tensor, Cache], Tensor], tokens: Tensor, cache: Cache | None, *, layers: int, context: int
) -> tuple[Tensor, Cache]:
    """A Transformer's `step`: new tokens [B, T] through `read`, which adds to the cache -> logits [B, V], the cache.

    `read(tokens, cache)` gives the logits after the last of the tokens, whose places follow the `cache.count` ones before.
    """
    seen = tokens if cache is None else torch.cat([cache.tokens, tokens], 1)
    if cache is None or seen.shape[1] > context:
        seen = tokens = seen[:, begins(seen.shape[1], context) :]
        cache = Cache(layers, context)
    cache.tokens = seen
    return read(tokens, cache), cache
