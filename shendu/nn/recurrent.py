"""Recurrent layers over rows of varying length, and a network that reads texts with them.

A cell is one layer in one direction: a torch.nn.RNN, LSTM or GRU with the method `unrolled`, its equations written out.

Shape letters: B rows, L places, I inputs, U units, W width of a word's vector, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shendu.nn.dropout import Dropout

PADDING, UNKNOWN = 0, 1
"""Codes: no word, a word that is not in the vocabulary."""

State = Any
"""Of a cell: h [1, B, U], or (h, c)."""
Build = Callable[[int, int], nn.RNNBase]
"""(inputs, units) -> a cell."""


def backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """[B, L, I] -> each row's first `lengths` [B] places (None: all) in reverse, the others where they are."""
    if lengths is None:
        return x.flip(1)
    places = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths[:, None] - 1 - places
    return x.gather(1, torch.where(mirrored < 0, places, mirrored)[..., None].expand_as(x))


class Recurrent(nn.Module):
    """Layers of cells; with `both` each has a second cell, which reads from the end, and its outputs beside the first's.

    Rows are padded at their ends and each is reversed within its own length, so padding never reaches a place that
    holds something. torch's packed rows say the same, but take up to nine times as long on a processor.
    """

    def __init__(
        self, cell: Build, inputs: int, units: int, *, layers: int = 1, both: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [inputs] + [units * (1 + both)] * (layers - 1)
        self.ahead = nn.ModuleList(cell(width, units) for width in widths)
        self.back = nn.ModuleList(cell(width, units) for width in widths if both)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: list[State] | None = None, *, unrolled: bool = False
    ) -> tuple[Tensor, list[State]]:
        """x [B, L, I] -> outputs [B, L, U] ([B, L, 2U] with `both`), and each layer's state after the last place.

        `state` is what an earlier call left; there is none for cells that read from the end. `unrolled` computes by the
        equations instead of by torch's kernels.
        """

        def run(cell: Any, x: Tensor, state: State = None) -> tuple[Tensor, State]:
            return cell.unrolled(x, state) if unrolled else cell(x, state)

        states = []
        for i, cell in enumerate(self.ahead):
            x = self.dropout(x) if i else x
            out, last = run(cell, x, state[i] if state else None)
            if self.back:
                other = run(self.back[i], backwards(x, lengths))[0]
                out = torch.cat([out, backwards(other, lengths)], -1)
            x = out
            states.append(last)
        return x, states


def lengths_of(x: Tensor) -> Tensor:
    """Codes [B, L], 0 after a row's last -> how many each row has, int64 [B]."""
    return ((x != PADDING) * torch.arange(1, x.shape[1] + 1, device=x.device)).amax(1)


def ends(x: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Codes [B, L] -> those of each row's words that are read, and their number [B]: of more than `keep` the first and the
    last half. Without the columns that are padding in every row.
    """
    lengths = lengths_of(x)
    if not torch.compiler.is_compiling():  # a graph is of one width
        x = x[:, : max(1, int(lengths.max()))]
    if x.shape[1] <= keep:
        return x, lengths
    places = torch.arange(keep, device=x.device)
    skipped = (lengths - keep).clamp(min=0)[:, None] * (places >= keep - keep // 2)
    return x.gather(1, places + skipped), lengths.clamp(max=keep)


def pooled(x: Tensor, lengths: Tensor) -> Tensor:
    """[B, L, U] -> mean and maximum over each row's places [B, 2U]; 0 for a row that has none."""
    outside = (torch.arange(x.shape[1], device=x.device) >= lengths[:, None])[..., None]
    mean = x.masked_fill(outside, 0.0).sum(1) / lengths.clamp(min=1)[:, None]
    highest = x.masked_fill(outside, -torch.inf).amax(1).masked_fill(lengths[:, None] == 0, 0.0)
    return torch.cat([mean, highest], 1)


class Reader(nn.Module):
    """Words' vectors, recurrent layers in both directions, mean and maximum over the text, one linear layer.

    Of the `words` most frequent codes each has a vector; the others share that of the unknown word, which in training also
    stands for a share `word_dropout` of all words. `dropout` is that of the vectors, one mask for all places of a text (Gal
    and Ghahramani 2016), between layers and before the last one. Of a long text `keep` words are read (`ends`).
    """

    def __init__(
        self, cell: Build, *, words: int, width: int, units: int, layers: int, outputs: int, keep: int,
        word_dropout: float, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.words, self.keep, self.word_dropout = words, keep, word_dropout
        self.vectors = nn.Embedding(words, width, padding_idx=PADDING)
        self.recurrent = Recurrent(cell, width, units, layers=layers, both=True, dropout=dropout)
        self.dropout = Dropout(dropout)
        self.decide = nn.Linear(4 * units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x codes of words [B, L], 0 after the last -> logits or values [B, K]."""
        codes, lengths = ends(x.long(), self.keep)
        vectors = self.vectors(self.known(codes))
        vectors = vectors * self.dropout(vectors.new_ones(len(vectors), 1, vectors.shape[2]))
        outputs, _ = self.recurrent(vectors, lengths)
        return self.decide(self.dropout(pooled(outputs, lengths)))

    def known(self, codes: Tensor) -> Tensor:
        """Rare words, and in training some of the others, as the unknown word."""
        unknown = codes >= self.words
        if self.training and self.word_dropout:
            unknown |= (torch.rand(codes.shape, device=codes.device) < self.word_dropout) & (codes != PADDING)
        return codes.masked_fill(unknown, UNKNOWN)
