"""How fast a run goes: whether compiling pays, and how many steps fit into a time limit.

Both depend on the clock, so what they decide is written into a checkpoint at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from shendu import parallel
from shendu.loop.state import State, restore_optimizer

TRIAL_STEP = 8
REVIEWS = (0.03, 0.1, 0.3, 0.6, 0.85)
"""Shares of the time limit after which the steps that fit into it are counted anew."""


def worth_a_trial(state: State) -> bool:
    """Whether so much training is left that compiling could pay."""
    left = state.at.seconds / TRIAL_STEP * (state.stage.steps - state.at.step)
    if state.setup.time_limit:
        left = min(left, state.setup.time_limit - state.elapsed())
    if left <= parallel.TRIAL_WORTH[state.setup.device.type]:
        return False
    state.setup.say(f"about {left / 60:.0f} min of training left: trying whether compiling pays (half a minute to two)")
    return True


def try_compiling(state: State, backward: Callable[[nn.Module, str], Tensor]) -> None:
    """Compiles the learner where a trial says that it pays; `backward` is the loop's own, as `parallel.fastest` takes it."""
    state.at.compiled, state.at.layout, why = parallel.fastest(state.learner, backward)
    state.setup.say(why)
    if state.at.compiled:
        lay_out(state)
        state.learner.compile()


def lay_out(state: State) -> None:
    """Kernels, and the optimiser's figures on them, in the memory format that was decided."""
    parallel.arrange(state.learner, state.at.layout)
    assert state.optimizer is not None
    restore_optimizer(state.optimizer, state.optimizer.state_dict()["state"])


def plan(state: State) -> bool:
    """At a few shares of the time limit, plans as many steps as fit into the rest; at its end, stops.

    True: the plan has changed.
    """
    at, limit, used = state.at, state.setup.time_limit, state.elapsed()
    if used >= limit:
        at.stopped = True
    due = sum(used > share * limit for share in REVIEWS)
    if due <= at.reviews or at.stopped:
        return False
    at.reviews = due
    stages = state.recipe.stages[at.stage :]
    planned = stages[0].steps
    left = sum(stage.steps for stage in stages) - at.step
    fitting = (limit - used) / (used / at.total) / max(1, left)
    at.steps = at.step + max(1, int((planned - at.step) * min(1.0, fitting))) if at.step < planned else planned
    if at.steps == state.stage.steps:
        return False
    if abs(at.steps - state.stage.steps) > 0.1 * state.stage.steps:
        state.setup.say(f"time limit: {at.steps:,} of {planned:,} steps fit into {limit:.0f} s")
    state.stage = replace(state.stage, steps=at.steps)
    return True
