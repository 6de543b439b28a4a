"""judge: how good what a generator draws is, in the eyes of a trained classifier.

The classifier is a run of one's own: what it sees in a picture is the input of its last linear layer. Figures of two judges
cannot be compared, so the sum of its weights' bytes stands beside them.

Shape letters: N pictures, M other pictures, C channels, H, W picture, F features, K classes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from shendu import chance, config
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.options import AS_JSON, DATA_DIR, DEVICE, OPENS, echo, emit, table
from shendu.pages.generated import grid, last
from shendu.saved import Saved
from shendu.verbs.evaluate import data_of
from shendu.verbs.sample import drawn

ORDER = 80
PUBLIC = ("judge",)
NEIGHBOURS = 3
"""How far precision and recall reach: to so many neighbours (Kynkäänniemi et al. 2019)."""
BATCH, CHUNK, COMPARED, PAIRS = 500, 2000, 1000, 24
"""Pictures at once; rows of a table of distances; pictures that are looked up in the training set; those that are shown."""
FEWEST = 50
NARROW, CLOSE = 0.1, 0.05
"""A recall below the first is called a collapse; more than the second share of close pictures are called copies."""


def judge(
    run: Saved | str | Path,
    judge: Saved | str | Path,
    *,
    n: int = 10_000,
    seed: int = 0,
    device: str = "auto",
    data_dir: str | Path | None = None,
    **how: Any,
) -> dict[str, Any]:
    """Draws n pictures from `run`, measures them by the classifier of the run `judge`, and writes judge.json and judge.png.

    `frechet`: the distance to the test part in the judge's features, and `frechet_of_training_rows`, which as many real
    pictures have. `precision` and `recall`: the share of drawn pictures that lie among real ones, and the other way
    round. `recognised`: the share that is taken for the class it was drawn as (None for a model without classes).
    `nearest`: the median distance to the nearest training picture, root mean square in units of white less black, of drawn
    pictures and of the test part; `copies`: the share of drawn ones that are closer than all but 1% of the test part are
    (None without a test part: the training part stands in for it).
    `notes` say what is wrong in words. `how` are settings of the drawing. Raises UserError.
    """
    opened, referee = map(Saved.of, (run, judge))
    check(opened, referee, n)
    dataset = data_of(opened, data_dir)
    real, training = pictures_of(dataset)
    made, labels = pictures_by(opened, n, seed, device, how)
    see = Sight(referee, device)
    features, logits = see(made)
    theirs = see(real)[0]
    figures: dict[str, Any] = {
        "frechet": frechet(features, theirs),
        "frechet_of_training_rows": frechet(see(few(training, n))[0], theirs),
        **precision_recall(theirs, features),
        "recognised": recognised(logits, labels, opened.task.classes, referee.task.labels),
    }
    among = torch.from_numpy(training).flatten(1)
    distance, at = nearest(torch.from_numpy(made[:COMPARED]).flatten(1), among)
    usual, _ = nearest(torch.from_numpy(few(real, COMPARED)).flatten(1), among)
    figures["nearest"] = {"drawn": float(distance.median()), "test": float(usual.median())}
    copies = float((distance < usual.quantile(0.01)).double().mean())
    figures["copies"] = copies if "test" in dataset.splits else None
    result = {
        "run": str(opened.path), "system": opened.recipe["system"], "data": dataset.name, "n": n, "seed": seed,
        "how": {key: str(value) for key, value in how.items()}, "rows": len(real), "judge": about(referee), **figures,
        "notes": notes(figures),
    }  # fmt: skip
    opened.folder.write("judge.json", result)
    grid(with_nearest(made, training[at.numpy()])).save(opened.path / "judge.png")
    return result


def check(opened: Saved, referee: Saved, n: int) -> None:
    """Raises UserError where the two runs do not fit each other, or too few pictures are asked for."""
    mine, theirs = opened.task, referee.task
    if "draw" not in mine.can or not mine.input.pictured:
        raise UserError(
            f"{opened.path} is a run of {opened.recipe['system']}, which draws no pictures; give one that does, and the "
            "classifier as --judge"
        )
    if not theirs.labels or theirs.input != mine.input:
        shape = "x".join(map(str, mine.input.stored))
        raise UserError(
            f"--judge {referee.path} is no classifier of pictures of {shape}; train one: "
            f"shendu train {opened.recipe['data']['given']}"
        )
    if n < FEWEST:
        raise UserError(f"{n} pictures say nothing about a distribution; write it like --n 10000 (at least {FEWEST})")


def pictures_of(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, H, W, C] of the test part (the training part where there is none) and of the training part."""
    parts = [dataset.splits.get(part, dataset.splits["train"]).column(dataset.input) for part in ("test", "train")]
    return parts[0], parts[1]


def few(pictures: np.ndarray, n: int) -> np.ndarray:
    """n of them at most, always the same, from all over: rows may be stored class by class."""
    return (
        pictures if n >= len(pictures) else pictures[np.sort(np.random.default_rng(0).permutation(len(pictures))[:n])]
    )


def pictures_by(run: Saved, n: int, seed: int, device: str, how: dict[str, Any]) -> tuple[np.ndarray, Tensor | None]:
    """n drawn pictures uint8 [n, H, W, C] and the classes they were drawn as, int64 [n], each in turn."""
    made, classes = [], len(run.task.classes)
    for start in range(0, n, BATCH):
        frames = drawn(run, min(BATCH, n - start), None, chance.fold(seed, start), device, how)
        made.append(run.task.pixels(last(frames)))
    labels = torch.cat([torch.arange(len(part)) % classes for part in made]) if classes else None
    return np.concatenate(made), labels


class Sight:
    """What a classifier sees: uint8 [N, H, W, C] -> (features float64 [N, F], logits [N, K]).

    Raises UserError for a network without a linear layer.
    """

    def __init__(self, referee: Saved, device: str) -> None:
        self.predictor = referee.predictor(device, "fp32")
        layers = [module for module in self.predictor.model.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise UserError(
                f"--judge {referee.path} ends in no linear layer, whose input would be its features; give another classifier"
            )
        self.seen: list[Tensor] = []
        self.last = layers[-1]

    def note(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.seen.append(given[0].flatten(1).cpu().double())

    def __call__(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        features, logits = [], []
        with self.last.register_forward_pre_hook(self.note):
            for start in range(0, len(pictures), BATCH):
                stored = torch.from_numpy(np.ascontiguousarray(pictures[start : start + BATCH]))
                self.seen.clear()
                logits.append(self.predictor({"x": stored})["logits"].cpu())
                features.append(torch.stack(self.seen).mean(0))  # a network may look twice: at the mirrored picture too
        return torch.cat(features), torch.cat(logits)


# ---- figures ---------------------------------------------------------------------------------------------------------


def frechet(a: Tensor, b: Tensor) -> float:
    """The Fréchet distance between Gaussians fitted to features [N, F] and [M, F] (Heusel et al. 2017, equation 6).

    |m - n|² + tr(A + B - 2 (A B)^½); A B has the eigenvalues of S B S with S = A^½, which is symmetric.
    """
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    root = square_root(cov_a)
    shared = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * shared)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [F] and covariance [F, F] in float64."""
    features = features.double()
    return features.mean(0), features.T.cov().reshape(features.shape[1], -1)


def square_root(matrix: Tensor) -> Tensor:
    """The positive root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def precision_recall(real: Tensor, made: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Shares of `made` [N, F] among `real` [M, F] and of `real` among `made` (Kynkäänniemi et al. 2019).

    A set reaches around each of its rows as far as to that row's k-th nearest neighbour in it.
    """
    return {"precision": within(made, real, neighbours), "recall": within(real, made, neighbours)}


def within(rows: Tensor, others: Tensor, neighbours: int) -> float:
    """The share of rows [N, F] that are at most as far from one of `others` [M, F] as its k-th neighbour is."""
    k = min(neighbours + 1, len(others))  # each is its own nearest
    reach = torch.cat([torch.cdist(part, others).kthvalue(k, 1).values for part in others.split(CHUNK)])
    inside = [(torch.cdist(part, others) <= reach).any(1) for part in rows.split(CHUNK)]
    return float(torch.cat(inside).double().mean())


def nearest(rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Of uint8 pictures [N, D] the root mean square distance to the nearest of `others` [M, D], in 0 … 1, and which it is."""
    found: list[tuple[Tensor, Tensor]] = []
    for part in others.split(CHUNK * 4):
        found.append(torch.cdist(rows.float(), part.float(), compute_mode="use_mm_for_euclid_dist").min(1))
    _, which = torch.stack([values for values, _ in found]).min(0)
    at = torch.stack([i + CHUNK * 4 * number for number, (_, i) in enumerate(found)])
    picked = at.gather(0, which[None])[0]
    return (rows.float() - others[picked].float()).square().mean(1).sqrt() / 255, picked


def recognised(logits: Tensor, labels: Tensor | None, classes: tuple[str, ...], known: tuple[str, ...]) -> float | None:
    """The share of pictures drawn as a class [N] that are taken for it; None where none was asked for, or it is unknown."""
    if labels is None or set(classes) != set(known):
        return None
    wanted = torch.tensor([known.index(name) for name in classes])[labels]
    return float((logits.argmax(1) == wanted).double().mean())


def notes(figures: dict[str, Any]) -> list[str]:
    """What is wrong, in words."""
    said = []
    if figures["recall"] < NARROW:
        said.append(
            f"recall {figures['recall']:.2f}: what is drawn covers little of what there is; a collapsed generator, which draws "
            "the same again and again, looks like this"
        )
    if (figures["copies"] or 0) > CLOSE:
        said.append(
            f"{figures['copies']:.0%} of the pictures are closer to a training picture than 99% of the test part are: look at "
            "judge.png for copies"
        )
    return said


def about(referee: Saved) -> dict[str, Any]:
    """Which classifier judged: its run, its accuracy, and the sum of its weights' bytes."""
    with (referee.path / "model.safetensors").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    figures = (referee.result or {}).get("metrics", {}).get("test", {})
    return {
        "run": str(referee.path), "system": referee.recipe["system"], "data": referee.recipe["data"]["name"],
        "accuracy": figures.get("accuracy"), "sha256": sha256,
    }  # fmt: skip


def with_nearest(made: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Drawn pictures, each followed by the training picture that is nearest to it."""
    pairs = np.stack([made[: len(training)][:PAIRS], training[:PAIRS]], 1)
    return pairs.reshape(-1, *made.shape[1:])


def lines(result: dict[str, Any]) -> list[list[str]]:
    """The figures as rows of a table."""
    found = [
        ["frechet", f"{result['frechet']:.3f}", f"{result['frechet_of_training_rows']:.3f} for training rows"],
        ["precision", f"{result['precision']:.4f}", "drawn among real"],
        ["recall", f"{result['recall']:.4f}", "real among drawn"],
        ["nearest", f"{result['nearest']['drawn']:.4f}", f"{result['nearest']['test']:.4f} for the test part"],
    ]
    if result["copies"] is not None:
        found.append(["copies", f"{result['copies']:.4f}", "0.01 for the test part"])
    if result["recognised"] is not None:
        found.insert(1, ["recognised", f"{result['recognised']:.4f}", "drawn as a class and taken for it"])
    return found


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.option("--judge", required=True, metavar="RUN", help="A classifier of such pictures, in whose features.")
@click.option("--n", type=int, default=10_000, help="How many pictures are drawn (10000).")
@click.option("--seed", type=int, default=0, help="Equal seeds draw equal rows (default 0).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the drawing; repeatable.")
@DEVICE
@DATA_DIR
@AS_JSON
@OPENS
def command(run: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """How good is what RUN draws: Fréchet distance, precision and recall, copies; into judge.json and judge.png.

    \b
    shendu train resnet9 mnist --out runs/judge
    shendu judge runs/2026-11-22_diffusion_mnist_1 --judge runs/judge
    """
    how: dict[str, Any] = {**options, **config.parse_settings(settings)}
    result = judge(run, **how)
    if as_json:
        return emit(result)
    table(lines(result))
    for note in result["notes"]:
        echo(note)
    echo(f"{result['run']}/judge.png")
    return None
