"""Siamese network (1993): the same weights look at two pictures, and their distance says whether they show the same.

Where there are thousands of classes, or ones that nobody has seen yet, there is no layer with a unit for each. What can be
learned instead is a space: one network brings every picture into it, and a loss pulls pictures of one class together and
pushes others apart. A class that was never trained is then recognised from one example. It began with signatures.

J. Bromley, I. Guyon, Y. LeCun, E. Säckinger, R. Shah: Signature verification using a "Siamese" time delay neural network.
NIPS 1993. S. Chopra, R. Hadsell, Y. LeCun: Learning a similarity metric discriminatively. CVPR 2005, and: Dimensionality
reduction by learning an invariant mapping. CVPR 2006 (loss=contrastive). F. Schroff et al.: FaceNet. 2015 (loss=triplet).
G. Koch, R. Zemel, R. Salakhutdinov: Siamese neural networks for one-shot image recognition. 2015. J. Snell, K. Swersky,
R. Zemel: Prototypical networks for few-shot learning. 2017 (loss=prototypical, the default).

Deviations: (1) four blocks of 64 maps with BatchNorm, as few-shot learners have since 2016, and a linear layer; 1993: a time
delay network over pen strokes; Koch: up to 256 maps and 38 million weights; (2) embeddings of length 1, so that all losses
and figures speak of the same distance (Schroff's); 2006 and 2017: of any length; (3) all pairs of a batch of `per_class`
pictures of each class are used; 1993 to 2015: pairs drawn one by one; (4) a prototype is a single picture, each one of a
batch in turn, since the test shows one, and distances are multiplied by `scale`; 2017: the mean of several; (5) distance by
cosine; Koch: a learned weight for each dimension.

Shape letters: B rows, C channels, H, W picture, D dimensions of an embedding, P classes of a batch, K pictures of each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError, unknown
from shendu.objectives.triplets import MINING, Triplet, distances, same_class, squared_distances
from shendu.recipes import Training, check_reads
from shendu.recipes.pairs import Groups, check_pictures, loss_of, paired

LOSSES = ("prototypical", "contrastive", "triplet")
BLOCKS, POOLS = 4, 3
SPLIT = "classes:0.25"
"""What is asked is whether unseen classes are told apart, so parts are of different classes where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`width` is the number of maps, `dims` that of an embedding's numbers; what follows is the losses'.

    `ways`: how many classes compete in the one-shot figure.
    """

    channels: int = 1
    height: int = 28
    side: int = 28
    width: int = 64
    dims: int = 128
    ways: int = 20
    scale: float = 16.0
    margin: float = 0.0
    mining: str = "semi-hard"

    def __post_init__(self) -> None:
        for name, right, like in (
            ("width", self.width >= 1, "64"), ("dims", self.dims >= 1, "128"), ("ways", self.ways >= 2, "20"),
            ("scale", 0 < self.scale <= 1000, "16"), ("margin", 0 <= self.margin <= 2, "0.2"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")
        if self.mining not in MINING:
            raise unknown("mining", self.mining, MINING)

    def build(self) -> Siamese:
        return Siamese(self)


class Siamese(nn.Module):
    """The network that every member of a pair passes through: there is one set of weights, so it is shared."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        entering = config.channels
        for number in range(BLOCKS):
            layers += [nn.Conv2d(entering, config.width, 3, padding=1, bias=False), nn.BatchNorm2d(config.width)]
            layers += [nn.MaxPool2d(2), nn.ReLU()] if number < POOLS else [nn.ReLU()]
            entering = config.width
        self.maps = nn.Sequential(*layers)
        left = (config.height >> POOLS) * (config.side >> POOLS)
        self.head = nn.Linear(config.width * left, config.dims)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> embeddings [B, D] of length 1."""
        return F.normalize(self.head(self.maps(x).flatten(1)).float(), dim=1)


class Contrastive(Objective):
    """Pairs of one class: half the squared distance; pairs of two: half the squared lack of a margin (2006, equation 4).

    Both kinds are averaged for themselves, since in a batch there are many more of the second.
    """

    coupled = True

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        same, other = same_class(batch["y"])
        return {"same": same.sum(), "other": other.sum()}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        d = distances(model(batch["x"]))
        same, other = same_class(batch["y"])
        lack = (self.margin - d).clamp(min=0)
        return Loss({"same": (d.square() * same).sum() / 2, "other": (lack.square() * other).sum() / 2})


class Prototypical(Objective):
    """Cross-entropy over a batch's classes, each shown by one picture; the others are asked for. All K take turns.

    Rows come in groups of K. A logit is minus the squared distance to the shown picture, times `scale`.
    """

    coupled = True

    def __init__(self, scale: float, per_class: int) -> None:
        super().__init__()
        self.scale, self.per_class = scale, per_class

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        return {"loss": len(batch["y"]) * (self.per_class - 1)}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        z, y = model(batch["x"]), batch["y"]
        rows, k = torch.arange(len(y), device=y.device), self.per_class
        logits = -self.scale * squared_distances(z).view(len(y), -1, k)
        again = (y[:, None] == y[::k]) & (rows[:, None] // k != rows[::k] // k)
        logits = logits.masked_fill(again[:, :, None], -torch.inf)
        group = (rows // k)[:, None].expand(-1, k)
        losses = F.cross_entropy(logits, group, reduction="none")
        asked = rows[:, None] % k != torch.arange(k, device=y.device)
        return Loss({"loss": (losses * asked).sum()}, {"accuracy": (logits.argmax(1) == group)[asked].float().mean()})


CAN = ("embed",)


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for pictures below 8 pixels a side."""
    check_reads("siamese", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    characters = data.name == "omniglot"
    net = Config(channels=picture.channels, height=picture.height, side=picture.width)
    how = Training(steps=3000, batch_size=128, lr=3e-3, schedule="one-cycle", weight_decay=0.05, validations=6)
    groups = Groups(quarter_turns=characters, distort=1.0 if characters else 0.0)
    net, how, groups = settle(choices, net, how, groups, given=("channels", "height", "side"))
    check_pictures("siamese", data, 1 << POOLS, groups)
    loss = loss_of(how, LOSSES)
    if not net.margin:
        net = replace(net, margin=1.0 if loss == "contrastive" else 0.2)

    def objective(model: nn.Module) -> Objective:
        if loss == "contrastive":
            return Contrastive(net.margin)
        return Triplet(net.margin, net.mining) if loss == "triplet" else Prototypical(net.scale, groups.per_class)

    return paired(data, net, how, groups, objective, ways=net.ways)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "width": 8, "dims": 16, "lr": 0.01}


SIZES = ((Config(), 185_536),)
REFERENCES = (
    {"data": "omniglot", "metric": "one-shot-accuracy", "published": None, "target": 0.80, "source": ""},
)  # fmt: skip
