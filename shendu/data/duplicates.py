"""Rows that are there twice: exactly, by their stored bytes, and pictures that only look the same.

Shape letters: N rows, P pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from shendu.data.moments import chunks

NEAR_BITS = 10
"""Of 64 bits of the difference hash, how many may differ before two pictures are looked at more closely."""
NEAR_SIDE, NEAR_DIFFERENCE, NEAR_SHARE = 16, 12.0, 0.15
"""The closer look, on areas of 16 x 16: the mean difference per area may be so many of 255 levels, and so much of the
spread of the picture itself (flat pictures all look alike)."""
NEAR_MOST = 100_000
"""The most pictures that are compared each with each."""
_BLOCK = 2048


def same(values: np.ndarray) -> np.ndarray:
    """Per row of [N, ...] the number of the first row with equal content: int64 [N]. NaN equals NaN, and 0 equals -0."""
    flat = values.reshape(len(values), -1)
    digests = np.concatenate([_digests(part) for part in chunks(flat)]) if len(flat) else np.zeros(0, np.uint64)
    order = np.argsort(digests, kind="stable")
    first = np.arange(len(flat))
    starts = np.flatnonzero(np.diff(digests[order], prepend=~digests[order[:1]]) != 0)
    for group in np.split(order, starts[1:]):
        while len(group) > 1:  # rows of one digest are compared: chance may have brought unequal ones together
            equal = (_canonical(flat[group]) == _canonical(flat[group[:1]])).all(axis=1)
            first[group[equal]] = group[0]
            group = group[~equal]
    return first


def _canonical(rows: np.ndarray) -> np.ndarray:
    """Rows as integers that are equal where the rows are."""
    if rows.dtype.kind == "f":
        rows = np.where(np.isnan(rows), np.array(np.nan, rows.dtype), rows + 0.0)
    return np.ascontiguousarray(rows).view(f"u{rows.dtype.itemsize}")


def _digests(rows: np.ndarray) -> np.ndarray:
    """uint64 [N]: a multilinear hash of the bytes under fixed odd factors (Carter and Wegman 1979)."""
    data = _canonical(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.pad(data, ((0, 0), (0, -data.shape[1] % 8)))
    words = np.ascontiguousarray(padded).view(np.uint64)
    words = words ^ (words >> np.uint64(29))  # so that the high bytes of a word reach the digest's low bits
    factors = np.random.default_rng(0).integers(0, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return (words * factors).sum(axis=1, dtype=np.uint64)


def areas(pictures: np.ndarray, height: int, width: int) -> Tensor:
    """uint8 [N, H, W, C] -> means over areas, float32 [N, C, height, width], 0 to 255; pieces keep memory small."""
    done = [
        interpolate(torch.from_numpy(part).permute(0, 3, 1, 2).float(), size=(height, width), mode="area")
        for part in chunks(pictures)
    ]
    return torch.cat(done) if done else torch.empty(0, pictures.shape[-1], height, width)


def hashes(pictures: np.ndarray) -> Tensor:
    """The difference hash (dHash) of uint8 [N, H, W, C]: whether gray grows to the right, ±1 in float32 [N, 64]."""
    gray = areas(pictures, 8, 9).mean(1)
    return torch.where(gray[:, :, 1:] > gray[:, :, :-1], 1.0, -1.0).flatten(1)


def near(pictures: np.ndarray) -> np.ndarray:
    """Pairs (i < j) of uint8 [N, H, W, C] that look the same, int64 [P, 2].

    First those whose 64 bits differ in at most NEAR_BITS, found in blocks by one product of matrices each (the product
    of ±1 vectors is 64 minus twice the bits that differ); of them those whose areas agree.
    """
    bits = hashes(pictures)
    found = []
    for start in range(0, len(bits), _BLOCK):
        close = bits[start : start + _BLOCK] @ bits[start:].T >= 64 - 2 * NEAR_BITS
        pairs = close.triu(1).nonzero() + start
        found.append(pairs[_alike(pictures, pairs.numpy())])
    return torch.cat(found).numpy() if found else np.zeros((0, 2), np.int64)


def _alike(pictures: np.ndarray, pairs: np.ndarray) -> Tensor:
    """Which pairs agree on their areas: bool [P]."""
    if not len(pairs):
        return torch.zeros(0, dtype=torch.bool)
    rows, places = np.unique(pairs, return_inverse=True)
    side = min(NEAR_SIDE, *pictures.shape[1:3])
    seen = areas(pictures[rows], side, side).flatten(1)
    spread = seen.std(1)
    verdicts = []
    for part in torch.from_numpy(places.reshape(-1, 2)).split(4096):
        one, other = part.T
        difference = (seen[one] - seen[other]).abs().mean(1)
        least = torch.minimum(spread[one], spread[other])
        verdicts.append((difference <= NEAR_DIFFERENCE) & (difference <= NEAR_SHARE * least))
    return torch.cat(verdicts)
