"""Score: figures that a model gives each row itself, where nothing is labelled; by one of them rows may be called anomalies.

Shape letters: B rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from shendu.core import Batch, Json, Metric, Outputs
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.metrics.numbers import Mean
from shendu.tasks import Again, Section, Task

if TYPE_CHECKING:
    from shendu.data.dataset import Dataset
    from shendu.metrics.evaluation import Measured

UNITS = {"unit": (0.0, 255.0), "signed": (127.5, 127.5)}
"""Mean and deviation that bring pictures to [0, 1], or to [-1, 1]."""
SHOWN = 64
"""Rows that a report shows."""


class Score(Task):
    """Outputs are the figures [B] by the names in the setting `scores` (name -> whether more is better).

    `judged` names the figure by which rows are called anomalies (empty: none are); `alarms` is the share of ordinary rows
    that may be. `drawn` are the classes that a conditional model draws by.
    """

    kind = "score"
    threshold: Tensor

    def __init__(self, inputs: Any, targets: Any, **settings: Json) -> None:
        super().__init__(inputs, targets, **{"judged": "", "alarms": 0.05, "drawn": [], **settings})
        self.register_buffer("threshold", torch.tensor(math.nan, dtype=torch.float64))

    @classmethod
    def of(
        cls,
        data: Dataset,
        scores: dict[str, bool] | None = None,
        units: str = "standard",
        *,
        conditional: bool = True,
        **settings: Json,
    ) -> Self:
        """`units` are "standard" (mean 0, deviation 1), "unit" ([0, 1]) or "signed" ([-1, 1]), the latter for pictures alone."""
        made = super().of(data, scores=scores or {"score": False}, **settings)
        field = made.input
        if units != "standard":
            if not isinstance(field, Image):
                raise UserError(f"{data.name} holds no pictures, which this system reads; give pictures")
            middle = {
                name: (value,) * field.channels for name, value in zip(("mean", "std"), UNITS[units], strict=True)
            }
            field = replace(field, **middle)  # type: ignore[arg-type]
        target = next(iter(made.targets.values()), None)
        drawn = list(target.classes) if conditional and target is not None else []
        return cls({"x": field}, made.targets, **{**made.settings, "drawn": drawn})

    @property
    def scores(self) -> dict[str, bool]:
        return self.settings["scores"]

    @property
    def judged(self) -> str:
        return self.settings["judged"]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.settings["drawn"])

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        figures = model(*self.taken(batch))
        return dict(zip(self.scores, figures.reshape(figures.shape[0], -1).unbind(1), strict=True))

    def metrics(self) -> dict[str, Metric]:
        return {name: Mean(name, higher) for name, higher in self.scores.items()}

    def calibrates(self) -> bool:
        return bool(self.judged)

    def calibrate(self, pieces: Iterable[tuple[Outputs, Batch]]) -> None:
        """Sets the threshold from figures of ordinary rows that the model was not trained on.

        It is the (B + 1)(1 - alarms)-th smallest of them, rounded up: no larger a share of new ordinary rows lies above it
        on average (split conformal prediction, Vovk et al. 2005), where B is large enough to tell.
        """
        found = [self._oddness(outputs).double().cpu() for outputs, _ in pieces]
        oddness = torch.cat(found).sort().values if found else torch.empty(0)
        place = min(len(oddness), math.ceil((len(oddness) + 1) * (1 - self.settings["alarms"])))
        self.threshold.fill_(float(oddness[place - 1]) if place else math.nan)

    def _oddness(self, outputs: Outputs) -> Tensor:
        """The figure that rows are judged by [B], more of it being worse."""
        name = self.judged or next(iter(self.scores))
        return -outputs[name] if self.scores[name] else outputs[name]

    def anomalies(self, outputs: Outputs) -> Tensor | None:
        """Which rows are anomalies, bool [B]; None where none are called so."""
        known = bool(self.judged) and not bool(self.threshold.isnan())
        return self._oddness(outputs).double().cpu() > self.threshold.cpu() if known else None

    def badness(self, outputs: Outputs, batch: Batch) -> Tensor:
        return self._oddness(outputs)

    def columns(self, outputs: Outputs, stored: Batch) -> dict[str, Any]:
        """The figures [B] as columns of a table, and `anomaly` where rows are judged."""
        named: dict[str, Any] = {name: outputs[name].cpu().numpy() for name in self.scores}
        found = self.anomalies(outputs)
        return named if found is None else {**named, "anomaly": found.numpy()}

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Json]]:
        """Per row its figures by name, and `anomaly` where rows are judged."""
        columns = {name: values.tolist() for name, values in self.columns(outputs, stored).items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def answers(self) -> Json:
        known = {name: "more is better" if higher else "less is better" for name, higher in self.scores.items()}
        return {**known, **({"anomaly": "true or false"} if self.judged else {})}

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        """What the model draws, its views, the rows that suit it least and most."""
        from shendu.pages import galleries

        name = self.judged or next(iter(self.scores))
        order = measured.badness.argsort(descending=True, stable=True)
        rows = galleries.least_and_most(self.input, name, order[:SHOWN], order.flip(0)[:SHOWN], again, part)
        return [*galleries.drawings(self, model), *galleries.views(self, model, again, measured.count), *rows]
