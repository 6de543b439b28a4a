"""Res8 (2018): small residual networks that know a spoken word.

A speech command must be understood by a device with little memory. Residual blocks of a hundred thousand weights made
fewer errors than the plain convolutional networks before them, and dilated convolutions let the deeper ones hear a whole
second at once.

R. Tang, J. Lin: Deep residual learning for small-footprint keyword spotting. ICASSP 2018 (arXiv:1710.10361).

Depth 8 (pooled early), 15 (dilated) and 26 with 45 maps are the paper's res8, res15 and res26, with 19 maps its narrow
ones. Deviations: (1) 40 log-mel bands relative to the loudest one, from 20 Hz to half the rate; the paper: 40 MFCCs
of 20 Hz to 4 kHz; (2) white noise, delays and masks (SpecAugment) in training; the paper: recorded noise and delays;
(3) AdamW with a one-cycle schedule and label smoothing; the paper: momentum with a rate that drops in steps.

Shape letters: B rows, M mel bands, T frames, C maps, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.recipes import Training, check_reads, supervised

POOLS = {8: (3, 4), 15: (1, 1), 26: (2, 2)}
"""Depth -> over how many mel bands and frames the first maps are averaged."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`width` is the number of feature maps of every layer."""

    classes: int = 12
    depth: Literal[8, 15, 26] = 8
    width: int = 45

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UserError(f"width={self.width} leaves no feature maps; write it like width=45")

    def build(self) -> Res8:
        return Res8(self)


class Layer(nn.Module):
    """relu(3x3 convolution); the normalisation comes after the sum, without weights of its own."""

    def __init__(self, entering: int, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, width, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


class Block(nn.Module):
    """Two layers whose result is added to what entered."""

    def __init__(self, width: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        self.first, self.second = (Layer(width, width, dilation) for dilation in dilations)
        self.between, self.after = (nn.BatchNorm2d(width, affine=False) for _ in dilations)

    def forward(self, carried: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is carried past the block and what enters it -> the same two for the next one."""
        carried = carried + self.second(self.between(self.first(x)))
        return carried, self.after(carried)


class Res8(nn.Module):
    """A layer, residual blocks (and one more layer of depth 15), the mean over bands and frames, linear."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers = config.depth - 2
        dilations = [2 ** (i // 3) if config.depth == 15 else 1 for i in range(layers)]
        self.stem, self.pool = Layer(1, config.width), nn.AvgPool2d(POOLS[config.depth])
        self.blocks = nn.ModuleList(
            Block(config.width, (dilations[i], dilations[i + 1])) for i in range(0, layers - 1, 2)
        )
        last = (Layer(config.width, config.width, dilations[-1]), nn.BatchNorm2d(config.width, affine=False))
        self.last = nn.Sequential(*last) if layers % 2 else nn.Identity()
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 1, M, T] -> logits [B, K]."""
        carried = x = self.pool(self.stem(x))
        for block in self.blocks:
            carried, x = block(carried, x)
        return self.head(self.last(x).mean((2, 3)))


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without recordings or classes."""
    check_reads("res8", data, "audio")
    net = Config(classes=len(data.classes))
    how = Training(
        epochs=30, batch_size=64, lr=0.01, optimizer="adamw", schedule="one-cycle", weight_decay=0.01,
        label_smoothing=0.1, augment=augment.usual(data), validations=6,
    )  # fmt: skip
    rows = len(data.splits["train"])
    if rows < 1000:
        how = replace(how, steps=400, batch_size=32)
    net, how = settle(choices, net, how, given=("classes",))
    return supervised(data, net, how, coupled=True)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "chirps", {"steps": 12, "batch_size": 32, "width": 12}


SIZES = (
    (Config(depth=8), 110_307),
    (Config(depth=15), 237_882),
    (Config(depth=26), 438_357),
    (Config(depth=8, width=19), 19_905),
    (Config(depth=15, width=19), 42_648),
    (Config(depth=26, width=19), 78_387),
)
SUITS = {"audio": "recordings are learned by residual convolutions over their spectrograms"}

REFERENCES = ({"data": "fsdd", "metric": "accuracy", "published": None, "target": 0.985, "source": ""},)
