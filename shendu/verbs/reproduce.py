"""reproduce: trains a system's reference recipes and writes what they measured into the results ledger."""

from __future__ import annotations

import datetime
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

from shendu import registry
from shendu.errors import UserError
from shendu.run import write_json
from shendu.verbs.train import machine, train

RESULTS = Path("results")


def reproduce(
    system: str,
    *,
    data: str | None = None,
    seeds: int = 1,
    out: str | Path | None = None,
    results: str | Path = RESULTS,
    data_dir: str | Path | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Runs every reference of the system (or the one on `data`) with seeds 0 … seeds-1; returns the ledger's entries.

    A reference with several `readings` (folds, splits) is run on each of them.

    An entry holds data, choices, metric, figure (mean), spread (standard deviation), published figure and source,
    target, seconds, samples per second, machine and commit. Raises UserError for a system without such a reference.
    """
    references = [r for r in registry.load(system).REFERENCES if data is None or r["data"] == data]
    if not references:
        known = dict.fromkeys(r["data"] for r in registry.load(system).REFERENCES)
        raise UserError(f"{system} has no reference on {data}; it has: {', '.join(known)}")
    path = Path(results) / f"{system}.json"
    entries = []
    for reference in references:
        entries.append(_measured(system, reference, seeds, out, data_dir, options))
        _merge(path, entries[-1])
    return entries


def _measured(
    system: str, reference: dict[str, Any], seeds: int, out: Any, data_dir: Any, options: dict[str, Any]
) -> dict[str, Any]:
    choices, readings = reference.get("choices", {}), reference.get("readings", [{}])
    done = []
    for number, (seed, reading) in enumerate(itertools.product(range(seeds), readings)):
        stem = "_".join([system, reference["data"], *map(str, choices.values())])
        folder = Path(out) / f"{stem}{number}" if out else None
        resume = bool(folder and (folder / "recipe.json").exists())
        how = {**choices, **reading, **options}
        run = train(system, reference["data"], out=folder, resume=resume, data_dir=data_dir, seed=seed, **how)
        done.append(run.result)
    part = next(p for p in ("test", "validation", "train") if p in done[0]["metrics"])
    figures = [result["metrics"][part][reference["metric"]] for result in done]
    where = machine()
    return {
        "system": system, "data": reference["data"], "choices": choices, "part": part, "metric": reference["metric"],
        "figure": statistics.fmean(figures), "spread": statistics.stdev(figures) if len(figures) > 1 else None, "seeds": seeds,
        "splits": len(readings),
        "target": reference["target"], "published": reference["published"], "source": reference["source"],
        "seconds": statistics.fmean(r["seconds"] for r in done),
        "samples_per_second": statistics.fmean(r["samples_per_second"] for r in done),
        "parameters": done[0]["parameters"], "steps": done[0]["steps"], "device": done[0]["device"], "precision": done[0]["precision"],
        "machine": f"{where['processor']}, {where['cores']} cores", "torch": where["torch"], "commit": where["commit"],
        "date": datetime.date.today().isoformat(),
        "command": f"shendu reproduce {system} --on {reference['data']}" + (f" --seeds {seeds}" if seeds > 1 else ""),
    }  # fmt: skip


def _merge(path: Path, entry: dict[str, Any]) -> None:
    """Replaces the entry of the same data and choices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    same = ("data", "choices", "metric")
    kept = [old for old in kept if any(old[key] != entry[key] for key in same)]
    write_json(path, sorted([*kept, entry], key=lambda e: (e["data"], str(e["choices"]))))
