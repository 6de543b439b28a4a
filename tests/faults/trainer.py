"""What runs in a process that is killed: one call of the train verb, with checkpoints as often as can be."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from shendu import fit
from shendu.errors import UserError
from shendu.verbs import report
from shendu.verbs import train as verb


def train(
    system: str, data: Any, choices: dict[str, Any], out: str, save_every: float = 0.05, file_limit: int = 0
) -> None:
    """Begins the run, or continues it; a UserError goes to standard error and ends with 2."""
    torch.set_num_threads(1)
    fit.FIRST_SAVE = fit.SAVE_EVERY = save_every
    fit.SAVE_SHARE = 1e9
    report.write = lambda folder, *rest: (folder.path / "report.html").write_text("finished", encoding="utf-8") and None
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    sys.stderr = open(f"{out}.stderr", "a", encoding="utf-8")  # noqa: SIM115
    begun = (Path(out) / "recipe.json").exists()
    try:
        verb.train(system, data, out=out, resume=begun, quiet=not begun, device="cpu", compile="off", **choices)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(2)
