"""Where and how tensors are computed: device, precision, memory layout, compilation, ranks.

One process today; the loop already makes every call that several ranks will need.
"""

from __future__ import annotations

import contextlib
import copy
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shendu.core import Batch
from shendu.errors import UserError, unknown

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


def has_amx() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware tiles (Intel AMX)."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False


def choose_precision(name: str, device: torch.device) -> str:
    """`auto` is bf16 where the hardware multiplies it (AMX, a GPU that has it) and fp32 elsewhere."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    if name != "auto":
        return name
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and has_amx()
    return "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 matrix products with fp32 weights, or nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on its device; convolution kernels channels last, which oneDNN and cuDNN compute faster."""
    model.to(device)
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    return model


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device, without waiting for the copy."""
    if device.type == "cpu":
        return batch
    return {name: t.to(device, non_blocking=True) for name, t in batch.items()}


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


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


TRIAL_WORTH = 900.0
"""Seconds of training left from which a trial of compilation (a minute or two on a processor) can pay for itself."""
GAIN = 1.05


def compilation_pays(learner: nn.Module, backward: Callable[[nn.Module], Tensor]) -> tuple[bool, str]:
    """Times forward and backward of a copy, eager against compiled; returns the decision and its reason.

    `backward` is the loop's own: it adds up a learner's gradients on a batch and returns the loss.
    """

    def seconds(module: nn.Module, warm: int, runs: int = 5) -> float:
        times = []
        for i in range(warm + runs):
            began = time.perf_counter()
            float(backward(module))
            if i >= warm:
                times.append(time.perf_counter() - began)
        return sorted(times)[len(times) // 2]

    eager = seconds(copy.deepcopy(learner), warm=1)
    candidate = copy.deepcopy(learner)
    candidate.compile()
    try:
        compiled = seconds(candidate, warm=2)
    except Exception as error:
        return False, f"stays uncompiled: torch.compile failed here ({type(error).__name__})"
    pays = eager > GAIN * compiled
    verdict = "compiled" if pays else "stays uncompiled"
    return pays, f"{verdict}: a trial took {compiled * 1000:.0f} ms a step compiled, {eager * 1000:.0f} ms without"


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
