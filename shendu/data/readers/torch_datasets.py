"""PyTorch's datasets of numbered rows: each row is read once, and the columns are then as those of arrays."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from shendu.data.fields.category import Category
from shendu.data.files.cache import Decoded, Room
from shendu.data.reader import USUAL, Claim, Items, Key, Place, Reader
from shendu.data.readers import arrays
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

SURE = 0.95
PARTS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
"""How a person may call a part -> how its arrays' names end."""
SPLITS = {"train": "train", "val": "validation", "test": "test"}


class TorchDatasets(Reader):
    """A torch.utils.data.Dataset of (x, y) with a length, or a dict of such with a train part."""

    name = "torch"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        given = place.given if isinstance(place.given, Mapping) else {"train": place.given}
        if place.path or not given or not all(map(is_dataset, given.values())):
            return None
        return Claim(SURE, "a torch Dataset", (given, reading.task))

    def key(self, claim: Claim) -> Key:
        return Key({}, {}, "data")

    def read(self, claim: Claim, room: Room) -> Decoded:
        given, task = claim.found
        if strange := [str(part) for part in given if part not in PARTS]:
            raise UserError(f"{strange[0]} is no part of data: call the Datasets train, validation and test")
        if "train" not in given:
            raise UserError("there is no Dataset called train among those that were given: add one")
        rows = {PARTS[part]: pairs_of(dataset, part) for part, dataset in given.items()}
        names = names_of(given.values(), [y for _, y in rows.values()])
        found = {f"x_{end}": x for end, (x, _) in rows.items()}
        found |= {f"y_{end}": np.zeros(len(y), np.int64) if names else y for end, (_, y) in rows.items()}
        made = arrays.decoded(found, "the Dataset", "classes" if names else task)
        fields, splits = made.fields, made.splits
        if names:  # class k is the Dataset's k-th, as a network and a loss of the person's own expect it
            (target,) = made.targets
            fields = {**fields, target: Category(names=names)}
            splits = {SPLITS[end]: {**splits[SPLITS[end]], target: y.astype(np.int64)} for end, (_, y) in rows.items()}
        total = sum(len(dataset) for dataset in given.values())
        note = f"each of {total:,} rows was read once: what the Dataset draws at random stays as it was drawn"
        return Decoded(**{**vars(made), "fields": fields, "splits": splits, "notes": (*made.notes, note)})

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        parts = list(given.values()) if isinstance(given, Mapping) else [given]
        return SURE if parts and all(map(is_dataset, parts)) and len(fields) == 1 else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        (name,) = fields
        for part, dataset in given.items() if isinstance(given, Mapping) else [("given", given)]:
            rows = rows_of(dataset, part)
            x = stacked([row[0] if isinstance(row, tuple | list) else row for row in rows], part)
            before = f"{part} " if isinstance(given, Mapping) else ""
            yield "row", [f"{before}{i}" for i in range(len(x))], {name: x}


def is_dataset(value: Any) -> bool:
    """Whether this is one of PyTorch's; without PyTorch there is none."""
    torch = sys.modules.get("torch.utils.data")
    return torch is not None and isinstance(value, torch.Dataset)


def rows_of(dataset: Any, part: str) -> list[Any]:
    """All rows; raises UserError for what has no length, or no rows."""
    if not hasattr(dataset, "__len__"):
        raise UserError(
            f"the {part} Dataset has no length, so its rows have no numbers: give one with __len__ and __getitem__"
        )
    if not len(dataset):
        raise UserError(f"the {part} Dataset has no rows: give at least one")
    return [dataset[i] for i in range(len(dataset))]


def pairs_of(dataset: Any, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of all rows; raises UserError for rows that are no pair or differ in shape."""
    pairs = rows_of(dataset, part)
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise UserError(f"row {i:,} of the {part} Dataset is no pair (x, y): let __getitem__ return the two")
    return stacked([x for x, _ in pairs], part), np.array([plain(y) for _, y in pairs])


def stacked(rows: list[Any], part: str) -> np.ndarray:
    """Rows of one shape; raises UserError for others."""
    x = [plain(row) for row in rows]
    if odd := next((i for i, row in enumerate(x) if row.shape != x[0].shape), 0):
        raise UserError(
            f"row {odd:,} of the {part} Dataset has the shape {list(x[odd].shape)}, row 0 {list(x[0].shape)}: give all the same"
        )
    return np.stack(x)


def plain(value: Any) -> np.ndarray:
    """A tensor, a Pillow picture, a number or a word as an array."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def names_of(datasets: Any, targets: list[np.ndarray]) -> tuple[str, ...]:
    """The classes that the Datasets name (`classes`, as torchvision's do; a Subset has its whole's); none where they name none.

    Raises UserError where they differ.
    """
    if any(y.dtype.kind not in "iu" or y.ndim != 1 for y in targets):
        return ()
    found = [tuple(named) for dataset in datasets if (named := classes_of(dataset))]
    if not found:
        return ()
    if other := next((names for names in found if names != found[0]), None):
        raise UserError(
            f"the Datasets have other classes, {list(found[0])[:5]} and {list(other)[:5]}: give all the same"
        )
    fits = len(set(found[0])) == len(found[0]) and all(y.min() >= 0 and y.max() < len(found[0]) for y in targets)
    return found[0] if fits else ()


def classes_of(dataset: Any) -> list[str]:
    """Of a Dataset, or of the one that it is a part of."""
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return list(names)
    inner = getattr(dataset, "dataset", None)
    return classes_of(inner) if inner is not None and is_dataset(inner) else []
