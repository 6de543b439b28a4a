"""MobileNet (2017): a convolution in two cheap steps, for telephones.

A 3x3 convolution looks around and mixes maps at once. Do one after the other, first each map by itself (depthwise), then
1x1 over all maps (pointwise), and it costs an eighth or a ninth. version=2 turns the residual block inside out: narrow maps
are kept and added, a sixfold of them is only looked at in between, and nothing is bent where the maps are few.

A. G. Howard, M. Zhu, B. Chen, D. Kalenichenko, W. Wang, T. Weyand, M. Andreetto, H. Adam: MobileNets: efficient convolutional
neural networks for mobile vision applications. arXiv:1704.04861, 2017. M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen:
MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018 (arXiv:1801.04381).

Deviations: (1) version 1 bends with ReLU6 too, as its published weights do; its paper says ReLU; (2) halvings=3 keeps
three of the five strides of 2: the first is left out, then the last; pictures up to 64 pixels get as many as leave about 4
pixels, and width=0.5; (3) Muon in one cycle with label smoothing; the papers: RMSProp, version 2 with the rate 2% less every
epoch; (4) weight decay 0.1, apart from the gradient and of depthwise kernels too; the papers: 4e-5, of depthwise ones little
or none.

Shape letters: B rows, C channels, H, W picture, K classes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn.depthwise import Depthwise
from shendu.nn.dropout import Dropout
from shendu.recipes import check_reads, supervised
from shendu.recipes.pictures import convolutional

SEPARABLE = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip
"""Version 1, table 1: maps and stride of each block."""
INVERTED = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
"""Version 2, table 2: expansion, maps, blocks and the first one's stride."""
STRIDES = 5
"""Of 2, the first convolution's included."""
LEFT = 4
"""Pixels a side that small pictures should be left with."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`width` is the papers' multiplier of all maps, `halvings` as above, `dropout` is before the last layer."""

    channels: int = 3
    classes: int = 10
    version: Literal[1, 2] = 1
    halvings: int = STRIDES
    width: float = 1.0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.width <= 8:
            raise UserError(f"width={self.width:g} is not a share from 0 to 8; write it like width=0.5")
        if not 0 <= self.halvings <= STRIDES:
            raise UserError(f"halvings={self.halvings} is not from 0 to {STRIDES}; write it like halvings=3")

    def build(self) -> MobileNet:
        return MobileNet(self)


def eights(maps: float) -> int:
    """The nearest multiple of 8 that is not below nine tenths."""
    near = max(8, int(maps + 4) // 8 * 8)
    return near if near >= 0.9 * maps else near + 8


def convolution(entering: int, leaving: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6."""
    return bent(nn.Conv2d(entering, leaving, kernel, stride, kernel // 2, bias=False))


def depthwise(maps: int, stride: int) -> nn.Sequential:
    """A 3x3 of each map by itself, BatchNorm, ReLU6."""
    return bent(Depthwise(maps, 3, stride))


def bent(layer: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU6(inplace=True))


def separable(entering: int, leaving: int, stride: int) -> nn.Sequential:
    """Version 1: each map by itself, then all of them at each position."""
    return nn.Sequential(
        depthwise(entering, stride),
        convolution(entering, leaving, 1),
    )


class Inverted(nn.Module):
    """Version 2: widened by a 1x1, each map by itself, narrowed by a linear 1x1; added to x where the shape is the same."""

    def __init__(self, entering: int, leaving: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = entering * expansion
        self.conv = nn.Sequential(
            *([convolution(entering, wide, 1)] if expansion > 1 else []),
            depthwise(wide, stride),
            nn.Conv2d(wide, leaving, 1, bias=False),
            nn.BatchNorm2d(leaving),
        )
        self.residual = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def layers(config: Config) -> list[tuple[int, int, int]]:
    """Expansion (1 where there is none), maps and stride of the first convolution and of each block."""
    if config.version == 1:
        found = [(1, 32, 2), *((1, maps, stride) for maps, stride in SEPARABLE)]
    else:
        found = [(1, 32, 2), *((t, maps, s if not i else 1) for t, maps, n, s in INVERTED for i in range(n))]
    strided = [i for i, (_, _, stride) in enumerate(found) if stride == 2]
    kept = strided if config.halvings == STRIDES else strided[1 : 1 + config.halvings]
    return [(t, maps, 2 if i in kept else 1) for i, (t, maps, _) in enumerate(found)]


class MobileNet(nn.Module):
    """A convolution, separable or inverted blocks (and in version 2 a 1x1 convolution), mean, linear."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        (_, maps, stride), *blocks = layers(config)
        entering = eights(maps * config.width)
        self.features = nn.Sequential(convolution(config.channels, entering, 3, stride))
        for expansion, maps, stride in blocks:
            leaving = eights(maps * config.width)
            if config.version == 1:
                self.features.append(separable(entering, leaving, stride))
            else:
                self.features.append(Inverted(entering, leaving, stride, expansion))
            entering = leaving
        if config.version == 2:
            last = eights(1280 * max(1.0, config.width))
            self.features.append(convolution(entering, last, 1))
            entering = last
        self.classifier = nn.Sequential(Dropout(config.dropout), nn.Linear(entering, config.classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> logits [B, K]."""
        return self.classifier(self.features(x).mean((2, 3)))


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for pictures that are too small."""
    check_reads("mobilenet", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    side = min(picture.height, picture.width)
    net = Config(channels=picture.channels, classes=len(data.classes))
    if side <= 64:
        net = replace(net, width=0.5, halvings=min(4, max(1, round(math.log2(max(1, side) / LEFT)))))
    how = convolutional(data)
    net, how = settle(choices, net, how, given=("channels", "classes"))
    if side < 2**net.halvings:
        remedy = f"--set halvings={int(math.log2(side))}" if side >= 4 else "lenet"
        raise UserError(
            f"mobilenet halves the picture {net.halvings} times and {data.name} has {side} pixels a side, too few; use {remedy}"
        )
    return supervised(data, net, how, coupled=True)


PLACES = {"conv_stem": "features.0.0", "bn1": "features.0.1", "classifier": "classifier.1"}
INSIDE = {
    "separable": {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1.0", "bn2": "1.1"},
    "first": {"conv_dw": "conv.0.0", "bn1": "conv.0.1", "conv_pw": "conv.1", "bn2": "conv.2"},
    "inverted": {"conv_pw": "conv.0.0", "bn1": "conv.0.1", "conv_dw": "conv.1.0", "bn2": "conv.1.1", "conv_pwl": "conv.2",
                 "bn3": "conv.3"},
}  # fmt: skip
"""Kind of block -> timm's name of a layer in it -> ours."""


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchvision's names, which are ours, or by timm's, who counts blocks by stage -> by ours."""
    if "conv_stem.weight" not in weights:
        return dict(weights)
    parted = {name: re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(\w+)", name) for name in weights}
    order = sorted({(int(found[1]), int(found[2])) for found in parted.values() if found})
    second = "conv_head.weight" in weights
    places = dict(PLACES, conv_head=f"features.{len(order) + 1}.0", bn2=f"features.{len(order) + 1}.1")
    renamed = {}
    for name, found in parted.items():
        if found:
            at = order.index((int(found[1]), int(found[2])))
            inside = INSIDE["separable" if not second else "inverted" if at else "first"]
            ours = f"features.{at + 1}.{inside.get(found[3], found[3])}.{found[4]}"
        else:
            layer, dot, kind = name.rpartition(".")
            ours = f"{places.get(layer, layer)}{dot}{kind}"
        renamed[ours] = weights[name]
    return renamed


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "width": 0.25}


SIZES = (
    (Config(classes=1000), 4_231_976),
    (Config(classes=1000, version=2), 3_504_872),
)
REFERENCES = (
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.79, "source": ""},
    {"data": "fashion-mnist", "metric": "accuracy", "published": None, "target": 0.925, "source": ""},
)
