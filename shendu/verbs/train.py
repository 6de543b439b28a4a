"""train: a system and data in, a finished run folder out; continues one that was stopped."""

from __future__ import annotations

import datetime
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click
import numpy
import torch
from torch import nn

import shendu
from shendu import config, data, own, parallel, published, registry
from shendu.core import Recipe
from shendu.data.dataset import Dataset
from shendu.data.known import KNOWN
from shendu.data.reading import Reading
from shendu.errors import Interrupted, UserError, unknown
from shendu.field import kind_of
from shendu.loop import Progress, Setup, fit
from shendu.metrics.evaluation import Measured
from shendu.options import AS_JSON, DATA_DIR, DEVICE, OPENS, PRECISION, READING, emit, only_given
from shendu.pages import report
from shendu.pages.card import model_card
from shendu.pages.display import Display
from shendu.predictor import Predictor
from shendu.recipes.bare import Bare
from shendu.run import LOCK, Folder, write_text
from shendu.saved import Saved, save_model
from shendu.verbs.evaluate import evaluate, signatures
from shendu.verbs.predict import predict

ORDER = 30
PUBLIC = ("Run", "train")
RUNS = Path("runs")
COMPILE, ON_NAN, RESUME = ("auto", "on", "off"), ("stop", "skip"), ("exact", "approximate")
TRAINS, CLOSING = 0.95, 5.0
"""Share of a time limit for reading and training, and seconds less: the rest is for the final figures and the report."""
TRAIN_FIGURE_ROWS = 10_000
"""The training part's figure is measured on at most this many of its rows."""
TRAIN_FIGURE_LEAST = 500
"""And on at least so many, however little of a time limit is left."""
PARTS = ("train", "validation", "test")
ENGINE = ("device", "precision", "compile", "on_nan", "time_limit", "data_dir")
"""Options that are no settings of the system."""


class Run(Saved):
    """A run folder, and what can be done with it. `Run("runs/…")` raises UserError where there is no run."""

    def evaluate(self, data: Any = None, **options: Any) -> dict[str, Any]:
        """Figures on the run's own test part, or on other data; see `shendu.evaluate`."""
        return evaluate(self, data, **options)

    def predict(self, *inputs: Any, **options: Any) -> list[dict[str, Any]]:
        """Labels with probabilities, or values; see `shendu.predict`."""
        return predict(self, *inputs, **options)


def train(
    system: Any = None,
    data: Any = None,
    *,
    out: str | Path | None = None,
    resume: bool | str | Path = False,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    compile: str = "auto",
    on_nan: str = "stop",
    time_limit: str | float | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Callable[[str], None] | None = None,
    **choices: Any,
) -> Run:
    """Trains a system on data and returns the finished Run.

    `system` is a name, a file of your own (`./my_network.py`, see the tutorial), or an nn.Module, which `loss` trains on the data's
    target (a name, or a function of outputs and targets that gives the mean over the rows or a number per row): it has the trained
    weights afterwards. Alone, it may be data, for which the system that suits is then chosen.
    `data` is a name, a path or arrays (see `shendu.open_data`). `out` is the run folder (else a dated one under runs/).
    `time_limit` (seconds, or 90s, 10m, 2h) is a budget for the whole command: fewer steps where need be.
    `weights` are what the network begins with: a .safetensors file (a run's, or a published one), or a run folder.
    `resume` continues: True what lies in `out`, a path that run, "approximate" even where exact bytes are impossible.
    `choices` are how the data is read (target, label_from, split, …: see `shendu.data.Reading`) and the system's settings:
    epochs, batch_size, lr, seed, … (unknown ones are named). Raises UserError, and Interrupted after a signal, with
    everything saved.
    """
    for kind, value, known in (("--precision", precision, parallel.PRECISIONS), ("--compile", compile, COMPILE),
                              ("--on-nan", on_nan, ON_NAN)):  # fmt: skip
        if value not in known:
            raise unknown(f"value for {kind}:", value, known)
    system = str(system) if isinstance(system, Path) else system
    if data is None and system is not None and not isinstance(system, str | nn.Module):
        system, data = None, system
    if isinstance(system, str):
        system, named = registry.spelled(system)
        choices = {**named, **choices}
    began, limit = time.monotonic(), config.duration(time_limit)
    chosen = parallel.choose_device(device)
    display = Display(quiet, say)
    order = wanted(system, data, out, resume, choices, data_dir, weights)
    dataset = order.open()
    module, name = order.code, order.system
    recipe = module.recipe(dataset, **order.choices)
    if order.reading.task == "anomaly" and "anomaly" not in recipe.task.answers():
        raise UserError(f"{name} learns a target, and --task anomaly has none; leave {name} out")
    if order.weights and not order.expected_hash:
        recipe = fitting(module, recipe, dataset, order, display.say)
    for note in (*dataset.notes, *recipe.notes):
        display.say(note)
    folder = order.folder(dataset)
    setup = Setup(
        seed=recipe.seed, device=chosen, precision=precision, compile=compile, on_nan=on_nan,
        time_limit=max(limit / 4, TRAINS * limit - CLOSING - (time.monotonic() - began)) if limit else 0.0,
        resume="approximate" if resume == "approximate" else "exact", say=display.say, show=display.show,
        start=partial(published.again, module, recipe.model, order.weights) if order.weights else dict,
    )  # fmt: skip
    with folder.alone():
        begin(folder, order, dataset, recipe)
        try:
            with display.live(f"{name} on {dataset.name}", folder):
                model, at = fit(recipe, folder, setup)
            finish(folder, name, dataset, recipe, setup, model, at, display, began + limit if limit else math.inf)
        except Interrupted as why:
            raise Interrupted(
                f"{why}; everything is saved, continue with: shendu train --resume {folder.path}", why.signal
            ) from None
        except KeyboardInterrupt:  # the second one, or one while the final figures are taken
            raise Interrupted(
                f"stopped at once; continue from the last checkpoint with: shendu train --resume {folder.path}",
                signal.SIGINT,
            ) from None
        except UserError:
            if begun_only(
                folder.path, "recipe.json", "env.json", own.KEPT
            ):  # what cannot be built leaves no run behind
                shutil.rmtree(folder.path)
            raise
    return handed_back(system, Run(folder.path, module=system)) if isinstance(system, nn.Module) else Run(folder.path)


def handed_back(module: nn.Module, run: Run) -> Run:
    """The run, whose weights the person's module now has."""
    module.load_state_dict(run.model.state_dict())
    return run


class Made(NamedTuple):
    """What a run is made by."""

    name: str
    code: Any
    summary: str
    own: dict[str, str] | None = None
    """What recipe.json keeps of code that is a person's own."""


def made_by(system: str | Path | nn.Module, loss: Any = "auto") -> Made:
    """By a system's name, its file, or a module. Raises UserError."""
    if isinstance(system, type):
        raise UserError(
            f"{system.__name__} is a class: give a module that is built, shendu.train({system.__name__}(…), data)"
        )
    if isinstance(system, nn.Module):
        bare = Bare(system, loss)
        return Made(
            bare.__name__, bare, str(bare.__doc__), {"module": f"{type(system).__module__}.{type(system).__qualname__}"}
        )
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
        dataset = data.open(self.source, data_dir=self.data_dir, reading=self.reading).split_off(self.reading.split)
        if self.expected_hash and dataset.hash != self.expected_hash:
            raise UserError(
                f"{self.source} has changed since {self.path} was trained on it; restore it, or train anew with another --out"
            )
        if self.made is None:
            system, why = usual(dataset, self.reading.task)
            self.made = made_by(system)
            dataset = replace(dataset, notes=(*dataset.notes, why))
        return dataset

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
    note = f"network: {system}, since {why} (another one: shendu train SYSTEM {dataset.name}; `shendu list` shows them)"
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
    loss = choices.pop("loss") if isinstance(system, nn.Module) and "loss" in choices else "auto"
    if callable(choices.get("loss")):
        raise UserError("a function as the loss is for an nn.Module: shendu.train(module, data, loss=function)")
    said = {key: value for key, value in choices.items() if key in config.hints(Reading)}
    settings = {key: value for key, value in choices.items() if key not in said}
    (reading,) = config.settle(said, Reading())
    if resume and not isinstance(resume, bool) and resume not in RESUME:
        path = Path(resume)
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


def made_again(path: Path, kept: dict[str, Any], system: Any, loss: Any) -> Made:
    """What a run that is continued is made by, as it is given now, or as the run has it. Raises UserError."""
    if isinstance(system, nn.Module):
        return made_by(system, loss)
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
    folder.write("env.json", machine())


def machine() -> dict[str, Any]:
    """Versions and hardware: what a figure was measured on."""
    return {
        "shendu": shendu.__version__, "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
        "platform": platform.platform(), "processor": processor_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "bf16": parallel.bf16_units(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None, "commit": commit(),
        "command": " ".join(sys.argv),
    }  # fmt: skip


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str | None:
    """The git commit of this package's source, where it is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def finish(
    folder: Folder,
    system: str,
    dataset: Dataset,
    recipe: Recipe,
    setup: Setup,
    model: nn.Module,
    at: Progress,
    display: Display,
    deadline: float,
) -> None:
    """The finished model, its final figures and the report; harmless to do twice."""
    if all((folder.path / name).exists() for name in ("model.safetensors", "result.json", "report.html")):
        display.say(f"{folder.path} is finished already; its figures are in result.json")
        return
    predictor = Predictor(recipe.task, model, str(setup.device), setup.precision)
    predictor.calibrate(recipe.splits.get("validation", recipe.splits["train"]), TRAIN_FIGURE_ROWS)
    save_model(folder, system, recipe.model, model, recipe.task)
    found: dict[str, Measured] = {}
    part = next(part for part in reversed(PARTS) if part in recipe.splits)
    began, rows = time.monotonic(), 0
    for each in (each for each in reversed(PARTS) if each in recipe.splits):
        now = time.monotonic()
        most = affordable(deadline - CLOSING - now, (now - began) / rows) if each == "train" and rows else 0
        most = most or (TRAIN_FIGURE_ROWS if each == "train" else 0)
        found[each] = predictor.evaluate(recipe.splits[each], most=most, worst=each == part)
        rows += recipe.splits[each].rows
    result = {
        "system": system, "data": dataset.name, "seed": recipe.seed,
        "metrics": {each: found[each].figures for each in PARTS if each in found},
        "intervals": {
            each: {name: list(ends) for name, ends in found[each].intervals.items()} for each in PARTS if each in found
        },
        "seconds": round(at.seconds, 3),
        "samples_per_second": round(at.samples / at.seconds, 1) if at.seconds else 0.0, "steps": at.total,
        "parameters": sum(p.numel() for p in model.parameters()), "device": str(setup.device), "precision": setup.precision,
        "compiled": bool(at.compiled), "skipped_steps": at.skips, "resume": setup.resume,
    }  # fmt: skip
    if warning := recipe.task.warning(found[part], part):
        result["warning"] = warning
    if signed := signatures(recipe.task):
        result["signatures"] = signed
    folder.write("result.json", result)
    display.result(result, folder)
    if warning:
        display.say(warning)
    write_text(folder.path / "README.md", model_card(folder, result))
    report.write(folder, recipe, predictor, found[part], part)
    for remark in report.remarks(predictor):
        display.say(remark)
    display.say(f"report: {folder.path / 'report.html'}")


def affordable(seconds: float, per_row: float) -> int:
    """How many training rows are measured in some seconds, where other rows took so long each."""
    return int(min(TRAIN_FIGURE_ROWS, max(TRAIN_FIGURE_LEAST, seconds / max(per_row, 1e-9))))


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("system", required=False)
@click.argument("data", required=False)
@click.option("--epochs", type=float, help="Passes over the training rows.")
@click.option("--steps", type=int, help="Optimiser steps (instead of epochs).")
@click.option("--batch-size", type=int, help="Rows per step; 0: all.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--seed", type=int, help="Everything random follows from it (default 0).")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting of the system; repeatable."
)
@DEVICE
@PRECISION
@click.option(
    "--compile", default="auto", metavar="auto|on|off", help="auto: a trial, where the time left pays for it."
)
@click.option("--time-limit", metavar="10m", help="A budget for the whole command; fewer steps where need be.")
@click.option("--on-nan", default="stop", metavar="stop|skip", help="What to do when the loss is not finite.")
@DATA_DIR
@OPENS
@READING
@click.option("--out", metavar="DIR", help="The run folder itself (default: a dated folder under runs/).")
@click.option("--resume", is_flag=False, flag_value="exact", metavar="[RUN]",
              help="Continue RUN, or the run in --out; --resume=approximate where exact bytes are impossible.")  # fmt: skip
@click.option("--weights", metavar="FILE", help="Begin with these: a .safetensors file, a library's or a run's.")
@click.option("--quiet", is_flag=True, help="No progress, no table.")
@AS_JSON
def command(system: str | None, data: str | None, settings: tuple[str, ...], out: str | None, resume: str | None,
            weights: str | None, quiet: bool, as_json: bool, **options: Any) -> None:  # fmt: skip
    """Train SYSTEM on DATA (a name, or a path) into a run folder; without SYSTEM the one that suits the data.

    \b
    shendu train photos/
    shendu train people.csv --target income
    shendu train lenet mnist
    shendu train mlp digits --epochs 5 --set hidden=64,64
    shendu train resnet photos/ --weights resnet18.safetensors
    shendu train ./my_network.py photos/
    shendu train --resume runs/2026-11-22_lenet_mnist_1
    """
    if resume and out and data is None and resume not in RESUME and not os.path.exists(f"{resume}/recipe.json"):
        system, data, resume = resume, system, "exact"  # --out RUN --resume SYSTEM DATA: the word after it is no run
    how = True if resume == "exact" else resume or False
    run = train(system, data, out=out, resume=how, weights=weights, quiet=quiet, **split_choices(options, settings))
    if as_json:
        emit(run.result)
    elif quiet:
        click.echo(run.path)


def split_choices(options: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Engine options, the system's own (those that were given), and --set's; a setting given twice is an error."""
    engine = {k: v for k, v in options.items() if k in ENGINE}
    given = {k: v for k, v in only_given(options).items() if k not in ENGINE}
    named = config.parse_settings(settings)
    for key in named:
        if key in given:
            raise UserError(f"{key} is given twice: --{key.replace('_', '-')} and --set {key}=…; leave one out")
        if key in ENGINE:
            raise UserError(f"{key} is an option, not a setting; write it as --{key.replace('_', '-')} {named[key]}")
    return {**engine, **given, **named}
