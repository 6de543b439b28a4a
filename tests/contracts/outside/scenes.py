"""Finds bright rectangles in pictures: a field, a reader, a task, a metric, a system and a verb that the package knows nothing of.

A folder of scenes has `scenes.lst`, with a line `PART NAME` for each; NAME.pgm is a gray picture and NAME.box has a line
`LEFT TOP RIGHT BOTTOM` for each rectangle in it, in pixels.

Shape letters: B rows, M rectangles of a row, G cells a side, N rectangles altogether.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.config import settle
from shendu.core import Batch, Loss, Metric, Objective, Outputs, Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.data.files.cache import Decoded, Room
from shendu.data.ragged import Ragged
from shendu.data.reader import USUAL, Claim, Items, Key, Place, Reader
from shendu.errors import UserError
from shendu.field import Field, Storage, Values
from shendu.reading import Reading
from shendu.recipes import Training, recipe_of, stage
from shendu.saved import Saved
from shendu.tasks import Task

CELL = 4
"""Pixels a side of a cell: the network says of each whether the middle of a rectangle lies in it, and where its edges are."""


@dataclass(frozen=True, kw_only=True)
class Rectangles(Field):
    """Any number of rectangles a row: float32 [M, 4], left, top, right and bottom in pixels of a picture of that size."""

    kind: ClassVar[str] = "rectangles"
    words: ClassVar[str] = "rectangles"
    parts: ClassVar[tuple[str, ...]] = ("", "_count")
    ragged: ClassVar[bool] = True
    moves: ClassVar[bool] = True

    height: int
    width: int

    @property
    def stored(self) -> tuple[int, ...]:
        return (4,)

    def storage(self) -> dict[str, Storage]:
        return {"": Storage("float32", (4,), ragged=True)}

    def parse(self, values: Any) -> Values:
        return {"": Ragged.of([np.asarray(row, np.float32).reshape(-1, 4) for row in values], "float32", (4,))}

    def transform(self, own: Batch, affine: Tensor) -> Batch:
        """The corners are where the picture's pixels go: the map is of an output's place to an input's, so its inverse."""
        size = own[""].new_tensor([self.width, self.height])
        corners = own[""].unflatten(2, (2, 2)) / size * 2 - 1
        back = torch.linalg.inv(affine[:, :, :2])
        moved = torch.einsum("bij,bmkj->bmki", back, corners - affine[:, None, None, :, 2])
        places = (moved + 1) / 2 * size
        return {**own, "": torch.cat([places.amin(2), places.amax(2)], 2)}

    def show(self, own: dict[str, np.ndarray]) -> str:
        return f"{len(own[''])} rectangles"

    def example(self, n: int) -> Batch:
        return {"": torch.tensor([[[2.0, 2.0, 8.0, 8.0]]]).expand(n, 1, 4), "_count": torch.ones(n, dtype=torch.int64)}


class Scenes(Reader):
    """Folders of scenes, and single .pgm pictures of what a model is asked about."""

    name = "scenes"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        return Claim(1.0, "a list of scenes", place.folder) if place.folder and "scenes.lst" in place.names else None

    def key(self, claim: Claim) -> Key:
        return Key({path.name: path for path in sorted(claim.found.iterdir())}, {"kind": "scenes"})

    def read(self, claim: Claim, room: Room) -> Decoded:
        listed = [line.split() for line in (claim.found / "scenes.lst").read_text(encoding="utf-8").splitlines()]
        splits: dict[str, dict[str, Any]] = {}
        for part in sorted({part for part, _ in listed}):
            names = [name for other, name in listed if other == part]
            pictures = np.stack([gray(claim.found / f"{name}.pgm") for name in names])
            edges = [numbers(claim.found / f"{name}.box") for name in names]
            splits[part] = {"picture": pictures, "rectangles": Ragged.of(edges, "float32", (4,))}
        height, width = splits["train"]["picture"].shape[1:3]
        fields = {
            "picture": Image(height=height, width=width, channels=1),
            "rectangles": Rectangles(height=height, width=width),
        }
        return Decoded(fields=fields, splits=splits, inputs=("picture",), targets=("rectangles",))

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        return 1.0 if str(given).endswith(".pgm") and len(fields) == 1 else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        (role,) = fields
        yield "input", [str(given)], {role: gray(Path(given))[None]}


def gray(path: Path) -> np.ndarray:
    """uint8 [H, W, 1] of a binary PGM file; raises UserError."""
    data = path.read_bytes()
    words = data.split(maxsplit=4)
    if words[0] != b"P5" or len(words) < 5:
        raise UserError(f"{path} is no gray picture in the format PGM: save it as one")
    width, height = int(words[1]), int(words[2])
    return np.frombuffer(data[-width * height :], np.uint8).reshape(height, width, 1)


def numbers(path: Path) -> np.ndarray:
    """float32 [M, 4]."""
    return np.array(path.read_text(encoding="utf-8").split(), np.float32).reshape(-1, 4)


# ---- what is said


class Find(Task):
    """Outputs are `cells` [B, 5, G, G]: the logit of a rectangle's middle, and how far its edges are from the cell's, in cells."""

    kind = "find"
    purpose = "look into"

    def outputs(self, model: Any, batch: Batch) -> Outputs:
        return {"cells": model(*self.taken(batch))}

    def metrics(self) -> dict[str, Metric]:
        return {"found": Found()}

    def said(self, outputs: Outputs) -> Batch:
        found = rectangles(outputs["cells"])
        most = max(1, *(len(row) for row in found))
        padded = torch.stack([F.pad(row, (0, 0, 0, most - len(row))) for row in found])
        return {"y": padded, "y_count": torch.tensor([len(row) for row in found])}

    def score(self, model: Any, batch: Batch) -> Tensor:
        """The sum of the logits where the batch's rectangles have their middles."""
        cells = self.outputs(model, batch)["cells"].float()
        there = middles(batch["y"], batch["y_count"], cells.shape[2]).to(cells.device)
        return (cells[:, 0] * there).sum((1, 2))

    def explained(self) -> bool:
        return True

    def badness(self, outputs: Outputs, batch: Batch) -> Tensor:
        counted = Found().rows(outputs, batch)
        return counted[:, 1] + counted[:, 2]

    def decode(self, outputs: Outputs, stored: Batch) -> list[dict[str, Any]]:
        return [
            {"rectangles": [[round(x, 1) for x in one] for one in row.tolist()]} for row in rectangles(outputs["cells"])
        ]

    def answers(self) -> dict[str, str]:
        return {"rectangles": "left, top, right, bottom in pixels"}


class Found(Metric):
    """Rectangles that are found with an overlap of one half or more: the harmonic mean of how many of them, and of what is said."""

    higher: ClassVar[dict[str, bool]] = {"f1": True}

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        """[B, 3]: right, wrong, missed."""
        counted = []
        for said, true, count in zip(
            rectangles(outputs["cells"]), batch["y"].cpu(), batch["y_count"].tolist(), strict=True
        ):
            overlap = overlaps(said, true[:count]) > 0.5
            right = int(overlap.any(0).sum()) if overlap.numel() else 0
            counted.append([right, len(said) - right, count - right])
        return torch.tensor(counted, dtype=torch.float64).view(-1, 3)

    def figures(self, rows: Tensor) -> dict[str, float]:
        right, wrong, missed = rows.sum(0).tolist()
        return {"f1": 2 * right / max(1.0, 2 * right + wrong + missed)}


def rectangles(cells: Tensor) -> list[Tensor]:
    """Of each row the rectangles [M, 4] whose cells say so, in pixels."""
    cells = cells.float().cpu()
    at = torch.arange(cells.shape[2])
    top, left = torch.meshgrid(at, at, indexing="ij")
    edges = (torch.stack([left, top, left + 1, top + 1]) + cells[:, 1:]) * CELL
    return [edge[:, there].T for edge, there in zip(edges, cells[:, 0] > 0, strict=True)]


def middles(y: Tensor, count: Tensor, side: int) -> Tensor:
    """float [B, G, G]: 1 in cells that hold a rectangle's middle."""
    there = torch.arange(y.shape[1]) < count.cpu()[:, None]
    place = ((y[..., :2] + y[..., 2:]).cpu() / 2 / CELL).long().clamp(0, side - 1)
    found = torch.zeros(len(y), side, side)
    row = torch.arange(len(y))[:, None].expand_as(there)
    found[row[there], place[..., 1][there], place[..., 0][there]] = 1.0
    return found


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union [N, M] of rectangles."""
    low = torch.maximum(one[:, None, :2], other[None, :, :2])
    high = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clamp(min=0).prod(2)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (one, other)]
    return both / (areas[0][:, None] + areas[1][None] - both).clamp(min=1e-9)


# ---- the system


@dataclass(frozen=True, kw_only=True)
class Config:
    """Maps of the network's layers."""

    maps: int = 16
    dropout: float = 0.1

    def build(self) -> nn.Module:
        m = self.maps
        return nn.Sequential(
            nn.Conv2d(1, m, 3, padding=1), nn.ReLU(), nn.Conv2d(m, 2 * m, 4, 4), nn.ReLU(), nn.Dropout(self.dropout),
            nn.Conv2d(2 * m, 2 * m, 3, padding=1), nn.ReLU(), nn.Conv2d(2 * m, 2 * m, 3, padding=1), nn.ReLU(), nn.Conv2d(2 * m, 5, 1),
        )  # fmt: skip


class Cells(Objective):
    """Whether a middle is there, over all cells; and the edges, over the rectangles: terms with units of their own."""

    def units(self, batch: Batch) -> dict[str, Tensor | int]:
        height, width = batch["x"].shape[2:]
        return {"there": len(batch["x"]) * (height // CELL) * (width // CELL), "edges": batch["y_count"].sum()}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        cells = model(batch["x"]).float()
        y, count, side = batch["y"], batch["y_count"], cells.shape[2]
        wanted = middles(y, count, side).to(cells.device)
        there = F.binary_cross_entropy_with_logits(cells[:, 0], wanted, reduction="sum")
        known = torch.arange(y.shape[1], device=y.device) < count[:, None]
        place = ((y[..., :2] + y[..., 2:]) / 2 / CELL).long().clamp(0, side - 1)
        row = torch.arange(len(y), device=y.device)[:, None].expand_as(known)
        said = cells[row[known], 1:, place[..., 1][known], place[..., 0][known]]
        true = (y / CELL - torch.cat([place, place + 1], 2))[known]
        return Loss({"there": there, "edges": F.smooth_l1_loss(said, true, reduction="sum")})


def recipe(data: Dataset, **choices: Any) -> Recipe:
    how = Training(
        steps=400, batch_size=32, lr=5e-3, schedule="one-cycle", augment=("flip",), select_by="f1", validations=4
    )
    net, how = settle(choices, Config(), how)
    task = Find.of(data)
    return recipe_of(data, net, how, task, (stage(data, task, how, lambda model: Cells()),))


# ---- a verb


def count(run: Saved, pictures: Iterable[str]) -> list[int]:
    """How many rectangles a run finds in each picture."""
    return [len(row["rectangles"]) for row in run.predictor().predict(*pictures)]


@click.command()
@click.argument("run")
@click.argument("pictures", nargs=-1)
@click.option("--file", required=True)
def command(run: str, pictures: tuple[str, ...], file: str) -> None:
    """Count what RUN finds in PICTURES."""
    click.echo(count(Saved(run, file=file), pictures))
