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


DEPTH = (0.0, 65535.0)
"""Black and white of 16 bits."""
FULL = (1.0, *(2.0**bits - 1 for bits in range(8, 17)))
"""What white is called, in floating point and in so many bits."""
CENTRAL, FAR = 0.999, 16.0
"""Where so many pixels lie within this part of the range, the rest would leave them too few levels."""


def fit_picture(picture: Picture, stored: tuple[int, ...], levels: tuple[float, ...] = ()) -> np.ndarray:
    """A Pillow picture as uint8 of the size that is `stored`: [height, width, channels].

    Turned as its EXIF data say, alpha over white; where its size differs, the shorter side is resized (bilinear,
    antialiased) and the rest cropped around the centre. `levels` are the values that become 0 and 255 in gray pictures of
    more than 8 bits; without, 16 bits are scaled to 8. Raises ValueError for a picture of another depth.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    height, width, channels = stored
    size = (width, height)
    picture.draft(None, (GAP * max(size), GAP * max(size)))  # a JPEG much larger than needed is decoded smaller
    picture.load()
    turn = _turns().get(orientation(picture))
    picture = picture if turn is None else picture.transpose(turn)
    picture = _eight_bits(picture, {1: "L", 4: "RGBA"}.get(channels, "RGB"), levels)
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


def is_deep(picture: Picture) -> bool:
    """Whether it is gray of more than 8 bits: whole numbers or floating point."""
    return picture.mode == "F" or picture.mode.startswith("I")


def deep_values(picture: Picture) -> np.ndarray:
    """The values [height, width] of such a picture; NaN where a map has none (GDAL's tag)."""
    values = np.asarray(picture)
    nothing = str(getattr(picture, "tag_v2", {}).get(42113, "")).strip(" \0")
    if not nothing:
        return values
    try:
        return np.where(values == float(nothing), np.nan, values.astype(np.float64))
    except ValueError:
        return values


def scaled(values: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Values of any depth as uint8: `levels` (without: 16 bits) become 0 and 255, what is not finite 0. Raises ValueError."""
    low, high = levels or DEPTH
    real = values.astype(np.float64)
    if not levels and values.dtype.kind == "f":
        raise ValueError("floating-point values, whose black and white are not known here: save it with 8 bits")
    if not levels and real.size and (real.min() < low or real.max() > high):
        raise ValueError(f"values of {real.min():g} to {real.max():g}, beyond 16 bits: save it with 8 bits")
    share = np.nan_to_num((real - low) / (high - low), nan=0.0, posinf=0.0, neginf=0.0)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def beyond(values: np.ndarray, levels: tuple[float, ...]) -> bool:
    """Whether more of a picture's values lie beyond `levels` than the few that may."""
    low, high = levels
    return bool(((values < low) | (values > high)).mean() > 1 - CENTRAL)


def beyond_told(levels: tuple[float, ...]) -> str:
    low, high = levels
    return f"there are pictures with values beyond {low:,g} to {high:,g}, which is what was learned: they are cut there"


def spread(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of a picture's finite values, evenly drawn, its least and largest first; empty: it has none."""
    real = values[np.isfinite(values)].astype(np.float64)
    if not real.size:
        return real
    return np.concatenate([[real.min(), real.max()], real[:: -(-real.size // most)]])


def levels_of(spreads: list[np.ndarray]) -> tuple[tuple[float, float], bool]:
    """(the values that become 0 and 255, whether a few pixels lie beyond them), of what `spread` says of each picture."""
    some = [one for one in spreads if len(one)]
    if not some:
        return (0.0, 1.0), False
    low, high = min(float(one[0]) for one in some), max(float(one[1]) for one in some)
    rest = (1 - CENTRAL) / 2
    inner, outer = np.quantile(np.concatenate([one[2:] for one in some]), [rest, 1 - rest]).tolist()
    if inner < outer and high - low > FAR * (outer - inner):
        return _own_depth(inner, outer), True
    return _own_depth(low, high if high > low else low + 1), False


def _own_depth(low: float, high: float) -> tuple[float, float]:
    """0 and the white of the depth that a range fills by more than half, so that no noise moves it; else the range itself."""
    white = next((full for full in FULL if high <= full < 2 * (high - low)), 0.0)
    return (0.0, white) if white and low >= 0 else (low, high)


def _eight_bits(picture: Picture, mode: str, levels: tuple[float, ...]) -> Picture:
    """The picture in mode L, RGB or RGBA."""
    from PIL import Image as Pillow

    if is_deep(picture):
        picture = Pillow.fromarray(scaled(deep_values(picture), levels))
    elif levels:
        raise ValueError(f"8 bits, where values of {levels[0]:g} to {levels[1]:g} were learned: give it as those are")
    if mode != "RGBA" and (picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info):
        seen = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", seen.size, "white"), seen)
    return picture if picture.mode == mode else picture.convert(mode)
