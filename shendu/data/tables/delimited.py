"""Text tables (CSV and its kin): encoding, delimiter, header and quotes are found out; pyarrow does the parsing.

Cells stay text until cells.py makes something of them, so that no column is judged by its first rows.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from shendu.data import frames
from shendu.data.files import encodings
from shendu.data.frames import COLUMNS_MOST, one_line
from shendu.data.tables.files import DELIMITERS
from shendu.errors import UserError

ONE_COLUMN = "\x1f"
"""The delimiter of a file that has none."""
LINE_MOST = 4 << 20
"""Bytes of the longest line, and of the blocks in which a file is parsed."""
CELL_MOST = 1 << 20
_HEAD, _SAMPLE = 1 << 20, 200
_UNPACKED_MOST, _UNPACKED_SHARE = 1 << 28, 200
"""A gzip file may unpack to the first size, or to that many times its own (text shrinks 5 to 20 times)."""
_NUMBER = re.compile(r"[-+]?[$€£]?\s?\d[\d.,' ]*([eE][-+]?\d+)?\s?[%$€£]?")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ].*)?")
_DECIMAL_COMMA = re.compile(r"-?(\d+,(\d{1,2}|\d{4,})|0,\d+|\d{1,3}(\.\d{3})+,\d+)\s?[%€]?")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a text table is written."""

    names: tuple[str, ...]
    header: bool
    delimiter: str
    encoding: str
    quoted: bool
    skip: int = 0
    """Lines before the header, or before the first row."""
    comma: bool = False
    """Numbers have a decimal comma."""


def layout(
    path: Path, *, names: tuple[str, ...] = (), known: tuple[str, ...] = (), skip: int = 0, encoding: str = ""
) -> Layout:
    """Found out from the whole file (encoding, quotes) and from its first rows (delimiter, header).

    `names`: the columns of a file without header; `known`: the columns that a header is recognised by; `encoding`: as it is said.
    Raises UserError.
    """
    encoding, quotes = _survey(path, encoding)
    text, whole = _head(path, encoding, skip)
    delimiter, rows = _delimiter(text, whole)
    if not any(cell.strip() for row in rows for cell in row):
        raise UserError(f"{path} is empty: expected a header and rows")
    header = not names and _is_header(rows, known)
    found = names or (_titles(rows[0]) if header else tuple(f"column_{i + 1}" for i in range(len(rows[0]))))
    _check_names(found, path)
    if quotes % 2:
        _check_quotes(path, encoding, delimiter)
    if header and len(rows) == 1 and whole:
        raise UserError(f"{path} has only a header ({few(found)}): add rows below it")
    comma = delimiter != "," and any(_DECIMAL_COMMA.fullmatch(cell.strip()) for row in rows for cell in row)
    return Layout(names=found, header=header, delimiter=delimiter, encoding=encoding, quoted=bool(quotes), skip=skip,
                  comma=comma)  # fmt: skip


def read(path: Path, how: Layout, skip_bad: bool = False) -> tuple[pa.Table, int]:
    """(all cells as text, how many ragged rows were left out); raises UserError for a ragged row by its line."""
    ragged: list[int] = []

    def on_ragged(row: Any) -> str:
        ragged.append(row.actual_columns)
        return "skip" if skip_bad else "error"

    read, parse, convert = _options(how, on_ragged)
    try:
        with _stream(path, how.encoding) as stream:
            table = arrow_csv.read_csv(stream, read, parse, convert)
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise _fault(path, how, error) from error
    return _checked(table.rename_columns(how.names), path, how), len(ragged)


def pieces(path: Path, how: Layout, ragged: list[int] | None = None) -> Iterator[pa.Table]:
    """The same block after block, for files of any size; the numbers of ragged rows, counted from 1, go to `ragged` where it is given.

    Raises UserError.
    """

    def on_ragged(row: Any) -> str:
        if ragged is None:
            return "error"
        ragged.append(row.number - how.skip - how.header)
        return "skip"

    read, parse, convert = _options(how, on_ragged)
    read.use_threads = ragged is None  # threads do not know a row's number
    try:
        with _stream(path, how.encoding) as stream, arrow_csv.open_csv(stream, read, parse, convert) as batches:
            for batch in batches:
                if batch.num_rows:
                    yield _checked(pa.Table.from_batches([batch]).rename_columns(how.names), path, how)
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise _fault(path, how, error) from error


def _checked(table: pa.Table, path: Path, how: Layout) -> pa.Table:
    """Cells without the blanks around them, and what the table says of itself.

    Raises UserError for a cell that is no cell but a file, or the rest of one behind an open quote.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        longest = pc.max(pc.binary_length(column)).as_py() or 0
        if longest > CELL_MOST:
            raise UserError(
                f"{path} has a cell of {longest:,} bytes in column {name}: a quote may be open, or it is no table"
            )
    trimmed = [pc.utf8_trim_whitespace(column) for column in table.columns]
    return pa.table(trimmed, names=table.column_names, metadata=_metadata(how))


def _metadata(how: Layout) -> dict[bytes, bytes]:
    return {frames.PARTED: how.delimiter.encode()} | ({frames.COMMA: b","} if how.comma else {})


def _options(how: Layout, on_ragged: Any) -> tuple[Any, Any, Any]:
    keys = [str(i) for i in range(len(how.names))]  # two columns may have one name until that is refused
    return (
        arrow_csv.ReadOptions(
            column_names=keys, skip_rows=how.skip, skip_rows_after_names=int(how.header), block_size=LINE_MOST
        ),
        arrow_csv.ParseOptions(
            delimiter=how.delimiter,
            quote_char='"' if how.quoted else False,
            newlines_in_values=how.quoted,
            invalid_row_handler=on_ragged,
        ),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(keys, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    )


def few(names: tuple[str, ...] | list[str], most: int = 6) -> str:
    """The first names of a long list."""
    return ", ".join(map(one_line, names[:most])) + (", …" if len(names) > most else "")


# ---- bytes -----------------------------------------------------------------------------------------------------------


class _Limited(io.RawIOBase):
    """A gzip file that ends in an error before it fills the memory."""

    def __init__(self, path: Path) -> None:
        self.path, self.file, self.read_so_far = path, gzip.GzipFile(path), 0
        self.most = max(_UNPACKED_MOST, _UNPACKED_SHARE * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.file.read(len(buffer))
        except EOFError:
            raise UserError(f"{self.path} is a truncated gzip file: download or copy it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{self.path} is a damaged gzip file ({error}): download or copy it again") from None
        self.read_so_far += len(data)
        if self.read_so_far > self.most:
            raise UserError(
                f"{self.path} unpacks to more than {self.most >> 20:,} MiB: unpack it yourself and give the file"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def raw(path: Path) -> BinaryIO:
    """The bytes, unpacked where they are gzipped."""
    return io.BufferedReader(_Limited(path), 1 << 20) if is_packed(path) else path.open("rb")


def _stream(path: Path, encoding: str) -> Any:
    stream = pa.PythonFile(raw(path), mode="r") if is_packed(path) else pa.OSFile(str(path))
    return stream if encoding == "utf-8" else pa.transcoding_input_stream(stream, encoding, "utf-8")


def _survey(path: Path, said: str = "") -> tuple[str, int]:
    """(encoding, number of quotes) of the whole file, which is in the encoding that is `said`; raises UserError for what is no text."""
    with raw(path) as file:
        start = file.read(4096)
        encoding = encodings.known(said) if said else _encoding(start, path)
        valid, unicode, quotes = _Valid(encoding), _Valid("utf-8"), 0
        piece = start
        while piece:
            quotes += piece.count(b'"')
            if b"\0" in piece and not encoding.startswith(("utf-16", "utf-32", "utf_")):
                raise UserError(f"{path} holds NUL bytes, so it is no text: export the table as CSV again")
            valid.add(piece)
            if said:
                unicode.add(piece)
            piece = file.read(1 << 20)
    if said and encoding != "utf-8" and unicode.is_so() and not unicode.plain:
        raise UserError(f"{path} is UTF-8 text, and --encoding {said} is said: write --encoding utf-8")
    if valid.is_so():
        return encoding, quotes
    if said:
        raise UserError(f"{path} is no text in {said}: {encodings.REFUSED}")
    if encoding != "utf-8":
        raise UserError(
            f"{path} is damaged {encoding.upper()} text (it may have been cut): copy it again, or save it as UTF-8"
        )
    return _western(path), quotes


class _Valid:
    """Whether the pieces of a text are all of an encoding, and of ASCII alone."""

    def __init__(self, encoding: str) -> None:
        self.decoder, self.valid, self.plain = codecs.getincrementaldecoder(encoding)(), True, True

    def add(self, piece: bytes, final: bool = False) -> None:
        self.plain = self.plain and piece.isascii()
        try:
            self.decoder.decode(piece, final=final)
        except UnicodeError:
            self.valid = False

    def is_so(self) -> bool:
        """At the text's end."""
        self.add(b"", final=True)
        return self.valid


def _encoding(start: bytes, path: Path) -> str:
    """utf-8 or utf-16 by the first bytes; raises UserError for binary data."""
    if start[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        raise UserError(f"{path} is UTF-32 text: save it as UTF-8")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    for encoding, at in (("utf-16-le", 1), ("utf-16-be", 0)):
        if len(start) > 3 and start[at::2].count(0) > 0.7 * len(start) / 2 and not start[1 - at :: 2].count(0):
            return encoding
    for magic, what in _BINARY.items():
        if start.startswith(magic):
            raise UserError(f"{path} is no table but {what}: give a CSV, Parquet or JSONL file")
    control = sum(byte < 9 or 13 < byte < 32 for byte in start) - start.count(0)
    if control > 0.02 * len(start):
        raise UserError(f"{path} is no table but binary data: give a CSV, Parquet or JSONL file")
    return "utf-8"


_BINARY = {
    b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture", b"RIFF": "a sound or video",
    b"%PDF": "a PDF document", b"\xd0\xcf\x11\xe0": "an old Excel file (.xls)", b"SQLite": "an SQLite database",
    b"PK\x03\x04": "a zip archive", b"7z\xbc\xaf": "a 7z archive", b"BZh": "a bzip2 file", b"\xfd7zXZ": "an xz file",
    b"(\xb5/\xfd": "a zstd file", b"\x80\x04\x95": "a Python pickle", b"\x93NUMPY": "a NumPy array", b"\x7fELF": "a program",
}  # fmt: skip


def _western(path: Path) -> str:
    """cp1252 where every byte means something in it, and its words are those of a Western language; raises UserError."""
    letters = encodings.Letters()
    with raw(path) as file:
        while piece := file.read(1 << 20):
            letters.add(piece)
            if bad := re.search(rb"[\x81\x8d\x8f\x90\x9d]", piece):
                raise UserError(
                    f"{path} is neither UTF-8, UTF-16 nor cp1252 text (byte 0x{bad[0].hex()}): {encodings.REFUSED}"
                )
    if not letters.are_western:
        raise UserError(
            f"{path} is no UTF-8 text, and by its letters no Western European text (cp1252): {encodings.REFUSED}"
        )
    return "cp1252"


def _head(path: Path, encoding: str, skip: int) -> tuple[str, bool]:
    """(the first MiB as text, whether that is all)."""
    with raw(path) as file:
        start = file.read(_HEAD)
        whole = not file.read(1)
    text = start.decode("utf-8-sig" if encoding == "utf-8" else encoding, "ignore")
    return text.split("\n", skip)[-1] if skip else text, whole


# ---- structure -------------------------------------------------------------------------------------------------------


def _delimiter(text: str, whole: bool) -> tuple[str, list[list[str]]]:
    """(delimiter, the first rows): of those that part the rows, the one that does it most evenly."""
    found, best = (ONE_COLUMN, _rows(text, ONE_COLUMN, whole)), 0.5
    for delimiter in DELIMITERS:
        rows = _rows(text, delimiter, whole)
        if not rows or len(rows[0]) < 2:
            continue
        even = Counter(map(len, rows))[len(rows[0])] / len(rows)
        if even > best:
            found, best = (delimiter, rows), even
    return found


def _rows(text: str, delimiter: str, whole: bool) -> list[list[str]]:
    """Up to 200 rows of a file's beginning; the last one of a part may be cut, so it is left out."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > _SAMPLE:
                break
    except csv.Error:
        return rows
    return rows[:_SAMPLE] if whole or len(rows) > _SAMPLE or len(rows) < 2 else rows[:-1]


def _is_header(rows: list[list[str]], known: tuple[str, ...]) -> bool:
    """Whether the first row holds names: none of its cells is a number or a date, and none stands below it again."""
    first, below = [cell.strip() for cell in rows[0]], rows[1:]
    if known and len(set(known) & set(first)) * 2 >= len(known):
        return True
    if any(_is_value(cell) for cell in first) or not any(first):
        return False
    columns = [[row[i].strip() for row in below if i < len(row)] for i in range(len(first))]
    if any(column and sum(map(_is_value, column)) > len(column) / 2 for column in columns):
        return True
    return not any(cell in column for cell, column in zip(first, columns, strict=True) if cell)


def _is_value(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell.strip()) or _DATE.fullmatch(cell.strip())) or cell.strip() in (
        "?",
        "NA",
        "NaN",
        "nan",
    )


def _titles(row: list[str]) -> tuple[str, ...]:
    """Names from a header; a column without one is the index that was written along, or has its number as a name."""
    names = [one_line(cell) for cell in row]
    return tuple(
        name or ("index" if i == 0 and "index" not in names else f"column_{i + 1}") for i, name in enumerate(names)
    )


def _check_names(names: tuple[str, ...], path: Path) -> None:
    if len(names) > COLUMNS_MOST:
        raise UserError(
            f"{path} has {len(names):,} columns, more than the {COLUMNS_MOST:,} that are read: leave some out"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"{path} has {names.count(twice[0])} columns named '{twice[0]}': give each column a name of its own"
        )


# ---- faults ----------------------------------------------------------------------------------------------------------


def _lines(path: Path, how_encoding: str) -> Iterator[str]:
    return io.TextIOWrapper(raw(path), "utf-8-sig" if how_encoding == "utf-8" else how_encoding, newline="")


def _check_quotes(path: Path, encoding: str, delimiter: str) -> None:
    """Raises UserError where a quote is opened and never closed: all that follows would be one cell."""
    lines = csv.reader(_lines(path, encoding), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for _ in lines:
            begins = lines.line_num + 1
    except csv.Error as error:
        if "end of data" in str(error) or "limit" in str(error):
            raise UserError(
                f'{path} has a quote (") in line {begins:,} that is never closed: close it, or double it'
            ) from None


def _fault(path: Path, how: Layout, error: Exception) -> UserError:
    """What pyarrow stumbled over, by its line."""
    if "straddl" in str(error) or "block_size" in str(error):
        line = next((i for i, text in enumerate(_lines(path, how.encoding), 1) if len(text) > LINE_MOST // 4), None)
        where = f"line {line:,}" if line else "a row"
        return UserError(
            f"{path} has {where} longer than {LINE_MOST >> 20} MiB: a quote may be open, or it is no table"
        )
    rows = csv.reader(
        _lines(path, how.encoding), delimiter=how.delimiter, quoting=csv.QUOTE_MINIMAL if how.quoted else csv.QUOTE_NONE
    )
    begins = 1
    try:
        for number, row in enumerate(rows):
            if row and number >= how.skip and len(row) != len(how.names):
                return UserError(
                    f"{path} has {len(row)} cells in line {begins:,} but {len(how.names)} columns: "
                    "correct the line, or leave such rows out with --skip-bad"
                )
            begins = rows.line_num + 1
    except csv.Error:
        pass
    return UserError(f"{path} cannot be read as a table ({str(error).splitlines()[0][:160]}): export it as CSV again")
