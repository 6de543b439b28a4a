"""fastai on adult: TabularDataLoaders and tabular_learner as its tutorial has them; bars and validation are off."""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

import torchvision_names
from common import Clock

# after torchvision_names, which makes torchvision importable
import pandas as pd  # isort: skip
from fastai.tabular.all import (  # isort: skip
    Callback, CancelValidException, Categorify, CategoryBlock, FillMissing, Normalize, TabularDataLoaders, tabular_learner,
)  # fmt: skip

assert torchvision_names

NUMBERS = {0: "age", 2: "fnlwgt", 4: "education-num", 10: "capital-gain", 11: "capital-loss", 12: "hours-per-week"}


class Laps(Callback):
    """Epochs' ends; and no validation."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def before_validate(self) -> None:
        raise CancelValidException

    def after_epoch(self) -> None:
        self.clock.lap()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    job = parser.parse_args()
    frame = pd.read_csv(Path(os.environ["SHENDU_DATA"]) / "adult" / "adult.data", header=None, skipinitialspace=True)
    frame.columns = [NUMBERS.get(i, f"c{i}") for i in range(15)]
    categories = [name for name in frame.columns[:14] if name not in NUMBERS.values()]
    batches = TabularDataLoaders.from_df(
        frame, y_names="c14", y_block=CategoryBlock(), cat_names=categories, cont_names=list(NUMBERS.values()),
        procs=[Categorify, FillMissing, Normalize], valid_idx=list(range(500)), bs=job.batch,
    )  # fmt: skip
    learner, clock = tabular_learner(batches, layers=[200, 100]), Clock()
    with learner.no_bar(), learner.no_logging():
        clock.start()
        learner.fit_one_cycle(job.epochs, 1e-2, cbs=[Laps(clock)])
    rows = len(batches.train_ds) // job.batch * job.batch
    versions = {library: version(library) for library in ("fastai", "torch")}
    print("RESULT " + json.dumps({"rows_per_s": rows / min(clock.laps[1:] or clock.laps), "versions": versions}))


if __name__ == "__main__":
    main()
