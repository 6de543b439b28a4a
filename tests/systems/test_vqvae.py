"""The codebook against brute force, the gradient through it, and a prior that sees only what came before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shendu import chance
from shendu.errors import UserError
from shendu.systems.generative import vqvae
from shendu.systems.generative.vqvae import VQVAE, Config, Quantising


def small(**more: Any) -> VQVAE:
    torch.manual_seed(5)
    net = {"shape": (1, 9, 7), "maps": 4, "size": 12, "width": 3, "prior_maps": 8, "prior_blocks": 2}
    return Config(**{**net, **more}).build()


class Given(nn.Module):
    """An encoder that says what it is told to."""

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.z = nn.Parameter(z)

    def forward(self, x: Tensor) -> Tensor:
        return self.z


def test_nearest_is_that_of_brute_force() -> None:
    model, z = small(), torch.randn(4, 3, 3, 2)
    for b, i, j in ((0, 0, 0), (1, 2, 1), (3, 1, 0)):
        apart = [float((z[b, :, i, j] - vector).square().sum()) for vector in model.codebook]
        assert int(model.nearest(z)[b, i, j]) == min(range(12), key=apart.__getitem__)
    index = model.nearest(z)
    assert torch.equal(model.vectors(index)[2, :, 1, 1], model.codebook[index[2, 1, 1]])


def test_gradient_passes_straight_through_the_rounding() -> None:
    model, x = small(), torch.rand(2, 1, 9, 7)
    given = Given(torch.randn(2, 3, 3, 2))
    model.encoder = given  # type: ignore[assignment]
    learn = Quantising(model, commitment=0.25, variance=0.5)
    loss = learn(model, {"x": x}, torch.tensor(0)).sums["loss"]
    (ours,) = torch.autograd.grad(loss, given.z)
    rounded = model.vectors(model.nearest(given.z)).requires_grad_()
    error = (model.decoder(rounded) - x).square().flatten(1).mean(1).sum() / 0.5
    (through,) = torch.autograd.grad(error, rounded)
    pulled = 0.25 * 2 * (given.z - rounded).detach() / given.z[0].numel()
    torch.testing.assert_close(ours, through + pulled)


def test_codebook_follows_the_means_of_what_is_rounded_to_it() -> None:
    model, x = small(), torch.rand(2, 1, 9, 7)
    z = torch.randn(2, 3, 3, 2)
    model.encoder = Given(z)  # type: ignore[assignment]
    learn = Quantising(model, commitment=0.25, variance=1.0)
    index = model.nearest(z)
    for step in range(99):  # before the first revival
        learn(model, {"x": x}, torch.tensor(step))
        assert torch.equal(model.nearest(z), index) or step
        learn.update(model, step)
    for code in index.unique().tolist():
        if torch.equal(model.nearest(z) == code, index == code):
            mean = z.permute(0, 2, 3, 1)[index == code].mean(0)
            began = 0.99**99 / (0.99**99 + (1 - 0.99**99) * int((index == code).sum()))
            far = (model.codebook[code] - mean).norm()
            torch.manual_seed(5)
            first = small().codebook[code]
            assert float(far) == pytest.approx(float(began * (first - mean).norm()), rel=1e-3, abs=1e-4)


def test_dead_vectors_are_put_where_rows_are() -> None:
    model, x = small(), torch.rand(2, 1, 9, 7)
    z = torch.randn(2, 3, 3, 2)
    model.encoder = Given(z)  # type: ignore[assignment]
    learn = Quantising(model, commitment=0.25, variance=1.0)
    model.counts[3], model.totals[3] = 1e-6, 1e-3
    learn(model, {"x": x}, torch.tensor(0))
    learn.update(model, vqvae.REVIVE - 2)
    assert float((z.permute(0, 2, 3, 1).reshape(-1, 3) - model.codebook[3]).norm(dim=1).min()) > 0.01
    model.counts[3], model.totals[3] = 1e-6, 1e-3
    learn(model, {"x": x}, torch.tensor(0))
    learn.update(model, vqvae.REVIVE - 1)
    assert float((z.permute(0, 2, 3, 1).reshape(-1, 3) - model.codebook[3]).norm(dim=1).min()) < 1e-3


@torch.no_grad()
def test_prior_sees_only_what_came_before() -> None:
    model = small().eval()
    index = torch.randint(12, (1, 4, 5))
    before = model.prior(index)
    changed = index.clone()
    changed[0, 2, 2] = (changed[0, 2, 2] + 1) % 12
    differs = (model.prior(changed) != before).any(1)[0].flatten()
    at = 2 * 5 + 2
    assert not differs[: at + 1].any()
    assert differs[at + 1]
    assert differs[at + 5]


@torch.no_grad()
def test_nats_are_a_probability_over_all_pages() -> None:
    model = small(shape=(1, 4, 8), size=3).eval()
    pages = torch.cartesian_prod(torch.arange(3), torch.arange(3)).view(-1, 1, 2)
    assert float((-model.nats(pages)).exp().sum()) == pytest.approx(1.0, abs=1e-5)
    told = small(shape=(1, 4, 8), size=3, conditional=True, classes=2).eval()
    assert float((-told.mixture(pages)).exp().sum()) == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_draws_are_written_row_by_row(one_line: Any) -> None:
    model = small(conditional=True, classes=2).eval()
    frames = []
    for _ in range(2):
        chance.reseed(1)
        frames.append(list(model.draw(3, torch.tensor([0, 1, 1]), temperature=0.8)))
    assert len(frames[0]) == 3
    assert torch.equal(frames[0][-1], frames[1][-1])
    assert frames[0][-1].shape == (3, 1, 9, 7)
    assert 0 <= float(frames[0][-1].min()) <= float(frames[0][-1].max()) <= 1
    for wrong in ({"label": torch.tensor([0])}, {"temperature": 0.0}):
        with pytest.raises(UserError) as caught:
            next(small().draw(1, **wrong))
        one_line(caught.value)


def test_resumes_in_the_second_stage_bit_for_bit(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = {"steps": 6, "prior_steps": 8}
    recipe = bench.recipe("vqvae", **choices)
    assert [stage.name for stage in recipe.stages] == ["codes", "prior"]
    whole, _ = bench.train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        bench.killing(patch, 11, 9)
        with pytest.raises(bench.Killed):
            bench.train(bench.recipe("vqvae", **choices), tmp_path / "parts")
    model, _ = bench.train(bench.recipe("vqvae", **choices), tmp_path / "parts")
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(model.state_dict()))


def test_the_second_stage_leaves_the_codes(bench: Any, tmp_path: Path) -> None:
    models = [
        bench.train(bench.recipe("vqvae", steps=5, prior_steps=steps), tmp_path / str(steps))[0].state_dict()
        for steps in (1, 6)
    ]
    differ = {name for name in models[0] if not torch.equal(models[0][name], models[1][name])}
    assert differ
    assert all(name.startswith("prior.") for name in differ)


def test_codes_are_those_of_single_precision() -> None:
    model = small(size=64, width=16)
    z, model.codebook[:] = torch.randn(4, 16, 3, 2), 10 + 0.02 * torch.randn(64, 16)
    wanted = model.nearest(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.nearest(z), wanted)


def test_given_weights_keep_their_codebook(bench: Any) -> None:
    recipe = bench.recipe("vqvae")
    model = recipe.model.build()
    enter, source = recipe.stages[0].objective(model).enter, recipe.stages[0].source(model)
    before = model.codebook.clone()
    enter(model, source)
    assert not torch.equal(model.codebook, before)
    model.counts[0], kept = 0.5, model.codebook.clone()
    enter(model, source)
    assert torch.equal(model.codebook, kept)
