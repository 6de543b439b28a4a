"""predict: inputs in, labels with probabilities (or values) out; in pieces, so that no input is too large.

Shape letters: B rows of a piece.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shendu import data, parallel
from shendu.core import MASKED
from shendu.data.processors.language import Language
from shendu.data.processors.supervised import Supervised
from shendu.errors import UserError, near
from shendu.measure import BATCH, outputs_of
from shendu.verbs.display import aside
from shendu.verbs.opened import Run, opened


@dataclass(frozen=True)
class Piece:
    """Some rows' names and outputs [B, …]; where a forecast's steps are named, each of them is a row: [B, 1]."""

    key: str
    """What the names are: `input`, `row`, or the table's column that they come from, or go on."""
    names: list[str]
    outputs: Tensor
    processor: Supervised | Language

    def rows(self) -> list[dict[str, Any]]:
        """Per row `input`, and `label`, `probability`, `probabilities`, or `value` (`values` where there are several)."""
        decoded = self.processor.decode(self.outputs)
        return [{"input": name, **row} for name, row in zip(self.names, decoded, strict=True)]

    def columns(self) -> dict[str, Any]:
        """The same as columns of a table."""
        return {self.key: self.names, **self.processor.columns(self.outputs)}


def predict(
    run: Run | str | Path,
    *inputs: Any,
    device: str = "auto",
    precision: str = "auto",
    say: Callable[[str], None] = aside,
) -> list[dict[str, Any]]:
    """One entry per row: `input`, and `label`, `probability`, `probabilities` (or `value`, or several `values`).

    An input is what the run's kind of data is made of: a picture, recording or text file, a folder of them, a table
    (its columns are found by name), a text, an array. `say` is told, once, what makes the answers doubtful. Raises
    UserError.
    """
    return list(itertools.chain.from_iterable(predictions(run, *inputs, device=device, precision=precision, say=say)))


def predictions(
    run: Run | str | Path,
    *inputs: Any,
    device: str = "auto",
    precision: str = "auto",
    say: Callable[[str], None] = aside,
) -> Iterator[list[dict[str, Any]]]:
    """The same as `predict`, in lists of some rows: for what does not fit into memory. Raises UserError on the way."""
    for piece in pieces(run, inputs, device, precision, say):
        yield piece.rows()


def write(
    run: Run | str | Path,
    *inputs: Any,
    out: str | Path,
    device: str = "auto",
    precision: str = "auto",
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
        for piece in pieces(run, inputs, device, precision, say):
            put(piece)
            rows += len(piece.names)
    return path, rows


def pieces(
    run: Run | str | Path, inputs: Iterable[Any], device: str, precision: str, say: Callable[[str], None]
) -> Iterator[Piece]:
    """The model's outputs for all inputs, some thousand rows at a time; the first doubt about them is said."""
    found = opened(run)
    chosen = parallel.choose_device(device)
    processor = found.processor
    model = parallel.place(found.model, chosen)
    cast = parallel.choose_precision(precision, chosen, model)
    if not inputs:
        raise UserError(f"nothing to predict: shendu predict {found.path} INPUT")
    if isinstance(processor, Language):
        yield from read_texts(model, processor, inputs, chosen, cast)
        return
    nothing, doubt = True, ""
    for key, names, columns in data.pieces(inputs, {"x": processor.input}):
        stored = np.asarray(columns["x"])
        if not doubt and (doubt := processor.doubt(stored)):
            say(doubt)
        parts = []
        with parallel.evaluating(model):
            for i in range(0, len(stored), BATCH):
                batch = processor.prepare({"x": torch.from_numpy(stored[i : i + BATCH])})
                parts.append(outputs_of(model, processor, batch, chosen, cast).cpu())
        nothing = False
        outputs = torch.cat(parts)
        yield Piece(key, names, outputs if len(names) == len(outputs) else outputs.reshape(len(names), 1), processor)
    if nothing:
        raise UserError(f"nothing to predict: {', '.join(map(str, inputs))[:200]} holds no rows")


def read_texts(
    model: nn.Module, processor: Language, inputs: Iterable[Any], device: torch.device, precision: str
) -> Iterator[Piece]:
    """How well a language model foretells each text: the mean over all of its tokens but the first."""
    for _, words, stored in data.pieces(inputs, {"x": processor.input}):
        batch = processor.encode(stored["x"])
        with parallel.evaluating(model):
            nats = outputs_of(model, processor, batch, device, precision).cpu().double()
        counted = (batch["y"] != MASKED).sum(1)
        yield Piece("input", words, ((nats * counted).sum() / counted.sum())[None], processor)


# ---- files -----------------------------------------------------------------------------------------------------------

Put = Callable[[Piece], None]


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[Put]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer, begun = csv.writer(file, lineterminator="\n"), False

        def put(piece: Piece) -> None:
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

        def put(piece: Piece) -> None:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in piece.rows())

        yield put


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Put]:
    import pyarrow
    from pyarrow import parquet

    with contextlib.ExitStack() as stack:
        writers: list[parquet.ParquetWriter] = []

        def put(piece: Piece) -> None:
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
