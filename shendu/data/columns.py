"""Typed columns: what a field of a data set holds and how its array is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shendu import config
from shendu.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Image:
    """Pictures of one size: uint8 [N, height, width, channels], channels last."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class Number:
    """Real numbers: float32 [N, *shape]."""

    shape: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Category:
    """One of several classes: int64 [N], an index into `names`."""

    names: tuple[str, ...]


Column = Image | Number | Category

_KINDS: dict[str, type] = {"image": Image, "number": Number, "category": Category}


def to_json(column: Column) -> dict[str, Any]:
    return {"kind": type(column).__name__.lower(), **config.to_json(column)}


def from_json(values: dict[str, Any]) -> Column:
    kind = values.get("kind", "")
    if kind not in _KINDS:
        raise unknown("column type", str(kind), _KINDS)
    return config.from_json(_KINDS[kind], {key: value for key, value in values.items() if key != "kind"})
