"""Folders that are parts of a data set and no classes, by how they are called and by what lies in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from shendu.errors import UserError

PARTS = ("train", "validation", "test")
Rows = list[tuple[str, tuple[str, ...]]]
"""A file's name, and the folders below the data's root with the file's own name at the end, in NFC."""
_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "vali", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("eval", "evaluation", "holdout", "heldout"), "eval"),
}
"""What a part's folder is called; `eval` is the test part where there is no other, else the validation part."""
_FILLING = {"set", "sets", "data", "dataset", "split", "part", "folder", "files", "subset", "image",
            "images", "img", "imgs", "picture", "pictures", "photo", "photos", "audio", "wav", "wavs", "text", "texts"}  # fmt: skip
"""Words beside a part's that mean nothing: training_set, test_images."""
_GLUED = re.compile(rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?:set|data|images|imgs)")
_FOLD = re.compile(r"(?:cv|k)?[ _-]?(?:folds?|split|batch|part|chunk|shard|cv)[ _-]?\d+", re.IGNORECASE)
SHOWN = 4
"""Folders that a message names."""
OR_CLASSES = "if these are the classes: --label-from '^([^/]+)/'"
PLAIN = {"train", "val", "valid", "validation", "test"}
"""Folders that are parts by names of which nothing has to be said."""


class Divided(NamedTuple):
    """Rows by part, their folders below the part's, and what was decided."""

    parts: dict[str, Rows]
    notes: tuple[str, ...]


def words(name: str) -> list[str]:
    """A folder's name as lower-case words, without its numbers: segTrain_2 -> seg, train."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W\d_]+", spaced.lower()) if word]


def part_of(word: str) -> str:
    """The part that a plain word names: train, validation, test or eval; empty: none."""
    return _WORDS.get(word.lower().replace("_", "").replace("-", ""), "")


def part_and_rest(name: str) -> tuple[str, tuple[str, ...]]:
    """The part that a folder's name speaks of, and its other words: seg_train -> train, (seg,). Empty: none, or several."""
    if part := part_of(name):
        return part, ()
    split = [glued[1] if (glued := _GLUED.fullmatch(word)) else word for word in words(name)]
    found = [word for word in split if word in _WORDS]
    rest = tuple(word for word in split if word not in _WORDS and word not in _FILLING)
    return (_WORDS[found[0]], rest) if len(found) == 1 else ("", ())


def named(folders: Iterable[str]) -> dict[str, str]:
    """Folder -> part, of those beside each other that are called like parts of one set; names in longer words only in company."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for folder in sorted(folders):
        part, rest = part_and_rest(folder)
        if part:
            groups.setdefault(rest, {})[folder] = part
    plain = groups.get((), {})
    groups[()] = plain if len(set(plain.values())) > 1 else {f: p for f, p in plain.items() if part_of(f)}
    best = max(groups.values(), key=lambda group: len(set(group.values())))
    if len(set(best.values())) < 2 and best is not groups[()]:
        return {}
    evaluation = "validation" if "test" in best.values() else "test"
    return {folder: evaluation if part == "eval" else part for folder, part in best.items()}


def are_folds(folders: Iterable[str]) -> bool:
    """Whether all are called fold1, fold2, … or alike."""
    names = list(folders)
    return len(names) > 1 and all(_FOLD.fullmatch(name) for name in names)


def inside(rows: Rows) -> dict[str, set[str]]:
    """Folder at the top -> the folders in it, "" where files lie in it directly."""
    found: dict[str, set[str]] = {}
    for _, parts in rows:
        if len(parts) > 1:
            found.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    return found


def unwrapped(rows: Rows) -> Rows:
    """Drops folders around everything but loose files; the last folder above a file, and a part, are never dropped."""
    while tops := {folders[0] for _, folders in rows if len(folders) > 1}:
        lowest = min(len(folders) for _, folders in rows if len(folders) > 1)
        if len(tops) > 1 or lowest < 3 or part_of(*tops):
            break
        rows = [(name, folders[1:] if len(folders) > 1 else folders) for name, folders in rows]
    return rows


def once(rows: Rows, what: str) -> tuple[Rows, tuple[str, ...]]:
    """Without a folder in which all the folders beside it lie again, as archives that were packed twice have it."""
    tops = inside(rows)
    for top, subs in tops.items():
        others = tops.keys() - {top}
        if len(others) > 1 and others <= subs and not part_and_rest(top)[0]:
            kept = [row for row in rows if row[1][0] != top]
            left = len(rows) - len(kept)
            return kept, (f"left out: {left:,} {what}s in the folder {top}, in which {some(others)} lie once more",)
    return rows, ()


def divided(rows: Rows, place: str, what: str, free: bool, tells: Callable[[], str]) -> Divided:
    """The rows by part. Raises UserError where folders that are called like parts do not lie as parts do.

    `free`: classes are not told by folders, so that files may lie in a part's folder itself. `tells`
    says what lies beside the files and speaks of another task.
    """
    tops = inside(rows)
    parts = named(tops)
    if are_folds(tops) and not free:
        raise _folds(sorted(tops), tops, place)
    if not parts:
        return _in_classes(rows, tops, what)
    others = tops.keys() - parts.keys()
    deep = free or any("" not in tops[top] for top in parts)
    several = len(set(parts.values())) > 1
    if others and not several and (free or not deep):
        return Divided({"train": rows}, ())  # one class may be called train
    if others and "train" not in parts.values() and not free:
        parts = {top: part for top, part in parts.items() if tops[top] - {""} & others and tops[top] - {""} <= others}
        if parts:
            return _sorted([row for row in rows if row[1][0] not in parts], rows, parts, ())
    if "train" not in parts.values() and others:
        return Divided({"train": rows}, ())
    if "train" not in parts.values():
        raise UserError(
            f"{place} has {', '.join(sorted(tops))} but no train folder: put the training {what}s into {place}/train"
        )
    _check_once(parts, place)
    if not deep:
        raise _flat(parts, place, tells())
    if others and not several:
        train = next(iter(parts))
        raise UserError(
            f"{place} has the folder {train}, a training part with {some(tops[train] - {''})} in it, beside {some(others)}: "
            f"call those validation or test, or move them away; {OR_CLASSES}"
        )
    aside = sum(len(parts_of) > 1 and parts_of[0] in others for _, parts_of in rows)
    notes = (f"left out: {aside:,} {what}s in {some(others)}, beside the parts {some(parts)}",) if aside else ()
    loose = [row for row in rows if len(row[1]) == 1]
    return _sorted(loose, rows, parts, notes)


def _sorted(train: Rows, rows: Rows, parts: dict[str, str], notes: tuple[str, ...]) -> Divided:
    """`train` and what lies in the folders of parts; a folder around all of a part is dropped where it says nothing."""
    found: dict[str, Rows] = {"train": list(train)}
    for top, part in parts.items():
        mine = _without_shell([row for row in rows if row[1][0] == top and len(row[1]) > 1])
        found[part] = found.get(part, []) + mine
    odd = [f"{top} is {part}" for top, part in parts.items() if top.lower() not in PLAIN]
    said = (f"parts by their folders' names: {', '.join(odd)}",) if odd else ()
    ordered = {part: found[part] for part in PARTS if found.get(part)}
    return Divided(ordered or {"train": []}, (*said, *notes))


def _without_shell(rows: Rows) -> Rows:
    """Below a part's folder, and below a folder in it that is called alike, or like no class: train/train, train/images."""
    top = rows[0][1][0]
    rows = _below(rows)
    while len({parts[0] for _, parts in rows}) == 1 and min(len(parts) for _, parts in rows) > 2:
        only = rows[0][1][0]
        plain = bool(words(only)) and set(words(only)) <= _FILLING
        if only != top and not plain and part_and_rest(only) != part_and_rest(top):
            break
        rows = _below(rows)
    return rows


def _in_classes(rows: Rows, tops: dict[str, set[str]], what: str) -> Divided:
    """Parts within each class: cat/train, cat/test, dog/train, …; else all is training part."""
    within = set().union(*tops.values()) - {""} if tops else set()
    parts = named(within)
    whole = within and parts.keys() == within and {"train"} < set(parts.values())
    if not whole or len(tops) < 2 or any("" in subs for subs in tops.values()):
        return Divided({"train": rows}, ())
    found: dict[str, Rows] = {}
    for name, folders in rows:
        part = parts[folders[1]] if len(folders) > 2 else "train"
        found.setdefault(part, []).append((name, (folders[0], *folders[2:])))
    return Divided(
        {part: found[part] for part in PARTS if part in found},
        (f"parts within each class's folder: {some(parts)}",),
    )


def _below(rows: Rows) -> Rows:
    return [(name, parts[1:]) for name, parts in rows]


def _check_once(parts: dict[str, str], place: str) -> None:
    """Raises UserError for two folders of one part."""
    part, times = Counter(parts.values()).most_common(1)[0]
    if times > 1:
        two = sorted(top for top in parts if parts[top] == part)
        raise UserError(
            f"{place} has {times} {part} parts, {some(two)}: leave one of them, or put them together; {OR_CLASSES}"
        )


def _flat(parts: dict[str, str], place: str, told: str) -> UserError:
    train = min(parts, key=lambda top: parts[top] != "train")
    called, them = ("parts", "them") if len(parts) > 1 else ("a part", "it")
    beside = f", and {told}" if told else ""
    return UserError(
        f"{place} has {some(parts)}, called like {called}, without class folders in {them}{beside}: put each class into a "
        f"folder of its own, such as {place}/{train}/cat, or say where names hold it with --label-from '{{label}}_*'; {OR_CLASSES}"
    )


def _folds(folders: list[str], tops: dict[str, set[str]], place: str) -> UserError:
    deep = not any("" in tops[top] for top in folders)
    where = "'{label}/*'" if deep else "'{label}_*'"
    return UserError(
        f"{place} holds folds ({some(folders)}) and no classes: say where the class stands and which fold is the test part, "
        f"as with --label-from {where} --test-from '^{folders[-1]}/'; {OR_CLASSES}"
    )


def some(names: Iterable[str]) -> str:
    """a, b, … of many names."""
    known = sorted(names)
    return ", ".join(known[:SHOWN]) + ", …" * (len(known) > SHOWN)
