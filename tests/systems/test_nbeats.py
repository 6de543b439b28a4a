"""N-BEATS against what its words say, written out with loops, and better than naive forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shendu import data as data_module
from shendu.data.fields.number import Number
from shendu.data.fields.series import Series
from shendu.errors import UserError
from shendu.systems.sequence import nbeats
from shendu.tasks.forecast import Forecast

NET = {"window": 10, "horizon": 4, "season": 5, "members": 3, "looks": (10, 5), "hidden": 7, "input_dropout": 0.0}


def built(**more: Any) -> nbeats.NBeats:
    net = nbeats.Config(**{**NET, **more}).build().eval()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape)
    return net


def by_hand(net: nbeats.NBeats, x: Tensor, member: int) -> Tensor:
    """One window [W] through one member's stack [H]: what a block takes for explained is gone for the next one."""
    level, spread = x[-5:].mean(), x.std()
    left = (x - level) / spread
    left = torch.cat([torch.zeros(10 - (10, 5, 10)[member]), left[-(10, 5, 10)[member] :]])
    forecast = torch.zeros(4)
    for block in net.blocks:
        hidden = left
        for layer in block.layers:
            if isinstance(layer, nbeats.Stacked):
                hidden = torch.relu(hidden @ layer.weight[member] + layer.bias[member, 0])
        out = hidden @ block.head.weight[member] + block.head.bias[member, 0]
        left, forecast = left - out[:10], forecast + out[10:]
    return level + spread * forecast


def test_members_are_stacks_of_their_own() -> None:
    net, x = built(blocks=3), torch.randn(6, 10)
    expected = torch.stack([torch.stack([by_hand(net, row, m) for row in x]) for m in range(3)])
    torch.testing.assert_close(net.members(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x), expected.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["generic", "interpretable"])
def test_another_level_and_another_unit_are_the_same_forecast(form: str) -> None:
    net, x = built(form=form), torch.randn(20, 10)
    torch.testing.assert_close(net(3 * x + 7), 3 * net(x) + 7, rtol=1e-4, atol=1e-4)


def test_a_flat_window_is_forecast_flat() -> None:
    x = torch.full((1, 10), 5.0)
    assert (built()(x) - 5).abs().max() < 1


def test_interpretable_blocks_speak_in_powers_and_waves() -> None:
    net = built(form="interpretable", degree=2, horizon=9)
    left = torch.randn(3, 4, 10)
    trend, waves = net.blocks[0], net.blocks[-1]
    assert torch.diff(trend(left)[1], n=3, dim=-1).abs().max() < 1e-4, "of degree 2"
    for part in waves(left):
        torch.testing.assert_close(part[..., 5:], part[..., :-5], rtol=1e-3, atol=1e-4)
    assert len(waves.basis) == 5, "a constant and two harmonics of a season of five"


def test_the_loss_is_the_members_own() -> None:
    net, x, y = built().train(), torch.randn(6, 10), 20 + 3 * torch.randn(6, 4)
    target = Number(shape=(4,), mean=(20.0,) * 4, std=(3.0,) * 4)
    prepared = Forecast({"x": Number(shape=(10,))}, {"y": target}).prepare({"y": y})
    loss = nbeats.Forecast(season=5)(net, {"x": x, **prepared}, torch.tensor(0)).sums["loss"]
    wanted, total = (y - 20) / 3, 0.0
    for row in range(6):
        for forecast in net.members(x).detach()[:, row]:
            total += float(((forecast - wanted[row]) / x[row].std()).square().mean()) / 3
    assert float(loss.detach()) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("form", ["generic", "interpretable"])
def test_better_than_last_season(form: str, bench: Any, tmp_path: Path) -> None:
    data = data_module.open("tides")
    recipe = nbeats.recipe(data, form=form, steps=150, members=4)
    model, _ = bench.train(recipe, tmp_path)
    figures = bench.figures(recipe, model, "test")
    naive = data.splits["test"].column("window")[:, -12:] - data.splits["test"].column("ahead")
    column = data.fields["window"]
    assert isinstance(column, Series)
    assert figures["mase"] < 0.6 * np.abs(naive).mean() / column.naive


def test_a_series_without_a_season_and_one_step_ahead(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("step,v\n" + "\n".join(f"{i},{i % 7 + i / 9}" for i in range(60)))
    recipe = nbeats.recipe(data_module.open(path, time="step"), steps=3)
    model, _ = bench.train(recipe, tmp_path / "run")
    figures = bench.figures(recipe, model, "test")
    assert np.isfinite(list(figures.values())).all()


def test_what_is_no_series_gets_one_line(one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        nbeats.recipe(data_module.open("digits").split_off())
    assert one_line(caught.value) == (
        "nbeats reads time series, and digits holds pictures; leave the system out to have one chosen, or see `shendu list`"
    )


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"looks": (99,)}, "looks=(99,) goes further back than the window of 24 steps; write looks=24"),
        ({"looks": ()}, "must be 1 or more"),
        ({"members": 0}, "must be 1 or more"),
        ({"degree": -1}, "degree=-1 is no degree of a polynomial"),
        ({"horizon": 3}, "horizon follows from the data"),
    ],
)
def test_wrong_settings_get_one_line(wrong: dict[str, Any], expected: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        nbeats.recipe(data_module.open("tides"), **wrong)
    assert expected in one_line(caught.value)


@pytest.mark.data
def test_airline_passengers_beat_the_linear_model(bench: Any, tmp_path: Path) -> None:
    recipe = nbeats.recipe(data_module.open("airline-passengers"))
    model, _ = bench.train(recipe, tmp_path)
    figures = bench.figures(recipe, model, "test")
    assert figures["mase"] < nbeats.REFERENCES[0]["target"]
