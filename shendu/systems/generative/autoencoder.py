"""Autoencoder (2006): a network that learns codes by giving back what it was shown, and so knows what is unusual.

What a narrow layer in the middle cannot hold, the network cannot give back: it must find what its rows have in common.
Deep ones could not be trained until each layer was first trained to give back the layer below it, from the bottom up,
and the whole was tuned afterwards. What is unlike the training rows comes back wrong, which makes the error a score.

G. Hinton, R. Salakhutdinov: Reducing the dimensionality of data with neural networks. Science 313, 2006. Its layers by
kind: denoising (Vincent et al., ICML 2008) gives back what a corrupted row was; contractive (Rifai et al., ICML 2011)
adds the squared norm of the Jacobian of the code; sparse (Makhzani and Frey, ICLR 2014) keeps the largest few units of
the code; convolutional (Masci et al., ICANN 2011) shares weights over the picture.

Deviations: (1) layers are pretrained as autoencoders (Bengio et al. 2007), where 2006 has restricted Boltzmann machines;
(2) SiLU (tanh for tables), AdamW and a one-cycle schedule, where 2006 has sigmoids and conjugate gradients; (3) the
squared error is trained, which is what 2006 reports, not the cross-entropy; (4) weights are tied only where asked for
(tied=true), and by default in the contractive kind; (5) in fine-tuning the contractive penalty is the sum over the layers of each one's
own Jacobian, which is the whole one's for a single layer; (6) the convolutional form has strides and nearest-neighbour
enlargement, where 2011 has max-pooling; (7) the anomaly score divides each element's squared error by its mean over the
training rows, so that errors count most where there never were any.

Shape letters: B rows, V values of a row, N numbers, K categories' codes, C channels, H, W picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.data.fields.row import Row
from shendu.errors import UserError
from shendu.nn import codes
from shendu.nn.activations import activation
from shendu.recipes import Training, check_own_loss, check_reads, recipe_of, stage
from shendu.tasks.score import Score

LIMIT = 10.0
"""Numbers further from the mean than so many deviations count as so far."""
WIDEST = 100
"""Categories of more values are left out: each value is an input."""
FLOOR, RATE = 1e-3, 0.01
"""Added to an element's mean squared error; share of a step's errors in the running mean."""
SCORES = {"reconstruction-error": False, "anomaly-score": False}
SLOPES = {"sigmoid": lambda h: h * (1 - h), "tanh": lambda h: 1 - h.square(), "identity": torch.ones_like}
"""Derivatives of activations from their values: those that the contractive penalty is known for."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`maps` are those of convolutions, `hidden` the units of full layers, the last of which is the code.

    `shape` is a row's; `numeric` and `coded` say what stands where in a table's (as in `Row`). `active` units of the code
    are kept (0: all).
    """

    shape: tuple[int, ...] = (1, 28, 28)
    numeric: tuple[int, ...] = ()
    coded: tuple[tuple[int, int], ...] = ()
    kind: Literal["plain", "denoising", "sparse", "contractive", "convolutional"] = "plain"
    maps: tuple[int, ...] = ()
    hidden: tuple[int, ...] = (1000, 500, 250, 30)
    activation: str = "silu"
    tied: bool = False
    active: int = 0

    def __post_init__(self) -> None:
        if not self.hidden or min((*self.maps, *self.hidden)) < 1 or self.active < 0:
            raise UserError(
                f"maps={self.maps}, hidden={self.hidden}, active={self.active} must be 1 or more; write them like hidden=256,32"
            )
        if self.maps and (self.tied or self.kind == "contractive"):
            raise UserError("tied weights and the contractive penalty are for full layers; leave maps out")
        if (self.kind == "convolutional") != bool(self.maps) or (self.maps and len(self.shape) != 3):
            raise UserError(
                f"kind={self.kind} and maps={self.maps} contradict each other: convolutions are of pictures, with "
                "kind=convolutional and maps=32,64"
            )
        if self.kind == "contractive" and self.activation not in SLOPES:
            raise UserError(f"the contractive penalty is for {', '.join(SLOPES)}, not {self.activation}")

    @property
    def picture(self) -> bool:
        return len(self.shape) == 3 and not self.numeric and not self.coded

    def build(self) -> Autoencoder:
        return Autoencoder(self)


class Values(nn.Module):
    """A row as the values that are given back: a table's numbers, and its categories as one value per name.

    Numbers are kept within ±10 deviations; one that is missing is 0 and does not count.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.picture, self.numeric, self.coded = config.picture, list(config.numeric), config.coded
        table = bool(config.numeric or config.coded)
        self.width = len(self.numeric) + sum(size for _, size in self.coded) if table else math.prod(config.shape)
        self.table = table

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows -> (values [B, V], or pictures as they are; whether each counts, None: all do)."""
        if self.picture:
            return x, None
        if not self.table:
            return x.flatten(1).clamp(-LIMIT, LIMIT), None
        numbers = x[:, self.numeric]
        names = [F.one_hot(x[:, at].long().clamp(0, size - 1), size).to(x.dtype) for at, size in self.coded]
        values = torch.cat([numbers.nan_to_num(0.0).clamp(-LIMIT, LIMIT), *names], 1)
        return values, torch.cat([~numbers.isnan(), *(torch.ones_like(n, dtype=torch.bool) for n in names)], 1)


class Full(nn.Module):
    """Rows of a shape -> units, and back; the way back has the same weights where they are tied."""

    def __init__(self, shape: tuple[int, ...], units: int, up: nn.Module, down: nn.Module, tied: bool) -> None:
        super().__init__()
        self.shape, width = shape, math.prod(shape)
        self.up, self.bends, self.bends_back = nn.Linear(width, units), up, down
        self.down = None if tied else nn.Linear(units, width)
        self.bias = nn.Parameter(torch.zeros(width)) if tied else None

    def encode(self, h: Tensor) -> Tensor:
        """[B, *shape] -> [B, units]."""
        return self.bends(self.up(h.flatten(1)))

    def decode(self, h: Tensor) -> Tensor:
        """[B, units] -> [B, *shape]."""
        back = F.linear(h, self.up.weight.T, self.bias) if self.down is None else self.down(h)
        return self.bends_back(back).reshape(-1, *self.shape)


class Convolved(nn.Module):
    """Pictures -> maps of half their size, and back."""

    def __init__(self, shape: tuple[int, ...], maps: int, up: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.size = shape[1:]
        self.up, self.bends, self.bends_back = nn.Conv2d(shape[0], maps, 3, stride=2, padding=1), up, down
        self.down = nn.Conv2d(maps, shape[0], 3, padding=1)

    def encode(self, h: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, maps, H/2, W/2], rounded up."""
        return self.bends(self.up(h))

    def decode(self, h: Tensor) -> Tensor:
        """[B, maps, H/2, W/2] -> [B, C, H, W]."""
        return self.bends_back(self.down(F.interpolate(h, self.size)))


class Largest(nn.Module):
    """The largest `active` units of each row; the others are 0."""

    def __init__(self, active: int) -> None:
        super().__init__()
        self.active = active

    def forward(self, h: Tensor) -> Tensor:
        if self.active >= h.shape[1]:
            return h
        top = h.topk(self.active, 1)
        return torch.zeros_like(h).scatter(1, top.indices, top.values)


def stack(config: Config, width: int) -> Iterator[Full | Convolved]:
    """The layers from the bottom up; each gives back what the one below it says."""
    shape = config.shape if config.picture else (width,)
    back: nn.Module = nn.Sigmoid() if config.picture else nn.Identity()
    for maps in config.maps:
        yield Convolved(shape, maps, activation(config.activation), back)
        shape, back = (maps, *(-(-side // 2) for side in shape[1:])), activation(config.activation)
    for i, units in enumerate(config.hidden):
        last = i == len(config.hidden) - 1
        bends = activation(config.activation)
        if last and config.kind != "contractive":
            bends = Largest(config.active) if config.active else nn.Identity()
        yield Full(shape, units, bends, back, config.tied)
        shape, back = (units,), activation(config.activation)


class Autoencoder(nn.Module):
    """A stack of layers up to the code and down again. In [B, …] out each row's errors [B, 2] (see `SCORES`).

    `typical` [V] is the mean squared error of each value over the training rows that have it, kept while it is trained.
    """

    typical: Tensor
    layers: Any

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.values = config, Values(config)
        self.layers = nn.ModuleList(stack(config, self.values.width))
        self.register_buffer("typical", torch.ones(self.values.width))

    def encode(self, x: Tensor, layers: int | None = None) -> Tensor:
        """Rows -> codes, or what the first so many layers say of them."""
        return self.up(self.values(x)[0], layers)

    def up(self, values: Tensor, layers: int | None = None) -> Tensor:
        for layer in self.layers[:layers]:
            values = layer.encode(values)
        return values

    def decode(self, code: Tensor) -> Tensor:
        """Codes -> values [B, V], or pictures [B, C, H, W]."""
        for layer in reversed(self.layers):
            code = layer.decode(code)
        return code

    def forward(self, x: Tensor) -> Tensor:
        """Rows -> [B, 2]: the squared error summed over values, and its mean in units of what is typical of each."""
        values, counts = self.values(x)
        errors = squared(self.decode(self.up(values)), values, counts)
        known = counts.sum(1).clamp(min=1) if counts is not None else errors.shape[1]
        return torch.stack([errors.sum(1), (errors / (self.typical + FLOOR)).sum(1) / known], 1)

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """x [B, C, H, W] -> reconstructions, a map of the rows' codes, and what codes of two numbers stand for."""
        code = self.encode(x)
        found = {
            "Rows and their reconstructions": codes.side_by_side(x, self.decode(code))[:32],
            "Rows at the places of their codes": codes.placed(x, code),
            "Between the codes of two rows": self.decode(codes.between(code)),
        }
        if code.shape[1] == 2:
            found["What the codes stand for"] = self.decode(codes.lattice(code.min(0).values, code.max(0).values))
        return found


def squared(given: Tensor, values: Tensor, counts: Tensor | None) -> Tensor:
    """Squared errors [B, V]; 0 where a value does not count."""
    errors = (given.float() - values.float()).square().flatten(1)
    return errors if counts is None else errors * counts


class Reconstruction(Objective):
    """The squared error of what comes back from a corrupted row, of the whole network or of one layer.

    `corruption`: the share of a picture's (or a layer's) values that are set to 0, or the deviation of the Gaussian noise
    that is added to numbers; `contraction`: the weight of the squared norm of the Jacobian.
    """

    errors: Tensor
    known: Tensor

    def __init__(self, model: Any, *, corruption: float, contraction: float, layer: int | None = None) -> None:
        super().__init__()
        self.corruption, self.contraction, self.layer = corruption, contraction, layer
        self.noisy = corruption > 0
        self.register_buffer("errors", torch.zeros_like(model.typical), persistent=False)
        self.register_buffer("known", torch.zeros_like(model.typical), persistent=False)

    def forward(self, model: Any, batch: Batch, step: Tensor) -> Loss:
        values, counts = model.values(batch["x"])
        layers = list(model.layers)
        if self.layer is not None:
            with torch.no_grad():
                values = model.up(values, self.layer)
            layers, counts = [model.layers[self.layer]], counts if self.layer == 0 else None
        h, norm = self.corrupted(values, model.config.picture or bool(self.layer)), values.new_zeros(())
        for layer in layers:
            h = layer.encode(h)
            if self.contraction:
                norm = norm + jacobian(layer, h, model.config.activation).sum()
        for layer in reversed(layers):
            h = layer.decode(h)
        errors = squared(h, values, counts)
        if self.layer is None:
            with torch.no_grad():
                self.errors += errors.sum(0)
                self.known += len(errors) if counts is None else counts.sum(0)
        loss = errors.sum() + self.contraction * norm
        return Loss({"loss": loss}, {"contraction": norm.detach() / len(errors)} if self.contraction else {})

    def corrupted(self, values: Tensor, masked: bool) -> Tensor:
        if not self.corruption or not self.training:
            return values
        if masked:
            return values * (torch.rand_like(values) >= self.corruption)
        return values + self.corruption * torch.randn_like(values)

    def update(self, model: Any, step: int) -> None:
        if self.layer is None:
            share = max(RATE, 1 / (1 + step)) * (self.known > 0)  # a value that no row had says nothing
            model.typical.lerp_(self.errors / self.known.clamp(min=1), share)
            self.errors.zero_()
            self.known.zero_()


def jacobian(layer: Full, h: Tensor, name: str) -> Tensor:
    """[B]: the squared Frobenius norm of the derivative of a layer's units h [B, units] by its input (Rifai, equation 5)."""
    return SLOPES[name](h).square() @ layer.up.weight.square().sum(1)


# ---- the recipe ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What is done to rows, the stages before the last one, and when a row is called an anomaly."""

    corruption: float = 0.0
    """Share of a picture's values that are set to 0, or deviation of the noise that is added to numbers."""
    contraction: float = 0.0
    """Weight of the squared norm of the Jacobian."""
    pretrain: bool = True
    """Each layer is trained to give back the one below it, before all are trained together."""
    pretrain_epochs: float = 3
    pretrain_steps: int = 0
    """Steps per layer; above 0 it overrides pretrain_epochs."""
    pretrain_lr: float = 1e-3
    alarms: float = 0.05
    """Share of ordinary rows that may be called anomalies: it sets the threshold."""

    def __post_init__(self) -> None:
        for name, right, like in (
            ("corruption", 0 <= self.corruption < math.inf, "0.25"), ("contraction", 0 <= self.contraction < math.inf, "0.01"),
            ("alarms", 0 < self.alarms < 1, "0.05"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")


FEW, LARGE, NARROW = 10_000, 4096, 256
"""Rows below which the network is narrow; values above which pictures are convolved; units of a table's layers at most."""


def usual(data: Dataset, shape: tuple[int, ...], kind: str) -> tuple[Config, Training, Learning, tuple[str, ...]]:
    """What suits the rows (and a kind that was asked for), with the reasons for what was decided."""
    field, rows = data.fields[data.input], len(data.splits["train"])
    notes: tuple[str, ...] = ()
    net, more = Config(shape=shape), Learning()
    how = Training(epochs=40, batch_size=128, lr=1e-3, schedule="one-cycle")
    if rows < FEW:
        net, how = replace(net, hidden=(256, 32)), replace(how, steps=1000, batch_size=64, lr=3e-3)
        more = replace(more, pretrain_steps=100, pretrain_lr=3e-3)
    if isinstance(field, Image):
        if not kind and math.prod(shape) > LARGE:
            kind, notes = "convolutional", (f"kind=convolutional, since a picture has {math.prod(shape):,} values",)
    else:
        net, notes = table(field, net)
        kind = kind or "denoising"
        more = replace(more, corruption=0.1)
    match kind:
        case "denoising":
            net, more = replace(net, kind=kind), replace(more, corruption=more.corruption or 0.25)
        case "sparse":
            net = replace(net, kind=kind, hidden=(1000,), active=25)
        case "contractive":
            net = replace(net, kind=kind, activation="sigmoid", tied=True)
            more = replace(more, contraction=0.01)
        case "convolutional" if len(shape) == 3:
            net, how = replace(net, kind=kind, maps=(32, 64), hidden=(64,)), replace(how, lr=1e-3)
    return net, how, more, notes


def table(field: Any, net: Config) -> tuple[Config, tuple[str, ...]]:
    """Layers for rows of numbers and categories: a code of half as many numbers as there are columns."""
    numeric: tuple[int, ...] = ()
    coded: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    if isinstance(field, Row):
        numeric, coded = field.numeric, tuple((at, size) for at, size in field.coded if size <= WIDEST)
        out = [f.name for f in field.columns if f.kind == "text" or len(f.names) > WIDEST]
        notes = (f"not looked at, since they are texts or have too many values: {', '.join(out)}",) if out else ()
        if not numeric and not coded:
            raise UserError("no column is a number, a date or a category of few values; autoencoder reads those")
    columns = len(numeric) + len(coded) or math.prod(net.shape)
    wide = min(NARROW, max(16, 4 * columns))
    return (
        replace(net, numeric=numeric, coded=coded, hidden=(wide, min(wide, -(-columns // 2))), activation="tanh"),
        notes,
    )


CAN = ["views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Pretraining of each layer, then of all; raises UserError for what are neither pictures nor rows of numbers."""
    check_reads("autoencoder", data, "image", "number", "row")
    units = "unit" if isinstance(data.fields[data.input], Image) else "standard"
    shape = data.fields[data.input].shape or (1,)
    *defaults, notes = usual(data, shape, str(choices.get("kind", "")))
    net, how, more = settle(choices, *defaults, given=("shape", "numeric", "coded"))
    check_own_loss(how)
    task = Score.of(data, SCORES, units, judged="anomaly-score", alarms=more.alarms, can=CAN)

    def objective(layer: int | None) -> Any:
        return lambda model: Reconstruction(
            model, corruption=more.corruption, contraction=more.contraction, layer=layer
        )

    each = replace(how, epochs=more.pretrain_epochs, steps=more.pretrain_steps, lr=more.pretrain_lr)
    depth = len(net.maps) + len(net.hidden)
    pretrained = range(depth if more.pretrain and depth > 1 else 0)
    stages = [
        stage(data, task, each, objective(i), name=f"pretrain-{i + 1}", trains=(f"layers.{i}",)) for i in pretrained
    ]
    last = stage(data, task, how, objective(None), name="fine-tune")
    return recipe_of(data, net, how, task, (*stages, last), notes)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {"steps": 30, "pretrain_steps": 4, "batch_size": 32, "hidden": (32, 8)}


SUITS = {
    "anomaly image": "what is unlike the training rows comes back wrong from a narrow code",
    "anomaly number": "what is unlike the training rows comes back wrong from a narrow code",
    "anomaly row": "what is unlike the training rows comes back wrong from a narrow code",
}

REFERENCES = (
    {"data": "mnist", "metric": "reconstruction-error", "published": 3.00, "target": 3.00,
     "source": "Hinton and Salakhutdinov 2006, figure 2: squared error per test picture of 784-1000-500-250-30 (PCA: 13.87)"},
)  # fmt: skip
