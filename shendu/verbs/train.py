"""train: a system and data in, a finished run folder out; continues one that was stopped."""

from __future__ import annotations

import datetime
import math
import os
import platform
import re
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
from typing import Any

import numpy
import torch
from torch import nn

import shendu
from shendu import config, data, parallel, registry
from shendu.core import Recipe, Remarks
from shendu.data.dataset import Dataset
from shendu.data.known import KNOWN
from shendu.data.processors.embedding import Embedding
from shendu.data.processors.supervised import Supervised
from shendu.data.processors.unlabelled import Unlabelled
from shendu.data.reading import Reading
from shendu.errors import Interrupted, UserError, unknown
from shendu.fit import Progress, Setup, fit
from shendu.measure import Outputs, intervals, measure, signatures
from shendu.metrics import compared, equal_error, roc, threshold_at
from shendu.run import LOCK, Folder, write_text
from shendu.verbs import choose, report
from shendu.verbs import weights as published
from shendu.verbs.card import model_card
from shendu.verbs.display import Display
from shendu.verbs.opened import Run, save_model

RUNS = Path("runs")
COMPILE, ON_NAN, RESUME = ("auto", "on", "off"), ("stop", "skip"), ("exact", "approximate")
TRAINS, CLOSING = 0.95, 5.0
"""Share of a time limit for reading and training, and seconds less: the rest is for the final figures and the report."""
TRAIN_FIGURE_ROWS = 10_000
"""The training part's figure is measured on at most this many of its rows."""
TRAIN_FIGURE_LEAST = 500
"""And on at least so many, however little of a time limit is left."""
PARTS = ("train", "validation", "test")


def train(
    system: str | None = None,
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
    if system is not None:
        system, named = registry.spelled(system)
        choices = {**named, **choices}
    began, limit = time.monotonic(), duration(time_limit)
    chosen = parallel.choose_device(device)
    display = Display(quiet, say)
    order = wanted(system, data, out, resume, choices, data_dir, weights)
    dataset = order.open()
    assert order.system is not None
    module = registry.load(order.system)
    recipe = module.recipe(dataset, **order.choices)
    if order.reading.task == "anomaly" and not isinstance(recipe.processor, Unlabelled):
        raise UserError(f"{order.system} learns a target, and --task anomaly has none; leave {order.system} out")
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
            with display.live(f"{order.system} on {dataset.name}", folder):
                model, at = fit(recipe, folder, setup)
            finish(
                folder, order.system, dataset, recipe, setup, model, at, display, began + limit if limit else math.inf
            )
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
            if begun_only(folder.path, "recipe.json", "env.json"):  # what cannot be built leaves no run behind
                shutil.rmtree(folder.path)
            raise
    return Run(folder.path)


def duration(text: str | float | None) -> float:
    """Seconds of `90`, `90s`, `10m` or `2h`; 0 for None. Raises UserError."""
    if text is None:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(text).strip())
    seconds = float(found.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[found.group(2)] if found else 0.0
    if seconds <= 0:
        raise UserError(f"--time-limit {text} is no length of time; write it like 90s, 10m or 2h")
    return seconds


class Order:
    """What is to be trained: as given now, or as a run's recipe.json has it."""

    def __init__(
        self,
        system: str | None,
        source: Any,
        choices: dict[str, Any],
        path: Path | None,
        data_dir: Any,
        reading: Reading,
    ) -> None:
        self.system, self.source, self.choices, self.path = system, source, choices, path
        self.data_dir, self.reading = data_dir, reading
        self.weights: dict[str, str] | None = None
        self.expected_hash: str | None = None

    def open(self) -> Dataset:
        """The data, split; where no system was named, the one that suits it is chosen now."""
        dataset = data.open(self.source, data_dir=self.data_dir, reading=self.reading).split_off(self.reading.split)
        if self.expected_hash and dataset.hash != self.expected_hash:
            raise UserError(
                f"{self.source} has changed since {self.path} was trained on it; restore it, or train anew with another --out"
            )
        if self.system is None:
            system, why = choose.usual(dataset, self.reading.task)
            self.system = system
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


def fitting(module: ModuleType, recipe: Recipe, dataset: Dataset, order: Order, say: Callable[[str], None]) -> Recipe:
    """The recipe with what a file of weights says of the network and the person did not; raises UserError for misfits."""
    assert order.weights
    path = order.weights["path"]
    found = published.settings(module, recipe.model, path)
    if found and not found.keys() & order.choices.keys():
        say(f"{', '.join(f'{name}={value}' for name, value in found.items())}: as {Path(path).name} has it")
        order.choices = {**order.choices, **found}
        recipe = module.recipe(dataset, **order.choices)
    published.check_vocabulary(recipe.processor, path, dataset.name)
    published.load_published(module, recipe.model, path, say)
    return recipe


def wanted(
    system: str | None, source: Any, out: Any, resume: Any, choices: dict[str, Any], data_dir: Any, weights: Any = None
) -> Order:
    """Settles what a call means; raises UserError where it contradicts the run that it wants to continue."""
    path = Path(out) if out else None
    if system is not None and source is None and system not in registry.systems():
        source, system = known_data(system), None
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
            like = f"shendu train {system} DATA" if system else "shendu train PATH, or shendu train lenet mnist"
            raise UserError(f"train needs data: {like} (`shendu list` shows systems and data)")
        if system is not None:
            registry.entry(system)
            own = getattr(registry.load(system), "SPLIT", "")
            reading = replace(reading, split=reading.split or own)
        order = Order(system, source, settings, path, data_dir, reading)
        order.weights = published.about(weights) if weights else None
        return order
    if not resume:
        raise UserError(f"{path} holds a run already; add --resume to continue it, or choose another --out")
    if system is not None and system != kept["system"]:
        raise UserError(
            f"{path} holds a run of {kept['system']}, not of {system}; continue it with: shendu train --resume {path}"
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
    order = Order(kept["system"], about["source"], kept["choices"], path, where, how)
    order.expected_hash, order.weights = about["hash"], began
    if source is not None and isinstance(source, str) and source not in (about["source"], about["given"]):
        raise UserError(
            f"{path} was trained on {about['given']}, not on {source}; continue it with: shendu train --resume {path}"
        )
    return order


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
    """Writes how the run is made, before it is made."""
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
            "system": order.system, "choices": config.to_json(order.choices), "seed": recipe.seed, "data": about,
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
    calibrate(recipe, setup, model)
    save_model(folder, system, recipe.model, model, recipe.processor)
    figures: dict[str, dict[str, float]] = {}
    sure: dict[str, dict[str, list[float]]] = {}
    shown, part = Outputs(), next(part for part in reversed(PARTS) if part in recipe.splits)
    began, rows = time.monotonic(), 0
    for each in (each for each in reversed(PARTS) if each in recipe.splits):
        now = time.monotonic()
        most = affordable(deadline - CLOSING - now, (now - began) / rows) if each == "train" and rows else 0
        figures[each], sure[each], outputs = measured(recipe, setup, model, each, dataset.overlap, most)
        shown, rows = outputs if each == part else shown, rows + recipe.splits[each].rows
    result = {
        "system": system, "data": dataset.name, "seed": recipe.seed,
        "metrics": {each: figures[each] for each in PARTS if each in figures},
        "intervals": {each: sure[each] for each in PARTS if each in sure},
        "seconds": round(at.seconds, 3),
        "samples_per_second": round(at.samples / at.seconds, 1) if at.seconds else 0.0, "steps": at.total,
        "parameters": sum(p.numel() for p in model.parameters()), "device": str(setup.device), "precision": setup.precision,
        "compiled": bool(at.compiled), "skipped_steps": at.skips, "resume": setup.resume,
    }  # fmt: skip
    if doubt := doubtful(recipe.processor, shown, sure[part], part):
        result["doubt"] = doubt
    if signed := signatures(recipe.metrics):
        result["signatures"] = signed
    folder.write("result.json", result)
    display.result(result, folder)
    if doubt:
        display.say(doubt)
    write_text(folder.path / "README.md", model_card(folder, result))
    report.write(folder, recipe, model, shown, part)
    if isinstance(model, Remarks):
        display.say(model.remark())
    display.say(f"report: {folder.path / 'report.html'}")


def doubtful(processor: Any, shown: Outputs, sure: dict[str, list[float]], part: str) -> str:
    """A line where the rows do not tell a model from the simplest one there is, within the interval of its figure; else empty."""
    if not isinstance(processor, Supervised):
        return ""
    targets = torch.cat(shown.targets)
    if processor.labels and "accuracy" in sure:
        counts = torch.bincount(targets.flatten())
        share = counts.max().item() / int(counts.sum())
        simplest = (
            f"one that always says {processor.labels[int(counts.argmax())]}, which is right in {share:.1%} of them"
        )
        better = sure["accuracy"][0] > share
    elif "r2" in sure:
        simplest, better = "one that always says their mean", sure["r2"][0] > 0
    else:
        return ""
    return "" if better else f"{len(targets):,} {part} rows do not tell this model from {simplest}"


def affordable(seconds: float, per_row: float) -> int:
    """How many training rows are measured in some seconds, where other rows took so long each."""
    return int(min(TRAIN_FIGURE_ROWS, max(TRAIN_FIGURE_LEAST, seconds / max(per_row, 1e-9))))


def calibrate(recipe: Recipe, setup: Setup, model: nn.Module) -> None:
    """Where rows are to be called anomalies, or pairs the same: from what figure on, as validation rows say, or training rows
    without them."""
    processor, shown = recipe.processor, Outputs()
    if not isinstance(processor, Embedding) and not (isinstance(processor, Unlabelled) and processor.judged):
        return
    source = recipe.splits.get("validation", recipe.splits["train"])
    measure(model, processor, source, {"outputs": lambda: shown}, setup.device, setup.precision, TRAIN_FIGURE_ROWS)
    if isinstance(processor, Unlabelled):
        processor.calibrate(torch.cat(shown.outputs))
    if isinstance(processor, Embedding):
        curve = roc(*compared(torch.cat(shown.outputs), torch.cat(shown.targets)))
        if math.isfinite(equal_error(curve)):
            processor.threshold = threshold_at(curve, processor.false_accepts)


def measured(
    recipe: Recipe, setup: Setup, model: nn.Module, part: str, overlap: int, most: int = 0
) -> tuple[dict[str, float], dict[str, list[float]], Outputs]:
    """A part's figures, their intervals, and the outputs that they were measured on."""
    shown = Outputs()
    metrics = {**recipe.metrics, "outputs": lambda: shown}
    most = most or (TRAIN_FIGURE_ROWS if part == "train" else 0)
    found = measure(model, recipe.processor, recipe.splits[part], metrics, setup.device, setup.precision, most)
    sure = intervals(torch.cat(shown.outputs), torch.cat(shown.targets), recipe.metrics, overlap)
    return {name: found[name] for name in recipe.metrics}, sure, shown
