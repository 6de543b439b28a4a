"""A model with its task as one graph: raw inputs in, answers out, for any number of rows and of any size that its inputs may have.

Shape letters: B rows.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import shendu
from shendu import parallel
from shendu.core import Batch, Json, Outputs
from shendu.errors import UserError, out_of_memory
from shendu.field import Port
from shendu.tasks import Task

if TYPE_CHECKING:
    from torch.export import ExportedProgram

TRACED, SHORTER, LONGER = 3, 0.7, 1.3
"""Rows of the example that a graph is drawn from, and their size: one row alone would be a case of its own, and so would be their
own size."""


Layout = Callable[[nn.Module], tuple[str, dict[str, int | float], dict[str, Tensor]]]
"""A network -> (ggml's name of its architecture, its sizes, its weights by ggml's names)."""


class Graph(nn.Module):
    """Raw inputs [B, …] in the order of the task's ports -> the task's outputs."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model
        self.ports = task.ports()

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.answers(dict(zip(self.ports, given, strict=True))).values())

    def answers(self, given: Batch) -> Outputs:
        return self.task(self.model, self.task.received(given))


@dataclass(frozen=True)
class Made:
    """A model that is to be exported. Tensors are on the CPU, in float32."""

    task: Task
    model: nn.Module
    system: str
    data: str
    outputs: tuple[str, ...]
    folder: Any = None
    """The run's folder, where it is one."""
    layout: Layout | None = None
    """How its weights are those of an architecture that ggml knows, where its system says so."""

    @property
    def ports(self) -> dict[str, Port]:
        return self.task.ports()

    @cached_property
    def program(self) -> ExportedProgram:
        """The graph. Raises UserError where torch cannot draw one of this model."""
        graph = Graph(self.task, self.model).eval()
        shorter = any(size.most for port in graph.ports.values() for size in port.varying().values())
        offered, _ = self.task.offered(rows_of(self.task, TRACED), SHORTER if shorter else LONGER)
        given = tuple(offered[name] for name in graph.ports)
        with quiet(), parallel.evaluating(graph):
            try:
                return torch.export.export(graph, given, dynamic_shapes=(sizes(graph.ports),))
            except Exception as error:
                if out_of_memory(error):
                    raise
                raise UserError(
                    f"{self.system} does not export: torch cannot draw its graph ({reason(error)})"
                ) from error

    def about(self) -> dict[str, Json]:
        """What travels with the graph: who made it, what it is given and says."""
        inputs = {
            name: {
                "dtype": port.dtype, "shape": port.dims(),
                "about": port.about, **({"words": port.words, "otherwise": port.otherwise} if port.words else {}),
            }
            for name, port in self.ports.items()
        }  # fmt: skip
        return {
            "producer": f"shendu {shendu.__version__}", "system": self.system, "data": self.data, "task": self.task.kind,
            "labels": list(self.task.labels), "inputs": inputs, "outputs": list(self.outputs), "schema": self.task.schema(),
        }  # fmt: skip


def made(
    task: Task, model: nn.Module, system: str, data: str, folder: Any = None, layout: Layout | None = None
) -> Made:
    """For a task and its model; raises UserError where no graph can answer in their place."""
    if why := task.closed():
        raise UserError(f"{system} does not export: {why}, which no graph of fixed steps does")
    task.ports()
    copied = parallel.arrange(copy.deepcopy(model).cpu().eval(), "contiguous")
    task = copy.deepcopy(task).cpu()
    given, _ = task.offered(rows_of(task, 2))
    with parallel.evaluating(copied):
        outputs = Graph(task, copied).answers(given)
    return Made(task, copied, system, data, tuple(outputs), folder, layout)


def rows_of(task: Task, count: int) -> Batch:
    """Rows of ordinary size, without targets."""
    return {name: t for name, t in task.example(count).items() if name not in task.targets}


def sizes(ports: dict[str, Port]) -> tuple[dict[int, Any], ...]:
    """What may vary of each input, as torch.export has it: the rows are one dimension of all."""
    rows, known = torch.export.Dim("rows"), dict[str, Any]()
    found = []
    for number, port in enumerate(ports.values()):
        varying = {0: rows}
        for axis, size in port.varying().items():
            name = f"{size.name}{number or ''}"
            varying[axis] = known.setdefault(name, torch.export.Dim(name, min=size.least, max=size.most or None))
        found.append(varying)
    return tuple(found)


def reason(error: BaseException) -> str:
    """What an error of torch's says, in a line: what it began with; and of a shape that may not vary, why."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")] or [type(error).__name__]
    told = [
        line for line in lines if not line.startswith(("Constraints violated", "The following call raised", "<class"))
    ]
    return (told or lines)[0][:200]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries say of themselves while a graph is drawn."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
