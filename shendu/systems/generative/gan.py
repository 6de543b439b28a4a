"""GAN (2014): two players, one who draws and one who judges, learn from each other.

The generator turns random codes into pictures; the discriminator tells them from real ones. Each learns from the other's
success, and where neither can improve, the drawn pictures are distributed as the real ones are. Nothing is ever compared
pixel by pixel, so what is drawn is sharp. What can go wrong is that the generator finds one picture that passes and draws
nothing else: the log's `diversity` then falls to 0, and the run says so.

I. Goodfellow et al.: Generative adversarial nets. NeurIPS 2014 (arXiv:1406.2661). M. Mirza, S. Osindero: Conditional generative
adversarial nets. 2014 (arXiv:1411.1784). A. Radford, L. Metz, S. Chintala: DCGAN. ICLR 2016 (arXiv:1511.06434). I. Gulrajani et
al.: Improved training of Wasserstein GANs. NeurIPS 2017 (form=wgan-gp). L. Mescheder, A. Geiger, S. Nowozin: Which training
methods for GANs do actually converge? ICML 2018 (the penalty R1).

Both players step together: one scalar holds both losses, in which the discriminator sees the generator's pictures as if they
were data, and the generator looks through a discriminator that stands still, so that each player's gradient is its own.

Deviations: (1) players take a step each at once, 2014: k of the discriminator, then one of the generator, 2017: five; the
discriminator's rate can be higher instead (`ahead`; Heusel et al. 2017), and is so with form=wgan-gp; (2) the generator's loss
is the non-saturating one that 2014 recommends in passing; (3) of DCGAN's norms the discriminator keeps none and the generator
GroupNorm, so that the rows of a batch do not affect each other; (4) the discriminator gives each class a last layer of its own
beside the shared one (Miyato & Koyama 2018); 2014: the class joins its input; (5) penalties are computed on a quarter of each
batch; (6) the weights that are kept are averaged over the steps (Karras et al. 2018), and the rate falls along a cosine.

Shape letters: B rows, N rows drawn, Z a code's numbers, C channels, H, W picture, K classes, P probes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance, optim
from shendu.config import settle
from shendu.core import Batch, Groups, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn import codes
from shendu.recipes import Training, check_own_loss, check_reads, recipe_of, stage
from shendu.tasks.score import Score

SCORE = "energy-score"
PROBES, CODES = 512, 20140610
"""Pictures that rows are compared with, and the key of their codes."""
SHARE = 4
"""One row of so many is penalised."""
BASE = 4
"""Places a side, at least, where the generator begins."""
OF_LATE = 0.02
"""The weight of a step in the running mean of its diversity."""
COLLAPSED = 0.1
"""Pictures of one class that differ by less than this share of what real ones do are all the same."""
PRESENTED = 900_000
"""Pictures that are shown in a training, whatever the set's size; in 16 to 400 passes."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`maps` of the largest layer, twice as many at each of `halvings`; `latent` are a code's numbers.

    `r1` weighs the penalty of form=non-saturating, `penalty` that of form=wgan-gp. conditional=false leaves classes out.
    """

    channels: int = 1
    height: int = 28
    width: int = 28
    classes: int = 0
    conditional: bool = True
    latent: int = 64
    maps: int = 32
    halvings: int = 2
    form: Literal["non-saturating", "wgan-gp"] = "non-saturating"
    r1: float = 1.0
    penalty: float = 10.0

    def __post_init__(self) -> None:
        for name, right, like in (
            ("latent", self.latent >= 1, "64"), ("maps", self.maps >= 1, "32"), ("halvings", 1 <= self.halvings <= 8, "2"),
            ("r1", 0 <= self.r1 < math.inf, "1"), ("penalty", 0 <= self.penalty < math.inf, "10"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")

    def build(self) -> nn.Module:
        return GAN(self)


# ---- the players -----------------------------------------------------------------------------------------------------


def begun(module: nn.Module) -> None:
    """He et al.'s weights for leaky rectifiers, zero biases."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, 0.2)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """A code becomes a few places of many maps; each layer doubles the places and halves the maps."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        scale, top = 2**config.halvings, config.maps * 2 ** (config.halvings - 1)
        self.height, self.width, self.classes = config.height, config.width, config.classes
        self.base = (top, -(-config.height // scale), -(-config.width // scale))
        self.label = nn.Embedding(config.classes, config.latent) if config.classes else None
        self.first = nn.Linear(config.latent * (1 + bool(config.classes)), math.prod(self.base))
        self.layers = nn.Sequential()
        for maps in (top // 2**i for i in range(config.halvings - 1)):
            self.layers.extend([norm(maps), nn.ReLU(), nn.ConvTranspose2d(maps, maps // 2, 4, 2, 1)])
        self.layers.extend(
            [norm(config.maps), nn.ReLU(), nn.ConvTranspose2d(config.maps, config.channels, 4, 2, 1), nn.Tanh()]
        )
        self.apply(begun)

    def forward(self, code: Tensor, label: Tensor | None) -> Tensor:
        """Codes [N, Z], labels int64 [N] -> pictures [N, C, H, W] in [-1, 1]."""
        if self.label is not None:
            assert label is not None
            code = torch.cat([code, self.label(label)], 1)
        h = self.first(code).view(len(code), *self.base).contiguous(memory_format=torch.channels_last)
        return self.layers(h)[..., : self.height, : self.width]


def norm(maps: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, maps), maps)


class Discriminator(nn.Module):
    """Strided convolutions, and a linear layer for all pictures plus one for those of each class."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.multiple, entering = 2**config.halvings, config.channels
        self.layers = nn.Sequential()
        for maps in (config.maps * 2**i for i in range(config.halvings)):
            self.layers.extend([nn.Conv2d(entering, maps, 4, 2, 1), nn.LeakyReLU(0.2)])
            entering = maps
        places = -(-config.height // self.multiple) * -(-config.width // self.multiple)
        self.score = nn.Linear(entering * places, 1 + config.classes)
        self.apply(begun)
        nn.init.normal_(self.score.weight, std=(entering * places) ** -0.5)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Pictures [B, C, H, W], labels int64 [B] -> how real they look [B]."""
        height, width = x.shape[-2:]
        scores = self.score(self.layers(F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))).flatten(1))
        if label is None:
            return scores[:, 0]
        return scores[:, 0] + scores.gather(1, label[:, None] + 1)[:, 0]


class GAN(nn.Module):
    """Both players; a row's figure is its energy score under pictures of fixed codes."""

    varied: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("varied", torch.tensor(1.0))
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [B, C, H, W] -> energy scores [B], E|x - g| - E|g - g'| / 2 over drawn g, per root of the pixels.

        Its mean is least where the drawn pictures are distributed as the rows are (Gneiting & Raftery 2007, section 4.3):
        a generator that always draws the same is told by the second term.
        """
        drawn = self.drawn(PROBES).flatten(1).float()
        apart = torch.cdist(drawn, drawn).sum() / (PROBES * (PROBES - 1))
        return (torch.cdist(x.flatten(1).float(), drawn).mean(1) - apart / 2) / math.sqrt(drawn.shape[1])

    def drawn(self, n: int) -> Tensor:
        """Pictures [n, C, H, W] of fixed codes, each class in turn."""
        code = torch.randn(n, self.config.latent, generator=chance.generator(CODES)).to(self.device)
        label = torch.arange(n, device=self.device) % self.config.classes if self.config.classes else None
        return self.generator(code, label)

    def draw(self, n: int, label: Tensor | None = None, *, walk: int = 0) -> Iterator[Tensor]:
        """n pictures [n, C, H, W]; `walk` frames on the way to them from others. Raises UserError."""
        if label is not None and not self.config.classes:
            raise UserError("this model was trained without classes; leave --class out")
        if label is None and self.config.classes:
            label = torch.arange(n, device=self.device) % self.config.classes
        for code in codes.turned(torch.randn(n, self.config.latent, device=self.device), walk):
            yield self.generator(code, label)

    def warning(self) -> str:
        """A collapse, in words: by the diversity of late, as it is logged."""
        if float(self.varied) >= COLLAPSED:
            return ""
        return (
            f"the generator has collapsed: its pictures of a class differ by less than {COLLAPSED:.0%} of what real ones differ "
            "by, so it draws the same again and again; train anew with another seed, a smaller lr, r1=10 or form=wgan-gp"
        )

    def remark(self) -> str:
        """How varied the pictures are, in words."""
        said = f"pictures of a class differ by {float(self.varied):.0%} of what real ones differ by"
        return self.warning() or said

    @property
    def device(self) -> torch.device:
        return self.generator.first.weight.device

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """Squares of eight rows or a row per class: ways from one code to another, the same codes as every class; and a
        collapse, in words."""
        side = codes.side(self.config.classes)
        label = torch.arange(side, device=x.device) % self.config.classes if self.config.classes else None
        begin, end = (torch.randn(side, 1, self.config.latent, device=x.device) for _ in range(2))
        angle = torch.linspace(0, math.pi / 2, side, device=x.device).view(1, side, 1)
        between = (angle.cos() * begin + angle.sin() * end).flatten(0, 1)
        rows = None if label is None else label.repeat_interleave(side)
        same = rows if rows is not None else torch.zeros(side * side, dtype=torch.int64, device=x.device)
        drawn = self.generator(torch.randn(side * side, self.config.latent, device=x.device), rows)
        found = float(diversity(drawn, x, same, None))
        said = f"Drawn of one class each: pictures of a class differ by {found:.0%} of what real rows differ by"
        shown = {
            said + (" (collapsed: the same again and again)" if found < COLLAPSED else ""): drawn,
            "From one code to another": self.generator(between, rows),
        }
        if rows is not None:
            code = torch.randn(side, self.config.latent, device=x.device).repeat(side, 1)
            shown["The same codes as every class, a class per row"] = self.generator(code, rows)
        return shown


def diversity(drawn: Tensor, real: Tensor, labels: Tensor | None, theirs: Tensor | None) -> Tensor:
    """How much drawn pictures of one class differ, in units of how much real ones do: 1 is right, 0 a collapse."""
    return apart(drawn, labels) / apart(real, theirs).clamp(min=1e-6)


def apart(x: Tensor, labels: Tensor | None) -> Tensor:
    """The mean distance of neighbouring rows [B, C, H, W], of those of one class where labels [B] are given and any agree."""
    order = torch.arange(len(x), device=x.device) if labels is None else labels.argsort(stable=True)
    rows = x.detach().flatten(1)[order].float()
    distance = (rows[1:] - rows[:-1]).norm(dim=1)
    if labels is None:
        return distance.mean()
    alike = labels[order][1:] == labels[order][:-1]
    alike = (alike | ~alike.any()).float()  # no two of one class: all neighbours
    return (distance * alike).sum() / alike.sum()


# ---- learning --------------------------------------------------------------------------------------------------------


class Adversarial(Objective):
    """Both players' losses as one sum, whose gradient is each player's own."""

    surrogate = True
    noisy = True

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        rows = len(batch["x"])
        return {"discriminator": rows, "generator": rows, "smoothness": penalised(rows)}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, GAN)
        real, label = batch["x"], self.labels(model, batch)
        drawn = model.generator(torch.randn(len(real), model.config.latent, device=real.device), label)
        on_real, on_drawn = judged(model.discriminator, real, drawn.detach(), label)
        through = torch.func.functional_call(model.discriminator, still(model.discriminator), (drawn, label))
        few = slice(penalised(len(real)))
        of_few = None if label is None else label[few]
        if model.config.form == "wgan-gp":
            discriminator, generator = on_drawn - on_real, -through
            smoothness = model.config.penalty * self.lipschitz(model, real[few], drawn[few].detach(), of_few)
        else:
            discriminator, generator = F.softplus(on_drawn) + F.softplus(-on_real), F.softplus(-through)
            smoothness = model.config.r1 / 2 * slope(model.discriminator, real[few], of_few).square().sum(1)
        sums = {"discriminator": discriminator.sum(), "generator": generator.sum(), "smoothness": smoothness.sum()}
        logs = {
            name: value.detach().mean() for name, value in (("generator", generator), ("discriminator", discriminator))
        }
        varied = diversity(drawn, real, label, label)
        model.varied.lerp_(varied, OF_LATE)
        return Loss(sums, {**logs, "diversity": varied})

    def warning(self, model: nn.Module) -> str:
        assert isinstance(model, GAN)
        return model.warning()

    def labels(self, model: GAN, batch: Batch) -> Tensor | None:
        """int64 [B]; of a blended row the class that it has most of."""
        if not model.config.classes:
            return None
        return batch["y"].argmax(1) if batch["y"].is_floating_point() else batch["y"]

    def lipschitz(self, model: GAN, real: Tensor, drawn: Tensor, label: Tensor | None) -> Tensor:
        """(|slope| - 1)² [B] at random places between real and drawn pictures."""
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        return (
            slope(model.discriminator, torch.lerp(drawn.to(real.dtype), real, share), label).norm(dim=1) - 1
        ).square()


def penalised(rows: int) -> int:
    """How many of a batch's rows are penalised: they are in random order, so the first do."""
    return max(1, rows // SHARE)


def judged(discriminator: nn.Module, real: Tensor, drawn: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores [B] of real and of drawn pictures of the same classes."""
    scores = discriminator(torch.cat([real, drawn]), None if label is None else torch.cat([label, label]))
    on_real, on_drawn = scores.float().chunk(2)
    return on_real, on_drawn


def still(player: nn.Module) -> dict[str, Tensor]:
    """A player's weights without a gradient, for the other one to look through."""
    return {name: p.detach() for name, p in player.named_parameters()}


def slope(discriminator: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    """The gradient of each picture's score by its pixels [B, C·H·W], itself differentiable by the weights."""
    scores, pulled = torch.func.vjp(lambda pictures: discriminator(pictures, label).float(), x)[:2]
    return pulled(torch.ones_like(scores))[0].flatten(1)


@dataclass(frozen=True, kw_only=True)
class Players:
    """`betas` are Adam's; `ahead` is the discriminator's learning rate in units of the generator's."""

    betas: tuple[float, float] = (0.5, 0.999)
    ahead: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.ahead < math.inf:
            raise UserError(f"ahead={self.ahead} is not above 0; write it like ahead=4")

    def optimizer(self, how: Training) -> Callable[[Groups], torch.optim.Optimizer]:
        named = optim.optimizer(
            how.optimizer, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay, betas=self.betas
        )

        def build(groups: Groups) -> torch.optim.Optimizer:
            built = named(groups)
            for group in built.param_groups:
                if group["name"] == "discriminator":
                    group["lr"] = group["initial_lr"] = self.ahead * group["initial_lr"]
            return built

        return build


CAN = ["condition", "draw", "remark", "views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Raises UserError for data without pictures."""
    check_reads("gan", data, "image")
    picture, target = data.fields[data.input], data.fields[data.target]
    assert isinstance(picture, Image)
    side, rows = min(picture.height, picture.width), len(data.splits["train"])
    net = Config(
        channels=picture.channels, height=picture.height, width=picture.width,
        classes=len(target.names) if isinstance(target, Category) else 0,
        halvings=max(1, int(math.log2(max(1, side) / BASE))),
    )  # fmt: skip
    how = Training(
        epochs=min(400, max(16, round(PRESENTED / rows))), batch_size=64, lr=5e-4, optimizer="adam", schedule="cosine",
        ema=0.999, validations=6,
    )  # fmt: skip
    net, how, players = settle(choices, net, how, Players(), given=("channels", "height", "width", "classes"))
    if net.form == "wgan-gp":
        how, players = settle(
            {key: value for key, value in choices.items() if key in ("betas", "ahead", "lr")},
            replace(how, lr=2e-4), Players(betas=(0.0, 0.9), ahead=4.0),
        )  # fmt: skip
    check_own_loss(how)
    task = Score.of(data, {SCORE: False}, "signed", conditional=net.conditional, can=CAN)
    if not net.conditional:
        net = replace(net, classes=0)
    learning = stage(data, task, how, lambda model: Adversarial(), trains=("generator", "discriminator"))
    return recipe_of(data, net, how, task, (replace(learning, optimizer=players.optimizer(how)),))


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 24, "batch_size": 32, "maps": 8, "latent": 8, "lr": 3e-3}


REFERENCES = (
    {"data": "mnist", "metric": SCORE, "published": None, "target": 0.37, "source": ""},
    {"data": "fashion-mnist", "metric": SCORE, "published": None, "target": 0.41,
     "source": "half the mean distance of two test pictures, 0.404, is what no generator is below (MNIST: 0.353)"},
    {"data": "mnist", "metric": SCORE, "choices": {"form": "wgan-gp"}, "published": None, "target": 0.37, "source": ""},
)  # fmt: skip
