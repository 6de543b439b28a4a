"""The drawings show the functions that training uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import shendu
from shendu import draw
from shendu.errors import UserError
from shendu.nn.activations import ACTIVATIONS
from shendu.optim import OPTIMIZERS, SCHEDULES, schedule


def test_activations_and_their_derivatives() -> None:
    figure = draw.activations()
    assert [ax.get_title() for ax in figure.axes] == list(ACTIVATIONS)
    for ax in figure.axes:
        (x, y), (_, slope) = (np.asarray(line.get_data(), dtype=np.float64) for line in ax.lines)
        middle = (np.diff(y) / np.diff(x), (slope[1:] + slope[:-1]) / 2)
        assert np.abs(middle[0] - middle[1]).mean() < 0.01, ax.get_title()  # finite differences, but for the kinks


def test_losses_have_their_known_values() -> None:
    f = torch.tensor([-1.0, 0.0, 2.0])
    assert torch.allclose(draw._margin("bce", f), torch.log1p(torch.exp(-f)))
    assert torch.allclose(draw._margin("cross-entropy", f), draw._margin("bce", f))
    assert draw._margin("hinge", f).tolist() == [2.0, 1.0, 0.0]
    assert draw._residual("mse", f).tolist() == [1.0, 0.0, 4.0]
    assert draw._residual("huber", f).tolist() == [0.5, 0.0, 1.5]
    assert draw._divergence(torch.tensor([0.8]), 0.8).abs() < 1e-6
    assert len(draw.losses().axes) == 3


def test_schedules_are_those_of_training() -> None:
    lines = {str(line.get_label()): line.get_ydata() for line in draw.schedules(steps=50).axes[0].lines}
    assert list(lines) == list(SCHEDULES)
    for name, factors in lines.items():
        assert list(factors) == [schedule(name)(step, 50) for step in range(50)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_goes_down_the_valley(name: str) -> None:
    places = draw.path(name, lr=draw.RATES[name])
    assert places.shape == (151, 2)
    assert draw.valley(*places[-1]) < 0.1 * draw.valley(*places[0])


def test_gradient_descent_walks_against_the_gradient() -> None:
    (x, y), after = draw.path("gd", lr=0.001, steps=1)
    gradient = np.array([-2 * (1 - x) - 40 * x * (y - x**2), 20 * (y - x**2)])
    assert np.allclose(after, np.array([x, y]) - 0.001 * gradient, atol=1e-6)


def test_an_unknown_optimiser_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'adam'"):
        draw.optimizers(["adamm"])


def test_curves_are_what_is_given() -> None:
    (ax,) = draw.curves({"a": ([0.0, 1.0], [2.0, 3.0])}, "x", "y", mark=0.5).axes
    mark, line = ax.lines
    assert mark.get_xdata()[0] == 0.5
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1], [2, 3])


def test_what_was_learned(tmp_path: Path) -> None:
    columns = shendu.open_data("xor").splits["train"].columns
    run = shendu.train("mlp", "xor", steps=30, out=tmp_path / "run", quiet=True)
    figure = draw.regions({"xor": (run, columns["inputs"], columns["output"])})
    assert figure.axes[0].get_title() == "xor"
    first, second = (draw.save(figure, tmp_path / name) for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes()
    run = shendu.train("lenet", "digits", steps=2, out=tmp_path / "lenet", quiet=True)
    picture = shendu.open_data("digits").splits["train"].columns["image"][0]
    assert len(draw.kernels(run, picture).axes) == 13
