"""Res8: the network against its layers written out, and what it learns of recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shendu import config, registry
from shendu import data as data_module
from shendu.data import augment
from shendu.data.augment.words import DRAWS
from shendu.errors import UserError

res8 = registry.load("res8")


def plain(net: Any, x: torch.Tensor, depth: int) -> torch.Tensor:
    """The paper's figure 1, layer after layer, with the built network's weights, in training mode."""
    kernels = [p for name, p in net.named_parameters() if p.dim() == 4]
    dilations = [1, *(2 ** (i // 3) if depth == 15 else 1 for i in range(depth - 2))]
    x = F.avg_pool2d(F.relu(F.conv2d(x, kernels[0], padding=1)), {8: (3, 4), 15: 1, 26: 2}[depth])
    carried = x
    for i in range(1, depth - 1):
        x = F.relu(F.conv2d(x, kernels[i], padding=dilations[i], dilation=dilations[i]))
        if i % 2 == 0:
            x = carried = x + carried
        x = F.batch_norm(x, None, None, training=True)
    return F.linear(x.mean((2, 3)), net.head.weight, net.head.bias)


@pytest.mark.parametrize("depth", [8, 15, 26])
def test_is_the_papers_network(depth: int) -> None:
    torch.manual_seed(depth)
    net = res8.Config(depth=depth, width=5, classes=3).build()
    x = torch.randn(4, 1, 24, 40)
    torch.testing.assert_close(net(x), plain(net, x, depth), atol=1e-5, rtol=1e-5)


def test_learns_chirps_at_any_loudness(bench: Any, tmp_path: Path) -> None:
    data, choices = bench.opened("res8")
    recipe = bench.recipe("res8", data, steps=60)
    model, _ = bench.train(recipe, tmp_path)
    assert bench.figures(recipe, model, "test")["accuracy"] > 0.9
    rows = data.splits["test"].column("recording")[:10]
    task = recipe.task
    with torch.no_grad():
        loud, quiet = (task.outputs(model.eval(), task.encode(x))["logits"] for x in (rows, rows // 16))
    assert torch.equal(loud.argmax(1), quiet.argmax(1))


def test_only_recordings_and_classes(one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        res8.recipe(data_module.open("digits").split_off())
    assert one_line(caught.value) == (
        "res8 reads recordings, and digits holds pictures; leave the system out to have one chosen, or see `shendu list`"
    )
    with pytest.raises(UserError, match="width=0 leaves no feature maps; write it like width=45"):
        config.settle({"width": "0"}, res8.Config())


def test_augmentation_is_the_recordings_own(bench: Any, one_line: Any) -> None:
    data, choices = bench.opened("res8")
    assert augment.usual(data) == ("delay:0.1", "noise:15", "specmask:8")
    for word, line in (
        ("crop:4", "augment=crop:4 is not for inputs of type audio; use delay, noise, specmask, mixup"),
        ("delay", "augmentation 'delay' lacks its number; write it like delay:0.2"),
        ("specmusk:3", "unknown augmentation 'specmusk'; did you mean 'specmask'?"),
    ):
        with pytest.raises(UserError) as caught:
            res8.recipe(data, **{**choices, "augment": (word,)})
        assert one_line(caught.value) == line
    gates = data_module.open("xor")
    with pytest.raises(UserError, match="augment=noise:20 is not for inputs of type number; use mixup"):
        augment.of(("noise:20",), gates.fields["inputs"])


def recorded(rows: int, samples: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(rows).integers(-9000, 9000, (rows, samples), np.int16))


def drawn(x: torch.Tensor, how: augment.Augment, first: int = 0) -> torch.Tensor:
    samples = torch.arange(first, first + len(x))
    return augment.acoustic(x, augment.draws(samples, 4), how, samples, 4, 2)


def test_delay_moves_each_recording_by_its_own_draw() -> None:
    x, how = recorded(40, 100), augment.Augment(delay=30.0)
    moved, u = drawn(x, how), augment.draws(torch.arange(40), 4)
    seen = set()
    for i in range(40):
        by = int((2 * u[i, 0] - 1) * 30)
        wanted = torch.zeros(100, dtype=torch.int16)
        wanted[max(by, 0) : 100 + min(by, 0)] = x[i, max(-by, 0) : 100 - max(by, 0)]
        assert torch.equal(moved[i], wanted)
        seen.add(by)
    assert min(seen) < -20
    assert max(seen) > 20


def test_noise_is_as_quiet_as_said_and_each_samples_own() -> None:
    x, how = recorded(60, 4000), augment.Augment(noise=20.0)
    added = drawn(x, how) - x
    below = -10 * (added.square().mean(1) / x.float().square().mean(1)).log10()
    assert float(below.min()) > 19.5
    assert float(below.max()) < 50.5
    assert float(below.std()) > 5
    assert float(added.mean().abs()) < 5
    assert float((added[0] * added[1]).mean() / (added[0].std() * added[1].std())) == pytest.approx(0, abs=0.06)
    assert torch.equal(drawn(x[20:], how, first=20), drawn(x, how)[20:])


def test_specmask_hides_a_band_and_a_span() -> None:
    x = torch.ones(200, 1, 12, 30)
    u = augment.draws(torch.arange(200), 9)
    masked = augment.specmask(x, u, 6)[:, 0]
    bands, spans = (masked == 0).all(2), (masked == 0).all(1)
    for hidden in (bands, spans):
        widths = hidden.sum(1)
        assert set(widths.tolist()) == set(range(7))
        edges = hidden.int().diff(dim=1).abs().sum(1) + hidden[:, 0].int() + hidden[:, -1].int()
        assert set(edges.tolist()) == {0, 2}
    assert torch.equal(masked == 0, bands[:, :, None] | spans[:, None])
    everything = torch.full((1, DRAWS), 1 - 2**-24)
    assert not augment.specmask(x[:1], everything, 99).any()
