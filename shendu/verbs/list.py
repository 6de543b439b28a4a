"""list: what there is to train, and on what. Reads text; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shendu import registry


def list_systems() -> list[dict[str, str]]:
    """Name, family and one line of every system."""
    return [{"name": e.name, "family": e.family, "summary": e.summary} for e in registry.systems().values()]


def list_data(data_dir: str | Path | None = None) -> list[dict[str, Any]]:
    """Name, one line and place of every known data set."""
    from shendu.data import catalogue

    return catalogue.listing(data_dir)
