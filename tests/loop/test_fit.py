"""The loop, trait by trait, against brute force."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import Plain, Rows, Squares, network, recipe, rows, stage

from shendu import chance, loop, optim, parallel
from shendu.core import At, Batch, Loss, Metric, Objective, Outputs, Source
from shendu.errors import Interrupted, UserError
from shendu.loop import figures, pace, session, trouble
from shendu.loop.state import State
from shendu.run import Folder


def interrupted(bench: Any, make: Any, path: Path, at: int, save_at: int, **setup: Any) -> None:
    """Trains until the process dies before total step `at`, with a checkpoint at `save_at`."""
    with pytest.MonkeyPatch.context() as patch:
        bench.killing(patch, at, save_at)
        with pytest.raises(bench.Killed):
            bench.train(make(), path, **setup)


def resumes(bench: Any, make: Any, path: Path, at: int, save_at: int, **setup: Any) -> None:
    """Asserts that dying and continuing changes no bit of any stage's final state."""
    with pytest.MonkeyPatch.context() as patch:
        whole = bench.seen(patch)
        model, _ = bench.train(make(), path / "whole", **setup)
    interrupted(bench, make, path / "parts", at, save_at, **setup)
    with pytest.MonkeyPatch.context() as patch:
        parts = bench.seen(patch)
        again, _ = bench.train(make(), path / "parts", **setup)
    bench.same(bench.tensors(whole[-1]), bench.tensors(parts[-1]))
    bench.same(bench.tensors(model.state_dict()), bench.tensors(again.state_dict()))


# ---- one step


def test_a_run_is_what_a_plain_loop_computes(bench: Any, tmp_path: Path) -> None:
    model, at = bench.train(recipe(stage(steps=15), make=lambda: network(0.0)), tmp_path)
    chance.reseed(0, loop.INIT)
    plain, data = network(0.0), rows()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9)
    for step in range(15):
        batch = data.batch(At(step * 8, 8))
        optimizer.zero_grad()
        (plain(batch["x"])[:, 0] - batch["y"]).square().mean().backward()
        optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (at.stage, at.total, at.samples) == (1, 15, 120)
    assert at.seconds > 0


class TwoTerms(Objective):
    """Two sums over different things: all rows, and those that `y` marks (perhaps none)."""

    def units(self, batch: Batch) -> dict[str, Tensor]:
        return {"all": torch.tensor(len(batch["x"])), "some": (batch["y"] > 0).sum()}

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        outputs = model(batch["x"])[:, 0]
        some = torch.where(batch["y"] > 0, outputs, 0.0)
        return Loss({"all": outputs.square().sum(), "some": 3 * (some - 1).square().mul(batch["y"] > 0).sum()})


@pytest.mark.parametrize("marks", [[1, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1], [0] * 7, [1] * 7])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 7])
def test_terms_with_their_own_units_over_uneven_micro_batches(
    bench: Any, tmp_path: Path, marks: list[int], accumulate: int
) -> None:
    x, y = torch.randn(7, 3), torch.tensor(marks)
    model, _ = bench.train(
        recipe(
            stage(rows=Rows(x, y), objective=lambda m: TwoTerms(), steps=1, batch_size=7, accumulate=accumulate,
                  optimizer=optim.optimizer("sgd", lr=0.1)),
            make=lambda: network(0.0),
        ),
        tmp_path,
    )  # fmt: skip
    chance.reseed(0, loop.INIT)
    plain = network(0.0)
    outputs = plain(x)[:, 0]
    loss = outputs.square().mean()
    if sum(marks):
        loss = loss + 3 * (outputs[y > 0] - 1).square().mean()
    loss.backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach() - 0.1 * theirs.grad, rtol=1e-5, atol=1e-6)


def test_micro_batches_are_neighbouring_slices_of_the_stream(bench: Any, tmp_path: Path) -> None:
    source = rows()
    bench.train(recipe(stage(rows=source, steps=3, batch_size=10, accumulate=4)), tmp_path)
    starts = [at.start for at in source.asked]
    assert starts == list(itertools.accumulate([at.size for at in source.asked[:-1]], initial=0))
    assert [at.size for at in source.asked] == [2, 3, 2, 3] * 3


def test_clip_is_per_group_and_skipped_at_infinity(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[tuple[int, float]] = []
    step = optim.eager(torch.optim.SGD).step  # type: ignore[attr-defined]

    def watched(self: torch.optim.SGD, closure: None = None) -> None:
        norms.append((len(self.param_groups), [float(torch.cat([p.grad.flatten() for p in g["params"]]).norm()) for g in self.param_groups]))  # type: ignore[arg-type]  # fmt: skip
        step(self)

    def never(*args: Any, **options: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(optim.eager(torch.optim.SGD), "step", watched)
    bench.train(recipe(stage(steps=2, clip=0.01, trains=("0", "3"))), tmp_path / "clipped")
    assert norms[0][0] == 2
    assert norms[0][1] == pytest.approx([0.01, 0.01], rel=1e-3)
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", never)
    bench.train(recipe(stage(steps=2)), tmp_path / "free")
    assert max(norms[-1][1]) > 0.05  # type: ignore[arg-type]


def test_schedules_reach_the_optimiser(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = optim.eager(torch.optim.SGD).step  # type: ignore[attr-defined]

    def watched(self: torch.optim.SGD, closure: None = None) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(optim.eager(torch.optim.SGD), "step", watched)
    schedule = optim.schedule("one-cycle")
    bench.train(recipe(stage(schedule=schedule)), tmp_path)
    assert rates == pytest.approx([0.01 * schedule(s, 20) for s in range(20)])
    assert len(set(rates)) > 15


# ---- what is trained


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rbms = nn.ModuleList([nn.Linear(3, 3) for _ in range(11)])
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.rbms:
            x = layer(x)
        return self.head(self.norm(x))


class Temperature(Squares):
    """An objective with a parameter of its own and a frozen teacher."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.teacher = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1), nn.Dropout(0.5)).requires_grad_(False)

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        return Loss({"loss": (model(batch["x"]) * self.scale - self.teacher(batch["x"])).square().sum()})


def names(groups: Any) -> list[list[str]]:
    return [group["names"] for group in groups]


def test_trains_names_whole_prefixes() -> None:
    learner = loop.Learner(Two(), Temperature())
    assert names(loop.named_groups(learner, ("rbms.1",))) == [["rbms.1.weight", "rbms.1.bias"]]
    assert [n for n, p in learner.named_parameters() if p.requires_grad] == ["model.rbms.1.weight", "model.rbms.1.bias"]
    assert names(loop.named_groups(learner, ("rbms.10", "head.weight"))) == [
        ["rbms.10.weight", "rbms.10.bias"],
        ["head.weight"],
    ]
    learner = loop.Learner(Two(), Temperature())
    everything = names(loop.named_groups(learner, ("",)))[0]
    assert "objective.scale" in everything
    assert not any("teacher" in n for n in everything)
    assert len(everything) == 2 * 11 + 2 + 2 + 1
    assert names(loop.named_groups(learner, ("objective.scale",))) == [["objective.scale"]]
    assert loop.named_groups(learner, ()) == []


@pytest.mark.parametrize("trains", [("rbms", "rbms.1"), ("", "head"), ("head", "head")])
def test_overlapping_groups_are_an_error(trains: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="overlap"):
        loop.named_groups(loop.Learner(Two(), Squares()), trains)


def test_a_prefix_that_names_nothing_is_an_error() -> None:
    with pytest.raises(AssertionError, match="no parameter is called 'rbm'"):
        loop.named_groups(loop.Learner(Two(), Squares()), ("rbm",))


def test_whole_modules_that_are_not_trained_run_in_eval_mode() -> None:
    model = Two()
    learner = loop.Learner(model, Temperature())
    loop.named_groups(learner, ("head", "objective.scale"))
    loop.set_modes(learner)
    assert model.training
    assert model.head.training
    assert not model.norm.training
    assert not model.rbms[3].training
    assert not learner.objective.teacher.training  # type: ignore[union-attr]
    loop.named_groups(learner, ("",))
    loop.set_modes(learner)
    assert model.norm.training
    assert not any(m.training for m in learner.objective.teacher.modules())  # type: ignore[union-attr]


def test_only_what_is_named_moves(bench: Any, tmp_path: Path) -> None:
    def make() -> Any:
        return recipe(stage(trains=("head", "objective.scale"), objective=lambda m: Temperature()), make=Two)

    with pytest.MonkeyPatch.context() as patch:
        states = bench.seen(patch)
        model, _ = bench.train(make(), tmp_path)
    chance.reseed(0, loop.INIT)
    start = Two().state_dict()
    moved = {name for name, t in model.state_dict().items() if not torch.equal(t, start[name])}
    assert moved == {"head.weight", "head.bias"}
    assert float(states[0]["objective"]["scale"]) != 1
    assert all(p.requires_grad for p in model.parameters())
    resumes(bench, make, tmp_path / "again", 11, 7)


# ---- averages, selection, early stopping


def test_ema_is_the_brute_force_average(bench: Any, tmp_path: Path) -> None:
    after: list[dict[str, Tensor]] = []

    class Watching(Squares):
        def update(self, model: nn.Module, step: int) -> None:
            after.append({n: p.detach().clone() for n, p in model.state_dict().items()})

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    model, _ = bench.train(recipe(stage(objective=lambda m: Watching()), make=make, ema=0.8), tmp_path)
    chance.reseed(0, loop.INIT)
    wanted = {n: p.detach().double() for n, p in make().named_parameters()}
    for step, state in enumerate(after):
        decay = min(0.8, (1 + step) / (10 + step))
        wanted = {n: decay * w + (1 - decay) * state[n].double() for n, w in wanted.items()}
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, wanted[name].float(), rtol=1e-5, atol=1e-6)
    for name, b in model.named_buffers():
        assert torch.equal(b, after[-1][name])


def test_the_average_begins_anew_in_each_stage(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does its warm-up: the weights that a stage begins with are soon forgotten, however long the stages before it were."""
    stages = (stage(steps=300), stage(steps=0), stage(steps=40))
    before: list[dict[str, Tensor]] = []
    decays: list[float] = []
    average = session.average

    def watched(averaged: nn.Module, model: nn.Module, decay: float) -> None:
        before.append(bench.tensors(averaged.state_dict()))
        decays.append(decay)
        average(averaged, model, decay)

    monkeypatch.setattr(session, "average", watched)
    with pytest.MonkeyPatch.context() as patch:
        states = bench.seen(patch)
        bench.train(recipe(*stages, ema=0.9), tmp_path)
    assert decays == [min(0.9, (1 + step) / (10 + step)) for steps in (300, 40) for step in range(steps)]
    bench.same(before[300], bench.tensors(states[1]["model"]))
    start = math.prod(decays[300:])
    assert start < 0.01, "the share of the first weights in the average at the end"
    resumes(bench, lambda: recipe(*stages, ema=0.9), tmp_path / "again", 320, 310)


class Scripted(Metric):
    """A metric whose values over the validations are written down."""

    def __init__(self, values: tuple[float, ...], higher: bool) -> None:
        self.values, self.higher, self.count = values, {"m": higher}, 0

    def rows(self, outputs: Outputs, batch: Batch) -> Tensor:
        return torch.zeros(len(batch["sample"]), 1, dtype=torch.float64)

    def figures(self, rows: Tensor) -> dict[str, float]:
        self.count += 1
        return {"m": self.values[self.count - 1]}


@pytest.mark.parametrize(
    ("values", "patience", "higher", "best", "validations"),
    [
        ((0.1, 0.5, 0.4, 0.3, 0.9, 0.9), 2, True, 2, 4),
        ((0.1, 0.5, 0.4, 0.6, 0.5, 0.4), 3, True, 4, 6),
        ((0.9, 0.5, 0.6, 0.4, 0.4, 0.3), 0, False, 6, 6),
        ((0.5, 0.5, 0.5, 0.5, 0.5, 0.5), 0, True, 1, 6),
        ((math.nan, 0.2, 0.1, math.nan, 0.1, 0.1), 0, True, 2, 6),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_best_weights_are_kept_and_patience_ends(
    bench: Any,
    tmp_path: Path,
    values: tuple[float, ...],
    patience: int,
    higher: bool,
    best: int,
    validations: int,
    ema: float,
) -> None:
    weights: list[dict[str, Tensor]] = []
    validate = figures.validate

    def watched(state: State, pulse: Any) -> None:
        weights.append(bench.tensors((state.averaged or state.model).state_dict()))
        validate(state, pulse)

    made = dataclasses.replace(
        recipe(
            stage(steps=24), validation=rows(20, seed=1), select_by="m", patience=patience, validate_every=4, ema=ema
        ),
        task=Plain(m=Scripted(values, higher)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "validate", watched)
        model, at = bench.train(made, tmp_path)
    assert len(weights) == validations
    assert at.best_step == 4 * best
    bench.same(bench.tensors(model.state_dict()), weights[best - 1])
    steps = [line["step"] for line in Folder(tmp_path).history() if "validation m" in line]
    assert steps == [4 * (i + 1) for i in range(validations)]


def test_validation_is_at_steps_fixed_in_advance_and_leaves_chance_alone(bench: Any, tmp_path: Path) -> None:
    runs = {}
    for every in (0, 1, 3, 7):
        made = recipe(validation=rows(20, seed=1), validate_every=every)
        runs[every], _ = bench.train(made, tmp_path / f"{every}")
        steps = [line["step"] for line in Folder(tmp_path / f"{every}").history() if "validation rmse" in line]
        assert steps == ([s for s in range(1, 21) if s % every == 0 or s == 20] if every else [20])
    for model in runs.values():
        bench.same(bench.tensors(runs[0].state_dict()), bench.tensors(model.state_dict()))


def test_the_test_part_is_never_touched(bench: Any, tmp_path: Path) -> None:
    class Forbidden(Rows):
        def batch(self, at: At, model: nn.Module | None = None) -> Batch:
            raise AssertionError("the test part was read while training")

    made = recipe(validation=rows(20, seed=1), validate_every=3, select_by="rmse", patience=5)
    made.splits["test"] = Forbidden(torch.zeros(5, 3), torch.zeros(5))
    bench.train(made, tmp_path)


def test_early_stopping_and_best_weights_survive_interruptions(bench: Any, tmp_path: Path) -> None:
    def make() -> Any:
        return recipe(stage(steps=60, optimizer=optim.optimizer("sgd", lr=0.15)), validation=rows(20, seed=1), select_by="rmse",
                      patience=3, validate_every=2, ema=0.5)  # fmt: skip

    _, at = bench.train(make(), tmp_path / "whole")
    for stop, save in ((at.total - 1, at.total - 2), (at.best_step + 2, at.best_step + 1), (7, 6)):
        resumes(bench, make, tmp_path / f"{stop}", stop, save)


# ---- interruptions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_continues(bench: Any, tmp_path: Path, number: int) -> None:
    whole, _ = bench.train(recipe(), tmp_path / "whole")
    step, before = loop.Session.step, signal.getsignal(number)

    def signalled(self: loop.Session) -> None:
        step(self)
        if self.at.step == 9:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Session, "step", signalled)
        with pytest.raises(Interrupted, match="stopped at step 9 of 20") as caught:
            bench.train(recipe(), tmp_path / "parts")
    assert caught.value.signal == number
    assert signal.getsignal(number) == before
    assert Folder(tmp_path / "parts").newest(print)["at"]["step"] == 9  # type: ignore[index]
    model, _ = bench.train(recipe(), tmp_path / "parts")
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(model.state_dict()))


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("step", [5, 10, 20])
def test_a_signal_during_validation(bench: Any, tmp_path: Path, step: int, batches: int) -> None:
    def make(source: Rows | None = None) -> Any:
        return recipe(validation=source or rows(1200, seed=1), validate_every=5, select_by="rmse", patience=2, ema=0.5)

    class Signalling(Rows):
        count = 0

        def batch(self, at: At, model: nn.Module | None = None) -> Batch:
            self.count += 1
            if self.count == 3 * (step // 5 - 1) + batches:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().batch(at, model)

    with pytest.MonkeyPatch.context() as patch:
        whole = bench.seen(patch)
        bench.train(make(), tmp_path / "whole")
    source = rows(1200, seed=1)
    with pytest.raises(Interrupted):
        bench.train(make(Signalling(source.x, source.y)), tmp_path / "parts")
    saved = Folder(tmp_path / "parts").newest(print)
    assert saved is not None
    assert (saved["at"]["step"], saved["at"]["validated"]) == (step, step - 5 if step > 5 else -1)
    with pytest.MonkeyPatch.context() as patch:
        parts = bench.seen(patch)
        bench.train(make(), tmp_path / "parts")
    bench.same(bench.tensors(whole[-1]), bench.tensors(parts[-1]))
    history = [
        [line for line in Folder(tmp_path / p).history() if "validation rmse" in line] for p in ("whole", "parts")
    ]
    assert history[0] == history[1]


def test_a_second_ctrl_c_stops_at_once(bench: Any, tmp_path: Path) -> None:
    def impatient(self: loop.Session) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Session, "step", impatient)
        with pytest.raises(KeyboardInterrupt):
            bench.train(recipe(), tmp_path)


def test_training_in_a_thread_leaves_signals_alone(bench: Any, tmp_path: Path) -> None:
    done: list[Any] = []
    worker = threading.Thread(target=lambda: done.append(bench.train(recipe(), tmp_path)[1].total))
    worker.start()
    worker.join()
    assert done == [20]


def test_the_metrics_of_a_continued_run_have_no_line_twice(bench: Any, tmp_path: Path) -> None:
    bench.train(recipe(), tmp_path / "whole")
    interrupted(bench, recipe, tmp_path / "parts", 15, 8)
    before = [line["step"] for line in Folder(tmp_path / "parts").history()]
    assert before == list(range(1, 16))
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"stage": 0, "st')
    bench.train(recipe(), tmp_path / "parts")
    lines = [[{**line, "seconds": 0} for line in Folder(tmp_path / p).history()] for p in ("whole", "parts")]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[1]] == list(range(1, 21))
    assert [line["samples"] for line in lines[1]] == [8 * s for s in range(1, 21)]


def test_counters_go_on_where_they_were(bench: Any, tmp_path: Path) -> None:
    interrupted(bench, recipe, tmp_path, 15, 8)
    saved = Folder(tmp_path).newest(print)
    assert saved is not None
    assert saved["at"]["samples"] == 64
    _, at = bench.train(recipe(), tmp_path)
    assert at.samples == 160
    assert at.seconds > saved["at"]["seconds"] > 0


def test_a_finished_run_is_only_loaded(bench: Any, tmp_path: Path) -> None:
    for ema, select in itertools.product((0.0, 0.9), ("", "rmse")):
        path = tmp_path / f"{ema}{select}"
        made = recipe(validation=rows(20, seed=1), validate_every=5, select_by=select, ema=ema)
        model, at = bench.train(made, path)
        files = sorted((path / "checkpoints").iterdir())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop.Session, "step", None)
            again, then = bench.train(made, path, device=torch.device("cpu"), precision="bf16")
        bench.same(bench.tensors(model.state_dict()), bench.tensors(again.state_dict()))
        assert at == then
        assert sorted((path / "checkpoints").iterdir()) == files


# ---- memory runs out


class Hungry(Squares):
    """More rows than `fits` do not fit in memory."""

    fits = 3
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        if len(batch["x"]) > self.fits and int(step) >= 6:
            raise self.error
        return super().forward(model, batch, step)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("x"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_micro_batch(
    bench: Any, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "error", error)
    said: list[str] = []
    small = stage(objective=lambda m: Hungry())
    model, at = bench.train(recipe(small, make=lambda: network(0.0)), tmp_path / "hungry", say=said.append)
    assert at.micro == 1 or at.stage == 1
    assert [s for s in said if "out of memory" in s] == [
        "out of memory with micro-batches of 8: continuing with 4, accumulated 2 times",
        "out of memory with micro-batches of 4: continuing with 2, accumulated 4 times",
    ]
    wanted, _ = bench.train(recipe(stage(accumulate=4), make=lambda: network(0.0)), tmp_path / "four")
    for ours, theirs in zip(model.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_decision_to_split_is_resumed(bench: Any, tmp_path: Path) -> None:
    """It stands in the checkpoint: the continued run does not run out of memory again, and ends with the same bytes."""

    def make() -> Any:
        return recipe(stage(objective=lambda m: Hungry()))

    whole, _ = bench.train(make(), tmp_path / "whole")
    interrupted(bench, make, tmp_path / "parts", 15, 12)
    said: list[str] = []
    model, _ = bench.train(make(), tmp_path / "parts", say=said.append)
    assert said == []
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(model.state_dict()))


def test_out_of_memory_where_nothing_can_be_split(
    bench: Any, tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Coupled(Hungry):
        coupled = True

    with pytest.raises(UserError, match="its rows affect each other; try --batch-size 4") as caught:
        bench.train(recipe(stage(objective=lambda m: Coupled())), tmp_path / "coupled")
    one_line(caught.value)
    monkeypatch.setattr(Hungry, "fits", 0)
    with pytest.raises(UserError, match="a single row") as caught:
        bench.train(recipe(stage(objective=lambda m: Hungry())), tmp_path / "single")
    one_line(caught.value)


def test_other_errors_are_not_taken_for_memory(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "error", RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        bench.train(recipe(stage(objective=lambda m: Hungry())), tmp_path)


def test_splitting_ends_with_its_stage(bench: Any, tmp_path: Path) -> None:
    """A later stage, coupled or of smaller batches, begins unsplit."""

    class Coupled(Squares):
        coupled = True

    stages = (stage(objective=lambda m: Hungry()), stage(objective=lambda m: Coupled(), batch_size=2))
    _, at = bench.train(recipe(*stages), tmp_path)
    assert at.total == 40
    assert at.micro == 1


def test_validation_goes_on_in_smaller_batches(bench: Any, tmp_path: Path) -> None:
    class Small(Plain):
        def outputs(self, model: Any, batch: Batch) -> Outputs:
            if len(batch["x"]) > 70:
                raise torch.OutOfMemoryError
            return super().outputs(model, batch)

    made = recipe(validation=rows(1100, seed=1))
    _, at = bench.train(made, tmp_path / "plain")
    _, small = bench.train(dataclasses.replace(made, task=Small()), tmp_path / "small")
    assert small.validation == pytest.approx(at.validation, rel=1e-6)


# ---- losses that are not finite


class Poisoned(Squares):
    """NaN at some steps: in the loss, or in the gradient alone."""

    def __init__(self, steps: tuple[int, ...], gradient: bool) -> None:
        super().__init__()
        self.steps, self.gradient = steps, gradient
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        self.seen += 1
        loss = super().forward(model, batch, step).sums["loss"]
        if int(step) in self.steps:
            loss = loss + torch.sqrt(loss - loss.detach()) if self.gradient else loss * math.nan
        return Loss({"loss": loss})


@pytest.mark.parametrize("gradient", [False, True])
def test_a_loss_that_is_not_finite_stops(bench: Any, tmp_path: Path, one_line: Any, gradient: bool) -> None:
    with pytest.raises(UserError, match="--on-nan skip") as caught:
        bench.train(recipe(stage(objective=lambda m: Poisoned((12,), gradient))), tmp_path)
    text = one_line(caught.value)
    assert f"at step {14 if gradient else 13}" in text
    assert "--lr 0.001" in text
    assert "step-00000000" in text
    for path in Folder(tmp_path).checkpoints():
        saved = bench.tensors(Folder(tmp_path).newest(print))
        assert all(t.isfinite().all() for t in saved.values()), path


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("poison", [(12,), (0,), (5, 6, 13), (19,), (18, 19)])
def test_skipping_leaves_exactly_the_bad_steps_out(
    bench: Any, tmp_path: Path, gradient: bool, poison: tuple[int, ...]
) -> None:
    def make(which: tuple[int, ...] = poison) -> Any:
        return recipe(stage(objective=lambda m: Poisoned(which, gradient)), make=lambda: network(0.0), validation=rows(9, seed=1),
                      validate_every=5)  # fmt: skip

    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        states = bench.seen(patch)
        model, at = bench.train(make(), tmp_path / "skip", on_nan="skip", say=said.append)
    assert at.skips == [[0, s] for s in poison]
    assert len(said) == len(poison)
    assert int(states[-1]["objective"]["seen"]) == 20 - len(poison), "forwards of the steps left out are undone"

    chance.reseed(0, loop.INIT)
    plain, data = network(0.0), rows()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9)
    for step in set(range(20)) - set(poison):
        batch = data.batch(At(step * 8, 8))
        optimizer.zero_grad()
        (plain(batch["x"])[:, 0] - batch["y"]).square().mean().backward()
        optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)

    # whenever checkpoints fall, and wherever the process dies, the same steps are left out
    for i, (stop, save) in enumerate(((14, 13), (17, 3))):
        if stop not in (poison[0], poison[-1] + 1):
            interrupted(bench, make, tmp_path / f"{i}", stop, save, on_nan="skip")
            again, _ = bench.train(make(), tmp_path / f"{i}", on_nan="skip")
            bench.same(bench.tensors(model.state_dict()), bench.tensors(again.state_dict()))


def test_too_many_bad_steps_end_the_run(
    bench: Any, tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "MOST_SKIPS", 3)
    with pytest.raises(UserError, match="3 steps were left out before") as caught:
        bench.train(recipe(stage(objective=lambda m: Poisoned(tuple(range(20)), True))), tmp_path, on_nan="skip")
    one_line(caught.value)


def test_weights_that_overflow_end_the_run_at_once(bench: Any, tmp_path: Path) -> None:
    def far(model: nn.Module, step: int) -> None:
        if step == 4:
            with torch.no_grad():
                next(model.parameters()).fill_(math.inf)

    class Diverging(Squares):
        def update(self, model: nn.Module, step: int) -> None:
            far(model, step)

    said: list[str] = []
    with pytest.raises(UserError, match="not finite"):
        bench.train(recipe(stage(objective=lambda m: Diverging())), tmp_path, on_nan="skip", say=said.append)
    assert said == []


def test_nothing_that_is_not_finite_is_saved(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where no loss shows it: here a buffer of the objective, seen when the checkpoint is due."""

    class Chain(Squares):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("chain", torch.zeros(3))

        def update(self, model: nn.Module, step: int) -> None:
            if step == 7:
                self.chain[1] = math.inf

    monkeypatch.setattr("shendu.loop.session.FIRST_SAVE", 0.0)
    monkeypatch.setattr("shendu.loop.session.SAVE_EVERY", 0.0)
    monkeypatch.setattr("shendu.loop.session.SAVE_SHARE", 1e9)
    with pytest.raises(
        UserError, match=r"objective/chain was no longer finite at step 8; the last good checkpoint is .*step-00000007;"
    ):
        bench.train(recipe(stage(objective=lambda m: Chain())), tmp_path)
    saved = Folder(tmp_path).newest(print)
    assert saved is not None
    assert saved["at"]["step"] == 7


def test_the_first_checkpoint_comes_soon(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one at step 0 does not put it off to the time that lies between later ones."""
    monkeypatch.setattr("shendu.loop.session.FIRST_SAVE", 0.0)
    kept: list[int] = []
    save = Folder.save
    monkeypatch.setattr(Folder, "save", lambda self, step, tree: kept.append(step) or save(self, step, tree))
    bench.train(recipe(stage()), tmp_path)
    assert kept[:2] == [0, 1]
    assert len(kept) < 5, "and the later ones by the clock"


# ---- stages


class Grown(nn.Module):
    """A network that the second stage makes deeper."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3)])
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)


class Grow(Squares):
    entered = 0

    def enter(self, model: nn.Module, source: Source) -> None:
        type(self).entered += 1
        model.layers.append(nn.Linear(3, 3))  # type: ignore[union-attr,operator]


def staged() -> Any:
    return recipe(
        stage(steps=6, trains=("layers.0",), name="first"),
        stage(steps=7, objective=lambda m: Grow(), trains=("layers.1", "head"), optimizer=optim.optimizer("adam", lr=0.01)),
        stage(steps=0, objective=lambda m: Grow(), trains=()),
        stage(steps=8, objective=lambda m: Temperature(), accumulate=2),
        make=Grown, validation=rows(20, seed=1), validate_every=3, select_by="rmse", ema=0.9,
    )  # fmt: skip


@pytest.mark.parametrize(("stop", "save"), [(0, 0), (5, 3), (6, 0), (8, 7), (13, 0), (14, 13), (20, 18)])
def test_stages_with_growth_resume(bench: Any, tmp_path: Path, stop: int, save: int) -> None:
    resumes(bench, staged, tmp_path, stop, save)


def test_stages_follow_one_another(bench: Any, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        states = bench.seen(patch)
        model, at = bench.train(staged(), tmp_path)
    assert [(s["at"]["stage"], s["at"]["step"], s["at"]["total"]) for s in states] == [
        (0, 6, 6),
        (1, 7, 13),
        (2, 0, 13),
        (3, 8, 21),
    ]
    assert at.stage == 4
    assert len(model.layers) == 3  # type: ignore[arg-type]
    first, second = (s["model"] for s in states[:2])
    assert torch.equal(first["layers.0.weight"], second["layers.0.weight"])
    assert states[2]["optimizer"] is None
    validated = [(line["stage"], line["step"]) for line in Folder(tmp_path).history() if "validation rmse" in line]
    assert validated == [(3, 3), (3, 6), (3, 8)]


def test_a_recipe_of_no_steps(bench: Any, tmp_path: Path) -> None:
    for ema in (0.0, 0.9):
        make = lambda ema=ema: recipe(stage(steps=0, objective=lambda m: Grow(), trains=()), make=Grown, ema=ema)  # noqa: E731
        model, at = bench.train(make(), tmp_path / f"{ema}")
        assert (at.stage, at.total, len(model.layers)) == (1, 0, 2)
        again, _ = bench.train(make(), tmp_path / f"{ema}")
        bench.same(bench.tensors(model.state_dict()), bench.tensors(again.state_dict()))


def test_enter_is_replayed_once_per_stage(bench: Any, tmp_path: Path) -> None:
    interrupted(bench, staged, tmp_path, 15, 14)
    Grow.entered = 0
    bench.train(staged(), tmp_path)
    assert Grow.entered == 2


# ---- state: sources that act, optimisers, memory formats, tied weights


class Acting(Rows):
    """A source with a state: it keeps what the model said last."""

    acts = True

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__(x, y)
        self.memory, self.calls = torch.zeros(()), 0

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        batch = super().batch(at)
        assert model is not None
        with torch.no_grad():
            self.memory = 0.9 * self.memory + model(batch["x"]).mean()
        self.calls += 1
        noise = torch.randn(at.size, generator=chance.generator(0, at.start))
        return {"x": batch["x"], "y": batch["y"] + self.memory + noise * 0.1 * self.calls}

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self.memory, "calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory, self.calls = state["memory"], state["calls"]


def test_acting_sources_resume(bench: Any, tmp_path: Path) -> None:
    def make() -> Any:
        base = rows()
        source = stage(source=lambda m: Acting(base.x, base.y))
        return recipe(source, make=lambda: network(0.0))

    with pytest.MonkeyPatch.context() as patch:
        states = bench.seen(patch)
        bench.train(make(), tmp_path / "calls")
    assert states[0]["source"]["calls"] == 20
    resumes(bench, make, tmp_path, 13, 9)


class Convolutions(nn.Module):
    """Kernels of several shapes, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 5, 3, groups=1), nn.Flatten(),
            nn.Linear(5 * 16, 4), nn.Linear(4, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimiser_resumes_in_its_memory_format(bench: Any, tmp_path: Path, name: str) -> None:
    source = Rows(torch.randn(40, 3, 6, 6).contiguous(memory_format=torch.channels_last), torch.randn(40))

    def make() -> Any:
        chosen = optim.optimizer(name, lr=0.01, weight_decay=0.01)
        return recipe(stage(rows=source, steps=12, optimizer=chosen, trains=("layers.0", "layers.1", "layers.3", "layers.4", "layers.6", "layers.7")),
                      make=Convolutions, ema=0.5)  # fmt: skip

    resumes(bench, make, tmp_path, 8, 5)
    session = loop.Session(make(), Folder(tmp_path / "parts"), bench.setup(), [])
    assert session.model.layers[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr,operator,index]


@pytest.mark.parametrize("name", ["adamw", "nesterov", "muon"])
def test_optimiser_state_lies_as_its_parameters_do(bench: Any, tmp_path: Path, name: str) -> None:
    source = Rows(torch.randn(40, 3, 6, 6), torch.randn(40))

    def make() -> Any:
        return recipe(stage(rows=source, steps=12, optimizer=optim.optimizer(name, lr=0.01)), make=Convolutions)

    interrupted(bench, make, tmp_path, 8, 5)
    session = loop.Session(make(), Folder(tmp_path), bench.setup(), [])
    checked = 0
    for p, state in session.optimizer.state.items():  # type: ignore[union-attr]
        for value in state.values():
            if torch.is_tensor(value) and value.shape == p.shape:
                assert value.stride() == p.stride()
                checked += 1
    assert checked


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.out.weight = self.into.weight
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.out(torch.tanh(self.into(x))))


def test_tied_weights_stay_tied(bench: Any, tmp_path: Path) -> None:
    def make() -> Any:
        return recipe(make=Tied, ema=0.9, validation=rows(20, seed=1), validate_every=4, select_by="rmse")

    resumes(bench, make, tmp_path, 13, 9)
    session = loop.Session(make(), Folder(tmp_path / "parts"), bench.setup(), [])
    for module in (session.model, session.averaged):
        assert module is not None
        assert module.into.weight is module.out.weight
    assert sum("weight" in n for n in bench.tensors(Folder(tmp_path / "parts").newest(print)) if "/model" in n) == 2


# ---- where it runs


def test_another_environment_is_refused_unless_approximate(bench: Any, tmp_path: Path, one_line: Any) -> None:
    interrupted(bench, recipe, tmp_path, 15, 8)
    before = torch.get_num_threads()
    now = 3 - before
    torch.set_num_threads(now)
    try:
        with pytest.raises(UserError, match=f"threads was {before}, is {now}") as caught:
            bench.train(recipe(), tmp_path)
        assert "--resume=approximate" in one_line(caught.value)
        said: list[str] = []
        _, at = bench.train(recipe(), tmp_path, resume="approximate", say=said.append)
    finally:
        torch.set_num_threads(before)
    assert said == [f"approximate resume: threads was {before}, is {now}"]
    assert at.total == 20


def test_bf16_keeps_fp32_weights_and_resumes(bench: Any, tmp_path: Path) -> None:
    resumes(bench, recipe, tmp_path, 13, 9, precision="bf16")
    model, _ = bench.train(recipe(), tmp_path / "whole", precision="bf16")
    plain, _ = bench.train(recipe(), tmp_path / "fp32")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    pairs = list(zip(model.parameters(), plain.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in pairs)
    assert all(torch.allclose(a, b, atol=0.05) for a, b in pairs)


def test_bf16_is_for_networks_that_gain_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "bf16_units", lambda: ["avx512_bf16"])
    cpu, small, large = torch.device("cpu"), nn.Linear(100, 100), nn.Linear(300, 300)
    assert [parallel.choose_precision("auto", cpu, model) for model in (small, large)] == ["fp32", "bf16"]
    assert parallel.choose_precision("bf16", cpu, small) == "bf16"
    monkeypatch.setattr(parallel, "bf16_units", list)
    assert parallel.choose_precision("auto", cpu, large) == "fp32"


def test_show_is_told_of_steps_and_validation(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    bench.train(recipe(validation=rows(20, seed=1), validate_every=5), tmp_path, show=lines.append)
    assert len(lines) >= 4
    assert lines[-1].keys() >= {"stage", "name", "step", "steps", "seconds", "samples_per_second", "validation rmse"}


def test_an_objectives_warning_is_said_once_at_validation(bench: Any, tmp_path: Path) -> None:
    class Wary(Squares):
        asked = 0

        def warning(self, model: nn.Module) -> str:
            type(self).asked += 1
            return "it has collapsed" if self.asked > 1 else ""

    said: list[str] = []
    made = recipe(stage(objective=lambda model: Wary()), validation=rows(20, seed=1), validate_every=5)
    bench.train(made, tmp_path, say=said.append)
    assert Wary.asked > 2
    assert said == ["step 10: it has collapsed"]


# ---- compilation


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compile_compiles_and_resumes(bench: Any, tmp_path: Path) -> None:
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    before = counters["stats"]["unique_graphs"]
    resumes(bench, recipe, tmp_path / "noisy", 13, 9, compile="on")
    assert counters["stats"]["unique_graphs"] > before
    assert not counters["graph_break"]

    def make() -> Any:
        return recipe(make=lambda: network(0.0))

    compiled, at = bench.train(make(), tmp_path / "compiled", compile="on")
    plain, _ = bench.train(make(), tmp_path / "plain")
    assert at.compiled
    for a, b in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pays", [True, False])
def test_the_trials_verdict_is_written_down(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    trials: list[bool] = []
    gradients: list[bool] = []

    def trial(learner: nn.Module, backward: Any) -> tuple[bool, str, str]:
        value = backward(learner, "channels_last")
        gradients.append(bool(value.isfinite()))
        trials.append(pays)
        return pays, "channels_last", "a verdict"

    monkeypatch.setattr(parallel, "fastest", trial)
    monkeypatch.setitem(parallel.TRIAL_WORTH, "cpu", 0.0)
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    said: list[str] = []
    interrupted(bench, recipe, tmp_path, 15, 0, compile="auto", say=said.append)
    assert trials == [pays]
    assert said[-1] == "a verdict"
    saved = Folder(tmp_path).newest(print)
    assert saved is not None
    assert (saved["at"]["compiled"], saved["at"]["step"]) == (pays, pace.TRIAL_STEP)
    bench.train(recipe(), tmp_path, compile="auto")
    assert trials == [pays]
    plain, _ = bench.train(recipe(), tmp_path / "plain")
    model, _ = bench.train(recipe(), tmp_path)
    bench.same(bench.tensors(plain.state_dict()), bench.tensors(model.state_dict()))


def test_a_signal_ends_the_trial_which_is_made_when_the_run_goes_on(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: list[str] = []

    def trial(learner: nn.Module, backward: Any) -> tuple[bool, str, str]:
        trials.append("begun")
        backward(learner, "channels_last")
        if len(trials) == 1:
            signal.raise_signal(signal.SIGINT)
        backward(learner, "channels_last")
        trials.append("ended")
        return False, "channels_last", "a verdict"

    monkeypatch.setattr(parallel, "fastest", trial)
    monkeypatch.setitem(parallel.TRIAL_WORTH, "cpu", 0.0)
    with pytest.raises(Interrupted, match=f"stopped at step {pace.TRIAL_STEP} of"):
        bench.train(recipe(), tmp_path, compile="auto")
    bench.train(recipe(), tmp_path, compile="auto")
    assert trials == ["begun", "begun", "ended"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_trial_itself(bench: Any, tmp_path: Path) -> None:
    session = loop.Session(recipe(), Folder(tmp_path), bench.setup(), [])
    batches = session.fetch()
    units = session.units(batches)
    before = bench.tensors(session.tree())
    _, _, why = parallel.fastest(
        session.learner, lambda learner, layout: session.backward(learner, batches[0], units)[0]
    )
    assert "ms a step compiled" in why
    bench.same(before, bench.tensors(session.tree()))
    assert all(p.grad is None for p in session.model.parameters())


def test_another_memory_format_is_kept_over_a_resume(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "fastest", lambda learner, backward: (True, "contiguous", "a verdict"))
    monkeypatch.setitem(parallel.TRIAL_WORTH, "cpu", 0.0)
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    seen: list[bool] = []
    step = loop.Session.step

    def watched(session: loop.Session) -> None:
        step(session)
        kernels = [p for p in session.model.parameters() if p.dim() == 4]
        batch = session.fetch()[0]["x"]
        seen.append(batch.is_contiguous() and all(k.is_contiguous() for k in kernels))

    monkeypatch.setattr(loop.Session, "step", watched)
    resumes(
        bench, lambda: bench.recipe("resnet", steps=14, optimizer="momentum", ema=0.9), tmp_path, 12, 10, compile="auto"
    )
    saved = Folder(tmp_path / "whole").newest(print)
    assert saved is not None
    assert saved["at"]["layout"] == "contiguous"
    assert seen[:14] == [False] * (pace.TRIAL_STEP - 1) + [True] * (14 - pace.TRIAL_STEP + 1)


# ---- a time limit


def test_a_time_limit_plans_the_steps_that_fit(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a step, then half of one: the plan is made anew, the schedule ends where the time does."""
    monkeypatch.setattr(
        loop.Session, "elapsed", lambda self: self.at.total if self.at.total < 40 else 20 + self.at.total / 2
    )
    said: list[str] = []
    made = recipe(stage(steps=1000, schedule=optim.schedule("one-cycle")))
    _, at = bench.train(made, tmp_path, time_limit=100.0, say=said.append)
    assert 150 <= at.total <= 161
    assert said[0] == "time limit: 100 of 1,000 steps fit into 100 s"
    rates = [line["lr"] for line in Folder(tmp_path).history() if "lr" in line]
    assert rates[-1] < 0.1 * max(rates)

    said.clear()
    _, at = bench.train(recipe(stage(steps=30)), tmp_path / "short", time_limit=100.0, say=said.append)
    assert (at.total, said) == (30, [])


def test_a_time_limit_is_kept_over_a_resume(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Session, "elapsed", lambda self: float(self.at.total))
    resumes(bench, lambda: recipe(stage(steps=500)), tmp_path, 30, 20, time_limit=60.0)
    assert Folder(tmp_path / "parts").newest(print)["at"]["total"] == 60


def test_a_stage_that_outlasts_the_limit_is_stopped(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Session, "elapsed", lambda self: float(self.at.total) ** 3)
    _, at = bench.train(recipe(stage(steps=500)), tmp_path, time_limit=1000.0)
    assert at.total == 10
