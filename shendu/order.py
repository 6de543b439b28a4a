"""What is to be trained: as a call or a command says it now, or as a run's recipe.json has it; and what a run begins with."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from torch import nn

import shendu
from shendu import config, data, own, published, registry
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.known import KNOWN
from shendu.errors import UserError
from shendu.field import kind_of
from shendu.machine import machine
from shendu.reading import Reading
from shendu.recipes.bare import Bare
from shendu.run import LOCK, Folder, write_text
from shendu.saved import Saved

RUNS = Path("runs")
RESUME = ("exact", "approximate")


class Made(NamedTuple):
    """What a run is made by."""

    name: str
    code: Any
    summary: str
    own: dict[str, str] | None = None
    """What recipe.json keeps of code that is a person's own."""


def made_by(system: str | Path | nn.Module, loss: Any = None) -> Made:
    """By a system's name, its file, or a module. Raises UserError."""
    if isinstance(system, type):
        raise UserError(
            f"{system.__name__} is a class: give a module that is built, shendu.train({system.__name__}(…), data)"
        )
    if isinstance(system, nn.Module):
        bare = Bare(system, loss)
        function = {"loss": spelled(loss)} if loss else {}
        return Made(
            bare.__name__,
            bare,
            str(bare.__doc__),
            {"module": f"{type(system).__module__}.{type(system).__qualname__}", **function},
        )
    if not isinstance(system, str):
        raise UserError(f"a system cannot be of the type {type(system).__name__}: give a name, a file, or an nn.Module")
    entry = registry.entry(str(system))
    code = registry.load(str(system))
    return Made(entry.name, code, entry.summary, own.about(system) if own.is_file(system) else None)


class Order:
    """What is to be trained: as given now, or as a run's recipe.json has it."""

    def __init__(
        self,
        made: Made | None,
        source: Any,
        choices: dict[str, Any],
        path: Path | None,
        data_dir: Any,
        reading: Reading,
    ) -> None:
        self.made, self.source, self.choices, self.path = made, source, choices, path
        self.data_dir, self.reading = data_dir, reading
        self.weights: dict[str, str] | None = None
        self.expected_hash: str | None = None

    @property
    def system(self) -> str:
        """Its name."""
        assert self.made
        return self.made.name

    @property
    def code(self) -> Any:
        """A system's module, or what stands for one."""
        assert self.made
        return self.made.code

    def open(self) -> Dataset:
        """The data, split; where no system was named, the one that suits it is chosen now."""
        found = data.open(self.source, data_dir=self.data_dir, reading=self.reading)
        dataset = replace(found, notes=(*found.notes, *found.tally())).split_off(self.reading.split)
        if self.expected_hash and dataset.hash != self.expected_hash:
            raise UserError(
                f"{self.source} has changed since {self.path} was trained on it; restore it, or train anew with another --out"
            )
        if self.made is None:
            system, why = usual(dataset, self.reading.task)
            self.made = made_by(system)
            dataset = replace(dataset, notes=(*dataset.notes, why))
        return dataset

    def recipe(self, dataset: Dataset) -> Recipe:
        """What the system makes of the data and the choices; raises UserError where a person's own makes none."""
        assert self.made
        try:
            made = self.code.recipe(dataset, **self.choices)
        except TypeError as error:
            if self.made.own and error.__traceback__ and error.__traceback__.tb_next is None:  # the call itself
                raise UserError(f"{self.system}: {error}; write it as recipe(data, **choices)") from error
            raise
        if not isinstance(made, Recipe):
            raise UserError(f"{self.system}: recipe gives a {type(made).__name__}; let it return a shendu.core.Recipe")
        return made

    def folder(self, dataset: Dataset) -> Folder:
        if self.path:
            return Folder(self.path)
        stem = f"{datetime.date.today().isoformat()}_{self.system}_{''.join(c if c.isalnum() or c in '-.' else '-' for c in dataset.name)}"
        for number in range(1, 10_000):
            path = RUNS / f"{stem}_{number}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(f"cannot write {path} ({error.strerror}); choose another folder with --out") from None
            return Folder(path)
        raise UserError(f"there are 9,999 runs called {stem}; choose a folder with --out")


def usual(dataset: Dataset, task: str = "auto") -> tuple[str, str]:
    """(the system for data of which none was named, the note that says why); raises UserError where none suits the task."""
    field = dataset.fields[dataset.input]
    word = f"{task} {field.kind}" if task == "anomaly" else field.kind
    known = registry.suits()
    if word not in known:
        others = [kind_of(each.split()[-1]).words for each in known if each.startswith(f"{task} ")]
        can = (
            f"anomalies are found in {', '.join(others[:-1])} and {others[-1]}"
            if others
            else "no system reads it by itself"
        )
        raise UserError(
            f"{can}, and {dataset.name} holds {field.words}; leave --task out, or name a system (`shendu list`)"
        )
    system, why = registry.suited(word)
    note = f"network: {system}, since {why} (another one: put its name before the data; `shendu list` shows them)"
    return system, note


def fitting(module: ModuleType, recipe: Recipe, dataset: Dataset, order: Order, say: Callable[[str], None]) -> Recipe:
    """The recipe with what a file of weights says of the network and the person did not; raises UserError for misfits."""
    assert order.weights
    path = order.weights["path"]
    found = published.settings(module, recipe.model, path)
    if found and not found.keys() & order.choices.keys():
        say(f"{', '.join(f'{name}={value}' for name, value in found.items())}: as {Path(path).name} has it")
        order.choices = {**order.choices, **found}
        recipe = module.recipe(dataset, **order.choices)
    published.check_vocabulary(recipe.task, path, dataset.name)
    published.load_published(module, recipe.model, path, say)
    return recipe


def wanted(
    system: Any, source: Any, out: Any, resume: Any, choices: dict[str, Any], data_dir: Any, weights: Any = None
) -> Order:
    """Settles what a call means; raises UserError where it contradicts the run that it wants to continue."""
    path = Path(out) if out else None
    if isinstance(system, str) and source is None and system not in registry.systems() and not own.is_file(system):
        source, system = known_data(system), None
    loss = choices.pop("loss") if callable(choices.get("loss")) else None
    if isinstance(loss, type):
        raise UserError(f"{loss.__name__} is a class: give a loss that is built, loss={loss.__name__}()")
    if loss and not isinstance(system, nn.Module):
        raise UserError("a function as the loss is for an nn.Module: shendu.train(module, data, loss=function)")
    said = {key: value for key, value in choices.items() if key in config.hints(Reading)}
    settings = {key: value for key, value in choices.items() if key not in said}
    (reading,) = config.settle(said, Reading())
    if resume and not isinstance(resume, bool) and resume not in RESUME:
        path = Path(resume)
        if not path.is_dir():
            raise UserError(f"there is no folder {path}: check the path (`shendu runs` lists those under runs/)")
        if not (path / "recipe.json").exists():
            raise UserError(
                f"{path} is no run that could be continued (it has no recipe.json); `shendu runs` lists those under runs/"
            )
    kept = Folder(path).read("recipe.json") if path else None
    if kept is None:
        if resume and path is None:
            raise UserError("--resume needs the run: shendu train --resume RUN, or give --out RUN as well")
        if path is not None and path.is_dir() and not begun_only(path):
            raise UserError(f"{path} is not empty and no run; choose another folder with --out")
        if source is None:
            like = (
                f"shendu train {named_as(system)} DATA" if system else "shendu train PATH, or shendu train SYSTEM DATA"
            )
            raise UserError(f"train needs data: {like} (`shendu list` shows systems and data)")
        made = None if system is None else made_by(system, loss)
        if made:
            reading = replace(reading, split=reading.split or made.code.SPLIT)
        order = Order(made, source, settings, path, data_dir, reading)
        order.weights = published.about(weights) if weights else None
        return order
    if not resume:
        raise UserError(f"{path} holds a run already; add --resume to continue it, or choose another --out")
    assert path
    if "compressed" in kept:
        raise UserError(
            f"{path} is made of another run; continue it with: {own.continued(path, kept.get('own'), True)}"
        )
    made = made_again(path, kept, system, loss)
    if made.name != kept["system"]:
        raise UserError(
            f"{path} holds a run of {kept['system']}, not of {made.name}; continue it with: shendu train --resume {path}"
        )
    about = kept["data"]
    then = {**kept["choices"], **about["reading"]}
    changed = [k for k, v in settings.items() if k not in then or str(then[k]) != str(config.to_json(v))]
    changed += [k for k in said if config.to_json(reading)[k] != then.get(k)]
    began = kept.get("weights")
    if weights and (began is None or published.about(weights)["sha256"] != began["sha256"]):
        changed, then = [*changed, "weights"], {**then, "weights": began["path"] if began else "its own random ones"}
    if changed:
        was = ", ".join(f"{k}={then.get(k, 'its default')}" for k in changed)
        raise UserError(
            f"{path} was begun with {was}; a resumed run keeps its settings (leave the option out, or use another --out)"
        )
    where, how = data_dir or about["data_dir"], config.from_json(Reading, about["reading"])
    order = Order(made, about["source"], kept["choices"], path, where, how)
    order.expected_hash, order.weights = about["hash"], began
    if source is not None and isinstance(source, str) and source not in (about["source"], about["given"]):
        raise UserError(
            f"{path} was trained on {about['given']}, not on {source}; continue it with: shendu train --resume {path}"
        )
    return order


def named_as(system: Any) -> str:
    return type(system).__name__ if isinstance(system, nn.Module) else str(system)


def spelled(loss: Any) -> str:
    """A function's name, or that of its class."""
    return str(getattr(loss, "__qualname__", type(loss).__name__))


def made_again(path: Path, kept: dict[str, Any], system: Any, loss: Any) -> Made:
    """What a run that is continued is made by, as it is given now, or as the run has it. Raises UserError."""
    if isinstance(system, nn.Module):
        made, then = made_by(system, loss), (kept.get("own") or {}).get("loss", "a name")
        now = (made.own or {}).get("loss", "a name")
        if now != then:
            raise UserError(f"{path} was begun with the loss {then}, not {now}; a resumed run keeps its settings")
        return made
    if system is None and "module" in (kept.get("own") or {}):
        raise UserError(f"{path} holds no code; continue it with: {own.continued(path, kept['own'])}")
    if system is not None and not (own.is_file(system) and kept.get("own")):
        return made_by(system)
    code = Saved(path, file=system).code
    return Made(kept["system"], code, kept["summary"], kept.get("own"))


def known_data(word: str) -> str:
    """The one word that was given, where it is data; raises UserError that names the near system or data set."""
    known = {**registry.systems(), **KNOWN}
    if word not in KNOWN and not word.startswith("cache:") and not os.path.exists(os.path.expanduser(word)):
        raise data.nothing_called(word, "system or data set", known)
    return word


def begun_only(path: Path, *more: str) -> bool:
    """Whether a folder holds nothing, or what a run leaves that dies before its recipe.json is there, or `more` files."""
    return all(
        (p.name == "checkpoints" and not any(p.iterdir()))
        or p.name in (LOCK, *more)
        or p.name.startswith(".recipe.json.")
        for p in path.iterdir()
    )


def begin(folder: Folder, order: Order, dataset: Dataset, recipe: Recipe) -> None:
    """Writes how the run is made, before it is made; of a person's own file its text too."""
    made = order.made
    assert made
    if made.own and "file" in made.own:
        write_text(folder.path / own.KEPT, own.read(Path(made.own["file"]))[0])
    if folder.read("recipe.json") is None:
        source = (
            str(Path(dataset.source).resolve())
            if os.path.exists(dataset.source) and dataset.source != dataset.name
            else dataset.source
        )
        about = {
            "name": dataset.name, "source": source, "given": order.source if isinstance(order.source, str) else dataset.source,
            "hash": dataset.hash, "data_dir": str(Path(order.data_dir).resolve()) if order.data_dir else None,
            "reading": config.to_json(order.reading), "rows": {part: len(split) for part, split in dataset.splits.items()},
            "notes": list(dataset.notes),
        }  # fmt: skip
        stages = [
            {"name": s.name, "steps": s.steps, "batch_size": s.batch_size, "accumulate": s.accumulate}
            for s in recipe.stages
        ]
        folder.write("recipe.json", {
            "system": order.system, "summary": made.summary, "own": made.own,
            "choices": config.to_json(order.choices), "seed": recipe.seed, "data": about,
            "settings": recipe.settings, "model": config.to_json(recipe.model), "stages": stages,
            "select_by": recipe.select_by, "ema": recipe.ema, "weights": order.weights,
            "shendu": shendu.__version__,
        })  # fmt: skip
    if folder.read("result.json") is None:  # of a finished run it says where that was trained
        folder.write("env.json", machine())
