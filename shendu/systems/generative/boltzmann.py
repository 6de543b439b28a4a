"""Boltzmann machine (1985): a Hopfield network with chance and hidden units that learns a distribution.

Units of 0 and 1 are on with the probability that their field says; left alone, states come with probability e⁻ᴱ. How far
that is from the data has a gradient that is local: how often two units are on together while the data are shown, minus
how often while the machine dreams. Small machines are summed over all states, and the gradient is exact.

D. Ackley, G. Hinton, T. Sejnowski: A learning algorithm for Boltzmann machines. Cognitive Science 9, 1985.

Deviations: (1) learning=exact follows the gradient of the exact log-likelihood, by enumeration of all states of up to 20
units, where the paper estimates it; (2) learning=gibbs keeps its dreaming chains from step to step (Tieleman 2008)
where the paper anneals anew; (3) learning=mean-field settles the hidden units' means under the data (Peterson and
Anderson 1987) instead of drawing them; (4) weights move by the size of the gradient, in the paper by its sign.

Shape letters: B rows, V visible units, H hidden units, N = V + H.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance
from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe, Source
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.recipes import Training, check_own_loss, check_reads, recipe_of, stage
from shendu.tasks.score import Score

EXACT, MOST_HIDDEN, MOST_VISIBLE = 20, 10, 256
"""Units up to which all states are summed over; hidden and visible units at most."""
HOT = 4.0
"""The temperature at which drawing begins."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every unit is connected with every other, hidden or visible."""

    shape: tuple[int, ...] = (1, 4, 4)
    hidden: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.hidden <= MOST_HIDDEN:
            raise UserError(f"hidden={self.hidden}: 0 to {MOST_HIDDEN} hidden units are summed over; for more use rbm")
        if math.prod(self.shape) > MOST_VISIBLE:
            raise UserError(
                f"boltzmann lets one unit settle after the other, and {math.prod(self.shape):,} visible ones are too many "
                f"(at most {MOST_VISIBLE}); use rbm"
            )

    def build(self) -> Boltzmann:
        return Boltzmann(self)


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How the gradient is found."""

    learning: Literal["auto", "exact", "gibbs", "mean-field"] = "auto"
    """auto: exact up to 20 units, else gibbs."""
    sweeps: int = 5
    """Times that every unit is drawn per step."""
    chains: int = 100
    """Dreaming states that are kept."""

    def __post_init__(self) -> None:
        if self.sweeps < 1 or self.chains < 1:
            raise UserError(
                f"sweeps={self.sweeps}, chains={self.chains} must be 1 or more; write them like sweeps=5,chains=100"
            )


def states(n: int, device: torch.device | str = "cpu") -> Tensor:
    """All states of n units, [2ⁿ, n], in binary order."""
    return (torch.arange(2**n, device=device)[:, None] >> torch.arange(n, device=device) & 1).float()


class Boltzmann(nn.Module):
    """E(s) = -Σ_{i<j} W_ij s_i s_j - Σ_i b_i s_i over visible units, then hidden ones. Only W's upper half is read."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.visible = config, math.prod(config.shape)
        self.units = self.visible + config.hidden
        self.weight = nn.Parameter((0.1 * torch.randn(self.units, self.units)).triu(1))
        self.bias = nn.Parameter(torch.zeros(self.units))

    @property
    def exact(self) -> bool:
        """Whether all of its states can be summed over."""
        return self.units <= EXACT

    def seen(self, x: Tensor) -> Tensor:
        """x [B, ...] in units around 0 -> visible states [B, V] of 0 and 1."""
        return (x.flatten(1) > 0).float()

    def energy(self, s: Tensor) -> Tensor:
        """s [B, N] -> [B]; of independent units' means, their mean energy."""
        with torch.autocast(s.device.type, enabled=False):  # rows less dreams: half precision would round both first
            return -(s @ self.weight.triu(1) * s).sum(1) - s @ self.bias

    def _part(self, s: Tensor, at: int) -> Tensor:
        """The energy of the units at, at+1, … among themselves, in states s [K, n] -> [K]."""
        own = slice(at, at + s.shape[1])
        return -(s @ self.weight[own, own].triu(1) * s).sum(1) - s @ self.bias[own]

    def _joint(self, s: Tensor, rest: Tensor) -> Tensor:
        """-E of every state of the first units [K, n] with every state of the rest [L, N-n] -> [K, L]."""
        n = s.shape[1]
        return s @ self.weight[:n, n:] @ rest.T - self._part(s, 0)[:, None] - self._part(rest, n)[None, :]

    def free_energy(self, v: Tensor) -> Tensor:
        """-log Σ_h exp(-E(v, h)) over all states of the hidden units. v [B, V] -> [B]."""
        return -self._joint(v, states(self.config.hidden, v.device)).logsumexp(1)

    def log_z(self) -> Tensor:
        """log Σ_s exp(-E(s)) over all 2ᴺ states: half of the units against the other half, so that it is one product."""
        half = self.units // 2
        first, rest = states(half, self.bias.device), states(self.units - half, self.bias.device)
        return self._joint(first, rest).flatten().logsumexp(0)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> -log p(x) in nats [B]; of larger machines -Σ_i log p(x_i | all other units of x)."""
        v = self.seen(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.free_energy(v) + self.log_z() if self.exact else self.pseudo(v)

    def pseudo(self, v: Tensor) -> Tensor:
        """The negative log pseudo-likelihood (Besag 1975), exact in the hidden units."""
        free, total = self.free_energy(v), torch.zeros(v.shape[0], device=v.device)
        for i in range(self.visible):
            flipped = v.clone()
            flipped[:, i] = 1 - v[:, i]
            total += F.softplus(free - self.free_energy(flipped))
        return total

    @torch.no_grad()
    def settle(self, s: Tensor, *, first: int = 0, sweeps: int = 1, means: bool = False, heat: float = 1.0) -> Tensor:
        """States [B, N] after every unit from `first` on was drawn given all others (its mean taken) `sweeps` times."""
        weight = self.weight.triu(1)
        weight = weight + weight.T
        state = s.T.clone(memory_format=torch.contiguous_format)
        for _ in range(sweeps):
            draws = torch.rand_like(state)
            for i in range(first, self.units):
                p = ((weight[i] @ state + self.bias[i]) / heat).sigmoid()
                state[i] = p if means else draws[i] < p
        return state.T

    def draw(self, n: int, label: Tensor | None = None, *, sweeps: int = 100) -> Iterator[Tensor]:
        """Frames [n, *shape] of a chain from noise, a sweep each, that cools down to temperature 1 over its first half."""
        s = chance.bernoulli(torch.full((n, self.units), 0.5, device=self.bias.device))
        for sweep in range(sweeps):
            s = self.settle(s, heat=HOT ** max(0.0, 1 - 2 * (sweep + 1) / sweeps))
            yield (2 * s[:, : self.visible] - 1).view(n, *self.config.shape)


class Likelihood(Objective):
    """-log p of the rows, exact."""

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, Boltzmann)
        v = model.seen(batch["x"])
        with torch.autocast(v.device.type, enabled=False):
            return Loss({"loss": model.free_energy(v).sum() + len(v) * model.log_z()})


class Equilibrium(Objective):
    """Mean energy under the data minus mean energy while dreaming; its gradient is the paper's, ⟨s_i s_j⟩⁻ - ⟨s_i s_j⟩⁺."""

    surrogate = noisy = True
    chains: Tensor

    def __init__(self, model: nn.Module, how: Learning) -> None:
        super().__init__()
        assert isinstance(model, Boltzmann)
        self.how = how
        self.register_buffer("chains", torch.zeros(how.chains, model.units))

    def enter(self, model: nn.Module, source: Source) -> None:
        self.chains.copy_(chance.bernoulli(torch.full_like(self.chains, 0.5)))

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, Boltzmann)
        v, means = model.seen(batch["x"]), self.how.learning == "mean-field"
        hidden = torch.full((len(v), model.config.hidden), 0.5, device=v.device)
        start = torch.cat([v, hidden if means else chance.bernoulli(hidden)], 1)
        clamped = model.settle(start, first=model.visible, sweeps=self.how.sweeps, means=means)
        self.chains.copy_(model.settle(self.chains, sweeps=self.how.sweeps))
        dreamt = self.chains.clone()
        gap = model.energy(clamped).sum() - len(v) * model.energy(dreamt).mean()
        return Loss({"loss": gap})


CAN = ["draw"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Rows are black and white: pictures at half of the brightest, numbers at the training rows' mean."""
    check_reads("boltzmann", data, "image", "number")
    pictures = isinstance(data.fields[data.input], Image)
    how = Training(epochs=20, batch_size=100, lr=0.05, optimizer="momentum", schedule="warmup-linear")
    if len(data.splits["train"]) < 100:
        how = replace(how, epochs=1500, batch_size=0, lr=0.02, optimizer="adam", schedule="cosine")
    net, how, learning = settle(choices, Config(), how, Learning(), given=("shape",))
    check_own_loss(how)
    shape = data.fields[data.input].shape
    net = replace(net, shape=shape)
    exact = math.prod(shape) + net.hidden <= EXACT
    if learning.learning == "exact" and not exact:
        raise UserError(
            f"{math.prod(shape)} visible and {net.hidden} hidden units have too many states to sum over (at most {EXACT} units); "
            "use learning=gibbs"
        )
    if learning.learning == "auto":
        learning = replace(learning, learning="exact" if exact else "gibbs")
    scores = {"nll" if exact else "pseudo-nll": False}
    task = Score.of(data, scores, "signed" if pictures else "standard", conditional=False, can=CAN)

    def objective(model: nn.Module) -> Objective:
        return Likelihood() if learning.learning == "exact" else Equilibrium(model, learning)

    return recipe_of(data, net, how, task, (stage(data, task, how, objective),))


def tiny() -> tuple[Any, dict[str, Any]]:
    return "bars-and-stripes", {"hidden": 1, "steps": 20, "batch_size": 4, "lr": 0.02}


REFERENCES = (
    {"data": "bars-and-stripes", "metric": "nll", "published": 3.379, "target": 3.5,
     "source": "entropy of the 32 pictures, of which two are there twice: no model is below it"},
)  # fmt: skip
