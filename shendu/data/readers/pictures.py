"""Pictures in class folders, in a folder or an archive, decoded once by a pool of threads."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from shendu.data import moments, pixels
from shendu.data.class_folders import ClassFolders
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.files import picture, worker
from shendu.data.files.archive import Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import PICTURES, Plan, count, each, first, refuse, skipped
from shendu.data.files.picture import Size
from shendu.data.reader import Claim
from shendu.errors import UserError
from shendu.field import Field
from shendu.shown import line

SIDE_MOST = 224
"""The shorter side is stored no larger than this."""
SAMPLE, SAMPLE_LEAST = 1 << 22, 64
"""Values of deep pictures that tell their range, of all of the training part together, and of each at least."""
SENT_MOST = 50_000_000
"""Pixels of a picture that anyone may send."""
CUT_LEAST = 64
"""Colours of 16 bits whose upper 8 hold less are too dark to be told apart."""
_LIMIT = f"the shorter side at most {SIDE_MOST}"


class Pictures(ClassFolders):
    """Pictures of any size in class folders, brought to one."""

    name = "pictures"
    wanted = "a PNG, JPEG or other picture file"
    field = "image"
    files = PICTURES

    def decoded(self, tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
        return decoded(tree, laid, name, room, skip_bad)

    def row(self, data: bytes, field: Image) -> np.ndarray:
        return picture.pixels(data, field)

    def noted(self, data: bytes, field: Image) -> tuple[np.ndarray, str]:
        beyond = field.levels and pixels.beyond(picture.deep(data), field.levels)
        told = [pixels.beyond_told(field.levels)] if beyond else []
        told += [f"pictures {picture.SEVERAL}"] if picture.several(data) else []
        return self.row(data, field), "; ".join(told)

    def reason(self, error: Exception) -> str:
        return picture.reason(error)

    def sent_row(self, data: bytes, field: Image) -> np.ndarray:
        return picture.pixels(data, field, SENT_MOST)

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> Decoded | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return super().encoded(claim, fields)


def decoded(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
    """Images uint8 [N, H, W, 1 or 3] and labels int64 [N] (zeros where they are left out); raises UserError for unreadable pictures."""
    classes = laid.classes(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; only what cannot be decoded matters here
        return _read(tree, laid, name, room, skip_bad, classes)


def _read(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool, classes: tuple[str, ...]) -> Decoded:
    """In one pass where all pictures are as the first one, else in two: sizes, then pixels."""
    notes: list[str] = []
    bad: dict[str, str] = {}
    field = _first(tree, laid.names())
    images = _decoded(tree, laid.splits, field, room, bad, same=True) if field else None
    rows, sizes = laid.splits, dict[str, Size]()
    if field is None or images is None:
        bad.clear()
        sizes = _sizes(tree, laid.names(), bad)
        refuse(bad, name, "picture", skip_bad)
        if not sizes:
            raise UserError(f"{name} has no readable picture: {first(bad)}")
        field, notes = _common(list(sizes.values()))
        field, more = _deep(tree, [name for name, _ in laid.splits["train"]], sizes, field, bad, name)
        notes += more
        rows = {split: [row for row in entries if row[0] in sizes] for split, entries in rows.items()}
        images = _decoded(tree, rows, field, room, bad) or {}
    refuse(bad, name, "picture", skip_bad)
    if len(bad) == len(laid.names()):
        raise UserError(f"{name} has no readable picture: {first(bad)}")
    notes += _cut(images, sizes, name)
    several = [entry for entry in sizes if sizes[entry].several and entry not in bad]
    if several:
        notes.append(f"{count(len(several), 'picture')} {picture.SEVERAL}, as of {line(min(several))}")
    number = {label: i for i, label in enumerate(classes)}
    splits = {}
    for split, array in images.items():
        good = np.array([entry not in bad for entry, _ in rows[split]])
        labels = (
            np.array([number[label] for _, label in rows[split]], np.int64) if classes else np.zeros(len(good), "f4")
        )
        splits[split] = {"image": array if good.all() else array[good], "label": labels[good]}
    if bad:
        notes.append(skipped(bad, "picture"))
    fields: dict[str, Field] = {"image": field, "label": Category(names=classes) if classes else Number()}
    return Decoded(fields=fields, splits=splits, inputs=("image",), targets=("label",), notes=(*laid.notes, *notes))


class _Different(Exception):
    """A picture that is not as the first one."""


def _first(tree: Tree, names: list[str]) -> Image | None:
    """The field of pictures that are all as the first one; None where that one is large or cannot be read."""
    try:
        size = picture.probe(next(read() for _, read in tree.each(names[:1])))
    except Exception:  # Pillow's plugins raise anything on damaged bytes
        return None
    if max(size.height, size.width) > SIDE_MOST or size.deep or size.cut or size.several:
        return None
    return Image(height=size.height, width=size.width, channels=1 if size.gray else 3)


def _deep(
    tree: Tree, train: list[str], sizes: dict[str, Size], field: Image, bad: dict[str, str], name: str
) -> tuple[Image, list[str]]:
    """The field with one range for all pictures of more than 8 bits: that of the training part; beside pictures of 8 bits, 16 bits.

    So that two pictures are compared by their values, and not each by its own range. What cannot be read goes to `bad`.
    """
    deep = [entry for entry in sizes if sizes[entry].deep]
    if not deep:
        return field, []
    there = [entry for entry in train if entry in sizes and sizes[entry].deep] or deep
    most = max(SAMPLE_LEAST, SAMPLE // max(1, len(there)))
    spreads: list[np.ndarray] = []

    def keep(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
        else:
            spreads.append(found)

    each(tree, there, lambda data: picture.sample(data, most), keep, picture.reason)
    levels, beyond = pixels.levels_of(spreads)
    if len(deep) < len(sizes):
        return field, [_beside_eight_bits(deep, levels[1], name)]
    where = (
        f"where {pixels.CENTRAL:.1%} of the training part's pixels lie, the rest is cut"
        if beyond
        else "where the training part lies"
    )
    note = (
        f"pictures of more than 8 bits: {levels[0]:,g} to {levels[1]:,g}, {where}, becomes 0 to 255, also at prediction"
    )
    return replace(field, levels=levels), [note]


def _beside_eight_bits(deep: list[str], white: float, name: str) -> str:
    """What is to be said of deep pictures among others of 8 bits; raises UserError where they are no 16 bits, but dark."""
    if white < pixels.DEPTH[1] / 2:
        raise UserError(
            f"{name} has {count(len(deep), 'picture')} of more than 8 bits, such as {line(min(deep))}, that hold nothing "
            f"above {white:,g}, among pictures of 8 bits: save all with 8 bits, or all with 16"
        )
    return f"{count(len(deep), 'picture')} of 16 bits among pictures of 8 bits: 65,535 becomes 255"


def _cut(images: dict[str, np.ndarray], sizes: dict[str, Size], name: str) -> list[str]:
    """What is to be said of colours of 16 bits, of which the upper 8 are read; raises UserError where these hold next to nothing."""
    cut = [entry for entry in sizes if sizes[entry].cut]
    if not cut:
        return []
    most = max((int(part.max(initial=0)) for part in moments.chunks(images["train"])), default=0)
    if most < CUT_LEAST:
        raise UserError(
            f"{name} has {count(len(cut), 'picture')} of 16 bits a colour, such as {line(min(cut))}, of which the upper "
            f"8 are read, and these hold nothing above {most}: save them with 8 bits, or gray with 16"
        )
    return [f"{count(len(cut), 'picture')} of 16 bits a colour: the upper 8 are read"]


def _sizes(tree: Tree, names: list[str], bad: dict[str, str]) -> dict[str, Size]:
    """Of all pictures that can be read; the others go to `bad`."""
    sizes: dict[str, Size] = {}

    def keep(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
        else:
            sizes[entry] = found

    each(tree, names, picture.probe, keep, picture.reason)
    return sizes


def _decoded(
    tree: Tree,
    rows: dict[str, list[tuple[str, str]]],
    field: Image,
    room: Room,
    bad: dict[str, str],
    same: bool = False,
) -> dict[str, np.ndarray] | None:
    """Every split's pixels; those that cannot be read go to `bad`. None where all were to be the `same` and are not."""
    places: dict[str, tuple[np.ndarray, int]] = {}
    images: dict[str, np.ndarray] = {}
    for split, entries in rows.items():
        if entries:
            images[split] = room(split, "image", (len(entries), *field.stored))
            plain = np.asarray(images[split])
            places.update({entry: (plain, i) for i, (entry, _) in enumerate(entries)})

    def work(data: bytes) -> np.ndarray | None:
        return picture.alike(data, field) if same else picture.pixels(data, field)

    def put(entry: str, found: Any) -> None:
        if found is None:
            raise _Different
        if isinstance(found, str):
            bad[entry] = found
        else:
            array, i = places[entry]
            array[i] = found

    try:
        if same and worker.pays(tree, list(places)):
            worker.each(tree, list(places), field, work, put, picture.reason)
        else:
            each(tree, list(places), work, put, picture.reason)
    except _Different:
        return None
    return images


def _common(sizes: list[Size]) -> tuple[Image, list[str]]:
    """What to store: the pictures' own size where all agree, else a square of the median shorter side; no larger than
    SIDE_MOST on the shorter side."""
    kinds = {(size.height, size.width) for size in sizes}
    channels = 1 if all(size.gray for size in sizes) else 3
    side = min(SIDE_MOST, int(np.median([min(size.height, size.width) for size in sizes])))
    if len(kinds) == 1:
        height, width = kinds.pop()
        down = side / min(height, width)
        field = Image(height=max(1, round(height * down)), width=max(1, round(width * down)), channels=channels)
        note = f"pictures of {height}×{width} pixels brought to {field.height}×{field.width}: {_LIMIT}"
        return field, [note] if down < 1 else []
    small, large = min(kinds, key=lambda k: k[0] * k[1]), max(kinds, key=lambda k: k[0] * k[1])
    note = (
        f"pictures of {len(kinds):,} sizes ({small[0]}×{small[1]} to {large[0]}×{large[1]} pixels) brought to "
        f"{side}×{side}: the median shorter side, at most {SIDE_MOST}; the rest is cropped around the centre"
    )
    return Image(height=side, width=side, channels=channels), [note]
