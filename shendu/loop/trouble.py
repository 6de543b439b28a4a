"""What goes wrong in a step: memory runs out, a loss is not finite. Such a run goes back to its last checkpoint."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from shendu.core import Groups
from shendu.errors import UserError
from shendu.loop.state import State

MOST_SKIPS = 100


class Rewind(Exception):
    """Back to the last checkpoint with a decision written down: memory ran out, or a loss was not finite."""

    def __init__(self, decisions: dict[str, Any]) -> None:
        super().__init__()
        self.decisions = decisions


def shrink(state: State, error: Exception) -> NoReturn:
    """Memory ran out: halve the micro-batch, double the accumulation, go back to the last checkpoint."""
    at, stage = state.at, state.stage
    size = stage.batch_size // (stage.accumulate * at.micro)
    if size < 2:
        raise UserError("out of memory with a single row; use a smaller network or smaller inputs") from error
    if state.objective.coupled:
        raise UserError(
            f"out of memory with a batch of {size}, which cannot be split since its rows affect each other; "
            f"try --batch-size {size // 2}"
        ) from error
    state.setup.say(
        f"out of memory with micro-batches of {size}: continuing with {size // 2}, accumulated {2 * at.micro} times"
    )
    raise Rewind({"micro": 2 * at.micro, "skips": at.skips}) from None


def not_finite(state: State, step: int, what: str) -> NoReturn:
    newest = state.folder.newest_path()
    skipping = "" if state.setup.on_nan == "skip" else "; --on-nan skip leaves such steps out"
    rate = state.optimizer.param_groups[0]["initial_lr"] if state.optimizer is not None else 0.0
    raise UserError(
        f"{what} at step {step:,}; the last good checkpoint is {newest or 'none'}; likely causes: a learning rate too "
        f"high (try --lr {rate / 10:g}), bad values in the data (empty cells, where the network takes no NaN), a logarithm "
        f"or division of zero{skipping}"
    )


def leave_out(state: State) -> NoReturn:
    """Back to the last checkpoint, to leave this step out: its forward may have moved running statistics and chains."""
    at = state.at
    if len(at.skips) >= MOST_SKIPS or not all(p.isfinite().all() for p in state.model.parameters()):
        not_finite(
            state, at.step + 1, f"the loss or its gradient was not finite ({len(at.skips)} steps were left out before)"
        )
    state.setup.say(f"the loss or its gradient was not finite at step {at.step + 1:,}: leaving this step out")
    raise Rewind({"skips": [*at.skips, [at.stage, at.step]], "micro": at.micro})


def finite(loss: Tensor, groups: Groups) -> bool:
    """Whether the loss and every gradient are finite."""
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    return bool(
        torch.stack([loss.float(), *(norm.float() for norm in torch._foreach_norm(gradients))]).isfinite().all()
    )
