"""Regress: one or several numbers per row, in the target's own unit.

Shape letters: B rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from shendu.core import Batch, Json, Metric, Outputs
from shendu.data import offsets
from shendu.metrics.numbers import Errors
from shendu.tasks import Again, Section, Task, Told

if TYPE_CHECKING:
    from shendu.metrics.evaluation import Measured

TOLD = 6
"""Numbers of a row that are told."""


class Regress(Task):
    """The target is a number, or several; outputs are `value` [B, …] in its own unit. In batches it is in standard units."""

    kind = "regress"
    purpose = "predict"

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.targets["y"].stored)

    def own(self, y: Tensor) -> Tensor:
        """Standard units -> the target's own."""
        target: Any = self.targets["y"]
        return target.told(target.restore({"": y}, self.fit(len(self.inputs)))[""])

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        return {"value": self.own(model(*self.taken(batch)).float())}

    def measure(self, model: Any, batch: Batch, wanted: frozenset[str] = frozenset()) -> Outputs:
        return {**self.outputs(model, batch), "truth": self.own(batch["y"])}

    def written(self, value: Tensor) -> np.ndarray:
        """Numbers [B, D]; beside an offset they are rounded to the decimals that they have."""
        values = value.reshape(len(value), -1).cpu().numpy()
        return values.round(self.decimals()) if self.targets["y"].offset else values

    def decimals(self, digits: float = 2.0**24) -> int:
        """How many decimals tell apart so many steps of the target's deviation."""
        return offsets.decimals(min(self.targets["y"].statistics()["std"]), digits)

    def metrics(self) -> dict[str, Metric]:
        return {"errors": Errors()}

    def warning(self, measured: Measured, part: str) -> str:
        if "r2" not in measured.intervals or measured.intervals["r2"][0] > 0:
            return ""
        rows = len(measured.rows["errors"])
        return f"{rows:,} {part} rows do not tell this model from one that always says their mean"

    def said(self, outputs: Outputs) -> Batch:
        target: Any = self.targets["y"]
        fit = self.fit(len(self.inputs))
        return {"y": target.prepare({"": target.untold(outputs["value"]).to(fit["mean"].device)}, fit)[""]}

    def score(self, model: Any, batch: Batch) -> Tensor:
        """The mean of a row's numbers, in their own unit."""
        value = self.outputs(model, batch)["value"]
        return value.reshape(len(value), -1).mean(1)

    def sureness(self, outputs: Outputs, said: Batch) -> Tensor:
        return outputs["value"].reshape(len(outputs["value"]), -1).mean(1)

    def explained(self) -> bool:
        return True

    def badness(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The root of a row's mean squared error."""
        errors = (outputs["value"].double() - outputs["truth"].double()).reshape(len(outputs["value"]), -1)
        return errors.square().mean(1).sqrt().nan_to_num(math.inf)

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Json]]:
        """Per row `value`, or several `values`."""
        several = self.written(outputs["value"]).tolist()
        return [{"value": row[0]} if len(row) == 1 else {"values": row} for row in several]

    def columns(self, outputs: Outputs, stored: Batch) -> dict[str, Any]:
        """The same as columns of a table, each of several values in `value_<n>`."""
        values = self.written(outputs["value"])
        width = values.shape[1]
        return {f"value_{i + 1}": values[:, i] for i in range(width)} if width > 1 else {"value": values[:, 0]}

    def answers(self) -> Json:
        return {"value": "in the target's unit"} if self.width == 1 else {"values": "in the target's unit"}

    def tell(self, outputs: Outputs, batch: Batch, stored: Batch) -> list[Told]:
        from shendu.pages.drawing import figure

        places = self.decimals(1000)

        def word(value: float) -> str:
            return f"{value:,.{places}f}" if self.targets["y"].offset else figure(value)

        def words(t: Tensor) -> list[str]:
            rows = t.reshape(len(t), -1).tolist()
            return [", ".join(map(word, row[:TOLD])) + (", …" if len(row) > TOLD else "") for row in rows]

        off = self.badness(outputs, batch).tolist()
        rows = zip(words(outputs["value"]), words(outputs["truth"]), off, strict=True)
        return [Told(said, true, figure(error), error == 0) for said, true, error in rows]

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        from shendu.pages import cards, numbers

        return [*numbers.sections(measured.rows["errors"]), cards.worst(self, measured, again, part)]
