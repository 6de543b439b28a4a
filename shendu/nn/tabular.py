"""A table's columns as vectors: numbers by the piece of their range, categories and words by a vector each.

Shape letters: B rows, W positions of a row, N numbers (a date has six), C coded columns, F columns of any kind, E width of
a column's vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLED = 100_000
"""Rows that quantiles are taken from: of more, their errors would be the same to three digits."""

TINY = 1e-30
"""Width in standard units up to which a piece is none: its reciprocal would not be finite."""


class Numbers(nn.Module):
    """Piecewise-linear embedding of real numbers, NaN where one is missing (Gorishniy, Rubachev, Babenko 2022).

    A column's range is cut into pieces at quantiles of the training rows (see `fit`). A number is 1 for each piece below
    it, 0 for each above it, and in its own piece the share that lies below it; these times a matrix of the column's own,
    plus a linear term, are its vector. A missing number has a vector of its own; beyond the range its end counts.
    """

    lower: Tensor
    scale: Tensor
    ends: Tensor

    def __init__(self, columns: int, pieces: int, width: int) -> None:
        super().__init__()
        self.register_buffer("lower", torch.zeros(columns, pieces))
        self.register_buffer("scale", torch.zeros(columns, pieces))
        self.register_buffer("ends", torch.zeros(2, columns))
        bound = width**-0.5
        self.linear = nn.Parameter(torch.empty(columns, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(columns, width).uniform_(-bound, bound))
        self.pieces = nn.Parameter(torch.zeros(columns, pieces, width))
        self.missing = nn.Parameter(torch.zeros(columns, width))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Takes the pieces from rows of training x [B, N]; a column without a number has none."""
        for column, values in enumerate(x.detach().cpu().T):
            present = values[values.isfinite()]
            if len(present):
                edges = quantiles(present, self.pieces.shape[1])
                widths = edges.diff()
                self.lower[column] = edges[:-1]
                self.scale[column] = torch.where(widths > TINY, 1 / widths, 0.0)
                self.ends[:, column] = edges[[0, -1]]

    def forward(self, x: Tensor) -> Tensor:
        """[B, N] -> [N, B, E], as one product: shares, value, 1 and 0 of a number that is there, 0, 0, 0 and 1 of a missing one."""
        missing = x.isnan()
        there = (~missing).to(x.dtype)
        known = torch.minimum(torch.maximum(x.nan_to_num(0.0), self.ends[0]), self.ends[1])
        shares = ((known[..., None] - self.lower) * self.scale).clamp(0, 1) * there[..., None]
        rest = torch.stack([known * there, there, missing.to(x.dtype)], -1)
        weights = torch.cat([self.pieces, torch.stack([self.linear, self.bias, self.missing], 1)], 1)
        return torch.bmm(torch.cat([shares, rest], -1).transpose(0, 1), weights)


def quantiles(values: Tensor, pieces: int) -> Tensor:
    """Edges [pieces + 1] of about equally full pieces of finite values [B]; empty pieces have width 0.

    A value that is repeated so often that it would fill whole pieces counts as one piece only: the others then divide
    the rest of the range. Few distinct values get an edge each.
    """
    distinct, counts = values.double().unique(return_counts=True)
    if len(distinct) <= pieces + 1:
        return torch.cat([distinct, distinct[-1:].expand(pieces + 1 - len(distinct))]).float()
    weights = counts.double()
    for _ in range(20):  # towards the limit at which the commonest values fill one piece each
        weights = weights.clamp(max=weights.sum() / pieces)
    reached = weights.cumsum(0) / weights.sum()
    wanted = torch.linspace(0, 1, pieces + 1, dtype=torch.float64)
    return distinct[torch.searchsorted(reached, wanted).clamp(max=len(distinct) - 1)].float()


class Codes(nn.Module):
    """A vector per value of each coded column; 0 (missing) and 1 (unseen) begin at zero, amid the others."""

    first: Tensor

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        firsts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.register_buffer("first", torch.tensor(firsts), persistent=False)
        self.vectors = nn.Parameter(torch.empty(sum(sizes), width).uniform_(-(width**-0.5), width**-0.5))
        with torch.no_grad():
            for first in firsts:
                self.vectors[first : first + 2] = 0

    def forward(self, codes: Tensor) -> Tensor:
        """int64 [B, C] -> [C, B, E]."""
        return F.embedding((codes + self.first).T, self.vectors)


class Words(nn.Module):
    """The mean of a text's word vectors; 0 is padding, an empty text is zero."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(vocabulary, width).uniform_(-(width**-0.5), width**-0.5))

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [B, length] -> [B, E]."""
        return F.embedding_bag(ids, self.vectors, mode="mean", padding_idx=0)


class Columns(nn.Module):
    """A row's columns as vectors of one width, in the order numbers, coded columns, texts.

    `numeric` are positions of numbers, `coded` (position, how many codes), `texts` (start, length, vocabulary).
    """

    def __init__(
        self,
        numeric: tuple[int, ...],
        coded: tuple[tuple[int, int], ...],
        texts: tuple[tuple[int, int, int], ...],
        *,
        pieces: int,
        width: int,
    ) -> None:
        super().__init__()
        self.count = len(numeric) + len(coded) + len(texts)
        self.numeric, self.coded, self.texts = list(numeric), [at for at, _ in coded], texts
        self.numbers = Numbers(len(numeric), pieces, width) if numeric else None
        self.codes = Codes(tuple(size for _, size in coded), width) if coded else None
        self.words = nn.ModuleList(Words(vocabulary, width) for _, _, vocabulary in texts)

    def fit(self, x: Tensor) -> None:
        """Takes what must be known of the numbers from training rows x [B, W]."""
        if self.numbers is not None:
            self.numbers.fit(x[:, self.numeric])

    def forward(self, x: Tensor) -> Tensor:
        """[B, W] -> [F, B, E]."""
        parts = []
        if self.numbers is not None:
            parts.append(self.numbers(x[:, self.numeric]))
        if self.codes is not None:
            parts.append(self.codes(x[:, self.coded].long()))
        for words, (start, length, _) in zip(self.words, self.texts, strict=True):
            parts.append(words(x[:, start : start + length].long())[None])
        return torch.cat(parts)
