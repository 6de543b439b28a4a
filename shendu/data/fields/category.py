"""One of several classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from shendu.errors import unknown
from shendu.field import Field, Values

if TYPE_CHECKING:
    from shendu.field import Batch


MOST, SHOWN, LETTERS = 12, 10, 40
"""Classes that are told one by one; of more so many are; letters of a name."""


@dataclass(frozen=True, kw_only=True)
class Category(Field):
    """One of several classes: int64 [N], an index into `names`."""

    kind: ClassVar[str] = "category"
    words: ClassVar[str] = "classes"
    dtype: ClassVar[str] = "int64"

    names: tuple[str, ...]
    type: Literal["text", "int", "float", "bool", "decimal", "date", "time", "datetime", "duration"] = field(
        default="text", compare=False, repr=False, metadata={"rare": True}
    )
    """Of the labels, as they came from Python; the names are their texts."""

    @property
    def stored(self) -> tuple[int, ...]:
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names

    @property
    def values(self) -> tuple[Any, ...]:
        """The labels as the Python values that they were."""
        from shendu.data import labels

        return labels.valued(self.names, self.type)

    def parse(self, values: Any) -> Values:
        """From the names or values of classes, or from one."""
        words = tuple(map(str, [values] if isinstance(values, str) else list(values)))
        found = self.places(words)
        for word, place in zip(words, found.tolist(), strict=True):
            if place < 0:
                raise unknown("class", word, self.names)
        return {"": found}

    def places(self, words: tuple[str, ...]) -> np.ndarray:
        """int64 [N]: the class that each word names, -1 where it is none: 7 finds 07 where there is no 7."""
        import pyarrow as pa

        from shendu.data import labels

        return labels.places(pa.array(words, pa.string()), self.names)

    def show(self, own: dict[str, np.ndarray]) -> str:
        return self.names[int(own[""])]

    def tally(self, pieces: Iterable[Values]) -> str:
        """The classes with their rows: all of a dozen, else the first ten and the ends."""
        count = np.zeros(len(self.names), np.int64)
        for values in pieces:
            count += np.bincount(values[""], minlength=len(self.names))
        named = [f"{_short(name)} ({n:,})" for name, n in zip(self.names[:MOST], count[:MOST].tolist(), strict=True)]
        if len(self.names) <= MOST:
            return f"{len(self.names)} classes: {', '.join(named)}"
        least, most = int(count.argmin()), int(count.argmax())
        ends = (
            f"{count[least]:,} ({_short(self.names[least])}) to {count[most]:,} ({_short(self.names[most])}) rows each"
        )
        ends = f"{count[least]:,} rows each" if count[least] == count[most] else ends
        return f"{len(self.names):,} classes: {', '.join(named[:SHOWN])}, and {len(self.names) - SHOWN:,} more; {ends}"

    def example(self, n: int) -> Batch:
        import torch

        return {"": torch.arange(n) % len(self.names)}


def _short(name: str) -> str:
    """A name for a line."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in str(name))
    return shown if len(shown) <= LETTERS else f"{shown[: LETTERS - 1]}…"
