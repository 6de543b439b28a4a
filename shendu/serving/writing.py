"""Texts that a language model writes for several requests at once; each gets its pieces as they come.

Shape letters: B texts, T tokens of a prompt, V vocabulary.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shendu import chance, composing, parallel
from shendu.nn.generate import DRAW, check, draw
from shendu.nn.halved import halved
from shendu.nn.together import Together
from shendu.serving.models import Loaded


class Piece(NamedTuple):
    """What is new of a text."""

    text: str
    end: str = ""
    """Why it is over: `stop` (a word that ends it came), `length`; empty: it goes on."""
    error: Exception | None = None


@dataclass(eq=False)
class Text:
    """A text that is asked for, and what has been written of it. Raises UserError for settings out of range."""

    loaded: Loaded
    prompt: Tensor
    """int64 [T]."""
    put: Callable[[Piece], None]
    """Given each piece, in the model's thread."""
    length: int = 500
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    row: int = 0
    """Of several texts of one seed, which it is."""
    until: float = math.inf
    """A moment of time.monotonic() at which it ends, however long it is."""
    gone: bool = False
    """Nobody reads it any more."""
    written: int = 0
    """Tokens."""
    enders: list[composing.Text] = field(default_factory=list)

    def __post_init__(self) -> None:
        check(self.prompt[None], self.length, self.temperature, self.top_k, self.top_p)
        self.enders = [composing.Text(word) for word in self.stop or ("",)]

    def take(self, token: int) -> bool:
        """A token more; returns whether the text is over now."""
        task: Any = self.loaded.task
        self.written += 1
        new = self._passed(task.tokenizer.pieces[token])
        stopped = any(ender.ended for ender in self.enders)
        over = stopped or self.written >= self.length or time.monotonic() > self.until
        if over:
            new += self._rest()
        if new or over:
            self.put(Piece(new, ("stop" if stopped else "length") if over else ""))
        return over

    def _passed(self, piece: bytes) -> str:
        """Through each that looks for its word."""
        new = self.enders[0].add(piece)
        for ender in self.enders[1:]:
            new = ender.add(new.encode())
        return new

    def _rest(self) -> str:
        new = ""
        for ender in self.enders:
            new = ender.add(new.encode()) + ender.rest()
        return new


class Group:
    """The texts of one model that are being written."""

    def __init__(self, loaded: Loaded, most: int) -> None:
        self.loaded, self.texts, self.tokens = loaded, list[Text](), list[int]()
        task: Any = loaded.task
        self.together = Together(halved(loaded.predictor.model), most)  # type: ignore[arg-type]
        self.never = torch.tensor(sorted(task.unwritten), dtype=torch.int64)

    def join(self, text: Text) -> None:
        """Reads the prompt, and writes the first token."""
        with self.reading():
            logits = self.together.join(text.prompt.to(self.loaded.predictor.device))
        self.texts.append(text)
        self.tokens.append(-1)
        self._deliver([len(self.texts) - 1], logits[None])

    def step(self) -> None:
        """A token more of each text."""
        for row in reversed(range(len(self.texts))):
            if self.texts[row].gone:
                self._leave(row)
        if not self.texts:
            return
        with self.reading():
            logits = self.together.step(torch.tensor(self.tokens, device=self.loaded.predictor.device))
        self._deliver(list(range(len(self.texts))), logits)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        with parallel.evaluating(self.together.model):  # type: ignore[arg-type]
            yield

    def _deliver(self, rows: list[int], logits: Tensor) -> None:
        """Draws a token for each of some texts from logits [B, V], and hands it on."""
        drawn = drawn_from(
            logits.float().cpu().index_fill(1, self.never, -torch.inf), [self.texts[row] for row in rows]
        )
        over = []
        for row, token in zip(rows, drawn, strict=True):
            self.tokens[row] = token
            if self.texts[row].take(token):
                over.append(row)
        for row in reversed(over):
            self._leave(row)

    def _leave(self, row: int) -> None:
        """The last one takes its place."""
        self.together.leave(row)
        self.texts[row], self.tokens[row] = self.texts[-1], self.tokens[-1]
        self.texts.pop()
        self.tokens.pop()


def drawn_from(logits: Tensor, texts: list[Text]) -> list[int]:
    """The next token of each text from logits [B, V]: that which `shendu.nn.generate` draws."""
    u = chance.uniform_each([text.row for text in texts], [(text.seed, DRAW, text.written) for text in texts])
    found = [0] * len(texts)
    like: dict[tuple[float, int, float], list[int]] = {}
    for i, text in enumerate(texts):
        like.setdefault((text.temperature, text.top_k, text.top_p), []).append(i)
    for (temperature, top_k, top_p), rows in like.items():
        tokens = draw(logits[rows], u[rows], temperature, top_k, top_p)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            found[row] = token
    return found


class Writer:
    """What a model's thread does for texts: a token of each at a time, so that none waits for another's end."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: deque[Text] = deque()
        self._groups: list[Group] = []

    def add(self, text: Text) -> None:
        self._waiting.append(text)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def writing(self) -> int:
        return sum(len(group.texts) for group in self._groups)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._groups)

    def step(self) -> None:
        """One token more of each text; those that wait come first, as far as there is room."""
        while self._waiting and self.writing < self.most:
            text = self._waiting.popleft()
            if text.gone:
                continue
            try:
                group = self._group(text.loaded)
            except Exception as error:
                self._failed([text], error)
            else:
                self._guarded(group, text)
        for group in list(self._groups):
            self._guarded(group)
        self._groups = [group for group in self._groups if group.texts]

    def _group(self, loaded: Loaded) -> Group:
        found = next((group for group in self._groups if group.loaded is loaded), None)
        if found is None:
            found = Group(loaded, self.most)
            self._groups.append(found)
        return found

    def _guarded(self, group: Group, text: Text | None = None) -> None:
        """A new text that cannot be read fails alone; where a step fails, its texts do."""
        before = len(group.texts)
        try:
            group.join(text) if text else group.step()
        except Exception as error:
            if text and len(group.texts) == before:
                self._failed([text], error)
            else:
                self._failed(group.texts, error)
                group.texts = []

    def _failed(self, texts: list[Text], error: Exception) -> None:
        for text in texts:
            with contextlib.suppress(Exception):  # whoever reads it may be gone, and the others are to go on
                text.put(Piece("", "error", error))
