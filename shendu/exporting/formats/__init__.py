"""Formats: a file is a format, called as the file is."""

from __future__ import annotations

import importlib
from pathlib import Path

from shendu.errors import unknown
from shendu.exporting.format import Format

ROOM = Path(__file__).parent


def names() -> list[str]:
    """The formats that there are, by their files: nothing is imported."""
    return sorted(path.stem for path in ROOM.glob("[a-z]*.py"))


def of(name: str) -> Format:
    """The format of a name; raises UserError that names the near one, and for a library that is missing."""
    if name not in names():
        raise unknown("format", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    found: Format = module.FORMAT
    found.check_there()
    return found
