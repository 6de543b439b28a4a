"""A download against servers that behave, break off, lie, stall and go on forever."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shendu.data.files import download
from shendu.errors import UserError

BODY = bytes((i * i + i // 251) % 256 for i in range(300_000))
SHA = hashlib.sha256(BODY).hexdigest()
WRONG = bytes(len(BODY))


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Handler, int], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[str | None] = []
        """The Range header of each request."""
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        with contextlib.suppress(OSError):  # the client may hang up
            self.server.answer(self, len(self.server.asked) - 1)

    def start(self) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(asked[1]) if asked else 0

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self, data: bytes) -> None:
        for at in range(0, len(data), 20_000):
            self.wfile.write(data[at : at + 20_000])
            self.server.sent += len(data[at : at + 20_000])

    def log_message(self, *args: object) -> None:
        pass


def honest(handler: Handler, request: int = 0, body: bytes = BODY, most: int | None = None) -> None:
    """Serves what is asked for, Range included; breaks off after `most` bytes."""
    start = handler.start()
    if start >= len(body):
        handler.head(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
    elif start:
        handler.head(206, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}", Content_Length=len(body) - start)
        handler.body(body[start:][:most])
    else:
        handler.head(200, Content_Length=len(body))
        handler.body(body[:most])


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", 2.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers: list[Server] = []

    def build(answer: Callable[[Handler, int], None]) -> Server:
        servers.append(Server(answer))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1]

    yield build
    for server in servers:
        server.shutdown()
        server.server_close()


def get(to: Path, *servers: Server, **more: object) -> Path:
    return download.fetch([server.url for server in servers], to, sha256=SHA, size=len(BODY), **more)  # type: ignore[arg-type]


def whole(to: Path) -> bool:
    return to.read_bytes() == BODY and {p.name for p in to.parent.iterdir()} == {to.name, ".lock"}


def test_an_honest_server(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server, seen = serve(honest), []
    to = tmp_path / "made" / "on the way" / "file.bin"
    assert get(to, server, progress=lambda done, size: seen.append((done, size))) == to
    assert whole(to)
    assert server.asked == [None]
    assert seen == sorted(seen)
    assert seen[-1] == (len(BODY), len(BODY))
    get(to, server)  # it is there and right: nobody is asked
    assert server.asked == [None]


def test_a_damaged_file_is_replaced(tmp_path: Path, serve: Callable[..., Server]) -> None:
    to = tmp_path / "file.bin"
    to.write_bytes(WRONG)
    assert whole(get(to, serve(honest)))


def test_breaks_off_several_times(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(lambda handler, request: honest(handler, most=70_000))
    assert whole(get(tmp_path / "file.bin", server))
    assert server.asked == [None, "bytes=70000-", "bytes=140000-", "bytes=210000-", "bytes=280000-"]
    assert server.sent == len(BODY)  # not a byte twice


def test_a_half_file_is_not_fetched_twice(tmp_path: Path, serve: Callable[..., Server]) -> None:
    dying = serve(lambda handler, request: honest(handler, most=100_000 if request == 0 else 0))
    with pytest.raises(UserError, match="gave up after 6 attempts"):
        get(tmp_path / "file.bin", dying)
    assert (tmp_path / "file.bin.part").read_bytes() == BODY[:100_000]
    server = serve(honest)
    assert whole(get(tmp_path / "file.bin", server))
    assert (server.asked, server.sent) == (["bytes=100000-"], 200_000)


def test_a_whole_part_needs_no_server(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY)
    server = serve(honest)
    assert whole(get(tmp_path / "file.bin", server))
    assert server.asked == []


def test_range_is_ignored(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def answer(handler: Handler, request: int) -> None:
        handler.head(200, Content_Length=len(BODY))
        handler.body(BODY[:50_000] if request == 0 else BODY)

    server = serve(answer)
    assert whole(get(tmp_path / "file.bin", server))
    assert server.asked == [None, "bytes=50000-"]


@pytest.mark.parametrize("stated", ["bytes 7-299999/300000", "octets", "bytes 50000-/300000"])
def test_the_wrong_range_is_not_believed(tmp_path: Path, serve: Callable[..., Server], stated: str) -> None:
    def answer(handler: Handler, request: int) -> None:
        if not handler.start():
            return honest(handler, most=50_000 if request == 0 else None)
        handler.head(206, Content_Range=stated, Content_Length=len(BODY) - 7)
        return handler.body(BODY[7:])

    server = serve(answer)
    assert whole(get(tmp_path / "file.bin", server))
    assert server.asked == [None, "bytes=50000-", None]


def test_a_length_that_is_too_large(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def answer(handler: Handler, request: int) -> None:
        handler.head(200, Content_Length=10 * len(BODY))
        handler.body(BODY)

    assert whole(get(tmp_path / "file.bin", serve(answer)))


def test_a_length_that_is_too_small(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def answer(handler: Handler, request: int) -> None:
        handler.head(200, Content_Length=1000)
        handler.body(BODY)

    short = serve(answer)
    with pytest.raises(UserError, match=r"offers 1,000 bytes, 300,000 are expected"):
        get(tmp_path / "file.bin", short)
    assert whole(get(tmp_path / "file.bin", short, serve(honest)))


def test_wrong_bytes_then_a_good_mirror(tmp_path: Path, serve: Callable[..., Server]) -> None:
    bad, good = serve(lambda handler, request: honest(handler, body=WRONG)), serve(honest)
    assert whole(get(tmp_path / "file.bin", bad, good))
    assert bad.sent == good.sent == len(BODY)


def test_wrong_bytes_everywhere(tmp_path: Path, serve: Callable[..., Server]) -> None:
    bad = serve(lambda handler, request: honest(handler, body=WRONG))
    with pytest.raises(UserError) as caught:
        get(tmp_path / "file.bin", bad, bad)
    text = str(caught.value)
    assert SHA in text
    assert hashlib.sha256(WRONG).hexdigest() in text
    assert bad.url in text
    assert str(tmp_path) in text
    assert "--data-dir" in text
    assert "\n" not in text
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_a_half_of_wrong_bytes_does_not_spoil_a_good_mirror(tmp_path: Path, serve: Callable[..., Server]) -> None:
    bad = serve(lambda handler, request: honest(handler, body=WRONG, most=50_000 if request == 0 else 0))
    good = serve(honest)
    assert whole(get(tmp_path / "file.bin", bad, good))
    assert good.asked == ["bytes=50000-", None]


def test_streams_forever(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def answer(handler: Handler, request: int) -> None:
        handler.head(200)
        while True:
            handler.body(bytes(20_000))

    longest = 0

    def watch(done: int, size: int) -> None:
        nonlocal longest
        longest = max(longest, (tmp_path / "file.bin.part").stat().st_size)

    with pytest.raises(UserError, match="sent something else"):
        get(tmp_path / "file.bin", serve(answer), progress=watch)
    assert longest == len(BODY)


def test_chunked_without_a_length(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def answer(handler: Handler, request: int) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.head(200, Transfer_Encoding="chunked", Connection="close")
        for at in range(0, len(BODY), 70_000):
            piece = BODY[at : at + 70_000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    assert whole(get(tmp_path / "file.bin", serve(answer)))


def test_not_found_is_not_asked_twice(tmp_path: Path, serve: Callable[..., Server]) -> None:
    missing = serve(lambda handler, request: handler.head(404, Content_Length=0))
    with pytest.raises(UserError, match=r"file\.bin \(HTTP 404 Not Found\)"):
        get(tmp_path / "file.bin", missing)
    assert len(missing.asked) == 1
    assert whole(get(tmp_path / "file.bin", missing, serve(honest)))


def test_a_server_that_recovers(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def answer(handler: Handler, request: int) -> None:
        honest(handler) if request > 1 else handler.head((500, 503)[request], Content_Length=0)

    server = serve(answer)
    assert whole(get(tmp_path / "file.bin", server))
    assert len(server.asked) == 3


def test_a_stale_part_that_is_too_long(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY + b"more")
    server = serve(honest)
    assert whole(get(tmp_path / "file.bin", server))
    assert server.asked == [None]


def test_a_stale_part_of_something_else(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 299_999)
    server = serve(honest)
    assert whole(get(tmp_path / "file.bin", server))
    assert server.asked == ["bytes=299999-", None]


def test_the_range_is_refused(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def answer(handler: Handler, request: int) -> None:
        handler.head(416, Content_Length=0) if handler.start() else honest(handler)

    (tmp_path / "file.bin.part").write_bytes(BODY[:10])
    assert whole(get(tmp_path / "file.bin", serve(answer)))


def test_a_silent_server(tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    done = threading.Event()
    server = serve(lambda handler, request: done.wait(2))
    with pytest.raises(UserError, match="gave up after 2 attempts: timed out"):
        get(tmp_path / "file.bin", server)
    done.set()


def test_redirections(tmp_path: Path, serve: Callable[..., Server]) -> None:
    good = serve(honest)
    moved = serve(lambda handler, request: handler.head(302, Location=good.url, Content_Length=0))
    assert whole(get(tmp_path / "file.bin", moved))
    for place in ("ftp://127.0.0.1/file.bin", f"file://{tmp_path}/file.bin"):
        astray = serve(lambda handler, request, place=place: handler.head(302, Location=place, Content_Length=0))
        with pytest.raises(UserError):
            get(tmp_path / "other.bin", astray)


def test_only_http(tmp_path: Path) -> None:
    (tmp_path / "here.bin").write_bytes(BODY)
    with pytest.raises(UserError, match="unknown url type: file"):
        download.fetch([f"file://{tmp_path}/here.bin"], tmp_path / "file.bin", sha256=SHA, size=len(BODY))


def test_no_network(tmp_path: Path, serve: Callable[..., Server]) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as unused:
        url = f"http://127.0.0.1:{unused.server_address[1]}/file.bin"
    with pytest.raises(UserError) as caught:
        download.fetch([url], tmp_path / "file.bin", sha256=SHA, size=len(BODY))
    text = str(caught.value)
    assert f"{url} (no connection: Connection refused)" in text
    assert str(tmp_path) in text
    assert "--data-dir" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    server = serve(honest)
    with pytest.raises(UserError, match="No space left on device") as caught:
        get(tmp_path / "file.bin", server)
    assert server.url in str(caught.value)
    assert "--data-dir" in str(caught.value)


def test_a_folder_that_cannot_be(tmp_path: Path, serve: Callable[..., Server]) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        get(tmp_path / "taken" / "file.bin", serve(honest))


def test_an_interrupted_download_goes_on(tmp_path: Path, serve: Callable[..., Server]) -> None:
    def stop(done: int, size: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    server = serve(honest)
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path / "file.bin", server, progress=stop)
    there = (tmp_path / "file.bin.part").stat().st_size
    assert there > 100_000
    assert whole(get(tmp_path / "file.bin", server))
    assert server.asked == [None, f"bytes={there}-"]


def test_two_at_once_fetch_it_once(tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve(honest)
    threads = [threading.Thread(target=get, args=(tmp_path / "file.bin", server)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert whole(tmp_path / "file.bin")
    assert server.asked == [None]


def test_without_locks_each_has_its_own_part(
    tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_lock", lambda file: False)
    (tmp_path / "file.bin.part").write_bytes(b"another process writes here")
    get(tmp_path / "file.bin", serve(honest))
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert (tmp_path / "file.bin.part").read_bytes() == b"another process writes here"
