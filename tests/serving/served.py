"""A server in a thread, and how it is asked."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from shendu.serving import process
from shendu.serving.models import How
from shendu.serving.state import Settings, State
from shendu.verbs.serve import bound


@dataclass
class Said:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server in a thread."""

    port: int
    state: State
    stop: Callable[[], None]
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, body: Any = None, *, method: str = "", **headers: str) -> Said:
        """A request: `body` bytes as they are, anything else as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {} if isinstance(body, bytes) or body is None else {"content-type": "application/json"}
        try:
            connection.request(
                method or ("GET" if body is None else "POST"), path, data, {**self.headers, **kind, **named}
            )
            got = connection.getresponse()
            return Said(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        finally:
            connection.close()


def started(runs: dict[str, Path], **more: Any) -> Server:
    """A server of these runs; `more` are settings."""
    settings = Settings(runs=runs, how=How("cpu", "fp32"), looked=0.1, **{"hosts": ("127.0.0.1", "localhost"), **more})
    state = State(settings)
    state.open()
    sock = bound("127.0.0.1", 0)
    server = uvicorn.Server(process.config(partial(process.app, settings, state), "127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started

    def stop() -> None:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()

    return Server(sock.getsockname()[1], state, stop)


def png(pixels: np.ndarray) -> bytes:
    """A picture's file."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "png")
    return out.getvalue()


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """A form of (name, file's name or nothing, content), and its content type."""
    lines = []
    for name, file, content in parts:
        more = f'; filename="{file}"' if file else ""
        lines.append(
            b"--BOUND\r\n" + f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return b"".join(lines) + b"--BOUND--\r\n", "multipart/form-data; boundary=BOUND"
