"""Single rows as cards: what went in, what is said of it, what is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from shendu.pages.drawing import picture
from shendu.pages.sections import Section

if TYPE_CHECKING:
    from shendu.core import Batch
    from shendu.metrics.evaluation import Measured
    from shendu.tasks import Again, Task

MISTAKES, MISTAKES_TOLD = 24, 12
"""Rows that are shown as pictures, and as text."""


def shown(task: Task, stored: Batch, row: int) -> dict[str, Any]:
    """`picture` (a data URI) of one of the stored rows, or its inputs as a line, `input`."""
    seen = []
    for name, field in task.inputs.items():
        own = {part: stored[name + part][row].cpu().numpy() for part in field.parts if name + part in stored}
        found = field.show(own)
        if not isinstance(found, str):
            return {"picture": picture(found)}
        seen.append(found)
    return {"input": "; ".join(seen)}


def cards(task: Task, rows: Tensor, again: Again) -> tuple[list[dict[str, Any]], Batch, Batch]:
    """A card for each of some measured rows; the rows as they are stored, and prepared."""
    stored, outputs, batch = again(rows)
    told = task.tell(outputs, batch, stored)
    made = [
        {"row": row, "right": words.right, "true": words.true, "predicted": words.said, "sure": words.sure, **shown(task, stored, i)}
        for i, (row, words) in enumerate(zip(rows.tolist(), told, strict=True))
    ]  # fmt: skip
    return made, stored, batch


def worst(task: Task, measured: Measured, again: Again, part: str) -> Section:
    """The rows that are most wrong."""
    bad = measured.badness
    order = bad.argsort(descending=True, stable=True)[: int((bad > 0).sum())]
    made = cards(task, order[:MISTAKES], again)[0] if len(order) else []
    pictured = bool(made) and "picture" in made[0]
    body = {
        "cards": made if pictured else made[:MISTAKES_TOLD], "pictured": pictured, "labelled": bool(task.labels), "part": part,
        "wrong": len(order), "rows": measured.count, "flat": task.input.flat,
    }  # fmt: skip
    return Section("Worst mistakes", "mistakes", body)
