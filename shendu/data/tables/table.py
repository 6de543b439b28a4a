"""Tables as data: the target, and all other columns as one matrix of rows; for training, and for prediction by name.

Every decision (which column is the target, what kind each of the others is) becomes a note with its reason and the
option that overrides it. Vocabularies and the names of categories come from the training part alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shendu.data.columns import Number
from shendu.data.dataset import Dataset
from shendu.data.files import cache
from shendu.data.files.archive import Tree
from shendu.data.reading import Published, Reading
from shendu.data.signals import series
from shendu.data.tables import cells, formats, media
from shendu.data.tables.cells import Cells
from shendu.data.tables.delimited import few
from shendu.data.tables.formats import SUFFIXES, from_object, read, recognised
from shendu.data.tables.kinds import ID, Judged, explained, judge, parse_types
from shendu.data.tables.row import Column, Row
from shendu.data.tables.target import choose_target, prepared
from shendu.data.texts import sequence
from shendu.errors import UserError, near
from shendu.field import Field

__all__ = ["choose_target", "from_object", "judge", "parse_types", "read", "recognised"]

_PARTS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
          "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip


def in_folder(path: Path, names: list[str]) -> dict[str, Path] | None:
    """Part -> file of a folder that holds one table, or train.csv and perhaps test.csv; None: no folder of tables.

    Raises UserError where several tables have no such names.
    """
    found = [path / name for name in names if "/" not in name and _ending(name) in SUFFIXES]
    if not found:
        return None
    parts: dict[str, Path] = {}
    for file in found:
        part = _PARTS.get(file.name.split(".")[0].lower())
        if part:
            if part in parts:
                raise UserError(f"{path} has two {part} parts, {parts[part].name} and {file.name}: leave one")
            parts[part] = file
    if "train" in parts:
        return parts
    if len(found) > 1:
        raise UserError(
            f"{path} is a folder of tables: name one of them, such as {found[0]}, or name them train.csv and test.csv"
        )
    return {"train": found[0]}


def _ending(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def open_files(
    files: Mapping[str, Path], name: str, source: str, reading: Reading, published: Published | None = None
) -> Dataset:
    """The parts of a table, typed and stored. Raises UserError."""
    if series.meant(reading):
        return series.open_files(files, name, source, reading)
    facts = published or Published()
    options = {
        "kind": "table", "target": reading.target, "types": list(reading.types), "task": reading.task,
        "skip_bad": reading.skip_bad, "published": [facts.target, list(facts.names), list(facts.skip), facts.label_end],
    }  # fmt: skip

    return cache.through_files(
        files, options, name, source, lambda room: decoded_files(files, {}, reading, room, published)
    )


def decoded_files(
    files: Mapping[str, Path],
    where: dict[str, str],
    reading: Reading,
    room: cache.Room,
    published: Published | None = None,
) -> cache.Decoded:
    """The rows of a table's parts; `where` is what they are called, if not by their paths. Raises UserError."""
    facts, tables, notes, comma = published or Published(), {}, [], False
    for part, path in files.items():
        tables[part], said, with_comma = read(path, reading.skip_bad, names=facts.names, skip=int(part in facts.skip))
        notes += said
        comma = comma or with_comma
    where = where or {part: str(path) for part, path in files.items()}
    if series.meant(reading):
        return series.decoded(tables["train"], where["train"], reading, room, comma, tuple(notes))
    return decoded(tables, where, reading, room, notes=tuple(notes), comma=comma, published=facts)


def in_archive(tree: Tree, path: Path, names: list[str], reading: Reading, room: cache.Room) -> cache.Decoded | None:
    """The table, or the train and test tables, that an archive holds; None where it holds none. Raises UserError."""
    entries = {Path(name).name: name for name in names}
    parts = in_folder(path, sorted(entries))
    if not parts:
        return None
    with tempfile.TemporaryDirectory() as place:
        files = {part: Path(place) / file.name for part, file in parts.items()}
        wanted = {entries[file.name]: file for file in files.values()}
        for entry, data in tree.each(list(wanted)):
            try:
                wanted[entry].write_bytes(data())
            except OSError as error:
                raise UserError(
                    f"cannot read {entry} of {path}: {error}; unpack it, or copy the archive again"
                ) from error
        return decoded_files(files, {part: f"{path}/{file.name}" for part, file in parts.items()}, reading, room)


def open_saved(path: Path, parts: dict[str, list[Path]], name: str, source: str, reading: Reading) -> Dataset:
    """A folder that `datasets` wrote with save_to_disk: Arrow files of one or several parts. Raises UserError."""
    files = {str(file.relative_to(path)): file for group in parts.values() for file in group}
    options = {"kind": "saved", "target": reading.target, "types": list(reading.types), "task": reading.task}

    def decode(room: cache.Room) -> cache.Decoded:
        tables = {
            part: formats.named_classes(
                pa.concat_tables(map(formats.read_arrow, group)), formats.saved_features(group[0].parent)
            )
            for part, group in parts.items()
        }
        return decoded(tables, {part: f"{path} ({part})" for part in parts}, reading, room)

    return cache.through_files(files, options, name, source, decode)


def open_objects(raw: Mapping[str, Any], reading: Reading) -> Dataset:
    """A table in memory, or its parts: what `objects` found. Raises UserError."""
    tables = {part: from_object(table) for part, table in raw.items()}
    where = {part: "the table" if len(tables) == 1 else f"the {part} table" for part in tables}
    if series.meant(reading):
        return cache.through_arrays(series.decoded(tables["train"], where["train"], reading, np_room), "table")
    return cache.through_arrays(decoded(tables, where, reading, np_room), "table")


def objects(raw: Any) -> dict[str, Any] | None:
    """Part -> table, of a pandas, polars, pyarrow or `datasets` table, of a dict of such with a train part, or of rows and
    their targets; None for what is none of them. Raises UserError."""
    if formats.is_table(raw) or hasattr(raw, "__arrow_c_stream__"):
        return {"train": raw}
    if isinstance(raw, Mapping) and raw and all(map(formats.is_table, raw.values())):
        parts = {_PARTS.get(str(name).lower(), str(name)): table for name, table in raw.items()}
        return (
            {part: parts[part] for part in ("train", "validation", "test") if part in parts}
            if "train" in parts
            else None
        )
    if isinstance(raw, tuple | list) and len(raw) == 2 and formats.is_table(raw[0]):
        return {"train": formats.beside(*raw)}
    return None


def np_room(split: str, field: str, shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    """Room in memory."""
    return np.zeros(shape, dtype)


def saved_parts(path: Path, names: list[str]) -> dict[str, list[Path]] | None:
    """Part -> Arrow files of a folder of `datasets`; None where it is none."""
    if "dataset_dict.json" not in names and "dataset_info.json" not in names:
        return None
    parts: dict[str, list[Path]] = {}
    for name in names:
        if name.endswith(".arrow"):
            split = Path(name).parent.name if "dataset_dict.json" in names else "train"
            parts.setdefault(_PARTS.get(split.lower(), split), []).append(path / name)
    if "train" not in parts:
        raise UserError(
            f"{path} has no train part ({few(sorted(parts)) or 'no Arrow files'}): save it with a split named train"
        )
    return {part: group for part, group in parts.items() if part in set(_PARTS.values())}


# ---- the rows --------------------------------------------------------------------------------------------------------


def decoded(
    tables: dict[str, pa.Table],
    where: dict[str, str],
    reading: Reading,
    room: cache.Room,
    *,
    notes: tuple[str, ...] = (),
    comma: bool = False,
    published: Published | None = None,
) -> cache.Decoded:
    """Part -> table, as one column of rows and one target; `tables` is emptied on the way. Raises UserError."""
    facts = published or Published()
    names = tables["train"].column_names
    if reading.task == "anomaly":
        return _unlabelled(tables, where, reading, room, notes=notes, comma=comma, published=facts)
    if len(names) < 2:
        raise UserError(
            f"{where['train']} has only one column ({names[0][:60] if names else 'none'}): "
            "its cells must be parted by commas, semicolons, tabs or bars"
        )
    if not tables["train"].num_rows:
        raise UserError(f"{where['train']} has only a header ({few(names)}): add rows below it")
    said = parse_types(reading.types, names)
    target, note = choose_target(names, reading.target or facts.target, where["train"])
    found = [*notes, *([note] if note and not facts.target else [])]
    found += _leave_unlabelled(tables, target, where)
    _check_parts(tables, names, said, where)
    kind = said.pop(target, ("", ""))[0]
    labelled = {part: Cells(target, table.column(target)) for part, table in tables.items()}
    goal = prepared(labelled, where, reading.task, kind, comma, facts.label_end)
    found.append(goal.note)
    for part, kept in goal.kept.items():
        if kept is not None:
            found.append(
                f"{int((~kept).sum()):,} of {len(kept):,} rows of the {part} part have no {target} and are left out"
            )
            tables[part] = tables[part].filter(pa.array(kept))
    if held := media.column_of(tables["train"]):
        others = {part: table.drop_columns([target]) for part, table in tables.items()}
        made = media.decoded(others, held, goal, where, room, reading.skip_bad)
        return replace(made, notes=(*found, *made.notes))
    if spelt := sequence.columns_of(tables["train"], target, said):
        letters, codes, why = sequence.decoded(tables, spelt, target, where, room)
        parts = {part: {"sequence": codes[part], "target": goal.values[part]} for part in codes}
        return cache.Decoded(
            fields={"sequence": letters, "target": goal.column}, splits=parts, input="sequence", target="target",
            notes=(*found, *why),
        )  # fmt: skip
    fields, columns, why = _fields(tables, where, [name for name in names if name != target], said, comma)
    if not fields:
        raise UserError(f"{where['train']} has no column to learn {target} from ({'; '.join(why)})")
    if len(fields) == 1 and fields[0].kind == "text":
        input, column, inputs, more = _as_text(fields[0], columns)
        why = [*why[1:], *more]
    else:
        input, column = "row", Row(columns=fields)
        pa.default_memory_pool().release_unused()  # the text is gone, and the matrix needs its room
        inputs = {part: _matrix(stored, column, part, room) for part, stored in columns.items()}
    return cache.Decoded(
        fields={input: column, "target": goal.column},
        splits={part: {input: inputs[part], "target": goal.values[part]} for part in inputs},
        input=input,
        target="target",
        notes=(*found, *why),
    )


LABELS = ("label", "labels", "class", "target", "anomaly", "outlier")
"""Names of columns that say what a row is, not how it is."""


def _unlabelled(
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
        why = f"by its name (else: --type {label}=number, or what it is)"
    inputs = [name for name in names if name != label]
    tables.update({part: table.drop_columns([label]) for part, table in tables.items() if label in table.column_names})
    said.pop(label, None)
    _check_parts(tables, inputs, said, where)
    rows = {part: table.num_rows for part, table in tables.items()}
    fields, columns, found = _fields(tables, where, inputs, said, comma)
    if not fields:
        raise UserError(f"{where['train']} has no column to learn from ({'; '.join(found)})")
    row = Row(columns=fields)
    column = Number()
    parts = {part: {"row": _matrix(stored, row, part, room)} for part, stored in columns.items()}
    return cache.Decoded(
        fields={"row": row, "target": column},
        splits={part: {**parts[part], "target": np.zeros(rows[part], np.float32)} for part in parts},
        input="row",
        target="target",
        notes=(*notes, *([f"{label} is a label and is left out, {why}"] if label else []), *found),
    )


def _as_text(
    field: Column, columns: dict[str, list[np.ndarray | Cells]]
) -> tuple[str, Field, dict[str, np.ndarray], tuple[str, ...]]:
    """A table whose only input is a free text, as texts: (the input's name, its column, part -> codes, notes)."""
    from shendu.data.texts import text

    values = {part: stored[0].column for part, stored in columns.items() if isinstance(stored[0], Cells)}
    column, notes = text.column(values["train"], field.name)
    return "text", column, {part: text.encode(found, column) for part, found in values.items()}, notes


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


def _fields(
    tables: dict[str, pa.Table],
    where: dict[str, str],
    names: list[str],
    said: Mapping[str, tuple[str, str]],
    comma: bool,
) -> tuple[tuple[Column, ...], dict[str, list[np.ndarray | Cells]], list[str]]:
    """(fields, part -> stored columns, notes); each column's cells are let go before the next one is judged.

    Texts stay cells: what they become depends on the other columns.
    """
    waiting = {part: dict(zip(table.column_names, table.columns, strict=True)) for part, table in tables.items()}
    tables.clear()
    judged: dict[str, Judged] = {}
    columns: dict[str, list[np.ndarray | Cells]] = {part: [] for part in waiting}
    for name in names:
        given = {part: Cells(name, found.pop(name)) for part, found in waiting.items() if name in found}
        judged[name] = judge(given["train"], said.get(name), comma)
        if field := judged[name].field:
            for part in waiting:
                text = field.kind == "text"
                columns[part].append(given[part] if text else _stored(given[part], field, where[part]))
    return tuple(j.field for j in judged.values() if j.field), columns, explained(judged)


def _stored(column: Cells, field: Column, where: str) -> np.ndarray:
    try:
        return cells.stored(column, field)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _matrix(columns: list[np.ndarray | Cells], row: Row, part: str, room: cache.Room) -> np.ndarray:
    """float32 [N, W]; `columns` is emptied on the way."""
    matrix = room(part, "row", (len(columns[0]), *row.stored), "float32")
    for field, start in zip(row.columns, row.starts, strict=True):
        found = columns.pop(0)
        matrix[:, start : start + field.width] = cells.stored(found, field) if isinstance(found, Cells) else found
    return matrix


def inputs(table: pa.Table) -> Row:
    """The column of rows that a table without a target makes; raises UserError where none of its columns can be used."""
    fields, _, why = _fields({"train": table}, {"train": "X"}, table.column_names, {}, False)
    if not fields:
        raise UserError(f"X has no column to learn from ({'; '.join(why)})")
    return Row(columns=fields)


# ---- prediction ------------------------------------------------------------------------------------------------------


def stored(table: pa.Table, row: Row) -> np.ndarray:
    """float32 [n, W] of a table whose columns are found by name; others are let be. Raises UserError."""
    for field in row.columns:
        if field.name not in table.column_names:
            raise UserError(
                f"there is no column '{field.name}', which the model reads{near(field.name, table.column_names)}"
            )
    found = np.empty((table.num_rows, *row.stored), np.float32)
    for field, start in zip(row.columns, row.starts, strict=True):
        found[:, start : start + field.width] = cells.stored(Cells(field.name, table.column(field.name)), field)
    return found


def pieces(given: Any, row: Row) -> Iterator[tuple[list[str], pa.Table]]:
    """(a name per row, some rows) after another of a table's file, or of an object. Raises UserError."""
    done = 0
    for table in formats.pieces(given, tuple(field.name for field in row.columns)):
        named = identifier(table, row)
        labels = table.column(named).to_pylist() if named else range(done + 1, done + 1 + table.num_rows)
        done += table.num_rows
        yield [str(label) for label in labels], table


def identifier(table: pa.Table, row: Row) -> str:
    """The column that names the rows: one that the model does not read, called like an id; empty: their number does."""
    known = {field.name for field in row.columns}
    return next((name for name in table.column_names if name not in known and ID.fullmatch(name)), "")
