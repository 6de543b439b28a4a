"""What a network costs in use: its file, its parameters, how long it takes, how much memory.

Times are wall clock, of several networks in turns, so that what disturbs one disturbs all.
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shendu.core import Batch
from shendu.predictor import Predictor

SPENT, LEAST, MOST = 1.5, 30, 400
"""Seconds that are spent on each network and batch, and how many calls at least and at most."""
WARM = 3
DRAWS = 500
NOISE = 1.03
"""Medians that are closer are the same: what two measurements of one network differ by on a busy machine."""


class Latency(NamedTuple):
    """Milliseconds of a call."""

    p50: float
    p99: float


class Slower(NamedTuple):
    """How much longer a network takes than another: the ratio of medians, with the ends of its 95% interval."""

    ratio: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether it is slower beyond the noise."""
        return self.low > NOISE


def parameters(model: nn.Module) -> int:
    """Numbers that were learned, whatever they are held as: parameters, and the whole numbers of rounded layers."""
    held: dict[int, Tensor] = {id(t): t for t in model.parameters()}
    for module in model.modules():
        own = module._buffers
        if (weight := own.get("weight")) is not None and weight.dtype == torch.int8:
            held |= {id(t): t for t in (weight, own.get("bias")) if t is not None}
    return sum(t.numel() for t in held.values())


def rows(predictor: Predictor, count: int) -> Batch:
    """Stored rows of ordinary size on the device."""
    return {name: t.to(predictor.device) for name, t in predictor.task.example(count).items()}


def timed(predictors: Sequence[Predictor], count: int, spent: float | None = None) -> list[list[float]]:
    """Seconds of each call of each network on so many rows, one network after the other in turns."""
    spent = SPENT if spent is None else spent
    batches = [rows(each, count) for each in predictors]
    calls = [_call(each, batch) for each, batch in zip(predictors, batches, strict=True)]
    for call in calls * WARM:
        call()
    found: list[list[float]] = [[] for _ in predictors]
    began = time.perf_counter()
    while len(found[0]) < LEAST or (len(found[0]) < MOST and time.perf_counter() - began < spent * len(calls)):
        for times, call in zip(found, calls, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return found


def _call(predictor: Predictor, batch: Batch) -> Callable[[], Any]:
    return lambda: predictor(batch)


def latency(times: Sequence[float]) -> Latency:
    ordered = sorted(times)
    return Latency(
        round(1000 * statistics.median(ordered), 4),
        round(1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 4),
    )


def slower(before: Sequence[float], after: Sequence[float]) -> Slower:
    """How much longer the second takes; calls were made in turns, so they are drawn anew in pairs."""
    pairs = torch.tensor([list(before), list(after)], dtype=torch.float64)
    drawn = torch.randint(pairs.shape[1], (DRAWS, pairs.shape[1]), generator=torch.Generator().manual_seed(0))
    ratios = (pairs[1][drawn].median(1).values / pairs[0][drawn].median(1).values).sort().values
    whole = float(pairs[1].median() / pairs[0].median())
    return Slower(
        round(whole, 4), round(float(ratios[int(0.025 * DRAWS)]), 4), round(float(ratios[int(0.975 * DRAWS)]), 4)
    )


class Living(TorchDispatchMode):
    """Bytes of the tensors that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor):
                self.note(t)
        return out

    def note(self, t: Tensor) -> None:
        if t.is_mkldnn:  # a kernel's own
            return
        storage = t.untyped_storage()
        key = storage._cdata
        if key in self.seen or t.device.type == "meta":
            return
        self.seen.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def memory(predictor: Predictor, count: int) -> int:
    """Bytes of weights and of all tensors that are alive at once while so many rows are asked; what kernels need for themselves is
    not in it."""
    held = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in predictor.state_dict().values()}
    batch, living = rows(predictor, count), Living()
    living.seen.update(held)
    with living:
        predictor(batch)
    return sum(held.values()) + living.peak
