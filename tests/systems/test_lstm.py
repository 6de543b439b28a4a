"""The LSTM held against its definition in plain Python, and why it was invented: errors that survive a hundred steps.

What it has in common with others is in test_recurrent.py.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import shendu.data
from shendu.core import At
from shendu.systems.sequence import lstm
from shendu.systems.sequence.lstm import LSTM
from shendu.systems.sequence.rnn import RNN


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_one_unit_by_hand() -> None:
    cell = LSTM(1, 1)
    into, back, bias = (0.7, -0.4, 1.1, 0.2), (0.3, 0.9, -1.2, 0.6), (0.1, 0.2, 0.3, -0.4)
    with torch.no_grad():
        cell.weight_ih_l0.copy_(torch.tensor(into)[:, None])
        cell.weight_hh_l0.copy_(torch.tensor(back)[:, None])
        cell.bias_ih_l0.copy_(torch.tensor(bias))
    h, c, expected = 0.0, 0.0, []
    for x in (0.5, -1.0, 2.0):
        i, f, g, o = (into[k] * x + back[k] * h + bias[k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * math.tanh(g)
        h = sigmoid(o) * math.tanh(c)
        expected.append(h)
    out, (last, memory) = cell.requires_grad_(False).unrolled(torch.tensor([[[0.5], [-1.0], [2.0]]]))
    torch.testing.assert_close(out.flatten(), torch.tensor(expected))
    assert float(last) == pytest.approx(h)
    assert float(memory) == pytest.approx(c)


def reach(cell: Any, steps: int = 100) -> torch.Tensor:
    """The norm of the last output's gradient with respect to each step's input [L]."""
    x = torch.randn(8, steps, 6, requires_grad=True)
    cell(x)[0][:, -1].sum().backward()
    assert x.grad is not None
    return x.grad.norm(dim=(0, 2))


def test_errors_vanish_in_an_elman_network_and_survive_in_an_lstm() -> None:
    """With recurrent weights that keep lengths, tanh alone shrinks the error; behind an open forget gate nothing does."""
    cell = LSTM(6, 32)
    with torch.no_grad():
        cell.bias_ih_l0[32:64] = 8.0
    remembered, forgotten = reach(cell), reach(RNN(6, 32))
    assert forgotten[0] < 1e-6 * forgotten[-1]
    assert remembered[0] > 0.05 * remembered[-1]


def test_forgets_as_fast_as_its_gate_says() -> None:
    """One unit that sees nothing of its own output: the error falls by the forget gate at every step, and by nothing else."""
    cell = LSTM(1, 1).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()
        cell.weight_ih_l0[2] = 1.0
        cell.bias_ih_l0[1] = 3.0
    x = torch.full((1, 40, 1), 1e-6, dtype=torch.float64, requires_grad=True)
    cell.unrolled(x)[0][0, -1].sum().backward()
    assert x.grad is not None
    ratio = x.grad[0, :-1, 0] / x.grad[0, 1:, 0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, sigmoid(3.0)), atol=1e-6, rtol=0)


def test_begins_with_an_open_forget_gate() -> None:
    cell = LSTM(3, 5)
    bias = (cell.bias_ih_l0 + cell.bias_hh_l0).view(4, 5)
    assert bias.tolist() == [[0.0] * 5, [1.0] * 5, [0.0] * 5, [0.0] * 5]


@pytest.mark.data
def test_reviews_batches_hold_little_padding() -> None:
    data = shendu.data.open("imdb").split_off()
    recipe = lstm.recipe(data)
    stage = recipe.stages[0]
    source = stage.source(recipe.model.build())
    shapes, words = 0, 0
    for start in range(0, 40 * stage.batch_size, stage.batch_size):
        x = source.batch(At(start, stage.batch_size))["x"]
        shapes, words = shapes + x.numel(), words + int((x != 0).sum())
    assert words > 0.9 * shapes
