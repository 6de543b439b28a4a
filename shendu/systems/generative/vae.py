"""Variational autoencoder (2013): a generator that is trained by a bound on the likelihood of what it is to draw.

A code is drawn from a normal distribution, a network makes a picture's probabilities of it. How likely a given picture is
under that cannot be summed over all codes; but a second network that guesses which codes it came from gives a lower
bound, and the draw of the code is written as mean plus deviation times noise, so that the gradient passes through it.

D. Kingma, M. Welling: Auto-encoding variational Bayes. ICLR 2014. Several draws, weighted by importance, make the bound
tighter (samples=5): Y. Burda, R. Grosse, R. Salakhutdinov: Importance weighted autoencoders. ICLR 2016, whose network of
one stochastic layer this is, and whose protocol: pictures are drawn anew as black and white, pixel by pixel, each time.

Deviations: (1) layers are wider and have SiLU, where 2016 has two of 200 with tanh (hidden=200,200 activation=tanh);
(2) AdamW with one cycle, where 2016 has eight rates over 3,280 epochs; (3) form=conv convolves with strides; (4) with
conditional=true both networks are told the class (Sohn et al. 2015), and a row's bound is of the mixture of all classes.

Shape letters: B rows, K draws of the code, L its size, C channels, H, W picture, D = CHW, N classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance
from shendu.config import settle
from shendu.core import At, Batch, Loss, Objective, Recipe, Source
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn import codes
from shendu.nn.activations import activation
from shendu.recipes import Training, check_reads, unlabelled
from shendu.tasks.score import Score

INK, NOISE, SAMPLED = 1, 2, 3
"""Keys of a row's own draws, when it is measured: its black pixels, its code; and of a likelihood's draws."""
MEAN_ROWS, LEAST = 5000, 0.01
"""Rows that say how often a pixel is black, and how often it is at least."""
LOG_2PI = math.log(2 * math.pi)
WIDEST = 12.0
"""The logarithm of a variance is kept within ±12."""
PIECE = 5000
"""Codes that are decoded at once when a likelihood is measured."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`hidden` are the units of the full layers next to the picture first; `maps` those of form=conv before them."""

    shape: tuple[int, int, int] = (1, 28, 28)
    form: Literal["mlp", "conv"] = "mlp"
    maps: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = (512, 512)
    latent: int = 50
    activation: str = "silu"
    conditional: bool = False
    classes: int = 0

    def __post_init__(self) -> None:
        if not self.hidden or min(*self.maps, *self.hidden, self.latent) < 1:
            raise UserError(
                f"maps={self.maps}, hidden={self.hidden}, latent={self.latent} must be 1 or more; write them like hidden=200,200"
            )

    def build(self) -> VAE:
        return VAE(self)


class Flat(nn.Module):
    """Full layers, each but the last with an activation."""

    def __init__(self, widths: tuple[int, ...], name: str, last: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation(name)]
        self.layers = nn.Sequential(*(layers if last else layers[:-1]))

    def forward(self, h: Tensor) -> Tensor:
        return self.layers(h)


class Shrinking(nn.Sequential):
    """Convolutions that halve the picture, one per entry of `maps`."""

    def __init__(self, channels: int, maps: tuple[int, ...], name: str) -> None:
        layers = [
            (nn.Conv2d(before, after, 3, stride=2, padding=1), activation(name))
            for before, after in pairwise((channels, *maps))
        ]
        super().__init__(*(part for pair in layers for part in pair))


class Growing(nn.Module):
    """The way back: each size of `sizes` by repeating pixels, then a convolution."""

    def __init__(self, maps: tuple[int, ...], channels: int, sizes: list[tuple[int, int]], name: str) -> None:
        super().__init__()
        self.sizes, self.bend = sizes, activation(name)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise((*maps, channels))
        )

    def forward(self, h: Tensor) -> Tensor:
        for i, (layer, size) in enumerate(zip(self.layers, self.sizes, strict=True)):
            h = layer(F.interpolate(self.bend(h) if i else h, size))
        return h


class VAE(nn.Module):
    """Rows in [0, 1] -> each row's bound in nats. A row's black pixels and its code are drawn from the row's own bytes,
    so that equal rows have equal figures, however they are batched.

    `mean` [C, H, W] is how often each pixel is black: the encoder is shown what differs from it, the decoder says what is
    to be added to its logit.
    """

    mean: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, height, width = config.shape
        self.told = config.classes if config.conditional else 0
        maps = config.maps if config.form == "conv" else ()
        sizes = [(height, width)]
        for _ in maps:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self.small = (maps[-1] if maps else channels, *sizes[-1])
        inputs = math.prod(self.small)
        self.register_buffer("mean", torch.full(config.shape, 0.5))
        self.shrinking = Shrinking(channels, maps, config.activation)
        self.encoder = Flat((inputs + self.told, *config.hidden, 2 * config.latent), config.activation, last=False)
        back = config.hidden[::-1]
        self.decoder = Flat((config.latent + self.told, *back, inputs), config.activation, last=bool(maps))
        self.growing = Growing(maps[::-1], channels, sizes[-2::-1], config.activation) if maps else nn.Identity()

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Black and white x [B, C, H, W] (and classes [B, N], one-hot) -> mean and logarithm of the variance [B, L]."""
        h = self.encoder(self._with(self.shrinking(x - self.mean).flatten(1), y))
        mean, log_variance = h.float().chunk(2, 1)
        return mean, log_variance.clamp(-WIDEST, WIDEST)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes [B, L] -> logits [B, C, H, W]."""
        return self.growing(self.decoder(self._with(z, y)).view(-1, *self.small)) + self.mean.logit()

    def _with(self, h: Tensor, y: Tensor | None) -> Tensor:
        return h if y is None else torch.cat([h, y.to(h.dtype)], 1)

    def weights(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x, z) - log q(z | x) [B, K] of codes that standard normal noise [B, K, L] makes."""
        mean, log_variance = self.encode(x, y)
        z = mean[:, None] + (log_variance / 2).exp()[:, None] * noise
        prior = -0.5 * (z.square() + LOG_2PI).sum(2)
        guess = -0.5 * (noise.square() + LOG_2PI + log_variance[:, None]).sum(2)
        return self.given(x, z, y) + prior - guess

    def given(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x | z) [B, K] of codes [B, K, L]."""
        b, k, _ = z.shape
        logits = (
            self.decode(z.flatten(0, 1), None if y is None else y.repeat_interleave(k, 0)).float().reshape(b, k, -1)
        )
        with torch.autocast(x.device.type, enabled=False):  # a sum of hundreds in half precision is off by a nat
            drawn = torch.bmm(logits, x.float().reshape(b, -1, 1))[:, :, 0]
        return drawn - F.softplus(logits).sum(2)

    def bound(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(lower bound of log p(x), the divergence in it) [B] each; of one draw the divergence is exact, not drawn."""
        mean, log_variance = self.encode(x, y)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        if noise.shape[1] > 1:
            return self.weights(x, noise, y).logsumexp(1) - math.log(noise.shape[1]), divergence
        z = mean[:, None] + (log_variance / 2).exp()[:, None] * noise
        return self.given(x, z, y)[:, 0] - divergence, divergence

    def classes(self, n: int, device: torch.device) -> list[Tensor | None]:
        """One-hot labels [n, N] of each class in turn; [None] where no class is told."""
        eye = torch.eye(self.told, device=device)
        return [row.expand(n, -1) for row in eye] or [None]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] in [0, 1] -> minus the bound of its black-and-white copy, in nats [B]."""
        return -(self.bounds(x).logsumexp(1) - math.log(max(1, self.told)))

    def bounds(self, x: Tensor) -> Tensor:
        """The bound under each class [B, N], or [B, 1]."""
        key = own_key(x)
        black = own_ink(x, key)
        u = chance.uniform(key, self.config.latent, NOISE).clamp(2**-25, 1 - 2**-25)
        noise = torch.special.ndtri(u)[:, None]
        return torch.stack([self.bound(black, noise, y)[0] for y in self.classes(x.shape[0], x.device)], 1)

    def draw(self, n: int, label: Tensor | None = None, *, walk: int = 0) -> Iterator[Tensor]:
        """n pictures of probabilities; `walk` frames on the way to them from others. Raises UserError for classes that it
        was not told of."""
        if label is not None and not self.told:
            raise UserError(
                "this model was told no classes; train one with --set conditional=true, or leave --class out"
            )
        device = next(self.parameters()).device
        y = F.one_hot(label, self.told).float() if label is not None else None
        if self.told and y is None:
            y = F.one_hot(torch.arange(n, device=device) % self.told, self.told).float()
        for code in codes.turned(torch.randn(n, self.config.latent, device=device), walk):
            yield self.decode(code, y).sigmoid()

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """x [B, C, H, W] -> reconstructions, walks between the codes of rows, and the plane of codes of two numbers."""
        black = own_ink(x, own_key(x))
        y = F.one_hot(self.bounds(x).argmax(1), self.told).float() if self.told else None
        mean, _ = self.encode(black, y)
        found = {
            "Rows in black and white and their reconstructions": codes.side_by_side(
                black, self.decode(mean, y).sigmoid()
            )[:32],
            "Rows at the places of their codes": codes.placed(x, mean),
        }
        if y is None:
            found["Walks between the codes of two rows"] = self.decode(codes.between(mean)).sigmoid()
        if y is None and mean.shape[1] == 2:
            shares = codes.lattice(mean.new_full((2,), 0.02), mean.new_full((2,), 0.98))
            found["What the codes stand for"] = self.decode(torch.special.ndtri(shares)).sigmoid()
        return found


def own_key(x: Tensor) -> Tensor:
    """int64 [B] that a row's bytes alone decide."""
    values = (x.flatten(1) * 255).round().long()
    places = chance.mix(torch.arange(values.shape[1], device=x.device), INK)
    return (values * places).sum(1)


def own_ink(x: Tensor, key: Tensor) -> Tensor:
    """x [B, …] in [0, 1] -> 0 or 1, drawn by each row's key."""
    u = chance.uniform(key, x[0].numel(), INK).view(x.shape)
    return (u < x).to(x.dtype)


@torch.no_grad()
def likelihood(model: VAE, x: Tensor, k: int = 5000) -> Tensor:
    """log p(x) [B] in nats of black and white rows x [B, C, H, W], by importance sampling with k codes each.

    A lower bound in expectation, within some hundredths of a nat at k = 5,000 (Burda et al. 2016); draws under a fixed seed.
    """
    assert not model.told, "the likelihood of a conditional model is that of a class"
    generator = chance.generator(SAMPLED, device=x.device)
    rows = max(1, PIECE // k)
    found = []
    for part in x.split(rows):
        total = part.new_full((len(part),), -math.inf)
        for begin in range(0, k, PIECE):
            size = (len(part), min(PIECE, k - begin), model.config.latent)
            noise = torch.randn(size, generator=generator, device=x.device)
            total = torch.logaddexp(total, model.weights(part, noise).logsumexp(1))
        found.append(total - math.log(k))
    return torch.cat(found)


class Bound(Objective):
    """Minus the bound on freshly drawn black-and-white copies of the rows, of `samples` codes each."""

    noisy = True

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    @torch.no_grad()
    def enter(self, model: Any, source: Source) -> None:
        if (model.mean != 0.5).any():  # given weights keep theirs
            return
        x = source.batch(At(0, min(MEAN_ROWS, source.rows)))["x"]
        model.mean.copy_(x.float().mean(0).clamp(LEAST, 1 - LEAST))

    def forward(self, model: Any, batch: Batch, step: Tensor) -> Loss:
        x = chance.bernoulli(batch["x"])
        y = batch["y"] if model.told else None
        if y is not None and not y.is_floating_point():  # mixed-up rows have shares of classes already
            y = F.one_hot(y, model.told)
        noise = torch.randn(len(x), self.samples, model.config.latent, device=x.device)
        bound, divergence = model.bound(x, noise, y)
        return Loss({"loss": -bound.sum()}, {"divergence": divergence.detach().mean()})


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Of the objective."""

    samples: int = 1
    """Codes per row; above 1 the bound is weighted by importance."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"samples={self.samples} is no number of draws; write it like samples=5")


CAN = ["condition", "draw", "views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """One cycle; raises UserError for data without pictures, and for conditional=true without classes."""
    check_reads("vae", data, "image")
    picture, target = data.fields[data.input], data.fields[data.target]
    assert isinstance(picture, Image)
    shape = (picture.channels, picture.height, picture.width)
    net = Config(shape=shape, classes=len(target.names) if isinstance(target, Category) else 0)
    how = Training(epochs=60, batch_size=128, lr=1.5e-3, schedule="one-cycle")
    if len(data.splits["train"]) < 10_000:
        net, how = replace(net, latent=16), replace(how, steps=5000, batch_size=64)
    net, how, draws = settle(choices, net, how, Draws(), given=("shape", "classes"))
    if net.conditional and not net.classes:
        raise UserError(f"{data.name} has no classes to be told of; leave conditional out")
    task = Score.of(data, {"bound": False}, "unit", conditional=net.conditional, can=CAN)
    return unlabelled(data, net, how, task, lambda model: Bound(draws.samples))


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 30, "batch_size": 32, "hidden": (64,), "latent": 8, "lr": 3e-3}


SIZES = ((Config(hidden=(200, 200), activation="tanh"), 425_284),)
REFERENCES = (
    {"data": "mnist", "metric": "bound", "published": None, "target": 91.0, "source": ""},
)  # fmt: skip
