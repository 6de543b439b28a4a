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
from shendu.serving.guard import App, Guard, facts, refusal, told_as
from shendu.serving.paths import Handler
from shendu.serving.state import Settings, State, json_response

HERE = Path(__file__).parent


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
    every = {**paths.routes(state), **paths.protocol(state), **openai.routes(state), **tools.routes(state)}
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
