"""The measured rows of a part, as pages show them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from shendu.data.processors.supervised import Supervised
from shendu.pages.drawing import figure, picture
from shendu.sources.static import Static


class Rows:
    """The measured rows of a part: outputs and targets, and how wrong each one is (0: right)."""

    def __init__(self, processor: Supervised, source: Static, outputs: Tensor, targets: Tensor) -> None:
        self.processor, self.source, self.outputs, self.targets = processor, source, outputs, targets
        self.pictured = not isinstance(processor.input.show({"": source.stored(0, 1)["x"][0].cpu().numpy()}), str)
        if processor.labels:
            self.shares = outputs.nan_to_num().softmax(1)
            self.sureness, self.predicted = self.shares.max(1)
            self.badness = self.sureness * (self.predicted != targets)
        else:
            self.errors = (outputs.double() - targets.reshape(outputs.shape)).reshape(len(outputs), -1)
            self.badness = self.errors.square().mean(1).sqrt().nan_to_num(math.inf)
        order = self.badness.argsort(descending=True, stable=True)
        self.worst: list[int] = order[self.badness[order] > 0].tolist()

    def inputs(self, rows: Iterable[int]) -> Tensor:
        """Prepared inputs of some rows."""
        return torch.cat([self.source.batch(row, 1, None)["x"] for row in rows])

    def card(self, row: int) -> dict[str, Any]:
        """What the page shows of one row."""
        labels = self.processor.labels
        if labels:
            predicted = int(self.predicted[row])
            words = {"true": labels[int(self.targets[row])], "predicted": labels[predicted]}
            words["sure"] = f"{100 * float(self.sureness[row]):.1f}%"
        else:
            words = {"true": values(self.targets[row]), "predicted": values(self.outputs[row])}
            words["sure"] = figure(float(self.badness[row]))
        stored = self.processor.input.show({"": self.source.stored(row, 1)["x"][0].cpu().numpy()})
        right = bool(self.badness[row] == 0)
        shown = {"input": stored} if isinstance(stored, str) else {"picture": picture(stored)}
        return {"row": row, "right": right, **words, **shown}


def values(t: Tensor) -> str:
    """The first few numbers of a row."""
    numbers = t.reshape(-1).tolist()
    return ", ".join(figure(v) for v in numbers[:6]) + (", …" if len(numbers) > 6 else "")
