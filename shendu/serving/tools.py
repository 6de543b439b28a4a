"""The models as tools for agents, by the Model Context Protocol over HTTP: a message of JSON-RPC is answered with one.

No session is kept and no stream is offered, so what an agent sends reaches any process of the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import Response

import shendu
from shendu.pages.single import explained
from shendu.serving.engine import Answer
from shendu.serving.guard import facts, refusal
from shendu.serving.inputs import finite, rows_of
from shendu.serving.models import Loaded, Served, explainable
from shendu.serving.openai import tokens_of, whole, writing_of
from shendu.serving.state import State, json_response, note, of_json, replace_first

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Of the protocol, the newest first."""
INVALID, NO_METHOD, BAD_PARAMS, NOT_JSON = -32600, -32601, -32602, -32700
NAME_MOST = 48
Work = Callable[[Request, dict[str, Any]], Awaitable[Any]]


def routes(state: State) -> dict[tuple[str, str], Callable[..., Awaitable[Response]]]:
    """(method, path) -> what answers it."""

    async def messages(request: Request) -> Response:
        """A message of an agent's client."""
        try:
            message = of_json(await request.body())
        except ValueError as error:
            return json_response(failure(None, NOT_JSON, str(error)), 400)
        if (
            not isinstance(message, dict)
            or message.get("jsonrpc") != "2.0"
            or not isinstance(message.get("method"), str)
        ):
            return json_response(failure(None, INVALID, "a message of JSON-RPC 2.0 is expected, one at a time"), 400)
        if "id" not in message:  # a notification wants no answer
            return Response(status_code=202)
        params = message.get("params", {})
        if not isinstance(params, dict):
            return json_response(failure(message["id"], BAD_PARAMS, "params is an object"))
        return json_response(await answered(state, request, message["id"], message["method"], params))

    return {("POST", "/mcp"): messages}


async def answered(state: State, request: Request, id: Any, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The message that answers one."""
    if method == "initialize":
        wanted = params.get("protocolVersion")
        return result(id, {
            "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0], "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "shendu", "version": shendu.__version__},
        })  # fmt: skip
    if method == "ping":
        return result(id, {})
    tools = tools_of(state)
    if method == "tools/list":
        return result(id, {"tools": [about for about, _ in tools.values()]})
    if method != "tools/call":
        return failure(id, NO_METHOD, f"there is no method {method[:80]}")
    name, given = params.get("name"), params.get("arguments") or {}
    if not isinstance(name, str) or name not in tools or not isinstance(given, dict):
        return failure(id, BAD_PARAMS, f"there is no tool {str(name)[:80]}; known: {', '.join(tools)}")
    try:
        said, failed = await tools[name][1](request, given), False
    except Exception as error:
        _, why, _ = refusal(error, facts(request))
        said, failed = {"error": why}, True
    text = json.dumps(finite(said), ensure_ascii=False)
    return result(
        id, {"content": [{"type": "text", "text": text}], "structuredContent": json.loads(text), "isError": failed}
    )


def result(id: Any, value: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": value}


def failure(id: Any, code: int, why: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": why}}


# ---- tools -----------------------------------------------------------------------------------------------------------


def tools_of(state: State) -> dict[str, tuple[dict[str, Any], Work]]:
    """Name -> what is said of a tool, and what it does: each model predicts, some explain, some write."""
    found: dict[str, tuple[dict[str, Any], Work]] = {}
    for name, served in state.models.items():
        loaded, short = served.loaded, re.sub(r"[^A-Za-z0-9_-]", "_", name)[:NAME_MOST]
        takes = arguments(loaded)
        kinds = ", ".join(field.words for field in loaded.task.inputs.values())
        classes = f" Classes: {', '.join(loaded.task.labels[:20])}." if loaded.task.labels else ""
        answers = json.dumps(loaded.task.answers(), default=str)[:500]
        says = f"What the model {name} ({loaded.system}) says of {kinds}.{classes} Answers: {answers}"
        found |= tool(f"{short}_predict", says, takes, partial(predict, state, served))
        if explainable(loaded.task):
            says = f"What {name} says of one input, and how much each part of it counts."
            found |= tool(f"{short}_explain", says, takes, partial(explain, state, served))
        if loaded.writes:
            settings = {
                "max_tokens": {"type": "integer"},
                "temperature": {"type": "number"},
                "seed": {"type": "integer"},
            }
            schema = object_of({"prompt": {"type": "string"}, **settings}, ["prompt"])
            found |= tool(
                f"{short}_write",
                f"Lets {name} ({loaded.system}) write on from a text.",
                schema,
                partial(write, state, served),
            )
    return found


def tool(name: str, says: str, schema: dict[str, Any], work: Work) -> dict[str, tuple[dict[str, Any], Work]]:
    return {name: ({"name": name, "description": says, "inputSchema": schema}, work)}


def arguments(loaded: Loaded) -> dict[str, Any]:
    """What a tool is called with: the columns of a table's row, or each input by its name."""
    task = loaded.task
    if len(task.inputs) == 1 and "columns" in (entry := task.input.entry()):
        return object_of(
            {one["name"]: cell(one) for one in entry["columns"]}, [one["name"] for one in entry["columns"]]
        )
    return object_of(
        {name: FORMS[field.entry()["as"]](field.entry()) for name, field in task.inputs.items()}, list(task.inputs)
    )


def object_of(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def cell(column: dict[str, Any]) -> dict[str, Any]:
    kinds = ["number", "string", "null"] if column["numeric"] else ["string", "number", "boolean", "null"]
    choices = f"One of {', '.join(map(str, column['choices'][:50]))}." if column["choices"] else ""
    return {"type": kinds, "description": f"{column['kind']}. {choices} null: unknown."}


FORMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "picture": lambda entry: {"type": "string", "description": "A picture's file (PNG, JPEG, …) in base64."},
    "recording": lambda entry: {"type": "string", "description": "A recording's file (WAV, FLAC, …) in base64."},
    "words": lambda entry: {"type": "string"},
    "numbers": lambda entry: {"type": "array", "description": f"{entry['count']} numbers."},
}
"""How a value is entered -> its schema."""


async def predict(state: State, served: Served, request: Request, given: dict[str, Any]) -> dict[str, Any]:
    answer, notes, _ = await asked(state, served, request, given)
    return {"model": answer.loaded.name, "hash": answer.loaded.hash, **answer.rows[0], "notes": notes}


async def explain(state: State, served: Served, request: Request, given: dict[str, Any]) -> dict[str, Any]:
    answer, notes, stored = await asked(state, served, request, given)
    why = await state.outcome(request, served.engine.call(lambda: explained(answer.loaded.predictor, stored)))
    return {
        "model": answer.loaded.name,
        "hash": answer.loaded.hash,
        **answer.rows[0],
        "explanations": why,
        "notes": notes,
    }


async def asked(state: State, served: Served, request: Request, given: dict[str, Any]) -> tuple[Answer, list[str], Any]:
    """The model's answer to a tool's arguments, notes, and the row as it is stored."""
    loaded = served.loaded
    note(request, loaded)
    read = replace_first(await state.read(request, served, lambda: rows_of(loaded.task, [given])))
    return await state.answer(request, served, loaded, read), read.notes, read.stored


async def write(state: State, served: Served, request: Request, given: dict[str, Any]) -> dict[str, Any]:
    loaded = served.loaded
    note(request, loaded)
    how = {key: value for key, value in given.items() if key in ("max_tokens", "temperature", "seed")}
    prompt = given.get("prompt")
    writing = writing_of(
        state, served, loaded, checked({**how, "prompt": prompt}), [tokens_of(loaded, str(prompt))], 256
    )
    writing.begin()
    await whole(request, writing)
    return {"model": loaded.name, "hash": loaded.hash, "text": writing.choices[0].said}


def checked(body: dict[str, Any]) -> dict[str, Any]:
    from shendu.serving.openai import request_of

    return request_of(json.dumps(body).encode(), "prompt")
