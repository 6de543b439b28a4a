"""list: what there is to train, and on what. Reads text; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shendu import registry
from shendu.options import AS_JSON, DATA_DIR, emit, table

ORDER = 10
PUBLIC = ("list_systems",)


def list_systems() -> list[dict[str, str]]:
    """Name, family (of an installed package's its module) and one line of every system."""
    known = [*registry.systems().values(), *map(registry.entry, registry.installed())]
    return [{"name": e.name, "family": e.family, "summary": e.summary} for e in known]


def list_data(data_dir: str | Path | None = None) -> list[dict[str, Any]]:
    """Name, one line and place of every known data set."""
    from shendu.data import known

    return known.listing(data_dir)


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@DATA_DIR
@AS_JSON
def command(data_dir: str | None, as_json: bool) -> None:
    """Systems and data sets, one line each."""
    found = {"systems": list_systems(), "data": list_data(data_dir)}
    if as_json:
        return emit(found)
    click.secho("systems", bold=True)
    table([[s["name"], s["family"], s["summary"]] for s in found["systems"]])
    click.secho("\ndata", bold=True)
    table([[d["name"], d["where"], d["summary"]] for d in found["data"]])
    return None
