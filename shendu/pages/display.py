"""What a person sees while a run trains: one live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shendu import shown
from shendu.run import Folder

PLAIN_EVERY = 10.0
"""Seconds between lines where there is no terminal."""
BAR = 20
"""Width of the progress bar in columns."""


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def aside(message: str) -> None:
    """A line for the person beside a result."""
    print(shown.line(message), file=sys.stderr, flush=True)


class Lasting:
    """A stream whose other end may go away: what is written then is lost, and the training is not."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Display:
    """Progress and messages on standard error, so that standard output stays for results."""

    def __init__(self, quiet: bool, say: Callable[[str], None] | None = None) -> None:
        self.quiet, self._say = quiet, say
        self.stream = Lasting(sys.stderr)
        self.console = Console(file=self.stream, highlight=False)  # type: ignore[arg-type]
        self._live: Live | None = None
        self._title, self._last = "", 0.0

    def say(self, message: str) -> None:
        if self._say:
            self._say(message)
        elif not self.quiet:
            self.console.print(Text(shown.line(message)), soft_wrap=True)

    @contextmanager
    def live(self, title: str, folder: Folder) -> Iterator[None]:
        self._title, self._last = shown.line(title), time.monotonic()
        self.say(f"{title} -> {folder.path}")
        if self.quiet or not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=8, transient=True) as self._live:
            yield
        self._live = None

    def show(self, line: dict[str, Any]) -> None:
        """One state of the training: step, loss, validation figures, speed, time left."""
        if self.quiet:
            return
        if self._live is not None:
            self._live.update(self._row(line))
        elif time.monotonic() - self._last > PLAIN_EVERY:
            self._last = time.monotonic()
            place, figures = self._words(line)
            print("  ".join([self._title, *place, *figures]), file=self.stream, flush=True)

    def _words(self, line: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Where the training is, and how it goes: loss, the first validation figure, speed."""
        done = line["step"] / max(line["steps"], 1)
        left = line["seconds"] / line["step"] * (line["steps"] - line["step"]) if line["step"] else 0.0
        metric = next((name for name in line if name.startswith("validation ")), "")
        figures = [f"{name} {line[name]:.4f}" for name in ("loss", metric) if name in line]
        return (
            [f"{done:4.0%}", f"step {line['step']:,}/{line['steps']:,}", f"{clock(left)} left"],
            [*figures, f"{line['samples_per_second']:,.0f} samples/s"],
        )

    def _row(self, line: dict[str, Any]) -> Text:
        """Two lines, which fit a terminal of 80 columns."""
        filled = round(BAR * line["step"] / max(line["steps"], 1))
        place, figures = self._words(line)
        bar = (("━" * filled, "green"), ("━" * (BAR - filled), "bright_black"))
        first = ((self._title, "bold"), "  ", *bar, f" {'  '.join(place)}\n")
        return Text.assemble(*first, f"  {'  '.join(figures)}", no_wrap=True, overflow="ellipsis")

    def result(self, result: dict[str, Any], folder: Folder) -> None:
        """The final figures as a table."""
        if self.quiet:
            return
        parts, sure = result["metrics"], result["intervals"]
        table = Table(box=None, padding=(0, 2), header_style="bold")
        table.add_column()
        surest = list(sure.values())[-1]
        for part in (*parts, *(["95% interval"] if surest else [])):
            table.add_column(part, justify="right")
        for name in dict.fromkeys(name for figures in parts.values() for name in figures):
            ends = [surest[name]] if name in surest else []
            cells = (f"{figures[name]:.4f}" if name in figures else "" for figures in parts.values())
            table.add_row(name, *cells, *(f"{low:.4f}–{high:.4f}" for low, high in ends))
        self.console.print(table)
        speed = f"{result['seconds']:.1f} s of training, {result['samples_per_second']:,.0f} samples/s"
        self.say(f"{speed}, {result['parameters']:,} parameters, {result['device']} {result['precision']}")
