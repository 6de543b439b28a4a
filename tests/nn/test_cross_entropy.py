"""Cross-entropy in pieces is torch's, in value and gradient, wherever the pieces are cut."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from shendu.nn import cross_entropy as module
from shendu.nn.cross_entropy import cross_entropy


@pytest.mark.parametrize("piece", [1, 64, 1 << 18])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("dtype", "exact", "rounded"),
    [
        (torch.float64, 1e-12, 1e-12),
        (torch.float32, 1e-6, 1e-6),
        (torch.bfloat16, 1e-6, 2**-7),
        (torch.float16, 1e-6, 2**-10),
    ],
)
def test_it_is_torchs(
    dtype: torch.dtype, exact: float, rounded: float, smoothing: float, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    logits = (3 * torch.randn(37, 11)).to(dtype).requires_grad_()
    target = torch.randint(0, 11, (37,))
    target[[5, 9]] = -100
    found = cross_entropy(logits, target, ignored=-100, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(found / 7, logits)
    wide = logits.to(found.dtype)
    expected = F.cross_entropy(wide, target, ignore_index=-100, label_smoothing=smoothing, reduction="sum")
    (right,) = torch.autograd.grad(expected / 7, logits)
    torch.testing.assert_close(found, expected, rtol=exact, atol=exact)
    torch.testing.assert_close(gradient, right, rtol=rounded, atol=exact if rounded == exact else 1e-4)
    assert gradient.dtype == dtype
    assert not gradient[[5, 9]].any()


def test_nothing_that_counts_is_0() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    found = cross_entropy(logits, torch.zeros(4, dtype=torch.int64), ignored=0)
    assert float(found.detach()) == 0.0
    assert not torch.autograd.grad(found, logits)[0].any()
