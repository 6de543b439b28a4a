"""Means and standard deviations of stored columns, exact and in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CHUNK = 1 << 20


def chunks(values: np.ndarray, most: int = _CHUNK) -> Iterator[np.ndarray]:
    """Slices of at most `most` rows and about a million elements, so that temporary copies stay small."""
    if values.ndim == 0:
        yield values
        return
    step = min(most, max(1, _CHUNK // max(1, values.size // max(1, len(values)))))
    for start in range(0, len(values), step):
        yield values[start : start + step]


def of_images(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel of uint8 [N, H, W, C]; exact: a square fits 16 bits, and 65,536 of them fit 32."""
    channels = values.shape[-1]
    per_pixel = values.reshape(len(values), -1)
    total, squares = np.zeros(per_pixel.shape[1]), np.zeros(per_pixel.shape[1])
    for part in chunks(per_pixel, most=65_536):
        total += part.sum(axis=0, dtype=np.uint32)
        squares += np.square(part, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    count = values.size // channels
    mean = total.reshape(-1, channels).sum(axis=0) / count
    return _settled(mean, np.maximum(squares.reshape(-1, channels).sum(axis=0) / count - mean**2, 0.0))


def of_numbers(flat: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per element of [N, F], NaN left out; two passes: the sum of squares alone would lose all digits far from zero."""
    total, count = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    for part in chunks(flat):
        total += np.nansum(part, axis=0, dtype=np.float64)
        count += np.isfinite(part).sum(axis=0)
    count = np.maximum(count, 1)
    mean, squares = total / count, np.zeros(flat.shape[1])
    for part in chunks(flat):
        squares += np.nansum((part - mean) ** 2, axis=0)
    return _settled(mean, squares / count)


def _settled(mean: np.ndarray, variance: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    std = np.sqrt(variance)
    std[std == 0] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
