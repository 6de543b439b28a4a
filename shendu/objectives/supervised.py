"""Learning from a target: the loss between the model's outputs and the target column."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shendu.core import Batch, Loss, Objective, Source
from shendu.objectives.losses import loss


class Supervised(Objective):
    """A named loss of `model(x)` against `y`, which of a regression is in standard units.

    `coupled` is for models whose rows affect each other (BatchNorm). Of a model that
    answers in training with several outputs, the first counts whole and each of the others `auxiliary` times.
    """

    def __init__(
        self,
        name: str,
        *,
        label_smoothing: float = 0.0,
        coupled: bool = False,
        auxiliary: float = 0.0,
    ) -> None:
        super().__init__()
        self.coupled, self.auxiliary = coupled, auxiliary
        self.loss = loss(name, label_smoothing=label_smoothing)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        outputs, y = model(batch["x"]), batch["y"]
        if y.is_floating_point() and y.dim() == 1:
            y = y[:, None]
        first, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        value = self.loss(first.float(), y)
        for other in others:
            value = value + self.auxiliary * self.loss(other.float(), y)
        return Loss({"loss": value})


class Penalised(Objective):
    """Another objective plus weights' penalties: l1 · Σ|w| + l2 / 2 · Σw², over matrices and kernels, not biases."""

    def __init__(self, inner: Objective, *, l1: float = 0.0, l2: float = 0.0) -> None:
        super().__init__()
        self.inner, self.l1, self.l2 = inner, l1, l2
        self.coupled, self.surrogate, self.noisy = inner.coupled, inner.surrogate, inner.noisy

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        return {**self.inner.units(batch), "penalty": 1}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        sums, logs = self.inner(model, batch, step)
        weights = [p for p in model.parameters() if p.dim() > 1]
        penalty = torch.stack([self.l1 * w.abs().sum() + self.l2 / 2 * w.square().sum() for w in weights]).sum()
        return Loss({**sums, "penalty": penalty}, {**logs, "penalty": penalty.detach()})

    def enter(self, model: nn.Module, source: Source) -> None:
        self.inner.enter(model, source)

    def update(self, model: nn.Module, step: int) -> None:
        self.inner.update(model, step)

    def warning(self, model: nn.Module) -> str:
        return self.inner.warning(model)
