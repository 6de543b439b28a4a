"""Readers: one file per door. The surest reads; --reader names another."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

from shendu.data.class_folders import ClassFolders, Laid
from shendu.data.reader import Claim, Place, Reader
from shendu.errors import UserError, unknown
from shendu.field import Field
from shendu.reading import Reading

NEAR = 0.5
"""A reader that is this share as sure as the surest is named beside it."""


@functools.cache
def _imported() -> None:
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        importlib.import_module(f"{__name__}.{path.stem}")


def readers() -> dict[str, Reader]:
    """Name -> reader: our own files, and classes that a person has defined."""
    _imported()
    return {name: cls() for name, cls in sorted(Reader.known.items())}


def surest(place: Place, reading: Reading) -> tuple[Reader, Claim, tuple[str, ...]] | None:
    """The reader of a place, its claim, and a note where another is nearly as sure; None: nobody reads it.

    Raises UserError where two are equally sure, and where the one that a person names cannot read it.
    """
    known = readers()
    if reading.reader:
        if reading.reader not in known:
            raise unknown("reader", reading.reader, known)
        known = {reading.reader: known[reading.reader]}
    claims = [(reader, claim) for reader in known.values() if (claim := reader.claims(place, reading))]
    claims.sort(key=lambda pair: -pair[1].sureness)
    if not claims:
        return None
    (reader, claim), *others = claims
    if not others or others[0][1].sureness < NEAR * claim.sureness:
        return reader, claim, ()
    other, second = others[0]
    if second.sureness == claim.sureness:
        said = " or ".join(f"{one.name} ({why.why})" if why.why else one.name for one, why in (claims[:2]))
        raise UserError(f"{place} could be read as {said}: say which with --reader {reader.name}")
    return reader, claim, (f"read as {reader.name}: {claim.why} (another: --reader {other.name})",)


def class_folders(path: Path, reading: Reading, field: Field) -> tuple[ClassFolders, Laid] | None:
    """The files of a place that a field was made of, and their reader; None: it was made of no files. Raises UserError."""
    place = Place.of(path)
    place = place if place.tree else place.unpacked()
    for reader in readers().values():
        if isinstance(reader, ClassFolders) and reader.field == field.kind and reader.claims(place, reading):
            return reader, Laid(place, reading, reader.files)
    return None


def door(given: Any, fields: dict[str, Field]) -> tuple[Reader, float]:
    """The reader that is surest to give a model's fields their values, and how sure it is: 0 where nobody can."""
    offered = {name: reader.offers(given, fields) for name, reader in readers().items()}
    best = max(offered, key=lambda name: offered[name])
    return readers()[best], offered[best]


def whole(place: Place, reading: Reading) -> bool:
    """Whether a reader that has no door of its own for what a model is asked about reads a place as data. Raises UserError."""
    mine = [reader for reader in readers().values() if type(reader).offers is Reader.offers]
    return any(reader.claims(place, reading) for reader in mine)
