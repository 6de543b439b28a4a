"""Around every request: who may ask, how much may be sent and how slowly, an id, a line in the log, and errors that tell nothing
of the inside. Pure ASGI, so that a stream stays one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hmac
import itertools
import json
import logging
import re
import secrets
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from shendu.errors import UserError
from shendu.serving.meters import Meters
from shendu.serving.refusals import Gone, Refused, TooLarge, TooSlow

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FREE = ("/", "/docs", "/v2/health/live", "/v2/health/ready", "/favicon.ico")
"""What is answered without a token: pages, which have to ask for one, and what probes look at."""
FACTS = "shendu.facts"
"""Under which name a request's facts stand in its scope."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_PROCESS, _NUMBERS = secrets.token_hex(10), itertools.count(1)
"""A request's id is the process's own, and its number."""
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

log = logging.getLogger("shendu.serving")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of what a client may send."""

    bytes: int = 32 << 20
    seconds: float = 30.0
    """From the first byte of a request's body to its last."""


@dataclass
class Facts:
    """Of one request, for its line in the log and its headers."""

    id: str
    route: str = "other"
    """The path's pattern, so that names in it do not make a meter each."""
    model: str = ""
    hash: str = ""
    rows: int = 0
    batch: int = 0
    tokens: int = 0
    error: str = ""
    more: dict[str, str] = field(default_factory=dict)


def facts(request: Any) -> Facts:
    """Those of a request."""
    found: Facts = request.scope[FACTS]
    return found


class Guard:
    """The application, guarded."""

    def __init__(self, app: App, *, token: str, hosts: tuple[str, ...], limits: Limits, meters: Meters) -> None:
        """`token`: empty, where none is asked for; `hosts`: what a request may call this server, any where there are none."""
        self.app, self.token, self.hosts, self.limits, self.meters = app, token.encode(), hosts, limits, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        began, headers = time.perf_counter(), dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        known = Facts(given if _ID.fullmatch(given) else f"{_PROCESS}{next(_NUMBERS):012x}")
        scope[FACTS] = known
        status = 0

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *self._headers(known, scope["path"])]
            await send(message)

        try:
            if refused := self._refused(scope, headers):
                await respond(sending, *refused, path=scope["path"], known=known)
            else:
                await self.app(scope, self._counted(receive, headers), sending)
        except Exception as error:  # what no path of the application has answered
            code, why, more = refusal(error, known)
            if status == 0:  # else the answer has begun, and its end is cut off
                await respond(sending, code, why, more, path=scope["path"], known=known)
        finally:
            seconds = time.perf_counter() - began
            self.meters.request(known.route, known.model, status, seconds)
            self._logged(scope, known, status, seconds)

    def _headers(self, known: Facts, path: str) -> list[tuple[bytes, bytes]]:
        found = {"x-request-id": known.id, "x-content-type-options": "nosniff", **known.more}
        if known.hash:
            found |= {"x-model": known.model, "x-model-hash": known.hash}
        if path in ("/", "/docs"):
            found |= {"content-security-policy": POLICY, "referrer-policy": "no-referrer", "cache-control": "no-cache"}
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in found.items()]

    def _refused(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str, dict[str, str]] | None:
        """Who may not ask: (status, why, headers)."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self.hosts and name_of(host) not in self.hosts:
            return 421, "this server is not called so; ask it as it was started, such as http://127.0.0.1", {}
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if origin and origin.partition("://")[2] != host:
            return 403, "pages of other origins may not ask", {}
        if self.token and scope["path"] not in FREE:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.token):
                return 401, "a token is needed: send it as Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self.limits.bytes:
            return 413, self._too_large(), {"connection": "close"}
        return None

    def _too_large(self) -> str:
        return f"the request has more than {self.limits.bytes >> 20} MB"

    def _counted(self, receive: Receive, headers: dict[bytes, bytes]) -> Receive:
        """What comes of the body, no more of it and no later than is allowed."""
        size, over, until = 0, False, time.monotonic() + self.limits.seconds

        async def received() -> MutableMapping[str, Any]:
            nonlocal size, over
            if over:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise TooSlow(f"the request's body did not come within {self.limits.seconds:g} s") from None
            if message["type"] == "http.disconnect":
                over = True
                return message
            size += len(message.get("body", b""))
            if size > self.limits.bytes:
                raise TooLarge(self._too_large())
            over = not message.get("more_body", False)
            return message

        return received

    def _logged(self, scope: Scope, known: Facts, status: int, seconds: float) -> None:
        about = {
            "request": known.id, "method": scope["method"], "path": scope["path"][:200], "status": status,
            "milliseconds": round(1000 * seconds, 2), "model": known.model, "hash": known.hash[:12], "rows": known.rows,
            "batch": known.batch, "tokens": known.tokens, "error": known.error,
        }  # fmt: skip
        log.info("answered", extra={"facts": {key: value for key, value in about.items() if value not in ("", 0)}})


def name_of(host: str) -> str:
    """A Host header without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]


def refusal(error: Exception, known: Facts) -> tuple[int, str, dict[str, str]]:
    """(status, what is told, headers) of what went wrong: a sender's mistake in a line, anything else without a word of the inside."""
    try:
        raise error
    except Gone:
        known.error = "the client has left"
        return 499, known.error, {}
    except Refused as refused:
        known.error = str(refused)
        return refused.status, str(refused), refused.headers
    except UserError:
        known.error = str(error)
        return 400, str(error), {}
    except Exception:
        known.error = type(error).__name__
        log.error("failed inside", extra={"facts": {"request": known.id, "trace": traceback.format_exc()}})
        return 500, "something failed inside; the log tells of it under the request's id", {}


def told_as(path: str, status: int, why: str, known: Facts) -> dict[str, Any]:
    """An error in the form that the clients of a path know."""
    if path.startswith("/v1/"):
        kind = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}.get(
            status, "invalid_request_error"
        )
        return {
            "error": {"message": why, "type": "server_error" if status >= 500 else kind, "param": None, "code": None}
        }
    return {"error": why} if path.startswith("/v2") else {"error": why, "request": known.id}


async def respond(send: Send, status: int, why: str, more: dict[str, str], *, path: str, known: Facts) -> None:
    body = json.dumps(told_as(path, status, why, known), ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **more}
    coded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": coded})
    await send({"type": "http.response.body", "body": body})


class Gathered(logging.StreamHandler[Any]):
    """Lines are written together, a few times a second: one by one they would hold up every answer. Errors are written at once."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        threading.Thread(target=self._write_on, name="log", daemon=True).start()
        atexit.register(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record) + "\n")
        if record.levelno >= logging.WARNING or len(self._lines) > LINES_MOST:
            self.flush()

    def flush(self) -> None:
        with self.lock or contextlib.nullcontext():
            lines, self._lines = self._lines, []
            with contextlib.suppress(OSError, ValueError):  # where nobody reads them any more
                self.stream.write("".join(lines))
                self.stream.flush()

    def _write_on(self) -> None:
        while True:
            time.sleep(GATHERED)
            if self._lines:
                self.flush()


GATHERED, LINES_MOST = 0.2, 500
"""Seconds that lines are gathered for, and how many at most."""


class JsonLines(logging.Formatter):
    """A line of JSON each."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        about = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            about["trace"] = self.formatException(record.exc_info)
        return json.dumps({**about, **vars(record).get("facts", {})}, ensure_ascii=False)
