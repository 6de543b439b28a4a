"""The variational autoencoder against sums over all codes and Monte Carlo."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from shendu import chance
from shendu import data as data_module
from shendu.core import At
from shendu.errors import UserError
from shendu.systems.generative import vae
from shendu.systems.generative.vae import VAE, Config


def small(**more: Any) -> VAE:
    torch.manual_seed(3)
    return Config(**{"shape": (1, 3, 2), "hidden": (8,), "latent": 1, **more}).build().eval()


def black(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 1, 3, 2, generator=torch.Generator().manual_seed(1)).round()


def summed(model: VAE, x: torch.Tensor) -> torch.Tensor:
    """log p(x) [B] of a model with codes of one number: the integral over them, by the trapezoid rule."""
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    prior = -0.5 * (z.square() + math.log(2 * math.pi))
    logits = model.decode(z[:, None].float()).double().flatten(1)
    each = x.double().flatten(1) @ logits.T - F.softplus(logits).sum(1)
    return (each + prior).logsumexp(1) + math.log(float(z[1] - z[0]))


@torch.no_grad()
def test_bound_is_below_the_likelihood_and_rises_with_the_draws() -> None:
    model, x = small(), black()
    for p in model.parameters():
        p.mul_(2.5)  # random weights say little about a row otherwise
    right = summed(model, x)
    means = []
    for k in (1, 5, 50):
        noise = torch.randn(len(x) * 400, k, 1)
        means.append(model.bound(x.repeat_interleave(400, 0), noise)[0].view(len(x), 400).mean(1))
    assert (means[0] < means[1]).all()
    assert (means[1] < means[2]).all()
    assert (means[2] < right + 1e-3).all()
    torch.testing.assert_close(vae.likelihood(model, x, 20_000).double(), right, atol=0.02, rtol=0)


@torch.no_grad()
def test_divergence_is_its_monte_carlo_mean() -> None:
    model, x = small(latent=4), black(1)
    mean, log_variance = model.encode(x)
    noise = torch.randn(400_000, 4)
    z = mean + (log_variance / 2).exp() * noise
    drawn = 0.5 * (z.square() - noise.square() - log_variance).sum(1)
    exact = model.bound(x, torch.randn(1, 1, 4))[1]
    torch.testing.assert_close(drawn.mean()[None], exact, atol=4 * float(drawn.std()) / 400_000**0.5, rtol=0)


@torch.no_grad()
def test_one_draws_bound_agrees_with_its_weight_on_average() -> None:
    model, x = small(latent=3), black(1)
    noise = torch.randn(200_000, 1, 3)
    rows = x.expand(200_000, -1, -1, -1)
    exact, drawn = model.bound(rows, noise)[0], model.weights(rows, noise)[:, 0]
    torch.testing.assert_close(exact.mean(), drawn.mean(), atol=5 * float(drawn.std()) / 200_000**0.5, rtol=0)


@torch.no_grad()
def test_likelihood_does_not_depend_on_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small(latent=2), black()
    whole = vae.likelihood(model, x, 3000)
    monkeypatch.setattr(vae, "PIECE", 500)
    torch.testing.assert_close(vae.likelihood(model, x, 3000), whole, atol=0.05, rtol=0)


@torch.no_grad()
def test_figures_are_the_rows_own() -> None:
    model, x = small(), torch.rand(9, 1, 3, 2)
    torch.testing.assert_close(model(x), torch.cat([model(row) for row in x.split(1)]))
    assert torch.equal(model(x), model(x))
    twice = model(torch.cat([x[:1], x[:1]]))
    torch.testing.assert_close(twice[0], twice[1])


def test_pixels_are_black_as_often_as_they_say() -> None:
    x = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0]).repeat(40_001, 1)
    drawn = chance.bernoulli(x)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), x[0], atol=0.01, rtol=0)
    assert not drawn[:, 0].any()
    assert drawn[:, 4].all()
    own = vae.own_ink(torch.full((4000, 1, 2, 2), 0.3), torch.arange(4000))
    assert float(own.mean()) == pytest.approx(0.3, abs=0.02)


@torch.no_grad()
@pytest.mark.parametrize("form", ["mlp", "conv"])
@pytest.mark.parametrize("conditional", [False, True])
def test_draws_and_views(form: str, conditional: bool) -> None:
    model = small(shape=(3, 9, 7), form=form, maps=(4, 6), latent=2, conditional=conditional, classes=5)
    label = torch.tensor([4, 0, 1]) if conditional else None
    frames = list(model.draw(3, label, walk=2))
    assert [tuple(frame.shape) for frame in frames] == [(3, 3, 9, 7)] * 3
    assert all(0 <= float(frame.min()) <= float(frame.max()) <= 1 for frame in frames)
    shown = model.views(torch.rand(4, 3, 9, 7))
    assert ("What the codes stand for" in shown) == (not conditional)
    assert all(pictures.shape[1] == 3 for pictures in shown.values())


@torch.no_grad()
def test_a_conditional_models_bound_is_of_the_mixture() -> None:
    model, x = small(conditional=True, classes=3, latent=2), torch.rand(4, 1, 3, 2)
    each = model.bounds(x)
    assert each.shape == (4, 3)
    torch.testing.assert_close(model(x), -each.double().exp().mean(1).log().float())


def test_what_it_was_not_told_is_said_in_one_line(one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        next(small().draw(2, torch.tensor([0, 1])))
    assert one_line(caught.value).startswith("this model was told no classes")
    data = data_module.open("digits").split_off()
    for wrong in ({"samples": 0}, {"latent": 0}, {"hidden": ()}, {"form": "rnn"}):
        with pytest.raises(UserError) as caught:
            vae.recipe(data, **wrong)
        one_line(caught.value)


def test_draws_of_a_step_are_the_engines(bench: Any) -> None:
    recipe = bench.recipe("vae", samples=3)
    model = recipe.model.build()
    learn = recipe.stages[0].objective(model)
    batch = recipe.splits["train"].batch(At(0, 10))
    sums = []
    for seed in (1, 1, 2):
        chance.reseed(seed)
        sums.append(float(learn(model, batch, torch.tensor(0)).sums["loss"].detach()))
    assert sums[0] == sums[1] != sums[2]


@torch.no_grad()
def test_a_likelihood_is_not_rounded_to_half_precision() -> None:
    model, x = small(shape=(1, 28, 28), latent=4), (torch.rand(8, 1, 28, 28) < 0.5).float()
    model.mean.uniform_(0.001, 0.999)
    z = torch.randn(8, 5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.decode(z.flatten(0, 1)).double().view(8, 5, -1)
        found = model.given(x, z)
    exact = (x.double().view(8, 1, -1) * logits - torch.nn.functional.softplus(logits)).sum(2)
    torch.testing.assert_close(found.double(), exact, atol=2e-3, rtol=0)


def test_given_weights_keep_their_mean(bench: Any) -> None:
    recipe = bench.recipe("vae")
    model = recipe.model.build()
    enter = recipe.stages[0].objective(model).enter
    enter(model, recipe.stages[0].source(model))
    assert (model.mean != 0.5).any()
    kept = model.mean.fill_(0.3).clone()
    enter(model, recipe.stages[0].source(model))
    assert torch.equal(model.mean, kept)
