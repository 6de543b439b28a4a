"""Files as data: which kind they are, which split and class each belongs to, and reading them all in a pool of threads."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from shendu.data.files.archive import ENTRY_BYTES_MOST, Read, Tree
from shendu.errors import UserError
from shendu.reading import Reading
from shendu.shown import line

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
UNLABELLED = {"unsup"}
"""Class folders that hold no class: the reviews without a label that IMDb's set comes with."""
_IN_FLIGHT = 256
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


@dataclass(frozen=True)
class Plan:
    """Which files are in which split and class: (name, class) in the order of the rows."""

    kind: str
    splits: dict[str, list[tuple[str, str]]]
    notes: tuple[str, ...]

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
            raise UserError(
                f"{place} has only one class ({found[0]}): there is nothing to tell apart, "
                "add a folder for a second class"
            )
        return found


def plan(names: list[str], place: str, of: Kind, reading: Reading) -> Plan:
    """The splits and classes of one kind of files, as folders' and files' names say; raises UserError where they say none."""
    kind, entries = of.word, of.among(names)
    unlabelled_all = reading.task == "anomaly"
    if unlabelled_all and kind != "picture":
        raise UserError(f"anomalies are found in pictures and tables, and {place} holds {kind}s; leave --task out")
    rows = _unwrap([(name, tuple(name.split("/"))) for name in entries])
    tops = {parts[0] for _, parts in rows if len(parts) > 1}
    split_tops = {top for top in tops if top.lower() in SPLITS}
    deep = 1 if reading.label_from or unlabelled_all else 2
    by_split = bool(tops) and split_tops == tops and any(len(parts) > deep for _, parts in rows)
    if by_split and not any(top.lower() == "train" for top in tops):
        found = ", ".join(sorted(tops))
        raise UserError(f"{place} has {found} but no train folder: put the training {kind}s into {place}/train")
    splits: dict[str, list[tuple[str, str]]] = {}
    labels = label_pattern(reading.label_from)
    test = test_pattern(reading.test_from)
    loose = unlabelled = 0
    for name, parts in rows:
        split = SPLITS[parts[0].lower()] if by_split and len(parts) > 1 else "train"
        if labels:
            match = labels.search(parts[-1])
            label = match.group(1) if match else None
        else:
            at = 1 if by_split else 0
            label = parts[at] if len(parts) > at + 1 else None
        if test and test.search(name):
            split = "test"
        if unlabelled_all:
            splits.setdefault(split, []).append((name, ""))
        elif label in UNLABELLED and kind == "text":
            unlabelled += 1
        elif label:
            splits.setdefault(split, []).append((name, line(label)))
        else:
            loose += 1
    if not splits.get("train"):
        raise without_classes(place, of, len(entries), loose, reading)
    where = "that --label-from does not fit" if labels else "outside of the class folders"
    notes = [f"{where}, left out: {count(loose, kind)}"] if loose else []
    if unlabelled:
        notes.append(f"in the folder unsup, without a class, left out: {count(unlabelled, kind)}")
    if aside := others(names, of):
        notes.append(aside)
    ordered = dict(sorted(splits.items(), key=lambda part: ("train", "validation", "test").index(part[0])))
    return Plan(kind, ordered, tuple(notes))


def others(names: list[str], of: Kind) -> str:
    """Which files are not of a kind, as a line; empty: all are."""
    found = Counter(suffix(name) or "without suffix" for name in names if suffix(name) not in of.suffixes)
    kinds = ", ".join(f"{number:,} {end}" for end, number in found.most_common(5))
    return f"no {of.word}s, left out: {count(found.total(), 'file')} ({kinds})" if found else ""


def without_classes(place: str, of: Kind | None, entries: int, loose: int, reading: Reading) -> UserError:
    """The error for files without a class; `of` None: none of the files is of a kind that is learned from."""
    kind = of.word if of else ""
    if reading.label_from and loose:
        return UserError(
            f"--label-from '{reading.label_from}' fits none of the {count(entries, kind)} of {place}: write it like "
            "'{label}_*' or as a regular expression with one group"
        )
    if entries and not loose:
        return UserError(f"--test-from '{reading.test_from}' leaves no training {kind}s in {place}: choose fewer")
    what = f"{count(entries, kind)} but no class folders" if entries else "no pictures, recordings or texts"
    end = of.example if of else ".png"
    return UserError(f"{place} has {what}: put each class into a folder of its own, such as {place}/cat/1{end}")


def label_pattern(pattern: str) -> re.Pattern[str] | None:
    """`{label}_*.wav`, or a regular expression with one group, over a file's own name; None for an empty one.

    Raises UserError.
    """
    if not pattern:
        return None
    if "{label}" in pattern:
        words = re.split(r"(\{label\}|\*|\?)", pattern)
        turned = {"{label}": "(.+?)", "*": ".*", "?": "."}
        return re.compile("^" + "".join(turned.get(word, re.escape(word)) for word in words) + "$")
    found = _compiled(pattern, "--label-from")
    if found.groups != 1:
        raise UserError(
            f"--label-from '{pattern}' has {found.groups} groups: write one around the label, like '^([a-z]+)_'"
        )
    return found


def test_pattern(pattern: str) -> re.Pattern[str] | None:
    """The regular expression that test files' names hold; raises UserError."""
    return _compiled(pattern, "--test-from") if pattern else None


def _compiled(pattern: str, option: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"{option} '{pattern}' is no regular expression: {error}") from None


def _unwrap(rows: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Drops folders around everything; the last folder above a file, and a split, are never dropped."""
    while rows and len({parts[0] for _, parts in rows}) == 1 and rows[0][1][0].lower() not in SPLITS:
        if min(len(parts) for _, parts in rows) < 3:
            return rows
        rows = [(name, parts[1:]) for name, parts in rows]
    return rows


def suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


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
