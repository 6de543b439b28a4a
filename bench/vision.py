"""Training of the landmark networks, images per second: Shendu against torchvision's network in Lightning, in one run.

    python bench/vision.py [--networks alexnet,vgg,…] [--sides 32,224] [--batch N] [--steps N] [--rounds N]
                           [--peers 32-true,bf16-mixed] [--device cpu]

Both sides train the same network (the paper's form at both sizes; VGG-11, MobileNet v2, ResNeXt-50) on the same random
pictures, with crops, flips and Nesterov's momentum; ours is `shendu.train` as it is, Lightning's precision is its default
first. A process's figure is the median over its steps after the first, a side's the median over rounds, in which all sides take
turns. torchvision's AlexNet leaves nothing of 32 pixels, so that it has 64.
The peers run in .bench/torch (see environments.py), on a GPU in Shendu's own environment, with eight processes that load.
Prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import environments
import numpy as np

BENCH = Path(__file__).parent
NETWORKS: dict[str, dict[str, Any]] = {
    "alexnet": {"form": "large", "width": 1.0},
    "vgg": {"form": "large", "width": 1.0, "depth": 11, "batch_norm": False},
    "googlenet": {"form": "large", "width": 1.0},
    "mobilenet": {"version": 2, "halvings": 5, "width": 1.0},
    "resnext": {"stem": "large", "depth": 50, "cardinality": 32, "width": 4, "maps": 64},
}
SAME = {"optimizer": "nesterov", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "constant", "label_smoothing": 0.0,
        "augment": ("crop:4", "flip"), "validations": 1, "select_by": "none", "epochs": 1}  # fmt: skip


def ours(name: str, side: int, batch: int, steps: int, device: str) -> dict[str, Any]:
    from shendu_side import watched

    import shendu

    random = np.random.default_rng(0)
    x = random.integers(0, 256, (batch * steps, side, side, 3), np.uint8)
    y = random.integers(0, 10, len(x))
    y[:10] = range(10)
    few = slice(0, 10)
    data = {"x_train": x, "y_train": y, "x_val": x[few], "y_val": y[few], "x_test": x[few], "y_test": y[few]}
    stamps = watched()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHENDU_CACHE"] = f"{folder}/cache"
        choices = {"batch_size": batch, **SAME, **NETWORKS[name]}
        run = shendu.train(name, data, out=f"{folder}/run", quiet=True, device=device, **choices)
        parameters = run.result["parameters"]
    times = [after - before for (_, before), (_, after) in pairwise(stamps[1:])]
    return {"images_per_s": batch / statistics.median(times), "parameters": parameters}


def theirs(name: str, side: int, batch: int, steps: int, precision: str, device: str) -> dict[str, Any]:
    environment = environments.of_peers(device)
    environments.ready(environment)
    numbers = {"side": side, "batch": batch, "steps": steps}
    options = [word for key, value in numbers.items() for word in (f"--{key}", str(value))]
    command = [environments.python(environment), BENCH / "peers" / "lightning_vision.py", name, *options]
    return result_of([*command, "--precision", precision, "--device", device])


def result_of(command: list[Any]) -> dict[str, Any]:
    """The line of JSON that a process of its own prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{command[1]} failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--sides", default="32,224")
    parser.add_argument("--batch", type=int, default=0, help="0: 128 pictures of 32 pixels, 16 of 224")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="32-true,bf16-mixed", help="Lightning's precisions")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--side", choices=("shendu",), help=argparse.SUPPRESS)
    said = parser.parse_args()
    sides = [int(side) for side in said.sides.split(",")]
    if said.side:
        print("RESULT " + json.dumps(ours(said.networks, sides[0], said.batch, said.steps, said.device)))
        return
    for name in said.networks.split(","):
        for side in sides:
            side = max(side, 64) if name == "alexnet" else side
            batch = said.batch or (16 if side > 64 else 128)
            shape = ["--networks", name, "--sides", side, "--batch", batch, "--steps", said.steps]
            command = [sys.executable, BENCH / "vision.py", "--side", "shendu", "--device", said.device, *shape]
            peers = said.peers.split(",")
            rounds: dict[str, list[float]] = {}
            for _ in range(said.rounds):
                found = {"shendu": result_of(command)}
                found |= {
                    f"Lightning {peer}": theirs(name, side, batch, said.steps, peer, said.device) for peer in peers
                }
                for who, result in found.items():
                    rounds.setdefault(who, []).append(result["images_per_s"])
            mine = statistics.median(rounds["shendu"])
            for who, figures in rounds.items():
                figure, least, most = statistics.median(figures), min(figures), max(figures)
                more = "" if who == "shendu" else f"  shendu is {mine / figure:.2f} times as fast"
                print(f"{name:10} {side:4} pixels  {who:22} {figure:9.1f} images/s ({least:.1f} to {most:.1f})  "
                      f"{found[who]['parameters']:,} parameters{more}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
