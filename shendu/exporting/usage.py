"""A few lines of Python that use an export without this package; and the names of what lies beside it."""

from __future__ import annotations

import re
from pathlib import Path

from shendu.exporting.format import Format
from shendu.exporting.graph import Made

USUAL = ("import sys", "import numpy as np")


def tokenizer_of(port: str) -> str:
    """The file of a port's tokenizer, behind the export's own stem."""
    return f"{re.sub(r'[^-A-Za-z0-9_ ]', '_', port)}.tokenizer.json"


def written(form: Format, made: Made, target: Path, stem: str) -> str:
    """The text of the file beside an export that lies at `target`; names of other files beside it begin with `stem`."""
    row, asked = made.task.snippet(stem, form.words), form.usage(target.name)
    imports = sorted(
        {*USUAL, *asked.imports, *row.imports, *(["import json"] if "json." in " ".join(asked.lines) else [])}
    )
    plain, named = ([line for line in imports if line.startswith(word)] for word in ("import ", "from "))
    labelled = "labels" in made.task.saying()
    lines = [line for line in asked.lines if labelled or not line.startswith("labels =")]
    name = f"{target.stem}_usage.py" if form.suffix else "usage.py"
    return "\n".join([
        f'"""Asks {target.name} about one row, in this folder: python {name} {row.example.replace(chr(92), "")}"""', "",
        *plain, *named, "", *row.lines, f"given = {row.given}", *lines, f"print({made.task.saying()})", "",
    ])  # fmt: skip
