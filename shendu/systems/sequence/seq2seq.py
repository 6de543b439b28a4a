"""Seq2seq with attention (2014): a translator that looks back at the source at every word.

An encoder reads the source in both directions and leaves a note at each word; a decoder writes one word after the other.
Squeezing a sentence into one vector had failed at long ones: here a small network scores every note against the decoder's
state, and the notes' mean under these scores is what the next word is written from. The scores are an alignment of words
that nobody has taught it.

D. Bahdanau, K. Cho, Y. Bengio: Neural Machine Translation by Jointly Learning to Align and Translate. ICLR, 2015
(arXiv 1409.0473, 2014); the gated unit: K. Cho et al., EMNLP 2014.

Deviations: (1) a network for some 30,000 sentence pairs: 320 units and embeddings of 256 where the paper has 1,000 and 620,
with dropout; (2) byte-level BPE of lower-cased text, one matrix embedding both languages and giving the logits, where the
paper has the 30,000 most frequent words of each; (3) Adam with a falling rate and label smoothing, where the paper has
Adadelta; (4) the encoder's gated unit is torch.nn.GRU, which resets behind the recurrent product; (5) words are written from
the state that has read the context (the paper's equation 4, not its appendix); (6) the beam is ranked with a length penalty.

Shape letters: B rows, S source codes, T target codes, K hypotheses, E embedding, H units, A units of the alignment, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.processors.translation import BEGIN, END, PADDING, Translation, Wording
from shendu.errors import UserError
from shendu.nn import beam as beams
from shendu.nn.dropout import Dropout
from shendu.recipes import Training, check_reads
from shendu.recipes.translation import translation

MORE = 50
"""Codes by which a translation may be longer than its source."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the network: of the embeddings, of encoder and decoder, and of the alignment."""

    codes: int = 6000
    embedding: int = 256
    hidden: int = 320
    aligned: int = 256
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.aligned) < 1:
            raise UserError(f"hidden={self.hidden} is no size; write it like embedding=256 hidden=320 aligned=256")

    def build(self) -> Seq2Seq:
        return Seq2Seq(self)


class Encoder(nn.Module):
    """A note at each code [B, S, 2 H]: what a gated recurrent network knows of it from before, and from behind."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.forwards, self.backwards = (nn.GRU(config.embedding, config.hidden, batch_first=True) for _ in range(2))

    def forward(self, h: Tensor, lengths: Tensor) -> Tensor:
        """h [B, S, E]; the other direction is read within each row's own length, so padding never comes first."""
        turn = turned(lengths, h.shape[1])
        there, _ = self.forwards(h)
        back, _ = self.backwards(taken(h, turn))
        return torch.cat([there, taken(back, turn)], 2)


def turned(lengths: Tensor, most: int) -> Tensor:
    """Places [B, most] that read each row backwards within its length; what is behind it stays."""
    places = torch.arange(most, device=lengths.device).expand(len(lengths), -1)
    return torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)


def taken(h: Tensor, places: Tensor) -> Tensor:
    return h.gather(1, places[..., None].expand(-1, -1, h.shape[2]))


class Alignment(nn.Module):
    """Additive attention: vᵀ tanh(W s + U h), a softmax over the source (appendix A.1.2)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.state = nn.Linear(config.hidden, config.aligned, bias=False)
        self.notes = nn.Linear(2 * config.hidden, config.aligned, bias=False)
        self.score = nn.Linear(config.aligned, 1, bias=False)

    def forward(self, state: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """How much each state [B, K, H] looks at each note, of keys [B, S, A] = notes(h): [B, K, S]."""
        scores = self.score(torch.tanh(self.state(state)[:, :, None] + keys[:, None])).squeeze(3)
        return scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)


class GatedUnit(nn.Module):
    """The decoder's unit (appendix A.2.2): an update gate z keeps the state, a reset gate r forgets it for the new one."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden = config.hidden
        self.word = nn.Linear(config.embedding, 3 * hidden)
        self.context = nn.Linear(2 * hidden, 3 * hidden, bias=False)
        self.gates = nn.Linear(hidden, 2 * hidden, bias=False)
        self.new = nn.Linear(hidden, hidden, bias=False)

    def forward(self, given: Tensor, state: Tensor) -> Tensor:
        """given [..., 3 H] = word(e) + context(c), state [..., H] -> the next state."""
        hidden = state.shape[-1]
        z, r = (given[..., : 2 * hidden] + self.gates(state)).sigmoid().chunk(2, -1)
        proposed = torch.tanh(given[..., 2 * hidden :] + self.new(r * state))
        return torch.lerp(state, proposed, z)


class Seq2Seq(nn.Module):
    """Encoder, alignment, decoder, and a maxout layer that words are written from."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.codes, config.embedding)
        nn.init.normal_(self.embedding.weight, std=config.embedding**-0.5)
        self.encoder, self.align, self.unit = Encoder(config), Alignment(config), GatedUnit(config)
        self.first = nn.Linear(config.hidden, config.hidden)
        self.deep = nn.Linear(3 * config.hidden + config.embedding, 2 * config.embedding)
        self.drop = Dropout(config.dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Source codes x [B, S] and the codes before each target code y [B, T] -> logits [B, T, V]."""
        words, states, contexts, _ = self.decode(x, y)
        return self.logits(words, states, contexts)

    def decode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embedded words [B, T, E], states [B, T, H], contexts [B, T, 2 H] and alignments [B, T, S]."""
        fixed, state = self.encode(x)
        words = self.drop(self.embedding(y))
        given, steps = self.unit.word(words), []
        for t in range(y.shape[1]):
            steps.append(self.advance(given[:, t : t + 1], state, fixed))
            state = steps[-1][0]
        states, contexts, looks = (torch.cat(each, 1) for each in zip(*steps, strict=True))
        return words, states, contexts, looks

    def encode(self, x: Tensor) -> tuple[beams.State, Tensor]:
        """x [B, S] -> (notes, their keys and where they are, the first state [B, 1, H], from the first word's note)."""
        mask = x != PADDING
        notes = self.drop(self.encoder(self.drop(self.embedding(x)), mask.sum(1)))
        hidden = self.first.in_features
        return {"notes": notes, "keys": self.align.notes(notes), "mask": mask}, torch.tanh(
            self.first(notes[:, :1, hidden:])
        )

    def advance(self, given: Tensor, state: Tensor, fixed: beams.State) -> tuple[Tensor, Tensor, Tensor]:
        """From word parts given [B, K, 3 H] and states [B, K, H] to the next states, their contexts and alignments."""
        looks = self.align(state, fixed["keys"], fixed["mask"])
        context = looks @ fixed["notes"]
        return self.unit(given + self.unit.context(context), state), context, looks

    def logits(self, words: Tensor, states: Tensor, contexts: Tensor) -> Tensor:
        """Deep output with a maxout layer (appendix A.2.2): [..., V]."""
        deep = self.deep(torch.cat([states, words, contexts], -1)).unflatten(-1, (-1, 2)).amax(-1)
        return F.linear(self.drop(deep), self.embedding.weight)

    def alignment(self, x: Tensor, y: Tensor) -> Tensor:
        """What is looked at in x [B, S] when y [B, T] is written: [B, T, S]."""
        return self.decode(x, F.pad(y[:, :-1], (1, 0), value=BEGIN))[3]

    def translate(self, x: Tensor, *, longest: int, beam: int, penalty: float) -> Tensor:
        """x [B, S] -> int64 [B, ≤ longest] by beam search, at most MORE codes longer than the source."""
        fixed, state = self.encode(x)
        limits = (fixed["mask"].sum(1) + MORE).clamp(max=longest)
        return beams.search(
            self.step,
            fixed,
            {"state": state},
            limits,
            width=beam,
            penalty=penalty,
            begin=BEGIN,
            end=END,
            padding=PADDING,
        )

    def step(self, tokens: Tensor, fixed: beams.State, moving: beams.State) -> tuple[Tensor, beams.State]:
        """The next code after tokens [B, K]: log-probabilities [B, K, V]."""
        words = self.embedding(tokens)
        state, context, _ = self.advance(self.unit.word(words), moving["state"], fixed)
        return self.logits(words, state, context).log_softmax(-1), {"state": state}


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Adam, clipped gradients, batches of sentences of similar length."""
    check_reads("seq2seq", data, "Sentence")
    how = Training(
        epochs=12, batch_size=96, lr=1.5e-3, optimizer="adam", schedule="warmup-linear", label_smoothing=0.1, clip=1.0,
        validations=6,
    )  # fmt: skip
    net, how, wording = settle(choices, Config(), how, Wording(), given=("codes",))
    processor = Translation.of(data, wording)
    return translation(data, replace(net, codes=processor.codes), how, processor)


def tiny() -> tuple[Any, dict[str, Any]]:
    small = {"embedding": 24, "hidden": 32, "aligned": 16, "dropout": 0.1, "lr": 1e-2, "vocabulary": 280, "longest": 16}
    return "reversal", {"steps": 30, "batch_size": 32, "beam": 2, "validations": 2, **small}


REFERENCES = (
    {"data": "multi30k-de-en", "metric": "bleu", "published": None, "target": 30.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
    {"data": "multi30k-en-de", "metric": "bleu", "published": None, "target": 28.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
)  # fmt: skip
