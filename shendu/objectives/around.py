"""An objective around another one, which it is unless something is said otherwise."""

from __future__ import annotations

from torch import Tensor, nn

from shendu.core import Batch, Loss, Objective, Source


class Around(Objective):
    """Another objective; what is done besides is said by the class that is made of this one."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner
        self.coupled, self.surrogate, self.noisy = inner.coupled, inner.surrogate, inner.noisy

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        return self.inner.units(batch)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        loss: Loss = self.inner(model, batch, step)
        return loss

    def enter(self, model: nn.Module, source: Source) -> None:
        self.inner.enter(model, source)

    def update(self, model: nn.Module, step: int) -> None:
        self.inner.update(model, step)

    def warning(self, model: nn.Module) -> str:
        return self.inner.warning(model)
