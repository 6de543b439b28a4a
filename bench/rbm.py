"""An epoch of contrastive divergence on MNIST, beside scikit-learn's BernoulliRBM: same size, same batch, same rows.

    python bench/rbm.py                         500 units, batches of 100
    python bench/rbm.py --hidden 256 --batch 10 scikit-learn's defaults
    python bench/rbm.py --rows 2000 --rounds 1  a smoke test

Both take turns, a round each; the figure is the ratio of the medians of their epochs. scikit-learn's has one step of
persistent chains, as many matrix products as CD-1, and gets the rows as float32. Shendu's time is that between its loop's
first step and its last: its log and its checkpoints are in it. MNIST is read from $SHENDU_DATA.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from shendu_side import watched

import shendu
from shendu import data as data_module


def rows_of(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training rows, uint8 [N, 28, 28, 1], and their labels."""
    train = data_module.open("mnist").splits["train"]
    return train.column("image")[:count], train.column("label")[:count]


def ours(x: np.ndarray, y: np.ndarray, hidden: int, batch: int, seed: int, stamps: list[tuple[int, float]]) -> float:
    few = slice(0, 64)
    data = {"x_train": x, "y_train": y, "x_val": x[few], "y_val": y[few], "x_test": x[few], "y_test": y[few]}
    stamps.clear()
    with tempfile.TemporaryDirectory() as folder:
        shendu.train(
            "rbm", data, out=Path(folder) / "run", quiet=True, seed=seed, epochs=1, hidden=hidden, batch_size=batch,
            learning="cd", gibbs=1, lr=0.05, schedule="constant", binarise="threshold", ais_runs=2, ais_steps=1,
        )  # fmt: skip
    return stamps[-1][1] - stamps[0][1]


def theirs(x: np.ndarray, hidden: int, batch: int, seed: int) -> float:
    from sklearn.neural_network import BernoulliRBM

    rows = (x.reshape(len(x), -1) > 127).astype(np.float32)
    model = BernoulliRBM(hidden, learning_rate=0.05, batch_size=batch, n_iter=1, random_state=seed)
    began = time.perf_counter()
    model.fit(rows)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("hidden", 500), ("batch", 100), ("rows", 60_000), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    chosen = parser.parse_args()
    x, y = rows_of(chosen.rows)
    stamps = watched()
    seconds: dict[str, list[float]] = {"shendu": [], "scikit-learn": []}
    for seed in range(chosen.rounds):
        seconds["shendu"].append(ours(x, y, chosen.hidden, chosen.batch, seed, stamps))
        seconds["scikit-learn"].append(theirs(x, chosen.hidden, chosen.batch, seed))
    for side, found in seconds.items():
        print("RESULT " + json.dumps({"side": side, "epoch_s": [round(s, 3) for s in found]}))
    mine, other = (statistics.median(found) for found in seconds.values())
    print(f"{chosen.hidden} units, batches of {chosen.batch}, {chosen.rows:,} rows: {mine:.2f} s against {other:.2f} s, "
          f"ratio {other / mine:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
