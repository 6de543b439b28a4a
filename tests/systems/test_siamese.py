"""Siamese and face networks: losses against loops over all pairs and triplets, figures against scikit-learn, groups, galleries."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as Picture

import shendu
from shendu import data as data_module
from shendu.core import At
from shendu.errors import UserError
from shendu.metrics import pairs
from shendu.metrics.intervals import Draws
from shendu.objectives import triplets
from shendu.recipes.pairs import Groups
from shendu.sources.classes import Classes, distorted, turned
from shendu.systems.vision import face, siamese
from shendu.verbs.enrol import enrol, fingerprint
from shendu.verbs.identify import identify
from shendu.verbs.verify import verify

Y = torch.tensor([3, 3, 3, 5, 5, 5, 9, 9, 9])
STEP = torch.zeros((), dtype=torch.int64)


@pytest.fixture
def z() -> torch.Tensor:
    return F.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(1)), dim=1)


def mean_of(objective: Any, z: torch.Tensor, y: torch.Tensor = Y) -> dict[str, float]:
    """Each term over its units, of a model that gives these embeddings."""
    batch = {"x": z, "y": y}
    loss, units = objective(torch.nn.Identity(), batch, STEP), objective.units(batch)
    assert loss.sums.keys() == units.keys()
    return {name: float(loss.sums[name]) / float(units[name]) for name in units}


# ---- losses


def test_contrastive_is_the_loop_over_pairs(z: torch.Tensor) -> None:
    same, other = [], []
    for i, j in itertools.permutations(range(9), 2):
        d = float((z[i] - z[j]).norm())
        (same if Y[i] == Y[j] else other).append(d * d / 2 if Y[i] == Y[j] else max(0.0, 0.8 - d) ** 2 / 2)
    found = mean_of(siamese.Contrastive(0.8), z)
    assert found == pytest.approx({"same": np.mean(same), "other": np.mean(other)}, abs=1e-6)


@pytest.mark.parametrize("mining", triplets.MINING)
def test_triplets_are_the_loop_over_triplets(mining: str, z: torch.Tensor) -> None:
    y = torch.tensor([3, 3, 3, 5, 5, 5, 9, 9, 7])
    d = torch.cdist(z.double(), z.double())
    losses = []
    for a in range(9):
        ours, theirs = ([i for i in range(9) if i != a and bool(y[i] == y[a]) == kind] for kind in (True, False))
        if not ours:
            continue
        if mining == "hard":
            losses.append(max(0.0, 0.2 + max(float(d[a, p]) for p in ours) - min(float(d[a, n]) for n in theirs)))
            continue
        for p in ours:
            squares = [float(d[a, n] ** 2) for n in theirs]
            beyond = [s for s in squares if s > float(d[a, p] ** 2)]
            losses.append(max(0.0, 0.2 + float(d[a, p] ** 2) - (min(beyond) if beyond else max(squares))))
    assert mean_of(triplets.Triplet(0.2, mining), z, y)["loss"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_triplets_of_one_class_weigh_nothing(z: torch.Tensor) -> None:
    z.requires_grad_()
    batch = {"x": z, "y": torch.zeros(9, dtype=torch.int64)}
    for mining in triplets.MINING:
        made = triplets.Triplet(0.2, mining)
        loss = made(torch.nn.Identity(), batch, STEP).sums["loss"]
        assert float(loss.detach()) == 0 == int(made.units(batch)["loss"])
        (gradient,) = torch.autograd.grad(loss, z, allow_unused=True)
        assert gradient is None or bool(gradient.isfinite().all())


def test_prototypical_is_the_loop_over_episodes(z: torch.Tensor) -> None:
    losses = []
    for slot in range(3):
        shown = z[slot::3]
        for i in range(9):
            if i % 3 != slot:
                losses.append(float(F.cross_entropy(-5 * (z[i] - shown).square().sum(1)[None], torch.tensor([i // 3]))))
    assert mean_of(siamese.Prototypical(5.0, 3), z)["loss"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_a_class_that_is_twice_in_a_batch_is_not_its_own_rival(z: torch.Tensor) -> None:
    y = torch.tensor([3, 3, 3, 5, 5, 5, 3, 3, 3])
    two = mean_of(siamese.Prototypical(5.0, 3), z[:6], y[:6])["loss"]
    rest = mean_of(siamese.Prototypical(5.0, 3), z[3:], y[3:])["loss"]
    assert math.isfinite(mean_of(siamese.Prototypical(5.0, 3), z, y)["loss"])
    assert mean_of(siamese.Prototypical(5.0, 3), z[:3], y[:3])["loss"] == 0
    assert min(two, rest) > 0


def test_arcface_moves_the_right_angle_alone(z: torch.Tensor) -> None:
    angle = torch.tensor([[0.5, 1.0, 2.0], [1.2, 3.1, 0.3]])
    moved = face.with_margin(angle.cos(), torch.tensor([0, 2]), 0.3)
    expected = angle.clone()
    expected[0, 0] += 0.3
    expected[1, 2] += 0.3
    torch.testing.assert_close(moved, expected.cos())
    line = face.with_margin(torch.linspace(-1, 1, 500)[:, None], torch.zeros(500, dtype=torch.int64), 0.3)[:, 0]
    assert bool((line[1:] > line[:-1]).all()), "a smaller angle is always better"


# ---- shared weights


@pytest.mark.parametrize("config", [siamese.Config(width=8), face.Config(width=4, height=32, side=32)])
def test_both_of_a_pair_pass_through_the_same_weights(config: Any) -> None:
    model = config.build().eval().requires_grad_(False)
    one, other = torch.randn(2, 1, 1, config.height, config.side)
    assert float((model(one) - model(other)).norm()) == float((model(other) - model(one)).norm()) > 0
    torch.testing.assert_close(model(torch.cat([one, other]))[1:], model(other))
    torch.testing.assert_close(model(one).norm(dim=1), torch.ones(1))
    assert len(list(model.parameters())) == len({id(p) for p in model.parameters()})


def test_a_mirrored_face_is_the_same_face() -> None:
    model = face.Config(width=4, height=32, side=32).build().eval()
    x = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(model(x), model(x.flip(3)))


# ---- figures


def test_roc_by_hand() -> None:
    similarity, same = torch.tensor([0.9, 0.8, 0.8, 0.4, 0.1]), torch.tensor([True, True, False, True, False])
    curve = pairs.roc(similarity, same)
    assert curve.thresholds.tolist()[1:] == pytest.approx([0.9, 0.8, 0.4, 0.1])
    assert curve.false.tolist() == [0, 0, 0.5, 0.5, 1]
    assert curve.true.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert pairs.equal_error(curve) == pytest.approx(0.4)  # false rises 0 to 1/2, refused falls 2/3 to 1/3
    assert pairs.threshold_at(curve, 0.01) == pytest.approx(0.85)
    assert math.isnan(pairs.equal_error(pairs.roc(similarity, torch.ones(5, dtype=torch.bool))))


def test_figures_are_scikit_learns() -> None:
    curves = pytest.importorskip("sklearn.metrics")
    g = torch.Generator().manual_seed(0)
    y = torch.arange(12).repeat_interleave(8)
    z = F.normalize(torch.randn(12, 6, generator=g)[y] + 0.8 * torch.randn(96, 6, generator=g), dim=1)
    similarity, same = pairs.compared(z, y)
    assert len(same) == 96 * 95 // 2
    false, true, _ = curves.roc_curve(same.numpy(), similarity.numpy(), drop_intermediate=False)
    at = np.flatnonzero(false >= 1 - true)[0]
    low, high = (false - 1 + true)[[at - 1, at]]
    expected = false[at - 1] + (false[at] - false[at - 1]) * -low / (high - low)
    metric, slices = pairs.Verification(0.01), torch.arange(96).split(40)
    rows = torch.cat([metric.rows({"embedding": z[some]}, {"sample": some, "y": y[some]}) for some in slices])
    found = metric.figures(rows)
    assert found["equal-error-rate"] == pytest.approx(expected, abs=1e-9)
    assert found["true-accept-rate"] == pytest.approx(true[false <= 0.01].max())
    for name, (low, high) in metric.intervals(rows, Draws(torch.arange(96))).items():
        assert low < found[name] < high, name


def test_one_shot_by_hand() -> None:
    """Two episodes of two classes; a third of one class is left out. Shown: rows 0, 1, 4, 5."""
    z = torch.tensor([[1.0, 0], [0, 1], [1, 0.2], [1, 0.1], [0, 1], [1, 0], [1, 0.1], [0.1, 1], [1, 1], [1, 1]])
    y = torch.tensor([0, 1, 0, 1, 4, 5, 5, 5, 8, 8])
    metric = pairs.OneShot(2, "one-shot-accuracy")
    rows = torch.cat(
        [metric.rows({"embedding": some}, {"y": of}) for some, of in zip(z.split(4), y.split(4), strict=True)]
    )
    assert metric.figures(rows) == {"one-shot-accuracy": 2 / 4}
    assert metric.counts(rows)[:, 1].tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]
    low, high = metric.intervals(rows, Draws(torch.arange(10)))["one-shot-accuracy"]
    assert low < 0.5 < high


# ---- the source


def source(**more: Any) -> Classes:
    data = data_module.open("digits")
    task = siamese.recipe(data.split_off(), steps=1).task
    return Classes(data.splits["train"], task, x=data.input, y=data.target, codes=10, **{"per_class": 4, **more})


def test_groups_hold_different_pictures_of_one_class() -> None:
    made = source(turns=True)
    batch = made.batch(At(0, 160))
    assert bool((batch["y"].view(40, 4) == batch["y"][::4, None]).all())
    assert sorted(batch["y"][::4].tolist()) == list(range(40)), "each class once, and each of its turns"
    pictures = batch["x"].flatten(1).view(40, 4, -1)
    assert all(len(group.unique(dim=0)) == 4 for group in pictures)


def test_any_slice_of_the_stream_is_the_same() -> None:
    made = source(turns=True, distort=1.0)
    whole, part, again = made.batch(At(32, 64)), made.batch(At(45, 7)), source(turns=True, distort=1.0).batch(At(45, 7))
    for name in ("x", "y"):
        assert torch.equal(whole[name][13:20], part[name])
        assert torch.equal(part[name], again[name])
    assert not torch.equal(source(seed=1).batch(At(0, 64))["x"], source().batch(At(0, 64))["x"])


def test_a_class_of_few_pictures_repeats_them() -> None:
    x, y = np.arange(5 * 64, dtype=np.uint8).reshape(5, 8, 8, 1), np.array([0, 0, 0, 1, 1])
    data = data_module.open((x, y))
    made = Classes(data.splits["train"], source().task, x=data.input, y=data.target, codes=2, per_class=4)
    batch = made.batch(At(0, 8))
    for group in range(2):
        rows, label = batch["x"][4 * group : 4 * group + 4].flatten(1), int(batch["y"][4 * group])
        assert len(rows.unique(dim=0)) == (3, 2)[label]


def test_turns_and_distortions() -> None:
    x = torch.arange(2 * 9, dtype=torch.uint8).view(2, 3, 3, 1)
    assert torch.equal(turned(x, torch.tensor([1, 0]))[0], x[0].rot90(1, (0, 1)))
    assert torch.equal(turned(x, torch.tensor([1, 0]))[1], x[1])
    spared = torch.cat([torch.rand(2, 7), torch.ones(2, 7)], 1)
    torch.testing.assert_close(distorted(x, spared, 1.0), x.float())


# ---- parts of different classes


def test_split_by_class() -> None:
    data = data_module.open("digits").split_off("classes:0.25")
    classes = {part: set(split.column("label").tolist()) for part, split in data.splits.items()}
    assert {part: len(found) for part, found in classes.items()} == {"train": 6, "test": 2, "validation": 2}
    assert set.union(*classes.values()) == set(range(10))
    assert sum(map(len, data.splits.values())) == 1797
    again = data_module.open("digits").split_off("classes:0.25@1")
    assert set(again.splits["test"].column("label").tolist()) != classes["test"]


def test_split_by_class_puts_parts_with_the_same_classes_together(one_line: Any) -> None:
    x, y = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 10
    data = data_module.open({"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]})
    made = data.split_off("classes:0.25")
    assert {part: len(split) for part, split in made.splits.items()} == {"train": 36, "test": 12, "validation": 12}
    assert not np.isin(made.splits["test"].column("label"), made.splits["train"].column("label")).any()
    with pytest.raises(UserError, match="too few for parts of different classes") as caught:
        data_module.open((x, y % 4)).split_off("classes:0.25")
    one_line(caught.value)


# ---- settings


@pytest.mark.parametrize("settings", [
    {"loss": "tripled"}, {"augment": ("mixup:0.2",)}, {"label_smoothing": 0.1}, {"per_class": 1}, {"batch_size": 6},
    {"mining": "softly"}, {"ways": 1}, {"scale": 0}, {"margin": -1}, {"distort": math.nan},
])  # fmt: skip
def test_settings_without_a_meaning(settings: dict[str, Any], bench: Any, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        bench.recipe("siamese", **settings)
    one_line(caught.value)


def test_groups_are_checked() -> None:
    assert Groups().per_class == 4
    with pytest.raises(UserError, match="square"):
        siamese.recipe(data_module.open((np.zeros((30, 9, 12), np.uint8), np.arange(30) % 3)), quarter_turns=True)


@pytest.mark.parametrize("loss", siamese.LOSSES)
def test_every_loss_trains(loss: str, bench: Any, tmp_path: Path) -> None:
    bench.train(bench.recipe("siamese", loss=loss, steps=2), tmp_path)


# ---- enrol, verify, identify


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("face") / "run"
    choices = {"width": 8, "dims": 32, "lr": 0.01, "augment": ()}
    return shendu.train("face", "digits", out=out, quiet=True, compile="off", steps=60, batch_size=32, **choices)


@pytest.fixture
def pictures(tmp_path: Path) -> dict[int, list[Path]]:
    data = data_module.open("digits")
    found: dict[int, list[Path]] = {}
    for digit in (0, 4):
        rows = np.flatnonzero(data.splits["train"].column("label") == digit)[:2]
        for row in rows:
            path = tmp_path / f"{digit}_{row}.png"
            Picture.fromarray(data.splits["train"].column("image")[row, :, :, 0]).save(path)
            found.setdefault(digit, []).append(path)
    return found


@pytest.mark.slow
def test_parts_are_of_different_classes_where_nothing_is_said(run: Any) -> None:
    assert run.recipe["data"]["reading"]["split"] == "classes:0.25"
    assert set(run.result["metrics"]) == {"train", "validation", "test"}
    assert set(run.result["metrics"]["test"]) == {"equal-error-rate", "true-accept-rate", "rank-1"}
    assert run.evaluate()["metrics"] == pytest.approx(run.result["metrics"]["test"])
    page = run.report.read_text(encoding="utf-8")
    assert "Accepted and refused" in page
    assert "Nearest" in page
    assert -1 < float(run.task.threshold) < 1


def test_enrol_verify_identify(run: Any, pictures: dict[int, list[Path]], tmp_path: Path) -> None:
    gallery = tmp_path / "gallery.safetensors"
    enrol(run, gallery, "nought", pictures[0][0])
    done = enrol(run, gallery, "four", pictures[4][0])
    assert done == {"gallery": str(gallery), "name": "four", "pictures": 1, "people": 2}
    rows = identify(run, gallery, pictures[0][0], pictures[4][0])
    assert [row["nearest"] for row in rows] == ["nought", "four"]
    assert [row["name"] for row in rows] == ["nought", "four"]
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-5)
    one, other = (verify(run, *pair) for pair in (pictures[0], pictures[0][::-1]))
    assert one == pytest.approx(other)
    assert one["same"] == (one["similarity"] >= one["threshold"])
    assert verify(run, pictures[0][0], pictures[0][0])["same"]


def test_galleries_that_do_not_fit_get_one_line(
    run: Any, pictures: dict[int, list[Path]], tmp_path: Path, one_line: Any
) -> None:
    gallery, broken, text = (tmp_path / f"{name}.safetensors" for name in ("good", "broken", "other"))
    enrol(run, gallery, "nought", *pictures[0])
    broken.write_bytes(gallery.read_bytes()[:-40])
    enrol(run, text, "x", pictures[0][0])
    text.write_bytes(text.read_bytes().replace(fingerprint(run).encode(), b"0" * 64))
    other = tmp_path / "changed.safetensors"
    whole = bytearray(gallery.read_bytes())
    whole[-3] ^= 1  # the exponent of the last number
    other.write_bytes(whole)
    renamed = tmp_path / "renamed.safetensors"
    renamed.write_bytes(gallery.read_bytes().replace(b"nought", b"fought"))
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(pictures[0][0].read_bytes()[:40])
    for call, expected in (
        (lambda: identify(run, tmp_path / "none.safetensors", pictures[0][0]), "there is no gallery"),
        (lambda: identify(run, broken, pictures[0][0]), "is no gallery"),
        (lambda: identify(run, other, pictures[0][0]), "is damaged"),
        (lambda: enrol(run, renamed, "y", pictures[0][0]), "is damaged"),
        (lambda: identify(run, text, pictures[0][0]), "was made with other weights"),
        (lambda: enrol(run, text, "y", pictures[0][0]), "was made with other weights"),
        (lambda: enrol(run, tmp_path / "g.json", "y", pictures[0][0]), "a gallery is a .safetensors file"),
        (lambda: enrol(run, gallery, "a\nb", pictures[0][0]), "is no name"),
        (lambda: verify(run, damaged, pictures[0][0]), "cannot read"),
        (lambda: verify(run, tmp_path / "gone.png", pictures[0][0]), "no such file"),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert expected in one_line(caught.value)


# ---- the published sets


@pytest.mark.data
def test_omniglot_has_its_characters_and_runs() -> None:
    data = data_module.open("omniglot")
    train, test = (data.splits[part].column("label") for part in ("train", "test"))
    assert np.unique(train, return_counts=True)[1].tolist() == [20] * 242
    assert np.unique(test, return_counts=True)[1].tolist() == [2] * 400
    assert data.classes[242] == "run01/class01"
    assert data.classes[-1] == "run20/class20"
    blocks = test.reshape(20, 40)
    assert (np.sort(blocks[:, :20]) == np.sort(blocks[:, 20:])).all()
    assert data.classes[blocks[0, 20]] == "run01/class08", "as class_labels.txt has it"
    assert data.fields["image"].stored == (28, 28, 1)
    parts = data.split_off("classes:0.25").splits
    assert {part: len(split) for part, split in parts.items()} == {"train": 4240, "test": 800, "validation": 600}


@pytest.mark.data
def test_people_are_in_one_part_only() -> None:
    parts = data_module.open("orl-faces").split_off(face.SPLIT).splits
    assert {part: len(split) for part, split in parts.items()} == {"train": 260, "test": 100, "validation": 40}
    people = [set(split.column("label").tolist()) for split in parts.values()]
    assert sum(map(len, people)) == len(set.union(*people)) == 40
