"""How long a large CSV takes to be read, typed and cached, and how much memory: one JSON line.

python bench/tables_read.py [ROWS] makes the table (30 columns: numbers with gaps, whole numbers, categories, booleans, dates,
an id, short texts), then opens it in a process of its own, whose peak memory is compared with the file's size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

OPEN = """
import json, resource, sys, time
from shendu.data import open
start = time.perf_counter()
data = open(sys.argv[1], target="bought")
seconds = time.perf_counter() - start
print(json.dumps({"seconds": round(seconds, 2), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                  "kinds": [field.kind for field in data.fields[data.input].columns]}))
"""


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "table.csv"
        csv.write_csv(made(rows), path, csv.WriteOptions(quoting_style="needed"))
        size = path.stat().st_size
        environment = {**os.environ, "SHENDU_CACHE": f"{place}/cache"}
        done = subprocess.run([sys.executable, "-c", OPEN, path], capture_output=True, check=True, env=environment)
    found = json.loads(done.stdout)
    kinds = {kind: found["kinds"].count(kind) for kind in dict.fromkeys(found["kinds"])}
    print(
        json.dumps(
            {"rows": rows, "columns": 30, "MiB": round(size / 2**20, 1), "seconds": found["seconds"],
             "peak_share": round(found["peak"] / size, 2), "kinds": kinds}
        )
    )  # fmt: skip


def made(rows: int) -> pa.Table:
    draw = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {"id": pa.array(np.arange(rows) + 1000)}
    for i in range(10):
        columns[f"measure_{i}"] = pa.array(draw.normal(50, 10, rows).round(4), mask=draw.random(rows) < 0.02)
    for i in range(6):
        columns[f"count_{i}"] = pa.array(draw.integers(0, 10 ** (i + 1), rows))
    for i in range(6):
        columns[f"group_{i}"] = named([f"group {i} {j}" for j in range(4 ** (i + 1))], draw, rows)
    columns["member"] = named(["yes", "no"], draw, rows)
    columns["price"] = named([f"${j:,}.50" for j in range(900, 3000)], draw, rows)
    for i in range(2):
        days = np.datetime64("2015-01-01") + draw.integers(0, 3000, rows)
        columns[f"day_{i}"] = pa.array(days)
    columns["at"] = pa.array(np.datetime64("2020-01-01T00:00:00") + draw.integers(0, 10**8, rows))
    columns["word"] = named([f"word{j}" for j in range(20_000)], draw, rows)
    columns["bought"] = named(["no", "yes"], draw, rows)
    return pa.table(columns)


def named(names: list[str], draw: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(names).take(pa.array(draw.integers(0, len(names), rows)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
