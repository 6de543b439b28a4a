"""One of several classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.errors import unknown
from shendu.field import Field, Values

if TYPE_CHECKING:
    from shendu.field import Batch


@dataclass(frozen=True, kw_only=True)
class Category(Field):
    """One of several classes: int64 [N], an index into `names`."""

    kind: ClassVar[str] = "category"
    words: ClassVar[str] = "classes"
    dtype: ClassVar[str] = "int64"

    names: tuple[str, ...]

    @property
    def stored(self) -> tuple[int, ...]:
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names

    def parse(self, values: Any) -> Values:
        """From the names of classes, or from one."""
        words = [values] if isinstance(values, str) else list(values)
        number = {name: i for i, name in enumerate(self.names)}
        for word in words:
            if word not in number:
                raise unknown("class", str(word), self.names)
        return {"": np.array([number[word] for word in words], np.int64)}

    def show(self, own: dict[str, np.ndarray]) -> str:
        return self.names[int(own[""])]

    def example(self, n: int) -> Batch:
        import torch

        return {"": torch.arange(n) % len(self.names)}
