"""Rows of a data set as an endless stream: sample i is arithmetic on (seed, i), so there is nothing to save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance
from shendu.core import At, Batch
from shendu.data import augment
from shendu.data.augment import Augment
from shendu.data.ragged import tensors

if TYPE_CHECKING:
    from shendu.data.dataset import Split
    from shendu.field import Field

ORDER, DRAW = 1, 2
CHUNK = 1 << 15
"""Row numbers are computed for this many samples at once: the permutation's fixed cost is then paid rarely."""
ON_DEVICE = 4 << 30
"""Columns up to this many bytes are kept on a GPU, where gathering them costs nothing."""


class Prepares(Protocol):
    """What a source needs to know of a task."""

    def fields(self) -> dict[str, Field]: ...

    def prepare(self, stored: Batch) -> Batch: ...


class Rows:
    """Samples start … start+size-1 of epochs through a split, each epoch in its own order.

    `roles` are names in a batch and the data set's fields that they come from (None: each field is called as in the task).
    `augment` is drawn per sample, so that slices of a batch agree with the whole; it is of the role `x`, and fields that move
    with a picture move with it. Unshuffled, a batch has `sample` too, and where neighbouring rows share `overlap` values
    (windows of a series) `group` [B, overlap], the moment of each.
    """

    acts = False

    def __init__(
        self,
        split: Split,
        task: Prepares,
        *,
        roles: dict[str, str] | None = None,
        seed: int = 0,
        shuffle: bool = False,
        augment: Augment | None = None,
        classes: int = 0,
        overlap: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.task, self.seed, self.shuffle = len(split), task, seed, shuffle
        self.augment, self.classes, self.overlap = augment or Augment(), classes, overlap
        fields = task.fields()
        named = roles or {name: name for name in fields}
        self.fields = {role: fields[role] for role, name in named.items() if role in fields and split.has(name)}
        self.values = {role: tensors(split.stored(named[role], field)) for role, field in self.fields.items()}
        self.index = None if split.index is None else torch.from_numpy(split.index)
        self.device = torch.device(device)
        size = sum(t.nbytes for values in self.values.values() for t in values.values())
        if self.device.type != "cpu" and size < ON_DEVICE:
            self.values = {role: {p: t.to(self.device) for p, t in v.items()} for role, v in self.values.items()}
        self.moving = [role for role, field in self.fields.items() if role != "x" and field.moves]
        self._chunk: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        batch = self._augmented(at.start, at.size)
        if self.augment.mixes:
            batch = self._mixed(batch, at.start, at.size)
        if not self.shuffle:
            batch["sample"] = torch.arange(at.start, at.start + at.size, device=self.device)
            if self.overlap > 1:
                batch["group"] = batch["sample"][:, None] + torch.arange(self.overlap, device=self.device)
        return batch

    def stored(self, rows: Tensor) -> Batch:
        """Rows of the split by number, int64 [B], as they are stored."""
        return {"sample": rows, **self._gathered(rows if self.index is None else self.index[rows])}

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

    def _gathered(self, rows: Tensor) -> Batch:
        found: Batch = {}
        for role, field in self.fields.items():
            values = self.values[role]
            place = next(iter(values.values())).device
            for part, t in field.gather(values, rows.to(place)).items():
                found[role + part] = t.to(self.device, non_blocking=True)
        return found

    def _augmented(self, start: int, size: int) -> Batch:
        batch, how = self._gathered(self._row_numbers(start, size)), self.augment
        if how.drawn:
            samples = torch.arange(start, start + size, device=self.device)
            u = augment.draws(samples, self.seed, DRAW)
        if how.geometric:
            batch = self._moved(batch, u)
        if how.acoustic:
            batch["x"] = augment.acoustic(batch["x"], u, how, samples, self.seed, DRAW, 2)
        if how.photographic:
            batch["x"] = augment.photographic(batch["x"], how, samples, self.seed, DRAW, 3)
        batch = self.task.prepare(batch)
        if how.cutout:
            batch["x"] = augment.cutout(batch["x"], u, how.cutout)
        if how.specmask:
            batch["x"] = augment.specmask(batch["x"], u, how.specmask)
        return batch

    def _moved(self, batch: Batch, u: Tensor) -> Batch:
        """Pictures moved by themselves, or with whatever has its places in them by one affine map."""
        if not self.moving:
            return {**batch, "x": augment.geometric(batch["x"], u, self.augment)}
        affine = augment.affine(u, self.augment, *batch["x"].shape[1:3])
        for role in ("x", *self.moving):
            own = {part: batch[role + part] for part in self.fields[role].parts if role + part in batch}
            batch.update({role + part: t for part, t in self.fields[role].transform(own, affine).items()})
        return batch

    def _mixed(self, batch: Batch, start: int, size: int) -> Batch:
        """Each sample mixed with the one a block further on: what it is mixed with does not depend on the batch."""
        partner = self._augmented(start + self.rows // 2 + 1, size)
        samples = torch.arange(start, start + size, device=self.device)
        keep = augment.kept(samples, self.augment, batch["x"].shape, self.seed, DRAW)
        share = keep.flatten(1).mean(1, keepdim=True)
        y, other = (F.one_hot(b["y"], self.classes).float() for b in (batch, partner))
        return {"x": batch["x"] * keep + partner["x"] * (1 - keep), "y": y * share + other * (1 - share)}
