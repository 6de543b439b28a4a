"""Tables, in files or in memory: the target, and all other columns as rows, as letters, as texts, or as the files in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu.data.column import LETTERS
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.fields.sequence import Sequence
from shendu.data.fields.text import Text
from shendu.data.files import cache, layout
from shendu.data.reader import LAST, USUAL, Claim, Items, Key, Place, Reader, is_path
from shendu.data.readers import pictures, recordings, sequences, series, texts
from shendu.data.tables import files, loading
from shendu.data.tables.files import ALONE, SUFFIXES
from shendu.data.tables.loading import Loaded
from shendu.errors import UserError, near
from shendu.field import Field, check_strict
from shendu.reading import Published, Reading

if TYPE_CHECKING:
    import pyarrow as pa

    from shendu.data.cells import Cells
    from shendu.data.column import Column

KINDS = (Row.kind, Text.kind, Sequence.kind)
"""Of fields that a table's columns are made into."""
FILES = "text"
"""The column of a table that is given to a model of texts in files."""


class Tables(Reader):
    """CSV and its kin, Parquet, JSON, Arrow, Excel, ARFF: a file, train.csv and test.csv, or what `datasets` saved."""

    name = "tables"

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        if not place.path or reading.forecasts or (place.file and reading.task == "text" and is_text(place.file)):
            return None
        sure = files.sureness(place)
        return Claim(*sure, (place, reading)) if sure else None

    def key(self, claim: Claim) -> Key:
        place, reading = claim.found
        if place.folder and (saved := files.saved_parts(place.folder, place.names)):
            named = {str(file.relative_to(place.folder)): file for group in saved.values() for file in group}
            return Key(named, {**options(reading), "kind": "saved"})
        parts = files.parts_of(place)
        if not place.folder:
            return Key(parts, options(reading))
        cut = {
            f"{part} {i}": file for part, first in parts.items() for i, file in enumerate(files.shards(first)[1:], 2)
        }
        return Key({**parts, **cut}, options(reading) | {"beside": files.beside(place.names, parts)})

    def read(self, claim: Claim, room: cache.Room) -> cache.Decoded:
        place, reading = claim.found
        return decoded(loading.loaded(place, reading), reading, room)

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> cache.Decoded | None:
        place, reading = claim.found
        return encoded(loading.loaded(place, reading), place.path.name, fields, reading) if readable(fields) else None

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        """A table by its columns' names: a file of one, or an object."""
        if len(fields) != 1 or (kind := next(iter(fields.values())).kind) not in KINDS:
            return 0.0
        if isinstance(given, str | Path):
            known = frozenset((*SUFFIXES, *ALONE))
            spelled = Path(given).suffix.lower() in known and is_path(str(given), known)
            if spelled or kind == Text.kind:
                return 0.95 if spelled or files.packed(given) else 0.0
            return 0.5 if is_path(str(given)) else LAST
        rows = isinstance(given, list | tuple) and bool(given) and all(isinstance(row, Mapping) for row in given)
        table = (
            rows
            or _several(given)
            or isinstance(given, Mapping)
            or hasattr(given, "__arrow_c_stream__")
            or hasattr(given, "features")
        )
        return 0.9 if table else 0.0

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        """Some thousand rows at a time, called by their id or number."""
        from shendu.data.tables import formats

        ((name, field),) = fields.items()
        place = files.packed(given)
        if found := loading.loaded(place, reading).tables if place else _several(given):
            for part, table in found.items():
                yield from _rows(iter([table]), name, field, f"{part} " if len(found) > 1 else "", [])
            return
        ragged: list[int] = []
        told: list[str] = []
        bad = ragged if reading.skip_bad else None
        tables = formats.pieces(given, read_by(field), ragged=bad, reading=reading, told=told)
        yield from _rows(tables, name, field, "", ragged)
        yield from (("", [], note) for note in told)
        if ragged:
            yield (
                "",
                [],
                f"{layout.count(len(ragged), 'row')} of {given} with too few or too many cells left out (--skip-bad)",
            )

    def sent(self, data: bytes, named: str, fields: dict[str, Field]) -> dict[str, Any] | None:
        """A table's rows by its columns' names: of a CSV and its kin, JSONL, Parquet or Arrow."""
        if len(fields) != 1 or (field := next(iter(fields.values()))).kind not in KINDS:
            return None
        end = files.ending(named)
        if end not in files.SENT and field.kind != Row.kind:
            return None
        from shendu.data.tables import formats

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"table{end if end in files.SENT else '.csv'}"
            path.write_bytes(data)
            try:
                found = joined(list(formats.pieces(path, read_by(field))))
            except UserError as error:
                raise UserError(str(error).replace(str(path), "the table")) from None
            return {name: values_of(found, field) for name in fields}


def joined(pieces: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    if not pieces:
        raise UserError("the table has no rows: send some")
    return pa.concat_tables(pieces, promote_options="permissive")


def _several(given: Any) -> dict[str, Any]:
    """The tables of {"train": table, "test": table}, or the one of (table, targets); none where it is something else. Raises UserError."""
    from shendu.data import frames

    if isinstance(given, Mapping) and given and all(map(frames.is_table, given.values())):
        return {str(part): frames.from_object(table) for part, table in given.items()}
    pair = isinstance(given, tuple | list) and len(given) == 2 and frames.is_table(given[0])
    return {"": frames.from_object(given[0])} if pair and not frames.is_table(given[1]) else {}


def _rows(tables: Iterator[pa.Table], name: str, field: Any, before: str, ragged: list[int]) -> Items:
    """Their rows, called by their id or number, of which the ragged ones have one too."""
    done = 0
    for table in tables:
        named = identifier(table.column_names, read_by(field))
        left = np.arange(done + 1, done + 1 + table.num_rows + len(ragged))
        numbers = left[~np.isin(left, ragged)][: table.num_rows].tolist()
        done = numbers[-1] if numbers else done
        labels = table.column(named).to_pylist() if named else numbers
        yield named or "row", [f"{before}{label}" for label in labels], {name: values_of(table, field)}


def is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def options(reading: Reading, facts: Published | None = None) -> dict[str, Any]:
    """What decides the outcome besides the files."""
    facts = facts or Published()
    return {
        "kind": "table", "target": reading.target, "types": list(reading.types), "task": reading.task,
        "skip_bad": reading.skip_bad, "missing": [*reading.absent, *facts.missing], "strict": reading.strict,
        "encoding": reading.encoding, "sheet": reading.sheet,
        "published": [facts.target, list(facts.names), list(facts.skip), facts.label_end],
    }  # fmt: skip


# ---- to be learned from ----------------------------------------------------------------------------------------------


def decoded(found: Loaded, reading: Reading, room: cache.Room, published: Published | None = None) -> cache.Decoded:
    """Part -> table, as one input and one target; the tables are let go on the way. Raises UserError."""
    import pyarrow as pa

    from shendu.data.tables import kinds, media, rows

    tables, where, facts = found.tables, found.where, published or Published()
    comma = found.comma or kinds.decimal_comma(tables["train"])
    notes = (*found.notes, *kinds.points_told(tables["train"], reading.types, comma))
    found = found._replace(notes=notes, comma=comma)
    if reading.task == "anomaly":
        return rows.unlabelled(tables, where, reading, room, notes=found.notes, comma=found.comma, published=facts)
    names = tables["train"].column_names
    target = rows.labelled(tables, where, reading, found.comma, facts)
    goal, notes = target.goal, (*found.notes, *target.notes)
    if medium := media.column_of(tables["train"]):
        others = {part: table.drop_columns([target.name]) for part, table in tables.items()}
        tree, laid = media.planned(others, medium, goal, where)
        door = {"picture": pictures.decoded, "recording": recordings.decoded}[laid.kind]
        made = door(tree, laid, where["train"], room, reading.skip_bad)
        return replace(made, notes=(*notes, *made.notes))
    if spelt := sequences.columns_of(tables["train"], target.name, target.said):
        letters, codes, why = sequences.decoded(tables, spelt, target.name, where, room)
        return _both("sequence", letters, codes, goal.column, goal.values, (*notes, *why))
    free = [name for name in names if name != target.name]
    columns, stored, why = rows.columns_of(tables, where, free, target.said, found.comma, reading, facts)
    if not columns:
        raise UserError(f"{where['train']} has no column to learn {target.name} from ({'; '.join(why)})")
    if len(columns) == 1 and columns[0].kind == "text":
        column, codes, more = _as_text(columns[0], stored)
        return _both("text", column, codes, goal.column, goal.values, (*notes, *why[1:], *more))
    row = Row(columns=columns)
    pa.default_memory_pool().release_unused()  # the text is gone, and the matrix needs its room
    inputs = {part: rows.matrix(some, row, part, room) for part, some in stored.items()}
    return _both("row", row, inputs, goal.column, goal.values, (*notes, *why))


def _both(
    name: str, input: Field, x: Mapping[str, Any], target: Field, y: Mapping[str, Any], notes: tuple[str, ...]
) -> cache.Decoded:
    splits = {part: {name: x[part], "target": y[part]} for part in x}
    fields = {name: input, "target": target}
    return cache.Decoded(fields=fields, splits=splits, inputs=(name,), targets=("target",), notes=notes)


def _as_text(
    field: Column, columns: dict[str, list[np.ndarray | Cells]]
) -> tuple[Text, dict[str, np.ndarray], tuple[str, ...]]:
    """A table whose only input is a free text, as texts: (the field, part -> codes, notes)."""
    values = {part: stored[0].column for part, stored in columns.items()}  # type: ignore[union-attr]
    column, notes = texts.column(values["train"], field.name, field.form == LETTERS)
    column = replace(column, missing=field.missing)
    return column, {part: column.encode(found) for part, found in values.items()}, notes


# ---- as a run takes it -----------------------------------------------------------------------------------------------


def read_by(field: Any) -> tuple[str, ...]:
    """The table's columns that a field is made of."""
    if isinstance(field, Row):
        return tuple(column.name for column in field.columns)
    return field.columns if isinstance(field, Sequence) else (field.column or FILES,)


def values_of(table: pa.Table, field: Any, where: str = "the table") -> Any:
    """A table's columns as plain values of a field. Raises UserError for a column that is missing."""
    if isinstance(field, Row):
        return table
    if isinstance(field, Sequence):
        return sequences.spelt(table, field, where)
    name = read_by(field)[0]
    if name not in table.column_names:
        raise UserError(f"there is no column '{name}', which the model reads{near(name, table.column_names)}")
    if isinstance(field, Text) and field.missing:
        from shendu.data.cells import Cells

        return Cells(name, table.column(name), field.missing).column
    return table.column(name)


def identifier(names: list[str], known: tuple[str, ...]) -> str:
    """The column that names the rows: one that the model does not read, called like an id; empty: their number does."""
    from shendu.data.tables.kinds import ID

    return next((name for name in names if name not in known and ID.fullmatch(name)), "")


def readable(fields: dict[str, Field]) -> bool:
    """Whether a table can be encoded by these fields: one that is made of columns, and a class or number."""
    input, *targets = [field.kind for field in fields.values()]
    return (input in KINDS and targets in ([], ["category"], ["number"])) or input == "series"


def encoded(found: Loaded, name: str, fields: dict[str, Field], reading: Reading) -> cache.Decoded:
    """The rows that have a target, by the columns' names and with the run's codes. Raises UserError."""
    (x, input), *targets = fields.items()
    if input.kind == "series":
        return series.encoded(found, fields)
    splits, notes = {}, list(found.notes)
    for part, table in found.tables.items():
        stored, said = _read(table, input, found.where[part], reading)
        notes += said
        own = {x + key: values for key, values in stored.items()}
        if targets:
            (y, target), where = targets[0], found.where[part]
            free = [column for column in table.column_names if column not in read_by(input)]
            wanted = _target_name(free, table.column_names, where, reading)
            codes, there, why = _targets(table, wanted, where, target, found.comma, reading)
            notes += why
            own = {**{key: values[there] for key, values in own.items()}, y: codes[there]}
        if len(own[x]):
            splits[part] = own
    if not splits:
        raise UserError(f"{name} has no rows with a target: there is nothing to measure")
    return cache.Decoded(
        fields=fields, splits=splits, inputs=(x,), targets=tuple(name for name, _ in targets), notes=tuple(notes)
    )


def _read(table: pa.Table, field: Field, where: str, reading: Reading) -> tuple[dict[str, Any], list[str]]:
    """(stored values, notes on what could not be read); raises UserError, where the reading is strict for any such cell."""
    try:
        stored, unread, notes = field.read(values_of(table, field))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if reading.strict:
        check_strict(unread)
    return stored, [*notes, *(f"column {name}: {bad}" for name, bad in unread.items())]


def _target_name(free: list[str], names: list[str], where: str, reading: Reading) -> str:
    from shendu.data.tables.target import choose_target

    if not free or (reading.target and reading.target not in names):
        wanted = f"target column '{reading.target}'" if reading.target else "column besides those that the model reads"
        close = near(reading.target, free) if reading.target else ""
        close = close if "did you mean" in close else "; for its predictions: shendu predict"
        raise UserError(f"{where} has no {wanted} to compare predictions with{close}")
    return choose_target(free, reading.target, where)[0]


def _targets(
    read: pa.Table, name: str, where: str, target: Field, comma: bool, reading: Reading
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(targets as they are stored, which rows have one, notes). Raises UserError for a class that the run has not."""
    from shendu.data import cells, labels, offsets
    from shendu.data.column import Column
    from shendu.data.tables.target import class_codes, dates_told, unread_target

    column = cells.Cells(name, read.column(name), reading.absent)
    if isinstance(target, Number):
        if column.is_time:
            raise dates_told(name, where)
        form = cells.reread(column, Column(name=name, kind="number", form=target.form), "," if comma else None)
        (away,) = target.offset or (0.0,)
        values = cells.less(column, form, away)
        bad = np.flatnonzero(np.isnan(values) & column.says)
        notes = [unread_target(name, where, len(bad), column.written(int(bad[0])))] if len(bad) else []
        if bad.size and reading.strict:
            raise UserError(f"{notes[0]} (--strict)")
        return offsets.without(values, ()), np.isfinite(values), notes
    names = list(target.names)  # type: ignore[attr-defined]
    codes, written = class_codes(column, names)
    strange = np.flatnonzero(codes == -2)
    if len(strange):
        raise UserError(
            f"{where} has the class '{written(strange[0])}' in row {strange[0] + 1:,}, which the run has not: "
            f"its classes are {', '.join(names[:8])}{', …' * (len(names) > 8)}"
        )
    left = int((codes < 0).sum())
    notes = [f"{left:,} of {len(codes):,} rows of {where} have no {name} and are left out"] if left else []
    alike = [f"'{said}' for '{taken}'" for said, taken in labels.taken_alike(column.labels.texts, names).items()]
    notes += [f"classes of {where} are taken for those that the run has: {', '.join(alike[:4])}"] if alike else []
    return codes, codes >= 0, notes
