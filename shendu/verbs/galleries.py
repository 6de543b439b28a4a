"""What a run's page shows beyond figures and curves, by the kind of its processor: drawings, texts, translations, likenesses.

A gallery is a title, a note, and a `picture` (a data URI), an `svg` or a `text`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image as Picture
from torch import Tensor, nn

from shendu import parallel
from shendu.core import Draws, Recipe, Source, Steps, Views
from shendu.data.fields.image import Image as ImageColumn
from shendu.data.processors.embedding import Embedding
from shendu.data.processors.language import Language
from shendu.data.processors.supervised import Supervised
from shendu.data.processors.translation import PADDING, Translates, Translation
from shendu.data.processors.unlabelled import Unlabelled
from shendu.errors import UserError
from shendu.measure import Outputs
from shendu.metrics import Curve, compared, equal_error, roc
from shendu.nn.generate import generate
from shendu.recipes import device_of
from shendu.sources.static import Static
from shendu.verbs import alignment
from shendu.verbs.drawing import INK, MAIN, SECOND, data_uri, drawing, figure, labelled, share_axis, svg
from shendu.verbs.sample import frames, grid, labels_of, last

Gallery = dict[str, Any]

PARTS = {"test": "Test", "validation": "Validation", "train": "Training"}
SHOWN, TOLD, ALIGNED, POINTS = 64, 12, 4, 3000
"""Pictures of a gallery; translations that are told, and drawn with what was looked at; points of a curve."""
PROMPT, WRITTEN, WARMTH, PASSAGES = 48, 240, 0.8, 8
"""Tokens that a language model is given and that it writes on, its temperature; passages that are listed."""
ASKED, NEAREST = 12, 8
"""Rows whose nearest are shown, and how many of these."""


def of_unlabelled(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> list[Gallery]:
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
        return [odd]
    galleries = drawings(recipe, model)

    def add(title: str, note: str, pixels: np.ndarray) -> None:
        galleries.append({"title": title, "note": note, "picture": data_uri(grid(pixels))})

    few = source.batch(0, min(SHOWN, source.rows), None)["x"]
    with parallel.evaluating(model):
        place = device_of(model)
        for title, pictures in (model.views(few.to(place)) if isinstance(model, Views) else {}).items():
            add(title, "", processor.pixels(pictures.float().cpu()))
    for title, rows in (("Suit the model least", order[:SHOWN]), ("Suit it most", order[::-1][:SHOWN])):
        stored = torch.cat([source.stored(row, 1)["x"] for row in rows]).cpu().numpy()
        low, high = sorted((float(scores[rows[0]]), float(scores[rows[-1]])))
        add(title, f"rows of the {PARTS[part].lower()} part, {name} {figure(low)} to {figure(high)}", stored)
    return galleries


def drawings(recipe: Recipe, model: nn.Module) -> list[Gallery]:
    """What a model draws, each class in turn; nothing of one that does not draw pictures."""
    processor = recipe.processor
    if not (isinstance(model, Draws) and isinstance(processor, Supervised | Unlabelled)) or not pictured(processor):
        return []
    try:
        frame = last(frames(model, SHOWN, labels_of(model, processor.classes, SHOWN, None), recipe.seed, {}))
    except UserError:  # it could draw, had it been trained to
        return []
    picture = data_uri(grid(processor.pixels(frame)))
    return [{"title": "Drawn", "note": "new rows, drawn by the model", "picture": picture}]


def pictured(processor: Supervised | Unlabelled) -> bool:
    return isinstance(processor.input, ImageColumn)


def shown_as_text(processor: Unlabelled, source: Static, row: int) -> str:
    """A stored row as a line."""
    return str(processor.input.show({"": source.stored(row, 1)["x"][0].cpu().numpy()}))


def of_language(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> list[Gallery]:
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
    return galleries


def continued(processor: Language, model: Steps, source: Source) -> list[str]:
    """The beginning of windows from three places of a part, and how the model goes on."""
    rows = sorted({number * source.rows // 3 for number in range(3)})
    begun = [source.batch(row, 1, None)["x"][0] for row in rows]
    network = cast(nn.Module, model)
    prompts = torch.stack([x[:PROMPT] for x in begun]).to(device_of(network))
    with parallel.evaluating(network):
        drawn = list(generate(model, prompts, WRITTEN, temperature=WARMTH, never=processor.unwritten))
    written = torch.stack(drawn, 1).cpu()
    return [f"{processor.text(x)}│{processor.text(y)}" for x, y in zip(prompts.cpu(), written, strict=True)]


def of_translation(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> list[Gallery]:
    """What a page shows of a translator: translations beside their references, and what it looked at in some of them."""
    processor, source = recipe.processor, recipe.splits[part]
    assert isinstance(processor, Translation)
    assert isinstance(model, Translates)
    outputs, targets = torch.cat(shown.outputs)[:TOLD].long(), torch.cat(shown.targets)[:TOLD]
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
        place = device_of(model)
        for x, y in zip(rows[:ALIGNED].split(1), outputs[:ALIGNED].split(1), strict=True):
            x, y = (codes[:, : max(1, int((codes != PADDING).sum()))] for codes in (x, y))
            weights = model.alignment(x.to(place), y.to(place))[0].float().cpu().numpy()
            looked.append((weights, processor.spelled(x[0].tolist()), processor.spelled(y[0].tolist())))
    name = PARTS[part].lower()
    note = "A row is a piece of the translation, a column one of the source; the darker, the more it was looked at."
    return [
        {"title": "Translations", "note": f"The first sentences of the {name} part, their references, the translations.",
         "text": "\n\n".join(told)},
        {"title": "Alignment", "note": note, "picture": data_uri(alignment.pictures(looked))},
    ]  # fmt: skip


def of_embedding(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> list[Gallery]:
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
    return galleries


def trade(curve: Curve, threshold: float | None) -> Markup:
    """The share of one class that is accepted over the share of two that is, and where the threshold lies."""
    drawn, axes = drawing(3.4, 0.26)
    false, true = curve.false.numpy(), curve.true.numpy()
    keep = np.unique(np.linspace(0, len(false) - 1, min(len(false), POINTS)).round().astype(int))
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


def of_supervised(recipe: Recipe, model: nn.Module, shown: Outputs, part: str) -> list[Gallery]:
    """What a classifier draws that was pretrained as a generator."""
    return drawings(recipe, model)


OF: dict[type, Callable[[Recipe, nn.Module, Outputs, str], list[Gallery]]] = {
    Supervised: of_supervised,
    Unlabelled: of_unlabelled,
    Language: of_language,
    Embedding: of_embedding,
    Translation: of_translation,
}
"""Kind of processor -> its galleries."""
