"""verify: whether two pictures show the same person, as a run sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shendu.errors import UserError
from shendu.saved import Saved
from shendu.verbs.enrol import comparing, embeddings, limit


def verify(run: Saved | str | Path, first: Any, second: Any, device: str = "auto") -> dict[str, Any]:
    """Whether two pictures show the same: `{"same", "similarity", "threshold"}`. Raises UserError."""
    opened = comparing(run)
    _, z = embeddings(opened, (first, second), device)
    if len(z) != 2:
        raise UserError(f"verify compares two pictures, these are {len(z)}; to ask who is on many use: shendu identify")
    similarity, threshold = float(z[0] @ z[1]), limit(opened)
    return {"same": similarity >= threshold, "similarity": similarity, "threshold": threshold}
