"""Running text: a book, a play, a program; one long line of characters that is read from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.errors import UserError
from shendu.field import Field, Values, array_of

if TYPE_CHECKING:
    from shendu.field import Batch


@dataclass(frozen=True, kw_only=True)
class Prose(Field):
    """Running text as its bytes in UTF-8, uint8 [N]: a row is a byte, and the order of the rows is that of reading."""

    kind: ClassVar[str] = "prose"
    words: ClassVar[str] = "running text"
    dtype: ClassVar[str] = "uint8"
    running: ClassVar[bool] = True

    @property
    def stored(self) -> tuple[int, ...]:
        return ()

    def parse(self, values: Any) -> Values:
        """From a text, its bytes in UTF-8 (or an array of them), or a list of such, one behind the other.

        Raises UserError for what is no text.
        """
        texts = values if isinstance(values, list | tuple) else [values]
        return {"": np.concatenate([self._bytes(text) for text in texts] or [np.empty(0, np.uint8)])}

    def _bytes(self, text: Any) -> np.ndarray:
        if isinstance(text, str):
            return np.frombuffer(checked(text.encode("utf-8", "replace"), "the text"), np.uint8)
        if isinstance(text, bytes | bytearray):
            return np.frombuffer(checked(bytes(text), "the text"), np.uint8)
        array = array_of(text)
        if array.ndim != 1 or array.dtype != np.uint8:
            raise UserError(
                f"the model takes text, or its bytes in UTF-8 as uint8 [n]; this array is {array.dtype} {list(array.shape)}"
            )
        return np.frombuffer(checked(array.tobytes(), "the array"), np.uint8)

    def entry(self) -> dict[str, Any]:
        return {"as": "words", "lines": 5}

    def show(self, own: dict[str, np.ndarray]) -> str:
        """A byte's character."""
        return bytes([int(own[""])]).decode("ascii", "replace")

    def example(self, n: int) -> Batch:
        """n letters."""
        import torch

        return {"": torch.randint(97, 123, (n,), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)}


def checked(data: bytes, where: str) -> bytes:
    """The bytes, if they are text in UTF-8; raises UserError that says where they are not."""
    if not data:
        raise UserError(f"{where} is empty: there is no text to read")
    if (zero := data.find(b"\0")) >= 0:
        raise UserError(f"{where} is no text: byte {zero:,} is a zero; give plain text, saved as UTF-8")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{where} is not UTF-8: byte {error.start:,}, in line {line:,}, is {data[error.start]:#04x}; "
            "save it as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8"
        ) from None
    return data
