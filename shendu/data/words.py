"""Texts as words, and the codes that words have."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

PADDING, UNKNOWN, KNOWN = 0, 1, 2
"""Codes: no word, a word that is not in the vocabulary, the vocabulary's first word."""
CHARACTERS_MOST = 100_000
"""Of a text only the beginning is looked at."""

ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff"
    "\u3005-\u3007\u3041-\u3096\u309d\u309e\u30a1-\u30fa\u30fc-\u30fe\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff"
    "\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, Tai, Balinese, Javanese, kana, Han (written without spaces) and pictographs: each character is a word."""
MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0711\u0730-\u074a\u07a6-\u07b0"
    "\u07eb-\u07f3\u08d3-\u08ff\u0900-\u0963\u0966-\u0dff\u0f35\u0f37\u0f39\u0f71-\u0f84\u0f86-\u0fbc\u135d-\u135f"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20dc"
)
"""Accents, vowel points and signs of other scripts, those of India with their letters: parts of words, and no letters to Python's `\\w`."""
JOINERS = "\u200d\u00ad\ufe0e\ufe0f"
"""Characters that show nothing themselves: they join letters and pictographs, or say how these look."""
SPACE = "\u2423"
"""Stands for a space where a text is read letter by letter."""
SHORT, SAVES = 32, 1.25
"""Texts of so few words are kept whole, and so are all where the longest has at most so many times as many as nearly all have."""
_LETTERS = rf"\w{MARKS}"
_SINGLE = re.compile(f"([{ALONE}])")
_WORD = re.compile(f"[{_LETTERS}]{{1,40}}(?:'[{_LETTERS}]{{1,40}})*|[{ALONE}]|[!?]")
_PLAIN_WORD = re.compile(r"[a-z0-9]{1,40}(?:'[a-z0-9]{1,40})*|[!?]")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_JOINERS = str.maketrans("", "", JOINERS)


def words(text: str) -> list[str]:
    """A text's words: lower case, numbers too, ! and ? as words of their own, HTML tags left out."""
    text = text[:CHARACTERS_MOST]
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "&" in text:
        text = html.unescape(text)
    if text.isascii():
        return _PLAIN_WORD.findall(text.lower())
    text = unicodedata.normalize("NFKC", text.translate(_JOINERS)).replace("\u2019", "'").replace("_", " ").lower()
    return _WORD.findall(" ".join(_SINGLE.split(text)))


def letters(text: str) -> list[str]:
    """A text's letters, digits and signs in lower case, each alone; what is between words is one SPACE."""
    plain = unicodedata.normalize("NFKC", text[:CHARACTERS_MOST].translate(_JOINERS)).lower()
    return list(SPACE.join(plain.split()))


def length_kept(counts: Sequence[int] | np.ndarray, share: float, most: int) -> int:
    """How many words of each text are kept: all, unless so many more are in few texts that leaving them out saves much."""
    if not len(counts):
        return 1
    longest, usual = int(max(counts)), math.ceil(np.percentile(counts, 100 * share))
    return max(1, min(most, longest if longest <= max(SHORT, SAVES * usual) else usual))


def cut_note(
    counts: Sequence[int] | np.ndarray, length: int, share: float, most: int, what: str, unit: str = "words"
) -> str:
    """A line that says where texts are cut; empty where none is."""
    longer = int((np.asarray(counts) > length).sum())
    why = f"at most {length:,} are kept" if length == most else f"{share:.0%} are no longer"
    return f"{longer:,} of {what} cut to their first {length:,} {unit}: {why}" if longer else ""
