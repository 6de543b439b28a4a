"""A data set: named splits of typed columns, each column one contiguous (usually memory-mapped) array."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from shendu.data.columns import Category, Column, Image
from shendu.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION_SHARE, VALIDATION_MOST, SPLIT_SEED = 0.1, 5000, 20261122
"""A validation part is a tenth of the training rows, at most 5,000 of them."""
SMALLEST_TO_SPLIT = 20
"""Below this many rows nothing is split off."""


@dataclass(frozen=True)
class Split:
    """Rows of columns; `index` picks some of them (None: all, in order)."""

    columns: dict[str, np.ndarray]
    index: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.index is None else len(self.index)

    def column(self, name: str) -> np.ndarray:
        """The whole column in this split's order (copied where rows are picked)."""
        values = self.columns[name]
        return values if self.index is None else values[self.index]

    def take(self, rows: np.ndarray) -> Split:
        """Some of this split's rows."""
        return Split(self.columns, rows if self.index is None else self.index[rows])


@dataclass(frozen=True)
class Dataset:
    """Splits of the same columns, what was learned of them when they were decoded, and their content's hash."""

    name: str
    source: str
    """What reopens it: a name, a path, or `cache:<hash>` for Python objects."""
    hash: str
    fields: dict[str, Column]
    splits: dict[str, Split]
    input: str
    """The field that a network reads."""
    target: str
    """The field that it predicts."""
    mean: tuple[float, ...] = (0.0,)
    """Of the input over the training rows: per channel of an image (0 to 255), per element of a number."""
    std: tuple[float, ...] = (1.0,)
    notes: tuple[str, ...] = field(default=())
    """What was decided while reading, each with its reason."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the target's classes; raises UserError where the target is no category."""
        column = self.fields[self.target]
        if not isinstance(column, Category):
            raise UserError(
                f"{self.name} has a number as its target, not classes; use a regression system: linear, mlp"
            )
        return column.names

    def split_off(self) -> Dataset:
        """The same data with the parts that it lacks: a test part (where it has none), then a validation part.

        Deterministic, and per class in equal shares where the target is a category.
        """
        done = self
        for part in ("test", "validation"):
            if part in done.splits or len(done.splits["train"]) < SMALLEST_TO_SPLIT:
                continue
            train = done.splits["train"]
            most = VALIDATION_MOST if part == "validation" else len(train)
            share = min(VALIDATION_SHARE, most / len(train))
            held = _stratified(train.column(self.target), share, isinstance(self.fields[self.target], Category), part)
            rows = np.arange(len(train))
            kept = np.setdiff1d(rows, held)
            note = f"no {part} part in {self.name}: {len(held):,} of {len(train):,} training rows set aside for it"
            splits = {**done.splits, "train": train.take(kept), part: train.take(held)}
            done = replace(done, splits=splits, notes=(*done.notes, note))
        return done

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{len(v):,} rows</td></tr>" for k, v in self.splits.items())
        fields = ", ".join(f"{html.escape(k)}: {html.escape(str(v))[:200]}" for k, v in self.fields.items())
        return f"<b>{html.escape(self.name)}</b><table>{rows}</table><p>{fields}</p>{self._pictures()}"

    def _pictures(self, most: int = 16) -> str:
        if not isinstance(self.fields[self.input], Image):
            return ""
        from PIL import Image as Picture

        tags = []
        for pixels in self.splits["train"].take(np.arange(min(most, len(self.splits["train"])))).column(self.input):
            out = io.BytesIO()
            Picture.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(out, "png")
            data = base64.b64encode(out.getvalue()).decode()
            tags.append(f'<img width="48" style="image-rendering:pixelated" src="data:image/png;base64,{data}">')
        return "".join(tags)


def _stratified(target: np.ndarray, share: float, by_class: bool, part: str) -> np.ndarray:
    """Sorted row numbers of a share of the rows, drawn by a keyed permutation."""
    import torch

    from shendu import chance

    order: Tensor = chance.permute(torch.arange(len(target)), len(target), SPLIT_SEED, len(part))
    shuffled = order.numpy()
    if not by_class:
        return np.sort(shuffled[: max(1, round(share * len(target)))])
    held = []
    for label in np.unique(target):
        rows = shuffled[target[shuffled] == label]
        held.append(rows[: round(share * len(rows))])
    return np.sort(np.concatenate(held))
