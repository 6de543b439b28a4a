"""What the processors of one input share: its rows, as they are stored or as a person gives them, in the model's units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shendu.core import Batch
from shendu.data import pieces
from shendu.errors import UserError
from shendu.field import Field


class Single:
    """One input `x`, a column of any kind. `mean` and `std` bring it into the model's units, as the column says."""

    purpose = "look at"
    """What is done to the rows, as it is said to a person who gives none."""

    def __init__(self, input: Field, mean: Iterable[float], std: Iterable[float]) -> None:
        self.input = input
        self.mean, self.std = torch.tensor(list(mean)), torch.tensor(list(std))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input row as the model takes it."""
        return self.input.shape

    def prepare(self, batch: Batch) -> Batch:
        """x: stored rows -> what the model takes; the rest as it is."""
        x = batch["x"]
        return {
            **batch,
            "x": self.input.prepare({"": x}, {"mean": self.mean.to(x.device), "std": self.std.to(x.device)})[""],
        }

    def encode(self, raw: Any) -> Batch:
        """What a person gives, or a list of it -> a prepared batch; raises UserError where it does not fit."""
        rows = raw if isinstance(raw, list | tuple) else [raw]
        if not rows:
            raise UserError(f"nothing to {self.purpose}: give at least one input")
        found = [torch.from_numpy(piece.stored["x"]) for piece in pieces(rows, {"x": self.input})]
        return self.prepare({"x": torch.cat(found)})

    def doubt(self, rows: Any) -> str:
        """Why what the model says of rows, as they are stored, may not be worth much: a line; empty where nothing is known."""
        return self.input.warning({"": rows})

    def pixels(self, x: Tensor) -> np.ndarray:
        """Pictures in the model's units [N, C, H, W] -> uint8 [N, H, W, C]."""
        mean, std = (t.view(-1, 1, 1).to(x.device) for t in (self.mean, self.std))
        return (x * std + mean).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    def example(self, n: int) -> Batch:
        """n inputs of ordinary size, drawn under a fixed seed."""
        return self.prepare({"x": self.input.example(n)[""]})
