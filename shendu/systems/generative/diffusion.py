"""Diffusion (2020): pictures out of noise, by learning to take it away.

Noise is added to a picture in many small steps until nothing else is left. A network learns the way back from any of them: it
sees a noisy picture and the time, and says what was added. Followed from pure noise to time 0, the way back draws what was
never seen. What it says without a class and with one can be drawn apart (guidance), and a picture whose one half is put back
at every step gets its other half filled in.

J. Ho, A. Jain, P. Abbeel: Denoising diffusion probabilistic models. NeurIPS 2020 (arXiv:2006.11239). J. Song, C. Meng, S. Ermon:
Denoising diffusion implicit models. ICLR 2021 (few steps: sampler=ddim). A. Nichol, P. Dhariwal: Improved denoising diffusion
probabilistic models. ICML 2021 (process=cosine). T. Salimans, J. Ho: Progressive distillation. ICLR 2022 (predicts=v). J. Ho,
T. Salimans: Classifier-free diffusion guidance. 2022 (arXiv:2207.12598). X. Liu, C. Gong, Q. Liu: Flow straight and fast.
ICLR 2023 (process=flow, first round). A. Lugmayr et al.: RePaint. CVPR 2022 (inpaint).

Deviations: (1) the first layer sees squares of 2x2 pixels as one, so that nothing is computed at full size, where the paper has
four resolutions and 36 million weights; (2) a norm over the maps of each place (LayerNorm); the paper: GroupNorm, four times as
slow in training on a processor; (3) what skips the lower levels is added; the paper: concatenated; (4) time and class
scale and shift the maps (Nichol & Dhariwal); the paper: shift; (5) the times of a batch are spread evenly from a random
beginning (Kingma et al. 2021, appendix I.1), which lowers the variance of the loss; (6) a cosine process, v, EMA 0.999 and
one-cycle; the paper: process=linear, predicts=eps, 0.9999 and a constant rate; (7) drawing holds the predicted picture within
[-1, 1] in every step, as the paper's program does and its text does not; (8) the flow has 1000 times too, and is learned once.

Shape letters: B rows, N rows drawn, C channels, H, W picture, T times, K classes, M maps, E numbers of an embedding.
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
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn import codes
from shendu.recipes import Training, check_reads, unlabelled
from shendu.tasks.score import Score

SCORE = "denoising-error"
PROBES = (0.125, 0.375, 0.625, 0.875)
"""Shares of the time at which a row's error is measured."""
NOISE = 20200619
"""Key of the noise that rows are measured with."""
HEAD = 32
"""Maps of one head of attention."""
STEPS = 25
"""Steps of drawing, if nothing else is said."""
SEEN = 14
"""Places a side that the first level should have."""
PRESENTED = 660_000
"""Pictures that are shown in a training, whatever the set's size; in 12 to 400 passes."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`maps` of each level, half as wide as the one before; `patch` pixels a side are one place of the first.

    `process` says how pictures turn into noise in `times` steps, `predicts` what the network answers with: velocity,
    noise or picture. conditional=false leaves the classes out.
    """

    channels: int = 1
    height: int = 28
    width: int = 28
    classes: int = 0
    conditional: bool = True
    maps: tuple[int, ...] = (32, 64)
    blocks: int = 1
    patch: int = 2
    process: Literal["cosine", "linear", "flow"] = "cosine"
    predicts: Literal["v", "eps", "x"] = "v"
    times: int = 1000

    def __post_init__(self) -> None:
        for name, right, like in (
            ("maps", self.maps and min(self.maps) >= 1, "32,64"), ("blocks", self.blocks >= 1, "1"),
            ("patch", self.patch >= 1, "2"), ("times", self.times >= STEPS, "1000"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")
        if self.process == "flow" and self.predicts == "eps":
            raise UserError(
                "the noise does not say what the picture is where a flow begins; use predicts=v with process=flow"
            )

    def build(self) -> nn.Module:
        return Diffusion(self)


# ---- the process: what is closed form --------------------------------------------------------------------------------


def schedule(kind: str, times: int) -> tuple[Tensor, Tensor]:
    """(alpha, sigma), float64 [T+1]: a picture x is alpha_t x + sigma_t noise at time t; at 0 it is itself."""
    share = torch.linspace(0, 1, times + 1, dtype=torch.float64)
    if kind == "flow":
        return 1 - share, share
    if kind == "linear":
        beta = torch.linspace(1e-4, 0.02, times, dtype=torch.float64) * (1000 / times)
    else:
        kept = torch.cos((share + 0.008) / 1.008 * math.pi / 2).square()
        beta = 1 - kept[1:] / kept[:-1]
    squared = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta.clamp(max=0.999)).cumprod(0)])
    return squared.sqrt(), (1 - squared).sqrt()


class Process(nn.Module):
    """How pictures turn into noise, and the algebra between picture x, noise e and velocity v at a time.

    Picture and noise make (z, v) = ((alpha, sigma), (-b, a)) (x, e): z is what is seen. With b, a = sigma, alpha that is a
    turn of the plane (Salimans & Ho), with b = a = 1 the flow's e - x; either way its determinant is 1.
    """

    table: Tensor

    def __init__(self, kind: str, times: int) -> None:
        super().__init__()
        alpha, sigma = schedule(kind, times)
        ones = torch.ones_like(alpha)
        a, b = (ones, ones) if kind == "flow" else (alpha, sigma)
        self.times, self.alpha, self.sigma = times, alpha.tolist(), sigma.tolist()
        self.register_buffer("table", torch.stack([alpha, sigma, a, b]).float(), persistent=False)

    def at(self, t: Tensor) -> tuple[Tensor, ...]:
        """alpha, sigma, a, b of times int64 [B], each [B, 1, 1, 1]."""
        return self.table[:, t, None, None, None].unbind()

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z: pictures [B, C, H, W] at times [B]."""
        alpha, sigma, _, _ = self.at(t)
        return alpha * x + sigma * noise

    def answer(self, x: Tensor, noise: Tensor, t: Tensor, predicts: str) -> Tensor:
        """What a perfect network would say."""
        _, _, a, b = self.at(t)
        return {"v": a * noise - b * x, "eps": noise, "x": x}[predicts]

    def solved(self, z: Tensor, answer: Tensor, t: Tensor, predicts: str) -> tuple[Tensor, Tensor]:
        """(picture, noise) that z and an answer amount to."""
        alpha, sigma, a, b = self.at(t)
        if predicts == "v":
            return a * z - sigma * answer, b * z + alpha * answer
        if predicts == "eps":
            return (z - sigma * answer) / alpha, answer
        return answer, (z - alpha * answer) / sigma

    def step(self, x: Tensor, noise: Tensor, t: int, s: int, eta: float = 0.0, fresh: Tensor | None = None) -> Tensor:
        """From time t to the earlier s, given the picture and the noise (DDIM, equation 12).

        eta=1 is a draw from the posterior q(z_s | z_t, x), the step of DDPM; 0 draws nothing. `fresh` is the noise of the
        draw (else from the global generator).
        """
        alpha, sigma = self.alpha[s], self.sigma[s]
        drawn = eta * math.sqrt(self.spread(t, s))
        mean = alpha * x + math.sqrt(max(sigma * sigma - drawn * drawn, 0.0)) * noise
        if not drawn:
            return mean
        return mean + drawn * (torch.randn_like(x) if fresh is None else fresh)

    def spread(self, t: int, s: int) -> float:
        """The variance of q(z_s | z_t, x)."""
        return self.sigma[s] ** 2 * self.added(t, s) / self.sigma[t] ** 2

    def added(self, t: int, s: int) -> float:
        """The variance of q(z_t | z_s): what is added between s and the later t."""
        return max(self.sigma[t] ** 2 - (self.alpha[t] / self.alpha[s]) ** 2 * self.sigma[s] ** 2, 0.0)

    def renoised(self, z: Tensor, s: int, t: int) -> Tensor:
        """A draw from q(z_t | z_s): from time s to the later t."""
        return self.alpha[t] / self.alpha[s] * z + math.sqrt(self.added(t, s)) * torch.randn_like(z)


# ---- the network -----------------------------------------------------------------------------------------------------


class Norm(nn.LayerNorm):
    """The maps of each place at mean 0 and deviation 1, [B, M, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that says nothing yet, so that a block begins as the identity."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """Norm, SiLU and a 3x3 convolution, twice; time and class scale and shift what is in between."""

    def __init__(self, maps: int, embedded: int) -> None:
        super().__init__()
        self.first = nn.Sequential(Norm(maps), nn.SiLU(), nn.Conv2d(maps, maps, 3, padding=1))
        self.adapt = nn.Linear(embedded, 2 * maps)
        self.norm = Norm(maps, elementwise_affine=False)
        self.second = nn.Sequential(nn.SiLU(), zeroed(nn.Conv2d(maps, maps, 3, padding=1)))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.adapt(e)[:, :, None, None].chunk(2, 1)
        return x + self.second(self.norm(self.first(x)) * (1 + scale) + shift)


class Attention(nn.Module):
    """Every place looks at every other."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.heads = max(1, maps // HEAD) if maps % HEAD == 0 else 1
        self.norm = Norm(maps)
        self.ask = nn.Conv2d(maps, 3 * maps, 1)
        self.tell = zeroed(nn.Conv2d(maps, maps, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, m, h, w = x.shape
        asked = self.ask(self.norm(x)).permute(0, 2, 3, 1).reshape(b, h * w, 3, self.heads, m // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind()
        weights = (query @ key.transpose(2, 3) / math.sqrt(m // self.heads)).softmax(-1)
        found = (
            weights @ value
        )  # written out: the way back of torch's own takes six times as long in bf16 on a processor
        return x + self.tell(found.transpose(1, 2).reshape(b, h, w, m).permute(0, 3, 1, 2))


class UNet(nn.Module):
    """Down to few places, attention there, and up again; each level's maps are added to what comes back to it."""

    frequencies: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        first, embedded = config.maps[0], 4 * config.maps[0]
        self.patch, self.multiple = config.patch, config.patch * 2 ** (len(config.maps) - 1)
        pixels = config.channels * config.patch**2
        half = max(2, first)
        spread = torch.exp(torch.linspace(0, -math.log(10_000), half)) * (1000 / config.times)
        self.register_buffer("frequencies", spread, persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * half, embedded), nn.SiLU(), nn.Linear(embedded, embedded))
        self.label = nn.Embedding(config.classes + 1, embedded)
        self.enter = nn.Conv2d(pixels, first, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for upper, lower in pairwise(config.maps):
            for side in (self.down, self.up):
                side.append(nn.ModuleList(Residual(upper, embedded) for _ in range(config.blocks)))
            self.shrink.append(nn.Conv2d(upper, lower, 3, stride=2, padding=1))
            self.grow.append(nn.Sequential(nn.Conv2d(lower, 4 * upper, 1), nn.PixelShuffle(2)))
        low = config.maps[-1]
        self.before, self.after = (
            nn.ModuleList(Residual(low, embedded) for _ in range(config.blocks)) for _ in range(2)
        )
        self.attention = Attention(low)
        self.leave = nn.Sequential(Norm(first), nn.SiLU(), zeroed(nn.Conv2d(first, pixels, 3, padding=1)))

    def forward(self, z: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """Noisy pictures [B, C, H, W], times and labels int64 [B] (K: none) -> answers [B, C, H, W]."""
        e = self.embedded(t, label)
        height, width = z.shape[-2:]
        padded = F.pad(z, (0, -width % self.multiple, 0, -height % self.multiple))
        h = self.enter(F.pixel_unshuffle(padded, self.patch))
        kept = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            h = through(blocks, h, e)
            kept.append(h)
            h = shrink(h)
        h = through(self.after, self.attention(through(self.before, h, e)), e)
        for blocks, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            h = through(blocks, grow(h) + kept.pop(), e)
        return F.pixel_shuffle(self.leave(h), self.patch)[..., :height, :width]

    def embedded(self, t: Tensor, label: Tensor) -> Tensor:
        """Times and labels [B] -> [B, E]."""
        angles = t[:, None] * self.frequencies
        return F.silu(self.time(torch.cat([angles.cos(), angles.sin()], 1)) + self.label(label))


def through(blocks: Any, h: Tensor, e: Tensor) -> Tensor:
    for block in blocks:
        h = block(h, e)
    return h


# ---- drawing ---------------------------------------------------------------------------------------------------------


class Diffusion(nn.Module):
    """The network and its process; in eval mode a row's figure is its error at fixed times under fixed noise."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.process = Process(config.process, config.times)
        self.network = UNet(config)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [B, C, H, W] -> mean squared error of the velocity [B], told no class; 1 is about what knows nothing."""
        shape, total = x.shape[1:], x.new_zeros(x.shape[0])
        for share in PROBES:
            at = max(1, round(share * self.config.times))
            t = torch.full((x.shape[0],), at, device=x.device)
            noise = torch.randn(shape, generator=chance.generator(NOISE, at)).to(x).expand_as(x)
            z = self.process.noised(x, noise, t)
            seen = self.process.solved(z, self.answer(z, t, self.unlabelled(t)), t, self.config.predicts)
            wrong = self.process.answer(*seen, t, "v") - self.process.answer(x, noise, t, "v")
            total = total + wrong.float().square().flatten(1).mean(1)
        return total / len(PROBES)

    def answer(self, z: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return self.network(z, t, label)

    def unlabelled(self, like: Tensor) -> Tensor:
        """The label that stands for none, as often as `like` is long."""
        return torch.full((like.shape[0],), self.config.classes, device=like.device)

    def guided(self, z: Tensor, t: Tensor, label: Tensor | None, guidance: float) -> Tensor:
        """The answer, as much further from the one without a class as `guidance` says: 1 is the network's own."""
        none = self.unlabelled(t)
        if label is None or guidance == 1:
            return self.answer(z, t, none if label is None else label)
        both = self.answer(torch.cat([z, z]), torch.cat([t, t]), torch.cat([label, none]))
        with_class, without = both.chunk(2)
        return without + guidance * (with_class - without)

    def seen(self, z: Tensor, t: int, label: Tensor | None, guidance: float) -> tuple[Tensor, Tensor]:
        """(picture, noise) that the network sees in z [N, C, H, W] at time t; the picture within [-1, 1]."""
        at = torch.full((len(z),), t, device=z.device)
        picture, _ = self.process.solved(z, self.guided(z, at, label, guidance), at, self.config.predicts)
        picture = picture.clamp(-1, 1)
        return picture, (z - self.process.alpha[t] * picture) / self.process.sigma[t]

    def draw(
        self,
        n: int,
        label: Tensor | None = None,
        *,
        steps: int = STEPS,
        guidance: float = 1.5,
        sampler: Literal["ddim", "ddpm"] = "ddim",
        walk: int = 0,
    ) -> Iterator[Tensor]:
        """Frames [n, C, H, W] from noise to pictures, one per step; raises UserError.

        `guidance` above 1 follows the class more than the data do; sampler=ddpm draws fresh noise in every step. With `walk`
        so many frames are pictures of the noise on the way from one to another, at the cost of as many drawings.
        """
        label, eta = self.checked(label), 1.0 if sampler == "ddpm" else 0.0
        noise = torch.randn(n, self.config.channels, self.config.height, self.config.width, device=self.device)
        if not walk:
            yield from self.followed(noise, label, steps, guidance, eta)
            return
        for z in codes.turned(noise, walk):
            yield last(self.followed(z, label, steps, guidance, eta))

    def followed(
        self, z: Tensor, label: Tensor | None, steps: int = STEPS, guidance: float = 1.5, eta: float = 0.0
    ) -> Iterator[Tensor]:
        """The way from noise z [N, C, H, W] to pictures."""
        for t, s in pairwise(self.stops(steps)):
            z = self.process.step(*self.seen(z, t, label, guidance), t, s, eta)
            yield z

    def inpaint(
        self,
        x: Tensor,
        known: Tensor,
        label: Tensor | None = None,
        *,
        steps: int = STEPS,
        guidance: float = 1.5,
        repeats: int = 5,
    ) -> Iterator[Tensor]:
        """Frames of filling in what is not `known` (bool, like x [N, C, H, W]); raises UserError.

        Every step is gone `repeats` times, with noise added in between, so that what is drawn fits what was there.
        """
        label, z = self.checked(label), torch.randn_like(x)
        for t, s in pairwise(self.stops(steps)):
            for again in range(repeats if s else 1):
                if again:
                    z = self.process.renoised(z, s, t)
                z = self.process.step(*self.seen(z, t, label, guidance), t, s, eta=1.0)
                there = self.process.alpha[s] * x + self.process.sigma[s] * torch.randn_like(x)
                z = torch.where(known, there, z)
            yield z

    def stops(self, steps: int) -> list[int]:
        """Times from the last to 0, about equally far apart; raises UserError."""
        times = self.config.times
        if not 1 <= steps <= times:
            raise UserError(f"steps={steps} is not between 1 and {times}; write it like --set steps=25")
        return [round(times * (steps - i) / steps) for i in range(steps + 1)]

    def checked(self, label: Tensor | None) -> Tensor | None:
        """The classes to draw; raises UserError where there are none."""
        if label is not None and not self.config.classes:
            raise UserError("this model was trained without classes; leave --class out")
        return label

    @property
    def device(self) -> torch.device:
        return self.network.enter.weight.device

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """What is seen through noise, ways from one noise to another, of a class per row where there are any, halves drawn anew."""
        rows, label, side = x[:8], None, codes.side(self.config.classes)
        if self.config.classes:
            label = torch.arange(side, device=x.device) % self.config.classes
        denoised = []
        for t in self.stops(5)[1:-1]:
            z = self.process.noised(rows, torch.randn_like(rows), torch.full((len(rows),), t, device=x.device))
            denoised += [z, self.seen(z, t, None, 1.0)[0]]
        known = torch.zeros_like(rows, dtype=torch.bool)
        known[..., : rows.shape[-2] // 2, :] = True
        filled = last(self.inpaint(rows.repeat(7, 1, 1, 1), known.repeat(7, 1, 1, 1), repeats=3))
        return {
            "Noisy pictures of other rows, and what is seen in them at once": torch.cat(denoised),
            "From one noise to another" + (", a class per row" if self.config.classes else ""): last(
                self.followed(ways(x[:1], side), repeated(label, side))
            ),
            "The lower half drawn anew, seven times": torch.cat([torch.where(known, rows, -1.0), filled]),
        }


def repeated(label: Tensor | None, times: int) -> Tensor | None:
    return None if label is None else label.repeat_interleave(times)


def ways(like: Tensor, n: int) -> Tensor:
    """n ways of n steps between pairs of noises [n·n, C, H, W], on the sphere, where the noise of the middle is noise too."""
    begin, end = (torch.randn(n, 1, *like.shape[1:], device=like.device) for _ in range(2))
    angle = torch.linspace(0, math.pi / 2, n, device=like.device).view(1, n, 1, 1, 1)
    return (angle.cos() * begin + angle.sin() * end).flatten(0, 1)


def last(frames: Iterator[Tensor]) -> Tensor:
    *_, final = frames
    return final


# ---- learning --------------------------------------------------------------------------------------------------------


class Denoising(Objective):
    """The squared error of the network's answer (the paper's equation 14); a label is left out with probability `drop`."""

    noisy = True

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, Diffusion)
        x, process = batch["x"], model.process
        t, noise = spread(len(x), process.times, x.device), torch.randn_like(x)
        said = model.answer(process.noised(x, noise, t), t, self.labels(model, batch, t))
        wrong = said.float() - process.answer(x, noise, t, model.config.predicts)
        return Loss({"loss": wrong.square().flatten(1).mean(1).sum()})

    def labels(self, model: Diffusion, batch: Batch, t: Tensor) -> Tensor:
        """int64 [B]; of a blended row the class that it has most of."""
        none = model.unlabelled(t)
        if not model.config.classes:
            return none
        y = batch["y"].argmax(1) if batch["y"].is_floating_point() else batch["y"]
        return torch.where(torch.rand(len(y), device=y.device) < self.drop, none, y)


def spread(rows: int, times: int, device: torch.device) -> Tensor:
    """Times 1 … T, int64 [rows]: each equally likely, and together evenly spread."""
    share = (torch.rand((), device=device) + torch.arange(rows, device=device) / rows) % 1
    return (share * times).long().clamp(max=times - 1) + 1


@dataclass(frozen=True, kw_only=True)
class Dropping:
    """`label_dropout` is the share of rows that are learned without their class, for guidance."""

    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.label_dropout <= 1:
            raise UserError(f"label_dropout={self.label_dropout} is no share; write it like label_dropout=0.1")


CAN = ["condition", "draw", "inpaint", "views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures."""
    check_reads("diffusion", data, "image")
    picture, target = data.fields[data.input], data.fields[data.target]
    assert isinstance(picture, Image)
    side, rows = max(picture.height, picture.width), len(data.splits["train"])
    net = Config(
        channels=picture.channels, height=picture.height, width=picture.width,
        classes=len(target.names) if isinstance(target, Category) else 0,
        patch=2 ** max(1, round(math.log2(max(1, side) / SEEN))),
    )  # fmt: skip
    how = Training(
        epochs=min(400, max(12, round(PRESENTED / rows))), batch_size=64, lr=1.5e-3, schedule="one-cycle", clip=1.0,
        ema=0.999, validations=6,
    )  # fmt: skip
    net, how, dropping = settle(choices, net, how, Dropping(), given=("channels", "height", "width", "classes"))
    task = Score.of(data, {SCORE: False}, "signed", conditional=net.conditional, can=CAN)
    if not net.conditional:
        net = replace(net, classes=0)
    return unlabelled(data, net, how, task, lambda model: Denoising(dropping.label_dropout))


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 24, "batch_size": 32, "maps": (8, 16), "times": 100}


REFERENCES = (
    {"data": "mnist", "metric": SCORE, "published": None, "target": 0.125, "source": ""},
    {"data": "fashion-mnist", "metric": SCORE, "published": None, "target": 0.22, "source": ""},
    {"data": "mnist", "metric": SCORE, "choices": {"process": "flow"}, "published": None, "target": 0.30, "source": ""},
)  # fmt: skip
