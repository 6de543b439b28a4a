"""The Elman network held against its definition in plain Python; what it has in common with others is in test_recurrent.py."""

from __future__ import annotations

import math

import torch

from shendu.systems.sequence.rnn import RNN


def test_one_unit_by_hand() -> None:
    cell = RNN(1, 1)
    with torch.no_grad():
        for name, value in (("weight_ih", 0.7), ("weight_hh", -1.2), ("bias_ih", 0.1), ("bias_hh", 0.2)):
            cell.get_parameter(f"{name}_l0").fill_(value)
    h, expected = 0.0, []
    for x in (0.5, -1.0, 2.0):
        h = math.tanh(0.7 * x - 1.2 * h + 0.3)
        expected.append(h)
    out, last = cell.requires_grad_(False).unrolled(torch.tensor([[[0.5], [-1.0], [2.0]]]))
    torch.testing.assert_close(out.flatten(), torch.tensor(expected))
    assert float(last) == float(out[0, -1])


def test_begins_with_recurrent_weights_that_keep_lengths() -> None:
    cell = RNN(3, 8)
    torch.testing.assert_close(cell.weight_hh_l0 @ cell.weight_hh_l0.T, torch.eye(8), atol=1e-5, rtol=0)
    assert not cell.bias_ih_l0.any()
    assert not cell.bias_hh_l0.any()
