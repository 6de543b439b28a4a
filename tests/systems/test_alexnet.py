"""AlexNet against the paper's figures and its response normalisation written out."""

from __future__ import annotations

from typing import Any

import counts
import numpy as np
import pytest
import torch
from torch import nn

from shendu import data as data_module
from shendu.errors import UserError
from shendu.systems.vision import alexnet


def pictures(side: int, channels: int = 3) -> Any:
    return data_module.open((np.zeros((40, side, side, channels), np.uint8), np.arange(40) % 2)).split_off()


def test_stages_at_224_pixels() -> None:
    left = counts.shapes(alexnet.Config(classes=1000))
    assert [left[f"features.{i}"] for i in (0, 2, 3, 5, 6, 8, 10, 12)] == [
        (64, 55, 55), (64, 27, 27), (192, 27, 27), (192, 13, 13), (384, 13, 13), (256, 13, 13), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip
    assert [left[f"classifier.{i}"] for i in (1, 4, 6)] == [(4096,), (4096,), (1000,)]


def test_maps_of_2012_at_224_pixels() -> None:
    """Figure 2: 55x55x48, 27x27x128, 13x13x192 twice and 13x13x128 in each of two towers."""
    left = counts.shapes(alexnet.Config(classes=1000, form="2012"))
    net = alexnet.Config(form="2012", width=0.1).build()
    kernels = [(name, m.groups) for name, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    assert [left[name] for name, _ in kernels] == [
        (96, 55, 55),
        (256, 27, 27),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
    ]
    assert [groups for _, groups in kernels] == [1, 2, 1, 2, 2]


def test_cost() -> None:
    assert counts.multiply_adds(alexnet.Config(classes=1000)) == pytest.approx(714.2, abs=0.1)
    assert counts.multiply_adds(alexnet.Config(classes=1000, form="2012")) == pytest.approx(724.4, abs=0.1)
    assert 10 < counts.multiply_adds(alexnet.recipe(pictures(32)).model, 32) < 60


def test_response_normalisation_is_the_papers_sum() -> None:
    """b_i = a_i / (2 + 1e-4 Σ a_j²)^0.75, j from max(0, i - 2) to min(N - 1, i + 2)."""
    a = 100 * torch.randn(2, 7, 3, 4)
    wanted = torch.empty_like(a)
    for i in range(7):
        near = a[:, max(0, i - 2) : min(6, i + 2) + 1].square().sum(1)
        wanted[:, i] = a[:, i] / (2 + 1e-4 * near) ** 0.75
    torch.testing.assert_close(alexnet.ResponseNorm()(a), wanted)


def test_towers_meet_in_the_third_layer() -> None:
    """In form=2012 the second layer's first half sees the first half of the first layer alone, the third sees all."""
    net = alexnet.Config(form="2012", width=0.25).build()
    _, second, third, *_ = (m for m in net.features if isinstance(m, nn.Conv2d))
    x = torch.randn(1, second.in_channels, 9, 9, requires_grad=True)
    half = second.out_channels // 2
    (seen,) = torch.autograd.grad(second(x)[:, :half].sum(), x)
    assert seen[:, : second.in_channels // 2].any()
    assert not seen[:, second.in_channels // 2 :].any()
    assert third.groups == 1


@pytest.mark.parametrize("form", ["large", "2012", "small"])
def test_smallest_pictures(form: Any) -> None:
    side = alexnet.SMALLEST[form]
    net = alexnet.Config(form=form, width=0.1, classes=3).build().eval()
    assert net(torch.randn(2, 3, side, side + 9)).shape == (2, 3)


def test_recipe_takes_the_form_that_suits_the_pictures(one_line: Any) -> None:
    for side, form, width in ((28, "small", 0.5), (64, "small", 0.5), (65, "large", 1.0), (224, "large", 1.0)):
        net: Any = alexnet.recipe(pictures(side)).model
        assert (net.form, net.width) == (form, width)
    with pytest.raises(UserError) as caught:
        alexnet.recipe(pictures(32), form="large")
    assert one_line(caught.value) == (
        "alexnet's large form needs 63 pixels a side and data has 32; use --set form=small"
    )
    with pytest.raises(UserError, match="use lenet"):
        alexnet.recipe(pictures(7))
    with pytest.raises(UserError, match=r"write it like width=0\.5"):
        alexnet.recipe(pictures(32), width=0)
