"""Whether a text that is no Unicode can be cp1252 (Western European), judged by its letters.

Any bytes are cp1252 text of some kind: Cyrillic and Greek become words of accented letters alone, Chinese, Japanese and Korean
become strings of them, UTF-8 with a broken byte becomes pairs. Western words have letters of ASCII, and one or two others between.
"""

from __future__ import annotations

import codecs
import re

from shendu.errors import UserError

FOREIGN_MOST = 0.1
"""Of the words with letters beyond ASCII so many may look as none of a Western language."""
NAMES = "cp1251, koi8-r, cp1250, shift_jis, gb18030, big5, euc-kr, …"
REFUSED = f"name its encoding with --encoding ({NAMES}), or save it as UTF-8"
_TYPOGRAPHY = bytes([0x80, 0x85, *range(0x91, 0x98), 0x99, 0xA0, 0xAB, 0xBB])
"""Quotes, dashes, the euro: they stand around words."""
_WORD = re.compile(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*")
_RUN, _ASCII = re.compile(rb"[\x80-\xff]+"), re.compile(rb"[A-Za-z]")
_ODD = re.compile(
    rb"[A-Za-z][\x82-\x84\x86-\x89\x8b\x9b\xa1-\xa9\xac\xae-\xb3\xb6\xb9\xbc-\xbf\xd7\xf7][A-Za-z]"  # a sign within a word
    rb"|\x83[A-Za-z]|[a-z][\x8a\x8c\x8e\x9f\xc0-\xd6\xd8-\xde]"  # a capital within a word
    rb"|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"  # UTF-8
)
_LETTER = re.compile(rb"[\x8a\x8c\x8e\x9a\x9c\x9e\x9f\xb5\xc0-\xd6\xd8-\xf6\xf8-\xff]")


class Letters:
    """What a text's words say, piece by piece."""

    def __init__(self) -> None:
        self.western = self.foreign = self.single = 0

    def add(self, piece: bytes) -> None:
        for word in _WORD.findall(piece):
            self._add(word.strip(_TYPOGRAPHY))

    def _add(self, word: bytes) -> None:
        runs = [len(run) for run in _RUN.findall(word)]
        ascii_letters = len(_ASCII.findall(word))
        if not runs:
            return
        if not ascii_letters and runs == [1]:
            self.single += bool(_LETTER.fullmatch(word))
        elif not ascii_letters or max(runs) > 2 + (ascii_letters > 2) or _ODD.search(word):
            self.foreign += 1
        else:
            self.western += 1

    @property
    def are_western(self) -> bool:
        """Letters that stand alone are no word of any language: with no other words they may be of every script."""
        if not self.western + self.foreign:
            return not self.single
        return self.foreign <= FOREIGN_MOST * (self.western + self.foreign)


def western(data: bytes) -> bool:
    """Whether bytes that are no Unicode can be cp1252."""
    letters = Letters()
    letters.add(data)
    return letters.are_western and not re.search(rb"[\x81\x8d\x8f\x90\x9d]", data)


def known(name: str) -> str:
    """An encoding's name as Python has it, of how a person calls it; raises UserError where there is none of texts."""
    try:
        found = codecs.lookup(name)
        "a".encode(found.name)
    except (LookupError, UnicodeError, ValueError):
        raise UserError(
            f"--encoding {name} is no encoding of texts; write it like --encoding cp1251 ({NAMES})"
        ) from None
    return "utf-8" if found.name == "utf-8-sig" else found.name
