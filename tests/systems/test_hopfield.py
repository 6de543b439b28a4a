"""Hopfield networks: the energy never rises, storage is its closed form, the capacity has its knee, the modern form is attention."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import data as data_module
from shendu.errors import UserError
from shendu.systems.generative import hopfield
from shendu.systems.generative.hopfield import Config, signs


def bits(rows: int, units: int) -> Tensor:
    return signs(torch.rand(rows, units) - 0.5)


def stored(patterns: Tensor, **choices: Any) -> hopfield.Memory:
    net = Config(shape=(patterns.shape[1],), patterns=len(patterns), **choices).build()
    assert isinstance(net, hopfield.Memory)
    net.store(patterns, torch.zeros(len(patterns), dtype=torch.int64))
    return net


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("storage", ["hebbian", "pseudo-inverse"])
def test_the_energy_never_rises_where_units_take_turns(storage: str, seed: int) -> None:
    torch.manual_seed(seed)
    net = stored(bits(12, 40), storage=storage, sweeps=30)
    path = [start := bits(50, 40), *net.relax(start)]
    energies = torch.stack([net.energy(s) for s in path])
    assert (energies.diff(dim=0) <= 1e-5).all()
    assert (energies[-1] < energies[0]).all()
    at_rest = path[-1]
    assert torch.equal(net.recall(at_rest), at_rest)


def test_together_two_states_can_alternate_for_ever() -> None:
    net = Config(shape=(2,), patterns=1, updates="synchronous").build()
    net.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    path = list(net.relax(torch.tensor([[1.0, -1.0]])))
    assert [s.tolist() for s in path[:3]] == [[[-1, 1]], [[1, -1]], [[-1, 1]]]
    net.config = Config(shape=(2,), patterns=1)
    assert net.recall(torch.tensor([[1.0, -1.0]]))[0].prod() == 1


def test_storage_is_its_closed_form() -> None:
    x = bits(3, 7)
    hebbian, projection = hopfield.hebbian(x), hopfield.projection(x)
    for i, j in itertools.product(range(7), repeat=2):
        assert hebbian[i, j] == pytest.approx(0 if i == j else sum(float(p[i] * p[j]) for p in x) / 7)
    whole = x.T @ torch.linalg.inv(x @ x.T) @ x
    torch.testing.assert_close(projection, whole - whole.diag().diag())
    torch.testing.assert_close(x @ whole, x)


def test_the_projection_rule_holds_overlapping_patterns_that_outer_products_do_not() -> None:
    x = torch.where(torch.rand(10, 60) < 0.25, -1.0, 1.0)
    held = {storage: torch.equal(stored(x, storage=storage).recall(x), x) for storage in ("hebbian", "pseudo-inverse")}
    assert held == {"hebbian": False, "pseudo-inverse": True}


@pytest.mark.slow
def test_capacity_has_its_knee_between_a_tenth_and_a_fifth() -> None:
    below, at, above = hopfield.capacity(300, (0.1, 0.138, 0.2))
    assert below > 0.99
    assert below > at > above
    assert above < 0.8
    few, many = (hopfield.capacity(units, (0.12, 0.18)) for units in (150, 600))
    assert min(few[0], many[0]) > 0.97, "below the knee more units do not matter"
    assert many[1] < few[1] - 0.2, "above it they make the fall steeper"


def test_recall_leaves_its_start_alone() -> None:
    net, start = stored(bits(2, 9)), bits(1, 9)
    before = start.clone()
    net.recall(start)
    assert torch.equal(start, before)


def test_modern_form_is_attention_over_the_patterns() -> None:
    x, s = torch.randn(5, 8), torch.randn(3, 8)
    net = stored(x, form="modern", beta=0.7, sweeps=1)
    attention = F.scaled_dot_product_attention(s[None], x[None], x[None], scale=0.7)[0]
    torch.testing.assert_close(net.recall(s), attention)


def test_modern_energy_falls_and_is_never_negative() -> None:
    net, s = stored(bits(6, 20), form="modern", beta=0.3), torch.randn(40, 20)
    energies = torch.stack([net.energy(s), *(net.energy(state) for state in net.relax(s))])
    assert (energies.diff(dim=0) <= 1e-4).all()
    assert (energies >= -1e-4).all()


@pytest.mark.parametrize(("form", "left"), [("classic", 0.5), ("modern", 0.01)])
def test_recalls_digits_from_corrupted_ones(form: str, left: float) -> None:
    made = hopfield.recipe(data_module.open("digits").split_off(), form=form)
    net = made.model.build()
    objective = made.stages[0].objective(net)
    objective.enter(net, made.stages[0].source(net))
    assert isinstance(net, hopfield.Memory)
    assert sorted(net.classes.tolist()) == list(range(10))
    x = net.patterns.view(-1, 1, 8, 8)
    wrong = float((net.corrupted(net.patterns) != net.patterns).float().mean())
    assert 0.15 < wrong < 0.25
    assert float(net(x)[:, 1].mean()) < left * wrong
    assert torch.equal(net(x)[3:5], net(x[3:5]))

    label = torch.tensor([3, 7, 3])
    path = list(net.draw(3, label, corrupt=0.1))
    assert all(frame.shape == (3, 1, 8, 8) for frame in path)
    wanted = torch.stack([net.patterns[net.classes == k][0] for k in label.tolist()])
    assert float((signs(path[-1].flatten(1)) == wanted).float().mean()) > 0.95
    views = net.views(x[:4])
    assert list(views) == ["Stored", "Corrupted", "Recalled", "Recalled by rows that were not stored"]
    assert torch.equal(views["Stored"], x)


def test_draws_each_pattern_of_a_class_in_turn() -> None:
    net = stored(bits(4, 30))
    net.classes.copy_(torch.tensor([1, 0, 1, 1]))
    first = next(net.draw(5, torch.tensor([1, 1, 0, 1, 1]), corrupt=0.0))
    assert torch.equal(first.flatten(1), net.patterns[[0, 2, 1, 3, 0]])
    with pytest.raises(UserError, match="per_class=2"):
        next(net.draw(1, torch.tensor([2])))


@pytest.mark.parametrize(
    "wrong", [{"corrupt": 0.7}, {"sweeps": 0}, {"beta": 0}, {"per_class": 0}, {"patterns": 3}, {"form": "old"}]
)
def test_wrong_settings_get_one_line(wrong: dict[str, Any], one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        hopfield.recipe(data_module.open("digits").split_off(), **wrong)
    assert next(iter(wrong)) in one_line(caught.value)
