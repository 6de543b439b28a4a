"""sample: a trained generator draws new rows, as a picture file or an animated one.

Shape letters: N rows drawn, C channels, H, W picture.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import click
import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor

from shendu import chance, composing, config, parallel, registry
from shendu.core import Draws
from shendu.data.fields.image import Image
from shendu.data.files.picture import read_picture
from shendu.errors import UserError, near
from shendu.options import DEVICE, OPENS, echo, only_given
from shendu.pages.generated import SAMPLE, frames, grid, labels_of, last
from shendu.parallel import device_of
from shendu.saved import Saved, opened
from shendu.tasks import Task

ORDER = 70
PUBLIC = ("sample",)
MOST = 10_000
"""Rows at most."""
SUFFIXES = (".png", ".gif")
FRAMES, MILLISECONDS, LAST = 40, 80, 1500
"""Frames of an animation at most, how long each is shown, and the last one."""
OPAQUE = 128
"""A pixel of at least this alpha is known."""


class Inpaints(Protocol):
    """A model that draws the missing part of a row."""

    def inpaint(self, x: Tensor, known: Tensor, label: Tensor | None = None) -> Iterator[Tensor]:
        """Frames of drawing rows like x [N, *shape], given where it is known (bool); more as in `Draws`."""
        ...


def sample(
    run: Saved | str | Path,
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
    opened = Saved.of(run)
    if inpaint is None:
        made = drawn(opened, n, label, seed, device, how)
    else:
        made = filled(opened, Path(inpaint), n, label, seed, device, how)
    animated, walked = path.suffix.lower() == ".gif", str(how.get("walk", 0)) != "0"
    shown = [opened.task.pixels(frame) for frame in kept(made, FRAMES if animated or walked else 1)]
    if walked and not animated:
        write(path, [grid(np.stack(shown, 1).reshape(-1, *shown[0].shape[1:]), len(shown))])
    else:
        write(path, [grid(pixels) for pixels in shown])
    return path


def drawn(
    run: Saved, n: int, label: str | None = None, seed: int = 0, device: str = "auto", how: dict[str, Any] | None = None
) -> Iterator[Tensor]:
    """Frames of drawing n rows [N, C, H, W] in the model's units, on the CPU; raises UserError for what cannot be drawn."""
    task, model = run.task, parallel.place(run.model, parallel.choose_device(device))
    if "draw" not in task.can or not task.input.pictured:
        raise UserError(
            f"{run.path} is a run of {run.recipe['system']}, which draws no pictures; train one that does: "
            f"{registry.able('draw')}"
        )
    if not 1 <= n <= MOST:
        raise UserError(f"cannot draw {n} pictures; write it like --n 64 (at most {MOST:,})")
    classes = labels_of(task, n, label)
    drawing = cast(Draws, model)
    settings = settle(drawing.draw, how or {})
    yield from frames(drawing, n, classes, seed, settings)


def filled(
    run: Saved, path: Path, n: int, label: str | None, seed: int, device: str, how: dict[str, Any]
) -> Iterator[Tensor]:
    """Frames of n pictures [N, C, H, W] whose known part is the file's; raises UserError for what cannot be filled in."""
    model = parallel.place(run.model, parallel.choose_device(device))
    if "inpaint" not in run.task.can or not 1 <= n <= MOST:
        raise UserError(
            f"--inpaint is for runs of {registry.able('inpaint')}, up to {MOST:,} pictures; leave it out for {run.path}"
        )
    x, known = holed(path, run.task)
    place = device_of(model)
    x, known = (t.expand(n, *run.task.shape).to(place) for t in (x, known))
    classes = None if label is None else labels_of(run.task, n, label)
    inpaint = cast(Inpaints, model).inpaint
    settings = settle(inpaint, how)
    with parallel.evaluating(model):
        chance.reseed(seed, SAMPLE)
        for frame in inpaint(x, known, None if classes is None else classes.to(place), **settings):
            yield frame.float().cpu()


def holed(path: Path, task: Task) -> tuple[Tensor, Tensor]:
    """A picture file as a prepared row [1, C, H, W], and where it is known, bool [1, 1, H, W].

    Raises UserError for a file that cannot be read, or has no transparent part.
    """
    field = cast(Image, task.input)
    seen = read_picture(path, replace(field, channels=4))[..., 3] >= OPAQUE
    if seen.all() or not seen.any():
        raise UserError(f"{path} is {'nowhere' if seen.all() else 'everywhere'} transparent; erase what is to be drawn")
    return task.encode([read_picture(path, field)])["x"], torch.from_numpy(seen)[None, None]


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


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.option("--n", type=int, help="How many (pictures: 64, texts: 1).")
@click.option("--class", "label", metavar="NAME", help="The class to draw, where the model knows classes.")
@click.option("--seed", type=int, help="Equal seeds draw equal rows (default 0).")
@click.option("--out", metavar="FILE", help="A .png (sample.png), or a .gif that shows how they come about.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the drawing; repeatable.")
@click.option("--inpaint", metavar="PICTURE", help="Diffusion: draw what is transparent in this file.")
@click.option("--prompt", metavar="TEXT", help="Text: what is written on.")
@click.option("--length", type=int, metavar="N", help="Text: tokens at most (default 500).")
@click.option("--temperature", type=float, metavar="T", help="Text: 0 the likeliest, 1 as learned (default 0.8).")
@click.option("--top-k", type=int, metavar="K", help="Text: only of the K likeliest tokens.")
@click.option("--top-p", type=float, metavar="P", help="Text: only of the likeliest that hold a share P together.")
@click.option("--stop", metavar="TEXT", help="Text: end before this.")
@DEVICE
@OPENS
def command(run: str, settings: tuple[str, ...], **options: Any) -> None:
    """Let RUN draw new rows, or write on.

    \b
    shendu sample runs/2026-11-22_diffusion_mnist_1 --n 64 --class 7 --out sevens.png
    shendu sample runs/2026-11-22_rbm_mnist_1 --out chain.gif
    shendu sample runs/2026-11-22_gpt_tinyshakespeare_1 --prompt "ROMEO:" --length 300
    """
    found, how = opened(run), only_given(options)
    more: dict[str, Any] = dict(config.parse_settings(settings))
    if not composing.writes(found) and how.keys().isdisjoint(composing.OPTIONS):
        echo(sample(found, **how, **more))
        return
    for key in ("label", "out", "inpaint", *(("set",) if settings else ())):
        if key in how or key == "set":
            raise UserError(f"--{key.replace('label', 'class')} is for models that draw pictures; leave it out")
    texts = composing.pieces(found, **how, say=lambda text: echo(text, aside=True))
    write_on(texts, how.get("prompt", ""), how.get("n", 1))


def write_on(texts: Iterator[list[str]], prompt: str, n: int) -> None:
    """One text as it comes, several one after the other."""
    if n == 1:
        for i, (piece,) in enumerate(texts):
            echo((prompt if not i else "") + piece, newline=False)
        echo()
        return
    for i, parts in enumerate(zip(*texts, strict=True)):
        click.secho(f"{i + 1}", bold=True)
        echo(prompt + "".join(parts))
