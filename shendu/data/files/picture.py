"""A picture's file as pixels: what it says of itself, and the quickest way to a size."""

from __future__ import annotations

import functools
import io
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shendu.data.fields.image import Image
from shendu.data.files import foreign
from shendu.data.pixels import GAP, deep_values, fit_picture, is_deep, orientation, spread
from shendu.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PIXELS_MOST = 100_000_000


class Size(NamedTuple):
    """What a file says of a picture, the way up that it is shown."""

    height: int
    width: int
    gray: bool
    deep: bool = False
    """Gray of more than 8 bits, so that its black and white have to be known."""
    cut: bool = False
    """Colours of 16 bits, of which the upper 8 are read."""
    several: bool = False
    """Frames or pages, of which the first is read."""


_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000")
_FRAMES = {0xC0, 0xC1, 0xC2}
"""A JPEG's markers before its size: baseline, extended and progressive, all Huffman-coded."""
_PASSED = {0xC4, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xEE), 0xEF, 0xFE}
"""Those before it that change nothing here; not 0xE1 (EXIF) and 0xEE (Adobe)."""
_GRAY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of our formats that this Pillow was built with."""
    from PIL import Image as Pillow

    Pillow.init()
    return tuple(name for name in _FORMATS if name in Pillow.OPEN)


def _open(data: bytes, most: int = PIXELS_MOST) -> Picture:
    """A picture whose pixels are not decoded yet; raises ValueError beyond the limit."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        picture = Pillow.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        raise ValueError(f"not a picture{foreign.inside(data)}" if data else "an empty file") from error
    except Pillow.DecompressionBombError as error:
        raise ValueError(f"more than {PIXELS_MOST:,} pixels") from error
    if picture.width * picture.height > most:
        raise ValueError(f"{picture.width:,} × {picture.height:,} pixels, more than {most:,}")
    return picture


def probe(data: bytes) -> Size:
    """Height, width (the way up that it is shown) and whether it is gray, from the header alone."""
    if plain := _plain_jpeg(data):
        return plain
    picture = _open(data)
    # a PNG may keep its EXIF data behind its pixels, so asking for it would decode them; a TIFF's size is turned already
    told = picture.format != "TIFF" and (picture.format != "PNG" or "exif" in picture.info)
    turned = told and orientation(picture) >= 5
    height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
    deep = is_deep(picture)
    return Size(height, width, picture.mode in _GRAY, deep, not deep and _is_cut(picture, data), _is_several(picture))


def _is_several(picture: Picture) -> bool:
    """Whether a file holds more than one picture, as animations and documents of several pages do."""
    try:
        pages = picture.format == "TIFF"
        return getattr(picture, "n_frames", 1) > 1 if pages else bool(getattr(picture, "is_animated", False))
    except Exception:  # Pillow's plugins raise anything on damaged bytes: the first picture is there
        return False


def several(data: bytes) -> bool:
    """The same of a file's bytes; formats that hold one picture only are told by their first ones."""
    return not data.startswith(_ONE) and _is_several(_open(data))


SEVERAL = "of several frames or pages: the first is read"
_ONE = (b"\xff\xd8", b"BM", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")


def _is_cut(picture: Picture, data: bytes) -> bool:
    """Whether Pillow reads the upper 8 of a colour's 16 bits."""
    if picture.format == "PNG":
        return data[24] == 16
    bits = picture.tag_v2.get(258, 8) if picture.format == "TIFF" else 8  # type: ignore[attr-defined]
    return max(bits if isinstance(bits, tuple) else (bits,)) > 8


def deep(data: bytes) -> np.ndarray:
    """The values of a deep picture; raises anything on damaged bytes."""
    picture = _open(data)
    picture.load()
    return deep_values(picture)


def sample(data: bytes, most: int) -> np.ndarray:
    """Some values of a deep picture (`pixels.spread`); raises anything on damaged bytes."""
    return spread(deep(data), most)


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
            return Size(height, width, components == 1) if sound else None
        if marker not in _PASSED:
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _decoded_jpeg(data: bytes, field: Image) -> Picture | None:
    """A plain JPEG's pixels; one much larger than the field is decoded at 1/2, 1/4 or 1/8 of its size. None: not plain."""
    import PIL.Image as Pillow

    if (plain := _plain_jpeg(data)) is None:
        return None
    height, width, gray, *_ = plain
    share = min(int(height / (GAP * field.height)), int(width / (GAP * field.width)))
    scale = next(s for s in (8, 4, 2, 1) if share >= s or s == 1)
    mode = "L" if gray else "RGB"
    try:
        return Pillow.frombytes(mode, (-(-width // scale), -(-height // scale)), data, "jpeg", mode, "", scale, 0)
    except ValueError:
        return None  # damaged: Pillow's own reader says how


def read_picture(data: bytes | Path, field: Image) -> np.ndarray:
    """A picture (a file, or its bytes) as the field stores it; raises UserError where it cannot be read."""
    what = "the picture" if isinstance(data, bytes) else str(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pixels(data if isinstance(data, bytes) else data.read_bytes(), field)
    except Exception as error:  # Pillow's plugins raise anything on damaged bytes
        why = reason(error)
        advice = "" if ":" in why else "; give a PNG, JPEG or other picture file"
        raise UserError(f"cannot read {what}: {why}{advice}") from error


def pixels(data: bytes, field: Image, most: int = PIXELS_MOST) -> np.ndarray:
    """uint8 [height, width, channels] of a picture of at most so many pixels; raises anything on damaged bytes."""
    if most < PIXELS_MOST and (plain := _plain_jpeg(data)) and plain.height * plain.width > most:
        raise ValueError(f"{plain.width:,} × {plain.height:,} pixels, more than {most:,}")
    return fit_picture(_decoded_jpeg(data, field) or _open(data, most), field.stored, field.levels)


def reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).replace("\n", " ").split(" <_io")[0][:200]
    return "cut short" if "truncated" in text.lower() else text or type(error).__name__


def alike(data: bytes, field: Image) -> np.ndarray | None:
    """The pixels of a picture of 8 bits that has the field's size, and is gray where the field is; None for another one."""
    plain = _plain_jpeg(data)
    size = plain or probe(data)
    if (size.height, size.width, 1 if size.gray else 3) != field.stored or size.deep or size.cut or size.several:
        return None
    picture = _decoded_jpeg(data, field) if plain else None
    return pixels(data, field) if picture is None else _stored(picture, field)


def _stored(picture: Picture, field: Image) -> np.ndarray:
    """The pixels of a picture of the field's size and mode."""
    return np.frombuffer(picture.tobytes(), np.uint8).reshape(field.stored)
