"""Predicting each next token of a text from those before it.

Shape letters: B rows, T tokens of a window, V vocabulary.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from shendu.core import MASKED, Batch, Loss, Objective


class NextToken(Objective):
    """Cross-entropy in nats of logits `model(x)` [B, T, V] against the next tokens `y` [B, T], summed over those that count."""

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        return {"loss": (batch["y"] != MASKED).sum()}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        logits = model(batch["x"])
        sums = F.cross_entropy(logits.flatten(0, 1).float(), batch["y"].flatten(), reduction="sum", ignore_index=MASKED)
        return Loss({"loss": sums})
