"""The judge's figures against closed forms and brute force; what it writes; what it says of wrong runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image as Picture
from scipy.linalg import sqrtm
from torch import Tensor

import shendu
from shendu import Run
from shendu.cli import cli
from shendu.errors import UserError
from shendu.verbs import judge as verb
from shendu.verbs.judge import (
    frechet,
    judge,
    moments,
    nearest,
    notes,
    precision_recall,
    recognised,
    square_root,
    with_nearest,
)
from shendu.verbs.sample import sample

# ---- figures


def exactly(mean: Tensor, covariance: Tensor, rows: int = 400) -> Tensor:
    """Rows whose mean and covariance are just these."""
    x = torch.randn(rows, len(mean), dtype=torch.float64)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return x @ torch.linalg.cholesky(covariance).T + mean


def random_covariance(features: int) -> Tensor:
    a = torch.randn(features, features, dtype=torch.float64)
    return a @ a.T + 0.1 * torch.eye(features, dtype=torch.float64)


def test_frechet_of_independent_gaussians_is_the_closed_form() -> None:
    mean, other = torch.randn(2, 5, dtype=torch.float64)
    a, b = torch.rand(2, 5, dtype=torch.float64) + 0.5
    found = frechet(exactly(mean, a.square().diag()), exactly(other, b.square().diag()))
    assert found == pytest.approx(float((mean - other).square().sum() + (a - b).square().sum()))


def test_frechet_is_that_of_a_general_matrix_root() -> None:
    mean, other = torch.randn(2, 6, dtype=torch.float64)
    a, b = random_covariance(6), random_covariance(6)
    root = sqrtm((a @ b).numpy())
    expected = float((mean - other).square().sum() + a.trace() + b.trace()) - 2 * np.trace(root).real
    rows, others = exactly(mean, a), exactly(other, b)
    assert frechet(rows, others) == pytest.approx(expected)
    assert frechet(others, rows) == pytest.approx(expected)


def test_frechet_of_the_same_rows_is_zero_also_where_features_are_constant() -> None:
    rows = torch.randn(50, 8)
    rows[:, 3:] = 1.0
    assert frechet(rows, rows) == pytest.approx(0, abs=1e-6)
    assert frechet(rows, rows + 2) == pytest.approx(8 * 4, rel=1e-5)


def test_moments_are_numpys_and_the_root_squares_to_the_matrix() -> None:
    rows = torch.randn(30, 4)
    mean, covariance = moments(rows)
    np.testing.assert_allclose(mean, rows.double().numpy().mean(0))
    np.testing.assert_allclose(covariance, np.cov(rows.double().numpy().T))
    root = square_root(covariance)
    torch.testing.assert_close(root @ root, covariance)
    assert moments(torch.randn(9, 1))[1].shape == (1, 1)


def test_precision_and_recall_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "CHUNK", 7)
    real, made = torch.randn(40, 2, dtype=torch.float64), torch.randn(25, 2, dtype=torch.float64) * 0.7 + 0.8

    def share(rows: Tensor, others: Tensor, k: int) -> float:
        inside = 0
        for row in rows:
            for other in others:
                reach = sorted(float((other - x).norm()) for x in others)[k]
                if float((row - other).norm()) <= reach:
                    inside += 1
                    break
        return inside / len(rows)

    for k in (1, 3):
        found = precision_recall(real, made, k)
        assert found == {"precision": share(made, real, k), "recall": share(real, made, k)}


def test_precision_and_recall_tell_apart_what_is_wrong() -> None:
    real = torch.cat([torch.randn(200, 2), torch.randn(200, 2) + 30])
    collapsed = torch.randn(400, 2)
    found = precision_recall(real, collapsed)
    assert found["precision"] > 0.9
    assert found["recall"] == pytest.approx(0.5, abs=0.05)
    assert precision_recall(real, real + 1000) == {"precision": 0.0, "recall": 0.0}
    assert precision_recall(real, real) == {"precision": 1.0, "recall": 1.0}


def test_nearest_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "CHUNK", 3)
    rows, others = (torch.randint(0, 256, (n, 20), dtype=torch.uint8) for n in (9, 50))
    others[17] = rows[4]
    distance, at = nearest(rows, others)
    every = (rows[:, None].double() - others.double()).square().mean(2).sqrt() / 255
    torch.testing.assert_close(distance.double(), every.min(1).values)
    assert torch.equal(at, every.argmin(1))
    assert (distance[4], at[4]) == (0, 17)


def test_recognised_goes_by_name() -> None:
    logits = torch.tensor([[0.0, 5, 0], [5, 0, 0], [0, 0, 5], [0, 5, 0]])
    labels = torch.tensor([0, 1, 2, 2])
    assert recognised(logits, labels, ("b", "a", "c"), ("a", "b", "c")) == 0.75
    assert recognised(logits, None, (), ("a", "b", "c")) is None
    assert recognised(logits, labels, ("x", "a", "c"), ("a", "b", "c")) is None


def test_collapse_and_copies_are_said_in_words() -> None:
    assert notes({"recall": 0.5, "copies": 0.01}) == []
    collapse, copies = notes({"recall": 0.02, "copies": 0.4})
    assert "collapsed" in collapse
    assert "40% of the pictures" in copies


def test_the_few_that_are_looked_at_are_from_all_over() -> None:
    pictures = np.arange(1000).reshape(1000, 1, 1, 1)
    looked_at = verb.few(pictures, 100).flatten()
    assert len(set(looked_at)) == 100
    assert abs(looked_at.mean() - 500) < 100
    assert verb.few(pictures, 2000) is pictures


def test_pairs_stand_side_by_side() -> None:
    made, training = np.zeros((5, 2, 2, 1), np.uint8), np.full((5, 2, 2, 1), 9, np.uint8)
    assert with_nearest(made, training)[:, 0, 0, 0].tolist() == [0, 9] * 5


# ---- the verb


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("judge")
    how: dict[str, Any] = {"quiet": True, "compile": "off"}
    drawing = shendu.train("diffusion", "digits", out=folder / "drawing", steps=2, maps=(8, 16), times=25, **how)
    return drawing, shendu.train("lenet", "digits", out=folder / "referee", steps=20, **how)


@pytest.mark.slow
def test_judge_writes_its_figures_and_a_picture(runs: tuple[Run, Run]) -> None:
    drawing, referee = runs
    result = judge(drawing, referee, n=60, steps=3)
    assert drawing.folder.read("judge.json") == result
    weights = (referee.path / "model.safetensors").read_bytes()
    assert result["judge"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert result["judge"]["accuracy"] == referee.result["metrics"]["test"]["accuracy"]
    assert result["frechet"] > 3 * result["frechet_of_training_rows"] > 0
    assert 0 <= result["recognised"] <= 1
    assert result["nearest"]["drawn"] > result["nearest"]["test"]
    assert result["notes"] == notes(result)
    assert Picture.open(drawing.path / "judge.png").size[0] > 60
    assert judge(drawing, referee, n=60, steps=3) == result


def test_without_a_test_part_nothing_is_called_a_copy(runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = verb.data_of(runs[0], None)
    alone = replace(dataset, splits={"train": dataset.splits["train"]})
    monkeypatch.setattr(verb, "data_of", lambda *words: alone)
    found = judge(*runs, n=60, steps=2)
    assert found["copies"] is None
    assert "copies" not in [line[0] for line in verb.lines(found)]
    assert notes(found) == found["notes"]


def test_features_are_the_last_layers_input(runs: tuple[Run, Run]) -> None:
    _, referee = runs
    sight = verb.Sight(referee, "cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), np.uint8)
    features, logits = sight(pictures)
    layer = referee.model.classifier[-1]
    torch.testing.assert_close(features.float() @ layer.weight.T + layer.bias, logits, rtol=1e-4, atol=1e-4)


def test_judge_on_the_command_line(runs: tuple[Run, Run]) -> None:
    drawing, referee = map(str, (runs[0].path, runs[1].path))
    words = ["judge", drawing, "--judge", referee, "--n", "60", "--set", "steps=2"]
    shown = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "for training rows" in shown.output
    assert "judge.png" in shown.output
    found = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert json.loads(found.output)["n"] == 60


@pytest.mark.slow
def test_a_classifier_that_draws_is_judged_too(runs: tuple[Run, Run], tmp_path: Path) -> None:
    """A deep belief network answers with classes, and draws by class."""
    few = {"hidden": (16, 16), "steps": 2, "batch_size": 32, "pretrain_steps": 2, "wake_sleep_steps": 2}
    drawing = shendu.train("dbn", "digits", out=tmp_path / "dbn", quiet=True, **few)
    found = judge(drawing, runs[1], n=60, steps=2)
    assert 0 <= found["recognised"] <= 1
    with pytest.raises(UserError, match="pretrain=false"):
        judge(shendu.train("dbn", "digits", out=tmp_path / "net", quiet=True, **few, pretrain=False), runs[1], n=60)


def test_wrong_runs_get_one_line(runs: tuple[Run, Run], one_line: Any, tmp_path: Path) -> None:
    drawing, referee = runs
    for wrong in (
        lambda: judge(referee, referee),
        lambda: judge(drawing, drawing),
        lambda: judge(drawing, referee, n=3),
        lambda: judge(drawing, tmp_path),
        lambda: judge(drawing, referee, n=60, stepps=3),
    ):
        with pytest.raises(UserError) as caught:
            wrong()
        one_line(caught.value)


# ---- filling in


def test_inpaint_keeps_what_is_there(runs: tuple[Run, Run], tmp_path: Path) -> None:
    drawing, _ = runs
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[..., :3] = np.arange(8)[None, :, None] * 30
    pixels[4:, :, 3] = 0
    Picture.fromarray(pixels).save(tmp_path / "half.png")
    out = sample(drawing, n=4, inpaint=tmp_path / "half.png", out=tmp_path / "out.png", steps=3, repeats=2)
    sheet = np.asarray(Picture.open(out))
    times = len(sheet) // 18
    small = sheet[times // 2 :: times, times // 2 :: times][:18, :18]
    for top, left in ((0, 0), (0, 10), (10, 0), (10, 10)):
        assert np.abs(small[top : top + 4, left : left + 8].astype(int) - np.arange(8) * 30).max() <= 1
    assert len({small[top + 4 : top + 8, left : left + 8].tobytes() for top in (0, 10) for left in (0, 10)}) == 4


def test_inpaint_says_what_is_wrong(runs: tuple[Run, Run], one_line: Any, tmp_path: Path) -> None:
    drawing, referee = runs
    Picture.new("RGBA", (8, 8), (9, 9, 9, 255)).save(tmp_path / "whole.png")
    for run, file in ((drawing, "whole.png"), (drawing, "nowhere.png"), (referee, "whole.png")):
        with pytest.raises(UserError) as caught:
            sample(run, inpaint=tmp_path / file, out=tmp_path / "out.png")
        one_line(caught.value)
