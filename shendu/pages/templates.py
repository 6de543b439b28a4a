"""The templates of pages, *.html in this folder: each becomes one file that needs no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from shendu import shown


def filled(name: str, values: dict[str, Any], **filters: Callable[..., Any]) -> str:
    """The page that a template makes of values; a value that it names and is not given is an error."""
    house = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=_shown,
    )  # fmt: skip
    house.filters.update(filters)
    return house.get_template(name).render(values)


def _shown(value: Any) -> Any:
    """A value as the page has it: words, but not markup, as they may be shown."""
    return shown.text(value) if type(value) is str else value
