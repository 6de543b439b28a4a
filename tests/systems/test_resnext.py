"""ResNeXt against the paper's table, and its block against the sum of paths that it stands for."""

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
from shendu.systems.vision import resnet, resnext


def pictures(side: int, channels: int = 3) -> Any:
    return data_module.open((np.zeros((40, side, side, channels), np.uint8), np.arange(40) % 2)).split_off()


def test_stages_at_224_pixels() -> None:
    """Table 1 of the paper, ResNeXt-50 (32x4d)."""
    left = counts.shapes(resnext.Config(classes=1000))
    assert left["stem"] == (64, 56, 56)
    inside = [(128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7)]
    assert [left[f"stages.{i}.0.conv2"] for i in range(4)] == inside
    assert [left[f"stages.{i}"] for i in range(4)] == [(2 * maps, side, side) for maps, side, _ in inside]


def test_stages_of_the_cifar_network() -> None:
    left = counts.shapes(resnext.Config(depth=29, cardinality=8, width=64, stem="small"), 32)
    assert [left[f"stages.{i}"] for i in range(3)] == [(256, 32, 32), (512, 16, 16), (1024, 8, 8)]


def test_depth_counts_layers() -> None:
    for depth in (50, 101, 29):
        with torch.device("meta"):
            net = resnext.Config(depth=depth).build()  # type: ignore[arg-type]
        main = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
        assert len(main) == depth


def test_cost_is_that_of_the_resnet() -> None:
    """4.1 G for ResNet-50 and 4.2 G for ResNeXt-50."""
    cost = counts.multiply_adds(resnext.Config(classes=1000))
    assert cost == pytest.approx(4230, abs=1)
    assert counts.multiply_adds(resnet.Config(depth=50, classes=1000, stem="large")) == pytest.approx(4089, abs=1)
    assert 10 < counts.multiply_adds(resnext.recipe(pictures(32)).model, 32) < 60


def test_block_is_the_sum_of_its_paths() -> None:
    """Figure 3: (a) each path with kernels of its own, all added up, is (c) one block with a grouped convolution."""
    cardinality, width = 32, 4
    block = counts.shaken(resnext.Block(16, 128, 16, 1, cardinality, nn.Identity()))
    x = torch.randn(2, 16, 5, 6)

    def normalised(y: torch.Tensor, bn: Any, maps: slice) -> torch.Tensor:
        figures = (bn.running_mean, bn.running_var, bn.weight, bn.bias)
        return F.batch_norm(y, *(figure[maps] for figure in figures))

    paths = []
    for i in range(cardinality):
        own = slice(i * width, (i + 1) * width)
        y = normalised(F.conv2d(x, block.conv1.weight[own]), block.bn1, own).clamp(min=0)  # type: ignore[union-attr,index]
        y = normalised(F.conv2d(y, block.conv2.weight[own], padding=1), block.bn2, own).clamp(min=0)  # type: ignore[union-attr,index]
        paths.append(F.conv2d(y, block.conv3.weight[:, own]))  # type: ignore[union-attr,index]
    total = normalised(torch.stack(paths).sum(0), block.bn3, slice(None))
    torch.testing.assert_close(block(x), (total + x).clamp(min=0), rtol=1e-4, atol=1e-5)


def test_one_path_is_a_residual_network() -> None:
    """Cardinality 1 with 64 maps is ResNet-50: the same names, shapes and logits."""
    ours = resnext.Config(cardinality=1, width=64, classes=5).build()
    peer = counts.shaken(resnet.Config(depth=50, stem="large", classes=5).build())
    ours.load_state_dict(peer.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), peer(x))


def test_recipe_takes_the_network_that_suits_the_pictures(one_line: Any) -> None:
    for side, depth, stem in ((28, 29, "pooled"), (64, 29, "pooled"), (65, 50, "large"), (224, 50, "large")):
        net: Any = resnext.recipe(pictures(side)).model
        assert (net.depth, net.stem) == (depth, stem)
    few = "halves the picture"
    for choices, expected in (
        ({"side": 7}, f"resnext of depth 29 with a pooled stem {few} 3 times and data has 7 pixels a side, too few; "
         "use --set stem=small"),
        ({"side": 3}, f"resnext of depth 29 with a pooled stem {few} 3 times and data has 3 pixels a side, too few; use lenet"),
        ({"side": 6, "depth": 50}, f"resnext of depth 50 with a pooled stem {few} 4 times and data has 6 pixels a side, too "
         "few; use --set depth=29 --set stem=small"),
        ({"side": 32, "batch_size": 1}, "BatchNorm normalises over the rows of a batch, so it needs two or more; "
         "use batch_size=32"),
        ({"side": 32, "width": 0}, "cardinality=8, width=0 and maps=32 must be 1 or more; write them like cardinality=32, "
         "width=4, maps=64"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            resnext.recipe(pictures(choices.pop("side")), **choices)  # type: ignore[arg-type]
        assert one_line(caught.value) == expected
    resnext.recipe(pictures(7), stem="small")
    resnext.recipe(pictures(6), depth=29, stem="small")
