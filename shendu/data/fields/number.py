"""Real numbers.

Shape letters: N rows, B batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data import moments, offsets
from shendu.errors import UserError
from shendu.field import Field, Port, Values, array_of, spread

if TYPE_CHECKING:
    from torch import Tensor

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
    """Per element, over the training rows, of what is stored."""
    std: tuple[float, ...] = field(default=(), compare=False, repr=False)
    offset: tuple[float, ...] = field(default=(), compare=False, repr=False, metadata={"rare": True})
    """Per element: taken away before numbers are stored, where float32 would lose their digits."""
    form: str = field(default="", compare=False, repr=False, metadata={"rare": True})
    """How the cells of a table's column are written (`shendu.data.numerals`)."""

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

    def told(self, stored: Tensor) -> Tensor:
        """Restored numbers [B, *shape] as a person knows them: with the offset, in float64; on the CPU where a device has none."""
        if not self.offset:
            return stored
        return _double(stored) + self._away(stored)

    def untold(self, told: Tensor) -> Tensor:
        """And back, float32."""
        return (told - self._away(told)).float() if self.offset else told

    def _away(self, like: Tensor) -> Tensor:
        """Made anew each time: a float64 buffer could not be moved onto a device that has no float64."""
        import torch

        device = "cpu" if like.device.type == "mps" else like.device
        return torch.tensor(self.offset, dtype=torch.float64, device=device).reshape(self.shape)

    def ports(self) -> dict[str, Port]:
        """Numbers as a person knows them: of double precision where an offset is taken away of them."""
        return {"": Port("float64" if self.offset else "float32", self.shape, "numbers")}

    def received(self, given: Batch) -> Batch:
        return {"": self.untold(given[""])}

    def control(self) -> dict[str, Any]:
        count = math.prod(self.shape)
        return {
            "control": "numbers",
            "least": count,
            "most": count,
            "shape": list(self.shape),
            "words": f"{count} numbers",
        }

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        given = self.plain(np.asarray(own[""]))
        return {"": given}, self.parse(given)

    def parse(self, values: Any) -> Values:
        """From numbers [N, *shape], or from one row of them."""
        array = array_of(values)
        if array.shape == self.shape:
            array = array[None]
        if array.shape[1:] != self.shape:
            raise UserError(
                f"the model takes rows of shape {list(self.shape)}, this input has shape {list(array.shape)}"
            )
        array = offsets.without(array, self.offset, self.shape)
        if not np.isfinite(array).all():
            raise UserError("the input holds NaN or infinity; replace them first")
        return {"": array}

    def show(self, own: dict[str, np.ndarray]) -> str:
        numbers = self.plain(own[""]).reshape(-1).tolist()
        each = zip(numbers, self.statistics()["std"], strict=True)
        words = [offsets.written(v, std) if self.offset else f"{v:.4g}" for v, std in islice(each, 6)]
        return ", ".join(words) + (", …" if len(numbers) > 6 else "")

    @property
    def feature_count(self) -> int:
        return max(1, math.prod(self.shape))

    def features(self, name: str, own: Values) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
        flat = self.plain(own[""]).reshape(len(own[""]), -1)
        for i in range(flat.shape[1]):
            yield name if flat.shape[1] == 1 else f"{name}[{i}]", flat[:, i], ()

    def example(self, n: int) -> Batch:
        return {"": spread(n, self.shape, self.statistics())}


def _double(t: Tensor) -> Tensor:
    """In float64, with its gradient."""
    return (t.cpu() if t.device.type == "mps" else t).double()
