"""Omniglot (Lake, Salakhutdinov and Tenenbaum 2015): characters of many alphabets, each drawn once by each of 20 people.

The training part are the two small background sets; characters that are in both are there once. The test part are the 20
published one-shot runs: in each, 20 characters of one alphabet are shown once and asked for once. A shown character is a
class of its own (`run01/class01`), its shown picture comes before the asked one, and the classes of a run are neighbours.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.files.archive import Tree, Zip
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import each, refuse
from shendu.data.files.picture import read_picture
from shendu.data.reader import Claim, Key, Place, Reader
from shendu.errors import UserError
from shendu.reading import Reading

SURE = 0.97
FILES = {"small1": "images_background_small1.zip", "small2": "images_background_small2.zip", "runs": "all_runs.zip"}
"""As they are published."""
SIDE = 28
"""The pictures of 105x105 pixels are stored so large: what networks for this set usually read."""
_DRAWING = re.compile(r"^[^/]+/([^/]+/character\d+)/\d+_\d+\.png$")
_LABELS = "class_labels.txt"
Rows = list[tuple[Tree, str, str]]
"""Archive, entry, class."""


class Omniglot(Reader):
    """The folder of the three archives as they are published."""

    name = "omniglot"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        folder = place.folder
        if not folder or not set(FILES.values()) <= set(place.names):
            return None
        return Claim(SURE, "the archives of Omniglot", {key: folder / file for key, file in FILES.items()})

    def key(self, claim: Claim) -> Key:
        return Key(claim.found, {"kind": "omniglot", "side": SIDE})

    def read(self, claim: Claim, room: Room) -> Decoded:
        return decoded(claim.found, "omniglot")


def decoded(files: dict[str, Path], name: str) -> Decoded:
    """From the archives `small1`, `small2` and `runs`; raises UserError for what is missing in them or cannot be read."""
    field = Image(height=SIDE, width=SIDE, channels=1)
    train = _background([Zip(files["small1"]), Zip(files["small2"])], name)
    test = _runs(Zip(files["runs"]), files["runs"])
    names = tuple(dict.fromkeys(label for rows in (train, test) for _, _, label in rows))
    code = {label: i for i, label in enumerate(names)}
    splits = {
        part: {
            "image": _pictures(rows, field, name),
            "label": np.array([code[label] for _, _, label in rows], np.int64),
        }
        for part, rows in (("train", train), ("test", test))
    }
    return Decoded(
        fields={"image": field, "label": Category(names=names)}, splits=splits, inputs=("image",), targets=("label",)
    )


def _background(trees: list[Tree], name: str) -> Rows:
    """The drawings of both archives, those of the same name once, in the order of their names."""
    found: dict[str, tuple[Tree, str, str]] = {}
    for tree in trees:
        for entry in tree.sizes:
            if match := _DRAWING.match(entry):
                found.setdefault(entry.partition("/")[2], (tree, entry, match.group(1)))
    if not found:
        raise UserError(f"{name} has no drawings in its background archives: download them again")
    return [found[drawing] for drawing in sorted(found)]


def _runs(tree: Tree, path: Path) -> Rows:
    """Run after run, the shown pictures and then the asked ones, each with the class that the run's list gives it."""
    lists = sorted(entry for entry in tree.sizes if entry.endswith(f"/{_LABELS}"))
    if not lists:
        raise UserError(f"{path} has no {_LABELS}, so no one-shot runs: download it again")
    rows: Rows = []
    for entry, data in tree.each(lists):
        run = entry.rpartition("/")[0].rpartition("/")[2]
        pairs = [line.split() for line in data().decode("utf-8", "replace").splitlines() if line.strip()]
        if any(len(pair) != 2 or not set(pair) <= tree.sizes.keys() for pair in pairs):
            raise UserError(f"{path}: {entry} names pictures that are not there: download it again")
        shown = sorted({picture for _, picture in pairs})
        rows += [(tree, picture, f"{run}/{Path(picture).stem}") for picture in shown]
        rows += [(tree, asked, f"{run}/{Path(picture).stem}") for asked, picture in pairs]
    return rows


def _pictures(rows: Rows, field: Image, name: str) -> np.ndarray:
    """uint8 [N, SIDE, SIDE, 1]: ink on paper as it was drawn, made smaller with antialiasing."""
    images, bad = np.zeros((len(rows), *field.stored), np.uint8), {}
    for tree in {id(tree): tree for tree, _, _ in rows}.values():
        place = {entry: i for i, (other, entry, _) in enumerate(rows) if other is tree}

        def keep(entry: str, found: Any, place: dict[str, int] = place) -> None:
            if isinstance(found, str):
                bad[entry] = found
            else:
                images[place[entry]] = found

        each(tree, list(place), lambda data: read_picture(data, field), keep, str)
    refuse(bad, name, "picture", skip_bad=False)
    return images
