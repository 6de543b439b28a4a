"""Published weights: torchvision's and timm's modules with random weights, and ours with the same ones by `published`, agree.

Both are built without memory and share the tensors that they are given.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchvision_shim  # noqa: F401
from torch import Tensor, nn

from shendu.systems.vision import alexnet, googlenet, mobilenet, resnet, resnext, vgg

# after torchvision_shim, which makes torchvision importable
import timm  # isort: skip
from torchvision import models  # isort: skip

PAIRS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "alexnet": (alexnet, {}, 224),
    "vgg16": (vgg, {"depth": 16, "batch_norm": False}, 64),
    "vgg11_bn": (vgg, {"depth": 11}, 96),
    "googlenet": (googlenet, {}, 224),
    "mobilenet_v2": (mobilenet, {"version": 2}, 224),
    "resnext50_32x4d": (resnext, {}, 96),
    "resnext101_32x8d": (resnext, {"depth": 101, "width": 8}, 64),
    "resnet18": (resnet, {"depth": 18, "stem": "large"}, 224),
    "resnet50": (resnet, {"depth": 50, "stem": "large"}, 96),
}
"""torchvision's name -> our module, the choices that make the same network, pixels a side."""
SOME = torch.randn(65_537, generator=torch.Generator().manual_seed(0))
"""Many weights repeat these: a prime number, so that no two rows are alike."""


def random_weights(net: nn.Module) -> dict[str, Tensor]:
    """Values that keep the maps' size, and running statistics that are none of a fresh network."""
    draw, found = torch.Generator().manual_seed(1), {}
    for name, empty in net.state_dict().items():
        if not empty.dim():
            found[name] = torch.tensor(7)
        elif empty.dim() > 1:
            gain = math.sqrt(2 / empty[0].numel())
            found[name] = (SOME.repeat(-(-empty.numel() // len(SOME)))[: empty.numel()] * gain).view(empty.shape)
        elif name.endswith(("running_var", "weight")):
            found[name] = 0.5 + torch.rand(empty.shape, generator=draw)
        else:
            found[name] = 0.1 * torch.randn(empty.shape, generator=draw)
    return found


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """torchvision's network and ours with the same random weights."""
    module, choices, _ = PAIRS[name]
    more = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        theirs = getattr(models, name)(weights=None, **more)
        ours = module.Config(classes=1000, **choices).build()
    weights = random_weights(theirs)
    renamed = module.published(weights)
    assert len(renamed) == len(weights)
    for net, tensors in ((theirs, weights), (ours, renamed)):
        net.load_state_dict(tensors, assign=True)
    return theirs, ours


@pytest.mark.parametrize("name", PAIRS)
@torch.no_grad()
def test_logits_are_torchvisions(name: str) -> None:
    theirs, ours = pair(name)
    side = PAIRS[name][2]
    x = torch.randn(2, 3, side, side)
    wanted, got = theirs.eval()(x), ours.eval()(x)
    assert float(wanted.std()) > 0.1, "the comparison sees nothing"
    assert float((wanted[0] - wanted[1]).abs().max()) > 1e-2
    assert float((got - wanted).abs().max()) <= 1e-4


@torch.no_grad()
def test_auxiliary_logits_are_torchvisions() -> None:
    theirs, ours = pair("googlenet")
    for net in (theirs.train(), ours.train()):
        for module in net.modules():
            if type(module).__name__ == "Dropout":
                module.p = 0.0
    x = torch.randn(3, 3, 128, 128)
    wanted, got = theirs(x), ours(x)
    assert isinstance(got, tuple)
    for logits, peer in zip(got, (wanted.logits, wanted.aux_logits1, wanted.aux_logits2), strict=True):
        assert float((logits - peer).abs().max()) <= 1e-4


# ---- timm's names

TIMM: dict[str, tuple[Any, dict[str, Any], int]] = {
    "mobilenetv1_100": (mobilenet, {"version": 1}, 96),
    "mobilenetv1_125": (mobilenet, {"version": 1, "width": 1.25}, 96),
    "mobilenetv2_100": (mobilenet, {"version": 2}, 96),
    "resnet18": (resnet, {"depth": 18, "stem": "large"}, 96),
    "resnext50_32x4d": (resnext, {}, 96),
    "vgg11": (vgg, {"depth": 11, "batch_norm": False}, 224),
    "vgg11_bn": (vgg, {"depth": 11}, 224),
}
"""timm's name -> our module, the choices that make the same network, pixels a side."""


@pytest.mark.parametrize("name", TIMM)
@torch.no_grad()
def test_logits_are_timms(name: str) -> None:
    module, choices, side = TIMM[name]
    with torch.device("meta"):
        theirs = timm.create_model(name)
        ours = module.Config(classes=1000, **choices).build()
    weights = random_weights(theirs)
    theirs.load_state_dict(weights, assign=True)
    ours.load_state_dict(module.published(weights), assign=True)
    x = torch.randn(2, 3, side, side)
    wanted, got = theirs.eval()(x), ours.eval()(x)
    assert float(wanted.std()) > 0.1, "the comparison sees nothing"
    assert float((got - wanted).abs().max()) <= 1e-4
