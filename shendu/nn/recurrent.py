"""Recurrent layers over rows of varying length, a network that reads texts with them, and one that goes on writing.

A cell is one layer in one direction: a torch.nn.RNN, LSTM or GRU with the method `unrolled`, its equations written out.

Shape letters: B rows, L places, I inputs, U units, W width of a vector, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from shendu.errors import UserError
from shendu.nn.dropout import Dropout

PADDING, UNKNOWN = 0, 1
"""Codes: no word, a word that is not in the vocabulary."""
SPREAD = 0.1
"""Standard deviation of words' vectors at the beginning: a rare word's moves seldom, and what it began with is noise."""

State = Any
"""Of a cell: h [1, B, U], or (h, c)."""
Cell = type[Any]
"""A class of cells, built from (inputs, units)."""


def backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """[B, L, I] -> each row's first `lengths` [B] places (None: all) in reverse, the others where they are."""
    if lengths is None:
        return x.flip(1)
    places = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths[:, None] - 1 - places
    firsts = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (firsts + torch.where(mirrored < 0, places, mirrored)).flatten()).view_as(x)


class Recurrent(nn.Module):
    """Layers of cells; with `both` each has a second cell, which reads from the end, and its outputs beside the first's.

    Rows are padded at their ends and each is reversed within its own length, so padding never reaches a place that
    holds something. torch's packed rows say the same, but take up to nine times as long on a processor.
    """

    def __init__(
        self, cell: Cell, inputs: int, units: int, *, layers: int = 1, both: bool = False, dropout: float = 0.0
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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a network with recurrent layers; a system says of which cells.

    `words` are the codes that have vectors of `width` numbers. `keep` (words that are read of a text, half of them its
    first) and `word_dropout` are for texts.
    """

    cell: ClassVar[Cell]
    reads: Literal["texts", "prose"] = "texts"
    words: int = 20_000
    outputs: int = 2
    width: int = 64
    units: int = 64
    layers: int = 1
    keep: int = 400
    word_dropout: float = 0.2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name, least, like in (
            ("words", 2, 20_000), ("width", 1, 64), ("units", 1, 64), ("layers", 1, 1), ("keep", 1, 400),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")
        if not 0 <= self.word_dropout < 1:
            raise UserError(f"word_dropout={self.word_dropout} is no share below 1; write it like word_dropout=0.2")

    def build(self) -> Reader | Writer:
        return Reader(self) if self.reads == "texts" else Writer(self)


class Reader(nn.Module):
    """Words' vectors, recurrent layers in both directions, mean and maximum over the text, one linear layer.

    The most frequent words have vectors; the others share that of the unknown word, which in training also stands for a
    share `word_dropout` of all words. `dropout` is that of the vectors, one mask for all places of a text (Gal and
    Ghahramani 2016), between layers and before the last one.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.vectors = nn.Embedding(settings.words, settings.width, padding_idx=PADDING)
        with torch.no_grad():
            self.vectors.weight.mul_(SPREAD)
        self.recurrent = Recurrent(
            settings.cell, settings.width, settings.units, layers=settings.layers, both=True, dropout=settings.dropout
        )
        self.dropout = Dropout(settings.dropout)
        self.decide = nn.Linear(4 * settings.units, settings.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x codes of words [B, L], 0 after the last -> logits or values [B, K]."""
        codes, lengths = ends(x.long(), self.settings.keep)
        vectors = self.vectors(self.known(codes))
        vectors = vectors * self.dropout(vectors.new_ones(vectors.shape[0], 1, vectors.shape[2]))
        outputs, _ = self.recurrent(vectors, lengths)
        return self.decide(self.dropout(pooled(outputs, lengths)))

    def known(self, codes: Tensor) -> Tensor:
        """Rare words, and in training some of the others, as the unknown word."""
        unknown = codes >= self.settings.words
        if self.training and self.settings.word_dropout:
            drawn = torch.rand(codes.shape, device=codes.device) < self.settings.word_dropout
            unknown |= drawn & (codes != PADDING)
        return codes.masked_fill(unknown, UNKNOWN)


class Writer(nn.Module):
    """Tokens' vectors, recurrent layers, one linear layer: what follows each token, from all that came before."""

    context = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.vectors = nn.Embedding(settings.words, settings.width)
        self.recurrent = Recurrent(
            settings.cell, settings.width, settings.units, layers=settings.layers, dropout=settings.dropout
        )
        self.dropout = Dropout(settings.dropout)
        self.decide = nn.Linear(settings.units, settings.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, L] -> logits of the next one at each place [B, L, K]."""
        return self.decide(self.dropout(self.recurrent(self.vectors(x))[0]))

    def hidden(self, x: Tensor) -> Tensor:
        """Tokens [B, L] -> outputs of the last layer at each place [B, L, U]."""
        found: Tensor = self.recurrent(self.vectors(x))[0]
        return found

    def step(self, tokens: Tensor, state: list[State] | None = None) -> tuple[Tensor, list[State]]:
        """Reads on: tokens [B, L] -> logits of what follows the last [B, K], and each layer's state to go on from."""
        outputs, state = self.recurrent(self.vectors(tokens), state=state)
        return self.decide(outputs[:, -1]), state
