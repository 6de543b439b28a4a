"""draw: pictures of the parts (activations, losses, optimisers, schedules) and of what a network learned.

Each function returns a matplotlib Figure, so a notebook shows it; `save` writes it, the same bytes each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from shendu import optim, parallel
from shendu.nn.activations import ACTIVATIONS, activation
from shendu.objectives.losses import LOSSES, loss
from shendu.saved import Saved


class Predicts(Protocol):
    """A run, as far as it is asked."""

    def predict(self, *inputs: Any) -> list[dict[str, Any]]:
        """One entry per row, with its `value`."""
        ...


INK = ("#1f5fa8", "#c8452f", "#3c8c4d", "#8a5aa8", "#b07d1e", "#4d4d4d")
"""Line colours, told apart by the colour-blind too where the line styles help."""
CLASSES = ListedColormap(["#c3d8ef", "#f6cabf", "#c9e4cc", "#e0d0ec", "#f0dfb8", "#dddddd"])
STYLE: Any = {
    "font.size": 8.5, "axes.titlesize": 9.5, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.6, "legend.frameon": False,
    "svg.hashsalt": "shendu", "figure.constrained_layout.use": True,
}  # fmt: skip


@matplotlib.rc_context(STYLE)
def save(figure: Figure, path: str | Path) -> Path:
    """Writes SVG or PNG, as the name ends; without a date, so that the same picture has the same bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, dpi=110, metadata=metadata)
    return path


def _panels(count: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of width x height inches."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(columns * width, rows * height))
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


# ---- functions of one number -----------------------------------------------------------------------------------------


@matplotlib.rc_context(STYLE)
def activations(names: Sequence[str] = tuple(ACTIVATIONS)) -> Figure:
    """Each activation with its derivative, by autograd, on [-4, 4] (relu6, which bends at 6, on [-4, 8])."""
    figure, axes = _panels(len(names), 5, 1.9, 1.75)
    for ax, name in zip(axes, names, strict=True):
        end = 8 if name == "relu6" else 4
        x = torch.linspace(-4, end, 301, requires_grad=True)
        y = activation(name)(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        ax.plot(x.detach(), y.detach(), color=INK[0], label="function")
        ax.plot(x.detach(), slope, color=INK[1], linestyle="--", linewidth=1.2, label="derivative")
        ax.set(title=name, ylim=(-2.2, 6.6) if end > 4 else (-2.2, 2.6), xticks=range(-4, end + 1, end // 2))
        ax.set_yticks(range(-2, end - 1, 2))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def _margin(name: str, f: Tensor, **options: float) -> Tensor:
    """The loss of a two-class row of positive class at margin f [N], one value per row."""
    outputs = torch.stack([f / 2, -f / 2], 1) if name == "cross-entropy" else f[:, None]
    target = torch.zeros(1, dtype=torch.int64) if name == "cross-entropy" else torch.ones(1, 1)
    return torch.stack([loss(name, **options)(row[None], target) for row in outputs])


def _residual(name: str, r: Tensor) -> Tensor:
    return torch.stack([loss(name)(value.view(1, 1), torch.zeros(1, 1)) for value in r])


def _divergence(q: Tensor, p: float) -> Tensor:
    """Kullback-Leibler divergence from the prediction (q, 1 - q) to the target (p, 1 - p)."""
    target = torch.tensor([[p, 1 - p]])
    return torch.stack([loss("kl")(torch.stack([v, 1 - v]).log()[None], target) for v in q])


MARGIN, RESIDUAL = ("cross-entropy", "bce", "hinge"), ("mse", "l1", "huber")


@matplotlib.rc_context(STYLE)
def losses() -> Figure:
    """Every loss: as a function of the margin, of the residual, or (kl) of the predicted probability."""
    figure, (margins, residuals, divergences) = _panels(3, 3, 3.1, 2.7)
    lines: dict[str, dict[str, Any]] = {
        name: {"color": INK[i % 3], "linestyle": ("-", "--", "-.")[i % 3]}
        for i, name in enumerate((*MARGIN, *RESIDUAL))
    }
    lines["cross-entropy"]["linewidth"] = 3.2
    lines["cross-entropy"]["alpha"] = 0.45
    f = torch.linspace(-3, 5, 161)
    for name in MARGIN:
        margins.plot(f, _margin(name, f), label=name, **lines[name])
    smoothed = _margin("cross-entropy", f, label_smoothing=0.2)
    margins.plot(f, smoothed, color=INK[3], linestyle=":", label="cross-entropy,\nlabel_smoothing=0.2")
    margins.step(f, (f <= 0).float(), color="#999999", linewidth=1, label="error (0 or 1)")
    margins.set(title="classes", xlabel="margin", ylabel="loss of one row", ylim=(0, 4))
    r = torch.linspace(-3, 3, 121)
    for name in RESIDUAL:
        residuals.plot(r, _residual(name, r), label=name, **lines[name])
    residuals.set(title="numbers", xlabel="residual", ylim=(0, 4))
    q = torch.linspace(0.01, 0.99, 99)
    for i, p in enumerate((0.5, 0.8)):
        divergences.plot(q, _divergence(q, p), color=INK[i], linestyle=("-", "--")[i], label=f"kl, target {p}")
    divergences.set(title="distributions", xlabel="predicted probability", ylim=(0, 2))
    for ax in (margins, residuals, divergences):
        ax.legend(loc="upper center" if ax is not margins else "upper right")
    assert {*MARGIN, *RESIDUAL, "kl"} == set(LOSSES), "a loss is missing from the picture"
    return figure


@matplotlib.rc_context(STYLE)
def schedules(names: Sequence[str] = tuple(optim.SCHEDULES), steps: int = 200) -> Figure:
    """The factor on the learning rate over a training."""
    figure, (ax,) = _panels(1, 1, 5.6, 2.6)
    for i, name in enumerate(names):
        factor = optim.schedule(name)
        ax.plot(np.linspace(0, 1, steps), [factor(s, steps) for s in range(steps)], color=INK[i % 6],
                linestyle=("-", "--", "-.", ":")[i % 4], label=name)  # fmt: skip
    ax.set(xlabel="share of the steps", ylabel="factor", ylim=(-0.03, 1.06), xlim=(0, 1))
    figure.legend(loc="outside right center")
    return figure


# ---- optimisers in a valley ------------------------------------------------------------------------------------------

RATES = {
    "gd": 0.01, "sgd": 0.01, "momentum": 0.004, "nesterov": 0.004, "adagrad": 0.4, "rmsprop": 0.02, "adam": 0.1, "adamw": 0.1,
    "muon": 0.2,
}  # fmt: skip
"""Learning rates that suit each optimiser in the valley, found by trying."""
START, GOAL = (-1.4, 1.6), (1.0, 1.0)


def valley(x: Any, y: Any) -> Any:
    """Rosenbrock's function (1960) with a gentler wall: (1 - x)² + 10 (y - x²)²; its minimum is 0 at (1, 1)."""
    return (1 - x) ** 2 + 10 * (y - x**2) ** 2


def path(name: str, *, lr: float, steps: int = 150, noise: float = 0.0) -> np.ndarray:
    """The places [steps + 1, 2] of an optimiser in the valley; `noise` is added to the gradient, as small batches do."""
    at = nn.Parameter(torch.tensor([START]))  # a matrix of one row: Muon takes matrices
    stepper = optim.optimizer(name, lr=lr)([{"name": "at", "params": [at], "names": ["at"]}])
    g = torch.Generator().manual_seed(0)
    places = [at.detach().clone()]
    for _ in range(steps):
        stepper.zero_grad()
        valley(at[0, 0], at[0, 1]).backward()
        assert at.grad is not None
        at.grad += noise * torch.randn(1, 2, generator=g)
        stepper.step()
        places.append(at.detach().clone())
    return torch.cat(places).numpy()


@matplotlib.rc_context(STYLE)
def optimizers(names: Sequence[str] = tuple(optim.OPTIMIZERS), steps: int = 150) -> Figure:
    """The path of each optimiser through the same valley, from the same start; `sgd` with noise on its gradient."""
    figure, axes = _panels(len(names), 3, 2.7, 2.2, sharex=True, sharey=True)
    x, y = np.meshgrid(np.linspace(-2, 2, 120), np.linspace(-1, 3, 120))
    for ax, name in zip(axes, names, strict=True):
        lr = RATES.get(name, 0.01)
        places = path(name, lr=lr, steps=steps, noise=4.0 if name == "sgd" else 0.0)
        ax.contourf(x, y, np.log1p(valley(x, y)), 14, cmap="Greys", alpha=0.55)
        ax.plot(*places.T, color=INK[0], linewidth=0.9, marker=".", markersize=2.5)
        ax.plot(*START, "o", color=INK[4], markersize=5)
        ax.plot(*GOAL, "*", color=INK[1], markersize=10)
        ax.text(0, 2.6, f"lr {lr:g}, loss {valley(*places[-1]):.1g}", ha="center", backgroundcolor="#ffffffcc")
        ax.set(title=name, xlim=(-2, 2), ylim=(-1, 3))
        ax.grid(False)
    return figure


# ---- what a network learned ------------------------------------------------------------------------------------------


@matplotlib.rc_context(STYLE)
def regions(panels: Mapping[str, tuple[Saved, np.ndarray, np.ndarray]]) -> Figure:
    """The class that a run predicts at every point of the plane; a panel per title: run, rows x [N, 2], classes y [N].

    Where there are two classes the colour's depth is the probability, and a line marks 1/2.
    """
    figure, axes = _panels(len(panels), 5, 1.9, 2.0, sharex=True, sharey=True)
    for ax, (title, (run, x, y)) in zip(axes, panels.items(), strict=True):
        low, high = x.min(0), x.max(0)
        (left, bottom), (right, top) = low - 0.2 * (high - low), high + 0.2 * (high - low)
        across, up = np.meshgrid(np.linspace(left, right, 120), np.linspace(bottom, top, 120))
        grid = np.stack([across, up], -1).reshape(-1, 2).astype(np.float32)
        shares = run.predictor("cpu").ask(run.task.encode(grid))["logits"].softmax(-1).numpy()
        if shares.shape[1] == 2:
            second = shares[:, 1].reshape(across.shape)
            ax.pcolormesh(across, up, second, cmap="RdBu_r", vmin=-0.35, vmax=1.35, shading="nearest")
            if second.min() < 0.5 < second.max():
                ax.contour(across, up, second, [0.5], colors="#222222", linewidths=1)
        else:
            best = shares.argmax(1).reshape(across.shape)
            ax.pcolormesh(across, up, best, cmap=CLASSES, vmin=0, vmax=CLASSES.N - 1, shading="nearest")
        size = 36 if len(x) < 20 else 7
        for i, label in enumerate(np.unique(y)):
            face = "white" if size > 7 else INK[i % 6]
            (across, up), marker = x[y == label].T, "os^vDP"[i % 6]
            ax.scatter(
                across,
                up,
                s=size,
                marker=marker,
                facecolor=face,
                edgecolor="#222222",
                linewidth=0.3 + size / 40,
                zorder=3,
            )
        ax.set(title=title, xlim=(left, right), ylim=(bottom, top))
        ax.grid(False)
    return figure


@matplotlib.rc_context(STYLE)
def kernels(run: Saved, picture: np.ndarray, most: int = 6) -> Figure:
    """A network's first convolution: some of its kernels, and the maps that they make of a picture (uint8 [H, W, C]).

    Raises StopIteration for a network without a convolution.
    """
    layer = next(m for m in run.model.modules() if isinstance(m, nn.Conv2d))
    caught: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output.float()))
    with parallel.evaluating(run.model):
        run.model(run.task.encode(picture[None])["x"])
    handle.remove()
    count = min(most, layer.out_channels)
    figure, axes = _panels(2 * (count + 1), count + 1, 1.15, 1.25)
    weight, maps = layer.weight.detach().float(), caught[0][0]
    axes[0].imshow(picture.squeeze(), cmap="gray")
    axes[0].set_title("picture")
    axes[count + 1].remove()
    for i in range(count):
        largest = float(weight[i].abs().max())
        shown = weight[i].mean(0) if weight.shape[1] != 3 else (weight[i] / largest / 2 + 0.5).permute(1, 2, 0)
        axes[1 + i].imshow(shown.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes[1 + i].set_title(f"kernel {i + 1}")
        axes[count + 2 + i].imshow(maps[i].numpy(), cmap="gray")
        axes[count + 2 + i].set_title(f"map {i + 1}")
    for ax in figure.axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    return figure


@matplotlib.rc_context(STYLE)
def line(run: Predicts, x: np.ndarray, y: np.ndarray) -> Figure:
    """A regression of one number on one: the rows x [N, 1], y [N], and what the run predicts."""
    figure, (ax,) = _panels(1, 1, 4.4, 2.8)
    ends = np.linspace(x.min(), x.max(), 200, dtype=np.float32)[:, None]
    ax.plot(x[:, 0], y, ".", color="#888888", markersize=4, label="rows")
    ax.plot(ends[:, 0], [row["value"] for row in run.predict(ends)], color=INK[1], label="prediction")
    ax.set(xlabel="x", ylabel="y")
    ax.legend()
    return figure


@matplotlib.rc_context(STYLE)
def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str, mark: float) -> Figure:
    """Named lines of (places, values) over an axis, on which one place is marked."""
    figure, (ax,) = _panels(1, 1, 4.8, 2.8)
    ax.axvline(mark, color="#888888", linewidth=1, linestyle=":")
    for i, (name, (places, values)) in enumerate(lines.items()):
        ax.plot(places, values, color=INK[i % 6], linestyle=("-", "--", "-.", ":")[i % 4], label=name)
    ax.set(xlabel=x, ylabel=y)
    ax.legend()
    return figure
