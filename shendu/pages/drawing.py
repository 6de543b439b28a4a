"""What the pages of runs and audits are drawn with: figures as text, pictures as data URIs, curves as SVG in the page's colours."""

from __future__ import annotations

import base64
import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from PIL import Image as Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = ("accuracy", "error-rate", "one-shot-accuracy", "equal-error-rate", "true-accept-rate", "rank-1")
"""Figures that are shares of something."""
SIDE = 96
"""The longer side of a picture in pixels."""
INK, LINE, MAIN, SECOND = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
"""Stand-ins that a drawing's colours are named by; the page's style gives them their value, in light and in dark."""
COLOURS = {INK: "var(--quiet)", LINE: "var(--line)", MAIN: "var(--main)", SECOND: "var(--warm)"}


def figure(value: float | None, name: str = "") -> str:
    """A measured figure: shares in per cent, others with four digits; a dash for what is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    if name.removeprefix("validation ") in PERCENT:
        return f"{100 * value:.2f}%"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


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

    def label(value: float, _: int | None = None) -> str:
        low, high = axis.get_view_interval()
        if not 0 < high - low < 1e-4 * max(abs(low), abs(high)):
            return brief(value)
        unit = 10.0 ** math.ceil(math.log10(high - low))
        base = math.floor(low / unit) * unit  # what all ticks share stands at the axis' end
        formatter.set_offset_string(f"+ {base:,.10g}")
        return brief(round(value - base, 12))

    formatter = FuncFormatter(label)
    axis.set_major_formatter(formatter)


def brief(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.6g}"


def share_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g}%"))
