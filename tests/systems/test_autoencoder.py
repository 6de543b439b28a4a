"""The autoencoder against closed forms and brute force; anomalies in a person's own rows and pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

import shendu
from shendu import tasks
from shendu.core import At
from shendu.errors import UserError
from shendu.systems.generative import autoencoder
from shendu.systems.generative.autoencoder import Config, Reconstruction, jacobian
from shendu.tasks.score import Score


def test_contractive_penalty_is_the_squared_norm_of_the_jacobian() -> None:
    model = Config(shape=(6,), kind="contractive", hidden=(4,), activation="sigmoid", tied=True).build()
    x = torch.randn(3, 6)
    each = torch.func.vmap(torch.func.jacrev(lambda row: model.up(row[None])[0]))(x)
    ours = jacobian(model.layers[0], model.up(x), "sigmoid")
    torch.testing.assert_close(ours, each.square().sum((1, 2)))


@pytest.mark.parametrize("name", autoencoder.SLOPES)
def test_slopes_are_the_activations_derivatives(name: str) -> None:
    from shendu.nn.activations import activation

    a = torch.randn(50, requires_grad=True)
    h = activation(name)(a)
    (slope,) = torch.autograd.grad(h.sum(), a)
    torch.testing.assert_close(autoencoder.SLOPES[name](h), slope)


def test_tied_weights_are_one_matrix() -> None:
    model = Config(shape=(6,), hidden=(4, 2), tied=True, activation="identity").build()
    assert sum(p.numel() for p in model.parameters()) == (6 * 4 + 4 + 6) + (4 * 2 + 2 + 4)
    code, layer = torch.randn(5, 4), model.layers[0]
    torch.testing.assert_close(layer.decode(code), code @ layer.up.weight + layer.bias)


def test_sparse_codes_keep_the_largest_units() -> None:
    model = Config(shape=(9,), kind="sparse", hidden=(20,), active=3).build()
    x = torch.randn(7, 9)
    code, full = model.encode(x), model.layers[0].up(x)
    assert ((code != 0).sum(1) == 3).all()
    torch.testing.assert_close(code.sort(1).values[:, -3:].sum(1), full.topk(3, 1).values.sum(1))


def test_stages_are_named_and_train_their_own_layer(bench: Any, tmp_path: Path) -> None:
    recipe = bench.recipe("autoencoder", hidden=(16, 8, 2))
    assert [s.name for s in recipe.stages] == ["pretrain-1", "pretrain-2", "pretrain-3", "fine-tune"]
    assert [s.name for s in bench.recipe("autoencoder", pretrain=False).stages] == ["fine-tune"]
    second = dataclasses.replace(recipe, stages=recipe.stages[1:2])
    model, _ = bench.train(second, tmp_path)
    torch.manual_seed(0)
    from shendu import chance
    from shendu.loop import INIT

    chance.reseed(recipe.seed, INIT)
    before = recipe.model.build().state_dict()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("layers.1.") for name in moved)


@pytest.mark.parametrize("kind", ["plain", "denoising", "sparse", "contractive", "convolutional"])
def test_every_kind_learns(kind: str, bench: Any, tmp_path: Path) -> None:
    more = {"maps": (8,), "hidden": (16,)} if kind == "convolutional" else {"hidden": (64,)}
    recipe = bench.recipe("autoencoder", kind=kind, steps=80, lr=1e-2, pretrain=False, **more)
    x = recipe.splits["test"].batch(At(0, 100))["x"]
    model, _ = bench.train(recipe, tmp_path)
    with torch.no_grad():
        blank = (x - x.mean(0)).square().flatten(1).sum(1).mean()
        assert model.eval()(x)[:, 0].mean() < 0.8 * blank


def test_typical_errors_are_those_of_training_rows() -> None:
    model = Config(shape=(5,), hidden=(2,)).build()
    learn = Reconstruction(model, corruption=0.0, contraction=0.0)
    one, other = torch.randn(8, 5), torch.randn(4, 5)
    for x in (one, other):
        learn(model, {"x": x}, torch.tensor(0))
    learn.update(model, 0)
    x = torch.cat([one, other])
    expected = (model.decode(model.up(x)) - x).square().mean(0)
    torch.testing.assert_close(model.typical, expected.detach())
    assert float(model(x)[:, 1].detach().mean()) == pytest.approx(1.0, abs=0.02)


def test_missing_numbers_do_not_count() -> None:
    model = Config(shape=(4,), numeric=(0, 2), coded=((1, 3), (3, 4)), hidden=(3,)).build()
    row = torch.tensor([[0.5, 2.0, float("nan"), 1.0]])
    values, counts = model.values(row)
    assert values.tolist() == [[0.5, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]]
    assert counts is not None
    assert counts.tolist() == [[True, False] + [True] * 7]
    with torch.no_grad():
        error = model(row)[0, 0]
        model.layers[0].down.bias[1] += 100.0
        torch.testing.assert_close(model(row)[0, 0], error)


def test_a_value_that_most_rows_lack_is_judged_by_those_that_have_it() -> None:
    model = Config(shape=(3,), numeric=(0, 1, 2), hidden=(2,)).build()
    learn = Reconstruction(model, corruption=0.0, contraction=0.0)
    x = torch.randn(4000, 3)
    x[torch.rand(4000) < 0.9, 1] = torch.nan
    x[:, 2] = torch.nan
    learn(model, {"x": x}, torch.tensor(0))
    learn.update(model, 0)
    known = ~x[:, 1].isnan()
    with torch.no_grad():
        errors = (model.decode(model.up(x.nan_to_num(0.0))) - x)[known, 1].square()
        score = model(x)[:, 1]
    assert float(model.typical[1]) == pytest.approx(float(errors.mean()), rel=1e-4)
    assert float(model.typical[2]) == 1, "no row says anything of it"
    assert float(score[known].mean()) == pytest.approx(float(score[~known].mean()), rel=0.2)


def test_views_show_rows_codes_and_their_plane() -> None:
    model = Config(shape=(1, 8, 6), hidden=(12, 2)).build().eval()
    with torch.no_grad():
        shown = model.views(torch.rand(10, 1, 8, 6))
    shapes = [tuple(pictures.shape) for pictures in shown.values()]
    assert shapes == [(10, 1, 8, 12), (1, 1, 96, 72), (64, 1, 8, 6), (256, 1, 8, 6)]


# ---- anomalies -------------------------------------------------------------------------------------------------------


def along_a_line(rows: int) -> np.ndarray:
    """Rows of six numbers that one number decides."""
    rng = np.random.default_rng(rows)
    t = rng.uniform(-1, 1, (rows, 1))
    return np.hstack([t, t**2, np.sin(2 * t), -t, 2 * t, t**3]) + 0.02 * rng.standard_normal((rows, 6))


def test_anomalies_in_a_table(tmp_path: Path) -> None:
    rows = along_a_line(900)
    lines = [f"{i},{','.join(f'{v:.4f}' for v in row)},fine" for i, row in enumerate(rows)]
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(["id,a,b,c,d,e,f,label", *lines]))
    run = shendu.train(data=str(table), task="anomaly", out=tmp_path / "run", steps=400, quiet=True)
    assert run.recipe["system"] == "autoencoder"
    assert any("label is a label and is left out" in note for note in run.recipe["data"]["notes"])
    fresh, odd = along_a_line(200), along_a_line(60)
    odd[:, 2] = odd[::-1, 2] + 1.5
    names = "abcdef"
    found = [run.predict([dict(zip(names, map(float, row), strict=True)) for row in part]) for part in (fresh, odd)]
    shares = [np.mean([row["anomaly"] for row in part]) for part in found]
    assert 0 < shares[0] < 0.12
    assert shares[1] > 0.9
    assert found[0][0].keys() == {"input", "reconstruction-error", "anomaly-score", "anomaly"}
    kept = tasks.from_file(json.loads((run.path / "task.json").read_text()))
    assert float(kept.threshold) == float(run.task.threshold) > 0  # type: ignore[arg-type]
    assert "Suit the model least" in run.report.read_text()
    assert shendu.evaluate(run)["metrics"].keys() == {"reconstruction-error", "anomaly-score"}


def test_threshold_leaves_the_share_of_alarms() -> None:
    task = Score(
        {"x": shendu.open_data("digits").fields["image"]}, {}, scores={"score": False}, judged="score", alarms=0.1
    )
    assert task.decode({"score": torch.ones(2)}, {}) == [{"score": 1.0}] * 2
    ordinary = {"score": torch.arange(1000.0)}
    task.calibrate(({"score": some}, {}) for some in ordinary["score"].split(300))
    found = task.anomalies(ordinary)
    assert found is not None
    assert int(found.sum()) == 99
    assert task.decode({"score": torch.tensor([5.0, 2000.0])}, {}) == [
        {"score": 5.0, "anomaly": False}, {"score": 2000.0, "anomaly": True}
    ]  # fmt: skip


def test_anomalies_in_a_folder_of_pictures_without_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(40):
        Picture.fromarray(rng.integers(0, 60, (12, 10), np.uint8)).save(folder / f"{i:02}.png")
    run = shendu.train(
        data=str(folder), task="anomaly", out=tmp_path / "run", steps=60, pretrain=False, hidden=(16, 4), quiet=True
    )
    Picture.fromarray(np.full((12, 10), 250, np.uint8)).save(tmp_path / "white.png")
    assert run.predict(str(tmp_path / "white.png"))[0]["anomaly"] is True


def test_anomalies_in_an_array_without_labels(tmp_path: Path) -> None:
    run = shendu.train(data=along_a_line(100).astype(np.float32), task="anomaly", out=tmp_path, steps=5, quiet=True)
    assert "anomaly" in run.predict(along_a_line(3).astype(np.float32))[0]


def test_what_has_no_anomalies_is_said_in_one_line(tmp_path: Path, one_line: Any) -> None:
    rows = along_a_line(60).astype(np.float32)
    with pytest.raises(UserError) as caught:
        shendu.train("mlp", rows, task="anomaly", out=tmp_path / "a", quiet=True)
    assert one_line(caught.value) == "mlp learns a target, and --task anomaly has none; leave mlp out"
    for part in ("pos", "neg"):
        (tmp_path / "texts" / part).mkdir(parents=True)
        (tmp_path / "texts" / part / "1.txt").write_text("some words")
    with pytest.raises(UserError) as caught:
        shendu.train(data=str(tmp_path / "texts"), task="anomaly", out=tmp_path / "b", quiet=True)
    assert "anomalies are found in pictures and tables" in one_line(caught.value)
    for wrong in ({"kind": "contractive", "activation": "relu"}, {"tied": True, "kind": "convolutional"}, {"maps": (4,)},
                  {"alarms": 0}, {"active": -1}, {"corruption": -1}):  # fmt: skip
        with pytest.raises(UserError) as caught:
            autoencoder.recipe(shendu.open_data("digits").split_off(), **wrong)
        one_line(caught.value)
