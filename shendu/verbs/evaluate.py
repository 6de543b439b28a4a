"""evaluate: a finished run's figures on its test part, or on other data of the same kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from shendu import config
from shendu import data as data_module
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.options import AS_JSON, DATA_DIR, DEVICE, OPENS, PRECISION, READING, echo, emit, only_given, table
from shendu.pages.display import aside
from shendu.reading import Reading
from shendu.saved import Saved, opened
from shendu.tasks import Task

ORDER = 50
PUBLIC = ("evaluate",)


def evaluate(
    run: Saved | str | Path,
    data: Any = None,
    *,
    part: str = "test",
    device: str = "auto",
    precision: str = "auto",
    data_dir: str | Path | None = None,
    say: Callable[[str], None] = aside,
    **how: Any,
) -> dict[str, Any]:
    """`{"run", "data", "part", "rows", "metrics", "intervals"}` for a part of the run's data, or of `data` (a name, path, arrays).

    The run's own data, named again, is its own test part, not the rows that it has learned. Other data is encoded by the
    run's own columns: unseen categories and words have the code of what is unseen, pictures are brought to the run's size.
    Data without a test part is measured whole (`part` says so). `intervals` are the 95% intervals of the figures;
    `signatures`, where a metric has variants (BLEU), say which one it is. `say` is told a warning about the figures.
    Raises UserError where the data does not fit the model.
    """
    found = opened(run)
    dataset = named_data(found, data, data_dir, how)
    part = measured_part(dataset, part)
    for note in () if dataset.hash else dataset.notes:  # encoded by the run's fields: what could not be read
        say(note)
    predictor = found.predictor(device, precision)
    task, split = predictor.task, dataset.splits[part]
    rows = {
        role + p: v
        for role, field in task.inputs.items()
        for p, v in split.values(dataset.roles()[role], field).items()
    }
    if line := task.unsure(rows):
        say(line)
    source = task.held_out(dataset, part)
    measured = predictor.evaluate(source)
    result = {
        "run": str(found.path), "data": dataset.name, "part": part, "rows": source.rows, "metrics": measured.figures,
        "intervals": {name: list(ends) for name, ends in measured.intervals.items()},
    }  # fmt: skip
    signed = signatures(task)
    return {**result, "signatures": signed} if signed else result


def signatures(task: Task) -> dict[str, str]:
    """Figure -> which of several variants of it this is, of those that have any (BLEU)."""
    return {name: metric.signature for metric in task.metrics().values() if metric.signature for name in metric.higher}


def named_data(run: Saved, data: Any, data_dir: str | Path | None, how: dict[str, Any]) -> Dataset:
    """The run's own data where none is named, or its own is named again; else other data, by the run's fields. Raises UserError
    where the data does not fit the model."""
    own = data is None or (not how and _is_own(run, data))
    dataset = data_of(run, data_dir) if own else _other(run, data, data_dir, how)
    check_fits(run, dataset)
    return dataset


def measured_part(dataset: Dataset, part: str) -> str:
    """The part by its name; where there is no test part, the one that stands in for it. Raises UserError for an unknown one."""
    if part in dataset.splits:
        return part
    if part != "test":
        raise UserError(f"{dataset.name} has no part called {part}; it has {', '.join(dataset.splits)}")
    return "validation" if "validation" in dataset.splits else "train"


def _is_own(run: Saved, data: Any) -> bool:
    """Whether data is what the run was trained on, by its name or path."""
    about = run.recipe["data"]
    return isinstance(data, str | os.PathLike) and (
        str(data) == about["given"] or str(Path(data).expanduser().resolve()) == about["source"]
    )


def data_of(run: Saved, data_dir: str | Path | None) -> Dataset:
    """The data that a run was trained on, in its parts. Raises UserError where the run was not trained here."""
    about, _ = run.recipe["data"], run.code  # its reader may be its own
    if not about["source"]:
        raise UserError(
            f"{run.path} was not trained here; say on what it is to be measured: shendu evaluate {run.path} DATA"
        )
    reading = config.from_json(Reading, about["reading"])
    dataset = data_module.open(about["source"], data_dir=data_dir or about["data_dir"], reading=reading)
    return dataset.split_off(reading.split)


def _other(run: Saved, data: Any, data_dir: str | Path | None, how: dict[str, Any]) -> Dataset:
    """Other data, read as the run's own was where nothing else is said, and encoded by its fields."""
    reading = config.settle(how, _reading(run))[0]
    return data_module.open(data, data_dir=data_dir, reading=reading, fields=run.task.fields())


def _reading(run: Saved) -> Reading:
    return replace(config.from_json(Reading, run.recipe["data"]["reading"]), split="", test_from="")


def check_fits(run: Saved, dataset: Dataset) -> None:
    """Raises UserError where the data's fields are not those that the model was trained on."""
    for role, name in dataset.roles().items():
        ours, other = run.task.fields().get(role), dataset.fields.get(name)
        if ours is not None and other is not None and ours != other:
            raise UserError(
                f"{run.path} was trained on {ours.brief()}, {dataset.name} holds {other.brief()}; give data of the same size and kind"
            )


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.argument("data", required=False)
@click.option("--part", default="test", help="Which part of the data: test, validation or train.")
@DEVICE
@PRECISION
@DATA_DIR
@READING
@AS_JSON
@OPENS
def command(run: str, data: str | None, as_json: bool, **options: Any) -> None:
    """Figures of RUN on its test part, or on DATA."""
    result = evaluate(run, data, **only_given(options))
    if as_json:
        return emit(result)
    echo(f"{result['run']} on {result['data']} ({result['part']}, {result['rows']:,} rows)")
    sure = result["intervals"]
    table([
        ["metric", "figure", "95% interval"],
        *([name, f"{value:.4f}", "–".join(f"{end:.4f}" for end in sure.get(name, ()))] for name, value in result["metrics"].items()),
    ])  # fmt: skip
    for name, signature in result.get("signatures", {}).items():
        echo(f"{name}: {signature}")
    return None
