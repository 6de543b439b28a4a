"""Typed columns: what a field of a data set holds, how its array is stored, and how a network takes it.

Each is a `shendu.core.Field`: the cache, tasks, prediction and the report ask it and know no kind by name.

Shape letters: B batch, N rows, H height, W width, C channels.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu import config
from shendu.data import moments
from shendu.errors import UserError, unknown
from shendu.field import Field, Values

if TYPE_CHECKING:
    from torch import Tensor

    from shendu.field import Batch


@dataclass(frozen=True, kw_only=True)
class Image(Field):
    """Pictures of one size: uint8 [N, height, width, channels], channels last; a network takes float [B, C, H, W]."""

    kind: ClassVar[str] = "image"
    words: ClassVar[str] = "pictures"
    dtype: ClassVar[str] = "uint8"
    moves: ClassVar[bool] = True
    looks: ClassVar[bool] = True
    augments: ClassVar[tuple[str, ...]] = (
        "resized-crop", "crop", "flip", "shift", "rotate", "jitter", "randaugment", "cutout", "mixup", "cutmix",
    )  # fmt: skip

    height: int
    width: int
    channels: int
    mean: tuple[float, ...] = field(default=(), compare=False)
    """Per channel, on the scale of 0 to 255, over the training rows."""
    std: tuple[float, ...] = field(default=(), compare=False)

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

    def store(self, raw: Any) -> np.ndarray:
        """From a file, a Pillow picture, or an array of one or several."""
        from shendu.data.pictures import folder

        if isinstance(raw, str | Path) and Path(raw).suffix.lower() not in (".npy", ".npz"):
            return folder.read_picture(Path(raw), self)[None]
        if hasattr(raw, "convert") and hasattr(raw, "getexif"):
            return folder.fit_picture(raw, self)[None]
        array = as_array(raw)
        if array.ndim in (2, 3) and array.shape[:2] == self.stored[:2] and array.ndim + (self.channels == 1) >= 3:
            array = array[None]
        if array.ndim == 3:
            array = array[..., None]
        if array.shape[1:] != self.stored or array.dtype != np.uint8:
            height, width, channels = self.stored
            raise UserError(
                f"the model takes pictures of {height}x{width} pixels and {channels} channels as uint8 "
                f"[n, {height}, {width}, {channels}]; this array is {array.dtype} {list(array.shape)}"
            )
        return array

    def items(self, given: Any) -> Iterator[tuple[list[str], Any]]:
        from shendu.data.pictures import folder

        return files_of(given, tuple(sorted(folder.SUFFIXES)), "pictures")

    def show(self, own: dict[str, np.ndarray]) -> np.ndarray:
        return own[""]

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


@dataclass(frozen=True, kw_only=True)
class Number(Field):
    """Real numbers: float32 [N, *shape]."""

    kind: ClassVar[str] = "number"
    words: ClassVar[str] = "numbers"
    augments: ClassVar[tuple[str, ...]] = ("mixup",)

    shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = field(default=(), compare=False)
    """Per element, over the training rows."""
    std: tuple[float, ...] = field(default=(), compare=False)

    @property
    def stored(self) -> tuple[int, ...]:
        return self.shape

    def fitted(self, chunks: Iterable[Values]) -> Number:
        found = (moments.of_numbers(values[""].reshape(len(values[""]), -1)) for values in chunks)
        mean, std = moments.merged(found).settled()
        return replace(self, mean=mean, std=std)

    def statistics(self) -> dict[str, tuple[float, ...]]:
        count = math.prod(self.shape)
        return {"mean": self.mean or (0.0,) * count, "std": self.std or (1.0,) * count}

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        x, mean, std = own[""], fit["mean"], fit["std"]
        return {"": ((x.flatten(1) - mean) * (1 / std)).reshape(x.shape) if x.dim() > 1 else (x - mean) / std}

    def restore(self, own: Batch, fit: Batch) -> Batch:
        """Numbers in standard units, [B, *shape] or flat [B, F] -> in the stored unit, [B, *shape]."""
        return {"": (own[""].flatten(1) * fit["std"] + fit["mean"]).reshape(-1, *self.shape)}

    def store(self, raw: Any) -> np.ndarray:
        """From one row, or an array of rows."""
        array = as_array(raw)
        if array.shape == self.shape:
            array = array[None]
        if array.shape[1:] != self.shape:
            raise UserError(
                f"the model takes rows of shape {list(self.shape)}, this input has shape {list(array.shape)}"
            )
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError("the input holds NaN or infinity; replace them first")
        return array

    def items(self, given: Any) -> Iterator[tuple[list[str], Any]]:
        return files_of(given, (".npy",), "arrays")

    def show(self, own: dict[str, np.ndarray]) -> str:
        numbers = own[""].reshape(-1).tolist()
        return ", ".join(f"{v:.4g}" for v in numbers[:6]) + (", …" if len(numbers) > 6 else "")

    @property
    def feature_count(self) -> int:
        return max(1, math.prod(self.shape))

    def features(self, name: str, own: Values) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
        flat = own[""].reshape(len(own[""]), -1)
        for i in range(flat.shape[1]):
            yield name if flat.shape[1] == 1 else f"{name}[{i}]", flat[:, i], ()

    def example(self, n: int) -> Batch:
        return {"": spread(n, self.shape, self.statistics())}


@dataclass(frozen=True, kw_only=True)
class Category(Field):
    """One of several classes: int64 [N], an index into `names`."""

    kind: ClassVar[str] = "category"
    words: ClassVar[str] = "classes"
    dtype: ClassVar[str] = "int64"

    names: tuple[str, ...]

    @property
    def stored(self) -> tuple[int, ...]:
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names

    def store(self, raw: Any) -> np.ndarray:
        """From a class's name, or a list of them."""
        words = [raw] if isinstance(raw, str) else list(raw)
        for word in words:
            if word not in self.names:
                raise unknown("class", str(word), self.names)
        return np.array([self.names.index(word) for word in words], np.int64)

    def items(self, given: Any) -> Iterator[tuple[list[str], Any]]:
        yield [str(given)], given

    def show(self, own: dict[str, np.ndarray]) -> str:
        return self.names[int(own[""])]

    def example(self, n: int) -> Batch:
        import torch

        return {"": torch.arange(n) % len(self.names)}


_KINDS = {
    "image": ("shendu.data.columns", "Image"),
    "number": ("shendu.data.columns", "Number"),
    "category": ("shendu.data.columns", "Category"),
    "text": ("shendu.data.texts.text", "Text"),
    "audio": ("shendu.data.signals.audio", "Audio"),
    "row": ("shendu.data.tables.row", "Row"),
    "series": ("shendu.data.signals.series", "Series"),
    "sequence": ("shendu.data.texts.sequence", "Sequence"),
    "sentence": ("shendu.data.texts.pairs", "Sentence"),
    "prose": ("shendu.data.texts.prose", "Prose"),
}
"""Kind in a file -> where its class stands: a closed list, so that no file can name code."""


def to_json(column: Field) -> dict[str, Any]:
    return {"kind": column.kind, **config.to_json(column)}


def from_json(values: dict[str, Any]) -> Field:
    kind = values.get("kind", "")
    if kind not in _KINDS:
        raise unknown("column type", str(kind), _KINDS)
    module, name = _KINDS[kind]
    cls = getattr(importlib.import_module(module), name)
    return config.from_json(cls, {key: value for key, value in values.items() if key != "kind"})


# ---- what several kinds share ----------------------------------------------------------------------------------------


def drawn(n: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers [n, *shape] under a fixed seed."""
    import torch

    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(n))


def spread(n: int, shape: tuple[int, ...], fit: dict[str, tuple[float, ...]]) -> Tensor:
    """Normal numbers [n, *shape] of a mean and deviation per element (or of one for all), under a fixed seed."""
    import torch

    mean, std = (torch.tensor(fit[name], dtype=torch.float32) for name in ("mean", "std"))
    return (drawn(n, (math.prod(shape),)) * std + mean).view(n, *shape)


def files_of(given: Any, suffixes: tuple[str, ...], what: str) -> Iterator[tuple[list[str], Any]]:
    """A file as it is, a folder's files of some kinds in the order of their names, anything else as one input.

    Raises UserError for a path that is not there, and for a folder without such files.
    """
    if not isinstance(given, str | Path):
        yield [type(given).__name__], given
        return
    path = Path(given)
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if not path.is_dir():
        yield [str(path)], path
        return
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
    if not found:
        raise UserError(f"{path} holds no {what} ({', '.join(suffixes)})")
    for file in found:
        yield [str(file)], file


def as_array(raw: Any) -> np.ndarray:
    """An array from a .npy file, a tensor, nested lists or an array; raises UserError."""
    if isinstance(raw, str | Path):
        try:
            loaded = np.load(raw, allow_pickle=False)
        except FileNotFoundError:
            raise UserError(f"no such file: {raw}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{raw} is not a NumPy array file ({error}); save it with numpy.save") from None
        if not isinstance(loaded, np.ndarray):
            raise UserError(
                f"{raw} holds several arrays ({', '.join(loaded.files)}); save the one to predict with numpy.save"
            )
        return loaded
    return raw.detach().cpu().numpy() if hasattr(raw, "detach") else np.asarray(raw)
