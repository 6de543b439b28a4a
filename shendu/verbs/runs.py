"""runs: what was trained. Reads text; imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from shendu.errors import UserError
from shendu.options import AS_JSON, emit, table
from shendu.own import continued

ORDER = 130
PUBLIC = ("list_runs",)


def list_runs(root: str | Path = "runs") -> list[dict[str, Any]]:
    """Every run folder below `root`: path, system, data, and its test (else validation, else train) figures."""
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
            row["state"] = f"unfinished: {continued(recipe.parent, made.get('own'))}"
        rows.append(row)
    return rows


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("root", default="runs")
@AS_JSON
def command(root: str, as_json: bool) -> None:
    """The runs under ROOT (default: runs/) with their figures."""
    found = list_runs(root)
    if as_json:
        return emit(found)
    rows = [["run", "system", "data", "figures", "seconds"]]
    for row in found:
        figures = " ".join(f"{k} {v:.4f}" for k, v in row.get("metrics", {}).items())
        shown = f"{row['part']}: {figures}" if figures else row["state"]
        rows.append(
            [
                row["run"],
                row.get("system", ""),
                row.get("data", ""),
                shown,
                f"{row['seconds']:.1f}" if "seconds" in row else "",
            ]
        )
    table(rows)
    return None
