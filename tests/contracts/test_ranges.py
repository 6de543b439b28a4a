"""Every number that can be set, far out of range: one line, or a training that works."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from forms import REPRESENTATIVES

from shendu import config, registry
from shendu.errors import UserError
from shendu.recipes import Training

NAMES = tuple(registry.systems())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in REPRESENTATIVES else pytest.mark.slow) for n in NAMES]
)
def test_numbers_out_of_range(name: str, bench: Any, one_line: Any, tmp_path: Path) -> None:
    data, choices = bench.opened(name)
    module = registry.load(name)
    for key, kind in {**config.hints(Training), **config.hints(module.Config)}.items():
        for i, value in enumerate({int: (-1, 0), float: (math.nan, math.inf, -1.0, 0.0, 1e30)}.get(kind, ())):
            settings = {**choices, "steps": 2, **({"steps": 0} if key == "epochs" else {}), key: value}
            if key in ("epochs", "steps") and value in (0, 1e30):
                continue
            try:
                bench.train(module.recipe(data, **settings), tmp_path / f"{key}{i}")
            except UserError as error:
                one_line(error)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_data_say_cannot_be_set(name: str, bench: Any, one_line: Any) -> None:
    data, choices = bench.opened(name)
    known = config.hints(registry.load(name).Config)
    for key in ("inputs", "outputs", "classes", "channels"):
        if key in known:
            with pytest.raises(UserError, match="follows from the data") as caught:
                registry.load(name).recipe(data, **{**choices, key: 3})
            one_line(caught.value)


@pytest.mark.parametrize(("name", "settings"), [
    ("mlp", {"hidden": (0,)}), ("mlp", {"hidden": "64,-1"}), ("lenet", {"maps": "0,3"}), ("lenet", {"units": "-1,3"}),
    ("linear", {"epochs": "nan"}), ("perceptron", {"loss": "hinge"}), ("lenet", {"form": "1998", "label_smoothing": 0.1}),
    ("mlp", {"patience": 3, "select_by": "none"}),
])  # fmt: skip
def test_settings_without_a_meaning(name: str, settings: dict[str, Any], bench: Any, one_line: Any) -> None:
    data, choices = bench.opened(name)
    with pytest.raises(UserError) as caught:
        registry.load(name).recipe(data, **{**choices, **settings})
    one_line(caught.value)
