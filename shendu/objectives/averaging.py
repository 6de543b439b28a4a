"""The mean of the weights that a training passes through.

P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson: Averaging weights leads to wider optima and better generalization.
UAI 2018.
"""

from __future__ import annotations

import torch
from torch import nn

from shendu.core import Objective
from shendu.objectives.around import Around


class Averaged(Around):
    """Another objective; every so many of `steps` steps the weights are added to a mean, which is a buffer. With the last step the
    network has it. BatchNorm's statistics are those of the weights before, and have to be taken anew.
    """

    def __init__(self, inner: Objective, model: nn.Module, *, every: int, steps: int) -> None:
        super().__init__(inner)
        self.every, self.steps = every, steps
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for i, p in enumerate(model.parameters()):
            self.register_buffer(f"mean{i}", torch.zeros_like(p))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        self.inner.update(model, step)
        last = step + 1 >= self.steps
        if (step + 1) % self.every == 0 or last:
            count = self.get_buffer("count").add_(1)
            for i, p in enumerate(model.parameters()):
                self.get_buffer(f"mean{i}").lerp_(p, 1 / int(count))
        for i, p in enumerate(model.parameters()) if last else ():
            p.copy_(self.get_buffer(f"mean{i}"))
