"""LeNet and ResNet against the papers' tables and equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shendu import data as data_module
from shendu.errors import UserError
from shendu.systems.vision import lenet, resnet

STEP = torch.tensor(0)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# ---- LeNet


def test_lenet_sizes_layer_by_layer() -> None:
    assert parameters(lenet.Config().build()) == 61_706
    net = lenet.Config(form="1998").build()
    own = [parameters(m) for m in net.features if parameters(m)]
    assert own == [156, 12, 1516, 32, 48_120, 10_164]  # C1, S2, C3, S4, C5, F6, as §II.B of the paper counts them
    assert sum(own) == 60_000


def test_lenet_with_batch_norm() -> None:
    net = lenet.Config(batch_norm=True).build()
    assert parameters(net) == 61_706 - (6 + 16) + 2 * (6 + 16)  # a scale and a shift in place of each bias
    x, weights = torch.randn(8, 1, 28, 28), [p for p in net.features.parameters() if p.dim() == 4]
    wanted = x
    for weight, padding in zip(weights, (2, 0), strict=True):
        pooled = F.max_pool2d(F.conv2d(wanted, weight, padding=padding), 2)
        mean, var = pooled.mean((0, 2, 3), keepdim=True), pooled.var((0, 2, 3), keepdim=True, correction=0)
        wanted = ((pooled - mean) / (var + 1e-5).sqrt()).relu()
    torch.testing.assert_close(net.features(x), wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="batch_norm=true is of form=common"):
        lenet.Config(form="1998", batch_norm=True)


def test_lenet_c3_sees_what_table_one_says() -> None:
    assert len(lenet.CONNECTIONS) == 16
    assert sum(map(len, lenet.CONNECTIONS)) == 60
    assert [len(seen) for seen in lenet.CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert len({frozenset(seen) for seen in lenet.CONNECTIONS}) == 16
    c3 = next(m for m in lenet.Config(form="1998").build().modules() if isinstance(m, lenet.PartlyConnected))
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    outputs = c3(x)
    assert outputs.shape == (1, 16, 10, 10)
    for to, seen in enumerate(lenet.CONNECTIONS):
        (gradient,) = torch.autograd.grad(outputs[0, to].sum(), x, retain_graph=True)
        assert gradient.abs().sum((0, 2, 3)).nonzero()[:, 0].tolist() == list(seen)


def test_lenet_c3_is_a_sum_of_small_convolutions() -> None:
    c3 = lenet.PartlyConnected()
    x, kernels = torch.randn(2, 6, 9, 9), iter(c3.kernels.detach())
    for to, seen in enumerate(lenet.CONNECTIONS):
        wanted = sum(F.conv2d(x[:, [s]], next(kernels).view(1, 1, 5, 5)) for s in seen) + c3.bias[to].detach()
        torch.testing.assert_close(c3(x)[:, [to]].detach(), wanted, rtol=1e-4, atol=1e-5)


def test_lenet_subsampling() -> None:
    layer = lenet.Subsample(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([0.5, 2.0]).view(2, 1, 1))
        layer.bias.copy_(torch.tensor([0.1, -0.3]).view(2, 1, 1))
    x = torch.randn(1, 2, 4, 4)
    total = x[:, :, 0::2, 0::2] + x[:, :, 1::2, 0::2] + x[:, :, 0::2, 1::2] + x[:, :, 1::2, 1::2]
    a = total * torch.tensor([0.5, 2.0]).view(1, 2, 1, 1) + torch.tensor([0.1, -0.3]).view(1, 2, 1, 1)
    torch.testing.assert_close(layer(x).detach(), 1.7159 * torch.tanh(2 / 3 * a))


def test_lenet_codes_are_pictures_that_differ() -> None:
    for classes in (10, 2, 3, 26, 100):
        codes = lenet.codes(classes)
        assert codes.shape == (classes, 84)
        assert set(codes.unique().tolist()) == {-1.0, 1.0}
        apart = torch.cdist(codes, codes) + 1e9 * torch.eye(classes)
        assert float(apart.min()) >= math.sqrt(4 * 4), "two codes are nearly the same"
        assert torch.equal(codes, lenet.codes(classes))
    assert torch.equal(lenet.Config(form="1998").build().codes, lenet.codes(10))


def test_lenet_scores_are_squared_distances() -> None:
    net = lenet.Config(form="1998").build()
    x = torch.randn(3, 1, 28, 28)
    f6 = net.features(x)
    wanted = -(f6[:, None] - net.codes[None]).square().sum(2)
    torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-3)


def test_lenet_loss_is_equation_nine() -> None:
    """E = mean over p of y_Dp + log(exp(-j) + sum over i of exp(-y_i)), y the distances."""
    distances, labels = torch.rand(5, 4) * 3, torch.tensor([0, 3, 1, 1, 2])
    objective = lenet.Discriminative()
    batch = {"x": distances, "y": labels}
    got = objective(lambda x: -x, batch, STEP).sums["loss"]  # type: ignore[arg-type]
    wanted = sum(
        float(row[label]) + math.log(math.exp(-1.0) + sum(math.exp(-float(d)) for d in row))
        for row, label in zip(distances, labels, strict=True)
    )
    assert float(got) == pytest.approx(wanted, rel=1e-5)
    soft = {"x": distances, "y": F.one_hot(labels, 4).float()}
    assert float(objective(lambda x: -x, soft, STEP).sums["loss"]) == pytest.approx(wanted, rel=1e-5)  # type: ignore[arg-type]
    assert int(objective.units(batch)["loss"]) == 5


def test_lenet_reads_other_sizes_and_channels() -> None:
    for form in ("common", "1998"):
        net = lenet.Config(channels=3, classes=7, form=form).build().eval()  # type: ignore[arg-type]
        for side in (8, 28, 40):
            assert net(torch.randn(2, 3, side, side + 1)).shape == (2, 7)


# ---- ResNet


def test_resnet_depths_are_layer_counts() -> None:
    for depth, stem in ((20, "small"), (56, "small"), (18, "large"), (34, "small"), (50, "large")):
        net = resnet.Config(depth=depth, stem=stem).build()  # type: ignore[arg-type]
        main = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
        assert len(main) == depth


def test_resnet_zero_padded_shortcut_has_no_parameters() -> None:
    shortcut = resnet.ZeroPadded(3, 6, 2)
    assert parameters(shortcut) == 0
    x = torch.randn(2, 3, 5, 5)
    y = shortcut(x)
    assert y.shape == (2, 6, 3, 3)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()
    names = [n for n, _ in resnet.Config(depth=20).build().named_parameters()]
    assert not any("shortcut" in n for n in names)
    assert any("shortcut" in n for n, _ in resnet.Config(depth=18).build().named_parameters())


def plain_block(block: Any, x: torch.Tensor) -> torch.Tensor:
    """A residual block in eval mode, written out with functions alone."""

    def normalised(maps: torch.Tensor, bn: nn.BatchNorm2d) -> torch.Tensor:
        shape = (1, -1, 1, 1)
        scale = bn.weight / torch.sqrt(bn.running_var + 1e-5)
        return (maps - bn.running_mean.view(shape)) * scale.view(shape) + bn.bias.view(shape)

    y = x
    convolutions = [m for n, m in block.named_children() if n.startswith("conv")]
    norms = [m for n, m in block.named_children() if n.startswith("bn")]
    for i, (conv, bn) in enumerate(zip(convolutions, norms, strict=True)):
        y = normalised(F.conv2d(y, conv.weight, stride=conv.stride, padding=conv.padding), bn)
        y = y.clamp(min=0) if i < len(norms) - 1 else y
    if isinstance(block.shortcut, nn.Sequential):
        conv, bn = block.shortcut
        x = normalised(F.conv2d(x, conv.weight, stride=conv.stride), bn)
    elif isinstance(block.shortcut, resnet.ZeroPadded):
        padded = torch.zeros_like(y)
        padded[:, : x.shape[1]] = x[:, :, :: block.shortcut.stride, :: block.shortcut.stride]
        x = padded
    return (x + y).clamp(min=0)


@pytest.mark.parametrize("depth", [20, 18, 50])
def test_resnet_is_its_blocks_one_after_another(depth: Any) -> None:
    net = resnet.Config(depth=depth, channels=2, classes=4).build()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    net.eval()
    x = torch.randn(2, 2, 16, 16)
    with torch.no_grad():
        maps = net.stem(x)
        widths = []
        for stage in net.stages:
            for block in stage:
                maps = plain_block(block, maps)
            widths.append(tuple(maps.shape[1:]))
        wanted = maps.mean((2, 3)) @ net.head.weight.T + net.head.bias
        torch.testing.assert_close(net(x), wanted, rtol=1e-3, atol=1e-3)
    first, ratio = (16, 1) if depth == 20 else (64, 4 if depth == 50 else 1)
    assert widths == [(first * ratio * 2**i, 16 // 2**i, 16 // 2**i) for i in range(len(widths))]


def test_resnet_block_that_adds_nothing_is_the_identity() -> None:
    net = resnet.Config(depth=20).build().eval()
    x = torch.rand(2, 16, 8, 8)
    block = net.stages[0][0]
    assert isinstance(block.shortcut, nn.Identity)
    nn.init.zeros_(block.bn2.weight)
    assert torch.equal(block(x), x)


def test_resnet_starts_with_he_normal_kernels() -> None:
    net = resnet.Config(depth=56).build()
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert float(module.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
        if isinstance(module, nn.BatchNorm2d):
            assert float(module.weight.detach().min()) == 1.0


@pytest.mark.parametrize("choices", [{"depth": 18}, {"depth": 50}, {"depth": 18, "stem": "large"}, {"batch_size": 1}])
def test_resnet_refuses_what_cannot_be_trained(choices: dict[str, Any], one_line: Any) -> None:
    data = data_module.open((np.zeros((40, 6, 6, 1), np.uint8), np.arange(40) % 2)).split_off()
    with pytest.raises(UserError) as caught:
        resnet.recipe(data, **choices)
    assert "use " in one_line(caught.value)
