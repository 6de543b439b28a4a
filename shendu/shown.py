"""What others wrote (names of files, classes, columns; texts) as it is shown: on a line, in a page, in a spreadsheet's cell.

Signs that would move a terminal's cursor, colour it, turn the order of what follows round or break a line are written as their
escapes (`\\x1b`), which no two signs share.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

_TURNS = "\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff"
"""What turns the direction of writing, breaks a line, or is half a sign."""
_OF_A_LINE = re.compile(f"[\x00-\x1f\x7f-\x9f{_TURNS}]")
_OF_A_TEXT = re.compile(f"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f{_TURNS}]|\r(?!\n)")
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠].|\t", re.DOTALL)
_UNSAFE = re.compile(r"[^\w@%+=:,./-]")
_NUMBER = re.compile(r"\s*[+-]?\s?[\d.,][\d.,' ]*([eE][+-]?\d+)?\s?%?\s*")


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC), as people type it; file systems of some machines take it apart."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def line(words: str) -> str:
    """Words on one line, of a terminal or a message."""
    return _OF_A_LINE.sub(_escaped, words)


def text(words: str) -> str:
    """Words of which line breaks and tabs are a part."""
    return _OF_A_TEXT.sub(_escaped, words)


def cell(words: str) -> str:
    """Words as a text cell of a file that spreadsheets open: what they would take for a formula begins with an apostrophe."""
    words = text(words)
    return f"'{words}" if _FORMULA.match(words) and not _NUMBER.fullmatch(words) else words


def option(flag: str, word: str) -> str:
    """An option and its word as a shell takes them: --type 'house price=category'."""
    word = line(word)
    return f"{flag} {shlex.quote(word) if _UNSAFE.search(word) or not word else word}"


def plain(value: Any) -> Any:
    """What JSON has, of answers: a date, a decimal number and the like as their texts, also as keys."""
    if isinstance(value, dict):
        known = str | int | float | bool | None
        return {key if isinstance(key, known) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, date | time | timedelta | Decimal) else value


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
