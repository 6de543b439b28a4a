"""Chance is a function of where we are: permutations, uniform numbers, dropout."""

from __future__ import annotations

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shendu import chance
from shendu.nn.dropout import Dropout

INTS = st.integers(-(2**62), 2**62 - 1)


# ---- fold


@given(st.lists(INTS, min_size=1, max_size=5), st.lists(INTS, min_size=1, max_size=5))
def test_fold_tells_places_apart(a: list[int], b: list[int]) -> None:
    assert 0 <= chance.fold(*a) < 2**63
    assert (chance.fold(*a) == chance.fold(*b)) == (a == b)


def test_fold_of_neighbours_flips_half_of_the_bits() -> None:
    flips = [
        bin(chance.fold(0, s, 0, m) ^ chance.fold(0, s + 1, 0, m)).count("1") for s in range(200) for m in range(5)
    ]
    assert sum(flips) / len(flips) == pytest.approx(31.5, abs=1.5)


def test_generators_and_reseed_repeat_themselves() -> None:
    draws = [torch.rand(3, generator=chance.generator(1, 2)) for _ in range(2)]
    assert torch.equal(*draws)
    chance.reseed(4, 5)
    first = torch.rand(3)
    chance.reseed(4, 6)
    assert not torch.equal(torch.rand(3), first)
    chance.reseed(4, 5)
    assert torch.equal(torch.rand(3), first)


# ---- permute


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 5000), INTS, st.integers(0, 2**40))
def test_permute_is_a_permutation(rows: int, key: int, epoch: int) -> None:
    order = chance.permute(torch.arange(rows), rows, key, epoch=epoch)
    assert torch.equal(order.sort().values, torch.arange(rows))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 65535, 65536, 65537, 100003])
def test_permute_at_the_edges_of_powers(rows: int) -> None:
    order = chance.permute(torch.arange(rows), rows, 7, epoch=3)
    assert torch.equal(order.sort().values, torch.arange(rows))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 3000), st.data())
def test_permute_of_a_slice_is_the_slice_of_the_permutation(rows: int, data: st.DataObject) -> None:
    positions = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=20)))
    epochs = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=len(positions), max_size=len(positions))))
    one_by_one = [
        chance.permute(torch.arange(rows), rows, 5, epoch=int(e))[p] for p, e in zip(positions, epochs, strict=True)
    ]
    assert torch.equal(chance.permute(positions, rows, 5, epoch=epochs), torch.stack(one_by_one))


def test_permute_differs_by_key_and_epoch() -> None:
    rows = torch.arange(1000)
    orders = [chance.permute(rows, 1000, *key, epoch=e) for key in ((0,), (1,), (0, 1)) for e in range(3)]
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert int((a == b).sum()) < 10  # one place in a thousand agrees by chance


@pytest.mark.parametrize("rows", [4, 10, 50, 65])
def test_permute_puts_every_row_everywhere_equally_often(rows: int) -> None:
    epochs = 3000
    counts = torch.zeros(rows, rows)
    for position in range(rows):
        landed = chance.permute(torch.full((epochs,), position), rows, 11, epoch=torch.arange(epochs))
        counts[position] = torch.bincount(landed, minlength=rows)
    expected = epochs / rows
    chi = float(((counts - expected) ** 2 / expected).sum())
    freedom = (rows - 1) ** 2
    assert abs(chi - freedom) < 6 * math.sqrt(2 * freedom)


def test_permute_costs_the_batch_not_the_rows() -> None:
    def seconds(rows: int) -> float:
        positions = torch.arange(256) + rows // 2
        best = math.inf
        for _ in range(20):
            began = time.perf_counter()
            order = chance.permute(positions, rows, 1)
            best = min(best, time.perf_counter() - began)
        assert int(order.min()) >= 0
        assert int(order.max()) < rows
        assert len(order.unique()) == 256
        return best

    assert seconds(2**40 + 12345) < 20 * seconds(1000) + 1e-3


# ---- uniform


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 40), st.integers(1, 9), st.data())
def test_uniform_does_not_depend_on_the_slicing(start: int, size: int, draws: int, data: st.DataObject) -> None:
    samples = torch.arange(start, start + size)
    whole = chance.uniform(samples, draws, 3, 4)
    cut = data.draw(st.integers(0, size))
    assert torch.equal(
        whole, torch.cat([chance.uniform(samples[:cut], draws, 3, 4), chance.uniform(samples[cut:], draws, 3, 4)])
    )
    assert float(whole.min()) >= 0
    assert float(whole.max()) < 1


def test_uniform_moments_and_independence() -> None:
    u = chance.uniform(torch.arange(100_000), 4, 9).double()
    n = len(u)
    assert u.mean(0).tolist() == pytest.approx([0.5] * 4, abs=5 * math.sqrt(1 / 12 / n))
    assert u.var(0).tolist() == pytest.approx([1 / 12] * 4, abs=0.001)
    both = torch.cat([u, u.roll(1, 0)], 1)
    correlation = torch.corrcoef(both.T) - torch.eye(8)
    assert float(correlation.abs().max()) < 5 / math.sqrt(n)
    histogram = torch.histc(u.flatten(), 100, 0, 1)
    chi = float(((histogram - 4 * n / 100) ** 2 / (4 * n / 100)).sum())
    assert abs(chi - 99) < 6 * math.sqrt(2 * 99)
    assert not torch.equal(u, chance.uniform(torch.arange(100_000), 4, 10).double())


# ---- dropout


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(7,), (250, 401), (4, 3, 50, 51)])
def test_dropout_rate_mean_and_gradient(p: float, shape: tuple[int, ...]) -> None:
    x = torch.full(shape, 2.0, requires_grad=True)
    chance.reseed(1)
    y = chance.dropout(x, p)
    n, dropped = y.numel(), float((y == 0).float().mean())
    assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / n) + 2**-16
    kept = y[y != 0]
    assert torch.allclose(kept, torch.full_like(kept, 2 / (1 - p)), rtol=1e-3)
    assert abs(float(y.detach().mean()) - 2) < 10 * math.sqrt(p / (1 - p) / n) + 1e-3
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad * 2, y)
    chance.reseed(1)
    assert torch.equal(chance.dropout(x, p), y)
    assert not torch.equal(chance.dropout(x, p), y) or n < 10


def test_dropout_masks_of_neighbouring_elements_are_independent() -> None:
    """Four masks come out of one number: they must not know of each other."""
    kept = (chance.dropout(torch.ones(100_000, 4), 0.5) > 0).double()
    assert float((torch.corrcoef(kept.T) - torch.eye(4)).abs().max()) < 5 / math.sqrt(100_000)


def test_dropout_at_its_ends_and_in_eval() -> None:
    x = torch.randn(5, 5)
    assert chance.dropout(x, 0.0) is x
    assert chance.dropout(x, 0.9999999).isfinite().all()
    module = Dropout(0.5)
    assert module.eval()(x) is x
    assert "p=0.5" in repr(module)
    for wrong in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="dropout="):
            Dropout(wrong)


def test_dropout_of_half_precision_keeps_its_type() -> None:
    y = chance.dropout(torch.ones(1000, dtype=torch.bfloat16), 0.5)
    assert y.dtype == torch.bfloat16
    assert set(y.unique().tolist()) == {0.0, 2.0}


# ---- bernoulli


def test_bernoulli_has_the_mean_and_variance_of_each_probability() -> None:
    chance.reseed(2)
    p = torch.tensor([0.0, 1e-3, 0.1, 0.37, 0.5, 0.9, 1.0])
    x = chance.bernoulli(p.expand(200_000, 7))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    error = (x.mean(0) - p).abs()
    assert (error <= 5 * (p * (1 - p) / len(x)).sqrt() + 2**-17).all()
    torch.testing.assert_close(x.var(0), p * (1 - p), rtol=0, atol=0.004)
    assert x[:, 0].sum() == 0
    assert x[:, 6].sum() == len(x)


def test_bernoulli_rounds_to_the_nearest_of_65536_steps() -> None:
    """Over all draws that there are, the share of ones is p to within half a step."""
    draws = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    for p in (0.0, 2**-18, 2**-16, 0.3, 0.5, 1 - 2**-16, 1 - 2**-18, 1.0):
        on = int((draws < torch.tensor(p) * 65536 - 32768.5).sum())
        assert abs(on - p * 65536) <= 0.5


def test_bernoulli_draws_are_independent_of_their_neighbours_and_of_the_next_call() -> None:
    """Four draws come out of one number: they must not know of each other."""
    chance.reseed(3)
    x = torch.cat([chance.bernoulli(torch.full((100_000, 8), 0.3)) for _ in range(2)], 1).double()
    both = torch.cat([x, x.roll(1, 0)], 1)
    assert float((torch.corrcoef(both.T) - torch.eye(32)).abs().max()) < 5.5 / math.sqrt(len(x))


def test_bernoulli_repeats_itself_from_either_generator_and_keeps_type_and_shape() -> None:
    p = torch.full((3, 5, 7), 0.5, dtype=torch.bfloat16)
    draws = []
    for _ in range(2):
        chance.reseed(7)
        draws.append((chance.bernoulli(p), chance.bernoulli(p, chance.generator(8))))
    for one, again in zip(*draws, strict=True):
        assert torch.equal(one, again)
        assert (one.dtype, one.shape) == (p.dtype, p.shape)
    assert not torch.equal(*draws[0])
