"""Small trained models, and a server of them in a thread of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Server, started

import shendu
from shendu.serving.guard import Limits

QUIET: dict[str, Any] = {"quiet": True, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> folder: pictures, a table, running text."""
    home = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    ages = rng.integers(18, 80, 200)
    rows = [
        {"age": int(a), "job": str(rng.choice(["nurse", "baker"])), "income": "high" if a > 45 else "low"} for a in ages
    ]
    shendu.train("mlp", "digits", out=home / "digits", steps=20, hidden=(16,), **QUIET)
    shendu.train("tabm", rows, target="income", out=home / "people", steps=10, members=2, hidden=(8,), **QUIET)
    shendu.train("gpt", "counting", out=home / "counting", steps=10, layers=2, heads=2, width=32, context=16, **QUIET)
    return {name: home / name for name in ("digits", "people", "counting")}


@pytest.fixture(scope="session")
def server(runs: dict[str, Path]) -> Iterator[Server]:
    """Of all three."""
    found = started(runs, limits=Limits(bytes=4 << 20))
    yield found
    found.stop()


@pytest.fixture
def starting(runs: dict[str, Path]) -> Iterator[Callable[..., Server]]:
    """Starts servers that a test changes or ends."""
    made: list[Server] = []

    def start(*names: str, **more: Any) -> Server:
        made.append(started({name: runs[name] for name in names}, **more))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """uint8 [N, 8, 8, 1], as digits are stored."""
    return np.asarray(shendu.open_data("digits").split_off().splits["test"].columns["image"])[:64]
