"""The first systems against what is known of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shendu import chance
from shendu import data as data_module
from shendu.core import At
from shendu.errors import UserError
from shendu.systems.foundations import linear, mlp, neuron, perceptron

STEP = torch.tensor(0)


# ---- neuron


@pytest.mark.parametrize("name", ["and", "or", "not"])
def test_a_unit_for_each_gate(name: str, bench: Any, tmp_path: Path) -> None:
    data = data_module.open(name)
    model, _ = bench.train(neuron.recipe(data), tmp_path)
    table = data.splits["train"]
    fires = model.fires(torch.from_numpy(np.array(table.column(data.input))))
    assert fires.long().tolist() == table.column(data.target).tolist()


def test_no_single_unit_is_exclusive_or() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    right = [
        int((neuron.gate(list(kind), t).fires(x) == torch.tensor([False, True, True, False])).sum())
        for kind, t in neuron.all_units(2)
    ]
    assert max(right) == 3
    assert len(right) == 3**2 * 4
    assert neuron.exclusive_or(x).tolist() == [False, True, True, False]


def test_units_by_construction() -> None:
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    assert neuron.gate([1, 1, 1], 3).fires(bits).tolist() == (bits.sum(1) == 3).tolist()
    assert neuron.gate([1, 1, 1], 1).fires(bits).tolist() == (bits.sum(1) > 0).tolist()
    assert neuron.gate([1, 1, 1], 2).fires(bits).tolist() == (bits.sum(1) >= 2).tolist()
    vetoed = (bits[:, 0] + bits[:, 1] >= 1) & (bits[:, 2] == 0)
    assert neuron.gate([1, 1, -1], 1).fires(bits).tolist() == vetoed.tolist()
    assert neuron.gate([-1], 0).fires(torch.tensor([[0.0], [1.0]])).tolist() == [True, False]


def test_a_neuron_wants_a_truth_table() -> None:
    for given in (
        (np.zeros((4, 2)), np.arange(4) % 3),
        (np.full((4, 2), 0.5), np.arange(4) % 2),
        (np.zeros((4, 9)), np.arange(4) % 2),
    ):
        with pytest.raises(UserError):
            neuron.recipe(data_module.open(given))


# ---- perceptron


def rosenblatt(x: np.ndarray, y: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, float, int]:
    """The rule as the paper has it: add a missed pattern, signed by its side."""
    w, b, mistakes = np.zeros(x.shape[1]), 0.0, 0
    for i in order:
        if y[i] * (x[i] @ w + b) <= 0:
            w, b, mistakes = w + y[i] * x[i], b + y[i], mistakes + 1
    return w, b, mistakes


def separable(seed: int, rows: int = 40, inputs: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    plane, offset = rng.standard_normal(inputs), rng.standard_normal() * 0.3
    x = rng.standard_normal((rows * 20, inputs))
    far = np.abs(x @ plane + offset) / np.linalg.norm(plane) > 0.3
    x = x[far][:rows].astype(np.float32)
    return x, np.where(x @ plane + offset > 0, 1, 0)


@pytest.mark.parametrize("seed", range(2))
def test_perceptron_is_rosenblatts_rule_and_keeps_the_mistake_bound(seed: int, bench: Any, tmp_path: Path) -> None:
    x, y = separable(seed)
    data = data_module.open((x, y))
    states: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        states = bench.seen(patch)
        epochs = 60
        model, _ = bench.train(perceptron.recipe(data, epochs=epochs, select_by="none", ema=0.0, seed=seed), tmp_path)
    mistakes = int(states[0]["objective"]["mistakes"])

    recipe = perceptron.recipe(data, seed=seed)
    stored = recipe.splits["train"].batch(At(0, len(x)))["x"].numpy()
    samples = torch.arange(epochs * len(x))
    order = chance.permute(samples % len(x), len(x), seed, 1, epoch=samples // len(x)).numpy()
    w, b, counted = rosenblatt(stored.astype(np.float64), np.where(y, 1, -1), order)
    assert mistakes == counted
    np.testing.assert_allclose(model.units.weight[0].detach().numpy(), w, atol=1e-4)
    np.testing.assert_allclose(float(model.units.bias.detach()), b, atol=1e-4)

    side = np.where(y, 1, -1)
    assert (side * (stored @ w + b) > 0).all(), "it settled"
    augmented = np.concatenate([stored, np.ones((len(x), 1))], 1)
    solution = np.append(w, b)
    gamma = (side * (augmented @ solution)).min() / np.linalg.norm(solution)
    radius = np.linalg.norm(augmented, axis=1).max()
    assert mistakes <= (radius / gamma) ** 2


def test_perceptron_of_many_classes_is_keslers_construction() -> None:
    net = perceptron.Config(inputs=3, classes=4).build()
    with torch.no_grad():
        net.units.weight.copy_(torch.randn(4, 3))
    x, y = torch.randn(1, 3), torch.tensor([2])
    scores = net(x)[0].detach()
    best = max((i for i in range(4) if i != 2), key=lambda i: float(scores[i]))
    loss = perceptron.Criterion()(net, {"x": x, "y": y}, STEP).sums["loss"]
    loss.backward()
    wanted = torch.zeros(4, 3)
    if scores[2] <= scores[best]:
        wanted[2], wanted[best] = -x[0], x[0]
    torch.testing.assert_close(net.units.weight.grad, wanted)


def test_perceptron_refuses_blended_classes() -> None:
    with pytest.raises(UserError, match="leave mixup out"):
        perceptron.recipe(data_module.open("digits").split_off(), augment="mixup:0.2")


# ---- linear


@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_finds_the_least_squares_solution(outputs: int, bench: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(outputs)
    x = (rng.standard_normal((150, 4)) * (1, 10, 0.1, 3) + (0, 5, 1, -2)).astype(np.float32)
    y = (x @ rng.standard_normal((4, outputs)) * 7 + 30 + rng.standard_normal((150, outputs))).astype(np.float32)
    data = data_module.open((x, y[:, 0] if outputs == 1 else y))
    recipe = linear.recipe(data)
    model, _ = bench.train(recipe, tmp_path)
    with torch.no_grad():
        batch = recipe.splits["train"].batch(At(0, 150))
        got = recipe.task.outputs(model, batch)["value"].numpy().reshape(150, outputs)
    design = np.concatenate([x, np.ones((150, 1))], 1).astype(np.float64)
    wanted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert np.abs(got - wanted).max() < 1e-4 * y.std()


def test_linear_least_squares_on_indicators(bench: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 3)).astype(np.float32)
    y = (x @ rng.standard_normal((3, 3))).argmax(1)
    recipe = linear.recipe(data_module.open((x, y)))
    model, _ = bench.train(recipe, tmp_path)
    batch = recipe.splits["train"].batch(At(0, 120))
    with torch.no_grad():
        got = model(batch["x"]).numpy()
    design = np.concatenate([x, np.ones((120, 1))], 1)
    wanted = design @ np.linalg.lstsq(design, np.eye(3)[y], rcond=None)[0]
    assert np.abs(got - wanted).max() < 1e-4


# ---- mlp


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 20))])
def test_mlp_learns_exclusive_or_from_every_seed(seed: int, bench: Any, tmp_path: Path) -> None:
    recipe = mlp.recipe(data_module.open("xor"), seed=seed)
    assert recipe.stages[0].batch_size == 4
    model, _ = bench.train(recipe, tmp_path)
    batch = recipe.splits["train"].batch(At(0, 4))
    assert model(batch["x"]).argmax(1).tolist() == batch["y"].tolist() == [0, 1, 1, 0]


def test_mlp_has_the_layers_it_is_told() -> None:
    net = mlp.Config(inputs=5, outputs=3, hidden=(7, 11), activation="tanh", dropout=0.5, input_dropout=0.2).build()
    shapes = [tuple(p.shape) for p in net.parameters()]
    assert shapes == [(7, 5), (7,), (11, 7), (11,), (3, 11), (3,)]
    weights = [p.detach() for p in net.parameters()]
    x = torch.randn(6, 5)
    hidden = torch.tanh(torch.tanh(x @ weights[0].T + weights[1]) @ weights[2].T + weights[3])
    torch.testing.assert_close(net.eval()(x), hidden @ weights[4].T + weights[5])
    with pytest.raises(UserError, match="did you mean 'relu'"):
        mlp.Config(activation="rellu").build()
