"""A file under systems/ is a system: its name is the file's, its one-liner the docstring's first line.

Listing reads the files' text and imports nothing, so it stays fast and cannot run a system's code.
"""

from __future__ import annotations

import ast
import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from shendu.errors import unknown

ROOT = Path(__file__).parent / "systems"


@dataclass(frozen=True)
class Entry:
    """A system that exists as a file."""

    name: str
    family: str
    path: Path

    @functools.cached_property
    def summary(self) -> str:
        """The first line of the file's docstring; the file is parsed only when it is asked for."""
        doc = ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or ""
        return doc.split("\n")[0].rstrip(".")


@functools.cache
def systems(root: Path = ROOT) -> dict[str, Entry]:
    """Name -> entry, in the order of families and names; two files of one name are an error."""
    found: dict[str, Entry] = {}
    for path in sorted(root.glob("*/*.py")):
        if path.stem.startswith("_"):
            continue
        name = path.stem.replace("_", "-")
        if name in found:
            raise AssertionError(f"two systems are called {name}: {found[name].path} and {path}")
        found[name] = Entry(name, path.parent.name, path)
    return found


def spelled(word: str) -> tuple[str, dict[str, str]]:
    """A person's word for a system -> its name and the choices in the word: timm:resnet18 is a backbone of that name."""
    return ("backbone", {"name": word}) if word.startswith(("timm:", "hf:")) else (word, {})


def entry(name: str) -> Entry:
    """The entry of a system; raises UserError that names the near one."""
    known = systems()
    if name not in known:
        raise unknown("system", name, known)
    return known[name]


def load(name: str) -> ModuleType:
    """The system's module, imported now."""
    found = entry(name)
    return importlib.import_module(f"shendu.systems.{found.family}.{found.path.stem}")
