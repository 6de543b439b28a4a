"""predict: inputs in, labels with probabilities (or values) out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from shendu import parallel
from shendu.errors import UserError
from shendu.measure import BATCH, outputs_of
from shendu.verbs.opened import Run

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")


def predict(run: Run | str | Path, *inputs: Any, device: str = "auto", precision: str = "auto") -> list[dict[str, Any]]:
    """One entry per row: `input`, and `label`, `probability`, `probabilities` (or `value`).

    An input is a picture file, a folder of them, a .npy file, an array or a Pillow picture. Raises UserError.
    """
    opened = run if isinstance(run, Run) else Run(run)
    chosen = parallel.choose_device(device)
    model, cast = parallel.place(opened.model, chosen), parallel.choose_precision(precision, chosen)
    named = [pair for item in inputs for pair in expand(item)]
    if not named:
        raise UserError(f"nothing to predict: shendu predict {opened.path} picture.png")
    rows: list[dict[str, Any]] = []
    for start in range(0, len(named), BATCH):
        for name, item in named[start : start + BATCH]:
            batch = opened.processor.encode(item)
            with parallel.evaluating(model):
                pieces = [
                    outputs_of(model, opened.processor, {k: t[i : i + BATCH] for k, t in batch.items()}, chosen, cast)
                    for i in range(0, len(batch["x"]), BATCH)
                ]
            decoded = opened.processor.decode(torch.cat(pieces))
            many = len(decoded) > 1
            rows += [{"input": f"{name}[{i}]" if many else name, **row} for i, row in enumerate(decoded)]
    return rows


def expand(item: Any) -> list[tuple[str, Any]]:
    """(name, input) pairs: a folder becomes its pictures, in order of their names."""
    if not isinstance(item, str | Path):
        return [(type(item).__name__, item)]
    path = Path(item)
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if not path.is_dir():
        return [(str(path), path)]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES)
    if not found:
        raise UserError(f"{path} holds no pictures ({', '.join(PICTURES)})")
    return [(str(p), p) for p in found]
