"""A model on a device, with its task: stored rows in, answers out. What every verb asks a finished model with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from shendu import data, parallel
from shendu.core import At, Batch, Outputs, Source
from shendu.data.reader import USUAL
from shendu.errors import Interrupted, UserError, out_of_memory
from shendu.field import Unread, all_unread, check_strict
from shendu.metrics.evaluation import Measured, asking, evaluate, floats
from shendu.reading import Reading
from shendu.tasks import Task

PUBLIC = ("Predictor",)
BATCH = 500
"""Rows that are asked at once."""


class Answered(NamedTuple):
    """Some rows of a person's input, as they are stored, with the model's answers and the task that tells them."""

    key: str
    """What the names are: `input`, `row`, or a table's column that they come from, or go on."""
    names: list[str]
    outputs: Outputs
    stored: Batch
    task: Task
    predictor: Predictor
    bad: dict[int, str] | None = None
    """Which rows cannot be read, by their place among the names, and why: the others have outputs. None: all such can be read."""

    def rows(self) -> list[dict[str, Any]]:
        """Per row `input`, and what the task tells: `label`, `probability`, …, or `value`, …; or `error`, why it cannot be read."""
        with self.predictor.sound():
            decoded = iter(self.task.decode(self.outputs, self.stored))
        bad = self.bad or {}
        told = [{"error": bad[i]} if i in bad else next(decoded) for i in range(len(self.names))]
        return [{"input": name, **row} for name, row in zip(self.names, told, strict=True)]

    def columns(self) -> dict[str, Any]:
        """The same as columns of a table: lists, and arrays of numbers, masked where a row cannot be read."""
        with self.predictor.sound():
            found = self.task.columns(self.outputs, self.stored)
        if self.bad is None:
            return {self.key: self.names, **found}
        there = np.array([i not in self.bad for i in range(len(self.names))])
        spread = {name: _spread(values, there) for name, values in found.items()} if self.bad else found
        return {self.key: self.names, **spread, "error": [self.bad.get(i, "") for i in range(len(self.names))]}

    def readable(self) -> Answered:
        """Without the rows that cannot be read."""
        names = [name for i, name in enumerate(self.names) if i not in (self.bad or {})]
        return self._replace(names=names, bad=None)


def _spread(values: Any, there: np.ndarray) -> Any:
    """Values of the rows that are there, put in their places among all."""
    if isinstance(values, np.ndarray):
        found = np.ma.masked_all((len(there), *values.shape[1:]), values.dtype)
        found[there] = values
        return found
    known = iter(values)
    return [next(known) if here else None for here in there]


class Predictor(nn.Module):
    """Stored rows -> answers, in eval mode and without gradients; `device` and `precision` as on the command line."""

    def __init__(self, task: Task, model: nn.Module, device: str = "auto", precision: str = "auto") -> None:
        super().__init__()
        self.device = parallel.choose_device(device)
        self.task, self.model = task.to(self.device), parallel.place(model, self.device)
        self.precision = parallel.choose_precision(precision, self.device, self.model)

    @contextlib.contextmanager
    def sound(self) -> Iterator[None]:
        """Where something fails in it that fails for an ordinary row too, that is said in a line: model and task do not fit each
        other, as the files of a run may say."""
        try:
            yield
        except (UserError, Interrupted):
            raise
        except Exception as error:
            if out_of_memory(error) or self.answers_an_example():
                raise
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"the model and its task do not fit each other ({why}); restore the run's folder, or train again"
            ) from error

    def answers_an_example(self) -> bool:
        """Whether a row of ordinary size gets an answer."""
        try:
            row = self.task.example(1)
            self.task.decode({name: t.cpu() for name, t in self(row).items()}, row)
        except Exception:
            return False
        return True

    def forward(self, stored: Batch) -> Outputs:
        """Answers to stored rows [B, …]; floats are float32."""
        with parallel.evaluating(self.model):
            rows = parallel.to_device(stored, self.device)
            with parallel.autocast(self.device, self.precision):
                return floats(self.task(self.model, rows))

    def ask(self, batch: Batch) -> Outputs:
        """Answers to prepared rows."""
        with parallel.evaluating(self.model), parallel.autocast(self.device, self.precision):
            return floats(self.task.outputs(self.model, parallel.to_device(batch, self.device)))

    def counted(self, batch: Batch) -> Outputs:
        """What metrics count of prepared rows."""
        ask = asking(self.task, self.model, self.device, self.precision, frozenset(self.task.metrics()))
        with parallel.evaluating(self.model):
            return {name: t.cpu() for name, t in ask(batch).items()}

    def pieces(self, stored: dict[str, Any]) -> tuple[Outputs, Batch]:
        """Answers to any number of stored rows, some hundred at a time, on the CPU; and the rows as tensors."""
        rows = {name: torch.as_tensor(t) for name, t in stored.items()}
        count = len(next(iter(rows.values())))
        rows.setdefault("sample", torch.arange(count))
        parts = [self({name: t[i : i + BATCH] for name, t in rows.items()}) for i in range(0, count, BATCH)]
        return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}, rows

    def answers(
        self,
        *given: Any,
        reading: Reading = USUAL,
        say: Callable[[str], None] = lambda line: None,
        strict: bool = False,
    ) -> Iterator[Answered]:
        """What the model says of a person's inputs, some thousand rows at a time; `say` is told, once, each warning about them.

        Cells that cannot be read are counted and told at the end; `strict`: they are an error. Raises UserError on the way.
        """
        reading = replace(reading, strict=strict or reading.strict)
        told, unread = set[str](), dict[str, Unread]()
        for piece in data.pieces(given, self.task.inputs, reading, say):
            unread = all_unread(unread, piece.unread)
            if reading.strict:
                check_strict(unread)
            for line in (*piece.notes, self.task.unsure(piece.stored)):
                if line and line not in told:
                    say(line)
                    told.add(line)
            with self.sound():
                outputs, stored = self.pieces(self.task.encoded(piece.stored))
            named = self.task.named(outputs, len(piece.names) - len(piece.bad or {}))
            yield Answered(piece.key, piece.names, named, stored, self.task, self, piece.bad)
        for name, bad in unread.items():
            say(f"column {name}: {bad}")

    def predict(
        self, *given: Any, say: Callable[[str], None] = lambda line: None, strict: bool = False
    ) -> list[dict[str, Any]]:
        """One entry per row of a person's inputs, as `shendu.predict` gives them for a run. Raises UserError."""
        return [row for answered in self.answers(*given, say=say, strict=strict) for row in answered.rows()]

    def evaluate(
        self,
        source: Source,
        *,
        names: tuple[str, ...] = (),
        most: int = 0,
        intervals: bool = True,
        worst: bool = False,
        pulse: Callable[[], None] = lambda: None,
    ) -> Measured:
        """Figures over a held-out source's rows (the first `most` of them where given); `worst` keeps how bad each row is."""
        metrics = {name: metric for name, metric in self.task.metrics().items() if not names or name in names}
        ask = asking(self.task, self.model, self.device, self.precision, frozenset(metrics))
        badness = self.task.badness if worst else None
        with self.sound(), parallel.evaluating(self.model):
            return evaluate(ask, source, metrics, badness=badness, most=most, intervals=intervals, pulse=pulse)

    def again(self, source: Source) -> Callable[[Tensor], tuple[Batch, Outputs, Batch]]:
        """Rows of a held-out source by number -> (as they are stored, what is measured of them, prepared): outputs are not kept."""
        ask = asking(self.task, self.model, self.device, self.precision, frozenset(self.task.metrics()))

        def asked(rows: Tensor) -> tuple[Batch, Outputs, Batch]:
            with parallel.evaluating(self.model):
                stored = source.stored(rows)  # type: ignore[attr-defined]
                batch = parallel.to_device(self.task.prepare(stored), self.device)
                outputs = ask(batch)
            return stored, {name: t.cpu() for name, t in outputs.items()}, {name: t.cpu() for name, t in batch.items()}

        return asked

    def calibrate(self, source: Source, most: int) -> None:
        """Lets the task settle its thresholds on the first rows of a part, where it has any."""
        if not self.task.calibrates():
            return
        ask = asking(self.task, self.model, self.device, self.precision, frozenset())

        def pieces() -> Iterator[tuple[Outputs, Batch]]:
            with parallel.evaluating(self.model):
                for start in range(0, min(source.rows, most), BATCH):
                    batch = source.batch(At(start, min(BATCH, min(source.rows, most) - start)), self.model)
                    yield ask(batch), batch

        self.task.calibrate(pieces())
