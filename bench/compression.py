"""What compressing costs and brings: 8 bits, pruned channels, a distilled LeNet against one trained alone, a GPT in 8 bits.

    python bench/compression.py            on MNIST, Fashion-MNIST and Tiny Shakespeare in $SHENDU_DATA (hours on two cores)
    python bench/compression.py --smoke    on digits, in a minute: does everything work?
    python bench/compression.py --only int8,prune

Prints one line of JSON per figure. Leave the machine alone meanwhile: times are part of it. Runs are kept in --out and not made twice.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import shendu

PARTS = ("int8", "prune", "distill", "gpt")
SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("runs/bench-compression"))
    options = parser.parse_args()
    only = options.only.split(",")
    short: dict[str, Any] = {"steps": 40, "batch_size": 32} if options.smoke else {}
    sets = ("digits",) if options.smoke else ("mnist", "fashion-mnist")
    for data in sets if {"int8", "prune"} & set(only) else ():
        base = trained(options.out / f"resnet-{data}", "resnet", data, short)
        if "int8" in only:
            told("int8", data, compressed(options.out / f"resnet-{data}-int8", base, int8="weights"))
            told(
                "int8 static",
                data,
                compressed(options.out / f"resnet-{data}-static", base, int8="static", allow_slower=True),
            )
        if "prune" in only:
            told(
                "prune",
                data,
                compressed(options.out / f"resnet-{data}-prune", base, prune=0.8, allow_slower=options.smoke),
            )
    if "distill" in only:
        distilled(options.out, sets[-1], short)
    if "gpt" in only:
        text = "tinyshakespeare" if not options.smoke else "counting"
        base = trained(options.out / "gpt", "gpt", text, {"steps": 20} if options.smoke else {})
        told("int8", text, compressed(options.out / "gpt-int8", base, int8="weights"))


def distilled(out: Path, data: str, short: dict[str, Any]) -> None:
    """LeNet taught by a ResNet and alone: the same steps, rows, augmentation and seeds."""
    teacher = trained(out / f"resnet-{data}", "resnet", data, short)
    for seed in range(SEEDS):
        alone = trained(out / f"lenet-{data}-{seed}", "lenet", data, {**short, "seed": seed})
        student = {**short, "seed": seed}
        taught = compressed(
            out / f"lenet-{data}-{seed}-taught", teacher, distill="lenet", student=student, allow_slower=True
        )
        figures = [run.result["metrics"]["test"]["accuracy"] for run in (alone, taught)]
        print(
            json.dumps({"what": "distill", "data": data, "seed": seed, "alone": figures[0], "taught": figures[1]}),
            flush=True,
        )


def trained(out: Path, system: str, data: str, choices: dict[str, Any]) -> shendu.Run:
    return (
        shendu.Run(out)
        if (out / "result.json").exists()
        else shendu.train(system, data, out=out, quiet=True, **choices)
    )


def compressed(out: Path, base: shendu.Run, **wanted: Any) -> shendu.Run:
    return shendu.Run(out) if (out / "result.json").exists() else shendu.compress(base, out=out, quiet=True, **wanted)


def told(what: str, data: str, run: shendu.Run) -> None:
    found = run.result["compressed"]
    after = run.result["metrics"][found["part"]][found["metric"]]
    shares = {
        key: round(found["after"][key] / found["before"][key], 4) for key in ("bytes", "parameters", "multiply_adds")
    }
    line = {"what": what, "data": data, "metric": found["metric"], "before": found["before"]["figure"], "after": after}
    print(json.dumps({**line, **shares, "slower": found["slower"]}), flush=True)


if __name__ == "__main__":
    main()
