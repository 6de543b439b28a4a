"""One-class-out on Fashion-MNIST: how well rows of other classes are told from those of the one that was learned (the usual protocol,
Ruff et al. 2018; not the reverse, in which nine classes are learned and the tenth is to be found).

Protocol: for each of the ten classes, the autoencoder is trained on that class's training pictures alone (a tenth of them
set aside for validation, no labels used), and scores all 10,000 test pictures; the figure is the area under the ROC curve
of that class's 1,000 test pictures against the 9,000 others, and its mean over the ten classes. scikit-learn's
IsolationForest, on the same rows, stands beside it.

    python bench/anomaly.py --data-dir DIR [--set KEY=VALUE ...] [--classes 0 1 2] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from shendu import config, data, loop, registry
from shendu.data.dataset import Dataset
from shendu.predictor import Predictor
from shendu.run import Folder


def one_class(dataset: Dataset, label: int) -> Dataset:
    """The data with training rows of one class only."""
    train = dataset.splits["train"]
    rows = np.flatnonzero(train.column(dataset.target) == label)
    return replace(dataset, splits={"train": train.take(rows), "test": dataset.splits["test"]}).split_off()


def area(scores: torch.Tensor, odd: torch.Tensor) -> float:
    """Area under the ROC curve of scores [N] for odd rows bool [N]."""
    return float(roc_auc_score(odd, scores))


def ours(dataset: Dataset, choices: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Each figure of the test rows [N], by name."""
    recipe = registry.load("autoencoder").recipe(dataset, **choices)
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(Path(place) / "run")
        folder.prepare()
        model, _ = loop.fit(
            recipe, folder, loop.Setup(seed=recipe.seed, precision="auto", compile="off", say=lambda text: None)
        )
    source = recipe.task.held_out(dataset, "test")
    return Predictor(recipe.task, model, "cpu", "fp32").pieces(source.stored(torch.arange(source.rows)))[0]


def forest(dataset: Dataset, seed: int = 0) -> torch.Tensor:
    """IsolationForest's scores of the test rows [N], more being odder."""
    train, test = (
        dataset.splits[part].column(dataset.input).reshape(len(dataset.splits[part]), -1) / 255
        for part in ("train", "test")
    )
    return torch.from_numpy(-IsolationForest(random_state=seed, n_jobs=-1).fit(train).score_samples(test))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--classes", type=int, nargs="*")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    dataset = data.open("fashion-mnist", data_dir=given.data_dir)
    y = torch.from_numpy(dataset.splits["test"].column(dataset.target))
    found: dict[str, list[float]] = {}
    seconds = {"autoencoder": 0.0, "isolation forest": 0.0}
    for label in given.classes if given.classes is not None else range(len(dataset.classes)):
        rows, odd = one_class(dataset, label), y != label
        began = time.perf_counter()
        figures = {
            name: area(scores, odd) for name, scores in ours(rows, config.parse_settings(given.settings)).items()
        }
        between = time.perf_counter()
        figures["isolation forest"] = area(forest(rows), odd)
        seconds["autoencoder"] += between - began
        seconds["isolation forest"] += time.perf_counter() - between
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
        words = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        print(f"{dataset.classes[label]}: {words}", flush=True)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    print("mean AUC:", ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    print("seconds:", ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    if given.out:
        given.out.write_text(json.dumps({"mean": means, "classes": found, "seconds": seconds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
