"""Measuring a whole split: slices, ranks, memory that runs out and rows that are added up change no figure."""

from __future__ import annotations

import pytest
import torch
from cases import CASES
from splits import Ranks, Told, rand

from shendu.metrics.classes import CrossEntropy, Hits, Predictions
from shendu.metrics.evaluation import Measured, evaluate
from shendu.metrics.numbers import Errors, Mean

BAD = {"it": Mean("it")}


def equal(one: Measured, other: Measured) -> None:
    assert one.figures == pytest.approx(other.figures, rel=1e-12, abs=1e-14)
    assert set(one.intervals) == set(other.intervals)
    for name, ends in one.intervals.items():
        assert ends == pytest.approx(other.intervals[name], rel=1e-10)
    for name, rows in one.rows.items():
        assert torch.allclose(rows, other.rows[name], rtol=1e-12, atol=1e-14)
    assert torch.equal(one.badness, other.badness)
    assert one.count == other.count


@pytest.mark.parametrize("name", CASES)
def test_slices_and_ranks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    told = Told(case.outputs, case.batch)
    whole = evaluate(told.ask, told, {"it": case.metric})
    assert set(whole.figures) == set(case.metric.higher)
    equal(whole, evaluate(told.ask, told, {"it": case.metric}, size=17))
    for other in Ranks(2).run(monkeypatch, lambda: evaluate(told.ask, told, {"it": case.metric}, size=31)):
        equal(whole, other)


@pytest.mark.parametrize("group", ["", "few", "many"])
def test_rows_that_are_added_up_are_the_same_over_slices_and_ranks(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 rows in at most 300 sums: of rows, of 100 documents, of 1,000."""
    values = rand(5000, seed=1)
    ids = {"few": torch.arange(5000) // 50, "many": torch.arange(5000) * 7919 % 1000}
    told = Told({"it": values}, {"y": values, **({"group": ids[group]} if group else {})})

    class Few(Mean):
        groups = 300

    found = {"it": Few("it")}
    whole = evaluate(told.ask, told, found)
    assert len(whole.rows["it"]) == 100 if group == "few" else 250 < len(whole.rows["it"]) <= 300
    assert whole.rows["it"][:, 1].sum() == 5000
    assert whole.figures["it"] == pytest.approx(float(values.double().mean()), rel=1e-12)
    equal(whole, evaluate(told.ask, told, found, size=5000))
    equal(whole, evaluate(told.ask, told, found, size=37))
    for world in (2, 5):
        for other in Ranks(world).run(monkeypatch, lambda: evaluate(told.ask, told, found, size=123)):
            equal(whole, other)
    assert "it" in whole.intervals


def test_ranks_of_many_and_of_few_groups_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rank has more ids than are kept, the second far fewer."""
    values = rand(1000, seed=6)
    at = torch.arange(1000)
    told = Told({"it": values}, {"y": values, "group": torch.where(at < 500, at % 400, 1000 + at % 10)})

    class Few(Mean):
        groups = 300

    whole = evaluate(told.ask, told, {"it": Few("it")})
    for other in Ranks(2).run(monkeypatch, lambda: evaluate(told.ask, told, {"it": Few("it")})):
        equal(whole, other)


def test_parts_of_rows_are_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units a row, in 5,000 rows: the sums are those of all of them, over ranks too."""

    class Halves(Mean):
        groups = 300

        def rows(self, outputs, batch):  # type: ignore[no-untyped-def]
            return super().rows({"it": outputs["it"].flatten()}, batch)

    values = rand(5000, 2, seed=2)
    told = Told({"it": values}, {"y": values})
    for many, rows in ((100, 200), (5000, 300)):
        whole = evaluate(told.ask, told, {"it": Halves("it")}, most=many)
        assert whole.rows["it"][:, 1].sum() == 2 * many
        assert len(whole.rows["it"]) <= rows
        equal(whole, evaluate(told.ask, told, {"it": Halves("it")}, most=many, size=37))
        for other in Ranks(3).run(monkeypatch, lambda: evaluate(told.ask, told, {"it": Halves("it")}, most=many)):  # noqa: B023
            assert other.figures == pytest.approx(whole.figures, rel=1e-12)
            assert other.intervals["it"] == pytest.approx(whole.intervals["it"], abs=0.01)
            if many == 100:
                equal(whole, other)


def test_few_rows_stay_in_their_order() -> None:
    values = rand(700, seed=3)
    told = Told({"it": values}, {"y": values})
    assert torch.equal(evaluate(told.ask, told, BAD, size=41).rows["it"][:, 0], values.double())


def test_ranks_without_rows_join_in(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rand(2, 4, seed=4)
    told = Told({"logits": values}, {"y": torch.tensor([1, 2])})
    metrics = {"nats": CrossEntropy(), "hits": Hits(), "confusion": Predictions()}
    whole = evaluate(told.ask, told, metrics)
    for other in Ranks(4).run(monkeypatch, lambda: evaluate(told.ask, told, metrics)):
        equal(whole, other)


def test_smaller_slices_where_memory_runs_out() -> None:
    case = CASES["nats"]
    wide, tight = Told(case.outputs, case.batch), Told(case.outputs, case.batch, memory=30)
    pulses: list[int] = []
    found = evaluate(tight.ask, tight, {"it": case.metric}, pulse=lambda: pulses.append(1))
    equal(evaluate(wide.ask, wide, {"it": case.metric}), found)
    assert max(size for size in tight.asked if size <= 30) > 15
    assert len(pulses) == len(tight.asked)
    none = Told(case.outputs, case.batch, memory=0)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(none.ask, none, {"it": case.metric})


def test_other_errors_are_not_hidden() -> None:
    case = CASES["nats"]
    told = Told(case.outputs, case.batch)
    with pytest.raises(KeyError, match="energy"):
        evaluate(told.ask, told, {"it": Mean("energy")})
    assert len(told.asked) == 1


def test_badness_of_each_row_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rand(90, seed=5)
    told = Told({"it": values}, {"y": values})
    asked = {"badness": lambda outputs, batch: outputs["it"].double() + batch["sample"], "most": 70, "size": 9}
    whole = evaluate(told.ask, told, BAD, **asked)  # type: ignore[arg-type]
    assert whole.count == 70
    assert whole.badness.dtype == torch.float32
    assert torch.equal(whole.badness, (values[:70].double() + torch.arange(70)).float())
    assert whole.figures["it"] == pytest.approx(float(values[:70].double().mean()))
    for other in Ranks(3).run(monkeypatch, lambda: evaluate(told.ask, told, BAD, **asked)):  # type: ignore[arg-type]
        equal(whole, other)


def test_intervals_are_left_out_where_nobody_asks() -> None:
    case = CASES["errors"]
    told = Told(case.outputs, case.batch)
    found = evaluate(told.ask, told, {"it": Errors()}, intervals=False)
    assert found.intervals == {}
    assert found.figures == evaluate(told.ask, told, {"it": Errors()}).figures
    assert len(found.badness) == 0
