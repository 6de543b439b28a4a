"""What energy models share: contrastive divergence, and the restricted Boltzmann machine as a layer of a deeper network.

Shape letters: B rows, V visible units, H hidden units.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import chance

Sides = tuple[Tensor, Tensor]
LEVELS = 255
"""Steps in which a row's values are told apart where its draws follow from them."""


def own_draws(v: Tensor, draws: int, *key: int) -> Tensor:
    """Uniform numbers [B, draws] that follow from each row's values [B, V] and the key: however rows are batched, the same."""
    digits = (v * LEVELS).round().to(torch.int64)
    weights = chance.mix(torch.arange(v.shape[1], device=v.device), *key)
    return chance.uniform((digits * weights).sum(1), draws, *key)


class Machine(Protocol):
    """Two sides: weights [H, V], the visible units' biases [V] and the hidden ones' [H]."""

    weight: nn.Parameter
    visible: nn.Parameter
    hidden: nn.Parameter


def contrast(machine: Machine, rows: Sides, dreams: Sides, share: float = 1.0) -> Tensor:
    """The rows' energy less `share` times the dreams', each summed: a scalar whose gradient is contrastive divergence.

    Both are (visible states [B, V], probabilities of the hidden units given them [B, H]), held constant, under which the
    energy has the gradient of the free energy. The two sums of pairs are one matrix product, and no other is needed.
    """
    with torch.no_grad(), torch.autocast(rows[0].device.type, enabled=False):  # what was learned differs little
        visible = torch.cat([dreams[0], rows[0]])
        hidden = torch.cat([share * dreams[1], -rows[1]])
        slopes = (hidden.T @ visible, share * dreams[0].sum(0) - rows[0].sum(0), hidden.sum(0))
    parameters = (machine.weight, machine.visible, machine.hidden)
    return torch.stack([torch.dot(p.flatten(), s.flatten()) for p, s in zip(parameters, slopes, strict=True)]).sum()


def shown(gradient: Tensor, value: Tensor) -> Tensor:
    """A scalar with the gradient of the one and the value of the other: what a surrogate's curve is to show."""
    return gradient - gradient.detach() + value.detach()


def patched(pattern: Tensor, signed: bool = False) -> Tensor:
    """Weights [N, ...] as pictures: each between 0 and 1 (or -1 and 1) with nothing in the middle."""
    scale = pattern.flatten(1).abs().amax(1).clamp(min=1e-12).view(-1, *[1] * (pattern.dim() - 1))
    return pattern / scale if signed else 0.5 + 0.5 * pattern / scale


class RBM(nn.Module):
    """Binary units on two sides, connected across: E(v, h) = -vᵀa - hᵀb - hᵀWv. W is [H, V].

    `systems/generative/rbm.py` has it with all that belongs to it; a deep belief network is a stack of these.
    """

    def __init__(self, visible: int, hidden: int, std: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(hidden, visible))
        self.visible, self.hidden = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(hidden))

    def up(self, v: Tensor) -> Tensor:
        """v [B, V] -> logits of the hidden units [B, H]."""
        return F.linear(v, self.weight, self.hidden).float()

    def down(self, h: Tensor) -> Tensor:
        """h [B, H] -> logits of the visible units [B, V]."""
        return torch.addmm(self.visible, h, self.weight).float()
