"""What a page shows of a model that knows no target: what it draws, its views, the rows that suit it least and most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shendu import parallel
from shendu.errors import UserError
from shendu.pages.drawing import data_uri, figure
from shendu.pages.generated import frames, grid, labels_of, last
from shendu.pages.sections import Section

if TYPE_CHECKING:
    from shendu.field import Field
    from shendu.tasks import Again, Task

SHOWN = 64
"""Pictures of a gallery."""


def drawings(task: Task, model: Any) -> list[Section]:
    """What a model draws, each class in turn; nothing of one that does not draw pictures."""
    if "draw" not in task.can or not task.input.pictured:
        return []
    try:
        frame = last(frames(model, SHOWN, labels_of(task, SHOWN, None), 0, {}))
    except UserError:  # it could draw, had it been trained to
        return []
    return [Section("Drawn", "picture", data_uri(grid(task.pixels(frame))), "new rows, drawn by the model")]


def views(task: Task, model: Any, again: Again, count: int) -> list[Section]:
    """Pictures that a model has to show of itself."""
    if "views" not in task.can or not task.input.pictured:
        return []
    x = again(torch.arange(min(SHOWN, count)))[2]["x"]
    with parallel.evaluating(model):
        found = model.views(x.to(parallel.device_of(model)))
    return [Section(title, "picture", data_uri(grid(task.pixels(p.float().cpu())))) for title, p in found.items()]


def least_and_most(field: Field, name: str, least: Tensor, most: Tensor, again: Again, part: str) -> list[Section]:
    """Stored rows that suit a model least and most by a figure."""
    found = []
    for title, rows in (("Suit the model least", least), ("Suit it most", most)):
        stored, outputs, _ = again(rows)
        low, high = sorted((float(outputs[name][0]), float(outputs[name][-1])))
        if field.pictured:
            note = f"rows of the {part} part, {name} {figure(low)} to {figure(high)}"
            found.append(Section(title, "picture", data_uri(grid(stored["x"].cpu().numpy())), note))
        elif title == "Suit the model least":
            rows_shown = zip(outputs[name].tolist(), stored["x"].cpu().numpy(), strict=True)
            lines = [f"{figure(value):>8}  {field.show({'': row})}" for value, row in rows_shown]
            found.append(Section(title, "text", "\n".join(lines), f"rows of the {part} part after their {name}"))
    return found
