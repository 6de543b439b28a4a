"""How deep JSON lines are nested, found before a parser that is recursive sees them: whole pieces of a file at a time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from shendu.errors import UserError
from shendu.untrusted import DEPTH_MOST

_STEP = np.zeros(256, np.int8)
_STEP[[*b"{["]], _STEP[[*b"}]"]] = 1, -1
_OTHERS = bytes(set(range(256)) - {*b'{}[]"\n'})


class Nesting:
    """How deep a text is nested, piece by piece.

    A parser may begin at any line, and stops at a line's end within a string. So quotes are paired line by line, and depth is
    counted from the least that a line began with: no parser goes deeper, and in sound lines it is their depth.
    """

    def __init__(self) -> None:
        self.rest, self.open, self.depth, self.least = b"", False, 0, 0

    def too_deep(self, piece: bytes, most: int) -> int | None:
        """In which line of this piece, from 0, it is first nested deeper than `most`; None: nowhere."""
        text = self.rest + piece
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        self.rest = b"\\" if text.endswith(b"\\") else b""
        codes = np.frombuffer(text.translate(None, _OTHERS), np.uint8)
        if not len(codes):
            return None
        ends = codes == ord("\n")
        quotes = np.cumsum(codes == ord('"')) + self.open
        before = np.maximum.accumulate(np.where(ends, quotes, 0))  # quotes up to the last line's end
        inside = (quotes - before) % 2 == 1
        depths = self.depth + np.cumsum(np.where(inside, 0, _STEP[codes]), dtype=np.int64)
        least = np.minimum.accumulate(np.where(ends, np.minimum(depths, self.least), self.least))
        self.open, self.depth, self.least = bool(inside[-1]), int(depths[-1]), int(least[-1])
        deep = depths - least > most
        return int(ends[: deep.argmax()].sum()) if deep.any() else None


class Shallow(io.RawIOBase):
    """A file of JSON lines; reading raises UserError before it hands out what is nested too deep."""

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path, self.nesting, self.lines = file, path, Nesting(), 1

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self.file.read(size)
        line = self.nesting.too_deep(piece, DEPTH_MOST)
        if line is not None:
            raise UserError(
                f"{self.path} has lists or objects nested deeper than {DEPTH_MOST} in line {self.lines + line:,}: write one flat "
                'object a line, like {"a": 1}'
            )
        self.lines += piece.count(b"\n")
        return piece

    def readable(self) -> bool:
        return True
