"""One process of a server: what uvicorn runs, how it logs, and how long it waits for what a client has begun to say."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shendu.serving.app import application
from shendu.serving.guard import App, Gathered, JsonLines
from shendu.serving.meters import FOLDER
from shendu.serving.state import Settings, State

HEAD_SECONDS = 15.0
"""From a connection's beginning to the end of a request's head."""
IDLE_SECONDS = 20
DRAIN_SECONDS = 60
"""How long a server that was told to stop answers what it has begun."""
HUNG_SECONDS = 30
"""A process that does not say that it lives for so long is started anew."""
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the others from going on: they hand each other requests all the time."""
WAITING = 2048
"""Connections that the system keeps for us."""

__all__ = ["FOLDER", "app", "config"]


class Patient(HttpToolsProtocol):
    """A connection that is closed where the head of a request does not come."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # a request is being answered
            self.awaited.cancel()
        elif self.awaited.cancelled():
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self.awaited.cancel()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self.awaited = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


def app(settings: Settings, state: State | None = None) -> App:
    """The application of this process, and its log: lines of JSON on standard error."""
    sys.setswitchinterval(SWITCH_SECONDS)
    handler = Gathered(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("shendu.serving", "uvicorn", "uvicorn.error"):
        one = logging.getLogger(name)
        one.handlers, one.propagate = ([handler] if name != "uvicorn.error" else []), name == "uvicorn.error"
        one.setLevel(logging.INFO if name == "shendu.serving" else logging.WARNING)
    return application(settings, state)


def config(factory: partial[App], host: str, port: int, workers: int = 1) -> uvicorn.Config:
    """How uvicorn runs it."""
    return uvicorn.Config(
        factory, factory=True, host=host, port=port, workers=workers, http=Patient, ws="none", lifespan="on", log_config=None,
        access_log=False, server_header=False, date_header=True, timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS, timeout_worker_healthcheck=HUNG_SECONDS, backlog=WAITING,
    )  # fmt: skip
