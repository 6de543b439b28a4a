"""TabM against what its words say, written out with loops, and on tables of every make."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import data as data_module
from shendu.data.column import Column
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.errors import UserError
from shendu.nn.tabular import Columns, Numbers, quantiles
from shendu.systems.tables import tabm
from shendu.tasks.regress import Regress

NAN = math.nan
NET = {"numeric": (0, 3), "coded": ((1, 4), (4, 3)), "texts": ((5, 3, 6),), "members": 3, "hidden": (8, 5), "pieces": 4,
       "dropout": 0.0}  # fmt: skip


def rows(count: int) -> Tensor:
    """Rows for NET: a number, a code below 4, nothing of use, a number with gaps, a code below 3, three word ids."""
    g = torch.Generator().manual_seed(count)
    numbers = torch.randn(count, 3, generator=g)
    numbers[::4, 2] = NAN
    words = torch.randint(0, 6, (count, 3), generator=g).sort(1, descending=True).values
    codes = [torch.randint(0, size, (count, 1), generator=g) for size in (4, 3)]
    return torch.cat([numbers[:, :1], codes[0], numbers[:, 1:], codes[1], words], 1)


def built(**more: Any) -> tabm.TabM:
    """A network whose every weight is away from 0, its pieces fitted to 200 rows."""
    net = tabm.Config(**{**NET, **more}).build()
    net.columns.fit(rows(200))
    with torch.no_grad():
        for p in net.parameters():
            p += 0.3 * torch.randn(p.shape)
    return net


# ---- numbers by the piece


def test_quantiles_are_equally_full() -> None:
    values = torch.from_numpy(np.random.default_rng(0).lognormal(size=5000)).float()
    edges = quantiles(values, 10)
    assert edges[0] == values.min()
    assert edges[-1] == values.max()
    filled = torch.histogram(values, edges).hist
    assert (filled - 500).abs().max() <= 2


def test_quantiles_of_few_distinct_values_are_these_values() -> None:
    assert quantiles(torch.tensor([2.0, 7.0, 2.0, 5.0]), 5).tolist() == [2, 5, 7, 7, 7, 7]
    assert quantiles(torch.tensor([3.0]), 2).tolist() == [3, 3, 3]


def test_a_value_that_fills_nine_tenths_takes_one_piece() -> None:
    """Plain quantiles would leave one piece of ten to the hundred values that differ."""
    values = torch.cat([torch.zeros(900), torch.arange(1.0, 101)])
    edges = quantiles(values, 10)
    assert (edges[1:].diff() > 0).all()
    assert edges[2] < 20


def test_numbers_by_hand() -> None:
    part = Numbers(2, 3, 5)
    part.fit(torch.tensor([[0.0, 1.0], [1.0, NAN], [4.0, 1.0], [6.0, NAN]]))
    with torch.no_grad():
        for p in part.parameters():
            p.normal_()
    edges = [0.0, 1.0, 4.0, 6.0]
    for number in (-3.0, 0.0, 0.5, 1.0, 3.0, 5.9, 6.0, 80.0, math.inf, NAN):
        found = part(torch.tensor([[number, NAN]]))[:, 0]
        inside = min(max(number, 0.0), 6.0)
        shares = [min(max((inside - a) / (b - a), 0.0), 1.0) for a, b in itertools.pairwise(edges)]
        wanted = part.bias[0] + part.linear[0] * inside + torch.tensor(shares) @ part.pieces[0]
        torch.testing.assert_close(found[0], part.missing[0] if math.isnan(number) else wanted)
        torch.testing.assert_close(found[1], part.missing[1])


def test_a_constant_and_an_empty_column_are_finite() -> None:
    part = Numbers(3, 4, 2)
    x = torch.stack([torch.full((9,), 2.0), torch.full((9,), NAN), torch.arange(9.0)], 1)
    part.fit(x)
    vectors = part(torch.cat([x, torch.tensor([[7.0, 7.0, NAN], [-math.inf, math.inf, 3e38]])]))
    assert vectors.isfinite().all()
    vectors.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_columns_are_numbers_then_codes_then_words() -> None:
    net, x = built().columns, rows(20)
    vectors = net(x)
    assert vectors.shape == (5, 20, 8)
    torch.testing.assert_close(vectors[:2], net.numbers(x[:, [0, 3]]))
    for i, row in enumerate(x):
        torch.testing.assert_close(vectors[2, i], net.codes.vectors[int(row[1])])
        torch.testing.assert_close(vectors[3, i], net.codes.vectors[4 + int(row[4])])
        ids = [int(word) for word in row[5:] if word]
        mean = net.words[0].vectors[ids].mean(0) if ids else torch.zeros(8)
        torch.testing.assert_close(vectors[4, i], mean)


def test_missing_and_unseen_codes_begin_amid_the_others() -> None:
    part = Columns((), ((0, 5), (1, 3)), (), pieces=4, width=6)
    assert part.codes.vectors[[0, 1, 5, 6]].abs().sum() == 0
    assert (part.codes.vectors[[2, 3, 4, 7]].abs().sum(1) > 0).all()


# ---- members


@pytest.mark.parametrize("hidden", [(8,), (8, 5), (8, 5, 6)])
def test_members_are_networks_of_their_own(hidden: tuple[int, ...]) -> None:
    """Member m is a plain network whose first layer's column blocks are multiplied by its scales."""
    net, x = built(hidden=hidden), rows(30)
    together = net(x)
    assert together.shape == (30, 3, 2)
    vectors = net.columns(x)
    for m in range(3):
        h = sum(net.scales[m, c] * vectors[c] for c in range(5)) + net.biases[m, 0]
        for layer in net.layers:
            h = F.relu(h) if isinstance(layer, torch.nn.ReLU) else layer(h)
        torch.testing.assert_close(together[:, m], h @ net.heads[m] + net.head_biases[m], rtol=1e-4, atol=1e-4)


def test_the_first_layer_is_the_papers_with_one_scale_per_column() -> None:
    """W (r ⊙ e) of the paper's adapter, e all columns' vectors one after another, r constant over each column's."""
    net, width = built(), 3
    embed = torch.randn(5, 12, width)
    weight = torch.randn(8, 5 * width)
    vectors = torch.einsum("cbe,hce->cbh", embed, weight.view(8, 5, width))
    for m in range(3):
        r = net.scales[m].repeat_interleave(width)
        wanted = F.linear(embed.transpose(0, 1).flatten(1) * r, weight)
        ours = (net.scales[m] @ vectors.flatten(1)).view(12, 8)
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)


def test_loss_is_the_mean_of_the_members_losses() -> None:
    net, x = built(), rows(40)
    y = torch.arange(40) % 2
    objective = tabm.Members()
    loss = objective(net, {"x": x, "y": y}, torch.tensor(0)).sums["loss"]
    outputs = net(x)
    wanted = sum(F.cross_entropy(outputs[:, m], y, reduction="sum") for m in range(3)) / 3
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    whole = net.heads.grad.clone()
    net.zero_grad()
    F.cross_entropy(net(x)[:, 1], y, reduction="sum").backward()
    torch.testing.assert_close(whole[1], net.heads.grad[1] / 3)  # no member's head learns from another's error
    assert net.heads.grad[[0, 2]].abs().sum() == 0


def test_loss_of_numbers_is_in_standard_units() -> None:
    net, x = built(outputs=2, task="numbers"), rows(40)
    y = 100 + 10 * torch.randn(40, 2)
    target = Number(shape=(2,), mean=(100.0, 90.0), std=(10.0, 5.0))
    task = Regress({"x": Number(shape=x.shape[1:])}, {"y": target})
    loss = tabm.Members()(net, {"x": x, **task.prepare({"y": y})}, torch.tensor(0)).sums["loss"]
    z = (y - torch.tensor([100.0, 90.0])) / torch.tensor([10.0, 5.0])
    torch.testing.assert_close(loss, sum((net(x)[:, m] - z).square().mean(1).sum() for m in range(3)) / 3)


def test_prediction_is_the_mean_probability_or_the_mean_value() -> None:
    x = rows(25)
    for task in ("classes", "numbers"):
        net = built(outputs=3, task=task)
        each = net(x)
        together = net.eval()(x)
        wanted = each.mean(1) if task == "numbers" else each.softmax(-1).mean(1)
        torch.testing.assert_close(together if task == "numbers" else together.exp(), wanted)


# ---- tables of every make


def table(x: np.ndarray, fields: tuple[Column, ...], y: np.ndarray, classes: int = 2) -> Dataset:
    target = Category(names=tuple(map(str, range(classes)))) if classes else Number()
    values = x.astype(np.float32)
    row = Row(columns=fields).fitted([{"": values}])
    split = Split({"row": values, "y": y.astype(np.int64 if classes else np.float32)})
    return Dataset(name="made", source="made", hash="0", fields={"row": row, "y": target}, splits={"train": split},
                   inputs=("row",), targets=("y",))  # fmt: skip


def numbers(count: int) -> tuple[Column, ...]:
    return tuple(Column(name=f"n{i}", kind="number") for i in range(count))


def figures(bench: Any, tmp_path: Any, data: Dataset, **choices: Any) -> dict[str, float]:
    """Of the training rows after a short training."""
    few = {"steps": 60, "members": 4, "hidden": (16, 16), "pieces": 8, "batch_size": 32}
    recipe = tabm.recipe(data.split_off(), **{**few, **choices})
    model, _ = bench.train(recipe, tmp_path)
    return bench.figures(recipe, model, "train")


RNG = np.random.default_rng(4)
MADE = {
    "numbers only": table(RNG.normal(size=(200, 3)), numbers(3), RNG.integers(0, 2, 200)),
    "fifty rows": table(RNG.normal(size=(50, 3)), numbers(3), RNG.integers(0, 2, 50)),
    "ten rows": table(RNG.normal(size=(10, 3)), numbers(3), np.arange(10) % 2),
    "a column of gaps": table(np.where([True, False], np.nan, RNG.normal(size=(90, 2))), numbers(2), np.arange(90) % 2),
    "a constant column": table(np.where([True, False], 1.0, RNG.normal(size=(90, 2))), numbers(2), np.arange(90) % 2),
    "40 classes": table(RNG.normal(size=(400, 2)), numbers(2), np.arange(400) % 40, 40),
}


@pytest.mark.parametrize("name", MADE)
def test_any_table_trains(name: str, bench: Any, tmp_path: Any) -> None:
    assert all(map(math.isfinite, figures(bench, tmp_path, MADE[name], steps=5).values()))


def test_exclusive_or_of_categories(bench: Any, tmp_path: Any) -> None:
    codes = RNG.integers(2, 4, (300, 2))
    pair = tuple(Column(name=name, kind="category", names=("a", "b")) for name in "pq")
    assert figures(bench, tmp_path, table(codes, pair, codes.sum(1) == 5))["accuracy"] == 1


def test_gaps_that_tell(bench: Any, tmp_path: Any) -> None:
    """The class is whether the number is missing."""
    x = RNG.normal(size=(300, 2))
    x[::3, 0] = np.nan
    assert figures(bench, tmp_path, table(x, numbers(2), np.isnan(x[:, 0])))["accuracy"] == 1


def test_words_that_tell(bench: Any, tmp_path: Any) -> None:
    ids = RNG.integers(1, 8, (300, 4))
    text = (Column(name="note", kind="text", names=tuple("abcdef"), length=4),)
    assert figures(bench, tmp_path, table(ids, text, (ids == 3).any(1)))["accuracy"] > 0.9


def test_a_step_is_learned_where_it_stands(bench: Any, tmp_path: Any) -> None:
    """A regression whose target jumps twice, in its own unit."""
    x = RNG.uniform(size=(600, 1))
    y = 1000 + 50 * ((x[:, 0] > 0.3) & (x[:, 0] < 0.6))
    assert figures(bench, tmp_path, table(x, numbers(1), y, 0), steps=200, pieces=24)["r2"] > 0.9


def test_beats_chance_on_the_mixed_set(bench: Any, tmp_path: Any) -> None:
    data = data_module.open("mixed").split_off()
    recipe = tabm.recipe(data, members=8, hidden=(32, 32), steps=150)
    model, at = bench.train(recipe, tmp_path)
    assert at.best is not None
    assert bench.figures(recipe, model, "test")["auc"] > 0.85


# ---- one line


@pytest.mark.parametrize(
    ("data", "choices", "line"),
    [
        ("digits", {}, "tabm reads tables and numbers, and digits holds pictures; leave the system out to have one chosen, or see `shendu list`"),
        ("mixed", {"augment": "mixup:0.2"}, "augment changes pictures and recordings, and a table's rows are taken as they are: leave it out"),
        ("mixed", {"members": 0, "pieces": 21}, "members=0, pieces=21, hidden=(64, 64) must be 1 or more; write them like members=16, pieces=48, hidden=128,128"),
        ("mixed", {"coded": "3"}, "coded follows from the data and cannot be set; leave it out"),
    ],
)  # fmt: skip
def test_lines_for_a_person(data: str, choices: dict[str, Any], line: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        tabm.recipe(data_module.open(data), **choices)
    assert one_line(caught.value) == line


def test_a_choice_of_epochs_wins() -> None:
    data = data_module.open("mixed").split_off()
    rows = len(data.splits["train"])
    stage = tabm.recipe(data, epochs=2, batch_size=50).stages[0]
    assert stage.steps == round(2 * rows / 50)
