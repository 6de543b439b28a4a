"""The processor of what is learned without a target: the model gives each row figures of its own, and may draw new rows."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from torch import Tensor, nn

from shendu.core import Batch, Json
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.processors.single import Single
from shendu.errors import UserError
from shendu.field import Field

Scores = dict[str, bool]
"""Name of each figure that the model gives a row -> whether more of it is better."""


class Unlabelled(Single):
    """One input `x`; the model maps prepared rows to figures [B] or [B, len(scores)], named by `scores`.

    `judged` names the figure by which rows are called anomalies (empty: none are); `alarms` is the share of ordinary rows
    that may be, which sets the `threshold`.
    `mean` and `std` bring pictures into the model's units: 0 and 255 for [0, 1], 127.5 and 127.5 for [-1, 1], or the
    training rows' own. `classes` are the names that a conditional model draws by.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self,
        input: Field,
        mean: Iterable[float],
        std: Iterable[float],
        scores: Scores,
        classes: Iterable[str] = (),
        judged: str = "",
        alarms: float = 0.05,
        threshold: float | None = None,
    ) -> None:
        super().__init__(input, mean, std)
        self.scores, self.classes = dict(scores), tuple(classes)
        self.judged, self.alarms, self.threshold = judged, alarms, threshold

    @classmethod
    def of(
        cls, data: Dataset, scores: Scores, units: str = "standard", *, judged: str = "", alarms: float = 0.05
    ) -> Unlabelled:
        """For a data set's input; `units` are "standard" (mean 0, deviation 1), "unit" ([0, 1]) or "signed" ([-1, 1]).

        Raises UserError for units other than "standard" of what is no picture.
        """
        column, target = data.fields[data.input], data.fields[data.target]
        mean, std = data.mean, data.std
        if units != "standard":
            if not isinstance(column, Image):
                raise UserError(f"{data.name} holds no pictures, which this system reads; give pictures")
            middle = {"unit": (0.0, 255.0), "signed": (127.5, 127.5)}[units]
            mean, std = ((value,) * column.channels for value in middle)
        classes = target.names if isinstance(target, Category) else ()
        return cls(column, mean, std, scores, classes, judged, alarms)

    def call(self, model: nn.Module, batch: Batch) -> Tensor:
        """The model's figures of each row."""
        return model(batch["x"])

    def calibrate(self, outputs: Tensor) -> None:
        """Sets the threshold from the figures [B, …] of ordinary rows that the model was not trained on.

        It is the (B + 1)(1 - alarms)-th smallest of them, rounded up: no larger a share of new ordinary rows lies above it
        on average (split conformal prediction, Vovk et al. 2005), where B is large enough to tell.
        """
        badness = self._badness(outputs).double().sort().values
        place = min(len(badness), math.ceil((len(badness) + 1) * (1 - self.alarms)))
        self.threshold = float(badness[place - 1]) if place else None

    def _badness(self, outputs: Tensor) -> Tensor:
        """The figure that rows are judged by [B], more of it being worse."""
        figure = outputs.reshape(len(outputs), -1)[:, list(self.scores).index(self.judged)]
        return -figure if self.scores[self.judged] else figure

    def anomalies(self, outputs: Tensor) -> Tensor | None:
        """Which rows are anomalies, bool [B]; None where none are called so."""
        return None if self.threshold is None else self._badness(outputs).double() > self.threshold

    def columns(self, outputs: Tensor) -> dict[str, np.ndarray]:
        """The figures [B, …] as columns of a table, and `anomaly` where rows are judged."""
        figures, found = outputs.reshape(len(outputs), -1).numpy(), self.anomalies(outputs)
        named = {name: figures[:, i] for i, name in enumerate(self.scores)}
        return named if found is None else {**named, "anomaly": found.numpy()}

    def decode(self, outputs: Tensor) -> Json:
        """Per row its figures by name, and `anomaly` where rows are judged."""
        rows = outputs.reshape(len(outputs), -1).cpu().tolist()
        named = [dict(zip(self.scores, row, strict=True)) for row in rows]
        found = self.anomalies(outputs)
        if found is None:
            return named
        return [{**row, "anomaly": odd} for row, odd in zip(named, found.tolist(), strict=True)]

    def to_json(self) -> Json:
        return {
            "kind": "unlabelled", "input": self.input.to_json(), "mean": self.mean.tolist(), "std": self.std.tolist(),
            "scores": self.scores, "classes": list(self.classes), "judged": self.judged, "alarms": self.alarms,
            "threshold": self.threshold,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Json) -> Unlabelled:
        given = {key: value for key, value in values.items() if key != "kind"}
        return cls(**{**given, "input": Field.from_json(given["input"])})
