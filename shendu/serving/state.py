"""What a process of a server holds, and how one request goes through it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fastapi import Request
from fastapi.responses import Response

from shendu import untrusted
from shendu.errors import UserError
from shendu.serving.engine import Answer, Engine, Job, Pace
from shendu.serving.guard import Limits, facts, log
from shendu.serving.inputs import Read
from shendu.serving.meters import Meters
from shendu.serving.models import How, Loaded, Models, Served, load
from shendu.serving.record import Recorder
from shendu.serving.refusals import Busy, Gone

SMALL = 1 << 12
"""Bytes of a request that is read where it stands: handing it to a thread would take longer."""
LOOKED = 1.0
"""Seconds between two looks at the models' folders."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a server is told."""

    runs: dict[str, Path]
    how: How = field(default_factory=How)
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    token: str = ""
    hosts: tuple[str, ...] = ()
    """What a request may call this server; none: anything."""
    record: Path | None = None
    threads: int = 0
    """Of the processor, that this process computes with; 0: as torch decides."""
    looked: float = LOOKED


class State:
    """What a process of a server holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.meters = settings, Meters()
        self.models = Models([])
        self.recorder: Recorder | None = None
        self.ready = False
        self.readers = ThreadPoolExecutor(max(2, os.cpu_count() or 2), thread_name_prefix="reader")

    def open(self) -> None:
        """Loads the models. Raises UserError."""
        how, pace = self.settings.how, self.settings.pace
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        loaded = [load(name, path, how) for name, path in self.settings.runs.items()]
        if self.settings.record:
            self.recorder = Recorder(self.settings.record, how)
            for model in loaded:
                self.recorder.loaded(model)
        self.models = Models(
            [Served(one, Engine(pace, self.kept, alone=self.recorder is not None), how) for one in loaded]
        )
        self.ready = True

    def kept(self, jobs: list[Job], answers: list[Answer]) -> None:
        """Told of each batch, in a model's thread."""
        self.meters.batch(answers[0].loaded.name, answers[0].batch)
        self.record(lambda recorder: recorder.batch(jobs, answers))

    def record(self, work: Callable[[Recorder], None]) -> None:
        """Keeps what was answered, where that is wanted; a record that cannot be written any more ends, and the answers go on."""
        if not self.recorder:
            return
        try:
            work(self.recorder)
        except OSError as error:
            log.error(f"{self.recorder.path} cannot be written ({error.strerror}): the record ends here")
            self.recorder = None

    async def watch(self) -> None:
        """Looks at the models' folders from time to time."""
        while True:
            await asyncio.sleep(self.settings.looked)
            await asyncio.to_thread(self.models.refresh, self.swapped)

    def swapped(self, level: str, line: str, new: Loaded | None) -> None:
        self.meters.swap("taken" if new else "refused")
        if new:
            self.record(lambda recorder: recorder.loaded(new))
        log.log(logging.getLevelNamesMapping()[level.upper()], line)

    def close(self) -> None:
        self.ready = False
        self.models.close()
        if self.recorder:
            self.recorder.close()
        self.readers.shutdown()

    # ---- one request

    async def read(self, request: Request, served: Served, work: Callable[[], Read]) -> Read:
        """Reads rows, of larger requests in a thread of its own; the model's batch waits a little for them."""
        if int(request.headers.get("content-length", SMALL + 1)) <= SMALL:
            return work()
        served.engine.reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.readers, work)
        finally:
            served.engine.reading -= 1

    async def answer(self, request: Request, served: Served, loaded: Loaded, read: Read) -> Answer:
        """What the model says of rows that it has read. Raises Busy, Gone."""
        known = facts(request)
        known.rows = len(next(iter(read.stored.values())))
        answer: Answer = await self.outcome(request, served.engine.submit(loaded, read.stored, known.id))
        known.batch = answer.batch
        return answer

    async def outcome(self, request: Request, future: Future[Any]) -> Any:
        """What a model's thread makes of it, as long as the client waits. Raises Busy, Gone, and Failed for what fails inside."""
        got = asyncio.wrap_future(future)
        left = asyncio.ensure_future(departed(request))
        try:
            await asyncio.wait({got, left}, timeout=self.settings.pace.within, return_when=asyncio.FIRST_COMPLETED)
            if got.done():
                return got.result()
            future.cancel()
            if left.done():
                raise Gone
            raise Busy("the answer did not come in time")
        except UserError as error:  # the rows were read: what the model says of them is no mistake of the sender
            raise RuntimeError(str(error)) from error
        finally:
            left.cancel()
            got.cancel()

    def named(self, request: Request, name: str | None) -> tuple[Served, Loaded]:
        """The model that is meant, as it is now."""
        served = self.models.named(name)
        note(request, served.loaded)
        return served, served.loaded


def note(request: Request, loaded: Loaded) -> None:
    """Whose answer it is, for the log and the headers."""
    known = facts(request)
    known.model, known.hash = loaded.name, loaded.hash


async def departed(request: Request) -> None:
    """Ends when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def of_json(body: bytes) -> Any:
    """A body's value; raises UserError."""
    try:
        return untrusted.parsed(body)
    except untrusted.Unreadable as error:
        raise UserError(f"the request is no JSON: {error}") from None


def replace_first(read: Read) -> Read:
    """The first row alone."""
    return read._replace(stored={name: t[:1] for name, t in read.stored.items()})


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), status, headers, media_type="application/json")
