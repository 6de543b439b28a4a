"""Means and standard deviations of stored columns, exact and in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Moments:
    """Of some rows, per element: how many values there are, their mean and variance, float64 each."""

    count: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def settled(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation as plain numbers; a deviation of 0 as 1, since it is divided by."""
        std = np.sqrt(self.variance)
        std[std == 0] = 1.0
        return tuple(self.mean.tolist()), tuple(std.tolist())


def merged(pieces: Iterable[Moments]) -> Moments:
    """The moments of all rows together (Chan, Golub and LeVeque 1983): no difference of large sums."""
    first, *others = pieces
    for more in others:
        count = np.maximum(first.count + more.count, 1)
        apart = more.mean - first.mean
        spread = first.variance * first.count + more.variance * more.count + apart**2 * first.count * more.count / count
        first = Moments(first.count + more.count, first.mean + apart * more.count / count, spread / count)
    return first


def chunks(values: np.ndarray, most: int = _CHUNK) -> Iterator[np.ndarray]:
    """Slices of at most `most` rows and about a million elements, so that temporary copies stay small."""
    if values.ndim == 0:
        yield values
        return
    step = min(most, max(1, _CHUNK // max(1, values.size // max(1, len(values)))))
    for start in range(0, len(values), step):
        yield values[start : start + step]


def of_images(values: np.ndarray) -> Moments:
    """Per channel of uint8 [N, H, W, C]; exact: a square fits 16 bits, and 65,536 of them fit 32."""
    channels = values.shape[-1]
    per_pixel = values.reshape(len(values), -1)
    total, squares = np.zeros(per_pixel.shape[1]), np.zeros(per_pixel.shape[1])
    for part in chunks(per_pixel, most=65_536):
        total += part.sum(axis=0, dtype=np.uint32)
        squares += np.square(part, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    count = values.size // channels
    mean = total.reshape(-1, channels).sum(axis=0) / count
    variance = np.maximum(squares.reshape(-1, channels).sum(axis=0) / count - mean**2, 0.0)
    return Moments(np.full(channels, float(count)), mean, variance)


def of_numbers(flat: np.ndarray) -> Moments:
    """Per element of [N, F], NaN left out; two passes: the sum of squares alone would lose all digits far from zero."""
    total, count = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    for part in chunks(flat):
        total += np.nansum(part, axis=0, dtype=np.float64)
        count += np.isfinite(part).sum(axis=0)
    there, count = count, np.maximum(count, 1)
    mean, squares = total / count, np.zeros(flat.shape[1])
    for part in chunks(flat):
        squares += np.nansum((part - mean) ** 2, axis=0)
    return Moments(there, mean, squares / count)
