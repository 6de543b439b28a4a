"""VGG (2014): nothing but 3x3 convolutions, and depth decides.

Two 3x3 convolutions see as much as one 5x5, three as much as one 7x7, with fewer weights and more bends between them. So
every kernel became 3x3, the maps double whenever the picture is halved, and what was left to compare is the number of
layers: 11, 13, 16, 19, each better than the one before. Its features were everybody's features for years.

K. Simonyan, A. Zisserman: Very deep convolutional networks for large-scale image recognition. ICLR 2015 (arXiv:1409.1556).

Depths 11, 13, 16, 19 are the paper's A, B, D, E. Deviations: (1) batch_norm=true, the default, puts BatchNorm (2015) behind
each convolution; the paper trained A first and began the deeper ones with its layers; (2) form=small, taken by itself for
pictures up to 64 pixels, sees the mean of the last maps before layers of 1024 units, where 224 pixels leave 7x7 positions
and the layers have 4096, and its pools round up, so that 28 pixels pass five of them; (3) width=0.375 takes that share of
maps and units, and small pictures get it; (4) weights begin as He et al. (2015) say; (5) one cycle with label smoothing,
by Muon for small pictures; the paper: momentum, and the rate divided by ten three times; (6) pictures of one scale, and one
view of a picture in use.

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
from shendu.nn.dropout import Dropout
from shendu.recipes import check_reads, supervised
from shendu.recipes.pictures import convolutional

LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions between two pools."""
MAPS = (64, 128, 256, 512, 512)
GRID = {"large": 7, "small": 1}
"""Positions a side that the full layers see."""
UNITS = {"large": 4096, "small": 1024}
SMALLEST = {"large": 32, "small": 8}


@dataclass(frozen=True, kw_only=True)
class Config:
    """`form` as above; `width` is the share of maps and units, `dropout` is behind both layers of units."""

    channels: int = 3
    classes: int = 10
    depth: Literal[11, 13, 16, 19] = 16
    batch_norm: bool = True
    form: Literal["large", "small"] = "large"
    width: float = 1.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.width <= 8:
            raise UserError(f"width={self.width:g} is not a share from 0 to 8; write it like width=0.5")

    def build(self) -> VGG:
        return VGG(self)


def gridded(x: Tensor, side: int) -> Tensor:
    """[B, C, H, W] -> [B, C, side, side] by averaging; nothing to do where the picture has the size that is meant."""
    return x if x.shape[-2:] == (side, side) else F.adaptive_avg_pool2d(x, side)


class VGG(nn.Module):
    """Five times: 3x3 convolutions, then a max-pool that halves the picture; and three full layers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.features, entering = nn.Sequential(), config.channels
        for count, maps in zip(LAYERS[config.depth], MAPS, strict=True):
            leaving = max(8, 8 * round(maps * config.width / 8))
            for _ in range(count):
                self.features.append(nn.Conv2d(entering, leaving, 3, 1, 1))
                if config.batch_norm:
                    self.features.append(nn.BatchNorm2d(leaving))
                self.features.append(nn.ReLU(inplace=True))
                entering = leaving
            self.features.append(nn.MaxPool2d(2, ceil_mode=config.form == "small"))
        units, self.grid = max(8, round(UNITS[config.form] * config.width)), GRID[config.form]
        self.classifier = nn.Sequential(
            nn.Linear(entering * self.grid**2, units), nn.ReLU(inplace=True), Dropout(config.dropout),
            nn.Linear(units, units), nn.ReLU(inplace=True), Dropout(config.dropout),
            nn.Linear(units, config.classes),
        )  # fmt: skip
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.kaiming_normal_(p, nonlinearity="relu")
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> logits [B, K]."""
        return self.classifier(gridded(self.features(x), self.grid).flatten(1))


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for a form that leaves nothing of the picture."""
    check_reads("vgg", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    side = min(picture.height, picture.width)
    net = Config(channels=picture.channels, classes=len(data.classes))
    if side <= 64:
        net = replace(net, form="small", width=0.375, dropout=0.2)
    how = replace(convolutional(data), clip=5.0)
    if side > 64:  # on a processor Muon's iteration of 4096 units takes longer than the rest of a step
        how = replace(how, optimizer="nesterov", lr=0.05, momentum=0.9, weight_decay=5e-4)
    net, how = settle(choices, net, how, given=("channels", "classes"))
    check_side(net, side, data.name)
    if not net.batch_norm and "lr" not in choices:
        how = replace(how, lr=how.lr / 4)
    return supervised(data, net, how, coupled=net.batch_norm)


def check_side(net: Config, side: int, name: str) -> None:
    """Raises UserError where the picture has too few pixels for the form."""
    if side < SMALLEST[net.form]:
        remedy = "--set form=small" if side >= SMALLEST["small"] else "lenet"
        raise UserError(
            f"vgg's {net.form} form needs {SMALLEST[net.form]} pixels a side and {name} has {side}; use {remedy}"
        )


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchvision's names, which are ours, or by timm's, whose full layers are convolutions -> by ours."""
    full = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
    renamed = {}
    for name, tensor in weights.items():
        layer, dot, kind = name.rpartition(".")
        matrix = layer in full and kind == "weight"
        renamed[f"{full.get(layer, layer)}{dot}{kind}"] = tensor.flatten(1) if matrix else tensor
    return renamed


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "depth": 11, "width": 0.125}


SIZES = (
    (Config(classes=1000, depth=11, batch_norm=False), 132_863_336),
    (Config(classes=1000, depth=13, batch_norm=False), 133_047_848),
    (Config(classes=1000, depth=16, batch_norm=False), 138_357_544),
    (Config(classes=1000, depth=19, batch_norm=False), 143_667_240),
    (Config(classes=1000, depth=11), 132_868_840),
    (Config(classes=1000, depth=13), 133_053_736),
    (Config(classes=1000, depth=16), 138_365_992),
    (Config(classes=1000, depth=19), 143_678_248),
)
REFERENCES = (
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.79, "source": ""},
    {"data": "fashion-mnist", "metric": "accuracy", "published": None, "target": 0.925, "source": ""},
)
