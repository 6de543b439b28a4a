"""Training of a diffusion model on MNIST, images per second: Shendu against diffusers' UNet2DModel, in one run.

    python bench/diffusion.py [--rounds N] [--steps N] [--batch N] [--maps 16,40]

Both sides learn a U-Net of attention at its lowest level, with classes, AdamW, clipped gradients and averaged weights; the
work of a picture (multiplications) and the number of weights are printed, and --maps are diffusers' maps per level, chosen so
that both are about equal. Images per second are those of the second half of the steps, medians of rounds in turn; ours computes in
the precision that a run chooses, diffusers in fp32. Data is read from $SHENDU_DATA. diffusers runs in .bench/torch (see
environments.py). Prints a line of JSON per side and round, then a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import environments

BENCH = Path(__file__).parent


def ours(batch: int, steps: int) -> dict[str, Any]:
    """`shendu train diffusion mnist` with default settings but for the batch and the steps; few rows are validated and tested."""
    from shendu_side import watched

    import shendu

    train, few, stamps = shendu.open_data("mnist").splits["train"], slice(0, 64), watched()
    x, y = train.column("image"), train.column("label")
    data = {"x_train": x, "y_train": y, "x_val": x[few], "y_val": y[few], "x_test": x[few], "y_test": y[few]}
    with tempfile.TemporaryDirectory() as folder:
        how = {"steps": steps, "batch_size": batch, "validations": 1, "compile": "off"}
        run = shendu.train("diffusion", data, out=Path(folder) / "run", quiet=True, **how)
        (before, began), (after, ended) = stamps[len(stamps) // 2], stamps[-1]
        about = {name: run.result[name] for name in ("parameters", "precision")}
        return {"images_per_s": (after - before) / (ended - began), **about, "macs": macs_of(run.model)}


def macs_of(model: Any) -> int:
    """Multiplications of one picture."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    one = torch.zeros(1, dtype=torch.int64)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model.answer(torch.zeros(1, 1, 28, 28), one + 1, one)
    return int(counted.get_total_flops() // 2)


def theirs(batch: int, steps: int, maps: str) -> dict[str, Any]:
    environments.ready("torch")
    command = [environments.python("torch"), BENCH / "peers" / "diffusers_peer.py"]
    options = ["--batch", str(batch), "--steps", str(steps), "--maps", maps]
    done = subprocess.run([*map(str, command), *options], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the peer failed: {done.stderr.strip().splitlines()[-1]}")
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--maps", default="16,40")
    parser.add_argument("--rounds", type=int, default=1)
    job = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"Shendu": [], "diffusers": []}
    for number in range(job.rounds):
        for side, rounds in found.items():
            rounds.append(ours(job.batch, job.steps) if side == "Shendu" else theirs(job.batch, job.steps, job.maps))
            print("RESULT " + json.dumps({"side": side, "round": number, **rounds[-1]}), flush=True)
    speed = {side: statistics.median(f["images_per_s"] for f in rounds) for side, rounds in found.items()}
    print(f"{'':12}{'images/s':>10}{'parameters':>12}{'MMACs':>8}  precision")
    for side, (f, *_) in found.items():
        print(f"{side:12}{speed[side]:10.1f}{f['parameters']:12,}{f['macs'] / 1e6:8.1f}  {f.get('precision', 'fp32')}")
    print(f"times faster {speed['Shendu'] / speed['diffusers']:9.2f}")


if __name__ == "__main__":
    main()
