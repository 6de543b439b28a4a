"""Generators side by side: each run in the eyes of one classifier, as a table of docs/benchmarks-generators.md.

    python bench/generators.py --judge runs/judge-mnist runs/vae runs/gan runs/diffusion [--n 10000] [--out FILE.md]

A row per run: Fréchet distance in the judge's features (and what as many training rows have), precision, recall, the share that
is recognised as its class, the share of copies, seconds of training, and seconds that drawing 64 pictures takes. Distances of two
judges cannot be compared: bench/judges.json names the one of each data set by the hash of its weights, and how it is made; where
another one judges, the table says so.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from shendu import Run
from shendu.pages.generated import last
from shendu.run import write_text
from shendu.verbs.judge import judge
from shendu.verbs.sample import drawn

JUDGES = Path(__file__).parent / "judges.json"
HEAD = ("run", "Fréchet", "precision", "recall", "recognised", "copies", "training s", "64 pictures s")


def seconds_of_drawing(run: Run) -> float:
    """The shorter of two drawings of 64 pictures, so that what is only done once is not in it."""
    took = []
    for _ in range(2):
        began = time.perf_counter()
        last(drawn(run, 64))
        took.append(time.perf_counter() - began)
    return min(took)


def name_of(run: Run) -> str:
    """`diffusion (process=flow)`: the system and what was chosen."""
    chosen = ", ".join(
        f"{key}={value}" for key, value in run.recipe["choices"].items() if key not in ("epochs", "seed")
    )
    return run.recipe["system"] + (f" ({chosen})" if chosen else "")


def row(run: Run, found: dict[str, Any]) -> tuple[str, ...]:
    known = "–" if found["recognised"] is None else f"{found['recognised']:.1%}"
    trained = (run.result or {}).get("seconds", 0.0)
    return (
        name_of(run), f"{found['frechet']:.2f}", f"{found['precision']:.3f}", f"{found['recall']:.3f}", known,
        f"{found['copies']:.1%}", f"{trained:,.0f}", f"{seconds_of_drawing(run):.2f}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--judge", required=True, type=Path)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows, said = [], []
    for path in given.runs:
        run = Run(path)
        found = judge(run, given.judge, n=given.n)
        rows.append((found["frechet"], row(run, found)))
        said += [f"{name_of(run)}: {note}" for note in found["notes"]]
        print(*rows[-1][1], sep="  ", flush=True)
    referee = found["judge"]
    table = [HEAD, ("---",) * len(HEAD), *(cells for _, cells in sorted(rows))]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in table) + "\n\n"
    accuracy = f" of {referee['accuracy']:.2%}" if referee["accuracy"] else ""
    text += (
        f"{found['data']}, {given.n:,} drawn pictures each; as many training rows have a Fréchet distance of "
        f"{found['frechet_of_training_rows']:.2f}. Judge: {referee['system']}{accuracy}, SHA-256 {referee['sha256'][:16]}…; "
        f"{torch.get_num_threads()} threads.\n"
    )
    pinned = json.loads(JUDGES.read_text(encoding="utf-8")).get(found["data"], {})
    if referee["sha256"] != pinned.get("sha256"):
        said.append(
            f"this is not the judge of {JUDGES.name}, {pinned.get('sha256', 'which has none for these data')[:48]}"
        )
    text += "".join(f"\n- {line}" for line in said)
    print("\n" + text)
    if given.out:
        write_text(given.out, text)


if __name__ == "__main__":
    main()
