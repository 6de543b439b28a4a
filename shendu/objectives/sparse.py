"""Learning with weights held at zero.

M. Zhu, S. Gupta: To prune, or not to prune. arXiv:1710.01878, 2017 (equation 1: the share of zeros over the steps); J. Frankle,
M. Carbin: The lottery ticket hypothesis. ICLR 2019 (weights go back to what they were early, what was removed stays removed).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shendu.core import Objective, Source
from shendu.objectives.around import Around

LAST, TIMES = 0.7, 20
"""Share of the steps after which no more zeros are added, and in how many moves they are."""


class Sparse(Around):
    """Another objective, with masks on weights: what is masked is set to zero after each step.

    `masks` are those of the beginning, bool by the weights' names; `share`, above what they mask, is reached gradually, the smallest
    weights of all masked tensors together going first.
    """

    def __init__(self, inner: Objective, masks: Mapping[str, Tensor], *, share: float = 0.0, steps: int = 0) -> None:
        super().__init__(inner)
        self.share, self.steps = share, steps
        self.names = tuple(masks)
        for i, mask in enumerate(masks.values()):  # numbered: a weight's name has dots
            self.register_buffer(f"mask{i}", mask.clone())

    def masks(self) -> list[Tensor]:
        return [self.get_buffer(f"mask{i}") for i in range(len(self.names))]

    def enter(self, model: nn.Module, source: Source) -> None:
        self.inner.enter(model, source)
        self.apply_masks(model)

    def update(self, model: nn.Module, step: int) -> None:
        self.inner.update(model, step)
        last = max(1, int(LAST * self.steps))
        if self.share and step < last and step % max(1, last // TIMES) == 0:
            begun = 1 - sum(int(m.sum()) for m in self.masks()) / sum(m.numel() for m in self.masks())
            self.mask(model, max(begun, cubic(self.share, step, last)))
        elif self.share and step == last:
            self.mask(model, self.share)
        self.apply_masks(model)

    def mask(self, model: nn.Module, share: float) -> None:
        named = dict(model.named_parameters())
        found = smallest({name: named[name].detach() for name in self.names}, share)
        for mask, new in zip(self.masks(), found.values(), strict=True):
            mask &= new

    @torch.no_grad()
    def apply_masks(self, model: nn.Module) -> None:
        named = dict(model.named_parameters())
        for name, mask in zip(self.names, self.masks(), strict=True):
            named[name].mul_(mask)


class Narrowing(Around):
    """Another objective; where its stage begins, channels are removed from whatever the weights are then."""

    def __init__(self, inner: Objective, cut: Callable[[nn.Module], Any]) -> None:
        super().__init__(inner)
        self.cut = cut

    def enter(self, model: nn.Module, source: Source) -> None:
        self.inner.enter(model, source)
        self.cut(model)


def cubic(share: float, step: int, steps: int) -> float:
    """The share of zeros after a step: fast while there is much that is of no use, slowly at the end."""
    return share * (1 - (1 - min(1.0, (step + 1) / steps)) ** 3)


def smallest(weights: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Masks, bool, of all weights but a share: those of the smallest magnitude, of all tensors together."""
    sizes = torch.cat([w.abs().flatten() for w in weights.values()])
    gone = min(len(sizes) - 1, round(share * len(sizes)))
    if gone < 1:
        return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    order = sizes.argsort(stable=True)[:gone]
    whole = torch.ones(len(sizes), dtype=torch.bool, device=sizes.device)
    whole[order] = False
    parts = whole.split([w.numel() for w in weights.values()])
    return {name: part.view_as(w) for (name, w), part in zip(weights.items(), parts, strict=True)}
