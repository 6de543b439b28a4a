"""GoogLeNet (2014): several kernel sizes side by side, at the price of one.

Which kernel suits a layer depends on what it looks at. An Inception module takes 1x1, 3x3 and 5x5 and a pool at once and
lays their maps side by side; 1x1 convolutions thin the maps out before the costly ones. Two small classifiers halfway up
help the gradient to the lower layers. 22 layers won ImageNet 2014 with a twelfth of AlexNet's weights.

C. Szegedy, W. Liu, Y. Jia, P. Sermanet, S. Reed, D. Anguelov, D. Erhan, V. Vanhoucke, A. Rabinovich: Going deeper with
convolutions. CVPR 2015 (arXiv:1409.4842).

Deviations: (1) BatchNorm (Ioffe and Szegedy 2015) behind each convolution; the paper has response normalisation in the stem;
(2) kernel=3, the default, puts a 3x3 where the paper has a 5x5, as torchvision's published weights do; kernel=5 is the
paper's; (3) the last pool is 2x2 and auxiliary heads see a grid of 4x4 means, likewise; the paper: 3x3, and means over 5x5
with stride 3; (4) form=small, taken by itself for pictures up to 64 pixels, begins with 3x3, stride 1, instead of 7x7,
stride 2, and leaves out the stem's second pool; (5) width=0.25 takes that share of maps and units, and small pictures get it;
(6) Muon in one cycle with label smoothing; the paper: momentum, 4% less every 8 epochs, averaged weights; (7) one view of a
picture in use.

Shape letters: B rows, C channels, H, W picture, K classes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn.dropout import Dropout
from shendu.recipes import check_reads, supervised
from shendu.recipes.pictures import convolutional

MODULES = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip
"""Table 1 of the paper: maps of 1x1; before 3x3, 3x3; before 5x5, 5x5; behind the pool."""
AUXILIARY = {"4a": "aux1", "4d": "aux2"}
"""Module -> the head that reads it."""
SMALLEST = {"large": 32, "small": 8}


@dataclass(frozen=True, kw_only=True)
class Config:
    """`form` as above; `width` is the share of maps and units, `kernel` is that of the module's third branch.

    `auxiliary` is the weight of the two auxiliary losses in training; 0: no such heads.
    """

    channels: int = 3
    classes: int = 10
    form: Literal["large", "small"] = "large"
    width: float = 1.0
    kernel: Literal[3, 5] = 3
    auxiliary: float = 0.3
    dropout: float = 0.4
    auxiliary_dropout: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.width <= 8:
            raise UserError(f"width={self.width:g} is not a share from 0 to 8; write it like width=0.5")
        if not 0 <= self.auxiliary < 100:
            raise UserError(f"auxiliary={self.auxiliary:g} is not from 0 to 100; write it like auxiliary=0.3")

    def build(self) -> GoogLeNet:
        return GoogLeNet(self)


def convolution(entering: int, leaving: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(entering, leaving, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(leaving, eps=1e-3),
        nn.ReLU(inplace=True),
    )


def halved(kernel: int) -> nn.MaxPool2d:
    """A max-pool of stride 2 that rounds up."""
    return nn.MaxPool2d(kernel, 2, ceil_mode=True)


class Inception(nn.Module):
    """Four branches that see the same maps; theirs lie side by side. `maps` as in MODULES."""

    def __init__(self, entering: int, maps: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        one, before_three, three, before_five, five, pooled = maps
        self.leaving = one + three + five + pooled
        self.branch1 = convolution(entering, one, 1)
        self.branch2 = nn.Sequential(convolution(entering, before_three, 1), convolution(before_three, three, 3))
        self.branch3 = nn.Sequential(convolution(entering, before_five, 1), convolution(before_five, five, kernel))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(entering, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    """A small classifier halfway up."""

    def __init__(self, entering: int, maps: int, units: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.conv = convolution(entering, maps, 1)
        self.fc1, self.fc2 = nn.Linear(16 * maps, units), nn.Linear(units, classes)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(F.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(maps), inplace=True)))


class GoogLeNet(nn.Module):
    """Stem, nine Inception modules with pools before 4a and 5a, mean, linear."""

    def __init__(self, config: Config) -> None:
        super().__init__()

        def scaled(maps: int) -> int:
            return max(8, 8 * round(maps * config.width / 8))

        first, wide, small = scaled(64), scaled(192), config.form == "small"
        self.stem = nn.Sequential(
            convolution(config.channels, first, 3) if small else convolution(config.channels, first, 7, 2), halved(3),
            convolution(first, first, 1), convolution(first, wide, 3), *([] if small else [halved(3)]),
        )  # fmt: skip
        self.pools = nn.ModuleDict({"4a": halved(3), "5a": halved(2)})
        self.blocks, self.heads, entering = nn.ModuleDict(), nn.ModuleDict(), wide
        for name, table in MODULES.items():
            block = Inception(entering, tuple(scaled(maps) for maps in table), config.kernel)
            self.blocks[name], entering = block, block.leaving
            if (head := AUXILIARY.get(name)) and config.auxiliary:
                sizes = (entering, scaled(128), scaled(1024), config.classes)
                self.heads[head] = Auxiliary(*sizes, config.auxiliary_dropout)
        self.dropout, self.head = Dropout(config.dropout), nn.Linear(entering, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """x [B, C, H, W] -> logits [B, K]; in training with auxiliary heads these, then theirs, of the same shape."""
        x, others = self.stem(x), []
        for name, block in self.blocks.items():
            x = block(self.pools[name](x) if name in self.pools else x)
            if self.training and (head := AUXILIARY.get(name, "")) in self.heads:
                others.append(self.heads[head](x))
        logits = self.head(self.dropout(x.mean((2, 3))))
        return (logits, *others) if others else logits


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for a form that leaves nothing of the picture."""
    check_reads("googlenet", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    side = min(picture.height, picture.width)
    net = Config(channels=picture.channels, classes=len(data.classes))
    if side <= 64:
        net = replace(net, form="small", width=0.25, dropout=0.1, auxiliary_dropout=0.2)
    how = convolutional(data)
    net, how = settle(choices, net, how, given=("channels", "classes"))
    check_side(net, side, data.name)
    return supervised(data, net, how, coupled=True, auxiliary=net.auxiliary)


def check_side(net: Config, side: int, name: str) -> None:
    """Raises UserError where the picture has too few pixels for the form."""
    if side < SMALLEST[net.form]:
        remedy = "--set form=small" if side >= SMALLEST["small"] else "lenet"
        raise UserError(
            f"googlenet's {net.form} form needs {SMALLEST[net.form]} pixels a side and {name} has {side}; use {remedy}"
        )


RENAMED = (
    (r"^conv1\.", "stem.0."), (r"^conv2\.", "stem.2."), (r"^conv3\.", "stem.3."), (r"^inception", "blocks."),
    (r"^aux", "heads.aux"), (r"^fc\.", "head."), (r"\.conv\.weight$", ".0.weight"), (r"\.bn\.", ".1."),
)  # fmt: skip


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchvision's names -> by ours."""
    renamed = {}
    for name, tensor in weights.items():
        ours = name
        for old, new in RENAMED:
            ours = re.sub(old, new, ours)
        renamed[ours] = tensor
    return renamed


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "width": 0.125}


SIZES = (
    (Config(classes=1000), 13_004_888),
    (Config(classes=1000, auxiliary=0.0), 6_624_904),
    (Config(classes=1000, kernel=5, auxiliary=0.0), 7_005_832),
)
REFERENCES = (
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.80, "source": ""},
    {"data": "fashion-mnist", "metric": "accuracy", "published": None, "target": 0.925, "source": ""},
)
