"""Rows that are there twice: exactly, by their stored bytes, and pictures that only look the same.

Shape letters: N rows, C channels, P pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from shendu import chance
from shendu.data.dataset import Dataset
from shendu.data.moments import chunks

SIDE = 16
"""Pictures are compared as SIDE x SIDE areas, after a sieve of half that side: 64 numbers for a picture."""
NEAR_SHARE, NEAR_MOST = 1 / 12, 0.15
"""How far apart copies are: this share of how far the alikest tenth of all pairs is, and at most so much."""
LOOKED_THROUGH_MOST = 1 << 28
"""Bytes of inputs in which copies of training rows are looked for before training."""
SAMPLE, PAIRS_MOST = 1000, 100_000
_BLOCK = 2048


def same(parts: list[np.ndarray]) -> np.ndarray:
    """Per row of [N, ...] arrays, one behind the other, the number of the first row with equal content: int64 [N].

    NaN equals NaN, and 0 equals -0.
    """
    flat = [values.reshape(len(values), -1) for values in parts]
    digests = np.concatenate([_digests(piece) for values in flat for piece in chunks(values)])
    ends = np.cumsum([len(values) for values in flat])
    first, order = np.arange(len(digests)), np.argsort(digests, kind="stable")
    starts = np.flatnonzero(np.diff(digests[order])) + 1
    for group in np.split(order, starts):
        if len(group) > 1:
            _settle(first, group, flat, ends)
    return first


def copied(data: Dataset, part: str) -> np.ndarray:
    """Which rows of a part have the inputs of a training row: bool [N].

    None have where the order means something, since windows overlap, where rows vary in length, and where the data is too
    large to be looked through.
    """
    names = [name + key for name in data.inputs for key in data.fields[name].storage()]
    pairs = [[data.splits[one].column(name) for name in names] for one in ("train", part)]
    train, other = pairs
    rows = np.zeros(len(data.splits[part]), bool)
    plain = all(isinstance(values, np.ndarray) for values in (*train, *other))
    if data.ordered or not plain or sum(values.nbytes for values in (*train, *other)) > LOOKED_THROUGH_MOST:
        return rows
    ours, theirs = (sum(map(_all_digests, values), np.uint64(0)) for values in pairs)
    maybe, there = np.flatnonzero(np.isin(theirs, ours)), np.flatnonzero(np.isin(ours, theirs))
    if not len(maybe):
        return rows
    ids = [same([one[there], two[maybe]]) for one, two in zip(train, other, strict=True)]  # equal digests are no proof
    first = same([np.stack(ids, 1)])
    rows[maybe] = first[len(there) :] < len(there)
    return rows


def _all_digests(values: np.ndarray) -> np.ndarray:
    return np.concatenate([_digests(piece) for piece in chunks(values.reshape(len(values), -1))])


def _settle(first: np.ndarray, group: np.ndarray, parts: list[np.ndarray], ends: np.ndarray) -> None:
    """Compares rows of one digest: chance may have brought unequal ones together."""
    at = np.searchsorted(ends, group, side="right")
    rows = np.stack([_canonical(parts[p][row - ends[p]][None])[0] for p, row in zip(at, group, strict=True)])
    while len(group) > 1:
        equal = (rows == rows[0]).all(axis=1)
        first[group[equal]] = group[0]
        group, rows = group[~equal], rows[~equal]


def _canonical(rows: np.ndarray) -> np.ndarray:
    """Rows as integers that are equal where the rows are."""
    if rows.dtype.kind == "f":
        rows = np.where(np.isnan(rows), np.array(np.nan, rows.dtype), rows + 0.0)
    return np.ascontiguousarray(rows).view(f"u{rows.dtype.itemsize}")


def _digests(rows: np.ndarray) -> np.ndarray:
    """uint64 [N]: a multilinear hash under fixed odd factors (Carter and Wegman 1979)."""
    data = _canonical(rows).view(np.uint8).reshape(len(rows), -1)
    words = np.ascontiguousarray(np.pad(data, ((0, 0), (0, -data.shape[1] % 8)))).view(np.uint64)
    words = words ^ (words >> np.uint64(29))  # high bits would never reach the digest's low ones
    factors = np.random.default_rng(0).integers(0, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return (words * factors).sum(axis=1, dtype=np.uint64)


# ---- pictures --------------------------------------------------------------------------------------------------------


def near(seen: Tensor) -> np.ndarray:
    """Pairs i < j of pictures [N, C, SIDE, SIDE] that look the same, the alikest first: int64 [P, 2].

    A perceptual hash of 64 real numbers (gray areas of 8 x 8, standardised) is the sieve, one product of matrices per
    block of rows; what passes is compared on all areas. Signs alone, as dHash and pHash keep them, would not do: where a
    picture has a flat background they are decided by noise, so that a JPEG copy of a digit differs from it in more bits
    than another digit. How near is near follows from how far apart the pictures are in general.
    """
    limit = _limit(seen)
    gray = _standard(avg_pool2d(seen.mean(1, keepdim=True), 2).flatten(1))
    least = (1 - 2 * limit**2) * gray.shape[1]
    pairs: list[Tensor] = []
    distances: list[Tensor] = []
    for start in range(0, len(gray), _BLOCK):
        close = (gray[start : start + _BLOCK] @ gray[start:].T >= least).triu(1).nonzero()[:PAIRS_MOST] + start
        distance = _distance(seen, close)
        pairs.append(close[distance <= limit])
        distances.append(distance[distance <= limit])
    if not pairs:
        return np.zeros((0, 2), np.int64)
    order = torch.cat(distances).argsort(stable=True)[:PAIRS_MOST]
    return torch.cat(pairs)[order].numpy()


def _limit(seen: Tensor) -> float:
    """The distance up to which pictures look the same, from a sample of all pairs."""
    rows = chance.permute(torch.arange(min(SAMPLE, len(seen))), len(seen), 1)
    pairs = torch.combinations(torch.arange(len(rows)))
    pairs = pairs[:: max(1, len(pairs) // 20_000)]
    if not len(pairs):
        return 0.0
    distance = _distance(seen, rows[pairs])
    return min(NEAR_MOST, NEAR_SHARE * float(distance.quantile(0.1)))


def _distance(seen: Tensor, pairs: Tensor) -> Tensor:
    """Mean difference of areas [P], relative to the spread within the flatter picture of the two."""
    found = []
    for part in pairs.split(4096) if len(pairs) else ():
        one, other = seen[part[:, 0]].flatten(1), seen[part[:, 1]].flatten(1)
        spread = torch.minimum(one.std(1), other.std(1))
        found.append((one - other).abs().mean(1) / spread.clamp(min=0.5))
    return torch.cat([*found, torch.empty(0)])


def _standard(x: Tensor) -> Tensor:
    """Rows of mean 0 and variance 1; flat ones are 0."""
    std, mean = torch.std_mean(x, 1, correction=0, keepdim=True)
    return torch.where(std > 0.5, (x - mean) / std.clamp(min=0.5), 0.0)
