"""Restricted Boltzmann machine (2002): without connections within a side, learning takes one step of Gibbs sampling.

Visible units on one side, hidden on the other: given one side, the units of the other are independent, so that the sum
over all hidden states is a product and a whole side is drawn at once. A few such steps from the data (contrastive
divergence), or from chains that are never restarted (persistent), say well enough what the machine dreams of.

P. Smolensky: Information processing in dynamical systems. In Parallel Distributed Processing 1, 1986 (the harmonium).
G. Hinton: Training products of experts by minimizing contrastive divergence. Neural Computation 14, 2002.
T. Tieleman: Training restricted Boltzmann machines using approximations to the likelihood gradient. ICML 2008.
R. Salakhutdinov, I. Murray: On the quantitative analysis of deep belief networks. ICML 2008 (log Z by importance sampling).

Deviations: (1) persistent chains are the default (learning=cd starts them at the data); (2) binarise=draw makes each
pixel black with its grey level's probability, anew in every training step; for figures once and for all, from the row's
own values (binarise=threshold: above a half); (3) visible biases begin at the training rows' log odds (Hinton 2010, section 8);
(4) Gaussian visible units have variance 1, so their rows are standardised.

Shape letters: B rows, V visible units, H hidden units, R runs of importance sampling.
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

from shendu import chance, optim
from shendu.config import settle
from shendu.core import At, Batch, Loss, Objective, Recipe, Source, Stage
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn.energy import contrast, own_draws, patched
from shendu.recipes import Training, check_own_loss, check_reads, recipe_of, stage
from shendu.tasks.score import Score

PIXELS, ANNEALING, CHAIN = 1, 2, 3
"""Keys of the drawn pixels, of importance sampling, and of the chains that are shown."""
LOOKED_AT = 10_000
"""Training rows that the base rates are measured on."""
SHOWN, FRAMES = 64, 40
"""Filters that are shown, and frames of a drawing."""
FEW = 0.05
"""Below this share of runs that count, the weights of importance sampling have exploded."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`units` are the visible ones: binary for pictures, gaussian for numbers."""

    shape: tuple[int, ...] = (1, 28, 28)
    hidden: int = 500
    units: Literal["binary", "gaussian"] = "binary"
    binarise: Literal["draw", "threshold"] = "draw"

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise UserError(f"hidden={self.hidden} is no number of units; write it like hidden=500")

    def build(self) -> RBM:
        return RBM(self)


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How the gradient is estimated, and how its result is judged."""

    learning: Literal["pcd", "cd"] = "pcd"
    gibbs: int = 1
    """Steps of Gibbs sampling per step of learning: the k of CD-k."""
    chains: int = 100
    """Persistent chains."""
    ais_runs: int = 100
    ais_steps: int = 14_500
    """Runs of annealed importance sampling, and temperatures of each."""

    def __post_init__(self) -> None:
        for name, least in (("gibbs", 1), ("chains", 1), ("ais_runs", 2), ("ais_steps", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} is below {least}; write it like {name}={max(least, 10)}")


class RBM(nn.Module):
    """E(v, h) = -vᵀa - hᵀb - hᵀWv, for Gaussian visible units with ½vᵀv added. W is [H, V]."""

    base: Tensor
    log_z: Tensor
    log_z_error: Tensor
    counting: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.binary = config, config.units == "binary"
        sides = math.prod(config.shape), config.hidden
        self.weight = nn.Parameter(0.01 * torch.randn(sides[1], sides[0]))
        self.visible, self.hidden = nn.Parameter(torch.zeros(sides[0])), nn.Parameter(torch.zeros(sides[1]))
        self.register_buffer("base", torch.zeros(sides[0]))
        unconnected = sides[1] * math.log(2) + sides[0] * (math.log(2) if self.binary else 0.5 * math.log(2 * math.pi))
        self.register_buffer("log_z", torch.tensor(unconnected))
        self.register_buffer("log_z_error", torch.tensor(0.0))
        self.register_buffer("counting", torch.tensor(1.0))

    # ---- the two sides

    def seen(self, x: Tensor, fresh: bool = False) -> Tensor:
        """x [B, ...] -> visible states [B, V]; grey pixels are drawn, `fresh` from the global generator."""
        v = x.flatten(1)
        if not self.binary:
            return v
        if self.config.binarise == "threshold":
            return (v > 0.5).to(v.dtype)
        return chance.bernoulli(v) if fresh else (own_draws(v, v.shape[1], PIXELS) < v).to(v.dtype)

    def up(self, v: Tensor) -> Tensor:
        """v [B, V] -> logits of the hidden units [B, H]."""
        return F.linear(v, self.weight, self.hidden).float()

    def down(self, h: Tensor) -> Tensor:
        """h [B, H] -> logits of binary visible units, means of Gaussian ones [B, V]."""
        return torch.addmm(self.visible, h, self.weight).float()

    def mean(self, field: Tensor) -> Tensor:
        """What `down` says -> the visible units' means."""
        return field.sigmoid() if self.binary else field

    def drawn(self, means: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The visible units' means -> visible states."""
        if self.binary:
            return chance.bernoulli(means, generator)
        return means + torch.randn(means.shape, device=means.device, generator=generator)

    def free_energy(self, v: Tensor, logits: Tensor | None = None) -> Tensor:
        """-log Σ_h exp(-E(v, h)), [B]; `logits` are up(v) where they are there already."""
        logits = self.up(v) if logits is None else logits
        spread = 0.0 if self.binary else 0.5 * v.square().sum(1)
        return spread - v @ self.visible - F.softplus(logits).sum(1)

    # ---- what is asked of it

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> [B, 3]: -log p(x) in nats, the mean squared error of a step up and down, and the error of log Z.

        log Z is as it was last estimated; the machine begins with that of no connections.
        """
        with torch.autocast(x.device.type, enabled=False):
            v = self.seen(x)
            logits = self.up(v)
            wrong = (self.mean(self.down(logits.sigmoid())) - v).square().mean(1)
            return torch.stack(
                [self.free_energy(v, logits) + self.log_z, wrong, self.log_z_error.expand(v.shape[0])], 1
            )

    def draw(self, n: int, label: Tensor | None = None, *, steps: int = 1000) -> Iterator[Tensor]:
        """Frames [n, *shape], the visible units' means: a chain that begins at the base rates, heated, and cools down.

        Of `steps` Gibbs steps the first four fifths couple the two sides more and more; the rest are at equilibrium.
        """
        v = self.drawn(self.mean(self.base).expand(n, -1))
        every = max(1, steps // FRAMES)
        for step in range(1, steps + 1):
            beta = min(1.0, 1.25 * step / steps)
            means = self.mean(self.tempered(chance.bernoulli((beta * self.up(v)).sigmoid()), beta))
            v = self.drawn(means)
            if step % every == 0 or step == steps:
                yield means.view(n, *self.config.shape)

    def tempered(self, h: Tensor, beta: float) -> Tensor:
        """The visible units' field between the base rates (0) and the machine (1)."""
        return (1 - beta) * self.base + beta * self.down(h)

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """The filters with the largest weights, rows, and chains that began at these rows."""
        strongest = self.weight.square().sum(1).argsort(descending=True)[:SHOWN]
        found = {"Filters": patched(self.weight[strongest], signed=not self.binary)}
        v = self.seen(x)
        g = chance.generator(CHAIN, device=v.device)
        found["Rows"] = v
        for step in range(1, 101):
            means = self.mean(self.down(chance.bernoulli(self.up(v).sigmoid(), g)))
            v = self.drawn(means, g)
            if step in (1, 10, 100):
                found[f"After {step} Gibbs step{'s' if step > 1 else ''}"] = means
        return {title: pictures.reshape(-1, *self.config.shape) for title, pictures in found.items()}

    def remark(self) -> str:
        """How far the log-likelihood can be trusted, in words."""
        error, share = float(self.log_z_error), float(self.counting)
        if not share >= FEW:
            return (
                f"the weights of importance sampling exploded: {100 * share:.1f}% of the runs count, so log Z is most likely "
                "too low and the log-likelihood too high; raise ais_steps, or train with a smaller lr"
            )
        return f"log Z is {float(self.log_z):.2f}, give or take {error:.2f} nats; {100 * share:.0f}% of the runs count"


# ---- learning --------------------------------------------------------------------------------------------------------


class Contrast(Objective):
    """Energy of the rows less that of what k Gibbs steps make of them (cd), or of chains that go on (pcd).

    The states and the hidden units' probabilities are constants, so its gradient is contrastive divergence.
    """

    surrogate = noisy = True
    chains: Tensor

    def __init__(self, model: nn.Module, how: Learning) -> None:
        super().__init__()
        assert isinstance(model, RBM)
        self.how = how
        if how.learning == "pcd":
            self.register_buffer("chains", torch.zeros(how.chains, model.config.hidden))

    def enter(self, model: nn.Module, source: Source) -> None:
        assert isinstance(model, RBM)
        model.base.copy_(base_rates(model, source))
        if not model.visible.any():  # given weights keep their biases
            model.visible.data.copy_(model.base)
        if self.how.learning == "pcd":
            self.chains.copy_(chance.bernoulli(torch.full_like(self.chains, 0.5)))

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, RBM)
        with torch.no_grad():
            v = model.seen(batch["x"], fresh=True)
            on = model.up(v).sigmoid()
            begun = self.chains if self.how.learning == "pcd" else chance.bernoulli(on)
            dreamt, means = self.chain(model, begun)
            on_again = model.up(dreamt).sigmoid()
            if self.how.learning == "pcd":
                self.chains.copy_(chance.bernoulli(on_again))
        gap = contrast(model, (v, on), (dreamt, on_again), len(v) / len(dreamt))
        return Loss({"loss": gap}, {} if self.how.learning == "pcd" else {"reconstruction-error": F.mse_loss(means, v)})

    @torch.no_grad()
    def chain(self, model: RBM, h: Tensor) -> tuple[Tensor, Tensor]:
        """Visible states after k steps from hidden ones, and the means of the first step."""
        means = model.mean(model.down(h))
        v = model.drawn(means)
        for _ in range(self.how.gibbs - 1):
            v = model.drawn(model.mean(model.down(chance.bernoulli(model.up(v).sigmoid()))))
        return v, means


def base_rates(model: RBM, source: Source) -> Tensor:
    """The field [V] under which unconnected visible units have the training rows' means."""
    rows = min(source.rows, LOOKED_AT)
    total = sum(source.batch(At(i, min(500, rows - i)))["x"].flatten(1).sum(0) for i in range(0, rows, 500))
    assert torch.is_tensor(total)
    if not model.binary:
        return total / rows
    on = (total.clamp(0, rows) + 0.5) / (rows + 1)
    return on.logit()


# ---- how likely the data are -----------------------------------------------------------------------------------------


def ladder(steps: int) -> list[float]:
    """Inverse temperatures 0 … 1, close together near 1: the spacing of Salakhutdinov and Murray 2008, section 6."""
    at = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    knots = ((0.0, 0.0), (500 / 14_500, 0.5), (4_500 / 14_500, 0.9), (1.0, 1.0))
    beta = torch.zeros_like(at)
    for (a, low), (b, high) in pairwise(knots):
        within = (at >= a) & (at <= b)
        beta[within] = low + (high - low) * (at[within] - a) / (b - a)
    return beta.tolist()


@torch.no_grad()
def importance(model: RBM, runs: int, steps: int) -> tuple[Tensor, float]:
    """Annealed importance sampling from the base rates to the machine: log weights float64 [R], and the base's log Z.

    The mean of the weights times the base's Z is an unbiased estimate of Z. Salakhutdinov and Murray 2008, section 4.1.
    """
    g = chance.generator(ANNEALING, device=model.base.device)
    v = model.drawn(model.mean(model.base).expand(runs, -1), g)
    log_weights = torch.zeros(runs, dtype=torch.float64, device=v.device)
    for low, high in pairwise(ladder(steps)):
        logits, tilt = model.up(v), v @ (model.visible - model.base)
        log_weights += (high - low) * tilt + (F.softplus(high * logits) - F.softplus(low * logits)).sum(1)
        v = model.drawn(model.mean(model.tempered(chance.bernoulli((high * logits).sigmoid(), g), high)), g)
    hidden = model.config.hidden * math.log(2)
    if model.binary:
        return log_weights, hidden + float(F.softplus(model.base.double()).sum())
    return log_weights, hidden + float((0.5 * model.base.double().square() + 0.5 * math.log(2 * math.pi)).sum())


def estimate(log_weights: Tensor, base: float) -> tuple[float, float, float]:
    """(log Z, its standard error in nats, the share of runs that count: (Σw)² / (R Σw²)). Log weights [R]."""
    runs = len(log_weights)
    shares = log_weights.softmax(0)
    log_z = base + float(log_weights.logsumexp(0)) - math.log(runs)
    error = float((runs * shares).std()) / math.sqrt(runs)
    return log_z, error, float(1 / (runs * shares.square().sum()))


class Partition(Objective):
    """Estimates log Z when the stage begins; a stage of no steps."""

    def __init__(self, how: Learning) -> None:
        super().__init__()
        self.how = how

    def enter(self, model: nn.Module, source: Source) -> None:
        assert isinstance(model, RBM)
        log_z, error, counting = estimate(*importance(model, self.how.ais_runs, self.how.ais_steps))
        model.log_z.fill_(log_z)
        model.log_z_error.fill_(error)
        model.counting.fill_(counting)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        raise AssertionError("importance sampling trains nothing")


CAN = ["draw", "remark", "views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Two stages: `train`, then `partition`, which estimates log Z and so makes -log p(x) known. Raises UserError."""
    check_reads("rbm", data, "image", "number")
    pictures = isinstance(data.fields[data.input], Image)
    net = Config(units="binary" if pictures else "gaussian")
    how = Training(epochs=80, batch_size=100, lr=0.05, optimizer="sgd", schedule="warmup-linear")
    learning = Learning()
    if len(data.splits["train"]) < 5000:
        net, learning = replace(net, hidden=64), replace(learning, ais_steps=1000)
        how = replace(how, epochs=200)
    net, how, learning = settle(choices, net, how, learning, given=("shape",))
    check_own_loss(how)
    if net.units == "binary" and not pictures:
        raise UserError(f"binary visible units are for pictures, and {data.name} holds numbers; use units=gaussian")
    if net.units == "gaussian" and "lr" not in choices:
        how = replace(how, lr=0.005)
    scores = {"nll": False, "reconstruction-error": False, "log-z-error": False}
    task = Score.of(data, scores, "unit" if net.units == "binary" else "standard", conditional=False, can=CAN)
    partition = Stage(
        objective=lambda model: Partition(learning),
        source=lambda model: task.held_out(data, "train"),
        optimizer=optim.optimizer("sgd", lr=1.0),
        steps=0,
        batch_size=1,
        trains=(),
        name="partition",
    )
    train = stage(data, task, how, lambda model: Contrast(model, learning))
    unused = [name for name, on in (("ema", how.ema), ("patience", how.patience)) if on]
    notes = (
        (f"{' and '.join(unused)}: not used, since nothing is validated before log Z is known, at the end",)
        if unused
        else ()
    )
    net = replace(net, shape=task.shape)
    return recipe_of(data, net, how, task, (train, partition), notes)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"hidden": 16, "steps": 20, "lr": 0.1, "chains": 20, "ais_runs": 20, "ais_steps": 100}


REFERENCES = (
    {"data": "mnist", "metric": "nll", "published": 86.34, "target": 95.0,
     "source": "Salakhutdinov & Murray 2008, table 1: 500 hidden units, CD with k rising to 25, -86.34 nats"},
)  # fmt: skip
