"""A trained vae's negative log-likelihood in nats by importance sampling, as Burda et al. (2016) measure it.

The test rows are drawn as black and white once, each by a key of its own bytes; 5,000 codes of each are weighted. The
figure is printed with its standard error over rows.

    python bench/likelihood.py RUN [--rows 1000] [--k 5000] [--data-dir DIR]

--rows 0 measures all of them: 10,000 rows of 5,000 codes are about 10,000 · 5,000 · 2 · (weights of the decoder) operations.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from shendu import Run, data, registry
from shendu.core import At

SHOW = 200


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--k", type=int, default=5000)
    parser.add_argument("--data-dir")
    given = parser.parse_args()
    run, vae = Run(given.run), registry.load("vae")
    about = run.recipe["data"]
    dataset = data.open(about["source"], data_dir=given.data_dir or about["data_dir"]).split_off()
    source = run.task.held_out(dataset, "test")
    rows = min(given.rows or source.rows, source.rows)
    found, began = [], time.perf_counter()
    with torch.inference_mode():
        for start in range(0, rows, SHOW):
            x = source.batch(At(start, min(SHOW, rows - start)))["x"]
            found.append(-vae.likelihood(run.model, vae.own_ink(x, vae.own_key(x)), given.k))
            print(f"{start + len(x):,} rows: {float(torch.cat(found).mean()):.3f}", flush=True)
    nats = torch.cat(found)
    error = float(nats.std()) / math.sqrt(len(nats))
    seconds = time.perf_counter() - began
    print(
        f"negative log-likelihood {float(nats.mean()):.2f} ± {error:.2f} nats, {rows:,} rows, k={given.k:,}, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
