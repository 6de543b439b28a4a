"""Options that commands share, and how commands print. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from shendu import own, shown
from shendu.reading import Reading, anew


def add_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator out of several, in the order they are written."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
DATA_DIR = click.option("--data-dir", metavar="DIR", help="Where known data sets are looked for (else $SHENDU_DATA).")
DEVICE = click.option("--device", default="auto", metavar="auto|cpu|cuda|mps", help="Where to compute.")
PRECISION = click.option(
    "--precision", default="auto", metavar="auto|fp32|bf16", help="auto: bf16 where the hardware has it and it pays."
)


def _allows(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """While the command runs, what a person gives or trusts may be opened."""
    said = ctx.meta.setdefault("shendu.own", {"files": (), "trust": False})
    said[param.name or ""] = value
    ctx.with_resource(own.allowing(said["files"], said["trust"]))


OPENS = add_options(
    click.option("--file", "files", multiple=True, metavar="FILE.py", expose_value=False, callback=_allows, type=Path,
                 help="Your own system's file, of a run that it made."),
    click.option("--trust", is_flag=True, expose_value=False, callback=_allows,
                 help="Run the text of your own system's file that the run keeps."),
)  # fmt: skip


def _anew(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """While the command runs, files are read although the cache has them."""
    token = anew.set(value)
    ctx.call_on_close(lambda: anew.reset(token))


def READING(command: Any) -> Any:
    """How data is read: an option for each field of `shendu.data.Reading`, as the field describes it; and --no-cache."""
    kinds: dict[type, dict[str, Any]] = {bool: {"is_flag": True, "default": None}, tuple: {"multiple": True}}
    found = []
    for field in dataclasses.fields(Reading):
        kind, about = type(field.default), field.metadata
        how = kinds.get(kind, {"type": kind})
        found.append(click.option(about["option"], field.name, metavar=about["metavar"], help=about["help"], **how))
    found.append(click.option("--no-cache", is_flag=True, expose_value=False, callback=_anew,
                              help="Read and decode the files anew, whatever the cache has of them."))  # fmt: skip
    return add_options(*found)(command)


def only_given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that a person gave."""
    return {name: value for name, value in options.items() if value not in (None, ())}


def echo(words: object = "", *, newline: bool = True, aside: bool = False) -> None:
    """A line, or a text, as it may be shown; aside: on standard error."""
    click.echo(shown.text(str(words)), nl=newline, err=aside)


def emit(value: Any) -> None:
    """JSON, which has escapes of its own for what a terminal would obey."""
    echo(json.dumps(shown.plain(value), indent=2, ensure_ascii=False))


def table(rows: list[list[str]]) -> None:
    """Columns padded to their widest word; the last one runs free."""
    rows = [[shown.line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        echo("  ".join([*cells, row[-1]]).rstrip())
