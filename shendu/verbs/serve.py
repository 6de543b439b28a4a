"""serve: finished models behind HTTP, for programs, for agents, and with a page for people."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from shendu.errors import UserError
from shendu.options import DEVICE, PRECISION, echo

ORDER = 65
PUBLIC = ("serve",)
TOKEN = "SHENDU_TOKEN"
TOKEN_LEAST = 16
"""Letters of a token."""
NEEDED = "serve needs more packages: pip install 'shendu[serve]'"
LOCAL = ("localhost", "127.0.0.1", "::1")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0}


def serve(*runs: str | Path, host: str = "127.0.0.1", port: int = 8000, workers: int = 1, **how: Any) -> None:
    """Serves runs (folders, or "NAME=FOLDER") until a signal comes; `how` as for `settled`. Port 0 is any that is free.

    With several workers it is to be called under `if __name__ == "__main__":`, since they are new processes. Raises UserError.
    """
    run(settled(tuple(map(str, runs)), host=host, workers=workers, **how), host, port, workers)


def settled(
    runs: tuple[str, ...],
    *,
    host: str = "127.0.0.1",
    token_file: str | Path | None = None,
    workers: int = 1,
    p99: str | None = None,
    batch: int = 32,
    wait: float = 4.0,
    queue: int = 512,
    record: str | Path | None = None,
    max_mb: int = 32,
    device: str = "auto",
    precision: str = "auto",
    files: tuple[Path, ...] = (),
    trust: bool = False,
) -> Any:
    """What a server is told (`shendu.serving.app.Settings`). Raises UserError for what does not go together, and where the
    packages are missing."""
    state = serving()
    from shendu.serving.engine import Pace
    from shendu.serving.guard import Limits
    from shendu.serving.models import How, wanted

    for name, value, right, like in (
        ("workers", workers, 1 <= workers <= 64, "2"), ("batch", batch, 1 <= batch <= 500, "32"), ("wait", wait, 0 <= wait <= 1000, "4"),
        ("queue", queue, 1 <= queue <= 100_000, "512"), ("max-mb", max_mb, 1 <= max_mb <= 1024, "32"),
    ):  # fmt: skip
        if not right:
            raise UserError(f"--{name} {value} is out of range; write it like --{name} {like}")
    if record and workers > 1:
        raise UserError("--record keeps what one process answers; leave --workers out")
    token, local = token_of(token_file), is_local(host)
    if not local and not token:
        raise UserError(
            f"--host {host} can be reached by others, so a token is needed; make one, like: "
            f"{TOKEN}={secrets.token_urlsafe(24)} shendu serve {' '.join(runs)} --host {host}"
        )
    pace = Pace(size=batch, wait=wait / 1000, room=queue)
    if p99:
        pace = replace(pace, promised=seconds_of(p99))
    return state.Settings(
        runs=wanted(runs), how=How(device, precision, files, trust), pace=pace, limits=Limits(bytes=max_mb << 20), token=token,
        hosts=() if token else tuple({*LOCAL, host.lower()}), record=Path(record) if record else None,
        threads=max(1, (os.cpu_count() or 1) // workers) if workers > 1 else 0,
    )  # fmt: skip


def serving() -> Any:
    """The application's module; raises UserError where its packages are missing."""
    try:
        from shendu.serving import process, state
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "shendu":
            raise
        raise UserError(f"{NEEDED} ({error.name} is missing)") from None
    assert process
    return state


def token_of(file: str | Path | None) -> str:
    """The token of a file, or of $SHENDU_TOKEN; empty: none is asked for. Raises UserError for one that is easily guessed."""
    where = f"--token-file {file}" if file else f"${TOKEN}"
    try:
        found = (
            Path(file).expanduser().read_text(encoding="utf-8").strip() if file else os.environ.get(TOKEN, "").strip()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read ({error}); give a file that holds a token") from None
    if (file or found) and (len(found) < TOKEN_LEAST or not re.fullmatch(r"[\x21-\x7e]+", found)):
        raise UserError(
            f"{where} is no token of {TOKEN_LEAST} letters or more; make one, like: "
            'python -c "import secrets; print(secrets.token_urlsafe(24))"'
        )
    return found


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def seconds_of(words: str) -> float:
    """`50ms`, `0.2s` -> seconds; raises UserError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|)\s*", words)
    if not found or not (seconds := float(found[1]) * _UNITS[found[2]]):
        raise UserError(f"--p99 {words} is no time; write it like --p99 50ms")
    return seconds


# ---- the server ------------------------------------------------------------------------------------------------------


def run(settings: Any, host: str, port: int, workers: int) -> None:
    """Serves until a signal comes, and answers what was asked before it ends. Raises UserError where it cannot begin."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from shendu.serving import process

    sock = bound(host, port)
    more_files()
    state = serving().State(settings)
    state.open()  # what is wrong with a run is said before anything is served
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{sock.getsockname()[1]}"
    for one in state.models.values():
        echo(f"{one.loaded.name}: {one.loaded.system}, {one.loaded.version}", aside=True)
    echo(f"serving at {address} (page: {address}/, paths: {address}/docs); Ctrl-C stops", aside=True)
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        if workers == 1:
            config = process.config(partial(process.app, settings, state), host, port)
            stack.enter_context(quietly())
            uvicorn.Server(config).run(sockets=[sock])
            return
        state.close()
        os.environ[process.FOLDER] = stack.enter_context(tempfile.TemporaryDirectory(prefix="shendu-meters-"))
        config = process.config(partial(process.app, settings), host, port, workers=workers)
        Multiprocess(config, [sock]).run()


@contextlib.contextmanager
def quietly() -> Any:
    """A signal that has ended the server does not end the process a second time."""
    ended = (signal.SIGINT, signal.SIGTERM)
    before = {one: signal.signal(one, lambda *_: None) for one in ended}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address; raises UserError where there is none to be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family[0], socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(family[4])
        sock.set_inheritable(True)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError(f"cannot serve at {host}:{port} ({error}); choose another with --port, or 0 for any") from None
    return sock


def more_files() -> None:
    """As many connections as this user may have open."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 1 << 16)), hard))


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", help="Where to listen; others than this machine need a token.")
@click.option("--port", type=int, default=8000, help="0: any that is free.")
@click.option(
    "--token-file", metavar="FILE", help="A file with the token that requests must bring (else $SHENDU_TOKEN)."
)
@click.option("--workers", type=int, default=1, metavar="N", help="Processes; one that dies is started anew.")
@click.option("--p99", metavar="TIME", help="Answer within it (50ms), or refuse with 429 at once.")
@click.option("--batch", type=int, default=32, metavar="N", help="Rows that are answered at once, at most.")
@click.option(
    "--wait", type=float, default=4.0, metavar="MS", help="Milliseconds a batch waits for requests that arrive."
)
@click.option("--queue", type=int, default=512, metavar="N", help="Requests that may wait; more get 429.")
@click.option("--max-mb", type=int, default=32, metavar="N", help="Megabytes of a request at most.")
@click.option("--record", metavar="FILE", help="Keep inputs and answers for `shendu replay`.")
@DEVICE
@PRECISION
@click.option(
    "--file", "files", multiple=True, metavar="FILE.py", help="Your own system's file, of a run that it made."
)
@click.option("--trust", is_flag=True, help="Run the text of your own system's file that the run keeps.")
def command(runs: tuple[str, ...], host: str, port: int, workers: int, files: tuple[str, ...], **options: Any) -> None:
    """Serve RUNS over HTTP: a page, JSON, tensors, OpenAI's paths, tools for agents.

    A run is named by its folder; NAME=RUN names it otherwise. Where its folder changes, the new model takes the old one's place.

    \b
    shendu serve runs/2026-11-22_lenet_mnist_1
    shendu serve digits=runs/2026-11-22_lenet_mnist_1 writer=runs/2026-11-22_gpt_tinyshakespeare_1 --port 8080
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"--port {port} is no port; write it like --port 8000")
    settings = settled(runs, host=host, workers=workers, files=tuple(map(Path, files)), **options)
    run(settings, host, port, workers)
