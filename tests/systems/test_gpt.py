"""GPT: each place sees those before it alone, the cache changes nothing, and it learns to count."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import shendu
from shendu.errors import UserError
from shendu.nn.generate import Afresh, generate
from shendu.nn.norms import EPSILON, norm
from shendu.systems.sequence import gpt

FORMS: list[dict[str, Any]] = [
    {},
    {"norm": "rms", "feedforward": "swiglu", "kv_heads": 2},
    {"position": "learned", "placement": "post", "bias": True, "qk_norm": False, "tied": False},
    {"kv_heads": 1, "qk_norm": False, "bias": True},
]


def network(form: dict[str, Any], **sizes: Any) -> gpt.GPT:
    """With weights large enough for clear preferences."""
    torch.manual_seed(0)
    net = gpt.Config(**{"vocabulary": 50, "context": 16, "layers": 3, "heads": 4, "width": 32, **form, **sizes}).build()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(3)
    return net.eval()


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_seen_of_what_follows(form: dict[str, Any]) -> None:
    net, x = network(form), torch.randint(50, (2, 16))
    other = x.clone()
    other[:, 9:] = torch.randint(50, (2, 7))
    with torch.no_grad():
        before, after = net(x), net(other)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", [{"temperature": 0}, {}, {"top_k": 10, "top_p": 0.8, "temperature": 1.5}])
@pytest.mark.parametrize("prompt", [1, 5, 16, 40])
def test_the_cache_changes_no_token(form: dict[str, Any], how: dict[str, Any], prompt: int) -> None:
    """Beyond the context too, where the window slides."""
    net = network(form)
    begun = torch.randint(50, (3, prompt))
    with torch.no_grad():
        cached = torch.stack(list(generate(net, begun, 30, seed=2, **how)))
        afresh = torch.stack(list(generate(Afresh(net, 16), begun, 30, seed=2, **how)))
    assert torch.equal(cached, afresh)


def test_swiglu_is_its_formula() -> None:
    """Shazeer 2020: (SiLU(x W) * (x V)) U, with two thirds of four widths between."""
    layer = gpt.FeedForward(12, gated=True, bias=False)
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
    x = torch.randn(2, 3, 12)
    gate, value = layer.up.weight.chunk(2)
    a = x @ gate.T
    torch.testing.assert_close(layer(x), (a / (1 + (-a).exp()) * (x @ value.T)) @ layer.down.weight.T)
    assert gate.shape == (32, 12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_is_its_formula(dtype: torch.dtype) -> None:
    """Zhang and Sennrich 2019: divided by the root of the mean square, times gains; no mean is taken off."""
    layer = norm("rms", 6)
    gain = torch.rand(6) + 0.5
    layer.load_state_dict({"weight": gain})
    x = (3 + torch.randn(2, 4, 6)).to(dtype)
    expected = x.float() / (x.float().square().mean(-1, keepdim=True) + EPSILON).sqrt() * gain
    found = layer(x).detach()
    assert found.dtype == dtype
    close = {torch.float32: 1e-6, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(found.float(), expected, rtol=close, atol=close)
    assert abs(float(found.float().mean())) > 0.5


def test_several_tokens_at_once_are_read_on() -> None:
    net, x = network({}), torch.randint(50, (2, 13))
    with torch.no_grad():
        first, state = net.step(x[:, :4])
        second, state = net.step(x[:, 4:5], state)
        third, _ = net.step(x[:, 5:], state)
        whole = net(x)
    for found, place in ((first, 3), (second, 4), (third, 12)):
        torch.testing.assert_close(found, whole[:, place])


def test_it_begins_without_preferences() -> None:
    net = gpt.Config().build()
    x = torch.randint(65, (8, 65))
    loss = nn.functional.cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
    assert abs(loss.item() - math.log(65)) < 0.1
    assert net.positions is None
    assert net.head is None


@pytest.mark.parametrize(("form", "more"), [
    ({"tied": False}, 50 * 32), ({"position": "learned"}, 16 * 32), ({"bias": True}, 3 * (3 * 32 + 32 + 128 + 32 + 64) + 32),
    ({"qk_norm": False}, -3 * 16), ({"kv_heads": 2}, -3 * 32 * 32), ({"feedforward": "swiglu"}, 3 * 32 * (3 * 86 - 256)),
])  # fmt: skip
def test_choices_cost_what_they_say(form: dict[str, Any], more: int) -> None:
    plain, other = (sum(p.numel() for p in network(f).parameters()) for f in ({}, form))
    assert other - plain == more


@pytest.mark.parametrize(("choices", "line"), [
    ({"heads": 3}, "heads=3 do not share a width of 128 equally; write it like width=128, heads=4"),
    ({"kv_heads": 3}, "kv_heads=3 is no divisor of heads=4; write it like kv_heads=1"),
    ({"width": 12}, "heads=4 of a width of 12 have an odd size, which cannot be turned; write it like width=128, heads=4, or "
                    "position=learned"),
    ({"norm": "batch"}, "unknown value for norm: 'batch'"),
    ({"vocabulary": 9}, "vocabulary follows from the data and cannot be set; leave it out"),
    ({"tokenizer": "words"}, "unknown tokenizer 'words'; write characters, bpe:1000, or the folder that holds tokenizer.json"),
])  # fmt: skip
def test_settings_that_do_not_fit(choices: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        gpt.recipe(shendu.open_data("counting"), **choices)
    assert str(caught.value).startswith(line)


def test_passes_instead_of_steps() -> None:
    data = shendu.open_data("counting")
    recipe = gpt.recipe(data, epochs=2, batch_size=10)
    windows = (len(data.splits["train"]) - 1) // 64
    assert recipe.stages[0].steps == round(2 * windows / 10)
    assert gpt.recipe(data).stages[0].steps == 1500
    assert gpt.recipe(data, width=256, epochs=2, steps=7).stages[0].steps == 7


@pytest.mark.slow
def test_it_learns_to_count(tmp_path: Path) -> None:
    choices = {"steps": 50, "batch_size": 8, "layers": 2, "width": 64, "context": 32}
    run = shendu.train("gpt", "counting", out=tmp_path / "run", quiet=True, **choices)
    figures = run.result["metrics"]["validation"]
    assert figures["loss"] < 1.2  # by how often each letter comes alone: 2.6
    assert figures["bits-per-character"] == pytest.approx(figures["loss"] / math.log(2))
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
