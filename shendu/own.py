"""Code of a person's own: a file that is a system, and who may open a run that needs one.

A run keeps the file's text and hash. Code is run only where the person gives the file, or says that the kept text is to be trusted.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from shendu.errors import UserError
from shendu.untrusted import Unreadable, regular

KEPT = "system.py"
"""The text in a run folder."""
SUFFIX = ".py"
MOST = 1 << 20
"""Bytes of a file."""
HOW = "as the tutorial's chapter 6 shows"
_loaded: dict[str, ModuleType] = {}
"""Hash of a text -> its module: what a process has run once is not run again."""
_allowed: ContextVar[tuple[tuple[Path, ...], bool]] = ContextVar("allowed", default=((), False))


class _Text(SourceFileLoader):
    """Runs the bytes whose hash was taken, whatever becomes of their file, and leaves no bytecode beside it."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        super().__init__(name, str(path))
        self.data = text.encode("utf-8")

    def get_data(self, path: str) -> bytes:
        return self.data

    def path_stats(self, path: str) -> Any:
        raise OSError("no bytecode: there may be one of another text")


def is_file(word: Any) -> bool:
    """Whether a word for a system means a file."""
    return str(word).endswith(SUFFIX)


def name_of(path: str | Path) -> str:
    """What a file's system is called."""
    return Path(path).stem.replace("_", "-")


def load(path: str | Path) -> ModuleType:
    """The system in a file, run now. Raises UserError, with the line, for a file that is none."""
    file = Path(path).expanduser().resolve()
    return _run(file, *read(file))


def read(file: Path) -> tuple[str, str]:
    """(text, hash) of a file of code; raises UserError."""
    import hashlib  # not above: --help does without

    try:
        data = regular(file, MOST)
        text = data.decode("utf-8")
    except Unreadable as error:
        raise UserError(f"{file} cannot be read: {error}; a system is a file that is read from top to bottom") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8 (byte {error.start:,}): save it as UTF-8") from None
    return text, hashlib.sha256(data).hexdigest()


def _run(file: Path, text: str, sha256: str) -> ModuleType:
    if sha256 in _loaded:
        return _loaded[sha256]
    try:
        ast.parse(text, str(file))
    except SyntaxError as error:
        raise UserError(f"{file}:{error.lineno}: {error.msg}") from None
    except ValueError as error:  # a null byte
        raise UserError(f"{file}:1: {error}") from None
    name = f"own_{sha256[:8]}.{file.stem}"
    spec = importlib.util.spec_from_loader(name, _Text(name, file, text), origin=str(file))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        _check(file, text, module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, UserError | KeyboardInterrupt):
            raise
        raise UserError(_where(file, error)) from error
    _loaded[sha256] = module
    return module


def _check(file: Path, text: str, module: ModuleType) -> None:
    """Raises UserError where a file lacks what makes it a system."""
    last = max(1, len(text.splitlines()))
    for word, like in (
        ("recipe", "function recipe(data, **choices)"),
        ("Config", "class Config, the network's settings"),
    ):
        if not callable(vars(module).get(word)):
            raise UserError(f"{file}:{last}: the file ends without a {like}; write it {HOW}")


def told(error: BaseException) -> str:
    """A mistake in a person's own file as a line, with the place in it that was reached last; empty where none was."""
    files = {module.__file__ for module in _loaded.values()}
    reached = [frame.filename for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return _where(Path(reached[-1]), error) if reached else ""


def _where(file: Path, error: BaseException) -> str:
    """What went wrong in a file, with the last line of it that was run."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    why = str(error).split("\n")[0]
    if isinstance(error, ModuleNotFoundError):
        why += "; a system is one file: write into it what it needs, or install that as a package"
    return f"{file}:{lines[-1] if lines else 1}: {type(error).__name__}: {why}"


# ---- what a run keeps of it ------------------------------------------------------------------------------------------


def about(path: str | Path) -> dict[str, str]:
    """What recipe.json says of a file that made a run."""
    file = Path(path).expanduser().resolve()
    return {"file": str(file), "sha256": read(file)[1]}


@contextlib.contextmanager
def allowing(files: tuple[Path, ...], trust: bool) -> Iterator[None]:
    """While it lasts, runs that these files made are opened, and with `trust` those that any made."""
    before = _allowed.set((tuple(files), trust))
    try:
        yield
    finally:
        _allowed.reset(before)


def opened(run: Path, kept: dict[str, str], file: str | Path | None = None, trust: bool = False) -> ModuleType:
    """The system that a run keeps, as `about` described it.

    Raises UserError where nobody has given its file or trusts it, and where the text is another one by now.
    """
    files, trusting = _allowed.get()
    option = f"--file {shlex.quote(kept['file'])}"
    given = [Path(each).expanduser().resolve() for each in (file, *files) if each]
    if kept["sha256"] in _loaded:
        return _loaded[kept["sha256"]]
    for each in given:
        text, sha256 = read(each)
        if sha256 == kept["sha256"]:
            return _run(each, text, sha256)
    if trust or trusting:
        text, sha256 = read(run / KEPT)
        if sha256 != kept["sha256"]:
            raise UserError(f"{run / KEPT} is not the text that made the run; give the file with {option}")
        return _run((run / KEPT).resolve(), text, sha256)
    if given and str(given[0]) == kept["file"]:
        raise UserError(
            f"{given[0]} has changed since {run} was trained by it; restore it, or open the text that the run keeps with --trust"
        )
    if given:
        raise UserError(
            f"{given[0]} is not the file that made {run}, which was {kept['file']}; give that one, or --trust"
        )
    raise UserError(
        f"{run} was made by a file of code: give it with {option}, or open the text in {run / KEPT} with --trust"
    )


def continued(run: Path, kept: dict[str, str] | None, compressed: bool = False) -> str:
    """What goes on with a run: a command, with the file where one made it, or a call where a module did."""
    if kept and "module" in kept:
        name = kept["module"].rpartition(".")[2]
        loss = f", loss={kept['loss']}" if "loss" in kept else ""
        return f'shendu.train({name}(…), DATA{loss}, out="{run}", resume=True)'
    more = f" --file {shlex.quote(kept['file'])}" if kept else ""
    return f"shendu {'compress' if compressed else 'train'} --resume {shlex.quote(str(run))}{more}"
