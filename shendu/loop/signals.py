"""Ctrl-C, SIGTERM and SIGHUP: the loop looks between two steps whether one came."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

ASKED = b"\nstopping when this step is done; once more: at once\n"
HANGUP = signal.Signals.__members__.get("SIGHUP")
"""A terminal that was closed; Windows has none."""


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C, SIGTERM and SIGHUP in a list that the loop looks at between steps; a second Ctrl-C stops at once.

    SIGHUP is left alone where it is ignored (nohup), and never stops at once: a terminal that closes may send it twice.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: Any) -> None:
        if caught and number != HANGUP:
            raise KeyboardInterrupt
        caught.append(number)
        if number != HANGUP:  # the terminal is there, and a step may take long
            with suppress(OSError):
                os.write(2, ASKED)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
