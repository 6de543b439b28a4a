"""reproduce: trains a system's reference recipes and writes what they measured into the results ledger."""

from __future__ import annotations

import datetime
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import click

from shendu import registry
from shendu.errors import UserError
from shendu.machine import machine
from shendu.options import AS_JSON, DATA_DIR, DEVICE, PRECISION, emit, only_given, table
from shendu.run import write_json
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
    **options: Any,
) -> list[dict[str, Any]]:
    """Runs every reference of the system with seeds 0 … seeds-1; returns the ledger's entries.

    `data` leaves those on that data, `reference` the one of that number, counted from 1 in the order of the system's file.

    A reference with several `readings` (folds, splits) is run on each of them.

    An entry holds data, choices, metric, figure (mean), spread (standard deviation), published figure and source,
    target, seconds, samples per second, machine and commit. Raises UserError for a system without such a reference.
    """
    path = Path(results) / f"{system}.json"
    entries = []
    for number, found in chosen(system, data, reference).items():
        entries.append(_measured(system, number, found, seeds, out, data_dir, options))
        _merge(path, entries[-1])
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
    done = []
    for nth, (seed, reading) in enumerate(itertools.product(range(seeds), readings)):
        stem = "_".join([system, reference["data"], *map(str, choices.values())])
        folder = Path(out) / f"{stem}{nth}" if out else None
        resume = bool(folder and (folder / "recipe.json").exists())
        how = {**choices, **reading, **options}
        run = train(system, reference["data"], out=folder, resume=resume, data_dir=data_dir, seed=seed, **how)
        done.append(run.result)
    part = next(p for p in ("test", "validation", "train") if p in done[0]["metrics"])
    figures = [result["metrics"][part][reference["metric"]] for result in done]
    where, device = machine(), done[0]["device"].partition(":")[0]
    return {
        "system": system, "data": reference["data"], "choices": choices, "part": part, "metric": reference["metric"],
        "figure": statistics.fmean(figures), "spread": statistics.stdev(figures) if len(figures) > 1 else None, "seeds": seeds,
        "splits": len(readings),
        "target": reference["target"], "published": reference["published"], "source": reference["source"],
        "seconds": statistics.fmean(r["seconds"] for r in done),
        "samples_per_second": statistics.fmean(r["samples_per_second"] for r in done),
        "parameters": done[0]["parameters"], "steps": done[0]["steps"], "device": device, "precision": done[0]["precision"],
        "machine": hardware(where, device), "torch": where["torch"], "commit": where["commit"],
        "date": datetime.date.today().isoformat(),
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


def _merge(path: Path, entry: dict[str, Any]) -> None:
    """Replaces the entry of the same data and choices on the same kind of device."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    same = ("data", "choices", "metric", "device")
    kept = [old for old in kept if any(old[key] != entry[key] for key in same)]
    write_json(path, sorted([*kept, entry], key=lambda e: (e["data"], str(e["choices"]))))


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
