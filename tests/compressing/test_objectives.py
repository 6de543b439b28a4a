"""Distillation by the textbook's formula, zeros that stay zeros, the mean of the weights passed through."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shendu.errors import UserError
from shendu.nn.softened import softened
from shendu.objectives.averaging import Averaged
from shendu.objectives.distillation import Distilled
from shendu.objectives.sparse import Sparse, cubic, smallest
from shendu.objectives.supervised import Supervised


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_softened_is_hintons(temperature: float) -> None:
    """T² Σ p log(p / q), p and q the softmax of logits over T."""
    ours, theirs = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    p, q = ((t / temperature).exp() / (t / temperature).exp().sum(1, keepdim=True) for t in (theirs, ours))
    wanted = temperature**2 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(softened(ours, theirs, temperature).double(), wanted, rtol=1e-5, atol=1e-6)
    assert softened(ours, ours, temperature).abs().max() < 1e-6


def test_the_loss_is_a_share_of_each() -> None:
    model, teacher = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    batch = {"x": torch.randn(6, 4), "y": torch.tensor([0, 1, 2, 0, 1, 2])}
    inner = Supervised("cross-entropy")
    made = Distilled(inner, teacher, softened, share=0.7, temperature=2.0).train()
    sums = made(model, batch, torch.tensor(0)).sums
    torch.testing.assert_close(sums["loss"], 0.3 * inner(model, batch, torch.tensor(0)).sums["loss"])
    taught = softened(model(batch["x"]), teacher[0](batch["x"]), 2.0).sum()
    torch.testing.assert_close(sums["teacher"], 0.7 * taught)
    assert made.units(batch) == {"loss": 6, "teacher": 6}
    sum(sums.values()).backward()  # type: ignore[union-attr]
    assert model.weight.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert "teacher.0.weight" in made.state_dict(), "it is saved with the run"


def test_a_network_that_is_not_asked_cannot_be_taught() -> None:
    class Energy(Supervised):
        def forward(self, model, batch, step):  # type: ignore[no-untyped-def]
            from shendu.core import Loss

            return Loss({"loss": model.weight.sum()})

    with pytest.raises(UserError, match="cannot be distilled"):
        Distilled(Energy("mse"), nn.Linear(2, 2), softened)(nn.Linear(2, 2), {"x": torch.zeros(1, 2)}, torch.tensor(0))


def test_the_smallest_weights_of_all_go() -> None:
    weights = {"a": torch.tensor([[1.0, -5.0], [3.0, 0.5]]), "b": torch.tensor([[0.1, 9.0]])}
    masks = smallest(weights, 0.5)
    assert masks["a"].tolist() == [[False, True], [True, False]]
    assert masks["b"].tolist() == [[False, True]]


def test_zeros_are_added_by_the_cubic_and_stay() -> None:
    """Zhu and Gupta, equation 1, from no zeros to the share that is wanted at the last of its steps."""
    assert cubic(0.8, 49, 100) == pytest.approx(0.8 * (1 - 0.5**3))
    model = nn.Linear(16, 16)
    made = Sparse(Supervised("mse"), smallest({"weight": model.weight.detach()}, 0.0), share=0.75, steps=100)
    shares = []
    for step in range(100):
        with torch.no_grad():
            model.weight += 0.01 * torch.randn_like(model.weight)
        made.update(model, step)
        shares.append(float((model.weight == 0).float().mean()))
    assert shares == sorted(shares)
    assert shares[-1] == shares[70] == 0.75
    assert shares[10] < 0.75


def test_the_mean_is_that_of_the_weights() -> None:
    model, passed = nn.Linear(3, 2), []
    made = Averaged(Supervised("mse"), model, every=2, steps=6)
    for step in range(6):
        with torch.no_grad():
            model.weight += step
        if step % 2:
            passed.append(model.weight.detach().clone())
        made.update(model, step)
    torch.testing.assert_close(model.weight, torch.stack(passed).mean(0))
