"""What the readers of files in class folders share: which of a place's files are theirs, and each one as a stored row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shendu import config
from shendu.data.fields.category import Category
from shendu.data.files import foreign, layout
from shendu.data.files.archive import ENTRY_BYTES_MOST, Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import Kind, Plan
from shendu.data.reader import Claim, Items, Key, Place, Reader
from shendu.errors import UserError, near
from shendu.field import Field
from shendu.reading import Reading

SURE = 0.7
"""Of a place that holds nothing but such files."""
ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class Laid:
    """A place, and its plan, which is made when it is asked for."""

    place: Place
    reading: Reading
    files: Kind

    @cached_property
    def plan(self) -> Plan:
        return layout.plan(self.place.names, str(self.place), self.files, self.reading)

    @property
    def tree(self) -> Tree:
        assert self.place.tree
        return self.place.tree


class ClassFolders(Reader):
    """Files of one kind in class folders, or named by their class."""

    files: ClassVar[Kind]
    field: ClassVar[str]
    """The kind of field that they make."""
    most: ClassVar[int] = ENTRY_BYTES_MOST
    """Bytes of a file's beginning that are read."""

    @abstractmethod
    def decoded(self, tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
        """All files of a plan. Raises UserError for what cannot be read."""

    @abstractmethod
    def row(self, data: bytes, field: Any) -> np.ndarray:
        """One file's bytes as a stored row; raises anything for what cannot be read."""

    @abstractmethod
    def reason(self, error: Exception) -> str:
        """Why `row` raised that."""

    @abstractmethod
    def of_file(self, path: Path, field: Any) -> np.ndarray:
        """A file as a stored row; raises UserError."""

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        count = self.counted(place, reading)
        why = f"{layout.count(count, self.files.word)} among {layout.count(len(place.names), 'file')}"
        return Claim(SURE * count / len(place.names), why, Laid(place, reading, self.files)) if count else None

    def counted(self, place: Place, reading: Reading) -> int:
        """How many of a place's files speak for this reader."""
        return len(self.files.among(place.names))

    def key(self, claim: Claim) -> Key:
        laid: Laid = claim.found
        path, plan = laid.place.path, laid.plan
        assert path
        said = config.to_json(laid.reading.said())
        options = {"kind": plan.kind, "reading": said, "laid": [plan.splits, plan.notes]}
        return Key({entry: path / entry for entry in plan.names()}, options)

    def read(self, claim: Claim, room: Room) -> Decoded:
        laid: Laid = claim.found
        return self.decoded(laid.tree, laid.plan, str(laid.place), room, laid.reading.skip_bad)

    def encoded(self, claim: Claim, fields: dict[str, Field]) -> Decoded | None:
        (x, input), *targets = fields.items()
        if input.kind != self.field or [field.kind for _, field in targets] not in ([], ["category"]):
            return None
        laid: Laid = claim.found
        found = {label for rows in laid.plan.splits.values() for _, label in rows}
        y, target = targets[0] if targets else ("y", Category(names=tuple(sorted(found))))
        assert isinstance(target, Category)
        for label in sorted(found):
            if label not in target.names:
                raise UserError(
                    f"{laid.place} has the class '{label}', which the run has not{near(label, target.names)}"
                )
        stored = self._rows(laid, input)
        splits = {}
        for part, rows in laid.plan.splits.items():
            good = [(entry, label) for entry, label in rows if entry in stored]
            if good:
                codes = target.parse([label for _, label in good])[""]
                splits[part] = {x: np.stack([stored[entry] for entry, _ in good]), y: codes}
        return Decoded(fields={x: input, y: target}, splits=splits, inputs=(x,), targets=(y,))

    def _rows(self, laid: Laid, field: Field) -> dict[str, np.ndarray]:
        """File -> its stored row, of those that can be read. Raises UserError for others, unless they are to be left out."""
        stored: dict[str, np.ndarray] = {}
        bad: dict[str, str] = {}

        def keep(entry: str, found: Any) -> None:
            if isinstance(found, str):
                bad[entry] = found
            else:
                stored[entry] = found

        work = lambda data: self.row(data, field)  # noqa: E731
        layout.each(laid.tree, laid.plan.names(), work, keep, self.reason, self.most)
        layout.refuse(bad, str(laid.place), laid.plan.kind, laid.reading.skip_bad)
        return stored

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        """A path that is no array's, for one field of this kind."""
        mine = [field.kind for field in fields.values()] == [self.field]
        return 0.9 if mine and isinstance(given, str | Path) and Path(given).suffix.lower() not in ARRAYS else 0.0

    def items(self, given: Any, fields: dict[str, Field]) -> Items:
        ((name, field),) = fields.items()
        for file in files_of(Path(given), sorted(self.files.suffixes), field.words):
            yield "input", [str(file)], {name: self.of_file(file, field)[None]}


def files_of(path: Path, suffixes: list[str] | tuple[str, ...], what: str) -> Iterator[Path]:
    """A file as it is, or a folder's files of some kinds in the order of their names.

    Raises UserError for a path that is not there, and for a folder without such files.
    """
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if not path.is_dir():
        yield path
        return
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
    if not found:
        end, _ = foreign.commonest([p.name for p in path.rglob("*")])
        how = f"; its {end} files: {foreign.advice(end)}" if end else ""
        raise UserError(f"{path} holds no {what} ({', '.join(suffixes)}){how}")
    yield from found
