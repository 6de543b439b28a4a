"""evaluate: a finished run's figures on its test part, or on other data of the same kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from shendu import config, parallel, recipes
from shendu import data as data_module
from shendu.core import Metric
from shendu.data.dataset import Dataset
from shendu.data.fields.image import Image
from shendu.data.fields.sentence import Sentence
from shendu.data.processors.language import Language
from shendu.data.processors.supervised import Supervised
from shendu.data.processors.translation import Translation
from shendu.data.reading import Reading
from shendu.errors import UserError
from shendu.field import Field
from shendu.measure import Outputs, intervals, measure, signatures
from shendu.verbs.display import aside
from shendu.verbs.opened import Run, opened


def evaluate(
    run: Run | str | Path,
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
    `signatures`, where a metric has variants (BLEU), say which one it is. `say` is told what makes the figures doubtful.
    Raises UserError where the data does not fit the model.
    """
    found = opened(run)
    own = data is None or (not how and _is_own(found, data))
    dataset = _of_run(found, data_dir) if own else _other(found, data, data_dir, how)
    if part not in dataset.splits:
        if part != "test":
            raise UserError(f"{dataset.name} has no part called {part}; it has {', '.join(dataset.splits)}")
        part = "validation" if "validation" in dataset.splits else "train"
    check_fits(found, dataset)
    if doubt := found.processor.doubt(dataset.splits[part].column(dataset.input)):
        say(doubt)
    chosen = parallel.choose_device(device)
    model = parallel.place(found.model, chosen)
    source, shown = recipes.held(dataset, found.processor, part), Outputs()
    metrics = recipes.metrics_for(dataset, found.processor)
    gathered: dict[str, Callable[[], Metric]] = {**metrics, "outputs": lambda: shown}
    cast = parallel.choose_precision(precision, chosen, model)
    measured = measure(model, found.processor, source, gathered, chosen, cast)
    sure = intervals(torch.cat(shown.outputs), torch.cat(shown.targets), metrics, dataset.overlap)
    result = {
        "run": str(found.path), "data": dataset.name, "part": part, "rows": source.rows,
        "metrics": {name: measured[name] for name in metrics}, "intervals": sure,
    }  # fmt: skip
    signed = signatures(metrics)
    return {**result, "signatures": signed} if signed else result


def _is_own(run: Run, data: Any) -> bool:
    """Whether data is what the run was trained on, by its name or path."""
    about = run.recipe["data"]
    return isinstance(data, str | os.PathLike) and (
        str(data) == about["given"] or str(Path(data).expanduser().resolve()) == about["source"]
    )


def _of_run(run: Run, data_dir: str | Path | None) -> Dataset:
    about = run.recipe["data"]
    if not about["source"]:
        raise UserError(
            f"{run.path} was not trained here; say on what it is to be measured: shendu evaluate {run.path} DATA"
        )
    reading = config.from_json(Reading, about["reading"])
    dataset = data_module.open(about["source"], data_dir=data_dir or about["data_dir"], reading=reading)
    return dataset.split_off(reading.split)


def _other(run: Run, data: Any, data_dir: str | Path | None, how: dict[str, Any]) -> Dataset:
    """Other data, read as the run's own was where nothing else is said, and encoded by its columns."""
    reading = config.settle(how, _reading(run))[0]
    mine = run.processor
    fields = {"x": mine.input}
    if isinstance(mine, Supervised | Translation):
        fields["y"] = mine.target
    elif not isinstance(mine, Language):  # what has no target is measured beside that of the data
        fields = {}
    return data_module.open(data, data_dir=data_dir, reading=reading, fields=fields or None)


def _reading(run: Run) -> Reading:
    return replace(config.from_json(Reading, run.recipe["data"]["reading"]), split="", test_from="")


def check_fits(run: Run, dataset: Dataset) -> None:
    """Raises UserError where the data's columns are not those that the model was trained on."""
    mine, theirs = run.processor, dataset
    pairs = [(mine.input, theirs.fields[theirs.input])]
    if isinstance(mine, Supervised | Translation):
        pairs.append((mine.target, theirs.fields[theirs.target]))
    for ours, other in pairs:
        if ours != other:
            raise UserError(
                f"{run.path} was trained on {brief(ours)}, {theirs.name} holds {brief(other)}; give data of the same size and kind"
            )


def brief(column: Field) -> str:
    """A column in some words."""
    if isinstance(column, Image):
        return f"pictures of {column.height}x{column.width} pixels with {column.channels} channel{'s' * (column.channels > 1)}"
    if isinstance(column, Sentence):
        return f"sentences of {column.language}" if column.language else "sentences of a language without a name"
    text = repr(column)
    return text if len(text) <= 100 else f"{text[:97]}…"
