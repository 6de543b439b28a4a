"""Figures of rows against other code for the same, and against closed forms."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from cases import CASES, HIGHER, KIND, LABELS, LOGITS, TARGETS, VALUES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from splits import Told, rand

from shendu.core import Metric
from shendu.metrics.classes import AUC, Hits, Predictions
from shendu.metrics.evaluation import evaluate
from shendu.metrics.numbers import Errors, Mean
from shendu.metrics.pairs import Verification, compared, equal_error, lowest, roc, threshold_at

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def rows_in_slices(case: Case, sizes: list[int]) -> torch.Tensor:
    """Rows over uneven batches that cover all."""
    many = len(case.batch["y"])
    cuts = [0, *(cut for cut in np.cumsum(sizes).tolist() if cut < many), many]
    parts = []
    for a, b in itertools.pairwise(cuts):
        batch = {"sample": torch.arange(a, b), **{n: t[a:b] for n, t in case.batch.items()}}
        parts.append(case.metric.rows({n: t[a:b] for n, t in case.outputs.items()}, batch))
    return torch.cat(parts)


@pytest.mark.parametrize("name", CASES)
@given(sizes=SIZES)
@settings(max_examples=10, deadline=None)
def test_uneven_batches_give_the_figures_of_other_code(name: str, sizes: list[int]) -> None:
    case = CASES[name]
    rows = rows_in_slices(case, sizes)
    assert rows.dtype == torch.float64
    figures = case.metric.figures(rows)
    assert figures == pytest.approx(expected(name), rel=case.close, abs=1e-13)
    assert case.metric.higher == {figure: figure in HIGHER for figure in figures}


@functools.cache
def expected(name: str) -> dict[str, float]:
    return CASES[name].of(np.arange(CASES[name].units))


@pytest.mark.parametrize("name", CASES)
def test_outputs_that_are_trained_leave_no_graph(name: str) -> None:
    case = CASES[name]
    outputs = {n: t.clone().requires_grad_() if t.is_floating_point() else t for n, t in case.outputs.items()}
    batch = {"sample": torch.arange(len(case.batch["y"])), **case.batch}
    assert not case.metric.rows(outputs, batch).requires_grad


def test_confusion_counts_pairs_of_classes() -> None:
    rows = Predictions().rows({"logits": LOGITS}, {"y": LABELS})
    sure = LOGITS.softmax(1).amax(1)
    assert torch.equal(rows, torch.stack([t.double() for t in (LABELS, LOGITS.argmax(1), sure)], 1))
    signs = Predictions().rows({"logits": LOGITS[:, :1]}, {"y": 2 * (LABELS > 1).long() - 1})
    sure = LOGITS[:, 0].abs().sigmoid()
    assert torch.equal(signs, torch.stack([t.double() for t in (LABELS > 1, LOGITS[:, 0] > 0, sure)], 1))
    assert Predictions().figures(rows) == {}


def test_auc_of_three_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"auc is for two classes, these outputs are \[203, 4\]"):
        AUC().rows({"logits": LOGITS}, {"y": LABELS})


def test_auc_of_perfect_reversed_constant_and_one_sided_scores() -> None:
    labels, rising = torch.tensor([0, 0, 1, 1]), torch.tensor([-1.0, 0.0, 0.5, 9.0])

    def auc(scores: torch.Tensor, labels: torch.Tensor) -> float:
        return AUC().figures(AUC().rows({"logits": scores}, {"y": labels}))["auc"]

    assert (auc(rising, labels), auc(-rising, labels), auc(0 * rising, labels)) == (1, 0, 0.5)
    assert math.isnan(auc(rising, torch.ones(4)))


def errors(value: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    return Errors().figures(Errors().rows({"value": value, "truth": truth}, {}))


def test_a_column_and_a_list_are_the_same() -> None:
    value, truth = VALUES[:, 0], TARGETS[:, 0]
    found = [errors(v, t) for v in (value, value[:, None]) for t in (truth, truth[:, None])]
    assert all(each == found[0] for each in found)
    off = (value.double() - truth.double()).numpy()
    assert found[0]["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-12)


def test_r2_of_seconds_since_1970() -> None:
    """1.7e9 ± 20: float32 moves in steps of 128 there, and E[y²] - E[y]² has no digit left."""
    apart, off = 20 * rand(500, seed=8).double(), 2 * rand(500, seed=9).double()
    near = errors(apart + off, apart)
    far = errors(1.7e9 + apart + off, 1.7e9 + apart)
    assert 0.98 < near["r2"] < 0.995
    assert far == pytest.approx(near, rel=1e-6)
    expected = 1 - float(off.square().sum() / (apart - apart.mean()).square().sum())
    assert near["r2"] == pytest.approx(expected, rel=1e-13)


def test_r2_of_a_constant_target() -> None:
    target = torch.full((10,), 0.1).double()
    assert errors(target, target)["r2"] == 1
    assert errors(target + 1, target)["r2"] == 0
    assert math.isnan(errors(target[:1], target[:1])["r2"])


@pytest.mark.parametrize("metric", [Hits(), Errors(), Mean("value"), Verification()])
def test_nothing_seen_is_not_a_number(metric: Metric) -> None:
    told = Told({"value": torch.empty(0), "truth": torch.empty(0)}, {"y": torch.empty(0)})
    measured = evaluate(told.ask, told, {"one": metric})
    assert set(measured.figures) == set(metric.higher)
    assert all(map(math.isnan, measured.figures.values()))
    assert measured.intervals == {}
    assert measured.count == len(measured.badness) == 0


# ---- pairs -----------------------------------------------------------------------------------------------------------


def test_a_row_that_is_there_twice_is_no_pair() -> None:
    case = CASES["verification"]
    rows = rows_in_slices(case, [50])
    twice = case.metric.figures(rows.repeat(2, 1))
    assert twice == pytest.approx(case.metric.figures(rows), abs=1e-12)
    others = rows.repeat(2, 1)
    others[len(rows) :, 0] += 1000
    assert case.metric.figures(others)["equal-error-rate"] < twice["equal-error-rate"] - 0.005


def test_equal_error_lies_between_thresholds() -> None:
    """Accepted in turn: same, other, same, other. After two, half of both kinds: refused 1/2, accepted 1/2."""
    curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True, False, True, False]))
    assert curve.false.tolist() == [0, 0, 0.5, 0.5, 1]
    assert curve.true.tolist() == [0, 0.5, 0.5, 1, 1]
    assert equal_error(curve) == 0.5
    assert lowest(curve, 0.0) == 1
    assert lowest(curve, 0.5) == 3
    assert threshold_at(curve, 0.0) == pytest.approx(0.85)
    assert math.isnan(equal_error(roc(torch.tensor([0.9, 0.8]), torch.tensor([True, True]))))


def test_the_curve_of_many_rows_is_of_two_thousand() -> None:
    kind = KIND.repeat(20)
    similarity, same = compared(rand(len(kind), 4, seed=1), kind)
    assert len(similarity) == len(same) == 2000 * 1999 // 2
