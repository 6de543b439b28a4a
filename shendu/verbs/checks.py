"""The checks of an audit: files and cells, copies, classes, columns, parts, labels.

Shape letters: N rows of all parts, one behind the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from shendu import chance
from shendu.data import catalogue, cells, readers
from shendu.data.audit import duplicates, screens, suspects
from shendu.data.audit.screens import Feature
from shendu.data.cells import Cells
from shendu.data.class_folders import ClassFolders
from shendu.data.column import NAMED
from shendu.data.dataset import Dataset, dense
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.files import archive, layout
from shendu.data.moments import chunks
from shendu.data.reading import Reading
from shendu.data.tables import delimited, files, formats, kinds
from shendu.data.tables.target import choose_target
from shendu.errors import UserError
from shendu.field import Field

SEVERITIES = {
    "error": "figures would mislead, or training would stop",
    "warning": "probably wrong, or costly",
    "note": "to know",
}
WORST = 20
"""Examples that a finding keeps."""
RARE, UNEVEN, FEW = 5, 10.0, 50
"""A class is rare with fewer rows; classes are uneven where the largest has so many times the rows of the smallest; rows
of a small training part."""
LEAK, BEYOND, LEAST = 0.99, 0.2, 40
"""A column leaks the target where it alone foretells so much of it and errs at most this share as often as the most
frequent class does; not told of fewer rows."""
MISSING, SHIFT, CHANCE = 0.5, 0.1, 1e-3
"""A column is mostly missing from this share on; parts differ from this distance on, where chance would bring it about
less often than this."""
COLUMNS_MOST, ROWS_MOST, PICTURES_MOST = 2000, 100_000, 100_000
"""Columns that are looked at one by one, the rows that they are looked at on, and pictures that are compared with each other."""
EXCESS, SPARE = 2.0, 5
"""Labels are found wrong where more than so many times, and so many more, are suspicious than the judging model's own
doubt explains."""
GARBLED = r"\x{FFFD}|Ã[\x{80}-\x{BF}]|â€|Â[\x{A0}-\x{BF}]"
"""UTF-8 that was once read as cp1252, or signs that were lost."""


@dataclass(frozen=True)
class Example:
    """One case of a finding: what is said of it, and the rows of all parts that it is about."""

    text: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something wrong with data: how bad, what, how often, and what to do about it."""

    severity: str
    """A word of SEVERITIES."""
    kind: str
    """A word that programs can rely on."""
    count: int
    what: str
    advice: str
    examples: tuple[Example, ...] = ()


# ---- what is looked at -----------------------------------------------------------------------------------------------


class Subject:
    """A data set, the names of its rows, and what several checks ask of it."""

    def __init__(
        self, dataset: Dataset, reading: Reading, files: list[str], bad: dict[str, str], data_dir: Any = None
    ) -> None:
        dataset = dense(dataset)
        self.data, self.reading, self.files, self.bad, self.data_dir = dataset, reading, files, bad, data_dir
        self.rows = {part: len(split) for part, split in dataset.splits.items()}
        self.ends = np.cumsum(list(self.rows.values()))
        self.input, self.target = dataset.fields[dataset.input], dataset.fields[dataset.target]
        self.classes = self.target.names if isinstance(self.target, Category) else ()

    @cached_property
    def part(self) -> np.ndarray:
        """Number of each row's part: int64 [N]."""
        return np.repeat(np.arange(len(self.rows)), list(self.rows.values()))

    @cached_property
    def targets(self) -> np.ndarray:
        """int64 [N] classes, or float32 [N, …]."""
        return np.concatenate([split.column(self.data.target) for split in self.data.splits.values()])

    @cached_property
    def first(self) -> np.ndarray:
        """Per row the first row with the same input: int64 [N]."""
        return duplicates.same([split.column(self.data.input) for split in self.data.splits.values()])

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Class -> part -> rows; empty where the target is a number."""
        if not self.classes:
            return {}
        found = {
            part: np.bincount(split.column(self.data.target), minlength=len(self.classes)).tolist()
            for part, split in self.data.splits.items()
        }
        return {name: {part: found[part][k] for part in found} for k, name in enumerate(self.classes)}

    def at(self, row: int) -> tuple[str, int]:
        """(part, row in it) of a row of all parts."""
        number = int(np.searchsorted(self.ends, row, side="right"))
        part = list(self.rows)[number]
        return part, int(row) - int(self.ends[number]) + self.rows[part]

    def name(self, row: int) -> str:
        """A row's file, or its place."""
        if self.files:
            return layout.printable(self.files[row])
        part, place = self.at(row)
        return f"{part} row {place}"

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """Inputs of some rows, in ascending order."""
        starts = self.ends - list(self.rows.values())
        numbers = np.searchsorted(self.ends, rows, side="right")
        splits = list(self.data.splits.values())
        found = [splits[n].take(rows[numbers == n] - starts[n]).column(self.data.input) for n in np.unique(numbers)]
        return np.concatenate(found)

    def label(self, row: int) -> str:
        target = self.targets[row]
        return (
            self.classes[int(target)]
            if self.classes
            else ", ".join(f"{value:.4g}" for value in np.atleast_1d(target)[:6])
        )

    def drawn(self, most: int, among: np.ndarray) -> np.ndarray:
        """At most so many of some rows, in ascending order."""
        if len(among) <= most:
            return among
        return np.sort(among[chance.permute(torch.arange(most), len(among), screens.SEED).numpy()])

    @cached_property
    def seen(self) -> tuple[np.ndarray, list[Feature]]:
        """(the rows that columns are looked at on, the columns)."""
        rows = self.drawn(ROWS_MOST, np.arange(len(self.part)))
        if not isinstance(self.input, Row | Number):
            return rows, []
        return rows, list(screens.features(self.data.input, self.input, self.stored(rows), COLUMNS_MOST))

    @cached_property
    def coincidences(self) -> float:
        """How many pairs of rows would be equal by chance; 0 where some of a row is not looked at by columns."""
        whole = len(self.input.columns) if isinstance(self.input, Row) else max(1, int(np.prod(self.input.stored)))
        columns = self.seen[1]
        return screens.coincidences(columns, len(self.part)) if len(columns) == whole else 0.0


def files_of(dataset: Dataset, reading: Reading) -> tuple[list[str], dict[str, str]]:
    """(the file of each row; file -> why it could not be read); both empty where rows are no files."""
    path = Path(dataset.source)
    if isinstance(dataset.fields[dataset.input], Row | Number) or not path.is_absolute() or not path.exists():
        return [], {}
    field = dataset.fields[dataset.input]
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


# ---- checks: files and tables as they lie ----------------------------------------------------------------------------


def check_files(subject: Subject) -> Iterator[Finding]:
    if subject.bad:
        number = layout.count(len(subject.bad), "file")
        yield Finding(
            "error",
            "unreadable",
            len(subject.bad),
            f"{number} cannot be read",
            "copy or export them again, remove them, or train with --skip-bad",
            tuple(Example(f"{layout.printable(name)}: {why}") for name, why in sorted(subject.bad.items())),
        )


def tables_of(subject: Subject) -> dict[str, tuple[Path, catalogue.Published]]:
    """Part -> its file and what is known of it, where the data lie as tables."""
    if not isinstance(subject.input, Row):
        return {}
    if (known := catalogue.KNOWN.get(subject.data.source)) and known.table:
        return {
            part: (path, known.table)
            for part, path in catalogue.find(subject.data.source, subject.data_dir).files.items()
        }
    path = Path(subject.data.source)
    if path.is_file() and files.recognised(path):
        return {"train": (path, catalogue.Published())}
    found = files.in_folder(path, sorted(entry.name for entry in path.iterdir())) if path.is_dir() else {}
    return {part: (file, catalogue.Published()) for part, file in (found or {}).items()}


def check_table(subject: Subject) -> Iterator[Finding]:
    """What the cells say before they become numbers."""
    for part, (path, known) in tables_of(subject).items():
        comma = False
        if (files.recognised(path) or "csv") == "csv":
            how = delimited.layout(path, names=known.names, skip=int(part in known.skip))
            cells_of, ragged = delimited.read(path, how, True)
            comma = how.comma
            yield from _of_file(path, how.encoding, ragged)
        else:
            cells_of = formats.read(path, True)[0]
        if part == "train":
            said = kinds.parse_types(subject.reading.types, cells_of.column_names)
            target = choose_target(cells_of.column_names, subject.reading.target or known.target, str(path))[0]
            columns = [Cells(name, cells_of.column(name)) for name in cells_of.column_names]
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
            "leave it out: it names rows; keep it with --type NAME=category if not",
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
        words = np.isnan(values) & (column.coded.codes >= 0)
        numbers, other = int((~np.isnan(values)).sum()), int(words.sum())
        if other and numbers > other:
            some = Counter(column.coded.words[code] for code in column.coded.codes[words]).most_common(WORST)
            yield Finding(
                "warning",
                "mixed types",
                other,
                f"column {column.name}: {numbers:,} numbers and {other:,} words among them",
                f"correct the words, or say what the column is: --type {column.name}=number (words count as missing) or category",
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


# ---- checks: copies --------------------------------------------------------------------------------------------------


def check_copies(subject: Subject) -> Iterator[Finding]:
    """Rows of the same input: across parts, with other labels, within a part."""
    first, part = subject.first, subject.part
    copies = np.flatnonzero(first != np.arange(len(first)))
    if not len(copies):
        return
    usual = isinstance(subject.input, Row | Number)
    if usual and 3 * subject.coincidences > len(copies):
        yield Finding(
            "note",
            "repeated rows",
            len(copies),
            f"{layout.count(len(copies), 'row')} with the same input as another row, as must be with so few values",
            "nothing, but where labels contradict each other no model can be right",
        )
        return
    across = part[copies] != part[first[copies]]
    for number, name in enumerate(subject.rows):
        if len(found := copies[across & (part[copies] == number)]):
            share = len(found) / subject.rows[name]
            yield Finding(
                "warning" if usual and share < 0.01 else "error",
                "copies across parts",
                len(found),
                f"{layout.count(len(found), 'row')} of the {name} part ({_percent(share)}) that {_are(found)} in another part too",
                f"take them out of {name}, or out of train: figures on rows that were learned say little",
                _pairs(subject, found),
            )
    told = [row for row in copies if subject.classes and subject.targets[row] != subject.targets[first[row]]]
    if told:
        yield Finding(
            "warning",
            "contradictions",
            len(told),
            f"{layout.count(len(told), 'row')} with the same input as another row and another label",
            "correct the labels; if both can be right, no figure can reach 100%",
            _pairs(subject, np.array(told)),
        )
    within = np.setdiff1d(copies, [*copies[across].tolist(), *told])
    if len(within):
        yield Finding(
            "note" if usual else "warning",
            "copies",
            len(within),
            f"{layout.count(len(within), 'row')} that {_are(within)} in the same part before",
            "remove the copies, unless such rows are expected: they weigh twice, and a random split parts them",
            _pairs(subject, within),
        )


def _are(rows: np.ndarray) -> str:
    return "is" if len(rows) == 1 else "are"


def _pairs(subject: Subject, rows: np.ndarray) -> tuple[Example, ...]:
    found = [(int(subject.first[row]), int(row)) for row in rows[:WORST]]
    return tuple(Example(_pair(subject, *pair), pair) for pair in found)


def _pair(subject: Subject, one: int, other: int) -> str:
    """Both names, and their labels where they differ."""
    names = f"{subject.name(one)} = {subject.name(other)}"
    labels = subject.label(one), subject.label(other)
    return names if labels[0] == labels[1] else f"{names} ({labels[0]}, {labels[1]})"


def check_lookalikes(subject: Subject) -> Iterator[Finding]:
    """Pictures that are nearly the same."""
    if not isinstance(subject.input, Image):
        return
    flat = np.concatenate([_flat(split.column(subject.data.input)) for split in subject.data.splits.values()])
    if flat.any():
        rows = np.flatnonzero(flat)
        yield Finding(
            "warning",
            "blank",
            len(rows),
            f"{layout.count(len(rows), 'picture')} of one colour",
            "remove them, or take the pictures again",
            tuple(Example(subject.name(row), (int(row),)) for row in rows[:WORST]),
        )
    rows = subject.drawn(PICTURES_MOST, np.flatnonzero((subject.first == np.arange(len(flat))) & ~flat))
    pairs = rows[duplicates.near(_areas(subject, rows))]
    crossing = subject.part[pairs[:, 0]] != subject.part[pairs[:, 1]]
    for kind, found, severity, where in (
        ("near copies across parts", pairs[crossing], "warning", "of different parts "),
        ("near copies", pairs[~crossing], "note", ""),
    ):
        if len(found):
            yield Finding(
                severity,
                kind,
                len(found),
                f"{layout.count(len(found), 'pair')} of pictures {where}that look the same",
                "keep one of each pair, or keep both in the same part",
                tuple(
                    Example(_pair(subject, *pair).replace(" = ", " ≈ "), tuple(pair)) for pair in found[:WORST].tolist()
                ),
            )


def _flat(pictures: np.ndarray) -> np.ndarray:
    """Which pictures uint8 [N, H, W, C] have one colour: bool [N]."""
    return np.concatenate([(piece == piece[:, :1, :1]).all(axis=(1, 2, 3)) for piece in chunks(pictures)])


def _areas(subject: Subject, rows: np.ndarray) -> Tensor:
    pieces = np.array_split(rows, max(1, len(rows) // 1000))
    return torch.cat([duplicates.areas(subject.stored(piece)) for piece in pieces])


# ---- checks: classes -------------------------------------------------------------------------------------------------


def check_classes(subject: Subject) -> Iterator[Finding]:
    """Classes that a part lacks, rare ones, uneven ones; few rows."""
    train = subject.rows["train"]
    if train < FEW:
        yield Finding(
            "note",
            "few rows",
            train,
            f"only {layout.count(train, 'training row')}",
            "gather more; every figure will be uncertain",
        )
    counts = {name: found["train"] for name, found in subject.counts.items()}
    for part in [part for part in subject.rows if part != "train"]:
        held = {name: found[part] for name, found in subject.counts.items()}
        strange = [name for name, rows in held.items() if rows and not counts[name]]
        absent = [name for name, rows in held.items() if counts[name] and not rows]
        if strange:
            yield Finding(
                "error",
                "class",
                len(strange),
                f"the {part} part has classes that train lacks: {delimited.few(strange)}",
                f"add training rows of them, or take them out of {part}",
            )
        if absent:
            yield Finding(
                "note",
                "class",
                len(absent),
                f"the {part} part has no row of {_classes(absent)}",
                "its figures say nothing about them",
            )
    rare = {name: rows for name, rows in counts.items() if 0 < rows < RARE}
    if rare:
        yield Finding(
            "warning",
            "rare classes",
            len(rare),
            f"fewer than {RARE} training rows of {_classes(list(rare))}",
            "gather more, merge them, or leave them out",
            tuple(Example(f"{name}: {rows}") for name, rows in sorted(rare.items(), key=lambda item: item[1])[:WORST]),
        )
    there = {name: rows for name, rows in counts.items() if rows}
    if there and max(there.values()) >= UNEVEN * min(there.values()):
        most, least = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
        yield Finding(
            "warning",
            "imbalance",
            len(there),
            f"{most} has {there[most] / there[least]:,.0f} times the training rows of {least} ({there[most]:,} and {there[least]:,})",
            f"judge by more than accuracy: always saying {most} reaches {100 * there[most] / train:.1f}%",
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _classes(names: list[str]) -> str:
    return f"{len(names):,} class{'es' * (len(names) != 1)} ({delimited.few(names)})"


# ---- checks: columns -------------------------------------------------------------------------------------------------


def check_columns(subject: Subject) -> Iterator[Finding]:
    """Columns that leak the target, hold nothing, count the rows, are missing or far out."""
    rows, columns = subject.seen
    if not columns:
        return
    yield from _leaks(subject, rows, columns)
    if isinstance(subject.input, Number):
        constant = [c.name for c in columns if not c.missing.any() and np.ptp(c.values) == 0]
        if constant and len(rows) > 1:
            yield Finding(
                "warning",
                "constant",
                len(constant),
                f"{layout.count(len(constant), 'column')} of one value: {delimited.few(constant)}",
                "remove it: nothing follows from it",
            )
        numbering = [c.name for c in columns if len(rows) >= FEW and screens.is_row_number(c.values)]
        if numbering:
            yield Finding(
                "warning",
                "id",
                len(numbering),
                f"{layout.count(len(numbering), 'column')} that number the rows: {delimited.few(numbering)}",
                "leave it out: it names rows and says nothing of new ones",
            )
    absent = {c.name: float(c.missing.mean()) for c in columns if c.missing.any()}
    if absent:
        worst = sorted(absent.items(), key=lambda item: -item[1])
        most = worst[0][1] >= MISSING
        yield Finding(
            "warning" if most else "note",
            "missing",
            len(absent),
            f"{layout.count(len(absent), 'column')} with missing values",
            "ask why they are missing" + ("; a column that is mostly empty may be left out" if most else ""),
            tuple(Example(f"{name}: {_percent(share)} missing") for name, share in worst[:WORST]),
        )
    yield from _outliers(subject, rows, columns)


def _leaks(subject: Subject, rows: np.ndarray, columns: list[Feature]) -> Iterator[Finding]:
    if len(rows) < LEAST or len(columns) < 2:
        return
    targets, learn = subject.targets[rows], screens.halves(len(rows))
    found = []
    for column in columns:
        if subject.classes:
            share, base = max(
                screens.foretells_class(codes, targets, learn) for codes in screens.codings(column, learn)
            )
            if share >= LEAK and 1 - share <= BEYOND * (1 - base):
                found.append(
                    f"{column.name} alone foretells {_percent(share)} of the labels (the most frequent class {_percent(base)})"
                )
        elif targets.size == len(targets):
            numbers = targets.reshape(-1).astype(np.float64)
            share = max(screens.foretells_number(codes, numbers, learn) for codes in screens.codings(column, learn))
            if share >= LEAK:
                found.append(f"{column.name} alone explains {100 * share:.2f}% of the target's variance")
    if found:
        yield Finding(
            "error",
            "leak",
            len(found),
            f"{layout.count(len(found), 'column')} that {'gives' if len(found) == 1 else 'give'} the target away",
            "ask whether it is known before the target is; if not, leave it out (--type NAME=ignore)",
            tuple(Example(text) for text in found[:WORST]),
        )


def _outliers(subject: Subject, rows: np.ndarray, columns: list[Feature]) -> Iterator[Finding]:
    examples = []
    for column in (c for c in columns if not c.names):
        for at in screens.far_out(column.values).tolist():
            low, high = np.nanquantile(column.values, [0.05, 0.95])
            text = f"{column.name} = {column.show(at)} in {subject.name(rows[at])} (nine tenths lie in {low:.4g} to {high:.4g})"
            examples.append(Example(text, (int(rows[at]),)))
    if examples:
        yield Finding(
            "note",
            "outliers",
            len(examples),
            f"{layout.count(len(examples), 'value')} far outside of what is usual",
            "check their units and whether they stand for a missing value",
            tuple(examples[:WORST]),
        )


# ---- checks: parts ---------------------------------------------------------------------------------------------------


def check_drift(subject: Subject) -> Iterator[Finding]:
    """What is distributed otherwise in another part than in train."""
    rows, columns = subject.seen
    if isinstance(subject.input, Image):
        columns = _light(subject, rows)
    if subject.classes:
        columns = [*columns, Feature("the target", subject.targets[rows] + NAMED, subject.classes)]
    elif subject.targets.size == len(subject.targets):
        columns = [*columns, Feature("the target", subject.targets[rows].reshape(-1))]
    part = subject.part[rows]
    for number, name in enumerate(subject.rows):
        found = []
        for column in columns if name != "train" else ():
            one, other = column.values[part == 0], column.values[part == number]
            if not len(one) or not len(other):
                continue
            distance, chance_of = (screens.reweighed if column.names else screens.moved)(one, other)
            if distance >= SHIFT and chance_of < CHANCE / len(columns):
                found.append((distance, column.name))
        if found:
            found.sort(reverse=True)
            yield Finding(
                "note" if subject.data.ordered else "warning",
                "drift",
                len(found),
                f"the {name} part differs from train in {delimited.few([word for _, word in found])}",
                "find out why: figures on it hold for data like it",
                tuple(
                    Example(f"{word}: {100 * distance:.0f}% of the rows would have to move")
                    for distance, word in found[:WORST]
                ),
            )


def _light(subject: Subject, rows: np.ndarray) -> list[Feature]:
    """Brightness and contrast of pictures."""
    seen = _areas(subject, rows).flatten(1)
    return [Feature("brightness", seen.mean(1).numpy()), Feature("contrast", seen.std(1).numpy())]


# ---- checks: labels --------------------------------------------------------------------------------------------------


def check_labels(subject: Subject) -> Iterator[Finding]:
    """Labels that predictions without them disagree with."""
    counts = np.bincount(subject.targets, minlength=len(subject.classes)) if subject.classes else np.zeros(0)
    usable = np.flatnonzero((counts >= suspects.FOLDS)[subject.targets]) if subject.classes else np.zeros(0, np.int64)
    if len(usable) < LEAST or (counts >= suspects.FOLDS).sum() < 2:
        return
    rows = subject.drawn(suspects.ROWS_MOST, usable)
    labels = torch.from_numpy(subject.targets[rows])
    x = suspects.features(subject.input, subject.stored(rows))
    place = {int(row): i for i, row in enumerate(rows)}
    groups = torch.tensor([place.get(int(subject.first[row]), i) for i, row in enumerate(rows)])
    hot = one_hot(labels, len(subject.classes)).float()
    usual = hot.mean(0)
    scores = usual + suspects.out_of_fold(x, hot - usual, suspects.folds(labels, groups))
    shares = suspects.probabilities(scores, labels)
    found, other, expected = suspects.suspicious(shares, labels)
    if not len(found):
        return
    right = 100 * float((shares.argmax(1) == labels).float().mean())
    examples = []
    for i, k in zip(found[:WORST].tolist(), other[:WORST].tolist(), strict=True):
        row = int(rows[i])
        text = (
            f"{subject.name(row)}: labelled {subject.label(row)} ({100 * float(shares[i, labels[i]]):.1f}%), "
            f"looks like {subject.classes[k]} ({100 * float(shares[i, k]):.0f}%)"
        )
        examples.append(Example(text, (row,)))
    many = len(found) > EXCESS * expected + SPARE
    yield Finding(
        "warning" if many else "note",
        "suspicious labels",
        len(found),
        f"{len(found):,} of {len(rows):,} labels look wrong to a small model that was trained without them",
        f"look at them, the worst first, and correct those that are wrong; the model is right in {right:.1f}% of the "
        f"rows, and its own doubt explains about {expected:.0f} of these",
        tuple(examples),
    )


CHECKS = (
    check_files, check_table, check_copies, check_lookalikes, check_classes, check_columns, check_drift, check_labels,
)  # fmt: skip
