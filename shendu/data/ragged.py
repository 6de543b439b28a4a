"""Rows of varying length as one array of elements and the places where each row begins and ends, as Arrow keeps them.

Shape letters: N rows, M elements of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np


def tensors(values: dict[str, Any]) -> dict[str, Any]:
    """A field's stored values as tensors; rows of varying length as flat values and `_offsets` [N + 1]."""
    import torch

    found: dict[str, Any] = {}
    for part, stored in values.items():
        if isinstance(stored, Ragged):
            found |= {part: torch.from_numpy(stored.values), f"{part}_offsets": torch.from_numpy(stored.offsets)}
        else:
            found[part] = torch.from_numpy(stored)
    return found


class Ragged:
    """Values [M, …] and offsets int64 [N + 1]: row i is values[offsets[i] : offsets[i + 1]]."""

    ndim = 1

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values, self.offsets = values, offsets

    @classmethod
    def of(cls, rows: Sequence[Any], dtype: str, shape: tuple[int, ...] = ()) -> Ragged:
        """From one sequence of elements (numbers, bytes, arrays of a `shape`) per row."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        offsets = _offsets(lengths)
        if shape:
            none = np.zeros((0, *shape), dtype)
            values = np.concatenate([none, *(np.asarray(row, dtype).reshape(-1, *shape) for row in rows)])
        else:
            values = np.fromiter(chain.from_iterable(rows), np.dtype(dtype), int(offsets[-1]))
        return cls(values, offsets)

    @classmethod
    def joined(cls, several: Sequence[Ragged]) -> Ragged:
        """The rows of all, one behind the other."""
        lengths = np.concatenate([one.lengths for one in several])
        values = [one.values[one.offsets[0] : one.offsets[-1]] for one in several]
        return cls(np.concatenate(values), _offsets(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self),)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """The two arrays that it is made of."""
        return self.values, self.offsets

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]."""
        return np.diff(self.offsets)

    def __getitem__(self, rows: Any) -> Any:
        """One row's values for a whole number, several rows for a slice or an array of row numbers."""
        if isinstance(rows, int | np.integer):
            row = range(len(self))[int(rows)]
            return self.values[self.offsets[row] : self.offsets[row + 1]]
        picked = np.arange(len(self))[rows]
        lengths = self.lengths[picked]
        offsets = _offsets(lengths)
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[picked] - offsets[:-1], lengths)
        return Ragged(self.values[places], offsets)

    def padded(self, width: int, value: int = 0) -> np.ndarray:
        """[N, width, …] with `value` behind each row's last; longer rows are cut."""
        rows = np.full((len(self), width, *self.values.shape[1:]), value, self.dtype)
        kept = np.minimum(self.lengths, width)
        places = np.arange(kept.sum()) - np.repeat(kept.cumsum() - kept, kept)
        rows[np.repeat(np.arange(len(self)), kept), places] = self.values[np.repeat(self.offsets[:-1], kept) + places]
        return rows

    def dense(self) -> np.ndarray:
        """Padded with zeros to the longest row: for looking at, not for learning."""
        return self.padded(int(self.lengths.max(initial=1)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.dense() if dtype is None else self.dense().astype(dtype)


def joined(several: Sequence[Any]) -> Any:
    """The rows of stored columns, one behind the other."""
    if isinstance(several[0], Ragged):
        return several[0] if len(several) == 1 else Ragged.joined(several)
    return several[0] if len(several) == 1 else np.concatenate(several)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
