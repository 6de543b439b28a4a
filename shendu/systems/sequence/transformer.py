"""Transformer (2017): translation by attention alone, no recurrence.

Every position looks at every other one in a single step: it asks with a query, is answered by the keys that match, and takes
the mean of their values. Several heads do so side by side, sinusoids say where each word stands, and all positions of a
sentence are learned at once, where a recurrent network has to wait for one word after the other.

A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. Gomez, L. Kaiser, I. Polosukhin: Attention Is All You Need.
NeurIPS, 2017.

Deviations: (1) a network for some 30,000 sentence pairs: width 256, 3 + 3 layers, 4 heads, 512 hidden units, dropout 0.2
(`width=512 layers=6 heads=8 inner=2048 dropout=0.1` is the paper's base); (2) byte-level BPE of lower-cased text; (3) the
rate falls linearly to 0, which lets few steps settle, and the last weights are kept (`schedule=inverse-sqrt` is the paper's,
which averages its last checkpoints; `ema=0.999` averages too); (4) finished hypotheses of the beam compete with the others
for its places.

Shape letters: B rows, S source codes, T target codes, Q queries, D width, H heads, K hypotheses, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.nn import beam as beams
from shendu.nn.dropout import Dropout
from shendu.nn.precision import exact, lowered
from shendu.recipes import Training, check_reads
from shendu.recipes.translation import translation
from shendu.tasks.translate import BEGIN, END, PADDING, Translate, Wording

MORE = 50
"""Codes by which a translation may be longer than its source."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the network; encoder and decoder have as many layers."""

    codes: int = 6000
    width: int = 256
    heads: int = 4
    layers: int = 3
    inner: int = 512
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.width, self.heads, self.layers, self.inner) < 1 or self.width % (2 * self.heads):
            raise UserError(
                f"width={self.width} cannot be divided into {self.heads} heads of an even width; write it like width=256 heads=4"
            )

    def build(self) -> Transformer:
        return Transformer(self)


class Attention(nn.Module):
    """Multi-head attention: `weights` times the values of each head, the heads put together (section 3.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.project, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        """Rows of the first give queries, keys and values, in this order."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """What each place of x [B, T, D] finds in x where mask [B, 1, 1, T] or [T, T] is true: [B, T, D]."""
        queries, keys, values = self.split(self.project(x), 3)
        return self.joined(weights(queries, keys, mask) @ values)

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """What x [B, Q, D] finds among keys and values [B, H, S, D / H], all or where mask is true: [B, Q, D]."""
        return self.joined(weights(self.ask(x), keys, mask) @ values)

    def ask(self, x: Tensor) -> Tensor:
        """Queries [B, H, Q, D / H] of x [B, Q, D]."""
        return self.split(F.linear(x, self.project.weight[: self.width]), 1)[0]

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of memory [B, S, D], each [B, H, S, D / H]."""
        keys, values = self.split(F.linear(memory, self.project.weight[self.width :]), 2)
        return keys, values

    def split(self, x: Tensor, parts: int) -> Sequence[Tensor]:
        """[B, T, parts · D] -> `parts` times [B, H, T, D / H]."""
        return x.unflatten(2, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def joined(self, found: Tensor) -> Tensor:
        """[B, H, Q, D / H] -> [B, Q, D]."""
        return self.out(found.transpose(1, 2).flatten(2))


def weights(queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √(D / H)): how much each query looks at each key [B, H, Q, S]; 0 where mask is false, 1 in sum over S.

    torch's fused kernel takes three times as long for places as few as a sentence's, in half precision on a processor.
    """
    q, k, scale = queries.flatten(0, 1), keys.flatten(0, 1).mT, keys.shape[-1] ** -0.5
    if mask is None:
        scores = (q * scale) @ k
    else:
        hidden = q.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
        hidden = hidden.expand(-1, keys.shape[1], -1, -1).flatten(0, 1) if mask.dim() == 4 else hidden
        scores = torch.baddbmm(hidden, q, k, alpha=scale)
    return scores.softmax(-1, dtype=exact(scores.dtype)).to(scores.dtype).unflatten(0, keys.shape[:2])


class EncoderLayer(nn.Module):
    """Self-attention, then two fully connected layers at each position; both added to what came in, then normalised."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.attention = Attention(width, config.heads)
        self.feed = nn.Sequential(nn.Linear(width, config.inner), nn.ReLU(), nn.Linear(config.inner, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norms[0](x + self.drop(self.attention(x, mask)))
        return self.norms[1](x + self.drop(self.feed(x)))


class DecoderLayer(nn.Module):
    """Self-attention to what stands before, attention to the source, two fully connected layers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.before, self.source = Attention(width, config.heads), Attention(width, config.heads)
        self.feed = nn.Sequential(nn.Linear(width, config.inner), nn.ReLU(), nn.Linear(config.inner, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = Dropout(config.dropout)

    def forward(self, y: Tensor, memory: Tensor, causal: Tensor, mask: Tensor) -> Tensor:
        return self.rest(self.own(y, causal), *self.source.remember(memory), mask)

    def own(self, y: Tensor, causal: Tensor) -> Tensor:
        return self.norms[0](y + self.drop(self.before(y, causal)))

    def later(self, y: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The same of places y that come after all of which keys and values [B, H, S, D / H] are remembered."""
        return self.norms[0](y + self.drop(self.before.attend(y, keys, values)))

    def rest(self, y: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        y = self.norms[1](y + self.drop(self.source.attend(y, keys, values, mask)))
        return self.norms[2](y + self.drop(self.feed(y)))


class Transformer(nn.Module):
    """Encoder and decoder; one matrix embeds source and target and gives the logits (section 3.4)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.codes, config.width)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.drop = Dropout(config.dropout)
        for name, p in self.named_parameters():
            if p.dim() > 1 and not name.startswith("embedding"):
                for part in p.detach().split(config.width) if name.endswith("project.weight") else [p]:
                    nn.init.xavier_uniform_(part)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)

    @property
    def layers(self) -> list[DecoderLayer]:
        """The decoder's."""
        return cast("list[DecoderLayer]", list(self.decoder))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Source codes x [B, S] and the codes before each target code y [B, T] -> logits [B, T, V]."""
        memory, mask = self.encode(x)
        h, causal = self.embed(y), self.causal(y)
        for layer in self.layers:
            h = layer(h, memory, causal, mask)
        return self.logits(h)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, S] -> (what the source says [B, S, D], where it says anything [B, 1, 1, S])."""
        h, mask = self.embed(x), (x != PADDING)[:, None, None]
        for layer in self.encoder:
            h = layer(h, mask)
        return h, mask

    def embed(self, codes: Tensor, first: int = 0) -> Tensor:
        """Embeddings plus positions, the first of which is number `first`: [B, T, D]."""
        h = self.embedding(codes) * math.sqrt(self.embedding.embedding_dim)
        return self.drop(lowered(h + positions(first, codes.shape[1], h)))

    def logits(self, h: Tensor) -> Tensor:
        return F.linear(h, self.embedding.weight)

    @staticmethod
    def causal(y: Tensor) -> Tensor:
        """Each position sees itself and those before it, [T, T]."""
        return torch.ones(y.shape[1], y.shape[1], dtype=torch.bool, device=y.device).tril()

    def alignment(self, x: Tensor, y: Tensor) -> Tensor:
        """What the decoder's last layer looks at in x [B, S] when it writes y [B, T], the mean over heads: [B, T, S]."""
        before = F.pad(y[:, :-1], (1, 0), value=BEGIN)
        memory, mask = self.encode(x)
        h, causal = self.embed(before), self.causal(before)
        *layers, last = self.layers
        for layer in layers:
            h = layer(h, memory, causal, mask)
        asked = last.source.ask(last.own(h, causal))
        return weights(asked, last.source.remember(memory)[0], mask).mean(1)

    def translate(self, x: Tensor, *, longest: int, beam: int, penalty: float) -> Tensor:
        """x [B, S] -> int64 [B, ≤ longest] by beam search, at most MORE codes longer than the source."""
        memory, mask = self.encode(x)
        fixed = {"mask": mask}
        for i, layer in enumerate(self.layers):
            fixed[f"keys{i}"], fixed[f"values{i}"] = layer.source.remember(memory)
        nothing = fixed["keys0"][:, None, :, :0]
        moving = {f"{what}{i}": nothing for what in ("keys", "values") for i in range(len(self.layers))}
        limits = ((x != PADDING).sum(1) + MORE).clamp(max=longest)
        return beams.search(
            self.step, fixed, moving, limits, width=beam, penalty=penalty, begin=BEGIN, end=END, padding=PADDING
        )

    def step(self, tokens: Tensor, fixed: beams.State, moving: beams.State) -> tuple[Tensor, beams.State]:
        """The next code after tokens [B, K], from the keys and values of all before it: log-probabilities [B, K, V]."""
        rows, width = tokens.shape
        h = self.embed(tokens.reshape(-1, 1), first=moving["keys0"].shape[3])
        grown = {}
        for i, layer in enumerate(self.layers):
            known = []
            for what, new in zip(("keys", "values"), layer.before.remember(h), strict=True):
                grown[f"{what}{i}"] = torch.cat([moving[f"{what}{i}"], new.unflatten(0, (rows, width))], 3)
                known.append(grown[f"{what}{i}"].flatten(0, 1))
            h = layer.later(h, known[0], known[1])
            h = layer.rest(h.view(rows, width, -1), fixed[f"keys{i}"], fixed[f"values{i}"], fixed["mask"])
            h = h.view(rows * width, 1, -1)
        return self.logits(h.view(rows, width, -1)).float().log_softmax(-1), grown


def positions(first: int, length: int, like: Tensor) -> Tensor:
    """sin(p / 10000^(2i / D)) at 2i, cos at 2i + 1, for positions p from `first` on: [length, D] (section 3.5)."""
    width = like.shape[-1]
    at = torch.arange(first, first + length, device=like.device, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000) / width))
    return torch.stack([(at * rates).sin(), (at * rates).cos()], 2).flatten(1).to(like.dtype)


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Label smoothing and warm-up as in the paper; small batches and many passes for few sentence pairs."""
    check_reads("transformer", data, "sentence")
    how = Training(
        epochs=16, batch_size=128, lr=1e-3, optimizer="adam", schedule="warmup-linear", label_smoothing=0.1, clip=1.0,
        validations=8,
    )  # fmt: skip
    net, how, wording = settle(choices, Config(), how, Wording(), given=("codes",))
    task = Translate.of(data, wording)
    return translation(data, replace(net, codes=task.codes), how, task)


def tiny() -> tuple[Any, dict[str, Any]]:
    small = {
        "width": 32,
        "heads": 2,
        "layers": 1,
        "inner": 64,
        "dropout": 0.1,
        "lr": 5e-3,
        "vocabulary": 280,
        "longest": 16,
    }
    return "reversal", {"steps": 30, "batch_size": 32, "beam": 2, "validations": 2, **small}


SIZES = (
    (Config(codes=37_000, width=512, heads=8, layers=6, inner=2048, dropout=0.1), 63_045_632),
    (Config(codes=37_000, width=1024, heads=16, layers=6, inner=4096, dropout=0.3), 214_171_648),
)
"""The paper's base and big, which its table 3 gives as 65 and 213 million, with its vocabulary of about 37,000."""

SUITS = {"sentence": "translations are learned by attention between the words of both sentences"}

REFERENCES = (
    {"data": "multi30k-de-en", "metric": "bleu", "published": None, "target": 36.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
    {"data": "multi30k-en-de", "metric": "bleu", "published": None, "target": 34.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
)  # fmt: skip
