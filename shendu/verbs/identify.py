"""identify: who of a gallery is on a picture, as a run sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shendu.options import AS_JSON, DEVICE, OPENS, emit, table
from shendu.saved import Saved
from shendu.verbs.enrol import Gallery, comparing, embeddings, limit

ORDER = 110


def identify(
    run: Saved | str | Path, gallery: str | Path, *pictures: Any, device: str = "auto"
) -> list[dict[str, Any]]:
    """Who is on each picture: `{"input", "name", "similarity", "nearest"}`; `name` is None below the threshold.

    A person is as similar as the most similar of the pictures enrolled. Raises UserError.
    """
    opened = comparing(run)
    known, threshold = Gallery.read(Path(gallery), opened), limit(opened)
    words, z = embeddings(opened, pictures, device)
    best = (z @ known.embeddings.T).max(1)
    nearest = [known.names[i] for i in best.indices.tolist()]
    return [
        {"input": word, "name": name if value >= threshold else None, "similarity": value, "nearest": name}
        for word, name, value in zip(words, nearest, best.values.tolist(), strict=True)
    ]


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.argument("gallery")
@click.argument("pictures", nargs=-1, required=True)
@DEVICE
@AS_JSON
@OPENS
def command(run: str, gallery: str, pictures: tuple[str, ...], device: str, as_json: bool) -> None:
    """Who of GALLERY is on PICTURES (files, folders), as RUN sees it."""
    found = identify(run, gallery, *pictures, device=device)
    if as_json:
        return emit(found)
    rows = [
        [row["input"], row["name"] or f"nobody (nearest: {row['nearest']})", f"{row['similarity']:.4f}"]
        for row in found
    ]
    table([["input", "who", "similarity"], *rows])
    return None
