"""Which numbers of a network belong together, on networks that are small enough to say it by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.compressing.changes import narrowed
from shendu.compressing.units import Ask, units_of
from shendu.errors import UserError


class Net(nn.Module):
    """Layers by name, and what is computed with them."""

    def __init__(self, call: Callable[[Net, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def ask(*shape: int) -> Ask:
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    return Ask({"x": x}, lambda model: {"y": model(x)}, lambda model: model(x).sum())


def layers(net: nn.Module, *shape: int) -> list[list[str]]:
    """Of each layer that can lose units, the places that lie along it."""
    units = units_of(net, ask(*shape))
    return [
        sorted({f"{p.tensor}[{p.dim}]" for p in units.places if set(p.labels.tolist()) & set(layer.tolist())})
        for layer in units.layers()
    ]


def test_a_hidden_layer() -> None:
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    assert layers(net, 5) == [["0.bias[0]", "0.weight[0]", "2.weight[1]"]]


def test_batch_norm_pooling_and_flattening() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 2)
    )
    (found,) = layers(net, 1, 4, 4)
    assert found == [
        "0.bias[0]",
        "0.weight[0]",
        "1.bias[0]",
        "1.running_mean[0]",
        "1.running_var[0]",
        "1.weight[0]",
        "5.weight[1]",
    ]
    units = units_of(net, ask(1, 4, 4))
    (last,) = (place for place in units.places if place.tensor == "5.weight" and place.dim == 1)
    assert last.labels.view(6, 4).unique(dim=1).shape == (6, 1), "four pixels of each map lie beside each other"


def test_residual_sums_join() -> None:
    net = Net(
        lambda net, x: net.head((net.a(x) + net.c(F.relu(net.b(net.a(x))))).mean((2, 3))),
        a=nn.Conv2d(1, 4, 1), b=nn.Conv2d(4, 5, 3, padding=1), c=nn.Conv2d(5, 4, 1), head=nn.Linear(4, 2),
    )  # fmt: skip
    assert layers(net, 1, 4, 4) == [
        ["a.bias[0]", "a.weight[0]", "b.weight[1]", "c.bias[0]", "c.weight[0]", "head.weight[1]"],
        ["b.bias[0]", "b.weight[0]", "c.weight[1]"],
    ]


def test_depthwise_grouped_and_side_by_side() -> None:
    net = Net(
        lambda net, x: net.head(torch.cat([net.deep(net.a(x)), net.b(x)], 1).mean((2, 3))),
        a=nn.Conv2d(2, 4, 1), deep=nn.Conv2d(4, 4, 3, padding=1, groups=4), b=nn.Conv2d(2, 3, 1), head=nn.Linear(7, 2),
    )  # fmt: skip
    found = layers(net, 2, 4, 4)
    assert ["a.bias[0]", "a.weight[0]", "deep.bias[0]", "deep.weight[0]", "head.weight[1]"] in found or len(found) == 1
    known = narrowed.prunable(net, ask(2, 4, 4))
    change, small = narrowed.narrowed(known, [int(known.layers[0][0])])
    assert change.groups in ({}, {"deep": 3})
    paths = nn.Sequential(
        nn.Conv2d(2, 6, 1), nn.ReLU(), nn.Conv2d(6, 12, 3, groups=3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    )
    (path,) = narrowed.prunable(paths, ask(2, 4, 4)).layers
    assert len(path) == 3, "a path goes as a whole"


def test_what_is_padded_stays() -> None:
    """A shortcut of zeros counts its channels by itself."""
    net = Net(
        lambda net, x: net.head((F.pad(net.a(x), (0, 0, 0, 0, 0, 2)) + net.b(x)).mean((2, 3))),
        a=nn.Conv2d(1, 4, 1), b=nn.Conv2d(1, 6, 1), head=nn.Linear(6, 2),
    )  # fmt: skip
    (found,) = narrowed.prunable(net, ask(1, 3, 3)).layers
    assert len(found) == 4


def test_a_table_that_is_not_saved_stays() -> None:
    """It is computed anew for the whole network wherever that is built."""
    net = Net(lambda net, x: net.b(net.a(x) * net.table), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    net.register_buffer("table", torch.rand(6), persistent=False)
    with pytest.raises(UserError):
        narrowed.prunable(net, ask(4))
    net.register_buffer("table", torch.rand(6))
    assert len(narrowed.prunable(net, ask(4)).layers[0]) == 6


def test_gates_in_halves_of_a_layer() -> None:
    def gated(net: Net, x: Tensor) -> Tensor:
        gate, value = net.up(x).chunk(2, -1)
        return net.down(F.silu(gate) * value)

    net = Net(gated, up=nn.Linear(3, 8), down=nn.Linear(4, 3))
    (found,) = narrowed.prunable(net, ask(3)).layers
    assert len(found) == 4


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)),
        nn.Sequential(nn.Linear(4, 6), nn.Softmax(-1), nn.Linear(6, 2)),
        Net(lambda net, x: net.b(net.a(x).view(-1, 6)), a=nn.Linear(4, 6), b=nn.Linear(6, 2)),
        Net(lambda net, x: net.b(net.a(x) + torch.arange(6.0)), a=nn.Linear(4, 6), b=nn.Linear(6, 2)),
        nn.Linear(4, 2),
    ],
    ids=["layernorm", "softmax", "a size in the code", "a constant beside", "no hidden layer"],
)  # fmt: skip
def test_what_would_not_work_without_a_unit_is_left_whole(
    net: nn.Module, one_line: Callable[[BaseException], str]
) -> None:
    with pytest.raises(UserError) as caught:
        narrowed.prunable(net, ask(4))
    one_line(caught.value)


def test_the_lightest_units_go_first() -> None:
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for weight in (net[0].weight, net[2].weight.t()):
            weight[:] = torch.arange(1.0, 9)[:, None]
        net[0].bias[:] = 0.1
    found = narrowed.prunable(net, ask(5))
    _, small = narrowed.narrowed(found, narrowed.chosen(found, 0.4))
    assert small[0].weight[:, 0].tolist() == [4.0, 5.0, 6.0, 7.0, 8.0] or small[0].weight[0, 0] > 1
    assert small[0].out_features == len(small[0].weight) == small[2].in_features
