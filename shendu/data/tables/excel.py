"""A sheet of an Excel file: which one, and what cells hold that are merged, computed, or dates in two dresses."""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shendu.data import frames, times
from shendu.data.cells import ABSENT
from shendu.data.tables.delimited import few
from shendu.errors import UserError, near
from shendu.shown import option

SURE = 0.95
"""Share of the texts among dates that must be dates."""
_MERGE = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*ref="([A-Z]{1,3}\d+:[A-Z]{1,3}\d+)"')
_PIECE, _OVERLAP = 1 << 20, 256


class Row(NamedTuple):
    """A row that has a value; its number counts from 1."""

    number: int
    cells: list[Any]


def read(path: Path, sheet: str = "") -> tuple[pa.Table, list[str]]:
    """(the table of a sheet, what was decided); `sheet`: its name, else the first that holds a table. Raises UserError."""
    book = _opened(path)
    try:
        name, notes = _chosen(book, path, sheet)
        rows = [row for row in _rows(book[name]) if any(cell is not None for cell in row.cells)]
        merged = _merged(path, book[name])
    except UserError:
        raise
    except Exception as error:  # openpyxl raises whatever the damaged part made it raise
        raise _damaged(path) from error
    if len(rows) < 2:
        where = f"its sheet {name}" if sheet else "its first sheet"
        raise UserError(f"{path} has no rows below the header of {where}: add some")
    width = max(len(row.cells) for row in rows)
    for row in rows:
        row.cells.extend([None] * (width - len(row.cells)))
    notes += _filled(rows, merged, path, name)
    head = rows[0].cells
    names = [str(cell).strip() if cell is not None else f"column_{i + 1}" for i, cell in enumerate(head)]
    frames.check_unique(names, path)
    columns = [[row.cells[i] for row in rows[1:]] for i in range(width)]
    notes += _uncomputed(path, name, rows, names, columns)
    arrays = []
    for called, values in zip(names, columns, strict=True):
        found, told = _as_dates(values, called, path)
        arrays.append(frames.typed(found))
        notes += told
    return pa.table(arrays, names=names), notes


def _opened(path: Path, values: bool = True) -> Any:
    try:
        import openpyxl
    except ImportError:
        raise UserError(f"{path} needs openpyxl: pip install 'shendu[excel]', or save the sheet as CSV") from None
    try:
        return openpyxl.load_workbook(path, read_only=True, data_only=values)
    except Exception as error:  # openpyxl raises whatever the damaged part made it raise
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is a damaged or truncated Excel file: download or copy it again")


def _rows(sheet: Any) -> Iterator[Row]:
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        yield Row(number, list(cells))


# ---- which sheet -----------------------------------------------------------------------------------------------------


def _chosen(book: Any, path: Path, said: str) -> tuple[str, list[str]]:
    """(the name of the sheet that is read, what is said of the others)."""
    names = [sheet.title for sheet in book.worksheets]
    if said:
        if said not in names:
            raise UserError(f"{path} has no sheet '{said}'{near(said, names)}")
        return said, []
    shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
    tables = [sheet.title for sheet in shown if _is_table(sheet)]
    if not tables:
        return shown[0].title, []
    first, others = tables[0], tables[1:]
    if others:
        how = option("--sheet", others[0])
        return first, [f"{path.name}: the sheet {first} is read, and not {few(others)} (to read it: {how})"]
    empty = first == names[0]
    return first, [] if empty else [f"{path.name}: the sheet {first} is read, the only one that holds a table"]


def _is_table(sheet: Any) -> bool:
    """Whether two rows have two cells or more."""
    found = 0
    for row in _rows(sheet):
        found += sum(cell is not None for cell in row.cells) >= 2
        if found == 2:
            return True
    return False


# ---- merged cells ----------------------------------------------------------------------------------------------------


def _merged(path: Path, sheet: Any) -> list[str]:
    """The ranges of a sheet's merged cells, which openpyxl leaves out where it reads row by row."""
    found: list[str] = []
    with zipfile.ZipFile(path) as file, file.open(sheet._worksheet_path.lstrip("/")) as stream:
        rest = b""
        while piece := stream.read(_PIECE):
            text = rest + piece
            found += [match[1].decode() for match in _MERGE.finditer(text)]
            rest = text[-_OVERLAP:]
    return list(dict.fromkeys(found))


def _filled(rows: list[Row], merged: list[str], path: Path, sheet: str) -> list[str]:
    """Puts the value of cells that are merged down a column into each of them; raises UserError where several columns are merged."""
    from openpyxl.utils import range_boundaries

    places = {row.number: row for row in rows}
    head, last, width = rows[0].number, rows[-1].number, len(rows[0].cells)
    down = []
    for name in merged:
        left, top, right, bottom = range_boundaries(name)
        if bottom < head or top > last or left > width:
            continue
        if right > left or top <= head:
            raise UserError(
                f"{path} has merged cells ({name} of the sheet {sheet}): unmerge them, so that the first row names the columns "
                "and every row below has its own cells"
            )
        value = places[top].cells[left - 1] if top in places else None
        for number in range(top, bottom + 1):
            if number in places:
                places[number].cells[left - 1] = value
        down.append(name)
    return [f"{path.name}: the value of merged cells counts in each of their rows: {few(down)}"] if down else []


# ---- formulas --------------------------------------------------------------------------------------------------------


def _uncomputed(path: Path, sheet: str, rows: list[Row], names: list[str], columns: list[list[Any]]) -> list[str]:
    """What is said of formulas that no program has computed; raises UserError where a column holds nothing else."""
    open_columns = [i for i, values in enumerate(columns) if None in values]
    if not open_columns:
        return []
    numbers = {row.number: row for row in rows[1:]}
    counts = dict.fromkeys(open_columns, 0)
    for number, cells in enumerate(_opened(path, values=False)[sheet].iter_rows(), 1):
        if number in numbers:
            for i in open_columns:
                formula = i < len(cells) and cells[i].data_type == "f"
                counts[i] += formula and numbers[number].cells[i] is None
    cure = "open the file in Excel or LibreOffice and save it, or save the sheet as CSV"
    for i, count in counts.items():
        if count and all(value is None for value in columns[i]):
            raise UserError(
                f"{path} has {count:,} formulas in the column {names[i]} that no program has computed, so there are no values: {cure}"
            )
    found = [f"{names[i]} ({count:,})" for i, count in counts.items() if count]
    return [f"{path.name}: formulas without a value count as missing: {few(found)} ({cure})"] if found else []


# ---- dates -----------------------------------------------------------------------------------------------------------


def _as_dates(values: list[Any], name: str, path: Path) -> tuple[list[Any], list[str]]:
    """(dates of which some are written as text, as dates; what is said of it). Raises UserError where day and month may be either."""
    if {type(value) for value in values} - {type(None)} != {datetime.datetime, str}:
        return values, []
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip() not in ABSENT]
    if not texts:
        return [value if isinstance(value, datetime.datetime) else None for value in values], []
    words = pa.array(texts, pa.string())
    form, share = times.form_of(words, [form for form in times.DATES if form not in times.NUMBERS])
    typed = sum(isinstance(value, datetime.datetime) for value in values)
    if share < SURE:
        return values, [
            f"column {name}: {typed:,} dates and {len(texts):,} texts, such as '{texts[0]}', are read as words"
        ]
    other = times.AMBIGUOUS.get(form)
    if other and times.form_of(words, [other])[1] >= SURE:
        raise UserError(
            f"{path} holds {typed:,} dates and {len(texts):,} texts such as '{texts[0]}' in the column {name}, of which day and "
            "month may be either: make all of them dates"
        )
    found = iter(times.read(words, form).wall)
    read = [next(found) if isinstance(v, str) and v.strip() not in ABSENT else v for v in values]
    moments = [_moment(value) for value in read]
    lost = sum(isinstance(value, np.datetime64) and np.isnat(value) for value in read)
    more = f", and {lost:,} of them are none and count as missing" if lost else ""
    return moments, [
        f"column {name}: {len(texts):,} of the dates are texts, such as '{texts[0]}', read as {form}{more}"
    ]


def _moment(value: Any) -> datetime.datetime | None:
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else value.astype("datetime64[us]").astype(datetime.datetime)
    return value if isinstance(value, datetime.datetime) else None
