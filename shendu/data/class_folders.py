"""What the readers of files in class folders share: which of a place's files are theirs, and each one as a stored row."""

from __future__ import annotations

import itertools
import warnings
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
from shendu.data.files.archive import ENTRY_BYTES_MOST, File, Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import Kind, Plan
from shendu.data.reader import LAST, OWN, USUAL, Claim, Items, Key, Place, Reader, there
from shendu.data.tables import files
from shendu.errors import UserError, near
from shendu.field import Field
from shendu.reading import Reading

SURE = 0.7
"""Of a place that holds nothing but such files."""
AT_ONCE = 256
"""Files that are decoded before any is handed on."""
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

    spoiled: ClassVar[bool] = True
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

    def noted(self, data: bytes, field: Any) -> tuple[np.ndarray, str]:
        """The same, with a note on how it was read; empty: there is none."""
        return self.row(data, field), ""

    @abstractmethod
    def reason(self, error: Exception) -> str:
        """Why `row` raised that."""

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
        stored, notes = self._rows(laid, input)
        splits = {}
        for part, rows in laid.plan.splits.items():
            good = [(entry, label) for entry, label in rows if entry in stored]
            if good:
                codes = target.parse([label for _, label in good])[""]
                splits[part] = {x: np.stack([stored[entry] for entry, _ in good]), y: codes}
        return Decoded(fields={x: input, y: target}, splits=splits, inputs=(x,), targets=(y,), notes=notes)

    def _rows(self, laid: Laid, field: Field) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """(file -> its stored row, of those that can be read; notes). Raises UserError for others, unless they are to be left out."""
        stored: dict[str, np.ndarray] = {}
        notes: dict[str, None] = {}
        bad: dict[str, str] = {}

        def keep(entry: str, found: Any) -> None:
            if isinstance(found, str):
                bad[entry] = found
            else:
                stored[entry], note = found
                notes.update({note: None} if note else {})

        work = lambda data: self.noted(data, field)  # noqa: E731
        layout.each(laid.tree, laid.plan.names(), work, keep, self.reason, self.most)
        layout.refuse(bad, str(laid.place), laid.plan.kind, laid.reading.skip_bad)
        return stored, tuple(notes)

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        """A file, a folder or an archive of such files, or a table with such files in its cells; for one field of this kind."""
        if [field.kind for field in fields.values()] != [self.field]:
            return 0.0
        if isinstance(given, str | Path):
            path = Path(given).expanduser()
            if path.suffix.lower() in ARRAYS:
                return 0.0
            return OWN if there(given) and (self._holds(path) or self.tabular(path)) else LAST
        if isinstance(given, list | tuple) and given and all(isinstance(one, str) for one in given):
            return LAST
        return OWN if self.tabular(given) else 0.0

    def _holds(self, path: Path) -> bool:
        """Whether a path is such a file, as far as can be told without reading it, or a folder or archive that holds some."""
        if path.is_file() and not _is_archive(path):
            return not files.recognised(path)
        return bool(self.files.among(Place.within(path).names))

    def tabular(self, given: Any) -> bool:
        """Whether it is a table whose cells are such files."""
        if isinstance(given, str | Path) and not files.may_hold_files(given):
            return False
        from shendu.data.tables import media

        return media.kind_in(given) == self.files.word

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        """File after file, as training reads them; one that cannot be read says why."""
        ((name, field),) = fields.items()
        if isinstance(given, list | tuple) and isinstance(given[0], str):
            raise UserError(f"no such file: {given[0]}")
        for key, tree, named, notes in self._asked(given, reading):
            yield from (("", [], note) for note in notes)
            done = layout.outcomes(tree, list(named), lambda data: self.noted(data, field), self.reason, self.most)
            told = set[str]()
            while some := _quietly(done):
                for entry, found in some:
                    row, note = (found, "") if isinstance(found, str) else found
                    if note and note not in told:
                        told.add(note)
                        yield "", [], note
                    yield key, [named[entry]], row if isinstance(row, str) else {name: row[None]}

    def sent(self, data: bytes, named: str, fields: dict[str, Field]) -> dict[str, Any] | None:
        if [field.kind for field in fields.values()] != [self.field]:
            return None
        ((name, field),) = fields.items()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return {name: self.sent_row(data[: self.most], field)[None]}
        except Exception as error:  # decoders raise anything on damaged bytes
            raise UserError(f"the {self.files.word} cannot be read: {self.reason(error)}; send {self.wanted}") from None

    def sent_row(self, data: bytes, field: Any) -> np.ndarray:
        """The same as `row`, of a file that anyone may have sent: raises also for one that is too large to be decoded for them."""
        return self.row(data, field)

    def _asked(self, given: Any, reading: Reading) -> Iterator[tuple[str, Tree, dict[str, str], tuple[str, ...]]]:
        """What names are, files, each one's name, and notes of what is left aside, of what is asked about. Raises UserError for nothing."""
        if self.tabular(given):
            from shendu.data.tables import media

            yield from ((*found, ()) for found in media.asked(given, reading))
            return
        path = Path(given).expanduser()
        if not path.exists():
            raise UserError(f"no such file: {given}")
        if path.is_file() and not _is_archive(path):
            yield "input", File(path), {path.name: str(given)}, ()
            return
        place = Place.within(path)
        assert place.tree
        if not (found := self.files.among(place.names)):
            raise UserError(f"{given} holds no {self.files.word}s ({', '.join(sorted(self.files.suffixes))})")
        named = {entry: str(Path(given) / entry) for entry in found}
        yield "input", place.tree, named, layout.aside(place.names, self.files)


def _is_archive(path: Path) -> bool:
    try:
        return Place(path, path).is_archive()
    except (OSError, UserError):
        return False


def _quietly(done: Iterator[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The next few; decoders warn of odd metadata, and only what cannot be decoded matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(itertools.islice(done, AT_ONCE))


def files_of(path: Path, suffixes: tuple[str, ...], what: str) -> Iterator[Path]:
    """A file as it is, or a folder's files of some kinds that are no hidden ones, in the order of their names.

    Raises UserError for a path that is not there, and for a folder without such files.
    """
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if not path.is_dir():
        yield path
        return
    found = sorted(path / name for name in Place.of(path).names if layout.suffix(name) in suffixes)
    if not found:
        end, _ = foreign.commonest([p.name for p in path.rglob("*")])
        how = f"; its {end} files: {foreign.advice(end)}" if end else ""
        raise UserError(f"{path} holds no {what} ({', '.join(suffixes)}){how}")
    yield from found
