"""Pairs of segments of texts with some of their words hidden, as an endless stream: what masked pretraining reads.

All of it is arithmetic on (seed, sample): which texts, where they are cut, which words are hidden. There is nothing to save.

Shape letters: N texts, B rows of a batch, T places, M hidden places of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shendu import chance
from shendu.core import MASKED, At, Batch
from shendu.data.dataset import Split
from shendu.data.words import KNOWN, PADDING, UNKNOWN
from shendu.sources.bucketed import Bucketed
from shendu.sources.rows import Prepares

PAIR, HIDE, TIES = 5, 6, 7
AS_MASK, AS_ANY = 0.8, 0.1
"""Of the hidden words, so many become [MASK] and so many any word; the rest stay as they are, and are guessed all the same."""
NEAR, NEAR_LEAST = 0.05, 20
"""A stranger is one of this share of the texts, those that are next in length (and of so many at least): with any text as
a stranger, a short one would shorten the segment, and its batch would be padding."""
MARKS = 3
"""[CLS] before both segments, [SEP] after each."""


@dataclass(frozen=True, kw_only=True)
class Codes:
    """A vocabulary that is cut, and the marks behind it: codes from `words` on are read as the unknown word."""

    words: int

    @property
    def begin(self) -> int:
        """[CLS]"""
        return self.words

    @property
    def end(self) -> int:
        """[SEP]"""
        return self.words + 1

    @property
    def mask(self) -> int:
        return self.words + 2

    @property
    def count(self) -> int:
        return self.words + 3

    def known(self, x: Tensor) -> Tensor:
        """Codes of words, the rare ones as the unknown word."""
        return x.masked_fill(x >= self.words, UNKNOWN)


class Segments:
    """Samples start … start+size-1 of epochs through the texts; batches hold texts of similar length.

    A sample is a segment of at most `length` - 3 words of a text, cut in two; half of the time the second part is replaced by
    as many words of another text of about its length. A share `hidden` of the known words is to be guessed, at least one.
    Texts are codes of words [N, L] in `column`, 0 after the last.
    """

    acts = False

    def __init__(
        self,
        split: Split,
        task: Prepares,
        *,
        column: str,
        codes: Codes,
        length: int,
        hidden: float,
        batch_size: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.texts = Bucketed(
            split, task, columns={"x": column}, padded=("x",), batch_size=batch_size, seed=seed, device=device
        )
        self.rows, self.device = len(split), torch.device(device)
        self.codes, self.length, self.hidden, self.seed = codes, length, hidden, seed
        drawn = chance.permute(torch.arange(self.rows), self.rows, seed, TIES)  # rows that lie together may be alike
        self.by_length = drawn[self.texts.lengths["x"][drawn].clamp(max=length - MARKS).argsort(stable=True)]
        self.rank = self.by_length.argsort()

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        """`x` and `segments` int64 [B, T], `places` and `words` [B, M] (MASKED: a row has fewer), `other` [B] (0 the second
        segment follows, 1 it is from another text, MASKED: there is none)."""
        samples = torch.arange(at.start, at.start + at.size)
        x, segments, other = self.pairs(samples, self.texts.row_numbers(at.start, at.size))
        x, places, words = self.hide(samples, x)
        found = {"x": x, "segments": segments, "places": places, "words": words, "other": other}
        return {name: t.to(self.device, non_blocking=True) for name, t in found.items()}

    def pairs(self, samples: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[CLS] first segment [SEP] second segment [SEP] of texts `rows` [B]: codes and segments [B, T], and `other` [B]."""
        begin, cut, strange, swap, place = chance.uniform(samples, 5, self.seed, PAIR).double().unbind(1)
        words = self.texts.lengths["x"]
        there = words[rows]
        both = there.clamp(max=self.length - MARKS)
        first_from = whole(begin, there - both + 1)
        first = torch.where(both > 1, 1 + whole(cut, both - 1), both)
        second, second_from, of = both - first, first_from + first, rows

        others = self.strangers(rows, strange)
        fewer = torch.minimum(second, words[others])
        swapped = (swap < 0.5) & (others != rows) & (fewer > 0)
        second_from = torch.where(swapped, whole(place, words[others] - fewer + 1), second_from)
        second, of = torch.where(swapped, fewer, second), torch.where(swapped, others, of)
        other = torch.where(second > 0, swapped.long(), MASKED)
        x, segments = self.laid(rows, first_from, first, of, second_from, second)
        return x, segments, other

    def strangers(self, rows: Tensor, u: Tensor) -> Tensor:
        """Texts other than `rows` [B] by numbers u [B] in [0, 1): of the next in length, of the last ones before the longest."""
        near = min(self.rows - 1, max(NEAR_LEAST, round(NEAR * self.rows)))
        rank = self.rank[rows]
        place = rank.clamp(max=self.rows - 1 - near) + whole(u, torch.tensor(near))
        return self.by_length[place + (place >= rank)] if near else rows

    def laid(
        self, rows: Tensor, first_from: Tensor, first: Tensor, of: Tensor, second_from: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The words first_from … of texts `rows`, `first` of them, and the same of the second segment, between the marks."""
        at = torch.arange(int((first + second).max()) + MARKS)
        rows, first_from, first, of, second_from, second = (
            t[:, None] for t in (rows, first_from, first, of, second_from, second)
        )
        later, last = at > first + 1, first + second + 2
        word = torch.where(later, second_from + at - first - 2, first_from + at - 1)
        stored = self.texts.columns["x"]
        x = stored[self.texts.index[torch.where(later, of, rows)], word.clamp(0, stored.shape[1] - 1)].long()
        x = self.codes.known(x).masked_fill(at > last, PADDING)
        x = x.masked_fill(at == 0, self.codes.begin).masked_fill((at == first + 1) | (at == last), self.codes.end)
        return x, (later & (at <= last)).long()

    def hide(self, samples: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, T] with words hidden; their places and the words [B, M]."""
        u = chance.uniform(samples, 3 * self.length, self.seed, HIDE).view(-1, 3, self.length)[..., : x.shape[1]]
        can = (x > UNKNOWN) & (x < self.codes.words)
        count = (self.hidden * can.sum(1).double()).round().long().clamp(min=1) * can.any(1)
        most = max(1, round(self.hidden * (x.shape[1] - MARKS)))
        drawn = u[:, 0].masked_fill(~can, 2.0).sort(dim=1, stable=True).indices[:, :most]
        counts = torch.arange(most) < count[:, None]
        words, how = x.gather(1, drawn), u[:, 1].gather(1, drawn)
        any_word = KNOWN + whole(u[:, 2].gather(1, drawn).double(), torch.tensor(self.codes.words - KNOWN))
        shown = torch.where(how < AS_MASK, self.codes.mask, torch.where(how < AS_MASK + AS_ANY, any_word, words))
        x = x.scatter(1, drawn, torch.where(counts, shown, words))
        return x, drawn * counts, words.masked_fill(~counts, MASKED)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def whole(u: Tensor, below: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) of double precision -> whole numbers 0 … below-1 (0 where below is 0)."""
    return (u * below).long()
