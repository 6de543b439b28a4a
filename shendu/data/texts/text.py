"""Texts: the words of each, coded by a vocabulary; from .txt files in class folders, or from a table's column.

A table of which a column of free text is the only input calls `column(values, name)`, which gives the `Text` column and its
notes, and then `encode(values, column)`, which gives int32 [N, length]; both take lists of str (None: missing) or a pyarrow
array.

Shape letters: N rows, L words kept of a text, B batch.
"""

from __future__ import annotations

import codecs
import html
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shendu.data.columns import Category, files_of
from shendu.data.files.archive import Tree
from shendu.data.files.cache import Decoded, Room
from shendu.data.files.layout import KINDS, Plan, count, each, first, printable, refuse, skipped
from shendu.data.tables.row import Column, Row
from shendu.errors import UserError, near
from shendu.field import Field

if TYPE_CHECKING:
    from torch import Tensor

    from shendu.field import Batch

PADDING, UNKNOWN, KNOWN = 0, 1, 2
"""Codes: no word, a word that is not in the vocabulary, the vocabulary's first word."""
VOCABULARY_MOST, SEEN_LEAST = 50_000, 2
"""A vocabulary's most frequent words, and how often a word is seen at least."""
WORDS_MOST, SHARE_WHOLE = 1024, 0.98
"""So many words of a text are kept as this share of the training texts has, at most so many."""
CHARACTERS_MOST, BYTES_MOST, SHOWN = 100_000, 1 << 20, 300
"""Of a text only the beginning is looked at, of its file too; and less is shown."""
STRANGE = 0.5
"""Texts of whose words more than this share is unknown are not in the language that was learned."""
FILES = "text"
"""The column of a table that is given to a model of texts in files."""

_ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3005\u3041-\u3096\u30a1-\u30fa\u30fc"
    "\u3400-\u4dbf\u4e00-\u9fff\U0001f300-\U0001faff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana, Han (written without spaces) and pictographs: each character is a word."""
_LETTERS = r"\w\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
"""With accents, vowel points and the scripts of India, whose vowel signs are no letters to Python's `\\w`."""
_SINGLE = re.compile(f"[{_ALONE}]")
_WORD = re.compile(f"[{_LETTERS}]{{1,40}}(?:'[{_LETTERS}]{{1,40}})*|[{_ALONE}]|[!?]")
_PLAIN_WORD = re.compile(r"[a-z0-9]{1,40}(?:'[a-z0-9]{1,40})*|[!?]")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_CONTROL = re.compile("[\x00-\x07\x0e-\x19\x1c-\x1f\x7f]")


def words(text: str) -> list[str]:
    """A text's words: lower case, numbers too, ! and ? as words of their own, HTML tags left out."""
    text = text[:CHARACTERS_MOST]
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "&" in text:
        text = html.unescape(text)
    if text.isascii():
        return _PLAIN_WORD.findall(text.lower())
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("_", " ").lower()
    return _WORD.findall(_SINGLE.sub(r" \g<0> ", text))


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """Texts as codes of words: int32 [N, length]; 0 padding, 1 unknown, 2 + i for names[i]."""

    kind: ClassVar[str] = "text"
    words: ClassVar[str] = "texts"
    explains: ClassVar[str] = "marks"
    dtype: ClassVar[str] = "int32"

    names: tuple[str, ...] = field(repr=False)
    """The vocabulary, most frequent word first."""
    length: int
    """Words kept of a text; of a longer one, its beginning."""
    column: str = ""
    """The table's column; empty: texts are files."""

    @property
    def stored(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def codes(self) -> int:
        """How many codes there are: the vocabulary, padding and unknown."""
        return len(self.names) + KNOWN

    @cached_property
    def _code(self) -> dict[str, int]:
        return {name: i + KNOWN for i, name in enumerate(self.names)}

    def store(self, raw: Any) -> np.ndarray:
        """From a text, a .txt file (a Path), a list of texts, or a table or dict that has the column."""
        if isinstance(raw, Path):
            return encode([read_text(raw)], self)
        if isinstance(raw, str):
            return encode([raw], self)
        if hasattr(raw, "detach") or isinstance(raw, np.ndarray):
            return self._stored_rows(raw.detach().cpu().numpy() if hasattr(raw, "detach") else raw)
        return encode(self._texts(raw), self)

    def _stored_rows(self, array: np.ndarray) -> np.ndarray:
        """An array of texts, or of codes as they are stored."""
        if array.dtype.kind in "UO":
            return encode(array.reshape(-1).tolist(), self)
        if array.ndim == 1:
            array = array[None]
        fits = array.dtype.kind in "iu" and array.shape[1:] == self.stored
        if not fits or (array.size and not 0 <= array.min() <= array.max() < self.codes):
            raise UserError(
                f"the model takes texts, or their words' codes as integers [n, {self.length}] from 0 to "
                f"{self.codes - 1}; this array is {array.dtype} {list(array.shape)}"
            )
        return array.astype(np.int32)

    def _texts(self, raw: Any) -> Any:
        """The column of a table or dict, as a list; a list as it is. Raises UserError."""
        if _is_table(raw):
            names = [str(name) for name in getattr(raw, "column_names", None) or getattr(raw, "columns", raw)]
            column = self.column or FILES
            if column not in names:
                raise UserError(f"there is no column '{column}', which the model reads{near(column, names)}")
            raw = raw[column]
        for turn in ("to_pylist", "to_list", "tolist"):
            if hasattr(raw, turn):
                raw = getattr(raw, turn)()
        return [raw] if isinstance(raw, str) else raw

    def items(self, given: Any) -> Iterator[tuple[list[str], Any]]:
        """A .txt file, a folder of them, a table with the column; a word that is no path is the text itself."""
        from shendu.data.tables import table

        if isinstance(given, str) and not _is_path(given, table.SUFFIXES):
            yield [given if len(given) <= 40 else given[:39] + "…"], given
        elif isinstance(given, str | Path) and Path(given).suffix.lower() not in table.SUFFIXES:
            for names, path in files_of(given, tuple(sorted(KINDS["text"])), "texts"):
                yield names, Path(path)
        elif isinstance(given, str | Path) or _is_table(given):
            wanted = Row(columns=(Column(name=self.column or FILES, kind="text"),))
            yield from table.pieces(given, wanted)
        else:
            yield [type(given).__name__], given

    def warning(self, own: dict[str, np.ndarray]) -> str:
        """A line where most words of stored rows [N, length] are not in the vocabulary; else empty."""
        rows = own[""]
        words, unknown = int((rows != PADDING).sum()), int((rows == UNKNOWN).sum())
        if unknown <= STRANGE * words:
            return ""
        return f"{unknown / words:.0%} of the words are none that the model has learned, so its answers say little"

    @property
    def units(self) -> int:
        return self.length

    def hide(self, own: Batch, keep: Tensor, other: Batch | None = None) -> Batch:
        """Words are taken away: code 0."""
        return {"": own[""].masked_fill(~keep, 0) if other is None else own[""].where(keep, other[""])}

    def unit_names(self, own: dict[str, np.ndarray]) -> list[str]:
        return [
            "" if code == PADDING else self.names[code - KNOWN] if code >= KNOWN else "…" for code in own[""].tolist()
        ]

    def show(self, own: dict[str, np.ndarray]) -> str:
        """The words again, without what the vocabulary lacks (…), cut to a few lines."""
        row, shown = own[""], list[str]()
        for code in row[row != PADDING].tolist():
            word = self.names[code - KNOWN] if code >= KNOWN else "…"
            if not (word == "…" and shown[-1:] == ["…"]):
                shown.append(word)
            if sum(map(len, shown)) + len(shown) > SHOWN:
                return " ".join(shown[:-1]) + " …"
        return " ".join(shown)

    def example(self, n: int) -> Batch:
        import torch

        generator = torch.Generator().manual_seed(n)
        return {"": torch.randint(UNKNOWN, self.codes, (n, self.length), generator=generator, dtype=torch.int32)}


def _is_path(word: str, tables: Collection[str]) -> bool:
    """Whether a word on the command line names a file: it is there, or it could be nothing else."""
    try:
        there = os.path.exists(word)
    except (OSError, ValueError):
        return False
    ending = os.path.splitext(word)[1].lower()
    return there or (not re.search(r"\s", word) and ("/" in word or ending in KINDS["text"] or ending in tables))


def _is_table(raw: Any) -> bool:
    return isinstance(raw, Mapping) or hasattr(raw, "column_names") or hasattr(raw, "columns")


# ---- a vocabulary and its codes --------------------------------------------------------------------------------------


def column(values: Any, name: str = "") -> tuple[Text, tuple[str, ...]]:
    """The column of training texts, and what was decided; raises UserError where they hold no word."""
    counts: Counter[str] = Counter()
    lengths = []
    for text in _strings(values):
        found = words(text)
        counts.update(found[:WORDS_MOST])
        lengths.append(len(found))
    return _column(counts, lengths, name, f"column {name}")


def encode(values: Any, column: Text) -> np.ndarray:
    """Codes of texts' words, int32 [N, length]."""
    code, length = column._code.get, column.length
    rows = np.zeros((len(values), length), np.int32)
    for i, text in enumerate(_strings(values)):
        found = words(text)[:length]
        rows[i, : len(found)] = list(map(code, found, repeat(UNKNOWN)))
    return rows


def _strings(values: Any) -> Iterator[str]:
    """The texts of a list, or of a pyarrow array piece by piece; what is missing is an empty text."""
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE]
        for value in piece.to_pylist() if hasattr(piece, "to_pylist") else piece:
            yield value if isinstance(value, str) else "" if value is None or value != value else str(value)


def _column(counts: Mapping[str, int], lengths: list[int], name: str, where: str) -> tuple[Text, tuple[str, ...]]:
    if not counts:
        raise UserError(
            f"{where} holds no word in its training texts: there is nothing to learn from, give other texts"
        )
    known = [word for word, times in counts.items() if times >= SEEN_LEAST] or list(counts)
    known = sorted(known, key=lambda word: (-counts[word], word))[:VOCABULARY_MOST]
    cut = "most frequent words" if len(known) == VOCABULARY_MOST else "words seen twice or more"
    notes = [f"vocabulary{f' of column {name}' if name else ''}: the {len(known):,} {cut} in the training texts"]
    length = int(min(WORDS_MOST, max(1, np.ceil(np.percentile(lengths, 100 * SHARE_WHOLE)))))
    longer = sum(one > length for one in lengths)
    if longer:
        why = f"at most {length:,} are kept" if length == WORDS_MOST else f"{SHARE_WHOLE:.0%} are no longer"
        notes.append(f"{longer:,} of {count(len(lengths), 'training text')} cut to their first {length:,} words: {why}")
    return Text(names=tuple(known), length=length, column=name), tuple(notes)


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
        codes = np.fromiter(map(column._code.get, self.number, repeat(UNKNOWN)), np.int32, len(self.number))
        for row, entry in zip(rows, entries, strict=True):
            numbers = self.texts[entry][0][: column.length]
            row[: len(numbers)] = codes[numbers]


def read(tree: Tree, laid: Plan, name: str, room: Room, skip_bad: bool = False) -> Decoded:
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

    each(tree, laid.names(), _words_of, keep, _reason, BYTES_MOST)
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
    return Decoded(fields=fields, splits=splits, input="text", target="label", notes=(*laid.notes, *notes))


def read_text(path: Path) -> str:
    """A text file's beginning; raises UserError where it is none."""
    try:
        with path.open("rb") as file:
            return decoded(file.read(BYTES_MOST))[0]
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {_reason(error)}; give a text file in UTF-8") from None


def decoded(data: bytes) -> tuple[str, str]:
    """(the text, its encoding) of a file's bytes, the last character of which may be cut; raises ValueError for no text.

    UTF-8, UTF-16 and UTF-32 by their mark or by where their zeros are; what is none of them is Windows-1252.
    """
    if not data:
        raise ValueError("an empty file")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "") or _by_zeros(data)
    try:
        text = codecs.getincrementaldecoder(encoding or "utf-8")().decode(data)
    except UnicodeDecodeError:
        if encoding:
            raise ValueError(f"no valid {_CALLED[encoding]}") from None
        encoding = "cp1252"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            raise ValueError("neither UTF-8 nor Windows-1252 text") from None
    text = text.removeprefix("\ufeff")
    if len(_CONTROL.findall(text[:_LOOKED_AT])) > len(text[:_LOOKED_AT]) / 100:
        raise ValueError("not a text but binary data")
    if not text.strip():
        raise ValueError("nothing but white space")
    return text, _CALLED[encoding]


_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_CALLED = {"": "UTF-8", "utf-32": "UTF-32", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16",
           "cp1252": "Windows-1252"}  # fmt: skip
_LOOKED_AT, _PIECE = 4096, 4096


def _by_zeros(data: bytes) -> str:
    """UTF-16 without its mark: most of every second byte are zeros, and hardly any of the others."""
    even, odd = (data[i:_LOOKED_AT:2].count(0) / max(1, len(data[i:_LOOKED_AT:2])) for i in (0, 1))
    if odd > 0.4 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 and odd < 0.1 else ""


def _words_of(data: bytes) -> tuple[list[str], str]:
    text, encoding = decoded(data)
    return words(text), encoding


def _some(entries: list[str]) -> str:
    return ", ".join(map(printable, sorted(entries)[:5])) + ", …" * (len(entries) > 5)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
