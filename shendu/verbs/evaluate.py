"""evaluate: a finished run's figures on its test part, or on other data of the same kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from shendu import config, parallel, recipes
from shendu import data as data_module
from shendu.data.columns import Category
from shendu.data.dataset import Dataset
from shendu.data.reading import Reading
from shendu.errors import UserError
from shendu.measure import measure
from shendu.verbs.opened import Run


def evaluate(
    run: Run | str | Path,
    data: Any = None,
    *,
    part: str = "test",
    device: str = "auto",
    precision: str = "auto",
    data_dir: str | Path | None = None,
    **how: Any,
) -> dict[str, Any]:
    """`{"run", "data", "part", "rows", "metrics"}` for a part of the run's data, or of `data` (a name, path, arrays).

    Data without a test part is measured whole (`part` says so). Raises UserError where it does not fit the model.
    """
    opened = run if isinstance(run, Run) else Run(run)
    dataset = _of_run(opened, data_dir) if data is None else _other(opened, data, data_dir, how)
    if part not in dataset.splits:
        if part != "test":
            raise UserError(f"{dataset.name} has no part called {part}; it has {', '.join(dataset.splits)}")
        part = "train"
    check_fits(opened, dataset)
    chosen = parallel.choose_device(device)
    model = parallel.place(opened.model, chosen)
    source = recipes.held(dataset, opened.processor, part)
    figures = measure(
        model,
        opened.processor,
        source,
        recipes.metrics_for(dataset),
        chosen,
        parallel.choose_precision(precision, chosen),
    )
    return {"run": str(opened.path), "data": dataset.name, "part": part, "rows": source.rows, "metrics": figures}


def _of_run(run: Run, data_dir: str | Path | None) -> Dataset:
    about = run.recipe["data"]
    reading = config.from_json(Reading, about["reading"])
    opened = data_module.open(about["source"], data_dir=data_dir or about["data_dir"], reading=reading)
    return opened.split_off(reading.split)


def _other(run: Run, data: Any, data_dir: str | Path | None, how: dict[str, Any]) -> Dataset:
    """Other data, read as the run's own was where nothing else is said."""
    return data_module.open(data, data_dir=data_dir, reading=config.settle(how, _reading(run))[0])


def _reading(run: Run) -> Reading:
    return replace(config.from_json(Reading, run.recipe["data"]["reading"]), split="", test_from="")


def check_fits(run: Run, dataset: Dataset) -> None:
    """Raises UserError where the data's columns are not those that the model was trained on."""
    mine, theirs = run.processor, dataset
    if mine.input != theirs.fields[theirs.input]:
        raise UserError(
            f"{run.path} reads {mine.input}, {theirs.name} holds {theirs.fields[theirs.input]}; give data of the same size and kind"
        )
    target = theirs.fields[theirs.target]
    if isinstance(target, Category) and target.names != mine.labels:
        missing = sorted(set(target.names) ^ set(mine.labels))
        differ = ", ".join(missing[:5]) or "in another order"
        raise UserError(
            f"{run.path} and {theirs.name} have different classes ({differ}); give data of the same classes"
        )
