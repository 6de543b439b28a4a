"""Deep belief networks: each stage's gradient is its rule written out, what is tied and untied, labels that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import shendu
from shendu import data as data_module
from shendu.data.known import made
from shendu.errors import UserError
from shendu.recipes import labelled
from shendu.systems.generative import dbn
from shendu.systems.generative.dbn import DBN, NO_LABEL, Config, Greedy, Memory, WakeSleep
from shendu.tasks.score import Score
from shendu.verbs.sample import sample

STEP = torch.zeros((), dtype=torch.int64)


def network(**choices: Any) -> DBN:
    net = Config(**{"shape": (1, 2, 3), "classes": 3, "hidden": (5, 4, 7), **choices}).build()
    for rbm in net.rbms:
        for p in rbm.parameters():
            torch.nn.init.normal_(p)
    return net


def batch(rows: int = 6) -> dict[str, Tensor]:
    return {"x": torch.rand(rows, 1, 2, 3), "y": torch.arange(rows) % 3}


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coins fall on the likelier side, so that every state can be written out."""
    monkeypatch.setattr(dbn.chance, "bernoulli", lambda p, generator=None: (p > 0.5).float())


def sure(p: Tensor) -> Tensor:
    return (p > 0.5).float()


def gibbs(net: DBN, h: Tensor, y: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The memory's visible states after so many steps from hidden ones under classes, coins decided, and the hidden probabilities."""
    top, state, on = net.memory, h, h
    for _ in range(steps):
        field = sure(on) @ top.weight + top.visible
        state = torch.cat([sure(field[:, :4].sigmoid()), torch.eye(3)[y]], 1)
        on = (state @ top.weight.T + top.hidden).sigmoid()
    return state, on


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.usefixtures("decided")
def test_a_layers_gradient_is_contrastive_divergence_on_what_lies_below(layer: int) -> None:
    net, rows = network(), batch()
    rbm = net.rbm(layer)
    loss = Greedy(layer)(net, rows, STEP).sums["loss"]
    slopes = torch.autograd.grad(loss / 6, list(net.rbms.parameters()), allow_unused=True)
    with torch.no_grad():
        v = rows["x"].flatten(1)
        for below in range(layer):
            v = (v @ net.rbm(below).weight.T + net.rbm(below).hidden).sigmoid()
        p = (v @ rbm.weight.T + rbm.hidden).sigmoid()
        back = (sure(p) @ rbm.weight + rbm.visible).sigmoid()
        again = (back @ rbm.weight.T + rbm.hidden).sigmoid()
        wanted = [(again.T @ back - p.T @ v) / 6, (back - v).mean(0), (again - p).mean(0)]
        assert float(loss) == pytest.approx(float((v - back).square().sum()), rel=1e-5)
    for i, slope in enumerate(slopes):
        if i // 3 == layer:
            torch.testing.assert_close(slope, wanted[i % 3], rtol=1e-4, atol=1e-6)
        else:
            assert slope is None


@pytest.mark.usefixtures("decided")
def test_the_memorys_gradient_is_rows_less_chains_that_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbn, "CHAINS", 4)
    net, rows = network(), batch()
    objective, h = Memory(2), sure(torch.rand(4, net.config.hidden[-1]))
    net.chains.copy_(h)
    for _ in range(2):  # the second time from where the first one ended
        loss = objective(net, rows, STEP).sums["loss"]
        slopes = torch.autograd.grad(loss / 6, list(net.memory.parameters()))
        with torch.no_grad():
            v = rows["x"].flatten(1)
            for rbm in (net.rbm(0), net.rbm(1)):
                v = (v @ rbm.weight.T + rbm.hidden).sigmoid()
            seen = torch.cat([sure(v), torch.eye(3)[rows["y"]]], 1)
            awake = (seen @ net.memory.weight.T + net.memory.hidden).sigmoid()
            state, asleep = gibbs(net, h, net.held, 2)
        wanted = [
            asleep.T @ state / 4 - awake.T @ seen / 6,
            state.mean(0) - seen.mean(0),
            asleep.mean(0) - awake.mean(0),
        ]
        for slope, right in zip(slopes, wanted, strict=True):
            torch.testing.assert_close(slope, right, rtol=1e-4, atol=1e-6)
        h = sure(asleep)
        assert torch.equal(net.chains, h)


@pytest.mark.usefixtures("decided")
def test_the_up_down_gradient_is_all_of_its_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbn, "CHAINS", 4)
    net, rows = network(), batch()
    objective, h = WakeSleep(2), sure(torch.rand(4, net.config.hidden[-1]))
    objective.enter(net, None)  # type: ignore[arg-type]
    net.chains.copy_(h)
    net.way_down(0).weight.data.mul_(0.7)  # no longer tied
    loss = objective(net, rows, STEP).sums["loss"]
    parameters = {name: p for name, p in net.named_parameters() if name.startswith(("rbms", "generative"))}
    slopes = dict(
        zip(parameters, torch.autograd.grad(loss / 6, list(parameters.values()), allow_unused=True), strict=True)
    )
    with torch.no_grad():
        first, second, top = net.rbm(0), net.rbm(1), net.memory
        g1, g2 = net.way_down(0), net.way_down(1)
        v = rows["x"].flatten(1)
        h1 = sure((v @ first.weight.T + first.hidden).sigmoid())
        h2 = sure((h1 @ second.weight.T + second.hidden).sigmoid())
        seen = torch.cat([h2, torch.eye(3)[rows["y"]]], 1)
        state, asleep = gibbs(net, h, net.held, 2)
        s2 = state[:, :4]
        s1 = sure((s2 @ g2.weight.T + g2.bias).sigmoid())
        s0 = (s1 @ g1.weight.T + g1.bias).sigmoid()

        def delta(states: Tensor, source: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return ((source @ weight.T + bias).sigmoid() - states).T @ source / len(source)

        awake = (seen @ top.weight.T + top.hidden).sigmoid()
        wanted = {
            "generative.0.weight": delta(v, h1, g1.weight, g1.bias),
            "generative.1.weight": delta(h1, h2, g2.weight, g2.bias),
            "rbms.0.weight": delta(s1, s0, first.weight, first.hidden),
            "rbms.1.weight": delta(s2, s1, second.weight, second.hidden),
            "rbms.2.weight": asleep.T @ state / 4 - awake.T @ seen / 6,
            "rbms.2.visible": state.mean(0) - seen.mean(0),
            "rbms.2.hidden": asleep.mean(0) - awake.mean(0),
        }
    for name, slope in wanted.items():
        torch.testing.assert_close(
            slopes[name], slope, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert slopes["rbms.0.visible"] is None


def test_untied_it_begins_transposed_and_unrolled_it_answers_as_the_way_up() -> None:
    net, rows = network(), batch()
    net.untie()
    assert torch.equal(net.way_down(1).weight, net.rbm(1).weight.T)
    net.unroll()
    v = rows["x"].flatten(1)
    for rbm in (net.rbm(0), net.rbm(1)):
        v = rbm.up(v).sigmoid()
    h = net.memory.up(net.with_class(v, torch.full((6,), NO_LABEL))).sigmoid()
    wanted = net.memory.down(h)[:, -3:]
    torch.testing.assert_close(net(rows["x"]), wanted)


def test_chains_take_over_the_rows_classes_now_and_then() -> None:
    net, y = network(), torch.tensor([2, NO_LABEL])
    net.held.fill_(0)
    net.dream(y, 1)
    assert 0 < (net.held != 0).sum() < 40  # a tenth of 100, on average
    for _ in range(200):
        net.dream(y, 1)
    assert (net.held == y.repeat(50)).all()


def test_drawing_begins_where_the_chains_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    net, begun = network(), []
    monkeypatch.setattr(DBN, "recalled", lambda self, h: begun.append(h) or torch.zeros(len(h), 4))
    list(net.draw(60, torch.arange(60) % 3, steps=1))
    assert (begun[0][:, None] == net.chains).all(2).any(1).all()


@pytest.mark.parametrize("kind", [Memory, WakeSleep])
def test_a_row_without_a_label_says_nothing_of_classes(kind: Any) -> None:
    net, rows = network(), batch()
    hidden = {**rows, "y": torch.full((6,), NO_LABEL)}
    net.held.fill_(NO_LABEL)
    loss = kind(2)(net, hidden, STEP).sums["loss"]
    slope, of_bias = torch.autograd.grad(loss, [net.memory.weight, net.memory.visible])
    assert slope[:, :4].any()
    assert not slope[:, 4:].any()
    assert not of_bias[4:].any()


def test_labels_are_kept_in_equal_shares_and_hidden_elsewhere() -> None:
    data = data_module.open("digits").split_off()
    few, most = dbn.labelled(data, 50, seed=3)
    y = few.splits["train"].column("label")
    assert np.bincount(y).tolist() == [5] * 10
    masked, true = most.splits["train"].column("label"), data.splits["train"].column("label")
    assert (masked != NO_LABEL).sum() == 50
    assert (masked == true)[masked != NO_LABEL].all()
    assert len(masked) == len(true)
    assert (most.splits["test"].column("label") == data.splits["test"].column("label")).all()
    other, _ = dbn.labelled(data, 50, seed=4)
    assert (other.splits["train"].index != few.splits["train"].index).any()
    assert dbn.labelled(data, 0, 0) == (data, data)


def test_stages_are_named_and_train_their_own_part() -> None:
    data = data_module.open("digits").split_off()
    whole, alone = dbn.recipe(data), dbn.recipe(data, pretrain="false", labels=100)
    assert [(stage.name, stage.trains) for stage in whole.stages] == [
        ("pretrain-1", ("rbms.0",)), ("pretrain-2", ("rbms.1",)), ("pretrain-3", ("rbms.2",)),
        ("wake-sleep", ("rbms", "generative")), ("fine-tune", ("net",)),
    ]  # fmt: skip
    assert [stage.name for stage in alone.stages] == ["fine-tune"]
    assert alone.stages[0].source(alone.model.build()).rows == 100
    assert dbn.recipe(data, wake_sleep_epochs=0, wake_sleep_steps=0).stages[3].steps == 0
    assert [stage.steps for stage in dbn.recipe(data, pretrain_epochs=0, steps=2).stages[:3]] == [0, 0, 0]
    assert whole.settings["pretrain_lr"] == 0.05


def test_the_networks_widths_are_the_papers() -> None:
    with torch.device("meta"):
        net = Config().build()
    assert (
        sum(p.numel() for p in net.rbms.parameters())
        == 784 * 500 + 500 * 500 + 510 * 2000 + 784 + 500 + 500 + 500 + 510 + 2000
    )


@pytest.mark.slow
def test_draws_the_class_that_is_held(bench: Any, tmp_path: Path) -> None:
    whole = made.bars_and_stripes(3)["splits"]["train"]
    sure = slice(1, 7), slice(9, 15)  # the empty and the full picture are bars and stripes
    data = data_module.open(
        tuple(np.concatenate([whole[name][part] for part in sure]) for name in ("picture", "label"))
    )
    recipe = dbn.recipe(
        data, hidden=(16, 48), pretrain_steps=1000, pretrain_lr=0.5, wake_sleep_steps=200, steps=1, batch_size=0
    )
    net, _ = bench.train(recipe, tmp_path)
    assert isinstance(net, DBN)
    label = torch.arange(200) % 2
    with torch.no_grad():
        *_, last = net.draw(200, label, steps=60)
    x = (last[:, 0] > 0.5).float()
    bars, stripes = (x == x[:, :1]).all(2).all(1), (x == x[:, :, :1]).all(2).all(1)
    right = torch.where(label == 0, bars & ~stripes, stripes & ~bars).float().mean()
    assert float(right) > 0.8, f"{float(right):.2f} of the drawings are of their class; by chance it is {12 / 512:.2f}"


def test_resumes_bit_for_bit_in_every_stage(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe() -> Any:
        return bench.recipe("dbn", pretrain=True, steps=6, labels=200)

    whole, at = bench.train(recipe(), tmp_path / "whole")
    assert at.total == 18
    for stop, save in ((0, 0), (2, 1), (6, 5), (11, 9), (16, 14)):
        with monkeypatch.context() as patch:
            bench.killing(patch, stop, save)
            with pytest.raises(bench.Killed):
                bench.train(recipe(), tmp_path / "parts")
    parts, _ = bench.train(recipe(), tmp_path / "parts")
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(parts.state_dict()))


@pytest.mark.slow
def test_averaged_weights_do_not_remember_the_pretraining(bench: Any, tmp_path: Path) -> None:
    data = data_module.open("digits").split_off()
    choices = {
        "hidden": (64, 32),
        "pretrain_steps": 500,
        "wake_sleep_steps": 10,
        "steps": 250,
        "batch_size": 32,
        "lr": 0.05,
    }
    found = {}
    for ema in (0.0, 0.999):
        made = dbn.recipe(data, **choices, ema=ema, select_by="none")
        found[ema] = bench.train(made, tmp_path / f"{ema}")[1].validation
    assert found[0.999]["validation accuracy"] == pytest.approx(found[0.0]["validation accuracy"], abs=0.02)
    assert found[0.999]["validation cross-entropy"] < 1.2 * found[0.0]["validation cross-entropy"]


def test_one_pretraining_serves_several_fine_tunings(tmp_path: Path) -> None:
    """`--weights` of a pretrained run and no pretraining of its own: it begins as that run's way up."""
    _, choices = dbn.tiny()
    choices = {**choices, "pretrain": True, "dropout": 0.0, "input_dropout": 0.0}
    first = shendu.train("dbn", "digits", out=tmp_path / "first", quiet=True, **{**choices, "labels": 50})
    nothing = {"pretrain_steps": 0, "pretrain_epochs": 0, "wake_sleep_steps": 0, "wake_sleep_epochs": 0, "lr": 1e-9}
    second = shendu.train(
        "dbn", "digits", out=tmp_path / "second", quiet=True, weights=first.path, **{**choices, **nothing}
    )
    begun = first.model
    assert isinstance(begun, DBN)
    begun.unroll()
    for mine, theirs in zip(begun.linear, second.model.linear, strict=True):
        torch.testing.assert_close(mine.weight, theirs.weight, rtol=1e-4, atol=1e-6)


def test_sample_draws_from_a_classifier_that_can(tmp_path: Path) -> None:
    _, choices = dbn.tiny()
    run = shendu.train("dbn", "digits", out=tmp_path / "run", quiet=True, **{**choices, "pretrain": True})
    path = sample(run, n=9, label="7", seed=1, out=tmp_path / "seven.png", steps=5)
    again = sample(run, n=9, label="7", seed=1, out=tmp_path / "again.png", steps=5)
    assert path.read_bytes() == again.read_bytes()
    assert Image.open(path).size[0] > 8
    with pytest.raises(UserError, match="unknown class"):
        sample(run, label="ten", out=tmp_path / "no.png")
    random = shendu.train("dbn", "digits", out=tmp_path / "random", quiet=True, **choices)
    with pytest.raises(UserError, match="pretrain=false"):
        sample(random, out=tmp_path / "no.png")


@pytest.mark.parametrize("units", ["", "standard", "unit", "signed"])
def test_pixels_are_the_stored_ones_in_whatever_units(units: str) -> None:
    data = data_module.open("digits")
    stored = data.splits["train"].column("image")[:3]
    task = Score.of(data, units=units) if units else labelled(data)
    assert (task.pixels(task.encode(stored)["x"]) == stored).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"hidden": 5}, "hidden=500,500,2000"), ({"labels": -1}, "labels"), ({"labels": 10**6}, "training rows"),
     ({"gibbs": 0}, "gibbs=3"), ({"pretrain_lr": -1}, "lr"), ({"pretrain_epoch": 3}, "did you mean 'pretrain_epochs'"),
     ({"loss": "mse"}, "loss"), ({"classes": 3}, "follows from the data")],
)  # fmt: skip
def test_wrong_settings_get_one_line(wrong: dict[str, Any], says: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        dbn.recipe(data_module.open("digits").split_off(), **wrong)
    assert says in one_line(caught.value)
