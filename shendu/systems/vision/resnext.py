"""ResNeXt (2016): many narrow paths in a residual block, where there was one wide one.

A network can be made deeper or wider. Here is a third way, cardinality: a block adds up many transforms of one shape, each
of a few maps. Thirty-two paths of four maps cost what one of sixty-four did and see more. Written as a grouped convolution it
is one word more in the code of a ResNet.

S. Xie, R. Girshick, P. Dollár, Z. Tu, K. He: Aggregated residual transformations for deep neural networks. CVPR 2017
(arXiv:1611.05431).

Depths 50 and 101 are the paper's ImageNet networks (cardinality=32, width=4), 29 its CIFAR one (cardinality=8, width=64, with
stem=small). Deviations: (1) stem=small, the paper's for CIFAR, puts a 3x3 convolution of stride 1 where ImageNet depths have
a 7x7 of stride 2 and a max-pool; stem=pooled, taken by itself for pictures up to 64 pixels, keeps the max-pool; (2) such
pictures get depth 29 with 8 paths of 4 maps and maps=32, half of the paper's, since that is meant for processors; (3)
training is Muon in one cycle with label smoothing, the paper has momentum and drops the rate in steps (schedule=step);
(4) no weight decay on BatchNorm and biases.

Shape letters: B rows, C channels, H, W picture, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.recipes import check_reads, supervised
from shendu.recipes.pictures import convolutional

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 29: (3, 3, 3)}


@dataclass(frozen=True, kw_only=True)
class Config:
    """`cardinality` paths of `width` maps each in the first stage, whose blocks leave 4 times the stem's `maps`.

    `stem` is large (7x7, stride 2, max-pool), small (3x3, stride 1) or pooled (3x3, stride 1, max-pool).
    """

    channels: int = 3
    classes: int = 10
    depth: Literal[50, 101, 29] = 50
    cardinality: int = 32
    width: int = 4
    maps: int = 64
    stem: Literal["large", "small", "pooled"] = "large"

    def __post_init__(self) -> None:
        if min(self.cardinality, self.width, self.maps) < 1:
            raise UserError(
                f"cardinality={self.cardinality}, width={self.width} and maps={self.maps} must be 1 or more; write them like "
                "cardinality=32, width=4, maps=64"
            )

    def build(self) -> ResNeXt:
        return ResNeXt(self)


class Block(nn.Module):
    """relu(x + F(x)), F a 1x1 convolution, a 3x3 in which each group of maps sees itself alone, and a 1x1."""

    def __init__(
        self, entering: int, inside: int, leaving: int, stride: int, cardinality: int, shortcut: nn.Module
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(entering, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride, 1, groups=cardinality, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = nn.Conv2d(inside, leaving, 1, bias=False), nn.BatchNorm2d(leaving)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = F.relu(self.bn2(self.conv2(residual)), inplace=True)
        residual = self.bn3(self.conv3(residual))
        return F.relu(residual + self.shortcut(x), inplace=True)


def projection(entering: int, leaving: int, stride: int) -> nn.Module:
    """A 1x1 convolution with BatchNorm."""
    return nn.Sequential(nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving))


class ResNeXt(nn.Module):
    """Stem, stages of residual blocks (each but the first halves the picture and doubles the maps), mean, linear."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        maps = config.maps
        kernels = nn.Conv2d(config.channels, maps, *((7, 2, 3) if config.stem == "large" else (3, 1, 1)), bias=False)
        self.stem = nn.Sequential(kernels, nn.BatchNorm2d(maps), nn.ReLU(inplace=True))
        if config.stem != "small":
            self.stem.append(nn.MaxPool2d(3, 2, 1))
        stages, entering = [], maps
        for i, count in enumerate(BLOCKS[config.depth]):
            inside, leaving, layers = config.cardinality * config.width * 2**i, 4 * maps * 2**i, []
            for j in range(count):
                stride = 2 if i and not j else 1
                same = stride == 1 and entering == leaving
                skip = nn.Identity() if same else projection(entering, leaving, stride)
                layers.append(Block(entering, inside, leaving, stride, config.cardinality, skip))
                entering = leaving
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(entering, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> logits [B, K]."""
        maps = self.stages(self.stem(x))
        return self.head(maps.mean((2, 3)))


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for a depth that leaves nothing of the picture."""
    check_reads("resnext", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    side = min(picture.height, picture.width)
    net = Config(channels=picture.channels, classes=len(data.classes))
    if side <= 64:
        net = replace(net, depth=29, stem="pooled", cardinality=8, width=4, maps=32)
    how = convolutional(data)
    net, how = settle(choices, net, how, given=("channels", "classes"))
    check_depth(net, side, data.name)
    return supervised(data, net, how, coupled=True)


def check_depth(net: Config, side: int, name: str) -> None:
    """Raises UserError where the picture is halved more often than it has pixels for."""
    stages = len(BLOCKS[net.depth]) - 1
    halvings = stages + {"large": 2, "small": 0, "pooled": 1}[net.stem]
    if side < 2**halvings:
        words = ["stem=small"] if side >= 2**stages else ["depth=29", "stem=small"] if side >= 4 else []
        remedy = " ".join(f"--set {word}" for word in words) or "lenet"
        raise UserError(
            f"resnext of depth {net.depth} with a {net.stem} stem halves the picture {halvings} times and {name} has {side} "
            f"pixels a side, too few; use {remedy}"
        )


PUBLISHED = {"conv1": "stem.0", "bn1": "stem.1", **{f"layer{i + 1}": f"stages.{i}" for i in range(4)}, "fc": "head"}


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchvision's and timm's names -> by ours."""
    renamed = {}
    for name, tensor in weights.items():
        first, dot, rest = name.partition(".")
        renamed[f"{PUBLISHED.get(first, first)}{dot}{rest}".replace(".downsample.", ".shortcut.")] = tensor
    return renamed


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "maps": 8, "cardinality": 4, "width": 2}


SIZES = (
    (Config(classes=1000), 25_028_904),
    (Config(classes=1000, depth=101), 44_177_704),
    (Config(classes=1000, depth=101, width=8), 88_791_336),
    (Config(classes=1000, depth=101, cardinality=64), 83_455_272),
    (Config(depth=29, cardinality=8, width=64, stem="small"), 34_426_698),
)
REFERENCES = (
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.80, "source": ""},
    {"data": "fashion-mnist", "metric": "accuracy", "published": None, "target": 0.925, "source": ""},
)
