"""fastText (2016): texts classified in seconds by what words and pairs of neighbouring words they hold.

Each word has a vector, so has each pair of neighbours, and a text is what they add up to; one linear layer decides. The
pairs (not good, far from) bring back what a bag of words forgets of their order, and hashing them into a fixed number of
places needs no list of them. What deep networks gained on such tasks at the time was a point or none, at a
thousandth of the speed.

A. Joulin, E. Grave, P. Bojanowski, T. Mikolov: Bag of tricks for efficient text classification. EACL 2017,
arXiv:1607.01759, 2016.

Deviations: (1) a text is the set of its words and pairs, each counted once, as suits opinions (Wang and Manning 2012),
and their sum is divided by the root of their number; the paper: all of them, divided by their number; (2) dropout on the
text's vector; (3) AdamW, one-cycle, small batches; the paper: SGD, one text at a time, at a rate that falls
linearly; (4) an exact softmax; the paper: a hierarchical one for many classes; (5) pairs are hashed by SplitMix64, and
as many places as the texts can fill, 2^18 at most; the paper: 10 million.

Shape letters: B rows, L words of a text, S words and pairs of a text, K outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shendu import chance
from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.text import Text
from shendu.data.words import PADDING
from shendu.errors import UserError
from shendu.nn.dropout import Dropout
from shendu.recipes import Training, answers, check_reads, labelled, supervised

PAIRS = 1
"""Key of the hash."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`words` are the codes of words (padding and unknown too), `buckets` the places that longer pieces are hashed to."""

    words: int = 1000
    outputs: int = 2
    width: int = 16
    ngrams: int = 2
    """Words of the longest piece: 1 words alone, 2 pairs too, 3 triples too."""
    buckets: int = 1 << 18
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name, right, like in (
            ("width", self.width >= 1, 16), ("ngrams", 1 <= self.ngrams <= 5, 2), ("buckets", self.buckets >= 1, 1 << 18),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")

    def build(self) -> FastText:
        return FastText(self)


class FastText(nn.Module):
    """Vectors of words and of hashed pairs, added up, then one linear layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words, self.ngrams, self.buckets = config.words, config.ngrams, config.buckets
        places = config.words + (config.buckets if config.ngrams > 1 else 0)
        self.vectors = nn.EmbeddingBag(places, config.width, mode="sum", padding_idx=PADDING)
        with torch.no_grad():
            self.vectors.weight.uniform_(-1 / config.width, 1 / config.width)
            self.vectors.weight[PADDING] = 0
        self.dropout = Dropout(config.dropout)
        self.decide = nn.Linear(config.width, config.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x codes of words [B, L], 0 after the last -> logits or values [B, K]."""
        places = once(self.places(x.long()))
        count = (places != PADDING).sum(1, keepdim=True).clamp(min=1)
        return self.decide(self.dropout(self.vectors(places) / count.sqrt()))

    def places(self, x: Tensor) -> Tensor:
        """[B, L] -> where the vectors of its words and longer pieces stand, [B, S]; 0 where there is none."""
        found, piece = [x], x
        for more in range(1, min(self.ngrams, x.shape[1])):
            piece = piece[:, :-1] * self.words + x[:, more:]
            hashed = chance.mix(piece, PAIRS) % self.buckets + self.words
            found.append(hashed.masked_fill(x[:, more:] == PADDING, PADDING))
        return torch.cat(found, 1)


def once(places: Tensor) -> Tensor:
    """Each row's values sorted, and 0 where one comes again."""
    ordered = places.sort(1).values
    again = ordered[:, 1:] == ordered[:, :-1]
    return torch.cat([ordered[:, :1], ordered[:, 1:].masked_fill(again, PADDING)], 1)


def buckets_for(data: Dataset) -> int:
    """A power of two, so many that pairs of the training texts seldom meet: 2^10 to 2^18."""
    train = data.splits["train"]
    looked_at = train.take(np.arange(min(1000, len(train)))).column(data.input)
    words = float((looked_at != PADDING).sum(1).mean()) * len(train)
    return 1 << min(18, max(10, math.ceil(math.log2(max(1.0, words)))))


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Five passes over many texts; at least 500 steps over few. Raises UserError for data without texts."""
    check_reads("fasttext", data, "text")
    text = data.fields[data.input]
    assert isinstance(text, Text)
    task = labelled(data)
    net = Config(words=text.codes, outputs=answers(task), buckets=buckets_for(data))
    how = Training(epochs=5, batch_size=64, lr=3e-3, schedule="one-cycle", weight_decay=0.1)
    rows = len(data.splits["train"])
    if rows < 500 * 64 // 5:
        how = replace(how, steps=500, batch_size=32)
    net, how = settle(choices, net, how, given=("words", "outputs"))
    return supervised(data, net, how)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "opinions", {"steps": 60, "batch_size": 32, "lr": 0.02, "buckets": 1024}


SUITS = {"text": "texts are learned by the words and pairs of words that they hold"}

REFERENCES = (
    {"data": "imdb", "metric": "accuracy", "published": None, "target": 0.88, "source": ""},
)  # fmt: skip
