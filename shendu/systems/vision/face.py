"""FaceNet and ArcFace (2015): a face becomes a point on a sphere, and an angle says whether two are of one person.

A verifier meets people whom it was never trained on. So the network is trained to tell some people apart, and kept without
the layer that names them: what remains brings pictures of a person close together, known or not. A threshold on the cosine,
chosen by how often strangers may pass, then verifies; the nearest enrolled picture identifies.

F. Schroff, D. Kalenichenko, J. Philbin: FaceNet: a unified embedding for face recognition and clustering. CVPR 2015
(loss=triplet). J. Deng, J. Guo, N. Xue, S. Zafeiriou: ArcFace: additive angular margin loss for deep face recognition.
CVPR 2019 (loss=arcface, the default). The task, its pictures and people apart: S. Chopra, R. Hadsell, Y. LeCun. CVPR 2005.

Deviations: (1) seven convolutions of 32 to 128 maps for some hundred small pictures; 2015: GoogLeNet, 2019: ResNet-100, for
millions; (2) a learned linear layer over the last maps as they lie, since faces are aligned; (3) mirrored=true averages the
embeddings of a picture and its mirror image, in use but not in training; (4) a scale of 16 and a margin of 0.3 where 2019 has
64 and 0.5 for 85,000 people: for some dozen, a softmax as sharp has nothing left to learn; (5) AdamW, one-cycle.

Shape letters: B rows, C channels, H, W picture, D dimensions of an embedding, K people in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError, unknown
from shendu.objectives.triplets import MINING, Triplet
from shendu.recipes import Training, check_reads
from shendu.recipes.pairs import Groups, check_pictures, loss_of, paired

LOSSES = ("arcface", "triplet")
POOLS, LARGE = 3, 56
"""The picture is halved so often, and once more at the beginning where its shorter side has so many pixels."""
SPLIT = "classes:0.25"
"""People are in one part only, where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`width` is the number of maps at the beginning, `dims` that of an embedding's numbers.

    `scale` and `margin` (an angle in radians) are ArcFace's, `margin` of squared distance is the triplet's.
    """

    channels: int = 1
    height: int = 112
    side: int = 92
    width: int = 32
    dims: int = 128
    dropout: float = 0.3
    mirrored: bool = True
    scale: float = 16.0
    margin: float = 0.0
    mining: str = "semi-hard"

    def __post_init__(self) -> None:
        for name, right, like in (
            ("width", self.width >= 1, "32"), ("dims", self.dims >= 1, "128"), ("dropout", 0 <= self.dropout < 1, "0.3"),
            ("scale", 0 < self.scale <= 1000, "16"), ("margin", 0 <= self.margin <= 1.5, "0.3"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")
        if self.mining not in MINING:
            raise unknown("mining", self.mining, MINING)

    @property
    def stride(self) -> int:
        return 2 if min(self.height, self.side) >= LARGE else 1

    def build(self) -> Face:
        return Face(self)


def layer(entering: int, leaving: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(entering, leaving, 3, stride, 1, bias=False), nn.BatchNorm2d(leaving), nn.ReLU(inplace=True)
    )


class Face(nn.Module):
    """Convolutions, a linear layer, length 1."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        w = config.width
        self.mirrored = config.mirrored
        self.maps = nn.Sequential(
            layer(config.channels, w, config.stride), nn.MaxPool2d(2),
            layer(w, 2 * w), layer(2 * w, 2 * w), nn.MaxPool2d(2),
            layer(2 * w, 4 * w), layer(4 * w, 4 * w), nn.MaxPool2d(2),
            layer(4 * w, 4 * w), layer(4 * w, 4 * w),
        )  # fmt: skip
        high, wide = (-(-n // config.stride) >> POOLS for n in (config.height, config.side))
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(4 * w * high * wide, config.dims, bias=False),
            nn.BatchNorm1d(config.dims),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> embeddings [B, D] of length 1."""
        if self.mirrored and not self.training:
            return F.normalize(self.embedded(x) + self.embedded(x.flip(3)), dim=1)
        return self.embedded(x)

    def embedded(self, x: Tensor) -> Tensor:
        return F.normalize(self.head(self.maps(x)).float(), dim=1)


class ArcFace(Objective):
    """Cross-entropy over people, whose logits are cosines to a direction of theirs, the right one's angle being made larger
    by a margin (2019, equation 3). The directions are the objective's own weights: the model is kept without them.

    `codes` int64 [K]: the training people's, in ascending order.
    """

    codes: Tensor
    coupled = True

    def __init__(self, codes: Tensor, dims: int, scale: float, margin: float) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.register_buffer("codes", codes)
        self.people = nn.Parameter(torch.randn(len(codes), dims) * 0.01)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        z = model(batch["x"]).float()
        with torch.autocast(z.device.type, enabled=False):  # near 1 half precision's steps are angles of five degrees
            cosine = z @ F.normalize(self.people, dim=1).T
        person = torch.searchsorted(self.codes, batch["y"])
        logits = self.scale * with_margin(cosine, person, self.margin)
        hits = (cosine.argmax(1) == person).float().mean()
        return Loss({"loss": F.cross_entropy(logits, person, reduction="sum")}, {"accuracy": hits})


def with_margin(cosine: Tensor, person: Tensor, margin: float) -> Tensor:
    """Cosines [B, K] with the right person's angle θ made θ + margin; beyond π - margin, where that would turn back, a line
    of the same end goes on downwards, as the published code has it."""
    right = cosine.gather(1, person[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    turned = torch.cos(right.acos() + margin)
    limit = math.cos(math.pi - margin)
    beyond = right - margin * math.sin(margin)
    return cosine.scatter(1, person[:, None], torch.where(right > limit, turned, beyond))


CAN = ("embed",)


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures or classes, and for pictures below 8 pixels a side."""
    check_reads("face", data, "image")
    picture = data.fields[data.input]
    assert isinstance(picture, Image)
    net = Config(channels=picture.channels, height=picture.height, side=picture.width)
    moved = f"shift:{min(picture.height, picture.width) / 20:.3g}"
    how = Training(
        steps=900, batch_size=64, lr=2e-3, schedule="one-cycle", weight_decay=0.05, validations=6,
        augment=("flip", moved, "rotate:8", "jitter:0.2"),
    )  # fmt: skip
    net, how, groups = settle(choices, net, how, Groups(per_class=2, distort=0.5), given=("channels", "height", "side"))
    check_pictures("face", data, 1 << POOLS, groups)
    loss = loss_of(how, LOSSES)
    if not net.margin:
        net = replace(net, margin=0.3 if loss == "arcface" else 0.2)
    codes = torch.from_numpy(np.unique(data.splits["train"].column(data.target)))

    def objective(model: nn.Module) -> Objective:
        if loss == "triplet":
            return Triplet(net.margin, net.mining)
        return ArcFace(codes, net.dims, net.scale, net.margin)

    return paired(data, net, how, groups, objective)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 12, "batch_size": 32, "width": 4, "dims": 16, "lr": 0.01, "mirrored": False}


SIZES: tuple[tuple[Config, int], ...] = ()
REFERENCES = (
    {"data": "orl-faces", "metric": "equal-error-rate", "published": None, "target": 0.06, "source": ""},
)  # fmt: skip
