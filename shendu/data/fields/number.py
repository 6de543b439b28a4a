"""Real numbers.

Shape letters: N rows, B batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data import moments
from shendu.errors import UserError
from shendu.field import Field, Values, array_of, spread

if TYPE_CHECKING:
    from shendu.field import Batch


@dataclass(frozen=True, kw_only=True)
class Number(Field):
    """Real numbers: float32 [N, *shape]."""

    kind: ClassVar[str] = "number"
    words: ClassVar[str] = "numbers"
    explains: ClassVar[str] = "elements"
    augments: ClassVar[tuple[str, ...]] = ("mixup",)

    shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """Per element, over the training rows."""
    std: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @property
    def stored(self) -> tuple[int, ...]:
        return self.shape

    def fitted(self, chunks: Iterable[Values]) -> Number:
        found = (moments.of_numbers(values[""].reshape(len(values[""]), -1)) for values in chunks)
        mean, std = moments.merged(found).settled()
        return replace(self, mean=mean, std=std)

    def statistics(self) -> dict[str, tuple[float, ...]]:
        count = math.prod(self.shape)
        return {"mean": self.mean or (0.0,) * count, "std": self.std or (1.0,) * count}

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        x, mean, std = own[""], fit["mean"], fit["std"]
        return {"": ((x.flatten(1) - mean) * (1 / std)).reshape(x.shape) if x.dim() > 1 else (x - mean) / std}

    def restore(self, own: Batch, fit: Batch) -> Batch:
        """Numbers in standard units, [B, *shape] or flat [B, F] -> in the stored unit, [B, *shape]."""
        x = own[""].flatten(1) if own[""].dim() > 1 else own[""][:, None]
        return {"": (x * fit["std"] + fit["mean"]).reshape(-1, *self.shape)}

    def parse(self, values: Any) -> Values:
        """From numbers [N, *shape], or from one row of them."""
        array = array_of(values)
        if array.shape == self.shape:
            array = array[None]
        if array.shape[1:] != self.shape:
            raise UserError(
                f"the model takes rows of shape {list(self.shape)}, this input has shape {list(array.shape)}"
            )
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError("the input holds NaN or infinity; replace them first")
        return {"": array}

    def show(self, own: dict[str, np.ndarray]) -> str:
        numbers = own[""].reshape(-1).tolist()
        return ", ".join(f"{v:.4g}" for v in numbers[:6]) + (", …" if len(numbers) > 6 else "")

    @property
    def feature_count(self) -> int:
        return max(1, math.prod(self.shape))

    def features(self, name: str, own: Values) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
        flat = own[""].reshape(len(own[""]), -1)
        for i in range(flat.shape[1]):
            yield name if flat.shape[1] == 1 else f"{name}[{i}]", flat[:, i], ()

    def example(self, n: int) -> Batch:
        return {"": spread(n, self.shape, self.statistics())}
