"""What a run consists of while it trains, and what of it a checkpoint holds."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from shendu import chance, parallel
from shendu.core import Objective, Recipe, Source, Stage
from shendu.errors import UserError
from shendu.loop.learner import Learner, named_groups, set_modes
from shendu.run import Folder

INIT, BUILD = 1, 2


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
    """Seconds of all attempts so far, validations and checkpoints included."""
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


class State:
    """A run as it lies in memory: opened from the newest checkpoint of its folder, or at the beginning."""

    def __init__(self, recipe: Recipe, folder: Folder, setup: Setup) -> None:
        self.recipe, self.folder, self.setup = recipe, folder, setup
        saved = folder.newest(setup.say)
        self.at = Progress(**saved["at"]) if saved else Progress()
        chance.reseed(setup.seed, INIT)
        recipe.task.to(setup.device)
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
        self.logs: dict[str, Tensor] = {}
        self.warned = ""
        self.before, self.began = self.at.elapsed, time.monotonic()
        if self.at.stage < len(recipe.stages):
            self.open_stage(saved)
        elif saved:
            self.restore(saved)
        folder.cut(self.at.position)

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

    def tree(self) -> dict[str, Any]:
        """What a checkpoint holds."""
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

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.began


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
