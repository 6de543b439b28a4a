"""The GRU held against its definition in plain Python; what it has in common with others is in test_recurrent.py."""

from __future__ import annotations

import math

import torch

from shendu.systems.sequence.gru import GRU


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_one_unit_by_hand() -> None:
    cell = GRU(1, 1)
    with torch.no_grad():
        for name, values in (("weight_ih", (0.7, -0.4, 1.1)), ("weight_hh", (0.3, 0.9, -1.2))):
            cell.get_parameter(f"{name}_l0").copy_(torch.tensor(values)[:, None])
        cell.bias_ih_l0.copy_(torch.tensor([0.1, 0.2, 0.3]))
        cell.bias_hh_l0.copy_(torch.tensor([0.0, -0.2, 0.5]))
    h, expected = 0.0, []
    for x in (0.5, -1.0, 2.0):
        reset, update = sigmoid(0.7 * x + 0.3 * h + 0.1), sigmoid(-0.4 * x + 0.9 * h)
        new = math.tanh(1.1 * x + 0.3 + reset * (-1.2 * h + 0.5))
        h = update * h + (1 - update) * new
        expected.append(h)
    out, last = cell.requires_grad_(False).unrolled(torch.tensor([[[0.5], [-1.0], [2.0]]]))
    torch.testing.assert_close(out.flatten(), torch.tensor(expected))
    assert float(last) == float(out[0, -1])


def test_a_closed_update_gate_carries_the_state_over() -> None:
    cell = GRU(3, 4)
    with torch.no_grad():
        cell.bias_ih_l0[4:8] = 50.0
    h = torch.randn(1, 2, 4)
    torch.testing.assert_close(cell.unrolled(torch.randn(2, 30, 3), h)[1], h)
