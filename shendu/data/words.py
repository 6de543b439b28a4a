"""Texts as words, and the codes that words have."""

from __future__ import annotations

import html
import re
import unicodedata

PADDING, UNKNOWN, KNOWN = 0, 1, 2
"""Codes: no word, a word that is not in the vocabulary, the vocabulary's first word."""
CHARACTERS_MOST = 100_000
"""Of a text only the beginning is looked at."""

_ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3005\u3041-\u3096\u30a1-\u30fa\u30fc"
    "\u3400-\u4dbf\u4e00-\u9fff\U0001f300-\U0001faff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana, Han (written without spaces) and pictographs: each character is a word."""
_LETTERS = r"\w\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
"""With accents, vowel points and the scripts of India, whose vowel signs are no letters to Python's `\\w`."""
_SINGLE = re.compile(f"[{_ALONE}]")
_WORD = re.compile(f"[{_LETTERS}]{{1,40}}(?:'[{_LETTERS}]{{1,40}})*|[{_ALONE}]|[!?]")
_PLAIN_WORD = re.compile(r"[a-z0-9]{1,40}(?:'[a-z0-9]{1,40})*|[!?]")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")


def words(text: str) -> list[str]:
    """A text's words: lower case, numbers too, ! and ? as words of their own, HTML tags left out."""
    text = text[:CHARACTERS_MOST]
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "&" in text:
        text = html.unescape(text)
    if text.isascii():
        return _PLAIN_WORD.findall(text.lower())
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("_", " ").lower()
    return _WORD.findall(_SINGLE.sub(r" \g<0> ", text))
