"""What the recipes of systems that read rows of varying length share."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from shendu.core import Recipe, Source
from shendu.data.dataset import Dataset
from shendu.recipes import device_of
from shendu.sources.bucketed import Bucketed


def in_buckets(recipe: Recipe, data: Dataset) -> Recipe:
    """The same recipe of one stage, its training rows in batches of similar length."""
    (stage,) = recipe.stages

    def source(model: nn.Module) -> Source:
        return Bucketed(
            data.splits["train"], recipe.processor, columns={"x": data.input, "y": data.target}, padded=("x",),
            batch_size=stage.batch_size, seed=recipe.seed, device=device_of(model),
        )  # fmt: skip

    return replace(recipe, stages=(replace(stage, source=source),))
