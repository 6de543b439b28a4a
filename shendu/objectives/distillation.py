"""Learning from a teacher: what a finished network answers, beside what is true.

G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network. arXiv:1503.02531, 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shendu.core import Batch, Loss, Objective
from shendu.errors import UserError
from shendu.objectives.around import Around

Distance = Callable[[Tensor, Tensor, float], Tensor]
"""(outputs, a teacher's, temperature) -> how far apart they are, per row or place: `shendu.tasks.Task.distance`."""


class Distilled(Around):
    """Another objective, and how far the network's outputs are from a teacher's: (1 - share) of the one and `share` of the other.

    The teacher is called with what the network is called with, in eval mode and without gradients. It is saved with the objective,
    and never trained. Of a network that answers in training with several outputs, the first is held against the teacher's.
    """

    def __init__(
        self, inner: Objective, teacher: nn.Module, distance: Distance, *, share: float = 0.9, temperature: float = 4.0
    ) -> None:
        super().__init__(inner)
        self.teacher = teacher.requires_grad_(False).eval()
        self.distance, self.share, self.temperature = distance, share, temperature

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        found = self.inner.units(batch)
        return {**found, "teacher": next(iter(found.values()))}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        asked: list[tuple[Any, Any]] = []
        hook = model.register_forward_hook(lambda module, args, out: asked.append((args, out)))
        try:
            sums, logs = self.inner(model, batch, step)
        finally:
            hook.remove()
        if not asked:
            raise UserError("this network learns otherwise than by its answers, so it cannot be distilled")
        args, out = asked[0]
        with torch.no_grad():
            theirs = first(self.teacher(*args))
        apart = self.distance(first(out).float(), theirs.float(), self.temperature)
        y = batch.get("y")
        if y is not None and y.shape == apart.shape and not y.is_floating_point():
            apart = apart * (y >= 0)  # behind a text's end
        imitated = self.share * apart.sum()
        weighed = {name: (1 - self.share) * value for name, value in sums.items()}
        return Loss({**weighed, "teacher": imitated}, {**logs, "teacher": imitated.detach()})

    def train(self, mode: bool = True) -> Distilled:
        super().train(mode)
        self.teacher.eval()
        return self


def first(out: Any) -> Tensor:
    """The answer of a network, or the first of several; raises UserError for what is none."""
    found = out[0] if isinstance(out, tuple) and out else out
    if not isinstance(found, Tensor):
        raise UserError(f"a network that answers with a {type(out).__name__} cannot be distilled")
    return found
