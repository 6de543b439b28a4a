"""Windows of a time series.

Shape letters: B batch, N rows, T steps of the series, W window.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from shendu.data import moments, offsets
from shendu.errors import UserError
from shendu.field import Field, Port, Size, Values, array_of, spread

if TYPE_CHECKING:
    from shendu.field import Batch

Unit = Literal["month", "weekday", "second", "microsecond", "number"]


@dataclass(frozen=True, kw_only=True)
class Series(Field):
    """Windows of a series: float32 [N, window], oldest value first; a network takes the same, standardised as one."""

    kind: ClassVar[str] = "series"
    words: ClassVar[str] = "time series"

    window: int
    horizon: int
    time: str = "time"
    value: str = "value"
    unit: Unit = "number"
    every: int = 1
    """Units from one row to the next: 3 months, 604,800 seconds."""
    week: str = field(default="", metadata={"rare": True})
    """Of weekdays, which days of a week have rows, Monday first: 1111100."""
    form: str = field(default="", compare=False, repr=False, metadata={"rare": True})
    """How its times were written, where they can be read in two ways."""
    numbers: str = field(default="", compare=False, repr=False, metadata={"rare": True})
    """How its values were written (`shendu.data.numerals`)."""
    missing: tuple[str, ...] = field(default=(), compare=False, repr=False, metadata={"rare": True})
    """Words of its values that say that nothing is known."""
    season: int = 1
    """Steps after which the series is likely to repeat itself."""
    naive: float = field(default=1.0, compare=False)
    """Mean absolute error, within the training part, of forecasting the value of one season ago: the unit of MASE."""
    mean: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """Of all values of the training windows together: a window's places are of one kind."""
    std: tuple[float, ...] = field(default=(), compare=False, repr=False)
    offset: tuple[float, ...] = field(default=(), compare=False, repr=False, metadata={"rare": True})
    """One for all values: taken away before they are stored, where float32 would lose their digits."""

    @property
    def stored(self) -> tuple[int, ...]:
        return (self.window,)

    def fitted(self, chunks: Iterable[Values]) -> Series:
        found = (moments.of_numbers(values[""].reshape(-1, 1)) for values in chunks)
        mean, std = moments.merged(found).settled()
        return replace(self, mean=mean, std=std)

    def statistics(self) -> dict[str, tuple[float, ...]]:
        return {"mean": self.mean or (0.0,), "std": self.std or (1.0,)}

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        return {"": (own[""] - fit["mean"]) * (1 / fit["std"])}

    def ports(self) -> dict[str, Port]:
        """Series of any length, of which the last window is read; of double precision where an offset is taken away."""
        about = f"values of the series, oldest first, of which the last {self.window} are read"
        return {"": Port("float64" if self.offset else "float32", (Size("steps", self.window),), about)}

    def received(self, given: Batch) -> Batch:
        import torch

        x = given[""]
        last = x.index_select(1, torch.arange(self.window) + x.shape[1] - self.window)
        return {"": (last - torch.tensor(self.offset, dtype=torch.float64)).float() if self.offset else last}

    def control(self) -> dict[str, Any]:
        return {"control": "numbers", "least": self.window, "words": f"the last {self.window} values of the series"}

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        """Longer series begin with what comes before the window: here the window itself."""
        values = self.plain(np.asarray(own[""]))
        longer = max(0, round(size * self.window) - self.window)
        before = np.tile(values, (1, 1 + longer // self.window))[:, :longer]
        given = np.concatenate([before, values], 1)
        return {"": given}, {"": np.concatenate([self.parse(row)[""] for row in given])}

    def parse(self, values: Any) -> Values:
        """From a series [T], whose last values are read, or from windows [n, W]."""
        array = array_of(values)
        if array.ndim == 1 and len(array) >= self.window:
            array = array[None, len(array) - self.window :]
        if array.ndim != 2 or array.shape[1] != self.window:
            raise UserError(
                f"the model reads the last {self.window} values of a series, or windows [n, {self.window}]; "
                f"this input has shape {list(array.shape)}"
            )
        array = offsets.without(array, self.offset)
        if not np.isfinite(array).all():
            raise UserError("the input holds NaN or infinity; replace them first")
        return {"": array}

    def show(self, own: dict[str, np.ndarray]) -> str:
        (std,), last = self.statistics()["std"], self.plain(own[""])[-6:].tolist()
        return "…, " + ", ".join(offsets.written(v, std) if self.offset else f"{v:.4g}" for v in last)

    def example(self, n: int) -> Batch:
        return {"": spread(n, self.stored, self.statistics())}
