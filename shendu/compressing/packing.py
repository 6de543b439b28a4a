"""How weights lie in a file: as whole numbers of 8 or 4 bits with a scale, without their zeros; read again they are float32.

A row of a weight (a channel, a feature) is its largest magnitude in 127 or 7 steps; of 4 bits each 32 numbers of a row have a scale of
their own. Scales have 8 significant bits, so that a step times a whole number is exact: what was packed and read is packed to the
same bytes again. Sparse weights are a bit for each number, and the numbers that are not zero.

Shape letters: O rows, N numbers of a row, G groups of a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

import torch
from safetensors.torch import save
from torch import Tensor

BITS = (4, 8, 32)
GROUP = 32
"""Numbers that share a scale at 4 bits."""
LEAST = 256
"""Numbers of a weight from which packing it is worth a scale."""
SCALE, MASK = ".scale", ".mask"


class How(TypedDict, total=False):
    """How one tensor lies in the file."""

    bits: int
    sparse: bool


Packing = dict[str, How]
"""Name of a tensor -> how it lies in the file."""


def packable(tensors: Mapping[str, Tensor], bits: int) -> Packing:
    """All weights of two or more dimensions that are large enough; those whose zeros pay for a bit per number without them."""
    found: Packing = {}
    for name, t in tensors.items():
        if t.dim() < 2 or t.numel() < LEAST or t.dtype != torch.float32:
            continue
        sparse = float((t == 0).float().mean()) > 1.5 / bits
        if bits != 32 or sparse:
            found[name] = {"bits": bits, "sparse": sparse}
    return found


def check_packing(packing: Packing) -> Packing:
    """Raises ValueError for what `packed` does not do."""
    for name, how in packing.items():
        if how.get("bits") not in BITS:
            raise ValueError(f"{name} lies in {how.get('bits')} bits")
    return packing


def scales(rows: Tensor, bits: int) -> Tensor:
    """The step of each row, float32 with 8 significant bits."""
    top = rows.abs().amax(-1) / (2 ** (bits - 1) - 1)
    return torch.where(top > 0, top, torch.ones_like(top)).bfloat16().float()


def grouped(rows: Tensor, bits: int) -> Tensor:
    """[O, N] -> [O, G, N / G], padded with zeros: at 8 bits one group."""
    size = GROUP if bits == 4 else rows.shape[1]
    return torch.nn.functional.pad(rows, (0, -rows.shape[1] % size)).unflatten(1, (-1, size))


def rounded(t: Tensor, bits: int) -> Tensor:
    """A weight as it will be read again."""
    if bits == 32:
        return t
    rows = grouped(t.flatten(1).float(), bits)
    step = scales(rows, bits)[..., None]
    whole = (rows / step).round().clamp(-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1)
    return (whole * step).flatten(1)[:, : t.flatten(1).shape[1]].reshape(t.shape)


def packed(tensors: Mapping[str, Tensor], packing: Packing) -> dict[str, Tensor]:
    """Tensors as they lie in the file."""
    found: dict[str, Tensor] = {}
    for name, t in tensors.items():
        found |= {name: t} if name not in packing else _packed(name, t.contiguous(), packing[name])
    return found


def _packed(name: str, t: Tensor, how: How) -> dict[str, Tensor]:
    bits, found = how["bits"], {}
    values = t.flatten(1)
    if bits != 32:
        rows = grouped(values.float(), bits)
        step = scales(rows, bits)
        limit = 2 ** (bits - 1) - 1
        values = (rows / step[..., None]).round().clamp(-limit, limit).to(torch.int8)
        values = values.flatten(1)[:, : t[0].numel()]
        found[name + SCALE] = step.bfloat16()
    if how.get("sparse"):
        there = values.flatten() != 0
        found[name + MASK] = _bits(there)
        values = values.flatten()[there]
        found[name] = _nibbles(values) if bits == 4 else values.contiguous()
    else:
        found[name] = _nibbles(values.flatten()) if bits == 4 else values.view(t.shape).contiguous()
    return found


def size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of a file of these tensors."""
    return len(save({name: t.detach().contiguous() for name, t in tensors.items()}))


def _bits(there: Tensor) -> Tensor:
    """bool [n] -> uint8 [⌈n / 8⌉]."""
    bytes_ = torch.nn.functional.pad(there.to(torch.uint8), (0, -len(there) % 8)).view(-1, 8)
    return (bytes_ << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def _nibbles(values: Tensor) -> Tensor:
    """int8 [n] from -8 to 7 -> uint8 [⌈n / 2⌉]."""
    pairs = torch.nn.functional.pad(values, (0, len(values) % 2)).view(-1, 2) & 15
    return (pairs[:, 0] | (pairs[:, 1] << 4)).view(torch.uint8)


def outlined(shapes: Mapping[str, Tensor], given: Mapping[str, Tensor], packing: Packing) -> dict[str, Tensor]:
    """What a file must hold of tensors of these shapes, as tensors without numbers; of sparse ones as many numbers as are `given`,
    which are held against the mask when they are read."""
    found: dict[str, Tensor] = {}
    for name, t in shapes.items():
        if name not in packing:
            found[name] = t
            continue
        how, rows, count = packing[name], t.flatten(1), t.numel()
        bits = how["bits"]
        if bits != 32:
            groups = math.ceil(rows.shape[1] / GROUP) if bits == 4 else 1
            found[name + SCALE] = torch.empty(len(rows), groups, device="meta")
        if how.get("sparse"):
            found[name + MASK] = torch.empty(-(-count // 8), device="meta")
            some = given.get(name)
            size = min(count, some.numel()) if some is not None else count
            found[name] = torch.empty(size, device="meta")
        else:
            found[name] = torch.empty(-(-count // 2), device="meta") if bits == 4 else t
    return found


def unpacked(tensors: Mapping[str, Tensor], packing: Packing, shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a network has them. Raises ValueError where they are of other types than `packed` makes."""
    found = {}
    for name, t in shapes.items():
        found[name] = _unpacked(name, tensors, packing[name], t) if name in packing else tensors[name]
    return found


def _unpacked(name: str, tensors: Mapping[str, Tensor], how: How, shape: Tensor) -> Tensor:
    values, bits, count = tensors[name], how["bits"], shape.numel()
    wanted = {32: torch.float32, 8: torch.int8, 4: torch.uint8}[bits]
    if values.dtype != wanted:
        raise ValueError(f"{name} is of the type {str(values.dtype).removeprefix('torch.')}")
    if how.get("sparse"):
        mask = tensors[name + MASK]
        there = (mask[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten()[:count].bool()
        values = _whole(values)[: int(there.sum())] if bits == 4 else values
        if len(values) != int(there.sum()):
            raise ValueError(f"{name} has {len(values):,} numbers and its mask {int(there.sum()):,}")
        values = torch.zeros(count, dtype=values.dtype).masked_scatter_(there, values)
    elif bits == 4:
        values = _whole(values)[:count]
    values = values.view(len(shape), -1)
    if bits != 32:
        rows = grouped(values.float(), bits)
        step = tensors[name + SCALE].float()
        values = (rows * step[..., None]).flatten(1)[:, : values.shape[1]]
    return values.reshape(shape.shape).contiguous()


def _whole(nibbles: Tensor) -> Tensor:
    """uint8 [n] -> int8 [2 n] from -8 to 7."""
    pairs = torch.stack([nibbles & 15, nibbles >> 4], 1).flatten().to(torch.int8)
    return torch.where(pairs > 7, pairs - 16, pairs)
