"""The proof of an export: its own runtime and the model give real rows the same answers, or it is said where they part.

Shape letters: B rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shendu import parallel
from shendu.core import Batch
from shendu.errors import UserError
from shendu.exporting.format import Arrays, Format, Runs
from shendu.exporting.graph import Made

ROWS, TOLERANCE = 100, 1e-4
"""Rows that are asked, and how far an answer may be off: of the largest of its kind, or of 1 where that is more."""
BATCHES, SIZES = (1, 7, 32), (0.6, 1.7)
"""Rows at once; and sizes of the inputs, of their own, besides that."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """That an export agrees with its model, and how far."""

    rows: int
    batches: tuple[int, ...]
    sizes: tuple[float, ...]
    worst: float
    """The largest difference, in units of the largest answer of its kind (or 1)."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "tolerance": TOLERANCE, "words": str(self)}

    def __str__(self) -> str:
        sizes = f" and {len(self.sizes)} input sizes" if len(self.sizes) > 1 else ""
        batches = ", ".join(map(str, self.batches))
        return f"{self.rows} rows, {batches} at once{sizes}: off by {self.worst:.1e} at most, equal labels"


def prove(form: Format, made: Made, place: Path, rows: Batch) -> Proof:
    """Asks what was written and the model about stored rows, brought to other sizes too where inputs may have any.

    Raises UserError that names the first layer whose outputs differ.
    """
    count = len(next(iter(rows.values())))
    varies = any(port.varying() for port in made.ports.values())
    passes = [(1.0, batch) for batch in BATCHES] + [(size, BATCHES[-1]) for size in (SIZES if varies else ())]
    run, worst = form.runs(made, place), 0.0
    for size, batch in passes:
        given, stored = made.task.offered(rows, size)
        for start in range(0, count, batch):
            asked, kept = ({name: t[start : start + batch] for name, t in part.items()} for part in (given, stored))
            if "sample" in kept:
                kept["sample"] = torch.arange(len(kept["sample"]))
            off, which = apart(made, run, asked, kept)
            if not off <= TOLERANCE:
                raise parted(form, made, place, asked, kept, off, which, size)
            worst = max(worst, off)
    return Proof(rows=count, batches=BATCHES, sizes=(1.0, *(SIZES if varies else ())), worst=worst)


def apart(made: Made, run: Runs, given: Batch, stored: Batch) -> tuple[float, str]:
    """(how far answers differ, the output where they differ most); infinite where a label does."""
    with parallel.evaluating(made.model):
        wanted = {name: t.numpy() for name, t in made.task(made.model, stored).items()}
    found = run({name: t.numpy() for name, t in given.items()})
    worst, which = 0.0, ""
    for name in made.outputs:
        off = difference(found[name], wanted[name])
        if made.task.labels and wanted[name].ndim > 1 and (found[name].argmax(-1) != wanted[name].argmax(-1)).any():
            off = float("inf")
        if not off <= worst:
            worst, which = off, name
    return worst, which


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, in units of the largest value that is wanted, or of 1; infinite for other shapes, NaN alike."""
    if found.shape != wanted.shape:
        return float("inf")
    one, other = found.astype(np.float64), wanted.astype(np.float64)
    if not one.size:
        return 0.0
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(one - other))
    finite = np.abs(other[np.isfinite(other)])
    return float(off.max() / max(1.0, finite.max(initial=0.0)))


def parted(
    form: Format, made: Made, place: Path, given: Batch, stored: Batch, off: float, which: str, size: float
) -> UserError:
    """The error that says how far an export is off, and from which layer on."""
    amount = "another label" if off == float("inf") else f"{off:.1e}"
    at = first_apart(form.layers(made, place, {name: t.numpy() for name, t in given.items()}), made, stored)
    where = f"; the first layer that differs is {at}" if at else "; no single layer that could be compared differs"
    sized = "" if size == 1 else f" for inputs of {size:g} times their size"
    return UserError(
        f"{made.system} as {form.name} parts from the model{sized}: {which} differs by {amount} where {TOLERANCE:g} is allowed{where}"
    )


def first_apart(found: Arrays, made: Made, stored: Batch) -> str:
    """The first module that gives something else than it gives in the model, and by how much; empty: none that can be compared."""
    with watching(made.model) as seen, parallel.evaluating(made.model):
        made.task(made.model, stored)
    for name, wanted in seen.items():
        if name in found and found[name].shape == wanted.shape:
            off = difference(found[name], wanted)
            if not off <= TOLERANCE:
                module = made.model.get_submodule(name)
                return f"{name} ({type(module).__name__}, by {off:.1e})"
    return ""


@contextlib.contextmanager
def watching(model: nn.Module) -> Iterator[dict[str, np.ndarray]]:
    """What each innermost module gives at its first call, in the order of the calls."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def kept(module: nn.Module, args: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                seen.setdefault(name, out.detach().clone().numpy())

        return kept

    hooks = [
        m.register_forward_hook(keep(name)) for name, m in model.named_modules() if name and not list(m.children())
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
