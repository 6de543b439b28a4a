"""Which numbers of a network belong together: the units (channels, features) that can be removed, followed through every layer.

A network is asked about a few rows, and beside each tensor a tensor of labels of the same shape is carried along: the unit that each
number is of. What moves numbers (a view, a slice, a concatenation, a flattening) moves labels by the same call. What adds or
multiplies two tensors makes one unit of two; a product of matrices and a convolution say that an entering unit is a column of
the weights, and begin new units with their rows. What mixes units (LayerNorm, softmax), and what is not known here, fixes them.
So nothing is said of any network: residual sums, depthwise and grouped convolutions, concatenations come out of the arithmetic.

Shape letters: B rows, C channels, I entering, O leaving.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from shendu import parallel
from shendu.core import Batch
from shendu.nn.dropout import Dropout

FIXED, NONE = 1, 0
"""Labels of what must stay, and of what belongs to no unit (constants)."""
CLOSE = 1e-4
"""How far answers may be apart that are the same but for rounding, in relation to the largest."""


@dataclass
class Place:
    """A dimension of a parameter or buffer along which units lie: the label of each of its numbers."""

    tensor: str
    dim: int
    labels: Tensor
    """int64 [size]; once all is known the unit of each."""
    heard: bool = False
    """Whether units enter here: a number of zero silences its unit."""


@dataclass
class Units:
    """What a network's numbers belong to. A unit can be removed from every place at once."""

    places: list[Place]
    parents: list[int]
    grouped: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Weight of a grouped convolution -> (its module, its groups)."""

    def root(self, label: int) -> int:
        while self.parents[label] != label:
            self.parents[label] = self.parents[self.parents[label]]
            label = self.parents[label]
        return label

    def settled(self, heard: set[int]) -> Units:
        """With units instead of labels; `heard` are labels of units where they enter."""
        roots = torch.tensor([self.root(label) for label in range(len(self.parents))])
        for place in self.places:
            place.heard = not heard.isdisjoint(place.labels.tolist())
            place.labels = roots[place.labels]
        return self

    def layers(self) -> list[Tensor]:
        """The units of each layer that can lose some, int64 [units]: those that lie along the same places go together.

        At least one unit of a layer stays, so what has one alone is none.
        """
        fixed = self.root(FIXED)
        sets: dict[tuple[int, ...], None] = {}
        for place in self.places:
            if free := tuple(unit for unit in place.labels.unique().tolist() if unit not in (fixed, NONE)):
                sets[free] = None
        joined: list[set[int]] = []
        for members in map(set, sets):
            touching = [each for each in joined if each & members]
            joined = [each for each in joined if not each & members] + [members.union(*touching)]
        return [torch.tensor(sorted(each)) for each in joined if len(each) > 1]


class Tracer(TorchDispatchMode):
    """Carries labels beside the tensors of one call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.labels: dict[int, tuple[Tensor, ...]] = {}
        """Of a tensor: one tensor of labels; of a weight of two or more dimensions two, of its rows and of its columns."""
        self.alive: list[Tensor] = []
        self.units = Units([], [NONE, FIXED])
        self.names: dict[int, str] = {}
        self.heard: set[int] = set()
        self.used: set[str] = set()
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            self.keep(t, self.named(name, t))
            self.names[id(t)] = name

    # ---- labels

    def fresh(self, count: int) -> Tensor:
        first = len(self.units.parents)
        self.units.parents += range(first, first + count)
        return torch.arange(first, first + count)

    def named(self, name: str, t: Tensor) -> tuple[Tensor, ...]:
        """New labels along the first two dimensions of a parameter or buffer."""
        if not t.is_floating_point():
            return (torch.zeros(t.shape, dtype=torch.int64),)
        found = []
        for dim in range(min(2, t.dim())):
            own = self.fresh(t.shape[dim]) if t.shape[dim] > 1 else torch.zeros(t.shape[dim], dtype=torch.int64)
            self.units.places.append(Place(name, dim, own))
            found.append(own.view([-1 if i == dim else 1 for i in range(t.dim())]).expand(t.shape))
        return tuple(found) or (torch.zeros((), dtype=torch.int64),)

    def keep(self, t: Tensor, labels: tuple[Tensor, ...]) -> None:
        self.labels[id(t)] = labels
        self.alive.append(t)  # so that its id is not another's

    def of(self, t: Tensor) -> tuple[Tensor, ...]:
        return self.labels.get(id(t), (torch.zeros(t.shape, dtype=torch.int64),))

    def join(self, one: Tensor, other: Tensor) -> None:
        """Labels at the same places are of one unit."""
        one, other = torch.broadcast_tensors(one, other)
        pairs = torch.stack([one.flatten(), other.flatten()], 1)
        pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > NONE).all(1)]
        for a, b in pairs.unique(dim=0).tolist() if len(pairs) else ():
            low, high = sorted((self.units.root(a), self.units.root(b)))
            self.units.parents[high] = low

    def fix(self, *labels: Tensor) -> None:
        for each in labels:
            for label in each.unique().tolist():
                if label > FIXED:
                    self.join(torch.tensor([FIXED]), torch.tensor([label]))

    def uniform(self, labels: Tensor, dims: Iterable[int]) -> Tensor:
        """The labels without some dimensions, along which they are the same; where they are not, they are fixed."""
        dims = tuple(dims)
        if not dims or not labels.numel():
            return labels
        high = labels.amax(dims, keepdim=True)
        if bool(((labels != high) & (labels != NONE)).any()):
            self.fix(labels)
            return torch.full_like(labels.amax(dims), FIXED)
        return high.amax(dims)

    # ---- calls

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.used |= {self.names[id(t)] for t in given if id(t) in self.names}
        if not any(id(t) in self.labels for t in given):
            return out
        name = func.overloadpacket.__name__.removesuffix("_copy")
        rule = RULES.get(name)
        try:
            if rule is not None:
                rule(self, func, args, kwargs, out)
            elif func.is_view or name in MOVES:
                self.moved(func, args, kwargs, out)
            elif torch.Tag.pointwise in func.tags or name.removesuffix("_") in SAME:
                self.pointwise(given, made)
            else:
                self.fixed(given, made)
        except (RuntimeError, IndexError, ValueError, TypeError):  # a call that labels cannot follow
            self.fixed(given, made)
        return out

    def fixed(self, given: list[Tensor], made: list[Tensor]) -> None:
        for t in given:
            self.fix(*self.of(t))
        for t in made:
            self.keep(t, (torch.full(t.shape, FIXED),))

    def moved(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """The same call on labels: of each kind where a weight has two."""
        kinds = max(len(self.of(t)) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor))
        found = []
        for kind in range(kinds):
            try:
                found.append(self.called(func, args, kwargs, kind, False))
            except RuntimeError:  # labels that are expanded cannot be viewed
                found.append(self.called(func, args, kwargs, kind, True))
        for i, t in enumerate(tree_leaves(out)):
            if isinstance(t, Tensor):
                self.keep(t, tuple(tree_leaves(each)[i] for each in found))

    def called(self, func: Any, args: Any, kwargs: Any, kind: int, whole: bool) -> Any:
        """A call on labels of a kind instead of tensors; `whole`: on copies that are laid out as numbers are."""

        def labelled(t: Any) -> Any:
            if not isinstance(t, Tensor) or not (id(t) in self.labels or t.is_floating_point()):
                return t
            own = self.of(t)
            labels = own[min(kind, len(own) - 1)]
            return labels.contiguous() if whole else labels

        return func(*tree_map(labelled, args), **tree_map(labelled, kwargs))

    def pointwise(self, given: list[Tensor], made: list[Tensor]) -> None:
        shape = made[0].shape
        whole = torch.zeros(shape, dtype=torch.int64)
        for labels in (each for t in given for each in self.of(t)):
            self.join(whole, labels)
            whole = torch.maximum(whole, labels.expand(shape))
        for t in made:
            if id(t) in self.labels and self.of(t)[0].shape == shape:  # in place: also what it is a view of
                old = self.of(t)[0]
                if not any(size > 1 and step == 0 for size, step in zip(old.shape, old.stride(), strict=True)):
                    old.copy_(whole)
                    continue
            self.keep(t, (whole,))


Rule = Callable[[Tracer, Any, tuple[Any, ...], dict[str, Any], Any], None]


def over_places(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """A pool, or a resizing: each channel by itself, whatever happens to its places."""
    x = args[0]
    made = out[0] if isinstance(out, tuple) else out
    spatial = {"1d": 1, "2d": 2, "3d": 3}
    count = next((n for word, n in spatial.items() if word in func.overloadpacket.__name__), x.dim() - 2)
    own = tracer.uniform(tracer.of(x)[0], range(x.dim() - count, x.dim()))
    labels = own.view(*own.shape, *[1] * count).expand(made.shape)
    for t in out if isinstance(out, tuple) else (out,):
        tracer.keep(t, (labels,))


def reduced(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    """A mean or a sum over places."""
    x = args[0]
    dims = args[1] if len(args) > 1 and args[1] is not None else kwargs.get("dim")
    dims = range(x.dim()) if not dims and dims != 0 else [dims] if isinstance(dims, int) else dims
    labels = tracer.uniform(tracer.of(x)[0], [d % x.dim() for d in dims])
    tracer.keep(out, (labels.view(out.shape),))


def padded(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    """Zeros beside places are of no unit; where units lie along the dimension, their number is part of the network, so they stay."""
    x, widths = args[0], list(args[1])
    labels = tracer.of(x)[0]
    for i in range(0, len(widths), 2):
        dim = x.dim() - 1 - i // 2
        varies = labels.shape[dim] > 1 and bool((labels.narrow(dim, 0, 1) != labels).any())
        pad = [0] * i + widths[i : i + 2]
        labels = torch.nn.functional.pad(labels, pad, value=FIXED if varies else NONE)
    tracer.keep(out, (labels,))


def product(tracer: Tracer, x: Tensor, weight: Tensor, out: Tensor, bias: Tensor | None) -> None:
    """x [N, I] times a weight that is held as [I, O]."""
    sides = tracer.of(weight)
    if len(sides) != 2 or len(tracer.of(x)) != 1:
        given = [x, weight, *([bias] if bias is not None else [])]
        return tracer.fixed(given, [out])
    entering, leaving = sorted(sides, key=lambda each: bool((each[:1] != each).any()), reverse=True)
    hear(tracer, tracer.uniform(tracer.of(x)[0], [0]), tracer.uniform(entering, [1]))
    own = tracer.uniform(leaving, [0]).expand(out.shape)
    if bias is not None:
        tracer.join(own, tracer.of(bias)[0])
    tracer.keep(out, (own,))
    return None


def hear(tracer: Tracer, units: Tensor, entering: Tensor) -> None:
    """Units enter a weight by its columns."""
    tracer.join(units, entering)
    tracer.heard.update(entering[entering > FIXED].tolist())


def mm(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    product(tracer, args[0], args[1], out, None)


def addmm(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    product(tracer, args[1], args[2], out, args[0])


def convolution(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    """x [B, I, …], weight [O, I / groups, …], or transposed [I, O / groups, …]."""
    x, weight, bias, *_, transposed, _, groups = args
    rows, columns = tracer.of(weight)
    own = tracer.uniform(tracer.of(x)[0], [0, *range(2, x.dim())])
    rows = tracer.uniform(rows, range(1, weight.dim()))
    columns = tracer.uniform(columns, [0, *range(2, weight.dim())])
    if groups == 1:
        entering, leaving = (rows, columns) if transposed else (columns, rows)
        hear(tracer, own, entering)
    elif transposed or tracer.names.get(id(weight)) is None:
        tracer.fix(own, rows, columns)
        leaving = torch.full((out.shape[1],), FIXED)
    else:  # a group goes as a whole: what enters it and what leaves it
        tracer.fix(columns)
        for one in (own, rows):
            first = one.view(groups, -1)
            tracer.join(first[:, :1], first)
        tracer.join(own.view(groups, -1)[:, 0], rows.view(groups, -1)[:, 0])
        leaving = rows
        name = tracer.names[id(weight)]
        tracer.units.grouped[name] = (name.rpartition(".")[0], groups)
    if bias is not None:
        tracer.join(leaving, tracer.of(bias)[0])
    tracer.keep(out, (leaving.view(1, -1, *[1] * (out.dim() - 2)).expand(out.shape),))


def batch_norm(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """Each channel by itself: its gain, its bias, its statistics."""
    x = args[0]
    own = tracer.uniform(tracer.of(x)[0], [0, *range(2, x.dim())])
    for t in args[1:5]:
        if isinstance(t, Tensor):
            tracer.join(own, tracer.of(t)[0])
    made = out if isinstance(out, tuple) else (out,)
    tracer.keep(made[0], (own.view(1, -1, *[1] * (x.dim() - 2)).expand(made[0].shape),))


def embedding(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
    """A row per code: rows stay, columns are units."""
    rows, columns = tracer.of(args[0])
    tracer.fix(rows)
    tracer.keep(out, (tracer.uniform(columns, [0]).expand(out.shape),))


def dropped(tracer: Tracer, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    made = out if isinstance(out, tuple) else (out,)
    for t in made:
        tracer.keep(t, (tracer.of(args[0])[0],))


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
         "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool2d", "upsample_bilinear2d",
         "_upsample_bilinear2d_aa", "upsample_nearest2d", "upsample_nearest1d", "upsample_bicubic2d", "mkldnn_max_pool2d"), over_places),
    **dict.fromkeys(("mean", "sum", "amax", "amin"), reduced),
    "constant_pad_nd": padded, "mm": mm, "addmm": addmm, "convolution": convolution, "embedding": embedding, "native_dropout": dropped,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update",
                     "_native_batch_norm_legit", "cudnn_batch_norm", "miopen_batch_norm"), batch_norm),
}  # fmt: skip
MOVES = {"cat", "stack", "clone", "contiguous", "reshape", "_reshape_alias", "flip", "repeat", "roll", "_unsafe_view", "index_select",
         "expand", "repeat_interleave", "pixel_shuffle", "pixel_unshuffle", "unfold", "copy_", "lift_fresh", "reflection_pad2d",
         "reflection_pad1d", "replication_pad2d"}  # fmt: skip
"""Calls that move numbers without changing them, beside views."""
SAME = {"_to", "to", "hardtanh", "gelu", "silu", "dropout", "leaky_relu", "elu", "mish", "softplus", "hardswish", "hardsigmoid", "add",
        "mul", "sub", "div"}  # fmt: skip
"""Calls number by number, beside those that torch marks as such."""


@dataclass(frozen=True)
class Ask:
    """How a network is called: what it is asked by, and what of it must not change."""

    batch: Batch
    """A few prepared rows."""
    answer: Callable[[nn.Module], Any]
    """A network -> what is measured of it on these rows, in eval mode."""
    loss: Callable[[nn.Module], Any]
    """A network -> its loss on these rows, in training mode."""

    def answers(self, model: nn.Module) -> list[Tensor]:
        """The numbers of the answer."""
        with parallel.evaluating(model):
            found = tree_leaves(self.answer(model))
        return [t.float() for t in found if isinstance(t, Tensor) and t.is_floating_point() and t.numel()]


def units_of(model: nn.Module, ask: Ask) -> Units:
    """The units of a network; what enters, what is answered and what is never used is fixed. It is called as it answers, and as it is
    trained, where it may have further outputs."""
    model = copy.deepcopy(model)
    tracer = Tracer(model)
    for x in ask.batch.values():
        tracer.keep(x, (torch.full(x.shape, FIXED),))
    with parallel.evaluating(model):
        follow(tracer, model, ask.answer)
        for module in model.modules():
            module.training = not isinstance(module, nn.modules.dropout._DropoutNd | Dropout)
        with contextlib.suppress(RuntimeError, ValueError):  # a batch of so few rows may be none that is trained on
            follow(tracer, model, ask.loss)
    saved = model.state_dict().keys()  # a table that is computed when a network is built is of the whole one
    for place in tracer.units.places:
        if place.tensor not in tracer.used or place.tensor not in saved:
            tracer.fix(place.labels)
    return tracer.units.settled(tracer.heard)


def follow(tracer: Tracer, model: nn.Module, call: Callable[[nn.Module], Any]) -> None:
    with tracer:
        out = call(model)
    for t in tree_leaves(out):
        if isinstance(t, Tensor):
            tracer.fix(*tracer.of(t))


def close(ours: list[Tensor], theirs: list[Tensor], share: float = CLOSE) -> bool:
    """Whether two answers are the same but for the order of sums."""
    return len(ours) == len(theirs) and all(
        one.shape == other.shape and bool((one - other).abs().max() <= share * other.abs().max().clamp(min=1e-6))
        for one, other in zip(ours, theirs, strict=True)
    )
