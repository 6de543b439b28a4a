"""A column of a table: what it holds, and how wide it is in a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["number", "category", "boolean", "ordered", "date", "text"]
CODED = ("category", "boolean", "ordered")
MISSING, UNSEEN, NAMED = 0, 1, 2
"""Codes of a missing value, of one that is not among the names, and of the first name."""
DATE = 6
"""A date's width: days since 2000-01-01, sine and cosine of the year and of the week, share of the day."""

LETTERS = "letters"
"""The form of a text that is read letter by letter."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    names: tuple[str, ...] = ()
    """category, boolean, ordered: the known values (ordered: in their order); text: the vocabulary."""
    length: int = 0
    """text: words kept per row."""
    form: str = ""
    """How values are written: a date's format; the decimal sign and the unit of numbers (`shendu.data.numerals`); LETTERS of a text;
    empty: the usual way."""
    zoned: bool = field(default=False, metadata={"rare": True})
    """date: its times say how far they are from UTC, and are moments in UTC."""
    missing: tuple[str, ...] = field(default=(), metadata={"rare": True})
    """Words that say that nothing is known."""
    offset: float = field(default=0.0, compare=False, metadata={"rare": True})
    """Of numbers, and of a date's days: taken away before they are stored, where float32 would lose their digits."""

    @property
    def width(self) -> int:
        return {"date": DATE, "text": self.length}.get(self.kind, 1)
