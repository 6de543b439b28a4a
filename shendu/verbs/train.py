"""train: a system and data in, a finished run folder out; continues one that was stopped."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from torch import nn

from shendu import config, own, parallel, published, registry
from shendu.compressing.packing import Packing
from shendu.core import Recipe
from shendu.data.audit import duplicates
from shendu.data.dataset import Dataset
from shendu.errors import Interrupted, UserError, unknown
from shendu.loop import Progress, Setup, fit
from shendu.metrics.evaluation import Measured
from shendu.options import AS_JSON, DATA_DIR, DEVICE, OPENS, PRECISION, READING, echo, emit, only_given
from shendu.order import RESUME, begin, begun_only, fitting, wanted
from shendu.pages import report
from shendu.pages.card import model_card
from shendu.pages.display import Display
from shendu.predictor import Predictor
from shendu.run import Folder, write_text
from shendu.saved import Saved, save_model
from shendu.verbs.evaluate import evaluate, signatures
from shendu.verbs.predict import predict

ORDER = 30
PUBLIC = ("Run", "train")
COMPILE, ON_NAN = ("auto", "on", "off"), ("stop", "skip")
TRAINS, CLOSING = 0.95, 5.0
"""Share of a time limit for reading and training, and seconds less: the rest is for the final figures and the report."""
TRAIN_FIGURE_ROWS = 10_000
"""The training part's figure is measured on at most this many of its rows."""
TRAIN_FIGURE_LEAST = 500
"""And on at least so many, however little of a time limit is left."""
PARTS = ("train", "validation", "test")
FINISHED = ("model.safetensors", "config.json", "task.json", "result.json", "report.html")
"""What a finished run has: where one is removed, they are made again from the last checkpoint."""
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
    recipe = order.recipe(dataset)
    if order.reading.task == "anomaly" and "anomaly" not in recipe.task.answers():
        raise UserError(f"{name} learns a target, and --task anomaly has none; leave {name} out")
    if order.weights and not order.expected_hash:
        recipe = fitting(module, recipe, dataset, order, display.say)
    for note in (*dataset.notes, *recipe.notes, *copies(dataset)):
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
        stopped = "stopped at once; continue from the last checkpoint with"
        try:
            with display.live(f"{name} on {dataset.name}", folder):
                model, at = fit(recipe, folder, setup)
            stopped = "all that was learned is saved, its figures are not complete; take them with"
            finish(folder, name, dataset, recipe, setup, model, at, display, began + limit if limit else math.inf)
        except Interrupted as why:
            raise Interrupted(
                f"{why}; everything is saved, continue with: {Saved(folder.path).continued}", why.signal
            ) from None
        except KeyboardInterrupt:  # the second one, or one while the final figures are taken
            raise Interrupted(f"{stopped}: {Saved(folder.path).continued}", signal.SIGINT) from None
        except UserError:
            folder.check_there()
            if begun_only(
                folder.path, "recipe.json", "env.json", own.KEPT
            ):  # what cannot be built leaves no run behind
                folder.remove()
            raise
        except Exception:
            folder.check_there()
            if not order.expected_hash and all(path.name == "step-00000000" for path in folder.checkpoints()):
                folder.remove()  # a mistake in a person's code: nothing was learned
            raise
    return handed_back(system, Run(folder.path, module=system)) if isinstance(system, nn.Module) else Run(folder.path)


def copies(data: Dataset) -> list[str]:
    """A line where rows of the test part have the inputs of training rows: they are known, and figures on them say less."""
    found = duplicates.copied(data, "test") if "test" in data.splits else np.zeros(0, bool)
    count = f"{found.sum():,} of {len(found):,} test rows have the inputs of a training row"
    return [f"{count}, so the test figures flatter (shendu audit lists them)"] if found.any() else []


def handed_back(module: nn.Module, run: Run) -> Run:
    """The run, whose weights the person's module now has."""
    module.load_state_dict(run.model.state_dict())
    return run


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
    packing: Packing | None = None,
    more: dict[str, Any] | None = None,
) -> None:
    """The finished model, its final figures and the report; harmless to do twice. `packing` is `save_model`'s, `more` goes into
    result.json."""
    if all((folder.path / name).exists() for name in FINISHED):
        display.say(f"{folder.path} is finished already; its figures are in result.json")
        return
    predictor = Predictor(recipe.task, model, str(setup.device), setup.precision)
    predictor.calibrate(recipe.splits.get("validation", recipe.splits["train"]), TRAIN_FIGURE_ROWS)
    save_model(folder, system, recipe.model, model, recipe.task, packing)
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
    result |= more or {}
    if warning := recipe.task.warning(found[part], part):
        result["warning"] = warning
    if signed := signatures(recipe.task):
        result["signatures"] = signed
    result["weights"] = folder.need("config.json")["files"]["model.safetensors"]
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
        echo(run.path)


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
