"""Intervals of figures: against closed forms and published values, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cases import CASES
from scipy.stats import binomtest
from splits import Told, rand

from shendu import chance
from shendu.metrics import intervals
from shendu.metrics.classes import Hits
from shendu.metrics.evaluation import evaluate
from shendu.metrics.intervals import Draws, tail, wilson
from shendu.metrics.numbers import Errors, ForecastErrors, Mean
from shendu.metrics.pairs import Verification

SHARES = ["hits", "hits of signs", "hits of one column"]
DRAWN = [name for name in CASES if name not in (*SHARES, "verification")]
"""A row that is drawn twice is no pair with itself, so that pairs are drawn in another way."""


def sure(name: str) -> dict[str, tuple[float, float]]:
    case = CASES[name]
    told = Told(case.outputs, case.batch)
    return evaluate(told.ask, told, {"it": case.metric}).intervals


@pytest.mark.parametrize("name", DRAWN)
def test_the_ends_are_those_of_figures_computed_anew_on_rows_drawn_anew(name: str) -> None:
    """By other code for the figures, on the same rows: whole ones, and of windows that overlap the moments of their series."""
    case = CASES[name]
    g = chance.generator(20261122)
    draws = [torch.randint(case.units, (case.units,), generator=g).numpy() for _ in range(400)]
    anew = [case.of(draw) for draw in draws]
    found = sure(name)
    assert set(found) == set(case.metric.higher)
    for figure, ends in found.items():
        wanted = np.quantile([each[figure] for each in anew], [tail(case.units), 1 - tail(case.units)])
        assert ends == pytest.approx(tuple(wanted), rel=max(case.close, 1e-9)), figure


@pytest.mark.parametrize("name", SHARES)
def test_shares_have_wilsons_interval(name: str) -> None:
    case = CASES[name]
    hits = round(case.of(np.arange(case.units))["accuracy"] * case.units)
    for figure, many in (("accuracy", hits), ("error-rate", case.units - hits)):
        wanted = binomtest(many, case.units).proportion_ci(method="wilson")
        assert sure(name)[figure] == pytest.approx((wanted.low, wanted.high), rel=1e-6)


def of_errors(value: torch.Tensor) -> dict[str, tuple[float, float]]:
    metric = Errors()
    rows = metric.rows({"value": value, "truth": torch.zeros(len(value))}, {})
    return metric.intervals(rows, Draws(torch.arange(len(value))))


def test_bootstrap_agrees_with_the_delta_method() -> None:
    errors = torch.from_numpy(np.random.default_rng(5).standard_normal(4000))
    squares = errors.square()
    root = squares.mean().sqrt()
    reach = 1.96 * squares.std() / 4000**0.5 / (2 * root)
    assert of_errors(errors)["rmse"] == pytest.approx(
        (float(root - reach), float(root + reach)), abs=0.15 * float(reach)
    )


def test_few_rows_have_wider_intervals_than_plain_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """By t·√(n/(n-1))/1.96, which is 1.29 for eight rows: plain percentiles would hold the truth in 88% of cases."""
    errors = torch.rand(8, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(intervals, "RESAMPLES", 4000)
    low, high = of_errors(errors)["mae"]
    monkeypatch.setattr(intervals, "tail", lambda n: 0.025)
    plain_low, plain_high = of_errors(errors)["mae"]
    assert (high - low) / (plain_high - plain_low) == pytest.approx(1.29, abs=0.08)


def test_forecasts_that_are_equally_wrong_are_one_piece_of_evidence() -> None:
    moments = rand(131, seed=0)
    at = torch.arange(120)[:, None] + torch.arange(12)

    def of(value: torch.Tensor, **group: torch.Tensor) -> tuple[float, float]:
        told = Told({"value": value, "truth": torch.zeros_like(value)}, {"y": value, **group})
        return evaluate(told.ask, told, {"it": ForecastErrors()}).intervals["mae"]

    together, apart, once = of(moments[at], group=at), of(moments[at]), of(moments)
    assert together[1] - together[0] == pytest.approx(once[1] - once[0], rel=0.15)
    assert apart[1] - apart[0] < 0.5 * (together[1] - together[0])
    assert of(moments[at[:1]], group=at[:1])[0] > 0, "one window has twelve moments"


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(hits: int, rows: int, low: float, high: float) -> None:
    """Newcombe 1998 (Statistics in Medicine 17), table I, method 3."""
    assert wilson(hits, rows) == pytest.approx((low, high), abs=5e-5)
    assert wilson(rows - hits, rows) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_shares_have_wilsons_interval_however_many_rows_are_added_up() -> None:
    y = torch.arange(30_000) % 3
    told = Told({"logits": torch.eye(3)[torch.where(y == 2, 1, y)]}, {"y": y})
    found = evaluate(told.ask, told, {"it": Hits()}, size=7000)
    assert len(found.rows["it"]) <= Hits.groups
    assert found.intervals == {"accuracy": wilson(20_000, 30_000), "error-rate": wilson(10_000, 30_000)}


def test_one_right_row_is_not_always_right() -> None:
    told = Told({"logits": torch.tensor([[1.0, 0.0]])}, {"y": torch.tensor([0])})
    assert evaluate(told.ask, told, {"it": Hits()}).intervals["accuracy"][0] < 0.25


def test_the_bootstrap_holds_a_normal_mean_as_often_as_it_says() -> None:
    """Of 200 samples of 12 from N(0, 1), about 95% of the intervals hold 0: ±3 deviations of the share are 4.6%."""
    held = 0
    for seed in range(200):
        draws = Draws(torch.arange(12))
        metric = Mean("it")
        low, high = metric.intervals(metric.rows({"it": rand(12, seed=seed)}, {}), draws)["it"]
        held += low < 0 < high
    assert held / 200 == pytest.approx(0.95, abs=0.046)


def test_groups_are_drawn_whole() -> None:
    """40 documents of 25 windows whose errors are a document's: an interval as of 40 rows, not of 1,000."""
    document = torch.arange(1000) // 25
    values = rand(40, seed=3)[document] + 0.1 * rand(1000, seed=4)
    ends = {}
    for name, batch in {"alone": {}, "whole": {"group": document}}.items():
        told = Told({"it": values}, {"y": values, **batch})
        ends[name] = evaluate(told.ask, told, {"it": Mean("it")}).intervals["it"]
    alone, whole = (high - low for low, high in ends.values())
    assert whole / alone == pytest.approx(5, rel=0.2)


def test_shares_of_groups_are_drawn_too() -> None:
    document = torch.arange(1000) // 25
    right = (rand(40, seed=3) > 0)[document].long()
    told = Told({"logits": torch.eye(2)[right]}, {"y": torch.ones(1000, dtype=torch.long), "group": document})
    low, high = evaluate(told.ask, told, {"it": Hits()}).intervals["accuracy"]
    narrow = wilson(int(right.sum()), 1000)
    assert high - low > 3 * (narrow[1] - narrow[0])


@pytest.mark.parametrize(
    "name",
    [
        "nats",
        "errors",
        "mean",
        "auc",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("text", "bleu", "verification")),
    ],
)
def test_copies_of_rows_in_their_group_change_no_interval(name: str) -> None:
    case = CASES[name]
    many = len(case.batch["y"])
    once = Told(case.outputs, case.batch)
    ids = torch.arange(many).repeat_interleave(2)
    copied = {n: t.repeat_interleave(2, 0) for n, t in case.batch.items()}
    if name == "verification":
        copied["sample"] = ids
    twice = Told({n: t.repeat_interleave(2, 0) for n, t in case.outputs.items()}, {**copied, "group": ids})
    first, second = (evaluate(told.ask, told, {"it": case.metric}).intervals for told in (once, twice))
    assert set(first) == set(second) == set(case.metric.higher)
    for figure, ends in first.items():
        assert second[figure] == pytest.approx(ends, rel=1e-9)


def test_more_groups_than_are_drawn_scale_with_their_root() -> None:
    off = rand(90_000, seed=2)
    few, many = (of_errors(off[:n])["mae"] for n in (10_000, 90_000))
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(3, rel=0.25)
    assert many[0] < float(off.abs().mean()) < many[1]


def test_rows_that_are_added_up_have_as_wide_an_interval() -> None:
    values = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) ** 3
    told = Told({"it": values}, {"y": values})
    found = evaluate(told.ask, told, {"it": Mean("it")}, size=9000)
    low, high = found.intervals["it"]
    reach = 1.96 * float(values.std()) / 100_000**0.5
    assert len(found.rows["it"]) <= Mean.groups
    assert found.figures["it"] == pytest.approx(float(values.double().mean()), rel=1e-12)
    assert high - low == pytest.approx(2 * reach, rel=0.15)


def test_student_s_tails() -> None:
    """The t of Student's table for 9 and 29 degrees of freedom, through the normal distribution."""
    for n, t in ((10, 2.2622), (30, 2.0452)):
        assert tail(n) == pytest.approx(0.5 * math.erfc(t * math.sqrt(n / (n - 1)) / math.sqrt(2)), rel=0.015)
    assert tail(10**6) == pytest.approx(0.025, rel=1e-3)


def test_draws_are_whole_groups_and_the_same_each_time() -> None:
    ids = torch.tensor([7, 3, 7, 9, 3, 7])
    draws = Draws(ids)
    drawings = list(draws)
    assert len(drawings) == intervals.RESAMPLES
    assert all(map(torch.equal, drawings, draws))
    for rows in drawings:
        times = rows.bincount(minlength=6)
        assert all(len(times[ids == each].unique()) == 1 for each in (3, 7, 9))
        assert sum(int(times[ids == each][0]) for each in (3, 7, 9)) == 3
    assert draws.units == 0
    assert Draws(torch.arange(6)).units == 6


def test_nothing_is_known_of_one_group_nor_of_rows_that_are_all_alike() -> None:
    metric = Mean("it")
    rows = metric.rows({"it": rand(5, seed=1)}, {})
    assert metric.intervals(rows, Draws(torch.zeros(5, dtype=torch.long))) == {}
    assert metric.intervals(rows[:1], Draws(torch.arange(1))) == {}
    assert metric.intervals(torch.ones(5, 2).double(), Draws(torch.arange(5))) == {}
    assert metric.intervals(rows * math.nan, Draws(torch.arange(5))) == {}
    assert of_errors(torch.tensor([1.0])) == {}
    some = of_errors(torch.tensor([math.nan, 1.0, 2.0, 4.0]))
    assert all(math.isfinite(end) for ends in some.values() for end in ends)


def test_the_equal_error_s_interval_is_about_as_wide_as_chance_makes_it() -> None:
    """The deviation of the rate over 40 samples of 150 rows, against what one sample's interval says."""

    def sample(seed: int) -> torch.Tensor:
        g = torch.Generator().manual_seed(seed)
        kind = torch.randint(0, 5, (150,), generator=g)
        z = 1.5 * torch.eye(8)[kind] + torch.randn(150, 8, generator=g)
        return Verification().rows({"embedding": z}, {"sample": torch.arange(150), "y": kind})

    metric = Verification()
    rates = torch.tensor([metric.figures(sample(seed))["equal-error-rate"] for seed in range(40)])
    widths = []
    for seed in range(3):
        rows = sample(seed)
        low, high = metric.intervals(rows, Draws(torch.arange(150)))["equal-error-rate"]
        assert low < metric.figures(rows)["equal-error-rate"] < high
        widths.append(high - low)
    assert sum(widths) / 3 == pytest.approx(2 * 1.96 * float(rates.std()), rel=0.35)


def test_the_equal_error_s_interval_of_many_rows() -> None:
    """More rows than are compared, more pairs than are weighed: the figure lies within, and the interval is narrower."""
    g = torch.Generator().manual_seed(0)
    kind = torch.randint(0, 10, (3000,), generator=g)
    z = 1.5 * torch.eye(12)[kind] + torch.randn(3000, 12, generator=g)
    rows = Verification().rows({"embedding": z}, {"sample": torch.arange(3000), "y": kind})
    many = Verification().intervals(rows, Draws(torch.arange(3000)))
    few = Verification().intervals(rows[:300], Draws(torch.arange(300)))
    for figure, value in Verification().figures(rows).items():
        low, high = many[figure]
        assert low < value < high
        assert high - low < 0.6 * (few[figure][1] - few[figure][0])
