"""Why a model says what it says of a single row, where no other rows are at hand to compare it with.

Gradient times input of pictures, recordings and numbers; of words, letters and columns what the answer is without each.

Shape letters: U units of a row that can be hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shendu.pages.cards import shown
from shendu.pages.drawing import heat
from shendu.pages.explanation import BARS, POSITIONS, Bar, attributions, marked, signed

if TYPE_CHECKING:
    from shendu.core import Batch
    from shendu.predictor import Predictor


def explained(predictor: Predictor, stored: Batch) -> dict[str, Any]:
    """Input's name -> how much each part of the first stored row counts: `form`, and by it

    `heat`: `picture` and `heat`, PNGs as data URIs, to be laid over each other, red where it speaks for the answer;
    `marks`: `marks`, words with a strength in percent of the strongest; `parts`: `parts`, columns or numbers with what each
    adds. Empty where the model's kind of answer is not explained.
    """
    row = {name: t[:1] for name, t in stored.items()}
    fields = predictor.task.inputs
    if not predictor.task.explained():
        return {}
    found = {name: METHODS[field.explains](predictor, name, row) for name, field in fields.items() if field.explains}
    return {name: body for name, body in found.items() if body}


def maps(predictor: Predictor, name: str, row: Batch) -> dict[str, Any]:
    """Gradient times input, the channels added up."""
    found = _gradients(predictor, name, row)
    if found is None:
        return {}
    flat, strength = predictor.task.inputs[name].flat, found[0].sum(0).numpy()
    drawn = heat(strength[::-1].copy() if flat else strength)
    return {"form": "heat", "heat": drawn, "flat": flat, **shown(predictor.task, row, 0)}


def elements(predictor: Predictor, name: str, row: Batch) -> dict[str, Any]:
    """Gradient times input of each number."""
    found = _gradients(predictor, name, row)
    if found is None:
        return {}
    values = found[0]
    order = values.abs().flatten().argsort(descending=True, stable=True)[:BARS].tolist()
    bars = [
        Bar(f"x[{', '.join(map(str, np.unravel_index(i, tuple(values.shape))))}]", float(values.flatten()[i]))
        for i in order
    ]
    return {"form": "parts", "parts": signed(bars, False)}


def columns(predictor: Predictor, name: str, row: Batch) -> dict[str, Any]:
    """What each column adds: the answer, less the one that is given where the column is missing."""
    names, falls = _without_each(predictor, name, row, range(predictor.task.inputs[name].units), odds=False)
    bars = sorted(map(Bar, names, falls), key=lambda bar: -abs(bar.value))[:BARS]
    return {"form": "parts", "parts": signed(bars, bool(predictor.task.labels))}


def marks(predictor: Predictor, name: str, row: Batch) -> dict[str, Any]:
    """What each word or letter adds: the answer's log-odds (or value), less those without it."""
    field = predictor.task.inputs[name]
    there = [unit for unit, word in enumerate(field.unit_names(_own(predictor, name, row))) if word][:POSITIONS]
    if not there:
        return {}
    names, falls = _without_each(predictor, name, row, there, odds=True)
    return {"form": "marks", "spaced": field.spaced, "marks": marked(list(zip(names, falls, strict=True)))}


METHODS: dict[str, Callable[[Predictor, str, Batch], dict[str, Any]]] = {
    "maps": maps, "elements": elements, "columns": columns, "marks": marks,
}  # fmt: skip
"""How a field says that it is explained -> what does it."""


def _gradients(predictor: Predictor, name: str, row: Batch) -> torch.Tensor | None:
    batch = {key: t.to(predictor.device) for key, t in row.items()}
    prepared = predictor.task.prepare(batch)
    prepared |= predictor.task.said(predictor.ask(prepared))
    return attributions(predictor.task, predictor.model, prepared).get(name)


def _without_each(
    predictor: Predictor, name: str, row: Batch, units: Any, *, odds: bool
) -> tuple[list[str], list[float]]:
    """(names of some units, how far the answer's probability or value falls without each)."""
    task, units = predictor.task, list(units)
    field = task.inputs[name]
    keep = torch.ones(len(units) + 1, field.units, dtype=torch.bool)
    keep[torch.arange(1, len(units) + 1), torch.tensor(units)] = False
    many = {key: t.expand(len(keep), *t.shape[1:]) for key, t in row.items()}
    own = {part: many[name + part] for part in field.parts if name + part in many}
    changed = field.hide(own, keep)
    answers, _ = predictor.pieces({**many, **{name + part: t for part, t in changed.items()}})
    weigh = task.odds if odds else task.sureness
    sure = weigh(answers, task.said({key: t[:1] for key, t in answers.items()}))
    names = field.unit_names(_own(predictor, name, row))
    return [names[unit] for unit in units], (sure[0] - sure[1:]).tolist()


def _own(predictor: Predictor, name: str, row: Batch) -> dict[str, np.ndarray]:
    field = predictor.task.inputs[name]
    return {part: row[name + part][0].numpy() for part in field.parts if name + part in row}
