"""THE loop: a source of batches, an objective on the model, and nothing else.

Killed at any moment and continued, it ends with the bytes it would have had: chance is a function of (seed, stage,
step, micro-batch, rank), sample i of a stream is arithmetic, and whatever decides lies in the checkpoint.
"""

from __future__ import annotations

import copy
import functools
import math
import operator
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from shendu import chance, parallel
from shendu.core import Batch, Groups, Loss, Objective, Recipe, Source, Stage
from shendu.errors import Interrupted, UserError
from shendu.measure import measure
from shendu.run import Folder, NonFinite

INIT, BUILD, VALIDATION = 1, 2, 3
FIRST_SAVE, SAVE_EVERY, SAVE_SHARE = 2.0, 30.0, 0.02
"""Seconds to the first checkpoint and between later ones; at most this share of the time is spent on saving."""
LOG_LINES, MOST_SKIPS, TRIAL_STEP = 200, 100, 8
REVIEWS = (0.03, 0.1, 0.3, 0.6, 0.85)
"""Shares of the time limit after which the steps that fit into it are counted anew."""


@dataclass
class Setup:
    """How a recipe is run on this machine, beside what it is."""

    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    """`auto` is settled as soon as the network is there: it depends on its size."""
    compile: str = "auto"
    on_nan: str = "stop"
    time_limit: float = 0.0
    """Seconds from now that training may take; 0: as long as it takes."""
    resume: str = "exact"
    start: Callable[[], dict[str, Tensor]] = dict
    """Weights that the model begins with instead of its random ones; asked for only where there is no checkpoint."""
    say: Callable[[str], None] = print
    show: Callable[[dict[str, Any]], None] = lambda line: None


@dataclass
class Progress:
    """Where a run is, and all that was decided on the way: a checkpoint's JSON part."""

    stage: int = 0
    step: int = 0
    total: int = 0
    validated: int = -1
    stopped: bool = False
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    """Seconds of all stretches so far, validations and checkpoints included."""
    steps: int = 0
    """Steps of this stage that fit into the time limit; 0: all of them."""
    reviews: int = 0
    samples: int = 0
    position: int = 0
    micro: int = 1
    compiled: bool | None = None
    layout: str = "channels_last"
    skips: list[list[int]] = field(default_factory=list)
    validation: dict[str, float] = field(default_factory=dict)


class Learner(nn.Module):
    """Model and objective behind one forward, so that DDP, FSDP, autocast and compile see every call."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, step: Tensor) -> Loss:
        return self.objective(self.model, batch, step)


class Rewind(Exception):
    """Back to the last checkpoint with a decision written down: memory ran out, or a loss was not finite."""

    def __init__(self, decisions: dict[str, Any]) -> None:
        super().__init__()
        self.decisions = decisions


def fit(recipe: Recipe, folder: Folder, setup: Setup) -> tuple[nn.Module, Progress]:
    """Trains (or continues) a recipe in a run folder; returns the model with its final weights, and where it ended.

    Raises Interrupted after a signal (a checkpoint is saved first) and UserError for what a person must mend.
    """
    decisions: dict[str, Any] = {}
    with stop_signals() as stopping:
        while True:
            try:
                return stretch(recipe, folder, setup, stopping, decisions)
            except Rewind as back:
                decisions = back.decisions


def stretch(
    recipe: Recipe, folder: Folder, setup: Setup, stopping: list[int], decisions: dict[str, Any]
) -> tuple[nn.Module, Progress]:
    """From the newest checkpoint to the end; a function of its own, so that a rewind frees all of its tensors first."""
    session = Session(recipe, folder, setup, stopping)
    if decisions:
        session.decide(decisions)
    return session.train(), session.at


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM in a list that the loop looks at between steps; a second Ctrl-C stops at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def named_groups(learner: Learner, prefixes: tuple[str, ...]) -> Groups:
    """One parameter group per prefix (a whole dotted name, or its beginning up to a dot); the rest is frozen.

    Names are the model's own; the objective's begin with `objective.`. Overlapping or empty groups are an error.
    """
    named = {name.removeprefix("model."): p for name, p in learner.named_parameters()}
    offered = {n: p for n, p in named.items() if p.requires_grad or not n.startswith("objective.")}
    taken: set[str] = set()
    groups: Groups = []
    for prefix in prefixes:
        names = [n for n in offered if not prefix or n == prefix or n.startswith(prefix + ".")]
        assert names, f"trains={prefixes}: no parameter is called {prefix!r}"
        assert not taken.intersection(names), (
            f"trains={prefixes}: groups overlap at {sorted(taken.intersection(names))[0]}"
        )
        taken.update(names)
        groups.append({"name": prefix or "all", "names": names, "params": [offered[n] for n in names]})
    for name, p in named.items():
        p.requires_grad_(name in taken)
    return groups


def set_modes(learner: nn.Module) -> None:
    """Train mode; whole modules with weights of which none is trained (an objective's teacher too) run in eval mode."""
    learner.train()
    for module in learner.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


class Session:
    """One stretch of training between two starts of the process (or two rewinds)."""

    def __init__(self, recipe: Recipe, folder: Folder, setup: Setup, stopping: list[int]) -> None:
        self.recipe, self.folder, self.setup, self.stopping = recipe, folder, setup, stopping
        saved = folder.newest(setup.say)
        self.at = Progress(**saved["at"]) if saved else Progress()
        chance.reseed(setup.seed, INIT)
        self.model = parallel.place(recipe.model.build(), setup.device)
        setup.precision = parallel.choose_precision(setup.precision, setup.device, self.model)
        self.environment = parallel.environment(setup.device, setup.precision)
        if saved and self.at.stage < len(recipe.stages):
            check_environment(saved["environment"], self.environment, setup)
        if saved is None and (weights := setup.start()):
            self.model.load_state_dict(weights, strict=False)
        for i in range(self.at.stage):
            self.build(recipe.stages[i], i)
        self.averaged = self.copy()
        self.best: dict[str, Tensor] | None = None
        self.pending: list[tuple[int, Tensor]] = []
        self.warned = ""
        self.saved_at = self.shown_at = time.monotonic()
        self.before, self.began = self.at.elapsed, time.monotonic()
        self.save_after = FIRST_SAVE
        if self.at.stage < len(recipe.stages):
            self.open_stage(saved)
        elif saved:
            self.restore(saved)
        folder.cut(self.at.position)

    # ---- building and restoring

    def build(self, stage: Stage, number: int) -> tuple[Objective, Source]:
        """The stage's objective and source, entered: replayed on resume, since it may change what there is to load."""
        chance.reseed(self.setup.seed, BUILD, number)
        objective, source = stage.objective(self.model).to(self.setup.device), stage.source(self.model)
        objective.enter(self.model, source)
        return objective, source

    def copy(self) -> nn.Module | None:
        """Where the averaged weights of a stage begin: `enter` may have changed the network's very structure."""
        return copy.deepcopy(self.model).requires_grad_(False) if self.recipe.ema else None

    def open_stage(self, saved: dict[str, Any] | None = None) -> None:
        self.stage = self.recipe.stages[self.at.stage]
        if self.at.steps:
            self.stage = replace(self.stage, steps=self.at.steps)
        self.objective, self.source = self.build(self.stage, self.at.stage)
        self.averaged = self.copy()
        if self.objective.coupled and self.stage.accumulate * self.at.micro > 1:
            raise UserError(
                "the rows of a batch affect each other here, so accumulate must be 1; lower --batch-size instead"
            )
        self.learner = Learner(self.model, self.objective)
        self.groups = named_groups(self.learner, self.stage.trains)
        self.optimizer = self.stage.optimizer(self.groups) if self.stage.steps else None
        parallel.arrange(self.learner, self.at.layout)
        if saved:
            self.restore(saved)
        set_modes(self.learner)
        if self.at.compiled is None and self.setup.compile != "auto":
            self.at.compiled = self.setup.compile == "on"
        if self.at.compiled:
            self.learner.compile()
        self.step_tensor = torch.tensor(self.at.step, device=self.setup.device)

    def restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(saved["averaged"])
        if saved["best"] is not None:
            self.best = {name: t.to(self.setup.device) for name, t in saved["best"].items()}
        if self.at.stage < len(self.recipe.stages) and saved["objective"] is not None:
            self.objective.load_state_dict(saved["objective"])
            self.source.load_state_dict(saved["source"])
            if self.optimizer is not None:
                restore_optimizer(self.optimizer, saved["optimizer"])

    # ---- the run

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
            if self.stopping:
                self.interrupt()
            if last and self.at.validated < self.at.step and self.due():
                self.validate()
            if self.at.step >= self.stage.steps or self.at.stopped:
                return
            if [self.at.stage, self.at.step] in self.at.skips:
                self.at.step, self.at.total = self.at.step + 1, self.at.total + 1
                continue
            self.step()

    def due(self) -> bool:
        """Validation comes at steps fixed in advance: every so many, and at the end."""
        if "validation" not in self.recipe.splits or self.at.step == 0:
            return False
        planned = self.recipe.stages[self.at.stage].steps
        every = math.ceil(self.recipe.validate_every * self.stage.steps / max(1, planned))
        return self.at.step >= self.stage.steps or bool(every and self.at.step % every == 0)

    def step(self) -> None:
        began = time.perf_counter()
        try:
            loss = self.update()
        except Exception as error:
            if parallel.out_of_memory(error):
                self.shrink(error)
            raise
        at = self.at
        at.step, at.total, at.samples = at.step + 1, at.total + 1, at.samples + self.stage.batch_size
        self.pending.append((at.step, loss))
        if at.step % max(1, min(50, self.stage.steps // LOG_LINES)) == 0 or at.step == self.stage.steps:
            self.log()
        now = time.perf_counter()
        at.seconds += now - began
        if now - self.shown_at > 0.25:
            self.shown_at = now
            self.setup.show({**self.line(), "loss": float(loss)})
        if at.compiled is None and at.step == TRIAL_STEP:
            self.consider_compiling()
        if self.setup.time_limit:
            self.watch_the_clock()
        if time.monotonic() - self.saved_at > self.save_after:
            self.save()

    def update(self) -> Tensor:
        """One optimiser step: the one place of the package where weights move. Returns the loss, still on the device."""
        stage, at, model = self.stage, self.at, self.model
        assert self.optimizer is not None
        factor = stage.schedule(at.step, stage.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        for group in self.groups:
            for p in group["params"]:
                p.grad = None
        batches = self.fetch()
        units = self.units(batches)
        self.step_tensor.fill_(at.step)
        total = None
        for m, batch in enumerate(batches):
            chance.reseed(self.setup.seed, at.stage, at.step, m, parallel.rank())
            value, self.logs = self.backward(self.learner, batch, units)
            total = value if total is None else total + value
        assert total is not None
        if self.setup.on_nan == "skip" and not finite(total, self.groups):
            self.leave_out()
        if stage.clip < math.inf:
            for group in self.groups:
                nn.utils.clip_grad_norm_(group["params"], stage.clip, foreach=True)
        self.optimizer.step()
        self.objective.update(model, at.step)
        if self.averaged is not None:
            average(self.averaged, model, min(self.recipe.ema, (1 + at.total) / (10 + at.total)))
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
        """The step's micro-batches: neighbouring slices of the stream."""
        stage, at = self.stage, self.at
        count = stage.accumulate * at.micro * parallel.world()
        start = at.step * stage.batch_size
        edges = [start + i * stage.batch_size // count for i in range(count + 1)]
        mine = range(parallel.rank() * count // parallel.world(), (parallel.rank() + 1) * count // parallel.world())
        slices = [self.source.batch(edges[i], edges[i + 1] - edges[i], self.model) for i in mine]
        return [parallel.to_device(batch, self.setup.device, self.at.layout) for batch in slices]

    def units(self, batches: list[Batch]) -> dict[str, Tensor | int]:
        """Per term, what it is averaged over: added up over micro-batches and ranks; never below 1."""
        counts = [self.objective.units(batch) for batch in batches]
        summed = {name: functools.reduce(operator.add, (c[name] for c in counts)) for name in counts[0]}
        return {name: parallel.units_over_ranks(count) for name, count in summed.items()}

    # ---- housekeeping

    def line(self) -> dict[str, Any]:
        at = self.at
        return {
            "stage": at.stage, "name": self.stage.name, "step": at.step, "steps": self.stage.steps, "seconds": at.seconds,
            "samples_per_second": at.samples / at.seconds if at.seconds else 0.0, **at.validation,
        }  # fmt: skip

    def log(self) -> None:
        values = torch.stack([loss for _, loss in self.pending]).float().cpu()
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            self.not_finite(self.pending[int(bad[0])][0], f"the loss was {float(values[bad[0]]):g}")
        self.pending.clear()
        at, logs = self.at, {name: float(value) for name, value in self.logs.items()}
        rate = self.optimizer.param_groups[0]["lr"] if self.optimizer is not None else 0.0
        self.folder.log({"stage": at.stage, "step": at.step, "total": at.total, "loss": float(values.mean()), "lr": rate,
                         "seconds": round(at.seconds, 3), "samples": at.samples, **logs})  # fmt: skip

    def validate(self) -> None:
        at, model = self.at, self.averaged if self.averaged is not None else self.model
        chance.reseed(self.setup.seed, VALIDATION, at.stage, at.step)
        figures = measure(model, self.recipe.processor, self.recipe.splits["validation"], self.recipe.metrics,
                          self.setup.device, self.setup.precision, pulse=self.pulse)  # fmt: skip
        at.validated = at.step
        at.validation = {f"validation {name}": value for name, value in figures.items()}
        self.folder.log({"stage": at.stage, "step": at.step, "total": at.total, **at.validation})
        self.setup.show(self.line())
        self.warn()
        if not self.recipe.select_by:
            return
        value = figures[self.recipe.select_by]
        higher = self.recipe.metrics[self.recipe.select_by]().higher
        if not math.isnan(value) and (at.best is None or (value > at.best if higher else value < at.best)):
            at.best, at.best_step, at.waited = value, at.step, 0
            self.best = {name: t.detach().clone() for name, t in model.state_dict().items()}
        else:
            at.waited += 1
            at.stopped = bool(self.recipe.patience) and at.waited >= self.recipe.patience

    def warn(self) -> None:
        """What the objective says goes wrong, where that is something else than the last time."""
        text = self.objective.warning(self.model)
        if text and text != self.warned:
            self.setup.say(f"step {self.at.step:,}: {text}")
        self.warned = text

    def close_stage(self) -> None:
        """The last stage ends with its best weights, where a validation figure chose them."""
        if self.pending:
            self.log()
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

    def tree(self) -> dict[str, Any]:
        open_stage = self.at.stage < len(self.recipe.stages)
        self.at.position = self.folder.logged()
        self.at.elapsed = self.elapsed()
        return {
            "at": asdict(self.at),
            "environment": self.environment,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "best": self.best,
            "objective": self.objective.state_dict() if open_stage else None,
            "source": self.source.state_dict() if open_stage else None,
            "optimizer": self.optimizer.state_dict()["state"] if self.optimizer is not None else None,
        }

    def save(self) -> None:
        began = time.monotonic()
        if self.pending:
            self.log()
        try:
            self.folder.save(self.at.total, self.tree())
        except NonFinite as where:
            self.not_finite(self.at.total, f"{where.args[0]} was no longer finite")
        self.saved_at = time.monotonic()
        self.save_after = max(SAVE_EVERY, (self.saved_at - began) / SAVE_SHARE)

    def pulse(self) -> None:
        if self.stopping:
            self.interrupt()

    def interrupt(self) -> None:
        self.save()
        raise Interrupted(f"stopped at step {self.at.step:,} of {self.stage.steps:,}", self.stopping[0])

    # ---- decisions taken by accident or by timing: always written into a checkpoint

    def decide(self, decisions: dict[str, Any]) -> None:
        for name, value in decisions.items():
            setattr(self.at, name, value)
        self.save()

    def consider_compiling(self) -> None:
        left = self.at.seconds / TRIAL_STEP * (self.stage.steps - self.at.step)
        if self.setup.time_limit:
            left = min(left, self.setup.time_limit - self.elapsed())
        self.at.compiled = False
        if left > parallel.TRIAL_WORTH[self.setup.device.type]:
            self.setup.say(
                f"about {left / 60:.0f} min of training left: trying whether compiling pays (half a minute to two)"
            )
            batches = self.fetch()
            units = self.units(batches)

            def backward(learner: nn.Module, layout: str) -> Tensor:
                return self.backward(learner, parallel.to_device(batches[0], self.setup.device, layout), units)[0]

            self.at.compiled, self.at.layout, why = parallel.fastest(self.learner, backward)
            self.setup.say(why)
            if self.at.compiled:
                self.lay_out()
                self.learner.compile()
            self.save()

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.began

    def watch_the_clock(self) -> None:
        """At a few shares of the time limit, plans as many steps as fit into the rest; at its end, stops."""
        at, limit, used = self.at, self.setup.time_limit, self.elapsed()
        if used >= limit:
            at.stopped = True
        due = sum(used > share * limit for share in REVIEWS)
        if due <= at.reviews or at.stopped:
            return
        at.reviews = due
        stages = self.recipe.stages[at.stage :]
        planned = stages[0].steps
        left = sum(stage.steps for stage in stages) - at.step
        fitting = (limit - used) / (used / at.total) / max(1, left)
        at.steps = at.step + max(1, int((planned - at.step) * min(1.0, fitting))) if at.step < planned else planned
        if at.steps != self.stage.steps:
            if abs(at.steps - self.stage.steps) > 0.1 * self.stage.steps:
                self.setup.say(f"time limit: {at.steps:,} of {planned:,} steps fit into {limit:.0f} s")
            self.stage = replace(self.stage, steps=at.steps)
            self.save()

    def lay_out(self) -> None:
        """Kernels, and the optimiser's figures on them, in the memory format that was decided."""
        parallel.arrange(self.learner, self.at.layout)
        assert self.optimizer is not None
        restore_optimizer(self.optimizer, self.optimizer.state_dict()["state"])

    def shrink(self, error: Exception) -> None:
        """Memory ran out: halve the micro-batch, double the accumulation, go back to the last checkpoint."""
        size = self.stage.batch_size // (self.stage.accumulate * self.at.micro)
        if size < 2:
            raise UserError("out of memory with a single row; use a smaller network or smaller inputs") from error
        if self.objective.coupled:
            raise UserError(
                f"out of memory with a batch of {size}, which cannot be split since its rows affect each other; "
                f"try --batch-size {size // 2}"
            ) from error
        self.setup.say(
            f"out of memory with micro-batches of {size}: continuing with {size // 2}, accumulated {2 * self.at.micro} times"
        )
        raise Rewind({"micro": 2 * self.at.micro, "skips": self.at.skips}) from None

    def not_finite(self, step: int, what: str) -> None:
        newest = self.folder.newest_path()
        skipping = "" if self.setup.on_nan == "skip" else "; --on-nan skip leaves such steps out"
        raise UserError(
            f"{what} at step {step:,}; the last good checkpoint is {newest or 'none'}; likely causes: a learning rate too "
            f"high (try --lr {self.rate() / 10:g}), bad values in the data, a logarithm or division of zero{skipping}"
        )

    def leave_out(self) -> None:
        """Back to the last checkpoint, to leave this step out: its forward may have moved running statistics and chains."""
        at = self.at
        if len(at.skips) >= MOST_SKIPS or not all(p.isfinite().all() for p in self.model.parameters()):
            self.not_finite(
                at.step + 1, f"the loss or its gradient was not finite ({len(at.skips)} steps were left out before)"
            )
        self.setup.say(f"the loss or its gradient was not finite at step {at.step + 1:,}: leaving this step out")
        raise Rewind({"skips": [*at.skips, [at.stage, at.step]], "micro": at.micro})

    def rate(self) -> float:
        return self.optimizer.param_groups[0]["initial_lr"] if self.optimizer is not None else 0.0


def finite(loss: Tensor, groups: Groups) -> bool:
    """Whether the loss and every gradient are finite."""
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    return bool(
        torch.stack([loss.float(), *(norm.float() for norm in torch._foreach_norm(gradients))]).isfinite().all()
    )


def average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average: parameters averaged, buffers copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
        for mine, theirs in zip(averaged.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[Any, Any]) -> None:
    """Loads per-parameter state, each tensor in its parameter's memory format: fused kernels walk them side by side."""
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for group in optimizer.param_groups:
        for p in group["params"]:
            for name, value in optimizer.state.get(p, {}).items():
                if torch.is_tensor(value) and value.shape == p.shape:
                    optimizer.state[p][name] = torch.empty_like(p, dtype=value.dtype).copy_(value)


def check_environment(then: dict[str, Any], now: dict[str, Any], setup: Setup) -> None:
    """Raises UserError where the run cannot continue to the same bytes, unless an approximate resume was asked for."""
    changed = [f"{name} was {then.get(name)}, is {now[name]}" for name in now if then.get(name) != now[name]]
    if changed and setup.resume != "approximate":
        raise UserError(
            f"an exact resume is not possible ({'; '.join(changed)}); use --resume=approximate to continue all the same"
        )
    if changed:
        setup.say(f"approximate resume: {'; '.join(changed)}")
