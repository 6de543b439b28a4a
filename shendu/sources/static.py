"""Rows of a data set as an endless stream: sample i is arithmetic on (seed, i), so there is nothing to save."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance
from shendu.core import At, Batch, Processor
from shendu.data import augment
from shendu.data.augment import Augment
from shendu.data.dataset import Split

ORDER, DRAW = 1, 2
CHUNK = 1 << 15
"""Row numbers are computed for this many samples at once: the permutation's fixed cost is then paid rarely."""
ON_DEVICE = 4 << 30
"""Columns up to this many bytes are kept on a GPU, where gathering them costs nothing."""


class Static:
    """Samples start … start+size-1 of epochs through a split, each epoch in its own order.

    `x` and `y` name the columns; `augment` is drawn per sample, so that slices of a batch agree with the whole.
    """

    acts = False

    def __init__(
        self,
        split: Split,
        processor: Processor,
        *,
        x: str,
        y: str,
        seed: int = 0,
        shuffle: bool = False,
        augment: Augment | None = None,
        classes: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.processor, self.seed, self.shuffle = len(split), processor, seed, shuffle
        self.augment, self.classes = augment or Augment(), classes
        self.columns = {"x": _tensor(split.columns[x]), "y": _tensor(split.columns[y])}
        self.index = None if split.index is None else torch.from_numpy(split.index)
        self.device = torch.device(device)
        if self.device.type != "cpu" and sum(t.nbytes for t in self.columns.values()) < ON_DEVICE:
            self.columns = {name: t.to(self.device) for name, t in self.columns.items()}
        self._chunk: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        batch = self._augmented(at.start, at.size)
        if self.augment.mixes:
            batch = self._mixed(batch, at.start, at.size)
        return batch

    def stored(self, start: int, size: int) -> Batch:
        """Rows as they are stored, for the eye."""
        return self._gathered(start, size)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _row_numbers(self, start: int, size: int) -> Tensor:
        """Rows of the stored columns, int64 [size]."""
        if start // CHUNK != (start + size - 1) // CHUNK:
            edge = (start // CHUNK + 1) * CHUNK
            return torch.cat([self._row_numbers(start, edge - start), self._row_numbers(edge, start + size - edge)])
        number = start // CHUNK
        if self._chunk[0] != number:
            self._chunk = (number, self._rows_of(torch.arange(number * CHUNK, (number + 1) * CHUNK)))
        return self._chunk[1][start - number * CHUNK :][:size]

    def _rows_of(self, samples: Tensor) -> Tensor:
        epoch, position = samples // self.rows, samples % self.rows
        if self.shuffle:
            position = chance.permute(position, self.rows, self.seed, ORDER, epoch=epoch)
        return position if self.index is None else self.index[position]

    def _gathered(self, start: int, size: int) -> Batch:
        rows = self._row_numbers(start, size)
        found = {name: t.index_select(0, rows.to(t.device)) for name, t in self.columns.items()}
        return {name: t.to(self.device, non_blocking=True) for name, t in found.items()}

    def _augmented(self, start: int, size: int) -> Batch:
        batch, how = self._gathered(start, size), self.augment
        if how.drawn:
            samples = torch.arange(start, start + size, device=self.device)
            u = augment.draws(samples, self.seed, DRAW)
        if how.geometric:
            batch["x"] = augment.geometric(batch["x"], u, how)
        if how.acoustic:
            batch["x"] = augment.acoustic(batch["x"], u, how, samples, self.seed, DRAW, 2)
        if how.photographic:
            batch["x"] = augment.photographic(batch["x"], how, samples, self.seed, DRAW, 3)
        batch = self.processor.prepare(batch)
        if how.cutout:
            batch["x"] = augment.cutout(batch["x"], u, how.cutout)
        if how.specmask:
            batch["x"] = augment.specmask(batch["x"], u, how.specmask)
        return batch

    def _mixed(self, batch: Batch, start: int, size: int) -> Batch:
        """Each sample mixed with the one a block further on: what it is mixed with does not depend on the batch."""
        partner = self._augmented(start + self.rows // 2 + 1, size)
        samples = torch.arange(start, start + size, device=self.device)
        keep = augment.kept(samples, self.augment, batch["x"].shape, self.seed, DRAW)
        share = keep.flatten(1).mean(1, keepdim=True)
        y, other = (F.one_hot(b["y"], self.classes).float() for b in (batch, partner))
        return {"x": batch["x"] * keep + partner["x"] * (1 - keep), "y": y * share + other * (1 - share)}


def _tensor(column: np.ndarray) -> Tensor:
    return torch.from_numpy(column)
