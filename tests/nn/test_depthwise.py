"""Depthwise convolution is torch's, whichever kernel computes it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shendu.nn.depthwise import Depthwise

SHAPES = [(1, 1), (1, 2), (2, 2), (2, 1), (1, 5), (7, 6), (8, 8)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_it_is_torchs_convolution(shape: tuple[int, int], stride: int, kernel: int) -> None:
    layer = Depthwise(4, kernel, stride)
    x = torch.randn(3, 4, *shape)
    found = passes(x, layer.weight, layer)
    wanted = passes(x, layer.weight, lambda x: F.conv2d(x, layer.weight, None, stride, kernel // 2, groups=4))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride", [1, 2])
def test_under_autocast_it_is_rounded_only(shape: tuple[int, int], stride: int) -> None:
    layer = Depthwise(4, 3, stride)
    x = torch.randn(3, 4, *shape)
    exact = passes(x, layer.weight, layer)
    with torch.autocast("cpu", torch.bfloat16):
        found = passes(x.bfloat16(), layer.weight, layer)
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.float(), other, atol=0.1, rtol=0.05)


def passes(x: Tensor, weight: Tensor, layer) -> tuple[Tensor, Tensor, Tensor]:
    """What comes out, and the gradients of the sum of its squares by x and by the weights."""
    x = x.detach().requires_grad_()
    y = layer(x)
    dx, dw = torch.autograd.grad(y.float().square().sum(), (x, weight))
    return y.detach(), dx, dw
