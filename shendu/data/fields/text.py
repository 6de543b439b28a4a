"""Texts: the words of each, coded by a vocabulary.

Shape letters: N rows, L words kept of a text, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data.words import KNOWN, PADDING, UNKNOWN, letters, words
from shendu.errors import UserError
from shendu.field import Field, Port, Size, Snippet, Values, array_of

if TYPE_CHECKING:
    from torch import Tensor

    from shendu.field import Batch

SHOWN, PIECE = 300, 4096
"""Characters that are shown; texts that are taken out of a pyarrow array at once."""
STRANGE = 0.5
"""Texts of whose words more than this share is unknown are not in the language that was learned."""


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """Texts as codes of words: int32 [N, length]; 0 padding, 1 unknown, 2 + i for names[i]."""

    kind: ClassVar[str] = "text"
    words: ClassVar[str] = "texts"
    explains: ClassVar[str] = "marks"
    dtype: ClassVar[str] = "int32"

    names: tuple[str, ...] = field(repr=False)
    """The vocabulary, most frequent word first."""
    length: int
    """Words kept of a text; of a longer one, its beginning."""
    column: str = ""
    """The table's column; empty: texts are files."""
    missing: tuple[str, ...] = field(default=(), repr=False, metadata={"rare": True})
    """Cells that say that nothing is known: empty texts."""
    letters: bool = field(default=False, metadata={"rare": True})
    """Words are single letters: of names and the like, whose words hardly recur."""

    @property
    def stored(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def codes(self) -> int:
        """How many codes there are: the vocabulary, padding and unknown."""
        return len(self.names) + KNOWN

    @cached_property
    def code(self) -> dict[str, int]:
        """Word -> its code."""
        return {name: i + KNOWN for i, name in enumerate(self.names)}

    def ports(self) -> dict[str, Port]:
        """Codes of texts of any length, as the tokenizer beside the graph gives them."""
        about = f"codes of words, {PADDING} behind a text's end; the first {self.length} are read"
        return {"": Port("int64", (Size("words"),), about)}

    def received(self, given: Batch) -> Batch:
        import torch
        import torch.nn.functional as F

        return {"": F.pad(given[""], (0, self.length))[:, : self.length].to(torch.int32)}

    def tokenizers(self) -> dict[str, str]:
        from shendu.data import wordlists

        return {"": (wordlists.of_letters if self.letters else wordlists.of_texts)(self.names).to_str()}

    def snippet(self, role: str, argument: str, stem: str, words: bool) -> Snippet:
        tokenizer = f'Tokenizer.from_file("{stem}{role}.tokenizer.json")'
        given = f'{{"{role}": np.array([{tokenizer}.encode({argument}).ids])}}'
        return Snippet(given, ("from tokenizers import Tokenizer",), example="TEXT")

    def control(self) -> dict[str, Any]:
        rule = "letters" if self.letters else "words"
        return {"control": "words", "vocabulary": list(self.names), "rule": rule, "length": self.length}

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        values, length = np.asarray(own[""], np.int64), max(2, round(size * self.length))
        given = np.pad(values, ((0, 0), (0, max(0, length - self.length))))[:, :length]
        return {"": given}, self.parse(np.pad(given, ((0, 0), (0, self.length)))[:, : self.length])

    def parse(self, values: Any) -> Values:
        """From texts (a list, a pyarrow array), from one, or from codes as they are stored."""
        if isinstance(values, str):
            values = [values]
        if hasattr(values, "detach") or isinstance(values, np.ndarray):
            return {"": self._stored_rows(array_of(values))}
        return {"": self.encode(values)}

    def encode(self, values: Any) -> np.ndarray:
        """Codes of texts' words, int32 [N, length]; what is missing (None) is an empty text."""
        code, length, split = self.code.get, self.length, letters if self.letters else words
        rows = np.zeros((len(values), length), np.int32)
        for i, text in enumerate(strings(values)):
            found = split(text)[:length]
            rows[i, : len(found)] = list(map(code, found, repeat(UNKNOWN)))
        return rows

    def _stored_rows(self, array: np.ndarray) -> np.ndarray:
        """An array of texts, or of codes as they are stored."""
        if array.dtype.kind in "UO":
            return self.encode(array.reshape(-1).tolist())
        if array.ndim == 1:
            array = array[None]
        fits = array.dtype.kind in "iu" and array.shape[1:] == self.stored
        if not fits or (array.size and not 0 <= array.min() <= array.max() < self.codes):
            raise UserError(
                f"the model takes texts, or their words' codes as integers [n, {self.length}] from 0 to "
                f"{self.codes - 1}; this array is {array.dtype} {list(array.shape)}"
            )
        return array.astype(np.int32)

    def warning(self, own: dict[str, np.ndarray]) -> str:
        """A line where most words of stored rows [N, length] are not in the vocabulary; else empty."""
        rows = own[""]
        words, unknown = int((rows != PADDING).sum()), int((rows == UNKNOWN).sum())
        if unknown <= STRANGE * words:
            return ""
        return f"{unknown / words:.0%} of the words are none that the model has learned, so its answers say little"

    @property
    def units(self) -> int:
        return self.length

    def hide(self, own: Batch, keep: Tensor, other: Batch | None = None) -> Batch:
        """Words are taken away: code 0."""
        return {"": own[""].masked_fill(~keep, 0) if other is None else own[""].where(keep, other[""])}

    def unit_names(self, own: dict[str, np.ndarray]) -> list[str]:
        return [
            "" if code == PADDING else self.names[code - KNOWN] if code >= KNOWN else "…" for code in own[""].tolist()
        ]

    def entry(self) -> dict[str, Any]:
        return {"as": "words", "lines": 5}

    def show(self, own: dict[str, np.ndarray]) -> str:
        """The words again, without what the vocabulary lacks (…), cut to a few lines."""
        row, shown = own[""], list[str]()
        for code in row[row != PADDING].tolist():
            word = self.names[code - KNOWN] if code >= KNOWN else "…"
            if not (word == "…" and shown[-1:] == ["…"]):
                shown.append(word)
            if sum(map(len, shown)) + len(shown) > SHOWN:
                return " ".join(shown[:-1]) + " …"
        return " ".join(shown)

    def example(self, n: int) -> Batch:
        import torch

        generator = torch.Generator().manual_seed(n)
        return {"": torch.randint(UNKNOWN, self.codes, (n, self.length), generator=generator, dtype=torch.int32)}


def strings(values: Any) -> Iterator[str]:
    """The texts of a list, or of a pyarrow array piece by piece; what is missing is an empty text."""
    for start in range(0, len(values), PIECE):
        piece = values[start : start + PIECE]
        for value in piece.to_pylist() if hasattr(piece, "to_pylist") else piece:
            yield value if isinstance(value, str) else "" if value is None or value != value else str(value)
