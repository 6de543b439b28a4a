"""MobileNet against the papers' tables, and its blocks written out."""

from __future__ import annotations

from typing import Any

import counts
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shendu import data as data_module
from shendu.errors import UserError
from shendu.systems.vision import mobilenet


def pictures(side: int, channels: int = 3) -> Any:
    return data_module.open((np.zeros((40, side, side, channels), np.uint8), np.arange(40) % 2)).split_off()


def test_stages_of_version_1_at_224_pixels() -> None:
    """Table 1 of the paper."""
    left = counts.shapes(mobilenet.Config(classes=1000))
    assert [left[f"features.{i}"] for i in range(14)] == [
        (32, 112, 112), (64, 112, 112), (128, 56, 56), (128, 56, 56), (256, 28, 28), (256, 28, 28),
        *[(512, 14, 14)] * 6, (1024, 7, 7), (1024, 7, 7),
    ]  # fmt: skip


def test_stages_of_version_2_at_224_pixels() -> None:
    """Table 2 of the paper; its rows give the shape that enters."""
    left = counts.shapes(mobilenet.Config(version=2, classes=1000))
    blocks = [
        (1, (16, 112, 112)), (2, (24, 56, 56)), (3, (32, 28, 28)), (4, (64, 14, 14)), (3, (96, 14, 14)), (3, (160, 7, 7)),
        (1, (320, 7, 7)),
    ]  # fmt: skip
    wanted = [(32, 112, 112), *(shape for count, shape in blocks for _ in range(count)), (1280, 7, 7)]
    assert [left[f"features.{i}"] for i in range(19)] == wanted


@pytest.mark.parametrize(
    ("version", "width", "millions", "weights"),
    [
        (1, 1.0, 569, 4.2), (1, 0.75, 325, 2.6), (1, 0.5, 149, 1.3), (1, 0.25, 41, 0.5),  # table 6
        (2, 1.0, 300, 3.4), (2, 1.4, 585, 6.1),  # table 4, which says 6.9 where all implementations have 6.1
    ],
)  # fmt: skip
def test_cost_is_the_papers(version: Any, width: float, millions: float, weights: float) -> None:
    net = mobilenet.Config(version=version, width=width, classes=1000)
    assert counts.multiply_adds(net) == pytest.approx(millions, rel=0.01)
    with torch.device("meta"):
        size = sum(p.numel() for p in net.build().parameters())
    assert size / 1e6 == pytest.approx(weights, abs=0.11)


def test_small_pictures_cost_what_a_processor_has() -> None:
    for version in (1, 2):
        assert 10 < counts.multiply_adds(mobilenet.recipe(pictures(32), version=version).model, 32) < 60


def test_separable_is_the_product_of_two_steps() -> None:
    """Without what lies between them, the two steps are one convolution whose kernel is the product of theirs."""
    block = mobilenet.separable(5, 7, 2)
    (depthwise, *_), (pointwise, *_) = block  # type: ignore[misc]
    assert depthwise.groups == 5
    assert (depthwise.weight.shape, pointwise.weight.shape) == ((5, 1, 3, 3), (7, 5, 1, 1))
    x = torch.randn(2, 5, 9, 8)
    product = pointwise.weight * depthwise.weight.transpose(0, 1)
    torch.testing.assert_close(pointwise(depthwise(x)), F.conv2d(x, product, stride=2, padding=1), rtol=1e-4, atol=1e-5)


def test_separable_costs_an_eighth_or_a_ninth() -> None:
    """1/N + 1/9 of a full convolution, equation after (5) of the first paper."""
    x = torch.zeros(1, 64, 14, 14, device="meta")
    with torch.device("meta"), counts.FlopCounterMode(display=False) as cheap:
        mobilenet.separable(64, 128, 1).eval()(x)
    with torch.device("meta"), counts.FlopCounterMode(display=False) as full:
        nn.Conv2d(64, 128, 3, padding=1)(x)
    assert cheap.get_total_flops() / full.get_total_flops() == pytest.approx(1 / 128 + 1 / 9)


def test_inverted_block_written_out() -> None:
    block = counts.shaken(mobilenet.Inverted(4, 4, 1, 6))
    wide, looked, narrow, last = block.conv  # type: ignore[misc]
    x = torch.randn(2, 4, 6, 5)

    def normalised(y: torch.Tensor, bn: Any) -> torch.Tensor:
        return F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias)

    y = normalised(F.conv2d(x, wide[0].weight), wide[1]).clamp(0, 6)
    assert y.shape[1] == 24
    y = normalised(F.conv2d(y, looked[0].weight, padding=1, groups=24), looked[1]).clamp(0, 6)
    y = normalised(F.conv2d(y, narrow.weight), last)
    assert float(y.detach().min()) < 0, "nothing is bent where the maps are few"
    torch.testing.assert_close(block(x), x + y)
    for other in (mobilenet.Inverted(4, 8, 1, 6), mobilenet.Inverted(4, 4, 2, 6)):
        assert not other.residual


def test_widths_are_multiples_of_eight_near_the_share() -> None:
    assert [mobilenet.eights(n) for n in (1, 8, 12, 19.2, 22.4, 33.6, 89.6, 1280)] == [8, 8, 16, 24, 24, 32, 88, 1280]
    for maps in range(8, 2000, 7):
        near = mobilenet.eights(maps)
        assert near % 8 == 0
        assert 0.9 * maps <= near < maps + 8


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.slow
def test_strides_are_left_out_first_and_then_from_the_end(version: Any) -> None:
    for halvings, sides in (
        (5, (32, 16, 8, 4, 2)), (4, (64, 32, 16, 8, 4)), (3, (64, 32, 16, 8, 8)), (1, (64, 32, 32, 32, 32)), (0, (64,) * 5),
    ):  # fmt: skip
        left = counts.shapes(mobilenet.Config(version=version, halvings=halvings, width=0.25), 64)
        stages = (0, 2, 4, 6, 12) if version == 1 else (0, 2, 4, 7, 14)
        assert tuple(left[f"features.{i}"][1] for i in stages) == sides


@pytest.mark.slow
def test_small_pictures_are_left_with_about_four_pixels() -> None:
    for side, left in ((2, 1), (7, 4), (8, 4), (16, 4), (28, 4), (32, 4), (45, 6), (48, 3), (64, 4)):
        net: Any = mobilenet.recipe(pictures(side)).model
        assert counts.shapes(net, side)["features"][1:] == (left, left)
        assert net.width == 0.5
    for side in (65, 224):
        assert mobilenet.recipe(pictures(side)).model == mobilenet.Config(classes=2)


def test_recipe_refuses_what_cannot_be_trained(one_line: Any) -> None:
    for choices, expected in (
        ({"halvings": 5, "side": 31}, "mobilenet halves the picture 5 times and data has 31 pixels a side, too few; "
         "use --set halvings=4"),
        ({"side": 1}, "mobilenet halves the picture 1 times and data has 1 pixels a side, too few; use lenet"),
        ({"halvings": 6, "side": 32}, "halvings=6 is not from 0 to 5; write it like halvings=3"),
        ({"batch_size": 1, "side": 32}, "BatchNorm normalises over the rows of a batch, so it needs two or more; "
         "use batch_size=32"),
        ({"width": 9, "side": 32}, "width=9 is not a share from 0 to 8; write it like width=0.5"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            mobilenet.recipe(pictures(choices.pop("side")), **choices)  # type: ignore[arg-type]
        assert one_line(caught.value) == expected
