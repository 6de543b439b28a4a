"""Plain values by their fields' names: rows as a list of dicts, what a server is sent as JSON; and any other object as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shendu.data.files.cache import Decoded, Room
from shendu.data.reader import USUAL, Claim, Items, Key, Place, Reader
from shendu.data.readers import tables
from shendu.data.tables.loading import Loaded
from shendu.field import Field
from shendu.reading import Reading

SURE, NAMED, AS_IT_IS = 0.92, 0.97, 0.1
PIECE = 4096
"""Rows that are parsed at once."""


class Plain(Reader):
    """Rows of plain values: [{"x": …}, …], or {"x": […]}."""

    name = "plain"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        mine = not place.path and is_rows(place.given) and not reading.forecasts
        return Claim(SURE, "a list of rows", (place.given, reading)) if mine else None

    def key(self, claim: Claim) -> Key:
        return Key({}, {}, "rows")

    def read(self, claim: Claim, room: Room) -> Decoded:
        rows, reading = claim.found
        return tables.decoded(_loaded(rows), reading, room)

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> Decoded | None:
        rows, reading = claim.found
        return tables.encoded(_loaded(rows), "rows", fields, reading) if tables.readable(fields) else None

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        named = is_rows(given) and all(name in row for row in given for name in fields)
        if (named or (isinstance(given, Mapping) and all(name in given for name in fields))) and not _columns(fields):
            return NAMED
        return AS_IT_IS if len(fields) == 1 else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        if self.offers(given, fields) < NAMED:
            (name,) = fields
            yield "input", [type(given).__name__], {name: given}
            return
        if isinstance(given, Mapping):
            count = len(next(iter(given.values())))
            yield "row", [str(i + 1) for i in range(count)], {name: given[name] for name in fields}
            return
        for start in range(0, len(given), PIECE):
            piece = given[start : start + PIECE]
            names = [str(start + i + 1) for i in range(len(piece))]
            yield "row", names, {name: [row[name] for row in piece] for name in fields}


def is_rows(given: Any) -> bool:
    return isinstance(given, list | tuple) and bool(given) and all(isinstance(row, Mapping) for row in given)


def _columns(fields: dict[str, Field]) -> bool:
    """Whether a field's own columns are called as the fields are, so that a row is one of its own."""
    return any(set(tables.read_by(field)) & set(fields) for field in fields.values() if field.kind in tables.KINDS)


def _loaded(rows: Any) -> Loaded:
    from shendu.data import frames

    return Loaded({"train": frames.from_object(list(rows))}, {"train": "the table"})
