"""Pictures in class folders, in a folder or an archive, decoded once by a pool of threads."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu.data.archive import Tree
from shendu.data.cache import Decoded, Room
from shendu.data.columns import Category, Column, Image
from shendu.data.layout import KINDS, Plan, each, first, refuse, skipped
from shendu.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PIXELS_MOST = 100_000_000
SIDE_MOST = 224
"""Pictures of mixed sizes are stored no larger than this."""
SUFFIXES = KINDS["picture"]
_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000")
_GRAY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def read(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
    """Images uint8 [N, H, W, 1 or 3] and labels int64 [N]; raises UserError for unreadable pictures."""
    classes = laid.classes(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; only what cannot be decoded matters here
        return _read(tree, laid, name, room, skip_bad, classes)


def _read(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool, classes: tuple[str, ...]) -> Decoded:
    bad: dict[str, str] = {}
    sizes: dict[str, tuple[int, int, bool]] = {}

    def keep(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
        else:
            sizes[entry] = found

    each(tree, laid.names(), _probe, keep, _reason)
    refuse(bad, name, "picture", skip_bad)
    if not sizes:
        raise UserError(f"{name} has no readable picture: {first(bad)}")
    height, width, notes = _common(list(sizes.values()))
    column = Image(height=height, width=width, channels=1 if all(gray for _, _, gray in sizes.values()) else 3)
    rows = {split: [(e, label) for e, label in entries if e in sizes] for split, entries in laid.splits.items()}
    places: dict[str, tuple[np.ndarray, int]] = {}
    images: dict[str, np.ndarray] = {}
    for split, entries in rows.items():
        if entries:
            images[split] = room(split, "image", (len(entries), height, width, column.channels))
            plain = np.asarray(images[split])
            places.update({entry: (plain, i) for i, (entry, _) in enumerate(entries)})

    def put(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
        else:
            array, i = places[entry]
            array[i] = found

    each(tree, list(places), lambda data: _pixels(data, column), put, _reason)
    refuse(bad, name, "picture", skip_bad)
    number = {label: i for i, label in enumerate(classes)}
    splits = {}
    for split, array in images.items():
        good = np.array([entry not in bad for entry, _ in rows[split]])
        labels = np.array([number[label] for _, label in rows[split]], np.int64)
        splits[split] = {"image": array if good.all() else array[good], "label": labels[good]}
    if bad:
        notes.append(skipped(bad, "picture"))
    fields: dict[str, Column] = {"image": column, "label": Category(names=classes)}
    return Decoded(fields=fields, splits=splits, input="image", target="label", notes=(*laid.notes, *notes))


def _common(sizes: list[tuple[int, int, bool]]) -> tuple[int, int, list[str]]:
    """Height and width to store: the pictures' own where all agree, else a square of the median shorter side."""
    kinds = {(height, width) for height, width, _ in sizes}
    if len(kinds) == 1:
        return *kinds.pop(), []
    side = min(SIDE_MOST, int(np.median([min(height, width) for height, width, _ in sizes])))
    small, large = min(kinds, key=lambda k: k[0] * k[1]), max(kinds, key=lambda k: k[0] * k[1])
    note = (
        f"pictures of {len(kinds):,} sizes ({small[0]}×{small[1]} to {large[0]}×{large[1]} pixels) brought to "
        f"{side}×{side}: the median shorter side, at most {SIDE_MOST}; the rest is cropped around the centre"
    )
    return side, side, [note]


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of our formats that this Pillow was built with."""
    from PIL import Image as Pillow

    Pillow.init()
    return tuple(name for name in _FORMATS if name in Pillow.OPEN)


def _open(data: bytes) -> Picture:
    """A picture whose pixels are not decoded yet; raises ValueError beyond the limit."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        picture = Pillow.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        raise ValueError("not a picture" if data else "an empty file") from error
    if picture.width * picture.height > PIXELS_MOST:
        raise ValueError(f"{picture.width:,} × {picture.height:,} pixels, more than {PIXELS_MOST:,}")
    return picture


def _probe(data: bytes) -> tuple[int, int, bool]:
    """Height, width (the way up that it is shown) and whether it is gray, from the header alone."""
    picture = _open(data)
    # a PNG may keep its EXIF data behind its pixels, so asking for it would decode them
    turned = (picture.format != "PNG" or "exif" in picture.info) and picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
    return height, width, picture.mode in _GRAY


def read_picture(data: bytes | Path, column: Image) -> np.ndarray:
    """A picture (a file, or its bytes) as the column stores it; raises UserError where it cannot be read."""
    what = "the picture" if isinstance(data, bytes) else str(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _pixels(data if isinstance(data, bytes) else data.read_bytes(), column)
    except Exception as error:  # Pillow's plugins raise anything on damaged bytes
        raise UserError(f"cannot read {what}: {_reason(error)}; give a PNG, JPEG or other picture file") from error


def fit_picture(picture: Picture, column: Image) -> np.ndarray:
    """A Pillow picture as the column stores it: uint8 [height, width, channels].

    Turned as its EXIF data say, alpha over white, 16-bit gray scaled to 8; where its size differs, the shorter side
    is resized (bilinear, antialiased) and the rest cropped around the centre.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    size = (column.width, column.height)
    picture.draft(None, (2 * max(size), 2 * max(size)))  # a JPEG much larger than needed is decoded smaller
    picture = ImageOps.exif_transpose(picture)
    picture = _eight_bits(picture, {1: "L", 4: "RGBA"}.get(column.channels, "RGB"))
    if picture.size != size:
        picture = ImageOps.fit(picture, size, Pillow.Resampling.BILINEAR)
    return np.asarray(picture).reshape(column.height, column.width, column.channels)


def _pixels(data: bytes, column: Image) -> np.ndarray:
    return fit_picture(_open(data), column)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).replace("\n", " ").split(" <_io")[0][:200] or type(error).__name__


def _eight_bits(picture: Picture, mode: str) -> Picture:
    """The picture in mode L, RGB or RGBA."""
    from PIL import Image as Pillow

    if picture.mode.startswith("I"):
        deep = np.clip(np.asarray(picture).astype(np.float64), 0, 65535)
        picture = Pillow.fromarray(np.rint(deep / 257).astype(np.uint8))
    if mode != "RGBA" and (picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info):
        seen = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", seen.size, "white"), seen)
    return picture if picture.mode == mode else picture.convert(mode)
