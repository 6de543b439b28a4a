"""Checks of what rows are made of: columns, and how parts differ in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shendu.data.audit import screens
from shendu.data.audit.screens import Feature
from shendu.data.checks.subject import FEW, LEAST, WORST, Example, Finding, Subject, percent
from shendu.data.column import NAMED
from shendu.data.files import layout
from shendu.data.tables import delimited

LEAK, BEYOND = 0.99, 0.2
"""A column leaks the target where it alone foretells so much of it and errs at most this share as often as the most
frequent class does."""
MISSING, SHIFT, CHANCE = 0.5, 0.1, 1e-3
"""A column is mostly missing from this share on; parts differ from this distance on, where chance would bring it about
less often than this."""


def check_columns(subject: Subject) -> Iterator[Finding]:
    """Columns that leak the target, hold nothing, count the rows, are missing or far out."""
    rows, columns = subject.seen
    if not columns:
        return
    yield from _leaks(subject, rows, columns)
    if not subject.input.tabular:
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
            tuple(Example(f"{name}: {percent(share)} missing") for name, share in worst[:WORST]),
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
                    f"{column.name} alone foretells {percent(share)} of the labels (the most frequent class {percent(base)})"
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
            low, high = (column.written(end, 4) for end in np.nanquantile(column.values, [0.05, 0.95]))
            text = f"{column.name} = {column.show(at)} in {subject.name(rows[at])} (nine tenths lie in {low} to {high})"
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


def check_drift(subject: Subject) -> Iterator[Finding]:
    """What is distributed otherwise in another part than in train."""
    rows, columns = subject.seen
    if subject.input.looks:
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
    seen = subject.areas(rows).flatten(1)
    return [Feature("brightness", seen.mean(1).numpy()), Feature("contrast", seen.std(1).numpy())]
