"""GoogLeNet against the paper's table, and its modules and auxiliary losses written out."""

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
from shendu.systems.vision import googlenet

STEP = torch.tensor(0)


def pictures(side: int, channels: int = 3) -> Any:
    return data_module.open((np.zeros((40, side, side, channels), np.uint8), np.arange(40) % 2)).split_off()


def test_stages_at_224_pixels() -> None:
    """Table 1, column "output size"."""
    left = counts.shapes(googlenet.Config(classes=1000))
    assert left["stem.0"] == (64, 112, 112)
    assert left["stem.1"] == (64, 56, 56)
    assert left["stem.3"] == (192, 56, 56)
    assert left["stem"] == (192, 28, 28)
    wanted = {
        "3a": (256, 28, 28), "3b": (480, 28, 28), "4a": (512, 14, 14), "4b": (512, 14, 14), "4c": (512, 14, 14),
        "4d": (528, 14, 14), "4e": (832, 14, 14), "5a": (832, 7, 7), "5b": (1024, 7, 7),
    }  # fmt: skip
    assert {name: left[f"blocks.{name}"] for name in wanted} == wanted


def test_size_with_kernels_of_five() -> None:
    """The authors' network, as it was reproduced with biases instead of BatchNorm, has 6,998,552 weights."""
    with torch.device("meta"):
        net = googlenet.Config(classes=1000, kernel=5, auxiliary=0.0).build()
    maps = sum(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d))
    assert sum(p.numel() for p in net.parameters()) - maps == 6_998_552  # BatchNorm has two for a bias


def test_cost() -> None:
    assert counts.multiply_adds(googlenet.Config(classes=1000)) == pytest.approx(1498, abs=1)
    assert counts.multiply_adds(googlenet.Config(classes=1000, kernel=5)) == pytest.approx(1583, abs=1)
    assert 10 < counts.multiply_adds(googlenet.recipe(pictures(32)).model, 32) < 60


def test_module_is_its_branches_side_by_side() -> None:
    module = counts.shaken(googlenet.Inception(6, (3, 2, 4, 2, 5, 1), kernel=5))
    x = torch.randn(2, 6, 7, 9)

    def layer(x: torch.Tensor, made: Any) -> torch.Tensor:
        conv, bn, _ = made
        y = F.conv2d(x, conv.weight, padding=conv.weight.shape[-1] // 2)
        return F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-3).clamp(min=0)

    y = module(x)
    assert y.shape == (2, 13, 7, 9)
    branches = module.branch1, module.branch2, module.branch3, module.branch4[1]
    one, (before_three, three), (before_five, five), pooled = branches  # type: ignore[misc]
    torch.testing.assert_close(y[:, :3], layer(x, one))
    torch.testing.assert_close(y[:, 3:7], layer(layer(x, before_three), three))
    torch.testing.assert_close(y[:, 7:12], layer(layer(x, before_five), five))
    torch.testing.assert_close(y[:, 12:], layer(F.max_pool2d(x, 3, 1, 1), pooled))
    assert three[0].kernel_size == (3, 3)
    assert five[0].kernel_size == (5, 5)


def test_auxiliary_losses_count_three_tenths_in_training_alone(bench: Any) -> None:
    data = pictures(16)
    recipe = googlenet.recipe(data, width=0.1, dropout=0, auxiliary_dropout=0, label_smoothing=0.1)
    net = recipe.model.build()
    objective = recipe.stages[0].objective(net)
    batch = {"x": torch.randn(6, 3, 16, 16), "y": torch.arange(6) % 2}
    loss = objective(net.train(), batch, STEP).sums
    main, *others = net(batch["x"])
    assert [t.shape for t in (main, *others)] == [(6, 2)] * 3

    def cross_entropy(logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, batch["y"], reduction="sum", label_smoothing=0.1)

    wanted = cross_entropy(main) + 0.3 * (cross_entropy(others[0]) + cross_entropy(others[1]))
    torch.testing.assert_close(loss["loss"], wanted)
    assert loss.keys() == objective.units(batch).keys()
    assert net.eval()(batch["x"]).shape == (6, 2)
    torch.testing.assert_close(objective(net, batch, STEP).sums["loss"], cross_entropy(net(batch["x"])))


def test_auxiliary_heads_teach_the_lower_layers_alone() -> None:
    net = googlenet.Config(form="small", width=0.1).build().train()
    x = torch.randn(4, 3, 32, 32)
    for i, last in ((1, "4a"), (2, "4d")):
        net.zero_grad()
        net(x)[i].sum().backward()
        taught = [name for name, block in net.blocks.items() if next(block.parameters()).grad is not None]
        assert taught == [name for name in googlenet.MODULES if name <= last]
    bare = googlenet.Config(form="small", width=0.1, auxiliary=0.0).build().train()
    assert not bare.heads
    assert bare(x).shape == (4, 10)


@pytest.mark.parametrize("side", [8, 28, 32, 45, 64])
def test_small_form_takes_small_pictures(side: int) -> None:
    net = googlenet.Config(form="small", width=0.1, classes=3).build().train()
    assert [logits.shape for logits in net(torch.randn(2, 3, side, side + 3))] == [(2, 3)] * 3


def test_recipe_takes_the_form_that_suits_the_pictures(one_line: Any) -> None:
    for side, form, width in ((28, "small", 0.25), (64, "small", 0.25), (65, "large", 1.0), (224, "large", 1.0)):
        net: Any = googlenet.recipe(pictures(side)).model
        assert (net.form, net.width) == (form, width)
    for choices, expected in (
        ({"form": "large", "side": 31}, "googlenet's large form needs 32 pixels a side and data has 31; use --set form=small"),
        ({"side": 7}, "googlenet's small form needs 8 pixels a side and data has 7; use lenet"),
        ({"batch_size": 1, "side": 32}, "BatchNorm normalises over the rows of a batch, so it needs two or more; "
         "use batch_size=32"),
        ({"auxiliary": -1, "side": 32}, "auxiliary=-1 is not from 0 to 100; write it like auxiliary=0.3"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            googlenet.recipe(pictures(choices.pop("side")), **choices)  # type: ignore[arg-type]
        assert one_line(caught.value) == expected
