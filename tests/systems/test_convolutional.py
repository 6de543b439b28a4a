"""What the recipes of convolutional networks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from shendu import data as data_module
from shendu.data import augment
from shendu.recipes.pictures import convolutional, passes, varied
from shendu.systems.vision import alexnet, resnet9, vgg


def pictures(rows: int, side: int = 8, channels: int = 3) -> Any:
    x, y = np.zeros((rows, side, side, channels), np.uint8), np.arange(rows) % 2
    return data_module.open(
        {"x_train": x, "y_train": y, "x_val": x[:4], "y_val": y[:4], "x_test": x[:4], "y_test": y[:4]}
    )


@pytest.mark.parametrize(
    ("rows", "side", "expected"), [(40, 8, 60), (9_000, 8, 48), (54_000, 8, 8), (200_000, 1, 5), (6_000, 65, 40)]
)
def test_passes_show_the_same_number_of_pictures(rows: int, side: int, expected: int) -> None:
    assert passes(pictures(rows, side)) == expected
    assert passes(pictures(rows, side), least=20) == max(20, expected)


def test_resnet9_sees_as_many_large_pictures_as_small_ones() -> None:
    assert resnet9.recipe(pictures(8_600, 65)).settings["epochs"] == 50


def test_only_photos_that_are_seen_often_are_varied_strongly() -> None:
    few, many, writing = pictures(9_000), pictures(54_000), pictures(9_000, channels=1)
    assert varied(few) == (*augment.usual(few), "randaugment:9", "cutout:2")
    assert varied(many) == augment.usual(many)
    assert varied(writing) == augment.usual(writing)
    assert convolutional(few).augment == varied(few)


def test_full_layers_that_would_double_a_step_are_not_orthogonalised() -> None:
    assert vgg.recipe(pictures(40, 65)).settings["optimizer"] == "nesterov"
    recipe = alexnet.recipe(pictures(40, 32))
    model = recipe.model.build()
    groups = [{"name": "all", "params": list(model.parameters()), "names": [n for n, _ in model.named_parameters()]}]
    built: Any = recipe.stages[0].optimizer(groups)
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [p for g in built.parts[0].param_groups for p in g["params"]] == kernels
