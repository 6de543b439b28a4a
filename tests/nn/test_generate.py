"""Drawing the next token, against the distributions that are meant; attention and positions against their formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shendu import chance
from shendu.errors import UserError
from shendu.nn import attention as attention_module
from shendu.nn.attention import SelfAttention
from shendu.nn.cache import KeyValues, begins
from shendu.nn.generate import ENDED, Afresh, draw, generate
from shendu.nn.positions import angles, rotate
from shendu.systems.sequence import transformer


def distribution(logits: list[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """By definition, token by token."""
    weights = [math.exp(value / temperature) for value in logits]
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: top_k or len(logits)]
    total, kept, reached = sum(weights[i] for i in order), [], 0.0
    for i in order:
        kept.append(i)
        reached += weights[i] / total
        if reached >= top_p:
            break
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(logits))]


@pytest.mark.parametrize("top_k", [0, 1, 3, 6, 50])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.01])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.5])
def test_drawn_as_is_meant(temperature: float, top_k: int, top_p: float) -> None:
    logits = [0.3, -1.2, 2.0, 0.3, 1.1, -4.0, 0.0]
    points = 4000
    u = (torch.arange(points) + 0.5) / points
    drawn = draw(torch.tensor(logits).expand(points, -1), u, temperature, top_k, top_p)
    shares = torch.bincount(drawn, minlength=len(logits)) / points
    torch.testing.assert_close(
        shares, torch.tensor(distribution(logits, temperature, top_k, top_p)), rtol=0, atol=1.01 / points
    )


def test_the_ends_of_chance() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0]]).expand(2, -1)
    u = torch.tensor([0.0, 1 - 2.0**-24])
    assert draw(logits, u, 1.0, 0, 1.0).tolist() == [1, 0]
    assert draw(logits, u, 0, 0, 1.0).tolist() == [1, 1]
    assert draw(torch.tensor([[1e4, -1e4]]), u[:1], 1e-3, 0, 1.0).tolist() == [0]


class Chain(nn.Module):
    """Logits of the next token by the last one alone."""

    context = 0

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.randn(9, 9, generator=torch.Generator().manual_seed(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.table[x]

    def step(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.table[tokens[:, -1]], None


def test_a_row_does_not_depend_on_the_others() -> None:
    prompt = torch.tensor([[1, 2]])
    one = torch.stack(list(generate(Chain(), prompt, 20, seed=4)))
    five = torch.stack(list(generate(Chain(), prompt.expand(5, -1), 20, seed=4)))
    assert torch.equal(one[:, 0], five[:, 0])
    assert len(set(map(tuple, five.T.tolist()))) == 5
    assert not torch.equal(one, torch.stack(list(generate(Chain(), prompt, 20, seed=5))))
    assert torch.equal(one, torch.stack(list(generate(Afresh(Chain(), 0), prompt, 20, seed=4))))


def test_rows_end_by_themselves() -> None:
    prompt = torch.zeros(6, 1, dtype=torch.int64)
    free = torch.stack(list(generate(Chain(), prompt, 200))).T
    ended = torch.stack(list(generate(Chain(), prompt, 200, stop=(3, 7)))).T
    lengths = []
    for whole, cut in zip(free.tolist(), ended.tolist(), strict=True):
        end = next(i for i, token in enumerate(whole) if token in (3, 7))
        lengths.append(end + 1)
        assert cut == whole[: end + 1] + [ENDED] * (len(cut) - end - 1)
    assert ended.shape[1] == max(lengths) < 200


@pytest.mark.parametrize("how", [
    {"length": 0}, {"temperature": -1}, {"temperature": math.nan}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5},
])  # fmt: skip
def test_settings_out_of_range(how: dict[str, Any], one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        next(generate(Chain(), torch.tensor([[1]]), **{"length": 5, **how}))
    assert "write it like --" in one_line(caught.value)


# ---- attention -------------------------------------------------------------------------------------------------------


def attention(layer: SelfAttention, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D) v, head by head and place by place."""
    q, k, v = layer.heads_of(x)
    heads = []
    for h in range(layer.heads):
        of = h * layer.kv_heads // layer.heads
        scores = q[:, h] @ k[:, of].mT / math.sqrt(layer.size)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril() if layer.causal else mask
        if seen is not None:
            scores = scores.masked_fill(~seen, -math.inf)
        heads.append(scores.softmax(-1) @ v[:, of])
    return layer.out(torch.cat(heads, -1))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [0, 1, 2])
def test_attention_is_its_formula(causal: bool, kv_heads: int) -> None:
    layer = SelfAttention(24, 4, kv_heads=kv_heads, causal=causal).double()
    x = torch.randn(3, 7, 24, dtype=torch.float64)
    torch.testing.assert_close(layer(x), attention(layer, x))
    if not causal:
        mask = torch.tensor([1, 1, 1, 1, 0, 0, 0], dtype=torch.bool)
        torch.testing.assert_close(layer(x, mask=mask[None, None, None]), attention(layer, x, mask))


@pytest.mark.parametrize("kv_heads", [0, 2])
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 5], [5, 1, 3]])
def test_memory_changes_nothing(kv_heads: int, pieces: list[int]) -> None:
    layer = SelfAttention(24, 4, kv_heads=kv_heads, qk_norm=True).double()
    x, turned = torch.randn(2, 9, 24, dtype=torch.float64), angles(9, 6)
    memory, found, at = KeyValues(9), [], 0
    for size in pieces:
        found.append(layer(x[:, at : at + size], turned[:, at : at + size], memory))
        at += size
    torch.testing.assert_close(torch.cat(found, 1), layer(x, turned))


@pytest.mark.parametrize("piece", [1, 100, 1 << 18])
@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("kv_heads", [0, 2])
def test_norms_and_turns_in_pieces_change_nothing(
    kv_heads: int, qk_norm: bool, rotary: bool, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and every gradient are those of the modules one after the other."""
    monkeypatch.setattr(attention_module, "PIECE", piece)
    layer = SelfAttention(32, 4, kv_heads=kv_heads, qk_norm=qk_norm).double()
    for p in layer.norms.parameters():
        torch.nn.init.normal_(p)
    x, above = (
        torch.randn(3, 5, 32, dtype=torch.float64, requires_grad=True),
        torch.randn(3, 5, 32, dtype=torch.float64),
    )
    turned = angles(5, 8).double() if rotary else None
    found = [layer(x, turned)]
    monkeypatch.setattr(attention_module, "in_training_on_a_processor", lambda x: False)
    found.append(layer(x, turned))
    torch.testing.assert_close(*found)
    gradients = [torch.autograd.grad((y * above).sum(), [x, *layer.parameters()]) for y in found]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("block", [4, 64])
@pytest.mark.parametrize(("places", "keys", "causal", "mask"), [
    (9, 9, True, None), (9, 9, False, None), (7, 9, False, (torch.arange(9) < torch.tensor([[6], [9]]))[:, None, None]),
    (5, 9, False, torch.ones(5, 9, dtype=torch.bool).tril(4)),
])  # fmt: skip
def test_attention_in_blocks_is_torchs(
    places: int, keys: int, causal: bool, mask: Any, block: int, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and gradients, with the same weights dropped."""
    monkeypatch.setattr(attention_module, "HALF", (torch.float64,))
    monkeypatch.setattr(attention_module, "BLOCK", block)
    q, k, v = (torch.randn(2, 3, n, 8, dtype=torch.float64, requires_grad=True) for n in (places, keys, keys))
    chance.reseed(1)
    found = attention_module.attend(q, k, v, mask, causal=causal, dropout=dropout)
    chance.reseed(1)
    factors = torch.zeros(6, places, keys, dtype=torch.float64)
    for at, end in attention_module.blocks(q.flatten(0, 1), k.flatten(0, 1), causal):
        ones = torch.ones(6, at.stop - at.start, end, dtype=torch.float64)
        factors[:, at, :end] = chance.dropout(ones, dropout)
    seen = torch.ones(places, keys, dtype=torch.bool).tril() if causal else torch.tensor(True) if mask is None else mask
    looked = (q @ k.mT / math.sqrt(8)).masked_fill(~seen, -math.inf).softmax(-1)
    expected = (looked * factors.view_as(looked)) @ v
    torch.testing.assert_close(found, expected)
    above = torch.randn_like(found)
    torch.testing.assert_close(*(torch.autograd.grad(y, (q, k, v), above) for y in (found, expected)))


def test_rotation_is_by_complex_numbers_and_sees_distances_only() -> None:
    x = torch.randn(1, 2, 12, 8, dtype=torch.float64)
    turned = angles(12, 8).double()
    rates = 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    phase = torch.polar(torch.ones(12, 4, dtype=torch.float64), torch.arange(12)[:, None] * rates)
    complex_ = torch.complex(x[..., :4], x[..., 4:]) * phase
    torch.testing.assert_close(rotate(x, turned), torch.cat([complex_.real, complex_.imag], -1), rtol=1e-6, atol=1e-6)
    same = x[:, :, :1].expand(-1, -1, 12, -1)
    products = rotate(same, turned) @ rotate(same, turned).mT
    for distance in range(12):
        diagonal = products.diagonal(distance, -2, -1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal), rtol=1e-5, atol=1e-5)


def test_the_window_slides_by_half() -> None:
    assert [begins(count, 8) for count in (1, 8, 9, 12, 13, 16, 17)] == [0, 0, 4, 4, 8, 8, 12]
    assert [begins(count, 1) for count in (1, 2, 3)] == [0, 1, 2]
    assert all(4 < count - begins(count, 8) <= 8 for count in range(9, 99))


@pytest.mark.parametrize(("heads", "kv_heads", "line"), [
    (3, 3, "heads=3 do not share a width of 32 equally; write it like width=128, heads=4"),
    (0, 1, "heads=0 do not share a width of 32 equally; write it like width=128, heads=4"),
    (8, 3, "kv_heads=3 is no divisor of heads=8; write it like kv_heads=2"),
    (4, -1, "kv_heads=-1 is no divisor of heads=4; write it like kv_heads=1"),
])  # fmt: skip
def test_heads_that_do_not_divide(heads: int, kv_heads: int, line: str) -> None:
    with pytest.raises(UserError) as caught:
        SelfAttention(32, heads, kv_heads=kv_heads)
    assert str(caught.value) == line


def test_what_is_never_drawn() -> None:
    prompt = torch.zeros(20, 1, dtype=torch.int64)
    drawn = torch.stack(list(generate(Chain(), prompt, 30, temperature=3.0, never=(2, 5))))
    assert set(drawn.flatten().tolist()) == {0, 1, 3, 4, 6, 7, 8}


@pytest.mark.parametrize("causal", [True, False])
def test_the_transformers_own_attention_is_the_same(causal: bool) -> None:
    written = transformer.Attention(24, 4).double()
    layer = SelfAttention(24, 4, bias=False, causal=causal).double()
    with torch.no_grad():
        layer.project.weight.copy_(written.project.weight)
        layer.out.weight.copy_(written.out.weight)
    x = torch.randn(3, 7, 24, dtype=torch.float64)
    seen = torch.ones(7, 7, dtype=torch.bool)
    torch.testing.assert_close(layer(x), written(x, seen.tril() if causal else seen))
