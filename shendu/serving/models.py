"""The models of a server: loaded, known by their hash, and exchanged under load when their folder changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shendu import composing, own
from shendu.core import Batch, Outputs
from shendu.errors import UserError, near
from shendu.predictor import Predictor
from shendu.saved import opened
from shendu.serving.refusals import Refused
from shendu.tasks import Task

if TYPE_CHECKING:
    from shendu.serving.engine import Engine

FILES = ("config.json", "task.json", "model.safetensors", "tokenizer.json", "vocab.json", "merges.txt")
"""What a model consists of, those of them that are there."""
SHORT = 12
"""Letters of a hash that tell models apart at a glance."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that answers. It never changes: a new one takes its place."""

    name: str
    path: Path
    hash: str
    """sha256 of the files that it was read from."""
    system: str
    predictor: Predictor
    writes: bool
    """Whether it goes on from a text."""
    example: tuple[Batch, Outputs] = field(repr=False)
    """A row of ordinary size as it is stored, and what the model gave for it: names, types and shapes."""

    @property
    def task(self) -> Task:
        return self.predictor.task

    @property
    def version(self) -> str:
        return self.hash[:SHORT]

    def schema(self) -> dict[str, Any]:
        """What it takes and gives, and how a person is asked for it."""
        entries = {name: field.entry() for name, field in self.task.inputs.items()}
        return {
            "name": self.name, "hash": self.hash, "system": self.system, "task": self.task.kind, "writes": self.writes,
            "explained": explainable(self.task), "classes": list(self.task.labels), "asks": entries, **self.task.schema(),
        }  # fmt: skip


def explainable(task: Task) -> bool:
    """Whether single answers can be explained."""
    return task.explained() and any(field.explains for field in task.inputs.values())


@dataclass(frozen=True)
class How:
    """How models are opened."""

    device: str = "auto"
    precision: str = "auto"
    files: tuple[Path, ...] = ()
    trust: bool = False


def load(name: str, path: Path, how: How) -> Loaded:
    """The model of a run's folder, once it has answered an example. Raises UserError where there is none, or it is broken."""
    mark = identity(path)
    with own.allowing(how.files, how.trust):
        run = opened(path)
        predictor = run.predictor(how.device, how.precision)
    with predictor.sound():
        stored = predictor.task.example(1)
        outputs, _ = predictor.pieces(stored)
        predictor.task.decode(outputs, stored)
    if identity(path) != mark:
        raise UserError(f"{path} changed while it was read")
    return Loaded(name, path, mark, run.recipe["system"], predictor, composing.writes(run), (stored, outputs))


def identity(path: Path) -> str:
    """sha256 of what a model's folder holds of it; raises UserError where that cannot be read."""
    whole = hashlib.sha256()
    try:
        for name in FILES:
            if (path / name).is_file():
                with open(path / name, "rb") as file:
                    whole.update(f"{name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); restore the run's folder") from None
    return whole.hexdigest()


def state(path: Path) -> tuple[Any, ...]:
    """What changes where a model's files do, without reading them."""
    found: list[Any] = [os.path.realpath(path)]
    for name in FILES:
        with contextlib.suppress(OSError):
            about = os.stat(path / name)
            found.append((name, about.st_mtime_ns, about.st_size, about.st_ino))
    return tuple(found)


Say = Callable[[str, str, Loaded | None], None]
"""Told what became of a folder's new model: a level, a line, and the model where it was taken."""


class Served:
    """A name under which a model is served: its thread, and the model that answers now."""

    def __init__(self, loaded: Loaded, engine: Engine, how: How) -> None:
        self.loaded, self.engine, self.how = loaded, engine, how
        self._seen = state(loaded.path)

    def refresh(self, say: Say) -> None:
        """Takes the model that its folder holds now, if that is another one and answers; else the old one stays."""
        if (now := state(self.loaded.path)) == self._seen:
            return
        try:
            if identity(self.loaded.path) == self.loaded.hash:
                self._seen = now
                return
            new = load(self.loaded.name, self.loaded.path, self.how)
        except Exception as error:  # whatever a folder in the middle of being written makes it raise
            self._seen = now
            say(
                "error",
                f"{self.loaded.name}: the folder's new model is not taken, {self.loaded.version} stays: {error}",
                None,
            )
            return
        say("info", f"{new.name}: {self.loaded.version} is replaced by {new.version}", new)
        self.loaded, self._seen = new, now


class Models(Mapping[str, Served]):
    """Name -> what is served under it."""

    def __init__(self, served: list[Served]) -> None:
        self._served = {one.loaded.name: one for one in served}

    def __getitem__(self, name: str) -> Served:
        return self._served[name]

    def __iter__(self) -> Any:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)

    def named(self, name: str | None) -> Served:
        """The one that is meant; without a name the only one. Raises UserError, and Refused for a name that there is not."""
        if not name:
            if len(self) > 1:
                raise UserError(f"several models are served; say which with model: {', '.join(self)}")
            return next(iter(self.values()))
        if name not in self:
            raise Refused(f"there is no model called '{name[:80]}'{near(name[:80], self)}", 404)
        return self[name]

    def refresh(self, say: Say) -> None:
        for one in self.values():
            one.refresh(say)

    def close(self) -> None:
        """Answers what waits, and ends the threads."""
        for one in self.values():
            one.engine.close()


def wanted(words: tuple[str, ...]) -> dict[str, Path]:
    """Name -> folder, of RUN or NAME=RUN as a person writes them; raises UserError for two of one name."""
    found: dict[str, Path] = {}
    for word in words:
        name, sign, path = word.partition("=")
        if not sign or Path(word).exists():
            name, path = "", word
        folder = Path(path).expanduser()
        name = name or folder.absolute().name
        if name in found:
            raise UserError(f"two runs are called {name}; give one another name, like other={path}")
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise UserError(f"'{name}' is no name for a model; give it one of letters and digits, like model={path}")
        found[name] = folder
    return found
