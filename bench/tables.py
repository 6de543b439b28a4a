"""Tables: Shendu and scikit-learn's boosted trees on the same rows, and the speed of training against fastai and pytorch-tabular.

    python bench/tables.py                     adult, california-housing (5 random splits), speed
    python bench/tables.py --only adult,speed  some of them
    python bench/tables.py --splits 1          fewer splits of california-housing

Data sets are read from $SHENDU_DATA. Both sides have their default settings and the same training rows: what Shendu
sets aside to choose its weights is trained on by the trees (which set a tenth aside themselves). Prints a line of JSON
per result, then a table. The peers run in .bench/torch (see environments.py).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import environments
import numpy as np

BENCH = Path(__file__).parent
GROUPS = ("adult", "california-housing", "speed")
FASTAI = {"members": 1, "hidden": (200, 100), "pieces": 1, "dropout": 0.0, "batch_size": 64}
"""fastai's usual tabular network: two layers, batches of 64, no dropout, one member."""


def matrix(data: Any, *parts: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of some splits, as they are stored."""
    splits = [data.splits[part] for part in parts]
    return tuple(np.concatenate([s.column(name) for s in splits]) for name in (data.input, data.target))


def shendu_side(name: str, reading: dict[str, str], folder: Path) -> dict[str, Any]:
    """`shendu train NAME` with default settings."""
    import shendu

    began = time.perf_counter()
    run = shendu.train(None, name, out=folder, quiet=True, **reading)
    wall, result = time.perf_counter() - began, run.result
    figures = {"seconds": result["seconds"], "wall_s": wall, "rows_per_s": result["samples_per_second"]}
    return {**result["metrics"]["test"], **figures}


def trees_side(name: str, reading: dict[str, str]) -> dict[str, Any]:
    """HistGradientBoosting with default settings on the same rows, categories as such."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import roc_auc_score

    import shendu
    from shendu.data.fields.category import Category
    from shendu.reading import Reading

    data = shendu.open_data(name, reading=Reading(**reading)).split_off(reading.get("split", ""))
    (x, y), (xt, yt) = matrix(data, "train", "validation"), matrix(data, "test")
    classes = isinstance(data.fields[data.target], Category)
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    coded = [position for position, _ in data.fields[data.input].coded]
    began = time.perf_counter()
    model = kind(categorical_features=coded, random_state=0).fit(x, y)
    seconds = time.perf_counter() - began
    predicted = model.predict(xt)
    if classes:
        ranked = roc_auc_score(yt, model.predict_proba(xt)[:, 1])
        figures = {"auc": float(ranked), "accuracy": float((predicted == yt).mean())}
    else:
        figures = {"rmse": math.sqrt(np.square(predicted - yt).mean())}
    return {**figures, "seconds": seconds, "wall_s": seconds, "rows_per_s": None}


def compared(name: str, readings: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Both sides on every reading of a set."""
    lines = []
    for reading in readings:
        with tempfile.TemporaryDirectory() as folder:
            ours = shendu_side(name, reading, Path(folder) / "run")
        for side, figures in (("Shendu, tabm", ours), ("HistGradientBoosting", trees_side(name, reading))):
            lines.append({"data": name, "side": side, **reading, **figures})
            print("RESULT " + json.dumps(lines[-1]), flush=True)
    return lines


def speed() -> list[dict[str, Any]]:
    """Rows per second of the second epoch on adult: the peers with fastai's usual network, the same in Shendu, and Shendu's own."""
    environments.ready("torch")
    peers = {"fastai": "fastai_tabular.py", "pytorch-tabular": "ptabular.py"}
    rates = {f"{name}, 200-100, batches of 64": peer_speed(script) for name, script in peers.items()}
    rates["Shendu, tabm with one member, 200-100, batches of 64"] = our_speed(FASTAI)
    rates["Shendu, tabm as it is"] = our_speed({})
    lines = [{"data": "adult", "side": side, "rows_per_s": rate} for side, rate in rates.items()]
    for line in lines:
        print("RESULT " + json.dumps(line), flush=True)
    return lines


def peer_speed(script: str) -> float:
    output = subprocess.run(
        [environments.python("torch"), BENCH / "peers" / script], capture_output=True, text=True, check=True
    ).stdout
    found = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return json.loads(found.removeprefix("RESULT "))["rows_per_s"]


def our_speed(choices: dict[str, Any]) -> float:
    from shendu_side import epochs_of, watched

    import shendu

    stamps = watched()
    with tempfile.TemporaryDirectory() as folder:
        run = shendu.train("tabm", "adult", out=Path(folder) / "run", quiet=True, epochs=2.01, validations=1, **choices)
        rows = json.loads((run.path / "recipe.json").read_text())["data"]["rows"]["train"]
    return rows / epochs_of(stamps, rows)[1]


def table(lines: list[dict[str, Any]]) -> str:
    """Means over the readings of each side."""
    shown = [
        "data                 side                                                  figure                       seconds   rows/s"
    ]
    for name, side in dict.fromkeys((line["data"], line["side"]) for line in lines):
        mine = [line for line in lines if (line["data"], line["side"]) == (name, side)]
        figures = [
            f"{key} {statistics.fmean(line[key] for line in mine):.5g}"
            for key in ("auc", "accuracy", "rmse")
            if key in mine[0]
        ]
        seconds, rate = ([line[key] for line in mine if line.get(key)] for key in ("seconds", "rows_per_s"))
        numbers = [f"{statistics.fmean(values):,.0f}" if values else "–" for values in (seconds, rate)]
        shown.append(f"{name:20} {side:53} {', '.join(figures):28} {numbers[0]:>7} {numbers[1]:>8}")
    return "\n".join(shown)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(GROUPS), help="some of these, separated by commas")
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    if not (Path(os.environ.get("SHENDU_DATA", "")) / "adult").is_dir():
        print("this needs the data sets: SHENDU_DATA=/path/to/data (with adult/ and california-housing/)")
        return 2
    lines = []
    for group in options.only.split(","):
        if group not in GROUPS:
            parser.error(f"--only {group}: known are {', '.join(GROUPS)}")
        if group == "speed":
            lines += speed()
        else:
            splits = [{"split": f"0.2@{seed}"} for seed in range(options.splits)]
            lines += compared(group, splits if group == "california-housing" else [{}])
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
