"""reproduce: trains a system's reference recipes and writes what they measured into the results ledger."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from shendu import registry
from shendu.data.audit import duplicates
from shendu.errors import UserError
from shendu.machine import machine
from shendu.options import AS_JSON, DATA_DIR, DEVICE, PRECISION, emit, only_given, table
from shendu.pages.display import aside
from shendu.run import Folder, write_json
from shendu.saved import Saved
from shendu.verbs.evaluate import data_of, evaluate
from shendu.verbs.train import train

ORDER = 150
PUBLIC = ("reproduce",)
RESULTS = Path("results")


def reproduce(
    system: str,
    *,
    data: str | None = None,
    reference: int | None = None,
    seeds: int = 1,
    out: str | Path | None = None,
    results: str | Path = RESULTS,
    data_dir: str | Path | None = None,
    replace: bool = False,
    say: Callable[[str], None] = aside,
    **options: Any,
) -> list[dict[str, Any]]:
    """Runs every reference of the system with seeds 0 … seeds-1; returns the ledger's entries.

    `data` leaves those on that data, `reference` the one of that number, counted from 1 in the order of the system's file.

    A reference with several `readings` (folds, splits) is run on each of them.

    An entry holds data (its hash and its rows too), choices, metric, figure (mean), spread (standard deviation), published figure
    and source, target, seconds, samples per second, machine and commit; where test rows have the inputs of training rows, how
    many, and the figure without them. One of the ledger that is better or newer stays, which `say` is told, unless it is to be
    replaced. Raises UserError for a system without such a reference.
    """
    path = Path(results) / f"{system}.json"
    entries = []
    for number, found in chosen(system, data, reference).items():
        entries.append(_measured(system, number, found, seeds, out, data_dir, options))
        merge(path, entries[-1], replace, say)
    return entries


def chosen(system: str, data: str | None, reference: int | None) -> dict[int, dict[str, Any]]:
    """The references that are meant, by number; raises UserError where there is none."""
    known = dict(enumerate(registry.load(system).REFERENCES, 1))
    found = {n: r for n, r in known.items() if data in (None, r["data"]) and reference in (None, n)}
    if not found:
        wanted = "".join([f" on {data}" if data else "", f" of number {reference}" if reference is not None else ""])
        raise UserError(
            f"{system} has no reference{wanted}; it has: {'; '.join(f'{n}: {named(r)}' for n, r in known.items())}"
        )
    return found


def named(reference: dict[str, Any]) -> str:
    """`mnist (form=1998)`: its data and its choices."""
    choices = ", ".join(f"{key}={value}" for key, value in reference.get("choices", {}).items())
    return reference["data"] + (f" ({choices})" if choices else "")


def _measured(
    system: str, number: int, reference: dict[str, Any], seeds: int, out: Any, data_dir: Any, options: dict[str, Any]
) -> dict[str, Any]:
    choices, readings = reference.get("choices", {}), reference.get("readings", [{}])
    runs: list[Saved] = []
    for nth, (seed, reading) in enumerate(itertools.product(range(seeds), readings)):
        stem = "_".join([system, reference["data"], *map(str, choices.values())])
        folder = Path(out) / f"{stem}{nth}" if out else None
        resume = bool(folder and (folder / "recipe.json").exists())
        how = {**choices, **reading, **options}
        runs.append(train(system, reference["data"], out=folder, resume=resume, data_dir=data_dir, seed=seed, **how))
    done = [run.result for run in runs]
    part = next(p for p in ("test", "validation", "train") if p in done[0]["metrics"])
    figures = [result["metrics"][part][reference["metric"]] for result in done]
    made, device = runs[-1].recipe["data"], done[0]["device"].partition(":")[0]
    where = (
        Folder(runs[-1].path).read("env.json") or machine()
    )  # of a run that was finished before: where it was trained
    metric = reference["metric"]
    higher = next(each.higher[metric] for each in runs[0].task.metrics().values() if metric in each.higher)
    return {
        "system": system, "data": reference["data"], "choices": choices, "part": part, "metric": reference["metric"],
        "figure": statistics.fmean(figures), "spread": statistics.stdev(figures) if len(figures) > 1 else None, "seeds": seeds,
        "splits": len(readings), "higher": higher, "hash": made["hash"], "rows": made["rows"],
        **without_copies(runs, reference["metric"], part, data_dir),
        "target": reference["target"], "published": reference["published"], "source": reference["source"],
        "seconds": statistics.fmean(r["seconds"] for r in done),
        "samples_per_second": statistics.fmean(r["samples_per_second"] for r in done),
        "parameters": done[0]["parameters"], "steps": done[0]["steps"], "device": device, "precision": done[0]["precision"],
        "machine": hardware(where, device), "torch": where["torch"], "commit": where["commit"],
        "date": datetime.date.fromtimestamp((runs[-1].path / "result.json").stat().st_mtime).isoformat(),
        "command": ledger_command(system, number, reference, seeds, device),
    }  # fmt: skip


def hardware(where: dict[str, Any], device: str) -> str:
    """The processor and its cores, after the GPU where one computed."""
    gpu = f"{where['gpu']}, " if device.startswith("cuda") else ""
    return f"{gpu}{where['processor']}, {where['cores']} cores"


def ledger_command(system: str, number: int, reference: dict[str, Any], seeds: int, device: str = "cpu") -> str:
    """What measures this one again, and nothing else."""
    same = [r for r in registry.load(system).REFERENCES if r["data"] == reference["data"]]
    which = f" --reference {number}" if len(same) > 1 else ""
    more = (f" --seeds {seeds}" if seeds > 1 else "") + (f" --device {device}" if device != "cpu" else "")
    return f"shendu reproduce {system} --on {reference['data']}{which}" + more


def without_copies(runs: list[Saved], metric: str, part: str, data_dir: Any) -> dict[str, Any]:
    """How many rows of a part have the inputs of training rows, of all its rows, and the figure on the others; empty: none have."""
    counts, figures = np.zeros(2, int), []
    for run in runs:
        data = data_of(run, data_dir)
        known = duplicates.copied(data, part) if part in data.splits and part != "train" else np.zeros(1, bool)
        if not known.any():
            figures.append(run.result["metrics"][part][metric])
            continue
        counts += known.sum(), len(known)
        others = dataclasses.replace(data, splits={part: data.splits[part].take(np.flatnonzero(~known))})
        figures.append(evaluate(run, others, part=part, device=run.result["device"])["metrics"][metric])
    return (
        {"copies": int(counts[0]), "of": int(counts[1]), "without_copies": statistics.fmean(figures)}
        if counts.any()
        else {}
    )


def merge(path: Path, entry: dict[str, Any], replace: bool, say: Callable[[str], None]) -> None:
    """Puts an entry into the ledger; one of the same data and choices on the same kind of device stays where it is better or newer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    same = ("data", "choices", "metric", "device")
    before = next((old for old in found if all(old[key] == entry[key] for key in same)), None)
    if before:
        why = kept_for(before, entry)
        told = f"{named(entry)}: {before['figure']:.4f} ({before['commit']}, {before['date']}) in the ledger"
        if why and not replace:
            say(f"{told} is {why} than {entry['figure']:.4f} and stays; --replace puts this in its place")
            return
        say(f"{told} is replaced by {entry['figure']:.4f}")
    kept = [old for old in found if old is not before]
    write_json(path, sorted([*kept, entry], key=lambda e: (e["data"], str(e["choices"]))))


def kept_for(before: dict[str, Any], entry: dict[str, Any]) -> str:
    """Why an entry is not replaced by another: `better`, `newer`; empty: it may be."""
    ahead = before["figure"] - entry["figure"]
    if (ahead if entry["higher"] else -ahead) > 0:
        return "better"
    return "newer" if before["date"] > entry["date"] else ""


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("system")
@click.option("--on", "data", metavar="DATA", help="Only the references on this data.")
@click.option("--reference", type=int, metavar="N", help="Only the N-th reference in the system's file.")
@click.option("--seeds", type=int, default=1, help="How many seeds to average over.")
@click.option("--out", metavar="DIR", help="Where the runs are kept (continued if they exist).")
@click.option("--results", default="results", metavar="DIR", help="The ledger's folder.")
@DEVICE
@PRECISION
@DATA_DIR
@click.option("--replace", is_flag=True, help="Put what is measured in the place of a better or newer figure too.")
@click.option("--quiet", is_flag=True)
@AS_JSON
def command(system: str, as_json: bool, **options: Any) -> None:
    """Train SYSTEM's reference recipes and write the figures into the results ledger."""
    entries = reproduce(system, **only_given(options))
    if as_json:
        return emit(entries)
    rows = [["data", "metric", "figure", "target", "published", "seconds"]]
    for e in entries:
        published = "" if e["published"] is None else f"{e['published']:.4f}"
        rows.append(
            [e["data"], e["metric"], f"{e['figure']:.4f}", f"{e['target']:.4f}", published, f"{e['seconds']:.0f}"]
        )
    table(rows)
    return None
