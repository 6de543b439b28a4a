"""TabM (2024): many small networks in one, a deep model for tables that rivals boosted trees.

The mean of several networks beats each of them on tables, at several times the cost. TabM's members share their layers:
a member is a scale of the inputs, a bias and an output of its own. All see the same rows, each is trained on its own
loss, and their predictions are averaged. Since the sharing regularises, they are better together than as many apart.

Y. Gorishniy, A. Kotelnikov, A. Babenko: TabM: Advancing tabular deep learning with parameter-efficient ensembling.
ICLR 2025, arXiv:2410.24210. Sharing: Y. Wen, D. Tran, J. Ba: BatchEnsemble, ICLR 2020. Embeddings of numbers:
Y. Gorishniy, I. Rubachev, A. Babenko: On embeddings for numerical features in tabular deep learning, NeurIPS 2022.

This is the form that the paper calls TabM-mini, with deviations: (1) a member's scale is one number per column, not one per
element of its vector, so the first layer is computed once per row for all members, who then only add up its columns:
two thirds more rows per second, and no worse; (2) each member has a bias there; (3) categories have trained vectors where the
paper has one-hot ones, and texts the mean of their words'; (4) a missing number has a vector of its own; (5) the pieces
that numbers are placed in: see `Numbers`; (6) 16 members, where the paper has 32, fewer units, and a high learning rate
on a one-cycle schedule: a minute or two on a processor.

Shape letters: B rows, W positions of a row, F columns, K members, H units, O outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import At, Batch, Loss, Objective, Recipe, Source
from shendu.data.dataset import Dataset
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.errors import UserError
from shendu.nn.dropout import Dropout
from shendu.nn.tabular import SAMPLED, Columns
from shendu.recipes import Training, answers, check_reads, labelled, supervised
from shendu.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Config:
    """`numeric`, `coded` and `texts` say what stands where in a row (as in `Row`); `pieces` is of a number's range."""

    numeric: tuple[int, ...] = (0, 1)
    coded: tuple[tuple[int, int], ...] = ()
    texts: tuple[tuple[int, int, int], ...] = ()
    outputs: int = 2
    task: Literal["classes", "numbers"] = "classes"
    members: int = 16
    hidden: tuple[int, ...] = (128, 128)
    pieces: int = 48
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.hidden or min(self.members, self.pieces, *self.hidden) < 1:
            raise UserError(
                f"members={self.members}, pieces={self.pieces}, hidden={self.hidden} must be 1 or more; "
                "write them like members=16, pieces=48, hidden=128,128"
            )

    def build(self) -> TabM:
        return TabM(self)


class TabM(nn.Module):
    """In training every member's outputs; in eval mode the logarithm of their mean probability, or their mean value."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.task = config.task
        k, (first, *others) = config.members, config.hidden
        self.columns = Columns(config.numeric, config.coded, config.texts, pieces=config.pieces, width=first)
        self.scales = nn.Parameter(torch.randn(k, self.columns.count))
        self.biases = nn.Parameter(torch.zeros(k, 1, first))
        layers: list[nn.Module] = [nn.ReLU(inplace=True), Dropout(config.dropout)]
        for before, after in zip(config.hidden, others, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True), Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        bound = config.hidden[-1] ** -0.5
        self.heads = nn.Parameter(torch.empty(k, config.hidden[-1], config.outputs).uniform_(-bound, bound))
        self.head_biases = nn.Parameter(torch.empty(k, 1, config.outputs).uniform_(-bound, bound))

    def members(self, x: Tensor) -> Tensor:
        """x [B, ...] -> each member's logits or values [K, B, O]."""
        vectors = self.columns(x.flatten(1))
        summed = (self.scales @ vectors.flatten(1)).view(len(self.scales), *vectors.shape[1:])
        return torch.baddbmm(self.head_biases, self.layers(summed + self.biases), self.heads)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...] -> [B, K, O] in training, [B, O] in eval mode."""
        each = self.members(x)
        if self.training:
            return each.transpose(0, 1)
        if self.task == "numbers":
            return each.mean(0)
        return each.float().log_softmax(-1).logsumexp(0) - math.log(len(each))


class Members(Objective):
    """The mean of the members' own losses: cross-entropy, or the squared error in standard units.

    Not the loss of their mean: that would let members lean on each other.
    """

    def enter(self, model: nn.Module, source: Source) -> None:
        """The pieces of the numbers' ranges: quantiles of training rows."""
        assert isinstance(model, TabM)
        model.columns.fit(source.batch(At(0, min(source.rows, SAMPLED)))["x"].flatten(1))

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        outputs, y = model(batch["x"]).float(), batch["y"]
        each = outputs.reshape(len(y), -1, outputs.shape[-1])
        k = each.shape[1]
        if y.is_floating_point():
            wanted = y.reshape(len(y), 1, -1).expand_as(each)
            return Loss({"loss": F.mse_loss(each, wanted, reduction="sum") / (k * each.shape[2])})
        return Loss({"loss": F.cross_entropy(each.flatten(0, 1), y.repeat_interleave(k), reduction="sum") / k})


# ---- recipe ----------------------------------------------------------------------------------------------------------


def placed(data: Dataset) -> dict[str, Any]:
    """Where a row's numbers, codes and words stand; raises UserError for what is no table."""
    check_reads("tabm", data, "row", "number")
    field = data.fields[data.input]
    if isinstance(field, Row):
        return {"numeric": field.numeric, "coded": field.coded, "texts": field.texts}
    assert isinstance(field, Number)
    return {"numeric": tuple(range(math.prod(field.shape)))}


EPOCHS, FEWEST, MOST = 15, 1000, 6000
"""Passes over the rows, within these numbers of steps: few rows are seen more often, many less often."""
SMALL, FEW = 2000, 100
"""Rows below which the network is narrow and has dropout, and below which it is said that little can be known."""


def usual(data: Dataset, task: Task) -> tuple[Config, Training]:
    """What suits the rows: more of them allow for larger batches, more units, finer pieces."""
    where, rows = placed(data), len(data.splits["train"])
    numbers = max(1, len(where["numeric"]))
    net = Config(
        **where,
        outputs=answers(task),
        task="classes" if task.labels else "numbers",
        pieces=max(2, min(48, rows // 20, 4096 // numbers)),
    )
    size = min(max(16, 2 ** int(math.log2(max(1, rows / 64)))), 1024)
    steps = min(max(FEWEST, EPOCHS * rows // size), MOST)
    how = Training(
        epochs=steps * size / rows, batch_size=size, lr=0.01, schedule="one-cycle", weight_decay=3e-4,
        select_by="cross-entropy" if task.labels else "rmse",
    )  # fmt: skip
    if rows < SMALL:
        net = replace(net, hidden=(64, 64), dropout=0.2)
    return net, how


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """One cycle of a high learning rate; the weights of the best validation are kept."""
    rows = len(data.splits["train"])
    net, how = settle(choices, *usual(data, labelled(data)), given=("numeric", "coded", "texts", "outputs", "task"))
    if how.augment:
        raise UserError(
            "augment changes pictures and recordings, and a table's rows are taken as they are: leave it out"
        )
    few = f"{rows} rows to learn from: a narrow network, and figures that say little; more rows help most"
    return supervised(data, net, how, objective=lambda model: Members(), notes=(few,) if rows < FEW else ())


def tiny() -> tuple[Any, dict[str, Any]]:
    return "mixed", {"steps": 40, "batch_size": 32, "members": 4, "hidden": (24, 24), "pieces": 8, "dropout": 0.1}


SUITS = {"row": "tables are learned by an ensemble of networks over embedded columns"}

REFERENCES = (
    {"data": "adult", "metric": "accuracy", "published": 0.8693, "target": 0.870,
     "source": "Gorishniy et al., github.com/yandex-research/tabm, exp/tabm-mini-piecewiselinear/adult, seed 0 (tuned)"},
    {"data": "adult", "metric": "auc", "published": 0.9229, "target": 0.9245,
     "source": "the same; the target is scikit-learn's HistGradientBoostingClassifier (0.9275) less 0.003"},
    {"data": "california-housing", "metric": "rmse", "published": None, "target": 46822.0,
     "readings": [{"split": f"0.2@{seed}"} for seed in range(5)],
     "source": "scikit-learn's HistGradientBoostingRegressor, default settings, same rows"},
)  # fmt: skip
