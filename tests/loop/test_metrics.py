"""Metrics over uneven batches and over ranks against numpy on everything at once."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shendu.metrics.running import METRICS
from torch import Tensor

from shendu import parallel

N, C = 203, 4
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LOGITS, LABELS = 3 * rand(N, C, seed=0), (rand(N, seed=1) * 7).long() % C
VALUES = rand(N, 3, seed=3)
TARGETS = 1.5 * VALUES + rand(N, 3, seed=4) + 5


def slices(sizes: list[int]) -> list[slice]:
    """Uneven batches that cover all rows."""
    cuts = [0, *np.cumsum(sizes).tolist()]
    bounds = [cut for cut in cuts if cut < N] + [N]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def figure(name: str, outputs: Tensor, target: Tensor, parts: list[slice]) -> float:
    metric = METRICS[name]()
    for part in parts:
        metric.update(outputs[part], {"y": target[part], "x": outputs[part]})
    return metric.compute()


def by_numpy(name: str, outputs: Tensor, target: Tensor) -> float:
    o, y = outputs.double().numpy(), target.double().numpy()
    if name in ("accuracy", "error-rate"):
        share = float((o.argmax(1) == y).mean())
        return share if name == "accuracy" else 1 - share
    if name == "cross-entropy":
        logs = o - np.log(np.exp(o).sum(1, keepdims=True))
        return float(-logs[np.arange(len(y)), target.numpy()].mean())
    if name == "auc":
        second, first = ((o[:, 1] - o[:, 0])[y == label] for label in (1, 0))
        return float(((second[:, None] > first) + 0.5 * (second[:, None] == first)).mean())
    error = o - y
    if name == "r2":
        return float((1 - (error**2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)).mean())
    return {
        "mse": float((error**2).mean()),
        "rmse": math.sqrt((error**2).mean()),
        "mae": float(abs(error).mean()),
        "mase": float(abs(error).mean()),
        "smape": float((200 * abs(error) / (abs(o) + abs(y))).mean()),
    }[name]


CASES: dict[str, tuple[Tensor, Tensor]] = {
    name: (LOGITS, LABELS) if name in ("accuracy", "error-rate", "cross-entropy") else (VALUES, TARGETS)
    for name in METRICS
} | {"auc": ((2 * LOGITS[:, :2]).round(), LABELS % 2)}  # rounded: a fifth of the pairs are tied


@pytest.mark.parametrize("name", METRICS)
@given(sizes=SIZES)
@settings(max_examples=15, deadline=None)
def test_uneven_batches(name: str, sizes: list[int]) -> None:
    outputs, target = CASES[name]
    assert figure(name, outputs, target, slices(sizes)) == pytest.approx(by_numpy(name, outputs, target), rel=1e-6)


@pytest.mark.parametrize("name", [n for n in METRICS if n != "cross-entropy"])
def test_float64_to_the_last_digits(name: str) -> None:
    outputs, target = CASES[name]
    assert figure(name, outputs, target, slices([50] * 5)) == pytest.approx(by_numpy(name, outputs, target), rel=1e-13)


def test_directions() -> None:
    assert {name for name, metric in METRICS.items() if metric.higher} == {"accuracy", "auc", "r2"}


@pytest.mark.parametrize("name", METRICS)
def test_nothing_seen_is_not_a_number(name: str) -> None:
    assert math.isnan(METRICS[name]().compute())


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1)])
def test_one_output_per_row(labels: tuple[int, int]) -> None:
    outputs, positive = rand(N, seed=5), rand(N, seed=6) > 0
    target = torch.where(positive, labels[1], labels[0])
    hits = float(((outputs > 0) == positive).double().mean())
    p = 1 / (1 + np.exp(-outputs.double().numpy()))
    nats = -np.log(np.where(positive.numpy(), p, 1 - p)).mean()
    for shaped in (outputs, outputs[:, None]):
        assert figure("accuracy", shaped, target, slices([64] * 4)) == pytest.approx(hits)
        assert figure("error-rate", shaped, target, slices([64] * 4)) == pytest.approx(1 - hits)
        assert figure("cross-entropy", shaped, target, slices([64] * 4)) == pytest.approx(nats, rel=1e-6)


def test_auc_of_one_output_per_row() -> None:
    scores, positive = rand(N, seed=5).round(decimals=1), rand(N, seed=6) > 0
    wanted = by_numpy("auc", torch.stack([torch.zeros(N), scores], 1), positive)
    for target in (positive.long(), 2 * positive.long() - 1):
        for shaped in (scores, scores[:, None]):
            assert figure("auc", shaped, target, slices([64] * 4)) == pytest.approx(wanted, rel=1e-13)


def test_auc_of_perfect_reversed_constant_and_one_sided_scores() -> None:
    labels, whole = torch.tensor([0, 0, 1, 1]), [slice(0, 4)]
    rising = torch.tensor([-1.0, 0.0, 0.5, 9.0])
    assert figure("auc", rising, labels, whole) == 1
    assert figure("auc", -rising, labels, whole) == 0
    assert figure("auc", 0 * rising, labels, whole) == 0.5
    assert math.isnan(figure("auc", rising, torch.ones(4), whole))


def test_auc_of_three_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"auc is for two classes, these outputs are \[203, 4\]"):
        figure("auc", LOGITS, LABELS, [slice(0, N)])


def test_maps_of_labels() -> None:
    outputs, target = rand(6, C, 2, 3, seed=7), torch.arange(36).reshape(6, 2, 3) % C
    hits = float((outputs.argmax(1) == target).double().mean())
    assert figure("accuracy", outputs, target, [slice(0, 5), slice(5, 6)]) == pytest.approx(hits)


@pytest.mark.parametrize("name", ["mse", "rmse", "mae", "r2"])
def test_a_column_and_a_list_are_the_same(name: str) -> None:
    outputs, target = VALUES[:, 0], TARGETS[:, 0]
    expected = by_numpy(name, outputs[:, None], target[:, None])
    for o in (outputs, outputs[:, None]):
        for y in (target, target[:, None]):
            assert figure(name, o, y, slices([90, 90])) == pytest.approx(expected, rel=1e-12)


def test_r2_far_from_zero() -> None:
    """E[y²] - E[y]² would have no digit left here: 1e18 against 1."""
    target = rand(N, seed=8).double() + 1e9
    outputs = target + 0.1 * rand(N, seed=9).double()
    expected = by_numpy("r2", outputs[:, None], target[:, None])
    assert 0.98 < expected < 0.999
    assert figure("r2", outputs, target, slices([1, 2, 100, 30])) == pytest.approx(expected, rel=1e-9)


def test_r2_of_a_constant_target() -> None:
    target = torch.full((10,), 3.0)
    whole = [slice(0, 10)]
    assert figure("r2", target, target, whole) == 1
    assert figure("r2", target + 1, target, whole) == 0
    assert math.isnan(figure("r2", target[:1], target[:1], [slice(0, 1)]))


def test_outputs_that_are_trained_hold_no_graph() -> None:
    outputs = VALUES.clone().requires_grad_()
    for name in ("mse", "mae", "r2"):
        metric = METRICS[name]()
        metric.update(outputs, {"y": TARGETS})
        assert not any(isinstance(v, Tensor) and v.requires_grad for v in vars(metric).values())


class Ranks:
    """Threads that play the ranks of a process group: each call waits for all of them and adds up."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=10)
        self.given: dict[int, Tensor] = {}
        self.local = threading.local()

    def sum_over_ranks(self, t: Tensor) -> Tensor:
        self.given[threading.get_ident()] = t.clone()
        self.barrier.wait()
        total = torch.stack(list(self.given.values())).sum(0)
        self.barrier.wait()
        return t.copy_(total)

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        results: list[Any] = [None] * self.barrier.parties

        def play(rank: int) -> None:
            self.local.rank = rank
            results[rank] = work(rank)

        threads = [threading.Thread(target=play, args=(r,)) for r in range(self.barrier.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


@pytest.mark.parametrize("name", METRICS)
def test_over_ranks_of_different_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, target = CASES[name]
    ranks = Ranks(3)
    monkeypatch.setattr(parallel, "sum_over_ranks", ranks.sum_over_ranks)
    monkeypatch.setattr(parallel, "world", lambda: 3)
    monkeypatch.setattr(parallel, "rank", lambda: ranks.local.rank)
    parts = [[slice(0, 10), slice(10, 31)], [slice(31, 32)], [slice(32, 150), slice(150, N)]]

    def work(rank: int) -> tuple[float, float]:
        metric = METRICS[name]()
        for part in parts[rank]:
            metric.update(outputs[part], {"y": target[part]})
        return metric.compute(), metric.compute()  # asking twice changes nothing

    expected = by_numpy(name, outputs, target)
    for once, twice in ranks.run(work):
        assert once == twice == pytest.approx(expected, rel=1e-6)
