"""What subtracts nearly equal numbers does so in float32, also where matrix products are in half precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu.nn import energy
from shendu.objectives import triplets
from shendu.objectives.triplets import Triplet
from shendu.systems.generative import boltzmann, hopfield
from shendu.systems.sequence import deepbind
from shendu.systems.tables import tabm
from shendu.systems.vision import face, lenet, siamese

STEP = torch.zeros((), dtype=torch.int64)
Y = torch.tensor([0, 0, 1, 1, 2, 2])


def embeddings(apart: float = 1e-3) -> Tensor:
    """Three classes of two rows that are nearly equal, of length 1."""
    g = torch.Generator().manual_seed(1)
    classes = torch.randn(3, 16, generator=g).repeat_interleave(2, 0)
    return F.normalize(classes + apart * torch.randn(6, 16, generator=g), dim=1)


def both(value: Callable[[Tensor], Tensor], x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(what is computed, summed; its gradient by x), under autocast and without."""
    found = []
    for half in (True, False):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            got = value(given).sum()
        found.append((got.detach(), torch.autograd.grad(got, given)[0]))
    return found


ARC = face.ArcFace(torch.arange(3), 16, 16.0, 0.3)
with torch.no_grad():
    ARC.people.copy_(F.normalize(embeddings()[::2], dim=1))
PAIRED = {
    "contrastive": siamese.Contrastive(0.5),
    "prototypical": siamese.Prototypical(16.0, 2),
    "hard": Triplet(0.2, "hard"),
    "semi-hard": Triplet(0.2, "semi-hard"),
    "arcface": ARC,
}


def loss_of(name: str) -> Callable[[Tensor], Tensor]:
    def loss(z: Tensor) -> Tensor:
        return torch.stack(list(PAIRED[name](nn.Identity(), {"x": z, "y": Y}, STEP).sums.values())).sum()

    return loss


@pytest.mark.parametrize("name", PAIRED)
def test_a_loss_of_near_pairs_is_that_of_float32(name: str) -> None:
    (half, slope), (exact, right) = both(loss_of(name), embeddings())
    assert torch.equal(half, exact)
    assert torch.equal(slope, right)
    rounded = embeddings().bfloat16().requires_grad_()  # a network's own answers are rounded: that much, and no more
    with torch.autocast("cpu", torch.bfloat16):
        (slope,) = torch.autograd.grad(loss_of(name)(rounded), rounded)
    given = rounded.detach().float().requires_grad_()
    (right,) = torch.autograd.grad(loss_of(name)(given), given)
    torch.testing.assert_close(slope, right.bfloat16())


@pytest.mark.parametrize("rows", [embeddings(0.0)[:2], torch.full((2, 16), 0.25)])
def test_equal_rows_pull_nowhere(rows: Tensor) -> None:
    losses = {
        "one class": lambda z: siamese.Contrastive(0.5)(nn.Identity(), {"x": z, "y": Y[:2]}, STEP).sums["same"],
        "two classes": lambda z: siamese.Contrastive(0.5)(nn.Identity(), {"x": z, "y": Y[1:3]}, STEP).sums["other"],
        "distances": triplets.distances,
    }
    for name, loss in losses.items():
        for _, slope in both(loss, rows):
            assert not slope.any(), name


def test_distances_keep_the_digits_of_what_is_near() -> None:
    z = embeddings(1e-5)
    right = torch.cdist(z.double(), z.double(), compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(triplets.distances(z).double(), right, rtol=1e-3, atol=0)
    assert triplets.distances(z.double()).dtype == torch.float64


def test_contrastive_divergence_of_near_states_is_that_of_float32() -> None:
    g = torch.Generator().manual_seed(2)
    machine, v = energy.RBM(30, 20), torch.rand(50, 30, generator=g)
    on, near = machine.up(v).sigmoid().detach(), v + 1e-3 * torch.randn(v.shape, generator=g)
    found = []
    for half in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            gap = energy.contrast(machine, (v, on), (near, on), 0.7)
        found.append(torch.autograd.grad(gap, list(machine.parameters())))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_figures_of_near_states_are_those_of_float32() -> None:
    torch.manual_seed(3)
    signs = torch.randint(0, 2, (6, 20)).float() * 2 - 1
    machine = boltzmann.Config(shape=(18,), hidden=2).build()
    stored = hopfield.Config(shape=(20,), patterns=6)
    for asked, x in (
        (machine.energy, (signs + 1) / 2),
        (lambda x: recalled(hopfield.Hopfield(stored), signs, x), signs),
        (lambda x: recalled(hopfield.Modern(stored), signs, x), signs),
    ):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            half = asked(x)
        with torch.no_grad():
            assert half.dtype == torch.float32
            assert torch.equal(half, asked(x))


def recalled(memory: hopfield.Memory, patterns: Tensor, x: Tensor) -> Tensor:
    memory.store(patterns, torch.arange(6))
    return memory(x)


@torch.no_grad()
def test_distances_to_codes_are_float32() -> None:
    network = lenet.LeNet1998(lenet.Config())
    network.features = nn.Identity()
    f6 = network.codes + 1e-2
    resized, lenet.resized = lenet.resized, lambda x: x
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = network(f6)
    finally:
        lenet.resized = resized
    torch.testing.assert_close(found.diagonal(), torch.full((10,), -84e-4), rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_mean_of_members_is_float32() -> None:
    each = torch.linspace(0, 12, 8 * 4 * 3).sin().view(8, 4, 3) * 9
    right = (each.bfloat16().double().softmax(-1).mean(0)).log()
    for network in (tabm.TabM, deepbind.DeepBind):
        model = network.__new__(network)
        nn.Module.__init__(model)
        model.task, model.config, model.training = "classes", deepbind.Config(), False
        model.members = lambda x: each.bfloat16()
        torch.testing.assert_close(model(each).double(), right, rtol=1e-5, atol=1e-5)
