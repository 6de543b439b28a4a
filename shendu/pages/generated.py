"""Pictures that a model draws, and a sheet of them.

Shape letters: N rows drawn, C channels, H, W picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor

from shendu import chance, parallel
from shendu.errors import UserError, unknown
from shendu.parallel import device_of

if TYPE_CHECKING:
    from shendu.tasks import Task

SAMPLE = 4
"""Key of what is drawn at random."""
SIDE, BETWEEN = 512, 2
"""Pixels a side that a sheet is enlarged to; pixels between its pictures."""


def frames(model: Any, n: int, label: Tensor | None, seed: int, settings: dict[str, Any]) -> Iterator[Tensor]:
    """What a model that `Draws` yields under a seed, as float32 on the CPU."""
    place = device_of(model)
    with parallel.evaluating(model):
        chance.reseed(seed, SAMPLE)
        for frame in model.draw(n, None if label is None else label.to(place), **settings):
            yield frame.float().cpu()


def labels_of(task: Task, n: int, label: str | None) -> Tensor | None:
    """int64 [N]: the class that is asked for, or each in turn; None where the data has none. Raises UserError."""
    classes = task.classes
    if label is None:
        return torch.arange(n) % len(classes) if classes else None
    if not classes:
        other = "train one with --set conditional=true, or " if "condition" in task.can else ""
        raise UserError(f"this model was told no classes; {other}leave --class out")
    if label not in classes:
        raise unknown("class", str(label), classes)
    return torch.full((n,), classes.index(label))


def last(frames: Iterator[Tensor]) -> Tensor:
    frame = next(frames)
    for frame in frames:  # noqa: B007
        pass
    return frame


def grid(pixels: np.ndarray, across: int = 0) -> Picture.Image:
    """uint8 [N, H, W, C] -> one picture, `across` of them in a row (0: about square), enlarged by whole numbers so that
    pixels stay sharp.
    """
    n, h, w, c = pixels.shape
    across = across or math.ceil(math.sqrt(n * h / w))
    down = math.ceil(n / across)
    sheet = np.full((down * (h + BETWEEN) - BETWEEN, across * (w + BETWEEN) - BETWEEN, c), 255, np.uint8)
    for i, each in enumerate(pixels):
        top, left = i // across * (h + BETWEEN), i % across * (w + BETWEEN)
        sheet[top : top + h, left : left + w] = each
    picture = Picture.fromarray(sheet if c == 3 else sheet[..., 0])
    times = max(1, SIDE // max(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Picture.Resampling.NEAREST)
