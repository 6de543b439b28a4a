"""verify: whether two pictures show the same person, as a run sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shendu.errors import UserError
from shendu.options import AS_JSON, DEVICE, OPENS, echo, emit
from shendu.saved import Saved
from shendu.verbs.enrol import comparing, embeddings, limit

ORDER = 100


def verify(run: Saved | str | Path, first: Any, second: Any, device: str = "auto") -> dict[str, Any]:
    """Whether two pictures show the same: `{"same", "similarity", "threshold"}`. Raises UserError."""
    opened = comparing(run)
    _, z = embeddings(opened, (first, second), device)
    if len(z) != 2:
        raise UserError(f"verify compares two pictures, these are {len(z)}; to ask who is on many use: shendu identify")
    similarity, threshold = float(z[0] @ z[1]), limit(opened)
    return {"same": similarity >= threshold, "similarity": similarity, "threshold": threshold}


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.argument("first", metavar="PICTURE1")
@click.argument("second", metavar="PICTURE2")
@DEVICE
@AS_JSON
@OPENS
def command(run: str, first: str, second: str, device: str, as_json: bool) -> None:
    """Whether RUN takes PICTURE1 and PICTURE2 for the same person (or class)."""
    found = verify(run, first, second, device=device)
    if as_json:
        return emit(found)
    word = "same" if found["same"] else "different"
    echo(f"{word} (similarity {found['similarity']:.4f}, threshold {found['threshold']:.4f})")
    return None
