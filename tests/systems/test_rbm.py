"""Restricted Boltzmann machines against sums over all states, and log Z by importance sampling against the exact one."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shendu import data as data_module
from shendu.core import At
from shendu.errors import UserError
from shendu.nn import energy
from shendu.run import Folder
from shendu.systems.generative import rbm
from shendu.systems.generative.rbm import RBM, Config, Contrast, Learning

STEP = torch.zeros((), dtype=torch.int64)


def machine(visible: int = 4, hidden: int = 3, scale: float = 1.0, **choices: Any) -> RBM:
    net = Config(shape=(visible,), hidden=hidden, **choices).build()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=scale)
    return net


def all_states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product((0, 1), repeat=n))).float()


@torch.no_grad()
def exact_log_z(net: RBM) -> float:
    """Over all states of the hidden side; the visible side is a product."""
    h = all_states(net.config.hidden).double()
    field = (
        (h @ net.weight + net.visible).double()
        if net.weight.dtype == h.dtype
        else h @ net.weight.double() + net.visible.double()
    )
    side = torch.nn.functional.softplus(field) if net.binary else 0.5 * field.square() + 0.5 * math.log(2 * math.pi)
    return float((h @ net.hidden.double() + side.sum(1)).logsumexp(0))


@pytest.mark.parametrize("units", ["binary", "gaussian"])
def test_free_energy_is_the_sum_over_hidden_states(units: str) -> None:
    net = machine(units=units)
    v = torch.randn(5, 4)
    total = torch.zeros(5)
    for h in all_states(3):
        energies = -(v @ net.visible) - net.hidden @ h - v @ net.weight.T @ h
        total += (-energies - (0.5 * v.square().sum(1) if units == "gaussian" else 0)).exp()
    torch.testing.assert_close(net.free_energy(v), -total.log())


def test_the_layer_of_deeper_networks_is_this_one() -> None:
    net, layer, v = machine(), energy.RBM(4, 3), all_states(4)
    layer.load_state_dict(dict(net.named_parameters()))
    assert torch.equal(net.up(v), layer.up(v))
    assert torch.equal(net.down(all_states(3)), layer.down(all_states(3)))


def statistics(net: RBM, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the rule compares, row by row: hᵀv with the hidden units' probabilities, v, h."""
    with torch.no_grad():
        pairs, ones, ons = torch.zeros(3, 4), torch.zeros(4), torch.zeros(3)
        for row in v:
            p = 1 / (1 + (-(net.weight @ row + net.hidden)).exp())
            pairs, ones, ons = pairs + torch.outer(p, row), ones + row, ons + p
    return pairs / len(v), ones / len(v), ons / len(v)


@pytest.mark.parametrize("units", ["binary", "gaussian"])
def test_contrast_has_the_gradient_of_the_free_energies(units: str) -> None:
    net, rows, dreams = machine(units=units), all_states(4)[[3, 5, 14]], all_states(4)[[1, 7, 9, 12]]
    gap = energy.contrast(net, *((v, net.up(v).sigmoid()) for v in (rows, dreams)), share=3 / 4)
    wanted = net.free_energy(rows).sum() - 3 / 4 * net.free_energy(dreams).sum()
    parameters = [net.weight, net.visible, net.hidden]
    for mine, other in zip(torch.autograd.grad(gap, parameters), torch.autograd.grad(wanted, parameters), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("learning", ["cd", "pcd"])
def test_the_surrogates_gradient_is_the_rule(learning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = machine(), all_states(4)[[3, 5, 14]]
    objective = Contrast(net, Learning(learning=learning, chains=5, gibbs=2))
    dreamt = all_states(4)[[1, 7, 9]] if learning == "cd" else all_states(4)[[0, 2, 6, 11, 13]]
    monkeypatch.setattr(objective, "chain", lambda model, h: (dreamt, dreamt))
    loss = objective(net, {"x": x}, STEP).sums["loss"]
    slopes = torch.autograd.grad(loss / 3, [net.weight, net.visible, net.hidden])
    for slope, awake, asleep in zip(slopes, statistics(net, x), statistics(net, dreamt), strict=True):
        torch.testing.assert_close(slope, asleep - awake)


def test_with_all_states_for_dreams_it_is_the_gradient_of_the_likelihood() -> None:
    net, x, states = machine(), all_states(4)[[3, 5, 14]], all_states(4)
    shares = (-net.free_energy(states)).softmax(0).detach()

    def sides(v: Tensor) -> tuple[Tensor, Tensor]:
        return v, net.up(v).sigmoid()

    none = sides(torch.zeros(0, 4))
    rule = energy.contrast(net, sides(x), none) / len(x)
    for share, state in zip(shares.tolist(), states, strict=True):
        rule = rule + energy.contrast(net, none, sides(state[None]), share)
    pairs = torch.stack([  # -E(v, h) of all 16 x 8 states
        torch.stack([v @ net.visible + h @ net.hidden + h @ net.weight @ v for h in all_states(3)]) for v in states
    ])  # fmt: skip
    exact = pairs.flatten().logsumexp(0) - pairs[[3, 5, 14]].logsumexp(1).mean()
    parameters = [net.weight, net.visible, net.hidden]
    for mine, wanted in zip(torch.autograd.grad(rule, parameters), torch.autograd.grad(exact, parameters), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("learning", ["cd", "pcd"])
def test_chains_draw_from_the_machine(learning: str) -> None:
    net = machine(scale=0.7)
    objective = Contrast(net, Learning(learning=learning, gibbs=30))
    v, _ = objective.chain(net, (torch.rand(40_000, 3) < 0.5).float())
    found = torch.bincount((v.int() * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16) / len(v)
    wanted = (-net.free_energy(all_states(4))).softmax(0).detach()
    assert 0.5 * float((found - wanted).abs().sum()) < 0.015


def test_persistent_chains_go_on_and_cd_starts_at_the_rows() -> None:
    net, batch = machine(), {"x": all_states(4)[[3, 5]]}
    persistent, fresh = Contrast(net, Learning(chains=50)), Contrast(net, Learning(learning="cd"))
    before = persistent.chains.clone()
    persistent(net, batch, STEP)
    assert persistent.chains.shape == (50, 3)
    assert not torch.equal(before, persistent.chains)
    assert not list(fresh.buffers())
    assert 0 < float(fresh(net, batch, STEP).logs["reconstruction-error"]) < 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("units", ["binary", "gaussian"])
def test_importance_sampling_is_within_half_a_nat_of_the_exact_partition(units: str, seed: int) -> None:
    torch.manual_seed(seed)
    net = machine(20, 16, 0.5 if units == "binary" else 0.15, units=units)
    net.base.copy_(0.5 * torch.randn(20))
    log_z, error, counting = rbm.estimate(*rbm.importance(net, 100, 500))
    assert log_z == pytest.approx(exact_log_z(net), abs=0.5)
    assert error < 0.3
    assert counting > 0.1


def test_without_connections_importance_sampling_is_exact() -> None:
    net = machine(6, 5)
    torch.nn.init.zeros_(net.weight)
    net.base.copy_(net.visible)
    log_z, error, counting = rbm.estimate(*rbm.importance(net, 10, 20))
    assert log_z == pytest.approx(exact_log_z(net), abs=1e-4)
    assert error < 1e-4
    assert counting == pytest.approx(1)


def test_an_untrained_machine_knows_its_partition() -> None:
    for units in ("binary", "gaussian"):
        net = Config(shape=(6,), hidden=5, units=units).build()
        torch.nn.init.zeros_(net.weight)
        assert float(net.log_z) == pytest.approx(exact_log_z(net), abs=1e-4)


def test_likelihoods_of_all_rows_add_up_to_one() -> None:
    net = machine(binarise="threshold")
    net.log_z.fill_(exact_log_z(net))
    assert float((-net(all_states(4))[:, 0]).exp().sum().detach()) == pytest.approx(1, abs=1e-4)


def test_ladder_is_close_near_the_machine() -> None:
    beta = np.array(rbm.ladder(14_500))
    assert len(beta) == 14_501
    assert (np.diff(beta) > 0).all()
    assert (beta[0], beta[-1]) == (0, 1)
    assert beta[500] == pytest.approx(0.5)
    assert beta[4500] == pytest.approx(0.9)


def test_estimate_says_how_many_runs_count_and_an_explosion_in_words() -> None:
    log_z, error, counting = rbm.estimate(torch.log(torch.tensor([1.0, 2, 3, 2], dtype=torch.float64)), 5.0)
    assert log_z == pytest.approx(5 + math.log(2))
    assert error == pytest.approx(np.std([0.5, 1, 1.5, 1], ddof=1) / 2)
    assert counting == pytest.approx(64 / (4 * 18))
    net = machine()
    _, _, counting = rbm.estimate(torch.tensor([300.0] + [0.0] * 99, dtype=torch.float64), 0.0)
    net.counting.fill_(counting)
    assert "1.0% of the runs count" in net.remark()
    assert "log Z is most likely too low and the log-likelihood too high; raise ais_steps" in net.remark()
    net.counting.fill_(math.nan)
    assert "exploded" in net.remark()
    net.counting.fill_(0.8)
    assert "give or take" in net.remark()


def test_pixels_are_drawn_from_the_rows_own_values() -> None:
    net = machine(400)
    x = torch.rand(60, 1, 20, 20)
    v = net.seen(x)
    assert torch.equal(v[17:20], net.seen(x[17:20]))
    assert not torch.equal(v[0] > 0, x[0].flatten() > 0.5)
    dark, bright = (float(v[(x.flatten(1) > low) & (x.flatten(1) < low + 0.1)].mean()) for low in (0.1, 0.8))
    assert dark == pytest.approx(0.15, abs=0.03)
    assert bright == pytest.approx(0.85, abs=0.03)
    assert not torch.equal(net.seen(x, fresh=True), net.seen(x, fresh=True))
    net.config = Config(shape=(400,), binarise="threshold")
    assert torch.equal(net.seen(x), (x.flatten(1) > 0.5).float())


@pytest.mark.parametrize("choices", [{}, {"learning": "cd", "gibbs": 2}, {"units": "gaussian"}])
def test_resumes_bit_for_bit_chains_included(
    choices: dict[str, Any], bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recipe() -> Any:
        return bench.recipe("rbm", **choices, steps=12)

    with monkeypatch.context() as patch:
        states = bench.seen(patch)
        whole, _ = bench.train(recipe(), tmp_path / "whole")
        uninterrupted = states[0]
    assert "chains" not in uninterrupted["objective"] or uninterrupted["objective"]["chains"].any()
    for stop, save in ((1, 0), (7, 4), (11, 10)):
        with monkeypatch.context() as patch:
            bench.killing(patch, stop, save)
            with pytest.raises(bench.Killed):
                bench.train(recipe(), tmp_path / "parts")
    with monkeypatch.context() as patch:
        states = bench.seen(patch)
        model, _ = bench.train(recipe(), tmp_path / "parts")
    bench.same(bench.tensors(uninterrupted["objective"]), bench.tensors(states[0]["objective"]))
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(model.state_dict()))
    again, _ = bench.train(recipe(), tmp_path / "parts")
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(again.state_dict()))
    assert {line["stage"] for line in Folder(tmp_path / "whole").history() if "loss" in line} == {0}


def test_trains_in_parts_where_memory_is_short(bench: Any, tmp_path: Path) -> None:
    bench.train(bench.recipe("rbm", steps=3, accumulate=2), tmp_path)


def test_begins_at_the_rows_log_odds() -> None:
    made = rbm.recipe(data_module.open("digits").split_off(), steps=1)
    net = made.model.build()
    made.stages[0].objective(net).enter(net, made.stages[0].source(net))
    assert isinstance(net, RBM)
    x = made.splits["train"].batch(At(0, made.splits["train"].rows))["x"].flatten(1)
    torch.testing.assert_close(net.visible.sigmoid()[20:30], x.mean(0)[20:30], rtol=0.02, atol=0.002)
    assert torch.equal(net.visible, net.base)


@pytest.mark.parametrize("units", ["binary", "gaussian"])
def test_draws_and_shows(units: str) -> None:
    net = Config(shape=(1, 5, 4), hidden=3, units=units).build()
    frames = list(net.draw(6, steps=50))
    assert len(frames) >= 40
    assert all(frame.shape == (6, 1, 5, 4) for frame in frames)
    views = net.views(torch.rand(2, 1, 5, 4))
    assert list(views) == ["Filters", "Rows", "After 1 Gibbs step", "After 10 Gibbs steps", "After 100 Gibbs steps"]
    assert views["Filters"].shape == (3, 1, 5, 4)
    assert torch.equal(views["Rows"], net.views(torch.rand(2, 1, 5, 4) * 0 + views["Rows"])["Rows"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"gibbs": 0}, "gibbs=10"), ({"chains": 0}, "chains"), ({"ais_runs": 1}, "ais_runs=10"), ({"hidden": 0}, "hidden=500"),
     ({"learning": "pdc"}, "did you mean 'pcd'"), ({"lr": -1}, "lr"), ({"optimizer": "lbfgs"}, "momentum"),
     ({"loss": "mse"}, "loss"), ({"accumulate": 10**6}, "batch")],
)  # fmt: skip
def test_wrong_settings_get_one_line(wrong: dict[str, Any], says: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        rbm.recipe(data_module.open("digits").split_off(), **wrong)
    assert says in one_line(caught.value)


def test_numbers_have_gaussian_units(one_line: Any) -> None:
    data = data_module.open(
        (np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.arange(40) % 2)
    ).split_off()
    assert rbm.recipe(data).model.units == "gaussian"  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="units=gaussian") as caught:
        rbm.recipe(data, units="binary")
    one_line(caught.value)
    assert "ema" in rbm.recipe(data, ema=0.9).notes[0]


def test_given_weights_keep_their_biases(bench: Any) -> None:
    recipe = bench.recipe("rbm")
    for given in (0.0, 0.3):
        model = recipe.model.build()
        torch.nn.init.constant_(model.visible, given)
        recipe.stages[0].objective(model).enter(model, recipe.stages[0].source(model))
        assert torch.equal(model.visible, model.base if not given else torch.full_like(model.visible, given))
