"""What runs in a process that is killed: one call of the train verb, with checkpoints as often as can be."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision_shim  # noqa: F401  (timm imports torchvision)

from shendu import run
from shendu.errors import UserError
from shendu.loop import session
from shendu.pages import report
from shendu.verbs import train as verb

CRASH = 9


def crashing(place: str, number: int, before: bool) -> None:
    """The process is gone before, or after, the given call of one of the functions that write files."""
    module: Any = {"save_file": run, "rmtree": shutil}.get(place, os)
    real, calls = getattr(module, place), itertools.count(1)

    def call(*args: Any, **options: Any) -> Any:
        now = next(calls) == number
        if now and before:
            os._exit(CRASH)
        value = real(*args, **options)
        if now:
            os._exit(CRASH)
        return value

    setattr(module, place, call)


def no_report(folder: run.Folder, *rest: Any) -> None:
    (folder.path / "report.html").write_text("finished", encoding="utf-8")


def train(
    system: str,
    data: Any,
    choices: dict[str, Any],
    out: str,
    save_every: float = 0.05,
    file_limit: int = 0,
    crash: tuple[str, int, bool] | None = None,
) -> None:
    """Begins the run, or continues it; a UserError goes to standard error and ends with 2."""
    torch.set_num_threads(1)
    session.FIRST_SAVE = session.SAVE_EVERY = save_every
    session.SAVE_SHARE = 1e9
    report.write = no_report
    sys.stderr = open(f"{out}.stderr", "a", encoding="utf-8")  # noqa: SIM115
    if crash:
        crashing(*crash)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    how: dict[str, Any] = {"out": out, "quiet": True, "device": "cpu", "compile": "off"}
    try:
        if (Path(out) / "recipe.json").exists():
            verb.train(resume=True, **how)
        else:
            verb.train(system, data, **how, **choices)
    except UserError as error:
        sys.stderr.close()
        if file_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        Path(f"{out}.stderr").write_text(f"{error}\n", encoding="utf-8")
        os._exit(2)
