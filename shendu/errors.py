"""What a person did wrong, said in one line: what, why, and the corrected command or value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the person can mend; the command line prints its one line and exits with 2."""


class Interrupted(Exception):
    """Training was stopped by a signal after its checkpoint was saved; `signal` is the signal's number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


NO_MEMORY = (
    "out of memory", "can't allocate memory", "Cannot allocate memory", "not enough memory", "failed to map segment", "bad_alloc",
    "can't start new thread",
)  # fmt: skip
"""What libraries say where memory ran out, on the device or on the host."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, or its limit was hit."""
    known = isinstance(error, RuntimeError | ImportError | OSError) and any(said in str(error) for said in NO_MEMORY)
    named = type(error).__name__ == "OutOfMemoryError"  # torch's, which is not imported here
    return isinstance(error, MemoryError) or named or known


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known word is close, else the known words themselves."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not close:
        close = [name for name in names if len(word) > 2 and (name.startswith(word) or word.startswith(name))][:1]
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def unknown(kind: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a closed list."""
    return UserError(f"unknown {kind} '{word}'{near(word, known)}")
