"""report: a finished run's page, written anew from its data."""

from __future__ import annotations

from pathlib import Path

import click

from shendu.errors import UserError
from shendu.options import DATA_DIR, OPENS, echo
from shendu.pages.report import PARTS, write
from shendu.saved import Saved
from shendu.verbs.evaluate import data_of
from shendu.verbs.train import TRAIN_FIGURE_ROWS

ORDER = 120
PUBLIC = ("report",)


def report(run: Saved | str | Path, *, data_dir: str | Path | None = None) -> Path:
    """Writes the report of a finished run anew from its data, and returns its path.

    Raises UserError for what is no finished run, and for data that is missing or has changed.
    """
    opened = Saved.of(run)
    if opened.result is None:
        raise opened.unfinished()
    made, dataset = opened.recipe, data_of(opened, data_dir)
    if dataset.hash != made["data"]["hash"]:
        raise UserError(f"{dataset.name} has changed since {opened.path} was trained on it; restore it, or train anew")
    recipe = opened.code.recipe(dataset, **made["choices"])
    part = next(part for part in PARTS if part in recipe.splits)
    predictor = opened.predictor(precision=opened.result["precision"])
    most = TRAIN_FIGURE_ROWS if part == "train" else 0
    measured = predictor.evaluate(recipe.splits[part], most=most, worst=True)
    with predictor.sound():
        return write(opened.folder, recipe, predictor, measured, part)


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@DATA_DIR
@OPENS
def command(run: str, data_dir: str | None) -> None:
    """Write RUN's report.html anew: curves, confusion, worst mistakes, explanations."""
    echo(report(run, data_dir=data_dir))
