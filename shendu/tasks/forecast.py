"""Forecast: the next values of a series after a window of its past.

Shape letters: B windows, W values of a window, H steps that are forecast.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch

from shendu.core import Json, Metric, Outputs, Source
from shendu.metrics.numbers import ForecastErrors
from shendu.sources.rows import Rows
from shendu.tasks import Again, Section
from shendu.tasks.regress import Regress

if TYPE_CHECKING:
    from shendu.data.dataset import Dataset
    from shendu.metrics.evaluation import Measured

SHOWN = 4
"""Forecasts that a report draws."""


class Forecast(Regress):
    """Numbers, of which neighbouring windows share some: figures are of moments, each with all that was forecast for it."""

    kind = "forecast"
    purpose = "forecast"

    @classmethod
    def of(cls, data: Dataset, **settings: Json) -> Self:
        """A forecast is of what was read, so both are measured on one scale."""
        window, ahead = data.fields[data.input], data.fields[data.target]
        steps = data.overlap
        known = {name: values * steps for name, values in window.statistics().items()}
        return cls({"x": window}, {"y": replace(ahead, **known)}, **settings)  # type: ignore[type-var]

    def metrics(self) -> dict[str, Metric]:
        return {"errors": ForecastErrors(self.input.naive)}  # type: ignore[attr-defined]

    def held_out(self, data: Dataset, part: str) -> Source:
        return Rows(data.splits[part], self, roles=data.roles(), overlap=data.overlap)

    def explained(self) -> bool:
        return False

    def warning(self, measured: Measured, part: str) -> str:
        return ""

    def sections(self, measured: Measured, again: Again, model: Any, part: str) -> list[Section]:
        """Predicted against true; the last forecast of the part, its first, and the two that are furthest off."""
        from shendu.pages import numbers

        some = torch.linspace(0, measured.count - 1, min(measured.count, numbers.DOTS)).round().long()
        _, outputs, _ = again(some)
        both = torch.cat([outputs[name].reshape(len(some), -1).double() for name in ("truth", "value")], 1)

        worst, last = measured.badness.argsort(descending=True, stable=True).tolist(), measured.count - 1
        rows = torch.tensor(sorted(list(dict.fromkeys([0, last, *worst]))[:SHOWN]))
        stored, outputs, batch = again(rows)
        told, season = self.tell(outputs, batch, stored), self.input.season  # type: ignore[attr-defined]
        drawn = numbers.forecasts(
            rows, self.input.plain(stored["x"].numpy()), outputs["value"], outputs["truth"], told, season, part
        )
        return [*numbers.sections(both, measured.count), drawn]

    def named(self, outputs: Outputs, count: int) -> Outputs:
        """A row per step where so many steps of one window have names."""
        value = outputs["value"]
        return outputs if len(value) == count else {"value": value.reshape(count, 1)}
