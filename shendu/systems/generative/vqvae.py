"""VQ-VAE (2017): pictures as a few words of a learned vocabulary, and a language model that writes new ones.

Each place of a small map is given the nearest vector of a codebook, so that a picture becomes a page of numbers. Rounding
has no gradient: the decoder's is handed to the encoder as if nothing had been rounded. What pages are likely is learned
afterwards by a network that predicts each number from those above and to its left, and so can write pages of its own.

A. van den Oord, O. Vinyals, K. Kavukcuoglu: Neural discrete representation learning. NeurIPS 2017. The codebook follows
moving averages of what it stands for (the paper's appendix A.1); the prior is a PixelCNN (van den Oord et al., ICML 2016).

Deviations: (1) every 100 steps, vectors that are hardly used are put where rows of the batch are (Dhariwal et al. 2020);
(2) the codebook begins at rows; 2017: at random numbers; (3) enlargement repeats pixels, where 2017 has transposed
convolutions; (4) the prior has residual blocks without gates, whose stacked masks leave a blind spot above to the right;
(5) the error is divided by the data's variance, so that one commitment weight suits all.

Shape letters: B rows, C channels, H, W picture, h, w map of codes, K vectors of the codebook, D their size, N classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import At, Batch, Loss, Objective, Recipe, Source
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn import codes as pictures
from shendu.recipes import Training, check_own_loss, check_reads, recipe_of, stage
from shendu.tasks.score import Score

DECAY, SMALL, REVIVE, DEAD = 0.99, 1e-5, 100, 0.03
"""Of the moving averages; added to a vector's count; steps between revivals; share of a mean count below which one is dead."""
FIRST_ROWS = 256
"""Rows that the codebook begins at."""
SCORES = {"code-nats": False, "reconstruction-error": False}


@dataclass(frozen=True, kw_only=True)
class Config:
    """`maps` are those of the encoder and decoder, `size` vectors of `width` numbers the codebook."""

    shape: tuple[int, int, int] = (1, 28, 28)
    maps: int = 32
    blocks: int = 2
    size: int = 128
    width: int = 32
    prior_maps: int = 64
    prior_blocks: int = 6
    conditional: bool = False
    classes: int = 0

    def __post_init__(self) -> None:
        if min(self.maps, self.size, self.width, self.prior_maps) < 2 or min(self.blocks, self.prior_blocks) < 0:
            raise UserError(
                f"maps={self.maps}, size={self.size}, width={self.width}, prior_maps={self.prior_maps} must be 2 or more; "
                "write them like size=128"
            )

    def build(self) -> VQVAE:
        return VQVAE(self)


class Residual(nn.Module):
    """What two convolutions make of the maps is added to them."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(maps, maps, 3, padding=1)
        self.narrow = nn.Conv2d(maps, maps, 1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.narrow(F.relu(self.wide(F.relu(h))))


class Encoder(nn.Sequential):
    """[B, C, H, W] -> [B, D, h, w], a quarter of the sides, rounded up."""

    def __init__(self, config: Config) -> None:
        maps = config.maps
        super().__init__(
            nn.Conv2d(config.shape[0], maps // 2, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(maps // 2, maps, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(maps, maps, 3, padding=1),
            *(Residual(maps) for _ in range(config.blocks)), nn.ReLU(), nn.Conv2d(maps, config.width, 1),
        )  # fmt: skip


class Decoder(nn.Module):
    """[B, D, h, w] -> [B, C, H, W]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        maps, (channels, *side) = config.maps, config.shape
        self.sizes = [tuple(-(-n // 2) for n in side), tuple(side)]
        self.first = nn.Sequential(
            nn.Conv2d(config.width, maps, 3, padding=1), *(Residual(maps) for _ in range(config.blocks))
        )
        self.grow = nn.ModuleList([
            nn.Conv2d(maps, maps // 2, 3, padding=1), nn.Conv2d(maps // 2, channels, 3, padding=1)
        ])  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z)
        for layer, size in zip(self.grow, self.sizes, strict=True):
            h = layer(F.interpolate(F.relu(h), size))
        return h


class Masked(nn.Conv2d):
    """A convolution that sees only the places above, and those to the left; its own place where `own`."""

    mask: Tensor

    def __init__(self, before: int, after: int, side: int, own: bool) -> None:
        super().__init__(before, after, side, padding=side // 2)
        mask = torch.ones(side, side)
        mask[side // 2, side // 2 + own :] = 0
        mask[side // 2 + 1 :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Seen(nn.Module):
    """A residual block over the places already seen."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(maps, maps // 2, 1), nn.ReLU(), Masked(maps // 2, maps // 2, 3, own=True),
            nn.ReLU(), nn.Conv2d(maps // 2, maps, 1),
        )  # fmt: skip

    def forward(self, h: Tensor) -> Tensor:
        return h + self.layers(h)


class Prior(nn.Module):
    """How likely each code is at each place, given the codes above it and to its left (and the class)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        maps = config.prior_maps
        self.words = nn.Embedding(config.size, maps)
        self.first = Masked(maps, maps, 5, own=False)
        self.told = nn.Linear(config.classes, maps, bias=False) if config.conditional else None
        self.blocks = nn.Sequential(*(Seen(maps) for _ in range(config.prior_blocks)))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv2d(maps, config.size, 1))

    def forward(self, index: Tensor, y: Tensor | None = None) -> Tensor:
        """int64 [B, h, w] (and classes [B, N], one-hot) -> logits [B, K, h, w]."""
        h = self.first(self.words(index).permute(0, 3, 1, 2))
        if self.told is not None and y is not None:
            h = h + self.told(y)[:, :, None, None]
        return self.last(self.blocks(h))


class VQVAE(nn.Module):
    """Rows in [0, 1] -> [B, 2]: minus the log-probability of a row's codes, and the squared error of what they bring back."""

    codebook: Tensor
    counts: Tensor
    totals: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder, self.prior = Encoder(config), Decoder(config), Prior(config)
        self.register_buffer("codebook", torch.randn(config.size, config.width))
        self.register_buffer("counts", torch.ones(config.size))
        self.register_buffer("totals", self.codebook.clone())

    def nearest(self, z: Tensor) -> Tensor:
        """[B, D, h, w] -> int64 [B, h, w]: the codebook's nearest vector at each place."""
        flat = z.float().permute(0, 2, 3, 1)
        with torch.autocast(z.device.type, enabled=False):
            return (self.codebook.square().sum(1) - 2 * flat @ self.codebook.T).argmin(3)

    def vectors(self, index: Tensor) -> Tensor:
        """int64 [B, h, w] -> [B, D, h, w]."""
        return F.embedding(index, self.codebook).permute(0, 3, 1, 2)

    def codes(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> int64 [B, h, w]."""
        return self.nearest(self.encoder(x))

    def nats(self, index: Tensor, y: Tensor | None = None) -> Tensor:
        """Minus the log-probability of codes [B, h, w] -> [B]."""
        return F.cross_entropy(self.prior(index, y).float(), index, reduction="none").sum((1, 2))

    def forward(self, x: Tensor) -> Tensor:
        index = self.codes(x)
        errors = (self.decoder(self.vectors(index)).float() - x).square().flatten(1).sum(1)
        return torch.stack([self.mixture(index), errors], 1)

    def mixture(self, index: Tensor) -> Tensor:
        """`nats` of codes, for a conditional model under the mixture of all classes [B]."""
        if not self.config.conditional:
            return self.nats(index)
        eye = torch.eye(self.config.classes, device=index.device)
        each = torch.stack([-self.nats(index, row.expand(index.shape[0], -1)) for row in eye])
        return math.log(len(eye)) - each.logsumexp(0)

    def draw(self, n: int, label: Tensor | None = None, *, temperature: float = 1.0) -> Iterator[Tensor]:
        """n pictures, a frame per row of their codes. Raises UserError for classes that the prior was not told of."""
        told, device = self.config.conditional, self.codebook.device
        if label is not None and not told:
            raise UserError(
                "this model was told no classes; train one with --set conditional=true, or leave --class out"
            )
        if temperature <= 0:
            raise UserError(f"temperature={temperature:g} is not above 0; write it like temperature=0.9")
        y = None
        if told:
            label = torch.arange(n, device=device) % self.config.classes if label is None else label
            y = F.one_hot(label, self.config.classes).float()
        h, w = (math.ceil(side / 4) for side in self.config.shape[1:])
        index = torch.zeros(n, h, w, dtype=torch.int64, device=device)
        for row in range(h):
            for column in range(w):
                logits = self.prior(index, y)[:, :, row, column].float() / temperature
                index[:, row, column] = torch.multinomial(logits.softmax(1), 1)[:, 0]
            yield self.decoder(self.vectors(index)).clamp(0, 1)

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """x [B, C, H, W] -> rows beside what their codes bring back."""
        back = self.decoder(self.vectors(self.codes(x))).clamp(0, 1)
        return {"Rows and what their codes bring back": pictures.side_by_side(x, back)[:32]}


class Quantising(Objective):
    """Equation 3 of the paper: the error of what the rounded codes bring back, and `commitment` times how far they were
    rounded; the codebook follows the moving averages of what was rounded to it."""

    noisy = True
    counts: Tensor
    totals: Tensor
    candidates: Tensor

    def __init__(self, model: Any, *, commitment: float, variance: float) -> None:
        super().__init__()
        self.commitment, self.variance = commitment, max(variance, 1e-4)
        for name, like in (("counts", model.counts), ("totals", model.totals), ("candidates", model.totals)):
            self.register_buffer(name, torch.zeros_like(like), persistent=False)

    @torch.no_grad()
    def enter(self, model: Any, source: Source) -> None:
        if (model.counts != 1).any():  # given weights keep their codebook
            return
        x = source.batch(At(0, min(FIRST_ROWS, source.rows)))["x"].to(model.codebook)
        model.codebook.copy_(chosen(model.encoder(x), len(model.codebook)))
        model.totals.copy_(model.codebook)
        model.counts.fill_(1)

    def forward(self, model: Any, batch: Batch, step: Tensor) -> Loss:
        x = batch["x"]
        z = model.encoder(x).float()
        index = model.nearest(z.detach())
        rounded = model.vectors(index)
        errors = (model.decoder(z + (rounded - z).detach()).float() - x).square().flatten(1).mean(1)
        apart = (z - rounded).square().flatten(1).mean(1)
        with torch.no_grad():
            flat, ids = z.permute(0, 2, 3, 1).flatten(0, 2), index.flatten()
            self.counts += torch.bincount(ids, minlength=len(self.counts))
            self.totals.index_add_(0, ids, flat)
            self.candidates.copy_(chosen(z, len(self.candidates)))
            shares = model.counts / model.counts.sum()
            perplexity = torch.special.entr(shares).sum().exp()
        loss = errors.sum() / self.variance + self.commitment * apart.sum()
        return Loss({"loss": loss}, {"perplexity": perplexity})

    @torch.no_grad()
    def update(self, model: Any, step: int) -> None:
        model.counts.lerp_(self.counts, 1 - DECAY)
        model.totals.lerp_(self.totals, 1 - DECAY)
        whole = model.counts.sum()
        if step % REVIVE == REVIVE - 1:
            dead = model.counts < DEAD * whole / len(model.counts)
            fair = whole / len(model.counts)
            model.totals.copy_(torch.where(dead[:, None], self.candidates * fair, model.totals))
            model.counts.copy_(torch.where(dead, fair, model.counts))
            whole = model.counts.sum()
        smoothed = (model.counts + SMALL) / (whole + len(model.counts) * SMALL) * whole
        model.codebook.copy_(model.totals / smoothed[:, None])
        self.counts.zero_()
        self.totals.zero_()


def chosen(z: Tensor, count: int) -> Tensor:
    """So many places' vectors of z [B, D, h, w], drawn with replacement -> [count, D]."""
    flat = z.permute(0, 2, 3, 1).flatten(0, 2).float()
    return flat[torch.randint(len(flat), (count,), device=flat.device)]


class Writing(Objective):
    """Minus the log-probability of rows' codes under the prior."""

    def forward(self, model: Any, batch: Batch, step: Tensor) -> Loss:
        y = batch["y"] if model.config.conditional else None
        if y is not None and not y.is_floating_point():
            y = F.one_hot(y, model.config.classes).float()
        with torch.no_grad():
            index = model.codes(batch["x"])
        return Loss({"loss": model.nats(index, y).sum()})


@dataclass(frozen=True, kw_only=True)
class More:
    """The first stage's commitment, and the second stage."""

    commitment: float = 0.25
    """Weight of how far codes are from what they are rounded to."""
    prior_epochs: float = 15
    prior_steps: int = 0
    """Steps of the prior; above 0 it overrides prior_epochs."""
    prior_lr: float = 3e-3

    def __post_init__(self) -> None:
        if not 0 <= self.commitment < math.inf:
            raise UserError(f"commitment={self.commitment} is out of range; write it like commitment=0.25")


CAN = ["condition", "draw", "views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Codes, then their prior; raises UserError for data without pictures, and for conditional=true without classes."""
    check_reads("vqvae", data, "image")
    picture, target = data.fields[data.input], data.fields[data.target]
    assert isinstance(picture, Image)
    shape = (picture.channels, picture.height, picture.width)
    net = Config(shape=shape, classes=len(target.names) if isinstance(target, Category) else 0)
    how, more = Training(epochs=15, batch_size=128, lr=2e-3, schedule="one-cycle"), More()
    if (rows := len(data.splits["train"])) < 10_000:
        net, how = replace(net, size=64), replace(how, steps=2000, batch_size=32)
        more = replace(more, prior_epochs=min(40, 32_000 / rows))
    net, how, more = settle(choices, net, how, more, given=("shape", "classes"))
    check_own_loss(how)
    if net.conditional and not net.classes:
        raise UserError(f"{data.name} has no classes to be told of; leave conditional out")
    task = Score.of(data, SCORES, "unit", conditional=net.conditional, can=CAN)
    variance = sum((std / 255) ** 2 for std in picture.std) / len(picture.std)
    first = stage(
        data, task, how, lambda model: Quantising(model, commitment=more.commitment, variance=variance),
        name="codes", trains=("encoder", "decoder"),
    )  # fmt: skip
    then = replace(how, epochs=more.prior_epochs, steps=more.prior_steps, lr=more.prior_lr)
    second = stage(data, task, then, lambda model: Writing(), name="prior", trains=("prior",))
    return recipe_of(data, net, how, task, (first, second))


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {
        "steps": 20, "prior_steps": 24, "batch_size": 32, "maps": 8, "size": 16, "width": 8, "prior_maps": 16,
        "prior_blocks": 1,
    }  # fmt: skip


REFERENCES = (
    {"data": "mnist", "metric": "reconstruction-error", "published": None, "target": 4.0, "source": ""},
)  # fmt: skip
