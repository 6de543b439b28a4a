"""What one column gives away: nothing, the target, a place in the table; and how two parts differ in it.

Shape letters: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shendu import chance
from shendu.data import offsets
from shendu.data.column import NAMED

BINS = 100
"""The most bins that a number is put into."""
SEED = 20261122


@dataclass(frozen=True)
class Feature:
    """One column of the input by itself: numbers [N] (NaN: missing), float64 beside an offset, or codes of `names` (0: missing)."""

    name: str
    values: np.ndarray
    names: tuple[str, ...] = ()
    """Of codes 2, 3, …; empty: numbers."""

    @property
    def missing(self) -> np.ndarray:
        return self.values == 0 if self.names else np.isnan(self.values)

    def written(self, value: float, digits: int = 6) -> str:
        """A number of about its size; those with an offset differ in their last digits."""
        far = self.values.dtype == np.float64
        return offsets.written(value, float(np.nanstd(self.values))) if far else f"{value:.{digits}g}"

    def show(self, row: int) -> str:
        """A value for the eye."""
        value = self.values[row]
        if self.missing[row]:
            return "missing"
        if not self.names:
            return self.written(value)
        return self.names[int(value) - NAMED] if value >= NAMED else "a value that the training part lacks"


def coincidences(columns: list[Feature], rows: int) -> float:
    """How many pairs of so many rows would be equal by chance, were the columns independent."""
    share = 1.0
    for column in columns:
        counts = np.unique(column.values, return_counts=True)[1].astype(np.float64)
        share *= (counts * (counts - 1)).sum() / max(1, len(column.values) * (len(column.values) - 1))
    return share * rows * (rows - 1) / 2


def codings(feature: Feature, learn: np.ndarray) -> list[np.ndarray]:
    """A column as whole numbers int64 [N], in the ways in which it may foretell something.

    A category by its code; a number by its bin among equally full ones, and by the nearest value among the rows to
    learn from.
    """
    if feature.names:
        return [feature.values.astype(np.int64)]
    values, absent = feature.values, feature.missing
    there = values[learn & ~absent]
    if not len(there):
        return [absent.astype(np.int64)]
    edges = np.unique(np.quantile(there, np.linspace(0, 1, min(BINS, len(there) // 10 + 2))[1:-1]))
    known = np.unique(there)
    middles = known[:-1] + (known[1:] - known[:-1]) / 2
    return [
        np.where(absent, len(marks) + 1, np.searchsorted(marks, values, side="right")) for marks in (edges, middles)
    ]


def halves(rows: int) -> np.ndarray:
    """bool [rows]: a drawn half."""
    return (chance.permute(torch.arange(rows), rows, SEED) % 2 == 0).numpy()


def foretells_class(codes: np.ndarray, labels: np.ndarray, learn: np.ndarray) -> tuple[float, float]:
    """(accuracy of each code's most frequent class, accuracy of the most frequent class), in the rows not learned from."""
    classes, size = int(labels.max()) + 1, int(codes.max()) + 1
    if size * classes > 10_000_000:
        return 0.0, 0.0
    usual = np.bincount(labels[learn], minlength=classes).argmax()
    counts = np.bincount(codes[learn] * classes + labels[learn], minlength=size * classes).reshape(size, classes)
    guess = np.where(counts.any(axis=1), counts.argmax(axis=1), usual)
    held_out, truth = codes[~learn], labels[~learn]
    return float((guess[held_out] == truth).mean()), float((truth == usual).mean())


def foretells_number(codes: np.ndarray, target: np.ndarray, learn: np.ndarray) -> float:
    """The share of the target's variance, in the rows not learned from, that the mean of each code explains."""
    size, usual = int(codes.max()) + 1, target[learn].mean()
    count = np.bincount(codes[learn], minlength=size)
    sums = np.bincount(codes[learn], target[learn], minlength=size)
    guess = np.where(count > 0, sums / np.maximum(count, 1), usual)
    held_out = target[~learn]
    total = np.square(held_out - held_out.mean()).sum()
    return float(1 - np.square(held_out - guess[codes[~learn]]).sum() / total) if total else 0.0


def is_row_number(values: np.ndarray) -> bool:
    """Whole numbers that count the rows, in whatever order."""
    if np.isnan(values).any() or not np.array_equal(values, np.round(values)):
        return False
    return bool(np.array_equal(np.sort(values), values.min() + np.arange(len(values))))


def far_out(values: np.ndarray) -> np.ndarray:
    """Rows of the few numbers that lie further from the quartiles than five times what is between them.

    Numbers above 0 must also do so (three times) as logarithms, so that a long tail is no outlier.
    """
    there = values[~np.isnan(values)].astype(np.float64)
    if len(there) < 20:
        return np.zeros(0, np.int64)
    out = _beyond(values, 5.0)
    if there.min() > 0:
        out &= _beyond(np.log(values), 3.0)
    rows = np.flatnonzero(out)
    return rows if len(rows) <= max(1, 0.005 * len(there)) else np.zeros(0, np.int64)


def _beyond(values: np.ndarray, times: float) -> np.ndarray:
    low, high = np.nanquantile(values, [0.25, 0.75])
    if low == high:
        low, high = np.nanquantile(values, [0.05, 0.95])
    reach = times * (high - low)
    return (
        (np.nan_to_num(values, nan=low) < low - reach) | (np.nan_to_num(values, nan=low) > high + reach)
        if reach
        else np.zeros(len(values), bool)
    )


def moved(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Largest distance of two samples' distribution functions, and how probable one as large is by chance.

    Kolmogorov and Smirnov's test, with the first term of its limit.
    """
    one, other = np.sort(one[~np.isnan(one)]), np.sort(other[~np.isnan(other)])
    if not len(one) or not len(other):
        return 0.0, 1.0
    at = np.concatenate([one, other])
    distance = np.abs(
        np.searchsorted(one, at, side="right") / len(one) - np.searchsorted(other, at, side="right") / len(other)
    ).max()
    rows = len(one) * len(other) / (len(one) + len(other))
    return float(distance), float(min(1.0, 2 * np.exp(-2 * rows * distance**2)))


def reweighed(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Half the sum of differences between two samples' shares of each code, and a bound on that by chance.

    The bound on the probability is that of Weissman et al. 2003, for both samples' sizes together.
    """
    size = int(max(one.max(), other.max())) + 1
    a, b = (np.bincount(codes.astype(np.int64), minlength=size) for codes in (one, other))
    kinds = int(((a + b) > 0).sum())
    distance = float(np.abs(a / len(one) - b / len(other)).sum() / 2)
    rows = len(one) * len(other) / (len(one) + len(other))
    return distance, float(min(1.0, 2.0 ** min(kinds, 1000) * np.exp(-2 * rows * distance**2)))
