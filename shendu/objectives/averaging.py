"""The mean of the weights that a training passes through.

P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson: Averaging weights leads to wider optima and better generalization.
UAI 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shendu.core import Batch, Loss, Objective, Source


class Averaged(Objective):
    """Another objective; every so many of `steps` steps the weights are added to a mean, which is a buffer. With the last step the
    network has it. BatchNorm's statistics are those of the weights before, and have to be taken anew.
    """

    def __init__(self, inner: Objective, model: nn.Module, *, every: int, steps: int) -> None:
        super().__init__()
        self.inner, self.every, self.steps = inner, every, steps
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for i, p in enumerate(model.parameters()):
            self.register_buffer(f"mean{i}", torch.zeros_like(p))
        self.coupled, self.surrogate, self.noisy = inner.coupled, inner.surrogate, inner.noisy

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        return self.inner.units(batch)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        loss: Loss = self.inner(model, batch, step)
        return loss

    def enter(self, model: nn.Module, source: Source) -> None:
        self.inner.enter(model, source)

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

    def warning(self, model: nn.Module) -> str:
        return self.inner.warning(model)
