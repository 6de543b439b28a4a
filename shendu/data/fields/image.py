"""Pictures of one size.

Shape letters: N rows, B batch, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data import moments, pixels
from shendu.errors import UserError
from shendu.field import Field, Port, Size, Snippet, Unread, Values, array_of

if TYPE_CHECKING:
    from torch import Tensor

    from shendu.field import Batch


@dataclass(frozen=True, kw_only=True)
class Image(Field):
    """Pictures of one size: uint8 [N, height, width, channels], channels last; a network takes float [B, C, H, W]."""

    kind: ClassVar[str] = "image"
    words: ClassVar[str] = "pictures"
    dtype: ClassVar[str] = "uint8"
    explains: ClassVar[str] = "maps"
    filed: ClassVar[bool] = True
    pictured: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    looks: ClassVar[bool] = True
    augments: ClassVar[tuple[str, ...]] = (
        "resized-crop", "crop", "flip", "shift", "rotate", "jitter", "randaugment", "cutout", "mixup", "cutmix",
    )  # fmt: skip

    height: int
    width: int
    channels: int
    levels: tuple[float, ...] = ()
    """Of pictures of more than 8 bits: the values that are stored as 0 and as 255; empty: 8 bits."""
    mean: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """Per channel, on the scale of 0 to 255, over the training rows."""
    std: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @property
    def stored(self) -> tuple[int, ...]:
        return (self.height, self.width, self.channels)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    def fitted(self, chunks: Iterable[Values]) -> Image:
        mean, std = moments.merged(moments.of_images(values[""]) for values in chunks).settled()
        return replace(self, mean=mean, std=std)

    def statistics(self) -> dict[str, tuple[float, ...]]:
        return {"mean": self.mean or (0.0,) * self.channels, "std": self.std or (1.0,) * self.channels}

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        """Standardised, and in channels-last memory."""
        import torch

        x, mean, std = own[""], fit["mean"], fit["std"]
        rows = x.flatten(2).to(torch.float32, copy=True)  # whole rows, since broadcasting over 1 or 3 channels is slow
        rows.sub_(mean.repeat(self.width)).mul_((1 / std).repeat(self.width))
        return {"": rows.view(x.shape).permute(0, 3, 1, 2)}

    def restore(self, own: Batch, fit: Batch) -> Batch:
        """Pictures [B, C, H, W] as a network has them -> uint8 [B, H, W, C]."""
        import torch

        mean, std = (fit[name].view(-1, 1, 1) for name in ("mean", "std"))
        return {"": (own[""] * std + mean).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)}

    def ports(self) -> dict[str, Port]:
        """Pictures of any size; those with transparency of this size, since Pillow resizes them by other rules."""
        size = (self.height, self.width) if self.channels > 3 else (Size("height"), Size("width"))
        what = {1: "gray", 3: "red, green, blue"}.get(self.channels, f"{self.channels} channels")
        if self.levels:
            low, high = self.levels
            return {
                "": Port("float32", (*size, self.channels), f"pictures, {what}: black is {low:g}, white is {high:g}")
            }
        return {"": Port("uint8", (*size, self.channels), f"pictures, {what}: 0 to 255")}

    def received(self, given: Batch) -> Batch:
        """Brought to eight bits and to this size, as a picture's file is."""
        import torch

        from shendu.data import resizing

        x = given[""]
        if self.levels:
            low, high = self.levels
            share = (x.double() - low) / (high - low)
            x = (torch.where(share.isfinite(), share, 0.0).clamp(0, 1) * 255).round()
        return {"": (x if self.channels > 3 else resizing.fit(x, self.height, self.width)).to(torch.uint8)}

    def snippet(self, role: str, argument: str, stem: str, words: bool) -> Snippet:
        mode = {1: "L", 3: "RGB"}.get(self.channels, "RGBA")
        read = f"Image.open({argument})" if self.levels else f'Image.open({argument}).convert("{mode}")'
        kind, axes = ", np.float32" * bool(self.levels), "[None, :, :, None]" if self.channels == 1 else "[None]"
        return Snippet(
            f'{{"{role}": np.asarray({read}{kind}){axes}}}', ("from PIL import Image",), example="PICTURE.png"
        )

    def control(self) -> dict[str, Any]:
        """A drawing, a camera, a file; for colours and eight bits."""
        if self.levels or self.channels not in (1, 3):
            return {}
        return {"control": "picture", "height": self.height, "width": self.width, "channels": self.channels}

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        """Other sizes are of another shape, too: the sides are cut off by `fit`."""
        from PIL import Image as Pillow

        values = np.asarray(own[""])
        if size == 1 or self.channels > 3:
            return {"": self._deep(values) if self.levels else values}, {"": values}
        side = max(2, round(size * self.width * 1.25)), max(2, round(size * self.height))
        drawn = [Pillow.fromarray(row[..., 0] if self.channels == 1 else row).resize(side) for row in values]
        if self.levels:
            drawn = [Pillow.fromarray(self._deep(np.asarray(picture))) for picture in drawn]
        given = np.stack([np.asarray(picture).reshape(side[1], side[0], self.channels) for picture in drawn])
        return {"": given}, self.parse(drawn)

    def _deep(self, values: np.ndarray) -> np.ndarray:
        """Stored levels as the values that they were, float32."""
        low, high = self.levels
        return (values / 255 * (high - low) + low).astype(np.float32)

    def transform(self, own: Batch, affine: Tensor) -> Batch:
        """Bilinear, zeros outside; float32."""
        import torch.nn.functional as F

        x = own[""].permute(0, 3, 1, 2).float()
        grid = F.affine_grid(affine, list(x.shape), align_corners=False)
        return {"": F.grid_sample(x, grid, align_corners=False).permute(0, 2, 3, 1)}

    def usual_augments(self, sided: bool) -> tuple[str, ...]:
        """Colour pictures are cropped and mirrored, unless they have sides; gray ones, which may be writing, shifted by a
        fourteenth of their side.
        """
        if self.channels >= 3 and not sided:
            return (f"crop:{max(1, round(min(self.height, self.width) / 8))}", "flip")
        return (f"shift:{max(1, round(self.width / 14))}",)

    def note_on(self, augments: tuple[str, ...]) -> str:
        done = ",".join(augments)
        if "flip" in augments:
            return f"augmentation: {done}, since photos may be mirrored (if these may not: --set augment=shift:2)"
        return f"augmentation: {done}, not mirrored, since these may be writing, or have sides (photos: --set augment={done},flip)"

    def read(self, values: Any) -> tuple[Values, dict[str, Unread], tuple[str, ...]]:
        """The same as `parse`, and whether values lie beyond those of training, where those were of more than 8 bits."""
        return self.parse(values), {}, (pixels.beyond_told(self.levels),) if self._beyond(values) else ()

    def _beyond(self, values: Any) -> bool:
        if not self.levels:
            return False
        if _is_picture(values) or not isinstance(values, list | tuple):
            values = [values]
        arrays = (pixels.deep_values(v) if _is_picture(v) else array_of(v) for v in values)
        return any(pixels.beyond(one, self.levels) for one in arrays if one.dtype != np.uint8)

    def parse(self, values: Any) -> Values:
        """From Pillow pictures, and arrays uint8 of mixed sizes, brought to this size as files are; or from arrays of this size.

        Those are [height, width, channels], or several of these, their channels last or first: uint8 as they are stored; of
        pictures of more than 8 bits, numbers of another type are the values themselves.
        """
        one = _is_picture(values)
        if isinstance(values, list | tuple) and len({np.shape(v) for v in values if hasattr(v, "shape")}) > 1:
            values = [_picture_of(v) if hasattr(v, "shape") else v for v in values]
        if one or (isinstance(values, list | tuple) and any(map(_is_picture, values))):
            rows = [self._fit(v) if _is_picture(v) else self._rows(v)[0] for v in ([values] if one else values)]
            return {"": np.stack(rows)}
        return {"": self._rows(values)}

    def _fit(self, picture: Any) -> np.ndarray:
        try:
            return pixels.fit_picture(picture, self.stored, self.levels)
        except ValueError as error:
            raise UserError(f"a picture cannot be taken: {error}") from None

    def _rows(self, values: Any) -> np.ndarray:
        array = array_of(values)
        if array.shape == self.stored or (self.channels == 1 and array.shape == self.stored[:2]):
            array = array[None]
        if array.ndim == 3:
            array = array[..., None]
        if array.shape[1:] == self.shape != self.stored:
            array = array.transpose(0, 2, 3, 1)
        known = array.dtype == np.uint8 or (self.levels and array.dtype.kind in "iuf")
        if array.shape[1:] != self.stored or not known:
            height, width, channels = self.stored
            values_of = f"{self.levels[0]:g} to {self.levels[1]:g}, or as uint8" if self.levels else "uint8"
            raise UserError(
                f"the model takes pictures of {height}x{width} pixels and {channels} channels as {values_of} "
                f"[n, {height}, {width}, {channels}]; this array is {array.dtype} {list(array.shape)}"
            )
        return array if array.dtype == np.uint8 else pixels.scaled(array, self.levels)

    def show(self, own: dict[str, np.ndarray]) -> np.ndarray:
        return own[""]

    def brief(self) -> str:
        deep = f", values of {self.levels[0]:g} to {self.levels[1]:g}" if self.levels else ""
        return f"pictures of {self.height}x{self.width} pixels with {self.channels} channel{'s' * (self.channels > 1)}{deep}"

    def entry(self) -> dict[str, Any]:
        return {"as": "picture", "height": self.height, "width": self.width, "channels": self.channels}

    def areas(self, own: Values, side: int) -> Tensor:
        """In pieces, to keep memory small."""
        import torch
        from torch.nn.functional import interpolate

        done = [
            interpolate(torch.from_numpy(piece).permute(0, 3, 1, 2).float(), size=(side, side), mode="area")
            for piece in moments.chunks(own[""])
        ]
        return torch.cat([*done, torch.empty(0, self.channels, side, side)])

    def blank(self, own: Values) -> np.ndarray:
        return np.concatenate([(x == x[:, :1, :1]).all(axis=(1, 2, 3)) for x in moments.chunks(own[""])])

    def example(self, n: int) -> Batch:
        import torch

        drawn = torch.randint(256, (n, *self.stored), generator=torch.Generator().manual_seed(n))
        return {"": drawn.to(torch.uint8)}


def _is_picture(value: Any) -> bool:
    """Whether this is a picture of Pillow's."""
    return hasattr(value, "convert") and hasattr(value, "getexif")


def _picture_of(value: Any) -> Any:
    """A Pillow picture of an array uint8 [H, W] or [H, W, C], gray, coloured or with alpha. Raises UserError for another one."""
    from PIL import Image as Pillow

    array = array_of(value)
    array = array[..., 0] if array.shape[2:] == (1,) else array
    if array.dtype != np.uint8 or not array.size or not (array.ndim == 2 or array.shape[2:] in ((3,), (4,))):
        raise UserError(
            "pictures of mixed sizes are uint8 [H, W] or [H, W, C] with 1, 3 or 4 channels; "
            f"this array is {array.dtype} {list(array.shape)}"
        )
    return Pillow.fromarray(np.ascontiguousarray(array))
