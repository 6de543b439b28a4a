"""The supervised processor: what a person gives, and what training columns hold, through the same functions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shendu.core import Batch, Json
from shendu.data import columns
from shendu.data.columns import Category, Column, Image, Number
from shendu.data.dataset import Dataset
from shendu.errors import UserError


class Supervised:
    """One input `x`, one target `y`: pictures or numbers in, a class or a number out.

    `mean` and `std` are the input's (per channel on the 0-255 scale, or per element); `target_mean` and `target_std`
    turn a regression's outputs into the target's own unit.
    """

    def __init__(
        self,
        input: Column,
        target: Column,
        mean: Iterable[float],
        std: Iterable[float],
        target_mean: Iterable[float] = (0.0,),
        target_std: Iterable[float] = (1.0,),
    ) -> None:
        self.input, self.target = input, target
        self.mean, self.std = torch.tensor(list(mean)), torch.tensor(list(std))
        self.target_mean, self.target_std = torch.tensor(list(target_mean)), torch.tensor(list(target_std))

    @classmethod
    def of(cls, data: Dataset) -> Supervised:
        """For a data set's input and target, with the figures of its training rows."""
        target = data.fields[data.target]
        if isinstance(target, Category):
            return cls(data.fields[data.input], target, data.mean, data.std)
        y = data.splits["train"].column(data.target).reshape(len(data.splits["train"]), -1)
        std = y.std(0)
        return cls(data.fields[data.input], target, data.mean, data.std, y.mean(0), np.where(std > 0, std, 1.0))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input row as the model takes it: [C, H, W] or the number's own."""
        if isinstance(self.input, Image):
            return (self.input.channels, self.input.height, self.input.width)
        return self.input.shape if isinstance(self.input, Number) else ()

    @property
    def labels(self) -> tuple[str, ...]:
        return self.target.names if isinstance(self.target, Category) else ()

    def call(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits [B, classes], or values [B, *shape] in the target's own unit."""
        outputs = model(batch["x"])
        if self.labels:
            return outputs
        mean, std = self.target_mean.to(outputs), self.target_std.to(outputs)
        return (outputs.flatten(1) * std + mean).reshape(-1, *getattr(self.target, "shape", ()))

    def prepare(self, batch: Batch) -> Batch:
        """x: uint8 [B, H, W, C] -> float [B, C, H, W] in channels-last memory, or float [B, *shape]; y as it is."""
        x = batch["x"]
        mean, std = self.mean.to(x.device), self.std.to(x.device)
        if isinstance(self.input, Image):
            x = ((x - mean) * (1 / std)).permute(0, 3, 1, 2)
        else:
            x = ((x.flatten(1) - mean) * (1 / std)).reshape(x.shape) if x.dim() > 1 else (x - mean) / std
        return {**batch, "x": x}

    def restore(self, x: Tensor) -> Tensor:
        """A model's input back as it was stored: uint8 [B, H, W, C] for pictures, else float."""
        if isinstance(self.input, Image):
            return (x.permute(0, 2, 3, 1) * self.std.to(x) + self.mean.to(x)).round().clamp(0, 255).to(torch.uint8)
        return (x.flatten(1) * self.std.to(x) + self.mean.to(x)).reshape(x.shape)

    def encode(self, raw: Any) -> Batch:
        """A path, a Pillow picture, an array, or a list of them -> a prepared batch; raises UserError for a wrong shape."""
        rows = raw if isinstance(raw, list | tuple) else [raw]
        stored = [self._picture(r) if isinstance(self.input, Image) else self._numbers(r) for r in rows]
        if not stored:
            raise UserError("nothing to predict: give at least one picture or array")
        return self.prepare({"x": torch.from_numpy(np.concatenate(stored))})

    def _numbers(self, raw: Any) -> np.ndarray:
        """float32 [n, *shape] from one row, or an array of rows."""
        array = _array(raw)
        shape = self.shape
        if array.shape == shape:
            array = array[None]
        if array.shape[1:] != shape:
            raise UserError(f"the model takes rows of shape {list(shape)}, this input has shape {list(array.shape)}")
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError("the input holds NaN or infinity; replace them first")
        return array

    def _picture(self, raw: Any) -> np.ndarray:
        """uint8 [n, H, W, C] from a file, a Pillow picture or an array of one or several."""
        from shendu.data import folder

        assert isinstance(self.input, Image)
        wanted = (self.input.height, self.input.width, self.input.channels)
        if isinstance(raw, str | Path) and Path(raw).suffix.lower() not in (".npy", ".npz"):
            return folder.read_picture(Path(raw), self.input)[None]
        if hasattr(raw, "convert") and hasattr(raw, "getexif"):
            return folder.fit_picture(raw, self.input)[None]
        array = _array(raw)
        if array.ndim in (2, 3) and array.shape[:2] == wanted[:2] and array.ndim + (wanted[2] == 1) >= 3:
            array = array[None]
        if array.ndim == 3:
            array = array[..., None]
        if array.shape[1:] != wanted or array.dtype != np.uint8:
            raise UserError(
                f"the model takes pictures of {wanted[0]}x{wanted[1]} pixels and {wanted[2]} channels as uint8 "
                f"[n, {wanted[0]}, {wanted[1]}, {wanted[2]}]; this array is {array.dtype} {list(array.shape)}"
            )
        return array

    def decode(self, outputs: Tensor) -> Json:
        """Per row: `label`, `probability` and all `probabilities`; or `value`."""
        if not self.labels:
            return [{"value": value} for value in outputs.squeeze(-1).tolist()]
        rows = []
        for row in outputs.softmax(-1).cpu().tolist():
            best = max(range(len(row)), key=row.__getitem__)
            shares = dict(zip(self.labels, row, strict=True))
            rows.append({"label": self.labels[best], "probability": row[best], "probabilities": shares})
        return rows

    def example(self, n: int) -> Batch:
        """n inputs of ordinary size, drawn under a fixed seed."""
        x = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(n))
        return {"x": x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x}

    def to_json(self) -> Json:
        figures = ("mean", "std", "target_mean", "target_std")
        return {
            "kind": "supervised",
            "input": columns.to_json(self.input),
            "target": columns.to_json(self.target),
            **{name: getattr(self, name).tolist() for name in figures},
        }

    @classmethod
    def from_json(cls, values: Json) -> Supervised:
        fields: dict[str, Any] = {
            k: columns.from_json(v) if k in ("input", "target") else v for k, v in values.items() if k != "kind"
        }
        return cls(**fields)


def _array(raw: Any) -> np.ndarray:
    """An array from a .npy file, a tensor, nested lists or an array."""
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
    return raw.detach().cpu().numpy() if isinstance(raw, Tensor) else np.asarray(raw)
