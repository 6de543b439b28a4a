"""Texts: .txt files in class folders, and what is asked of a model of texts; a vocabulary of the training texts.

Shape letters: N rows, L words kept of a text.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import repeat
from typing import Any

import numpy as np

from shendu.data.class_folders import ClassFolders
from shendu.data.fields.category import Category
from shendu.data.fields.text import Text, strings
from shendu.data.files import layout, text
from shendu.data.files.archive import Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import TEXTS, Plan, count, each, first, refuse, skipped
from shendu.data.reader import OWN, USUAL, Claim, Items, Place, is_path, short
from shendu.data.words import UNKNOWN, cut_note, length_kept, letters, words
from shendu.errors import UserError
from shendu.field import Field
from shendu.reading import Reading
from shendu.shown import line

VOCABULARY_MOST, SEEN_LEAST = 50_000, 2
"""A vocabulary's most frequent words, and how often a word is seen at least."""
WORDS_MOST, SHARE_WHOLE = 1024, 0.98
"""So many words of a text are kept as this share of the training texts has, at most so many."""


class Texts(ClassFolders):
    """Texts in any encoding in class folders; a word that is no path is a text itself."""

    name = "texts"
    wanted = "a text file in UTF-8"
    field = "text"
    files = TEXTS
    most = text.BYTES_MOST

    def claims(self, place: Place, reading: Reading) -> Claim | None:
        """Not of texts that no folder and no name tells apart: they are running text."""
        apart = reading.label_from or any("/" in name for name in self.files.among(place.names))
        return super().claims(place, reading) if apart else None

    def counted(self, place: Place, reading: Reading) -> int:
        return len(self.files.among(place.names) if reading.reader else layout.of_their_own(place.names))

    def decoded(self, tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
        return decoded(tree, laid, name, room, skip_bad)

    def row(self, data: bytes, field: Text) -> np.ndarray:
        return field.encode([text.decoded(data)[0]])[0]

    def reason(self, error: Exception) -> str:
        return text.reason(error)

    def offers(self, given: Any, fields: dict[str, Field]) -> float:
        """A word that is no path is surely a text; several are taken as they are."""
        if isinstance(given, list | tuple):
            return 0.0
        mine = [field.kind for field in fields.values()] == [self.field]
        text = mine and isinstance(given, str) and not is_path(given, self.files.suffixes)
        return OWN if text else super().offers(given, fields)

    def items(self, given: Any, fields: dict[str, Field], reading: Reading = USUAL) -> Items:
        if isinstance(given, str) and not is_path(given, self.files.suffixes):
            (name,) = fields
            yield "input", [short(given)], {name: [given]}
        else:
            yield from super().items(given, fields, reading)


# ---- a vocabulary ----------------------------------------------------------------------------------------------------


def column(values: Any, name: str = "", by_letters: bool = False) -> tuple[Text, tuple[str, ...]]:
    """The column of training texts, and what was decided; raises UserError where they hold no word."""
    counts: Counter[str] = Counter()
    lengths, split = [], letters if by_letters else words
    for one in strings(values):
        found = split(one)
        counts.update(found[:WORDS_MOST])
        lengths.append(len(found))
    return _column(counts, lengths, name, f"column {name}", by_letters)


def _column(
    counts: Mapping[str, int], lengths: list[int], name: str, where: str, by_letters: bool = False
) -> tuple[Text, tuple[str, ...]]:
    what = "letters" if by_letters else "words"
    if not counts:
        raise UserError(
            f"{where} holds no word in its training texts: there is nothing to learn from, give other texts"
        )
    known = [word for word, times in counts.items() if times >= SEEN_LEAST] or list(counts)
    known = sorted(known, key=lambda word: (-counts[word], word))[:VOCABULARY_MOST]
    cut = f"most frequent {what}" if len(known) == VOCABULARY_MOST else f"{what} seen twice or more"
    notes = [f"vocabulary{f' of column {name}' if name else ''}: the {len(known):,} {cut} in the training texts"]
    length = length_kept(lengths, SHARE_WHOLE, WORDS_MOST)
    shorter = cut_note(lengths, length, SHARE_WHOLE, WORDS_MOST, count(len(lengths), "training text"), what)
    notes += [shorter] if shorter else []
    return Text(names=tuple(known), length=length, column=name, letters=by_letters), tuple(notes)


# ---- files -----------------------------------------------------------------------------------------------------------


class _Corpus:
    """Texts as numbers of words while they are read: no Python object is kept per word of a text."""

    def __init__(self) -> None:
        self.number: defaultdict[str, int] = defaultdict()
        self.number.default_factory = self.number.__len__
        self.texts: dict[str, tuple[np.ndarray, int]] = {}
        """Entry -> the numbers of its first words, and how many it has."""

    def add(self, entry: str, found: list[str]) -> None:
        kept = found[:WORDS_MOST]
        self.texts[entry] = np.fromiter(map(self.number.__getitem__, kept), np.int32, len(kept)), len(found)

    def column(self, entries: list[str], where: str) -> tuple[Text, tuple[str, ...]]:
        times = np.zeros(len(self.number), np.int64)
        for entry in entries:
            np.add.at(times, self.texts[entry][0], 1)
        counts = {word: n for word, n in zip(self.number, times.tolist(), strict=True) if n}
        return _column(counts, [self.texts[entry][1] for entry in entries], "", where)

    def write(self, column: Text, entries: list[str], rows: np.ndarray) -> None:
        """Codes into rows [N, length]."""
        codes = np.fromiter(map(column.code.get, self.number, repeat(UNKNOWN)), np.int32, len(self.number))
        for row, entry in zip(rows, entries, strict=True):
            numbers = self.texts[entry][0][: column.length]
            row[: len(numbers)] = codes[numbers]


def decoded(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
    """Texts int32 [N, length] and labels int64 [N]; raises UserError for unreadable texts."""
    classes = laid.classes(name)
    corpus, bad, odd = _Corpus(), dict[str, str](), defaultdict[str, list[str]](list)

    def keep(entry: str, found: Any) -> None:
        if isinstance(found, str):
            bad[entry] = found
            return
        listed, encoding = found
        corpus.add(entry, listed)
        if encoding != "UTF-8":
            odd[encoding].append(entry)

    each(tree, laid.names(), _words_of, keep, text.reason, text.BYTES_MOST)
    refuse(bad, name, "text", skip_bad)
    rows = {split: [(e, label) for e, label in entries if e in corpus.texts] for split, entries in laid.splits.items()}
    if not rows["train"]:
        raise UserError(f"{name} has no readable training text: {first(bad)}")
    column, notes = corpus.column([entry for entry, _ in rows["train"]], name)
    number = {label: i for i, label in enumerate(classes)}
    splits = {}
    for split, entries in rows.items():
        if entries:
            codes = room(split, "text", (len(entries), column.length), column.dtype)
            corpus.write(column, [entry for entry, _ in entries], np.asarray(codes))
            splits[split] = {"text": codes, "label": np.array([number[label] for _, label in entries], np.int64)}
    notes += tuple(f"{count(len(found), 'text')} read as {encoding}: {_some(found)}" for encoding, found in odd.items())
    if bad:
        notes += (skipped(bad, "text"),)
    fields: dict[str, Field] = {"text": column, "label": Category(names=classes)}
    return Decoded(fields=fields, splits=splits, inputs=("text",), targets=("label",), notes=(*laid.notes, *notes))


def _words_of(data: bytes) -> tuple[list[str], str]:
    found, encoding = text.decoded(data)
    return words(found), encoding


def _some(entries: list[str]) -> str:
    return ", ".join(map(line, sorted(entries)[:5])) + ", …" * (len(entries) > 5)
