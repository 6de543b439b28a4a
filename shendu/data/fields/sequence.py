"""Sequences of letters (DNA, RNA, proteins, anything written in a small alphabet), each letter one code.

A network takes one channel per letter; a letter that stands for several (N for any base) is spread over what it may be.

Shape letters: B batch, N rows, L length, A letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.errors import UserError
from shendu.field import Field, Port, Size, Snippet, Values, array_of

if TYPE_CHECKING:
    from torch import Tensor

    from shendu.field import Batch


@dataclass(frozen=True, kw_only=True)
class Sequence(Field):
    """Letters: uint8 [N, length], 0 where a sequence is over; a network takes float [B, letters, length]."""

    kind: ClassVar[str] = "sequence"
    words: ClassVar[str] = "sequences of letters"
    explains: ClassVar[str] = "marks"
    spaced: ClassVar[bool] = False
    dtype: ClassVar[str] = "uint8"

    letters: tuple[str, ...]
    length: int
    ambiguous: tuple[str, ...] = ()
    """Further letters with what they may be: N=ACGT."""
    columns: tuple[str, ...] = ("sequence",)
    """Of a table: the column of whole sequences, or one column per letter."""

    @property
    def stored(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.letters), self.length)

    @cached_property
    def symbols(self) -> str:
        """What the codes 1, 2, … stand for."""
        return "".join((*self.letters, *(word[0] for word in self.ambiguous)))

    @cached_property
    def meaning(self) -> np.ndarray:
        """float32 [1 + symbols, A]: each code's shares of the letters."""
        found = np.zeros((1 + len(self.symbols), len(self.letters)), np.float32)
        for code, symbol in enumerate(self.symbols, 1):
            may = next((word[2:] for word in self.ambiguous if word[0] == symbol), symbol)
            found[code, [self.letters.index(letter) for letter in may]] = 1 / len(may)
        return found

    @cached_property
    def code_of(self) -> np.ndarray:
        """uint8 [256]: each byte's code; 255 where it is no letter."""
        table = np.full(256, 255, np.uint8)
        table[[0, ord(" ")]] = 0
        for code, symbol in enumerate(self.symbols, 1):
            table[ord(symbol)] = code
            if symbol.isupper() and symbol.lower() not in self.symbols:
                table[ord(symbol.lower())] = code
        return table

    def prepare(self, own: Batch, fit: Batch) -> Batch:
        import torch

        shares = torch.from_numpy(self.meaning).to(own[""].device)
        return {"": shares[own[""].long()].transpose(1, 2).contiguous()}

    def ports(self) -> dict[str, Port]:
        """The letters themselves, as their bytes in ASCII."""
        about = f"letters of sequences as bytes ({self.symbols}), zeros behind an end; the first {self.length} are read"
        return {"": Port("uint8", (Size("letters"),), about)}

    def received(self, given: Batch) -> Batch:
        """Bytes -> codes; one that is no letter is none (0), and what is longer is cut."""
        import torch
        import torch.nn.functional as F

        codes = torch.from_numpy(np.where(self.code_of < 255, self.code_of, 0).astype(np.uint8))[given[""].long()]
        return {"": F.pad(codes, (0, self.length))[:, : self.length]}

    def snippet(self, role: str, argument: str, stem: str, words: bool) -> Snippet:
        return Snippet(f'{{"{role}": np.frombuffer({argument}.encode(), np.uint8)[None]}}', example=self.symbols)

    def control(self) -> dict[str, Any]:
        return {"control": "letters", "symbols": self.symbols, "length": self.length}

    def offered(self, own: Values, size: float) -> tuple[Values, Values]:
        letters = np.frombuffer(f"\0{self.symbols}".encode("latin-1"), np.uint8)[np.asarray(own[""])]
        given = letters[:, : max(1, round(size * self.length))]
        given = np.pad(given, ((0, 0), (0, max(0, round(size * self.length) - given.shape[1]))))
        words = [row.tobytes().rstrip(b"\0").decode("latin-1") for row in given]
        return {"": given}, self.parse(np.array(words, np.str_))

    def parse(self, values: Any) -> Values:
        """From sequences (a list, an array of texts), from one, or from stored codes."""
        if isinstance(values, np.ndarray) and values.dtype.kind in "US":
            return {"": self.codes_of(values.astype(np.str_))}
        if isinstance(values, str):
            values = [values]
        if isinstance(values, list | tuple) and all(isinstance(word, str) for word in values):
            return {"": self.codes_of(np.array(values, np.str_))}
        return {"": self._as_stored(array_of(values))}

    def _as_stored(self, array: np.ndarray) -> np.ndarray:
        rows = array[None] if array.ndim == 1 else array
        if rows.shape[1:] != self.stored or rows.min(initial=0) < 0 or rows.max(initial=0) > len(self.symbols):
            raise UserError(
                f"the model takes sequences, or codes 0 to {len(self.symbols)} of shape [n, {self.length}]; "
                f"this array has shape {list(array.shape)}"
            )
        return rows.astype(np.uint8)

    def codes_of(self, words: np.ndarray, where: str = "the input") -> np.ndarray:
        """uint8 [n, L] of an array of strings [n]; raises UserError for a strange letter and for what is too long."""
        chars, lengths = characters(words)
        if chars.shape[1] > self.length:
            row = int((lengths > self.length).argmax())
            raise UserError(
                f"row {row + 1:,} of {where} has {lengths[row]:,} letters, and the model reads {self.length}: cut it"
            )
        codes = self.code_of[chars]
        if (codes == 255).any():
            row = int((codes == 255).any(1).argmax())
            strange = sorted({chr(c) for c in chars[row][codes[row] == 255]})
            raise UserError(
                f"row {row + 1:,} of {where} has the letter '{strange[0]}', which the model has not seen: it reads {self.symbols}"
            )
        out = np.zeros((len(words), self.length), np.uint8)
        out[:, : codes.shape[1]] = codes
        return out

    @property
    def units(self) -> int:
        return self.length

    def hide(self, own: Batch, keep: Tensor, other: Batch | None = None) -> Batch:
        """Letters are taken away: code 0."""
        return {"": own[""].masked_fill(~keep, 0) if other is None else own[""].where(keep, other[""])}

    def unit_names(self, own: dict[str, np.ndarray]) -> list[str]:
        return [self.symbols[code - 1] if code else "" for code in own[""].tolist()]

    def entry(self) -> dict[str, Any]:
        return {"as": "words", "lines": 3, "letters": self.symbols, "length": self.length}

    def show(self, own: dict[str, np.ndarray]) -> str:
        return "".join(self.symbols[code - 1] if code else " " for code in own[""].tolist()).rstrip()

    def example(self, n: int) -> Batch:
        import torch

        codes = torch.randint(1, len(self.letters) + 1, (n, self.length), generator=torch.Generator().manual_seed(n))
        return {"": codes.to(torch.uint8)}


def characters(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Latin-1 codes uint8 [N, longest], 0 behind a word's end; lengths [N]); other characters become a question mark."""
    if not len(words):
        return np.zeros((0, 0), np.uint8), np.zeros(0, np.int64)
    points = np.ascontiguousarray(words).view(np.uint32).reshape(len(words), -1)
    return np.where(points < 256, points, ord("?")).astype(np.uint8), (points > 0).sum(1)
