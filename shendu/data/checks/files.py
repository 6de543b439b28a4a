"""Checks of files and tables as they lie, before they become numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from shendu import shown
from shendu.data import cells, known, readers
from shendu.data.cells import Cells
from shendu.data.checks.subject import WORST, Example, Finding, Subject
from shendu.data.class_folders import ClassFolders
from shendu.data.dataset import Dataset
from shendu.data.files import archive, layout
from shendu.data.tables import delimited, files, formats, kinds
from shendu.data.tables.target import choose_target
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Published, Reading
from shendu.shown import option

GARBLED = r"\x{FFFD}|Ã[\x{80}-\x{BF}]|â€|Â[\x{A0}-\x{BF}]"
"""UTF-8 that was once read as cp1252, or signs that were lost."""


def files_of(dataset: Dataset, reading: Reading) -> tuple[list[str], dict[str, str]]:
    """(the file of each row; file -> why it could not be read); both empty where rows are no files."""
    path, field = Path(dataset.source), dataset.fields[dataset.input]
    if field.feature_count or not path.is_absolute() or not path.exists():
        return [], {}
    try:
        if not (found := readers.class_folders(path, reading, field)):
            return [], {}
        door, laid = found
        names = laid.plan.names()
    except UserError:
        return [], {}
    rows = sum(map(len, dataset.splits.values()))
    bad = unreadable(door, laid.tree, names, field) if len(names) > rows else {}
    kept = [name for name in names if name not in bad]
    around = _around(names)
    return ([name.removeprefix(around) for name in kept], bad) if len(kept) == rows else ([], bad)


def _around(names: list[str]) -> str:
    """The folder that everything is in, with its slash."""
    folders = {name.partition("/")[0] for name in names}
    return f"{folders.pop()}/" if len(folders) == 1 else ""


def unreadable(door: ClassFolders, tree: archive.Tree, names: list[str], field: Field) -> dict[str, str]:
    """File -> why it cannot be read."""
    bad: dict[str, str] = {}

    def keep(name: str, found: Any) -> None:
        if isinstance(found, str):
            bad[name] = found

    layout.each(tree, names, lambda read: door.row(read, field), keep, door.reason, door.most)
    return bad


def check_files(subject: Subject) -> Iterator[Finding]:
    if subject.bad:
        number = layout.count(len(subject.bad), "file")
        yield Finding(
            "error",
            "unreadable",
            len(subject.bad),
            f"{number} cannot be read",
            "copy or export them again, remove them, or train with --skip-bad",
            tuple(Example(f"{shown.line(name)}: {why}") for name, why in sorted(subject.bad.items())),
        )


def tables_of(subject: Subject) -> dict[str, tuple[Path, Published]]:
    """Part -> its file and what is known of it, where the data lie as tables."""
    if not subject.input.tabular:
        return {}
    if (entry := known.KNOWN.get(subject.data.source)) and entry.table:
        return {
            part: (path, entry.table) for part, path in known.find(subject.data.source, subject.data_dir).files.items()
        }
    path = Path(subject.data.source)
    if path.is_file() and files.recognised(path):
        return {"train": (path, Published())}
    found = files.in_folder(path, sorted(entry.name for entry in path.iterdir())) if path.is_dir() else {}
    return {part: (file, Published()) for part, file in (found or {}).items()}


def check_table(subject: Subject) -> Iterator[Finding]:
    """What the cells say before they become numbers."""
    for part, (path, facts) in tables_of(subject).items():
        comma = False
        if (files.recognised(path) or "csv") == "csv":
            how = delimited.layout(
                path, names=facts.names, skip=int(part in facts.skip), encoding=subject.reading.encoding
            )
            cells_of, ragged = delimited.read(path, how, True)
            comma = how.comma
            yield from _of_file(path, how.encoding, ragged)
        else:
            cells_of = formats.read(path, subject.reading)[0]
        if part == "train":
            said = kinds.parse_types(subject.reading.types, cells_of.column_names)
            target = choose_target(cells_of.column_names, subject.reading.target or facts.target, str(path))[0]
            absent = (*subject.reading.absent, *facts.missing)
            columns = [Cells(name, cells_of.column(name), absent) for name in cells_of.column_names]
            yield from _left_out([c for c in columns if c.name != target], said, comma)
            yield from _mixed([c for c in columns if c.is_plain and not c.is_number and not c.is_time], comma)


def _of_file(path: Path, encoding: str, ragged: int) -> Iterator[Finding]:
    if ragged:
        yield Finding(
            "error",
            "ragged",
            ragged,
            f"{layout.count(ragged, 'row')} of {path.name} with too few or too many cells",
            "correct them (a delimiter or line break within a cell must be quoted), or train with --skip-bad",
        )
    if encoding != "utf-8":
        yield Finding(
            "note",
            "encoding",
            1,
            f"{path.name} is no UTF-8 and is read as {encoding}",
            "save it as UTF-8 if signs look wrong",
        )


def _left_out(columns: list[Cells], said: dict[str, tuple[str, str]], comma: bool) -> Iterator[Finding]:
    left = {column.name: kinds.judge(column, said.get(column.name), comma).left for column in columns}
    for why, kind, words, advice in (
        ("empty", "missing", "without any value", "fill it, or remove it"),
        ("constant", "constant", "of one value", "remove it: nothing follows from it"),
        (
            "id",
            "id",
            "whose values all differ",
            "leave it out: it names rows; keep it with --type NAME=text (of numbers: NAME=number) if not",
        ),
    ):
        if names := [name for name, found in left.items() if found == why]:
            yield Finding(
                "note" if why == "id" else "warning",
                kind,
                len(names),
                f"{layout.count(len(names), 'column')} {words}: {delimited.few(names)}",
                advice,
                tuple(Example(name) for name in names) if len(names) > 6 else (),
            )


def _mixed(columns: list[Cells], comma: bool) -> Iterator[Finding]:
    for column in columns:
        values = cells.numbers(column, cells.numbers_form(column, "," if comma else ""))
        words = np.isnan(values) & column.says
        numbers, other = int((~np.isnan(values)).sum()), int(words.sum())
        if other and numbers > other:
            some = Counter(column.coded.words[code] for code in column.coded.codes[words]).most_common(WORST)
            yield Finding(
                "warning",
                "mixed types",
                other,
                f"column {column.name}: {numbers:,} numbers and {other:,} words among them",
                f"correct the words, or say what the column is: {option('--type', f'{column.name}=number')} (words count as "
                "missing) or category",
                tuple(Example(f"'{word[:60]}' {times:,} times") for word, times in some),
            )
        yield from _written(column)


def _written(column: Cells) -> Iterator[Finding]:
    """Garbled signs, and categories that differ only in capitals or blanks."""
    odd = column.coded.values.filter(pc.match_substring_regex(column.coded.values, GARBLED)).to_pylist()
    if odd:
        yield Finding(
            "warning",
            "encoding",
            len(odd),
            f"column {column.name}: garbled signs in {len(odd):,} values",
            "export the table again as UTF-8",
            tuple(Example(word[:80]) for word in odd[:WORST]),
        )
    if len(column.coded.words) > kinds.NAMES_MOST:
        return
    spelled: dict[str, list[str]] = {}
    for word in column.coded.words:
        spelled.setdefault(" ".join(word.casefold().replace("-", " ").replace("_", " ").split()), []).append(word)
    twice = [words for words in spelled.values() if len(words) > 1]
    if twice:
        yield Finding(
            "warning",
            "spelling",
            len(twice),
            f"column {column.name}: values that differ only in how they are written",
            "write each value in one way",
            tuple(Example(", ".join(f"'{w}'" for w in words)) for words in twice[:WORST]),
        )
