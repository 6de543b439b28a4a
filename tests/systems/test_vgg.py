"""VGG against the paper's tables."""

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
from shendu.systems.vision import vgg


def pictures(side: int, channels: int = 3) -> Any:
    return data_module.open((np.zeros((40, side, side, channels), np.uint8), np.arange(40) % 2)).split_off()


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_stages_at_224_pixels(depth: Any, batch_norm: bool) -> None:
    net = vgg.Config(depth=depth, batch_norm=batch_norm, classes=1000)
    left = counts.shapes(net)
    with torch.device("meta"):
        layers = dict(net.build().named_modules())
    pooled = [left[name] for name, m in layers.items() if isinstance(m, nn.MaxPool2d)]
    assert pooled == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in layers.values()) == depth
    assert sum(isinstance(m, nn.BatchNorm2d) for m in layers.values()) == (depth - 3) * batch_norm
    assert {m.kernel_size for m in layers.values() if isinstance(m, nn.Conv2d)} == {(3, 3)}


def test_cost() -> None:
    for depth, billions in ((11, 7.61), (13, 11.31), (16, 15.47), (19, 19.63)):
        cost = counts.multiply_adds(vgg.Config(depth=depth, classes=1000))  # type: ignore[arg-type]
        assert cost == pytest.approx(1000 * billions, abs=10)
    assert 10 < counts.multiply_adds(vgg.recipe(pictures(32)).model, 32) < 60


def test_forward_is_the_layers_written_out() -> None:
    net = vgg.Config(depth=13, batch_norm=False, width=0.125, classes=3).build().eval()
    x = y = torch.randn(2, 3, 64, 32)
    kernels = iter([m for m in net.features if isinstance(m, nn.Conv2d)])
    for count in (2, 2, 2, 2, 2):
        for _ in range(count):
            conv = next(kernels)
            y = F.conv2d(y, conv.weight, conv.bias, padding=1).clamp(min=0)
        y = y.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    assert y.shape == (2, 64, 2, 1)
    rows, columns = [[0, 0, 0, slice(0, 2), 1, 1, 1], [0] * 7]
    y = torch.stack(
        [y[:, :, row : row + 1].mean(2) if isinstance(row, int) else y[:, :, row].mean(2) for row in rows], 2
    )
    y = y[..., columns].flatten(1)
    full = [m for m in net.classifier if isinstance(m, nn.Linear)]
    for i, layer in enumerate(full):
        y = y @ layer.weight.T + layer.bias
        y = y.clamp(min=0) if i < 2 else y
    torch.testing.assert_close(net(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [8, 28, 32, 45, 64])
def test_small_form_takes_small_pictures(side: int) -> None:
    net = vgg.Config(form="small", depth=11, width=0.1, classes=3).build().eval()
    assert net(torch.randn(2, 3, side, side + 3)).shape == (2, 3)


def test_recipe_takes_the_form_that_suits_the_pictures(one_line: Any) -> None:
    for side, form, width in ((28, "small", 0.375), (64, "small", 0.375), (65, "large", 1.0), (224, "large", 1.0)):
        net: Any = vgg.recipe(pictures(side)).model
        assert (net.form, net.width, net.depth, net.batch_norm) == (form, width, 16, True)
    assert vgg.recipe(pictures(32), batch_norm=False).settings["lr"] == 0.0125 / 4
    assert vgg.recipe(pictures(32), batch_norm=False, lr=0.03).settings["lr"] == 0.03
    vgg.recipe(pictures(32), batch_norm=False, batch_size=1)
    for choices, expected in (
        ({"form": "large", "side": 31}, "vgg's large form needs 32 pixels a side and data has 31; use --set form=small"),
        ({"side": 7}, "vgg's small form needs 8 pixels a side and data has 7; use lenet"),
        ({"batch_size": 1, "side": 32}, "BatchNorm normalises over the rows of a batch, so it needs two or more; "
         "use batch_size=32"),
        ({"width": -1, "side": 32}, "width=-1 is not a share from 0 to 8; write it like width=0.5"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            vgg.recipe(pictures(choices.pop("side")), **choices)  # type: ignore[arg-type]
        assert one_line(caught.value) == expected
