"""What all tests share: no network, one place for cached data, fixed threads, and a bench to train recipes on."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import touched
from forms import RICH, WORDS

from shendu import config, loop, registry, run
from shendu import data as data_module
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.predictor import Predictor
from shendu.recipes import Training

if importlib.util.find_spec("timm"):
    import torchvision_shim  # noqa: F401  (timm imports torchvision, which does not fit a CPU build of torch)


@pytest.fixture(scope="session", autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own, one thread unless OMP_NUM_THREADS says otherwise, and no connection outwards."""
    os.environ.setdefault("SHENDU_CACHE", str(tmp_path_factory.mktemp("cache")))
    os.environ["MPLCONFIGDIR"] = os.environ["SHENDU_CACHE"]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address}")
        connect(self, address)

    socket.socket.connect = local  # type: ignore[method-assign]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _own_chance() -> None:
    torch.manual_seed(0)


class Killed(BaseException):
    """The process dies here: nothing catches it, nothing is saved."""


def opened(name: str) -> tuple[Dataset, dict[str, Any]]:
    """A system's tiny data and choices."""
    given, choices = registry.load(name).tiny()
    return data_module.open(given).split_off(), choices


def quiet(name: str) -> dict[str, Any]:
    """Choices that turn off what a system adds at random, whatever its defaults."""
    net = config.hints(registry.load(name).Config)
    return {**{key: 0.0 for key in net if "dropout" in key}, "label_smoothing": 0.0, "augment": (), "ema": 0.0}


def rich(name: str, data: Dataset) -> dict[str, Any]:
    """Everything that a run can carry from step to step."""
    picture = isinstance(data.fields[data.input], Image)
    return {**RICH, "augment": WORDS if picture else ()}


def setup(**more: Any) -> loop.Setup:
    return loop.Setup(**{"seed": 0, "compile": "off", "say": lambda text: None, **more})


def train(recipe: Recipe, path: Path, **more: Any) -> tuple[torch.nn.Module, loop.Progress]:
    """The loop on a recipe, in a folder; continues what lies there."""
    folder = run.Folder(path)
    folder.prepare()
    return loop.fit(recipe, folder, setup(seed=recipe.seed, **more))


def figures(recipe: Recipe, model: torch.nn.Module, part: str, **more: Any) -> dict[str, float]:
    """What is measured of a model on a part of a recipe's data."""
    asked = Predictor(recipe.task, model, "cpu", "fp32")
    return asked.evaluate(recipe.splits[part], intervals=False, **more).figures


def tensors(tree: Any) -> dict[str, torch.Tensor]:
    """All tensors of a tree by their path, copied."""
    found: dict[str, torch.Tensor] = {}
    run.pack(tree, found)
    return {name: t.clone() for name, t in found.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Asserts equal names and equal bits."""
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"{different} differ"


def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The state of each stage at its very end, optimiser included, as `tree` would save it."""
    states: list[dict[str, Any]] = []
    close = loop.Session.close_stage

    def watched(self: loop.Session) -> None:
        states.append(copy.deepcopy(self.tree()))
        close(self)

    monkeypatch.setattr(loop.Session, "close_stage", watched)
    return states


def killing(monkeypatch: pytest.MonkeyPatch, at: int, save_at: int = 0) -> None:
    """The process saves at total step `save_at` (0: only as usual) and dies before total step `at`."""
    step = loop.Session.step

    def dying(self: loop.Session) -> None:
        if self.at.total == at:
            raise Killed
        step(self)
        if self.at.total == save_at:
            self.save()

    monkeypatch.setattr(loop.Session, "step", dying)


def progress(at: dict[str, Any]) -> dict[str, Any]:
    """What of a run's progress must not depend on interruptions."""
    return {key: value for key, value in at.items() if key not in ("seconds", "elapsed", "position")}


@pytest.fixture
def bench() -> SimpleNamespace:
    """The functions above."""

    def recipe(name: str, data: Dataset | None = None, **choices: Any) -> Recipe:
        given, small = opened(name)
        return registry.load(name).recipe(data or given, **{**small, **choices})

    return SimpleNamespace(
        Killed=Killed,
        opened=opened,
        quiet=quiet,
        rich=rich,
        setup=setup,
        train=train,
        figures=figures,
        tensors=tensors,
        same=same,
        seen=seen,
        killing=killing,
        progress=progress,
        recipe=recipe,
        training=lambda: {f.name for f in dataclasses.fields(Training)},
    )


@pytest.fixture
def one_line() -> Callable[[BaseException], str]:
    """Asserts that an error's message is one readable line, and returns it."""

    def check(error: BaseException) -> str:
        text = str(error)
        assert text
        assert "\n" not in text
        assert len(text) < 500
        return text

    return check


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--touched", action="store_true", help="the tests that a change touches")


def of(item: pytest.Item) -> str | None:
    """The system that a case is of, as its parameter `name` says."""
    return item.callspec.params.get("name") if hasattr(item, "callspec") else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Contracts of the system whose networks are another library's: where that is not installed they are skipped."""
    if config.getoption("--touched"):
        files = touched.changed()
        chosen = [touched.touched(item.nodeid.partition("::")[0], of(item), files) for item in items]
        config.hook.pytest_deselected(items=[item for item, runs in zip(items, chosen, strict=True) if not runs])
        items[:] = [item for item, runs in zip(items, chosen, strict=True) if runs]
        for item in items:
            if of(item) in touched.systems(files) and item.path.name == "test_systems.py":
                item.own_markers = [mark for mark in item.own_markers if mark.name != "slow"]
    if importlib.util.find_spec("timm"):
        return
    for item in items:
        if "backbone" in item.name or "backbone" in item.nodeid.rpartition("/")[2]:
            item.add_marker(pytest.mark.skip(reason="backbone: timm is not installed"))
