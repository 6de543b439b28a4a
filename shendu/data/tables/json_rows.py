"""Rows as JSON: one object a line, or a list of objects. Whole numbers keep all their digits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shendu.data import frames
from shendu.data.tables import delimited
from shendu.data.tables.nesting import Shallow
from shendu.errors import UserError
from shendu.untrusted import DEPTH_MOST

EXACT = 2.0**53
"""From here on a float64 does not tell all whole numbers apart."""
ARRAY_MOST = 1 << 30
"""Bytes of a list of objects, which is read whole."""


def read_lines(path: Path) -> pa.Table:
    """One object a line, each of flat values. Raises UserError."""
    from pyarrow import json as arrow_json

    try:
        with delimited.raw(path) as file:
            options = arrow_json.ReadOptions(block_size=delimited.LINE_MOST)
            table = arrow_json.read_json(pa.PythonFile(Shallow(file, path), mode="r"), options)
    except (pa.ArrowException, UnicodeError) as error:
        if _begins(path) == b"[":
            return read_array(path)
        raise _fault(path, error) from error
    return _with_digits(table, path)


def read(path: Path) -> pa.Table:
    """A .json file: a list of objects as DataFrame.to_json(orient='records') writes it, or an object a line. Raises UserError."""
    if _begins(path) == b"[":
        return read_array(path)
    why = "it is one object of columns"
    try:
        table = read_lines(path)
        if table.num_rows > 1 or not all(map(pa.types.is_nested, table.schema.types)):
            return table
    except UserError as error:
        why = f"it {str(error).removeprefix(f'{path} ')}"
    raise UserError(
        f"{path} is neither a JSON list of flat objects nor one object a line ({why}); pandas writes the first with "
        "to_json(orient='records')"
    )


def _begins(path: Path) -> bytes:
    with delimited.raw(path) as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def read_array(path: Path) -> pa.Table:
    """A list of flat objects; raises UserError."""
    with delimited.raw(path) as file:
        data = file.read(ARRAY_MOST + 1)
    if len(data) > ARRAY_MOST:
        raise UserError(
            f"{path} is a JSON list of more than {ARRAY_MOST >> 30} GiB, and such is read whole: write one object a line, "
            "as pandas does with to_json(orient='records', lines=True)"
        )
    try:
        rows = json.loads(data)
    except RecursionError:
        raise _deep(path) from None
    except ValueError as error:
        raise UserError(f"{path} is no sound JSON ({str(error).splitlines()[0][:120]}): write it again") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f'{path} is no list of JSON objects, each a row: write it like [{{"a": 1}}, {{"a": 2}}]')
    _check_kinds(((f"object {number:,}", row) for number, row in enumerate(rows, 1)), path)
    names = dict.fromkeys(name for row in rows for name in row)
    try:
        return pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _column(values: list[Any]) -> pa.Array:
    numbers = [value for value in values if isinstance(value, int | float)]
    mixed = any(isinstance(value, float) for value in numbers)
    if mixed and any(isinstance(value, int) and abs(value) >= EXACT for value in numbers):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return frames.typed(values)


def _deep(path: Path) -> UserError:
    return UserError(f"{path} has lists or objects nested deeper than {DEPTH_MOST}: give flat objects")


def _with_digits(table: pa.Table, path: Path) -> pa.Table:
    """Columns of numbers among which are whole ones that a float64 has not: as the texts that they are in the file."""
    large = [
        field.name
        for field in table.schema
        if pa.types.is_floating(field.type) and (pc.max(pc.abs(table.column(field.name))).as_py() or 0) >= EXACT
    ]
    if not large:
        return table
    texts: dict[str, list[str | None]] = {name: [] for name in large}
    whole = dict.fromkeys(large, False)
    for _, row in _rows(path, digits=True):
        for name in large:
            value = row.get(name)
            texts[name].append(None if value is None else str(value))
            whole[name] = whole[name] or ((value or "").lstrip("-").isdigit() and abs(float(value)) >= EXACT)
    for name in large:
        if whole[name]:
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.array(texts[name], pa.string()))
    return table


def _rows(path: Path, digits: bool = False) -> Iterator[tuple[int, Any]]:
    """(line, its value), numbers as their digits where it is asked."""
    how: dict[str, Any] = {"parse_int": str, "parse_float": str} if digits else {}
    with delimited.raw(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, json.loads(line, **how)


def _fault(path: Path, error: Exception) -> UserError:
    """The first line that is no flat object, or whose value is of another type than before."""
    seen: dict[str, tuple[str, str]] = {}
    with delimited.raw(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if len(line) > delimited.LINE_MOST:
                return UserError(
                    f"{path} has line {number:,} longer than {delimited.LINE_MOST >> 20} MiB: one object a line is expected"
                )
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                return UserError(f'{path} has no JSON in line {number:,}: write one object a line, like {{"a": 1}}')
            if not isinstance(row, dict):
                return UserError(f'{path} has no object in line {number:,}: write one object a line, like {{"a": 1}}')
            if fault := _other_kind(row, f"line {number:,}", seen, path):
                return fault
    return UserError(
        f"{path} cannot be read as JSON lines ({str(error).splitlines()[0][:120]}): write one flat object a line"
    )


def _check_kinds(rows: Iterator[tuple[str, dict[str, Any]]], path: Path) -> None:
    """Raises UserError for a value of another type than before."""
    seen: dict[str, tuple[str, str]] = {}
    for where, row in rows:
        if fault := _other_kind(row, where, seen, path):
            raise fault


def _other_kind(row: dict[str, Any], where: str, seen: dict[str, tuple[str, str]], path: Path) -> UserError | None:
    for key, value in row.items():
        kind = _KINDS.get(type(value), "")
        before, at = seen.setdefault(key, (kind, where)) if kind else (kind, where)
        if before != kind:
            return UserError(f"{path} has a {before} as '{key}' in {at} and a {kind} in {where}: make them alike")
    return None


_KINDS = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}
