"""Deep belief network (2006): deep networks became trainable, one layer at a time and without labels.

Each layer is a restricted Boltzmann machine that learns what the layer below makes of the rows. The stack is a generative
model: an associative memory on top, with the class among its units, and a way down to the pixels. Its way up, unrolled
into a feed-forward network, is where back-propagation starts from, instead of random weights.

G. Hinton, S. Osindero, Y. Teh: A fast learning algorithm for deep belief nets. Neural Computation 18, 2006.
G. Hinton, R. Salakhutdinov: Reducing the dimensionality of data with neural networks. Science 313, 2006 (fine-tuning).

Deviations: (1) classes are answered by the fine-tuned feed-forward network; 2006: by the memory's free energy for each
class; (2) the memory's Gibbs chains go on from step to step (Tieleman 2008), holding one class after another, and drawings
begin where they ended; 2006: they begin at the rows, with 3, then 6, then 10 steps; (3) fine-tuning by AdamW; 2006: conjugate
gradients; (4) dropout in fine-tuning (Srivastava et al. 2014) as a choice, of less than a half and with shifted pictures; (5) the
class weights of the memory are where the last layer of the feed-forward network begins; 2006: small random ones.

Shape letters: B rows, V visible units, K classes, F units of the last but one layer, H units of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance
from shendu.config import settle, to_json
from shendu.core import Batch, Loss, Objective, Recipe, Source, Stage
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.image import Image
from shendu.errors import UserError
from shendu.nn.dropout import Dropout
from shendu.nn.energy import RBM, contrast, patched, shown
from shendu.objectives.supervised import Supervised as SupervisedObjective
from shendu.recipes import Training, check_own_loss, check_reads, recipe_of, stage
from shendu.tasks import Task
from shendu.tasks.classify import Classify

LABELLED = 3
"""Key of which rows keep their labels."""
NO_LABEL = -1
FEW = 5000
"""Training rows below which a network is smaller and trained for more epochs."""
DROPPING: dict[str, Any] = {"epochs": 60, "lr": 2e-3, "augment": ("shift:1",)}
"""Fine-tuning with dropout, which takes longer and a higher rate; pictures are shifted by up to a pixel."""
SHOWN, FRAMES = 64, 40
CHAINS = 100
"""Gibbs chains in the memory that go on from one step of learning to the next (persistent; Tieleman 2008)."""
HELD = 10
"""Steps of learning for which a chain holds a class, on average."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`hidden` are the widths upwards, the last one the associative memory's."""

    shape: tuple[int, ...] = (1, 28, 28)
    classes: int = 10
    hidden: tuple[int, ...] = (500, 500, 2000)
    pretrain: bool = True
    """False: the feed-forward network alone, from random weights."""
    input_dropout: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.hidden) < 2 or min(self.hidden) < 1:
            raise UserError(
                f"hidden={','.join(map(str, self.hidden))}: give two layers or more; write it like hidden=500,500,2000"
            )

    def build(self) -> DBN:
        return DBN(self)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What comes before fine-tuning."""

    labels: int = 0
    """Only so many training rows keep their label; 0: all."""
    pretrain_epochs: float = 20
    """0: the layers are as they are given (`--weights` of a run that was pretrained)."""
    pretrain_steps: int = 0
    """Of each layer; above 0 it overrides the epochs."""
    pretrain_lr: float = 0.05
    wake_sleep_epochs: float = 10
    wake_sleep_steps: int = 0
    wake_sleep_lr: float = 0.005
    gibbs: int = 3
    """Gibbs steps that the memory's chains take in a step of learning."""

    def __post_init__(self) -> None:
        for name in ("labels", "pretrain_epochs", "pretrain_steps", "wake_sleep_epochs", "wake_sleep_steps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}=10")
        if self.gibbs < 1:
            raise UserError(f"gibbs={self.gibbs} is below 1; write it like gibbs=3")


class DBN(nn.Module):
    """`rbms` lead upwards (the last one is the memory, on the layer below and K class units), `generative` downwards, and
    `net` answers. `chains` are hidden states of the memory [C, H] from Gibbs chains that go on while it learns, `held` their
    classes [C]."""

    chains: Tensor
    held: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.classes = config, config.classes
        widths = (math.prod(config.shape), *config.hidden)
        layers = list(pairwise(widths))
        top = len(layers) - 1
        self.rbms = nn.ModuleList(
            RBM(below + (self.classes if i == top else 0), above) for i, (below, above) in enumerate(layers)
        )
        self.generative = nn.ModuleList(nn.Linear(above, below) for below, above in layers[:-1])
        self.register_buffer("chains", chance.bernoulli(torch.full((CHAINS, widths[-1]), 0.5)))
        self.register_buffer("held", torch.arange(CHAINS) % config.classes)
        drops = (config.input_dropout, *[config.dropout] * len(layers))
        parts: list[nn.Module] = [nn.Flatten()]
        for (below, above), drop in zip(layers, drops, strict=False):
            parts += [Dropout(drop), nn.Linear(below, above), nn.Sigmoid()]
        self.net = nn.Sequential(*parts, Dropout(config.dropout), nn.Linear(widths[-1], self.classes))
        for layer in self.linear:
            nn.init.xavier_uniform_(layer.weight, gain=4 if layer is not self.linear[-1] else 1)
            nn.init.zeros_(layer.bias)

    @property
    def linear(self) -> list[nn.Linear]:
        """The feed-forward network's layers."""
        return [part for part in self.net if isinstance(part, nn.Linear)]

    @property
    def memory(self) -> RBM:
        return self.rbm(len(self.rbms) - 1)

    def rbm(self, layer: int) -> RBM:
        found = self.rbms[layer]
        assert isinstance(found, RBM)
        return found

    def way_down(self, layer: int) -> nn.Linear:
        found = self.generative[layer]
        assert isinstance(found, nn.Linear)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> logits [B, K]."""
        return self.net(x)

    # ---- the generative model

    def features(self, x: Tensor, layers: int) -> Tensor:
        """x [B, ...] -> the units' probabilities so many layers up."""
        v = x.flatten(1)
        for i in range(layers):
            v = self.rbm(i).up(v).sigmoid()
        return v

    def with_class(self, features: Tensor, y: Tensor) -> Tensor:
        """[B, F] -> [B, F + K]: class units of zeros for a row without a label."""
        known = (y != NO_LABEL)[:, None]
        return torch.cat([features, F.one_hot(y.clamp(min=0), self.classes).to(features) * known], 1)

    @torch.no_grad()
    def dream(self, y: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Moves the chains on: their visible states [C, F + K], the hidden units' probabilities [C, H], and features [C, F].

        Now and then a chain takes over the class of one of the rows, whose classes are y [B], or that it has none: so chains
        learn to go where a class leads, and as many have no class as rows' labels are hidden.
        """
        others = y[torch.arange(CHAINS, device=y.device) % len(y)]
        self.held.copy_(torch.where(torch.rand(CHAINS, device=y.device) < 1 / HELD, others, self.held))
        for _ in range(steps):
            features = chance.bernoulli(self.recalled(self.chains))
            state = self.with_class(features, self.held)
            on = self.memory.up(state).sigmoid()
            self.chains.copy_(chance.bernoulli(on))
        return state, on, features

    def recalled(self, h: Tensor) -> Tensor:
        """The memory's way down: states [B, H] -> probabilities of the features [B, F]."""
        return self.memory.down(h)[:, : -self.classes].sigmoid()

    def descend(self, features: Tensor) -> Tensor:
        """States of the last but one layer [B, F] -> the pixels' probabilities [B, V], by the generative weights."""
        for i in range(len(self.generative) - 1, -1, -1):
            p = self.way_down(i)(features).sigmoid()
            features = chance.bernoulli(p) if i else p
        return features

    def untie(self) -> None:
        """The way down begins as the way up transposed."""
        for i in range(len(self.generative)):
            self.way_down(i).weight.data.copy_(self.rbm(i).weight.data.T)
            self.way_down(i).bias.data.copy_(self.rbm(i).visible.data)

    def unroll(self) -> None:
        """The feed-forward network begins as the way up."""
        for i, linear in enumerate(self.linear[:-1]):
            linear.weight.data.copy_(self.rbm(i).weight.data[:, : linear.in_features])
            linear.bias.data.copy_(self.rbm(i).hidden.data)
        self.linear[-1].weight.data.copy_(self.memory.weight.data[:, -self.classes :].T)
        self.linear[-1].bias.data.copy_(self.memory.visible.data[-self.classes :])

    def draw(self, n: int, label: Tensor | None = None, *, steps: int = 100) -> Iterator[Tensor]:
        """Frames [n, *shape] of pixel probabilities: Gibbs steps in the memory with the class units held, then the way down.

        They begin where the chains of the memory's training ended, since from states unlike any row's they would end in
        valleys that no row has dug. A chain held a class for some thirty steps there: many hundreds end in few pictures.
        """
        if not self.config.pretrain:
            raise UserError("this run left pretraining out, so it draws nothing; train one without pretrain=false")
        y = torch.arange(n, device=self.chains.device) % self.classes if label is None else label
        h = self.chains[torch.randint(len(self.chains), (n,), device=y.device)]
        every = max(1, steps // FRAMES)
        for step in range(1, steps + 1):
            p = self.recalled(h)
            features = chance.bernoulli(p)
            h = chance.bernoulli(self.memory.up(self.with_class(features, y)).sigmoid())
            if step % every == 0 or step == steps:
                yield self.descend(features if step < steps else p).view(n, *self.config.shape)

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """The first layer's filters."""
        strongest = self.rbm(0).weight.square().sum(1).argsort(descending=True)[:SHOWN]
        return {"Filters of the first layer": patched(self.rbm(0).weight[strongest]).view(-1, *self.config.shape)}


# ---- the stages ------------------------------------------------------------------------------------------------------


def learned(model: DBN, v: Tensor, dreams: tuple[Tensor, Tensor]) -> Tensor:
    """The memory's energy of rows' states [B, F + K] less that of dreams, to be descended."""
    return contrast(model.memory, (v, model.memory.up(v).sigmoid()), dreams, len(v) / len(dreams[0]))


class Greedy(Objective):
    """Contrastive divergence (k = 1) of one layer's machine on what the layers below make of the rows.

    The value that it shows is the squared error of the reconstruction per row.
    """

    surrogate = noisy = True

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer

    @classmethod
    def of(cls, layer: int, model: nn.Module) -> Greedy:
        return cls(layer)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, DBN)
        rbm = model.rbm(self.layer)
        with torch.no_grad():
            v = model.features(batch["x"], self.layer)
            on = rbm.up(v).sigmoid()
            dreamt = rbm.down(chance.bernoulli(on)).sigmoid()
            on_again = rbm.up(dreamt).sigmoid()
        gap = contrast(rbm, (v, on), (dreamt, on_again))
        return Loss({"loss": shown(gap, (v - dreamt).square().sum())})


class Memory(Objective):
    """Persistent contrastive divergence of the memory on the features below and the class. Shows the same error as `Greedy`."""

    surrogate = noisy = True

    def __init__(self, gibbs: int) -> None:
        super().__init__()
        self.gibbs = gibbs

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, DBN)
        with torch.no_grad():
            features, y = chance.bernoulli(model.features(batch["x"], len(model.rbms) - 1)), batch["y"]
            v = model.with_class(features, y)
            again = model.recalled(chance.bernoulli(model.memory.up(v).sigmoid()))
            state, on, _ = model.dream(y, self.gibbs)
        return Loss({"loss": shown(learned(model, v, (state, on)), (features - again).square().sum())})


class WakeSleep(Objective):
    """The up-down algorithm (2006, appendix B), as one scalar whose gradient is all of its rules.

    Awake, states go up and the generative weights learn to predict each layer from the one above; the memory's chains run a
    few Gibbs steps on; asleep, states go down from there and the recognition weights learn the way back.
    """

    surrogate = noisy = True

    def __init__(self, gibbs: int) -> None:
        super().__init__()
        self.gibbs = gibbs

    def enter(self, model: nn.Module, source: Source) -> None:
        assert isinstance(model, DBN)
        model.untie()

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert isinstance(model, DBN)
        awake = self.wake(model, batch["x"].flatten(1))
        state, on, features = model.dream(batch["y"], self.gibbs)
        asleep = self.sleep(model, features)
        layers = range(len(awake) - 1)
        down = torch.stack([missed(model.way_down(i)(awake[i + 1]), awake[i]) for i in layers]).sum()
        up = torch.stack([missed(model.rbm(i).up(asleep[i]), asleep[i + 1]) for i in layers]).sum()
        up = up * (len(awake[0]) / len(features))
        with torch.no_grad():
            v = model.with_class(awake[-1], batch["y"])
        gap = learned(model, v, (state, on))
        logs = {"down": down.detach() / len(awake[0]), "up": up.detach() / len(awake[0])}
        return Loss({"loss": shown(down + up + gap, down + up)}, logs)

    @torch.no_grad()
    def wake(self, model: DBN, v: Tensor) -> list[Tensor]:
        """States of every layer below the memory, from the pixels up."""
        states = [v]
        for layer in range(len(model.rbms) - 1):
            states.append(chance.bernoulli(model.rbm(layer).up(states[-1]).sigmoid()))
        return states

    @torch.no_grad()
    def sleep(self, model: DBN, features: Tensor) -> list[Tensor]:
        """States of every layer below the memory, from the pixels' probabilities up, drawn downwards."""
        states = [features]
        for i in range(len(model.generative) - 1, -1, -1):
            p = model.way_down(i)(states[0]).sigmoid()
            states.insert(0, chance.bernoulli(p) if i else p)
        return states


def missed(logits: Tensor, states: Tensor) -> Tensor:
    """-log p of states under independent units with these logits, summed: its gradient is the delta rule."""
    return F.binary_cross_entropy_with_logits(logits.float(), states, reduction="sum")


class FineTune(SupervisedObjective):
    """Cross-entropy of the feed-forward network, which begins as the way up where there was pretraining."""

    def enter(self, model: nn.Module, source: Source) -> None:
        assert isinstance(model, DBN)
        if not model.config.pretrain:
            return
        model.unroll()


# ---- the recipe ------------------------------------------------------------------------------------------------------


def labelled(data: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """(data with those training rows alone that keep their label, as many of each class; data with the others' hidden)."""
    train = data.splits["train"]
    if not count:
        return data, data
    if count > len(train):
        raise UserError(f"labels={count:,} is more than the {len(train):,} training rows; leave it out for all of them")
    y = train.column(data.target)
    order = chance.permute(torch.arange(len(y)), len(y), seed, LABELLED).numpy()
    nth = np.empty(len(y), np.int64)
    for label in np.unique(y):
        mine = order[y[order] == label]
        nth[mine] = np.arange(len(mine))
    kept = np.sort(order[np.argsort(nth[order], kind="stable")][:count])
    hidden = np.full(len(y), NO_LABEL, np.int64)
    hidden[kept] = y[kept]
    whole = np.full(len(train.columns[data.target]), NO_LABEL, np.int64)
    whole[slice(None) if train.index is None else train.index] = hidden
    masked = Split({**train.columns, data.target: whole}, train.index)
    few, most = ({**data.splits, "train": split} for split in (train.take(kept), masked))
    return replace(data, splits=few), replace(data, splits=most)


def before(data: Dataset, task: Task, net: Config, how: Training, more: Pretraining) -> tuple[Stage, ...]:
    """One stage per layer, and wake-sleep."""
    plain = replace(
        how, optimizer="momentum", momentum=0.9, schedule="warmup-linear", accumulate=1, augment=(), weight_decay=2e-4,
        lr=more.pretrain_lr, batch_size=min(100, how.batch_size or 100),
    )  # fmt: skip
    both = replace(plain, lr=more.wake_sleep_lr, weight_decay=0.0)

    def learns(
        epochs: float, steps: int, how: Training, objective: Callable[[nn.Module], Objective], name: str, *trains: str
    ) -> Stage:
        made = stage(data, task, replace(how, epochs=epochs or 1, steps=steps), objective, name=name, trains=trains)
        return made if epochs or steps else replace(made, steps=0)

    top = len(net.hidden) - 1
    greedy = [
        learns(
            more.pretrain_epochs, more.pretrain_steps, plain if i < top else replace(plain, lr=more.pretrain_lr / 10),
            partial(Greedy.of, i) if i < top else lambda model: Memory(more.gibbs), f"pretrain-{i + 1}", f"rbms.{i}",
        )
        for i in range(len(net.hidden))
    ]  # fmt: skip
    updown = learns(
        more.wake_sleep_epochs,
        more.wake_sleep_steps,
        both,
        lambda model: WakeSleep(more.gibbs),
        "wake-sleep",
        "rbms",
        "generative",
    )
    return (*greedy, updown)


CAN = ["draw", "views"]
"""What the network does besides."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Stages pretrain-1, pretrain-2, …, wake-sleep and fine-tune; pretrain=false leaves all but the last one out."""
    check_reads("dbn", data, "image")
    field, rows = data.fields[data.input], len(data.splits["train"])
    assert isinstance(field, Image)
    unit = replace(field, mean=(0.0,) * field.channels, std=(255.0,) * field.channels)
    task = Classify({"x": unit}, {"y": data.fields[data.target]}, can=CAN)
    net = Config(shape=field.shape, classes=len(data.classes))
    how = Training(
        epochs=30,
        batch_size=100,
        lr=1e-3,
        optimizer="adamw",
        schedule="one-cycle",
        weight_decay=0.01,
        label_smoothing=0.1,
    )
    more = Pretraining()
    if rows < FEW:
        net = replace(net, hidden=(128, 128, 256))
        how, more = replace(how, epochs=100), replace(more, pretrain_epochs=60, wake_sleep_epochs=30)
    net, how, more = settle(choices, net, how, more, given=("shape", "classes"))
    if net.dropout and rows >= FEW:
        how = replace(how, **{name: value for name, value in DROPPING.items() if name not in choices})
    if more.labels and rows >= FEW and not {"epochs", "steps"} & choices.keys():
        how = replace(how, steps=2000)
    check_own_loss(replace(how, label_smoothing=0.0))  # fine-tuning smooths labels like any classifier
    few, most = labelled(data, more.labels, how.seed)
    tune = stage(
        few,
        task,
        how,
        lambda model: FineTune("cross-entropy", label_smoothing=how.label_smoothing),
        name="fine-tune",
        trains=("net",),
    )
    stages = (*before(most, task, net, how, more), tune) if net.pretrain else (tune,)
    notes = (f"{more.labels:,} of {rows:,} training rows keep their labels",) if more.labels else ()
    made = recipe_of(data, net, how, task, stages, notes)
    return replace(made, settings={**made.settings, **to_json(more)})


def tiny() -> tuple[Any, dict[str, Any]]:
    return "digits", {
        "pretrain": False, "hidden": (24, 32), "steps": 30, "batch_size": 32, "lr": 0.02, "pretrain_steps": 4,
        "wake_sleep_steps": 4, "input_dropout": 0.1, "dropout": 0.1,
    }  # fmt: skip


REFERENCES = (
    {"data": "mnist", "metric": "error-rate", "published": 0.0125, "target": 0.0125,
     "source": "Hinton, Osindero & Teh 2006: 784-500-500-2000, 1.25%"},
    {"data": "mnist", "metric": "error-rate", "published": 0.0092, "target": 0.01,
     "choices": {"input_dropout": 0.1, "dropout": 0.2},
     "source": "Srivastava et al. 2014, table 3: pretrained 784-500-500-2000 with dropout fine-tuning, 0.92% without shifts"},
)  # fmt: skip
