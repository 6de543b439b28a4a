"""The contracts: a learner is a source of batches and an objective on the model; the loop knows nothing else.

Shape letters: B rows of a batch; a field's remaining dimensions are its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from shendu.field import Field, Storage, Values

if TYPE_CHECKING:
    from shendu.tasks import Task

__all__ = ["Field", "Storage", "Values"]

Batch = dict[str, Tensor]
"""Field name + part -> tensor [B, …]. Of the stream's own: `sample` [B], a row's number; `group`, what rows belong together."""

Outputs = dict[str, Tensor]
"""What is said of each row of a batch, or counted of it; name -> tensor [B, …]."""

Json = Any
"""What JSON can hold."""

MASKED = -100
"""A target that is not counted: behind a text's end, or not to be predicted."""


class Loss(NamedTuple):
    """What an objective returns for one micro-batch."""

    sums: dict[str, Tensor]
    """Per term: a scalar, summed (not averaged) over the term's units, already weighted."""
    logs: dict[str, Tensor] = {}  # noqa: RUF012 (never written to)
    """What to show, detached; read at log steps only, so that no step waits for the device."""


class Objective(nn.Module):
    """What is minimised. Teachers, target networks, chains and centres are its buffers, so they are saved."""

    surrogate = False
    """True: the value means nothing, only its gradient does (contrastive divergence, GAN, TD)."""
    coupled = False
    """True: the rows of a batch affect each other (InfoNCE; BatchNorm in the model), so it cannot be accumulated."""
    noisy = False
    """True: it draws within a step (Gibbs sampling, a latent code), so a batch's slices do not add up to its gradient."""

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        """How many samples, tokens or boxes each term is averaged over, from the batch alone; may be 0.

        Whole numbers where shapes tell; a 0-d tensor where values have to be counted, so that no step waits for a device.
        """
        return {"loss": len(next(iter(batch.values())))}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        """The loss of one micro-batch; `step` is a 0-d int64 tensor (a compiled graph would specialise on an int)."""
        raise NotImplementedError(f"{type(self).__name__} does not define its loss")

    def enter(self, model: nn.Module, source: Source) -> None:
        """Once, at the stage's first step: untie, store, grow, freeze a teacher, prune."""

    def update(self, model: nn.Module, step: int) -> None:
        """After an optimiser step: target networks, chains."""

    def warning(self, model: nn.Module) -> str:
        """A sentence for the person where training goes wrong, asked for at validations; empty: all is well."""
        return ""


class At(NamedTuple):
    """Where a batch lies in a stream, and in the training that asks for it."""

    start: int
    """The batch is samples start … start+size-1 of the stream; it may straddle epochs."""
    size: int
    stage: int = 0
    step: int = 0
    micro: int = 0
    """Of the step's micro-batches on this rank, in order: an acting source acts at a step's first alone."""
    rank: int = 0


class Source(Protocol):
    """An endless stream of samples; sample i of the stream is the unit of addressing, chance and resume."""

    acts: bool
    """True: it acts with the model, at a step's first micro-batch alone (`at.micro` 0); the others are of what it has by then.

    Then it is given the model, in eval mode and without gradients, and may draw from the global generators, which the
    loop has seeded by stage, step and rank; its state is what it goes on from. Any other source is given None, and never
    touches the global generators.
    """
    rows: int
    """Samples in one epoch; 0 where there is no such thing."""

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        """The samples that lie there."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and JSON scalars only; empty for static sources."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


Groups = list[dict[str, Any]]
"""Parameter groups: `name`, `params` (a list of parameters) and `names` (theirs, dotted)."""

Schedule = Callable[[int, int], float]
"""(step, steps) -> factor on the learning rate."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of a training. It holds builders, called with the model when the stage begins."""

    objective: Callable[[nn.Module], Objective]
    source: Callable[[nn.Module], Source]
    optimizer: Callable[[Groups], torch.optim.Optimizer]
    steps: int
    batch_size: int
    schedule: Schedule = lambda step, steps: 1.0
    trains: tuple[str, ...] = ("",)
    """Prefixes of dotted parameter names over model and objective; one parameter group each."""
    accumulate: int = 1
    clip: float = math.inf
    name: str = "train"


class Resampling(Protocol):
    """Rows that are drawn anew, whole groups with replacement, so that a figure's interval is known."""

    units: int
    """How many units were counted, if each is drawn by itself; 0 where some belong together."""
    tail: float
    """The share of drawn figures beyond either end of an interval."""
    shrink: float
    """Where fewer groups are drawn than there are: the share of the spread that is the whole's."""

    def __iter__(self) -> Iterator[Tensor]:
        """Row numbers of one drawing after the other, int64; the same each time."""
        ...

    def ends(self, figures: dict[str, float], drawn: Iterable[dict[str, float]]) -> dict[str, tuple[float, float]]:
        """Name -> (low, high) from the figures of all rows and those of each drawing; without those that are not known."""
        ...


class Metric:
    """Figures of what is counted. It is stateless: every unit that is counted (a row, a window, a node, part of a pair, an
    episode) gives K numbers, and both figures and their intervals come from these rows."""

    higher: Mapping[str, bool]
    """The figures that it gives -> whether more is better."""
    groups: int = 10_000
    """Its figures are of the rows' sum: rows are added up in at most so many groups; 0: each row is needed."""
    signature: str = ""
    """Which of several variants it is: figures compare with those of the same signature."""

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        """float64 [R, K]; `batch` has each row's number as `sample`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it counts")

    def figures(self, rows: Tensor) -> dict[str, float]:
        """Name -> figure of rows [R, K], at least one; NaN where they tell nothing."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its figures are")

    def intervals(self, rows: Tensor, draws: Resampling) -> dict[str, tuple[float, float]]:
        """Name -> (low, high), the 95% interval; without the figures of which nothing is known."""
        return draws.ends(self.figures(rows), (self.figures(rows[draw]) for draw in draws)) if self.higher else {}


class Draws(Protocol):
    """A model that makes new rows."""

    def draw(self, n: int, label: Tensor | None = None) -> Iterator[Tensor]:
        """Frames of drawing n rows [n, *shape] in the model's units, the last of which is the result.

        `label` int64 [n]: classes to draw, for a conditional model. More keyword arguments, each with a type and a
        default, are settings of the drawing (`steps: int = 25`). It draws from the global generator, which the caller has
        seeded. Raises UserError for a label that it cannot draw by.
        """
        ...


class Remarks(Protocol):
    """A model that knows how far its figures can be trusted."""

    def remark(self) -> str:
        """A sentence for the person, after training."""
        ...


class Views(Protocol):
    """A model that has pictures to show of itself: reconstructions, filters, a walk through its codes."""

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """Title -> pictures [N, C, H, W] in the model's units; x [B, C, H, W] are rows that it was not trained on."""
        ...


class Steps(Protocol):
    """A model of sequences that goes on from what it has read."""

    context: int
    """Tokens that it sees at once: of a longer sequence it forgets the beginning (nn/cache.py); 0: as many as there are."""

    def step(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Reads on: tokens int64 [B, T] -> logits [B, V] of what follows the last, and the state to go on from.

        `state` is what an earlier call returned (None: nothing was read yet): a hidden state, or a cache of keys and values,
        which the call may change in place. In eval mode and without gradients.
        """
        ...


class Config(Protocol):
    """The frozen, keyword-only description of a network; it stands beside the class that it builds."""

    def build(self) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a run is made of; rebuilt from a system's name, its choices and the data's hash."""

    model: Config
    stages: tuple[Stage, ...]
    task: Task
    splits: dict[str, Source]
    """Finite, unshuffled, unaugmented: `train` (for its figure), `validation`, `test`; those that exist."""
    select_by: str = ""
    """The figure whose best validation value decides which weights are kept; empty: the last ones."""
    validates: tuple[str, ...] = ()
    """Metrics that are asked at validations; empty: all of the task's."""
    validate_every: int = 0
    """Steps between validations; 0: only at the end of a stage."""
    patience: int = 0
    """Validations without improvement before a stage ends early; 0: never."""
    ema: float = 0.0
    """Decay of the averaged weights that validation and the finished model use; 0: none."""
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    """Every setting of the training, defaults included, as JSON: for the record, not read back."""
    notes: tuple[str, ...] = field(default=())
    """What was decided for the person, each with its reason."""
