"""Language: text, of which each token is predicted from those before it.

Shape letters: B windows, T tokens of a window, V vocabulary, N tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.core import MASKED, Batch, Json, Metric, Outputs, Source
from shendu.data import tokens
from shendu.data.fields.prose import Prose
from shendu.data.tokens import UNKNOWN, Characters
from shendu.errors import UserError
from shendu.field import Port, Size, Snippet
from shendu.metrics.text import Nats
from shendu.nn.softened import softened
from shendu.parallel import device_of
from shendu.sources.windows import Windows, fitting, windows_at
from shendu.tasks import Again, Section, Task

if TYPE_CHECKING:
    from shendu.data.dataset import Dataset
    from shendu.metrics.evaluation import Measured

LOGITS_AT_ONCE, TOKENS_AT_ONCE = 1 << 24, 1 << 14
"""So many logits, and tokens, are computed in one piece where figures are measured."""
STRANGE = 0.05
"""A text of which more than this share of characters was never seen is not the language that was learned."""
TRAIN_TOKENS = 100_000
"""The training part's figure is measured on so many of its first tokens."""
PROMPT, WRITTEN, WARMTH, PASSAGES = 48, 240, 0.8, 8
"""Tokens that a model is given in a report and that it writes on, its temperature; passages that are listed."""


class Language(Task):
    """Rows are windows of `context` tokens `x` [B, T] and what follows each of them, `y` [B, T]; a model gives logits [B, T, V].

    The settings are the `tokenizer` and the `context`. Outputs are `nats`, the mean of -log p over a window's tokens [B].
    """

    kind = "language"
    purpose = "read"
    counted = "windows of the text"
    sampled = f"its first {TRAIN_TOKENS:,} tokens"

    def __init__(self, inputs: Any, targets: Any, **settings: Json) -> None:
        if settings["context"] < 1:
            raise UserError(f"context={settings['context']} is no number of tokens; write it like context=64")
        super().__init__(inputs, targets, **settings)
        self.tokenizer = tokens.from_json(settings["tokenizer"])
        self._read: list[tuple[np.ndarray, Tensor]] = []

    @classmethod
    def of(cls, data: Dataset, tokenizer: str = "characters", context: int = 64) -> Self:  # type: ignore[override]
        """For running text, with a tokenizer by name (see `shendu.data.tokens.tokenizer`) of its training part."""
        train = data.splits["train"].column(data.input).tobytes().decode("utf-8", "replace")
        return cls.with_tokenizer(tokens.tokenizer(tokenizer, train), context)

    @classmethod
    def with_tokenizer(cls, tokenizer: tokens.Tokenizer, context: int) -> Self:
        """For running text in these pieces."""
        return cls({"x": Prose()}, {}, tokenizer=tokenizer.to_json(), context=context, can=["step"])

    @property
    def context(self) -> int:
        return self.settings["context"]

    @property
    def shape(self) -> tuple[int, ...]:
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

    def encoded(self, stored: dict[str, Any]) -> dict[str, Any]:
        """The bytes of one text -> its windows: each of its tokens but the first is predicted once."""
        found = self.tokens(bytes(stored["x"]))
        length = fitting(len(found), self.context)
        x, y = windows_at(found, torch.arange(0, len(found) - 1, length), length)
        return {"x": x, "y": y, "group": torch.zeros(len(x), dtype=torch.int64)}

    def encode(self, texts: list[str]) -> Batch:
        """Texts -> their windows, one text after the other, as long as the longest; raises UserError."""
        if not len(texts):
            raise UserError("nothing to read: give at least one text")
        windows = [self.encoded({"x": self.input.parse(text)[""]}) for text in texts]
        longest = max(found["x"].shape[1] for found in windows)
        filling = {"x": 0, "y": MASKED}
        padded = {
            name: torch.cat([F.pad(found[name], (0, longest - found[name].shape[1]), value=value) for found in windows])
            for name, value in filling.items()
        }
        groups = torch.arange(len(windows)).repeat_interleave(torch.tensor([len(found["x"]) for found in windows]))
        return {**padded, "group": groups}

    def conversation(self, messages: Sequence[tuple[str, str]]) -> str:
        """What was said, each message on lines of its own, as a text to go on from: who says it is not learned from running text."""
        return "".join(f"{text}\n" for _, text in messages)

    def vector(self, model: Any, tokens: Tensor) -> Tensor:
        """What a text is to the model [W]: the mean of what its last layer makes of the tokens [N] in its window, of length 1."""
        return F.normalize(model.hidden(tokens[None, -self.context :])[0].float().mean(0), dim=0)

    # ---- exported

    def ports(self) -> dict[str, Port]:
        about = (
            "tokens of a text, as the tokenizer beside the graph gives them; the answer is what follows each of them"
        )
        return {"x": Port("int64", (Size("tokens", 1, self.context),), about)}

    def received(self, given: Batch) -> Batch:
        return given

    def offered(self, stored: Batch, size: float = 1.0) -> tuple[Batch, Batch]:
        """The beginning of windows; none is longer than the context."""
        x = stored["x"].long()
        x = x[:, : max(2, round(size * x.shape[1]))].contiguous()
        return {"x": x}, {"x": x}

    def snippet(self, stem: str, words: bool) -> Snippet:
        line = f'tokenizer = Tokenizer.from_file("{stem}x.tokenizer.json")'
        given = '{"x": np.array([tokenizer.encode(sys.argv[1]).ids])}'
        return Snippet(given, ("from tokenizers import Tokenizer",), (line,), "TEXT")

    def controls(self) -> dict[str, Json]:
        return {"x": {"control": "tokens", "tokenizer": self.tokenizer.to_json(), "length": self.context}}

    def shown(self) -> Json:
        return {"answer": "next", "never": list(self.unwritten)}

    def saying(self) -> str:
        """The likeliest next token."""
        return "tokenizer.decode([said[0, -1].argmax()])"

    def tokenizers(self) -> dict[str, str]:
        return {"x": self.tokenizer.library().to_str()}

    # ---- tokens -> text

    def text(self, found: Tensor) -> str:
        """The text of tokens [N]; a character of which a part is missing is �."""
        pieces = self.tokenizer.pieces
        return b"".join(pieces[token] for token in found.tolist()).decode("utf-8", "replace")

    # ---- the model's figures

    def prepare(self, stored: Batch) -> Batch:
        """Windows are tokens already."""
        return stored

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        """Of windows alone, the `logits` of each next token [B, T, V]; of those with their targets, the mean `nats` of a token."""
        if "y" not in batch:
            return {"logits": model(*self.taken(batch))}
        counted = (batch["y"] != MASKED).sum(1)
        return {"nats": self.surprise(model, batch).sum(1) / counted.clamp(min=1)}

    def distance(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """[B, T]: Kullback-Leibler divergence of softened probabilities, times the temperature squared (Hinton et al. 2015)."""
        return softened(outputs, taught, temperature)

    def metrics(self) -> dict[str, Metric]:
        return {"nats": Nats(self.characters)}

    def held_out(self, data: Dataset, part: str) -> Source:
        found = self.tokens(data.splits[part].column(data.input))
        return Windows(found, self.context, most=TRAIN_TOKENS if part == "train" else 0)

    def badness(self, outputs: Outputs, batch: Batch) -> Tensor:
        return outputs["nats"]

    def surprise(self, model: Any, batch: Batch) -> Tensor:
        """Nats of each token [B, T], 0 where none is counted; computed in pieces, since logits of a large vocabulary are large."""
        x, y = batch["x"], batch["y"]
        rows = max(1, min(LOGITS_AT_ONCE // (x.shape[1] * self.vocabulary), TOKENS_AT_ONCE // x.shape[1]))
        return torch.cat([nats(model(some), after) for some, after in zip(x.split(rows), y.split(rows), strict=True)])

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Json]]:
        """Per text `nats` per token and `perplexity`; windows of one text (`group`) are told together."""
        columns = {name: values.tolist() for name, values in self.columns(outputs, stored).items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def columns(self, outputs: Outputs, stored: Batch) -> dict[str, Any]:
        """The same as columns of a table."""
        counted = (stored["y"] != MASKED).sum(1).double()
        group = stored.get("group", torch.arange(len(counted)))
        texts = int(group.max()) + 1
        nats = torch.zeros(texts, dtype=torch.float64).index_add(0, group, outputs["nats"].cpu().double() * counted)
        figures = (nats / torch.zeros(texts, dtype=torch.float64).index_add(0, group, counted)).numpy()
        return {"nats": figures, "perplexity": np.exp(np.minimum(figures, 700.0))}

    def answers(self) -> Json:
        return {"nats": "per token", "perplexity": "exp of nats"}

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        """The passages that were foretold worst."""
        worst = measured.badness.argsort(descending=True, stable=True)[:PASSAGES]
        stored, outputs, _ = again(worst)
        rows = zip(worst.tolist(), outputs["nats"].tolist(), stored["x"], strict=True)
        passages = [f"{nats:.2f} nats per token, window {row:,}:\n{self.text(x)}" for row, nats, x in rows]
        note = f"Windows of the {part} part whose tokens the model held for the least likely."
        written = continued(self, model, again, measured.count, part) if "step" in self.can else []
        return [*written, Section("Most surprising passages", "text", f"\n\n{'─' * 40}\n\n".join(passages), note)]

    def example(self, n: int) -> Batch:
        """n windows of tokens, drawn under a fixed seed."""
        generator = torch.Generator().manual_seed(n)
        drawn = torch.randint(self.vocabulary, (n, self.context + 1), generator=generator)
        return {"sample": torch.arange(n), "x": drawn[:, :-1].contiguous(), "y": drawn[:, 1:].contiguous()}


def continued(task: Language, model: Any, again: Again, count: int, part: str) -> list[Section]:
    """The beginning of windows from three places of a part, and how the model goes on."""
    from shendu.nn.generate import generate

    x = again(torch.tensor(sorted({number * count // 3 for number in range(3)})))[2]["x"]
    prompts = x[:, :PROMPT].to(device_of(model))
    drawn = list(generate(model, prompts, WRITTEN, temperature=WARMTH, never=task.unwritten))
    texts = [f"{task.text(a)}│{task.text(b)}" for a, b in zip(prompts.cpu(), torch.stack(drawn, 1).cpu(), strict=True)]
    note = f"Up to │ the {part} part itself; what follows was drawn by the model, at temperature {WARMTH:g}."
    return [Section("Written on", "text", f"\n\n{'─' * 40}\n\n".join(texts), note)]


def nats(logits: Tensor, y: Tensor) -> Tensor:
    """-log p of each next token [B, T] from logits [B, T, V]; 0 where it is masked."""
    return F.cross_entropy(logits.flatten(0, 1).float(), y.flatten(), reduction="none", ignore_index=MASKED).view_as(y)
