"""DeepBind (2015): a convolution that finds the motifs which proteins bind to, learned from sequences alone.

Biologists describe a binding site as a matrix: how much each letter fits at each place. A convolution over one-hot letters
is exactly such a matrix, so the first layer of the network is a set of motif detectors, and what it has learned can be
read. Rectification forgets what fits badly, pooling asks how well a motif fits anywhere, a small network weighs the answers.

B. Alipanahi, A. Delong, M. Weirauch, B. Frey: Predicting the sequence specificities of DNA- and RNA-binding proteins by
deep learning. Nature Biotechnology 33, 2015.

Deviations: (1) sequences that all have the same length are taken to be aligned, so a motif's best fit is asked for in each
window of `pool` places; paper (and pool=0): in the whole sequence; (2) one strand; paper: optionally the better one of the
sequence and its reverse complement; (3) a network of one's own per member, `members` of them at once, each on its own loss;
paper: one, the best of several trainings; (4) AdamW with a one-cycle schedule and fixed settings; paper: SGD with momentum,
settings drawn at random; (5) dropout of the letters as well.

Shape letters: B rows, A letters, L length, F filters, P windows, M members, K classes or numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.sequence import Sequence
from shendu.errors import UserError
from shendu.nn.dropout import Dropout
from shendu.recipes import Training, answers, check_reads, labelled, supervised


@dataclass(frozen=True, kw_only=True)
class Config:
    """`filters` motifs of `width` letters; `pool` places share their best fit (0: all); `average`: their mean fit too."""

    letters: int = 4
    length: int = 60
    outputs: int = 2
    task: Literal["classes", "numbers"] = "classes"
    members: int = 4
    filters: int = 32
    width: int = 9
    pool: int = 0
    average: bool = False
    hidden: int = 32
    input_dropout: float = 0.1
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if min(self.members, self.filters, self.width) < 1 or min(self.hidden, self.pool) < 0:
            raise UserError(
                f"members={self.members}, filters={self.filters}, width={self.width} must be 1 or more, hidden={self.hidden} and "
                f"pool={self.pool} 0 or more; write them like members=4, filters=32, width=9, hidden=32, pool=3"
            )

    def build(self) -> DeepBind:
        return DeepBind(self)


class DeepBind(nn.Module):
    """In training every member's outputs; in eval mode the logarithm of their mean probability, or their mean value."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        m, f = config.members, config.filters
        self.letters_dropout = Dropout(config.input_dropout)
        self.motifs = nn.Conv1d(config.letters, m * f, config.width, padding=config.width - 1)
        self.dropout = Dropout(config.dropout)
        places = config.length + config.width - 1
        pooled = f * (math.ceil(places / config.pool) if config.pool else 1) * (1 + config.average)
        widths = [pooled, config.hidden, config.outputs] if config.hidden else [pooled, config.outputs]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(m, i, o).uniform_(-(i**-0.5), i**-0.5)) for i, o in pairwise(widths)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(m, 1, o)) for o in widths[1:])

    def fits(self, x: Tensor) -> Tensor:
        """x [B, A, L] -> how well each motif fits where it does, [B, M * F, L + width - 1]."""
        return torch.relu(self.motifs(self.letters_dropout(x)))

    def members(self, x: Tensor) -> Tensor:
        """x [B, A, L] -> each member's logits or values [M, B, K]."""
        fits, pool = self.fits(x), self.config.pool or self.config.length + self.config.width - 1
        pooled = [F.max_pool1d(fits, pool, ceil_mode=True)]
        if self.config.average:
            pooled.append(F.avg_pool1d(fits, pool, ceil_mode=True))
        out = torch.cat(pooled, -1).view(x.shape[0], self.config.members, -1).transpose(0, 1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            out = torch.baddbmm(bias, self.dropout(torch.relu(out) if i else out), weight)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """x [B, A, L] -> [B, M, K] in training, [B, K] in eval mode."""
        each = self.members(x)
        if self.training:
            return each.transpose(0, 1)
        if self.config.task == "numbers":
            return each.mean(0)
        return each.float().log_softmax(-1).logsumexp(0) - math.log(len(each))


class Members(Objective):
    """The mean of the members' own losses: cross-entropy, or the squared error in standard units.

    Not the loss of their mean: that would let members lean on each other.
    """

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        y = batch["y"]
        each = model(batch["x"]).float()
        each = each.reshape(len(y), -1, each.shape[-1])
        members = each.shape[1]
        if y.is_floating_point():
            wanted = y.reshape(len(y), 1, -1).expand_as(each)
            return Loss({"loss": F.mse_loss(each, wanted, reduction="sum") / (members * each.shape[2])})
        return Loss(
            {"loss": F.cross_entropy(each.flatten(0, 1), y.repeat_interleave(members), reduction="sum") / members}
        )


SMALL = 1000
"""Rows below which fewer motifs are looked for, and more often."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Aligned sequences keep their places. Raises UserError for what is no sequence of letters."""
    check_reads("deepbind", data, "sequence")
    field = data.fields[data.input]
    assert isinstance(field, Sequence)
    task, rows = labelled(data), len(data.splits["train"])
    letters, length = field.shape
    aligned = bool((data.splits["train"].column(data.input) != 0).all())
    net = Config(
        letters=letters, length=length, outputs=answers(task),
        task="classes" if task.labels else "numbers", width=min(9, length), pool=3 if aligned else 0, average=not aligned,
    )  # fmt: skip
    how = Training(epochs=40, batch_size=128, lr=3e-3, schedule="one-cycle", weight_decay=0.01)
    if rows < SMALL:
        net = replace(net, filters=16)
        how = replace(how, steps=400, batch_size=64)
    net, how = settle(choices, net, how, given=("letters", "length", "outputs", "task"))
    return supervised(data, net, how, objective=lambda model: Members())


def tiny() -> tuple[Any, dict[str, Any]]:
    return "motifs", {"steps": 40, "batch_size": 32, "members": 2, "filters": 12, "hidden": 16}


SUITS = {"sequence": "sequences of letters are learned by convolutions that look for motifs"}

REFERENCES = (
    {"data": "uci-splice", "metric": "accuracy", "published": None, "target": 0.955,
     "readings": [{"split": f"{fold}/5"} for fold in range(1, 6)], "source": ""},
)  # fmt: skip
