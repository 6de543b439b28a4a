"""replay: asks again what a server was asked, in the same batches, and compares the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from shendu.errors import UserError
from shendu.options import DEVICE, OPENS, PRECISION, echo, only_given
from shendu.verbs.serve import serving

ORDER = 66
PUBLIC = ("replay",)
DIFFERS = 1
"""The exit code where an answer is another one now."""


def replay(
    file: str | Path, *, models: tuple[str, ...] = (), device: str | None = None, precision: str | None = None
) -> Iterator[Any]:
    """Each request of a record (`shendu.serving.record.Again`): its id, its answer, whether it is the same to the byte.

    `models` are NAME=FOLDER, where they are no more where they were; device and precision are those of the server where nothing
    else is said. Raises UserError for a file that is no record, and for a model that is not the one that answered.
    """
    serving()
    from shendu.serving.models import How, wanted
    from shendu.serving.record import head_of, replayed

    path = Path(file)
    head = head_of(path)
    for word in models:
        if "=" not in word:
            raise UserError(f"--model {word} names no model; write it like --model NAME=FOLDER")
    how = How(device or str(head.get("device", "auto")), precision or str(head.get("precision", "auto")))
    yield from replayed(path, wanted(models), how)


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("file")
@click.option("--model", "models", multiple=True, metavar="NAME=RUN", help="Where a model lies now.")
@click.option("--quiet", is_flag=True, help="Only say whether the answers are the same.")
@DEVICE
@PRECISION
@OPENS
def command(file: str, quiet: bool, **options: Any) -> None:
    """Give again what a server answered, from the FILE that `shendu serve --record` kept.

    A line for each request: its id, whether the answer is the same to the byte, and the answer. The exit code is 1 where one is not.
    """
    given = {name: value for name, value in only_given(options).items() if value != "auto"}
    count = different = 0
    for again in replay(file, **given):
        count += 1
        different += not again.same
        if not quiet:
            same = "true" if again.same else "false"
            echo(f'{{"request": {json.dumps(again.request)}, "same": {same}, "answer": {as_json(again.answer)}}}')
    echo(f"{count - different:,} of {count:,} answers are the same to the byte", aside=True)
    if different:
        raise click.exceptions.Exit(DIFFERS)


def as_json(answer: str) -> str:
    """Rows are JSON as they are; a text becomes a string of it."""
    return answer if answer.startswith("[{") else json.dumps(answer, ensure_ascii=False)
