"""What a Transformer remembers while it writes: keys and values of every layer, so that each token is read once.

At the context's end the window slides by half of it and what is left of it is read anew. Keys and values of deeper layers
have seen tokens that the window has lost, so only then is the text exactly that of a model that reads its whole window for
every token; and on average a token still costs little more than one step.

Shape letters: B rows, H heads, T new tokens, D features of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class KeyValues:
    """One layer's keys and values: buffers of fixed size that are filled from the left."""

    def __init__(self, room: int) -> None:
        self.room, self.count = room, 0
        self.keys = self.values = torch.empty(0)
        self.seen: Tensor | None = None
        """bool [B, 1, 1, S]: which places each row looks at, where rows differ in it."""

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

    def places(self, tokens: int) -> slice | Tensor:
        """Of so many tokens that come next."""
        return slice(self.count, self.count + tokens)


class Slots(KeyValues):
    """One layer's keys and values of several texts, each of its own length: [slots, H, room, D], the first B in use."""

    def __init__(self, room: int, slots: int) -> None:
        super().__init__(room)
        self.slots, self.places = slots, torch.empty(0, dtype=torch.int64)
        """Where each text's next token stands [B]."""

    def put(self, row: int, one: KeyValues) -> None:
        """A text's own keys and values."""
        if not self.keys.numel():
            shape = (self.slots, one.keys.shape[1], self.room, one.keys.shape[3])
            self.keys, self.values = one.keys.new_zeros(shape), one.values.new_zeros(shape)
        self.keys[row, :, : one.count] = one.keys[0, :, : one.count]
        self.values[row, :, : one.count] = one.values[0, :, : one.count]

    def move(self, row: int, to: int, count: int) -> None:
        for all_of_them in (self.keys, self.values):
            all_of_them[to, :, :count] = all_of_them[row, :, :count]

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """One token more of each text [B, H, 1, D]."""
        rows = torch.arange(len(keys), device=keys.device)
        self.keys[rows, :, self.places], self.values[rows, :, self.places] = keys[:, :, 0], values[:, :, 0]
        return self.keys[: len(keys), :, : self.count], self.values[: len(keys), :, : self.count]


class Several(Cache):
    """What a Transformer remembers of several texts that are written at once, each at its own place."""

    def __init__(self, slots: int) -> None:
        self.slots, self.context = slots, 0
        self.layers: list[Any] = []
        self.texts: list[Tensor] = []
        """The tokens of each text's window [n]."""

    def join(self, one: Cache) -> None:
        """A text that was read alone, behind the others."""
        if not self.layers:
            self.context = one.layers[0].room
            self.layers = [Slots(self.context, self.slots) for _ in one.layers]
        self.texts.append(one.tokens[0])
        self._put(len(self.texts) - 1, one)

    def leave(self, row: int) -> None:
        """The last text takes the place of one that is over."""
        last = len(self.texts) - 1
        if row < last:
            for layer in self.layers:
                layer.move(last, row, len(self.texts[last]))
            self.texts[row] = self.texts[last]
        self.texts.pop()

    def _put(self, row: int, one: Cache) -> None:
        for layer, own in zip(self.layers, one.layers, strict=True):
            layer.put(row, own)

    def places(self, tokens: int) -> Tensor:
        """[B, 1, 1] of each text's next token."""
        found: Tensor = self.layers[0].places[:, None, None]
        return found

    def read_on(self, read: Callable[[Tensor, Cache], Tensor], tokens: Tensor) -> Tensor:
        """The next token of each text [B, 1] -> logits [B, V]. A text at its context's end is read anew, as it is alone."""
        at = torch.tensor([len(text) for text in self.texts], device=tokens.device)
        full = (at >= self.context).nonzero()[:, 0].tolist()
        at = at.clamp(max=self.context - 1)  # what a full one writes there is put anew below
        end = int(at.max()) + 1
        seen = (torch.arange(end, device=tokens.device) <= at[:, None])[:, None, None]
        for layer in self.layers:
            layer.places, layer.count, layer.seen = at, end, seen
        self.texts = [torch.cat([text, new]) for text, new in zip(self.texts, tokens, strict=True)]
        logits = read(tokens, self)
        for row in full:
            begin = begins(len(self.texts[row]), self.context)
            self.texts[row] = self.texts[row][begin:]
            alone = Cache(len(self.layers), self.context)
            logits[row] = read(self.texts[row][None], alone)[0]
            self._put(row, alone)
        return logits


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
    if isinstance(cache, Several):
        return cache.read_on(read, tokens), cache
    seen = tokens if cache is None else torch.cat([cache.tokens, tokens], 1)
    if cache is None or seen.shape[1] > context:
        seen = tokens = seen[:, begins(seen.shape[1], context) :]
        cache = Cache(layers, context)
    cache.tokens = seen
    return read(tokens, cache), cache
