"""The tables of a place, their cells as text. Reading them needs pyarrow, which is imported when it begins."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shendu.data.files.archive import Tree
from shendu.data.reader import Place
from shendu.data.tables import files
from shendu.errors import UserError
from shendu.reading import Published, Reading

if TYPE_CHECKING:
    import pyarrow as pa


class Loaded(NamedTuple):
    """Part -> table; what each is called; what was decided; whether numbers have a decimal comma."""

    tables: dict[str, pa.Table]
    where: dict[str, str]
    notes: tuple[str, ...] = ()
    comma: bool = False


def loaded(place: Place, reading: Reading) -> Loaded:
    """The tables of a file, a folder or an archive. Raises UserError."""
    if place.folder and (saved := files.saved_parts(place.folder, place.names)):
        read = files.only_parts(saved)
        left = files.aside(saved, {part: part for part in read})
        found = without_indexes(of_saved(place.folder, read), reading)
        return found._replace(notes=(*found.notes, *left))
    if place.tree and not place.folder:
        assert place.path
        return _of_archive(place.tree, place.path, place.names, reading)
    read = files.parts_of(place)
    found = of_files(read, reading, whole=bool(place.folder))
    return found._replace(notes=(*found.notes, *(files.beside(place.names, read) if place.folder else ())))


def of_files(
    paths: Mapping[str, Path],
    reading: Reading,
    facts: Published | None = None,
    where: dict[str, str] | None = None,
    whole: bool = False,
) -> Loaded:
    """Tables by their parts; `facts` are what their publisher says of them, `whole`: with the files that go on where one ends.

    Raises UserError.
    """
    import pyarrow as pa

    from shendu.data.tables import formats

    facts = facts or Published()
    tables, notes, comma = {}, list[str](), False
    for part, path in paths.items():
        skip = int(part in facts.skip)
        each = []
        for file in files.shards(path) if whole else [path]:
            table, said, with_comma = formats.read(file, reading, names=facts.names, skip=skip)
            each.append(table)
            notes += said
            comma = comma or with_comma
        try:
            tables[part] = pa.concat_tables(each, promote_options="permissive") if len(each) > 1 else each[0]
        except pa.ArrowException as error:
            raise UserError(
                f"{path} and the {len(each) - 1} files that go on there have other columns ({error}): save them anew as one table"
            ) from None
    found = Loaded(tables, where or {part: str(path) for part, path in paths.items()}, tuple(notes), comma)
    return without_indexes(found, reading)


def without_indexes(found: Loaded, reading: Reading) -> Loaded:
    """The tables without what was an index of pandas, unless it is asked for."""
    from shendu.data import frames

    tables, names = {}, dict[str, None]()
    for part, table in found.tables.items():
        tables[part], left = frames.without_index(table, reading)
        names.update(dict.fromkeys(left))
    notes = (frames.index_note(list(names)),) if names else ()
    return found._replace(tables=tables, notes=(*found.notes, *notes))


def of_saved(path: Path, parts: Mapping[str, list[Path]]) -> Loaded:
    """What `datasets` wrote with save_to_disk: Arrow files of one or several parts. Raises UserError."""
    import pyarrow as pa

    from shendu.data import frames
    from shendu.data.tables import formats

    tables = {
        part: frames.named_classes(
            pa.concat_tables(map(formats.read_arrow, group)), formats.saved_features(group[0].parent)
        )
        for part, group in parts.items()
    }
    return Loaded(tables, {part: f"{path} ({part})" for part in parts})


def _of_archive(tree: Tree, path: Path, names: list[str], reading: Reading) -> Loaded:
    entries = {Path(name).name: name for name in names}
    parts = files.in_folder(path, sorted(entries)) or {}
    with tempfile.TemporaryDirectory() as place:
        paths = {part: Path(place) / file.name for part, file in parts.items()}
        there = [file for name in parts.values() for file in files.shards(name, set(entries))]
        wanted = {entries[file.name]: Path(place) / file.name for file in there}
        for entry, data in tree.each(list(wanted)):
            try:
                wanted[entry].write_bytes(data())
            except OSError as error:
                raise UserError(
                    f"cannot read {entry} of {path}: {error}; unpack it, or copy the archive again"
                ) from error
        where = {part: f"{path}/{file.name}" for part, file in parts.items()}
        found = of_files(paths, reading, where=where, whole=True)
        return found._replace(notes=(*found.notes, *files.beside(sorted(entries), parts)))
