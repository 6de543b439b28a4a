"""AlexNet (2012): the convolutional network that made vision a matter of learning.

Convolutions, pooling and back-propagation were known. Eight layers of them, ReLUs that do not saturate, dropout, mirrored
and cropped pictures and two graphics cards for a week were enough: 15.3% of ImageNet's test pictures wrong in five guesses,
where the second had 26.2%. Nobody has won with hand-made features since.

A. Krizhevsky, I. Sutskever, G. Hinton: ImageNet classification with deep convolutional neural networks. NIPS 2012.

form=large is the single tower of A. Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014
(arXiv:1404.5997), which libraries call AlexNet. Its deviations from 2012: (1) 64, 192, 384, 256, 256 maps that all see all
earlier ones; 2012: 96, 256, 384, 384, 256 in two towers, one per card, that meet in the third layer; (2) no response
normalisation. form=2012 undoes both. form=small, taken by itself for pictures up to 64 pixels, is the large one but for (3)
a first layer of 5x5, stride 1, where 224 pixels have 11x11, stride 4, and pools that are padded; (4) a grid of 4x4 before
layers of 1024 units, where there are 6x6 and 4096. In all: (5) width=0.5 halves maps and units, and small pictures get it;
(6) weights begin as He et al. (2015) say, biases at zero; 2012: all with deviation 0.01, some biases at one; (7) one
cycle with label smoothing by AdamW, for small pictures Muon for the kernels and half of the dropout; 2012: momentum, the rate
divided by ten three times; (8) no changes of the light's colour, and one view of a picture in use, not ten.

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
from shendu.recipes import Training, check_reads, supervised
from shendu.recipes.pictures import passes, varied

MAPS = {"large": (64, 192, 384, 256, 256), "small": (64, 192, 384, 256, 256), "2012": (96, 256, 384, 384, 256)}
GRID = {"large": 6, "small": 4, "2012": 6}
"""Positions a side that the full layers see."""
UNITS = {"large": 4096, "small": 1024, "2012": 4096}
SMALLEST = {"large": 63, "small": 8, "2012": 63}
"""Pixels a side that leave one for the last pool."""
FULL = ("classifier",)
"""The full layers, whose matrices are so large that Muon's iteration would double a step."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`form` as above; `width` is the share of its maps and units, `dropout` is before both layers of units."""

    channels: int = 3
    classes: int = 10
    form: Literal["large", "small", "2012"] = "large"
    width: float = 1.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.width <= 8:
            raise UserError(f"width={self.width:g} is not a share from 0 to 8; write it like width=0.5")

    def build(self) -> AlexNet:
        return AlexNet(self)


class ResponseNorm(nn.Module):
    """a / (2 + 1e-4 Σ a²)^0.75, the sum over the five nearest maps: loud neighbours quieten a map."""

    def forward(self, a: Tensor) -> Tensor:
        squares = F.pad(a.square(), (0, 0, 0, 0, 2, 2))
        near = 5 * F.avg_pool3d(squares[:, None], (5, 1, 1), 1)[:, 0]
        return a * (2 + 1e-4 * near).pow(-0.75)


def gridded(x: Tensor, side: int) -> Tensor:
    """[B, C, H, W] -> [B, C, side, side] by averaging; nothing to do where the picture has the size that is meant."""
    return x if x.shape[-2:] == (side, side) else F.adaptive_avg_pool2d(x, side)


class AlexNet(nn.Module):
    """Five convolutions with overlapping pools, and three full layers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        form = config.form
        m1, m2, m3, m4, m5 = (max(8, 8 * round(maps * config.width / 8)) for maps in MAPS[form])
        units, self.grid = max(8, round(UNITS[form] * config.width)), GRID[form]
        towers, normed = (2, [ResponseNorm()]) if form == "2012" else (1, [])
        first = nn.Conv2d(config.channels, m1, *((5, 1, 2) if form == "small" else (11, 4, 2)))
        padding = int(form == "small")
        self.features = nn.Sequential(
            first, nn.ReLU(inplace=True), *normed, nn.MaxPool2d(3, 2, padding),
            nn.Conv2d(m1, m2, 5, 1, 2, groups=towers), nn.ReLU(inplace=True), *normed, nn.MaxPool2d(3, 2, padding),
            nn.Conv2d(m2, m3, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(m3, m4, 3, 1, 1, groups=towers), nn.ReLU(inplace=True),
            nn.Conv2d(m4, m5, 3, 1, 1, groups=towers), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            Dropout(config.dropout), nn.Linear(m5 * self.grid**2, units), nn.ReLU(inplace=True),
            Dropout(config.dropout), nn.Linear(units, units), nn.ReLU(inplace=True),
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
    check_reads("alexnet", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    side, rows = min(picture.height, picture.width), len(data.splits["train"])
    net = Config(channels=picture.channels, classes=len(data.classes))
    how = Training(
        epochs=passes(data), batch_size=64 if rows > 500 else 32, lr=3e-4, schedule="one-cycle", weight_decay=0.05, clip=5.0,
        label_smoothing=0.1, augment=varied(data), validations=6,
    )  # fmt: skip
    if side <= 64:
        net = replace(net, form="small", width=0.5, dropout=0.25)
        how = replace(how, optimizer="muon", lr=0.002, momentum=0.95, weight_decay=0.1)
    net, how = settle(choices, net, how, given=("channels", "classes"))
    check_side(net, side, data.name)
    return supervised(data, net, how, by_adamw=FULL)


def check_side(net: Config, side: int, name: str) -> None:
    """Raises UserError where the picture has too few pixels for the form."""
    if side < SMALLEST[net.form]:
        remedy = "--set form=small" if side >= SMALLEST["small"] else "lenet"
        raise UserError(
            f"alexnet's {net.form} form needs {SMALLEST[net.form]} pixels a side and {name} has {side}; use {remedy}"
        )


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchvision's names -> by ours, which are the same."""
    return dict(weights)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "width": 0.125}


SIZES = (
    (Config(classes=1000), 61_100_840),
    (Config(classes=1000, form="2012"), 60_965_224),
)
REFERENCES = (
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.74, "source": ""},
    {"data": "fashion-mnist", "metric": "accuracy", "published": None, "target": 0.915, "source": ""},
)
