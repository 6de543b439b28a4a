"""GPT-2 (2019): a language model large enough to do tasks that it was never taught.

The same network as GPT's with ten times the parameters, on forty times the text. Norms move to the beginning of each block,
so that what is added runs from the first layer to the last untouched, and depth stops hurting. Text is read in pieces of
bytes, so that nothing that can be written is unknown. Asked in the right words, it translates, sums up and answers: what a
task is turned out to be something that a text can say.

A. Radford, J. Wu, R. Child, D. Luan, D. Amodei, I. Sutskever: Language models are unsupervised multitask learners. 2019.

Deviations: (1) AdamW, of which the paper says nothing; (2) on a person's own text, without published weights, a small network
and pieces that are learned from this text.

Shape letters: B rows, T tokens, V vocabulary, W width.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shendu import untrusted
from shendu.config import convert, settle
from shendu.core import Recipe
from shendu.data import tokens
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.nn.attention import SelfAttention, check_heads
from shendu.nn.cache import Cache, KeyValues, read_on
from shendu.nn.dropout import Dropout
from shendu.nn.outline import bound, misfit, outline, shapes_of
from shendu.nn.precision import lowered
from shendu.recipes import Training, check_reads
from shendu.recipes.language import Tokens, language
from shendu.tasks.language import Language

DEVIATION = 0.02
"""Of the weights at the start."""
PIECES = "bpe:1000"
"""How a person's text is cut where no published tokenizer is named."""
CONFIG = {
    "vocabulary": "vocab_size",
    "context": "n_positions",
    "layers": "n_layer",
    "heads": "n_head",
    "width": "n_embd",
}
"""What a checkpoint's config.json calls the sizes."""
FIXED = {
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
}  # fmt: skip
"""What it may say beside them that this network does: other values have the same weights and mean other logits."""
RENAMED = {
    "wte": "tokens", "wpe": "positions", "h": "blocks", "ln_f": "norm", "ln_1": "norm1", "ln_2": "norm2",
    "attn.c_attn": "attention.project", "attn.c_proj": "attention.out", "mlp.c_fc": "up", "mlp.c_proj": "down",
}  # fmt: skip
"""What a checkpoint calls its parts."""


GGML = {
    "tokens": "token_embd", "positions": "position_embd", "blocks": "blk", "norm": "output_norm", "norm1": "attn_norm",
    "norm2": "ffn_norm", "attention.project": "attn_qkv", "attention.out": "attn_output", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip
"""What ggml calls its parts."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The smallest of the four by default; `vocabulary` follows from the text's tokenizer."""

    vocabulary: int = 50_257
    context: int = 1024
    layers: int = 12
    heads: int = 12
    width: int = 768
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, like in (("vocabulary", 50_257), ("context", 1024), ("layers", 12)):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")
        check_heads(self.width, self.heads, self.heads)

    def build(self) -> GPT2:
        return GPT2(self)


class GPT2(nn.Module):
    """Vectors of tokens and places, blocks, a norm; the tokens' vectors are the head too."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.context = config.context
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.begin()

    def begin(self) -> None:
        """Small random weights; those of layers that add to what came before are smaller by the root of how many there are."""
        for name, p in self.named_parameters():
            if p.dim() > 1:
                adds = name.endswith(("attention.out.weight", "down.weight"))
                nn.init.normal_(p, std=DEVIATION / math.sqrt(2 * len(self.blocks)) if adds else DEVIATION)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T] -> logits of each next token [B, T, V]."""
        return F.linear(self.hidden(x), self.tokens.weight)

    def hidden(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """x [B, T] -> [B, T, W]; with a cache its places follow those in it."""
        places, h = cache.places(x.shape[1]) if cache else slice(0, x.shape[1]), self.tokens(x)
        h = self.dropout(lowered(h + self.positions.weight[places].view(-1, *h.shape[1:])))
        for i, block in enumerate(self.blocks):
            h = block(h, cache.layers[i] if cache else None)
        return self.norm(h)

    def step(self, tokens: Tensor, state: Cache | None = None) -> tuple[Tensor, Cache]:
        """Reads on: tokens [B, T] -> logits of what follows the last [B, V], and the cache to go on from."""
        return read_on(self.read, tokens, state, layers=len(self.blocks), context=self.context)

    def read(self, tokens: Tensor, cache: Cache) -> Tensor:
        return F.linear(self.hidden(tokens, cache)[:, -1], self.tokens.weight)


class Block(nn.Module):
    """Normed, then attention, added; normed, then four times as wide and back, added."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, config.heads, dropout=config.dropout)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, memory: KeyValues | None = None) -> Tensor:
        """x [B, T, W] -> [B, T, W]."""
        x = x + self.dropout(self.attention(self.norm1(x), memory=memory))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))


# ---- published weights -----------------------------------------------------------------------------------------------


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names and shapes of Hugging Face's GPT2LMHeadModel -> this network's; its matrices are stored the other way round.

    A head of its own keeps its name, so that it is seen to be none of this network.
    """
    found, vectors = {}, weights.get("transformer.wte.weight", weights.get("wte.weight"))
    for name, t in weights.items():
        name = name.removeprefix("transformer.")
        again = name == "lm_head.weight" and vectors is not None and torch.equal(t, vectors)
        if again or re.search(r"(^|\.)attn\.(masked_)?bias$", name):
            continue  # the tokens' vectors once more; the mask, which is no weight
        matrix = re.search(r"\.c_\w+\.weight$", name) is not None
        found[renamed(name)] = t.T.contiguous() if matrix else t
    return found


def renamed(name: str) -> str:
    for theirs, ours in RENAMED.items():
        name = re.sub(rf"(^|\.){re.escape(theirs)}(?=\.)", rf"\g<1>{ours}", name)
    return name


def settings_of(weights: Path) -> dict[str, Any]:
    """What must be set to go on from a checkpoint's weights: its folder's tokenizer, whose sizes come with it."""
    folder = weights.parent
    there = untrusted.lenient(folder / "config.json", dict[str, Any], {}).get("model_type") == "gpt2"
    known = any((folder / name).is_file() for name in ("tokenizer.json", "merges.txt"))
    return {"tokenizer": str(folder)} if there and known else {}


def config_of(folder: Path) -> Config:
    """The network of a checkpoint's folder; raises UserError where its config.json is none of GPT-2."""
    path = folder / "config.json"
    try:
        said = untrusted.read(path, dict[str, Any])
        sizes = {ours: convert(ours, said[theirs], int) for ours, theirs in CONFIG.items()}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path} describes no GPT-2 ({type(error).__name__}: {error}); name a folder that does"
        ) from None
    for name, wanted in FIXED.items():
        if (value := said.get(name, wanted)) != wanted:
            raise UserError(
                f"{path} describes a variant of GPT-2 that is not known here: {name}={json.dumps(value)}; name a folder with "
                f"{name}={json.dumps(wanted)}"
            )
    return Config(**sizes)


def from_folder(folder: str | Path) -> tuple[GPT2, Language]:
    """The network with its weights, in eval mode, and its tokenizer, of a checkpoint's folder: config.json, model.safetensors,
    and tokenizer.json or vocab.json with merges.txt. Raises UserError where one is missing or they do not fit each other.
    """
    where = Path(folder)
    net, file = config_of(where), where / "model.safetensors"
    try:
        most = bound(shapes_of(file).values())
        weights = published(load_file(file))
        if wrong := misfit(weights, outline(net, most)):
            raise ValueError(wrong)
        model = net.build()
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{file} does not fit config.json ({' '.join(str(error).split())[:200]}); fetch both again"
        ) from None
    tokenizer = tokens.BPE.from_folder(where)
    if tokenizer.size != net.vocabulary:
        raise UserError(f"{where} has a tokenizer of {tokenizer.size:,} tokens and a network of {net.vocabulary:,}")
    return model.eval(), Language.with_tokenizer(tokenizer, net.context)


def ggml(model: GPT2) -> tuple[str, dict[str, int | float], dict[str, Tensor]]:
    """What ggml calls this architecture, its sizes and its weights."""
    first: Any = model.blocks[0]
    heads, width = first.attention.heads, model.tokens.embedding_dim
    sizes: dict[str, Any] = {
        "context_length": model.context, "embedding_length": width, "feed_forward_length": 4 * width,
        "block_count": len(model.blocks), "attention.head_count": heads, "attention.layer_norm_epsilon": model.norm.eps,
    }  # fmt: skip
    named: dict[str, Tensor] = {}
    for name, t in model.state_dict().items():
        for ours, theirs in GGML.items():
            name = re.sub(rf"(^|\.){re.escape(ours)}(?=\.)", rf"\g<1>{theirs}", name)
        named[name] = t
    return "gpt2", sizes, named


# ---- training --------------------------------------------------------------------------------------------------------


CAN = ("step",)
"""On running text it writes on."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """A small network over pieces of the text; with a published tokenizer (tokenizer=FOLDER) the network of that folder."""
    check_reads("gpt2", data, "prose")
    reads = settle(choices, Config(), Training(), Tokens(tokenizer=PIECES), given=("vocabulary",))[2]
    if Path(reads.tokenizer).is_dir():
        net, how = config_of(Path(reads.tokenizer)), Training(epochs=1, batch_size=4, lr=3e-5)
    else:
        net = Config(context=128, layers=4, heads=4, width=128, dropout=0.0)
        how = Training(steps=1500, batch_size=16, lr=2e-3)
    how = replace(how, schedule="warmup-linear", weight_decay=0.1, clip=1.0, validations=5)
    if "epochs" in choices:
        how = replace(how, steps=0)
    net, how, reads = settle(choices, net, how, reads)
    task = Language.of(data, reads.tokenizer, net.context)
    return language(data, replace(net, vocabulary=task.vocabulary), how, task)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "counting", {
        "steps": 40, "batch_size": 8, "layers": 2, "heads": 2, "width": 32, "context": 16, "tokenizer": "characters", "lr": 0.005,
    }  # fmt: skip


SIZES = (
    (Config(), 124_439_808),
    (Config(layers=24, heads=16, width=1024), 354_823_168),
    (Config(layers=36, heads=20, width=1280), 774_030_080),
    (Config(layers=48, heads=25, width=1600), 1_557_611_200),
)

REFERENCES = (
    {"data": "tinyshakespeare", "metric": "bits-per-character", "published": None, "target": 2.5, "source": ""},
)  # fmt: skip
