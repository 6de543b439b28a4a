"""Draws the pictures of the tutorial and of the systems' pages.

    python docs/gen/pictures.py                 all of them
    python docs/gen/pictures.py optimizers      those whose names hold a word

The functions are `shendu.draw`'s; what is trained for a picture is trained here, in seconds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import shendu
from shendu import Run, draw
from shendu.systems.generative import hopfield

IMAGES = Path(__file__).resolve().parents[1] / "img"


def trained(system: str, data: object, **choices: object) -> Run:
    """A run in a temporary folder, read before the folder is gone."""
    with tempfile.TemporaryDirectory() as folder:
        run = shendu.train(system, data, out=Path(folder) / "run", quiet=True, precision="fp32", **choices)
        assert run.model is not None
        assert run.task is not None
    return run


def table(gate: str) -> tuple[np.ndarray, np.ndarray]:
    """A gate's inputs [4, 2] and outputs [4]."""
    columns = shendu.open_data(gate).splits["train"].columns
    return columns["inputs"], columns["output"]


def gates(system: str, names: tuple[str, ...]) -> Figure:
    """One run of a system per gate of two inputs."""
    return draw.regions({f"{system} on {name}": (trained(system, name), *table(name)) for name in names})


def xor_steps() -> Figure:
    """Chance is a function of the step, so a run of 15 steps is the beginning of one of 300: each panel is a run."""
    runs = {f"step {n}": trained("mlp", "xor", steps=n, hidden=(4,)) for n in (1, 15, 40, 80, 300)}
    return draw.regions({title: (run, *table("xor")) for title, run in runs.items()})


def spirals() -> Figure:
    """Three interleaved spirals, and the regions of a linear classifier and of 4 and 64 hidden units."""
    rng = np.random.default_rng(0)
    label, radius = np.arange(240) % 3, np.sqrt(rng.uniform(0.02, 1, 240))
    angle = 6 * radius + 2 * np.pi / 3 * label + 0.12 * rng.normal(size=240)
    x = (radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)
    names = np.array(["a", "b", "c"])[label]
    runs = {"linear": trained("linear", (x, names))}
    runs |= {f"mlp, hidden={n}": trained("mlp", (x, names), hidden=(n,)) for n in (4, 64)}
    return draw.regions({title: (run, x, label) for title, run in runs.items()})


def fitted() -> Figure:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (120, 1)).astype(np.float32)
    y = (1.5 * x[:, 0] - 1 + 0.7 * rng.normal(size=120)).astype(np.float32)
    return draw.line(trained("linear", (x, y)), x, y)


def first_kernels(system: str, **choices: object) -> Figure:
    picture = shendu.open_data("digits").splits["train"].column("image")[6]
    return draw.kernels(trained(system, "digits", **choices), picture)


def capacity() -> Figure:
    """How much of random patterns a Hopfield network still recalls, the more it stores by the Hebbian rule."""
    loads = tuple(np.linspace(0.04, 0.24, 21).round(3).tolist())
    lines = {f"{units} units": (loads, hopfield.capacity(units, loads)) for units in (100, 500)}
    return draw.curves(lines, "patterns per unit", "overlap with the pattern", mark=0.138)


PICTURES: dict[str, Callable[[], Figure]] = {
    "tutorial-perceptron.png": lambda: gates("perceptron", ("and", "or", "xor")),
    "tutorial-activations.svg": draw.activations,
    "tutorial-losses.svg": draw.losses,
    "tutorial-optimizers.png": draw.optimizers,
    "tutorial-schedules.svg": draw.schedules,
    "tutorial-xor.png": xor_steps,
    "systems-perceptron.png": lambda: gates("perceptron", ("and", "or", "xor")),
    "systems-linear.svg": fitted,
    "systems-mlp.png": spirals,
    "systems-lenet.png": lambda: first_kernels("lenet"),
    "systems-resnet.png": lambda: first_kernels("resnet", epochs=6),
    "systems-hopfield.svg": capacity,
}


def main() -> None:
    torch.set_num_threads(1)
    words = sys.argv[1:] or [""]
    for name, picture in PICTURES.items():
        if any(word in name for word in words):
            path = draw.save(picture(), IMAGES / name)
            print(f"{path.relative_to(IMAGES.parent)}  {path.stat().st_size / 1000:.0f} KB", flush=True)


if __name__ == "__main__":
    main()
