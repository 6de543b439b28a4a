"""Faults: hostile bodies, clients that leave or crawl, models that are exchanged or damaged under load."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Server, form, started

import shendu
from shendu.serving import inputs, process
from shendu.serving.engine import Pace
from shendu.serving.guard import Limits


def works(server: Server, pictures: np.ndarray) -> None:
    """It answers as before."""
    assert server.ask("/predict", {"model": "digits", "inputs": [pictures[0].tolist()]}).status == 200


def bomb(side: int) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"\0" * (side // 8 + 1)) for _ in range(min(side, 2000))) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


DEEP = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("/predict?model=digits", b"", "image/png"),
    "a bomb": ("/predict?model=digits", bomb(60_000), "image/png"),
    "cut off": ("/predict?model=digits", bomb(64)[:40], "image/png"),
    "deep": ("/predict?model=digits", DEEP, "application/json"),
    "no JSON": ("/predict?model=digits", b'{"inputs": [NaN, ', "application/json"),
    "other bytes": ("/predict?model=digits", b"\xff\xfe\x00" * 50, "application/json"),
    "huge number": ("/predict?model=people", b'{"inputs": [{"age": 1' + b"0" * 5000 + b', "job": "x"}]}', "application/json"),
    "infinity": ("/predict?model=people", b'{"inputs": [{"age": 1e999, "job": null}]}', "application/json"),
    "nested cell": ("/predict?model=people", b'{"inputs": [{"age": {"a": [1]}, "job": "x"}]}', "application/json"),
    "no form": ("/predict?model=digits", b"--x\r\nhello", "multipart/form-data; boundary=x"),
    "no boundary": ("/predict?model=digits", b"--x\r\nhello", "multipart/form-data"),
    "a broken head": ("/predict?model=digits", b"--x\r\nA\rb: c\r\n\r\nd\r\n--x--", "multipart/form-data; boundary=x"),
    "bad table": ("/predict?model=people", b'age,job\n"30,nurse\n\x00\x00', "text/csv"),
    "bad length": ("/v2/models/digits/infer", b"{}", "application/json"),
    "a list": ("/v1/completions", b"[1, 2]", "application/json"),
    "half a sign": ("/v1/completions", b'{"model": "counting", "prompt": "\\ud800"}', "application/json"),
    "a batch of messages": ("/mcp", b"[]", "application/json"),
    "params": ("/mcp", b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": 3}', "application/json"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_get_a_line(server: Server, pictures: np.ndarray, name: str) -> None:
    path, body, kind = HOSTILE[name]
    began = time.monotonic()
    said = server.ask(
        path, body, content_type=kind, inference_header_content_length="99999999999999" if name == "bad length" else "2"
    )
    if path == "/mcp":
        assert "error" in said.json or said.json["result"] == {}
    elif name == "infinity":
        assert said.status in (200, 400)
    else:
        assert 400 <= said.status < 500, (said.status, said.body)
        assert b"Traceback" not in said.body
    assert time.monotonic() - began < 10
    works(server, pictures)


def test_a_huge_body_is_not_read(server: Server, pictures: np.ndarray) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n")
        assert b" 413 " in sock.recv(200)
    with socket.create_connection(
        ("127.0.0.1", server.port), timeout=20
    ) as sock:  # one that does not say how long it is
        sock.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        try:
            for _ in range(64):
                sock.sendall(piece)
        except OSError:  # closed in the middle of it
            pass
        else:
            assert b" 413 " in sock.recv(200)
    works(server, pictures)


def test_a_prompt_of_a_million_letters(server: Server) -> None:
    began = time.monotonic()
    said = server.ask("/v1/completions", {"model": "counting", "prompt": "one " * 250_000})
    assert said.status == 400
    assert "longer than" in said.json["error"]["message"]
    assert time.monotonic() - began < 10


def test_too_many_rows_and_letters_are_refused(server: Server) -> None:
    many = [{"age": 1, "job": "x"}] * (inputs.ROWS_MOST + 1)
    assert "send them in several" in server.ask("/predict", {"model": "people", "inputs": many}).json["error"]
    long = {"age": 1, "job": "x" * (inputs.CELL_MOST + 1)}
    assert server.ask("/predict", {"model": "people", "inputs": [long]}).status == 400


def test_a_client_that_leaves_a_stream_ends_its_text(server: Server, pictures: np.ndarray) -> None:
    writer = server.state.models["counting"].engine.writer
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = json.dumps({"model": "counting", "prompt": "one", "max_tokens": 4096, "stream": True})
    connection.request("POST", "/v1/completions", body)
    response = connection.getresponse()
    response.read(300)
    assert writer.writing == 1
    assert connection.sock
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    until = time.monotonic() + 10
    while writer.writing and time.monotonic() < until:
        time.sleep(0.02)
    assert not writer.writing
    works(server, pictures)


def test_slow_clients_hold_nobody_up(server: Server, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that have said half of what they want; those whose head does not come are sent away."""
    monkeypatch.setattr(process, "HEAD_SECONDS", 1.0)
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(150)]
    try:
        for i, sock in enumerate(slow):
            sock.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + (b"Content-Length: 100\r\n\r\n{" if i % 2 else b"X-")
            )
        began = time.monotonic()
        for _ in range(5):
            works(server, pictures)
        assert time.monotonic() - began < 5
        assert slow[0].recv(10) == b"", "closed"
    finally:
        for sock in slow:
            sock.close()
    works(server, pictures)


def test_a_body_that_does_not_come_is_not_waited_for(starting: Callable[..., Server], pictures: np.ndarray) -> None:
    server = starting("digits", limits=Limits(seconds=0.5))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in sock.recv(200)
    works(server, pictures)


def test_a_full_queue_refuses(starting: Callable[..., Server], pictures: np.ndarray) -> None:
    server = starting("digits", pace=Pace(room=2))
    gate = threading.Event()
    engine = server.state.models["digits"].engine
    engine.call(gate.wait)
    time.sleep(0.1)
    said: list[Any] = []
    body = {"inputs": [pictures[0].tolist()]}
    threads = [threading.Thread(target=lambda: said.append(server.ask("/predict", body))) for _ in range(6)]
    for each in threads:
        each.start()
    until = time.monotonic() + 10
    while len(said) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    assert [one.status for one in said] == [429] * 4
    assert all(int(one.headers["retry-after"]) >= 1 for one in said)
    gate.set()
    for each in threads:
        each.join()
    assert sorted(one.status for one in said) == [200] * 2 + [429] * 4


# ---- models that are exchanged ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the same kind."""
    folder = tmp_path_factory.mktemp("other") / "digits"
    how: dict[str, Any] = {"quiet": True, "device": "cpu", "precision": "fp32"}
    shendu.train("mlp", "digits", out=folder, steps=5, seed=1, hidden=(24,), **how)
    return folder


FILES = ("model.safetensors", "task.json", "config.json")


def copied(source: Path, to: Path) -> None:
    """A run's model, as `train` writes it: file after file."""
    to.mkdir(exist_ok=True)
    for name in (*FILES, "recipe.json"):
        shutil.copy(source / name, to / f".{name}")
        (to / f".{name}").replace(to / name)


def test_models_are_exchanged_under_load_and_broken_ones_are_not_taken(
    runs: dict[str, Path], others: Path, tmp_path: Path, pictures: np.ndarray
) -> None:
    place = tmp_path / "digits"
    copied(runs["digits"], place)
    server = started({"digits": place})
    body = {"inputs": [pictures[0].tolist()]}
    hashes, failed, over = [], list[Any](), threading.Event()

    def load() -> None:
        while not over.is_set():
            said = server.ask("/predict", body)
            hashes.append(said.json.get("hash"))
            failed.extend([said] if said.status != 200 else [])

    threads = [threading.Thread(target=load) for _ in range(3)]
    for each in threads:
        each.start()
    served = server.state.models["digits"]
    try:
        first = served.loaded.hash
        copied(others, place)
        wait_for(lambda: served.loaded.hash != first)
        second = served.loaded.hash
        whole = (place / "model.safetensors").read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", whole[:-4] + b"\xff\xff\xff\xff"):
            (place / "model.safetensors").write_bytes(damaged)
            time.sleep(0.4)
            assert served.loaded.hash == second, "the old one stays"
        (place / "config.json").unlink()
        time.sleep(0.4)
        assert served.loaded.hash == second
        copied(runs["digits"], place)
        wait_for(lambda: served.loaded.hash == first)
        time.sleep(0.2)
    finally:
        over.set()
        for each in threads:
            each.join()
        server.stop()
    assert not failed, failed[0]
    assert set(hashes) == {first, second}
    assert hashes[0] == first == hashes[-1]


def wait_for(done: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_file_in_a_form_is_read_as_what_the_model_takes(server: Server) -> None:
    """A table that names pictures' paths is no picture, and an archive is none."""
    table = b"image,label\n/etc/hostname,1\n"
    for name, data in (("x.csv", table), ("x.zip", b"PK\x03\x04" + b"\0" * 60)):
        body, kind = form(("file", name, data))
        said = server.ask("/predict?model=digits", body, content_type=kind)
        assert said.status == 400
        assert "picture" in said.json["error"]
