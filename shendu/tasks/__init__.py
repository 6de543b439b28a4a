"""Tasks: what a run is for. One kind of answer, one file; a file here is a task by being there.

Shape letters: B rows, R units that are counted, K numbers of each.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from shendu.core import Batch, Json, Metric, Outputs, Source
from shendu.data.ragged import tensors
from shendu.errors import UserError, unknown
from shendu.field import Field, Port, Snippet
from shendu.pages.sections import Section, Told
from shendu.shown import plain
from shendu.sources.rows import Rows

if TYPE_CHECKING:
    from shendu.data.dataset import Dataset
    from shendu.metrics.evaluation import Measured

ROOT = Path(__file__).parent
ROW_MOST = 1 << 28
"""Numbers of a row."""


Again = Callable[[Tensor], tuple[Batch, Outputs, Batch]]
"""Rows of the held-out part by number -> (as they are stored, outputs, the prepared batch); outputs are never kept."""


class Task(nn.Module):
    """What a run is for: how rows are prepared, what a model's answer is, how it is measured, told and shown.

    Buffers only (what was fitted or calibrated), no parameters: it is no part of the learner. A model is called with its inputs'
    tensors in the task's order. Names of fields are roles: a single input is `x`, a single target `y`.
    """

    kind: ClassVar[str] = ""
    """Its name in files: that of its own file here."""
    known: ClassVar[dict[str, type[Task]]] = {}
    purpose: ClassVar[str] = "look at"
    """What is done to the rows, as it is said to a person who gives none."""
    counted: ClassVar[str] = "rows"
    """What the rows are that are measured, where a page speaks of them."""
    sampled: ClassVar[str] = ""
    """What the training part's figures are measured on, where the task chooses it."""

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        if "kind" in vars(cls):
            if cls.kind in kinds() and not cls.__module__.startswith("shendu."):
                raise UserError(f"{cls.__name__}: there is a task of the kind '{cls.kind}' already; call it otherwise")
            Task.known[cls.kind] = cls

    def __init__(self, inputs: dict[str, Field], targets: dict[str, Field], **settings: Json) -> None:
        super().__init__()
        self.inputs, self.targets, self.settings = dict(inputs), dict(targets), settings
        taken = [name + part for name, field in self.fields().items() for part in field.parts]
        assert not {"sample", "group"} & set(taken), "sample and group are the stream's own names"
        self._fits: list[tuple[str, tuple[str, ...]]] = []
        for number, (name, field) in enumerate(self.fields().items()):  # numbered: a field's name may hold a dot
            for key, values in field.statistics().items():
                self.register_buffer(f"fit{number}_{key}", torch.tensor(values), persistent=False)
            self._fits.append((name, tuple(field.statistics())))

    @classmethod
    def of(cls, data: Dataset, **settings: Json) -> Self:
        """For a data set's fields; what a target needs to know is fitted on its training rows."""
        train = data.splits["train"]
        inputs = {role: data.fields[name] for role, name in data.inputs_by_role().items()}
        targets = {
            role: data.fields[name].fitted([train.values(name, data.fields[name])])
            for role, name in data.targets_by_role().items()
            if name in data.fields
        }
        return cls(inputs, targets, **settings)

    def fields(self) -> dict[str, Field]:
        """Role -> field, inputs first."""
        return {**self.inputs, **self.targets}

    def fit(self, number: int) -> Batch:
        """What was fitted of the field of that place, as tensors."""
        return {key: getattr(self, f"fit{number}_{key}") for key in self._fits[number][1]}

    @property
    def input(self) -> Field:
        """The first input."""
        return next(iter(self.inputs.values()))

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions of a row of the first input as a network takes it."""
        return self.input.shape

    @property
    def can(self) -> tuple[str, ...]:
        """What its models do besides: draw, inpaint, views, step, remark (the protocols of `shendu.core`)."""
        return tuple(self.settings.get("can", ()))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that it tells apart; none where it tells something else."""
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that a model which draws rows draws by."""
        return self.labels

    # ---- rows -> answers

    def prepare(self, stored: Batch) -> Batch:
        """Stored rows -> what models and objectives take, of the fields that are there: no targets at prediction."""
        done = dict(stored)
        for number, (name, field) in enumerate(self.fields().items()):
            own = {part: stored[name + part] for part in field.parts if name + part in stored}
            if own:
                done.update({name + part: t for part, t in field.prepare(own, self.fit(number)).items()})
        return done

    def taken(self, batch: Batch) -> list[Tensor]:
        """What a model is called with."""
        return [batch[name + part] for name, field in self.inputs.items() for part in field.takes]

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        """What prepared rows are answered with: class scores, numbers, a search, an action, a drawing."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it answers")

    def measure(self, model: Any, batch: Batch, wanted: frozenset[str] = frozenset()) -> Outputs:
        """What the wanted metrics count: with the targets (teacher forcing), over whole episodes; mostly the answer itself."""
        return self.outputs(model, batch)

    def forward(self, model: Any, stored: Batch) -> Outputs:
        """Stored rows in, answers out: what is predicted with, exported and served."""
        return self.outputs(model, self.prepare(stored))

    def encoded(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Rows that a person gave, parsed -> stored rows as a batch has them: of one length, sentences as codes, texts as windows."""
        found = dict(stored)
        for name, field in self.inputs.items():
            if any(how.ragged for how in field.storage().values()):
                own = tensors({part: found.pop(name + part) for part in field.storage()})
                rows = torch.arange(len(own["_offsets"]) - 1)
                found |= {name + part: t for part, t in field.gather(own, rows).items()}
        return found

    def encode(self, values: Any) -> Batch:
        """Plain values of the only input, one per row -> a prepared batch; raises UserError where they do not fit."""
        (name, field), *_ = self.inputs.items()
        stored = self.encoded({name + part: rows for part, rows in field.parse(values).items()})
        return self.prepare({key: torch.as_tensor(rows) for key, rows in stored.items()})

    def example(self, n: int) -> Batch:
        """n stored rows of ordinary size, for tracing, counting and tests."""
        rows = {name + part: t for name, field in self.inputs.items() for part, t in field.example(n).items()}
        return {"sample": torch.arange(n), **rows}

    def pixels(self, x: Tensor) -> np.ndarray:
        """Pictures as a model has them [N, C, H, W] -> uint8 [N, H, W, C]."""
        return self.input.restore({"": x.to(self.fit(0)["mean"].device)}, self.fit(0))[""].cpu().numpy()

    # ---- exported

    def closed(self) -> str:
        """Why no graph of fixed steps can answer in its place: the end of a sentence; empty: one can."""
        return ""

    def ports(self) -> dict[str, Port]:
        """What an exported graph is given, by name. Raises UserError where no tensor can hold an input."""
        return {
            self._port(role, part): port for role, field in self.inputs.items() for part, port in field.ports().items()
        }

    def _port(self, role: str, part: str) -> str:
        """The name of a field's port: its part, after the role, or a name of its own, as a table's columns have."""
        return role + part if part in self.inputs[role].storage() else part

    def received(self, given: Batch) -> Batch:
        """What an exported graph is given [B, …] -> stored rows, by tensor operations that a graph can hold."""
        stored = {"sample": torch.arange(next(iter(given.values())).shape[0])}
        for role, field in self.inputs.items():
            own = {part: given[self._port(role, part)] for part in field.ports()}
            stored |= {role + part: t for part, t in field.received(own).items()}
        return stored

    def offered(self, stored: Batch, size: float = 1.0) -> tuple[Batch, Batch]:
        """(stored rows as an exported graph is given them, `size` times as high or long where that may vary; what is stored of
        those by the way that a person's rows come)."""
        given: Batch = {}
        rows = {"sample": torch.arange(len(next(iter(stored.values()))))}
        for role, field in self.inputs.items():
            own = {part: stored[role + part].numpy() for part in field.storage()}
            asked, kept = field.offered(own, size)
            given |= {self._port(role, part): torch.from_numpy(np.array(t)) for part, t in asked.items()}
            rows |= {role + part: torch.from_numpy(np.array(t)) for part, t in kept.items()}
        return given, rows

    def tokenizers(self) -> dict[str, str]:
        """Port -> what makes its codes of a text, as a file of the library `tokenizers`."""
        return {
            self._port(role, part): text
            for role, field in self.inputs.items()
            for part, text in field.tokenizers().items()
        }

    def snippet(self, stem: str, words: bool) -> Snippet:
        """How an exported graph is given a row, in Python for who uses it (see `Field.snippet`)."""
        each = [
            field.snippet(role, f"sys.argv[{i}]", stem, words) for i, (role, field) in enumerate(self.inputs.items(), 1)
        ]
        given = each[0].given if len(each) == 1 else f"{{{', '.join(f'**{one.given}' for one in each)}}}"
        imports = tuple(dict.fromkeys(line for one in each for line in one.imports))
        return Snippet(
            given, imports, tuple(line for one in each for line in one.lines), " ".join(one.example for one in each)
        )

    def controls(self) -> dict[str, Json]:
        """Input -> how a page lets a person give it (see `Field.control`); an empty one cannot be given."""
        return {role: field.control() for role, field in self.inputs.items()}

    def shown(self) -> Json:
        """How a page shows the answer: as `classes` with their shares, as `values`, or (`next`) as what follows."""
        return {"answer": "values"}

    def saying(self) -> str:
        """A Python expression of what is printed of `said`, the first output of an exported graph as an array [1, …]."""
        return "said.tolist()"

    def distance(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """How far a network's outputs are from a teacher's, per row [B], or per place: here the squared error, averaged over a row."""
        return (outputs - taught).square().flatten(1).mean(1)

    # ---- figures

    def metrics(self) -> dict[str, Metric]:
        """Name -> metric, the first figure of the first being the one that a run is judged by."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is measured")

    def held_out(self, data: Dataset, part: str) -> Source:
        """A part in its own order, without augmentation: what figures are measured on."""
        return Rows(data.splits[part], self, roles=data.roles())

    def calibrate(self, pieces: Iterable[tuple[Outputs, Batch]]) -> None:
        """Settles what depends on how a trained model answers rows that it did not learn: thresholds, temperatures."""

    def calibrates(self) -> bool:
        """Whether there is anything to settle."""
        return False

    def warning(self, measured: Measured, part: str) -> str:
        """A line where the measured rows do not tell the model from the simplest one there is; else empty."""
        return ""

    def unsure(self, stored: dict[str, Any]) -> str:
        """Why answers to these stored rows may not be worth much: a line; empty where nothing is known."""
        for name, field in self.inputs.items():
            own = {part: stored[name + part] for part in field.parts if name + part in stored}
            if own and (line := field.warning(own)):
                return line
        return ""

    # ---- explaining

    def said(self, outputs: Outputs) -> Batch:
        """The answer as prepared targets: what an explanation holds fixed."""
        return {}

    def score(self, model: Any, batch: Batch) -> Tensor:
        """[B], differentiable: how far the model says what the batch's targets are."""
        raise NotImplementedError(f"{type(self).__name__} cannot be explained: it has no score")

    def explained(self) -> bool:
        """Whether single answers can be explained."""
        return False

    def sureness(self, outputs: Outputs, said: Batch) -> Tensor:
        """[B]: the probability of what is said of the first row, or its value."""
        return next(iter(outputs.values())).float().flatten(1).mean(1)

    def odds(self, outputs: Outputs, said: Batch) -> Tensor:
        """[B]: the log-odds of what is said of the first row, or its value."""
        return self.sureness(outputs, said)

    def kinds(self, measured: Measured) -> Tensor:
        """[N]: the kind of each measured row; of those that a page explains the first are of different ones."""
        return torch.zeros(measured.count)

    def badness(self, outputs: Outputs, batch: Batch) -> Tensor:
        """[B]: how bad each measured row is; 0: right. Which rows a report shows, worst first."""
        return torch.zeros(len(batch["sample"]))

    # ---- telling

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Json]]:
        """One entry per row, for a person or a program."""
        raise NotImplementedError(f"{type(self).__name__} does not say how an answer is told")

    def columns(self, outputs: Outputs, stored: Batch) -> dict[str, Any]:
        """The same as columns of a table."""
        rows = self.decode(outputs, stored)
        return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}

    def named(self, outputs: Outputs, count: int) -> Outputs:
        """Outputs of which each row has a name of its own, where a person's rows have another number of names."""
        return outputs

    def answers(self) -> Json:
        """Key of `decode` -> what it is."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its answers are")

    def tell(self, outputs: Outputs, batch: Batch, stored: Batch) -> list[Told]:
        """Each measured row in words: what is said of it, what is true."""
        said = [json.dumps(plain(answer), ensure_ascii=False, default=str) for answer in self.decode(outputs, stored)]
        return [
            Told(words, "", f"{bad:.4g}", bad == 0)
            for words, bad in zip(said, self.badness(outputs, batch).tolist(), strict=True)
        ]

    def schema(self) -> Json:
        return {"inputs": {name: field.schema() for name, field in self.inputs.items()}, "outputs": self.answers()}

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        """What a report shows of this kind of answer beyond figures, curves and explanations: here the worst of the measured rows."""
        from shendu.pages import cards

        return [cards.worst(self, measured, again, part)]

    # ---- kept as JSON

    def to_json(self) -> Json:
        """Fields, settings (what two fields share is one) and what was calibrated: NaN, which JSON has not, is left out."""
        kept = {name: t.tolist() for name, t in self.state_dict().items() if not bool(t.isnan().any())}
        sides = {side: {n: f.to_json() for n, f in getattr(self, side).items()} for side in ("inputs", "targets")}
        return {"kind": self.kind, **sides, "settings": self.settings, "calibrated": kept}


def from_file(values: Json) -> Task:
    """The task that `to_json` wrote; raises UserError for a kind that is not known here."""
    made = load(str(values.get("kind")))(
        *({n: Field.from_json(f) for n, f in values[side].items()} for side in ("inputs", "targets")),
        **values["settings"],
    )
    check_rows(made)
    calibrated = {name: torch.tensor(t, dtype=torch.float64) for name, t in values["calibrated"].items()}
    made.load_state_dict({**made.state_dict(), **calibrated})
    return made


def check_rows(task: Task) -> None:
    """Raises UserError where a row would have more than any has, or its field's numbers are not those of such a row."""
    for role, field in task.fields().items():
        for how in field.storage().values():
            if min(how.shape, default=0) < 0 or math.prod(how.shape) > ROW_MOST:
                raise UserError(f"a row of {role} cannot have the shape {list(how.shape)}")
    task.prepare(task.example(1))


def load(kind: str) -> type[Task]:
    """The class of a kind: of a file here, or of code that a person has imported."""
    if kind not in Task.known and kind in kinds():
        importlib.import_module(f"shendu.tasks.{kind}")
    if kind not in Task.known:
        raise unknown("task", kind, {*kinds(), *Task.known})
    return Task.known[kind]


def kinds() -> list[str]:
    """The kinds that have a file here."""
    return sorted(path.stem for path in ROOT.glob("*.py") if not path.stem.startswith("_"))
