"""What bf16 gains over fp32 in a step of training: both take turns, step by step, each on its own copy of the network.

`python bench/precision.py "lenet mnist" "lenet mnist maps=8,16" "mlp digits"`: a system, a data set, settings. Processor time on
one thread (OMP_NUM_THREADS=1), since it suffers less from what else is running; medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time

from shendu import data, registry
from shendu.loop import Session, Setup
from shendu.run import Folder

PRECISIONS = ("fp32", "bf16")


def session(words: str, precision: str, folder: str) -> Session:
    """A run of the system on the data, ready to step."""
    name, source, *settings = words.split()
    system = registry.load(name)
    dataset = data.open(source).split_off(getattr(system, "SPLIT", ""))
    recipe = system.recipe(dataset, steps=1_000_000, **dict(setting.split("=", 1) for setting in settings))
    return Session(recipe, Folder(folder), Setup(precision=precision, compile="off", say=lambda text: None), [])


def seconds(session: Session) -> float:
    began = time.process_time()
    session.update(session.fetch())
    session.at.step += 1
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="+", metavar="'SYSTEM DATA KEY=VALUE…'")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each case")
    job = parser.parse_args()
    for words in job.cases:
        with tempfile.TemporaryDirectory() as folder:
            pair = [session(words, precision, f"{folder}/{precision}") for precision in PRECISIONS]
            for one in pair:
                seconds(one)
            laps: list[list[float]] = []
            end = time.monotonic() + job.seconds
            while time.monotonic() < end or len(laps) < 5:
                laps.append([seconds(one) for one in pair])
            fp32, bf16 = (statistics.median(lap) for lap in zip(*laps, strict=True))
            parameters = sum(p.numel() for p in pair[0].model.parameters())
        print("RESULT " + json.dumps({
            "suite": "precision", "name": words, "parameters": parameters, "fp32_ms": round(fp32 * 1e3, 2),
            "bf16_ms": round(bf16 * 1e3, 2), "gain": round(fp32 / bf16, 2), "steps": len(laps),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
