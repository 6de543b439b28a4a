"""LeNet-5 (1998): the convolutional network that read cheques.

Small filters slide over the picture and share their weights, pooling forgets where exactly something was, and a few
full layers decide. One design, learned from pixels to digit by back-propagation, replaced hand-made features.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition.
Proceedings of the IEEE 86(11), 1998.

form=common is what libraries and courses call LeNet-5 (61,706 parameters for 10 classes); its deviations from 1998:
(1) every C3 map sees all six S2 maps; 1998: a table of 60 connections; (2) max-pooling without weights; 1998: a sum with
a coefficient, a bias and a squashing; (3) ReLU; 1998: A tanh(S a); (4) a linear output with cross-entropy; 1998: distances to
84-bit pictures of the characters, with a penalty that also pushes wrong classes away; (5) pictures of 28x28 padded by
2; 1998: 32x32; (6) AdamW, one-cycle; 1998: stochastic diagonal Levenberg-Marquardt. form=1998 undoes 1 to 5.
In both: (7) pictures of another size are resized to 28x28 by the network.

Shape letters: B rows, C channels, H, W picture, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn.activations import activation
from shendu.nn.dropout import Dropout
from shendu.recipes import Training, check_reads, supervised

SIDE = 28


@dataclass(frozen=True, kw_only=True)
class Config:
    """`maps` are the feature maps of C1 and C3, `units` those of C5 and F6 (form=common; 1998 fixes them)."""

    channels: int = 1
    classes: int = 10
    form: Literal["common", "1998"] = "common"
    maps: tuple[int, int] = (6, 16)
    units: tuple[int, int] = (120, 84)
    activation: str = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    """BatchNorm (Ioffe & Szegedy 2015) behind each pooling: an epoch is enough for digits."""

    def __post_init__(self) -> None:
        if min(*self.maps, *self.units) < 1:
            raise UserError(f"maps={self.maps} and units={self.units} must be 1 or more; write them like maps=6,16")
        if self.batch_norm and self.form == "1998":
            raise UserError("batch_norm=true is of form=common: BatchNorm came in 2015; leave one of the two out")

    def build(self) -> nn.Module:
        return LeNet1998(self) if self.form == "1998" else LeNet(self)


def resized(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 28, 28]."""
    if x.shape[-2:] == (SIDE, SIDE):
        return x
    return F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=x.shape[-1] > SIDE)


def layer(entering: int, leaving: int, padding: int, config: Config) -> tuple[nn.Module, ...]:
    """5x5 convolution, halved by max-pooling, perhaps BatchNorm, activation.

    The largest first, then the activation: the same for one that rises, from a quarter of the values.
    """
    return (
        nn.Conv2d(entering, leaving, 5, padding=padding, bias=not config.batch_norm),
        nn.MaxPool2d(2),
        *([nn.BatchNorm2d(leaving)] if config.batch_norm else []),
        activation(config.activation),
    )


class LeNet(nn.Module):
    """The common form."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        (first, second), (wide, narrow) = config.maps, config.units
        self.features = nn.Sequential(*layer(config.channels, first, 2, config), *layer(first, second, 0, config))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * 25, wide), activation(config.activation), Dropout(config.dropout),
            nn.Linear(wide, narrow), activation(config.activation), Dropout(config.dropout),
            nn.Linear(narrow, config.classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> logits [B, K]."""
        return self.classifier(self.features(resized(x)))


# ---- the form of 1998 ------------------------------------------------------------------------------------------------

CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip
"""Table I of the paper: which S2 maps each of the 16 C3 maps sees."""

GLYPHS = (
    ".#####. ##...## ##...## ##...## ##...## ##...## ##...## ##...## ##...## .#####. ....... .......",
    "...##.. ..###.. .####.. ...##.. ...##.. ...##.. ...##.. ...##.. ...##.. .###### ....... .......",
    ".#####. ##...## .....## .....## ....##. ...##.. ..##... .##.... ##..... ####### ....... .......",
    ".#####. ##...## .....## .....## ..####. .....## .....## .....## ##...## .#####. ....... .......",
    "....##. ...###. ..####. .##.##. ##..##. ##..##. ####### ....##. ....##. ....##. ....... .......",
    "####### ##..... ##..... ##..... ######. .....## .....## .....## ##...## .#####. ....... .......",
    ".#####. ##...## ##..... ##..... ######. ##...## ##...## ##...## ##...## .#####. ....... .......",
    "####### .....## .....## ....##. ....##. ...##.. ...##.. ..##... ..##... ..##... ....... .......",
    ".#####. ##...## ##...## ##...## .#####. ##...## ##...## ##...## ##...## .#####. ....... .......",
    ".#####. ##...## ##...## ##...## ##...## .###### .....## .....## ##...## .#####. ....... .......",
)
"""The ten digits as pictures of 7x12 bits (our own drawing): the centres of the output units."""
RUBBISH = 1.0
"""The paper's j: the score of an imagined class for what is no character."""


def codes(classes: int) -> Tensor:
    """Centres [K, 84] of -1 and +1: the drawn digits, or fixed random bits for other classes."""
    if classes == len(GLYPHS):
        return torch.tensor([[1.0 if bit == "#" else -1.0 for bit in glyph.replace(" ", "")] for glyph in GLYPHS])
    bits = torch.rand(classes, 84, generator=torch.Generator().manual_seed(1998))
    return bits.round() * 2 - 1


class Squash(nn.Module):
    """1.7159 tanh(2/3 a)."""

    def forward(self, a: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(a * (2 / 3))


class Subsample(nn.Module):
    """2x2 sums with one coefficient and one bias per map, squashed."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))
        self.squash = Squash()

    def forward(self, x: Tensor) -> Tensor:
        return self.squash(4 * F.avg_pool2d(x, 2) * self.coefficient + self.bias)


class PartlyConnected(nn.Module):
    """A 5x5 convolution in which each map sees the earlier maps of its row in CONNECTIONS; the other kernels are no weights."""

    mask: Tensor
    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        mask = torch.zeros(16, 6, dtype=torch.bool)
        for to, seen in enumerate(CONNECTIONS):
            mask[to, list(seen)] = True
        self.register_buffer("places", mask.flatten().nonzero()[:, 0], persistent=False)
        fan_in = torch.tensor([25.0 * len(seen) for seen in CONNECTIONS for _ in seen])
        self.kernels = nn.Parameter((torch.rand(60, 25) * 2 - 1) * 2.4 / fan_in[:, None])
        self.bias = nn.Parameter(torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.kernels.new_zeros(96, 25).index_copy(0, self.places, self.kernels)
        return F.conv2d(x, weight.view(16, 6, 5, 5), self.bias)


class LeNet1998(nn.Module):
    """C1, S2, C3, S4, C5, F6 and the distances to the codes; 60,000 parameters for one channel."""

    codes: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(config.channels, 6, 5, padding=2), Squash(), Subsample(6),
            PartlyConnected(), Squash(), Subsample(16),
            nn.Conv2d(16, 120, 5), Squash(), nn.Flatten(),
            nn.Linear(120, 84), Squash(),
        )  # fmt: skip
        self.register_buffer("codes", codes(config.classes))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> minus the squared distances to the codes [B, K]."""
        f6 = self.features(resized(x)).float()
        with torch.autocast(f6.device.type, enabled=False):  # of a near code it is a difference of large sums
            return -(f6.square().sum(1, keepdim=True) - 2 * f6 @ self.codes.T + self.codes.square().sum(1))


class Discriminative(Objective):
    """Equation 9 of the paper: the right class's distance, plus log(e^-j + sum of e^-distance) over all classes."""

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        scores, y = model(batch["x"]).float(), batch["y"]
        rubbish = scores.new_full((len(scores), 1), -RUBBISH)
        right = (scores * y).sum(1) if y.is_floating_point() else scores.gather(1, y[:, None])[:, 0]
        return Loss({"loss": (torch.cat([scores, rubbish], 1).logsumexp(1) - right).sum()})


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes."""
    check_reads("lenet", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    net = Config(channels=picture.channels, classes=len(data.classes))
    how = Training(
        epochs=15, batch_size=128, lr=4e-3, schedule="one-cycle", weight_decay=0.01, augment=augment.usual(data)
    )
    if len(data.splits["train"]) < 10_000:
        how = replace(how, epochs=40 if "flip" in how.augment else 12, batch_size=32)
    else:  # 61,706 weights underfit many crops (see docs/log.md)
        how = replace(how, augment=tuple(word for word in how.augment if not word.startswith("crop")))
    net, how = settle(choices, net, how, given=("channels", "classes"))
    if net.form == "1998":
        how = settle(choices, net, replace(how, lr=2e-3))[1]
        return supervised(data, net, how, objective=lambda model: Discriminative())
    return supervised(data, net, how, coupled=net.batch_norm)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 30, "batch_size": 32, "dropout": 0.1}


SIZES = (
    (Config(), 61_706),
    (Config(form="1998"), 60_000),
)
REFERENCES = (
    {"data": "mnist", "metric": "error-rate", "published": 0.0080, "target": 0.0080,
     "source": "LeCun et al. 1998, figure 9: LeNet-5 with distortions, 0.8%"},
    {"data": "mnist", "metric": "error-rate", "choices": {"form": "1998"}, "published": 0.0080, "target": 0.0095,
     "source": "LeCun et al. 1998, figure 9: LeNet-5, 0.95% without and 0.8% with distortions"},
    {"data": "fashion-mnist", "metric": "accuracy", "published": None, "target": 0.91, "source": ""},
    {"data": "cifar10-jpeg", "metric": "accuracy", "published": None, "target": 0.60, "source": ""},
)  # fmt: skip
