"""What one column gives away: nothing, the target, a place in the table; and how two parts differ in it.

Shape letters: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from shendu import chance
from shendu.data.columns import Column, Number
from shendu.data.row import NAMED, Row

BINS, DISTINCT = 100, 256
"""Bins of a number that has more distinct values than the latter."""
SEED = 20261122


@dataclass(frozen=True)
class Feature:
    """One column of the input by itself: numbers float32 [N] (NaN: missing), or codes of `names` (0: missing)."""

    name: str
    values: np.ndarray
    names: tuple[str, ...] = ()
    """Of codes 2, 3, …; empty: numbers."""

    @property
    def missing(self) -> np.ndarray:
        return self.values == 0 if self.names else np.isnan(self.values)

    def show(self, row: int) -> str:
        """A value for the eye."""
        value = self.values[row]
        if self.missing[row]:
            return "missing"
        if not self.names:
            return f"{value:.6g}"
        return self.names[int(value) - NAMED] if value >= NAMED else "a value that the training part lacks"


def features(name: str, column: Column, rows: np.ndarray, most: int) -> Iterator[Feature]:
    """The columns of stored rows, where a row is made of columns; texts have none of their own."""
    if isinstance(column, Row):
        for field, start in list(zip(column.fields, column.starts, strict=True))[:most]:
            if field.kind != "text":
                yield Feature(field.name, rows[:, start], field.names)
    elif isinstance(column, Number):
        flat = rows.reshape(len(rows), -1)
        for i in range(min(most, flat.shape[1])):
            yield Feature(name if flat.shape[1] == 1 else f"{name}[{i}]", flat[:, i])


def binned(feature: Feature) -> np.ndarray:
    """A whole number per row, int64 [N]: its code, its distinct value, or its bin among equally full ones."""
    if feature.names:
        return feature.values.astype(np.int64)
    distinct, codes = np.unique(feature.values, return_inverse=True)  # NaN are one value
    if len(distinct) <= DISTINCT:
        return codes
    edges = np.unique(np.nanquantile(feature.values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(np.isnan(feature.values), len(edges) + 1, np.searchsorted(edges, feature.values))


def halves(rows: int) -> np.ndarray:
    """bool [rows]: a drawn half."""
    return (chance.permute(torch.arange(rows), rows, SEED) % 2 == 0).numpy()


def foretells_class(bins: np.ndarray, labels: np.ndarray, learn: np.ndarray) -> tuple[float, float]:
    """(accuracy of each bin's most frequent class, accuracy of the most frequent class): learnt on a half, held on the other."""
    classes, size = int(labels.max()) + 1, int(bins.max()) + 1
    if size * classes > 10_000_000:
        return 0.0, 0.0
    usual = np.bincount(labels[learn], minlength=classes).argmax()
    counts = np.bincount(bins[learn] * classes + labels[learn], minlength=size * classes).reshape(size, classes)
    guess = np.where(counts.any(axis=1), counts.argmax(axis=1), usual)
    held, truth = bins[~learn], labels[~learn]
    return float((guess[held] == truth).mean()), float((truth == usual).mean())


def foretells_number(feature: Feature, target: np.ndarray, learn: np.ndarray) -> float:
    """The share of the target's variance, in a half, that a line or the bins of the other half explain."""
    held = target[~learn]
    total = np.square(held - held.mean()).sum()
    if not total:
        return 0.0
    bins = binned(feature)
    count = np.bincount(bins[learn], minlength=bins.max() + 1)
    sums = np.bincount(bins[learn], target[learn], minlength=bins.max() + 1)
    guess = np.where(count > 0, sums / np.maximum(count, 1), target[learn].mean())[bins[~learn]]
    explained = 1 - np.square(held - guess).sum() / total
    if not feature.names and not feature.missing.any() and np.ptp(feature.values[learn]) > 0:
        slope, start = np.polyfit(feature.values[learn].astype(np.float64), target[learn], 1)
        explained = max(explained, 1 - np.square(held - slope * feature.values[~learn] - start).sum() / total)
    return float(explained)


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
