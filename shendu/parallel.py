"""Where and how tensors are computed: device, precision, memory layout, compilation, ranks.

One process today; the loop already makes every call that several ranks will need.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import platform
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shendu.core import Batch
from shendu.errors import Interrupted, UserError, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")


def rank() -> int:
    """This process's number among its peers."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def sum_over_ranks(t: Tensor) -> Tensor:
    """The elementwise sum of every rank's tensor; the tensor itself on one process."""
    if world() > 1:
        torch.distributed.all_reduce(t)
    return t


def units_over_ranks(count: Tensor | int) -> Tensor | int:
    """A term's units on every rank together, never below 1."""
    if world() == 1 and not torch.is_tensor(count):
        return max(1, count)
    return sum_over_ranks(torch.as_tensor(count)).clamp(min=1)


def concat_over_ranks(t: Tensor) -> Tensor:
    """Every rank's rows in the order of the ranks, however many each has; the tensor itself on one process."""
    if world() == 1:
        return t
    rows = torch.zeros(world(), dtype=torch.int64, device=t.device)
    rows[rank()] = len(t)
    counts = sum_over_ranks(rows).tolist()
    whole = t.new_zeros((sum(counts), *t.shape[1:]))
    whole[sum(counts[: rank()]) :][: len(t)] = t
    return sum_over_ranks(whole)


def double(t: Tensor) -> Tensor:
    """Detached in float64, on the same device where it can (Apple's GPUs cannot)."""
    return (t.cpu() if t.device.type == "mps" else t).detach().double()


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, then Apple's GPU, then the processor; raises UserError for one that is not here."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    kind = name.partition(":")[0]
    if kind not in there:
        raise unknown("device", name, DEVICES)
    if not there[kind]:
        raise UserError(f"no {kind} device is available here; use --device cpu")
    return torch.device(name)


@functools.cache
def bf16_units() -> list[str]:
    """What the processor multiplies bf16 with: tiles (amx_bf16: Intel AMX), vectors (avx512_bf16: AMD from Zen 4, Intel)."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").split()
    except OSError:
        return []
    return [unit for unit in ("amx_bf16", "avx512_bf16") if unit in flags]


WORTH_CASTING = 50_000
"""Parameters from which bf16 pays: casting costs a step 0.2 ms, more than the products of a smaller network save."""


def choose_precision(name: str, device: torch.device, model: nn.Module) -> str:
    """`auto` is bf16 where the hardware multiplies it (AMX, AVX-512 with BF16, a GPU that has it) and the network is not tiny."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    if name != "auto":
        return name
    if sum(p.numel() for p in model.parameters()) < WORTH_CASTING:
        return "fp32"
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and bool(bf16_units())
    return "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 matrix products with fp32 weights, or nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""Memory formats of pictures and convolution kernels."""


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on its device; convolution kernels channels last, which oneDNN and cuDNN compute faster."""
    return arrange(model.to(device), "channels_last")


def arrange(model: nn.Module, layout: str) -> nn.Module:
    """The model with its convolution kernels in a memory format."""
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.contiguous(memory_format=LAYOUTS[layout])
    return model


def to_device(batch: Batch, device: torch.device, layout: str = "channels_last") -> Batch:
    """The batch on the device, without waiting for the copy; pictures in a memory format where it is not the usual one."""
    if device.type != "cpu":
        batch = {name: t.to(device, non_blocking=True) for name, t in batch.items()}
    if layout == "channels_last":
        return batch
    return {name: t.contiguous() if t.dim() == 4 else t for name, t in batch.items()}


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """What the bytes of the weights depend on beside the recipe; a resumed run must find the same."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "processes": world(),
        "precision": precision,
    }


TRIAL_WORTH = {"cpu": 900.0, "mps": 900.0, "cuda": 180.0}
"""Seconds of training left from which a trial of compilation can pay for itself: it takes a minute or two on a processor, half
a minute on a GPU."""
GAIN = 1.05


def fastest(learner: nn.Module, backward: Callable[[nn.Module, str], Tensor]) -> tuple[bool, str, str]:
    """Times forward and backward of copies, eager and compiled; returns (compiled?, memory format, the reason).

    `backward` is the loop's own: it adds up a learner's gradients on a batch in a memory format, and returns the loss.
    Compiled on a processor, convolutions may be quicker on contiguous pictures, so both formats are tried.
    """

    def seconds(layout: str, compiled: bool, hopeless: float = math.inf, runs: int = 5) -> float:
        candidate, times = arrange(copy.deepcopy(learner), layout), []
        if compiled:
            candidate.compile()
        warm = 1 + compiled
        for i in range(warm + runs):
            began = time.perf_counter()
            float(backward(candidate, layout))
            if i >= warm:
                times.append(time.perf_counter() - began)
            if times and times[-1] > hopeless:
                break
        return sorted(times)[len(times) // 2]

    kernels = [p for p in learner.parameters() if p.dim() == 4]
    layouts = ["channels_last", *(["contiguous"] if kernels and not kernels[0].is_cuda else [])]
    eager = seconds("channels_last", False)
    try:
        compiled = {layout: seconds(layout, True, 3 * eager) for layout in layouts}
    except Interrupted:
        raise
    except Exception as error:
        return False, "channels_last", f"stays uncompiled: torch.compile failed here ({type(error).__name__})"
    layout = min(compiled, key=lambda name: compiled[name])
    pays = eager > GAIN * compiled[layout]
    verdict = "compiled" if pays else "stays uncompiled"
    why = f"{verdict}: a trial took {compiled[layout] * 1000:.0f} ms a step compiled, {eager * 1000:.0f} ms without"
    return pays, layout if pays else "channels_last", why


def device_of(model: nn.Module) -> torch.device:
    """Where its parameters lie, or its buffers where it has none; the processor for a model without either."""
    return next((t.device for t in chain(model.parameters(), model.buffers())), torch.device("cpu"))


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; each module's own mode afterwards as before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
