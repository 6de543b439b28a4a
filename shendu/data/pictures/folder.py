"""Pictures in class folders, in a folder or an archive, decoded once by a pool of threads."""

from __future__ import annotations

import functools
import io
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu.data.columns import Category, Image, Number
from shendu.data.files.archive import Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import KINDS, Plan, each, first, refuse, skipped
from shendu.data.pictures import beside
from shendu.errors import UserError
from shendu.field import Field

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.Image import Transpose

PIXELS_MOST = 100_000_000
SIDE_MOST = 224
"""The shorter side is stored no larger than this."""
_LIMIT = f"the shorter side at most {SIDE_MOST}"
Size = tuple[int, int, bool]
"""Height, width, whether it is gray."""
SUFFIXES = KINDS["picture"]
_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000")
_FRAMES = {0xC0, 0xC1, 0xC2}
"""A JPEG's markers before its size: baseline, extended and progressive, all Huffman-coded."""
_PASSED = {0xC4, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xEE), 0xEF, 0xFE}
"""Those before it that change nothing here; not 0xE1 (EXIF) and 0xEE (Adobe)."""
GAP = 1
"""A JPEG is decoded at no less than this many times the size that is stored."""
_GRAY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def read(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
    """Images uint8 [N, H, W, 1 or 3] and labels int64 [N] (zeros where they are left out); raises UserError for unreadable pictures."""
    classes = laid.classes(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; only what cannot be decoded matters here
        return _read(tree, laid, name, room, skip_bad, classes)


def _read(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool, classes: tuple[str, ...]) -> Decoded:
    """In one pass where all pictures are as the first one, else in two: sizes, then pixels."""
    notes: list[str] = []
    bad: dict[str, str] = {}
    column = _first(tree, laid.names())
    images = _decoded(tree, laid.splits, column, room, bad, same=True) if column else None
    rows = laid.splits
    if column is None or images is None:
        bad.clear()
        sizes = _sizes(tree, laid.names(), bad)
        refuse(bad, name, "picture", skip_bad)
        if not sizes:
            raise UserError(f"{name} has no readable picture: {first(bad)}")
        column, notes = _common(list(sizes.values()))
        rows = {split: [row for row in entries if row[0] in sizes] for split, entries in rows.items()}
        images = _decoded(tree, rows, column, room, bad) or {}
    refuse(bad, name, "picture", skip_bad)
    if len(bad) == len(laid.names()):
        raise UserError(f"{name} has no readable picture: {first(bad)}")
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
    fields: dict[str, Field] = {"image": column, "label": Category(names=classes) if classes else Number()}
    return Decoded(fields=fields, splits=splits, input="image", target="label", notes=(*laid.notes, *notes))


class _Different(Exception):
    """A picture that is not as the first one."""


def _first(tree: Tree, names: list[str]) -> Image | None:
    """The column of pictures that are all as the first one; None where that one is large or cannot be read."""
    try:
        height, width, gray = _probe(next(read() for _, read in tree.each(names[:1])))
    except Exception:  # Pillow's plugins raise anything on damaged bytes
        return None
    return Image(height=height, width=width, channels=1 if gray else 3) if max(height, width) <= SIDE_MOST else None


def _sizes(tree: Tree, names: list[str], bad: dict[str, str]) -> dict[str, Size]:
    """Of all pictures that can be read; the others go to `bad`."""
    sizes: dict[str, Size] = {}

    def keep(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
        else:
            sizes[entry] = found

    each(tree, names, _probe, keep, _reason)
    return sizes


def _decoded(
    tree: Tree,
    rows: dict[str, list[tuple[str, str]]],
    column: Image,
    room: Room,
    bad: dict[str, str],
    same: bool = False,
) -> dict[str, np.ndarray] | None:
    """Every split's pixels; those that cannot be read go to `bad`. None where all were to be the `same` and are not."""
    places: dict[str, tuple[np.ndarray, int]] = {}
    images: dict[str, np.ndarray] = {}
    for split, entries in rows.items():
        if entries:
            images[split] = room(split, "image", (len(entries), *column.stored))
            plain = np.asarray(images[split])
            places.update({entry: (plain, i) for i, (entry, _) in enumerate(entries)})

    def work(data: bytes) -> np.ndarray | None:
        return alike(data, column) if same else _pixels(data, column)

    def put(entry: str, found: Any) -> None:
        if found is None:
            raise _Different
        if isinstance(found, str):
            bad[entry] = found
        else:
            array, i = places[entry]
            array[i] = found

    try:
        if same and beside.pays(tree, list(places)):
            beside.each(tree, list(places), column, work, put, _reason)
        else:
            each(tree, list(places), work, put, _reason)
    except _Different:
        return None
    return images


def alike(data: bytes, column: Image) -> np.ndarray | None:
    """The pixels of a picture that has the column's size, and is gray where the column is; None for another one."""
    plain = _plain_jpeg(data)
    height, width, gray = plain or _probe(data)
    if (height, width, 1 if gray else 3) != column.stored:
        return None
    picture = _decoded_jpeg(data, column) if plain else None
    return _pixels(data, column) if picture is None else _stored(picture, column)


def _stored(picture: Picture, column: Image) -> np.ndarray:
    """The pixels of a picture of the column's size and mode."""
    return np.frombuffer(picture.tobytes(), np.uint8).reshape(column.stored)


def _common(sizes: list[Size]) -> tuple[Image, list[str]]:
    """What to store: the pictures' own size where all agree, else a square of the median shorter side; no larger than
    SIDE_MOST on the shorter side."""
    kinds = {(height, width) for height, width, _ in sizes}
    channels = 1 if all(gray for _, _, gray in sizes) else 3
    side = min(SIDE_MOST, int(np.median([min(height, width) for height, width, _ in sizes])))
    if len(kinds) == 1:
        height, width = kinds.pop()
        down = side / min(height, width)
        column = Image(height=max(1, round(height * down)), width=max(1, round(width * down)), channels=channels)
        note = f"pictures of {height}×{width} pixels brought to {column.height}×{column.width}: {_LIMIT}"
        return column, [note] if down < 1 else []
    small, large = min(kinds, key=lambda k: k[0] * k[1]), max(kinds, key=lambda k: k[0] * k[1])
    note = (
        f"pictures of {len(kinds):,} sizes ({small[0]}×{small[1]} to {large[0]}×{large[1]} pixels) brought to "
        f"{side}×{side}: the median shorter side, at most {SIDE_MOST}; the rest is cropped around the centre"
    )
    return Image(height=side, width=side, channels=channels), [note]


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
    except Pillow.DecompressionBombError as error:
        raise ValueError(f"more than {PIXELS_MOST:,} pixels") from error
    if picture.width * picture.height > PIXELS_MOST:
        raise ValueError(f"{picture.width:,} × {picture.height:,} pixels, more than {PIXELS_MOST:,}")
    return picture


def _probe(data: bytes) -> Size:
    """Height, width (the way up that it is shown) and whether it is gray, from the header alone."""
    if plain := _plain_jpeg(data):
        return plain
    picture = _open(data)
    # a PNG may keep its EXIF data behind its pixels, so asking for it would decode them; a TIFF's size is turned already
    told = picture.format != "TIFF" and (picture.format != "PNG" or "exif" in picture.info)
    turned = told and _orientation(picture) >= 5
    height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
    return height, width, picture.mode in _GRAY


def _plain_jpeg(data: bytes) -> Size | None:
    """Of a JPEG of 8 bits without EXIF data and Adobe's colours; None for anything else, which Pillow is to look at.

    Pillow needs longer for the header of a small JPEG than for its pixels.
    """
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    while at + 10 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            bits, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            sound = bits == 8 and components in (1, 3) and 0 < height * width <= PIXELS_MOST
            return (height, width, components == 1) if sound else None
        if marker not in _PASSED:
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _decoded_jpeg(data: bytes, column: Image) -> Picture | None:
    """A plain JPEG's pixels; one much larger than the column is decoded at 1/2, 1/4 or 1/8 of its size. None: not plain."""
    import PIL.Image as Pillow

    if (plain := _plain_jpeg(data)) is None:
        return None
    height, width, gray = plain
    share = min(int(height / (GAP * column.height)), int(width / (GAP * column.width)))
    scale = next(s for s in (8, 4, 2, 1) if share >= s or s == 1)
    mode = "L" if gray else "RGB"
    try:
        return Pillow.frombytes(mode, (-(-width // scale), -(-height // scale)), data, "jpeg", mode, "", scale, 0)
    except ValueError:
        return None  # damaged: Pillow's own reader says how


def _orientation(picture: Picture) -> int:
    """1 to 8, as EXIF counts them; 1 where the EXIF data are damaged, since the pixels may be sound."""
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # whatever the damage makes Pillow raise
        return 1


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
    picture.draft(None, (GAP * max(size), GAP * max(size)))  # a JPEG much larger than needed is decoded smaller
    picture.load()
    turn = _turns().get(_orientation(picture))
    picture = picture if turn is None else picture.transpose(turn)
    picture = _eight_bits(picture, {1: "L", 4: "RGBA"}.get(column.channels, "RGB"))
    if picture.size != size:
        picture = ImageOps.fit(picture, size, Pillow.Resampling.BILINEAR)
    return np.asarray(picture).reshape(column.stored)


@functools.cache
def _turns() -> dict[int, Transpose]:
    """EXIF's orientation -> what undoes it."""
    from PIL.Image import Transpose

    return dict(
        zip(
            range(2, 9),
            (
                Transpose.FLIP_LEFT_RIGHT,
                Transpose.ROTATE_180,
                Transpose.FLIP_TOP_BOTTOM,
                Transpose.TRANSPOSE,
                Transpose.ROTATE_270,
                Transpose.TRANSVERSE,
                Transpose.ROTATE_90,
            ),
            strict=True,
        )
    )


def _pixels(data: bytes, column: Image) -> np.ndarray:
    return fit_picture(_decoded_jpeg(data, column) or _open(data), column)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).replace("\n", " ").split(" <_io")[0][:200]
    return "cut short" if "truncated" in text.lower() else text or type(error).__name__


def _eight_bits(picture: Picture, mode: str) -> Picture:
    """The picture in mode L, RGB or RGBA."""
    from PIL import Image as Pillow

    if picture.mode == "F":
        real = np.nan_to_num(np.asarray(picture), posinf=0, neginf=0)
        unit = 255 if real.size and real.max() <= 1 else 1  # floating-point pictures are from 0 to 1, rarely to 255
        picture = Pillow.fromarray(np.rint(np.clip(real * unit, 0, 255)).astype(np.uint8))
    if picture.mode.startswith("I"):
        deep = np.clip(np.asarray(picture).astype(np.float64), 0, 65535)
        picture = Pillow.fromarray(np.rint(deep / 257).astype(np.uint8))
    if mode != "RGBA" and (picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info):
        seen = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", seen.size, "white"), seen)
    return picture if picture.mode == mode else picture.convert(mode)
