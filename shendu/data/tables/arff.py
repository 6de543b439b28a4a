"""ARFF, the tables of Weka: a header that names each column and its kind, then rows like those of a CSV file.

Read: numbers, names, text and dates, quotes of both kinds, ? for what is missing, % comments; not read: sparse rows.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from shendu.data.files import encodings
from shendu.errors import UserError, near

SIZE_MOST = 1 << 30
COLUMNS_MOST = 10_000
KINDS = ("numeric", "real", "integer", "string", "date")
_ATTRIBUTE = re.compile(r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)\s+(.+)""", re.IGNORECASE | re.DOTALL)


def read(path: Path) -> pa.Table:
    """The rows as text cells, named categories in the order of the header; raises UserError with the line at fault."""
    if path.stat().st_size > SIZE_MOST:
        raise UserError(f"{path} is larger than {SIZE_MOST >> 30} GiB, and ARFF is read whole: save it as Parquet")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        if not encodings.western(path.read_bytes()):
            raise UserError(f"{path} is neither UTF-8 nor, by its letters, cp1252 text: save it as UTF-8") from None
        text = path.read_text(encoding="cp1252")
    names, start, first = _header(text, path)
    body = "\n".join(line for line in text[start:].splitlines() if line.strip() and not line.startswith("%"))
    if not body:
        raise UserError(f"{path} has no rows below @data: add some")
    if body[0] == "{":
        raise UserError(f"{path} has sparse rows ({{index value, …}}), which are not read: save it with all values")
    return _rows(body, names, path, first)


def _header(text: str, path: Path) -> tuple[list[str], int, int]:
    """(column names, where the rows begin, the number of their first line)."""
    names: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        start += len(line)
        word = line.strip()
        key = word.split(maxsplit=1)[0].lower() if word else "%"
        if key == "@data":
            if not names:
                raise UserError(f"{path} has no @attribute line above @data: write one per column")
            return names, start, number + 1
        if key == "@attribute":
            names.append(_attribute(word, path, number))
            if names[-1] in names[:-1]:
                raise UserError(f"{path} has two columns named '{names[-1]}' (line {number:,}): give each its own name")
            if len(names) > COLUMNS_MOST:
                raise UserError(f"{path} has more than {COLUMNS_MOST:,} columns: leave some out")
        elif not key.startswith("%") and key != "@relation":
            raise UserError(
                f"{path} has '{word[:40]}' in line {number:,} of its header, where @relation, @attribute or @data stands"
                f"{near(key, ('@relation', '@attribute', '@data')) if key.startswith('@') else ''}"
            )
    raise UserError(f"{path} has no @data line, so it has no rows: it may be cut off, download or copy it again")


def _attribute(word: str, path: Path, number: int) -> str:
    """A column's name; raises UserError for a line that names none, or no kind."""
    found = _ATTRIBUTE.fullmatch(word)
    if not found:
        raise UserError(f"{path} has '{word[:40]}' in line {number:,}: write it like @attribute age numeric")
    name, kind = found.group(1), found.group(2).strip()
    if kind.startswith("{"):
        if not kind.endswith("}"):
            raise UserError(f"{path} has a list of names without its end in line {number:,}: close it with }}")
    elif kind.split()[0].lower() not in KINDS:
        raise UserError(
            f"{path} has a column of kind '{kind[:30]}' in line {number:,}{near(kind.split()[0].lower(), KINDS)}"
        )
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name[0] in "'\"" else name


def _rows(body: str, names: list[str], path: Path, first: int) -> pa.Table:
    quote = "'" if body.count("'") > body.count('"') else '"'
    try:
        return csv.read_csv(
            pa.BufferReader(body.encode()),
            csv.ReadOptions(column_names=names, block_size=1 << 24),
            csv.ParseOptions(quote_char=quote, escape_char="\\"),
            csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, null_values=["?", " ?", ""], strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )  # fmt: skip
    except pa.ArrowInvalid as error:
        row = next((i for i, line in enumerate(body.splitlines()) if line.count(",") + 1 != len(names)), 0)
        cells = body.splitlines()[row].count(",") + 1
        why = f"{cells} cells" if cells != len(names) else str(error).splitlines()[0][:80]
        raise UserError(
            f"{path} has {why} in row {row + 1:,} (near line {first + row:,}) for {len(names)} columns: correct that row"
        ) from None
