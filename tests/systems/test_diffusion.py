"""The process against its chain and brute force, the samplers against laws that are known, the network's promises."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from shendu.errors import UserError
from shendu.systems.generative.diffusion import Config, Denoising, Diffusion, Process, last, spread

PROCESSES = ("cosine", "linear", "flow")


def small(**more: Any) -> Diffusion:
    settings = {"height": 8, "width": 8, "classes": 3, "maps": (8, 16), "times": 50, **more}
    return Config(**settings).build().eval()


def stirred(model: Diffusion) -> Diffusion:
    """Every weight drawn anew: what begins at zero says nothing."""
    g = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=g) * 0.2
    return model


# ---- the process


@pytest.mark.parametrize("kind", PROCESSES)
def test_schedule_begins_with_the_picture_and_ends_in_noise(kind: str) -> None:
    process = Process(kind, 1000)
    alpha, sigma = torch.tensor(process.alpha), torch.tensor(process.sigma)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert alpha[-1] < 0.01
    assert sigma[-1] > 0.999
    assert (alpha.diff() < 0).all()
    assert (sigma.diff() >= 0).all()
    if kind != "flow":
        torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(1001))


def test_cosine_is_equation_17_and_linear_has_the_papers_betas() -> None:
    share = torch.arange(1001, dtype=torch.float64) / 1000
    f = torch.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2
    cosine = torch.tensor(Process("cosine", 1000).alpha, dtype=torch.float64)
    torch.testing.assert_close(cosine.square()[:999], (f / f[0])[:999])
    linear = torch.tensor(Process("linear", 1000).alpha, dtype=torch.float64).square()
    betas = 1 - linear[1:] / linear[:-1]
    torch.testing.assert_close(betas[[0, -1]], torch.tensor([1e-4, 0.02], dtype=torch.float64))
    torch.testing.assert_close(betas.diff(), torch.full((999,), (0.02 - 1e-4) / 999, dtype=torch.float64))


@pytest.mark.parametrize("kind", PROCESSES)
def test_any_time_at_once_has_the_moments_of_the_chain(kind: str) -> None:
    process = Process(kind, 40)
    mean, variance = 1.0, 0.0
    for s, t in pairwise(range(41)):
        ratio = process.alpha[t] / process.alpha[s]
        mean, variance = ratio * mean, ratio**2 * variance + process.added(t, s)
        assert mean == pytest.approx(process.alpha[t], abs=1e-9)
        assert variance == pytest.approx(process.sigma[t] ** 2, abs=1e-9)


def test_noise_that_is_added_later_has_the_chains_moments() -> None:
    process, x = Process("cosine", 20), torch.full((40_000,), 0.7)
    z = process.noised(x[:, None, None, None], torch.randn(40_000, 1, 1, 1), torch.full((40_000,), 5)).flatten()
    later = process.renoised(z, 5, 13)
    assert float(later.mean()) == pytest.approx(0.7 * process.alpha[13], abs=0.02)
    assert float(later.var()) == pytest.approx(process.sigma[13] ** 2, rel=0.03)


@pytest.mark.parametrize("predicts", ["v", "eps", "x"])
@pytest.mark.parametrize("kind", PROCESSES)
def test_answers_and_what_they_amount_to_are_inverse(kind: str, predicts: str) -> None:
    process = Process(kind, 100)
    t = torch.arange(1, 91)
    x, noise = torch.randn(2, 90, 1, 3, 3).unbind()
    z = process.noised(x, noise, t)
    found = process.solved(z, process.answer(x, noise, t, predicts), t, predicts)
    torch.testing.assert_close(found, (x, noise), rtol=1e-3, atol=1e-3)


def test_velocity_is_the_papers_and_the_flows() -> None:
    x, noise, t = torch.randn(1, 1, 1, 1), torch.randn(1, 1, 1, 1), torch.tensor([30])
    process = Process("cosine", 100)
    expected = process.alpha[30] * noise - process.sigma[30] * x
    torch.testing.assert_close(process.answer(x, noise, t, "v"), expected)
    torch.testing.assert_close(Process("flow", 100).answer(x, noise, t, "v"), noise - x)


@pytest.mark.parametrize("kind", PROCESSES)
@pytest.mark.parametrize(("t", "s"), [(30, 29), (30, 12), (7, 3)])
def test_step_is_the_posterior_by_brute_force(kind: str, t: int, s: int) -> None:
    """q(z_s | z_t, x) ∝ q(z_t | z_s) q(z_s | x), on a grid."""
    process, x, z = Process(kind, 40), 0.6, -0.4
    grid = torch.linspace(-8, 8, 400_001, dtype=torch.float64)
    ratio = process.alpha[t] / process.alpha[s]
    log = -((z - ratio * grid) ** 2) / (2 * process.added(t, s))
    log -= (grid - process.alpha[s] * x) ** 2 / (2 * process.sigma[s] ** 2)
    weight = torch.softmax(log, 0)
    mean = float((weight * grid).sum())
    variance = float((weight * (grid - mean) ** 2).sum())
    noise = torch.tensor((z - process.alpha[t] * x) / process.sigma[t], dtype=torch.float64)
    picture, zero, one = torch.tensor(x, dtype=torch.float64), torch.zeros(()), torch.ones(())
    still = process.step(picture, noise, t, s, 1.0, zero)
    assert float(still) == pytest.approx(mean, abs=1e-6)
    assert float(process.step(picture, noise, t, s, 1.0, one) - still) ** 2 == pytest.approx(variance, rel=1e-4)
    assert process.spread(t, s) == pytest.approx(variance, rel=1e-4)


def test_ddim_with_eta_1_and_every_step_is_ddpms_equation_7() -> None:
    process = Process("linear", 50)
    for t in range(2, 51):
        kept, before = process.alpha[t] ** 2, process.alpha[t - 1] ** 2
        beta = 1 - kept / before
        x, z = torch.tensor(0.3, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
        mean = math.sqrt(before) * beta / (1 - kept) * x + math.sqrt(1 - beta) * (1 - before) / (1 - kept) * z
        noise = (z - process.alpha[t] * x) / process.sigma[t]
        torch.testing.assert_close(process.step(x, noise, t, t - 1, 1.0, torch.zeros(())), mean)
        assert process.spread(t, t - 1) == pytest.approx((1 - before) / (1 - kept) * beta)


def test_ddim_without_noise_on_a_flow_is_eulers_step() -> None:
    process, x, noise = Process("flow", 100), torch.randn(5), torch.randn(5)
    z = 0.4 * x + 0.6 * noise
    torch.testing.assert_close(process.step(x, noise, 60, 45), z - 0.15 * (noise - x))


def test_the_last_step_is_the_picture() -> None:
    x = torch.randn(4)
    for kind in PROCESSES:
        for eta in (0.0, 1.0):
            torch.testing.assert_close(Process(kind, 10).step(x, torch.randn(4), 1, 0, eta), x)


# ---- sampling from a law that is known


class Exact(Diffusion):
    """The best possible answer for pixels that are independently Gaussian, of mean 0.3 and deviation 0.2."""

    def answer(self, z: Tensor, t: Tensor, label: Tensor) -> Tensor:
        alpha, sigma, _, _ = self.process.at(t)
        noise = sigma * (z - alpha * 0.3) / (alpha.square() * 0.04 + sigma.square())
        x = (0.04 * alpha * z + sigma.square() * 0.3) / (alpha.square() * 0.04 + sigma.square())
        return self.process.answer(x, noise, t, self.config.predicts)


@pytest.mark.parametrize("kind", PROCESSES)
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_an_exact_denoiser_draws_the_law(kind: Any, sampler: Any) -> None:
    model = Exact(Config(height=8, width=8, maps=(4, 4), process=kind))
    drawn = last(model.draw(200, steps=1000, sampler=sampler))
    assert float(drawn.mean()) == pytest.approx(0.3, abs=5 * 0.2 / math.sqrt(drawn.numel()) + 0.004)
    assert float(drawn.std()) == pytest.approx(0.2, rel=0.03)


def test_what_is_filled_in_follows_the_law_and_what_is_known_stays() -> None:
    model = Exact(Config(height=8, width=8, maps=(4, 4)))
    x, known = torch.rand(200, 1, 8, 8), torch.zeros(200, 1, 8, 8, dtype=torch.bool)
    known[..., :4, :] = True
    filled = last(model.inpaint(x, known, steps=60, repeats=2))
    assert torch.equal(filled[known], x[known])
    assert float(filled[~known].mean()) == pytest.approx(0.3, abs=0.02)
    assert float(filled[~known].std()) == pytest.approx(0.2, rel=0.15)


# ---- the network


def test_a_network_begins_by_saying_nothing_so_its_error_is_that_of_no_knowledge() -> None:
    model, x = small(), torch.rand(6, 1, 8, 8) * 2 - 1
    assert not model.answer(x, torch.full((6,), 9), torch.zeros(6, dtype=torch.int64)).any()
    with torch.no_grad():
        assert float(model(x).mean()) == pytest.approx(0.75, abs=0.3)


def test_a_figure_is_a_rows_own_and_the_same_again() -> None:
    model, x = stirred(small()), torch.rand(5, 1, 8, 8) * 2 - 1
    with torch.no_grad():
        whole = model(x)
        torch.testing.assert_close(torch.cat([model(x[:2]), model(x[2:])]), whole, rtol=1e-4, atol=1e-5)
        assert torch.equal(model(x), whole)
        assert len(whole.unique()) == 5


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 7), (1, 1, 1), (3, 32, 32)])
def test_answers_have_the_pictures_shape(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    model = stirred(small(channels=channels, height=height, width=width))
    z = torch.randn(2, *shape)
    assert model.answer(z, torch.tensor([1, 50]), torch.tensor([0, 3])).shape == z.shape


def test_guidance_is_the_line_through_both_answers() -> None:
    model = stirred(small())
    z, t, label = torch.randn(4, 1, 8, 8), torch.full((4,), 20), torch.tensor([0, 1, 2, 0])
    none = model.answer(z, t, model.unlabelled(t))
    told = model.answer(z, t, label)
    assert not torch.allclose(none, told)
    for guidance, expected in ((0.0, none), (1.0, told), (3.0, 3 * told - 2 * none)):
        torch.testing.assert_close(model.guided(z, t, label, guidance), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.guided(z, t, None, 3.0), none)


def test_label_dropout_leaves_out_its_share_and_a_blended_row_keeps_its_larger_class() -> None:
    model, t = small(), torch.ones(2000, dtype=torch.int64)
    y = torch.arange(2000) % 3
    for drop in (0.0, 0.1, 1.0):
        labels = Denoising(drop).labels(model, {"y": y}, t)
        assert float((labels == 3).double().mean()) == pytest.approx(drop, abs=0.03)
        assert torch.equal(labels[labels != 3], y[labels != 3])
    blended = torch.tensor([[0.2, 0.7, 0.1]]).repeat(2000, 1)
    assert (Denoising(0.0).labels(model, {"y": blended}, t) == 1).all()


def test_times_are_evenly_spread_and_each_is_equally_likely() -> None:
    seen = torch.cat([spread(10, 20, torch.device("cpu")) for _ in range(2000)])
    assert (seen.min(), seen.max()) == (1, 20)
    share = seen.bincount(minlength=21)[1:] / len(seen)
    torch.testing.assert_close(share, torch.full((20,), 0.05), rtol=0.1, atol=0)
    assert len(spread(20, 20, torch.device("cpu")).unique()) >= 19


def test_frames_end_with_pictures_and_views_are_pictures() -> None:
    model = stirred(small())
    with torch.no_grad():
        frames = list(model.draw(3, torch.tensor([0, 1, 2]), steps=5))
        assert [frame.shape for frame in frames] == [(3, 1, 8, 8)] * 5
        assert frames[-1].abs().max() <= 1
        torch.manual_seed(1)
        plainly = last(model.draw(2, steps=5))
        torch.manual_seed(1)
        walked = list(model.draw(2, steps=5, walk=3))
        assert len(walked) == 4
        assert torch.equal(walked[-1], plainly)
        assert not torch.equal(walked[0], walked[1])
        views = model.views(torch.rand(64, 1, 8, 8) * 2 - 1)
        of_ten = small(classes=10).eval().views(torch.rand(64, 1, 8, 8))
        of_none = small(classes=0).eval().views(torch.rand(64, 1, 8, 8))
    assert {len(pictures) for pictures in views.values()} == {64}
    assert len(of_ten["From one noise to another, a class per row"]) == 100
    assert len(of_none["From one noise to another"]) == 64
    assert all(pictures.isfinite().all() for pictures in views.values())


def test_wrong_words_get_one_line(one_line: Any) -> None:
    for wrong in (
        lambda: Config(process="flow", predicts="eps"),
        lambda: Config(maps=()),
        lambda: next(small().draw(1, None, steps=0)),
        lambda: next(small().draw(1, None, steps=51)),
        lambda: next(small(classes=0).draw(1, torch.tensor([1]))),
    ):
        with pytest.raises(UserError) as caught:
            wrong()
        one_line(caught.value)
