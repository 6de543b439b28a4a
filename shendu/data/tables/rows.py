"""A table's columns as one matrix of rows.

Every decision (which column is the target, what kind each of the others is) becomes a note with its reason and the
option that overrides it. Vocabularies and the names of categories come from the training part alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shendu.data import cells
from shendu.data.cells import Cells
from shendu.data.column import Column
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.files import cache
from shendu.data.tables import files
from shendu.data.tables.delimited import few
from shendu.data.tables.kinds import ID, Judged, as_text, explained, judge, parse_types
from shendu.data.tables.target import Target, choose_target, prepared
from shendu.errors import UserError, near
from shendu.field import Some, check_strict
from shendu.reading import Published, Reading
from shendu.shown import option


@dataclass(frozen=True)
class Labelled:
    """The target of a table and what a person says of the other columns."""

    name: str
    goal: Target
    said: dict[str, tuple[str, str]]
    notes: tuple[str, ...]


def labelled(
    tables: dict[str, pa.Table], where: dict[str, str], reading: Reading, comma: bool, facts: Published
) -> Labelled:
    """The target of a table's parts, which keep the rows that have one. Raises UserError."""
    names = tables["train"].column_names
    if len(names) < 2:
        text = Path(where["train"]).suffix and files.SUFFIXES.get(files.ending(where["train"]), "csv") == "csv"
        cure = (
            "its cells must be parted by commas, semicolons, tabs or bars"
            if text
            else "give one to learn from and one to predict"
        )
        raise UserError(f"{where['train']} has only one column ({names[0][:60] if names else 'none'}): {cure}")
    if not tables["train"].num_rows:
        raise UserError(f"{where['train']} has only a header ({few(names)}): add rows below it")
    said = parse_types(reading.types, names)
    target, note = choose_target(names, reading.target or facts.target, where["train"])
    found = [note] if note and not facts.target else []
    found += _leave_unlabelled(tables, target, where)
    _check_parts(tables, names, said, where)
    kind = said.pop(target, ("", ""))
    absent = (*reading.absent, *facts.missing)
    cells_of = {part: Cells(target, table.column(target), absent) for part, table in tables.items()}
    goal = prepared(cells_of, where, reading.task, kind, comma, facts.label_end, reading.strict)
    found += goal.notes
    if count := sum(one.left for one in cells_of.values()):
        found.append(f"{option('--missing', ','.join(absent))}: {count:,} cells of {target}")
    for part, kept in goal.kept.items():
        if kept is not None:
            found.append(
                f"{int((~kept).sum()):,} of {len(kept):,} rows of the {part} part have no {target} and are left out"
            )
            tables[part] = tables[part].filter(pa.array(kept))
    return Labelled(target, goal, said, tuple(found))


LABELS = ("label", "labels", "class", "target", "anomaly", "outlier")
"""Names of columns that say what a row is, not how it is."""


def unlabelled(
    tables: dict[str, pa.Table],
    where: dict[str, str],
    reading: Reading,
    room: cache.Room,
    *,
    notes: tuple[str, ...],
    comma: bool,
    published: Published,
) -> cache.Decoded:
    """All columns but a label as rows; zeros stand where others have a target. Raises UserError."""
    names = tables["train"].column_names
    if not tables["train"].num_rows:
        raise UserError(f"{where['train']} has only a header ({few(names)}): add rows below it")
    said = parse_types(reading.types, names)
    label, why = reading.target or published.target, "as said"
    if label:
        choose_target(names, label, where["train"])
    else:
        label = next((name for name in names if name.lower() in LABELS and name not in said), "")
        why = f"by its name (else: {option('--type', f'{label}=number')}, or what it is)"
    inputs = [name for name in names if name != label]
    tables.update({part: table.drop_columns([label]) for part, table in tables.items() if label in table.column_names})
    said.pop(label, None)
    _check_parts(tables, inputs, said, where)
    rows = {part: table.num_rows for part, table in tables.items()}
    fields, columns, found = columns_of(tables, where, inputs, said, comma, reading, published)
    if not fields:
        raise UserError(f"{where['train']} has no column to learn from ({'; '.join(found)})")
    row = Row(columns=fields)
    column = Number()
    parts = {part: {"row": matrix(stored, row, part, room)} for part, stored in columns.items()}
    return cache.Decoded(
        fields={"row": row, "target": column},
        splits={part: {**parts[part], "target": np.zeros(rows[part], np.float32)} for part in parts},
        inputs=("row",),
        targets=("target",),
        notes=(*notes, *([f"{label} is a label and is left out, {why}"] if label else []), *found),
    )


def _leave_unlabelled(tables: dict[str, pa.Table], target: str, where: dict[str, str]) -> list[str]:
    """A part without the target cannot be measured on: it is left out, and said so."""
    without = [part for part, table in tables.items() if target not in table.column_names]
    for part in without:
        del tables[part]
    return [
        f"{where[part]} has no column {target} and is left out (for its predictions: shendu predict)"
        for part in without
    ]


def _check_parts(tables: dict[str, pa.Table], names: list[str], said: Mapping[str, Any], where: dict[str, str]) -> None:
    for part, table in tables.items():
        missing = [name for name in names if name not in table.column_names and said.get(name, ("",))[0] != "ignore"]
        if missing:
            raise UserError(
                f"{where[part]} lacks the column '{missing[0]}' of {where['train']}{near(missing[0], table.column_names)}"
            )


def columns_of(
    tables: dict[str, pa.Table],
    where: dict[str, str],
    names: list[str],
    said: Mapping[str, tuple[str, str]],
    comma: bool,
    reading: Reading | None = None,
    facts: Published | None = None,
) -> tuple[tuple[Column, ...], dict[str, list[np.ndarray | Cells]], list[str]]:
    """(fields, part -> stored columns, notes); each column's cells are let go before the next one is judged.

    Texts stay cells: what they become depends on the other columns. Raises UserError where the reading is strict and a cell
    cannot be read.
    """
    reading, facts = reading or Reading(), facts or Published()
    absent = (*reading.absent, *facts.missing)
    words = Counter[str]()
    unread: list[str] = []
    names_for_nothing: dict[str, Some] = {}
    waiting = {part: dict(zip(table.column_names, table.columns, strict=True)) for part, table in tables.items()}
    tables.clear()
    judged: dict[str, Judged] = {}
    fields: list[Column] = []
    columns: dict[str, list[np.ndarray | Cells]] = {part: [] for part in waiting}
    spare: dict[str, Cells] = {}
    for name in names:
        given = {
            part: Cells(name, table.pop(name), absent, composed=True)
            for part, table in waiting.items()
            if name in table
        }
        words.update({name: sum(one.left for one in given.values())})
        judged[name] = judge(given["train"], said.get(name), comma)
        if field := judged[name].field:
            field = replace(cells.with_offset(given["train"], field), missing=absent)
            fields.append(field)
            if field.kind in ("category", "text") and (word := given["train"].word_for_nothing()):
                names_for_nothing[name] = word
            for part in waiting:
                if field.kind == "text":
                    columns[part].append(given[part])
                    continue
                found, said_of = _of_part(given[part], field, part, where[part], reading)
                columns[part].append(found)
                unread += said_of
        elif not fields and judged[name].cure == "text" and (not spare or ID.fullmatch(spare["train"].name)):
            spare = given
    if not fields and spare:
        name = spare["train"].name
        judged[name] = as_text(spare["train"])
        fields, columns = [judged[name].field], {part: [found] for part, found in spare.items()}  # type: ignore[list-item]
    return tuple(fields), columns, [*explained(judged), *unread, *_nothing(words, names_for_nothing, reading)]


def _of_part(given: Cells, field: Column, part: str, where: str, reading: Reading) -> tuple[np.ndarray, list[str]]:
    """(a column's stored values, notes on what is read in another way than in the training part, or not at all)."""
    here = field if part == "train" else replace(field, form=cells.reread(given, field, None))
    found = _stored(given, here, where)
    bad = cells.unread(given, here, found)
    if bad and reading.strict:
        check_strict({field.name: bad}, f"{where}: ")
    if part == "train":  # its words are told with the column's kind
        return found, []
    notes = [*cells.reread_told(given, field, here), *([f"column {field.name}: {bad}"] if bad else [])]
    return found, [f"{part} part, {note}" for note in notes]


def _nothing(words: Counter[str], names: dict[str, Some], reading: Reading) -> list[str]:
    """What was made of words that may say that nothing is known."""
    notes = []
    if reading.missing:
        each = [f"{count:,} cells of {name}" for name, count in words.items() if count]
        notes.append(
            f"{option('--missing', reading.missing)}: {few(each) or 'no cell of the columns to learn from says so'}"
        )
    if names:
        each = [f"'{word.example}' of {name} ({word.cells:,} rows)" for name, word in names.items()]
        first = next(iter(names.values())).example
        notes.append(
            f"read as values like any other: {few(each)} (if they mean that nothing is known: {option('--missing', first)})"
        )
    return notes


def _stored(column: Cells, field: Column, where: str) -> np.ndarray:
    try:
        return cells.stored(column, field)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def matrix(columns: list[np.ndarray | Cells], row: Row, part: str, room: cache.Room) -> np.ndarray:
    """float32 [N, W]; `columns` is emptied on the way."""
    matrix = room(part, "row", (len(columns[0]), *row.stored), "float32")
    for field, start in zip(row.columns, row.starts, strict=True):
        found = columns.pop(0)
        matrix[:, start : start + field.width] = cells.stored(found, field) if isinstance(found, Cells) else found
    return matrix


def inputs(table: pa.Table) -> Row:
    """The column of rows that a table without a target makes; raises UserError where none of its columns can be used."""
    fields, _, why = columns_of({"train": table}, {"train": "X"}, table.column_names, {}, False)
    if not fields:
        raise UserError(f"X has no column to learn from ({'; '.join(why)})")
    return Row(columns=fields)
