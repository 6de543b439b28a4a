"""GPT (2018): a Transformer that learns a language by predicting each next word.

Of the Transformer's two halves only the one that writes is kept. Each place sees those before it and says what comes next,
so every text is its own teacher, and every place of it a lesson. What is learned in this way, without a label, turned out
to be most of what any task on texts needs.

A. Radford, K. Narasimhan, T. Salimans, I. Sutskever: Improving language understanding by generative pre-training. 2018.

Deviations: (1) the network learns the language and is not fine-tuned for tasks; (2) norms stand before attention and
feed-forward layers, and one more before the head, as in GPT-2 (placement=post is the paper's); (3) rotary positions (Su et
al. 2021; position=learned), no biases (bias=true), normed queries and keys (Henry et al. 2020; qk_norm=false); RMSNorm,
SwiGLU (Shazeer 2020) and shared keys and values (Ainslie et al. 2023) are choices; (4) residual layers begin smaller by the
root of their number, as in GPT-2; (5) no dropout by default, since small texts are read only a few times; (6) Muon (Jordan
2024) for matrices, AdamW for vectors; the paper: Adam; (7) a small network over characters by default.

Shape letters: B rows, T tokens, V vocabulary, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.nn.attention import SelfAttention, check_heads
from shendu.nn.cache import Cache, KeyValues, read_on
from shendu.nn.dropout import Dropout
from shendu.nn.norms import EPSILON, norm
from shendu.nn.positions import BASE, angles
from shendu.nn.precision import lowered
from shendu.recipes import Training, check_reads
from shendu.recipes.language import Tokens, language
from shendu.tasks.language import Language

DEVIATION = 0.02
"""Of the weights at the start."""
VECTORS = ("tokens", "positions", "head")
"""Tables with a row per token or place."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes, and what has been changed since as choices; `vocabulary` follows from the text."""

    vocabulary: int = 65
    context: int = 64
    """Tokens that are seen at once."""
    layers: int = 4
    heads: int = 4
    width: int = 128
    dropout: float = 0.0
    position: Literal["rope", "learned"] = "rope"
    norm: Literal["layer", "rms"] = "layer"
    placement: Literal["pre", "post"] = "pre"
    """Of norms: before each part, or after it."""
    feedforward: Literal["gelu", "swiglu"] = "gelu"
    kv_heads: int = 0
    """Heads that keys and values have, a divisor of `heads`; 0: as many."""
    qk_norm: bool = True
    bias: bool = False
    tied: bool = True
    """Whether the head is the table of the tokens' vectors."""

    def __post_init__(self) -> None:
        for name, like in (("vocabulary", 65), ("context", 64), ("layers", 4)):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")
        check_heads(self.width, self.heads, self.kv_heads or self.heads, self.position)

    def build(self) -> GPT:
        return GPT(self)


class GPT(nn.Module):
    """Tokens' vectors, blocks of attention and feed-forward layers, and the likeliness of each next token."""

    turned: Tensor | None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.context, width = config, config.context, config.width
        self.tokens = nn.Embedding(config.vocabulary, width)
        learned = config.position == "learned"
        self.positions = nn.Embedding(config.context, width) if learned else None
        self.register_buffer(
            "turned", None if learned else angles(config.context, width // config.heads), persistent=False
        )
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = norm(config.norm, width, bias=config.bias) if config.placement == "pre" else nn.Identity()
        self.head = None if config.tied else nn.Linear(width, config.vocabulary, bias=False)
        self.begin()

    def begin(self) -> None:
        """Small random weights, and smaller ones where a block adds to what it was given."""
        for name, p in self.named_parameters():
            if p.dim() > 1:
                adds = name.endswith(("attention.out.weight", "feedforward.down.weight"))
                nn.init.normal_(p, std=DEVIATION / math.sqrt(2 * len(self.blocks)) if adds else DEVIATION)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T] -> logits of each next token [B, T, V]."""
        return self.logits(self.hidden(x))

    def hidden(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x [B, T] -> [B, T, W]; with a cache its places follow those in it."""
        places = cache.places(x.shape[1]) if cache else torch.arange(x.shape[1], device=x.device)
        h = self.tokens(x)
        if self.positions is not None:
            h = h + self.positions.weight[places].view(-1, *h.shape[1:])
        turned = None if self.turned is None else self.turned[:, places]
        h = self.dropout(lowered(h))
        for i, block in enumerate(self.blocks):
            h = block(h, turned, cache.layers[i] if cache else None)
        return self.norm(h)

    def logits(self, h: Tensor) -> Tensor:
        """[..., W] -> [..., V]."""
        return F.linear(h, self.tokens.weight) if self.head is None else self.head(h)

    def step(self, tokens: Tensor, state: Cache | None = None) -> tuple[Tensor, Cache]:
        """Reads on: tokens [B, T] -> logits of what follows the last [B, V], and the cache to go on from."""
        return read_on(self.read, tokens, state, layers=len(self.blocks), context=self.context)

    def read(self, tokens: Tensor, cache: Cache) -> Tensor:
        return self.logits(self.hidden(tokens, cache)[:, -1])


class Block(nn.Module):
    """Attention, then a feed-forward layer; what each says is added to what it was given."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.pre = config.width, config.placement == "pre"
        self.norm1, self.norm2 = (norm(config.norm, width, bias=config.bias) for _ in range(2))
        self.attention = SelfAttention(
            width,
            config.heads,
            kv_heads=config.kv_heads,
            bias=config.bias,
            qk_norm=config.qk_norm,
            dropout=config.dropout,
        )
        self.feedforward = FeedForward(width, gated=config.feedforward == "swiglu", bias=config.bias)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, turned: Tensor | None = None, memory: KeyValues | None = None) -> Tensor:
        """x [B, T, W] -> [B, T, W]."""
        if self.pre:
            x = x + self.dropout(self.attention(self.norm1(x), turned, memory))
            return x + self.dropout(self.feedforward(self.norm2(x)))
        x = self.norm1(x + self.dropout(self.attention(x, turned, memory)))
        return self.norm2(x + self.dropout(self.feedforward(x)))


class FeedForward(nn.Module):
    """Each place by itself: four times as wide, GELU, and back; gated, SiLU of one half times the other, of equal size."""

    def __init__(self, width: int, *, gated: bool, bias: bool) -> None:
        super().__init__()
        self.gated, inner = gated, -(-8 * width // 3) if gated else 4 * width
        self.up = nn.Linear(width, inner * (1 + gated), bias=bias)
        self.down = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] -> [B, T, W]."""
        h = self.up(x)
        if self.gated:
            gate, value = h.chunk(2, -1)
            return self.down(F.silu(gate) * value)
        return self.down(F.gelu(h))


KNOWN_TO_GGML = {
    "position": "rope", "norm": "rms", "placement": "pre", "feedforward": "swiglu", "qk_norm": True, "bias": False,
}  # fmt: skip
"""The choices that make a network which ggml knows, as Qwen3's."""


def ggml(model: GPT) -> tuple[str, dict[str, int | float], dict[str, Tensor]]:
    """What ggml calls this architecture, its sizes and its weights; raises UserError for choices that it does not know."""
    lacks = [
        f"{name}={str(value).lower()}" for name, value in KNOWN_TO_GGML.items() if getattr(model.config, name) != value
    ]
    if lacks:
        raise UserError(
            f"GGUF knows this network with other choices alone; train it with --set {' --set '.join(lacks)}"
        )
    config = model.config
    first: Any = model.blocks[0]
    sizes: dict[str, Any] = {
        "context_length": model.context, "embedding_length": config.width, "block_count": config.layers,
        "feed_forward_length": first.feedforward.down.in_features, "attention.head_count": first.attention.heads,
        "attention.head_count_kv": first.attention.kv_heads, "attention.key_length": first.attention.size,
        "attention.value_length": first.attention.size, "attention.layer_norm_rms_epsilon": EPSILON, "rope.freq_base": BASE,
    }  # fmt: skip
    last: Any = model.norm
    found: dict[str, Tensor] = {"token_embd.weight": model.tokens.weight, "output_norm.weight": last.weight}
    if model.head is not None:
        found["output.weight"] = model.head.weight
    block: Any
    for i, block in enumerate(model.blocks):
        attention, forward = block.attention, block.feedforward
        shares = [n * attention.size for n in (attention.heads, attention.kv_heads, attention.kv_heads)]
        q, k, v = attention.project.weight.split(shares)
        gate, up = forward.up.weight.chunk(2)
        parts = {
            "attn_norm": block.norm1.weight, "attn_q": q, "attn_k": k, "attn_v": v, "attn_q_norm": attention.norms[0].weight,
            "attn_k_norm": attention.norms[1].weight, "attn_output": attention.out.weight, "ffn_norm": block.norm2.weight,
            "ffn_gate": gate, "ffn_up": up, "ffn_down": forward.down.weight,
        }  # fmt: skip
        found |= {f"blk.{i}.{name}.weight": t for name, t in parts.items()}
    return "qwen3", sizes, found


def training(net: Config) -> Training:
    """A few minutes for a small network, a few thousand batches for a large one."""
    how = Training(
        steps=1500, batch_size=32, lr=6e-3, optimizer="muon", momentum=0.95, schedule="warmup-linear", weight_decay=0.1,
        clip=1.0, validations=5,
    )  # fmt: skip
    if net.width >= 256:
        return replace(how, steps=1300, lr=3e-3)
    return how


CAN = ("step",)
"""On running text it writes on."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """A small network over characters, by Muon at a rate that rises for a tenth of the steps and falls to 0."""
    check_reads("gpt", data, "prose")
    net, _, reads = settle(choices, Config(), Training(), Tokens(), given=("vocabulary",))
    usual = training(net) if choices.keys().isdisjoint({"epochs"}) else replace(training(net), steps=0)
    net, how, reads = settle(choices, net, usual, reads)
    task = Language.of(data, reads.tokenizer, net.context)
    return language(data, replace(net, vocabulary=task.vocabulary), how, task, by_adamw=VECTORS)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "counting", {"steps": 40, "batch_size": 8, "layers": 2, "heads": 2, "width": 32, "context": 16}


SIZES = (
    (
        Config(
            vocabulary=40_478, context=512, layers=12, heads=12, width=768, position="learned", placement="post", bias=True,
            qk_norm=False,
        ),
        116_534_784,
    ),
)  # fmt: skip

SUITS = {"prose": "running text is learned by predicting each next character from those before it"}

REFERENCES = (
    {"data": "tinyshakespeare", "metric": "loss", "published": 1.88, "target": 1.75,
     "source": "Karpathy, nanoGPT: its configuration for a processor, 4 layers of width 128, 64 characters"},
    {"data": "tinyshakespeare", "metric": "loss", "published": 1.4697, "target": 1.52,
     "source": "Karpathy, nanoGPT: its configuration for a GPU, 6 layers of width 384, 256 characters",
     "choices": {"layers": 6, "heads": 6, "width": 384, "context": 256, "dropout": 0.2}},
)  # fmt: skip
