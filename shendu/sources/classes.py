"""Groups of pictures of one class as an endless stream: sample i is arithmetic on (seed, i), so there is nothing to save.

Shape letters: B samples of a batch, G groups, K pictures of a group, H, W, C picture as stored.
"""

from __future__ import annotations

import math
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

ORDER, MEMBER, DRAW, WARP = 1, 2, 3, 4
TURN, SLANT, STRETCH, MOVE = math.radians(10), 0.3, 0.2, 0.02
"""The distortions of Koch et al. 2015 at their full strength: angle, shear, change of size, share of the side."""


class Classes:
    """Group g = samples g K … g K + K - 1: K pictures of one class, all different as long as the class has so many.

    Every class comes once before any comes again. With `turns`, each class turned by 90, 180 and 270 degrees is a class of
    its own (Santoro et al. 2016): its code is `codes` times the number of quarter turns higher. `distort` is the strength
    of affine distortions, of which each picture is spared every single one by even chance. What comes in from outside of
    a picture is black, or white where the training rows are bright. `y` are the classes' codes, int64 [B].
    """

    acts = False

    def __init__(
        self,
        split: Split,
        processor: Processor,
        *,
        x: str,
        y: str,
        codes: int,
        per_class: int,
        turns: bool = False,
        distort: float = 0.0,
        augment: Augment | None = None,
        bright: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.processor, self.seed = len(split), processor, seed
        self.codes, self.per_class, self.turns, self.distort = codes, per_class, turns, distort
        self.augment, self.bright = augment or Augment(), bright
        self.device = torch.device(device)
        self.x = torch.from_numpy(split.columns[x])
        label = split.column(y)
        rows = np.arange(len(label)) if split.index is None else split.index
        self.order = torch.from_numpy(rows[np.argsort(label, kind="stable")])
        found, counts = np.unique(label, return_counts=True)
        self.found, self.counts = torch.from_numpy(found), torch.from_numpy(counts)
        self.first = self.counts.cumsum(0) - self.counts

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        samples = torch.arange(at.start, at.start + at.size)
        groups, inverse = torch.unique(samples // self.per_class, return_inverse=True)
        kind, turn = self._classes(groups)
        rows = self._members(groups, kind)[inverse, samples % self.per_class]
        x, y = self.x.index_select(0, rows), self.found[kind] + self.codes * turn
        x = turned(x.to(self.device), turn[inverse].to(self.device)) if self.turns else x.to(self.device)
        return self._augmented(x, y[inverse].to(self.device), samples.to(self.device))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _classes(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """The number of each group's class among those that are there, and its quarter turns, int64 [G] each."""
        kinds = len(self.found) * (4 if self.turns else 1)
        place = chance.permute(groups % kinds, kinds, self.seed, ORDER, epoch=groups // kinds)
        return place % len(self.found), place // len(self.found)

    def _members(self, groups: Tensor, kind: Tensor) -> Tensor:
        """Rows of the stored columns [G, K]: the first K of the class's rows in an order drawn for the group."""
        counts, most = self.counts[kind], int(self.counts.max())
        keys = chance.uniform(groups, most, self.seed, MEMBER)
        keys[torch.arange(most) >= counts[:, None]] = 2.0
        order = keys.argsort(dim=1, stable=True)
        member = torch.arange(self.per_class) % counts[:, None]
        return self.order[self.first[kind][:, None] + order.gather(1, member)]

    def _augmented(self, x: Tensor, y: Tensor, samples: Tensor) -> Batch:
        how = self.augment
        u = augment.draws(samples, self.seed, DRAW)
        if self.bright:
            x = 255 - x
        if self.distort:
            x = distorted(x, chance.uniform(samples, 14, self.seed, WARP), self.distort)
        if how.geometric:
            x = augment.geometric(x, u, how)
        if self.bright:
            x = 255 - x
        if how.photographic:
            x = augment.photographic(x, how, samples, self.seed, DRAW, 3)
        batch = self.processor.prepare({"x": x, "y": y})
        if how.cutout:
            batch["x"] = augment.cutout(batch["x"], u, how.cutout)
        return batch


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Square pictures [B, S, S, C], each turned counter-clockwise by so many quarters [B]."""
    done = x.clone()
    for quarters in (1, 2, 3):
        chosen = turns == quarters
        done[chosen] = x[chosen].rot90(quarters, (1, 2))
    return done


def distorted(x: Tensor, u: Tensor, strength: float) -> Tensor:
    """Turn, slant, stretch and move along both sides, each drawn with probability 1/2; bilinear, zeros outside.

    x [B, H, W, C], u [B, 14] in [0, 1): an amount and a choice of each of seven; returns float32 of the same shape.
    """
    amount = (2 * u[:, :7] - 1) * (u[:, 7:] < 0.5) * strength
    h, w = x.shape[1:3]
    angle, slant_x, slant_y = amount[:, 0] * TURN, amount[:, 1] * SLANT, amount[:, 2] * SLANT
    wide, high = 1 + amount[:, 3] * STRETCH, 1 + amount[:, 4] * STRETCH
    cos, sin = angle.cos(), angle.sin()
    xx, xy = wide * (cos + slant_x * sin), wide * (slant_x * cos - sin) * h / w
    yx, yy = high * (sin + slant_y * cos) * w / h, high * (cos - slant_y * sin)
    move_x, move_y = 2 * MOVE * amount[:, 5], 2 * MOVE * amount[:, 6]
    theta = torch.stack([torch.stack([xx, xy, move_x], 1), torch.stack([yx, yy, move_y], 1)], 1)
    picture = x.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(theta, list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, align_corners=False).permute(0, 2, 3, 1)
