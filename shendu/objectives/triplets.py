"""The triplet loss: a picture lies nearer to its own class than to any other, by a margin.

F. Schroff, D. Kalenichenko, J. Philbin: FaceNet: a unified embedding for face recognition and clustering. 2015
(semi-hard); A. Hermans, L. Beyer, B. Leibe: In defense of the triplet loss for person re-identification. 2017 (hard).

Shape letters: B rows, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shendu.core import Batch, Loss, Objective

MINING = ("hard", "semi-hard")


def distances(z: Tensor) -> Tensor:
    """z [B, D] -> Euclidean distances of all pairs [B, B], in float32, of float64 in float64; equal rows pull nowhere.

    Of differences, and outside of autocast: |a|² + |b|² - 2ab has no digit left of rows that are nearly equal.
    """
    z = z if z.dtype == torch.float64 else z.float()
    with torch.autocast(z.device.type, enabled=False):
        return torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")


def squared_distances(z: Tensor) -> Tensor:
    """The squares of `distances`."""
    return distances(z).square()


def same_class(y: Tensor) -> tuple[Tensor, Tensor]:
    """y [B] -> whether two rows are of one class and not the same row, and whether they are of two, bool [B, B] each."""
    same = y[:, None] == y
    return same & ~torch.eye(len(y), dtype=torch.bool, device=y.device), ~same


def hard(z: Tensor, y: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Per row with its farthest of its class and its nearest of another: (loss [B], which rows have both, bool [B])."""
    d = distances(z)
    same, other = same_class(y)
    farthest = d.masked_fill(~same, -torch.inf).amax(1)
    nearest = d.masked_fill(~other, torch.inf).amin(1)
    there = same.any(1) & other.any(1)
    gap = torch.where(there, farthest - nearest, 0.0)
    return (gap + margin).clamp(min=0) * there, there


def semi_hard(z: Tensor, y: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Per pair of one class, in both directions: (loss [B, B], which are such pairs, bool [B, B]).

    The negative of a pair (a, p) is the nearest to a of those that are farther from it than p; where none is, the farthest.
    Distances are squared.
    """
    d = squared_distances(z)
    same, other = same_class(y)
    beyond = other[:, None, :] & (d[:, None, :] > d[:, :, None])
    nearest = d[:, None, :].expand_as(beyond).masked_fill(~beyond, torch.inf).amin(2)
    farthest = d.masked_fill(~other, -torch.inf).amax(1, keepdim=True)
    negative = torch.where(beyond.any(2), nearest, farthest)
    there = same & other.any(1, keepdim=True)
    gap = torch.where(there, d - negative, 0.0)
    return (gap + margin).clamp(min=0) * there, there


class Triplet(Objective):
    """The mean over a batch's rows (mining=hard) or its pairs of one class (semi-hard); the model gives unit vectors."""

    coupled = True

    def __init__(self, margin: float, mining: str) -> None:
        super().__init__()
        self.margin, self.mining = margin, mining

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        same, other = same_class(batch["y"])
        whole = other.any(1)
        return {"loss": (same.any(1) & whole).sum() if self.mining == "hard" else (same & whole[:, None]).sum()}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        mined = hard if self.mining == "hard" else semi_hard
        losses, there = mined(model(batch["x"]), batch["y"], self.margin)
        active = (losses.detach() > 0).sum() / there.sum().clamp(min=1)
        return Loss({"loss": losses.sum()}, {"active": active})
