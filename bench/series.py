"""Forecasts of airline-passengers side by side, in one run and on the same windows of the last 24 months.

    python bench/series.py [--seeds N]

Every forecaster sees what comes before each window and forecasts 12 months. MASE is measured in units of the training
part's seasonal naive error. Linear autoregression is scikit-learn's LinearRegression: all 12 steps at once (direct), or
one step whose forecast is read for the next one (recursive). The data set is read from $SHENDU_DATA.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import shendu
from shendu import data as data_module
from shendu.data.dataset import Dataset
from shendu.data.fields.series import Series

Forecaster = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(training windows, what came after them, the test part's windows) -> forecasts."""


def naive(past: np.ndarray, ahead: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The value of one season ago."""
    return test[:, -12:]


def direct(past: np.ndarray, ahead: np.ndarray, test: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(past, ahead).predict(test)


def recursive(past: np.ndarray, ahead: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Learned from every next step of the training part, those behind the last whole horizon included."""
    from sklearn.linear_model import LinearRegression

    width = past.shape[1]
    series = np.concatenate([past[0], ahead[:, 0], ahead[-1, 1:]])
    windows = np.lib.stride_tricks.sliding_window_view(series, width)[:-1]
    model, seen = LinearRegression().fit(windows, series[width:]), test
    for _ in range(ahead.shape[1]):
        seen = np.column_stack([seen, model.predict(seen[:, -width:])])
    return seen[:, width:]


def mase(data: Dataset, forecast: Forecaster) -> float:
    column, train, test = data.fields[data.input], data.splits["train"], data.splits["test"]
    assert isinstance(column, Series)
    windows = [split.column(data.input).astype(np.float64) for split in (train, test)]
    found = forecast(windows[0], train.column(data.target).astype(np.float64), windows[1])
    return float(np.abs(found - test.column(data.target)).mean()) / column.naive


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    data = data_module.open("airline-passengers")
    print(f"{len(data.splits['train'])} training windows, {len(data.splits['test'])} of the test part")
    for name, forecast in (
        ("seasonal naive", naive), ("linear autoregression, direct", direct), ("linear autoregression, recursive", recursive)
    ):  # fmt: skip
        print(f"{name:34} MASE {mase(data, forecast):.4f}")
    figures = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            run = shendu.train("nbeats", "airline-passengers", out=Path(folder) / "run", seed=seed, quiet=True)
            figures.append(run.result["metrics"]["test"]["mase"])
            took = time.perf_counter() - begun
        print(f"{f'nbeats, seed {seed}':34} MASE {figures[-1]:.4f} ({took:.1f} s)")
    if len(figures) > 1:
        print(f"{'nbeats, mean and spread':34} MASE {statistics.mean(figures):.4f} ± {statistics.stdev(figures):.4f}")


if __name__ == "__main__":
    main()
