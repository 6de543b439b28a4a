"""list and runs: what there is to train, on what, and what was trained. Reads text; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shendu import registry
from shendu.errors import UserError


def list_systems() -> list[dict[str, str]]:
    """Name, family and one line of every system."""
    return [{"name": e.name, "family": e.family, "summary": e.summary} for e in registry.systems().values()]


def list_data(data_dir: str | Path | None = None) -> list[dict[str, Any]]:
    """Name, one line and place of every known data set."""
    from shendu.data import known

    return known.listing(data_dir)


def list_runs(root: str | Path = "runs") -> list[dict[str, Any]]:
    """Every run folder below `root`: path, system, data, and its test (else validation, else train) figures."""
    import json

    if not Path(root).is_dir():
        raise UserError(f"{root} is no folder; runs are kept under runs/ of the folder where they were trained")
    rows = []
    for recipe in sorted(Path(root).rglob("recipe.json")):
        try:
            made = json.loads(recipe.read_text(encoding="utf-8"))
            row = {"run": str(recipe.parent), "system": made["system"], "data": made["data"]["name"]}
        except (OSError, ValueError, KeyError, TypeError):
            rows.append({"run": str(recipe.parent), "state": "damaged recipe.json"})
            continue
        result = recipe.with_name("result.json")
        try:
            done = json.loads(result.read_text(encoding="utf-8"))
            part = next(p for p in ("test", "validation", "train") if p in done["metrics"])
            row |= {"state": "finished", "part": part, "metrics": done["metrics"][part], "seconds": done["seconds"]}
        except (OSError, ValueError, KeyError, StopIteration):
            row["state"] = f"unfinished: shendu train --resume {recipe.parent}"
        rows.append(row)
    return rows
