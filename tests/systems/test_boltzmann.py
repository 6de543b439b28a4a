"""Boltzmann machines against sums over all of their states, written out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shendu import data as data_module
from shendu.data.known import made
from shendu.errors import UserError
from shendu.systems.generative import boltzmann
from shendu.systems.generative.boltzmann import Boltzmann, Config, Equilibrium, Learning

STEP = torch.zeros((), dtype=torch.int64)


def machine(visible: int = 4, hidden: int = 3, scale: float = 1.0) -> Boltzmann:
    net = Config(shape=(visible,), hidden=hidden).build()
    torch.nn.init.normal_(net.weight, std=scale)
    torch.nn.init.normal_(net.bias, std=scale)
    return net


def energy(net: Boltzmann, s: tuple[int, ...]) -> float:
    weight, bias = net.weight.detach(), net.bias.detach()
    pairs = sum(float(weight[i, j]) * s[i] * s[j] for i in range(len(s)) for j in range(i + 1, len(s)))
    return -pairs - sum(float(bias[i]) * s[i] for i in range(len(s)))


def every(net: Boltzmann) -> dict[tuple[int, ...], float]:
    """State -> probability."""
    weights = {s: math.exp(-energy(net, s)) for s in itertools.product((0, 1), repeat=net.units)}
    z = sum(weights.values())
    return {s: w / z for s, w in weights.items()}


def together(shares: dict[tuple[int, ...], float]) -> tuple[Tensor, Tensor]:
    """Mean s_i s_j above the diagonal, mean s_i."""
    pairs = sum(p * torch.outer(torch.tensor(s), torch.tensor(s)).float() for s, p in shares.items())
    ones = sum(p * torch.tensor(s).float() for s, p in shares.items())
    assert isinstance(pairs, Tensor)
    assert isinstance(ones, Tensor)
    return pairs.triu(1), ones


@pytest.mark.parametrize("hidden", [0, 1, 3])
@torch.no_grad()
def test_likelihood_is_the_sum_over_all_states(hidden: int) -> None:
    net = machine(4, hidden)
    shares = every(net)
    z = sum(math.exp(-energy(net, s)) for s in shares)
    assert float(net.log_z()) == pytest.approx(math.log(z), abs=1e-4)
    rows = torch.tensor(list(itertools.product((0, 1), repeat=4))).float()
    wanted = [-math.log(sum(p for s, p in shares.items() if s[:4] == tuple(map(int, v)))) for v in rows.tolist()]
    torch.testing.assert_close(net(2 * rows - 1), torch.tensor(wanted), rtol=1e-4, atol=1e-4)
    assert float((-net(2 * rows - 1)).exp().sum()) == pytest.approx(1, abs=1e-4)


def test_exact_gradient_is_awake_minus_dreaming() -> None:
    net = machine()
    v = torch.tensor([[1.0, 0, 1, 1], [0, 0, 1, 0]])
    loss = boltzmann.Likelihood()(net, {"x": 2 * v - 1}, STEP).sums["loss"]
    slopes = torch.autograd.grad(loss / 2, [net.weight, net.bias])
    shares = every(net)
    clamped: dict[tuple[int, ...], float] = {}
    for row in v.int().tolist():
        mine = {s: p for s, p in shares.items() if list(s[:4]) == row}
        clamped |= {s: p / sum(mine.values()) / 2 for s, p in mine.items()}
    for slope, dreaming, awake in zip(slopes, together(shares), together(clamped), strict=True):
        torch.testing.assert_close(slope, dreaming - awake, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("learning", ["gibbs", "mean-field"])
def test_the_surrogates_gradient_is_the_papers_rule(learning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = machine()
    objective = Equilibrium(net, Learning(learning=learning, chains=6))
    assert objective.surrogate
    assert objective.noisy
    awake = torch.cat([torch.tensor([[1.0, 0, 1, 1], [0, 0, 1, 0]]), torch.rand(2, 3)], 1)
    dreamt = (torch.rand(6, 7) < 0.5).float()
    monkeypatch.setattr(net, "settle", lambda s, first=0, **how: awake if first else dreamt)
    loss = objective(net, {"x": 2 * awake[:, :4] - 1}, STEP).sums["loss"]
    slope, of_bias = torch.autograd.grad(loss / 2, [net.weight, net.bias])
    torch.testing.assert_close(slope, (dreamt.T @ dreamt / 6 - awake.T @ awake / 2).triu(1))
    torch.testing.assert_close(of_bias, dreamt.mean(0) - awake.mean(0))
    assert torch.equal(objective.chains, dreamt)


def test_gibbs_draws_come_from_the_machine() -> None:
    net = machine(3, 1, 0.8)
    s = net.settle(torch.zeros(40_000, 4), sweeps=25)
    found = torch.bincount((s.int() * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16) / len(s)
    assert 0.5 * float((found - torch.tensor(list(every(net).values()))).abs().sum()) < 0.015


def test_clamped_units_stay_and_means_settle() -> None:
    net = machine(4, 3)
    start = torch.cat([(torch.rand(5, 4) < 0.5).float(), torch.full((5, 3), 0.5)], 1)
    before = start.clone()
    means = net.settle(start, first=4, sweeps=200, means=True)
    assert torch.equal(start, before)
    assert torch.equal(means[:, :4], start[:, :4])
    weight = net.weight.triu(1) + net.weight.triu(1).T
    torch.testing.assert_close(
        means[:, 4:], (means @ weight + net.bias).sigmoid()[:, 4:].detach(), rtol=1e-3, atol=1e-3
    )


@torch.no_grad()
def test_pseudo_likelihood_is_each_unit_given_all_others() -> None:
    net = machine()
    shares = every(net)

    def p(v: tuple[int, ...]) -> float:
        return sum(share for s, share in shares.items() if s[:4] == v)

    v = (1, 0, 0, 1)
    wanted = sum(-math.log(p(v) / (p(v) + p((*v[:i], 1 - v[i], *v[i + 1 :])))) for i in range(4))
    assert float(net.pseudo(torch.tensor([v]).float())) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(("choices", "within"), [({"lr": 0.3}, 0.05), ({"learning": "gibbs", "lr": 0.05}, 0.3)])
def test_learns_all_bars_and_stripes_of_two_lines(
    choices: dict[str, Any], within: float, bench: Any, tmp_path: Any
) -> None:
    whole = made.bars_and_stripes(2)["splits"]["train"]
    data = data_module.open((whole["picture"], whole["label"]))
    recipe = boltzmann.recipe(data, hidden=2, steps=250, **choices)
    model, _ = bench.train(recipe, tmp_path)
    x = recipe.splits["train"].batch(0, 8, None)["x"]
    entropy = 0.5 * math.log(8) + 0.5 * math.log(4)  # of 8 pictures two are there twice, and no more than these
    assert entropy - 1e-3 < float(model(x).detach().mean()) < entropy + within


def test_bars_and_stripes_are_all_there_are() -> None:
    data = data_module.open("bars-and-stripes")
    pictures = data.splits["train"].column("picture")[..., 0]
    assert pictures.shape == (32, 4, 4)
    assert len(np.unique(pictures.reshape(32, -1), axis=0)) == 30
    assert (pictures[:16] == pictures[:16, :1]).all()
    assert (pictures[16:] == pictures[16:, :, :1]).all()
    assert data.split_off().notes == data.notes


def test_draws_pictures_that_cool_down() -> None:
    frames = list(Config(hidden=1).build().draw(5, sweeps=4))
    assert len(frames) == 4
    assert frames[-1].shape == (5, 1, 4, 4)
    assert set(frames[-1].unique().tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize(
    ("data", "wrong", "says"),
    [("bars-and-stripes", {"hidden": 11}, "rbm"), ("bars-and-stripes", {"hidden": 5, "learning": "exact"}, "learning=gibbs"),
     ("bars-and-stripes", {"sweeps": 0}, "sweeps=5"), ("bars-and-stripes", {"loss": "mse"}, "loss")],
)  # fmt: skip
def test_wrong_settings_get_one_line(data: str, wrong: dict[str, Any], says: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        boltzmann.recipe(data_module.open(data), **wrong)
    assert says in one_line(caught.value)


def test_too_many_visible_units_get_one_line(one_line: Any) -> None:
    data = data_module.open((np.zeros((4, 28, 28, 1), np.uint8), np.arange(4) % 2))
    with pytest.raises(UserError, match="use rbm") as caught:
        boltzmann.recipe(data)
    one_line(caught.value)
