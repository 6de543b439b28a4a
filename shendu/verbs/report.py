"""report: one page for the eye about a finished run: its curves, what it confuses, its worst mistakes and why."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import jinja2
import numpy as np
import torch
from markupsafe import Markup
from PIL import Image as Picture
from torch import Tensor, nn

from shendu import parallel, registry
from shendu.core import Draws, Metric, Recipe, Source, Steps, Views
from shendu.data.columns import Image as ImageColumn
from shendu.data.embedding import Embedding
from shendu.data.language import Language
from shendu.data.processor import Supervised
from shendu.data.translation import PADDING, Translates, Translation
from shendu.data.unlabelled import Unlabelled
from shendu.errors import UserError
from shendu.measure import Outputs, measure
from shendu.metrics import Curve, compared, equal_error, roc
from shendu.nn.generate import generate
from shendu.run import Folder, write_text
from shendu.sources.static import Static
from shendu.verbs import alignment
from shendu.verbs.evaluate import _of_run
from shendu.verbs.explanation import Bar, Line, explain
from shendu.verbs.opened import Run
from shendu.verbs.sample import frames, grid, labels_of, last

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = dict[str, Callable[[], Metric]]

PARTS = {"test": "Test", "validation": "Validation", "train": "Training"}
MATRIX_CLASSES, PAIRS, CLASS_ROWS = 30, 20, 200
"""Up to how many classes the confusion matrix is drawn, how many confused pairs are listed instead, classes in a table."""
ALIGNED = 4
"""Sentences whose alignment is drawn."""
MISTAKES, MISTAKES_TOLD, SHOWN = 24, 12, 64
"""Rows that are shown as pictures, and as text; pictures of a gallery."""
BINS, POINTS, DOTS, SIDE = 15, 300, 800, 96
"""Bins of the calibration curve; points of a curve; dots of a scatter plot; the longer side of a picture in pixels."""
PROMPT, WRITTEN, WARMTH, PASSAGES = 48, 240, 0.8, 8
"""Tokens that a language model is given and that it writes on, its temperature; passages that are listed."""
ASKED, NEAREST = 12, 8
"""Rows whose nearest are shown, and how many of these."""
TITLES = {"rmse": "RMSE", "mae": "MAE", "r2": "R²", "auc": "AUC", "mase": "MASE", "smape": "sMAPE",
          "bits-per-character": "bits per character", "bleu": "BLEU"}  # fmt: skip
PERCENT = ("accuracy", "error-rate", "one-shot-accuracy", "equal-error-rate", "true-accept-rate", "rank-1")
"""Figures that are shares of something."""
LOGGED = ("stage", "step", "total", "seconds", "samples")
"""Entries of a line of metrics.jsonl that are no curve."""
INK, LINE, MAIN, SECOND = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
"""Stand-ins that a drawing's colours are named by; the page's style gives them their value, in light and in dark."""
COLOURS = {INK: "var(--quiet)", LINE: "var(--line)", MAIN: "var(--main)", SECOND: "var(--warm)"}


def report(run: Run | str | Path, *, data_dir: str | Path | None = None) -> Path:
    """Writes the report of a finished run anew from its data, and returns its path.

    Raises UserError for what is no finished run, and for data that is missing or has changed.
    """
    from shendu.verbs.train import TRAIN_FIGURE_ROWS  # train writes reports, so it imports this module

    opened = run if isinstance(run, Run) else Run(run)
    if opened.result is None:
        raise opened.unfinished()
    made, dataset = opened.recipe, _of_run(opened, data_dir)
    if dataset.hash != made["data"]["hash"]:
        raise UserError(f"{dataset.name} has changed since {opened.path} was trained on it; restore it, or train anew")
    recipe = registry.load(made["system"]).recipe(dataset, **made["choices"])
    part = next(part for part in PARTS if part in recipe.splits)
    device, shown = parallel.choose_device(), Outputs()
    model = parallel.place(opened.model, device)
    most = TRAIN_FIGURE_ROWS if part == "train" else 0
    precision = opened.result["precision"]
    measure(model, recipe.processor, recipe.splits[part], {"outputs": lambda: shown}, device, precision, most)
    return write(opened.folder, recipe, model, shown, part)


def write(folder: Folder, recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> Path:
    """Writes report.html from the outputs that were gathered on a part, and returns its path.

    `shown` holds the outputs of the part's first rows, in order: logits [B, classes] or values [B, ...].
    """
    made, result = folder.read("recipe.json"), folder.read("result.json")
    history = folder.history()
    page = {
        "made": made, "result": result, "sure": result.get("intervals", {}), "part": part, "parts": PARTS,
        "summary": registry.entry(made["system"]).summary,
        "figures": list(dict.fromkeys(name for figures in result["metrics"].values() for name in figures)),
        "curves": curves(history, made, recipe), "command": command(made), "environment": folder.read("env.json") or {},
        "notes": [*made["data"].get("notes", ()), *recipe.notes], "selection": selection(history, made, recipe.metrics),
        "tiles": [headline(result, part), *tiles(recipe.splits[part].rows, made, result, part)],
        **WRITERS[type(recipe.processor)](recipe, model, shown, part),
    }  # fmt: skip
    path = folder.path / "report.html"
    write_text(path, template().render(page))
    return path


def of_supervised(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> dict[str, Any]:
    """What a page shows of a learned target: confusions or residuals, the worst mistakes, explanations."""
    processor, source = recipe.processor, recipe.splits[part]
    assert isinstance(processor, Supervised)
    assert isinstance(source, Static)
    rows = Rows(processor, source, torch.cat(shown.outputs).float(), torch.cat(shown.targets))
    return {
        "supervised": True, "rows": len(rows.outputs), "labelled": bool(processor.labels),
        **(of_classes(rows) if processor.labels else of_numbers(rows)),
        "mistakes": [rows.card(row) for row in rows.worst[: MISTAKES if rows.pictured else MISTAKES_TOLD]],
        "wrong": int((rows.badness > 0).sum()),
        "pictured": rows.pictured, **explanations(model, rows, recipe.metrics),
    }  # fmt: skip


def of_unlabelled(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> dict[str, Any]:
    """What a page shows of a model without a target: what it draws, its views, the rows that suit it least and most."""
    processor, source = recipe.processor, recipe.splits[part]
    assert isinstance(processor, Unlabelled)
    assert isinstance(source, Static)
    name = processor.judged or next(iter(processor.scores))
    scores = torch.cat(shown.outputs).float().reshape(-1, len(processor.scores))[:, list(processor.scores).index(name)]
    order = scores.argsort(descending=not processor.scores[name]).tolist()
    if not isinstance(processor.input, ImageColumn):
        lines = [f"{figure(float(scores[row])):>8}  {shown_as_text(processor, source, row)}" for row in order[:SHOWN]]
        note = f"rows of the {PARTS[part].lower()} part after their {name}"
        odd = {"title": "Suit the model least", "note": note, "text": "\n".join(lines)}
        return {"supervised": False, "rows": source.rows, "galleries": [odd]}
    galleries = []

    def add(title: str, note: str, pixels: np.ndarray) -> None:
        galleries.append({"title": title, "note": note, "picture": data_uri(grid(pixels))})

    few = source.batch(0, min(SHOWN, source.rows), None)["x"]
    with parallel.evaluating(model):
        place = next(iter(model.parameters()), few).device
        if isinstance(model, Draws):
            frame = last(frames(model, SHOWN, labels_of(processor, SHOWN, None), recipe.seed, {}))
            add("Drawn", "new rows, drawn by the model", processor.pixels(frame))
        for title, pictures in (model.views(few.to(place)) if isinstance(model, Views) else {}).items():
            add(title, "", processor.pixels(pictures.float().cpu()))
    for title, rows in (("Suit the model least", order[:SHOWN]), ("Suit it most", order[::-1][:SHOWN])):
        stored = torch.cat([source.stored(row, 1)["x"] for row in rows]).cpu().numpy()
        low, high = sorted((float(scores[rows[0]]), float(scores[rows[-1]])))
        add(title, f"rows of the {PARTS[part].lower()} part, {name} {figure(low)} to {figure(high)}", stored)
    return {"supervised": False, "rows": source.rows, "galleries": galleries}


def shown_as_text(processor: Unlabelled, source: Static, row: int) -> str:
    """A stored row as a line."""
    return str(processor.input.show(source.stored(row, 1)["x"][0].cpu().numpy()))


def of_language(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> dict[str, Any]:
    """What a page shows of a language model: how it goes on from the text, and the passages that it foretold worst."""
    processor, source = recipe.processor, recipe.splits[part]
    assert isinstance(processor, Language)
    galleries = []
    if isinstance(model, Steps):
        texts = continued(processor, model, source)
        note = f"Up to │ the {PARTS[part].lower()} part itself; what follows was drawn by the model, at temperature {WARMTH:g}."
        galleries.append({"title": "Written on", "note": note, "text": f"\n\n{'─' * 40}\n\n".join(texts)})
    figures = torch.cat(shown.outputs).float()
    worst = figures.argsort(descending=True)[:PASSAGES].tolist()
    passages = [
        f"{figures[row]:.2f} nats per token, window {row:,}:\n{processor.text(source.batch(row, 1, None)['x'][0])}"
        for row in worst
    ]
    galleries.append({
        "title": "Most surprising passages", "text": f"\n\n{'─' * 40}\n\n".join(passages),
        "note": f"Windows of the {PARTS[part].lower()} part whose tokens the model held for the least likely.",
    })  # fmt: skip
    return {"supervised": False, "language": True, "rows": source.rows, "galleries": galleries}


def continued(processor: Language, model: Steps, source: Source) -> list[str]:
    """The beginning of windows from three places of a part, and how the model goes on."""
    rows = sorted({number * source.rows // 3 for number in range(3)})
    begun = [source.batch(row, 1, None)["x"][0] for row in rows]
    network = cast(nn.Module, model)
    prompts = torch.stack([x[:PROMPT] for x in begun]).to(next(network.parameters()).device)
    with parallel.evaluating(network):
        drawn = list(generate(model, prompts, WRITTEN, temperature=WARMTH, never=processor.unwritten))
    written = torch.stack(drawn, 1).cpu()
    return [f"{processor.text(x)}│{processor.text(y)}" for x, y in zip(prompts.cpu(), written, strict=True)]


def of_translation(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> dict[str, Any]:
    """What a page shows of a translator: translations beside their references, and what it looked at in some of them."""
    processor, source = recipe.processor, recipe.splits[part]
    assert isinstance(processor, Translation)
    assert isinstance(model, Translates)
    outputs, targets = torch.cat(shown.outputs)[:MISTAKES_TOLD].long(), torch.cat(shown.targets)[:MISTAKES_TOLD]
    rows = source.batch(0, len(outputs), None)["x"]
    languages = processor.input.language or "source", processor.target.language or "target"
    told = [
        f"{languages[0]}  {given}\n{languages[1]}  {reference}\n→   {translation}"
        for given, reference, translation in zip(
            *(processor.texts(codes) for codes in (rows, targets, outputs)), strict=True
        )
    ]
    looked = []
    with parallel.evaluating(model):
        place = next(model.parameters()).device
        for x, y in zip(rows[:ALIGNED].split(1), outputs[:ALIGNED].split(1), strict=True):
            x, y = (codes[:, : max(1, int((codes != PADDING).sum()))] for codes in (x, y))
            weights = model.alignment(x.to(place), y.to(place))[0].float().cpu().numpy()
            looked.append((weights, processor.spelled(x[0].tolist()), processor.spelled(y[0].tolist())))
    name = PARTS[part].lower()
    note = "A row is a piece of the translation, a column one of the source; the darker, the more it was looked at."
    return {"supervised": False, "rows": source.rows, "galleries": [
        {"title": "Translations", "note": f"The first sentences of the {name} part, their references, the translations.",
         "text": "\n\n".join(told)},
        {"title": "Alignment", "note": note, "picture": data_uri(alignment.pictures(looked))},
    ]}  # fmt: skip


def of_embedding(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> dict[str, Any]:
    """What a page shows of embeddings: what each threshold accepts, and the rows that some are nearest to."""
    processor, source = recipe.processor, recipe.splits[part]
    assert isinstance(processor, Embedding)
    assert isinstance(source, Static)
    z, y = torch.cat(shown.outputs).float(), torch.cat(shown.targets)
    where, chosen, galleries = f"the {PARTS[part].lower()} part", processor.threshold, []
    curve = roc(*compared(z, y))
    if math.isfinite(error := equal_error(curve)):
        note = f"All pairs of rows of {where}; equal error {100 * error:.2f}%."
        note += f" The threshold (the dot) is a cosine of {chosen:.3f}." if chosen is not None else ""
        galleries.append({"title": "Accepted and refused", "note": note, "svg": trade(curve, chosen)})
    if isinstance(processor.input, ImageColumn) and len(z) > 1:
        note = f"Some rows of {where}, each followed by the {NEAREST} that are most similar to it: "
        note += "framed in blue those of its class, in orange those of another."
        galleries.append({"title": "Nearest", "note": note, "picture": data_uri(neighbours(source, z, y))})
    return {"supervised": False, "rows": source.rows, "galleries": galleries}


def trade(curve: Curve, threshold: float | None) -> Markup:
    """The share of one class that is accepted over the share of two that is, and where the threshold lies."""
    drawn, axes = drawing(3.4, 0.26)
    false, true = curve.false.numpy(), curve.true.numpy()
    keep = np.unique(np.linspace(0, len(false) - 1, min(len(false), 10 * POINTS)).round().astype(int))
    axes.plot(false[keep], true[keep], color=MAIN, linewidth=1.5)
    axes.plot([0, 1], [1, 0], color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    if threshold is not None:
        at = int((curve.thresholds >= threshold).sum()) - 1
        axes.plot([false[at]], [true[at]], color=SECOND, marker="o", markersize=6, linestyle="none")
    share_axis(axes.xaxis)
    share_axis(axes.yaxis)
    labelled(axes, "of two classes, accepted", "of one class, accepted")
    return svg(drawn, "roc")


def neighbours(source: Static, z: Tensor, y: Tensor) -> Picture.Image:
    """Lines of pictures: one of the part, then its nearest, framed by whether they are of its class."""
    asked = torch.linspace(0, len(z) - 1, min(ASKED, len(z))).round().long()
    similarity = z[asked] @ z.T
    similarity[torch.arange(len(asked)), asked] = -torch.inf
    near = similarity.topk(min(NEAREST, len(z) - 1), dim=1).indices
    lines = []
    for row, others in zip(asked.tolist(), near.tolist(), strict=True):
        frames = [(row, (128, 128, 128)), *((o, (29, 98, 209) if y[o] == y[row] else (208, 74, 23)) for o in others)]
        lines.append(np.concatenate([framed(source.stored(o, 1)["x"][0].cpu().numpy(), c) for o, c in frames], 1))
    return Picture.fromarray(np.concatenate(lines))


def framed(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 [H, W, C] -> [H + 8, W + 8, 3] with a frame; of other than 3 channels the first."""
    image = np.full((pixels.shape[0] + 8, pixels.shape[1] + 8, 3), 255, np.uint8)
    image[1:-1, 1:-1] = colour
    image[3:-3, 3:-3] = 255
    image[4:-4, 4:-4] = pixels if pixels.shape[-1] == 3 else pixels[..., :1]
    return image


WRITERS: dict[type, Callable[[Recipe, nn.Module, Outputs, str], dict[str, Any]]] = {
    Supervised: of_supervised,
    Unlabelled: of_unlabelled,
    Language: of_language,
    Embedding: of_embedding,
    Translation: of_translation,
}
"""Processor -> what its page shows beyond figures and curves."""


def template() -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    house = jinja2.Environment(
        loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    house.filters.update(figure=figure, plain=plain, between=between)
    return house.get_template("report.html")


# ---- figures as text -------------------------------------------------------------------------------------------------


def figure(value: float | None, name: str = "") -> str:
    """A measured figure: shares in per cent, others with four digits; a dash for what is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    if name.removeprefix("validation ") in PERCENT:
        return f"{100 * value:.2f}%"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def plain(value: Any) -> str:
    """A setting as a person would type it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def headline(result: dict[str, Any], part: str) -> dict[str, str]:
    """The task's first figure with its 95% interval."""
    name, value = next(iter(result["metrics"][part].items()))
    sure = result.get("intervals", {}).get(part, {}).get(name)
    more = f"95% interval {between(sure, name)}" if sure else "too few rows for an interval"
    return {"name": f"{PARTS[part]} {TITLES.get(name, name)}", "value": figure(value, name), "more": more}


def between(ends: list[float], name: str = "") -> str:
    """`91.0–96.2%`."""
    low, high = (figure(end, name) for end in ends)
    return f"{low.removesuffix('%')}\u2060–\u2060{high}"


def tiles(rows: int, made: dict[str, Any], result: dict[str, Any], part: str) -> list[dict[str, str]]:
    trained, compiled = made["data"]["rows"]["train"], ", compiled" if result["compiled"] else ""
    given = [
        (f"{PARTS[part]} rows", f"{rows:,}", f"trained on {trained:,}"),
        ("Parameters", f"{result['parameters']:,}", "trained weights" if result["parameters"] else "nothing is learned by gradient"),
        ("Training", duration(result["seconds"]), f"{result['steps']:,} steps"),
        ("Speed", f"{result['samples_per_second']:,.0f}", "samples per second"),
        ("Device", result["device"], f"{result['precision']}{compiled}"),
    ]  # fmt: skip
    return [{"name": name, "value": value, "more": more} for name, value, more in given]


def command(made: dict[str, Any]) -> str:
    """The line that makes this run again."""
    words = ["shendu", "train", made["system"], made["data"]["given"]]
    for name, value in made["data"].get("reading", {}).items():
        option = "--type" if name == "types" else f"--{name.replace('_', '-')}"
        given = value if isinstance(value, list) else [value] if value not in ("", 0, False, "auto") else []
        words += [word for one in given for word in ([option] if one is True else [option, str(one)])]
    for name, value in made["choices"].items():
        words += ["--set", f"{name}={plain(value)}"]
    return shlex.join(words)


def selection(history: list[dict[str, Any]], made: dict[str, Any], metrics: Metrics) -> str:
    """Which weights were kept, and why."""
    averaged = f" averaged over the steps (decay {made['ema']:g})" if made["ema"] else ""
    best = chosen(history, made["select_by"], metrics)
    if best is None:
        return f"The weights{averaged} after the last step were kept."
    name, step, value = (
        made["select_by"],
        best["total"],
        figure(best[f"validation {made['select_by']}"], made["select_by"]),
    )
    return f"Of the weights{averaged}, those with the best {name} on the validation part were kept: {value}, at step {step:,}."


def chosen(history: list[dict[str, Any]], select_by: str, metrics: Metrics) -> dict[str, Any] | None:
    """The line of the validation that decided, the first of equals; None where there was none."""
    lines = [line for line in history if line.get(f"validation {select_by}") is not None]
    if not lines or select_by not in metrics:
        return None
    sign = 1 if metrics[select_by]().higher else -1
    return max(lines, key=lambda line: sign * line[f"validation {select_by}"])


# ---- rows ------------------------------------------------------------------------------------------------------------


class Rows:
    """The measured rows of a part: outputs and targets, and how wrong each one is (0: right)."""

    def __init__(self, processor: Supervised, source: Static, outputs: Tensor, targets: Tensor) -> None:
        self.processor, self.source, self.outputs, self.targets = processor, source, outputs, targets
        self.pictured = not isinstance(processor.input.show(source.stored(0, 1)["x"][0].cpu().numpy()), str)
        if processor.labels:
            self.shares = outputs.nan_to_num().softmax(1)
            self.sureness, self.predicted = self.shares.max(1)
            self.badness = self.sureness * (self.predicted != targets)
        else:
            self.errors = (outputs.double() - targets.reshape(outputs.shape)).reshape(len(outputs), -1)
            self.badness = self.errors.square().mean(1).sqrt().nan_to_num(math.inf)
        order = self.badness.argsort(descending=True, stable=True)
        self.worst: list[int] = order[self.badness[order] > 0].tolist()

    def inputs(self, rows: Iterable[int]) -> Tensor:
        """Prepared inputs of some rows."""
        return torch.cat([self.source.batch(row, 1, None)["x"] for row in rows])

    def card(self, row: int) -> dict[str, Any]:
        """What the page shows of one row."""
        labels = self.processor.labels
        if labels:
            predicted = int(self.predicted[row])
            words = {"true": labels[int(self.targets[row])], "predicted": labels[predicted]}
            words["sure"] = f"{100 * float(self.sureness[row]):.1f}%"
        else:
            words = {"true": values(self.targets[row]), "predicted": values(self.outputs[row])}
            words["sure"] = figure(float(self.badness[row]))
        stored = self.processor.input.show(self.source.stored(row, 1)["x"][0].cpu().numpy())
        right = bool(self.badness[row] == 0)
        shown = {"input": stored} if isinstance(stored, str) else {"picture": picture(stored)}
        return {"row": row, "right": right, **words, **shown}


def values(t: Tensor) -> str:
    """The first few numbers of a row."""
    numbers = t.reshape(-1).tolist()
    return ", ".join(figure(v) for v in numbers[:6]) + (", …" if len(numbers) > 6 else "")


# ---- pictures --------------------------------------------------------------------------------------------------------


def data_uri(image: Picture.Image, **options: Any) -> str:
    out = io.BytesIO()
    image.save(out, "png", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def small(image: Picture.Image) -> Picture.Image:
    """At most SIDE pixels a side."""
    scale = SIDE / max(image.size)
    if scale >= 1:
        return image
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Picture.Resampling.BOX
    )


def picture(pixels: np.ndarray) -> str:
    """uint8 [H, W, C] -> a PNG as a data URI; of other than 3 channels the first."""
    channels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    return data_uri(small(Picture.fromarray(np.ascontiguousarray(channels))))


def heat(attribution: np.ndarray) -> str:
    """[H, W] -> a transparent PNG: red where it speaks for the prediction, blue against; 99% of pixels in full range."""
    levels = 31
    values = np.asarray(small(Picture.fromarray(attribution.astype(np.float32))))
    strength = np.clip(values / (np.percentile(np.abs(values), 99) or np.abs(values).max() or 1.0), -1, 1)
    image = Picture.fromarray((np.rint(strength * levels) + levels).astype(np.uint8)).convert("L")
    indexed = Picture.frombytes("P", image.size, image.tobytes())
    indexed.putpalette([c for i in range(2 * levels + 1) for c in ((29, 111, 224) if i < levels else (232, 78, 32))])
    return data_uri(indexed, transparency=bytes(round(255 * abs(i / levels - 1)) for i in range(2 * levels + 1)))


# ---- drawings --------------------------------------------------------------------------------------------------------


def drawing(height: float = 2.4, above: float = 0.13) -> tuple[Any, Axes]:
    """An empty figure in the page's colours, inches high and with so many above its axes, and the axes."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(4.4, height))  # fixed margins: laying them out by the labels would draw everything twice
    axes = drawn.add_axes((0.14, 0.44 / height, 0.83, 1 - (0.44 + above) / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    return drawn, axes


def labelled(axes: Axes, x: str, y: str = "") -> None:
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_title(y, color=INK, fontsize=9, loc="left", pad=3)


def svg(drawn: Any, name: str) -> Markup:
    """The figure as markup for inside the page: its fonts and colours are the page's, its ids its own."""
    import matplotlib

    drawn.patch.set_alpha(0)
    for axes in drawn.axes:
        axes.patch.set_alpha(0)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        drawn.savefig(out, format="svg")
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| (?:width|height)="[\d.]+pt"', "", text)
    text = re.sub(r'font: ([\d.]+)px [^;"]*', r"font-size: \1px", text)
    text = re.sub(r'(id="|url\(#|xlink:href="#)', rf"\g<1>{name}-", text)
    for stand_in, colour in COLOURS.items():
        text = text.replace(stand_in, colour)
    return Markup(re.sub(r"\n\s*", "\n", text))


def number_axis(axis: Any, most: int = 5) -> None:
    """At most so many ticks with short labels (2k, 1.5M): none can run into another."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda v, _: brief(v)))


def brief(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.6g}"


def share_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g}%"))


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS points: the means of equal stretches; NaN only where a whole stretch is NaN."""
    if len(x) <= POINTS:
        return x, y
    bins = np.arange(len(x)) * POINTS // len(x)
    there = np.isfinite(y)
    count = np.bincount(bins, there, minlength=POINTS)
    total = np.bincount(bins, np.where(there, y, 0.0), minlength=POINTS)
    ends = np.flatnonzero(np.diff(bins, append=POINTS))
    return x[ends], np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curves(history: list[dict[str, Any]], made: dict[str, Any], recipe: Recipe) -> list[dict[str, Any]]:
    """One drawing per logged figure over the steps: the loss, validation, the learning rate, what else was logged."""
    names = list(dict.fromkeys(name for line in history for name in line if name not in LOGGED))
    if "validation accuracy" in names and "validation error-rate" in names:
        names.remove("validation error-rate")
    rank = {"loss": 0, "lr": 2}
    names.sort(key=lambda name: 1 if name.startswith("validation ") else rank.get(name, 3))
    panels: list[dict[str, Any]] = []
    for name in names:
        lines = [line for line in history if name in line]
        x = np.array([line["total"] for line in lines], dtype=float)
        y = np.array([line[name] for line in lines], dtype=float)
        if np.isfinite(y).any():
            panels.append(curve(name, x, y, history, made, recipe, f"curve{len(panels)}"))
    return panels


def curve(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    history: list[dict[str, Any]],
    made: dict[str, Any],
    recipe: Recipe,
    key: str,
) -> dict[str, Any]:
    """One figure over the steps, with the stages set off where there are several."""
    drawn, axes = drawing()
    few = len(x) <= 40
    stage = np.array([line["stage"] for line in history if name in line])
    for number in np.unique(stage):
        steps, figures = thinned(x[stage == number], y[stage == number])
        axes.plot(steps, figures, color=MAIN, linewidth=1.5, marker="o" if few else None, markersize=3.5)
    finite = y[np.isfinite(y)]
    notes = [f"last {figure(float(finite[-1]), name)}"] if name != "lr" else [f"highest {figure(float(finite.max()))}"]
    best = chosen(history, made["select_by"], recipe.metrics)
    if best is not None and name == f"validation {made['select_by']}":
        axes.plot([best["total"]], [best[name]], color=SECOND, marker="o", markersize=6, linestyle="none")
        notes = [f"best {figure(best[name], name)}"]
    last = max(line["total"] for line in history)
    axes.set_xlim(-0.015 * last, 1.015 * last)
    number_axis(axes.xaxis)
    if name.removeprefix("validation ") in ("accuracy", "error-rate"):
        share_axis(axes.yaxis)
    elif name == "loss" and finite.min() > 0 and finite.max() > 50 * finite.min():
        from matplotlib.ticker import FuncFormatter, NullFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
        notes.append("log scale")
    else:
        number_axis(axes.yaxis)
    if name == "lr":
        axes.set_ylim(0, 1.08 * finite.max() or 1)
    stages_apart(axes, history, made)
    labelled(axes, "step")
    titles = {
        "loss": "Training loss",
        "lr": "Learning rate",
        **{f"validation {k}": f"Validation {v}" for k, v in TITLES.items()},
    }
    title = titles.get(name, name[:1].upper() + name[1:])
    return {"title": title, "note": ", ".join(notes), "svg": svg(drawn, key)}


def stages_apart(axes: Axes, history: list[dict[str, Any]], made: dict[str, Any]) -> None:
    """Every other stage shaded, and its name written in where there is room."""
    reached: dict[int, int] = {}
    for line in history:
        reached[line["stage"]] = max(line["total"], reached.get(line["stage"], 0))
    if len(reached) < 2:
        return
    begin, whole = 0, max(reached.values())
    for i, (number, end) in enumerate(sorted(reached.items())):
        if i % 2:
            axes.axvspan(begin, end, color=LINE, alpha=0.45, linewidth=0)
        label = made["stages"][number]["name"] if number < len(made["stages"]) else str(number)
        if (end - begin) / whole > 0.018 * len(label) + 0.02:
            axes.annotate(label, ((begin + end) / 2, 1.02), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                          fontsize=8, color=INK, annotation_clip=False)  # fmt: skip
        begin = end


# ---- classes ---------------------------------------------------------------------------------------------------------


def of_classes(rows: Rows) -> dict[str, Any]:
    """Confusions, the figures of each class, and the calibration."""
    labels, true, predicted = rows.processor.labels, rows.targets, rows.predicted
    count = partial(torch.bincount, minlength=len(labels))
    support, claimed, hits = count(true), count(predicted), count(true[true == predicted])
    recall, precision = hits / support.clamp(min=1), hits / claimed.clamp(min=1)
    f1 = 2 * hits / (support + claimed).clamp(min=1)
    order = list(range(len(labels))) if len(labels) <= MATRIX_CLASSES else f1.argsort(stable=True).tolist()
    order = [k for k in order if support[k] or claimed[k]]
    table = [{
        "name": labels[k], "precision": float(precision[k]) if claimed[k] else None,
        "recall": float(recall[k]) if support[k] else None, "f1": float(f1[k]), "rows": int(support[k]),
    } for k in order[:CLASS_ROWS]]  # fmt: skip
    return {
        "classes": labels, "table": table, "macro": float(f1[order].mean()), "many": len(labels) > MATRIX_CLASSES,
        "unlisted": max(0, len(order) - CLASS_ROWS),
        "matrix": matrix(rows) if len(labels) <= MATRIX_CLASSES else [], "pairs": pairs(rows, support),
        "calibration": calibration(rows),
    }  # fmt: skip


def matrix(rows: Rows) -> list[list[tuple[int, float]]]:
    """Per true class, per predicted class: the count, and its share of the true class's rows."""
    classes = len(rows.processor.labels)
    counts = torch.bincount(rows.targets * classes + rows.predicted, minlength=classes**2).view(classes, classes)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return [list(zip(c, s, strict=True)) for c, s in zip(counts.tolist(), shares.tolist(), strict=True)]


def pairs(rows: Rows, support: Tensor) -> list[dict[str, Any]]:
    """The most frequent confusions, as (true, taken for, how often, share of the true class's rows)."""
    labels, wrong = rows.processor.labels, rows.badness > 0
    codes, counts = torch.unique(rows.targets[wrong] * len(labels) + rows.predicted[wrong], return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:PAIRS]
    found = []
    for code, times in zip(codes[order].tolist(), counts[order].tolist(), strict=True):
        true, predicted = divmod(code, len(labels))
        found.append(
            {"true": labels[true], "predicted": labels[predicted], "times": times, "share": times / int(support[true])}
        )
    return found


def calibration(rows: Rows) -> dict[str, Any]:
    """Accuracy against stated probability, and the expected calibration error over equal bins (Guo et al. 2017)."""
    sure = rows.sureness.double().numpy()
    right = (rows.badness == 0).double().numpy()
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    there = count > 0
    stated = np.bincount(bins, sure, minlength=BINS)[there] / count[there]
    true = np.bincount(bins, right, minlength=BINS)[there] / count[there]
    weight = count[there] / len(sure)
    drawn, axes = drawing(3.4, 0.26)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    axes.plot(stated, true, color=MAIN, linewidth=1.3)
    axes.scatter(stated, true, s=14 + 160 * weight, color=MAIN, zorder=3)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    share_axis(axes.xaxis)
    share_axis(axes.yaxis)
    labelled(axes, "stated probability", "share that was right")
    return {"svg": svg(drawn, "calibration"), "error": float((weight * np.abs(true - stated)).sum())}


# ---- numbers ---------------------------------------------------------------------------------------------------------


def of_numbers(rows: Rows) -> dict[str, Any]:
    """Predicted against true, and the residuals."""
    true = rows.targets.reshape(len(rows.targets), -1).double().numpy()
    predicted = rows.outputs.reshape(true.shape).double().numpy()
    picked = np.unique(np.linspace(0, len(true) - 1, min(len(true), DOTS // true.shape[1] + 1)).round().astype(int))
    x, y = true[picked].ravel(), predicted[picked].ravel()
    both = np.concatenate([x, y])
    finite = both[np.isfinite(both)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    pad = 0.04 * (high - low or 1.0)
    scatter, axes = drawing(3.4, 0.26)
    ends = [low - pad, high + pad]
    axes.plot(ends, ends, color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    axes.scatter(x, y, s=9, color=MAIN, alpha=0.45, linewidths=0, zorder=3)
    axes.set(xlim=ends, ylim=ends)
    labelled(axes, "true", "predicted")
    residuals, below = drawing(3.4, 0.26)
    left = rows.errors[rows.errors.isfinite()].numpy()
    below.hist(left, bins=min(40, max(5, round(math.sqrt(len(left))))), color=MAIN, alpha=0.8, edgecolor="none")
    below.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 4)))
    labelled(below, "predicted minus true", "rows" if true.shape[1] == 1 else "values")
    for drawn in (axes, below):
        number_axis(drawn.xaxis)
        number_axis(drawn.yaxis)
    return {
        "scatter": svg(scatter, "scatter"), "residuals": svg(residuals, "residuals"), "dots": len(picked),
        "bias": figure(left.sum() / max(1, len(left))), "spread": figure(float(np.median(np.abs(left))) if len(left) else None),
    }  # fmt: skip


# ---- explanations ----------------------------------------------------------------------------------------------------


def explanations(model: nn.Module, rows: Rows, metrics: dict[str, Callable[[], Metric]]) -> dict[str, Any]:
    """`bars`: what counts altogether; `explained`: cards of single rows with what speaks for their prediction."""
    found = explain(model, rows, metrics)
    most = max((abs(bar.value) for bar in found.bars), default=0.0) or 1.0
    bars = [
        {"name": bar.name, "share": max(0.0, bar.value) / most, "value": weight(bar.value),
         "spread": f"±{weight(bar.spread)}" if bar.spread else ""}
        for bar in found.bars
    ]  # fmt: skip
    cards = [{**rows.card(row), "heat": heat(values)} for row, values in found.maps.items()]
    cards += [{**rows.card(row), "marks": marked(marks)} for row, marks in found.marks.items()]
    cards += [
        {**rows.card(row), "parts": signed(parts, bool(rows.processor.labels))} for row, parts in found.parts.items()
    ]
    cards += [{**rows.card(row), "line": forecast(each, f"forecast{row}")} for row, each in found.lines.items()]
    return {"bars": bars, "inputs": found.inputs, "how": found.how, "explained": cards, "spaced": found.spaced,
            "forecasts": bool(found.lines),
            "heard": type(rows.processor.input).__name__ == "Audio"}  # fmt: skip


def forecast(line: Line, name: str) -> Markup:
    """What came before, what came then, what was forecast, and the season before repeated."""
    drawn, axes = drawing(2.6, 0.2)
    ahead = np.arange(1, len(line.truth) + 1)
    axes.plot(np.arange(1 - len(line.history), 1), line.history, color=INK, linewidth=1.2)
    joined = np.append(0, ahead)
    for values, colour, style in ((line.naive, INK, (0, (2, 2))), (line.truth, INK, "-"), (line.forecast, MAIN, "-")):
        axes.plot(joined, np.append(line.history[-1:], values), color=colour, linewidth=1.6 if colour == MAIN else 1.2,
                  linestyle=style)  # fmt: skip
    axes.axvline(0, color=LINE, linewidth=1.2)
    number_axis(axes.xaxis)
    number_axis(axes.yaxis)
    labelled(axes, "steps from the last known value")
    return svg(drawn, name)


def weight(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else figure(value)


def marked(marks: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Words with their strength in percent of the row's strongest, above 0 for the prediction."""
    most = max(abs(value) for _, value in marks) or 1.0
    return [{"text": text, "strength": round(100 * value / most), "value": f"{value:+.3g}"} for text, value in marks]


def signed(parts: Sequence[Bar], shares: bool) -> list[dict[str, Any]]:
    """Bars to either side: percentage points of probability, or the target's unit."""
    most = max(abs(bar.value) for bar in parts) or 1.0
    return [{
        "name": bar.name, "share": bar.value / most,
        "value": f"{100 * bar.value:+.1f}%" if shares else f"{bar.value:+.4g}",
    } for bar in parts]  # fmt: skip
