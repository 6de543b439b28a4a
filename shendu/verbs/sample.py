"""sample: a trained generator draws new rows, as a picture file or an animated one.

Shape letters: N rows drawn, C channels, H, W picture.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor, nn

from shendu import chance, config, parallel
from shendu.core import Draws
from shendu.data.fields.image import Image
from shendu.data.files.picture import read_picture
from shendu.data.processors.supervised import Supervised
from shendu.data.processors.unlabelled import Unlabelled
from shendu.errors import UserError, near, unknown
from shendu.recipes import device_of
from shendu.verbs.opened import Run

SAMPLE = 4
"""Key of the verb's draws."""
MOST, SIDE, BETWEEN = 10_000, 512, 2
"""Rows at most; pixels a side that a grid is enlarged to; pixels between its pictures."""
SUFFIXES = (".png", ".gif")
FRAMES, MILLISECONDS, LAST = 40, 80, 1500
"""Frames of an animation at most, how long each is shown, and the last one."""
OPAQUE = 128
"""A pixel of at least this alpha is known."""


@runtime_checkable
class Inpaints(Protocol):
    """A model that draws the missing part of a row."""

    def inpaint(self, x: Tensor, known: Tensor, label: Tensor | None = None) -> Iterator[Tensor]:
        """Frames of drawing rows like x [N, *shape], given where it is known (bool); more as in `Draws`."""
        ...


def sample(
    run: Run | str | Path,
    *,
    n: int = 64,
    label: str | None = None,
    seed: int = 0,
    out: str | Path = "sample.png",
    inpaint: str | Path | None = None,
    device: str = "auto",
    **how: Any,
) -> Path:
    """Draws `n` pictures into a grid and returns the file's path; a .gif shows how they come about. With walk=N a .png has a
    row for each picture: the N on the way to it, and itself.

    `label` is the class that a conditional model draws (else each in turn); `how` are settings of the model's drawing.
    `inpaint` is a picture file whose transparent part is drawn, n times. Equal seeds give equal pictures. Raises UserError.
    """
    path = check_out(out)
    opened = run if isinstance(run, Run) else Run(run)
    if inpaint is None:
        made = drawn(opened, n, label, seed, device, how)
    else:
        made = filled(opened, Path(inpaint), n, label, seed, device, how)
    animated, walked = path.suffix.lower() == ".gif", str(how.get("walk", 0)) != "0"
    shown = [opened.processor.pixels(frame) for frame in kept(made, FRAMES if animated or walked else 1)]
    if walked and not animated:
        write(path, [grid(np.stack(shown, 1).reshape(-1, *shown[0].shape[1:]), len(shown))])
    else:
        write(path, [grid(pixels) for pixels in shown])
    return path


def drawn(
    run: Run, n: int, label: str | None = None, seed: int = 0, device: str = "auto", how: dict[str, Any] | None = None
) -> Iterator[Tensor]:
    """Frames of drawing n rows [N, C, H, W] in the model's units, on the CPU; raises UserError for what cannot be drawn."""
    processor = run.processor
    chosen = parallel.choose_device(device)
    model = parallel.place(run.model, chosen)
    pictures = isinstance(processor, Unlabelled | Supervised) and isinstance(processor.input, Image)
    if not isinstance(model, Draws) or not pictures:
        raise UserError(
            f"{run.path} is a run of {run.recipe['system']}, which draws no pictures; train one that does: vae, gan, diffusion"
        )
    if not 1 <= n <= MOST:
        raise UserError(f"cannot draw {n} pictures; write it like --n 64 (at most {MOST:,})")
    classes = labels_of(model, processor.classes, n, label)
    settings = settle(model.draw, how or {})
    yield from frames(model, n, classes, seed, settings)


def filled(
    run: Run, path: Path, n: int, label: str | None, seed: int, device: str, how: dict[str, Any]
) -> Iterator[Tensor]:
    """Frames of n pictures [N, C, H, W] whose known part is the file's; raises UserError for what cannot be filled in."""
    model = parallel.place(run.model, parallel.choose_device(device))
    if not isinstance(model, Inpaints) or not 1 <= n <= MOST:
        raise UserError(f"--inpaint is for runs of diffusion, up to {MOST:,} pictures; leave it out for {run.path}")
    x, known = holed(path, run.processor)
    place = device_of(model)
    x, known = (t.expand(n, *run.processor.shape).to(place) for t in (x, known))
    classes = None if label is None else labels_of(model, run.processor.classes, n, label)
    settings = settle(model.inpaint, how)
    with parallel.evaluating(model):
        chance.reseed(seed, SAMPLE)
        for frame in model.inpaint(x, known, None if classes is None else classes.to(place), **settings):
            yield frame.float().cpu()


def holed(path: Path, processor: Unlabelled) -> tuple[Tensor, Tensor]:
    """A picture file as a prepared row [1, C, H, W], and where it is known, bool [1, 1, H, W].

    Raises UserError for a file that cannot be read, or has no transparent part.
    """
    column = processor.input
    assert isinstance(column, Image)
    seen = read_picture(path, replace(column, channels=4))[..., 3] >= OPAQUE
    if seen.all() or not seen.any():
        raise UserError(f"{path} is {'nowhere' if seen.all() else 'everywhere'} transparent; erase what is to be drawn")
    return processor.encode(path)["x"], torch.from_numpy(seen)[None, None]


def frames(model: nn.Module, n: int, label: Tensor | None, seed: int, settings: dict[str, Any]) -> Iterator[Tensor]:
    """What a model that `Draws` yields under a seed, as float32 on the CPU."""
    assert isinstance(model, Draws)
    place = device_of(model)
    with parallel.evaluating(model):
        chance.reseed(seed, SAMPLE)
        for frame in model.draw(n, None if label is None else label.to(place), **settings):
            yield frame.float().cpu()


def labels_of(model: nn.Module, classes: tuple[str, ...], n: int, label: str | None) -> Tensor | None:
    """int64 [N]: the class that is asked for, or each in turn; None where the data has none. Raises UserError."""
    if label is None:
        return torch.arange(n) % len(classes) if classes else None
    if not classes:
        can = hasattr(getattr(model, "config", None), "conditional")
        other = "train one with --set conditional=true, or " if can else ""
        raise UserError(f"this model was told no classes; {other}leave --class out")
    if label not in classes:
        raise unknown("class", str(label), classes)
    return torch.full((n,), classes.index(label))


def settle(drawing: Callable[..., Any], how: dict[str, Any]) -> dict[str, Any]:
    """A person's words as the drawing's keyword arguments, by their annotations; raises UserError."""
    known = {
        name: p
        for name, p in inspect.signature(drawing, eval_str=True).parameters.items()
        if name not in ("n", "x", "known", "label")
    }
    for key in how:
        if key not in known:
            raise UserError(f"unknown setting '{key}' of drawing{near(key, known)}")
    return {key: config.convert(key, value, known[key].annotation) for key, value in how.items()}


def kept(frames: Iterator[Tensor], most: int) -> list[Tensor]:
    """At most so many frames at equal distances, the last one always."""
    every = list(frames) if most > 1 else [last(frames)]
    picked = np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int))
    return [every[i] for i in picked]


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


def check_out(out: str | Path) -> Path:
    """Raises UserError for a file that could not be written, before time is spent."""
    path = Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path} is none of {', '.join(SUFFIXES)}; write it like {path.stem or 'sample'}.png")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}; make it, or choose another file")
    return path


def write(path: Path, frames: list[Picture.Image]) -> None:
    try:
        if path.suffix.lower() == ".png":
            frames[-1].save(path)
        else:
            shown = [MILLISECONDS] * (len(frames) - 1) + [LAST]
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=shown, loop=0)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); choose another file with --out") from None
