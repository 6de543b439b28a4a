"""predict: inputs in, labels with probabilities (or values) out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch

from shendu import parallel
from shendu.errors import UserError
from shendu.measure import BATCH, outputs_of
from shendu.verbs.opened import Run


def predict(run: Run | str | Path, *inputs: Any, device: str = "auto", precision: str = "auto") -> list[dict[str, Any]]:
    """One entry per row: `input`, and `label`, `probability`, `probabilities` (or `value`).

    An input is a picture file, a folder of them, a .npy file, an array or a Pillow picture. Raises UserError.
    """
    opened = run if isinstance(run, Run) else Run(run)
    chosen = parallel.choose_device(device)
    model, cast = parallel.place(opened.model, chosen), parallel.choose_precision(precision, chosen)
    if not inputs:
        raise UserError(f"nothing to predict: shendu predict {opened.path} INPUT")
    rows: list[dict[str, Any]] = []
    for names, item in itertools.chain.from_iterable(opened.processor.input.items(given) for given in inputs):
        batch = opened.processor.encode(item)
        with parallel.evaluating(model):
            pieces = [
                outputs_of(model, opened.processor, {k: t[i : i + BATCH] for k, t in batch.items()}, chosen, cast)
                for i in range(0, len(batch["x"]), BATCH)
            ]
        decoded = opened.processor.decode(torch.cat(pieces))
        if len(names) != len(decoded):
            names = [f"{names[0]}[{i}]" for i in range(len(decoded))]
        rows += [{"input": name, **row} for name, row in zip(names, decoded, strict=True)]
    return rows
