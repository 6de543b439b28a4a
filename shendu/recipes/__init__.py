"""What the recipes of supervised systems share: the training settings and how they become a Recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from shendu import config, optim
from shendu.core import Config, Metric, Objective, Recipe, Stage
from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.errors import UserError, unknown
from shendu.field import kind_of
from shendu.objectives.losses import LOSSES
from shendu.objectives.supervised import Penalised
from shendu.objectives.supervised import Supervised as SupervisedObjective
from shendu.parallel import device_of
from shendu.sources.rows import Rows
from shendu.tasks import Task
from shendu.tasks.classify import Classify
from shendu.tasks.forecast import Forecast
from shendu.tasks.regress import Regress


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained; every system has its own defaults, every field can be set from the command line."""

    epochs: float = field(default=10, metadata={"instead_of": "steps"})
    """Passes over the training rows."""
    steps: int = 0
    """Optimiser steps; above 0 it overrides epochs."""
    batch_size: int = 128
    """Rows per step; 0: all of them (full-batch gradient descent)."""
    accumulate: int = 1
    """Micro-batches that a step is computed in."""
    lr: float = 1e-3
    """Learning rate: the highest that the schedule reaches."""
    optimizer: str = "adamw"
    """Name of the optimiser."""
    momentum: float = 0.9
    """Of momentum, nesterov and muon."""
    schedule: str = "constant"
    """Name of the learning-rate schedule."""
    weight_decay: float = 0.0
    """Of matrices and kernels, as the optimiser does it (AdamW apart from the gradient, SGD in it)."""
    l1: float = 0.0
    """Factor of Σ|w|, added to the loss."""
    l2: float = 0.0
    """Factor of Σw²/2, added to the loss."""
    clip: float = math.inf
    """Largest norm of the gradient, per parameter group."""
    loss: str = "auto"
    """Name of the loss; auto: cross-entropy for classes, mse for numbers (or what the system introduces)."""
    label_smoothing: float = 0.0
    """Share of the target's probability that is spread over all classes."""
    augment: tuple[str, ...] = ()
    """What is done to training batches: crop:4, flip, shift:2, rotate:10, cutout:8, mixup:0.2, randaugment:9, delay:0.1, …"""
    ema: float = 0.0
    """Decay of averaged weights, which are then validated and kept; 0: none."""
    patience: int = 0
    """Early stopping: validations without improvement; 0: never."""
    validations: int = 20
    """Validations over the whole training (at most one per epoch)."""
    select_by: str = "auto"
    """The metric whose best validation decides which weights are kept; none: the last ones; auto: the last ones where the
    schedule ends near zero and there is no early stopping, else the task's first metric."""
    seed: int = 0
    """Everything random follows from it."""

    def __post_init__(self) -> None:
        for name, right, like in (
            ("epochs", 0 < self.epochs < math.inf, "10"), ("steps", self.steps >= 0, "1000"), ("clip", self.clip > 0, "1.0"),
            ("l1", 0 <= self.l1 < math.inf, "1e-5"), ("l2", 0 <= self.l2 < math.inf, "1e-4"), ("ema", 0 <= self.ema < 1, "0.999"),
            ("patience", self.patience >= 0, "5"), ("validations", self.validations >= 1, "20"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")


def check_reads(system: str, data: Dataset, *kinds: str) -> None:
    """Raises UserError where a system does not read what a data set holds; `kinds` are those of fields."""
    holds = data.fields[data.input]
    if holds.kind not in kinds:
        reads = " and ".join(kind_of(kind).words for kind in kinds)
        raise UserError(
            f"{system} reads {reads}, and {data.name} holds {holds.words}; leave the system out to have one chosen, or see "
            "`shendu list`"
        )


def labelled(data: Dataset) -> Task:
    """The task of data with a target: a forecast where the order of the rows means something, else classes or numbers."""
    if data.ordered:
        return Forecast.of(data)
    if data.target not in data.fields:
        raise UserError(
            f"{data.name} has no target; name the column with --target, or use a system that learns without one"
        )
    return (Classify if data.fields[data.target].classes else Regress).of(data)


def classes_of(data: Dataset) -> tuple[str, ...]:
    """The target's classes; none where it is a number, or missing."""
    return data.fields[data.target].classes if data.target in data.fields else ()


def answers(task: Task) -> int:
    """How many outputs a network has: one per class, or one per number of the target."""
    return len(task.labels) or math.prod(task.targets["y"].stored)


def steps_of(how: Training, rows: int) -> tuple[int, int]:
    """(steps, batch size) of a training over `rows` rows."""
    size = min(how.batch_size, rows) if how.batch_size else rows
    if size < 1 or how.accumulate < 1 or size < how.accumulate:
        raise UserError(
            f"a batch of {how.batch_size} rows cannot be computed in {how.accumulate} parts; raise --batch-size"
        )
    return how.steps or max(1, round(how.epochs * rows / size)), size


def shuffled(data: Dataset, task: Task, how: Training, device: torch.device) -> Rows:
    """The training part: shuffled and augmented."""
    return Rows(
        data.splits["train"],
        task,
        roles=data.roles(),
        seed=how.seed,
        shuffle=True,
        augment=augment.of(how.augment, data.fields[data.input]),
        classes=len(classes_of(data)),
        device=device,
    )


def stage(
    data: Dataset,
    task: Task,
    how: Training,
    objective: Callable[[nn.Module], Objective],
    *,
    name: str = "train",
    trains: tuple[str, ...] = ("",),
    by_adamw: tuple[str, ...] = (),
) -> Stage:
    """One stage of training over the shuffled training part; raises UserError for settings that do not fit the data.

    `by_adamw` are names of parameters (or what they begin with) that Muon leaves to AdamW.
    """
    steps, size = steps_of(how, len(data.splits["train"]))
    check_augment(how, data)

    def penalised(model: nn.Module) -> Objective:
        built = objective(model)
        return Penalised(built, l1=how.l1, l2=how.l2) if how.l1 or how.l2 else built

    return Stage(
        objective=penalised,
        source=lambda model: shuffled(data, task, how, device_of(model)),
        optimizer=optim.optimizer(
            how.optimizer, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay, by_adamw=by_adamw
        ),
        schedule=optim.schedule(how.schedule),
        steps=steps,
        batch_size=size,
        accumulate=how.accumulate,
        clip=how.clip,
        trains=trains,
        name=name,
    )


def recipe_of(
    data: Dataset,
    net: Config,
    how: Training,
    task: Task,
    stages: tuple[Stage, ...],
    notes: tuple[str, ...] = (),
) -> Recipe:
    """Stages of training, measured on every part of the data; `how` is that of the last one, which is validated."""
    if how.patience and how.select_by == "none":
        raise UserError("patience needs a metric to watch; leave select_by=none out, or name a metric")
    chosen = selection(how, task.metrics())
    last = stages[-1]
    epochs = last.steps * last.batch_size / len(data.splits["train"])
    validations = max(1, min(how.validations, math.ceil(epochs)))
    return Recipe(
        model=net,
        stages=stages,
        task=task,
        splits={part: task.held_out(data, part) for part in data.splits},
        select_by=chosen if "validation" in data.splits else "",
        validate_every=max(1, last.steps // validations),
        patience=how.patience,
        ema=how.ema,
        seed=how.seed,
        settings=config.to_json(how),
        notes=notes,
    )


def supervised(
    data: Dataset,
    net: Config,
    how: Training,
    *,
    coupled: bool = False,
    auxiliary: float = 0.0,
    objective: Callable[[nn.Module], Objective] | None = None,
    trains: tuple[str, ...] = ("",),
    by_adamw: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Recipe:
    """One stage of supervised training; raises UserError for settings that do not fit the data.

    `coupled` and `auxiliary` are those of the objective, `shendu.objectives.supervised.Supervised`; `trains` and
    `by_adamw` are `stage`'s.
    """
    task = labelled(data)
    loss = ("cross-entropy" if task.labels else "mse") if how.loss == "auto" else how.loss
    if loss not in LOSSES:
        raise unknown("loss", loss, [*LOSSES, "auto"])
    if objective:
        check_own_loss(how)
    smoothing = how.label_smoothing if loss in SMOOTHED else 0.0
    if smoothing != how.label_smoothing:
        notes = (
            *notes,
            f"label_smoothing={how.label_smoothing:g} is left out: {loss} has no target probabilities to smooth",
        )

    def named(model: nn.Module) -> Objective:
        return SupervisedObjective(loss, label_smoothing=smoothing, coupled=coupled, auxiliary=auxiliary)

    made = stage(data, task, how, objective or named, trains=trains, by_adamw=by_adamw)
    if coupled and made.batch_size == 1:
        raise UserError("BatchNorm normalises over the rows of a batch, so it needs two or more; use batch_size=32")
    return recipe_of(data, net, how, task, (made,), notes)


def unlabelled(
    data: Dataset,
    net: Config,
    how: Training,
    task: Task,
    objective: Callable[[nn.Module], Objective],
    *,
    notes: tuple[str, ...] = (),
) -> Recipe:
    """One stage of learning without a target; raises UserError for settings that do not fit the data.

    A system of several stages gives them to `recipe_of` itself, each made by `stage`.
    """
    check_own_loss(how)
    return recipe_of(data, net, how, task, (stage(data, task, how, objective),), notes)


def check_own_loss(how: Training) -> None:
    """Raises UserError where a loss is chosen for a system that has its own."""
    given = [name for name, on in (("loss", how.loss != "auto"), ("label_smoothing", how.label_smoothing)) if on]
    if given:
        raise UserError(f"this system's loss is its own: leave {' and '.join(given)} out")


SMOOTHED = ("cross-entropy", "bce")
SETTLES = ("one-cycle", "cosine", "warmup-linear")
"""Schedules whose last weights are the ones that were aimed at; the best of noisy validations comes before they settle."""


def selection(how: Training, metrics: dict[str, Metric]) -> str:
    """The figure that chooses the weights; empty: the last ones are kept."""
    if how.select_by == "none" or (how.select_by == "auto" and how.schedule in SETTLES and not how.patience):
        return ""
    figures = [name for metric in metrics.values() for name in metric.higher]
    if how.select_by == "auto":
        return figures[0]
    if how.select_by not in figures:
        raise unknown("metric for select_by", how.select_by, [*figures, "auto", "none"])
    return how.select_by


def check_augment(how: Training, data: Dataset) -> None:
    chosen = augment.of(how.augment, data.fields[data.input])
    if chosen.mixes and not classes_of(data):
        what = data.fields[data.target].words if data.target in data.fields else "none"
        raise UserError(
            f"{'mixup' if chosen.mixup else 'cutmix'} blends classes, and {data.name} has {what} as its target; leave it out"
        )
