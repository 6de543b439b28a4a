"""Changes against what the textbooks say: Eckart and Young, BatchNorm in one factor, torch's own rounding."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shendu import compressing
from shendu.compressing.changes import factored, folded, quantized, rounding
from shendu.compressing.packing import rounded
from shendu.compressing.units import Ask
from shendu.errors import UserError


def ask(*shape: int) -> Ask:
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    return Ask({"x": x}, lambda model: {"y": model(x)}, lambda model: model(x).sum())


# ---- low rank


@pytest.mark.parametrize("rank", [1, 3, 7])
@pytest.mark.parametrize(
    "layer", [nn.Linear(9, 7), nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(4, 6, 1, bias=False)], ids=["linear", "3x3", "1x1"]
)
def test_the_error_is_that_of_eckart_and_young(layer: Any, rank: int) -> None:
    rank = min(rank, factored.full(layer))
    first, second = (m.weight.detach().double().flatten(1) for m in factored.split(layer, rank))
    matrix = factored.matrix(layer).double()
    left = torch.linalg.svdvals(matrix)[rank:]
    torch.testing.assert_close(
        torch.linalg.norm(matrix - second @ first), left.square().sum().sqrt(), rtol=1e-5, atol=1e-6
    )


def test_two_layers_of_full_rank_answer_as_the_one() -> None:
    layer, x = nn.Conv2d(3, 8, 3, 2, 1), torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(factored.split(layer, factored.full(layer))(x), layer(x), rtol=1e-4, atol=1e-5)


def test_a_share_of_the_parameters_stays() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    before = model[0].weight.numel() + model[2].weight.numel()
    change = factored.factored(model, 0.5)
    assert change.ranks == {"0": 16, "2": 1}
    assert sum(p.numel() for name, p in model.named_parameters() if p.dim() > 1) <= 0.5 * before
    with pytest.raises(UserError):
        factored.factored(nn.Sequential(nn.Linear(4, 1)), 0.3)


# ---- BatchNorm


def test_folded_answers_are_the_same() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5), nn.BatchNorm1d(5)
    )
    for norm in (model[1], model[5]):
        nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 2, 4, 4)
    change, made = folded.folded(model.eval(), ask(2, 4, 4))  # type: ignore[misc]
    assert change.pairs == {"0": "1", "4": "5"}
    torch.testing.assert_close(made(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_another_reads_too_is_not_folded() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
            nn.init.normal_(self.norm.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            return y + self.norm(y)

    assert folded.folded(Net().eval(), ask(4)) is None


# ---- whole numbers


LINEAR = (nn.Linear(20, 7), nn.Linear(20, 7, bias=False))
KERNELS = (nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(4, 8, 3, groups=2))


@pytest.mark.parametrize(
    ("how", "layer"), [*(("static", layer) for layer in (*LINEAR, *KERNELS)), *(("dynamic", layer) for layer in LINEAR)]
)
def test_whole_numbers_are_torchs_own_rounding(how: str, layer: Any) -> None:
    """Of weights by row, of inputs as a whole: torch's fake_quantize_*, then the layer in float32."""
    assert quantized.can(layer, how)
    x = torch.rand(5, 20) if isinstance(layer, nn.Linear) else torch.rand(5, 4, 9, 9) - 0.3
    scale, zero = quantized.scale_and_zero(x.min().item(), x.max().item())
    made = quantized.Whole.of(layer, how, (scale, zero))
    rows = layer.weight.detach().flatten(1).abs().amax(1) / 127
    w = torch.fake_quantize_per_channel_affine(
        layer.weight.detach(), rows, torch.zeros(len(rows), dtype=torch.int32), 0, -127, 127
    )
    snapped = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 127)
    at = made.at
    wanted = F.conv2d(snapped, w, layer.bias, *at) if at else F.linear(snapped, w, layer.bias)
    with torch.no_grad():
        torch.testing.assert_close(made(x), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(made.plainly(x), wanted, rtol=1e-4, atol=1e-5)
        again = copy.deepcopy(made)
        torch.testing.assert_close(again(x), made(x), rtol=0, atol=0)
    x.requires_grad_()
    made(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0, "explanations follow it"


def test_the_range_that_is_chosen_rounds_better_than_the_whole() -> None:
    values = torch.cat([torch.randn(10_000), torch.tensor([60.0])])

    def error(scale: float, zero: int) -> float:
        return float((torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 127) - values)[:-1].square().mean())

    assert error(*quantized.best_range(values)) < error(*quantized.scale_and_zero(values.min().item(), 60.0))


# ---- training with the rounding


def test_weights_are_rounded_when_they_are_used_and_learn_as_if_not() -> None:
    model = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 20))
    before = model[0].weight.detach().clone()
    change = rounding.rounding(model, 4)
    change.apply(model)
    assert torch.equal(model[0].weight, rounded(before, 4))
    model(torch.randn(3, 32)).square().sum().backward()
    assert model[0].parametrizations.weight.original.grad.abs().sum() > 0  # type: ignore[union-attr, operator]
    rounding.settled(model)
    assert torch.equal(model[0].weight, rounded(before, 4))
    assert list(dict(model.named_parameters())) == ["0.weight", "0.bias", "1.weight", "1.bias"] or "0.weight" in dict(
        model.named_parameters()
    )


# ---- files


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "narrowed", "shapes": {"0.weight": [99, 4]}, "groups": {}}, {"kind": "narrowed", "shapes": {"0.weight": [0, 4]}, "groups": {}},
        {"kind": "narrowed", "shapes": {"none": [1]}, "groups": {}}, {"kind": "factored", "ranks": {"0": 99}}, {"kind": "factored", "ranks": {"1": 1}},
        {"kind": "folded", "pairs": {"0": "1"}}, {"kind": "quantized", "layers": {"1": "static"}}, {"kind": "quantized", "layers": {"0": "quickly"}},
        {"kind": "narowed"}, {"kind": "rounding", "bits": 3, "weights": []}, {"kind": "factored", "rank": {}},
    ],
)  # fmt: skip
def test_a_file_that_says_something_else_gets_one_line(wrong: dict[str, Any], one_line: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))

    def made() -> None:
        for change in compressing.from_file([wrong]):
            change.apply(model)

    with pytest.raises(UserError) as caught:
        made()
    one_line(caught.value)


def test_changes_come_back_from_their_file() -> None:
    change = factored.Factored(ranks={"a.0": 3})
    assert compressing.from_file(json.loads(json.dumps([change.to_json()]))) == (change,)
