"""The language processor: text <-> windows of tokens, of which a model predicts each from those before it.

Shape letters: B rows (windows), T tokens of a window, V vocabulary, N tokens of a text.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.core import MASKED, Batch, Json
from shendu.data import pieces, tokens
from shendu.data.dataset import Dataset
from shendu.data.fields.prose import Prose
from shendu.data.tokens import UNKNOWN, Characters, Tokenizer
from shendu.errors import UserError

LOGITS_AT_ONCE, TOKENS_AT_ONCE = 1 << 24, 1 << 14
"""So many logits, and tokens, are computed in one piece where figures are measured."""
STRANGE = 0.05
"""A text of which more than this share of characters was never seen is not the language that was learned."""


class Language:
    """Windows of `context` tokens `x` [B, T] and what follows each of them, `y` [B, T]; the model gives logits [B, T, V]."""

    labels: ClassVar[tuple[str, ...]] = ()
    input: ClassVar[Prose] = Prose()
    target: ClassVar[Prose] = Prose()

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        if context < 1:
            raise UserError(f"context={context} is no number of tokens; write it like context=64")
        self.tokenizer, self.context = tokenizer, context
        self._read: list[tuple[np.ndarray, Tensor]] = []

    @classmethod
    def of(cls, data: Dataset, tokenizer: str, context: int) -> Language:
        """For running text, with a tokenizer by name (see `shendu.data.tokens.tokenizer`) of its training part."""
        train = data.splits["train"].column(data.input).tobytes().decode("utf-8", "replace")
        return cls(tokens.tokenizer(tokenizer, train), context)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input row as the model takes it."""
        return (self.context,)

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.size

    @property
    def unwritten(self) -> tuple[int, ...]:
        """Tokens that stand for no text."""
        return (UNKNOWN,) if isinstance(self.tokenizer, Characters) else ()

    @cached_property
    def characters(self) -> Tensor:
        """int64 [V]: how many characters each token begins, so that a text's tokens add up to its characters."""
        return torch.tensor([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.tokenizer.pieces])

    # ---- text -> tokens

    def tokens(self, text: str | bytes | np.ndarray) -> Tensor:
        """int32 [N] of a text or its bytes; raises UserError for a text in other letters than those that were learned."""
        if isinstance(text, np.ndarray):
            return self._remembered(text)
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        found = self.tokenizer.encode(text)
        strange = self.strange(found)
        if strange > STRANGE * len(found):
            raise UserError(
                f"{strange / len(found):.0%} of the text's characters are none that the model has learned, such as "
                f"{text[int((found == UNKNOWN).argmax())]!r}; give text in the letters of its training text"
            )
        return torch.from_numpy(found)

    def _remembered(self, column: np.ndarray) -> Tensor:
        """The tokens of a part of a data set, which several ask for: read once."""
        for known, found in self._read:
            if known is column:
                return found
        self._read = [*self._read[-2:], (column, self.tokens(column.tobytes()))]
        return self._read[-1][1]

    def doubt(self, rows: Any) -> str:
        """Nothing: a text in strange letters is refused (see `tokens`)."""
        return ""

    def strange(self, found: np.ndarray) -> int:
        """How many of a text's tokens are characters that the training text does not have."""
        return int((found == UNKNOWN).sum()) if isinstance(self.tokenizer, Characters) else 0

    def prompt(self, text: str) -> Tensor:
        """int64 [N] to go on from, a new line where the text is empty; raises UserError for a character that is unknown, and
        for bytes that a shell handed on and that are none of UTF-8."""
        if not text:
            found = self.tokenizer.encode("\n")
            return torch.from_numpy(found[:1] if not self.strange(found) else found[:1] + 1).long()
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(
                f"the prompt is not UTF-8 after its first {error.start:,} characters; type it anew"
            ) from None
        found = self.tokenizer.encode(text)
        if self.strange(found):
            letters = sorted({text[i] for i in np.flatnonzero(found == UNKNOWN)})
            shown = ", ".join(map(repr, letters[:5])) + (", …" if len(letters) > 5 else "")
            raise UserError(f"the prompt has {shown}, which the training text does not have; leave them out")
        return torch.from_numpy(found).long()

    def encode(self, raw: Any) -> Batch:
        """A text (str, bytes, a Path), or a list of them -> windows, one text after the other; raises UserError."""
        texts = raw if isinstance(raw, list | tuple) else [raw]
        if not texts:
            raise UserError("nothing to read: give at least one text")
        windows = [self.windows(text) for text in texts]
        longest = max(x.shape[1] for x, _ in windows)
        x, y = (torch.cat([F.pad(pair[i], (0, longest - pair[i].shape[1]), value=(0, MASKED)[i]) for pair in windows])
                for i in (0, 1))  # fmt: skip
        return {"x": x, "y": y}

    def windows(self, text: Any) -> tuple[Tensor, Tensor]:
        """x and y [B, T] of one text: each of its tokens but the first is predicted once."""
        found = self.tokens(self._stored(text))
        length = fitting(len(found), self.context)
        return windows_at(found, torch.arange(0, len(found) - 1, length), length)

    def _stored(self, text: Any) -> np.ndarray:
        if not isinstance(text, Path):
            return self.input.parse(text)[""]
        (piece,) = pieces([text], {"x": self.input})
        return piece.stored["x"]

    # ---- tokens -> text

    def text(self, found: Tensor) -> str:
        """The text of tokens [N]; a character of which a part is missing is �."""
        pieces = self.tokenizer.pieces
        return b"".join(pieces[token] for token in found.tolist()).decode("utf-8", "replace")

    # ---- the model's figures

    def call(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean nats per token of each row [B]."""
        counted = (batch["y"] != MASKED).sum(1)
        return self.surprise(model, batch).sum(1) / counted.clamp(min=1)

    def surprise(self, model: nn.Module, batch: Batch) -> Tensor:
        """Nats of each token [B, T], 0 where none is counted; computed in pieces, since logits of a large vocabulary are large."""
        x, y = batch["x"], batch["y"]
        rows = max(1, min(LOGITS_AT_ONCE // (x.shape[1] * self.vocabulary), TOKENS_AT_ONCE // x.shape[1]))
        return torch.cat([nats(model(some), after) for some, after in zip(x.split(rows), y.split(rows), strict=True)])

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def columns(self, outputs: Tensor) -> dict[str, np.ndarray]:
        """The figures of rows [B] as columns of a table."""
        figures = outputs.double().numpy()
        return {"nats": figures, "perplexity": np.exp(figures)}

    def decode(self, outputs: Tensor) -> Json:
        """Per row `nats` per token and `perplexity`."""
        return [{"nats": value, "perplexity": math.exp(min(value, 700.0))} for value in outputs.cpu().tolist()]

    def example(self, n: int) -> Batch:
        """n windows of tokens, drawn under a fixed seed."""
        generator = torch.Generator().manual_seed(n)
        drawn = torch.randint(self.vocabulary, (n, self.context + 1), generator=generator)
        return {"x": drawn[:, :-1].contiguous(), "y": drawn[:, 1:].contiguous()}

    def to_json(self) -> Json:
        return {"kind": "language", "tokenizer": self.tokenizer.to_json(), "context": self.context}

    @classmethod
    def from_json(cls, values: Json) -> Language:
        return cls(tokens.from_json(values["tokenizer"]), int(values["context"]))


def nats(logits: Tensor, y: Tensor) -> Tensor:
    """-log p of each next token [B, T] from logits [B, T, V]; 0 where it is masked."""
    return F.cross_entropy(logits.flatten(0, 1).float(), y.flatten(), reduction="none", ignore_index=MASKED).view_as(y)


def fitting(count: int, context: int) -> int:
    """The length of windows over so many tokens; raises UserError where there is nothing to predict."""
    if count < 2:
        raise UserError("a text of one token has nothing to predict: give at least two")
    return min(context, count - 1)


def windows_at(tokens: Tensor, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """x and y int64 [B, T] of windows that begin at `starts` [B]; y is masked behind the last token [N]."""
    at = starts[:, None] + torch.arange(length + 1, device=starts.device)
    found = tokens[at.clamp(max=len(tokens) - 1)].long()
    return found[:, :-1].contiguous(), found[:, 1:].masked_fill(at[:, 1:] >= len(tokens), MASKED)
