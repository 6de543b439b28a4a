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
from torch.autograd.function import once_differentiable

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.nn import beam as beams
from shendu.nn.dropout import Dropout
from shendu.nn.precision import lowered
from shendu.recipes import Training, check_reads
from shendu.recipes.translation import translation
from shendu.tasks.translate import BEGIN, END, PADDING, Translate, Wording

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


class Unrolled(torch.autograd.Function):
    """`Seq2Seq.step_by_step` with its gradient written out.

    Step by step only what a step needs is computed; the gradients of matrices, notes and words are then single products over
    all steps. T is the first dimension of what is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        first: Tensor,
        keys: Tensor,
        notes: Tensor,
        mask: Tensor,
        ask: Tensor,
        score: Tensor,
        gates: Tensor,
        new: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """words [B, T, 3 H], first [B, H], keys [B, S, A], notes [B, S, 3 H], mask [B, S] and the weights of `align.state`,
        `align.score`, `unit.gates` and `unit.new` -> states [B, T, H], alignments [B, T, S].
        """
        rows, steps, hidden = len(words), words.shape[1], first.shape[1]
        states, looks = words.new_empty(steps + 1, rows, hidden), words.new_empty(steps, rows, 1, keys.shape[1])
        seen, units = words.new_empty(steps, *keys.shape), words.new_empty(steps, rows, 3 * hidden)
        reset, hears, nowhere = words.new_empty(steps, rows, hidden), torch.cat([ask, gates]), ~mask
        states[0] = first
        for t, word in enumerate(words.unbind(1)):
            state = states[t]
            asked, said = F.linear(state, hears).split([len(ask), len(gates)], 1)
            torch.add(keys, asked[:, None], out=seen[t]).tanh_()
            scores = (seen[t].flatten(0, 1) @ score[0]).view_as(mask).masked_fill_(nowhere, -torch.inf)
            torch.softmax(scores, 1, out=looks[t, :, 0])
            given = torch.baddbmm(word[:, None], looks[t], notes)[:, 0]
            z, r = torch.sigmoid(given[:, : 2 * hidden] + said, out=units[t, :, : 2 * hidden]).chunk(2, 1)
            torch.mul(r, state, out=reset[t])
            proposed = torch.tanh(given[:, 2 * hidden :] + F.linear(reset[t], new), out=units[t, :, 2 * hidden :])
            torch.lerp(state, proposed, z, out=states[t + 1])
        ctx.save_for_backward(states, looks, seen, units, reset, notes, hears, score, new)
        return states[1:].transpose(0, 1), looks[:, :, 0].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor, d_looks: Tensor) -> tuple[Tensor | None, ...]:
        states, looks, seen, units, reset, notes, hears, score, new = ctx.saved_tensors
        hidden, aligned = new.shape[0], score.shape[1]
        heard = states.new_empty(
            *units.shape[:2], aligned + 3 * hidden
        )  # before tanh and sigmoid: asked, z, r, proposed
        scored, d_keys = torch.empty_like(looks[:, :, 0]), torch.zeros_like(seen[0])
        d_state = torch.zeros_like(states[0])
        for t in reversed(range(len(units))):
            state, look, (z, r, proposed) = states[t], looks[t, :, 0], units[t].chunk(3, 1)
            d_asked, d_z, d_r, d_proposed = heard[t].split([aligned, hidden, hidden, hidden], 1)
            d_state = d_state + d_states[:, t]
            d_proposed.copy_(tanh_backward(d_state * z, proposed))
            d_reset = d_proposed @ new
            d_z.copy_(sigmoid_backward(d_state * (proposed - state), z))
            d_r.copy_(sigmoid_backward(d_reset * state, r))
            d_look = (notes @ heard[t, :, aligned:, None])[:, :, 0] + d_looks[:, t]
            torch.mul(look, d_look - (look * d_look).sum(1, keepdim=True), out=scored[t])
            d_seen = tanh_backward(scored[t, :, :, None] * score, seen[t])
            torch.sum(d_seen, 1, out=d_asked)
            d_keys += d_seen
            d_state = (
                torch.lerp(d_state, d_reset.new_zeros(()), z)
                + d_reset * r
                + heard[t, :, : aligned + 2 * hidden] @ hears
            )
        flat = heard.flatten(0, 1)
        d_hears = flat[:, : aligned + 2 * hidden].T @ states[:-1].flatten(0, 1)
        d_ask, d_gates = d_hears.split([aligned, 2 * hidden])
        d_new = flat[:, aligned + 2 * hidden :].T @ reset.flatten(0, 1)
        d_score = scored.flatten()[None] @ seen.flatten(0, 2)
        d_words = heard[:, :, aligned:].transpose(0, 1)
        d_notes = looks[:, :, 0].permute(1, 2, 0) @ d_words
        return d_words, d_state, d_keys, d_notes, None, d_ask, d_score, d_gates, d_new


tanh_backward, sigmoid_backward = torch.ops.aten.tanh_backward, torch.ops.aten.sigmoid_backward
"""Gradient of what went in, from that of what came out, and what came out."""


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
        words = self.drop(lowered(self.embedding(y)))
        given = self.unit.word(words)
        states, looks = (self.step_by_step if torch.compiler.is_compiling() else self.unrolled)(given, state, fixed)
        return words, states, looks @ fixed["notes"], looks

    def step_by_step(self, given: Tensor, state: Tensor, fixed: beams.State) -> tuple[Tensor, Tensor]:
        """Word parts given [B, T, 3 H] and the first state [B, 1, H] -> states [B, T, H] and alignments [B, T, S]."""
        states, looks = [], []
        for word in given.split(1, 1):
            state, look = self.advance(word, state, fixed)
            states.append(state)
            looks.append(look)
        return torch.cat(states, 1), torch.cat(looks, 1)

    def unrolled(self, given: Tensor, state: Tensor, fixed: beams.State) -> tuple[Tensor, Tensor]:
        """The same by `Unrolled`."""
        weights = (m.weight for m in (self.align.state, self.align.score, self.unit.gates, self.unit.new))
        tensors = (given, state[:, 0], fixed["keys"], fixed["given"], fixed["mask"], *map(lowered, weights))
        states, looks = Unrolled.apply(*tensors)
        return states, looks

    def encode(self, x: Tensor) -> tuple[beams.State, Tensor]:
        """x [B, S] -> the notes with what they say to alignment and unit, and the first state [B, 1, H], of the first word's note."""
        mask = x != PADDING
        notes = self.drop(self.encoder(self.drop(lowered(self.embedding(x))), mask.sum(1)))
        first = torch.tanh(self.first(notes[:, :1, self.first.in_features :]))
        keys, given = self.align.notes(notes), self.unit.context(notes)
        return {"notes": notes, "keys": keys, "given": given, "mask": mask}, first

    def advance(self, given: Tensor, state: Tensor, fixed: beams.State) -> tuple[Tensor, Tensor]:
        """From word parts given [B, K, 3 H] and states [B, K, H] to the next states and the alignments [B, K, S].

        Of the context the unit takes a linear function, which is as well taken of all notes beforehand.
        """
        looks = self.align(state, fixed["keys"], fixed["mask"])
        return self.unit(given + looks @ fixed["given"], state), looks

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
        words = lowered(self.embedding(tokens))
        state, looks = self.advance(self.unit.word(words), moving["state"], fixed)
        return self.logits(words, state, looks @ fixed["notes"]).float().log_softmax(-1), {"state": state}


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Adam, clipped gradients, batches of sentences of similar length."""
    check_reads("seq2seq", data, "sentence")
    how = Training(
        epochs=12, batch_size=96, lr=1.5e-3, optimizer="adam", schedule="warmup-linear", label_smoothing=0.1, clip=1.0,
        validations=6,
    )  # fmt: skip
    net, how, wording = settle(choices, Config(), how, Wording(), given=("codes",))
    task = Translate.of(data, wording)
    return translation(data, replace(net, codes=task.codes), how, task)


def tiny() -> tuple[Any, dict[str, Any]]:
    small = {"embedding": 24, "hidden": 32, "aligned": 16, "dropout": 0.1, "lr": 1e-2, "vocabulary": 280, "longest": 16}
    return "reversal", {"steps": 30, "batch_size": 32, "beam": 2, "validations": 2, **small}


REFERENCES = (
    {"data": "multi30k-de-en", "metric": "bleu", "published": None, "target": 30.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
    {"data": "multi30k-en-de", "metric": "bleu", "published": None, "target": 28.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
)  # fmt: skip
