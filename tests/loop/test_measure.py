"""Intervals of measured figures: against published values, closed forms, and how often they hold the truth."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from shendu.metrics.running import METRICS

from shendu import measure


def sure(outputs: torch.Tensor, targets: torch.Tensor, *names: str, overlap: int = 1) -> dict[str, list[float]]:
    return measure.intervals(outputs, targets, {name: METRICS[name] for name in names}, overlap)


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(hits: int, rows: int, low: float, high: float) -> None:
    """Newcombe 1998 (Statistics in Medicine 17), table I, method 3."""
    assert measure.wilson(hits, rows) == pytest.approx((low, high), abs=5e-5)
    assert measure.wilson(rows - hits, rows) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_shares_have_wilsons_interval() -> None:
    outputs = torch.eye(2)[torch.arange(20) % 2]
    right = sure(outputs, torch.arange(20) % 2, "accuracy", "error-rate")
    assert right["accuracy"] == pytest.approx(measure.wilson(20, 20))
    assert right["error-rate"] == pytest.approx(measure.wilson(0, 20))


def test_bootstrap_agrees_with_the_delta_method() -> None:
    errors = torch.from_numpy(np.random.default_rng(5).standard_normal(4000))
    squares = errors.square()
    root = squares.mean().sqrt()
    reach = 1.96 * squares.std() / 4000**0.5 / (2 * root)
    found = sure(errors, torch.zeros(4000), "rmse")
    assert found["rmse"] == pytest.approx([float(root - reach), float(root + reach)], abs=0.15 * float(reach))
    assert found == sure(errors, torch.zeros(4000), "rmse")


def test_a_mean_and_any_other_figure_go_the_same_way() -> None:
    """Values computed once and drawn, against the metric run anew on every drawing."""

    class Plain:
        higher = False

        def __init__(self) -> None:
            self.inner = METRICS["mae"]()

        def update(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> None:
            self.inner.update(outputs, batch)

        def compute(self) -> float:
            return self.inner.compute()

    outputs, targets = torch.randn(200, 3), torch.randn(200, 3)
    found = measure.intervals(outputs, targets, {"mean": METRICS["mae"], "any": Plain})
    assert found["mean"] == pytest.approx(found["any"])


def test_more_rows_than_are_drawn_scale_with_their_root() -> None:
    errors = torch.randn(90_000)
    few, many = (sure(errors[:n], torch.zeros(n), "mae")["mae"] for n in (10_000, 90_000))
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(3, rel=0.25)
    assert many[0] < float(errors.abs().mean()) < many[1]


def test_few_rows_have_wider_intervals_than_plain_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """By t·√(n/(n-1))/1.96, which is 1.29 for eight rows: plain percentiles would hold the truth in 88% of cases."""
    errors = torch.rand(8, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(measure, "RESAMPLES", 4000)
    low, high = sure(errors, torch.zeros(8), "mae")["mae"]
    monkeypatch.setattr(measure, "_tail", lambda n: 0.025)
    plain_low, plain_high = sure(errors, torch.zeros(8), "mae")["mae"]
    assert (high - low) / (plain_high - plain_low) == pytest.approx(1.29, abs=0.08)


def test_student_s_tails() -> None:
    """The t of Student's table for 9 and 29 degrees of freedom, through the normal distribution."""
    for n, t in ((10, 2.2622), (30, 2.0452)):
        expected = 0.5 * math.erfc(t * math.sqrt(n / (n - 1)) / math.sqrt(2))
        assert measure._tail(n) == pytest.approx(expected, rel=0.015)
    assert measure._tail(10**6) == pytest.approx(0.025, rel=1e-3)


def test_overlapping_forecasts_know_no_more_than_their_moments() -> None:
    """Twelve forecasts of each moment that are all equally wrong are one piece of evidence, not twelve."""
    moments = torch.randn(131, generator=torch.Generator().manual_seed(0))
    windows = moments.unfold(0, 12, 1)
    once = sure(moments, torch.zeros(131), "mae")["mae"]
    together = sure(windows, torch.zeros(120, 12), "mae", overlap=12)["mae"]
    apart = sure(windows, torch.zeros(120, 12), "mae")["mae"]
    assert together[1] - together[0] == pytest.approx(once[1] - once[0], rel=0.15)
    assert apart[1] - apart[0] < 0.5 * (together[1] - together[0])
    assert sure(windows[:1], torch.zeros(1, 12), "mae", overlap=12)["mae"][0] > 0, "one window has twelve moments"


def test_one_row_knows_nothing() -> None:
    assert sure(torch.tensor([1.0]), torch.tensor([2.0]), "rmse", "mae", "r2") == {}
    assert sure(torch.empty(0, 2), torch.empty(0, dtype=torch.long), "accuracy") == {}
    assert sure(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), "accuracy")["accuracy"][0] < 0.25


def test_figures_that_are_no_numbers_have_no_interval() -> None:
    outputs = torch.tensor([math.nan, 1.0, 2.0])
    assert "mae" not in sure(torch.full((3,), math.nan), torch.zeros(3), "mae")
    assert all(map(math.isfinite, sure(outputs, torch.zeros(3), "mae").get("mae", [])))


def test_ten_thousand_rows_of_ten_classes_take_no_time() -> None:
    outputs, targets = torch.randn(10_000, 10), torch.randint(10, (10_000,))
    began = time.process_time()
    sure(outputs, targets, "accuracy", "error-rate", "cross-entropy")
    assert time.process_time() - began < 1
