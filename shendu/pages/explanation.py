"""Why a model says what it says: how much each part of an input counts, in the way that suits the kind of input.

Gradients where the input is a continuous field (pictures, spectrograms, plain numbers); elsewhere the model is only
asked: what becomes of its figure when a column is shuffled, of its prediction when a word is taken away. Each field names
the way that suits it (`Field.explains`).

Shape letters: B rows, H height, W width, U units of a row that can be hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from shendu import chance, parallel
from shendu.pages.cards import cards
from shendu.pages.drawing import figure, heat
from shendu.pages.sections import Section

if TYPE_CHECKING:
    from shendu.core import Batch, Outputs
    from shendu.metrics.evaluation import Measured
    from shendu.predictor import Predictor
    from shendu.tasks import Again, Task

EXPLAINED, GRADIENT_ROWS, BARS = 8, 500, 20
"""Rows that are explained one by one; rows whose gradients are averaged; bars that are drawn."""
SHUFFLED, SHUFFLED_ROWS, REPEATS = 100_000, 2000, 3
"""Rows that the model sees for the importance of columns, altogether and at once, and how often each is shuffled."""
OTHERS, COLUMNS, POSITIONS = 16, 6, 200
"""Rows that a column's value is replaced from, columns that are shown of a row; positions of a text or sequence."""
LOOKED_AT, WORST = 100_000, 500
"""Rows among which right ones of every class are looked for; and wrong ones."""
_DRAW = 20261123


@dataclass(frozen=True)
class Bar:
    """How much something counts."""

    name: str
    value: float
    spread: float = 0.0


@dataclass(frozen=True)
class Asked:
    """What is explained: a predictor's answers to some rows of a part, and how they are asked again."""

    predictor: Predictor
    measured: Measured
    again: Again
    name: str
    """Of the input that is looked at."""
    rows: Tensor
    """Their numbers, int64 [B]."""
    cards: list[dict[str, Any]]
    stored: Batch
    batch: Batch

    @property
    def task(self) -> Task:
        return self.predictor.task

    def own(self, stored: Batch) -> Batch:
        """The tensors of the input that is looked at, by part."""
        parts = self.task.inputs[self.name].parts
        return {part: stored[self.name + part] for part in parts if self.name + part in stored}

    def put(self, stored: Batch, own: Batch) -> Batch:
        return {**stored, **{self.name + part: t for part, t in own.items()}}

    def answers(self, stored: Batch) -> Outputs:
        """Of any number of stored rows, on the CPU."""
        return self.predictor.pieces(stored)[0]


def sections(predictor: Predictor, measured: Measured, again: Again, part: str) -> list[Section]:
    """Explanations of each input that knows how it is explained."""
    task, found = predictor.task, []
    names = [name for name, field in task.inputs.items() if field.explains]
    if not (task.explained() and names):
        return []
    rows = torch.tensor(to_explain(task, measured))
    made, stored, batch = cards(task, rows, again)
    for name in names:
        how = METHODS[task.inputs[name].explains]
        body = how(Asked(predictor, measured, again, name, rows, made, stored, batch))
        if body:
            base = {"bars": [], "cards": [], "how": "", "inputs": 0, "labelled": bool(task.labels), "form": ""}
            found.append(Section("Explanations", "explanations", {**base, "flat": task.inputs[name].flat, **body}))
    return found


# ---- gradients -------------------------------------------------------------------------------------------------------


def attributions(task: Task, model: Any, batch: Batch) -> dict[str, Tensor]:
    """Gradient times input (Shrikumar et al. 2016) of each row's answer, for every input of real numbers; none without gradients.

    The batch's targets are the answers that are explained.
    """
    place = parallel.device_of(model)
    batch = {name: t.detach().to(place) for name, t in batch.items()}
    names = [name + part for name, field in task.inputs.items() for part in field.takes]
    names = [name for name in names if batch[name].is_floating_point()]
    batch |= {name: batch[name].requires_grad_() for name in names}
    with parallel.evaluating(model), torch.enable_grad():
        score = task.score(model, batch)
        if not names or not score.requires_grad:
            return {}
        found = torch.autograd.grad(score.sum(), [batch[name] for name in names], allow_unused=True)
    pairs = zip(names, found, strict=True)
    return {name: (g * batch[name]).detach().cpu().nan_to_num() for name, g in pairs if g is not None}


def answered(asked: Asked, batch: Batch) -> Batch:
    """A prepared batch with the model's answers as its targets."""
    return {**batch, **asked.task.said(asked.predictor.ask(batch))}


def maps(asked: Asked) -> dict[str, Any]:
    """Heat maps: the channels' gradient times input, added up."""
    found = attributions(asked.task, asked.predictor.model, answered(asked, asked.batch)).get(asked.name)
    if found is None:
        return {}
    flat = asked.task.inputs[asked.name].flat
    heats = [heat(each[::-1].copy() if flat else each) for each in found.sum(1).numpy()]
    return {"form": "heat", "cards": [{**card, "heat": each} for card, each in zip(asked.cards, heats, strict=True)]}


def elements(asked: Asked) -> dict[str, Any]:
    """The mean size of gradient times input, per element."""
    first = min(GRADIENT_ROWS, asked.measured.count)
    batch = asked.again(torch.arange(first))[2]
    found = attributions(asked.task, asked.predictor.model, answered(asked, batch)).get(asked.name)
    if found is None or found[0].numel() < 2:
        return {}
    weight = found.abs().mean(0)
    flat = weight.reshape(-1)
    bars = [
        Bar(f"x[{', '.join(map(str, np.unravel_index(i, tuple(weight.shape))))}]", float(flat[i]))
        for i in flat.argsort(descending=True, stable=True)[:BARS].tolist()
    ]
    how = f"How much each input counts: the mean size of gradient times input over {first:,} rows"
    return {"how": how, "bars": scaled(bars), "inputs": len(flat)}


# ---- columns of a table ----------------------------------------------------------------------------------------------


def columns(asked: Asked) -> dict[str, Any]:
    """Each column's importance over the part, and what it adds in some rows."""
    if asked.measured.count < 2:
        return {}
    metric = next(iter(asked.task.metrics().values()))
    name, higher = next(iter(metric.higher.items()))
    bars, used = importance(asked, name, higher)
    how = (
        f"How much each column counts: how far the {name} {'falls' if higher else 'rises'} when the column's values are shuffled "
        f"among {used:,} rows (mean and spread of {REPEATS} times; Breiman 2001)"
    )
    found = zip(asked.cards, contributions(asked), strict=True)
    parts = [{**card, "parts": signed(bars_of, bool(asked.task.labels))} for card, bars_of in found]
    return {"how": how, "bars": scaled(bars[:BARS]), "inputs": len(bars), "form": "parts", "cards": parts}


def importance(asked: Asked, name: str, higher: bool) -> tuple[list[Bar], int]:
    """(how much worse the figure is without each column, the most important first; rows it was found on)."""
    field, task = asked.task.inputs[asked.name], asked.task
    used = min(asked.measured.count, SHUFFLED_ROWS, max(200, SHUFFLED // (field.units * REPEATS)))
    stored, _, batch = asked.again(torch.arange(used))
    own, sign = asked.own(stored), 1 if higher else -1
    metric = next(iter(task.metrics().values()))

    def worse(changed: Batch) -> float:
        prepared = task.prepare({**parallel.to_device(asked.put(stored, changed), asked.predictor.device)})
        given = {**batch, **{key: t.cpu() for key, t in prepared.items() if key.startswith(asked.name)}}
        return metric.figures(metric.rows(asked.predictor.counted(given), given))[name]

    base, bars = worse(own), []
    for unit in range(field.units):
        keep = torch.ones(used, field.units, dtype=torch.bool)
        keep[:, unit] = False
        falls = []
        for time in range(REPEATS):
            order = torch.randperm(used, generator=chance.generator(_DRAW, unit, time))
            falls.append(sign * (base - worse(field.hide(own, keep, {part: t[order] for part, t in own.items()}))))
        bars.append(Bar(field.unit_names({part: t[0].numpy() for part, t in own.items()})[unit].partition(" = ")[0],
                        float(np.mean(falls)), float(np.std(falls))))  # fmt: skip
    return sorted(bars, key=lambda bar: -bar.value), used


def contributions(asked: Asked) -> list[list[Bar]]:
    """Per explained row: what each column adds, against the values that it has in other rows, the largest first."""
    field, task = asked.task.inputs[asked.name], asked.task
    others = torch.randperm(asked.measured.count, generator=chance.generator(_DRAW))[:OTHERS]
    background = asked.own(asked.again(others)[0])
    found = []
    for i in range(len(asked.rows)):
        stored = {name: t[i : i + 1] for name, t in asked.stored.items()}
        many = {name: t.expand(len(others), *t.shape[1:]) for name, t in stored.items()}
        tried = [stored]
        for unit in range(field.units):
            keep = torch.ones(len(others), field.units, dtype=torch.bool)
            keep[:, unit] = False
            tried.append(asked.put(many, field.hide(asked.own(many), keep, background)))
        answers = asked.answers({name: torch.cat([each[name] for each in tried]) for name in stored})
        sure = task.sureness(answers, task.said({name: t[:1] for name, t in answers.items()}))
        added = sure[0] - sure[1:].view(field.units, -1).mean(1)
        names = field.unit_names({part: t[0].numpy() for part, t in asked.own(stored).items()})
        bars = [Bar(name, value) for name, value in zip(names, added.tolist(), strict=True)]
        found.append(sorted(bars, key=lambda bar: -abs(bar.value))[:COLUMNS])
    return found


# ---- words and letters -----------------------------------------------------------------------------------------------


def marks(asked: Asked) -> dict[str, Any]:
    """What each word or letter adds: the answer's log-odds (or value) with it, less those without it."""
    field, task, made = asked.task.inputs[asked.name], asked.task, []
    for i, card in enumerate(asked.cards):
        stored = {name: t[i : i + 1] for name, t in asked.stored.items()}
        own = asked.own(stored)
        names = field.unit_names({part: t[0].numpy() for part, t in own.items()})
        there = [unit for unit, name in enumerate(names) if name][:POSITIONS]
        if not there:
            continue
        keep = torch.ones(len(there) + 1, field.units, dtype=torch.bool)
        keep[torch.arange(1, len(there) + 1), torch.tensor(there)] = False
        many = {name: t.expand(len(keep), *t.shape[1:]) for name, t in stored.items()}
        answers = asked.answers(asked.put(many, field.hide(asked.own(many), keep)))
        odds = task.odds(answers, task.said({name: t[:1] for name, t in answers.items()}))
        spelled = list(zip([names[unit] for unit in there], (odds[0] - odds[1:]).tolist(), strict=True))
        if len(there) == POSITIONS < sum(map(bool, names)):
            spelled.append(("…", 0.0))
        made.append({**card, "marks": marked(spelled)})
    return {"form": "marks", "cards": made, "spaced": field.spaced} if made else {}


METHODS: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "maps": maps, "elements": elements, "columns": columns, "marks": marks,
}  # fmt: skip
"""How a field says that it is explained -> what does it."""


# ---- shared ----------------------------------------------------------------------------------------------------------


def to_explain(task: Task, measured: Measured) -> list[int]:
    """Half of them rows that are wrong (the worst), half right (or least wrong), of different classes first."""
    bad, kinds = measured.badness, task.kinds(measured)
    worst = bad.argsort(descending=True, stable=True)[: int((bad > 0).sum())]
    wrong = varied(worst[:WORST], kinds)[: EXPLAINED // 2]
    best = varied(bad.argsort(stable=True)[:LOOKED_AT], kinds)
    right = [row for row in best if row not in wrong][: EXPLAINED - len(wrong)]
    return right + wrong


def varied(order: Tensor, kinds: Tensor) -> list[int]:
    """The first row of every kind, then the others."""
    seen: dict[float, int] = {}
    for row, kind in zip(order.tolist(), kinds[order].tolist(), strict=True):
        seen.setdefault(kind, row)
    first = list(seen.values())
    return first + [row for row in order.tolist() if row not in set(first)]


def scaled(bars: list[Bar]) -> list[dict[str, Any]]:
    """Bars as a page draws them, by the largest."""
    most = max((abs(bar.value) for bar in bars), default=0.0) or 1.0
    return [
        {"name": bar.name, "share": max(0.0, bar.value) / most, "value": weight(bar.value),
         "spread": f"±{weight(bar.spread)}" if bar.spread else ""}
        for bar in bars
    ]  # fmt: skip


def weight(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else figure(value)


def marked(found: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Words with their strength in percent of the row's strongest, above 0 for the prediction."""
    most = max(abs(value) for _, value in found) or 1.0
    return [{"text": text, "strength": round(100 * value / most), "value": f"{value:+.3g}"} for text, value in found]


def signed(parts: list[Bar], shares: bool) -> list[dict[str, Any]]:
    """Bars to either side: percentage points of probability, or the target's unit."""
    most = max(abs(bar.value) for bar in parts) or 1.0
    return [{
        "name": bar.name, "share": bar.value / most,
        "value": f"{100 * bar.value:+.1f}%" if shares else f"{bar.value:+.4g}",
    } for bar in parts]  # fmt: skip
