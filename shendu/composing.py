"""sample, of a language model: a text is written on, token by token, as it comes.

Shape letters: N texts that are written at once.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shendu import parallel, registry
from shendu.errors import UserError
from shendu.nn.generate import generate
from shendu.nn.halved import halved
from shendu.saved import Saved, opened

PUBLIC = ("compose",)
OPTIONS = ("prompt", "length", "temperature", "top_k", "top_p", "stop")
"""What only the writing of text takes."""
MOST = 1000


def compose(run: Saved | str | Path, **how: Any) -> list[str]:
    """The continuations whole, without the prompt; `how` as for `pieces`. Raises UserError."""
    return ["".join(parts) for parts in zip(*pieces(run, **how), strict=True)]


def pieces(
    run: Saved | str | Path,
    *,
    prompt: str = "",
    n: int = 1,
    length: int = 500,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: str = "",
    seed: int = 0,
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[list[str]]:
    """What is new of each of N continuations of the prompt, after every token; `run` may be a published checkpoint's folder.

    At most `length` tokens are written, to before the first `stop` where one is given; see `shendu.nn.generate` for
    `temperature`, `top_k` and `top_p`. A large network's matrices are read in half precision (`shendu.nn.halved`). Equal seeds
    write equal texts, and the first of several is the one alone. `say` is told what the person should know. Raises UserError.
    """
    found = opened(run)
    if not writes(found):
        raise UserError(
            f"{found.path} is a run of {found.recipe['system']}, which writes no text; train one that does: "
            f"{registry.able('step')}"
        )
    if not 1 <= n <= MOST:
        raise UserError(f"cannot write {n} texts; write it like --n 3 (at most {MOST:,})")
    task: Any = found.task
    chosen = parallel.choose_device(device)
    model: Any = halved(parallel.place(found.model, chosen))
    begun = task.prompt(prompt)
    if model.context and len(begun) > model.context:
        say(f"the prompt has {len(begun):,} tokens and the model sees {model.context:,}: its beginning is forgotten")
    tokens = generate(
        model, begun.expand(n, -1).to(chosen), length, temperature=temperature, top_k=top_k, top_p=top_p,
        never=task.unwritten, seed=seed,
    )  # fmt: skip
    texts = [Text(stop) for _ in range(n)]
    while (drawn := following(tokens)) is not None and not all(text.ended for text in texts):
        parts = [task.tokenizer.pieces[token] for token in drawn.tolist()]
        yield [text.add(part) for text, part in zip(texts, parts, strict=True)]
    yield [text.rest() for text in texts]


def following(tokens: Iterator[Tensor]) -> Tensor | None:
    """The next ones; the caller keeps its gradients while it looks at them."""
    with torch.no_grad():
        return next(tokens, None)


def writes(run: Saved) -> bool:
    """Whether a run is of a model that goes on from a text."""
    return "step" in run.task.can


class Text:
    """A text that comes in bytes and ends before a word: whole characters are handed on, once they cannot belong to it."""

    def __init__(self, stop: str) -> None:
        self.stop, self.held, self.ended = stop, "", False
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, piece: bytes) -> str:
        """More bytes -> what can be shown now."""
        if self.ended:
            return ""
        self.held += self.decoder.decode(piece)
        if self.stop and (at := self.held.find(self.stop)) >= 0:
            self.ended, self.held = True, self.held[:at]
            return self.rest()
        keep = next(
            (k for k in range(min(len(self.stop), len(self.held)), 0, -1) if self.stop.startswith(self.held[-k:])), 0
        )
        shown, self.held = self.held[: len(self.held) - keep], self.held[len(self.held) - keep :]
        return shown

    def rest(self) -> str:
        """What was held back, at the end."""
        shown, self.held = self.held, ""
        return shown
