"""Sources that act with the model: walkers on a row of cells, against what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_fit import interrupted, resumes
from torch import Tensor, nn
from toys import Rows, Squares, recipe, rows, stage

from shendu import loop, optim, parallel
from shendu.core import At, Batch, Loss, Objective
from shendu.nn.dropout import Dropout
from shendu.run import Folder

CELLS, WALKERS = 5, 32
MIDDLE = (CELLS + 1) // 2


class Walk:
    """Walkers on cells 1 … 5 between two ends; who comes to an end begins in the middle again. A step is one move of each.

    `x` [B, 5] is where a walker stood (one of 5), `right` [B] whether it moved right, `y` [B] what it moved for.
    """

    acts, rows = True, 0

    def __init__(self) -> None:
        self.at, self.moves, self.begun = torch.full((WALKERS,), MIDDLE), 0, 0
        self.found: Batch = {}
        self.draws: list[float] = []

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        assert model is not None
        assert not torch.is_grad_enabled()
        assert not any(module.training for module in model.modules())
        if at.micro == 0:
            self.begun, self.found = at.start, self.act(model)
        here = at.start - self.begun
        return {name: t[here : here + at.size] for name, t in self.found.items()}

    def act(self, model: nn.Module) -> Batch:
        x = seen(self.at)
        draws = torch.rand(WALKERS)
        right = draws < self.chance(model, x)
        after = self.at + torch.where(right, 1, -1)
        ended = (after == 0) | (after == CELLS + 1)
        y = self.worth(model, after, ended)
        self.at, self.moves = torch.where(ended, MIDDLE, after), self.moves + 1
        self.draws.append(float(draws[0]))
        return {"x": x, "right": right.float(), "y": y}

    def chance(self, model: nn.Module, x: Tensor) -> Tensor:
        """How likely each walker moves right [B]."""
        return model(x)[:, 0].sigmoid()

    def worth(self, model: nn.Module, after: Tensor, ended: Tensor) -> Tensor:
        return (after == CELLS + 1).float() - (after == 0).float()

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "moves": self.moves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at, self.moves = state["at"], state["moves"]


def seen(cells: Tensor) -> Tensor:
    return F.one_hot(cells - 1, CELLS).float()


class Reinforce(Objective):
    """Moves that ended well become likelier (Williams 1992)."""

    surrogate = True

    def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
        assert model.training
        log_p = -F.binary_cross_entropy_with_logits(model(batch["x"])[:, 0], batch["right"], reduction="none")
        return Loss({"loss": -(batch["y"] * log_p).sum()})


def policy(dropout: float = 0.3) -> nn.Module:
    return nn.Sequential(nn.Linear(CELLS, 16), nn.Tanh(), Dropout(dropout), nn.Linear(16, 1))


def walking(*, dropout: float = 0.3, **more: Any) -> Any:
    """A recipe on walkers, and the list that its sources go into."""
    made: list[Walk] = []

    def source(model: nn.Module) -> Walk:
        made.append(Walk())
        return made[-1]

    chosen = {"source": source, "objective": lambda m: Reinforce(), "batch_size": WALKERS, "steps": 40,
              "optimizer": optim.optimizer("momentum", lr=0.03)}  # fmt: skip
    return recipe(stage(**{**chosen, **more}), make=lambda: policy(dropout)), made


@pytest.mark.parametrize(("stop", "save"), [(1, 0), (7, 6), (13, 4), (21, 20), (39, 38)])
def test_a_stochastic_policy_resumes(bench: Any, tmp_path: Path, stop: int, save: int) -> None:
    def make() -> Any:
        return walking()[0]

    resumes(bench, make, tmp_path, stop, save)
    interrupted(bench, make, tmp_path / "cut", stop, save)
    saved = Folder(tmp_path / "cut").newest(print)
    assert saved is not None
    model = policy()
    model.load_state_dict(saved["model"])
    chances = model.eval()(torch.eye(CELLS)).sigmoid()
    assert 0.1 < chances.min() < chances.max() < 0.9, "the moves would be the same whatever was drawn"
    assert saved["at"]["step"] == saved["source"]["moves"] == save


def test_the_policy_learns_to_move_right(bench: Any, tmp_path: Path) -> None:
    model, _ = bench.train(walking(steps=800)[0], tmp_path)
    assert (model.eval()(torch.eye(CELLS)).sigmoid() > 0.8).all()


def test_chance_while_acting_depends_on_the_place_alone(bench: Any, tmp_path: Path) -> None:
    """Neither on what the network draws nor on validations; other draws at every step and in every stage."""
    draws = []
    for i, more in enumerate(({}, {"dropout": 0.0}, {"accumulate": 2})):
        made, sources = walking(**more)  # type: ignore[arg-type]
        bench.train(made, tmp_path / f"{i}")
        draws.append(sources[0].draws)
    assert draws[0] == draws[1] == draws[2]
    assert len(set(draws[0])) == 40
    first, second = walking(steps=20), walking(steps=20)
    bench.train(recipe(*first[0].stages, *second[0].stages, make=policy), tmp_path / "stages")
    assert first[1][0].draws == draws[0][:20]
    assert not set(second[1][0].draws) & set(draws[0])


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_a_trial_of_compiling_acts_no_more_often(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool
) -> None:
    tried: list[str] = []
    monkeypatch.setitem(parallel.TRIAL_WORTH, "cpu", 0.0)
    if not real:
        monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    runs = {}
    for how in ("off", "on", "auto"):
        made, sources = walking()
        model, _ = bench.train(made, tmp_path / how, compile=how, say=tried.append)
        (source,) = sources
        runs[how] = bench.tensors(model.state_dict())
        assert (source.moves, len(source.draws)) == (40, 40)
    assert sum("a trial took" in text for text in tried) == 1
    if not real:
        bench.same(runs["off"], runs["on"])
        bench.same(runs["off"], runs["auto"])


def test_a_run_that_is_cut_after_the_trial_has_acted_no_more_often(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parallel.TRIAL_WORTH, "cpu", 0.0)
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    resumes(bench, lambda: walking()[0], tmp_path, 12, 0, compile="auto")
    saved = Folder(tmp_path / "parts").newest(print)
    assert saved is not None
    assert saved["at"]["compiled"] is not None


def test_acting_once_a_step_accumulates(bench: Any, tmp_path: Path) -> None:
    found = []
    for accumulate in (1, 4):
        made, sources = walking(dropout=0.0, accumulate=accumulate)
        model, _ = bench.train(made, tmp_path / f"{accumulate}")
        found.append((model, sources[0]))
    (one, walked), (four, walked_too) = found
    assert (walked.moves, walked.draws) == (walked_too.moves, walked_too.draws)
    assert torch.equal(walked.at, walked_too.at)
    for a, b in zip(one.parameters(), four.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_micro_batches_are_numbered_in_each_step(bench: Any, tmp_path: Path) -> None:
    source = rows()
    bench.train(recipe(stage(steps=2), stage(rows=source, steps=3, batch_size=8, accumulate=2)), tmp_path)
    assert source.asked == [At(8 * step + 4 * m, 4, 1, step, m, 0) for step in range(3) for m in range(2)]


def test_other_sources_are_given_no_model(bench: Any, tmp_path: Path) -> None:
    class Blind(Rows):
        def batch(self, at: At, model: nn.Module | None = None) -> Batch:
            assert model is None
            return super().batch(at)

    base = rows()
    bench.train(recipe(stage(rows=Blind(base.x, base.y))), tmp_path)


def test_modules_that_are_not_trained_stay_in_eval_mode(bench: Any, tmp_path: Path) -> None:
    class Watching(Reinforce):
        def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
            assert [module.training for module in model] == [False, True, True, True]  # type: ignore[union-attr,operator,attr-defined]
            return super().forward(model, batch, step)

    bench.train(walking(objective=lambda m: Watching(), trains=("3",))[0], tmp_path)


# ---- what is known of such walks


class Valued(Walk):
    """Walkers that move by a coin; `y` is the reward and what the model gives the cell after (temporal difference, Sutton 1988)."""

    def __init__(self, right: float) -> None:
        super().__init__()
        self.right = right

    def chance(self, model: nn.Module, x: Tensor) -> Tensor:
        return torch.full((len(x),), self.right)

    def worth(self, model: nn.Module, after: Tensor, ended: Tensor) -> Tensor:
        value = model(seen(after.clamp(1, CELLS)))[:, 0]
        return torch.where(ended, (after == CELLS + 1).float(), value)


@pytest.mark.parametrize("right", [0.5, 0.3])
def test_values_of_a_random_walk(bench: Any, tmp_path: Path, right: float) -> None:
    """The chance to end at the right: k / 6 from cell k for an even coin, else the gambler's ruin (1 - q^k) / (1 - q^6)."""
    walk = stage(
        source=lambda m: Valued(right), objective=lambda m: Squares(), batch_size=WALKERS, steps=3000,
        optimizer=optim.optimizer("sgd", lr=1.0), schedule=optim.schedule("one-cycle"),
    )  # fmt: skip
    model, _ = bench.train(recipe(walk, make=lambda: nn.Linear(CELLS, 1, bias=False)), tmp_path)
    k = torch.arange(1, CELLS + 1).double()
    odds = (1 - right) / right
    wanted = k / (CELLS + 1) if right == 0.5 else (1 - odds**k) / (1 - odds ** (CELLS + 1))
    torch.testing.assert_close(model.weight[0].detach().double(), wanted, rtol=0, atol=0.02)


def test_the_seed_is_another_than_a_micro_batchs(bench: Any, tmp_path: Path) -> None:
    """What is drawn while acting is not drawn again by the network."""
    found: list[tuple[Tensor, Tensor]] = []

    class Drawing(Walk):
        def act(self, model: nn.Module) -> Batch:
            drawn = torch.rand(WALKERS)
            return {**super().act(model), "drawn": drawn}

    class Watching(Reinforce):
        def forward(self, model: nn.Module, batch: Batch, step: Tensor) -> Loss:
            found.append((batch["drawn"], torch.rand(WALKERS)))
            return super().forward(model, batch, step)

    bench.train(walking(source=lambda m: Drawing(), objective=lambda m: Watching(), steps=5)[0], tmp_path)
    acted, learned = (set(torch.cat(each).tolist()) for each in zip(*found, strict=True))
    assert len(acted) == len(learned) == 5 * WALKERS
    assert not acted & learned
    assert loop.session.ACTING < 0
