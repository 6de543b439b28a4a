"""Killed by SIGKILL at random moments, checkpoint writing included, and continued: the same bytes of weights."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import trainer

from shendu import registry
from shendu.run import Folder, sha256

STEPS = {"perceptron": 1500, "linear": 1500, "mlp": 700, "lenet": 250, "resnet": 30}
"""Steps that take a second or two; other systems get their tiny choices' own."""
RICH = {"ema": 0.99, "patience": 50, "validations": 15, "select_by": "auto"}
LIMIT = 240.0


@pytest.fixture(scope="module")
def server() -> Any:
    """Processes that are forked from one that has imported everything: a start costs milliseconds, not seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer"])
    return context


def start(server: Any, name: str, out: Path, **more: Any) -> ForkServerProcess:
    data, choices = registry.load(name).tiny()
    steps = {"steps": STEPS[name]} if name in STEPS else {}
    if not isinstance(data, str):
        data = tuple(part.numpy() for part in data)
    kept = {**choices, **RICH, **steps}
    process = server.Process(target=trainer.train, args=(name, data, kept, str(out)), kwargs=more)
    process.start()
    return process


def finish(server: Any, name: str, out: Path, **more: Any) -> None:
    process = start(server, name, out, **more)
    process.join(LIMIT)
    assert process.exitcode == 0, Path(f"{out}.stderr").read_text(encoding="utf-8")


def kill(process: ForkServerProcess, moment: float, out: Path, while_saving: bool) -> bool:
    """SIGKILL after `moment` seconds, or at the first sight of a half-written checkpoint after them; False: it ended first."""
    time.sleep(moment)
    while while_saving and process.is_alive() and not any((out / "checkpoints").glob(".saving-*")):
        time.sleep(0.0002)
    if not process.is_alive():
        return False
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(LIMIT)
    return process.exitcode == -signal.SIGKILL


def many_kills(server: Any, name: str, tmp_path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    began = time.monotonic()
    finish(server, name, tmp_path / "whole")
    seconds = time.monotonic() - began
    wanted = sha256(tmp_path / "whole" / "model.safetensors")

    out, done, halves = tmp_path / "parts", 0, 0
    for i in range(4 * kills):
        # each life gets a random share of what one whole life takes, so that kills fall anywhere
        process = start(server, name, out)
        done += kill(process, chance.uniform(0.05, 0.9) * seconds * min(1.0, 3 / kills), out, while_saving=i % 2 == 0)
        halves += any((out / "checkpoints").glob(".saving-*"))
        process.join(LIMIT)
        if done == kills or (out / "report.html").exists():
            break
    finish(server, name, out)
    assert sha256(out / "model.safetensors") == wanted, f"{done} kills, {halves} of them in a checkpoint"
    same = ("metrics", "steps", "skipped_steps")
    results = [Folder(tmp_path / part).read("result.json") for part in ("whole", "parts")]
    assert [results[0][k] for k in same] == [results[1][k] for k in same]
    assert not list((out / "checkpoints").glob(".saving-*")) or (out / "report.html").exists()
    if name in STEPS:
        assert done >= min(kills, 2), "the run was too short to be killed"


@pytest.mark.parametrize("name", registry.systems())
def test_killed_three_times(name: str, server: Any, tmp_path: Path) -> None:
    many_kills(server, name, tmp_path, 3, seed=1)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", registry.systems())
def test_killed_twenty_times(name: str, seed: int, server: Any, tmp_path: Path) -> None:
    many_kills(server, name, tmp_path, 20, seed=100 + seed)
