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
from dataclasses import dataclass, replace
from typing import Any, cast

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
    """Multi-head attention: softmax(q kᵀ / √(D / H)) v of each head, the heads put together (section 3.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """What x [B, Q, D] finds in memory [B, S, D] where mask (broadcast to [B, H, Q, S]) is true: [B, Q, D]."""
        return self.attend(x, *self.remember(memory), mask)

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of memory [B, S, D], each [B, H, S, D / H]."""
        return self.split(self.key(memory)), self.split(self.value(memory))

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        found = self.weights(x, keys, mask) @ values
        return self.out(found.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """How much each query looks at each key, [B, H, Q, S]; 1 in sum over S."""
        scores = self.split(self.query(x)) @ keys.mT / math.sqrt(keys.shape[-1])
        return scores.masked_fill(~mask, -torch.inf).softmax(-1)

    def split(self, x: Tensor) -> Tensor:
        """[B, Q, D] -> [B, H, Q, D / H]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


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
        x = self.norms[0](x + self.drop(self.attention(x, x, mask)))
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
        return self.rest(self.own(y, *self.before.remember(y), causal), *self.source.remember(memory), mask)

    def own(self, y: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        return self.norms[0](y + self.drop(self.before.attend(y, keys, values, mask)))

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
                nn.init.xavier_uniform_(p)
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
        return self.drop(h + positions(first, codes.shape[1], h))

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
        asked = last.own(h, *last.before.remember(h), causal)
        return last.source.weights(asked, last.source.remember(memory)[0], mask).mean(1)

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
        all_seen, grown = torch.ones(1, dtype=torch.bool, device=tokens.device), {}
        for i, layer in enumerate(self.layers):
            known = []
            for what, new in zip(("keys", "values"), layer.before.remember(h), strict=True):
                grown[f"{what}{i}"] = torch.cat([moving[f"{what}{i}"], new.unflatten(0, (rows, width))], 3)
                known.append(grown[f"{what}{i}"].flatten(0, 1))
            h = layer.own(h, known[0], known[1], all_seen)
            h = layer.rest(h.view(rows, width, -1), fixed[f"keys{i}"], fixed[f"values{i}"], fixed["mask"])
            h = h.view(rows * width, 1, -1)
        return self.logits(h.view(rows, width, -1)).log_softmax(-1), grown


def positions(first: int, length: int, like: Tensor) -> Tensor:
    """sin(p / 10000^(2i / D)) at 2i, cos at 2i + 1, for positions p from `first` on: [length, D] (section 3.5)."""
    width = like.shape[-1]
    at = torch.arange(first, first + length, device=like.device, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000) / width))
    return torch.stack([(at * rates).sin(), (at * rates).cos()], 2).flatten(1).to(like.dtype)


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Label smoothing and warm-up as in the paper; small batches and many passes for few sentence pairs."""
    check_reads("transformer", data, "Sentence")
    how = Training(
        epochs=16, batch_size=128, lr=1e-3, optimizer="adam", schedule="warmup-linear", label_smoothing=0.1, clip=1.0,
        validations=8,
    )  # fmt: skip
    net, how, wording = settle(choices, Config(), how, Wording(), given=("codes",))
    processor = Translation.of(data, wording)
    return translation(data, replace(net, codes=processor.codes), how, processor)


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

REFERENCES = (
    {"data": "multi30k-de-en", "metric": "bleu", "published": None, "target": 36.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
    {"data": "multi30k-en-de", "metric": "bleu", "published": None, "target": 34.0,
     "source": "none for lower-cased BLEU by sacrebleu"},
)  # fmt: skip
