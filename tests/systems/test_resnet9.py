"""ResNet-9 against its layers written out, and what its recipe decides for a person's own pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import data as data_module
from shendu.errors import UserError
from shendu.systems.vision import resnet9


def pictures(side: int, channels: int, names: tuple[str, str] = ("a", "b")) -> Any:
    x = np.random.default_rng(0).integers(0, 256, (8, side, side, channels), np.uint8)
    return data_module.open((x, np.array(names * 4)))


def test_forward_is_the_layers_written_out() -> None:
    torch.manual_seed(0)
    net = resnet9.Config(width=4, classes=3, halvings=1).build().train()
    x = torch.randn(5, 3, 48, 40)
    kernels = iter([p for p in net.parameters() if p.dim() == 4])

    def layer(x: Tensor, stride: int = 1, pool: bool = False) -> Tensor:
        x = F.conv2d(x, next(kernels), None, stride, 1)
        x = F.max_pool2d(x, 2) if pool else x
        return F.relu((x - x.mean((0, 2, 3), True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt())

    h = layer(layer(x, stride=2))
    h = layer(h, pool=True)
    h = h + layer(layer(h))
    h = layer(layer(h, pool=True), pool=True)
    h = h + layer(layer(h))
    assert h.shape == (5, 32, 3, 2)
    wanted = h.amax((2, 3)) @ net.head.weight.T / 8
    torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-5)
    assert next(kernels, None) is None


def test_mirrored_answers_are_the_same_for_both() -> None:
    net = resnet9.Config(width=4, mirrored=True).build()
    x = torch.randn(4, 3, 32, 32)
    plain = (net.eval().logits(x) + net.logits(x.flip(3))) / 2
    assert torch.equal(net(x), plain)
    assert torch.allclose(net(x), net(x.flip(3)), atol=1e-6)
    assert not torch.allclose(net.train()(x), net(x.flip(3)), atol=1e-3)


@pytest.mark.parametrize(("side", "halvings"), [(8, 0), (28, 0), (32, 0), (39, 0), (40, 1), (79, 1), (92, 2), (224, 3)])
def test_large_pictures_are_halved_until_the_network_sees_20_to_39_pixels(side: int, halvings: int) -> None:
    made = resnet9.recipe(pictures(side, 1), steps=1)
    assert made.model.halvings == halvings  # type: ignore[attr-defined]
    stem = resnet9.Config(channels=1, width=2, halvings=halvings).build().stem
    assert stem(torch.zeros(2, 1, side, side)).shape[-1] == -(-side // 2**halvings)


def test_colour_pictures_may_be_mirrored_and_gray_ones_may_not() -> None:
    colour, gray = (resnet9.recipe(pictures(32, channels), steps=1) for channels in (3, 1))
    sides = resnet9.recipe(pictures(32, 3, ("left hand", "right hand")), steps=1)
    assert "flip" in colour.settings["augment"]
    assert "flip" not in [*gray.settings["augment"], *sides.settings["augment"]]
    assert [made.model.mirrored for made in (colour, gray, sides)] == [True, False, False]  # type: ignore[attr-defined]
    assert any(note.startswith("augmentation: ") and "--set augment=" in note for note in colour.notes)


def test_pictures_that_are_too_small() -> None:
    with pytest.raises(UserError) as caught:
        resnet9.recipe(pictures(7, 3))
    assert str(caught.value) == "resnet9 halves the picture 3 times and data has 7 pixels a side, too few; use lenet"
    with pytest.raises(UserError) as caught:
        resnet9.recipe(pictures(32, 3), halvings=3)
    assert str(caught.value) == (
        "resnet9 halves the picture 6 times and data has 32 pixels a side, too few; use --set halvings=0"
    )
    with pytest.raises(UserError) as caught:
        resnet9.Config(width=0)
    assert str(caught.value) == "width=0 and halvings=0 are out of range; write them like width=32, halvings=0"
