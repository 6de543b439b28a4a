"""compare: finished runs beside each other: the figure, parameters, multiply-adds and speed of each, as a table and a plot."""

from __future__ import annotations

import contextlib
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import shendu
from shendu import draw, parallel
from shendu.errors import UserError
from shendu.options import AS_JSON, OPENS, echo, emit, table
from shendu.pages import drawing
from shendu.pages.templates import filled
from shendu.run import write_text, writing
from shendu.saved import Saved
from shendu.tasks import Task

ORDER = 140
PUBLIC = ("compare",)
PARTS = ("test", "validation", "train")
MOST_ROWS, PASS, SPENT, PASSES = 64, 0.25, 1.0, 3
"""Rows of a timed batch, seconds that it should take, seconds that all passes should, and how many passes at least."""
KINDS = (".html", ".png", ".svg")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One run in a comparison."""

    run: str
    label: str
    """The system, with the choices that tell it from other runs of that system."""
    system: str
    data: str
    figure: float
    interval: list[float] | None
    parameters: int
    multiply_adds: int
    """Of one row's way forward: products of matrices and convolutions, half of what is often called FLOPs."""
    training_per_second: float
    """Rows, while it was trained."""
    inference_per_second: float
    """Rows, forward only, measured now on this machine's CPU."""
    seconds: float
    device: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs beside each other, in the order they were given."""

    metric: str
    part: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "part": self.part,
            "runs": [asdict(line) for line in self.lines],
            "notes": list(self.notes),
        }

    def table(self) -> list[list[str]]:
        """A head and one row of cells per run."""
        head = ["run", self.metric, "parameters", "multiply-adds", "rows/s training", "rows/s inference", "seconds"]
        return [head, *([line.label, *cells(line)] for line in self.lines)]

    def write(self, path: str | Path) -> Path:
        """Writes the page, or as the name ends the plot alone (.png, .svg); raises UserError where it cannot."""
        target = Path(path)
        if target.suffix not in KINDS:
            raise UserError(f"a comparison is written as {', '.join(KINDS)}; write it like --out compare.html")
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix == ".html":
                write_text(target, page(self))
            else:
                draw.save(plot(self), target)
        return target


def compare(*runs: Saved | str | Path) -> Comparison:
    """The figures of finished runs on one part, with what each costs; speeds are measured one after the other, now.

    Unfinished ones are left out, and named in the notes. Raises UserError where none is finished, and for runs without a common part
    or metric.
    """
    if not runs:
        raise UserError("compare needs runs: shendu compare RUN RUN …; `shendu runs` lists those under runs/")
    given = [Saved.of(run) for run in runs]
    opened = [run for run in given if run.result is not None]
    unfinished = [run for run in given if run.result is None]
    if not opened:
        raise unfinished[0].unfinished()
    results = [run.result for run in opened]
    part, metric = common(opened, results)
    names = labels(opened)
    lines = tuple(
        line_of(run, result, name, part, metric) for run, result, name in zip(opened, results, names, strict=True)
    )
    return Comparison(metric=metric, part=part, lines=lines, notes=(*notes(opened, results), *left_out(unfinished)))


def left_out(unfinished: list[Saved]) -> list[str]:
    return [f"left out, since it is not finished: {run.path} (continue it with: {run.continued})" for run in unfinished]


def common(runs: Sequence[Saved], results: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The part that all runs were measured on, and the first figure of the first run that all have there."""
    first = results[0]["metrics"]
    for run, result in zip(runs, results, strict=True):
        has = result["metrics"]
        if not any(metric in has.get(part, {}) for part in first for metric in first[part]):
            raise UserError(f"{run.path} and {runs[0].path} have no figure in common; compare runs of one task")
    for part in PARTS:
        for metric in first.get(part, {}):
            if all(metric in result["metrics"].get(part, {}) for result in results):
                return part, metric
    raise UserError("the runs have no figure that all share; compare runs of one task")


def line_of(run: Saved, result: dict[str, Any], label: str, part: str, metric: str) -> Line:
    return Line(
        run=str(run.path), label=label, system=result["system"], data=result["data"], figure=result["metrics"][part][metric],
        interval=result["intervals"].get(part, {}).get(metric), parameters=result["parameters"],
        multiply_adds=multiply_adds(run.model, run.task), training_per_second=result["samples_per_second"],
        inference_per_second=round(speed(run.model, run.task), 1), seconds=result["seconds"], device=result["device"],
        precision=result["precision"],
    )  # fmt: skip


def labels(runs: Sequence[Saved]) -> list[str]:
    """Each run's system, with the choices in which runs of that system differ; the folder's name where these are alike."""
    made = [run.recipe for run in runs]
    found = []
    for recipe in made:
        peers = [other["choices"] for other in made if other["system"] == recipe["system"]]
        differing = [
            key for key in dict.fromkeys(k for c in peers for k in c) if len({str(c.get(key)) for c in peers}) > 1
        ]
        said = [f"{key}={brief(recipe['choices'][key])}" for key in differing if key in recipe["choices"]]
        found.append(" ".join([recipe["system"], *said]))
    double = Counter(found)
    return [f"{name} ({run.path.name})" if double[name] > 1 else name for name, run in zip(found, runs, strict=True)]


def brief(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def notes(runs: Sequence[Saved], results: Sequence[dict[str, Any]]) -> Iterable[str]:
    """What keeps the lines from being like with like."""
    sets = dict.fromkeys((run.recipe["data"]["name"], run.recipe["data"]["hash"]) for run in runs)
    if len(sets) > 1:
        names = dict.fromkeys(name for name, _ in sets)
        what = (
            f"different data ({', '.join(names)})" if len(names) > 1 else f"different versions of {next(iter(names))}"
        )
        yield f"the runs are of {what}, so their figures are not of one kind"
    for name in ("device", "precision"):
        kinds = dict.fromkeys(str(result[name]) for result in results)
        if len(kinds) > 1:
            yield f"they were trained with another {name} each ({', '.join(kinds)}), so their training speeds are not of one kind"


# ---- what a network costs --------------------------------------------------------------------------------------------


def multiply_adds(model: nn.Module, task: Task) -> int:
    """Multiply-adds of one row's way forward; counted where a matrix is multiplied or a convolution computed, and only there."""
    batch, counter = task.prepare(task.example(1)), FlopCounterMode(display=False)
    with parallel.evaluating(model), unfused(), counter:
        task.outputs(model, batch)
    return counter.get_total_flops() // 2


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Recurrent layers and attention as the products that they are made of: fused ones would not be counted."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")  # the switch also sets what only other CPUs have, and warns of it
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def speed(model: nn.Module, task: Task) -> float:
    """Rows per second, forward only, in fp32 on this machine's CPU: the median of some passes of a batch."""
    with parallel.evaluating(model):
        one = task.prepare(task.example(1))
        passed(model, task, one)
        size = int(min(MOST_ROWS, max(1, PASS / passed(model, task, one))))
        batch = task.prepare(task.example(size))
        times = [passed(model, task, batch)]
        while len(times) < PASSES or sum(times) < SPENT:
            times.append(passed(model, task, batch))
    return size / statistics.median(times)


def passed(model: nn.Module, task: Task, batch: Any) -> float:
    began = time.perf_counter()
    task.outputs(model, batch)
    return max(time.perf_counter() - began, 1e-9)


# ---- for the eye -----------------------------------------------------------------------------------------------------


def cells(line: Line) -> list[str]:
    """A line's figures as words."""
    return [
        f"{line.figure:.4f}", f"{line.parameters:,}", short(line.multiply_adds), f"{line.training_per_second:,.0f}",
        f"{line.inference_per_second:,.0f}", f"{line.seconds:,.1f}",
    ]  # fmt: skip


def short(value: float) -> str:
    """1,234,567 -> 1.23M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def page(found: Comparison) -> str:
    """One file that needs no network."""
    head, *rows = found.table()
    svg = drawing.svg(plot(found, drawing.INK, drawing.LINE, drawing.MAIN), "compare")
    return filled(
        "compare.html", {"found": found, "head": head, "rows": rows, "svg": svg, "version": shendu.__version__}
    )


@matplotlib.rc_context(draw.STYLE)
def plot(found: Comparison, ink: str = "#333333", line: str = "#e6e6e6", dot: str = draw.INK[0]) -> Figure:
    """The figure against the multiply-adds, one dot a run with its name where no other name or dot is."""
    figure = Figure(figsize=(6.4, 4.0))
    figure.set_layout_engine("none")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.11, 0.13, 0.86, 0.79))
    across = [max(1, each.multiply_adds) for each in found.lines]
    up = [each.figure for each in found.lines]
    for x, each in zip(across, found.lines, strict=True):
        if each.interval:
            axes.plot([x, x], each.interval, color=dot, linewidth=1, alpha=0.45, solid_capstyle="butt")
    axes.plot(across, up, "o", color=dot, markersize=5.5, markeredgewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(min(across) / 2.2, max(across) * 2.2)
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(across) < 100 * min(across) else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("multiply-adds of one row, forward", color=ink)
    axes.set_title(f"{found.metric} ({found.part})", color=ink, loc="left")
    axes.tick_params(colors=ink, length=0, which="both")
    axes.grid(color=line)
    axes.spines[["left", "bottom"]].set_color(line)
    name_dots(axes, canvas, across, up, [each.label for each in found.lines], ink)
    return figure


Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""
Spot = tuple[int, tuple[float, float]]
"""Distance and direction."""
AROUND = ((1, 0), (-1, 0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7), (0, 1), (0, -1))
"""Directions from a dot in which its name is tried."""
AWAY = (7, 13, 21, 31, 43, 57, 75, 95, 120)
"""And distances, in points; from the second on a line leads from the name to its dot."""
NAME = 8
"""Size of a name, in points."""


def name_dots(
    axes: Axes, canvas: FigureCanvasAgg, across: Sequence[float], up: Sequence[float], names: Sequence[str], ink: str
) -> None:
    """Puts each name at the nearest place around its dot where it covers no dot and no other name, inside of the axes."""
    canvas.draw()
    window, unit = axes.get_window_extent(), canvas.figure.dpi / 72
    frame = (window.x0, window.y0, window.x1, window.y1)
    dots = [(float(x), float(y)) for x, y in axes.transData.transform(list(zip(across, up, strict=True)))]
    taken = [square(dot, 4 * unit) for dot in dots]
    for i in sorted(range(len(names)), key=lambda i: (-up[i], across[i])):
        size = extent(axes, canvas, names[i])
        costs: dict[Spot, float] = {}
        for spot in ((far, way) for far in AWAY for way in AROUND):
            costs[spot] = cost(place(dots[i], size, spot, unit), taken, frame)
            if not costs[spot]:
                break
        far, (right, above) = best = min(costs, key=lambda spot: costs[spot])
        taken += place(dots[i], size, best, unit)
        line = {"arrowstyle": "-", "color": ink, "linewidth": 0.5, "alpha": 0.5, "shrinkA": 1, "shrinkB": 3}
        axes.annotate(
            names[i], (across[i], up[i]), (far * right, far * above), textcoords="offset points", color=ink, fontsize=NAME,
            ha="center" if not right else "left" if right > 0 else "right",
            va="center" if not above else "bottom" if above > 0 else "top",
            arrowprops=line if far > AWAY[0] else None,
        )  # fmt: skip


def cost(boxes: Sequence[Box], taken: Sequence[Box], frame: Box) -> float:
    """What boxes cover of others, and what of the first, the name, is outside of the frame; 0 where all is well."""
    outside = area(boxes[0]) - shared(boxes[0], frame)
    return (4 * outside if outside > 1e-3 else 0.0) + sum(shared(mine, other) for mine in boxes for other in taken)


def extent(axes: Axes, canvas: FigureCanvasAgg, name: str) -> tuple[float, float]:
    """Width and height of a name, in pixels."""
    probe = axes.text(0, 0, name, fontsize=NAME, transform=None)
    box = probe.get_window_extent(canvas.get_renderer())
    probe.remove()
    return float(box.width), float(box.height)


def place(dot: tuple[float, float], size: tuple[float, float], spot: Spot, unit: float) -> list[Box]:
    """Where a name lies that is so far from its dot in a direction, then small boxes along the line that leads to it."""
    far, way = spot
    low = [
        centre + far * step * unit - (0.5 if not step else 0.0 if step > 0 else 1.0) * long
        for centre, step, long in zip(dot, way, size, strict=True)
    ]
    box = (low[0], low[1], low[0] + size[0], low[1] + size[1])
    if far == AWAY[0]:
        return [box]
    middle = [(box[k] + box[k + 2]) / 2 for k in (0, 1)]
    count = 2 + int(max(abs(a - b) for a, b in zip(dot, middle, strict=True)) / 3)
    line = [[a + k / count * (b - a) for a, b in zip(dot, middle, strict=True)] for k in range(1, count)]
    lead = [square((x, y), 1.0) for x, y in line if abs(x - dot[0]) + abs(y - dot[1]) > 6 * unit]
    return [box, *(small for small in lead if not shared(small, box))]


def square(centre: tuple[float, float], reach: float) -> Box:
    x, y = centre
    return x - reach, y - reach, x + reach, y + reach


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def shared(one: Box, other: Box) -> float:
    """The area that two boxes have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", metavar="FILE", help="Also write a page (.html), or the plot alone (.png, .svg).")
@AS_JSON
@OPENS
def command(runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """RUNS beside each other: first figure, parameters, multiply-adds, speeds.

    \b
    shendu compare runs/*_cifar10_* --out compare.html
    """
    found = compare(*runs)
    page = found.write(out) if out else None
    if as_json:
        return emit(found.to_json())
    table(found.table())
    for line in (*found.notes, *([page] if page else [])):
        echo(line)
    return None
