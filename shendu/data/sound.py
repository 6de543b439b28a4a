"""Samples of recordings: their scale, rate and length."""

from __future__ import annotations

from math import gcd

import numpy as np

RATES = range(1_000, 768_001)
"""Hz."""


def scaled(samples: np.ndarray) -> np.ndarray:
    """Integers as float32 of full scale 1; floats as they are."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    bits = 8 * samples.dtype.itemsize
    middle = 2 ** (bits - 1) if samples.dtype.kind == "u" else 0
    return (samples.astype(np.float32) - np.float32(middle)) / np.float32(2 ** (bits - 1))


def sixteen_bits(x: np.ndarray) -> np.ndarray:
    """Samples of full scale 1 as int16; what is louder is made quieter as a whole, not clipped."""
    loudest = float(np.abs(x).max(initial=0.0))
    return np.rint(x * (32767 / max(loudest, 1.0))).astype(np.int16)


TAPER = 0.95
"""Share of the lower of two rates' bands that resampling leaves untouched; above it fades out."""
MARGIN = 0.02
"""Seconds of silence put behind a recording, so that its end does not ring into its beginning."""


def resampled(x: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Samples [n] at another rate, ⌈n·to/rate⌉ of them: the spectrum is cut or continued with zeros.

    A raised cosine over the last twentieth of the lower band keeps the filter's ringing short.
    """
    if rate == to or not len(x):
        return x
    whole = rate // gcd(rate, to)  # so many samples are a whole number of new ones
    padded = -(-(len(x) + int(MARGIN * rate) + 1) // whole) * whole
    longer = padded // whole * (to // gcd(rate, to))
    spectrum = np.fft.rfft(x.astype(np.float64), padded)[: longer // 2 + 1]
    edge = min(rate, to) / rate * padded / 2  # the lower band's end, in bins
    place = np.clip((np.arange(len(spectrum)) / edge - TAPER) / (1 - TAPER), 0, 1)
    spectrum *= 0.5 + 0.5 * np.cos(np.pi * place)
    found = np.fft.irfft(spectrum, longer) * (longer / padded)
    return found[: -(-len(x) * to // rate)].astype(np.float32)


def fitted(x: np.ndarray, length: int) -> np.ndarray:
    """Exactly `length` samples: the loudest part of a longer recording, zeros around a shorter one."""
    if len(x) <= length:
        before = (length - len(x)) // 2
        return np.pad(x, (before, length - len(x) - before))
    energy = np.concatenate([[0], np.cumsum(np.square(x, dtype=np.int64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return x[start : start + length]
