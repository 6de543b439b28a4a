"""What was asked and answered, kept so that it can be asked again: each batch with its composition, each text with its settings.

A record is JSON lines. It holds the inputs themselves, so nothing is kept unless a person says so.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shendu import machine, untrusted
from shendu.core import Batch
from shendu.errors import UserError
from shendu.serving.engine import Answer, Job, ask
from shendu.serving.inputs import finite
from shendu.serving.models import How, Loaded, load
from shendu.serving.writing import Piece, Text, Writer

KIND = "shendu record 1"
"""The first line's `kind`."""


def told(rows: list[dict[str, Any]]) -> str:
    """A request's answer as it is sent: its rows as JSON."""
    return json.dumps(finite(rows), ensure_ascii=False)


class Recorder:
    """Writes what each model's thread answers. Raises UserError where the file cannot be written."""

    def __init__(self, path: Path, how: How) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:  # it holds what people sent: for nobody else's eyes
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise UserError(f"--record {path} cannot be written ({error.strerror}); choose another file") from None
        self._file = os.fdopen(handle, "w", encoding="utf-8")
        about = {
            "device": how.device,
            "precision": how.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        self._write({"kind": KIND, **about, "environment": machine.machine()})

    def loaded(self, model: Loaded) -> None:
        """A model that answers from now on."""
        self._write({"model": model.name, "hash": model.hash, "path": str(model.path.absolute())})

    def batch(self, jobs: list[Job], answers: list[Answer]) -> None:
        """One batch: whose rows, in which order, and what each was told."""
        each = [
            {"request": job.request, "stored": written(job.stored), "answer": told(answer.rows)}
            for job, answer in zip(jobs, answers, strict=True)
        ]
        self._write({"batch": jobs[0].loaded.name, "hash": jobs[0].loaded.hash, "requests": each})

    def text(self, request: str, text: Text, answer: str) -> None:
        """A text that was written to its end."""
        how = {
            "prompt": text.prompt.tolist(), "length": text.length, "temperature": text.temperature, "top_k": text.top_k,
            "top_p": text.top_p, "stop": list(text.stop), "seed": text.seed, "row": text.row,
        }  # fmt: skip
        self._write(
            {"written": text.loaded.name, "hash": text.loaded.hash, "request": request, "how": how, "answer": answer}
        )

    def close(self) -> None:
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()


def written(stored: Batch) -> dict[str, Any]:
    """Tensors as JSON: their bytes in base64."""
    return {
        name: {"dtype": str(t.numpy().dtype), "shape": list(t.shape), "data": base64.b64encode(t.numpy().tobytes()).decode()}
        for name, t in stored.items()
    }  # fmt: skip


def read(stored: dict[str, Any]) -> Batch:
    """And back."""
    return {
        name: torch.from_numpy(
            np.frombuffer(base64.b64decode(each["data"]), each["dtype"]).reshape(each["shape"]).copy()
        )
        for name, each in stored.items()
    }


# ---- again -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Again:
    """A request that was asked again."""

    request: str
    answer: str
    """As it was, where it is the same; else as it is now."""
    same: bool


def replayed(path: Path, models: dict[str, Path], how: How) -> Iterator[Again]:
    """Every request of a record, asked again in the batches in which it was answered. `models` are folders by name, where they
    are no more where they were.

    Raises UserError for a file that is no record, and for a model that is not the one that answered.
    """
    there: dict[str, Loaded] = {}
    places: dict[str, Path] = {}
    for number, line in enumerate(lines(path), 1):
        try:
            if "model" in line:
                places[line["hash"]] = models.get(line["model"], Path(line["path"]))
                continue
            name = line.get("batch") or line["written"]
            if line["hash"] not in there:
                there[line["hash"]] = same_model(name, places[line["hash"]], line["hash"], how)
            yield from _asked_again(there[line["hash"]], line)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} has a line {number + 1:,} that is none of a record ({type(error).__name__})"
            ) from None


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """All but the first, which says what the answers depend on. Raises UserError for a file that is no record."""
    threads = head_of(path).get("threads", 1)
    torch.set_num_threads(threads if isinstance(threads, int) and 0 < threads < 1024 else 1)
    with path.open(encoding="utf-8") as file:
        next(file)
        yield from filter(None, map(_line, file))


def head_of(path: Path) -> dict[str, Any]:
    """The first line of a record. Raises UserError."""
    try:
        with path.open(encoding="utf-8") as file:
            head = _line(next(file, ""))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give what --record wrote") from None
    if not isinstance(head, dict) or head.get("kind") != KIND:
        raise UserError(f"{path} is no record of a server; make one with: shendu serve RUN --record {path}")
    return head


def _line(text: str) -> Any:
    """A line's value; None for one that was cut off where the server ended."""
    try:
        return untrusted.parsed(text)
    except untrusted.Unreadable:
        return None


def same_model(name: str, path: Path, wanted: str, how: How) -> Loaded:
    """The model of a folder; raises UserError where it is not the one that answered."""
    loaded = load(name, path, how)
    if not hmac.compare_digest(loaded.hash, wanted):
        raise UserError(
            f"{path} holds {loaded.version}, and {wanted[:12]} answered; give the folder that did with --model {name}=FOLDER"
        )
    return loaded


def _asked_again(loaded: Loaded, line: dict[str, Any]) -> Iterator[Again]:
    if "written" in line:
        text = written_again(loaded, line["how"])
        yield Again(line["request"], text, text == line["answer"])
        return
    jobs = [Job(loaded, read(each["stored"]), each["request"], Future()) for each in line["requests"]]
    for job, answer, each in zip(jobs, ask(jobs), line["requests"], strict=True):
        said = told(answer.rows)
        yield Again(job.request, said, said == each["answer"])


def written_again(loaded: Loaded, how: dict[str, Any]) -> str:
    """A text by itself, as texts are written while a record is kept."""
    pieces: list[Piece] = []
    prompt = torch.tensor(how["prompt"], dtype=torch.int64)
    more = {**how, "prompt": prompt, "stop": tuple(how["stop"])}
    writer = Writer(most=1)
    writer.add(Text(loaded, put=pieces.append, **more))
    while writer.busy:
        writer.step()
    if failed := next((piece.error for piece in pieces if piece.error), None):
        raise UserError(f"a text cannot be written again: {failed}")
    return "".join(piece.text for piece in pieces)
