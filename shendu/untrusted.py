"""JSON that others may have written: read with limits, and held against types. Imports nothing heavy.

Every outside JSON comes through here: the files of a run, of a published model, of a tokenizer, of a table's metadata.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

BYTES_MOST = 64 << 20
DEPTH_MOST = 64
"""How many lists and objects may lie in each other."""
WHOLE_MOST = 2**63
"""Whole numbers are below it: it is what a float, a tensor and a size can be made of."""
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "an object",
         type(None): "null"}  # fmt: skip


class Unreadable(ValueError):
    """Why a file is not taken: its message goes into a line that names the file."""


def regular(path: Path, most: int = BYTES_MOST) -> bytes:
    """The bytes of an ordinary file. Raises OSError, and Unreadable for pipes, devices and what is larger than `most`."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: that alone may wait, or move a device
        raise Unreadable("it is no ordinary file")
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable("it is no ordinary file")
        data = file.read(about.st_size + 1) if about.st_size <= most else b""
    if about.st_size > most or len(data) > most:
        raise Unreadable(f"it has more than {most >> 20} MB")
    return data


def parsed(data: bytes | str, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value of a JSON text; raises Unreadable for what is none, is nested too deep, or holds a number that nothing can hold."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, object_hook=hook)
    except RecursionError:
        raise Unreadable(f"it is nested deeper than {DEPTH_MOST}") from None
    except ValueError as error:
        raise Unreadable(str(error).splitlines()[0][:200]) from None
    _check(value, DEPTH_MOST)
    return value


def _check(value: Any, left: int) -> None:
    if not left:
        raise Unreadable(f"it is nested deeper than {DEPTH_MOST}")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,):
        if isinstance(item, dict | list):
            _check(item, left - 1)
        elif isinstance(item, int) and not -WHOLE_MOST < item < WHOLE_MOST:
            raise Unreadable(f"it holds a whole number of {len(str(abs(item)))} digits")


def read(
    path: Path, wanted: Any = Any, most: int = BYTES_MOST, hook: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """The value that a file of JSON holds, of a type (see `misfit`). Raises OSError and Unreadable."""
    value = parsed(regular(path, most), hook)
    if wrong := misfit(value, wanted):
        raise Unreadable(wrong)
    return value


def lenient(path: Path, wanted: Any = Any, otherwise: Any = None) -> Any:
    """The same, or something else where the file is not there or not of that type."""
    with contextlib.suppress(OSError, Unreadable):
        return read(path, wanted)
    return otherwise


# ---- types -----------------------------------------------------------------------------------------------------------


def misfit(value: Any, wanted: Any, at: str = "") -> str:
    """Where a JSON value is first of another type than `wanted`, in words; empty: nowhere.

    `wanted` is made of bool, int, float, str, None, Any, list[…], tuple[…] of one type, dict[str, …], unions of them, and TypedDicts, whose
    entries are of their types where they are there at all.
    """
    if wanted is Any:
        return ""
    if get_origin(wanted) in (Union, types.UnionType):
        said = [misfit(value, each, at) for each in get_args(wanted)]
        return "" if "" in said else max(said, key=len)
    kind = dict if is_typeddict(wanted) else get_origin(wanted) or wanted
    if kind is tuple:
        size = len(get_args(wanted))
        if isinstance(value, list) and len(value) != size:
            return f"{repr(at) if at else 'it'} is a list of {len(value)}, not of {size}"
        kind = list
    fits = isinstance(value, int | float if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        found = next(words for each, words in WORDS.items() if isinstance(value, each))
        return f"{repr(at) if at else 'it'} is {found}, not {WORDS[kind]}"
    inner = (misfit(value[key], each, f"{at}.{key}" if at else str(key)) for key, each in _inner(value, wanted))
    return next(filter(None, inner), "")


def _inner(value: Any, wanted: Any) -> Iterable[tuple[Any, Any]]:
    """Key or place of each item that is held against a type, and the type."""
    if is_typeddict(wanted):
        return [(key, each) for key, each in get_type_hints(wanted).items() if key in value]
    args = get_args(wanted)
    if not args or args[-1] is Any:
        return []
    return [(key, args[-1]) for key in (value if isinstance(value, dict) else range(len(value)))]
