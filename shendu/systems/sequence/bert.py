"""BERT (2018): a network reads without being taught first, by filling in hidden words, and then learns any task from little.

A language model that goes from left to right sees half of a sentence. Here some words are hidden and guessed from both
sides, and two segments are told apart that follow each other or do not; both need nobody's labels. The encoder of a
Transformer that was pretrained so is then fine-tuned whole, with one new layer, and was the best in eleven tasks at once.

J. Devlin, M.-W. Chang, K. Lee, K. Toutanova: BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding. NAACL 2019, arXiv:1810.04805, 2018.

Deviations: (1) whole words, the most frequent of the training texts; the paper: 30,522 pieces of words; (2) pretraining on the
training texts alone, with a network of their size (4 layers, 128 wide); the paper: 3.3 billion words; (3) what is hidden is drawn
anew in each pass; the paper: ten times, beforehand; (4) of a text that is too long, its beginning and its end are classified
(Sun et al. 2019); (5) in fine-tuning some words are hidden too; (6) no dropout within attention, which keeps torch off its
fused kernel; (7) Muon for matrices, AdamW for the rest; the paper: Adam with decoupled weight decay; (8) higher rates, as
suit smaller networks; (9) places turn queries and keys (Su et al. 2021; position=learned: vectors that are added), and attention begins
with the next words on both sides: without that nothing but the words' frequencies is learned from a few million words;
(10) weights begin larger by the root of how much narrower than the paper's the network is.

Shape letters: B rows, L words, T places, M hidden places of a row, W width, V vocabulary, K outputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import optim
from shendu.config import settle, to_json
from shendu.core import Groups, Recipe, Source, Stage
from shendu.data.dataset import Dataset
from shendu.data.fields.text import Text
from shendu.data.words import PADDING
from shendu.errors import UserError
from shendu.nn.attention import SelfAttention, check_heads
from shendu.nn.dropout import Dropout
from shendu.nn.positions import angles, rates
from shendu.nn.precision import lowered
from shendu.nn.recurrent import ends
from shendu.objectives.masked import MaskedWords
from shendu.recipes import Training, answers, check_reads, device_of, labelled, stage, supervised
from shendu.sources.bucketed import Bucketed
from shendu.sources.segments import MARKS, Codes, Segments
from shendu.tasks import Task

DEVIATION, BASE, EPSILON = 0.02, 768, 1e-12
"""Of the weights at the start, in a network of this width; of the norms."""
FOCUS = 3.0
"""Queries' and keys' biases at the start: attention gives more than half of its weight to one place, and most of the rest to
its neighbours."""
FEW = 2000
"""Training texts below which a network is smaller and trained by steps."""
VECTORS = ("encoder.words", "encoder.places", "encoder.segments", "heads.next", "decide")
"""Tables of vectors and last layers, which Muon leaves to AdamW."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`words` are the codes of words that have vectors (padding and unknown too), `length` the places of a text with its marks.

    Without `pretrain` there are no heads to guess with; with `outputs=0` there is nothing to decide, and the network answers
    what its encoder says of the whole text.
    """

    words: int = 20_000
    outputs: int = 2
    length: int = 256
    layers: int = 4
    heads: int = 4
    width: int = 128
    position: Literal["rope", "learned"] = "rope"
    dropout: float = 0.1
    word_dropout: float = 0.15
    """Share of the words that are hidden in fine-tuning."""
    pretrain: bool = True
    """False: fine-tuning alone, from random weights."""

    def __post_init__(self) -> None:
        for name, least, like in (("words", 3, 20_000), ("length", MARKS + 2, 256), ("layers", 1, 4)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} is below {least}; write it like {name}={like}")
        if not 0 <= self.word_dropout < 1:
            raise UserError(f"word_dropout={self.word_dropout} is no share below 1; write it like word_dropout=0.15")
        check_heads(self.width, self.heads, self.heads, self.position)

    @property
    def codes(self) -> Codes:
        return Codes(words=self.words)

    def build(self) -> BERT:
        return BERT(self)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What comes before fine-tuning."""

    pretrain_epochs: float = 8
    """Passes over the training texts."""
    pretrain_steps: int = 0
    """Above 0 it overrides the passes."""
    pretrain_lr: float = 2e-3
    masked: float = 0.3
    """Share of the words that are to be guessed; twice the paper's, since few texts are read few times (Wettig et al. 2023)."""

    def __post_init__(self) -> None:
        if not 0 < self.pretrain_epochs < math.inf or self.pretrain_steps < 0:
            raise UserError(
                f"pretrain_epochs={self.pretrain_epochs:g}, pretrain_steps={self.pretrain_steps} is no training; "
                "pretrain=false leaves it out"
            )
        if not 0 < self.masked < 1:
            raise UserError(f"masked={self.masked:g} is no share between 0 and 1; write it like masked=0.15")


class BERT(nn.Module):
    """An encoder, heads that guess, and a layer that decides."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.codes = config, config.codes
        self.encoder = Encoder(config)
        if config.pretrain:
            self.heads = Heads(config.width, self.codes.count)
        self.dropout = Dropout(config.dropout)
        self.decide = nn.Linear(config.width, config.outputs) if config.outputs else nn.Identity()
        self.apply(partial(begin, deviation=DEVIATION * math.sqrt(BASE / config.width)))
        if config.position == "rope":
            for part in self.encoder.modules():
                if isinstance(part, SelfAttention):
                    look_at_neighbours(part)

    def forward(self, x: Tensor) -> Tensor:
        """x codes of words [B, L], 0 after the last -> logits or values [B, K]."""
        return self.decide(self.dropout(self.encoder.pooled(self.encoder(self.marked(x)))))

    def marked(self, x: Tensor) -> Tensor:
        """Codes [B, L] -> [CLS], the words that are read, [SEP]: [B, T]. In training some of the words are hidden."""
        words, lengths = ends(x.long(), self.config.length - 2)
        words = self.codes.known(words)
        if self.training and self.config.word_dropout:
            hidden = torch.rand(words.shape, device=words.device) < self.config.word_dropout
            words = words.masked_fill(hidden & (words != PADDING), self.codes.mask)
        words = F.pad(words, (1, 1), value=PADDING)
        at = torch.arange(words.shape[1], device=words.device)
        return words.masked_fill(at == 0, self.codes.begin).masked_fill(at == lengths[:, None] + 1, self.codes.end)

    def guess(self, x: Tensor, segments: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Codes x of two segments [B, T] -> logits of the words at `places` [B, M]: [B, M, V]; and of whether the second
        segment follows the first or is from another text [B, 2]."""
        h = self.encoder(x, segments)
        asked = h.gather(1, places[..., None].expand(-1, -1, h.shape[2]))
        return self.heads.words(asked, self.encoder.words.weight), self.heads.next(self.encoder.pooled(h))


class Encoder(nn.Module):
    """Vectors of words, segments and, where they are learned, places added up, then blocks."""

    turned: Tensor | None

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, learned = config.width, config.position == "learned"
        self.words = nn.Embedding(config.codes.count, width)
        self.places = nn.Embedding(config.length, width) if learned else None
        self.register_buffer(
            "turned", None if learned else angles(config.length, width // config.heads), persistent=False
        )
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.pool = nn.Linear(width, width)

    def forward(self, x: Tensor, segments: Tensor | None = None) -> Tensor:
        """Codes [B, T], 0 where there is nothing; segments 0 or 1 [B, T] (None: all 0) -> [B, T, W]."""
        seen = (x != PADDING)[:, None, None]
        second = self.segments.weight[0] if segments is None else self.segments(segments)
        h = self.words(x) + second
        if self.places is not None:
            h = h + self.places.weight[: x.shape[1]]
        turned = None if self.turned is None else self.turned[:, : x.shape[1]]
        h = self.dropout(lowered(self.norm(h)))
        for block in self.blocks:
            h = block(h, seen, turned)
        return h

    def pooled(self, h: Tensor) -> Tensor:
        """[B, T, W] -> what is said of the whole [B, W], at the place of [CLS]."""
        return self.pool(h[:, 0]).tanh()


class Block(nn.Module):
    """Attention, added, normed; then four times as wide and back, added, normed."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.attention = SelfAttention(width, config.heads, causal=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPSILON), nn.LayerNorm(width, eps=EPSILON)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, seen: Tensor, turned: Tensor | None = None) -> Tensor:
        """x [B, T, W]; places where seen [B, 1, 1, T] is false are not looked at; `turned` as of attention -> [B, T, W]."""
        x = self.norm1(x + self.dropout(self.attention(x, turned, mask=seen)))
        return self.norm2(x + self.dropout(self.down(F.gelu(self.up(x)))))


class Heads(nn.Module):
    """What guesses in pretraining; the words' vectors are the weights of the last layer."""

    def __init__(self, width: int, codes: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.bias = nn.Parameter(torch.zeros(codes))
        self.next = nn.Linear(width, 2)

    def words(self, h: Tensor, vectors: Tensor) -> Tensor:
        """h [B, M, W], vectors [V, W] -> logits [B, M, V]."""
        return F.linear(self.norm(F.gelu(self.transform(h))), vectors, self.bias)


def begin(module: nn.Module, deviation: float) -> None:
    """Small random weights, no biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=deviation)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


@torch.no_grad()
def look_at_neighbours(attention: SelfAttention) -> None:
    """Heads begin with one place each: the one before, the one behind, two before, two behind, and so on.

    A key's bias points along the faster half of the rotations, a query's along the same turned by as many places, so that their
    product, which sees only the distance, is largest there.
    """
    turns = rates(attention.size).float()
    fast = FOCUS * (torch.arange(len(turns)) < max(1, len(turns) // 2))
    queries, keys, _ = attention.project.bias.view(3, attention.heads, 2, len(turns))
    for head in range(attention.heads):
        away = (head // 2 + 1) * (1 if head % 2 else -1)
        queries[head] = fast * torch.stack([(away * turns).cos(), (away * turns).sin()])
        keys[head] = fast * torch.tensor([[1.0], [0.0]])


# ---- published weights -----------------------------------------------------------------------------------------------

RENAMED = {
    "embeddings.word_embeddings": "encoder.words", "embeddings.position_embeddings": "encoder.places",
    "embeddings.token_type_embeddings": "encoder.segments", "embeddings.LayerNorm": "encoder.norm",
    "encoder.layer": "encoder.blocks", "pooler.dense": "encoder.pool",
    "attention.output.dense": "attention.out", "attention.output.LayerNorm": "norm1", "intermediate.dense": "up",
    "output.dense": "down", "output.LayerNorm": "norm2",
    "cls.predictions.transform.dense": "heads.transform", "cls.predictions.transform.LayerNorm": "heads.norm",
    "cls.predictions": "heads", "cls.seq_relationship": "heads.next", "classifier": "decide",
}  # fmt: skip
"""What a checkpoint calls its parts."""
OLDER = {"gamma": "weight", "beta": "bias"}
"""What the first checkpoints call those of a norm."""
LEFT_OUT = re.compile(r"(^|\.)(position_ids|cls\.predictions\.decoder\.(weight|bias))$")
"""No weight; the words' vectors and the bias of their logits once more."""
APART = re.compile(r"(.*attention)\.self\.(query|key|value)\.(\w+)")


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of Hugging Face's BertModel, BertForPreTraining and BertForSequenceClassification -> this network's, queries,
    keys and values as one matrix. Rows of the words' vectors keep the numbers of the checkpoint's own pieces of words, which are
    not the codes of a column of texts.
    """
    found: dict[str, Tensor] = {}
    for name, t in weights.items():
        if LEFT_OUT.search(name):
            continue
        apart = APART.fullmatch(name)
        three = [weights[other] for other in all_three(apart) if other in weights] if apart else []
        if apart is None or len({tuple(part.shape) for part in three}) > 1 or len(three) < 3 or not t.dim():
            found[renamed(name)] = t
        elif apart[2] == "query":
            found[renamed(f"{apart[1]}.project.{apart[3]}")] = torch.cat(three)
    return found


def unusable(weights: Mapping[str, Tensor]) -> str:
    """Why training cannot begin with a checkpoint; empty for weights under this network's own names."""
    if not any("embeddings.word_embeddings." in name for name in weights):
        return ""
    return (
        "holds vectors of pieces of words, and here texts are read in whole words of their own; begin with a run of bert on these "
        "texts, or leave --weights out to pretrain on them"
    )


def all_three(apart: re.Match[str]) -> list[str]:
    return [f"{apart[1]}.self.{part}.{apart[3]}" for part in ("query", "key", "value")]


def renamed(name: str) -> str:
    name = name.removeprefix("bert.")
    for theirs, ours in RENAMED.items():
        name = re.sub(rf"(^|\.){re.escape(theirs)}(?=\.)", rf"\g<1>{ours}", name)
    stem, _, last = name.rpartition(".")
    return f"{stem}.{OLDER.get(last, last)}"


# ---- training --------------------------------------------------------------------------------------------------------


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Stages pretrain and fine-tune; pretrain=false leaves the first out. Raises UserError for data without texts."""
    check_reads("bert", data, "text")
    text, task = data.fields[data.input], labelled(data)
    assert isinstance(text, Text)
    outputs = answers(task)
    net, more = Config(words=max(3, min(Config().words, text.codes)), outputs=outputs), Pretraining()
    how = Training(
        epochs=3, batch_size=32, lr=5e-4, optimizer="muon", momentum=0.95, schedule="warmup-linear", weight_decay=0.01, clip=1.0
    )  # fmt: skip
    if len(data.splits["train"]) < FEW:
        net = replace(net, width=64, layers=2, length=max(MARKS + 2, min(net.length, text.length + MARKS)))
        how, more = replace(how, steps=300, lr=1e-3), replace(more, pretrain_steps=300)
    net, how, more = settle(choices, net, how, more, given=("outputs",))
    if not net.pretrain and "lr" not in choices:
        how = replace(how, lr=2 * how.lr)
    recipe = supervised(data, net, how)
    tune = fine_tuning(data, task, how, recipe.stages[0])
    stages = (pretraining(data, task, net, how, more), tune) if net.pretrain else (tune,)
    return replace(recipe, stages=stages, settings={**recipe.settings, **to_json(more)})


def pretraining(data: Dataset, task: Task, net: Config, how: Training, more: Pretraining) -> Stage:
    """Hidden words and following segments of the training texts; their labels are not looked at."""
    how = replace(how, epochs=more.pretrain_epochs, steps=more.pretrain_steps, lr=more.pretrain_lr)
    begun = stage(
        data, task, how, lambda model: MaskedWords(), name="pretrain", trains=("encoder", "heads"),
    )  # fmt: skip

    def source(model: nn.Module) -> Source:
        return Segments(
            data.splits["train"], task, column=data.input, codes=net.codes, length=net.length, hidden=more.masked,
            batch_size=begun.batch_size, seed=how.seed, device=device_of(model),
        )  # fmt: skip

    return replace(begun, source=source, optimizer=optimizer(how))


def fine_tuning(data: Dataset, task: Task, how: Training, begun: Stage) -> Stage:
    """A stage of supervised training on texts in batches of similar length."""

    def source(model: nn.Module) -> Source:
        return Bucketed(
            data.splits["train"], task, columns={"x": data.input, "y": data.target}, padded=("x",),
            batch_size=begun.batch_size, seed=how.seed, device=device_of(model),
        )  # fmt: skip

    return replace(begun, name="fine-tune", trains=("encoder", "decide"), source=source, optimizer=optimizer(how))


def optimizer(how: Training) -> Callable[[Groups], torch.optim.Optimizer]:
    return optim.optimizer(
        how.optimizer, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay, by_adamw=VECTORS
    )


def tiny() -> tuple[Any, dict[str, Any]]:
    return "opinions", {
        "steps": 30, "batch_size": 32, "lr": 0.01, "pretrain_steps": 6, "width": 16, "heads": 2, "layers": 1, "length": 24,
    }  # fmt: skip


SIZES = (
    (
        Config(words=30_519, outputs=0, pretrain=False, length=512, layers=12, heads=12, width=768, position="learned"),
        109_482_240,
    ),
    (
        Config(
            words=30_519, outputs=0, pretrain=False, length=512, layers=24, heads=16, width=1024, position="learned"
        ),
        335_141_888,
    ),
)
"""The paper's base and large without heads; of its 30,522 pieces three are the marks."""

REFERENCES = (
    {"data": "imdb", "metric": "accuracy", "published": None, "target": 0.87,
     "source": "none for pretraining on these 12,500 reviews alone"},
    {"data": "imdb", "metric": "accuracy", "published": None, "target": 0.84, "choices": {"pretrain": False},
     "source": "none; what pretraining is worth, beside the figure above"},
)  # fmt: skip
