"""Killed by SIGKILL at random moments, checkpoint writing included, and continued: the same bytes of weights."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import trainer
from forms import REPRESENTATIVES

from shendu import registry
from shendu.run import Folder, sha256

STEPS = {"perceptron": 1500, "linear": 1500, "mlp": 500, "lenet": 120, "resnet": 40}
"""Steps that take a second or two; other systems get their tiny choices' own."""
RICH = {"ema": 0.99, "patience": 50, "validations": 15, "select_by": "auto"}
LIMIT = 240.0


@pytest.fixture(scope="module")
def server() -> Any:
    """Processes that are forked from one that has imported everything: a start costs milliseconds, not seconds."""
    context = multiprocessing.get_context("forkserver")
    systems = [f"shendu.systems.{e.family}.{e.path.stem}" for e in registry.systems().values()]
    context.set_forkserver_preload(["shendu.verbs.train", *systems])
    return context


def start(server: Any, name: str, out: Path, longer: float = 1, **more: Any) -> ForkServerProcess:
    data, choices = registry.load(name).tiny()
    steps = {"steps": round(STEPS[name] * longer)} if name in STEPS else {}
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


def many_kills(server: Any, name: str, tmp_path: Path, kills: int, longer: int, seed: int) -> None:
    chance = random.Random(seed)
    began = time.monotonic()
    finish(server, name, tmp_path / "whole", longer=longer)
    share = (time.monotonic() - began) / kills
    wanted = sha256(tmp_path / "whole" / "model.safetensors")

    out, done, halves = tmp_path / "parts", 0, 0
    for i in range(kills):
        process = start(server, name, out, longer=longer)
        done += kill(process, chance.uniform(0.1, 1.2) * share, out, while_saving=i % 2 == 0)
        halves += any((out / "checkpoints").glob(".saving-*"))
        process.join(LIMIT)
        if process.exitcode == 0:
            break
    finish(server, name, out, longer=longer)
    assert sha256(out / "model.safetensors") == wanted, f"{done} kills, {halves} of them in a checkpoint"
    results = [Folder(tmp_path / part).read("result.json") for part in ("whole", "parts")]
    for key in ("metrics", "steps", "skipped_steps"):
        assert results[0][key] == results[1][key]
    assert done or name not in STEPS, "the run was too short to be killed"
    print(f"{name}: {done} kills, {halves} of them in a checkpoint")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in REPRESENTATIVES else pytest.mark.slow) for n in registry.systems()]
)
def test_killed_three_times(name: str, server: Any, tmp_path: Path) -> None:
    many_kills(server, name, tmp_path, 3, 1, seed=1)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", registry.systems())
def test_killed_twenty_times(name: str, seed: int, server: Any, tmp_path: Path) -> None:
    many_kills(server, name, tmp_path, 20, 4, seed=100 + seed)


MOMENTS = [
    ("save_file", 1, True), ("save_file", 1, False), ("save_file", 5, False), ("fsync", 1, True), ("fsync", 8, False), ("rename", 1, True),
    ("rename", 1, False), ("rename", 3, True), ("rmtree", 1, True), ("rmtree", 1, False), ("replace", 1, True), ("replace", 1, False),
    ("replace", 3, True), ("replace", 4, True),
]  # fmt: skip
"""Which call of what, and whether the process dies before or after it."""


@pytest.fixture(scope="module")
def short(server: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a short run that nothing disturbs."""
    out = tmp_path_factory.mktemp("short") / "whole"
    finish(server, "perceptron", out, longer=0.02)
    return sha256(out / "model.safetensors")


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{'before' if m[2] else 'after'}-{m[0]}-{m[1]}")
def test_gone_between_two_writes(moment: tuple[str, int, bool], server: Any, short: str, tmp_path: Path) -> None:
    """The process ends at each step of writing a checkpoint, recipe.json, config.json and result.json."""
    process = start(server, "perceptron", tmp_path / "run", longer=0.02, crash=moment, save_every=0.0)
    process.join(LIMIT)
    assert process.exitcode == trainer.CRASH
    finish(server, "perceptron", tmp_path / "run", longer=0.02)
    assert sha256(tmp_path / "run" / "model.safetensors") == short


# ---- the disk is full


def test_a_file_that_must_not_grow(server: Any, tmp_path: Path, one_line: Any) -> None:
    """The first checkpoint fits below the limit, those with the optimiser's state do not."""
    out, longer = tmp_path / "run", 0.2
    process = start(server, "lenet", out, longer, file_limit=600_000)
    process.join(LIMIT)
    assert process.exitcode == 2
    said = Path(f"{out}.stderr").read_text(encoding="utf-8")
    assert "limit on file size" in said
    assert len(said.splitlines()) == 1
    kept = Folder(out).newest(print)
    assert kept is not None
    finish(server, "lenet", out, longer=longer)
    finish(server, "lenet", tmp_path / "whole", longer=longer)
    assert sha256(out / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")


def test_a_full_disk_while_the_metrics_are_written(server: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(server, "neuron", out, file_limit=10)
    process.join(LIMIT)
    assert process.exitcode == 2
    assert len(Path(f"{out}.stderr").read_text(encoding="utf-8").splitlines()) == 1
    finish(server, "neuron", out)


# ---- signals, through the command line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_continue(number: int, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "shendu", "train"]
    made = ["perceptron", "digits", "--steps", "100000000", "--device", "cpu", "--compile", "off", "--out", "run"]
    process = subprocess.Popen([*command, *made], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + LIMIT
    while not metrics.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + number, said
    last = said.splitlines()[-1]
    assert "shendu train --resume run" in last
    assert "Traceback" not in said
    newest = Folder(tmp_path / "run").newest(print)
    assert newest is not None
    assert f"stopped at step {newest['at']['step']:,}" in last
    lines = Folder(tmp_path / "run").history()
    assert lines[-1]["step"] == newest["at"]["step"]
