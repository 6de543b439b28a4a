"""THE loop: a source of batches, an objective on the model, and nothing else.

Killed at any moment and continued, it ends with the bytes it would have had: chance is a function of (seed, stage,
step, micro-batch, rank), sample i of a stream is arithmetic, and whatever decides lies in the checkpoint.
"""

from __future__ import annotations

import functools
import math
import operator
import time
from typing import Any

import torch
from torch import Tensor, nn

from shendu import chance, parallel
from shendu.core import At, Batch, Recipe
from shendu.errors import Interrupted, out_of_memory
from shendu.loop import figures, pace, trouble
from shendu.loop.signals import stop_signals
from shendu.loop.state import Progress, Setup, State, average
from shendu.run import Folder, NonFinite

FIRST_SAVE, SAVE_EVERY, SAVE_SHARE = 2.0, 30.0, 0.02
"""Seconds to the first checkpoint and between later ones; at most this share of the time is spent on saving."""
LOG_LINES = 200
ACTING = -1
"""Where a stage's number stands in the seed of a micro-batch, in the seed of a source that acts: no stage has it."""


def fit(recipe: Recipe, folder: Folder, setup: Setup) -> tuple[nn.Module, Progress]:
    """Trains (or continues) a recipe in a run folder; returns the model with its final weights, and where it ended.

    Raises Interrupted after a signal (a checkpoint is saved first) and UserError for what a person must mend.
    """
    decisions: dict[str, Any] = {}
    with stop_signals() as stopping:
        while True:
            try:
                return attempt(recipe, folder, setup, stopping, decisions)
            except trouble.Rewind as back:
                decisions = back.decisions


def attempt(
    recipe: Recipe, folder: Folder, setup: Setup, stopping: list[int], decisions: dict[str, Any]
) -> tuple[nn.Module, Progress]:
    """From the newest checkpoint to the end; a function of its own, so that a rewind frees all of its tensors first."""
    session = Session(recipe, folder, setup, stopping)
    if decisions:
        session.decide(decisions)
    return session.train(), session.at


class Session(State):
    """Training between two starts of the process (or two rewinds)."""

    def __init__(self, recipe: Recipe, folder: Folder, setup: Setup, stopping: list[int]) -> None:
        super().__init__(recipe, folder, setup)
        self.stopping = stopping
        self.saved_at = self.shown_at = time.monotonic()
        self.save_after = FIRST_SAVE

    # ---- the walk over stages

    def train(self) -> nn.Module:
        while self.at.stage < len(self.recipe.stages):
            self.run_stage()
            self.close_stage()
        self.model.requires_grad_(True)
        return self.averaged if self.averaged is not None and self.best is None else self.model

    def run_stage(self) -> None:
        last = self.at.stage == len(self.recipe.stages) - 1
        if self.at.total == 0 and not self.folder.checkpoints():
            self.save()
        while True:
            self.pulse()
            if last and self.at.validated < self.at.step and figures.due(self):
                figures.validate(self, self.pulse)
            if self.at.step >= self.stage.steps or self.at.stopped:
                return
            if [self.at.stage, self.at.step] in self.at.skips:
                self.at.step, self.at.total = self.at.step + 1, self.at.total + 1
                continue
            self.step()

    def close_stage(self) -> None:
        """The last stage ends with its best weights, where a validation figure chose them."""
        if self.pending:
            figures.log(self)
        if self.best is not None and self.at.stage == len(self.recipe.stages) - 1:
            self.model.load_state_dict(self.best)
        at = self.at
        at.stage, at.step, at.steps, at.micro, at.validated, at.stopped = at.stage + 1, 0, 0, 1, -1, False
        over = at.stage == len(self.recipe.stages)
        if over:
            self.optimizer = None
        else:
            self.open_stage()
        self.save()

    # ---- a step

    def step(self) -> None:
        began = time.perf_counter()
        try:
            batches = self.fetch()
            loss = self.update(batches)
        except Exception as error:
            if out_of_memory(error):
                trouble.shrink(self, error)
            raise
        at = self.at
        at.step, at.total, at.samples = at.step + 1, at.total + 1, at.samples + self.stage.batch_size
        self.pending.append((at.step, loss))
        if at.step % max(1, min(50, self.stage.steps // LOG_LINES)) == 0 or at.step == self.stage.steps:
            figures.log(self)
        now = time.perf_counter()
        at.seconds += now - began
        if now - self.shown_at > 0.25:
            self.shown_at = now
            self.setup.show({**figures.line(self), "loss": float(loss)})
        if at.compiled is None and at.step >= pace.TRIAL_STEP:
            self.consider_compiling(batches)
        if self.setup.time_limit and pace.plan(self):
            self.save()
        if time.monotonic() - self.saved_at > self.save_after:
            self.save()

    def update(self, batches: list[Batch]) -> Tensor:
        """One optimiser step: the one place of the package where weights move. Returns the loss, still on the device."""
        stage, at, model = self.stage, self.at, self.model
        assert self.optimizer is not None
        factor = stage.schedule(at.step, stage.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        for group in self.groups:
            for p in group["params"]:
                p.grad = None
        units = self.units(batches)
        self.step_tensor.fill_(at.step)
        total = None
        for m, batch in enumerate(batches):
            chance.reseed(self.setup.seed, at.stage, at.step, m, parallel.rank())
            value, self.logs = self.backward(self.learner, batch, units)
            total = value if total is None else total + value
        assert total is not None
        if self.setup.on_nan == "skip" and not trouble.finite(total, self.groups):
            trouble.leave_out(self)
        if stage.clip < math.inf:
            for group in self.groups:
                nn.utils.clip_grad_norm_(group["params"], stage.clip, foreach=True)
        self.optimizer.step()
        self.objective.update(model, at.step)
        if self.averaged is not None:
            average(self.averaged, model, min(self.recipe.ema, (1 + at.step) / (10 + at.step)))
        return total

    def backward(
        self, learner: nn.Module, batch: Batch, units: dict[str, Tensor | int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds a micro-batch's share of the gradient; returns its share of the loss, and what to show."""
        with parallel.autocast(self.setup.device, self.setup.precision):
            loss = learner(batch, self.step_tensor)
        value = functools.reduce(torch.add, (term / units[name] for name, term in loss.sums.items()))
        value.backward()
        return value.detach(), loss.logs

    def fetch(self) -> list[Batch]:
        """The step's micro-batches: neighbouring slices of the stream; each is asked for once, since a source may act."""
        stage, at = self.stage, self.at
        count = stage.accumulate * at.micro * parallel.world()
        start = at.step * stage.batch_size
        edges = [start + i * stage.batch_size // count for i in range(count + 1)]
        rank, world = parallel.rank(), parallel.world()
        mine = range(rank * count // world, (rank + 1) * count // world)
        asked = [At(edges[i], edges[i + 1] - edges[i], at.stage, at.step, m, rank) for m, i in enumerate(mine)]
        if self.source.acts:
            chance.reseed(self.setup.seed, ACTING, at.stage, at.step, rank)
            with parallel.evaluating(self.model):
                slices = [self.source.batch(each, self.model) for each in asked]
        else:
            slices = [self.source.batch(each) for each in asked]
        return [parallel.to_device(batch, self.setup.device, at.layout) for batch in slices]

    def units(self, batches: list[Batch]) -> dict[str, Tensor | int]:
        """Per term, what it is averaged over: added up over micro-batches and ranks; never below 1."""
        counts = [self.objective.units(batch) for batch in batches]
        summed = {name: functools.reduce(operator.add, (c[name] for c in counts)) for name in counts[0]}
        return {name: parallel.units_over_ranks(count) for name, count in summed.items()}

    # ---- what is written down

    def save(self) -> None:
        began = time.monotonic()
        if self.pending:
            figures.log(self)
        try:
            self.folder.save(self.at.total, self.tree())
        except NonFinite as where:
            trouble.not_finite(self, self.at.total, f"{where.args[0]} was no longer finite")
        self.saved_at = time.monotonic()
        if self.at.total:  # what lies at step 0 has cost nobody anything: the next one comes soon
            self.save_after = max(SAVE_EVERY, (self.saved_at - began) / SAVE_SHARE)

    def pulse(self) -> None:
        """Between steps and while validating: ends the run, saved, where a signal has come."""
        if self.stopping:
            self.save()
            raise Interrupted(f"stopped at step {self.at.step:,} of {self.stage.steps:,}", self.stopping[0])

    def decide(self, decisions: dict[str, Any]) -> None:
        """What an accident decided goes into a checkpoint at once."""
        for name, value in decisions.items():
            setattr(self.at, name, value)
        self.save()

    def consider_compiling(self, batches: list[Batch]) -> None:
        """Tried on the batches of the step that was just made: a source that acts is asked no more often for it."""
        self.at.compiled = False
        if not pace.worth_a_trial(self):
            return
        units = self.units(batches)

        def backward(learner: nn.Module, layout: str) -> Tensor:
            if self.stopping:
                self.at.compiled = None  # nothing was decided: it is tried when the run goes on
                self.pulse()
            return self.backward(learner, parallel.to_device(batches[0], self.setup.device, layout), units)[0]

        pace.try_compiling(self, backward)
        self.save()
