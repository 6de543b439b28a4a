"""Weights in a file: what is read is what was rounded, and is packed to the same bytes again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shendu.compressing import packing

META = torch.device("meta")


def shaped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t.to(META) for name, t in tensors.items()}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(packing.BITS), st.booleans(), st.integers(1, 9), st.integers(1, 70), st.sampled_from([1e-30, 1e-3, 1.0, 1e20])
)  # fmt: skip
def test_what_was_read_is_packed_to_the_same_bytes(
    seed: int, bits: int, sparse: bool, rows: int, width: int, size: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, width, generator=generator) * size
    w[torch.rand(rows, width, generator=generator) < 0.6] = 0
    how: packing.Packing = {"w": {"bits": bits, "sparse": sparse}}
    first = packing.packed({"w": w}, how)
    read = packing.unpacked(first, how, shaped({"w": w}))["w"]
    torch.testing.assert_close(read, packing.rounded(w, bits), rtol=0, atol=0)
    second = packing.packed({"w": read}, how)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    outline = packing.outlined(shaped({"w": w}), first, how)
    assert {name: t.shape for name, t in outline.items()} == {name: t.shape for name, t in first.items()}


@pytest.mark.parametrize(("bits", "least"), [(8, 127), (4, 7)])
def test_no_number_is_further_off_than_half_a_step(bits: int, least: int) -> None:
    """Scales of 8 significant bits cost the largest numbers at most another 1/256."""
    w = torch.randn(5, 64)
    step = w.abs().amax(1, keepdim=True) / least
    assert ((packing.rounded(w, bits) - w).abs() <= step * (0.5 + least / 200)).all()


def test_sizes_are_those_of_their_bits() -> None:
    w = {"w": torch.randn(64, 64)}
    sizes = {
        bits: sum(t.nbytes for t in packing.packed(w, {"w": {"bits": bits, "sparse": False}}).values())
        for bits in (8, 4)
    }
    assert sizes == {8: 4096 + 2 * 64, 4: 2048 + 2 * 128}
    half = {"w": w["w"] * (torch.arange(64) % 4 == 0)}
    sparse = packing.packed(half, {"w": {"bits": 32, "sparse": True}})
    assert sum(t.nbytes for t in sparse.values()) == 4 * 1024 + 512


def test_small_vectors_and_norms_stay_as_they_are() -> None:
    tensors = {
        "w": torch.randn(32, 32),
        "b": torch.randn(32),
        "small": torch.randn(2, 2),
        "n": torch.zeros(99, 99, dtype=torch.int64),
    }
    assert packing.packable(tensors, 8).keys() == {"w"}
    assert packing.packable(tensors, 32) == {}
    few = {"w": tensors["w"] * (torch.rand(32, 32) < 0.5), "z": tensors["w"] * 0 + 1}
    assert packing.packable(few, 8) == {"w": {"bits": 8, "sparse": True}, "z": {"bits": 8, "sparse": False}}
    assert packing.packable(few, 32).keys() == {"w"}, "a bit for each number has to pay"


def test_other_types_than_it_makes_are_refused() -> None:
    how: packing.Packing = {"w": {"bits": 8, "sparse": False}}
    w = torch.randn(16, 16)
    wrong = {**packing.packed({"w": w}, how), "w": w}
    with pytest.raises(ValueError, match="float32"):
        packing.unpacked(wrong, how, shaped({"w": w}))
    how = {"w": {"bits": 32, "sparse": True}}
    short = packing.packed({"w": w}, how)
    with pytest.raises(ValueError, match="its mask"):
        packing.unpacked({**short, "w": short["w"][:-1]}, how, shaped({"w": w}))
    with pytest.raises(ValueError, match="5 bits"):
        packing.check_packing({"w": {"bits": 5}})
