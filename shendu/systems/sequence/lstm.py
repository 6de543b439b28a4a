"""LSTM (1997): a memory that keeps an error alive over a thousand steps.

What a recurrent network learns from is multiplied by its weights at every step back in time, and is soon nothing. Here a
cell is added to instead of being multiplied; gates, learned themselves, decide what enters it and what it shows, and the
forget gate (F. Gers, J. Schmidhuber, F. Cummins: Learning to forget. Neural Computation 12, 2000) when it is emptied.

S. Hochreiter, J. Schmidhuber: Long short-term memory. Neural Computation 9(8), 1997.

Deviations: (1) one cell to a gate, no peepholes; 1997: blocks of cells that share their gates; (2) tanh; 1997: logistic
functions stretched to [-2, 2] and [-1, 1]; (3) back-propagation through all steps; 1997: cut off at the gates; (4) the
forget gate's bias begins at 1, recurrent weights orthogonal; (5) dropout, AdamW, one-cycle. On texts: (6) both directions
(Schuster and Paliwal 1997), mean and maximum over the words; of a long text its beginning and its end.

Shape letters: B rows, L places, I inputs, U units, K outputs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.nn.recurrent import Settings
from shendu.recipes.recurrent import recurrent


@functools.cache
def in_bfloat16() -> bool:
    """Whether autocast computes an LSTM here, forward and backward: on a CPU it leaves it to oneDNN, which has one for some only."""
    shapes = (1, 1, 1), (1, 1, 1), (1, 1, 1), (4, 1), (4, 1), (4,), (4,)
    x, h, c, *weights = (torch.zeros(s, device="cpu", requires_grad=True) for s in shapes)
    try:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
            y = torch.lstm(x, (h, c), weights, True, 1, 0.0, True, False, True)[0]
        torch.autograd.grad(y.sum(), weights)
    except RuntimeError:
        return False
    return True


class LSTM(nn.LSTM):
    """One layer in one direction: torch.nn.LSTM's weights and kernel; `unrolled` is what the kernel computes."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(inputs, units, batch_first=True)
        self.lowers = in_bfloat16()  # tried here, since compiled code cannot
        nn.init.orthogonal_(self.weight_hh_l0)
        with torch.no_grad():
            self.bias_hh_l0.zero_()
            self.bias_ih_l0.zero_()[units : 2 * units] = 1.0

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        """x [B, L, I], state (h, c) each [1, B, U] -> outputs [B, L, U], state; float32 within where bfloat16 has no kernel."""
        if self.lowers or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x, state)
        dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            outputs, (h, c) = super().forward(x.float(), state and (state[0].float(), state[1].float()))
        return outputs.to(dtype), (h.to(dtype), c.to(dtype))

    def unrolled(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, L, I], state (h, c) each [1, B, U] -> outputs [B, L, U], state."""
        entering = F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        nothing = x.new_zeros(len(x), self.hidden_size)
        h, c = (nothing, nothing) if state is None else (state[0][0], state[1][0])
        outputs = []
        for step in entering.unbind(1):
            i, f, g, o = (step + h @ self.weight_hh_l0.T).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1), (h[None], c[None])


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Sizes of a network of LSTMs."""

    cell = LSTM


CAN = ("step",)
"""On running text it writes on."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Texts' classes or numbers; of running text, what comes next. Raises UserError for other data."""
    return recurrent("lstm", data, Config(), choices)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "opinions", {"steps": 40, "batch_size": 32, "width": 16, "units": 16, "lr": 0.01}


REFERENCES = (
    {"data": "imdb", "metric": "accuracy", "published": 0.865, "target": 0.855,
     "source": "Dai and Le 2015, table 2: LSTM with tuning and dropout, 13.50% error, from 25,000 reviews; here from 12,500"},
    {"data": "tinyshakespeare", "metric": "loss", "published": None, "target": 1.55, "source": ""},
)  # fmt: skip
