"""What recipes share that learn from pairs of pictures: batches of groups of one class, and what is measured of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from torch import nn

from shendu.core import Config, Objective, Recipe
from shendu.data import augment
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.errors import UserError, unknown
from shendu.parallel import device_of
from shendu.recipes import Training, recipe_of, stage
from shendu.sources.classes import Classes
from shendu.tasks.embed import Embed


@dataclass(frozen=True, kw_only=True)
class Groups:
    """How a batch is put together."""

    per_class: int = 4
    """Pictures of each class in a batch."""
    quarter_turns: bool = False
    """A class turned by 90, 180 and 270 degrees is three more classes."""
    distort: float = 0.0
    """Strength of affine distortions: turn, slant, stretch and move (1: as in Koch et al. 2015)."""
    false_accepts: float = 0.01
    """Of pairs of different classes, the share that the threshold may take for the same, on validation rows."""

    def __post_init__(self) -> None:
        for name, right, like in (
            ("per_class", 2 <= self.per_class <= 1000, "4"), ("distort", 0 <= self.distort <= 4, "1"),
            ("false_accepts", 0 <= self.false_accepts <= 1, "0.01"),
        ):  # fmt: skip
            if not right:
                raise UserError(f"{name}={getattr(self, name)} is out of range; write it like {name}={like}")


def check_pictures(system: str, data: Dataset, least: int, groups: Groups) -> Image:
    """The field of pictures; raises UserError for pictures that are too small, or that cannot be turned, and without classes."""
    picture = cast(Image, data.fields[data.input])
    if len(data.classes) < 2:
        raise UserError(f"{system} learns to tell classes apart, and {data.name} has one; give pictures of two or more")
    if min(picture.height, picture.width) < least:
        raise UserError(
            f"{system} halves the picture three times, and {data.name} has {picture.height}x{picture.width} pixels, too few; "
            "give larger pictures"
        )
    if groups.quarter_turns and picture.height != picture.width:
        raise UserError(
            f"quarter turns are for square pictures, those of {data.name} have {picture.height}x{picture.width} pixels; "
            "leave quarter_turns out"
        )
    return picture


def loss_of(how: Training, known: tuple[str, ...]) -> str:
    """The loss that is named, of those that a system has; `auto` is the first. Raises UserError."""
    if how.label_smoothing:
        raise UserError(
            "label_smoothing is for classes that are predicted, and here pictures are compared; leave it out"
        )
    if how.loss not in (*known, "auto"):
        raise unknown("loss", how.loss, (*known, "auto"))
    return known[0] if how.loss == "auto" else how.loss


def paired(
    data: Dataset,
    net: Config,
    how: Training,
    groups: Groups,
    objective: Callable[[nn.Module], Objective],
    *,
    ways: int = 0,
    notes: tuple[str, ...] = (),
) -> Recipe:
    """One stage over groups of one class, with whole groups in a batch; raises UserError for settings that do not fit."""
    task = Embed.of(data, ways=ways, false_accepts=groups.false_accepts)
    chosen = augment.of(how.augment, data.fields[data.input])
    if chosen.mixes:
        raise UserError(
            f"{'mixup' if chosen.mixup else 'cutmix'} blends classes, and here pictures of one class are compared; leave it out"
        )
    begun = stage(data, task, how, objective)
    size = begun.batch_size // groups.per_class * groups.per_class
    if size < 2 * groups.per_class:
        raise UserError(
            f"a batch of {begun.batch_size} rows holds fewer than two classes of {groups.per_class} pictures; "
            "raise --batch-size, or lower per_class"
        )
    if size != begun.batch_size and how.batch_size:
        notes = (*notes, f"batch_size: {size}, whole groups of {groups.per_class}")

    def source(model: nn.Module) -> Classes:
        return Classes(
            data.splits["train"], task, x=data.input, y=data.target, codes=len(data.classes), per_class=groups.per_class,
            turns=groups.quarter_turns, distort=groups.distort, augment=chosen, bright=bright(data), seed=how.seed,
            device=device_of(model),
        )  # fmt: skip

    return recipe_of(data, net, how, task, (replace(begun, batch_size=size, source=source),), notes)


def bright(data: Dataset) -> bool:
    """Whether pictures are on a bright ground, as ink on paper is."""
    mean = data.fields[data.input].statistics()["mean"]
    return sum(mean) / len(mean) > 127.5
