"""Why a model says what it says: how much each part of an input counts, in the way that suits the kind of input.

Gradients where the input is a continuous field (pictures, spectrograms, plain numbers); elsewhere the model is only
asked: what becomes of its figure when a column is shuffled, of its prediction when a word is taken away.

Shape letters: B rows, H height, W width, L positions, F fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from shendu import chance, parallel
from shendu.core import Metric
from shendu.data.fields.row import _shown
from shendu.data.processors.supervised import Supervised
from shendu.data.words import KNOWN
from shendu.measure import BATCH
from shendu.recipes import device_of

if TYPE_CHECKING:
    from shendu.verbs.report import Rows

EXPLAINED, GRADIENT_ROWS, BARS = 8, 500, 20
"""Rows that are explained one by one; rows whose gradients are averaged; bars that are drawn."""
SHUFFLED, SHUFFLED_ROWS, REPEATS = 100_000, 2000, 3
"""Rows that the model sees for the importance of columns, altogether and at once, and how often each is shuffled."""
OTHERS, COLUMNS, POSITIONS, LINES = 16, 6, 200, 4
"""Rows that a column's value is replaced from, columns that are shown of a row; positions of a text or sequence; forecasts."""
LOOKED_AT = 100_000
"""Rows among which right ones of every class are looked for."""
_DRAW = 20261123


@dataclass(frozen=True)
class Bar:
    """How much something counts."""

    name: str
    value: float
    spread: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A forecast: what came before [W], what came then, what was forecast, and the season before repeated [H]."""

    history: np.ndarray
    truth: np.ndarray
    forecast: np.ndarray
    naive: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What was found out; each kind of input fills what suits it, by row number of the part where it is about rows."""

    how: str = ""
    """The sentence that says what the bars are."""
    bars: tuple[Bar, ...] = ()
    """Of all inputs, the most important first."""
    inputs: int = 0
    """How many there are."""
    maps: dict[int, np.ndarray] = field(default_factory=dict)
    """[H, W] over the picture of a row: above 0 it speaks for the prediction."""
    marks: dict[int, list[tuple[str, float]]] = field(default_factory=dict)
    """Words or letters of a row, each with what it adds to the prediction's log-odds (or value)."""
    spaced: bool = True
    """Whether marks are words; letters stand close."""
    parts: dict[int, list[Bar]] = field(default_factory=dict)
    """Columns of a row as `name = value`, with what each adds to the prediction's probability (or value)."""
    lines: dict[int, Line] = field(default_factory=dict)
    """Forecasts of some rows."""


def explain(model: nn.Module, rows: Rows, metrics: dict[str, Callable[[], Metric]]) -> Explanation:
    """What suits the kind of the run's input column; an empty Explanation where nothing does."""
    known = EXPLAIN.get(type(rows.processor.input).__name__)
    return known(model, rows, metrics) if known else Explanation()


# ---- gradients -------------------------------------------------------------------------------------------------------


def attributions(model: nn.Module, processor: Supervised, x: Tensor) -> Tensor | None:
    """Gradient times input (Shrikumar et al. 2016) of each row's predicted output, in x's shape; None without gradients."""
    x = x.detach().to(device_of(model)).requires_grad_()
    with parallel.evaluating(model), torch.enable_grad():
        outputs = processor.call(model, {"x": x}).float()
        predicted = outputs.amax(1) if processor.labels else outputs
        if not predicted.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(predicted.sum(), x, allow_unused=True)
    return None if gradient is None else (gradient * x).detach().cpu().nan_to_num()


def pictures(model: nn.Module, rows: Rows, metrics: Any) -> Explanation:
    """Heat maps: the channels' gradient times input, added up."""
    return Explanation(maps=_maps(model, rows))


def recordings(model: nn.Module, rows: Rows, metrics: Any) -> Explanation:
    """Heat maps over the spectrogram, low frequencies below."""
    return Explanation(maps={row: found[::-1].copy() for row, found in _maps(model, rows).items()})


def _maps(model: nn.Module, rows: Rows) -> dict[int, np.ndarray]:
    picked = to_explain(rows)
    found = attributions(model, rows.processor, rows.inputs(picked))
    return {} if found is None else dict(zip(picked, found.sum(1).numpy(), strict=True))


def numbers(model: nn.Module, rows: Rows, metrics: Any) -> Explanation:
    """The mean size of gradient times input, per element."""
    first = min(GRADIENT_ROWS, len(rows.outputs))
    found = attributions(model, rows.processor, rows.source.batch(0, first, None)["x"])
    if found is None or found[0].numel() < 2:
        return Explanation()
    weight = found.abs().mean(0).reshape(-1)
    shape = rows.processor.shape
    bars = [
        Bar(f"x[{', '.join(map(str, np.unravel_index(i, shape)))}]", float(weight[i]))
        for i in weight.argsort(descending=True, stable=True)[:BARS].tolist()
    ]
    how = f"How much each input counts: the mean size of gradient times input over {first:,} rows"
    return Explanation(how=how, bars=tuple(bars), inputs=len(weight))


# ---- columns of a table ----------------------------------------------------------------------------------------------


def columns(model: nn.Module, rows: Rows, metrics: dict[str, Callable[[], Metric]]) -> Explanation:
    """Each column's importance over the part, and what it adds in some rows."""
    column: Any = rows.processor.input
    if len(rows.outputs) < 2:
        return Explanation()
    name, build = next(iter(metrics.items()))
    bars, used = importance(model, rows, build)
    worse = "falls" if build().higher else "rises"
    how = (
        f"How much each column counts: how far the {name} {worse} when the column's values are shuffled among "
        f"{used:,} rows (mean and spread of {REPEATS} times; Breiman 2001)"
    )
    return Explanation(how=how, bars=bars[:BARS], inputs=len(column.columns), parts=contributions(model, rows))


def importance(model: nn.Module, rows: Rows, build: Callable[[], Metric]) -> tuple[tuple[Bar, ...], int]:
    """(how much worse the figure is without each column, the most important first; rows it was found on).

    All positions of a column are shuffled together.
    """
    column: Any = rows.processor.input
    spans = _spans(column)
    used = min(len(rows.outputs), SHUFFLED_ROWS, max(200, SHUFFLED // (len(spans) * REPEATS)))
    x, y = rows.source.batch(0, used, None)["x"], rows.targets[:used]
    sign = 1 if build().higher else -1

    def figure(given: Tensor) -> float:
        metric = build()
        metric.update(outputs_of(model, rows.processor, given), {"y": y})
        return metric.compute()

    base, bars = figure(x), []
    for number, (name, span) in enumerate(spans):
        worse = []
        for time in range(REPEATS):
            order = torch.randperm(used, generator=chance.generator(_DRAW, number, time))
            worse.append(sign * (base - figure(_replaced(x, span, x[order][:, span]))))
        bars.append(Bar(name, float(np.mean(worse)), float(np.std(worse))))
    return tuple(sorted(bars, key=lambda bar: -bar.value)), used


def contributions(model: nn.Module, rows: Rows) -> dict[int, list[Bar]]:
    """Per explained row: what each column adds, against the values that it has in other rows, the largest first."""
    column: Any = rows.processor.input
    spans = _spans(column)
    others = torch.randperm(len(rows.outputs), generator=chance.generator(_DRAW))[:OTHERS].tolist()
    background = rows.inputs(others)
    found = {}
    for row in to_explain(rows):
        x = rows.inputs([row])
        many = x.expand(len(background), -1)
        tried = torch.cat([x, *(_replaced(many, span, background[:, span]) for _, span in spans)])
        said = _sureness(outputs_of(model, rows.processor, tried), rows, row)
        added = said[0] - said[1:].view(len(spans), -1).mean(1)
        stored = rows.source.stored(row, 1)["x"][0].cpu().numpy()
        placed = zip(column.columns, spans, added.tolist(), strict=True)
        bars = [Bar(f"{name} = {_shown(field, stored[span])}", value) for field, (name, span), value in placed]
        found[row] = sorted(bars, key=lambda bar: -abs(bar.value))[:COLUMNS]
    return found


def _spans(column: Any) -> list[tuple[str, slice]]:
    placed = zip(column.columns, column.starts, strict=True)
    return [(f.name, slice(start, start + f.width)) for f, start in placed]


def _replaced(x: Tensor, span: slice, values: Tensor) -> Tensor:
    copied = x.clone()
    copied[:, span] = values
    return copied


# ---- words and letters -----------------------------------------------------------------------------------------------


def words(model: nn.Module, rows: Rows, metrics: Any) -> Explanation:
    """What each word adds: the prediction's log-odds with it, less those without it."""
    names: tuple[str, ...] = rows.processor.input.names  # type: ignore[attr-defined]
    return Explanation(marks=occluded(model, rows, lambda code: names[code - KNOWN] if code >= KNOWN else "…"))


def letters(model: nn.Module, rows: Rows, metrics: Any) -> Explanation:
    """What each letter adds."""
    symbols: str = rows.processor.input.symbols  # type: ignore[attr-defined]
    return Explanation(marks=occluded(model, rows, lambda code: symbols[code - 1]), spaced=False)


def occluded(model: nn.Module, rows: Rows, written: Callable[[int], str]) -> dict[int, list[tuple[str, float]]]:
    """Per explained row: its words or letters, each with what is lost when it alone is taken away (code 0)."""
    found = {}
    for row in to_explain(rows):
        stored = rows.source.stored(row, 1)["x"]
        there = stored[0].nonzero().view(-1)[:POSITIONS]
        if not len(there):
            continue
        tried = stored.repeat(len(there) + 1, 1)
        tried[torch.arange(1, len(there) + 1), there] = 0
        x = rows.processor.prepare({"x": tried})["x"]
        said = _odds(outputs_of(model, rows.processor, x), rows, row)
        spelled = [written(code) for code in stored[0, there].tolist()]
        found[row] = list(zip(spelled, (said[0] - said[1:]).tolist(), strict=True))
        if len(there) == POSITIONS < len(stored[0].nonzero()):
            found[row].append(("…", 0.0))
    return found


# ---- series ----------------------------------------------------------------------------------------------------------


def forecasts(model: nn.Module, rows: Rows, metrics: Any) -> Explanation:
    """The last forecast of the part, its first, and the two that are furthest off."""
    column: Any = rows.processor.input
    last = len(rows.outputs) - 1
    picked = list(dict.fromkeys([0, last, *rows.worst]))[:LINES]
    found = {}
    for row in sorted(picked):
        history = rows.source.stored(row, 1)["x"][0].cpu().numpy()
        truth, said = (t[row].reshape(-1).numpy() for t in (rows.targets, rows.outputs))
        naive = np.resize(history[-column.season :], len(truth))
        found[row] = Line(history=history, truth=truth, forecast=said, naive=naive)
    return Explanation(lines=found)


# ---- shared ----------------------------------------------------------------------------------------------------------


def outputs_of(model: nn.Module, processor: Supervised, x: Tensor) -> Tensor:
    """Outputs for prepared inputs, some hundred at a time, on the processor's side."""
    device = device_of(model)
    with parallel.evaluating(model):
        parts = [processor.call(model, {"x": part.to(device)}).float().cpu() for part in x.split(BATCH)]
    return torch.cat(parts)


def _sureness(outputs: Tensor, rows: Rows, row: int) -> Tensor:
    """[B]: the probability of the class that is predicted for a row, or the value."""
    if not rows.processor.labels:
        return outputs.reshape(len(outputs), -1).mean(1)
    return outputs.softmax(1)[:, int(rows.predicted[row])]


def _odds(outputs: Tensor, rows: Rows, row: int) -> Tensor:
    """[B]: the log-odds of the class that is predicted for a row, or the value."""
    if not rows.processor.labels:
        return outputs.reshape(len(outputs), -1).mean(1)
    chosen = int(rows.predicted[row])
    others = torch.cat([outputs[:, :chosen], outputs[:, chosen + 1 :]], 1)
    return outputs[:, chosen] - others.logsumexp(1)


def to_explain(rows: Rows) -> list[int]:
    """Half of them rows that are wrong (the worst), half right (or least wrong), of different classes first."""
    best = rows.badness.argsort(stable=True)[:LOOKED_AT].tolist()
    wrong = varied(rows, rows.worst[:500])[: EXPLAINED // 2]
    right = [row for row in varied(rows, best) if row not in wrong][: EXPLAINED - len(wrong)]
    return right + wrong


def varied(rows: Rows, order: list[int]) -> list[int]:
    """The first row of every class, then the others."""
    if not rows.processor.labels:
        return order
    seen: dict[int, int] = {}
    for row in order:
        seen.setdefault(int(rows.targets[row]), row)
    first = list(seen.values())
    return first + [row for row in order if row not in set(first)]


EXPLAIN: dict[str, Callable[[nn.Module, Rows, dict[str, Callable[[], Metric]]], Explanation]] = {
    "Image": pictures,
    "Number": numbers,
    "Row": columns,
    "Text": words,
    "Audio": recordings,
    "Series": forecasts,
    "Sequence": letters,
}
"""Kind of the input column -> how it is explained."""
