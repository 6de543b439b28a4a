"""Files as data: which kind they are, which split and class each belongs to, and reading them all in a pool of threads."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from shendu.data.files import foreign, other_tasks, parts
from shendu.data.files.archive import ENTRY_BYTES_MOST, Read, Tree
from shendu.data.files.parts import Rows
from shendu.errors import UserError
from shendu.reading import Reading
from shendu.shown import composed, line

UNLABELLED = {"unsup"}
"""Class folders that hold no class: the reviews without a label that IMDb's set comes with."""
_IN_FLIGHT = 256
MANY = 3
"""Texts that are so many times as many as what else may be the data are no texts about that."""
WORTH_THREADS = 16_384
"""Bytes per file: below, threads wait for the interpreter's lock and take twice as long as one."""


class Kind(NamedTuple):
    """What is learned from files, known by their suffixes: one that cannot be decoded is then an error, a README.md is not."""

    word: str
    suffixes: frozenset[str]
    example: str
    """An ending, for a message."""

    def among(self, names: list[str]) -> list[str]:
        """The files of this kind, sorted."""
        return sorted(name for name in names if suffix(name) in self.suffixes)


PICTURES = Kind(
    "picture",
    frozenset(
        {
            *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pgm", ".ppm", ".pbm", ".pnm", ".bmp", ".dib"),
            *(".gif", ".webp", ".tif", ".tiff", ".avif", ".jp2"),
        }
    ),
    ".png",
)
RECORDINGS = Kind(
    "recording",
    frozenset(
        {
            *(
                ".wav",
                ".wave",
                ".bwf",
                ".rf64",
                ".w64",
                ".aif",
                ".aiff",
                ".aifc",
                ".au",
                ".snd",
                ".caf",
                ".voc",
                ".sph",
            ),
            *(".nist", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga"),
        }
    ),
    ".wav",
)
TEXTS = Kind("text", frozenset({".txt"}), ".txt")


def of_their_own(names: list[str]) -> list[str]:
    """The texts that are data themselves, sorted: no README; where other files may be the data, none that tells of those."""
    texts = TEXTS.among(names)
    media = [name for name in names if suffix(name) in PICTURES.suffixes | RECORDINGS.suffixes]
    others = len(media) + sum(suffix(name) in other_tasks.TABLES for name in names)
    if not others or len(texts) > MANY * others:
        return [name for name in texts if not other_tasks.is_readme(name)] or texts
    told = other_tasks.beside(texts, media)
    return [name for name in texts if name not in told and not other_tasks.is_about(name)]


@dataclass(frozen=True)
class Plan:
    """Which files are in which split and class: (name, class) in the order of the rows."""

    kind: str
    splits: dict[str, list[tuple[str, str]]]
    notes: tuple[str, ...]
    hint: str = ""
    """Where there is one class only: what lies beside the files and tells of another task."""

    def names(self) -> list[str]:
        return [name for rows in self.splits.values() for name, _ in rows]

    def classes(self, place: str) -> tuple[str, ...]:
        """Sorted class names, none where labels are left out; raises UserError for one class only, and for a class that
        no training file has."""
        found = tuple(sorted({label for _, label in self.splits["train"]}))
        if found == ("",):
            return ()
        for split, rows in self.splits.items():
            if strange := sorted({label for _, label in rows} - set(found)):
                raise UserError(
                    f"{place} has the class {strange[0]} in its {split} part but not in train: "
                    f"add training {self.kind}s of it, or take {strange[0]} out of {split}"
                )
        if len(found) < 2:
            beside = f", and {self.hint}" if self.hint else ""
            more = ", or say where names hold the class with --label-from '{label}_*'"
            raise UserError(
                f"{place} has only one class ({found[0]}){beside}: there is nothing to tell apart, add a folder for a second "
                f"class{more if hold_labels(self.names()) else ''}"
            )
        return found


def plan(names: list[str], place: str, of: Kind, reading: Reading) -> Plan:
    """The splits and classes of one kind of files, as folders' and files' names say; raises UserError where they say none."""
    kind, entries = of.word, of.among(names)
    unlabelled = reading.task == "anomaly"
    if unlabelled and kind != "picture":
        raise UserError(f"anomalies are found in pictures and tables, and {place} holds {kind}s; leave --task out")
    rows = parts.unwrapped([(name, tuple(composed(name).split("/"))) for name in entries])
    test = test_of(rows, reading.test_from)
    told = labels_of(rows, reading.label_from) if reading.label_from else None
    rows, notes = _without_others(rows, place, of, free=unlabelled or told is not None)
    tells = partial(other_tasks.told_by, names, entries, kind)
    divided = _divided(rows, place, kind, told, unlabelled, tells)
    found = _classed(divided, told, test, kind, unlabelled)
    if not found.splits.get("train"):
        raise without_classes(place, of, len(entries), len(found.loose), reading, tells() if told is None else "")
    notes = (*notes, *divided.notes, *found.notes(kind, told is not None), *aside(names, of))
    ordered = {part: found.splits[part] for part in parts.PARTS if part in found.splits}
    alone = len({label for own in ordered.values() for _, label in own}) == 1 and not unlabelled
    return Plan(kind, ordered, notes, tells() if alone else "")


@dataclass(frozen=True)
class _Classed:
    """Files by part with their classes, and those that have none, or lie deeper than it."""

    splits: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    deep: list[str] = field(default_factory=list)

    def notes(self, kind: str, told: bool) -> list[str]:
        found = []
        if self.loose:
            where = "that --label-from does not fit" if told else "outside of the class folders"
            found.append(f"{where}, left out: {counted(self.loose, kind)}")
        if self.unlabelled:
            found.append(f"in the folder unsup, without a class, left out: {count(len(self.unlabelled), kind)}")
        if self.deep:
            how = "for the folder that it lies in: --label-from '{label}/*'"
            found.append(f"deeper than its class's folder: {counted(self.deep, kind)} ({how})")
        return found


def _classed(
    divided: parts.Divided, told: dict[str, str] | None, test: set[str], kind: str, unlabelled: bool
) -> _Classed:
    """Each file's class, as its folder is called, or as `told` by --label-from; those of `test` in that part."""
    found = _Classed()
    for part, rows in divided.parts.items():
        for name, folders in rows:
            label = told.get(name, "") if told is not None else folders[0] if len(folders) > 1 else ""
            if label in UNLABELLED and kind == "text":
                found.unlabelled.append(name)
            elif label or unlabelled:
                row = (name, "" if unlabelled else line(label))
                found.splits.setdefault("test" if name in test else part, []).append(row)
                if told is None and len(folders) > 2 and not unlabelled:
                    found.deep.append(name)
            else:
                found.loose.append(name)
    return found


def _without_others(rows: Rows, place: str, of: Kind, free: bool) -> tuple[Rows, tuple[str, ...]]:
    """The rows without masks and without what is there twice, and notes of them; raises UserError where all is masks and pictures.

    `free`: classes are not told by folders.
    """
    notes: tuple[str, ...] = ()
    if of.word == "picture":
        pictures, masks = other_tasks.masks(rows)
        if pictures and not free:
            raise UserError(
                f"{place} holds pictures and masks of them ({pictures}/ and {masks}/): segmentation is another task than "
                f"classes; to learn classes: {other_tasks.classes_beside(rows, pictures)}"
            )
        if twins := other_tasks.twins(rows):
            rows = [row for row in rows if row[0] not in twins]
            notes += (f"masks of other pictures, left out: {counted(sorted(twins), 'picture')}",)
    readme = {name for name, _ in rows if other_tasks.is_readme(name)} if of.word == "text" else set()
    if 0 < len(readme) < len(rows):
        rows = [row for row in rows if row[0] not in readme]
        notes += (f"about the data, left out: {counted(sorted(readme), 'text')}",)
    if free:
        return rows, notes
    rows, more = parts.once(rows, of.word)
    return rows, (*notes, *more)


def _divided(
    rows: Rows, place: str, kind: str, told: dict[str, str] | None, unlabelled: bool, tells: Callable[[], str]
) -> parts.Divided:
    """The rows by part; those whose labels are the folders at the top themselves have no parts."""
    tops = {name: folders[0] for name, folders in rows if len(folders) > 1} if told is not None else {}
    if told is not None and tops and all(told.get(name) == top for name, top in tops.items()):
        return parts.Divided({"train": rows}, ())
    return parts.divided(rows, place, kind, free=unlabelled or told is not None, tells=tells)


def aside(names: list[str], of: Kind) -> tuple[str, ...]:
    """The note of files of other kinds, if any: how many, of which suffixes, an example, and what makes the commonest readable."""
    others = [name for name in names if suffix(name) not in of.suffixes]
    if not others:
        return ()
    ends = Counter(suffix(name) or "without suffix" for name in others)
    kinds = ", ".join(f"{number:,} {end}" for end, number in ends.most_common(5))
    end, _ = foreign.commonest(others)
    how = f"; {end} files: {foreign.advice(end)}" if of.example in foreign.converted_by(end) else ""
    return (f"no {of.word}s, left out: {count(len(others), 'file')} ({kinds}), such as {line(min(others))}{how}",)


def without_classes(
    place: str, of: Kind | None, entries: int, loose: int, reading: Reading, told_by: str = ""
) -> UserError:
    """The error for files without a class; `of` None: none of the files is of a kind that is learned from.

    `told_by`: what lies beside them and tells of another task.
    """
    kind = of.word if of else ""
    if reading.label_from and loose:
        return UserError(
            f"--label-from '{reading.label_from}' fits none of the {count(entries, kind)} of {place}: write it like "
            "'{label}_*', '{label}/*', or as a regular expression with one group"
        )
    if entries and not loose:
        return UserError(f"--test-from '{reading.test_from}' leaves no training {kind}s in {place}: choose fewer")
    what = f"{count(entries, kind)} but no class folders" if entries else "no pictures, recordings or texts"
    end = of.example if of else ".png"
    beside = f", and {told_by}" if told_by else ""
    return UserError(f"{place} has {what}{beside}: put each class into a folder of its own, such as {place}/cat/1{end}")


def unread(place: str, names: list[str], tree: Tree | None) -> UserError | None:
    """The error for a place of files that others read: how many, of which kind, and what makes them readable; None: not known.

    What has no suffix is known by the first bytes of one of them.
    """
    end, number = foreign.commonest(names)
    plain = [name for name in names if not suffix(name)]
    if tree and len(plain) > number:
        head = next(read() for _, read in tree.each(plain[:1], foreign.HEAD))
        end, number = foreign.is_foreign(head), len(plain)
    if not end:
        return None
    return UserError(
        f"{place} holds {count(number, f'{end} file')}, which {'is' if number == 1 else 'are'} not read: {foreign.advice(end)}"
    )


def labels_of(rows: Rows, pattern: str) -> dict[str, str]:
    """File -> its label, of those that a pattern fits: in their names, or in their paths where it has a slash or fits no name.

    Raises UserError.
    """
    fits = label_pattern(composed(pattern))
    assert fits
    if "/" not in pattern:
        found = {name: match[1] for name, folders in rows if (match := fits.search(folders[-1])) and match[1]}
        if found:
            return found
    return {name: match[1] for name, folders in rows if (match := fits.search("/".join(folders))) and match[1]}


def hold_labels(names: list[str]) -> bool:
    """Whether files are called as by a label and what tells them apart: cat_1.png, cat_2.png, dog_1.png."""
    found = [match[1] for name in names if (match := _LABELLED.match(name[name.rfind("/") + 1 :]))]
    return len(found) == len(names) and 1 < len(set(found)) <= len(found) / 2


_LABELLED = re.compile(r"([^_]*[^\W\d_][^_]*)_.")


def label_pattern(pattern: str) -> re.Pattern[str] | None:
    """`{label}_*.wav` over a file's name, `{label}/*.wav` over the end of its path, or a regular expression with one group.

    None for an empty one. Raises UserError.
    """
    if not pattern:
        return None
    if "{label}" in pattern:
        words = re.split(r"(\{label\}|\*|\?)", pattern)
        turned = {"{label}": "([^/]+?)", "*": "[^/]*", "?": "[^/]"}
        return re.compile("(?:^|/)" + "".join(turned.get(word, re.escape(word)) for word in words) + "$")
    found = _compiled(pattern, "--label-from")
    if found.groups != 1:
        raise UserError(
            f"--label-from '{pattern}' has {found.groups} groups: write one around the label, like '^([a-z]+)_'"
        )
    return found


def test_of(rows: Rows, pattern: str) -> set[str]:
    """The files whose paths, with or without a folder around everything, hold a regular expression. Raises UserError."""
    if not pattern:
        return set()
    fits = _compiled(composed(pattern), "--test-from")
    return {name for name, folders in rows if fits.search("/".join(folders)) or fits.search(composed(name))}


def _compiled(pattern: str, option: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"{option} '{pattern}' is no regular expression: {error}") from None


def suffix(name: str) -> str:
    """The ending of a file's name with its dot, lower case; empty: it has none."""
    base = name[name.rfind("/") + 1 :]
    dot = base.rfind(".")
    return base[dot:].lower() if dot > 0 else ""


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def counted(names: list[str], noun: str) -> str:
    """3 pictures, such as a/1.png."""
    return f"{count(len(names), noun)}, such as {line(min(names))}"


# ---- reading them ----------------------------------------------------------------------------------------------------


def each(
    tree: Tree,
    names: list[str],
    work: Callable[[bytes], Any],
    done: Callable[[str, Any], None],
    reason: Callable[[Exception], str],
    most: int = ENTRY_BYTES_MOST,
) -> None:
    """Runs `work` on every file and hands the outcome to `done`, in this thread: see `outcomes`."""
    for entry, found in outcomes(tree, names, work, reason, most):
        done(entry, found)


def outcomes(
    tree: Tree,
    names: list[str],
    work: Callable[[bytes], Any],
    reason: Callable[[Exception], str],
    most: int = ENTRY_BYTES_MOST,
) -> Iterator[tuple[str, Any]]:
    """Every file, and what `work` makes of its first `most` bytes (text: what was wrong), in the tree's own order."""

    def one(data: Read) -> Any:
        try:
            return work(data())
        except Exception as error:  # decoders raise anything on damaged bytes
            return reason(error)

    if sum(tree.sizes[name] for name in names) < WORTH_THREADS * len(names):
        for entry, data in tree.each(names, most):
            yield entry, one(data)
        return
    waiting: deque[tuple[str, Future[Any]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for entry, data in tree.each(names, most):
            waiting.append((entry, pool.submit(one, data)))
            if len(waiting) >= _IN_FLIGHT:
                first, future = waiting.popleft()
                yield first, future.result()
        for entry, future in waiting:
            yield entry, future.result()


def refuse(bad: dict[str, str], place: str, kind: str, skip_bad: bool) -> None:
    """Raises UserError for files that cannot be read, unless they are to be left out."""
    if bad and not skip_bad:
        number = count(len(bad), f"unreadable {kind}")
        raise UserError(f"{place} has {number}, the first is {first(bad)}: mend or remove them, or add --skip-bad")


def first(bad: dict[str, str]) -> str:
    entry = min(bad)
    return f"{line(entry)} ({bad[entry]})"


def skipped(bad: dict[str, str], kind: str) -> str:
    """The note of files that were left out."""
    some = ", ".join(map(line, sorted(bad)[:5])) + ", …" * (len(bad) > 5)
    return f"{count(len(bad), f'unreadable {kind}')} skipped: {some}"
