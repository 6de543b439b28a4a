"""Hopfield network (1982): memories as valleys of an energy, recalled from a part of themselves.

Units of -1 and +1, each connected with each. Storing adds up the patterns' outer products; recalling lets every unit
follow its neighbours, which can only lower the energy, until nothing moves. One rule holds about 0.14 patterns per unit,
the projection rule as many as are independent; the continuous form of 2020 holds exponentially many and is attention.

J. Hopfield: Neural networks and physical systems with emergent collective computational abilities. PNAS 79, 1982.
L. Personnaz, I. Guyon, G. Dreyfus: Information storage and retrieval in spin-glass like neural networks. J. Physique
Lettres 46, 1985 (storage=pseudo-inverse). H. Ramsauer et al.: Hopfield networks is all you need. 2020 (form=modern).

Deviations: (1) units of -1 and +1; 1982: 0 and 1, the same network after a change of thresholds; (2) units take turns in
a drawn order, each once a sweep; 1982: each at a mean rate of its own; (3) the projection rule is the default, since
pictures of one kind overlap, which the outer products do not bear (storage=hebbian brings them back).

Shape letters: B rows, N units, M stored patterns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from shendu import chance, optim
from shendu.config import settle
from shendu.core import At, Loss, Objective, Recipe, Source, Stage
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn.energy import own_draws
from shendu.recipes import Training, check_reads, recipe_of
from shendu.sources.rows import Rows
from shendu.tasks.score import Score

ORDER, NOISE = 1, 2
"""Keys of the order in which units take turns, and of the corruption that a figure is measured under."""
PIECES = 8
"""Frames per sweep of an asynchronous recall."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`corrupt` is the share of units that is flipped before recall; `beta` the modern form's inverse temperature."""

    shape: tuple[int, ...] = (1, 8, 8)
    patterns: int = 10
    form: Literal["classic", "modern"] = "classic"
    storage: Literal["pseudo-inverse", "hebbian"] = "pseudo-inverse"
    updates: Literal["asynchronous", "synchronous"] = "asynchronous"
    corrupt: float = 0.2
    beta: float = 1.0
    sweeps: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.corrupt <= 0.5:
            raise UserError(
                f"corrupt={self.corrupt:g} is no share of flipped units up to a half; write it like corrupt=0.2"
            )
        if self.sweeps < 1 or not 0 < self.beta < math.inf:
            raise UserError(
                f"sweeps={self.sweeps} and beta={self.beta:g} must be above 0; write them like sweeps=20,beta=1"
            )

    def build(self) -> nn.Module:
        return Modern(self) if self.form == "modern" else Hopfield(self)


@dataclass(frozen=True, kw_only=True)
class Memories:
    """What is stored."""

    per_class: int = 1
    """The first so many rows of each class; of data without classes ten times as many."""

    def __post_init__(self) -> None:
        if self.per_class < 1:
            raise UserError(f"per_class={self.per_class} stores nothing; write it like per_class=1")


def signs(x: Tensor) -> Tensor:
    """-1 and +1."""
    return torch.where(x > 0, 1.0, -1.0)


class Memory(nn.Module):
    """Stored patterns [M, N] of -1 and +1, and what both forms do with them; `relax` is a form's own."""

    patterns: Tensor
    classes: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.units = config, math.prod(config.shape)
        self.register_buffer("patterns", torch.zeros(config.patterns, self.units))
        self.register_buffer("classes", torch.zeros(config.patterns, dtype=torch.int64))

    def store(self, x: Tensor, classes: Tensor) -> None:
        """x [M, N] of -1 and +1, classes int64 [M]."""
        self.patterns.copy_(x)
        self.classes.copy_(classes)

    def relax(self, s: Tensor) -> Iterator[Tensor]:
        """States [B, N] on the way from s to rest."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it recalls")

    def energy(self, s: Tensor) -> Tensor:
        """[B, N] -> [B]."""
        raise NotImplementedError(f"{type(self).__name__} has no energy")

    def recall(self, s: Tensor) -> Tensor:
        """s [B, N] -> where it comes to rest."""
        for state in self.relax(s):
            s = state
        return s

    def corrupted(self, s: Tensor) -> Tensor:
        """A share of each row's units flipped, always the same ones of equal rows."""
        return torch.where(own_draws(s, self.units, NOISE) < self.config.corrupt, -s, s)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> [B, 2]: energy per unit, and the share of units that are wrong after recall from the corrupted row."""
        s = signs(x.flatten(1))
        with torch.autocast(x.device.type, enabled=False):  # a state's energy is a small difference of large sums
            wrong = (signs(self.recall(self.corrupted(s))) != s).float().mean(1)
            return torch.stack([self.energy(s) / self.units, wrong], 1)

    def draw(self, n: int, label: Tensor | None = None, *, corrupt: float = 0.3) -> Iterator[Tensor]:
        """Frames [n, *shape] of recalling stored patterns (of the classes `label`) from a corrupted state."""
        at = torch.arange(n, device=self.patterns.device)
        if label is not None:
            at = self._of_classes(label)
        s = self.patterns[at % len(self.patterns)]
        s = torch.where(torch.rand(s.shape, device=s.device) < corrupt, -s, s)
        yield s.view(n, *self.config.shape)
        for state in self.relax(s):
            yield state.view(n, *self.config.shape)

    def _of_classes(self, label: Tensor) -> Tensor:
        """For each label a stored pattern of that class, the next one where a class is asked for again."""
        same = label[:, None] == label[None, :]
        times = same.tril(-1).sum(1)
        mine = self.classes[None, :] == label[:, None]
        if not mine.any(1).all():
            raise UserError("no pattern of that class is stored; leave --class out, or store more with per_class=2")
        wanted = times % mine.sum(1)
        return ((mine.cumsum(1) - 1 == wanted[:, None]) & mine).int().argmax(1)

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """Stored patterns, corrupted, recalled; and what new rows recall."""
        shown = self.patterns[:64]
        corrupted = self.corrupted(shown)
        found = {"Stored": shown, "Corrupted": corrupted, "Recalled": self.recall(corrupted)}
        found["Recalled by rows that were not stored"] = self.recall(signs(x.flatten(1)))
        return {title: s.reshape(-1, *self.config.shape) for title, s in found.items()}


class Hopfield(Memory):
    """Binary units: s_i ← sign(Σ_j W_ij s_j), W symmetric without a diagonal; a unit without a field keeps its state."""

    weight: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("weight", torch.zeros(self.units, self.units))

    def store(self, x: Tensor, classes: Tensor) -> None:
        super().store(x, classes)
        self.weight.copy_(hebbian(x) if self.config.storage == "hebbian" else projection(x))

    def energy(self, s: Tensor) -> Tensor:
        """-½ sᵀWs."""
        return -0.5 * (s @ self.weight * s).sum(1)

    def relax(self, s: Tensor) -> Iterator[Tensor]:
        step = self.one_by_one if self.config.updates == "asynchronous" else self.together
        for sweep in range(self.config.sweeps):
            before = s
            for state in step(s, sweep):
                s = state
                yield s
            if torch.equal(s, before):
                return

    def together(self, s: Tensor, sweep: int) -> Iterator[Tensor]:
        """All units at once: quick, but the energy may rise, and two states may alternate for ever."""
        yield follow(s @ self.weight, s)

    def one_by_one(self, s: Tensor, sweep: int) -> Iterator[Tensor]:
        """Each unit once, in an order drawn for this sweep: the energy never rises. Yields in the course of the sweep."""
        state = s.T.clone(memory_format=torch.contiguous_format)
        order = torch.randperm(self.units, generator=chance.generator(ORDER, sweep)).tolist()
        size = -(-self.units // PIECES)
        for start in range(0, self.units, size):
            for i in order[start : start + size]:
                state[i] = follow(self.weight[i] @ state, state[i])
            yield state.T.clone()


def follow(field: Tensor, s: Tensor) -> Tensor:
    """The field's sign; the old state where there is none."""
    return torch.where(field == 0, s, signs(field))


def hebbian(x: Tensor) -> Tensor:
    """Σ x xᵀ / N without its diagonal (Hopfield 1982, equation 2). x [M, N] -> [N, N]."""
    return (x.T @ x / x.shape[1]).fill_diagonal_(0)


def projection(x: Tensor) -> Tensor:
    """The projection onto the patterns' span, X⁺X, without its diagonal: each pattern's field is at its own sign."""
    double = x.double()
    return (torch.linalg.pinv(double) @ double).to(x.dtype).fill_diagonal_(0)


class Modern(Memory):
    """Continuous states: ξ ← Xᵀ softmax(β X ξ), attention over the stored patterns (Ramsauer et al. 2020, equation 3)."""

    def relax(self, s: Tensor) -> Iterator[Tensor]:
        for _ in range(self.config.sweeps):
            before = s
            s = (self.config.beta * s @ self.patterns.T).softmax(1) @ self.patterns
            yield s
            if torch.allclose(s, before, atol=1e-6):
                return

    def energy(self, s: Tensor) -> Tensor:
        """-lse(β, Xξ) + ½ξᵀξ + log(M)/β + ½ max‖x‖² (equation 2): never below 0."""
        beta = self.config.beta
        lse = (beta * s @ self.patterns.T).logsumexp(1) / beta
        longest = self.patterns.square().sum(1).amax()
        return -lse + 0.5 * s.square().sum(1) + math.log(len(self.patterns)) / beta + 0.5 * longest


@torch.no_grad()
def capacity(units: int, loads: tuple[float, ...], seed: int = 0) -> list[float]:
    """Per load (patterns per unit): how much of random patterns is left after recall from themselves, Hebbian storage.

    The mean overlap Σ s x / N: near 1 below the knee at 0.138 (Amit, Gutfreund and Sompolinsky 1985), far below 1 above.
    """
    kept = []
    for load in loads:
        patterns = max(1, round(load * units))
        x = signs(torch.rand(patterns, units, generator=chance.generator(seed, patterns)) - 0.5)
        net = Hopfield(Config(shape=(units,), patterns=patterns, storage="hebbian", sweeps=50))
        net.store(x, torch.zeros(patterns, dtype=torch.int64))
        kept.append(float((net.recall(x) * x).mean()))
    return kept


class Store(Objective):
    """Stores the source's rows when the stage begins; no gradient, so a stage of no steps."""

    def enter(self, model: nn.Module, source: Source) -> None:
        assert isinstance(model, Memory)
        rows = source.batch(At(0, source.rows))
        y = rows["y"]
        model.store(signs(rows["x"].flatten(1)), torch.zeros_like(model.classes) if y.is_floating_point() else y)

    def forward(self, model: nn.Module, batch: dict[str, Tensor], step: Tensor) -> Loss:
        raise AssertionError("a Hopfield network stores, it is not trained")


def chosen(data: Dataset, per_class: int) -> np.ndarray:
    """The training rows that are stored: the first of each class."""
    train = data.splits["train"]
    if not isinstance(data.fields[data.target], Category):
        return np.arange(min(10 * per_class, len(train)))
    y = train.column(data.target)
    return np.sort(np.concatenate([np.flatnonzero(y == label)[:per_class] for label in np.unique(y)]))


CAN = ["draw", "views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Rows are black and white: pictures at half of the brightest, numbers at the training rows' mean."""
    check_reads("hopfield", data, "image", "number")
    scores = {"energy": False, "recall-error": False}
    task = Score.of(data, scores, "signed" if isinstance(data.fields[data.input], Image) else "standard", can=CAN)
    net, how, memories = settle(choices, Config(), Training(steps=0), Memories(), given=("shape", "patterns"))
    rows = chosen(data, memories.per_class)
    stored = data.splits["train"].take(rows)
    stage = Stage(
        objective=lambda model: Store(),
        source=lambda model: Rows(stored, task, roles=data.roles()),
        optimizer=optim.optimizer("sgd", lr=1.0),
        steps=0,
        batch_size=1,
        trains=(),
        name="store",
    )
    net = replace(net, shape=task.shape, patterns=len(rows))
    return recipe_of(data, net, how, task, (stage,))


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {}


REFERENCES = (
    {"data": "digits", "metric": "energy", "published": None, "target": -0.2, "source": ""},
)  # fmt: skip
