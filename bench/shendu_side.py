"""Shendu's side: `shendu.train` as a person calls it, with the peers' network, optimiser, batch and augmentation."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from common import BATCH, TARGET, arguments, cifar, emit, mnist

LIBRARIES = ["shendu", "torch"]
SAME = {"batch_size": BATCH, "schedule": "constant", "label_smoothing": 0.0, "validations": 1, "select_by": "none"}
SYSTEMS = {
    "lenet": ("lenet", {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "augment": ()}),
    "resnet": ("resnet", {"depth": 18, "optimizer": "momentum", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4,
                          "augment": ("crop:4", "flip")}),
}  # fmt: skip
COMMAND = (
    "train", "lenet", "mnist", "--batch-size", "128", "--lr", "0.015", "--set", "maps=16,32", "--set", "batch_norm=true",
    "--set", "augment=", "--set", "validations=1", "--epochs", "1",
)  # fmt: skip


def watched() -> list[tuple[int, float]]:
    """A stopwatch on the loop: (samples so far, time) at the start of training and after every step.

    Between two steps lies all that the loop does: its log, its checkpoints, its validation.
    """
    stamps: list[tuple[int, float]] = []
    train, loop = importlib.import_module("shendu.verbs.train"), importlib.import_module("shendu.loop")
    fit, step = train.fit, loop.Session.step

    def timed_fit(*args):
        stamps.append((0, time.perf_counter()))
        return fit(*args)

    def timed_step(session):
        step(session)
        stamps.append((session.at.samples, time.perf_counter()))

    train.fit, loop.Session.step = timed_fit, timed_step
    return stamps


def epochs_of(stamps: list[tuple[int, float]], rows: int) -> list[float]:
    """Seconds of each epoch: batches straddle epochs, so an edge lies within a step and is interpolated."""
    edges, number = [stamps[0][1]], 1
    for (before, began), (after, ended) in pairwise(stamps):
        while number * rows <= after:
            edges.append(began + (ended - began) * (number * rows - before) / (after - before))
            number += 1
    return [b - a for a, b in pairwise(edges)]


def speed(job) -> None:
    import shendu

    x, y = mnist("train", job.rows) if job.suite == "lenet" else cifar(job.rows)
    few = slice(0, 64)  # validation and test are measured after the last epoch, outside of every figure
    data = {"x_train": x, "y_train": y, "x_val": x[few], "y_val": y[few], "x_test": x[few], "y_test": y[few]}
    system, choices = SYSTEMS[job.suite]
    stamps = watched()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHENDU_CACHE"] = f"{folder}/cache"
        seed = int(os.environ.get("BENCH_ROUND", 0))
        engine = {"seed": seed, "compile": os.environ.get("BENCH_COMPILE", "auto")}
        run = shendu.train(
            system, data, out=f"{folder}/run", quiet=True, epochs=job.epochs, **engine, **SAME, **choices
        )
        result = run.result
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    laps = epochs_of(stamps, len(x))
    if len(laps) < job.epochs:  # a last step that the rounding of epochs to steps leaves out
        laps.append((stamps[-1][1] - stamps[0][1] - sum(laps)) * len(x) / (stamps[-1][0] - len(laps) * len(x)))
    loss = statistics.mean([line["loss"] for line in lines if "loss" in line][-3:])
    emit(job, "shendu", LIBRARIES, first_epoch_s=round(laps[0], 4), epoch_s=[round(lap, 4) for lap in laps[1:]], n=len(x),
         loss=loss, parameters=result["parameters"], compiled=result["compiled"],
         precision=result["precision"])  # fmt: skip


def race(job) -> None:
    """One command with an empty cache, from its first to its last moment (report and model card included)."""
    words = [*COMMAND[:-1], str(job.epochs)] if job.epochs else list(COMMAND)
    seed = int(os.environ.get("BENCH_ROUND", 0))
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        more = ["--seed", str(seed), "--out", f"{folder}/run", "--quiet"]
        subprocess.run([Path(sys.executable).parent / "shendu", *words, *more], check=True,
                       env={**os.environ, "SHENDU_CACHE": f"{folder}/cache"})  # fmt: skip
        seconds = time.time() - began
        result = json.loads((Path(folder) / "run" / "result.json").read_text())
    accuracy = result["metrics"]["test"]["accuracy"]
    emit(job, "shendu", LIBRARIES, seconds=round(seconds, 2), accuracy=accuracy, reached=accuracy >= TARGET,
         epochs=float(words[-1]), command=" ".join(["shendu", *words]), training_s=result["seconds"],
         precision=result["precision"])  # fmt: skip


if __name__ == "__main__":
    job = arguments()
    race(job) if job.suite == "mnist99" else speed(job)
