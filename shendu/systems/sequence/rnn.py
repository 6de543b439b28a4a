"""Elman network (1990): a state that is fed back, and so a network with a memory.

What the hidden units said at the last step enters them again with the next word. Such a network, asked for nothing but the
next word, came upon nouns and verbs by itself. Its error is multiplied by the same weights at every step back in time, so
what lies thirty steps back is hardly learned (Hochreiter 1991; Bengio et al. 1994): what the LSTM was made for.

J. Elman: Finding structure in time. Cognitive Science 14(2), 1990.

Deviations: (1) tanh; 1990: logistic units; (2) back-propagation through all steps; 1990: the fed-back state counts as an
input, and the error stops at it; (3) recurrent weights begin orthogonal; (4) dropout, AdamW, one-cycle; 1990: gradient
descent. On texts: (5) both directions (Schuster and Paliwal 1997), mean and maximum over the words; of a long text its
beginning and its end.

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


class RNN(nn.RNN):
    """One layer in one direction: torch.nn.RNN's weights and kernel; `unrolled` is what the kernel computes."""

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
        entering = F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        h = x.new_zeros(len(x), self.hidden_size) if state is None else state[0]
        outputs = []
        for step in entering.unbind(1):
            h = (step + h @ self.weight_hh_l0.T).tanh()
            outputs.append(h)
        return torch.stack(outputs, 1), h[None]


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Sizes of a network of RNNs."""

    cell = RNN


CAN = ("step",)
"""On running text it writes on."""


def recipe(data: Dataset, **choices: Any) -> Recipe:
    """Texts' classes or numbers; of running text, what comes next. Raises UserError for other data."""
    return recurrent("rnn", data, Config(), choices)


def tiny() -> tuple[Any, dict[str, Any]]:
    return "opinions", {"steps": 40, "batch_size": 32, "width": 16, "units": 16, "lr": 0.01}


REFERENCES = (
    {"data": "imdb", "metric": "accuracy", "published": None, "target": 0.83, "source": ""},
    {"data": "tinyshakespeare", "metric": "loss", "published": None, "target": 1.7, "source": ""},
)  # fmt: skip
