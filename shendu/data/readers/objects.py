"""Tables in memory: of pandas, polars, pyarrow or `datasets`, by themselves, in parts, or beside their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shendu.data.files.cache import Decoded, Room
from shendu.data.files.parts import named
from shendu.data.reader import Claim, Key, Place, Reader
from shendu.data.readers import series, tables
from shendu.data.tables.files import aside, only_parts
from shendu.data.tables.loading import Loaded, without_indexes
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading

SURE = 0.95


class Objects(Reader):
    """A table in memory, {"train": table, "test": table}, or (table, targets)."""

    name = "objects"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        found = None if place.path else parts_of(place.given)
        return Claim(SURE, "a table in memory", (found, reading)) if found else None

    def key(self, claim: Claim) -> Key:
        return Key({}, {}, "table")

    def read(self, claim: Claim, room: Room) -> Decoded:
        parts, reading = claim.found
        found = loaded(parts, reading)
        return series.decoded(found, reading, room) if reading.forecasts else tables.decoded(found, reading, room)

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> Decoded | None:
        parts, reading = claim.found
        return tables.encoded(loaded(parts, reading), "table", fields, reading) if tables.readable(fields) else None


def loaded(parts: Mapping[str, Any], reading: Reading) -> Loaded:
    """Part -> table, as pyarrow tables. Raises UserError."""
    from shendu.data import frames

    read = only_parts(parts)
    where = {part: "the table" if len(read) == 1 else f"the {part} table" for part in read}
    tables_of = {part: frames.from_object(table) for part, table in read.items()}
    return without_indexes(Loaded(tables_of, where, aside(parts, {part: part for part in read})), reading)


def parts_of(raw: Any) -> dict[str, Any] | None:
    """Part, or a name that is none -> table, of a pandas, polars, pyarrow or `datasets` table, of a dict of such with a train part,
    or of rows and their targets; None for what is none of them. Raises UserError."""
    from shendu.data import frames

    if frames.is_table(raw) or hasattr(raw, "__arrow_c_stream__"):
        return {"train": raw}
    if isinstance(raw, Mapping) and raw and all(map(frames.is_table, raw.values())):
        called = named(map(str, raw))
        parts: dict[str, Any] = {}
        for name, table in raw.items():
            if (part := called.get(str(name), str(name))) in parts:
                raise UserError(f"there are two {part} tables, {name} and another: leave one out")
            parts[part] = table
        return parts if "train" in parts else None
    if isinstance(raw, tuple | list) and len(raw) == 2 and frames.is_table(raw[0]):
        return {"train": frames.with_targets(*raw)}
    return None
