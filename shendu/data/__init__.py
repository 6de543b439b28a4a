"""Two doors: `open` makes a data set of a known name, a path or Python objects, `pieces` gives a model's fields their rows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shendu import config
from shendu.data import offsets
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.category import Category
from shendu.data.files import archive, cache, foreign, layout
from shendu.data.ragged import joined
from shendu.data.reader import LAST, USUAL, Claim, Place, Reader, there
from shendu.errors import UserError, unknown
from shendu.field import Field, Unread, Values, all_unread
from shendu.reading import Reading
from shendu.shown import line

if TYPE_CHECKING:
    from shendu.data.known import Found, Known

PUBLIC = ("open_data",)

PIECE = 1000
"""Files and single rows are put together to so many."""
_BEGIN = {b"\x93NUMPY": ".npy", b"PAR1": ".parquet", b"ARROW1": ".arrow"}
"""How a file begins -> its ending, where an open file has no name."""
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".npz")
_EXPECTED = (
    "a folder, zip or tar.gz of class folders, IDX or CIFAR-10 binary files, an .npz, a table (CSV, Parquet, JSONL), "
    "or a text (.txt)"
)


def open(
    data: Any,
    *,
    data_dir: str | Path | None = None,
    reading: Reading | None = None,
    fields: dict[str, Field] | None = None,
    **how: Any,
) -> Dataset:
    """A data set by name, by path, or from arrays; decoded once, then memory-mapped from the cache.

    `data`: a known name; a path to pictures, recordings or texts in class folders (folder, zip, tar), IDX files, CIFAR-10
    binary files, an .npz, running text or a table (CSV, Parquet, JSONL, Excel); a Dataset; a pandas, polars, pyarrow or
    Hugging Face `datasets` table, a dict of such with a train part, or (table, targets); (x, y) of arrays or tensors; a
    dict with x_train, y_train (or x, y), x_val, …, y_test; a list of rows as dicts; or `cache:<hash>`. A name wins over a
    file of the same name (write ./mnist for the file). `data_dir` is where known sets are looked for; `how` (or a
    `reading`) says how it is to be read: target, label_from, skip_bad, … (see `Reading`). The splits are those of the
    source (`split_off()` adds what is missing).

    With the `fields` of a run, its input and then its targets, the data has these fields and is encoded by them: a table's
    columns are found by name, unseen values have the code of what is unseen, pictures are brought to the run's size,
    classes have the run's numbers. Raises UserError, also for a class that the run has not. Fields of another kind or size
    than the run's are returned as they are.
    """
    said: Reading = reading or config.settle(how, Reading())[0]
    found = data if isinstance(data, Dataset) else _opened(data, data_dir, said, fields)
    return as_fields(found, fields) if fields else found


def _opened(data: Any, data_dir: str | Path | None, reading: Reading, fields: dict[str, Field] | None) -> Dataset:
    if isinstance(data, str) and data.startswith("cache:"):
        return cache.reopen(data)
    if isinstance(data, str) and (named := _open_name(data, data_dir, reading)):
        return named
    place = Place.of(data)
    if not place.path:
        return _open_place(place, reading, fields)
    try:
        return _open_place(place, reading, fields)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {place}: {getattr(error, 'strerror', None) or error}") from error


def _open_name(name: str, data_dir: str | Path | None, reading: Reading) -> Dataset | None:
    """A known set; None where the word is a path. Raises UserError where it is neither."""
    from shendu.data import known

    if name not in known.KNOWN:
        if not os.path.exists(os.path.expanduser(name)):
            raise nothing_called(name, "data set", known.KNOWN)
        return None
    found, entry = known.find(name, data_dir), known.KNOWN[name]
    if entry.make:
        return cache.through_arrays(cache.Decoded(**entry.make()), name, name)
    return _open_known(name, found, entry, reading)


def _open_known(name: str, found: Found, entry: Known, reading: Reading) -> Dataset:
    """A set by its publisher's files."""
    from shendu.data.readers import cifar, idx, omniglot, prose, sentences, series, tables
    from shendu.data.tables import loading

    classes = entry.classes
    options = {"kind": found.kind, "classes": list(classes)}
    if found.kind == "idx":
        files = {key.replace("-", "_"): path for key, path in found.files.items()}
        return cache.through_files(files, options, name, name, lambda room: idx.decoded(files, name, classes))
    if found.kind == "table":
        how = reading.over(entry.reading)
        if how.forecasts:
            series.check_one(found.files, name)
            return cache.through_files(
                found.files, series.options(how), name, name,
                lambda room: series.decoded(loading.of_files(found.files, how), how, room),
            )  # fmt: skip
        return cache.through_files(
            found.files, tables.options(how, entry.table), name, name,
            lambda room: tables.decoded(loading.of_files(found.files, how, entry.table), how, room, entry.table),
        )  # fmt: skip
    if found.kind == "prose":
        return cache.through_files(
            found.files, prose.options(reading, entry.shares), name, name,
            lambda room: prose.decoded(found.files, name, reading, room, entry.shares),
        )  # fmt: skip
    if found.kind == "omniglot":
        return cache.through_files(
            found.files,
            {**options, "side": omniglot.SIDE},
            name,
            name,
            lambda room: omniglot.decoded(found.files, name),
        )
    if found.kind == "pairs":
        source, target = entry.languages
        if reading.target not in ("", target):
            raise UserError(
                f"{name} is translated to {target}; for the other direction train on multi30k-{target}-{source}"
            )
        pairs = sentences.Found(found.files, source, target, reading)
        return cache.through_files(
            found.files,
            sentences.options(pairs),
            name,
            name,
            lambda room: sentences.decoded(found.files, source, target),
        )
    if found.kind == "archive":
        return _open_archive(Place.of(found.files["archive"]), reading.over(entry.reading), None, name)
    if unpacked := found.files.get("folder"):
        tree = archive.Folder(unpacked)
        files = {record: unpacked / record for record in cifar.relevant(sorted(tree.sizes))}
        return cache.through_files(files, options, name, name, lambda room: cifar.decoded(tree, name, classes))
    packed = Place.of(found.files["archive"])
    return cache.through_files(
        found.files,
        options,
        name,
        name,
        lambda room: cifar.decoded(packed.unpacked().tree, name, classes),  # type: ignore[arg-type]
    )


def nothing_called(word: str, kind: str, known: Iterable[str]) -> UserError:
    """The error for a word that is neither a name nor a path; one that looks like a path gets no list of names."""
    if not word.strip():
        return UserError("the data's name is empty: give a name (`shendu list`) or a path")
    if "/" in word or "." in word:
        return UserError(f"there is no file or folder {word}: check the path")
    return UserError(f"{unknown(kind, word, known)} (there is no file or folder of that name)")


# ---- a place ---------------------------------------------------------------------------------------------------------


def _open_place(place: Place, reading: Reading, fields: dict[str, Field] | None) -> Dataset:
    from shendu.data.readers import surest

    _check_there(place)
    if not (found := surest(place, reading)):
        if place.file and place.is_archive():
            return _open_archive(place, reading, fields)
        raise _nothing(place, reading)
    reader, claim, notes = found
    if fields and (encoded := reader.encoded(claim, fields)):
        return cache.as_encoded(encoded, place.name if place.path else "the data")
    key = reader.key(claim)
    if not place.path:
        return cache.through_arrays(_read(reader, claim, notes, cache.in_memory_room), key.name)
    named = Place(key.at, key.at, archive.Folder(key.at)) if key.at and key.at != place.path else place
    decode = partial(_read, reader, claim, notes)
    return cache.through_files(key.files, key.options, named.name, str(named.path.absolute()), decode)  # type: ignore[union-attr]


def _open_archive(place: Place, reading: Reading, fields: dict[str, Field] | None, known: str = "") -> Dataset:
    """An archive, which is listed only where the cache does not have it."""
    from shendu.data.readers import surest

    def claimed() -> tuple[Reader, Claim, tuple[str, ...]]:
        inside = place.unpacked()
        _check_there(inside)
        if not (found := surest(inside, reading)):
            raise _nothing(inside, reading)
        return found

    if fields:
        reader, claim, _ = claimed()
        if encoded := reader.encoded(claim, fields):
            return cache.as_encoded(encoded, place.name)
    assert place.path
    options = {"kind": "archive", "reading": config.to_json(reading.said())}
    name, source = known or place.name, known or str(place.path.absolute())
    return cache.through_files({"archive": place.path}, options, name, source, lambda room: _read(*claimed(), room))


def _read(reader: Reader, claim: Claim, notes: tuple[str, ...], room: cache.Room) -> cache.Decoded:
    found = reader.read(claim, room)
    return replace(found, notes=(*notes, *found.notes)) if notes else found


def _check_there(place: Place) -> None:
    """Raises UserError for a path that is not there, and for one that holds nothing."""
    if not place.path:
        return
    if place.tree:
        if not place.names:
            what = f"the folder {place}" if place.folder else f"{place}"
            raise UserError(f"{what} is empty: expected {_EXPECTED}")
        return
    if not place.path.exists():
        raise UserError(f"there is no file or folder {place}: check the path")
    if not place.path.is_file():
        raise UserError(f"{place} is no regular file: expected {_EXPECTED}")
    if not place.path.stat().st_size:
        raise UserError(f"{place} is empty: download or copy it again")


def _nothing(place: Place, reading: Reading) -> UserError:
    """Why nobody reads it."""
    if reading.reader:
        return UserError(f"{place} holds nothing that the reader {reading.reader} reads; leave --reader out")
    if not place.path:
        kind = type(place.given).__name__
        return UserError(
            f"data cannot be of the type {kind}: give a name, a path, a table, (x, y), or a dict of arrays"
        )
    if place.file:
        end = foreign.is_foreign(place.head) or foreign.suffix(place.file.name)
        how = f"a {end} file, which is not read: {foreign.advice(end)}" if end in foreign.CONVERTS else ""
        return UserError(f"{place} is {how or f'no data that can be read: expected {_EXPECTED}'}")
    inner = [name for name in place.names if name.lower().endswith(_ARCHIVES) and not (place.folder and "/" in name)]
    if inner and place.folder:
        return UserError(f"{place} is a folder of archives: name one of them, such as {place.folder / inner[0]}")
    if inner:
        return UserError(f"{place} holds other archives, such as {inner[0]}: unpack it and name one of them")
    from shendu.data.tables import files as tables

    if place.folder and (deeper := tables.deeper(place.names)):
        return UserError(f"the tables of {place} lie deeper: name their folder, such as {place.folder / deeper}")
    return layout.unread(str(place), place.names, place.tree) or layout.without_classes(str(place), None, 0, 0, reading)


def as_fields(data: Dataset, fields: dict[str, Field]) -> Dataset:
    """The data with its fields called as a run's are, in their order, and its classes numbered as the run's, which may be more.

    Raises UserError for a class that the run has not.
    """
    called = dict(zip(dict.fromkeys((*data.inputs, *data.targets)), fields, strict=False))
    splits = data.splits
    has, storage = {}, {}
    for name, field in data.fields.items():
        mine = fields.get(called.get(name, ""))
        has[called.get(name, name)] = field
        storage.update({name + part: called.get(name, name) + part for part in field.storage()})
        if isinstance(field, Category) and isinstance(mine, Category) and field.names != mine.names:
            has[called[name]] = mine
            splits = {part: _renumbered(split, name, field, mine, data.name) for part, split in splits.items()}
        if mine is not None and field == mine and field.offset != mine.offset:
            has[called[name]] = mine
            splits = {part: _shifted(split, name, field, mine) for part, split in splits.items()}
    splits = {
        part: Split({storage[key]: values for key, values in split.columns.items()}, split.index)
        for part, split in splits.items()
    }
    inputs, targets = (tuple(called.get(name, name) for name in names) for names in (data.inputs, data.targets))
    return replace(data, fields=has, splits=splits, inputs=inputs, targets=targets)


def _shifted(split: Split, name: str, theirs: Field, mine: Field) -> Split:
    """Numbers less the run's offset instead of their own."""
    if name not in split.columns:
        return split
    values = offsets.without(theirs.plain(split.columns[name]), mine.offset, mine.stored)
    return Split({**split.columns, name: values}, split.index)


def _renumbered(split: Split, name: str, theirs: Category, mine: Category, where: str) -> Split:
    number = mine.places(theirs.names)
    if strange := [label for label, place in zip(theirs.names, number, strict=True) if place < 0]:
        raise UserError(
            f"the run has not the classes of {where} ({', '.join(strange[:5])}); give data of the same classes"
        )
    return Split({**split.columns, name: number[split.columns[name]]}, split.index) if name in split.columns else split


# ---- what a model is asked about -------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Some rows that a model is asked about."""

    key: str
    """What the names are: `input`, `row`, or the table's column that they come from, or go on."""
    names: list[str]
    """One per row; of a forecast one per step ahead of its only row."""
    stored: dict[str, Any]
    """A field's name + part -> its stored values, of the rows that can be read."""
    unread: Mapping[str, Unread] = MappingProxyType({})
    """Column -> its cells that could not be read."""
    notes: tuple[str, ...] = ()
    """How others were read."""
    bad: dict[int, str] | None = None
    """Which rows cannot be read, by their place among the names, and why; None: all that come from this door can be."""
    wanted: str = ""
    """What to give instead of what cannot be read."""


def pieces(
    inputs: Iterable[Any],
    fields: dict[str, Field],
    reading: Reading = USUAL,
    say: Callable[[str], None] = lambda words: None,
) -> Iterator[Piece]:
    """The rows of inputs (paths, folders, archives, tables, texts, arrays, open files, rows as dicts, known names, lists of these), as
    these fields store them.

    Files and single rows are put together to some thousand; running text, and a forecast, are pieces of their own. Each piece
    has a row that can be read. `say` is told what is left aside. Raises UserError on the way for what does not fit, and for
    inputs of which nothing can be read.
    """
    waiting: list[Piece] = []
    full = False
    for piece in (piece for given in inputs for one in _each(given) for piece in _single(one, fields, reading, say)):
        if not piece.stored:
            waiting.append(piece)
            continue
        alone = len(piece.names) != _rows(piece) or any(field.running for field in fields.values())
        key = next((one.key for one in waiting if one.stored), "")
        if key and (full or alone or piece.key != key):
            yield _together(waiting)
            waiting = []
        waiting.append(piece)
        full = alone or sum(map(_rows, waiting)) >= PIECE
    if any(piece.stored for piece in waiting):
        yield _together(waiting)
    elif waiting:
        raise _unreadable(waiting)


def _unreadable(bad: list[Piece]) -> UserError:
    name, why = bad[0].names[0], (bad[0].bad or {})[0]
    what = f"cannot read {line(name)}: {why}"
    if len(bad) > 1:
        what = f"none of the {len(bad):,} inputs can be read, the first is {line(name)} ({why})"
    return UserError(what if ":" in why else f"{what}; give {bad[0].wanted}")


def _each(given: Any) -> Iterator[Any]:
    """The parts of a list of paths and open files, and of whatever gives one input after the other; anything else as it is."""
    if isinstance(given, Iterator) and not _is_open(given):
        yield from given
        return
    listed = isinstance(given, list | tuple) and all(
        isinstance(one, str | os.PathLike) or _is_open(one) for one in given
    )
    several = listed and (not given or any(not isinstance(one, str) or there(one) for one in given))
    yield from given if several else [given]


def _is_open(given: Any) -> bool:
    """Whether it is a file's bytes, or what they can be read from."""
    return isinstance(given, bytes | bytearray) or hasattr(given, "read")


def _single(given: Any, fields: dict[str, Field], reading: Reading, say: Callable[[str], None]) -> Iterator[Piece]:
    """Each piece as its reader gives it, or as data holds it that is asked about as a whole."""
    from shendu.data.readers import door

    if _is_open(given):
        yield from _opened_file(given, fields, reading, say)
        return
    reader, sure = door(given, fields)
    if sure <= LAST and _is_data(given, reading):
        yield from _rows_of_data(given, fields, reading)
        return
    if not sure:
        like = ", ".join(f'"{name}": …' for name in fields)
        raise UserError(f"a {type(given).__name__} says nothing of {', '.join(fields)}; give rows like [{{{like}}}]")
    for key, names, values in reader.items(given, fields, reading):
        if not names and isinstance(values, str):
            say(values)
        elif isinstance(values, str):
            yield Piece(key, names, {}, bad=dict.fromkeys(range(len(names)), values), wanted=reader.wanted)
        else:
            stored, unread, notes = _parsed({name: field.read(values[name]) for name, field in fields.items()})
            count = len(next(iter(stored.values())))
            if len(names) == 1 < count and not any(field.running for field in fields.values()):
                names = [f"{names[0]}[{i}]" for i in range(count)]
            yield Piece(key, names, stored, unread, notes, {} if reader.spoiled else None)


def _parsed(
    read: dict[str, tuple[Values, dict[str, Unread], tuple[str, ...]]],
) -> tuple[dict[str, Any], dict[str, Unread], tuple[str, ...]]:
    """Stored values, what could not be read, and notes, of what each field has read."""
    stored = {name + part: rows for name, (own, *_) in read.items() for part, rows in own.items()}
    unread = {column: bad for _, found, _ in read.values() for column, bad in found.items()}
    return stored, unread, tuple(note for *_, notes in read.values() for note in notes)


def _opened_file(given: Any, fields: dict[str, Field], reading: Reading, say: Callable[[str], None]) -> Iterator[Piece]:
    """An open file, or a file's bytes, by way of a file on the disk, as which any reader takes it. Raises UserError."""
    data = given if isinstance(given, bytes | bytearray) else given.read()
    data = data.encode() if isinstance(data, str) else bytes(data)
    named = getattr(given, "name", "")
    called = named if isinstance(named, str) and named else type(given).__name__
    end = Path(called).suffix or next((end for head, end in _BEGIN.items() if data.startswith(head)), "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{end}"
        path.write_bytes(data)
        try:
            for piece in _single(path, fields, reading, lambda words: say(words.replace(str(path), called))):
                yield piece._replace(names=[name.replace(str(path), called) for name in piece.names])
        except UserError as error:
            raise UserError(str(error).replace(str(path), called)) from None


def _is_data(given: Any, reading: Reading) -> bool:
    """Whether it is asked about as data are learned from: a Dataset, a known name, or files that are rows only together."""
    from shendu.data import known
    from shendu.data.readers import whole

    if isinstance(given, Dataset):
        return True
    if not isinstance(given, str | os.PathLike) or not there(given):
        return isinstance(given, str) and given in known.KNOWN
    return whole(Place.within(given), reading)


def _rows_of_data(given: Any, fields: dict[str, Field], reading: Reading) -> Iterator[Piece]:
    """The inputs of all parts of data. Raises UserError where they are of another kind than the model's."""
    data = open(given, reading=reading, fields=fields)
    theirs = {role: data.fields.get(role) for role in fields}
    for role, field in fields.items():
        if (found := theirs[role]) is None or found.kind != field.kind:
            holds = ", ".join(data.fields[name].words for name in data.inputs)
            raise UserError(f"{data.name} holds {holds}, and the model reads {field.words}: give some of these")
    told = () if data.hash else data.notes  # encoded by the model's fields: what could not be read
    for part, split in data.splits.items():
        before = f"{part} " if len(data.splits) > 1 else ""
        for start in range(0, len(split), PIECE):
            rows = split.take(np.arange(start, min(start + PIECE, len(split))))
            read: dict[str, tuple[Values, dict[str, Unread], tuple[str, ...]]] = {}
            for role, field in fields.items():
                own = rows.values(role, field)
                fits = theirs[role] == field
                read[role] = (own, {}, ()) if fits else field.read(theirs[role].plain(own[""]))  # type: ignore[union-attr]
            stored, unread, notes = _parsed(read)
            names = [f"{before}{start + i + 1}" for i in range(len(rows))]
            yield Piece("row", names, stored, unread, (*told, *notes))


def _rows(piece: Piece) -> int:
    return len(next(iter(piece.stored.values()))) if piece.stored else 0


def _together(several: list[Piece]) -> Piece:
    good = [piece for piece in several if piece.stored]
    names = [name for piece in several for name in piece.names]
    stored = {key: joined([piece.stored[key] for piece in good]) for key in good[0].stored}
    for key, values in stored.items():
        if isinstance(values, np.ndarray) and not values.flags.writeable:  # a file's own bytes: tensors want their own
            stored[key] = values.copy()
    unread: Mapping[str, Unread] = {}
    bad: dict[int, str] = {}
    first = 0
    for piece in several:
        unread = all_unread(unread, piece.unread)
        bad |= {first + row: why for row, why in (piece.bad or {}).items()}
        first += len(piece.names)
    notes = tuple(note for piece in several for note in piece.notes)
    spoiled = bad or any(piece.bad is not None for piece in several)
    return Piece(good[0].key, names, stored, unread, notes, bad if spoiled else None)


open_data = open
