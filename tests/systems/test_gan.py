"""Each player's gradient is its own, penalties against autograd, the figure against its definition, collapse in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shendu import data as data_module
from shendu.errors import UserError
from shendu.run import Folder
from shendu.systems.generative import gan
from shendu.systems.generative.gan import GAN, Adversarial, Config, Players, diversity, slope

FORMS = ("non-saturating", "wgan-gp")


def small(**more: Any) -> GAN:
    settings = {"height": 8, "width": 8, "classes": 3, "maps": 8, "latent": 4, "halvings": 1, **more}
    return Config(**settings).build()


def rows(n: int = 16) -> dict[str, Tensor]:
    return {"x": torch.rand(n, 1, 8, 8) * 2 - 1, "y": torch.arange(n) % 3}


def gradients(model: GAN) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


# ---- the two players


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("form", FORMS)
def test_each_players_gradient_in_one_backward_is_its_own(form: str, classes: int) -> None:
    model, batch = small(form=form, classes=classes, r1=5.0), rows()
    label = batch["y"] if classes else None
    torch.manual_seed(3)
    sum(Adversarial()(model, batch, torch.tensor(0)).sums.values()).backward()
    together = gradients(model)
    assert together.keys() == dict(model.named_parameters()).keys()

    torch.manual_seed(3)
    drawn = model.generator(torch.randn(16, 4), label)
    share = torch.rand(4, 1, 1, 1)
    judged = model.discriminator(drawn, label)
    generator = F.softplus(-judged).sum() if form == "non-saturating" else -judged.sum()
    generator.backward()
    alone = {name: g for name, g in gradients(model).items() if name.startswith("generator")}

    real, fake = batch["x"], drawn.detach()
    on_real, on_fake = model.discriminator(real, label), model.discriminator(fake, label)
    few, of_few = slice(4), None if label is None else label[:4]
    if form == "non-saturating":
        at = real[few].clone().requires_grad_()
        loss = F.softplus(-on_real).sum() + F.softplus(on_fake).sum()
    else:
        at = (fake[few] + share * (real[few] - fake[few])).requires_grad_()
        loss = (on_fake - on_real).sum()
    (by_pixels,) = torch.autograd.grad(model.discriminator(at, of_few).sum(), at, create_graph=True)
    norms = by_pixels.flatten(1).norm(dim=1)
    penalty = 5 / 2 * norms.square().sum() if form == "non-saturating" else 10 * (norms - 1).square().sum()
    (loss + penalty).backward()
    alone |= {name: g for name, g in gradients(model).items() if name.startswith("discriminator")}

    assert together.keys() == alone.keys()
    for name in together:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-5)


def test_slope_is_autograds_and_differentiates_again() -> None:
    model, x = small(), rows(5)["x"]
    label = torch.tensor([0, 1, 2, 0, 1])
    found = slope(model.discriminator, x, label)
    at = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model.discriminator(at, label).sum(), at)
    torch.testing.assert_close(found, expected.flatten(1))
    found.square().sum().backward()
    assert model.discriminator.layers[0].weight.grad.abs().sum() > 0


def test_a_wasserstein_critic_of_slope_one_is_not_penalised() -> None:
    model, batch = small(form="wgan-gp", classes=0), rows()
    for p in model.discriminator.parameters():
        p.data.zero_()
    direction = torch.randn(64)

    class Plane(torch.nn.Module):
        def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
            return x.flatten(1) @ (direction / direction.norm())

    model.discriminator = Plane()
    sums = Adversarial()(model, batch, torch.tensor(0)).sums
    assert float(sums["smoothness"]) == pytest.approx(0, abs=1e-6)


def test_the_discriminators_rate_is_ahead_and_resumes_with_its_name() -> None:
    model, how = small(), gan.Training(optimizer="adam", lr=0.01, weight_decay=0.1)
    groups = [
        {"name": name, "params": list(part.parameters()), "names": [n for n, _ in part.named_parameters()]}
        for name, part in model.named_children()
    ]
    built = Players(ahead=4.0, betas=(0.0, 0.9)).optimizer(how)(groups)
    rates = {group["name"]: group["initial_lr"] for group in built.param_groups}
    assert rates == {"generator": 0.01, "discriminator": 0.04}
    assert all(group["betas"] == (0.0, 0.9) for group in built.param_groups)


def test_a_recipe_of_wgan_has_its_papers_adam_unless_told() -> None:
    data = data_module.open("digits").split_off()
    for more, rate in (({}, 4.0), ({"ahead": "2"}, 2.0)):
        made = gan.recipe(data, form="wgan-gp", **more)
        parts = [("generator", made.model.build().generator), ("discriminator", made.model.build().discriminator)]
        groups = [
            {"name": n, "params": list(m.parameters()), "names": [k for k, _ in m.named_parameters()]} for n, m in parts
        ]
        built = {group["name"]: group for group in made.stages[0].optimizer(groups).param_groups}
        assert built["discriminator"]["lr"] == pytest.approx(rate * built["generator"]["lr"])
        assert built["generator"]["betas"] == (0.0, 0.9)
    assert made.stages[0].trains == ("generator", "discriminator")
    assert made.ema > 0
    assert made.select_by == ""


# ---- the figure


def test_the_figure_is_the_energy_score_of_its_definition() -> None:
    model, x = small().eval(), rows(6)["x"]
    with torch.no_grad():
        drawn = model.drawn(gan.PROBES).flatten(1).double()
        flat = x.flatten(1).double()
        expected = (flat[:, None] - drawn).norm(dim=2).mean(1)
        both = torch.stack([(a - drawn).norm(dim=1).sum() for a in drawn]).sum() / (512 * 511)
        torch.testing.assert_close(model(x).double(), (expected - both / 2) / 8, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.cat([model(x[:1]), model(x[1:])]), model(x), rtol=1e-4, atol=1e-5)


def test_the_figure_is_least_for_the_right_law_and_punishes_a_collapse() -> None:
    data = torch.randn(400, 1, 8, 8) * 0.3

    def score(pictures: Tensor) -> float:
        model = small(classes=0)
        model.drawn = lambda n: pictures  # type: ignore[method-assign]
        return float(model(data).mean())

    right = score(torch.randn(512, 1, 8, 8) * 0.3)
    assert right < score(torch.zeros(512, 1, 8, 8))
    assert right < score(torch.randn(512, 1, 8, 8) * 0.5)
    assert right < score(torch.randn(512, 1, 8, 8) * 0.3 + 0.3)


# ---- collapse


def test_diversity_is_one_for_real_rows_and_zero_for_a_collapse_within_classes() -> None:
    x, y = torch.randn(60, 1, 8, 8), torch.arange(60) % 3
    assert float(diversity(x, x, y, y)) == pytest.approx(1)
    assert float(diversity(x.roll(7, 0), x, None, None)) == pytest.approx(1, rel=0.1)
    one_each = torch.randn(3, 1, 8, 8)[y]
    assert float(diversity(one_each, x, y, y)) == 0
    assert float(diversity(one_each, x, None, None)) > 0.3
    all_different = torch.arange(60)
    assert float(diversity(x, x, all_different, all_different)) == pytest.approx(1)


def test_collapse_is_logged_and_said_in_words() -> None:
    model, batch = small().eval(), rows(64)
    fine = model.views(batch["x"])
    assert not any("collapsed" in title for title in fine)
    model.generator.first.weight.data[:, :4] = 0
    assert any("collapsed" in title for title in model.views(batch["x"]))
    assert "differ by 100% of" in model.remark()
    model.varied.fill_(0.12)
    objective = Adversarial()
    assert objective.warning(model) == ""
    for step in range(20):
        logs = objective(model, batch, torch.tensor(step)).logs
    assert float(logs["diversity"]) < 0.01
    assert model.remark() == objective.warning(model)
    assert "collapsed" in model.remark()


def test_a_short_training_logs_diversity_and_saves_averaged_weights(bench: Any, tmp_path: Path) -> None:
    data = data_module.open("digits").split_off()
    few = dataclasses.replace(data, splits={"train": data.splits["train"].take(torch.arange(64).numpy())})
    recipe = gan.recipe(few, steps=6, batch_size=32, maps=8, latent=8, ema=0.5)
    model, _ = bench.train(recipe, tmp_path)
    history = [line for line in Folder(tmp_path).history() if "loss" in line]
    assert all(line["diversity"] >= 0 for line in history)
    assert model.discriminator.layers[0].weight.requires_grad is False  # the averaged copy


# ---- shapes and words


def test_views_have_a_row_for_each_class() -> None:
    views = small(classes=10).eval().views(rows(20)["x"])
    assert {len(pictures) for pictures in views.values()} == {100}


@pytest.mark.parametrize(("shape", "halvings"), [((1, 28, 28), 2), ((3, 9, 7), 1), ((1, 1, 1), 1), ((3, 32, 32), 3)])
def test_pictures_of_any_size(shape: tuple[int, int, int], halvings: int) -> None:
    channels, height, width = shape
    model = small(channels=channels, height=height, width=width, halvings=halvings)
    drawn = model.generator(torch.randn(2, 4), torch.tensor([0, 2]))
    assert drawn.shape == (2, *shape)
    assert drawn.abs().max() <= 1
    assert model.discriminator(drawn, torch.tensor([0, 2])).shape == (2,)


def test_a_class_has_a_layer_of_its_own() -> None:
    model, batch = small(), rows(6)
    scores = [model.discriminator(batch["x"], torch.full((6,), k)) for k in range(3)]
    assert not torch.allclose(scores[0], scores[1])
    unconditional = model.discriminator(batch["x"], None)
    model.discriminator.score.weight.data[2] = 0
    torch.testing.assert_close(model.discriminator(batch["x"], torch.full((6,), 1)), unconditional)


def test_a_walk_ends_where_drawing_does() -> None:
    model = small()
    torch.manual_seed(1)
    (plainly,) = model.draw(2)
    torch.manual_seed(1)
    walked = list(model.draw(2, walk=3))
    assert len(walked) == 4
    assert torch.equal(walked[-1], plainly)
    assert not torch.equal(walked[0], walked[1])


def test_wrong_words_get_one_line(one_line: Any) -> None:
    data = data_module.open("digits").split_off()
    for wrong in (
        lambda: Config(r1=-1.0),
        lambda: Config(halvings=0),
        lambda: gan.recipe(data, ahead=0),
        lambda: gan.recipe(data, betas="0.5"),
        lambda: gan.recipe(data, form="lsgan"),
        lambda: next(small(classes=0).draw(1, torch.tensor([1]))),
    ):
        with pytest.raises(UserError) as caught:
            wrong()
        one_line(caught.value)
