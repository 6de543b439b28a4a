"""The application: all that is asked over HTTP, behind its guard."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

import shendu
from shendu.serving import described, openai, paths, tools
from shendu.serving.guard import App, Guard, Receive, Scope, Send, facts, refusal, told_as
from shendu.serving.paths import Handler
from shendu.serving.state import Settings, State, json_response

HERE = Path(__file__).parent
MODEL, INFER = "/v2/models/", "/infer"


class Short:
    """The short way to what is asked most: FastAPI's own takes longer than the answer of a small model."""

    def __init__(self, app: FastAPI, every: dict[tuple[str, str], Handler]) -> None:
        self.app = app
        self.plain = {key: handler for key, handler in every.items() if "{" not in key[1]}
        self.infer = every["POST", f"{MODEL}{{name}}{INFER}"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (work := self.found(scope["method"], scope["path"])):
            response = await work(Request(scope, receive, send))
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def found(self, method: str, path: str) -> Handler | None:
        if handler := self.plain.get((method, path)):
            return handler
        name = path.removeprefix(MODEL).removesuffix(INFER)
        whole = method == "POST" and path == f"{MODEL}{name}{INFER}" and name and "/" not in name
        return functools.partial(self.infer, name=name) if whole else None


def page(name: str) -> Handler:
    """A file of this folder."""
    text = (HERE / name).read_text(encoding="utf-8")

    async def shown(request: Request) -> Response:
        return HTMLResponse(text)

    return shown


def application(settings: Settings, state: State | None = None) -> App:
    """The whole server of one process, which loads its models when it starts; `state`: they are loaded already."""
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
    every: dict[tuple[str, str], Handler] = {
        **paths.routes(state),
        **paths.protocol(state),
        **openai.routes(state),
        **tools.routes(state),
    }
    every = {(method, path): counted(handler, path) for (method, path), handler in every.items()}
    for (method, path), handler in every.items():
        app.add_api_route(path, handler, methods=[method], **described.of(method, path, handler))
    for path, name in (("/", "page.html"), ("/docs", "docs.html")):
        app.add_api_route(path, page(name), methods=["GET"], include_in_schema=False)
    app.add_exception_handler(HTTPException, unanswered)
    return Guard(
        Short(app, every), token=settings.token, hosts=settings.hosts, limits=settings.limits, meters=state.meters
    )


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
