"""A network's tensors without their numbers: what it would take is known before it is built.

What a file says may be wrong or meant badly, so a network is built first without memory and with an end, and held against the
file of its weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

SPARE, PIECES_MOST = 1 << 26, 20_000
"""Numbers that any network may have beyond its weights (256 MB), and how many modules and tensors."""


def shapes_of(weights: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file without their numbers; raises SafetensorError or OSError for what is none."""
    if not weights.is_file():
        raise OSError("it is no ordinary file")
    with safe_open(weights, framework="pt") as file, torch.device("meta"):
        return {name: torch.empty(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


class TooLarge(ValueError):
    """A network has more numbers or modules than its weights account for."""


def bound(tensors: Iterable[torch.Tensor]) -> int:
    """How many numbers and modules a network may have whose weights these are: tied ones are made twice, and what is not saved
    (masks, tables of positions) comes on top."""
    return SPARE + 4 * sum(t.numel() for t in tensors)


@contextlib.contextmanager
def bounded(most: int) -> Iterator[None]:
    """While networks are built in it, raises TooLarge as soon as more is registered than `most` numbers or modules."""
    left, pieces = most, PIECES_MOST

    def count(module: nn.Module, name: str, added: Any) -> None:
        nonlocal left, pieces
        left, pieces = left - (added.numel() if isinstance(added, torch.Tensor) else 0), pieces - 1
        if left < 0:
            raise TooLarge(f"it has more than {most:,} numbers")
        if pieces < 0:
            raise TooLarge(f"it has more than {PIECES_MOST:,} layers and tensors")

    hooks = [
        nn.modules.module.register_module_parameter_registration_hook(count),
        nn.modules.module.register_module_buffer_registration_hook(count),
        nn.modules.module.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_size(build: Callable[[], Any], most: int) -> None:
    """Raises TooLarge where what is built has more than `most` numbers and modules; it is built without memory, as far as that goes."""
    with bounded(most), torch.device("meta"):
        try:
            build()
        except TooLarge:
            raise
        except Exception:  # whatever else is wrong shows when it is built for good
            return


def outline(net: Any, most: int | None = None) -> dict[str, torch.Tensor]:
    """A network's tensors by name, without their numbers where it can be built so. Raises TooLarge where it has more than `most`."""
    with bounded(most) if most else contextlib.nullcontext():
        try:
            with torch.device("meta"):
                return net.build().state_dict()
        except TooLarge:
            raise
        except (RuntimeError, NotImplementedError):
            with torch.random.fork_rng(devices=[]):
                return net.build().state_dict()


def misfit(given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """The first difference between two sets of weights in names or shapes, in words; empty where there is none."""
    for name, tensor in wanted.items():
        if name not in given:
            return f"{name} is missing"
        if given[name].shape != tensor.shape:
            return f"{name} is {list(given[name].shape)}, not {list(tensor.shape)}"
    return next((f"{name} is not of this network" for name in given if name not in wanted), "")
