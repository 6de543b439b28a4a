"""Optimisers and learning-rate schedules by name.

The algorithms are torch's own, in their fused form where there is one. What needs several evaluations of the loss per
step (L-BFGS) is refused: the loop makes one forward and one backward.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shendu import parallel
from shendu.core import Groups, Schedule
from shendu.errors import UserError, near, unknown

OPTIMIZERS: dict[str, str] = {
    "gd": "gradient descent; full-batch where the batch is the whole data set",
    "sgd": "stochastic gradient descent (Robbins and Monro 1951)",
    "momentum": "SGD with a heavy ball (Polyak 1964)",
    "nesterov": "SGD with Nesterov's momentum (Sutskever et al. 2013)",
    "adagrad": "rates divided by the root of all squared gradients so far (Duchi et al. 2011)",
    "rmsprop": "rates divided by the root of recent squared gradients (Hinton 2012)",
    "adam": "RMSProp with momentum and bias correction (Kingma and Ba 2015)",
    "adamw": "Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019)",
    "muon": "orthogonalised momentum for matrices and kernels, AdamW for all else (Jordan 2024; Liu et al. 2025)",
}
"""Name -> what it is, in one line."""

_FUSED = {"cpu", "cuda"}
_CLOSURES = ("lbfgs", "l-bfgs")


def optimizer(
    name: str,
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    decay_all: bool = False,
    by_adamw: tuple[str, ...] = (),
) -> Callable[[Groups], torch.optim.Optimizer]:
    """A builder of the named optimiser over named groups; each of its `param_groups` keeps `lr` as `initial_lr`.

    `momentum` is for momentum, nesterov and muon, `betas` for adam, adamw and muon's AdamW. Weight decay (added to the
    gradient, except in adamw and muon) goes to parameters of two or more dimensions only, unless `decay_all`.

    `muon`: matrices and convolution kernels (`Muon`); biases and gains go to AdamW, and so do `by_adamw`: names (or what they
    begin with, up to a dot) of tables with a row per word or place, of which a batch reads only some, and of layers so large
    that the iteration would take longer than the rest of a step. The same `lr` and `weight_decay` suit both, since Muon's
    updates are scaled to AdamW's usual size.

    Raises UserError for an unknown name, one that needs a closure, or a number out of range.
    """
    if name in _CLOSURES:
        raise UserError(
            f"optimizer '{name}' evaluates the loss several times per step (a closure), the loop evaluates it once; "
            "use --set optimizer=adam, or momentum"
        )
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    _check(name, lr, momentum, weight_decay, betas)

    def build(groups: Groups) -> torch.optim.Optimizer:
        parts = _by_decay(groups, weight_decay, decay_all)
        built = _build(name, parts, lr, momentum, betas, by_adamw)
        for group in built.param_groups:
            group["initial_lr"] = group["lr"]
        return built

    return build


def _check(name: str, lr: float, momentum: float, weight_decay: float, betas: tuple[float, float]) -> None:
    if not (math.isfinite(lr) and lr > 0):
        raise UserError(f"lr={lr:g} is not a positive number; write it like lr=0.01")
    if not 0 <= momentum < 1 or (name == "nesterov" and momentum == 0):
        raise UserError(f"momentum={momentum:g} does not work for {name}: it is below 1; write it like momentum=0.9")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise UserError(f"weight_decay={weight_decay:g} is negative or not finite; write it like weight_decay=0.0005")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UserError(f"betas={betas} are not two numbers in [0, 1); write them like betas=0.9,0.999")


def _by_decay(groups: Groups, weight_decay: float, decay_all: bool) -> Groups:
    """The groups with their weight decay; one is split in two where only some of its parameters decay."""
    parts = []
    for group in groups:
        named = list(zip(group["params"], group["names"], strict=True))
        least = 0 if decay_all or not weight_decay else 2
        for decay, decays in ((weight_decay, True), (0.0, False)):
            if members := [(p, n) for p, n in named if (p.ndim >= least) == decays]:
                params, names = zip(*members, strict=True)
                parts.append({**group, "params": list(params), "names": list(names), "weight_decay": decay})
    return parts


def _build(
    name: str, groups: Groups, lr: float, momentum: float, betas: tuple[float, float], by_adamw: tuple[str, ...]
) -> torch.optim.Optimizer:
    fast = _fast(groups)
    match name:
        case "gd" | "sgd":
            return eager(torch.optim.SGD)(groups, lr=lr, **fast)
        case "momentum" | "nesterov":
            return eager(torch.optim.SGD)(groups, lr=lr, momentum=momentum, nesterov=name == "nesterov", **fast)
        case "adagrad":
            return eager(torch.optim.Adagrad)(groups, lr=lr, **fast)
        case "rmsprop":
            return eager(torch.optim.RMSprop)(groups, lr=lr, foreach=True)
        case "adam":
            return eager(torch.optim.Adam)(groups, lr=lr, betas=betas, **fast)
        case "adamw":
            return eager(torch.optim.AdamW)(groups, lr=lr, betas=betas, **fast)
        case _:
            return _muon(groups, lr, momentum, betas, by_adamw)


class Eager(torch.optim.Optimizer):
    """torch's bookkeeping without its provisions for being compiled itself: they import torch._dynamo, 1.2 s at every start."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


@functools.cache
def eager(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """One of torch's optimisers as an `Eager` one, its step too."""
    return type(kind.__name__, (Eager, kind), {"step": torch.no_grad()(inspect.unwrap(kind.step))})


def _fast(groups: Groups) -> dict[str, bool]:
    """`fused` where the device has such kernels, else `foreach`."""
    params = [p for group in groups for p in group["params"]]
    fused = all(p.device.type in _FUSED and p.is_floating_point() for p in params)
    return {"fused": True} if fused else {"foreach": True}


def _muon(
    groups: Groups, lr: float, momentum: float, betas: tuple[float, float], by_adamw: tuple[str, ...]
) -> torch.optim.Optimizer:
    matrices, rest = ([_only(group, matrix, by_adamw) for group in groups] for matrix in (True, False))
    matrices, rest = ([group for group in part if group["params"]] for part in (matrices, rest))
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(Muon(matrices, lr=lr, momentum=momentum))
    if rest:
        parts.append(eager(torch.optim.AdamW)(rest, lr=lr, betas=betas, **_fast(rest)))
    return Together(parts)


def _only(group: dict[str, Any], matrix: bool, by_adamw: tuple[str, ...]) -> dict[str, Any]:
    """The group's matrices and kernels, or the others, those that AdamW is to have among them."""
    apart = tuple(f"{name}." for name in by_adamw)
    chosen = [
        (p, n)
        for p, n in zip(group["params"], group["names"], strict=True)
        if (p.ndim >= 2 and not f"{n}.".startswith(apart)) == matrix
    ]
    return {**group, "params": [p for p, _ in chosen], "names": [n for _, n in chosen]}


class Muon(Eager):
    """Momentum whose update is the nearest orthogonal matrix (Jordan 2024), Nesterov form, decoupled weight decay.

    A kernel [out, in, ...] is the matrix [out, in · ...]. Updates are scaled by 0.2 √max(rows, columns), so that their
    entries are of AdamW's usual size (Liu et al. 2025, equation 4). torch's own takes matrices alone, one by one; here all of
    one shape go together.
    """

    def __init__(self, params: Any, *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; there is no closure in the loop."""
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault((len(p), p[0].numel()), []).append(p)
            for shape, params in shapes.items():
                self._move(params, shape, group["lr"], group["momentum"], group["weight_decay"])

    def _move(self, params: list[Tensor], shape: tuple[int, int], lr: float, momentum: float, decay: float) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        ahead = torch._foreach_lerp(grads, buffers, momentum)
        updates = orthogonal(torch.stack([u.reshape(shape) for u in ahead]))
        torch._foreach_mul_(params, 1 - lr * decay)
        scale = 0.2 * math.sqrt(max(shape))
        moved = [u.view(p.shape) for u, p in zip(updates.to(params[0].dtype), params, strict=True)]
        torch._foreach_add_(params, moved, alpha=-lr * scale)


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """About U Vᵀ of each U S Vᵀ, by Newton-Schulz iteration with Jordan's quintic. [N, rows, columns], any norm.

    Of wide matrices, as kernels are, x xᵀ is iterated instead: x' = q x with q = a + b g + c g² and g = x xᵀ has g' = q g q,
    so that two products of the whole width are left of ten.
    """
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = narrow(x, iterations) if x.shape[2] < WIDE * x.shape[1] else wide(x.float(), iterations)
    return x.mT if tall else x


A, B, C = 3.4445, -4.7750, 2.0315
"""Jordan's quintic: a x + b x³ + c x⁵ takes every singular value in (0, 1] to about 1 in five steps."""
WIDE = 3
"""Columns per row from which the iteration of x xᵀ has less to compute."""


def narrow(x: Tensor, iterations: int) -> Tensor:
    """The iteration as it is; bfloat16 is exact enough for it."""
    x = x.bfloat16() if x.is_cuda or parallel.bf16_units() else x.float()
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x


def wide(x: Tensor, iterations: int) -> Tensor:
    """The same iteration of x xᵀ, in float32, since this squares small singular values."""
    gram: Tensor = x @ x.mT
    product: Tensor | None = None
    for i in range(iterations):
        q = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        q.diagonal(dim1=1, dim2=2).add_(A)
        product = q if product is None else q @ product
        if i < iterations - 1:
            gram = q @ gram @ q
    assert product is not None
    return product @ x


class Together(Eager):
    """Several optimisers of disjoint parameters as one: its groups and its state are theirs, not copies."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self._share()

    def _share(self) -> None:
        at = 0
        for part in self.parts:
            part.state = self.state
            part.param_groups = self.param_groups[at : at + len(part.param_groups)]
            at += len(part.param_groups)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each; there is no closure in the loop."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()


# ---- schedules: factors on the learning rate


def _constant(step: int, steps: int) -> float:
    return 1.0


def _step(step: int, steps: int, *, gamma: float = 0.1, at: tuple[float, ...] = (0.5, 0.75)) -> float:
    return math.prod(gamma for share in at if step >= share * steps)


def _cosine(step: int, steps: int, *, floor: float = 0.0) -> float:
    return floor + (1 - floor) * _half_cosine(step / max(steps, 1))


def _one_cycle(step: int, steps: int, *, warm_up: float = 0.15, start: float = 0.04, shape: str = "linear") -> float:
    warm = warm_up * steps
    if step < warm:
        return start + (1 - start) * step / warm
    done = (step - warm) / max(steps - warm, 1e-9)
    return max(0.0, 1 - done) if shape == "linear" else _half_cosine(done)


def _warmup_linear(step: int, steps: int, *, warm_up: float = 0.1) -> float:
    warm = int(warm_up * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    return max(0.0, (steps - step) / max(steps - warm, 1))


def _inverse_sqrt(step: int, steps: int, *, warm_up: float = 0.1) -> float:
    warm = max(1, int(warm_up * steps))
    return min((step + 1) / warm, math.sqrt(warm / (step + 1)))


def _half_cosine(done: float) -> float:
    """From 1 at 0 to 0 at 1, and 0 afterwards."""
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


_SCHEDULES: dict[str, tuple[Callable[..., float], str]] = {
    "constant": (_constant, "the rate as it is"),
    "step": (_step, "falls by `gamma` at given shares of the steps, `at`"),
    "cosine": (_cosine, "half a cosine down to `floor` (Loshchilov and Hutter 2017)"),
    "one-cycle": (_one_cycle, "linear `warm_up`, then linear or cosine (`shape`) to 0 (Smith and Topin 2018)"),
    "warmup-linear": (_warmup_linear, "linear `warm_up`, then linear to 0 (Devlin et al. 2019)"),
    "inverse-sqrt": (_inverse_sqrt, "linear `warm_up`, then as 1 / √step (Vaswani et al. 2017)"),
}

SCHEDULES: dict[str, str] = {name: text for name, (_, text) in _SCHEDULES.items()}
"""Name -> what it is, in one line."""


def schedule(name: str, **numbers: Any) -> Schedule:
    """The named schedule: (step, steps) -> factor on the learning rate, a pure function; step 0 is the first.

    Numbers, all shares between 0 and 1: step `gamma` and `at` (a tuple of shares of the steps); cosine `floor`;
    one-cycle `warm_up`, `start` (the first factor) and `shape` ("linear" or "cosine"); warmup-linear and inverse-sqrt `warm_up`.

    Raises UserError for an unknown name, a number that the schedule does not have, or one out of range.
    """
    if name not in _SCHEDULES:
        raise unknown("schedule", name, _SCHEDULES)
    function = _SCHEDULES[name][0]
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for key, value in numbers.items():
        if key not in known:
            raise UserError(f"schedule '{name}' has no number '{key}'{near(key, known)}")
        if key == "shape":
            if value not in ("linear", "cosine"):
                raise unknown("shape of one-cycle", str(value), ("linear", "cosine"))
        elif not all(0 <= share <= 1 for share in (value if isinstance(value, tuple | list) else (value,))):
            raise UserError(f"{key}={value} is not between 0 and 1; write it like {key}=0.1")
    return functools.partial(function, **numbers)
