"""Learning to translate: each code of the target from the source and the codes before it (teacher forcing).

Shape letters: B rows, S source codes, T target codes, V vocabulary.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from shendu.core import Batch, Loss, Objective
from shendu.nn.cross_entropy import cross_entropy


class Translation(Objective):
    """Cross-entropy of `model(x, what stands before each code)` [B, T, V] against `y` [B, T], summed over codes.

    `label_smoothing` is the share of the probability that is spread over the vocabulary (Szegedy et al. 2016). `padding`
    counts nothing; `begin` stands before the first code.
    """

    def __init__(self, *, label_smoothing: float, padding: int, begin: int) -> None:
        super().__init__()
        self.label_smoothing, self.padding, self.begin = label_smoothing, padding, begin

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        """Target codes."""
        return {"loss": (batch["y"] != self.padding).sum()}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        y = batch["y"]
        before = F.pad(y[:, :-1], (1, 0), value=self.begin)
        logits = model(batch["x"], before).flatten(0, 1)
        return Loss(
            {"loss": cross_entropy(logits, y.flatten(), ignored=self.padding, label_smoothing=self.label_smoothing)}
        )
