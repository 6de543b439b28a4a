"""predict: inputs in, labels with probabilities (or values) out; in pieces, so that no input is too large.

Shape letters: B rows of a piece.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from shendu import config
from shendu.errors import UserError, near
from shendu.options import AS_JSON, DEVICE, OPENS, PRECISION, echo, emit, table
from shendu.pages.display import aside
from shendu.predictor import Answered
from shendu.reading import Reading
from shendu.saved import Saved, opened
from shendu.shown import cell, line, plain

ORDER = 60
PUBLIC = ("predict",)
SOME_UNREAD = 3
"""The exit code where some inputs could not be read."""
ROWS_SHOWN = 20
"""Predictions that are printed; a file takes them all."""


@dataclass
class Unread:
    """The rows of a call that cannot be read."""

    rows: int = 0
    first: str = ""

    def add(self, piece: Answered) -> None:
        bad = piece.bad or {}
        self.rows += len(bad)
        self.first = self.first or next((f"{line(piece.names[i])} ({why})" for i, why in bad.items()), "")

    def told(self, skipped: bool) -> str:
        """A line about them; empty where there are none."""
        count = f"{self.rows:,} input{'s' * (self.rows != 1)} cannot be read"
        it = "it" if self.rows == 1 else "them"
        more = "left out" if skipped else f"named with the reason (--skip-bad leaves {it} out)"
        return f"{count}, {more}; the first is {self.first}" if self.rows else ""


def predict(
    run: Saved | str | Path,
    *inputs: Any,
    skip_bad: bool = False,
    device: str = "auto",
    precision: str = "auto",
    strict: bool = False,
    encoding: str = "",
    sheet: str = "",
    say: Callable[[str], None] = aside,
) -> list[dict[str, Any]]:
    """One entry per row: `input`, and `label`, `probability`, `probabilities` (or `value`, or several `values`).

    An input is what the run's kind of data is made of, in any form that training takes: a picture, recording or text file, a
    folder or an archive of them, a table (its columns are found by name; its cells may be pictures), a text, an array, an open
    file, a list of these, a known set's name. A label is the text that it was in a file, or the Python value that it was: a text,
    number, truth, Decimal, date, time, timedelta or datetime (which pandas' Timestamps and the beginnings of Periods become). A
    file among others that cannot be read is an entry with `error`, why; with `skip_bad` it is left out. `say` is told of these,
    of what is left aside, once a warning about the answers, and how many cells of each column cannot be read and count as missing;
    `strict`: such cells are an error. `encoding` and `sheet` are those of text and Excel tables, where they are others than in
    training. Raises UserError, also where nothing can be read.
    """
    parts = predictions(
        run,
        *inputs,
        skip_bad=skip_bad,
        device=device,
        precision=precision,
        strict=strict,
        encoding=encoding,
        sheet=sheet,
        say=say,
    )
    return list(itertools.chain.from_iterable(parts))


def predictions(
    run: Saved | str | Path,
    *inputs: Any,
    skip_bad: bool = False,
    device: str = "auto",
    precision: str = "auto",
    strict: bool = False,
    encoding: str = "",
    sheet: str = "",
    say: Callable[[str], None] = aside,
    unread: Unread | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """The same as `predict`, in lists of some rows: for what does not fit into memory. Raises UserError on the way."""
    for piece in pieces(run, inputs, skip_bad, device, precision, strict, encoding, sheet, say, unread):
        yield piece.rows()


def write(
    run: Saved | str | Path,
    *inputs: Any,
    out: str | Path,
    skip_bad: bool = False,
    device: str = "auto",
    precision: str = "auto",
    strict: bool = False,
    encoding: str = "",
    sheet: str = "",
    say: Callable[[str], None] = aside,
    unread: Unread | None = None,
) -> tuple[Path, int]:
    """Predictions into a .csv, .jsonl or .parquet file, which is there whole or not at all; (its path, rows).

    One row per input row in the same order: its id, number or file, then `label`, `probability` and a `p_<class>` for
    each of up to 50 classes, or `value`; of files also `error`, why one cannot be read. In a .csv, text that a spreadsheet
    would take for a formula begins with an apostrophe. Raises UserError.
    """
    path = Path(out)
    kind = check_out(path, inputs)
    rows = 0
    with whole(path) as temporary, WRITERS[kind](temporary) as put:
        for piece in pieces(run, inputs, skip_bad, device, precision, strict, encoding, sheet, say, unread):
            put(piece)
            rows += len(piece.names)
    return path, rows


def pieces(
    run: Saved | str | Path,
    inputs: tuple[Any, ...],
    skip_bad: bool,
    device: str,
    precision: str,
    strict: bool,
    encoding: str,
    sheet: str,
    say: Callable[[str], None],
    unread: Unread | None = None,
) -> Iterator[Answered]:
    """The model's answers to all inputs, some thousand rows at a time; a warning about them is said once."""
    found = opened(run)
    if not inputs:
        raise UserError(f"nothing to predict: shendu predict {found.path} INPUT")
    kept = config.from_json(Reading, found.recipe["data"]["reading"])
    reading = Reading(skip_bad=skip_bad, encoding=encoding or kept.encoding, sheet=sheet or kept.sheet)
    predictor, nothing, bad = found.predictor(device, precision), True, unread or Unread()
    for answered in predictor.answers(*inputs, reading=reading, say=say, strict=strict):
        nothing = False
        bad.add(answered)
        yield answered.readable() if skip_bad else answered
    if nothing:
        given = (str(one) if isinstance(one, str | Path) else f"this {type(one).__name__}" for one in inputs)
        raise UserError(f"nothing to predict: {', '.join(given)[:200]} holds no rows")
    if told := bad.told(skip_bad):
        say(told)


# ---- files -----------------------------------------------------------------------------------------------------------

Put = Callable[[Answered], None]


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[Put]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer, begun, head = csv.writer(file, lineterminator="\n"), False, list[str]()

        def put(piece: Answered) -> None:
            nonlocal begun, head
            columns = piece.columns()
            head = same_columns(head, list(columns))
            if not begun:
                writer.writerow(map(cell, columns))
            begun = True
            writer.writerows(zip(*map(cells_of, columns.values()), strict=True))

        yield put


@contextlib.contextmanager
def _jsonl(path: Path) -> Iterator[Put]:
    with path.open("w", encoding="utf-8") as file:

        def put(piece: Answered) -> None:
            file.writelines(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in piece.rows())

        yield put


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Put]:
    import pyarrow
    from pyarrow import parquet

    with contextlib.ExitStack() as stack:
        writers: list[parquet.ParquetWriter] = []

        def put(piece: Answered) -> None:
            table = pyarrow.table(piece.columns())
            if writers:
                same_columns(writers[0].schema.names, table.column_names)
            else:
                writers.append(stack.enter_context(parquet.ParquetWriter(path, table.schema)))
            writers[0].write_table(table.cast(writers[0].schema))

        yield put


def cells_of(column: Any) -> list[Any]:
    """A column's values as they are written: numbers with their digits, text as a spreadsheet takes it, nothing where there is none."""
    if isinstance(column, np.ndarray):
        there = ~np.ma.getmaskarray(column)
        return [
            word if here else ""
            for word, here in zip(np.asarray(column).astype(str).tolist(), there.tolist(), strict=True)
        ]
    return [cell(value) if isinstance(value, str) else value for value in column]


def same_columns(before: list[str], now: list[str]) -> list[str]:
    """The columns of a file; raises UserError where inputs have others than those before them."""
    if before and before != now:
        other = next(pair for pair in zip(before, now, strict=False) if pair[0] != pair[1])
        raise UserError(
            f"the inputs differ: the rows of one are called by {other[0]}, of another by {other[1]}; predict each into a file of its own"
        )
    return now


WRITERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
"""Suffix -> what writes it."""


def check_out(path: Path, inputs: Iterable[Any]) -> str:
    """The kind of a file of predictions; raises UserError for one that could not be written, before time is spent."""
    kind = path.suffix.lower()
    if path.is_dir():
        raise UserError(f"--out {path} is a folder; name a file in it, like {path / 'predictions.csv'}")
    if kind not in WRITERS:
        known = ", ".join(WRITERS)
        hint = near(kind, WRITERS) if len(kind) > 1 else ""
        hint = hint if "did you mean" in hint else f"; write it like {path.stem or 'predictions'}.csv"
        raise UserError(f"--out {path} is none of {known}{hint}")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}; make it, or choose another file")
    for given in inputs:
        if isinstance(given, str | Path) and os.path.exists(given) and path.exists() and os.path.samefile(given, path):
            raise UserError(f"--out {path} is the input itself; choose another file")
    return kind


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary file beside a path, which takes its place at the end; gone where something fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.touch()
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); choose another file with --out") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.argument("inputs", nargs=-1)
@click.option("--out", metavar="FILE", help="Write all rows into a .csv, .jsonl or .parquet file.")
@click.option("--skip-bad", is_flag=True, help="Leave unreadable files and rows out, and count them.")
@DEVICE
@PRECISION
@click.option("--strict", is_flag=True, help="Table: a cell that cannot be read is an error.")
@click.option(
    "--encoding", metavar="NAME", default="", help="Table: how a text file's letters are written (as in training)."
)
@click.option("--sheet", metavar="NAME", default="", help="Table: which sheet of an Excel file (as in training).")
@AS_JSON
@OPENS
def command(run: str, inputs: tuple[str, ...], out: str | None, as_json: bool, **options: Any) -> None:
    """What RUN says of INPUTS: files as it was trained on, folders and archives of them, tables, a text, .npy arrays.

    Files that cannot be read are named with the reason, and the exit code is then 3.

    \b
    shendu predict runs/2026-11-22_tabm_people_1 new.csv --out predictions.csv
    shendu predict runs/2026-11-22_resnet_photos_1 cat.jpg holiday/ more.zip
    """
    unread = Unread()
    if out:
        path, rows = write(run, *inputs, out=out, unread=unread, **options)
        echo(f"{rows:,} row{'s' * (rows != 1)} -> {path}")
    elif as_json:
        emit(list(itertools.chain.from_iterable(predictions(run, *inputs, unread=unread, **options))))
    else:
        show(predictions(run, *inputs, unread=unread, **options))
    if unread.rows and not options["skip_bad"]:
        raise click.exceptions.Exit(SOME_UNREAD)


def show(parts: Iterator[list[dict[str, Any]]]) -> None:
    """The first rows as a table, and how many more there are."""
    shown: list[dict[str, Any]] = []
    count = 0
    for part in parts:
        shown += part[: max(0, ROWS_SHOWN - count)]
        count += len(part)
    answered = next((row for row in shown if "error" not in row), {"input": "", "error": ""})
    table([heads_of(answered), *(words_of(row, heads_of(answered)) for row in shown)])
    if count > len(shown):
        echo(f"… and {count - len(shown):,} more (--out predictions.csv writes all)")


def heads_of(row: dict[str, Any]) -> list[str]:
    """What stands above a prediction's cells."""
    if "label" in row:
        return ["input", "label", "probability"]
    return ["input", "value"] if row.keys() & {"value", "values"} else list(row)


def words_of(row: dict[str, Any], heads: Sequence[str] = ("input", "error")) -> list[str]:
    """A prediction as cells; why a row cannot be read stands in the last one under `heads`."""
    if "error" in row:
        return [row["input"], *[""] * (len(heads) - 2), f"cannot be read: {row['error']}"]
    if "label" in row:
        return [row["input"], str(row["label"]), f"{row['probability']:.4f}"]
    if "embedding" in row:
        return [row["input"], ", ".join(f"{v:.3f}" for v in row["embedding"][:6]) + ", …"]
    if not row.keys() & {"value", "values"}:
        return [
            f"{v:.6g}" if isinstance(v, float) else str(v).lower() if isinstance(v, bool) else v for v in row.values()
        ]
    return [row["input"], ", ".join(map(number, row.get("values", [row.get("value")])))]


def number(value: float) -> str:
    """To six digits; with all of them where it is no float32, since those are the digits that differ."""
    return f"{value:.6g}" if float(np.float32(value)) == value or not math.isfinite(value) else f"{value:.15g}"
