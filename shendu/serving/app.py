"""The application: what is asked over HTTP, and by which path."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

import shendu
from shendu import untrusted
from shendu.errors import UserError
from shendu.pages.single import explained
from shendu.serving import described, tensors
from shendu.serving.engine import Answer, Engine, Job, Pace
from shendu.serving.guard import App, Guard, Limits, facts, log, refusal, told_as
from shendu.serving.inputs import Read, Sent, rows_of
from shendu.serving.meters import Meters
from shendu.serving.models import How, Loaded, Models, Served, load
from shendu.serving.record import Recorder, told
from shendu.serving.refusals import Busy, Gone, Refused

HERE = Path(__file__).parent
PARTS_MOST = 1000
"""Parts of a form."""
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
        if self.recorder:
            self.recorder.batch(jobs, answers)

    async def watch(self) -> None:
        """Looks at the models' folders from time to time."""
        while True:
            await asyncio.sleep(self.settings.looked)
            await asyncio.to_thread(self.models.refresh, self.swapped)

    def swapped(self, level: str, line: str, new: Loaded | None) -> None:
        self.meters.swap("taken" if new else "refused")
        if new and self.recorder:
            self.recorder.loaded(new)
        log.log(logging.getLevelNamesMapping()[level.upper()], line)

    def close(self) -> None:
        self.ready = False
        self.models.close()
        if self.recorder:
            self.recorder.close()
        self.readers.shutdown()

    # ---- one request

    async def read(self, served: Served, work: Callable[[], Read]) -> Read:
        """Reads rows in a thread of its own; the model's batch waits a little for them."""
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


# ---- what is asked ---------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A request of a person's or a program's, before it is known what its model makes of it."""

    model: str | None
    values: list[Any] | dict[str, Any]
    """Rows, or a form's entries by name."""


async def asked(request: Request) -> Asked:
    """The body in any of the forms that are taken: JSON, a form with files, or one file. Raises UserError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    model = request.query_params.get("model")
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return await _form(request, model)
    body = await request.body()
    if kind in ("", "application/json"):
        value = of_json(body)
        if not isinstance(value, dict) or not value.keys() & {"inputs", "input"}:
            raise UserError('send {"inputs": [row, …]}, or a file as it is')
        name = value.get("model", model)
        if name is not None and not isinstance(name, str):
            raise UserError("model is a name")
        return Asked(name, value["inputs"] if "inputs" in value else [value["input"]])
    end = {"text/csv": "rows.csv", "application/x-ndjson": "rows.jsonl", "application/jsonl": "rows.jsonl"}.get(
        kind, ""
    )
    return Asked(model, [Sent(end, body)])


async def _form(request: Request, model: str | None) -> Asked:
    try:
        form = await request.form(max_files=PARTS_MOST, max_fields=PARTS_MOST, max_part_size=1 << 20)
    except HTTPException as error:
        raise UserError(f"the form cannot be read ({error.detail})") from None
    except (ValueError, KeyError, AssertionError, UnicodeError) as error:  # of a form that is none
        raise UserError(f"the form cannot be read ({type(error).__name__})") from None
    files: list[Any] = []
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            fields[name] = value
        else:
            files.append(await _sent(value))
    model = fields.pop("model", model)
    if files and fields:
        raise UserError("send files, or fields, not both in one form")
    if not files and not fields:
        raise UserError("the form is empty; send a file, or a field for each of the model's inputs")
    return Asked(model, files or fields)


async def _sent(upload: UploadFile) -> Sent:
    return Sent(upload.filename or "", await upload.read())


def of_json(body: bytes) -> Any:
    """A body's value; raises UserError."""
    try:
        return untrusted.parsed(body)
    except untrusted.Unreadable as error:
        raise UserError(f"the request is no JSON: {error}") from None


def rows_asked(loaded: Loaded, values: Any) -> Read:
    """The rows of a request as the model stores them; of a form the entries are the columns, or the only input. Raises UserError."""
    task = loaded.task
    if isinstance(values, dict):
        only = len(task.inputs) == 1 and len(values) == 1 and not task.input.tabular
        values = [next(iter(values.values()))] if only else [values]
    return rows_of(task, values)


# ---- the paths -------------------------------------------------------------------------------------------------------

Handler = Callable[..., Awaitable[Response]]


def routes(state: State) -> dict[tuple[str, str], Handler]:
    """(method, path) -> what answers it: what a person or a program asks of any model."""

    async def predict(request: Request) -> Response:
        """What the model says of what you have: a picture, a row, a sentence, a recording."""
        given = await asked(request)
        served, loaded = state.named(request, given.model)
        read = await state.read(served, lambda: rows_asked(loaded, given.values))
        answer = await state.answer(request, served, loaded, read)
        return prediction(request, answer, read.notes)

    async def explain(request: Request) -> Response:
        """Why the model says it: how much each part of the first row counts."""
        given = await asked(request)
        served, loaded = state.named(request, given.model)
        read = await state.read(served, lambda: rows_asked(loaded, given.values))
        read = replace_first(read)
        answer = await state.answer(request, served, loaded, read)
        why = await state.outcome(request, served.engine.call(lambda: explained(loaded.predictor, read.stored)))
        return prediction(request, answer, read.notes, explanations=why)

    async def models(request: Request) -> Response:
        """The models that are served: what each takes and gives."""
        return json_response([one.loaded.schema() for one in state.models.values()])

    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        body, kind = state.meters.told({name: one.engine.waiting for name, one in state.models.items()})
        return Response(body, media_type=kind)

    return {
        ("POST", "/predict"): predict, ("POST", "/explain"): explain, ("GET", "/models"): models, ("GET", "/metrics"): metrics,
    }  # fmt: skip


def protocol(state: State) -> dict[tuple[str, str], Handler]:
    """The Open Inference Protocol, version 2."""

    async def live(request: Request) -> Response:
        """Whether the server runs."""
        return json_response({"live": True})

    async def ready(request: Request) -> Response:
        """Whether its models answer."""
        return json_response({"ready": state.ready}, 200 if state.ready else 503)

    async def about(request: Request) -> Response:
        """What the server is."""
        return json_response({"name": "shendu", "version": shendu.__version__, "extensions": ["binary_tensor_data"]})

    async def model(request: Request, name: str, version: str = "") -> Response:
        """What a model takes and gives, as tensors."""
        _, loaded = versioned(request, name, version)
        return json_response(tensors.metadata(loaded))

    async def model_ready(request: Request, name: str, version: str = "") -> Response:
        """Whether a model answers."""
        _, loaded = versioned(request, name, version)
        return json_response({"name": loaded.name, "ready": True})

    async def infer(request: Request, name: str, version: str = "") -> Response:
        """A model's answer to tensors, in JSON or as bytes."""
        body = await request.body()
        served, loaded = versioned(request, name, version)
        asked_for: list[tensors.Request] = []

        def work() -> Read:
            asked_for.append(tensors.request_of(loaded, body, request.headers.get(tensors.LENGTH)))
            return asked_for[0].read

        read = await state.read(served, work)
        answer = await state.answer(request, served, loaded, read)
        content, size = tensors.answer_of(asked_for[0], answer)
        if size is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={tensors.LENGTH: str(size)})

    def versioned(request: Request, name: str, version: str) -> tuple[Served, Loaded]:
        served, loaded = state.named(request, name)
        if version and version != loaded.version:
            raise Refused(f"{name} is version {loaded.version} now, not {version[:20]}", 404)
        return served, loaded

    found: dict[tuple[str, str], Handler] = {
        ("GET", "/v2/health/live"): live, ("GET", "/v2/health/ready"): ready, ("GET", "/v2"): about,
    }  # fmt: skip
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found |= {("GET", path): model, ("GET", f"{path}/ready"): model_ready, ("POST", f"{path}/infer"): infer}
    return found


def replace_first(read: Read) -> Read:
    """The first row alone."""
    return read._replace(stored={name: t[:1] for name, t in read.stored.items()})


def prediction(request: Request, answer: Answer, notes: list[str], **more: Any) -> Response:
    """The rows as the task tells them, and whose answer it is."""
    known, loaded = facts(request), answer.loaded
    head = json.dumps({"model": loaded.name, "hash": loaded.hash, "request": known.id}, ensure_ascii=False)
    tail = json.dumps({"notes": notes, **more}, ensure_ascii=False)
    return Response(f'{head[:-1]}, "predictions": {told(answer.rows)}, {tail[1:]}', media_type="application/json")


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), status, headers, media_type="application/json")


def page(name: str) -> Handler:
    """A file of this folder."""
    text = (HERE / name).read_text(encoding="utf-8")

    async def shown(request: Request) -> Response:
        return HTMLResponse(text)

    return shown


def application(settings: Settings, state: State | None = None) -> App:
    """The whole server of one process, which loads its models when it starts; `state`: they are loaded already."""
    from shendu.serving import openai, tools

    state = state or State(settings)

    @contextlib.asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        if not state.ready:
            await asyncio.to_thread(state.open)
        watching = asyncio.create_task(state.watch())
        yield
        watching.cancel()
        await asyncio.to_thread(state.close)

    app = FastAPI(
        title="Shendu", version=shendu.__version__, summary="Models that were trained with Shendu", lifespan=living, docs_url=None,
        redoc_url=None,
    )  # fmt: skip
    every = {**routes(state), **protocol(state), **openai.routes(state), **tools.routes(state)}
    for (method, path), handler in every.items():
        app.add_api_route(path, counted(handler, path), methods=[method], **described.of(method, path, handler))
    for path, name in (("/", "page.html"), ("/docs", "docs.html")):
        app.add_api_route(path, page(name), methods=["GET"], include_in_schema=False)
    app.add_exception_handler(HTTPException, unanswered)
    return Guard(app, token=settings.token, hosts=settings.hosts, limits=settings.limits, meters=state.meters)


def counted(handler: Handler, path: str) -> Handler:
    """A handler whose requests are counted under its path's pattern, and that answers whatever goes wrong."""

    @functools.wraps(handler)
    async def found(request: Request, **more: Any) -> Response:
        known = facts(request)
        known.route = path
        try:
            return await handler(request, **more)
        except Exception as error:
            status, why, headers = refusal(error, known)
            return json_response(told_as(request.url.path, status, why, known), status, headers)

    return found


async def unanswered(request: Request, error: Any) -> Response:
    """A path or a method that there is not."""
    why = {
        404: "there is nothing at this path; GET /docs lists what there is",
        405: "this path does not take that method",
    }
    line, known = why.get(error.status_code, str(error.detail)), facts(request)
    return json_response(
        told_as(request.url.path, error.status_code, line, known), error.status_code, error.headers or {}
    )
