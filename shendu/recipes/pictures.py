"""What the recipes of convolutional networks share: how many passes, how much pictures are varied, and Muon in one cycle."""

from __future__ import annotations

from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.recipes import Training

SHOWN, SHOWN_LARGE = 430_000, 240_000
"""Pictures that are shown in a training, whatever the set's size: up to 64 pixels a side, and larger ones."""
MANY = 20
"""Passes from which on a network would learn its pictures by heart, were they not varied strongly."""


def convolutional(data: Dataset) -> Training:
    """Muon in one cycle, by which networks with BatchNorm learn fastest here (docs/log.md has the comparison)."""
    return Training(
        epochs=passes(data), batch_size=64 if len(data.splits["train"]) > 500 else 32, lr=0.0125, optimizer="muon", momentum=0.95,
        schedule="one-cycle", weight_decay=0.1, label_smoothing=0.1, augment=varied(data), validations=6,
    )  # fmt: skip


def passes(data: Dataset, least: int = 5, large: int = SHOWN_LARGE) -> int:
    """Over few rows 60 at most; of large pictures as many are shown as `large` says."""
    shown = SHOWN if side(data) <= 64 else large
    return min(60, max(least, round(shown / len(data.splits["train"]))))


def varied(data: Dataset) -> tuple[str, ...]:
    """What suits the set; many passes over pictures that may be mirrored get RandAugment (Cubuk et al. 2020) and cutout (DeVries and
    Taylor 2017) besides, two operations of strength 9 of 30 and a square of a quarter of the side.
    """
    words = augment.usual(data)
    strongly = "flip" in words and passes(data) >= MANY
    return (*words, "randaugment:9", f"cutout:{max(1, side(data) // 4)}") if strongly else words


def side(data: Dataset) -> int:
    """Of the set's pictures, the shorter one, in pixels."""
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    return min(picture.height, picture.width)
