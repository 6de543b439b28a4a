"""identify: who of a gallery is on a picture, as a run sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shendu.saved import Saved
from shendu.verbs.enrol import Gallery, comparing, embeddings, limit


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
