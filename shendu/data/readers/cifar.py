"""CIFAR-10's binary version: records of a label byte and 32×32 red, green and blue planes (Krizhevsky 2009)."""

from __future__ import annotations

import re

import numpy as np

from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.files.archive import Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.reader import Claim, Key, Place, Reader
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

SURE = 0.94
RECORD, RECORDS = 1 + 3 * 32 * 32, 10_000
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BATCH = re.compile(r"(.*/)?(data_batch_\d+|test_batch)\.bin")
_META = "batches.meta.txt"


class Cifar(Reader):
    """The record files of a folder or archive, named like data_batch_1.bin."""

    name = "cifar"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        found = relevant(place.names)
        return Claim(SURE, f"files called like {found[0]}", (place, found)) if found else None

    def key(self, claim: Claim) -> Key:
        place, found = claim.found
        return Key({entry: place.path / entry for entry in found}, {"kind": "cifar"})

    def read(self, claim: Claim, room: Room) -> Decoded:
        place, _ = claim.found
        return decoded(place.tree, str(place))


def relevant(names: list[str]) -> list[str]:
    """The record files and the class names among a tree's files; empty where there are no training records."""
    found = [name for name in names if _BATCH.fullmatch(name)]
    if not any("data_batch_" in name.rsplit("/", 1)[-1] for name in found):
        return []
    return found + [name for name in names if name.rsplit("/", 1)[-1] == _META][:1]


def decoded(tree: Tree, name: str, classes: tuple[str, ...] = ()) -> Decoded:
    """Images uint8 [N, 32, 32, 3] and labels int64 [N]; raises UserError."""
    parts: dict[str, np.ndarray] = {}
    names, notes = classes, []
    for entry, data in tree.each(relevant(sorted(tree.sizes))):
        try:
            values = data()
        except OSError as error:
            raise UserError(f"cannot read {entry} of {name}: {error.strerror or error}") from error
        short = entry.rsplit("/", 1)[-1]
        if short == _META:
            text = values.decode("utf-8", "replace")
            names = names or tuple(line.strip() for line in text.splitlines() if line.strip())
            continue
        if not values or len(values) % RECORD:
            raise UserError(
                f"{short} of {name} has {len(values):,} bytes, not a whole number of {RECORD:,}-byte records: "
                "download or copy it again"
            )
        parts[short] = np.frombuffer(values, np.uint8).reshape(-1, RECORD)
        if len(parts[short]) != RECORDS:
            notes.append(f"{short} is only a part: {len(parts[short]):,} of {RECORDS:,} records")
    order = sorted(parts, key=lambda short: (len(short), short))
    batches = {
        "train": [parts[short] for short in order if short != "test_batch.bin"],
        "test": [parts[short] for short in order if short == "test_batch.bin"],
    }
    fields: dict[str, Field] = {
        "image": Image(height=32, width=32, channels=3),
        "label": Category(names=names or CLASSES),
    }
    if not batches["train"]:
        raise UserError(f"{name} has no data_batch_1.bin: download or copy it again")
    splits = {split: _columns(np.concatenate(records)) for split, records in batches.items() if records}
    return Decoded(fields=fields, splits=splits, inputs=("image",), targets=("label",), notes=tuple(sorted(notes)))


def _columns(records: np.ndarray) -> dict[str, np.ndarray]:
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {"image": np.ascontiguousarray(images), "label": records[:, 0].astype(np.int64)}
