"""Chance as a function of where we are (seed, stage, step, sample), never of what came before."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MASK63 = 2**63 - 1


def fold(*ints: int) -> int:
    """Mixes integers, told apart modulo 2**63, into one of 63 bits; every position matters."""
    h = _GOLDEN
    for i in ints:
        h = ((h ^ (i + _GOLDEN + (h << 6) + (h >> 2))) * 0xBF58476D1CE4E5B9) & _MASK63
        h ^= h >> 31
    return h


def generator(*ints: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own, seeded by its place."""
    g = torch.Generator(device=device)
    g.manual_seed(fold(*ints))
    return g


def reseed(*ints: int) -> None:
    """Sets the global generators; the default generator's own method costs 1 µs where torch.manual_seed costs 60."""
    seed = fold(*ints)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _signed(h: int) -> int:
    """A 64-bit pattern as the int64 that tensors hold."""
    h &= 2**64 - 1
    return h - 2**64 if h >= 2**63 else h


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def mix(counter: Tensor, *key: int) -> Tensor:
    """SplitMix64's finaliser over a keyed counter (Steele et al. 2014): int64 -> int64 of the same shape."""
    return _mixed(counter * _signed(_GOLDEN) + _signed(fold(*key)))


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def uniform(samples: Tensor, draws: int, *key: int) -> Tensor:
    """Uniform [0, 1) numbers that depend on (key, sample, draw) alone, so slicing a batch does not change them.

    `samples` int64 [B]; returns float32 [B, draws].
    """
    counter = samples[:, None] * draws + torch.arange(draws, device=samples.device)
    return _shift(mix(counter, *key), 40).to(torch.float32) * 2.0**-24


def uniform_each(samples: list[int], keys: list[tuple[int, ...]]) -> Tensor:
    """A number for each sample under a key of its own, float32 [B]: each is that of `uniform` for one draw."""
    mixed = _mixed(torch.tensor([_signed(s * _GOLDEN + fold(*key)) for s, key in zip(samples, keys, strict=True)]))
    return _shift(mixed, 40).to(torch.float32) * 2.0**-24


ROUNDS, SMALL = 4, 64
"""Rounds of the Feistel network, and up to how many rows it takes twice as many: few rows mix visibly worse."""


def permute(position: Tensor, rows: int, *key: int, epoch: Tensor | int = 0) -> Tensor:
    """A keyed permutation of 0 … rows-1, another in each epoch, in O(positions) and without a table.

    A Feistel network on the next power of four, walked until it falls into range (cycle walking, Black & Rogaway 2002).
    `position` int64 [N] in 0 … rows-1, `epoch` a number or int64 [N]; returns int64 [N].
    """
    half = max(1, ((rows - 1).bit_length() + 1) // 2)
    mask = 2**half - 1
    rounds = 2 * ROUNDS if rows <= SMALL else ROUNDS
    epochs = torch.as_tensor(epoch, device=position.device).expand_as(position)
    keys = torch.stack([mix(epochs * rounds + r, *key) & 0xFFFFFFFF for r in range(rounds)])

    def once(x: Tensor, keys: Tensor) -> Tensor:
        left, right = x >> half, x & mask
        for k in keys:
            mixed = (right + k) * 0x9E3779B1 & 0xFFFFFFFF
            mixed = ((mixed ^ mixed >> 15) * 0x85EBCA6B & 0xFFFFFFFF) >> 13
            left, right = right, (left ^ mixed) & mask
        return left << half | right

    x = once(position, keys)
    while len(outside := (x >= rows).nonzero()[:, 0]):
        x[outside] = once(x[outside], keys[:, outside])
    return x


PIECE = 1 << 17
"""Elements whose dropout is drawn at once; a multiple of 4."""


def _threshold(p: float) -> tuple[int, float]:
    """Of 65,536 equally likely values, how many are dropped, and the factor that keeps the mean."""
    dropped = min(round(p * 65536), 65535)
    return dropped - 32768, 65536 / (65536 - dropped)


def dropout(x: Tensor, p: float) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) from 16-bit draws.

    torch's CPU generator is serial, and its dropout takes one number per element. p is rounded to 1/65536. A compiled
    graph would break here, and has a fast generator of its own.
    """
    if p <= 0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.nn.functional.dropout(x, p, training=True)
    limit, scale = _threshold(p)
    factors = torch.empty(x.shape, dtype=x.dtype)
    for piece in factors.view(-1).split(PIECE):  # each stays in the cache
        piece.copy_(_sixteen_bits(piece) >= limit).mul_(scale)
    return x * factors


def bernoulli(p: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Ones with probabilities `p`, else zeros, of p's shape and type; from the global generator where none is given.

    Of 16-bit draws as well, so p is rounded to 1/65536: what is less likely than 1/131072 never comes.
    """
    if torch.compiler.is_compiling():
        return (torch.rand(p.shape, device=p.device) < p).to(p.dtype)
    p = p.detach()
    return torch.lt(_sixteen_bits(p, generator), p.float() * 65536 - 32768.5, out=torch.empty_like(p))


def _sixteen_bits(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """int16 draws of a tensor's shape, each of the 65,536 values equally likely: four out of each number of the generator."""
    numbers = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=like.device)
    return numbers.random_(-(2**63), None, generator=generator).view(torch.int16)[: like.numel()].view(like.shape)
