"""What is taken away of numbers before they become float32, and added to them again: near 1.7e9 a float32 moves in steps of 128.

Shape letters: N rows, F numbers of each.
"""

from __future__ import annotations

import math

import numpy as np

from shendu.data import moments

Offset = tuple[float, ...]
"""Per number of a row, or one for all of them; empty: nothing is taken away."""
FEWEST = 2.0**-14
"""A column needs an offset where a step of float32 is a larger share of its deviation: four digits of it would not be left."""
LOOKED_AT, ROWS_LEAST = 1 << 22, 1000
"""Numbers that tell, of rows evenly drawn from more; and rows, however wide."""


def found(values: np.ndarray) -> Offset:
    """The offset of training values [N, F] (NaN: missing), any kind of number; empty where float32 loses nothing that counts.

    A number with few digits of its own, near the mean, so that what is left of a person's values is exact in float64. Columns
    that never change have none.
    """
    if not values.size:
        return ()
    most = max(ROWS_LEAST, LOOKED_AT // values.shape[1])
    rows = values[:: -(-len(values) // most)].astype(np.float64)
    rows[~np.isfinite(rows)] = np.nan
    with np.errstate(all="ignore"):  # what float32 cannot hold is for the reader to refuse
        about = moments.of_numbers(rows)
        mean, std = about.mean, np.sqrt(about.variance)
        step = np.spacing(np.nanmax(np.abs(rows), axis=0, initial=0.0).astype(np.float32))
        changes = np.nanmax(rows, axis=0, initial=-np.inf) > np.nanmin(rows, axis=0, initial=np.inf)
        lost = changes & (std > 0) & np.isfinite(step) & (step > FEWEST * std)
    return tuple(_rounded(m, s) if l else 0.0 for m, s, l in zip(mean, std, lost, strict=True)) if lost.any() else ()


def _rounded(mean: float, std: float) -> float:
    """A multiple of a power of two not above the deviation."""
    unit = 2.0 ** math.floor(math.log2(std))
    return round(mean / unit) * unit


def without(values: np.ndarray, offset: Offset, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Numbers [N, …] as they are stored: the offset (of a row of this shape) taken away in float64, then float32.

    What float32 cannot hold is infinite.
    """
    with np.errstate(over="ignore"):
        if not any(offset):
            return np.ascontiguousarray(values, np.float32)
        left, away, start = np.empty(values.shape, np.float32), np.array(offset, np.float64), 0
        away = away.reshape(shape) if len(away) > 1 else away[0]
        for part in moments.chunks(values):
            left[start : start + len(part)] = part.astype(np.float64) - away
            start += len(part)
        return left


def decimals(std: float, steps: float) -> int:
    """How many decimals tell apart so many steps of a deviation; 2^24 steps are all that a float32 of its size has."""
    return max(0, math.ceil(math.log10(steps / std))) if std > 0 else 0


def written(value: float, std: float) -> str:
    """A number beside an offset for the eye: as many decimals as tell a deviation to six digits, without zeros behind them."""
    text = f"{value:.{decimals(std, 1e6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
