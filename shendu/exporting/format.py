"""The contract of a format: how a graph is written, run by the format's own runtime, and used without this package."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from shendu.errors import UserError

if TYPE_CHECKING:
    from shendu.core import Batch
    from shendu.exporting.graph import Made

Arrays = dict[str, np.ndarray]
"""Name of an input or an output -> its values [B, …]."""
Runs = Callable[[Arrays], Arrays]


class Usage(NamedTuple):
    """Lines of Python that ask an export, of which `given` are the inputs by name: they leave its first answer in `said`."""

    imports: tuple[str, ...]
    lines: tuple[str, ...]


class Format:
    """How models are written. Its methods raise UserError for a model that it cannot hold."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """Of what is written; empty: a folder."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules of the libraries that it is written and run with."""
    extra: ClassVar[str] = "export"
    words: ClassVar[bool] = False
    """True: words in a table's cells are given as they are; else as their codes."""
    unproven: ClassVar[str] = ""
    """Why what is written cannot be run here; empty: it is run, and held to the model."""

    def check_there(self) -> None:
        """Raises UserError where a library is missing."""
        lost = [module for module in self.needs if not importlib.util.find_spec(module)]
        if lost:
            raise UserError(
                f"--format {self.name} needs {', '.join(lost)}; install it: pip install 'shendu[{self.extra}]'"
            )

    def write(self, made: Made, place: Path) -> None:
        """Writes the graph to a file, or into a folder that is there."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is written")

    def runs(self, made: Made, place: Path) -> Runs:
        """What was written, loaded by the format's own runtime: inputs by name in, outputs by name out."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is run")

    def layers(self, made: Made, place: Path, given: Arrays) -> Arrays:
        """Module of the network, by its dotted name -> what it gives of these inputs, in the graph's order; those that can be told."""
        return {}

    def finish(self, made: Made, place: Path, rows: Batch) -> str:
        """What is still done to what was proven; a note on it, for the person."""
        return ""

    def usage(self, name: str) -> Usage:
        """How what is written under this name is asked without this package."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is used")
