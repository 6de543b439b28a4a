"""What a page shows of embeddings: what each threshold accepts, and the rows that some are nearest to.

Shape letters: R rows, D dimensions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image as Picture
from torch import Tensor

from shendu.metrics.pairs import Curve, compared, equal_error, roc
from shendu.pages.drawing import INK, MAIN, SECOND, data_uri, drawing, labelled, share_axis, svg
from shendu.pages.sections import Section

if TYPE_CHECKING:
    from shendu.field import Field
    from shendu.tasks import Again

POINTS, ASKED, NEAREST = 3000, 12, 8
"""Points of a curve; rows whose nearest are shown, and how many of these."""


def sections(field: Field, y: Tensor, z: Tensor, threshold: float | None, again: Again, part: str) -> list[Section]:
    """Of the classes [R] and embeddings [R, D] of a part."""
    found = []
    curve = roc(*compared(z, y))
    if math.isfinite(error := equal_error(curve)):
        note = f"All pairs of rows of the {part} part; equal error {100 * error:.2f}%."
        note += f" The threshold (the dot) is a cosine of {threshold:.3f}." if threshold is not None else ""
        found.append(Section("Accepted and refused", "svg", trade(curve, threshold), note))
    if field.pictured and len(z) > 1:
        note = f"Some rows of the {part} part, each followed by the {NEAREST} that are most similar to it: "
        note += "framed in blue those of its class, in orange those of another."
        found.append(Section("Nearest", "picture", data_uri(neighbours(z.float(), y, again)), note))
    return found


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


def neighbours(z: Tensor, y: Tensor, again: Again) -> Picture.Image:
    """Lines of pictures: one of the part, then its nearest, framed by whether they are of its class."""
    asked = torch.linspace(0, len(z) - 1, min(ASKED, len(z))).round().long()
    similarity = z[asked] @ z.T
    similarity[torch.arange(len(asked)), asked] = -torch.inf
    near = similarity.topk(min(NEAREST, len(z) - 1), dim=1).indices
    seen = torch.cat([asked[:, None], near], 1)
    pictures = again(seen.flatten())[0]["x"].cpu().numpy().reshape(*seen.shape, *again(asked[:1])[0]["x"].shape[1:])
    lines = []
    for rows, pixels in zip(seen.tolist(), pictures, strict=True):
        colours = [(128, 128, 128), *((29, 98, 209) if y[o] == y[rows[0]] else (208, 74, 23) for o in rows[1:])]
        lines.append(np.concatenate([framed(p, c) for p, c in zip(pixels, colours, strict=True)], 1))
    return Picture.fromarray(np.concatenate(lines))


def framed(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 [H, W, C] -> [H + 8, W + 8, 3] with a frame; of other than 3 channels the first."""
    image = np.full((pixels.shape[0] + 8, pixels.shape[1] + 8, 3), 255, np.uint8)
    image[1:-1, 1:-1] = colour
    image[3:-3, 3:-3] = 255
    image[4:-4, 4:-4] = pixels if pixels.shape[-1] == 3 else pixels[..., :1]
    return image
