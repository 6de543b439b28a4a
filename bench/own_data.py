"""The comparisons on a person's own kinds of data, one after the other; their output becomes docs/benchmarks-own-data.md.

    python bench/own_data.py                       all of them
    python bench/own_data.py series "tables --only adult"
    python bench/own_data.py --table               the page anew from bench/results/

Data sets are read from $SHENDU_DATA. What a script prints is kept as it is in bench/results/own-data-<machine>.json.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine

BENCH = Path(__file__).parent
PAGE = BENCH.parent / "docs" / "benchmarks-own-data.md"
EXPLAINED = {
    "tables_read": "A CSV of a million rows and 30 columns, read, typed and cached in a fresh process; `peak_share` is its peak memory "
    "over the file's size.",
    "tables": "TabM at its default settings against scikit-learn's gradient boosting at its defaults, on the same rows; and how many rows "
    "a second train, against fastai and pytorch-tabular.",
    "series": "Forecasts of the last 24 months, 12 steps ahead; MASE in units of the training part's seasonal naive error.",
    "pictures": "The first pass over JPEG files into the cache, and an epoch from the cache, against torchvision's ImageFolder with a "
    "DataLoader (the better of 0 and 2 workers). Medians; seconds for 10,000 pictures of 32x32, and for 300 of a megapixel.",
}
INTRODUCTION = """# Benchmarks on one's own kinds of data

This page is written by `python bench/own_data.py`; nothing on it is typed by hand. Each block is what the command above it printed.
Figures of different machines cannot be compared with each other."""


def main(words: list[str]) -> None:
    about = machine.machine()
    store = BENCH / "results" / f"own-data-{machine.slug(about)}.json"
    kept: dict[str, Any] = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    for word in [] if words == ["--table"] else words or list(EXPLAINED):
        name, *options = word.split()
        watch = machine.Watch()
        done = subprocess.run(
            [sys.executable, BENCH / f"{name}.py", *options], capture_output=True, text=True, check=False
        )
        output = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("RESULT "))
        if not output:
            sys.exit(f"bench/{name}.py failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
        kept[word] = {"date": datetime.date.today().isoformat(), "commit": machine.commit(), "output": output,
                      "others": round(watch.others(), 2), "machine": f"{about['cpu']}, {about['cores']} cores"}  # fmt: skip
        store.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
        print(output, flush=True)
    write()


def write() -> None:
    """The page, from all machines' results."""
    parts = [INTRODUCTION]
    for file in sorted((BENCH / "results").glob("own-data-*.json")):
        for word, found in json.loads(file.read_text(encoding="utf-8")).items():
            busy = (
                f" Other processes used {found['others']:.0%} of the time of a core meanwhile."
                if found["others"] > 0.05
                else ""
            )
            parts += [
                f"## `python bench/{word.split()[0]}.py{word[len(word.split()[0]) :]}`",
                f"{EXPLAINED[word.split()[0]]} {found['machine']}; {found['date']}, commit {found['commit']}.{busy}",
                f"```text\n{found['output']}\n```",
            ]
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
