"""Embed: unit vectors, whose nearness says whether two rows show the same.

Shape letters: B rows, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shendu.core import Batch, Json, Metric, Outputs
from shendu.metrics.pairs import OneShot, Verification, compared, equal_error, roc, threshold_at
from shendu.tasks import Again, Section, Task

if TYPE_CHECKING:
    from shendu.metrics.evaluation import Measured


class Embed(Task):
    """Outputs are `embedding` [B, D] of length 1, compared by their cosine.

    The setting `ways` is the number of classes that one picture each stands for in the run's figures (one-shot recognition);
    0: the figures are those of verification. Two rows are held for the same from a cosine of `threshold` on (NaN: not known),
    which is chosen so that a share of at most `false_accepts` of pairs of different classes is let through.
    """

    kind = "embed"
    purpose = "embed"
    threshold: Tensor

    def __init__(self, inputs: Any, targets: Any, **settings: Json) -> None:
        super().__init__(inputs, targets, **{"ways": 0, "false_accepts": 0.01, **settings})
        self.register_buffer("threshold", torch.tensor(math.nan, dtype=torch.float64))

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        return {"embedding": model(*self.taken(batch))}

    def metrics(self) -> dict[str, Metric]:
        if self.settings["ways"]:
            return {"one-shot": OneShot(self.settings["ways"], "one-shot-accuracy")}
        return {"verification": Verification(), "rank-1": OneShot(0, "rank-1")}

    def calibrates(self) -> bool:
        return True

    def calibrate(self, pieces: Iterable[tuple[Outputs, Batch]]) -> None:
        found = [(outputs["embedding"].cpu(), batch["y"].cpu()) for outputs, batch in pieces]
        if not found:
            return
        curve = roc(*compared(*(torch.cat(t) for t in zip(*found, strict=True))))
        if math.isfinite(equal_error(curve)):
            self.threshold.fill_(threshold_at(curve, self.settings["false_accepts"]))

    def said(self, outputs: Outputs) -> Batch:
        return {"other": outputs["embedding"].roll(1, 0)}

    def score(self, model: Any, batch: Batch) -> Tensor:
        """How alike each row is to another one's embedding."""
        return (self.outputs(model, batch)["embedding"] * batch["other"]).sum(1)

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Json]]:
        """Per row its `embedding`, a list of D numbers."""
        return [{"embedding": row} for row in outputs["embedding"].tolist()]

    def columns(self, outputs: Outputs, stored: Batch) -> dict[str, Any]:
        """The same as columns of a table: e_1 … e_D."""
        values = outputs["embedding"].cpu().numpy()
        return {f"e_{i + 1}": values[:, i] for i in range(values.shape[1])}

    def answers(self) -> Json:
        return {"embedding": "a unit vector"}

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        """What each threshold accepts, and the rows that some are nearest to."""
        from shendu.pages import likeness

        rows, threshold = measured.rows["one-shot" if self.settings["ways"] else "verification"], float(self.threshold)
        y, z = (rows[:, 0], rows[:, 1:]) if self.settings["ways"] else (rows[:, 1], rows[:, 2:])
        return likeness.sections(self.input, y, z, None if math.isnan(threshold) else threshold, again, part)
