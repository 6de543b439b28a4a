"""What is audited, what the checks find in it, and what several of them ask of it.

Shape letters: N rows of all parts, one behind the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shendu import chance, shown
from shendu.data.audit import duplicates, screens
from shendu.data.audit.screens import Feature
from shendu.data.dataset import Dataset, dense
from shendu.reading import Reading

SEVERITIES = {
    "error": "figures would mislead, or training would stop",
    "warning": "probably wrong, or costly",
    "note": "to know",
}
WORST = 20
"""Examples that a finding keeps."""
FEW, LEAST = 50, 40
"""Rows of a small training part; of fewer rows than these it is not told what their columns and labels give away."""
COLUMNS_MOST, ROWS_MOST = 2000, 100_000
"""Columns that are looked at one by one, and the rows that they are looked at on."""


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
        self.classes = self.target.classes

    @cached_property
    def part(self) -> np.ndarray:
        """Number of each row's part: int64 [N]."""
        return np.repeat(np.arange(len(self.rows)), list(self.rows.values()))

    @cached_property
    def targets(self) -> np.ndarray:
        """int64 [N] classes, or numbers [N, …]."""
        return self.target.plain(
            np.concatenate([split.column(self.data.target) for split in self.data.splits.values()])
        )

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
            return shown.line(self.files[row])
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
        if self.classes:
            return self.classes[int(target)]
        whole = Feature("", self.targets)
        return ", ".join(whole.written(value, 4) for value in np.atleast_1d(target)[:6])

    def drawn(self, most: int, among: np.ndarray) -> np.ndarray:
        """At most so many of some rows, in ascending order."""
        if len(among) <= most:
            return among
        return np.sort(among[chance.permute(torch.arange(most), len(among), screens.SEED).numpy()])

    @cached_property
    def seen(self) -> tuple[np.ndarray, list[Feature]]:
        """(the rows that columns are looked at on, the columns)."""
        rows = self.drawn(ROWS_MOST, np.arange(len(self.part)))
        if not self.input.feature_count:
            return rows, []
        found = self.input.features(self.data.input, {"": self.stored(rows)})
        return rows, [Feature(*each) for each in islice(found, COLUMNS_MOST)]

    @cached_property
    def coincidences(self) -> float:
        """How many pairs of rows would be equal by chance; 0 where some of a row is not looked at by columns."""
        columns = self.seen[1]
        if not columns or len(columns) < self.input.feature_count:
            return 0.0
        return screens.coincidences(columns, len(self.part))

    def areas(self, rows: np.ndarray) -> Tensor:
        """What pictures look like: [rows, C, SIDE, SIDE]."""
        pieces = np.array_split(rows, max(1, len(rows) // 1000))
        return torch.cat([self.input.areas({"": self.stored(piece)}, duplicates.SIDE) for piece in pieces])


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"
