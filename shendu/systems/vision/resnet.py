"""Residual network (2015): layers that learn what to add, so that a hundred of them still train.

Deeper plain networks got worse, even on their training data. Let a block compute x + F(x) instead of F(x): doing
nothing becomes easy, the gradient has a way straight through, and depth pays again.

K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition. CVPR 2016 (arXiv:1512.03385).

Depths 18, 34, 50, 101, 152 are the paper's ImageNet networks, 20, 32, 44, 56, 110 (6n+2) its CIFAR ones. Deviations:
(1) bottlenecks stride in their 3x3 convolution, as all libraries do; the paper strides in the first 1x1; (2) stem=small,
taken by itself for pictures below 64 pixels, puts a 3x3 convolution of stride 1 where ImageNet depths have a 7x7 of
stride 2 and a max-pool; (3) training is Muon in one cycle with label smoothing; the paper: momentum, with a rate that falls
in steps (optimizer=momentum, lr=0.1, schedule=step); (4) no weight decay on BatchNorm and biases.

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
from shendu.recipes.pictures import convolutional, passes

IMAGENET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CIFAR = (20, 32, 44, 56, 110)


@dataclass(frozen=True, kw_only=True)
class Config:
    """`stem` is large (7x7, stride 2, max-pool) or small (3x3, stride 1); CIFAR depths have a small one of 16 maps."""

    channels: int = 3
    classes: int = 10
    depth: Literal[18, 34, 50, 101, 152, 20, 32, 44, 56, 110] = 20
    stem: Literal["large", "small"] = "small"

    def build(self) -> ResNet:
        return ResNet(self)


class Basic(nn.Module):
    """relu(x + F(x)), F two 3x3 convolutions with BatchNorm."""

    expansion = 1

    def __init__(self, entering: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(entering, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        return F.relu(residual + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """relu(x + F(x)), F a 1x1 convolution that narrows, a 3x3, and a 1x1 that widens fourfold."""

    expansion = 4

    def __init__(self, entering: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(entering, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = F.relu(self.bn2(self.conv2(residual)), inplace=True)
        residual = self.bn3(self.conv3(residual))
        return F.relu(residual + self.shortcut(x), inplace=True)


class ZeroPadded(nn.Module):
    """The paper's option A: every second pixel, missing channels zero; no parameters."""

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = leaving - entering, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


def projection(entering: int, leaving: int, stride: int) -> nn.Module:
    """The paper's option B: a 1x1 convolution with BatchNorm."""
    return nn.Sequential(nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving))


class ResNet(nn.Module):
    """Stem, stages of residual blocks (each but the first halves the picture and doubles the maps), mean, linear."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        small = config.depth in CIFAR
        width = 16 if small else 64
        blocks = ((config.depth - 2) // 6,) * 3 if small else IMAGENET[config.depth]
        block: type[Basic | Bottleneck] = Bottleneck if config.depth in (50, 101, 152) else Basic
        if config.stem == "large":
            kernels = nn.Conv2d(config.channels, width, 7, 2, 3, bias=False)
            self.stem = nn.Sequential(kernels, nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        else:
            kernels = nn.Conv2d(config.channels, width, 3, 1, 1, bias=False)
            self.stem = nn.Sequential(kernels, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        stages, entering = [], width
        for i, count in enumerate(blocks):
            layers = []
            for j in range(count):
                stride, leaving = (2 if i and not j else 1), width * 2**i * block.expansion
                same = stride == 1 and entering == leaving
                skip = nn.Identity() if same else (ZeroPadded if small else projection)(entering, leaving, stride)
                layers.append(block(entering, width * 2**i, stride, skip))
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
    check_reads("resnet", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    side = min(picture.height, picture.width)
    net = Config(channels=picture.channels, classes=len(data.classes), stem="large" if side >= 64 else "small")
    if side >= 64:
        net = replace(net, depth=18)
    how = replace(convolutional(data), epochs=passes(data, least=20), label_smoothing=0.05)
    if len(data.splits["train"]) >= 10_000:
        how = replace(how, batch_size=128)
    net, how = settle(choices, net, how, given=("channels", "classes"))
    if net.depth in CIFAR and net.stem == "large":
        net = replace(net, stem="small")
    check_depth(net, side, data.name)
    return supervised(data, net, how, coupled=True)


def check_depth(net: Config, side: int, name: str) -> None:
    """Raises UserError where the picture is halved more often than it has pixels for."""
    halvings = 2 if net.depth in CIFAR else 3 + 2 * (net.stem == "large")
    if side < 2**halvings:
        remedy = "stem=small" if net.stem == "large" and side >= 8 else "depth=20" if side >= 4 else "another system"
        raise UserError(
            f"resnet of depth {net.depth} with a {net.stem} stem halves the picture {halvings} times and {name} has {side} "
            f"pixels a side, too few; use {'--set ' if '=' in remedy else ''}{remedy}"
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
    return "digits", {"steps": 12, "batch_size": 32}


SIZES = (
    (Config(depth=18, classes=1000, stem="large"), 11_689_512),
    (Config(depth=34, classes=1000, stem="large"), 21_797_672),
    (Config(depth=50, classes=1000, stem="large"), 25_557_032),
    (Config(depth=101, classes=1000, stem="large"), 44_549_160),
    (Config(depth=152, classes=1000, stem="large"), 60_192_808),
    (Config(depth=20), 269_722),
    (Config(depth=32), 464_154),
    (Config(depth=44), 658_586),
    (Config(depth=56), 853_018),
    (Config(depth=110), 1_727_962),
)
REFERENCES = (
    {"data": "fashion-mnist", "metric": "accuracy", "published": None, "target": 0.943, "source": ""},
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.81, "source": ""},
)
