"""evaluate: a finished run's figures on its test part, or on other data of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shendu import data as data_module
from shendu import parallel, recipes
from shendu.data.columns import Category
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.measure import measure
from shendu.verbs.opened import Run


def evaluate(
    run: Run | str | Path,
    data: Any = None,
    *,
    split: str = "test",
    device: str = "auto",
    precision: str = "auto",
    data_dir: str | Path | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """`{"run", "data", "split", "rows", "metrics"}` for a split of the run's data, or of `data` (a name, path, arrays).

    Data without a test part is measured whole (`split` says so). Raises UserError where it does not fit the model.
    """
    opened = run if isinstance(run, Run) else Run(run)
    dataset = (
        _of_run(opened, data_dir) if data is None else data_module.open(data, data_dir=data_dir, skip_bad=skip_bad)
    )
    if split not in dataset.splits:
        if split != "test":
            raise UserError(f"{dataset.name} has no part called {split}; it has {', '.join(dataset.splits)}")
        split = "train"
    check_fits(opened, dataset)
    chosen = parallel.choose_device(device)
    model = parallel.place(opened.model, chosen)
    source = recipes.held(dataset, opened.processor, split)
    figures = measure(
        model,
        opened.processor,
        source,
        recipes.metrics_for(dataset),
        chosen,
        parallel.choose_precision(precision, chosen),
    )
    return {"run": str(opened.path), "data": dataset.name, "split": split, "rows": source.rows, "metrics": figures}


def _of_run(run: Run, data_dir: str | Path | None) -> Dataset:
    about = run.recipe["data"]
    return data_module.open(
        about["source"], data_dir=data_dir or about["data_dir"], skip_bad=about["skip_bad"]
    ).split_off()


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
