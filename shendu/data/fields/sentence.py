"""Sentences as bytes in UTF-8 and where each begins; what are tokens is the affair of who learns from them.

Shape letters: N sentences, W bytes of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data.ragged import Ragged
from shendu.errors import UserError
from shendu.field import Field, Values, array_of

if TYPE_CHECKING:
    from shendu.field import Batch

BYTES_MOST = 4096


@dataclass(frozen=True, kw_only=True)
class Sentence(Field):
    """Sentences of a language as bytes in UTF-8: rows of varying length."""

    kind: ClassVar[str] = "sentence"
    words: ClassVar[str] = "sentence pairs"
    dtype: ClassVar[str] = "uint8"
    ragged: ClassVar[bool] = True

    language: str = ""
    """As the files' names have it: de, en, …"""

    @property
    def stored(self) -> tuple[int, ...]:
        return ()

    def parse(self, values: Any) -> Values:
        """From texts (a list), from one, or from their bytes: `Ragged`, or uint8 [n, bytes] with zeros behind each one's last."""
        if isinstance(values, Ragged):
            return {"": values}
        if isinstance(values, str):
            values = [values]
        if isinstance(values, list | tuple) and values and all(isinstance(text, str) for text in values):
            return {"": Ragged.of([_checked(text) for text in values], self.dtype)}
        array = array_of(values)
        if array.ndim != 2 or array.dtype != np.uint8 or array.shape[1] > BYTES_MOST:
            raise UserError(
                "the model takes sentences: a text, a list of texts, or their bytes in UTF-8 as uint8 [n, bytes]; "
                f"this input is {array.dtype} {list(array.shape)}"
            )
        return {"": Ragged.of([row.tobytes().rstrip(b"\0") for row in array], self.dtype)}

    def brief(self) -> str:
        return f"sentences of {self.language}" if self.language else "sentences of a language without a name"

    def entry(self) -> dict[str, Any]:
        return {"as": "words", "lines": 2, "language": self.language}

    def show(self, own: dict[str, np.ndarray]) -> str:
        return text_of(own[""])

    def example(self, n: int) -> Batch:
        import torch

        letters = torch.randint(ord("a"), ord("z") + 1, (n, 24), generator=torch.Generator().manual_seed(n))
        letters[:, 5::6] = ord(" ")
        return {"": letters.to(torch.uint8)}


def text_of(row: np.ndarray) -> str:
    """A sentence's bytes [W], or its codes in a longer row -> the text."""
    return row.tobytes().rstrip(b"\0").decode("utf-8", "replace")


def _checked(text: str) -> bytes:
    """A sentence's bytes; raises UserError for none, and for too many."""
    data = " ".join(text.replace("\0", " ").split()).encode("utf-8", "replace")
    if not data:
        raise UserError('there is no word in one of the sentences; write it like "Ein Mann liest."')
    if len(data) > BYTES_MOST:
        raise UserError(
            f"the sentence '{_short(text)}' has {len(data):,} bytes, {BYTES_MOST:,} are the most; translate it in pieces"
        )
    return data


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
