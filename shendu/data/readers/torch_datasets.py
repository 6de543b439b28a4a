"""PyTorch's datasets of numbered rows: each row is read once, and the columns are then as those of arrays."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from shendu.data.files.cache import Decoded, Room
from shendu.data.reader import Claim, Key, Place, Reader
from shendu.data.readers import arrays
from shendu.data.reading import Reading
from shendu.errors import UserError

SURE = 0.95
PARTS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
"""How a person may call a part -> how its arrays' names end."""


class TorchDatasets(Reader):
    """A torch.utils.data.Dataset of (x, y) with a length, or a dict of such with a train part."""

    name = "torch"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        given = place.given if isinstance(place.given, Mapping) else {"train": place.given}
        if place.path or not given or not all(map(is_dataset, given.values())):
            return None
        return Claim(SURE, "a torch Dataset", given)

    def key(self, claim: Claim) -> Key:
        return Key({}, {}, "data")

    def read(self, claim: Claim, room: Room) -> Decoded:
        if strange := [str(part) for part in claim.found if part not in PARTS]:
            raise UserError(f"{strange[0]} is no part of data: call the Datasets train, validation and test")
        if "train" not in claim.found:
            raise UserError("there is no Dataset called train among those that were given: add one")
        found: dict[str, Any] = {}
        for part, dataset in claim.found.items():
            x, y = rows_of(dataset, part)
            found |= {f"x_{PARTS[part]}": x, f"y_{PARTS[part]}": named(y, dataset)}
        made = arrays.decoded(found, "the Dataset")
        total = sum(len(dataset) for dataset in claim.found.values())
        note = f"each of {total:,} rows was read once: what the Dataset draws at random stays as it was drawn"
        return Decoded(**{**vars(made), "notes": (*made.notes, note)})


def is_dataset(value: Any) -> bool:
    """Whether this is one of PyTorch's; without PyTorch there is none."""
    torch = sys.modules.get("torch.utils.data")
    return torch is not None and isinstance(value, torch.Dataset)


def rows_of(dataset: Any, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of all rows; raises UserError for what has no length, and rows that are no pair or differ in shape."""
    if not hasattr(dataset, "__len__"):
        raise UserError(
            f"the {part} Dataset has no length, so its rows have no numbers: give one with __len__ and __getitem__"
        )
    if not len(dataset):
        raise UserError(f"the {part} Dataset has no rows: give at least one")
    pairs = [dataset[i] for i in range(len(dataset))]
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise UserError(f"row {i:,} of the {part} Dataset is no pair (x, y): let __getitem__ return the two")
    x, y = ([plain(pair[side]) for pair in pairs] for side in (0, 1))
    if odd := next((i for i, row in enumerate(x) if row.shape != x[0].shape), 0):
        raise UserError(
            f"row {odd:,} of the {part} Dataset has the shape {list(x[odd].shape)}, row 0 {list(x[0].shape)}: give all the same"
        )
    return np.stack(x), np.array(y)


def plain(value: Any) -> np.ndarray:
    """A tensor, a Pillow picture, a number or a word as an array."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def named(y: np.ndarray, dataset: Any) -> np.ndarray:
    """Numbers of classes as their names, where the Dataset has a list of them (`classes`, as torchvision's have)."""
    names = getattr(dataset, "classes", None)
    if (
        not isinstance(names, list | tuple)
        or y.dtype.kind not in "iu"
        or not all(isinstance(name, str) for name in names)
    ):
        return y
    if y.ndim != 1 or len(set(names)) != len(names) or y.min() < 0 or y.max() >= len(names):
        return y
    return np.array(names)[y]
