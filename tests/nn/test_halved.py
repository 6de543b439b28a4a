"""Networks that write read their weights in half precision."""

from __future__ import annotations

import torch
from torch import nn

from shendu.nn.generate import Afresh, generate
from shendu.nn.halved import Halved, halved
from shendu.systems.sequence import gpt

SIZES = gpt.Config(vocabulary=50, context=24, layers=2, heads=4, width=256)


def test_a_layer_is_that_of_its_rounded_weights():
    layer = nn.Linear(96, 40)
    x = torch.randn(3, 5, 96)
    with torch.no_grad():
        wanted = nn.functional.linear(x, layer.weight.half().float(), layer.bias)
        torch.testing.assert_close(Halved(layer)(x), wanted)
        assert not torch.equal(wanted, layer(x))


def test_a_copy_shares_what_is_not_halved_and_the_network_stays_as_it_is():
    net = SIZES.build().eval()
    copy = halved(net)
    kinds = [type(m) for m in net.modules()]
    assert copy is not net
    assert copy.tokens.weight is net.tokens.weight
    assert sum(isinstance(m, Halved) for m in copy.modules()) == kinds.count(nn.Linear) == 8
    x = torch.randint(50, (2, 20))
    with torch.no_grad():
        torch.testing.assert_close(copy(x), net(x), atol=2e-3, rtol=0)


def test_its_text_is_the_same_with_a_cache_and_without():
    net = halved(SIZES.build().eval())
    prompt = torch.randint(50, (3, 4))
    with torch.no_grad():
        one, other = (
            torch.stack(list(generate(way, prompt, 40, temperature=0.7, seed=1))) for way in (net, Afresh(net, 24))
        )
    assert torch.equal(one, other)


def test_small_networks_and_weights_beyond_half_precision_stay_as_they_are():
    small, large, broken = gpt.Config().build(), SIZES.build(), SIZES.build()
    large.blocks[0].feedforward.up.weight.data[0, 0] = 1e5
    broken.blocks[0].feedforward.up.weight.data[0, 0] = torch.nan
    for net in (small, large, broken):
        assert halved(net) is net
