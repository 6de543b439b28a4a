"""runs: what was trained. Reads text; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shendu import kept
from shendu.errors import UserError
from shendu.options import AS_JSON, emit, table
from shendu.own import continued

ORDER = 130
PUBLIC = ("list_runs",)


def list_runs(root: str | Path = "runs") -> list[dict[str, Any]]:
    """Every run folder below `root`: path, system, data, and its test (else validation, else train) figures; or what is wrong."""
    if not Path(root).is_dir():
        raise UserError(f"{root} is no folder; runs are kept under runs/ of the folder where they were trained")
    return [row_of(recipe.parent) for recipe in sorted(Path(root).rglob("recipe.json"))]


def row_of(run: Path) -> dict[str, Any]:
    """What is listed of one run; of a damaged one, that it is."""
    row: dict[str, Any] = {"run": str(run)}
    try:
        made, done = kept.load(run / "recipe.json"), kept.load(run / "result.json")
        row |= {"system": made["system"], "data": made["data"]["name"]}
        if done is None:
            return row | {"state": f"unfinished: {continued(run, made.get('own'), 'compressed' in made)}"}
        part = next((part for part in ("test", "validation", "train") if part in done["metrics"]), "")
        if not part:
            return row | {"state": "damaged: result.json has no figures"}
        return row | {"state": "finished", "part": part, "metrics": done["metrics"][part], "seconds": done["seconds"]}
    except (UserError, LookupError) as error:
        return row | {"state": f"damaged: {error}"}


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
