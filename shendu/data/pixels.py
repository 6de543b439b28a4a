"""A Pillow picture as pixels of a size: the way up that it is shown, in eight bits."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.Image import Transpose

GAP = 1
"""A JPEG is decoded at no less than this many times the size that is stored."""


def fit_picture(picture: Picture, stored: tuple[int, ...]) -> np.ndarray:
    """A Pillow picture as uint8 of the size that is `stored`: [height, width, channels].

    Turned as its EXIF data say, alpha over white, 16-bit gray scaled to 8; where its size differs, the shorter side
    is resized (bilinear, antialiased) and the rest cropped around the centre.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    height, width, channels = stored
    size = (width, height)
    picture.draft(None, (GAP * max(size), GAP * max(size)))  # a JPEG much larger than needed is decoded smaller
    picture.load()
    turn = _turns().get(orientation(picture))
    picture = picture if turn is None else picture.transpose(turn)
    picture = _eight_bits(picture, {1: "L", 4: "RGBA"}.get(channels, "RGB"))
    if picture.size != size:
        picture = ImageOps.fit(picture, size, Pillow.Resampling.BILINEAR)
    return np.asarray(picture).reshape(stored)


def orientation(picture: Picture) -> int:
    """1 to 8, as EXIF counts them; 1 where the EXIF data are damaged, since the pixels may be sound."""
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # whatever the damage makes Pillow raise
        return 1


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
