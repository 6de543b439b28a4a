"""GRU (2014): the LSTM's idea with two gates and no cell apart from the state.

An update gate says how much of the state stays and how much is new, a reset gate what of it the new part may see. What
stays is carried over unmultiplied, as in the LSTM, with three quarters of its weights; on most tasks nobody could tell the two
apart (Chung et al. 2014). It came with the encoder and decoder that translate a sentence.

K. Cho, B. van Merriënboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio: Learning phrase representations
using RNN encoder-decoder for statistical machine translation. EMNLP 2014, arXiv:1406.1078.

Deviations: (1) the reset gate acts on the state's product with its weights; paper: on the state before it (one product
then serves all gates, and it is what libraries compute); (2) a bias to each gate; paper: none; (3) recurrent weights
begin orthogonal; (4) dropout, AdamW, one-cycle; paper: Adadelta. On texts: (5) both directions (Schuster and Paliwal 1997),
mean and maximum over the words; of a long text its beginning and its end.

Shape letters: B rows, L places, I inputs, U units, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.nn.recurrent import Settings
from shendu.recipes.recurrent import recurrent


class GRU(nn.GRU):
    """One layer in one direction: torch.nn.GRU's weights and kernel; `unrolled` is what the kernel computes."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(inputs, units, batch_first=True)
        nn.init.orthogonal_(self.weight_hh_l0)
        nn.init.zeros_(self.bias_ih_l0)
        nn.init.zeros_(self.bias_hh_l0)

    def unrolled(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, L, I], state h [1, B, U] -> outputs [B, L, U], state."""
        entering = F.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        h = x.new_zeros(len(x), self.hidden_size) if state is None else state[0]
        outputs = []
        for step in entering.unbind(1):
            reset_x, update_x, new_x = step.chunk(3, 1)
            reset_h, update_h, new_h = F.linear(h, self.weight_hh_l0, self.bias_hh_l0).chunk(3, 1)
            reset, update = (reset_x + reset_h).sigmoid(), (update_x + update_h).sigmoid()
            new = (new_x + reset * new_h).tanh()
            h = update * h + (1 - update) * new
            outputs.append(h)
        return torch.stack(outputs, 1), h[None]


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Sizes of a network of GRUs."""

    cell = GRU


CAN = ("step",)
"""On running text it writes on."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Texts' classes or numbers; of running text, what comes next. Raises UserError for other data."""
    return recurrent("gru", data, Config(), choices)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "opinions", {"steps": 40, "batch_size": 32, "width": 16, "units": 16, "lr": 0.01}


REFERENCES = (
    {"data": "imdb", "metric": "accuracy", "published": None, "target": 0.855, "source": ""},
    {"data": "tinyshakespeare", "metric": "loss", "published": None, "target": 1.55, "source": ""},
)  # fmt: skip
