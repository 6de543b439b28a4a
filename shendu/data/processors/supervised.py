"""The supervised processor: what a person gives, and what training columns hold, through the same functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shendu.core import Batch, Json
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.processors.single import Single
from shendu.field import Field

CLASSES_WRITTEN = 50
"""Up to so many classes each have a column of their own in a table of predictions."""


class Supervised(Single):
    """One input `x`, one target `y`: a column of any kind in, a class or numbers out.

    `mean` and `std` are the input column's moments; `target_mean` and `target_std`
    turn a regression's outputs into the target's own unit.
    """

    purpose = "predict"

    def __init__(
        self,
        input: Field,
        target: Field,
        mean: Iterable[float],
        std: Iterable[float],
        target_mean: Iterable[float] = (0.0,),
        target_std: Iterable[float] = (1.0,),
    ) -> None:
        super().__init__(input, mean, std)
        self.target = target
        self.target_mean, self.target_std = torch.tensor(list(target_mean)), torch.tensor(list(target_std))

    @classmethod
    def of(cls, data: Dataset) -> Supervised:
        """For a data set's input and target, with the figures of its training rows."""
        target = data.fields[data.target]
        if data.ordered:  # a forecast is of what was read, so both are measured on one scale
            steps = data.overlap
            return cls(data.fields[data.input], target, data.mean, data.std, data.mean * steps, data.std * steps)
        if isinstance(target, Category):
            return cls(data.fields[data.input], target, data.mean, data.std)
        y = data.splits["train"].column(data.target).reshape(len(data.splits["train"]), -1)
        std = y.std(0)
        return cls(data.fields[data.input], target, data.mean, data.std, y.mean(0), np.where(std > 0, std, 1.0))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.target.names if isinstance(self.target, Category) else ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that a model which draws rows draws by."""
        return self.labels

    def call(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits [B, classes], or values [B, *shape] in the target's own unit."""
        outputs = model(batch["x"])
        if self.labels:
            return outputs
        mean, std = self.target_mean.to(outputs), self.target_std.to(outputs)
        return (outputs.flatten(1) * std + mean).reshape(-1, *getattr(self.target, "shape", ()))

    def decode(self, outputs: Tensor) -> Json:
        """Per row: `label`, `probability` and all `probabilities`; or `value`, or several `values`."""
        if not self.labels:
            several = outputs.reshape(len(outputs), -1).tolist()
            return [{"value": row[0]} if len(row) == 1 else {"values": row} for row in several]
        rows = []
        for row in outputs.softmax(-1).cpu().tolist():
            best = max(range(len(row)), key=row.__getitem__)
            shares = dict(zip(self.labels, row, strict=True))
            rows.append({"label": self.labels[best], "probability": row[best], "probabilities": shares})
        return rows

    def columns(self, outputs: Tensor) -> dict[str, Any]:
        """The same as columns of a table: each class's probability in `p_<class>`, each of several values in `value_<n>`."""
        if not self.labels:
            values = outputs.reshape(len(outputs), -1).numpy()
            width = values.shape[1]
            return {f"value_{i + 1}": values[:, i] for i in range(width)} if width > 1 else {"value": values[:, 0]}
        shares = outputs.softmax(-1).numpy()
        written = self.labels if len(self.labels) <= CLASSES_WRITTEN else ()
        words = [self.labels[i] for i in shares.argmax(1).tolist()]
        each = {f"p_{label}": shares[:, i] for i, label in enumerate(written)}
        return {"label": words, "probability": shares.max(1), **each}

    def to_json(self) -> Json:
        figures = ("mean", "std", "target_mean", "target_std")
        return {
            "kind": "supervised",
            "input": self.input.to_json(),
            "target": self.target.to_json(),
            **{name: getattr(self, name).tolist() for name in figures},
        }

    @classmethod
    def from_json(cls, values: Json) -> Supervised:
        fields: dict[str, Any] = {
            k: Field.from_json(v) if k in ("input", "target") else v for k, v in values.items() if k != "kind"
        }
        return cls(**fields)
