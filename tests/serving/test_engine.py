"""A model's thread: batches answer as single rows do, whoever fails fails alone, and nobody waits for what nobody wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shendu.serving import engine as engines
from shendu.serving.engine import Answer, Engine, Job, Pace, ask
from shendu.serving.models import How, Loaded, load
from shendu.serving.refusals import Busy


@pytest.fixture(scope="module")
def loaded(runs: dict[str, Path]) -> Loaded:
    return load("digits", runs["digits"], How("cpu", "fp32"))


class Held(Engine):
    """An engine whose thread waits until it is let go, so that requests pile up."""

    def __init__(self, **pace: Any) -> None:
        self.batches: list[int] = []
        super().__init__(Pace(**{"wait": 0.0, **pace}), keep=lambda jobs, answers: self.batches.append(len(jobs)))
        self.gate = threading.Event()
        self.call(self.gate.wait)
        time.sleep(0.05)


@pytest.fixture
def held() -> Iterator[Any]:
    made: list[Held] = []

    def make(**pace: Any) -> Held:
        made.append(Held(**pace))
        return made[-1]

    yield make
    for one in made:
        one.gate.set()
        one.close(10)
        assert not one._thread.is_alive()


def rows(pictures: np.ndarray, start: int, count: int = 1) -> dict[str, torch.Tensor]:
    return {"x": torch.from_numpy(pictures[start : start + count].copy())}


def test_a_batch_answers_as_each_row_alone(loaded: Loaded, pictures: np.ndarray, held: Any) -> None:
    engine = held(size=32)
    counts = [1, 3, 2, 1, 5, 1]
    starts = np.cumsum([0, *counts])[:-1]
    waiting = [engine.submit(loaded, rows(pictures, s, n)) for s, n in zip(starts, counts, strict=True)]
    engine.gate.set()
    answers = [each.result(10) for each in waiting]
    assert engine.batches == [len(counts)]
    for answer, start, count in zip(answers, starts, counts, strict=True):
        alone = ask([Job(loaded, rows(pictures, start, count))])[0]
        assert answer.batch == sum(counts)
        assert [row["label"] for row in answer.rows] == [row["label"] for row in alone.rows]
        assert torch.allclose(answer.outputs["logits"], alone.outputs["logits"], atol=1e-5)


def test_batches_have_a_size_and_hold_what_is_alike(loaded: Loaded, pictures: np.ndarray, held: Any) -> None:
    engine = held(size=4)
    waiting = [engine.submit(loaded, rows(pictures, i)) for i in range(6)]
    waiting.append(engine.submit(loaded, rows(pictures, 0, 9)))
    waiting.append(engine.submit(loaded, {"x": torch.from_numpy(pictures[:1].astype(np.int16))}))
    engine.gate.set()
    assert [len(each.result(10).rows) for each in waiting] == [1] * 6 + [9, 1]
    assert engine.batches == [4, 2, 1, 1]


def test_a_poisoned_request_fails_alone(
    loaded: Loaded, pictures: np.ndarray, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = held(size=32)
    plain = loaded.predictor.pieces

    def poisoned(stored: Any) -> Any:
        if (stored["x"].flatten(1) == 255).all(1).any():
            raise ValueError("poison")
        return plain(stored)

    monkeypatch.setattr(loaded.predictor, "pieces", poisoned)
    good = [engine.submit(loaded, rows(pictures, i)) for i in range(7)]
    bad = engine.submit(loaded, {"x": torch.full((1, 8, 8, 1), 255, dtype=torch.uint8)})
    more = [engine.submit(loaded, rows(pictures, i)) for i in range(7, 20)]
    engine.gate.set()
    with pytest.raises(ValueError, match="poison"):
        bad.result(10)
    assert all(len(each.result(10).rows) == 1 for each in good + more)


def test_a_client_that_has_gone_costs_nothing(loaded: Loaded, pictures: np.ndarray, held: Any) -> None:
    engine = held(size=32)
    waiting = [engine.submit(loaded, rows(pictures, i)) for i in range(4)]
    assert waiting[1].cancel()
    assert waiting[2].cancel()
    engine.gate.set()
    assert waiting[0].result(10).batch == waiting[3].result(10).batch == 2


def test_a_full_queue_refuses_and_says_when_to_come_again(loaded: Loaded, pictures: np.ndarray, held: Any) -> None:
    engine = held(room=3)
    waiting = [engine.submit(loaded, rows(pictures, i)) for i in range(3)]
    with pytest.raises(Busy) as told:
        engine.submit(loaded, rows(pictures, 3))
    assert told.value.status == 429
    assert int(told.value.headers["retry-after"]) >= 1
    engine.gate.set()
    assert all(each.result(10) for each in waiting)


def test_what_is_promised_is_held_or_refused(
    loaded: Loaded, pictures: np.ndarray, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that takes 20 ms a batch of 4 and promises 250 ms: of a burst of 60 some are refused, the others are in time."""
    plain = engines.ask

    def slow(jobs: list[Job]) -> list[Answer]:
        time.sleep(0.02)
        return plain(jobs)

    monkeypatch.setattr(engines, "ask", slow)
    engine = Engine(Pace(size=4, wait=0.0, promised=0.25, room=1000))
    for _ in range(3):
        engine.submit(loaded, rows(pictures, 0)).result(10)
    seconds, refused = [], 0

    def one(i: int) -> None:
        nonlocal refused
        began = time.monotonic()
        try:
            engine.submit(loaded, rows(pictures, i)).result(10)
            seconds.append(time.monotonic() - began)
        except Busy:
            refused += 1

    threads = [threading.Thread(target=one, args=(i,)) for i in range(60)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    engine.close()
    assert refused
    assert seconds
    assert len(seconds) + refused == 60
    assert sorted(seconds)[int(0.9 * len(seconds))] < 0.5, "on a machine that others use"


def test_a_model_that_was_slow_is_tried_again(loaded: Loaded, pictures: np.ndarray) -> None:
    """What is promised is shorter than any batch so far: a lone request is answered all the same, and tells how long it takes now."""
    engine = Engine(Pace(promised=0.05))
    engine._seconds.extend([9.0] * 64)
    assert engine.submit(loaded, rows(pictures, 0)).result(10).rows
    engine.close()


def test_what_waits_is_answered_at_the_end(loaded: Loaded, pictures: np.ndarray) -> None:
    engine = Held(size=1)
    waiting = [engine.submit(loaded, rows(pictures, i)) for i in range(5)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    time.sleep(0.05)
    with pytest.raises(Busy, match="stopping"):
        engine.submit(loaded, rows(pictures, 0))
    engine.gate.set()
    closing.join(10)
    assert all(each.done() and each.result().rows for each in waiting)
