"""Pictures of what a translator looks at in the source while it writes each word.

Shape letters: T target codes, S source codes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture

DPI, CELL, LEAST = 120, 0.24, 2.2
"""Dots of an inch; inches of a cell, and of a picture's side at least."""


def pictures(sentences: Sequence[tuple[np.ndarray, Sequence[str], Sequence[str]]]) -> Picture.Image:
    """(weights [T, S], source words, target words) of each sentence -> one picture, two sentences side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down = (len(sentences) + 1) // 2
    wide, high = (max(CELL * max(len(words[i]) for words in sentences), LEAST) for i in (1, 2))
    figure = Figure(figsize=(2 * (wide + 1.2), down * (high + 1.2)), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (weights, source, target) in zip(figure.subplots(down, 2, squeeze=False).flat, sentences, strict=False):
        place.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        place.set_xticks(range(len(source)), [_plain(word) for word in source], rotation=90, fontsize=7)
        place.set_yticks(range(len(target)), [_plain(word) for word in target], fontsize=7)
        place.xaxis.tick_top()
        place.tick_params(length=0)
    for place in figure.axes[len(sentences) :]:
        place.set_axis_off()
    out = io.BytesIO()
    canvas.print_png(out)
    return Picture.open(out)


def _plain(word: str) -> str:
    """A word that no drawing takes for a formula."""
    return word.replace("$", r"\$")
