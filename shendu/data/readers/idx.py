"""IDX files, as MNIST and its relatives are published: a header of sizes, then the bytes (LeCun, Cortes and Burges)."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.parts import PARTS, part_of
from shendu.data.reader import Claim, Key, Place, Reader
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

SURE = 0.98
MAGIC, DIMENSIONS = b"\0\0\x08", (b"\x01", b"\x03")
IMAGES, LABELS = 0x0803, 0x0801
"""Magic numbers: unsigned bytes (08) in three dimensions, or in one."""
_DEFLATE_MOST = 1032
"""No deflate stream grows by more than this factor, so a header that promises more is wrong before a byte is read."""
_BYTES_MOST = 1 << 36
_READ = 1 << 20
_NAME = re.compile(r"(.*?)[-_.]?(images|labels)[-.]idx[13]-ubyte(\.gz)?", re.IGNORECASE)


class Idx(Reader):
    """The IDX files of a folder, named like train-images-idx3-ubyte; or one of them, which stands for its folder."""

    name = "idx"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        if place.folder:
            found = pairs(place.folder, (name for name in place.names if "/" not in name))
            return Claim(SURE, "files called like IDX", (found, place.folder)) if found else None
        if not place.file or place.head[:3] != MAGIC or place.head[3:4] not in DIMENSIONS:
            return None
        folder = place.file.parent
        found = pairs(folder, (entry.name for entry in folder.iterdir()))
        if place.file not in found.values() and place.file.with_suffix("") not in found.values():
            raise UserError(f"{place} is an IDX file of unknown part: name it like train-images-idx3-ubyte")
        return Claim(SURE, "begins like IDX", (found, folder))

    def key(self, claim: Claim) -> Key:
        files, folder = claim.found
        return Key(files, {"kind": "idx"}, at=folder)

    def read(self, claim: Claim, room: Room) -> Decoded:
        files, folder = claim.found
        return decoded(files, folder.absolute().name or str(folder))


def pairs(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """`train_images` and the like -> the files of a folder whose names say so; empty where there are none.

    Raises UserError where two files could be the same part, or a part lacks its other half.
    """
    found: dict[str, Path] = {}
    for name in sorted(names):
        match = _NAME.fullmatch(name)
        split = _split(match[1]) if match else ""
        if not match or not split:
            continue
        key = f"{split}_{match[2].lower()}"
        if key in found and found[key].name + ".gz" != name:
            raise UserError(f"{folder} has two candidates, {found[key].name} and {name}: keep one set per folder")
        found.setdefault(key, folder / name)
    for key, path in found.items():
        split, half = key.split("_")
        other = "labels" if half == "images" else "images"
        if f"{split}_{other}" not in found:
            raise UserError(f"{path} has no {split} {other} beside it: put that file into the same folder")
    if found and "train_images" not in found:
        raise UserError(f"{folder} has no train-images-idx3-ubyte file: put the training files into the same folder")
    return found


def _split(prefix: str) -> str:
    words = re.split(r"[-_.]", prefix.lower())
    found = ("test" if word == "t10k" else part_of(word) for word in reversed(words))
    return next((part for part in found if part in PARTS), "")


def decoded(files: dict[str, Path], name: str, classes: tuple[str, ...] = ()) -> Decoded:
    """Images uint8 [N, H, W, 1] and labels int64 [N] of each split; without `classes` the labels name themselves.

    `files` has train_images, train_labels and perhaps test_… and validation_…; raises UserError.
    """
    splits: dict[str, dict[str, np.ndarray]] = {}
    for split in ("train", "validation", "test"):
        if f"{split}_images" not in files:
            continue
        images = load(files[f"{split}_images"], IMAGES)
        labels = load(files[f"{split}_labels"], LABELS)
        if len(images) != len(labels):
            raise UserError(
                f"{name} has {len(images):,} images but {len(labels):,} labels in its {split} part: "
                "the two files do not belong together"
            )
        splits[split] = {"image": images[..., None], "label": labels.astype(np.int64)}
    if not classes:
        values = np.unique(splits["train"]["label"])
        classes = tuple(map(str, values.tolist()))
        _renumber(splits, values, name)
    sizes = {arrays["image"].shape[1:3] for arrays in splits.values()}
    if len(sizes) > 1:
        texts = " and ".join(f"{h}×{w}" for h, w in sorted(sizes))
        raise UserError(f"{name} has images of {texts} pixels in its parts: all parts must have one size")
    height, width = sizes.pop()
    fields: dict[str, Field] = {
        "image": Image(height=height, width=width, channels=1),
        "label": Category(names=classes),
    }
    return Decoded(fields=fields, splits=splits, inputs=("image",), targets=("label",))


def _renumber(splits: dict[str, dict[str, np.ndarray]], values: np.ndarray, name: str) -> None:
    for split, arrays in splits.items():
        labels = arrays["label"]
        bad = np.flatnonzero(~np.isin(labels, values))
        if len(bad):
            raise UserError(
                f"{name} has label {labels[bad[0]]} in row {bad[0]:,} of its {split} part, "
                "which no training row has: correct the labels"
            )
        arrays["label"] = np.searchsorted(values, labels)


def load(path: Path, magic: int) -> np.ndarray:
    """One IDX file (gzip or plain) whose magic number must be `magic`; uint8. Raises UserError."""
    try:
        size = path.stat().st_size
        if not size:
            raise UserError(f"{path} is empty: download or copy it again")
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
            return _load(stream, path, magic, size * _DEFLATE_MOST if packed else size)
    except EOFError as error:
        raise UserError(f"{path} is a truncated gzip file: download or copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}): download or copy it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _load(stream: BinaryIO, path: Path, magic: int, most: int) -> np.ndarray:
    """`most` is the largest number of bytes that the stream can hold."""
    head = stream.read(4)
    if len(head) < 4 or struct.unpack(">I", head)[0] != magic:
        wanted = "images" if magic == IMAGES else "labels"
        found = head.hex() or "nothing"
        raise UserError(f"{path} begins with {found} but IDX {wanted} begin with {magic:08x}: give the right file")
    dimensions = magic & 0xFF
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise UserError(f"{path} ends within its header: download or copy it again")
    shape = struct.unpack(f">{dimensions}I", sizes)
    wanted_bytes = math.prod(shape)
    text = f"{' × '.join(f'{n:,}' for n in shape)} = {wanted_bytes:,} bytes"
    if wanted_bytes > min(most, _BYTES_MOST):
        raise UserError(f"{path} promises {text} in its header, more than it can hold: download or copy it again")
    values = np.empty(wanted_bytes, np.uint8)
    view, done = values.data, 0
    while done < wanted_bytes and (part := stream.read(min(_READ, wanted_bytes - done))):
        view[done : done + len(part)] = part
        done += len(part)
    if done < wanted_bytes:
        raise UserError(f"{path} promises {text} in its header but has {done:,}: download or copy it again")
    if stream.read(1):
        raise UserError(f"{path} promises {text} in its header but has more: it is not this IDX file")
    if not wanted_bytes:
        raise UserError(f"{path} holds nothing: its header says {' × '.join(map(str, shape))}")
    return values.reshape(shape)
