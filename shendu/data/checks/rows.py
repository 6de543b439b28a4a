"""Checks of rows: copies, pictures that look the same, classes, labels.

Shape letters: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import one_hot

from shendu.data.audit import duplicates, suspects
from shendu.data.checks.subject import FEW, LEAST, WORST, Example, Finding, Subject, percent
from shendu.data.files import layout
from shendu.data.tables import delimited

RARE, UNEVEN = 5, 10.0
"""A class is rare with fewer rows; classes are uneven where the largest has so many times the rows of the smallest."""
PICTURES_MOST = 100_000
"""Pictures that are compared with each other."""
EXCESS, SPARE = 2.0, 5
"""Labels are found wrong where more than so many times, and so many more, are suspicious than the judging model's own
uncertainty explains."""


def check_copies(subject: Subject) -> Iterator[Finding]:
    """Rows of the same input: across parts, with other labels, within a part."""
    first, part = subject.first, subject.part
    copies = np.flatnonzero(first != np.arange(len(first)))
    if not len(copies):
        return
    usual = bool(subject.input.feature_count)
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
                f"{layout.count(len(found), 'row')} of the {name} part ({percent(share)}) that {_are(found)} in another part too",
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
    if not subject.input.looks:
        return
    splits = subject.data.splits.values()
    flat = np.concatenate([subject.input.blank({"": split.column(subject.data.input)}) for split in splits])
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
    pairs = rows[duplicates.near(subject.areas(rows))]
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


# ---- classes


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
        theirs = {name: found[part] for name, found in subject.counts.items()}
        strange = [name for name, rows in theirs.items() if rows and not counts[name]]
        absent = [name for name, rows in theirs.items() if counts[name] and not rows]
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


def _classes(names: list[str]) -> str:
    return f"{len(names):,} class{'es' * (len(names) != 1)} ({delimited.few(names)})"


# ---- labels


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
        f"rows, and its own uncertainty explains about {expected:.0f} of these",
        tuple(examples),
    )
