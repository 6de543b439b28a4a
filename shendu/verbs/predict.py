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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from shendu.errors import UserError, near
from shendu.options import AS_JSON, DEVICE, OPENS, PRECISION, emit, table
from shendu.pages.display import aside
from shendu.predictor import Answered
from shendu.saved import Saved, opened

ORDER = 60
PUBLIC = ("predict",)
ROWS_SHOWN = 20
"""Predictions that are printed; a file takes them all."""


def predict(
    run: Saved | str | Path,
    *inputs: Any,
    device: str = "auto",
    precision: str = "auto",
    strict: bool = False,
    say: Callable[[str], None] = aside,
) -> list[dict[str, Any]]:
    """One entry per row: `input`, and `label`, `probability`, `probabilities` (or `value`, or several `values`).

    An input is what the run's kind of data is made of: a picture, recording or text file, a folder of them, a table
    (its columns are found by name), a text, an array. A label is the text that it was in a file, or the Python value
    that it was. `say` is told, once, a warning about the answers, and how many cells of each column cannot be read and
    count as missing; `strict`: they are an error. Raises UserError.
    """
    parts = predictions(run, *inputs, device=device, precision=precision, strict=strict, say=say)
    return list(itertools.chain.from_iterable(parts))


def predictions(
    run: Saved | str | Path,
    *inputs: Any,
    device: str = "auto",
    precision: str = "auto",
    strict: bool = False,
    say: Callable[[str], None] = aside,
) -> Iterator[list[dict[str, Any]]]:
    """The same as `predict`, in lists of some rows: for what does not fit into memory. Raises UserError on the way."""
    for piece in pieces(run, inputs, device, precision, say, strict):
        yield piece.rows()


def write(
    run: Saved | str | Path,
    *inputs: Any,
    out: str | Path,
    device: str = "auto",
    precision: str = "auto",
    strict: bool = False,
    say: Callable[[str], None] = aside,
) -> tuple[Path, int]:
    """Predictions into a .csv, .jsonl or .parquet file, which is there whole or not at all; (its path, rows).

    One row per input row in the same order: its id, number or file, then `label`, `probability` and a `p_<class>` for
    each of up to 50 classes, or `value`. Raises UserError.
    """
    path = Path(out)
    kind = check_out(path, inputs)
    rows = 0
    with whole(path) as temporary, WRITERS[kind](temporary) as put:
        for piece in pieces(run, inputs, device, precision, say, strict):
            put(piece)
            rows += len(piece.names)
    return path, rows


def pieces(
    run: Saved | str | Path,
    inputs: tuple[Any, ...],
    device: str,
    precision: str,
    say: Callable[[str], None],
    strict: bool = False,
) -> Iterator[Answered]:
    """The model's answers to all inputs, some thousand rows at a time; a warning about them is said once."""
    found = opened(run)
    if not inputs:
        raise UserError(f"nothing to predict: shendu predict {found.path} INPUT")
    predictor, nothing = found.predictor(device, precision), True
    for answered in predictor.answers(*inputs, say=say, strict=strict):
        nothing = False
        yield answered
    if nothing:
        raise UserError(f"nothing to predict: {', '.join(map(str, inputs))[:200]} holds no rows")


# ---- files -----------------------------------------------------------------------------------------------------------

Put = Callable[[Answered], None]


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[Put]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer, begun = csv.writer(file, lineterminator="\n"), False

        def put(piece: Answered) -> None:
            nonlocal begun
            columns = piece.columns()
            if not begun:
                writer.writerow(columns)
            begun = True
            words = [c.astype(str).tolist() if isinstance(c, np.ndarray) else c for c in columns.values()]
            writer.writerows(zip(*words, strict=True))

        yield put


@contextlib.contextmanager
def _jsonl(path: Path) -> Iterator[Put]:
    with path.open("w", encoding="utf-8") as file:

        def put(piece: Answered) -> None:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in piece.rows())

        yield put


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Put]:
    import pyarrow
    from pyarrow import parquet

    with contextlib.ExitStack() as stack:
        writers: list[parquet.ParquetWriter] = []

        def put(piece: Answered) -> None:
            table = pyarrow.table(piece.columns())
            if not writers:
                writers.append(stack.enter_context(parquet.ParquetWriter(path, table.schema)))
            writers[0].write_table(table)

        yield put


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
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); choose another file with --out") from None
    finally:
        temporary.unlink(missing_ok=True)


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("run")
@click.argument("inputs", nargs=-1)
@click.option("--out", metavar="FILE", help="Write all rows into a .csv, .jsonl or .parquet file.")
@DEVICE
@PRECISION
@click.option("--strict", is_flag=True, help="Table: a cell that cannot be read is an error.")
@AS_JSON
@OPENS
def command(run: str, inputs: tuple[str, ...], out: str | None, as_json: bool, **options: Any) -> None:
    """What RUN says of INPUTS: picture, recording or text files, folders of them, tables, a text, .npy arrays.

    \b
    shendu predict runs/2026-11-22_tabm_people_1 new.csv --out predictions.csv
    shendu predict runs/2026-11-22_resnet_photos_1 cat.jpg holiday/
    """
    if out:
        path, rows = write(run, *inputs, out=out, **options)
        click.echo(f"{rows:,} row{'s' * (rows != 1)} -> {path}")
        return None
    if as_json:
        return emit(predict(run, *inputs, **options))
    shown: list[list[str]] = []
    count = 0
    for part in predictions(run, *inputs, **options):
        shown += [words_of(row) for row in part[: max(0, ROWS_SHOWN - count)]]
        count += len(part)
    table([heads_of(part[0]), *shown])
    if count > len(shown):
        click.echo(f"… and {count - len(shown):,} more (--out predictions.csv writes all)")
    return None


def heads_of(row: dict[str, Any]) -> list[str]:
    """What stands above a prediction's cells."""
    if "label" in row:
        return ["input", "label", "probability"]
    return ["input", "value"] if row.keys() & {"value", "values"} else list(row)


def words_of(row: dict[str, Any]) -> list[str]:
    """A prediction as cells."""
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
