"""What a run says of itself: log lines, validation, and which weights are the best so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from shendu import chance, parallel
from shendu.loop.state import State
from shendu.loop.trouble import not_finite
from shendu.metrics.evaluation import asking, evaluate

VALIDATION = 3


def line(state: State) -> dict[str, Any]:
    """What to show while training."""
    at = state.at
    return {
        "stage": at.stage, "name": state.stage.name, "step": at.step, "steps": state.stage.steps, "seconds": at.seconds,
        "samples_per_second": at.samples / at.seconds if at.seconds else 0.0, **at.validation,
    }  # fmt: skip


def log(state: State) -> None:
    """A line for the steps since the last one; here a loss that is not finite is seen."""
    values = torch.stack([loss for _, loss in state.pending]).float().cpu()
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        not_finite(state, state.pending[int(bad[0])][0], f"the loss was {float(values[bad[0]]):g}")
    state.pending.clear()
    at, logs = state.at, {name: float(value) for name, value in state.logs.items()}
    rate = state.optimizer.param_groups[0]["lr"] if state.optimizer is not None else 0.0
    state.folder.log({"stage": at.stage, "step": at.step, "total": at.total, "loss": float(values.mean()), "lr": rate,
                      "seconds": round(at.seconds, 3), "samples": at.samples, **logs})  # fmt: skip


def due(state: State) -> bool:
    """Validation comes at steps fixed in advance: every so many, and at the end."""
    if "validation" not in state.recipe.splits or state.at.step == 0:
        return False
    planned = state.recipe.stages[state.at.stage].steps
    every = math.ceil(state.recipe.validate_every * state.stage.steps / max(1, planned))
    return state.at.step >= state.stage.steps or bool(every and state.at.step % every == 0)


def validate(state: State, pulse: Callable[[], None]) -> None:
    """Figures of the averaged weights, where there are any, under a seed of their own; `pulse` is called per batch."""
    at, recipe, setup = state.at, state.recipe, state.setup
    model = state.averaged if state.averaged is not None else state.model
    chance.reseed(setup.seed, VALIDATION, at.stage, at.step)
    metrics = {name: m for name, m in recipe.task.metrics().items() if not recipe.validates or name in recipe.validates}
    ask = asking(recipe.task, model, setup.device, setup.precision, frozenset(metrics))
    with parallel.evaluating(model):
        figures = evaluate(ask, recipe.splits["validation"], metrics, intervals=False, pulse=pulse).figures
    at.validated = at.step
    at.validation = {f"validation {name}": value for name, value in figures.items()}
    state.folder.log({"stage": at.stage, "step": at.step, "total": at.total, **at.validation})
    setup.show(line(state))
    warn(state)
    if not recipe.select_by:
        return
    value = figures[recipe.select_by]
    higher = next(m.higher[recipe.select_by] for m in metrics.values() if recipe.select_by in m.higher)
    if not math.isnan(value) and (at.best is None or (value > at.best if higher else value < at.best)):
        at.best, at.best_step, at.waited = value, at.step, 0
        state.best = {name: t.detach().clone() for name, t in model.state_dict().items()}
    else:
        at.waited += 1
        at.stopped = bool(recipe.patience) and at.waited >= recipe.patience


def warn(state: State) -> None:
    """What the objective says goes wrong, where that is something else than the last time."""
    text = state.objective.warning(state.model)
    if text and text != state.warned:
        state.setup.say(f"step {state.at.step:,}: {text}")
    state.warned = text
