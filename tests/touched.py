"""Which tests a change touches: those that ./check runs. CI runs all of them.

A test of one system runs where the change is in that system's file; of the representatives also where it is in shared code.
Any other test runs where the change is in its own file or folder, in the part of the package that its folder is named after,
or in a module that its file imports. The contracts' other tests always run: they take seconds and hold for everything.
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterable
from pathlib import Path

from forms import REPRESENTATIVES

from shendu import registry

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "docs": ("docs/", "README.md", "CONTRIBUTING.md", "shendu/draw.py"),
    "faults": ("shendu/loop/", "shendu/run.py"),
    "verbs": ("shendu/verbs/", "shendu/pages/", "shendu/cli.py"),
}
"""Folder of tests -> what it is about, where that is not the package's part of the same name."""


def changed() -> set[str]:
    """Files that differ from the last commit."""
    asked = (("diff", "--name-only", "HEAD"), ("ls-files", "--others", "--exclude-standard"))
    said = (subprocess.check_output(["git", *words], cwd=ROOT, text=True) for words in asked)
    return {line for lines in said for line in lines.splitlines()}


def touched(test: str, system: str | None, files: Iterable[str]) -> bool:
    """Whether a test is to be run after a change in these files: `test` and the files as paths from the root, `system` that of
    the case, if there is one."""
    _, folder, name = test.split("/")
    if folder == "systems":
        system = name.removeprefix("test_").removesuffix(".py").replace("_", "-")
    files = set(files)
    everything = any(file.startswith("tests/") and file.count("/") == 1 for file in files)
    if system in registry.systems():
        shared = any(file.startswith("shendu/") for file in files - set(own_files()))
        named = system in REPRESENTATIVES and (shared or everything or test in files)
        return named or system in systems(files) or test in files
    beside = {file for file in files if file.startswith(f"tests/{folder}/")}
    about = tuple(file for file in files if file.startswith(PARTS.get(folder, (f"shendu/{folder}/",))))
    helped = test in beside or any(not Path(file).name.startswith("test_") for file in beside)
    return folder == "contracts" or everything or helped or bool(about) or not files.isdisjoint(imported(test))


def systems(files: Iterable[str]) -> set[str]:
    """The systems whose own files are among these: of them slow contracts run too."""
    return {own_files()[file] for file in set(files) & set(own_files())}


@functools.cache
def own_files() -> dict[str, str]:
    """Path of a system's file -> the system."""
    return {each.path.relative_to(ROOT).as_posix(): each.name for each in registry.systems().values()}


@functools.cache
def imported(test: str) -> frozenset[str]:
    """Files of the package that a test's file imports."""
    tree = ast.parse((ROOT / test).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    paths = [name.replace(".", "/") for name in names if name.startswith("shendu")]
    return frozenset(
        f"{path}{end}" for path in paths for end in (".py", "/__init__.py") if (ROOT / f"{path}{end}").exists()
    )
