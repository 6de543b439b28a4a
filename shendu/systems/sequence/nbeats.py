"""N-BEATS (2020): forecasts by residual blocks that each explain a part of the past and foretell a part of the future.

A block of fully connected layers writes down what it has understood of the window (its backcast) and what follows from
that (its forecast). The next block sees what is left over; the forecasts add up. Nothing in it knows of trends, seasons
or time, and yet an ensemble of such stacks beat the statistical methods that had won the M3 and M4 competitions.

B. Oreshkin, D. Carpov, N. Chapados, Y. Bengio: N-BEATS: neural basis expansion analysis for interpretable time series
forecasting. ICLR 2020.

Deviations: (1) the members of the ensemble live in one network and are trained together, each on its own loss; paper:
180 networks; (2) they differ in their initial weights and in how far they look back, paper: in their loss as well; (3) a
window is centred on its last season and scaled by its spread, for series of any level; paper: as it is; (4) squared
error of that scale; paper: sMAPE, MASE and MAPE; (5) the mean of the members; paper: the median; (6) dropout of the
window's values, a smaller network and AdamW with a one-cycle schedule, for series of some hundred steps;
(7) form=interpretable: one basis of harmonics per season; paper: as many harmonics as half the horizon.

Shape letters: B rows, M members, W window, H horizon, U units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.series import Series
from shendu.errors import UserError
from shendu.nn.dropout import Dropout
from shendu.recipes import Training, check_reads, supervised

SMALLEST_SPREAD = 0.02
"""Of a window, in units of the whole series: a flat window is not blown up."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`looks` are the steps that the members look back, in turn; `degree` is the polynomial's of form=interpretable."""

    window: int = 24
    horizon: int = 12
    season: int = 12
    form: Literal["generic", "interpretable"] = "generic"
    members: int = 8
    looks: tuple[int, ...] = (24, 12)
    blocks: int = 2
    layers: int = 2
    hidden: int = 64
    degree: int = 2
    input_dropout: float = 0.2

    def __post_init__(self) -> None:
        if min(self.members, self.blocks, self.layers, self.hidden, *self.looks) < 1 or not self.looks:
            raise UserError(
                f"members={self.members}, blocks={self.blocks}, layers={self.layers}, hidden={self.hidden}, looks={self.looks} "
                "must be 1 or more; write them like members=8, blocks=2, layers=2, hidden=64, looks=24,12"
            )
        if self.degree < 0:
            raise UserError(f"degree={self.degree} is no degree of a polynomial; write it like degree=2")

    def build(self) -> NBeats:
        return NBeats(self)


def centred(x: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """Windows [B, W] -> the mean of their last season and their standard deviation, [B, 1] each."""
    return x[:, -season:].mean(1, keepdim=True), x.std(1, keepdim=True).clamp(min=SMALLEST_SPREAD)


class Stacked(nn.Module):
    """One linear layer per member: [M, B, I] -> [M, B, O]."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class Block(nn.Module):
    """What is left of the windows [M, B, W] -> (backcast [M, B, W], forecast [M, B, H])."""

    basis: Tensor

    def __init__(self, config: Config, basis: Tensor | None) -> None:
        super().__init__()
        span = config.window + config.horizon
        widths = [config.window, *[config.hidden] * config.layers]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [Stacked(config.members, before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.window = config.window
        self.head = Stacked(config.members, config.hidden, span if basis is None else 2 * len(basis))
        self.register_buffer("basis", torch.empty(0) if basis is None else basis, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.head(self.layers(x))
        if not len(self.basis):
            return out[..., : self.window], out[..., self.window :]
        back, ahead = out.chunk(2, -1)
        return back @ self.basis[:, : self.window], ahead @ self.basis[:, self.window :]


def trend(config: Config) -> Tensor:
    """Powers of time [degree + 1, W + H], of -1 … 1 over the horizon's length."""
    t = torch.arange(-config.window, config.horizon) / max(config.window, config.horizon)
    return torch.stack([t**power for power in range(config.degree + 1)])


def harmonics(config: Config) -> Tensor:
    """A constant, cosines and sines of the season [F, W + H]."""
    period = config.season if config.season > 1 else config.window
    t = 2 * math.pi * torch.arange(-config.window, config.horizon) / period
    waves = [f(k * t) for k in range(1, period // 2 + 1) for f in (torch.cos, torch.sin)]
    return torch.stack([torch.ones_like(t), *waves])


class NBeats(nn.Module):
    """In training every member's forecast; in eval mode their mean."""

    seen: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.form == "interpretable":
            bases: list[Tensor | None] = [*[trend(config)] * config.blocks, *[harmonics(config)] * config.blocks]
        else:
            bases = [None] * config.blocks
        self.blocks = nn.ModuleList(Block(config, basis) for basis in bases)
        self.dropout = Dropout(config.input_dropout)
        seen = torch.zeros(config.members, 1, config.window)
        for member in range(config.members):
            seen[member, :, -config.looks[member % len(config.looks)] :] = 1
        self.register_buffer("seen", seen, persistent=False)

    def members(self, x: Tensor) -> Tensor:
        """x [B, W] -> each member's forecast [M, B, H] in x's unit."""
        level, spread = centred(x, self.config.season)
        left = self.dropout(((x - level) / spread) * self.seen)
        ahead = left.new_zeros(())
        for block in self.blocks:
            back, forecast = block(left)
            left, ahead = left - back, ahead + forecast
        return level + spread * ahead

    def forward(self, x: Tensor) -> Tensor:
        """x [B, W] -> [B, M, H] in training, [B, H] in eval mode."""
        each = self.members(x)
        return each.transpose(0, 1) if self.training else each.mean(0)


class Forecast(Objective):
    """The mean of the members' own squared errors, in units of each window's spread.

    Not that of their mean: members that lean on each other are no ensemble.
    """

    def __init__(self, *, season: int) -> None:
        super().__init__()
        self.season = season

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        x, wanted = batch["x"], batch["y"]
        outputs = model(x).float().reshape(len(x), -1, wanted.shape[1])
        errors = (outputs - wanted[:, None]) / centred(x, self.season)[1][..., None]
        return Loss({"loss": F.mse_loss(errors, torch.zeros_like(errors), reduction="sum") / errors[0].numel()})


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Half of the members look back twice as far as the others. Raises UserError for what is no series."""
    check_reads("nbeats", data, "series")
    series = data.fields[data.input]
    assert isinstance(series, Series)
    near = max(1, min(series.window, max(series.season, series.horizon)))
    net = Config(
        window=series.window,
        horizon=series.horizon,
        season=min(series.season, series.window),
        looks=(series.window, near),
    )
    rows = len(data.splits["train"])
    how = Training(
        steps=max(200, min(3000, 5 * rows // 128)), batch_size=128, lr=3e-3, schedule="one-cycle", weight_decay=0.01
    )
    net, how = settle(choices, net, how, given=("window", "horizon", "season"))
    if max(net.looks) > net.window:
        raise UserError(
            f"looks={net.looks} goes further back than the window of {net.window} steps; write looks={net.window}"
        )
    return supervised(data, net, how, objective=lambda model: Forecast(season=net.season))


def tiny() -> tuple[Any, dict[str, Any]]:
    return "tides", {"steps": 40, "batch_size": 32, "members": 2, "hidden": 32, "input_dropout": 0.1}


SUITS = {"series": "series are forecast by an ensemble of residual blocks"}

REFERENCES = (
    {"data": "airline-passengers", "metric": "mase", "published": None, "target": 0.532,
     "source": "scikit-learn's LinearRegression on windows of 24, one step after another, same rows"},
)  # fmt: skip
