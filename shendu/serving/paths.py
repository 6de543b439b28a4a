"""What a person or a program asks of any model, and the Open Inference Protocol: the forms of a request, and what answers it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

import shendu
from shendu.errors import UserError
from shendu.pages.single import explained
from shendu.serving import tensors
from shendu.serving.engine import Answer
from shendu.serving.guard import facts
from shendu.serving.inputs import Read, Sent, rows_of
from shendu.serving.models import Loaded, Served
from shendu.serving.record import told
from shendu.serving.refusals import Refused
from shendu.serving.state import State, json_response, of_json, replace_first

PARTS_MOST = 1000
"""Parts of a form."""


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
    except MultiPartException as error:
        raise UserError(f"the form cannot be read ({error.message})") from None
    except (HTTPException, ValueError, KeyError, AssertionError, UnicodeError) as error:  # of a form that is none
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
        read = await state.read(request, served, lambda: rows_asked(loaded, given.values))
        answer = await state.answer(request, served, loaded, read)
        return prediction(request, answer, read.notes)

    async def explain(request: Request) -> Response:
        """Why the model says it: how much each part of the first row counts."""
        given = await asked(request)
        served, loaded = state.named(request, given.model)
        read = await state.read(request, served, lambda: rows_asked(loaded, given.values))
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

        read = await state.read(request, served, work)
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


def prediction(request: Request, answer: Answer, notes: list[str], **more: Any) -> Response:
    """The rows as the task tells them, and whose answer it is."""
    known, loaded = facts(request), answer.loaded
    head = json.dumps({"model": loaded.name, "hash": loaded.hash, "request": known.id}, ensure_ascii=False)
    tail = json.dumps({"notes": notes, **more}, ensure_ascii=False)
    return Response(f'{head[:-1]}, "predictions": {told(answer.rows)}, {tail[1:]}', media_type="application/json")
