"""Public clients as they are, and the command itself in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Server, png

import shendu

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("binary", [False, True])
def test_tritonclient(server: Server, runs: dict[str, Path], pictures: np.ndarray, binary: bool) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    about = client.get_model_metadata("digits")
    version = about["versions"][0]
    some = np.ascontiguousarray(pictures[:5])
    x = triton.InferInput("x", some.shape, "UINT8")
    x.set_data_from_numpy(some, binary_data=binary)
    outputs = [triton.InferRequestedOutput(each["name"], binary_data=binary) for each in about["outputs"]]
    wanted = shendu.predict(runs["digits"], some, device="cpu", precision="fp32")
    for more in ({}, {"model_version": version, "outputs": outputs, "request_id": "7"}):
        found = client.infer("digits", [x], **more)
        labels = found.as_numpy("label").reshape(-1)
        assert [label.decode() if isinstance(label, bytes) else label for label in labels] == [
            row["label"] for row in wanted
        ]
        assert found.as_numpy("logits").shape == (5, 10)
        assert np.allclose(found.as_numpy("probability"), [row["probability"] for row in wanted], atol=1e-5)
    files = np.array([png(picture) for picture in some], dtype=object)
    raw = triton.InferInput("x", files.shape, "BYTES")
    raw.set_data_from_numpy(files)
    assert len(client.infer("digits", [raw]).as_numpy("label")) == 5
    with pytest.raises(Exception, match="there is no model called"):
        client.infer("none", [x])
    client.close()


def test_openai(server: Server, runs: dict[str, Path]) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)
    assert {one.id for one in client.models.list()} == set(runs)
    assert client.models.retrieve("counting").id == "counting"
    how: dict[str, Any] = {"model": "counting", "seed": 3, "max_tokens": 30, "temperature": 0.8}
    wanted = shendu.compose(runs["counting"], prompt="one two", length=30, seed=3, device="cpu")[0]
    assert client.completions.create(prompt="one two", **how).choices[0].text == wanted
    pieces = client.completions.create(prompt="one two", stream=True, **how)
    assert "".join(piece.choices[0].text for piece in pieces) == wanted
    messages = [{"role": "user", "content": "one two"}]
    whole = client.chat.completions.create(messages=messages, **how)
    assert whole.choices[0].message.role == "assistant"
    stream = client.chat.completions.create(
        messages=messages, stream=True, stream_options={"include_usage": True}, **how
    )
    said = list(stream)
    assert "".join(p.choices[0].delta.content or "" for p in said if p.choices) == whole.choices[0].message.content
    assert said[-1].usage.completion_tokens == 30
    vectors = client.embeddings.create(model="counting", input=["one", "two"])
    assert len(vectors.data[0].embedding) == 32
    with pytest.raises(openai.NotFoundError):
        client.completions.create(**{**how, "model": "none", "prompt": "x"})
    with pytest.raises(openai.BadRequestError):
        client.completions.create(**{**how, "max_tokens": 0, "prompt": "x"})


def test_mcp(server: Server, pictures: np.ndarray) -> None:
    pytest.importorskip("mcp")
    asyncio.run(_mcp(server, pictures))


async def _mcp(server: Server, pictures: np.ndarray) -> None:
    from mcp import Client

    async with Client(f"http://127.0.0.1:{server.port}/mcp") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"digits_predict", "digits_explain", "people_predict", "counting_write"} <= set(tools)
        said = await client.call_tool("people_predict", {"age": 30, "job": "nurse"})
        assert json.loads(said.content[0].text)["label"] in ("high", "low")
        coded = base64.b64encode(png(pictures[0])).decode()
        said = await client.call_tool("digits_predict", {"x": coded})
        assert "probability" in json.loads(said.content[0].text)
        said = await client.call_tool("counting_write", {"prompt": "one", "max_tokens": 5, "seed": 1})
        assert json.loads(said.content[0].text)["text"]
        assert (await client.call_tool("digits_predict", {"x": "no picture"})).is_error


# ---- the command -----------------------------------------------------------------------------------------------------


class Command:
    """`shendu serve` in a process of its own."""

    def __init__(self, *words: str) -> None:
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shendu", "serve", *words, "--port", "0", "--device", "cpu"],
            stderr=subprocess.PIPE, text=True, env=env,
        )  # fmt: skip
        self.lines: list[str] = []
        self.port = 0
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)
            if "serving at http://" in line:
                self.port = int(line.split("://")[1].split("(")[0].strip().rsplit(":", 1)[1])
                break
        assert self.port, self.lines
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr or ()), daemon=True).start()
        self.until_ready()

    def until_ready(self) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                if self.get("/v2/health/ready"):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("".join(self.lines))

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as found:
            data: bytes = found.read()
            return data

    def post(self, path: str, body: Any) -> Any:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=30) as found:
            return json.loads(found.read())

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def command() -> Iterator[Any]:
    made: list[Command] = []

    def start(*words: str) -> Command:
        made.append(Command(*words))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.end()


def test_what_was_asked_is_answered_when_the_server_is_told_to_end(
    command: Any, runs: dict[str, Path], pictures: np.ndarray
) -> None:
    """Under load: whoever was heard gets an answer, and the process ends well."""
    server = command(str(runs["digits"]), str(runs["counting"]))
    statuses: list[bool] = []

    def load() -> None:
        while True:
            try:
                said = server.post("/predict", {"model": "digits", "inputs": [pictures[0].tolist()]})
            except OSError:  # it takes no more: what stood before its door was not heard
                return
            statuses.append(bool(said["predictions"]))

    long: list[Any] = []
    asked = {"model": "counting", "prompt": "one", "max_tokens": 400, "seed": 1}
    writing = threading.Thread(target=lambda: long.append(server.post("/v1/completions", asked)))
    threads = [writing, *(threading.Thread(target=load) for _ in range(4))]
    for each in threads:
        each.start()
    time.sleep(0.7)
    assert server.end() == 0
    for each in threads:
        each.join(30)
    assert len(statuses) > 5
    assert all(statuses)
    assert len(long[0]["choices"][0]["text"]) > 100
    time.sleep(0.5)
    heard = [json.loads(line) for line in server.lines if '"/predict"' in line]
    assert {line["status"] for line in heard} == {200}
    assert len(heard) == len(statuses), "whoever was heard has an answer"


def test_a_process_that_is_killed_is_started_anew(command: Any, runs: dict[str, Path], pictures: np.ndarray) -> None:
    server = command(str(runs["digits"]), "--workers", "2")
    body = {"inputs": [pictures[0].tolist()]}
    assert server.post("/predict", body)["predictions"]

    def workers() -> list[int]:
        told = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(server.process.pid)], capture_output=True, text=True
        ).stdout
        return [int(line.split()[0]) for line in told.splitlines() if "spawn_main" in line]

    before = workers()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    answered = 0
    until = time.monotonic() + 60
    while time.monotonic() < until and (len(now := workers()) < 2 or before[0] in now):
        try:
            server.post("/predict", body)
            answered += 1
        except OSError:
            pass
        time.sleep(0.1)
    assert before[1] in workers(), "the other one is unharmed"
    assert answered
    for _ in range(10):
        assert server.post("/predict", body)["predictions"]
    told = server.get("/metrics").decode()
    assert "shendu_requests_total" in told
    assert server.end() == 0
