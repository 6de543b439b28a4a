"""A data set: named splits of typed columns, each column one contiguous (usually memory-mapped) array."""

from __future__ import annotations

import base64
import html
import io
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shendu.data.fields.category import Category
from shendu.data.ragged import joined as put_together
from shendu.errors import UserError
from shendu.field import Field, Values

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION_SHARE, VALIDATION_MOST, SPLIT_SEED = 0.1, 5000, 20261122
"""A validation part is a tenth of the training rows, at most 5,000 of them."""
VALIDATION_LEAST = 5
"""Fewer rows would choose weights by chance: they are learned from instead."""
SMALLEST_TO_SPLIT = 20
"""Below this many rows nothing is split off."""
SMALL, SMALL_SHARE = 1000, 0.2
"""Of fewer rows a fifth is the test part: a tenth would measure nothing."""
ROWS_SHOWN, PICTURES_SHOWN, LINES_SHOWN, NAMES_SHOWN = 300, 16, 5, 20
"""Of a data set in a notebook: rows that are looked at (letters of running text), pictures, lines, names of classes."""
BY_CLASS = "classes:"
"""How a split by classes is written."""


@dataclass(frozen=True)
class Split:
    """Rows of columns; `index` picks some of them (None: all, in order)."""

    columns: dict[str, Any]
    """A field's name + part -> its stored values: an array [N, …], or `Ragged` rows."""
    index: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.index is None else len(self.index)

    def column(self, name: str) -> Any:
        """The whole column in this split's order (copied where rows are picked)."""
        values = self.columns[name]
        return values if self.index is None else values[self.index]

    def has(self, name: str) -> bool:
        """Whether there is a field of that name."""
        return name in self.columns

    def stored(self, name: str, field: Field) -> Values:
        """A field's stored values by part, whole: `index` says which of them are the split's rows."""
        return {part: self.columns[name + part] for part in field.storage()}

    def values(self, name: str, field: Field) -> Values:
        """The same of this split's rows alone, in their order."""
        return {part: self.column(name + part) for part in field.storage()}

    def take(self, rows: np.ndarray) -> Split:
        """Some of this split's rows."""
        return Split(self.columns, rows if self.index is None else self.index[rows])


@dataclass(frozen=True)
class Dataset:
    """Splits of the same columns, what was learned of them when they were decoded, and their content's hash."""

    name: str
    source: str
    """What reopens it: a name, a path, or `cache:<hash>` for Python objects."""
    hash: str
    fields: dict[str, Field]
    splits: dict[str, Split]
    inputs: tuple[str, ...]
    """The fields that a network reads."""
    targets: tuple[str, ...] = ()
    """The fields that it predicts; only the training part needs to have them."""
    ordered: bool = False
    """True: the order of the rows means something (a time series), so parts are never drawn from their middle."""
    notes: tuple[str, ...] = field(default=())
    """What was decided while reading, each with its reason."""

    def inputs_by_role(self) -> dict[str, str]:
        """Role in a batch -> field that a network reads: a single one is `x`."""
        return {"x": self.input}

    def targets_by_role(self) -> dict[str, str]:
        """Role in a batch -> field that it predicts: a single one is `y`."""
        return {"y": self.target}

    def roles(self) -> dict[str, str]:
        """Both."""
        return {**self.inputs_by_role(), **self.targets_by_role()}

    @property
    def input(self) -> str:
        """The first of the inputs."""
        return self.inputs[0]

    @property
    def target(self) -> str:
        """The first of the targets; empty where there is none."""
        return self.targets[0] if self.targets else ""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the input's numbers as they are stored: what the field's `offset` took away is not in it."""
        return self.fields[self.input].statistics().get("mean", (0.0,))

    @property
    def std(self) -> tuple[float, ...]:
        return self.fields[self.input].statistics().get("std", (1.0,))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the target's classes; raises UserError where the target is no category."""
        field = self.fields.get(self.target)
        if field is None:
            raise UserError(
                f"{self.name} has no target, so no classes; use a system that learns without (`shendu list`)"
            )
        if not isinstance(field, Category):
            raise UserError(
                f"{self.name} has a number as its target, not classes; leave the system out to have one chosen, or see `shendu list`"
            )
        return field.names

    @property
    def overlap(self) -> int:
        """How many neighbouring rows share values of the target: a forecast's steps, where the order means something."""
        return max(1, math.prod(self.fields[self.target].stored)) if self.ordered and self.targets else 1

    def split_off(self, how: str = "", parts: tuple[str, ...] = ("test", "validation")) -> Dataset:
        """The same data with the parts that it lacks: a test part (where it has none), then a validation part.

        `how` says which rows are the test part: a share (`0.2`), a share under a seed (`0.2@3`), a fold (`2/5`), the
        last rows (`last:24`), or all rows of a share of the classes (`classes:0.25`, see `split_by_class`). Deterministic,
        and per class in equal shares where the target is a category. A series is returned as it is: its windows overlap, so
        its reader alone can keep the parts apart. Raises UserError where
        `how` does not fit the data.
        """
        if self.ordered:
            return self
        if how.startswith(BY_CLASS):
            share, _, seed = how.removeprefix(BY_CLASS).partition("@")
            return self.split_by_class(float(share), int(seed or 0))
        if how and "test" in self.splits:
            raise UserError(f"{self.name} has a test part of its own; leave --split {how} out")
        done = self
        for part in parts:
            train = done.splits["train"]
            if part in done.splits or (len(train) < SMALLEST_TO_SPLIT and not (how and part == "test")):
                continue
            held_out = self._held_out(train, part, how if part == "test" else "")
            if part == "validation" and len(held_out) < VALIDATION_LEAST:
                few = f"no validation part in {self.name}: a tenth of {len(train):,} training rows is too little, all are learned from"
                done = replace(done, notes=(*done.notes, few))
                continue
            kept = np.setdiff1d(np.arange(len(train)), held_out)
            if not len(kept) or not len(held_out):
                raise UserError(f"{self.name} has {len(train):,} rows, too few for --split {how}; use a share like 0.2")
            note = f"no {part} part in {self.name}: {len(held_out):,} of {len(train):,} training rows set aside for it"
            splits = {**done.splits, "train": train.take(kept), part: train.take(held_out)}
            done = replace(done, splits=splits, notes=(*done.notes, note))
        return done

    def split_by_class(self, share: float, seed: int = 0) -> Dataset:
        """The same data with parts of different classes: `share` of them for the test part, then half of that share for
        the validation part.

        A test part whose classes the training part has not stays as it is; of other data all parts are put together first,
        and the input's moments are taken anew. Raises UserError without classes, and where there are too few of them.
        """
        assert self.classes
        done, label = self, self.target
        apart = (
            "test" in self.splits
            and not np.intersect1d(self.splits["test"].column(label), self.splits["train"].column(label)).size
        )
        if not apart and len(self.splits) > 1:
            done = replace(self, splits={"train": joined(list(self.splits.values()))})
        for part, wanted in (("test", share), ("validation", share / 2)):
            if part in done.splits:
                continue
            train = done.splits["train"]
            labels = train.column(label)
            classes = np.unique(labels)
            count = max(2, round(wanted * len(classes)))
            if len(classes) - count < 2:
                raise UserError(
                    f"{self.name} has {len(self.classes)} classes, too few for parts of different classes; give a --split "
                    "by rows, like 0.2"
                )
            held_out = np.isin(labels, classes[_drawn(classes, count / len(classes), False, (len(part), seed), 0)])
            note = f"{part} part of {self.name}: all {held_out.sum():,} rows of {count} of {len(classes)} classes"
            parts = {"train": train.take(np.flatnonzero(~held_out)), part: train.take(np.flatnonzero(held_out))}
            done = replace(done, splits={**done.splits, **parts}, notes=(*done.notes, note))
        train = done.splits["train"]
        anew = {name: self.fields[name].fitted([train.values(name, self.fields[name])]) for name in self.inputs}
        return replace(done, fields={**done.fields, **anew})

    def _held_out(self, train: Split, part: str, how: str) -> np.ndarray:
        """Sorted row numbers of a part that is set aside."""
        rows = len(train)
        if how.startswith("last:"):
            return np.arange(max(0, rows - int(how.removeprefix("last:"))), rows)
        share, _, seed = how.partition("@")
        fold, _, folds = share.partition("/")
        if not how:
            usual = SMALL_SHARE if part == "test" and rows < SMALL else VALIDATION_SHARE
            most = VALIDATION_MOST if part == "validation" else rows
            wanted = min(usual, most / rows)
        else:
            wanted = 1 / int(folds) if folds else float(share)
        by_class = isinstance(self.fields.get(self.target), Category)
        target = train.column(self.target) if by_class else np.arange(rows)
        key = (len(part), *([int(seed)] if seed else []))
        return _drawn(target, wanted, by_class, key, int(fold) - 1 if folds else 0)

    def tally(self) -> tuple[str, ...]:
        """What the targets' rows hold, over all parts: classes with their counts."""
        lines = (
            self.fields[name].tally(
                split.values(name, self.fields[name]) for split in self.splits.values() if split.has(name)
            )
            for name in self.targets
        )
        return tuple(line for line in lines if line)

    def _repr_html_(self) -> str:
        """For a notebook: the parts, what a row holds, and the first rows."""
        parts = " · ".join(f"{html.escape(part)} {len(split):,}" for part, split in self.splits.items())
        target, names = self.fields.get(self.target), ""
        if isinstance(target, Category):
            shown = ", ".join(target.names[:NAMES_SHOWN]) + (", …" if len(target.names) > NAMES_SHOWN else "")
            names = f"<br>{len(target.names):,} classes: {html.escape(shown)}"
        return f"<p><b>{html.escape(self.name)}</b><br>rows: {parts}{names}</p>{self._first_rows()}"

    def _shown(self, name: str, rows: Split) -> list[str | np.ndarray]:
        """A field's rows for the eye."""
        field = self.fields[name]
        own = rows.values(name, field)
        return [field.show({part: np.asarray(values[i]) for part, values in own.items()}) for i in range(len(rows))]

    def _first_rows(self) -> str:
        """Pictures with their target below, else a table of what goes in and what is to come out."""
        first = self.splits["train"].take(np.arange(min(ROWS_SHOWN, len(self.splits["train"]))))
        inputs = self._shown(self.input, first)
        if self.target == self.input:  # running text: a row is a letter
            return f"<pre>{html.escape(''.join(map(str, inputs)))}…</pre>"
        said = self._shown(self.target, first) if self.targets else [""] * len(first)
        targets = [html.escape(str(text)) for text in said]
        if isinstance(inputs[0], str):
            cells = zip(inputs[:LINES_SHOWN], targets, strict=False)
            left = 'style="text-align:left"'
            lines = "".join(f"<tr><td {left}>{html.escape(str(i))}</td><td {left}>{t}</td></tr>" for i, t in cells)
            heads = "".join(f"<th {left}>{html.escape(name)}</th>" for name in (self.input, self.target))
            return f"<table><tr>{heads}</tr>{lines}</table>"
        tags = "".join(
            f'<figure style="margin:0;text-align:center">{_picture(row)}<figcaption>{t}</figcaption></figure>'
            for row, t in zip(inputs[:PICTURES_SHOWN], targets, strict=False)
            if not isinstance(row, str)
        )
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{tags}</div>'


def _picture(pixels: np.ndarray) -> str:
    """uint8 [H, W, 1 or 3] as an element of a page."""
    from PIL import Image as Picture

    out = io.BytesIO()
    Picture.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(out, "png")
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img height="64" style="image-rendering:pixelated" src="data:image/png;base64,{data}">'


def joined(splits: list[Split]) -> Split:
    """The rows of several splits as one, of the columns that all have."""
    keys = [key for key in splits[0].columns if all(key in split.columns for split in splits)]
    return Split({key: put_together([split.column(key) for split in splits]) for key in keys})


def dense(dataset: Dataset) -> Dataset:
    """The same data, rows of varying length padded with zeros to the longest: for looking at, not for learning."""
    ragged = {n + part for n, field in dataset.fields.items() for part, how in field.storage().items() if how.ragged}
    splits = dataset.splits
    for key in ragged:
        parts = {part: split.column(key) for part, split in splits.items() if key in split.columns}
        longest = max(int(rows.lengths.max(initial=1)) for rows in parts.values())
        padded = {part: {key: rows.padded(longest)} for part, rows in parts.items()}
        others = {part: {k: split.column(k) for k in split.columns if k != key} for part, split in splits.items()}
        splits = {part: Split({**others[part], **padded.get(part, {})}) for part in splits}
    return replace(dataset, splits=splits) if ragged else dataset


def _drawn(target: np.ndarray, share: float, by_class: bool, key: tuple[int, ...], nth: int) -> np.ndarray:
    """Sorted row numbers of the nth share of the rows, drawn by a keyed permutation."""
    import torch

    from shendu import chance

    order: Tensor = chance.permute(torch.arange(len(target)), len(target), SPLIT_SEED, *key)
    shuffled = order.numpy()
    groups = [shuffled[target[shuffled] == label] for label in np.unique(target)] if by_class else [shuffled]
    held_out = [rows[round(nth * share * len(rows)) : round((nth + 1) * share * len(rows))] for rows in groups]
    chosen = np.sort(np.concatenate(held_out))
    return chosen if len(chosen) or not len(target) else np.sort(shuffled[:1])
