"""Language models by the paths that OpenAI's clients know: completions, chat, embeddings, with streaming.

Texts are drawn as `shendu sample` draws them: equal seeds write equal texts. `system_fingerprint` is the model's hash.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from shendu import parallel, untrusted
from shendu.errors import UserError
from shendu.serving.guard import facts, refusal
from shendu.serving.models import Loaded, Served
from shendu.serving.refusals import Gone, Refused
from shendu.serving.state import State, departed, json_response, note, of_json
from shendu.serving.writing import Piece, Text

LETTERS_MOST, TOKENS_MOST, WRITTEN_MOST = 1 << 17, 1 << 16, 4096
"""Letters and tokens of a prompt, and tokens that are written."""
PROMPTS_MOST, CHOICES_MOST, STOPS_MOST = 64, 16, 4
USUAL = {"completions": 16, "chat": 256}
"""Tokens that are written where nothing is said."""
SECONDS_MOST = 120.0
"""Seconds after which a text ends, however long it is."""
SEEDS = 2**31

TYPES: Any = {
    "model": str, "max_tokens": int | None, "max_completion_tokens": int | None, "temperature": float | None, "top_p": float | None,
    "top_k": int | None, "n": int | None, "stop": str | list[str] | None, "seed": int | None, "stream": bool | None,
    "stream_options": dict[str, Any] | None, "echo": bool | None, "messages": list[dict[str, Any]],
}  # fmt: skip
UNTAKEN = (
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "suffix",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "audio",
)
"""What these models do not do: refused where it is asked for."""
NEUTRAL = {"presence_penalty": 0, "frequency_penalty": 0, "best_of": 1}
"""What is taken where it changes nothing."""


@dataclass
class Choice:
    """One of the texts that a request asks for."""

    index: int
    text: Text
    said: str = ""
    end: str = ""


@dataclass
class Writing:
    """A request's texts, and the pieces as they come from the model's thread."""

    state: State
    served: Served
    loaded: Loaded
    choices: list[Choice] = field(default_factory=list)
    coming: asyncio.Queue[tuple[int, Piece]] = field(default_factory=asyncio.Queue)
    prompted: int = 0
    """Tokens of the prompts."""

    def add(self, prompt: torch.Tensor, **how: Any) -> None:
        index, loop = len(self.choices), asyncio.get_running_loop()

        def put(piece: Piece) -> None:
            loop.call_soon_threadsafe(self.coming.put_nowait, (index, piece))

        until = time.monotonic() + SECONDS_MOST
        self.choices.append(Choice(index, Text(self.loaded, prompt, put, until=until, **how)))

    def begin(self) -> None:
        """Raises Busy."""
        try:
            for choice in self.choices:
                self.served.engine.write(choice.text)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Nobody reads them any more."""
        for choice in self.choices:
            choice.text.gone = True

    async def pieces(self) -> AsyncIterator[tuple[Choice, Piece]]:
        """Each piece of each text as it comes. Raises what failed inside."""
        left = len(self.choices)
        while left:
            index, piece = await self.coming.get()
            if piece.error:
                raise RuntimeError("a text could not be written") from piece.error
            choice = self.choices[index]
            choice.said += piece.text
            choice.end = piece.end
            left -= bool(piece.end)
            yield choice, piece

    @property
    def written(self) -> int:
        return sum(choice.text.written for choice in self.choices)

    def usage(self) -> dict[str, int]:
        done = {"prompt_tokens": self.prompted, "completion_tokens": self.written}
        return {**done, "total_tokens": sum(done.values())}

    def over(self, request: Request) -> None:
        """What is counted and kept of texts that came to their end."""
        facts(request).tokens = self.written
        self.state.meters.tokens(self.loaded.name, self.written)
        for choice in (one for one in self.choices if one.end):
            self.state.record(lambda recorder, one=choice: recorder.text(facts(request).id, one.text, one.said))  # type: ignore[misc]


def routes(state: State) -> dict[tuple[str, str], Callable[..., Awaitable[Response]]]:
    """(method, path) -> what answers it."""

    async def models(request: Request) -> Response:
        """The models that are served."""
        return json_response({"object": "list", "data": [about(one.loaded) for one in state.models.values()]})

    async def model(request: Request, name: str) -> Response:
        """One of them."""
        return json_response(about(state.named(request, name)[1]))

    async def completions(request: Request) -> Response:
        """Writes on from a text."""
        body = request_of(await request.body(), "prompt")
        served, loaded = writer(state, request, body)
        prompts = prompts_of(loaded, body["prompt"])
        writing = writing_of(state, served, loaded, body, prompts, USUAL["completions"])
        echoed = [prompt if body.get("echo") else "" for prompt in map(task_of(loaded).text, prompts)]
        return await told(request, writing, body, Completion(request, loaded, echoed, len(prompts)))

    async def chat(request: Request) -> Response:
        """Writes on from what was said in a conversation."""
        body = request_of(await request.body(), "messages")
        served, loaded = writer(state, request, body)
        prompt = task_of(loaded).conversation([message_of(each) for each in body["messages"]])
        writing = writing_of(state, served, loaded, body, [tokens_of(loaded, prompt)], USUAL["chat"])
        return await told(request, writing, body, Chat(request, loaded))

    async def embeddings(request: Request) -> Response:
        """A vector for each text."""
        body = request_of(await request.body(), "input")
        served, loaded = state.named(request, body.get("model"))
        prompts = prompts_of(loaded, body["input"]) if loaded.writes else refuse_vectors(loaded)
        form = body.get("encoding_format", "float")
        if form not in ("float", "base64"):
            raise UserError("encoding_format is float or base64")
        vectors: np.ndarray = await state.outcome(request, served.engine.call(lambda: vectors_of(loaded, prompts)))
        told = [
            vector.tolist() if form == "float" else base64.b64encode(vector.tobytes()).decode() for vector in vectors
        ]
        data = [{"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(told)]
        count = sum(map(len, prompts))
        usage = {"prompt_tokens": count, "total_tokens": count}
        return json_response({"object": "list", "data": data, "model": loaded.name, "usage": usage})

    return {
        ("GET", "/v1/models"): models, ("GET", "/v1/models/{name}"): model, ("POST", "/v1/completions"): completions,
        ("POST", "/v1/chat/completions"): chat, ("POST", "/v1/embeddings"): embeddings,
    }  # fmt: skip


# ---- what is asked ---------------------------------------------------------------------------------------------------


def request_of(data: bytes, needed: str) -> dict[str, Any]:
    """A request's body; raises UserError for what is not taken."""
    body = of_json(data)
    if not isinstance(body, dict) or body.get(needed) is None:
        raise UserError(f"the request is an object with {needed}")
    for name, wanted in TYPES.items():
        if name in body and (wrong := untrusted.misfit(body[name], wanted, name)):
            raise UserError(wrong)
    for name in UNTAKEN:
        if body.get(name):
            raise UserError(f"{name} is not taken by these models; leave it out")
    for name, value in NEUTRAL.items():
        if body.get(name) not in (None, value):
            raise UserError(f"{name} is {value} alone; leave it out")
    return body


def writer(state: State, request: Request, body: dict[str, Any]) -> tuple[Served, Loaded]:
    served, loaded = state.named(request, body.get("model"))
    if not loaded.writes:
        raise UserError(f"{loaded.name} writes no text; ask it at /predict")
    return served, loaded


def task_of(loaded: Loaded) -> Any:
    return loaded.task


def tokens_of(loaded: Loaded, prompt: str) -> torch.Tensor:
    """int64 [T] of a prompt; raises UserError for one that is too long, or in other letters than were learned."""
    if len(prompt) > LETTERS_MOST:
        raise UserError(
            f"a prompt of {len(prompt):,} letters is longer than the {LETTERS_MOST:,} that are read; shorten it"
        )
    found: torch.Tensor = task_of(loaded).prompt(prompt)
    if len(found) > TOKENS_MOST:
        raise UserError(
            f"a prompt of {len(found):,} tokens is longer than the {TOKENS_MOST:,} that are read; shorten it"
        )
    return found


def prompts_of(loaded: Loaded, given: Any) -> list[torch.Tensor]:
    """A text, several, a list of tokens, or several of these. Raises UserError."""
    if isinstance(given, str):
        return [tokens_of(loaded, given)]
    if (
        not isinstance(given, list)
        or not given
        or len(given) > (TOKENS_MOST if isinstance(given[0], int) else PROMPTS_MOST)
    ):
        raise UserError(f"the prompt is a text, tokens, or up to {PROMPTS_MOST} of these")
    if all(isinstance(each, str) for each in given):
        return [tokens_of(loaded, each) for each in given]
    several = [given] if isinstance(given[0], int) else given
    for tokens in several:
        wrong = untrusted.misfit(tokens, list[int]) or not tokens or len(tokens) > TOKENS_MOST
        if wrong or not 0 <= min(tokens) <= max(tokens) < task_of(loaded).vocabulary:
            raise UserError(f"tokens are whole numbers below {task_of(loaded).vocabulary:,}, {TOKENS_MOST:,} at most")
    return [torch.tensor(tokens, dtype=torch.int64) for tokens in several]


def message_of(message: dict[str, Any]) -> tuple[str, str]:
    """(who says it, what) of a message; raises UserError for one that is no text."""
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part.get("text", "") for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise UserError('a message is like {"role": "user", "content": "…"}, its content text')
    return role, content


def writing_of(
    state: State, served: Served, loaded: Loaded, body: dict[str, Any], prompts: list[torch.Tensor], usual: int
) -> Writing:
    """The texts that a request asks for, `n` of each prompt. Raises UserError for settings out of range."""
    length = body.get("max_completion_tokens") or body.get("max_tokens")
    length = usual if length is None else length
    n, stop = given(body, "n", 1), given(body, "stop", ())
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if not 1 <= n <= CHOICES_MOST or n * len(prompts) > PROMPTS_MOST:
        raise UserError(f"n is 1 to {CHOICES_MOST}, and {PROMPTS_MOST} texts are the most")
    if not 1 <= length <= WRITTEN_MOST:
        raise UserError(f"max_tokens is 1 to {WRITTEN_MOST:,}")
    if len(stop) > STOPS_MOST or any(not 0 < len(word) <= 1000 for word in stop):
        raise UserError(f"stop is a text, or up to {STOPS_MOST}, none of them empty")
    seed = given(body, "seed", None)
    how = {
        "length": length, "temperature": float(given(body, "temperature", 1.0)), "top_p": float(given(body, "top_p", 1.0)),
        "top_k": given(body, "top_k", 0), "stop": stop, "seed": secrets.randbelow(SEEDS) if seed is None else seed,
    }  # fmt: skip
    writing = Writing(state, served, loaded, prompted=sum(map(len, prompts)))
    for prompt in prompts:
        for row in range(n):
            writing.add(prompt, row=row, **how)
    return writing


def given(body: dict[str, Any], name: str, usual: Any) -> Any:
    """What is said of a setting, or the usual where it is left out or null."""
    found = body.get(name)
    return usual if found is None else found


# ---- what is told ----------------------------------------------------------------------------------------------------


def about(loaded: Loaded) -> dict[str, Any]:
    created = int((loaded.path / "config.json").stat().st_mtime) if (loaded.path / "config.json").exists() else 0
    return {"id": loaded.name, "object": "model", "created": created, "owned_by": "shendu", "hash": loaded.hash}


class Completion:
    """How a text that is written on is told."""

    name, whole, part = "cmpl", "text_completion", "text_completion"

    def __init__(self, request: Request, loaded: Loaded, echoed: list[str], prompts: int) -> None:
        self.head = {
            "id": f"{self.name}-{facts(request).id}", "created": int(time.time()), "model": loaded.name,
            "system_fingerprint": loaded.version,
        }  # fmt: skip
        self.echoed, self.prompts = echoed, prompts

    def before(self, writing: Writing, choice: Choice) -> str:
        """What stands before the text: the prompt where it is echoed."""
        return self.echoed[choice.index * self.prompts // len(writing.choices)]

    def choice(self, writing: Writing, choice: Choice) -> dict[str, Any]:
        text = self.before(writing, choice) + choice.said
        return {"index": choice.index, "text": text, "logprobs": None, "finish_reason": choice.end}

    def piece(self, choice: Choice, text: str, end: str) -> dict[str, Any]:
        return {"index": choice.index, "text": text, "logprobs": None, "finish_reason": end or None}

    def first(self, writing: Writing) -> list[dict[str, Any]]:
        """The pieces that come before any is written."""
        return [self.piece(each, before, "") for each in writing.choices if (before := self.before(writing, each))]


class Chat(Completion):
    """How a message is told."""

    name, whole, part = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, request: Request, loaded: Loaded) -> None:
        super().__init__(request, loaded, [""], 1)

    def choice(self, writing: Writing, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.said, "refusal": None}
        return {"index": choice.index, "message": message, "logprobs": None, "finish_reason": choice.end}

    def piece(self, choice: Choice, text: str, end: str) -> dict[str, Any]:
        delta = {"content": text} if text else {}
        return {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": end or None}

    def first(self, writing: Writing) -> list[dict[str, Any]]:
        delta = {"role": "assistant", "content": ""}
        return [{"index": each.index, "delta": delta, "finish_reason": None} for each in writing.choices]


async def told(request: Request, writing: Writing, body: dict[str, Any], form: Completion) -> Response:
    """The texts whole, or as they come."""
    note(request, writing.loaded)
    writing.begin()
    if body.get("stream"):
        options = body.get("stream_options") or {}
        return StreamingResponse(
            streamed(request, writing, form, bool(options.get("include_usage"))), media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )  # fmt: skip
    await whole(request, writing)
    choices = [form.choice(writing, choice) for choice in writing.choices]
    return json_response({**form.head, "object": form.whole, "choices": choices, "usage": writing.usage()})


async def whole(request: Request, writing: Writing) -> None:
    """Waits for the texts' ends, as long as the client does. Raises Gone."""

    async def all_of_them() -> None:
        async for _ in writing.pieces():
            pass

    written, left = asyncio.ensure_future(all_of_them()), asyncio.ensure_future(departed(request))
    try:
        await asyncio.wait({written, left}, return_when=asyncio.FIRST_COMPLETED)
        if not written.done():
            raise Gone
        written.result()
        writing.over(request)
    finally:
        writing.leave()
        written.cancel()
        left.cancel()


async def streamed(request: Request, writing: Writing, form: Completion, usage: bool) -> AsyncIterator[str]:
    """Server-sent events; where the client leaves, the texts end."""

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps({**form.head, 'object': form.part, 'choices': choices, **more}, ensure_ascii=False)}\n\n"

    nothing: dict[str, Any] = {"usage": None} if usage else {}
    try:
        for each in form.first(writing):
            yield event([each], **nothing)
        async for choice, piece in writing.pieces():
            if piece.text:
                yield event([form.piece(choice, piece.text, "")], **nothing)
            if piece.end:
                yield event([form.piece(choice, "", piece.end)], **nothing)
        if usage:
            yield event([], usage=writing.usage())
        yield "data: [DONE]\n\n"
        writing.over(request)
    except Exception as error:
        _, why, _ = refusal(error, facts(request))
        yield f"data: {json.dumps({'error': {'message': why, 'type': 'server_error'}})}\n\n"
    finally:
        writing.leave()


# ---- vectors ---------------------------------------------------------------------------------------------------------


def refuse_vectors(loaded: Loaded) -> list[torch.Tensor]:
    raise Refused(f"{loaded.name} is no language model, so it has no vectors of texts; ask it at /predict")


def vectors_of(loaded: Loaded, prompts: list[torch.Tensor]) -> np.ndarray:
    """float32 [N, D], each of length 1."""
    model = loaded.predictor.model
    with parallel.evaluating(model):
        found = [task_of(loaded).vector(model, prompt.to(loaded.predictor.device)) for prompt in prompts]
    return torch.stack(found).float().cpu().numpy()
