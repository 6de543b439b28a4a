"""pytorch-tabular on adult: TabularModel with its CategoryEmbeddingModel as its tutorial has it; bars and validation are off."""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import torchvision_names
from common import Clock

# after torchvision_names, which makes torchvision importable
import pandas as pd  # isort: skip
from pytorch_lightning import Callback  # isort: skip
from pytorch_tabular import TabularModel  # isort: skip
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig  # isort: skip
from pytorch_tabular.models import CategoryEmbeddingModelConfig  # isort: skip

assert torchvision_names

NUMBERS = {0: "age", 2: "fnlwgt", 4: "education-num", 10: "capital-gain", 11: "capital-loss", 12: "hours-per-week"}


class Laps(Callback):
    """Epochs' ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_start(self, *_: object) -> None:
        self.clock.start()

    def on_train_epoch_end(self, *_: object) -> None:
        self.clock.lap()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    job = parser.parse_args()
    warnings.simplefilter("ignore")
    frame = pd.read_csv(Path(os.environ["SHENDU_DATA"]) / "adult" / "adult.data", header=None, skipinitialspace=True)
    frame.columns = [NUMBERS.get(i, f"c{i}") for i in range(15)]
    frame = frame.astype(
        dict.fromkeys(NUMBERS.values(), "float64")
    )  # it scales in place, which pandas refuses for integers
    categories = [name for name in frame.columns[:14] if name not in NUMBERS.values()]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes its logs where it runs
        model = TabularModel(
            data_config=DataConfig(target=["c14"], continuous_cols=list(NUMBERS.values()), categorical_cols=categories),
            model_config=CategoryEmbeddingModelConfig(task="classification", layers="200-100"),
            optimizer_config=OptimizerConfig(),
            trainer_config=TrainerConfig(
                batch_size=job.batch, max_epochs=job.epochs, accelerator="cpu", progress_bar="none", early_stopping=None,
                checkpoints=None, load_best=False, trainer_kwargs={"limit_val_batches": 0, "num_sanity_val_steps": 0},
            ),
            verbose=False,
        )  # fmt: skip
        logging.disable(logging.INFO)
        model.fit(train=frame.iloc[500:], validation=frame.iloc[:500], callbacks=[Laps(clock)])
    rows = len(frame) - 500
    versions = {library: version(library) for library in ("pytorch_tabular", "torch")}
    print("RESULT " + json.dumps({"rows_per_s": rows / min(clock.laps[1:] or clock.laps), "versions": versions}))


if __name__ == "__main__":
    main()
