"""ResNet-9 (2018): a residual network that is trained in minutes.

Depth is not what a small set of pictures needs. Nine wide layers, two residual blocks, pooling early, a rate that rises and
falls, and labels that are not quite certain reach in a few dozen passes what deep networks reach in hundreds.

D. Page: How to train your ResNet. myrtle.ai, 2018-2019; first place of Stanford's DAWNBench for CIFAR-10.

Deviations: (1) width=32 where the original has 64, since it is meant for processors; (2) pooling comes before BatchNorm and
ReLU, as in the later parts of the series, which computes less; (3) pictures of 40 pixels and more pass through 3x3
convolutions of stride 2 first (`halvings`), so that the network sees 20 to 39 pixels a side; the original is for 32; (4)
mirrored=true averages the answers for a picture and its mirror image, in use but not in training: the series has it too, but
left it out of the network; (5) batches of 64; the original: 512, with the rate to match; (6) Muon; the original: Nesterov's
momentum; (7) photos are changed by RandAugment (Cubuk et al. 2020) besides, which matters where there are few.

Shape letters: B rows, C channels, H, W picture, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.recipes import check_reads, supervised
from shendu.recipes.pictures import SHOWN, convolutional, passes

SEEN = 20
"""Pixels a side that the stem leaves at least."""
POOLS = 3
LOGITS = 0.125
"""Factor on the last layer: with it the softmax starts soft."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`width` is the number of maps of the first layer, 2, 4 and 8 times that of the later ones."""

    channels: int = 3
    classes: int = 10
    width: int = 32
    halvings: int = 0
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or not 0 <= self.halvings <= 8:
            raise UserError(
                f"width={self.width} and halvings={self.halvings} are out of range; write them like width=32, halvings=0"
            )

    def build(self) -> ResNet9:
        return ResNet9(self)


def layer(entering: int, leaving: int, stride: int = 1, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, perhaps halved by max-pooling, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(entering, leaving, 3, stride, 1, bias=False),
        *([nn.MaxPool2d(2)] if pool else []),
        nn.BatchNorm2d(leaving),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """x + F(x), F two layers; nothing is bent behind the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(layer(width, width), layer(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ResNet9(nn.Module):
    """Eight convolutions, the largest value of every map, and a linear layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        w, entering = config.width, config.channels
        self.mirrored = config.mirrored
        self.stem = nn.Sequential()
        for _ in range(config.halvings):
            self.stem.append(layer(entering, w, stride=2))
            entering = w
        self.maps = nn.Sequential(
            layer(entering, w),
            layer(w, 2 * w, pool=True), Residual(2 * w),
            layer(2 * w, 4 * w, pool=True),
            layer(4 * w, 8 * w, pool=True), Residual(8 * w),
        )  # fmt: skip
        self.head = nn.Linear(8 * w, config.classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> logits [B, K]."""
        if self.mirrored and not self.training:
            return (self.logits(x) + self.logits(x.flip(3))) / 2
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.maps(self.stem(x)).amax((2, 3))) * LOGITS


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for pictures below 8 pixels a side."""
    check_reads("resnet9", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    side = min(picture.height, picture.width)
    how = replace(convolutional(data), epochs=passes(data, large=SHOWN))  # halved to small ones by its stem
    net = Config(
        channels=picture.channels,
        classes=len(data.classes),
        halvings=max(0, int(math.log2(side / SEEN))) if side else 0,
        mirrored="flip" in how.augment,
    )
    net, how = settle(choices, net, how, given=("channels", "classes"))
    if side < 2 ** (POOLS + net.halvings):
        raise UserError(
            f"resnet9 halves the picture {POOLS + net.halvings} times and {data.name} has {side} pixels a side, too few; "
            + ("use --set halvings=0" if side >= 2**POOLS else "use lenet")
        )
    notes = augment.reason(data, how.augment) if "augment" not in choices else ()
    return supervised(data, net, how, coupled=True, notes=notes)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "width": 8}


SIZES = ((Config(width=64), 6_573_120),)
SUITS = {"image": "pictures are learned by residual convolutions"}

REFERENCES = (
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.84, "source": ""},
    {"data": "orl-faces", "metric": "accuracy", "published": None, "target": 0.95, "source": ""},
)
