"""What pretraining is worth: one deep belief network, fine-tuned from its pretrained layers and from random weights.

    python bench/pretraining.py --out runs/pretraining             100, 1,000 and all labels of MNIST
    python bench/pretraining.py --labels 100,0 --out DIR --set pretrain_steps=5 --set steps=5   a smoke test

The layers are pretrained once, beside the fewest labels, and all fine-tunings begin with them (`--weights`): no label is seen
that a fine-tuning does not have. The pictures' number is the same everywhere. Runs are kept in --out, and continued if they
exist. Prints a table of the test errors; the pretraining's seconds are those of the first line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import shendu
from shendu import config

NOTHING = {"pretrain_epochs": 0, "pretrain_steps": 0, "wake_sleep_epochs": 0, "wake_sleep_steps": 0}


def run(folder: Path, data: str, **choices: Any) -> Any:
    """The run in a folder: finished, continued or begun."""
    return shendu.train("dbn", data, out=folder, resume=(folder / "recipe.json").exists(), **choices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--labels", default="100,1000,0", help="how many, rising; 0: all")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    counts = [int(count) for count in given.labels.split(",")]
    settings = config.parse_settings(given.settings)
    pretrained = run(given.out / f"pretrained-{counts[0]}", given.data, labels=counts[0], **settings)
    rows = []
    for count in counts:
        mine = pretrained
        if count != counts[0]:
            choices = {**settings, **NOTHING, "labels": count}
            mine = run(given.out / f"pretrained-{count}", given.data, weights=pretrained.path, **choices)
        random = run(given.out / f"random-{count}", given.data, pretrain=False, labels=count, **settings)
        errors = [each.result["metrics"]["test"]["error-rate"] for each in (mine, random)]
        seconds = [each.result["seconds"] for each in (mine, random)]
        rows.append((f"{count:,}" if count else "all", *errors, *seconds))
    print("\n| labels | pretrained | random weights | times fewer errors | seconds | seconds, random |")
    print("| --- | --- | --- | --- | --- | --- |")
    for labels, mine, other, took, took_other in rows:
        fewer = other / mine if mine else float("inf")
        print(f"| {labels} | {mine:.2%} | {other:.2%} | {fewer:.2f} | {took:,.0f} | {took_other:,.0f} |")


if __name__ == "__main__":
    main()
