"""A text file's bytes as text, in whatever encoding they are."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from shendu.data.files import encodings
from shendu.errors import UserError

BYTES_MOST = 1 << 20
"""Of a file only the beginning is looked at."""
_CONTROL = re.compile("[\x00-\x07\x0e-\x19\x1c-\x1f\x7f]")


def read_text(path: Path) -> str:
    """A text file's beginning; raises UserError where it is none."""
    try:
        with path.open("rb") as file:
            return decoded(file.read(BYTES_MOST))[0]
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {reason(error)}; give a text file in UTF-8") from None


def decoded(data: bytes) -> tuple[str, str]:
    """(the text, its encoding) of a file's bytes, the last character of which may be cut; raises ValueError for no text.

    UTF-8, UTF-16 and UTF-32 by their mark or by where their zeros are; what is none of them is Windows-1252 if its letters are so.
    """
    if not data:
        raise ValueError("an empty file")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "") or _by_zeros(data)
    try:
        text = codecs.getincrementaldecoder(encoding or "utf-8")().decode(data)
    except UnicodeDecodeError:
        if encoding:
            raise ValueError(f"no valid {_CALLED[encoding]}") from None
        encoding = "cp1252"
        if not encodings.western(data):
            raise ValueError("neither UTF-8 nor, by its letters, Windows-1252 text") from None
        text = data.decode(encoding)
    text = text.removeprefix("\ufeff")
    if len(_CONTROL.findall(text[:_LOOKED_AT])) > len(text[:_LOOKED_AT]) / 100:
        raise ValueError("not a text but binary data")
    if not text.strip():
        raise ValueError("nothing but white space")
    return text, _CALLED[encoding]


_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_CALLED = {"": "UTF-8", "utf-32": "UTF-32", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16",
           "cp1252": "Windows-1252"}  # fmt: skip
_LOOKED_AT = 4096


def _by_zeros(data: bytes) -> str:
    """UTF-16 without its mark: most of every second byte are zeros, and hardly any of the others."""
    even, odd = (data[i:_LOOKED_AT:2].count(0) / max(1, len(data[i:_LOOKED_AT:2])) for i in (0, 1))
    if odd > 0.4 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 and odd < 0.1 else ""


def reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
