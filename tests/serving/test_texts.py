"""Language models: what is written is what `shendu sample` writes, whole or as it comes, alone or beside others."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from served import Server

import shendu
from shendu.nn.generate import generate
from shendu.nn.together import Together
from shendu.systems.sequence import gpt, gpt2, gru, lstm

NETWORKS: dict[str, Any] = {
    "rotary": lambda: gpt.Config(vocabulary=23, context=12, layers=2, heads=2, width=16),
    "learned": lambda: gpt.Config(
        vocabulary=23, context=12, layers=2, heads=4, width=16, kv_heads=2, position="learned", placement="post"
    ),
    "gpt2": lambda: gpt2.Config(vocabulary=23, context=12, layers=2, heads=2, width=16),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_texts_that_are_written_together_are_those_written_alone(name: str) -> None:
    """Texts of different lengths join and leave at different times, and go beyond the context."""
    torch.manual_seed(1)
    model = NETWORKS[name]().build().eval()
    check(model, [torch.randint(23, (n,)) for n in (3, 9, 1, 12, 15)], 20)


@pytest.mark.parametrize("system", [gru, lstm])
def test_states_of_recurrent_networks_are_put_side_by_side(system: Any, runs: dict[str, Path]) -> None:
    recipe = system.recipe(shendu.open_data("counting"), layers=2, units=12, width=8, steps=1)
    torch.manual_seed(1)
    model = recipe.model.build().eval()
    check(model, [torch.randint(5, (n,)) for n in (3, 6, 1)], 9)


def check(model: Any, prompts: list[torch.Tensor], length: int) -> None:
    """Greedy continuations; one text joins at each step, and each leaves when it is long enough."""
    with torch.no_grad():
        alone = [[int(t) for t in generate(model, p[None], length, temperature=0)] for p in prompts]
        together, texts, written = Together(model, most=len(prompts)), [], [[] for _ in prompts]
        waiting = list(range(len(prompts)))
        while waiting or texts:
            if waiting:
                text = waiting.pop(0)
                written[text].append(int(together.join(prompts[text]).argmax()))
                texts.append(text)
            logits = together.step(torch.tensor([written[text][-1] for text in texts]))
            for text, row in zip(texts, logits, strict=True):
                written[text].append(int(row.argmax()))
            for place in reversed([i for i, text in enumerate(texts) if len(written[text]) >= length]):
                together.leave(place)
                texts[place] = texts[-1]
                texts.pop()
    assert [text[:length] for text in written] == alone


def composed(runs: dict[str, Path], **how: Any) -> list[str]:
    return shendu.compose(runs["counting"], device="cpu", **how)


def test_what_is_written_is_what_sample_writes(server: Server, runs: dict[str, Path]) -> None:
    said = server.ask("/v1/completions", {"prompt": "one two", "model": "counting", "max_tokens": 40, "seed": 3, "n": 3,
                                          "temperature": 0.7, "top_k": 9}).json  # fmt: skip
    wanted = composed(runs, prompt="one two", length=40, seed=3, n=3, temperature=0.7, top_k=9)
    assert [choice["text"] for choice in said["choices"]] == wanted
    assert said["usage"] == {"prompt_tokens": 7, "completion_tokens": 120, "total_tokens": 127}
    assert {choice["finish_reason"] for choice in said["choices"]} == {"length"}
    assert said["system_fingerprint"] == server.state.models["counting"].loaded.hash[:12]


def test_a_text_ends_before_a_word(server: Server, runs: dict[str, Path]) -> None:
    whole = composed(runs, prompt="one", length=60, seed=5)[0]
    words = [whole[20:22], whole[40:41]]
    cut = min(whole.index(word) for word in words)
    said = server.ask("/v1/completions", {"prompt": "one", "model": "counting", "max_tokens": 60, "seed": 5, "temperature": 0.8,
                                          "stop": words}).json["choices"][0]  # fmt: skip
    assert said["text"] == whole[:cut]
    assert said["finish_reason"] == "stop"


def test_a_text_comes_as_it_is_written(server: Server, runs: dict[str, Path]) -> None:
    body = {
        "model": "counting",
        "prompt": ["one", "two"],
        "max_tokens": 20,
        "seed": 2,
        "temperature": 0.8,
        "echo": True,
    }
    whole = server.ask("/v1/completions", body).json["choices"]
    said = server.ask("/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}})
    assert said.headers["content-type"].startswith("text/event-stream")
    events = [line[6:] for line in said.body.decode().split("\n\n") if line]
    assert events[-1] == "[DONE]"
    pieces = [json.loads(event) for event in events[:-1]]
    texts = {0: "", 1: ""}
    for piece in pieces:
        for choice in piece["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == {choice["index"]: choice["text"] for choice in whole}
    assert pieces[-1]["usage"]["completion_tokens"] == 40


def test_a_conversation_goes_on_from_what_was_said(server: Server, runs: dict[str, Path]) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": [{"type": "text", "text": "two"}]}]
    body = {"model": "counting", "messages": messages, "max_tokens": 15, "seed": 4, "temperature": 0.8}
    said = server.ask("/v1/chat/completions", body).json["choices"][0]
    assert said["message"]["content"] == composed(runs, prompt="one\ntwo\n", length=15, seed=4)[0]
    streamed = server.ask("/v1/chat/completions", {**body, "stream": True}).body.decode()
    pieces = [json.loads(line[6:]) for line in streamed.split("\n\n") if line.startswith("data: {")]
    assert pieces[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(p["choices"][0]["delta"].get("content", "") for p in pieces) == said["message"]["content"]


def test_clients_at_once_get_what_each_would_get_alone(server: Server, runs: dict[str, Path]) -> None:
    prompts = ["one", "two three four", "f", "sixty five", "nine ninety nine", "seven"]
    got: dict[int, str] = {}

    def ask(i: int) -> None:
        body = {"model": "counting", "prompt": prompts[i], "max_tokens": 30, "seed": i, "temperature": 0.8}
        got[i] = server.ask("/v1/completions", body).json["choices"][0]["text"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert got == {i: composed(runs, prompt=p, length=30, seed=i)[0] for i, p in enumerate(prompts)}


def test_texts_have_vectors(server: Server) -> None:
    said = server.ask("/v1/embeddings", {"model": "counting", "input": ["one two", "one two", "three"]}).json
    vectors = np.array([each["embedding"] for each in said["data"]])
    assert vectors.shape == (3, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[0], vectors[1], atol=1e-6)
    assert vectors[0] @ vectors[2] < 0.9999
    assert server.ask("/v1/embeddings", {"model": "digits", "input": "one"}).status == 400


def test_a_text_that_fails_ends_alone_and_others_go_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that cannot be read, and a step that fails: each text gets an error, and the next one is written."""
    body = {"model": "counting", "prompt": "one", "max_tokens": 5}
    for method in ("join", "step"):
        with monkeypatch.context() as broken:
            broken.setattr(Together, method, lambda self, tokens: 1 / 0)
            said = server.ask("/v1/completions", body)
            assert said.status == 500
            assert said.json["error"]["type"] == "server_error"
            streamed = server.ask("/v1/completions", {**body, "stream": True})
            assert b"server_error" in streamed.body
        assert server.ask("/v1/completions", body).status == 200


WRONG: list[dict[str, Any]] = [
    {}, {"prompt": None}, {"prompt": []}, {"prompt": [[]]}, {"prompt": [-1]}, {"prompt": [10**9]}, {"prompt": {"a": 1}},
    {"prompt": "one", "max_tokens": 0}, {"prompt": "one", "max_tokens": 10**9}, {"prompt": "one", "n": 0},
    {"prompt": "one", "temperature": -1}, {"prompt": "one", "top_p": 0}, {"prompt": "one", "stop": ["", "a"]},
    {"prompt": "one", "logprobs": 3}, {"prompt": "one", "seed": "a"}, {"prompt": "αβγ"}, {"prompt": "one", "tools": [1]},
]  # fmt: skip


@pytest.mark.parametrize("body", WRONG)
def test_what_cannot_be_written_is_told(server: Server, body: dict[str, Any]) -> None:
    said = server.ask("/v1/completions", {"model": "counting", **body})
    assert said.status == 400, said.body
    assert said.json["error"]["type"] == "invalid_request_error"
    assert "\n" not in said.json["error"]["message"]


def test_a_model_that_writes_nothing_says_so(server: Server) -> None:
    said = server.ask("/v1/chat/completions", {"model": "digits", "messages": [{"role": "user", "content": "x"}]})
    assert said.status == 400
    assert "writes no text" in said.json["error"]["message"]
    assert server.ask("/v1/completions", {"model": "none", "prompt": "x"}).status == 404
