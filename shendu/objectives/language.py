"""Predicting each next token of a text from those before it.

Shape letters: B rows, T tokens of a window, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from shendu.core import MASKED, Batch, Loss, Objective
from shendu.nn.cross_entropy import cross_entropy


class NextToken(Objective):
    """Cross-entropy in nats of logits `model(x)` [B, T, V] against the next tokens `y` [B, T], summed over those that count."""

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        return {"loss": (batch["y"] != MASKED).sum()}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        logits = model(batch["x"])
        return Loss({"loss": cross_entropy(logits.flatten(0, 1), batch["y"].flatten(), ignored=MASKED)})
