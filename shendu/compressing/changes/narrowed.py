"""Structured pruning: whole channels and features are removed, with all that belongs to them, and the network becomes a narrower one.

Which numbers belong to a unit is followed by `units`. A unit weighs what the L2 norms of its numbers weigh, each in proportion to
the mean of its layer (group norm: G. Fang, X. Ma, M. Song, M. Bi Mi, X. Wang: DepGraph: towards any structural pruning. CVPR 2023;
H. Li et al.: Pruning filters for efficient ConvNets. ICLR 2017). Before it is believed, the removal is tried: the narrower network
must answer what the whole one answers whose units are silent, or the layer stays as it is.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from shendu import parallel
from shendu.compressing import Change, layer_of
from shendu.compressing.units import Ask, Units, close, units_of
from shendu.errors import UserError

KEPT_LEAST = 0.05
"""Of a layer's units at least so many stay, and one."""
SIZES = {"in_channels": 1, "out_channels": 0, "in_features": 1, "out_features": 0, "num_features": 0}
"""What torch's layers say of their weights -> the dimension that it is of."""


@dataclass(frozen=True, kw_only=True)
class Narrowed(Change):
    """Tensors have other shapes, and grouped convolutions fewer groups."""

    kind: ClassVar[str] = "narrowed"
    shapes: dict[str, list[int]]
    """Parameter or buffer -> its shape now."""
    groups: dict[str, int]
    """Grouped convolution -> its groups now."""

    def apply(self, model: nn.Module) -> None:
        named = dict([*model.named_parameters(), *model.named_buffers()])
        for name, shape in self.shapes.items():
            old = named.get(name)
            size = [int(each) for each in shape]
            if (
                old is None
                or len(size) != old.dim()
                or not all(1 <= new <= was for new, was in zip(size, old.shape, strict=True))
            ):
                raise UserError(f"the network has no {name} that could be of the shape {size}")
            set_tensor(model, name, old.new_empty(size))
        settle(model, {name: int(count) for name, count in self.groups.items()})


def set_tensor(model: nn.Module, name: str, t: Tensor) -> None:
    """Puts another tensor in the place of a parameter or buffer, wherever it is tied to."""
    old = dict([*model.named_parameters(), *model.named_buffers()])[name]
    new = nn.Parameter(t, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else t
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for key, value in held.items():
                if value is old:
                    held[key] = new  # type: ignore[assignment]


def settle(model: nn.Module, groups: dict[str, int]) -> None:
    """What layers say of their own sizes, as their weights have them now."""
    for name, count in groups.items():
        layer_of(model, name).groups = count  # type: ignore[assignment]
    for module in model.modules():
        weight = module._parameters.get("weight")
        for word, dim in SIZES.items():
            if weight is not None and word in vars(module) and weight.dim() > dim:
                factor = vars(module).get("groups", 1) if word == "in_channels" else 1
                vars(module)[word] = weight.shape[dim] * factor


# ---- which units go --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prunable:
    """A network, its units, and what each weighs."""

    model: nn.Module
    units: Units
    layers: tuple[Tensor, ...]
    """Of each layer its units, int64 [U]."""
    weights: tuple[Tensor, ...]
    """Of each layer how much its units weigh, float64 [U]; their mean is 1."""
    costs: dict[int, int]
    """Unit -> parameters that go with it, as long as no other has gone."""


def prunable(model: nn.Module, ask: Ask) -> Prunable:
    """What can be removed of a network, tried; raises UserError where nothing can."""
    units = units_of(model, ask)
    layers = units.layers()
    found = Prunable(model, units, tuple(layers), (), {})
    sound = layers if agrees(found, layers, ask) else [each for each in layers if agrees(found, [each], ask)]
    if not sound:
        raise UserError(
            "no channel of this network can be removed by itself: what it computes ties all of them together; "
            "use --int8, or --low-rank"
        )
    return weighed(Prunable(model, units, tuple(sound), (), {}))


def weighed(found: Prunable) -> Prunable:
    """With the weight of each unit: the norm of its numbers in each weight, in proportion to that of its layer's mean."""
    tensors = dict([*found.model.named_parameters()])
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    costs: dict[int, int] = {}
    for place in found.units.places:
        t = tensors.get(place.tensor)
        if t is None:
            continue
        rest = [dim for dim in range(t.dim()) if dim != place.dim]
        squares = t.detach().double().square()
        norms = (squares.sum(rest) if rest else squares).sqrt()
        norms = norms / norms.mean().clamp(min=1e-12)
        each = t.numel() // t.shape[place.dim]
        for unit, norm in zip(place.labels.tolist(), norms.tolist(), strict=True):
            costs[unit] = costs.get(unit, 0) + each
            if t.dim() > 1 or len(rest) == 0:
                sums[unit] = sums.get(unit, 0.0) + norm
                counts[unit] = counts.get(unit, 0) + 1
    weights = []
    for layer in found.layers:
        own = torch.tensor([sums.get(u, 0.0) / max(1, counts.get(u, 1)) for u in layer.tolist()], dtype=torch.float64)
        weights.append(own / own.mean().clamp(min=1e-12))
    return Prunable(found.model, found.units, found.layers, tuple(weights), costs)


def chosen(found: Prunable, share: float) -> list[int]:
    """The lightest units of all layers together, until a share of the network's parameters has gone; raises UserError where that is
    more than can go."""
    total = sum(p.numel() for p in found.model.parameters())
    order: list[tuple[float, int]] = []
    for layer, weights in zip(found.layers, found.weights, strict=True):
        least = max(1, round(KEPT_LEAST * len(layer)))
        rank = weights.argsort(stable=True)[: len(layer) - least]
        order += [(float(weights[i]), int(layer[i])) for i in rank.tolist()]
    order.sort()
    low, high = 0, len(order)
    while low < high:  # how many: fewer parameters stay with each more
        middle = (low + high) // 2
        gone = total - left(found, [unit for _, unit in order[:middle]])
        low, high = (low, middle) if gone >= share * total else (middle + 1, high)
    gone = total - left(found, [unit for _, unit in order[:low]])
    if gone < share * total:
        raise UserError(
            f"at most {gone / total:.0%} of this network's parameters lie in channels that can be removed; use --prune "
            f"{int(100 * gone / total) / 100:g} or less"
        )
    return [unit for _, unit in order[:low]]


def left(found: Prunable, gone: list[int]) -> int:
    """Parameters of the network without some units."""
    sizes = shapes(found, gone)
    return sum(math.prod(sizes.get(name, p.shape)) for name, p in found.model.named_parameters())


def kept(found: Prunable, gone: list[int]) -> dict[str, list[Tensor | None]]:
    """Tensor -> per dimension which of its numbers stay, bool; None: all."""
    lost = torch.tensor(sorted(gone), dtype=torch.int64)
    masks: dict[str, list[Tensor | None]] = {}
    tensors = dict([*found.model.named_parameters(), *found.model.named_buffers()])
    for place in found.units.places:
        own = masks.setdefault(place.tensor, [None] * tensors[place.tensor].dim())
        own[place.dim] = ~torch.isin(place.labels, lost)
    return masks


def shapes(found: Prunable, gone: list[int]) -> dict[str, list[int]]:
    """Tensor -> its shape without some units."""
    tensors = dict([*found.model.named_parameters(), *found.model.named_buffers()])
    return {
        name: [
            int(mask.sum()) if mask is not None else size for mask, size in zip(masks, tensors[name].shape, strict=True)
        ]
        for name, masks in kept(found, gone).items()
    }


def narrowed(found: Prunable, gone: list[int]) -> tuple[Narrowed, nn.Module]:
    """The change that removes units, and the network without them, with the weights that stay."""
    model = copy.deepcopy(found.model)
    return cut(model, found, gone), model


def without(found: Prunable, share: float) -> nn.Module:
    """The network without a share of its parameters; raises UserError where so much cannot be removed."""
    return narrowed(found, chosen(found, share))[1]


def cut(model: nn.Module, found: Prunable, gone: list[int], before: list[int] | None = None) -> Narrowed:
    """Removes units in place, of this network or of one that has other weights, and from which some have gone `before`."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    masks, there = kept(found, gone), kept(found, before or [])
    new: dict[str, list[int]] = {}
    for name, own in masks.items():
        t = tensors[name].detach()
        for dim, mask in enumerate(own):
            was = there[name][dim]
            if mask is not None and was is not None:
                t = t.index_select(dim, mask[was].nonzero()[:, 0].to(t.device))
        if t.shape != tensors[name].shape:
            set_tensor(model, name, t.clone())
            new[name] = list(t.shape)
    groups = {}
    for weight, (module, count) in found.units.grouped.items():
        rows = masks[weight][0]
        left_over = count * int(rows.sum()) // len(rows) if rows is not None else count
        if left_over != layer_of(model, module).groups:
            groups[module] = left_over
    settle(model, groups)
    parallel.arrange(model, "channels_last")
    return Narrowed(shapes=new, groups=groups)


def silenced(found: Prunable, gone: list[int]) -> nn.Module:
    """The whole network, in which nothing hears the units: the columns that they enter by are zero."""
    model, lost = copy.deepcopy(found.model), torch.tensor(sorted(gone), dtype=torch.int64)
    named = dict(model.named_parameters())
    for place in found.units.places:
        if place.heard and place.tensor in named:
            t = named[place.tensor]
            t.data.mul_((~torch.isin(place.labels, lost)).view([-1 if i == place.dim else 1 for i in range(t.dim())]))
    return model


def agrees(found: Prunable, layers: list[Tensor], ask: Ask) -> bool:
    """Whether the network without every third unit of some layers can be trained, and answers as the whole one that does not hear
    them."""
    if not layers:
        return False
    gone = [unit for layer in layers for unit in layer[: len(layer) - 1 : 3].tolist()]
    try:
        _, model = narrowed(found, gone)
        ours, theirs = ask.answers(model), ask.answers(silenced(found, gone))
        with torch.no_grad():
            ask.loss(model.train())
    except Exception:  # whatever a network computes with sizes that are not its own any more
        return False
    return close(ours, theirs)
