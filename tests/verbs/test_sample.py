"""sample: the same seed draws the same picture, wrong words get one line, and a report shows what is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import shendu
from shendu.errors import UserError
from shendu.verbs import sample

TRAINED: dict[str, Any] = {"steps": 6, "batch_size": 16, "quiet": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> shendu.Run:
    return shendu.train("vae", "digits", out=tmp_path_factory.mktemp("vae") / "run", conditional=True, **TRAINED)


def test_equal_seeds_draw_equal_pictures(run: shendu.Run, tmp_path: Path) -> None:
    files = [shendu.sample(run, n=9, seed=seed, out=tmp_path / f"{i}.png") for i, seed in enumerate((1, 1, 2))]
    first, second, third = (file.read_bytes() for file in files)
    assert first == second != third


def test_the_class_that_is_asked_for(run: shendu.Run) -> None:
    assert sample.labels_of(run.task, 12, None).tolist() == [*range(10), 0, 1]  # type: ignore[union-attr]
    assert sample.labels_of(run.task, 3, "7").tolist() == [7, 7, 7]  # type: ignore[union-attr]


def test_a_grid_is_square_and_its_pixels_stay_sharp() -> None:
    pixels = np.zeros((4, 8, 8, 1), np.uint8)
    pixels[3] = 255
    picture = np.asarray(sample.grid(pixels))
    times = picture.shape[0] // 18  # two rows of 8 and the 2 between them
    assert picture.shape == (18 * times, 18 * times)
    assert set(np.unique(picture)) == {0, 255}
    assert (picture[-8 * times :, -8 * times :] == 255).all()
    assert (picture[: 8 * times, : 8 * times] == 0).all()


def test_an_animation_keeps_the_last_frame(tmp_path: Path) -> None:
    frames = [torch.full((1, 1, 2, 2), float(i)) for i in range(100)]
    kept = sample.kept(iter(frames), sample.FRAMES)
    assert len(kept) == sample.FRAMES
    assert kept[0] is frames[0]
    assert kept[-1] is frames[-1]
    assert sample.kept(iter(frames), 1) == [frames[-1]]
    pictures = [Image.new("L", (4, 4), i) for i in (0, 128, 255)]
    sample.write(tmp_path / "a.gif", pictures)
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 3


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"label": "11"}, "unknown class '11'"),
        ({"n": 0}, "cannot draw 0 pictures; write it like --n 64 (at most 10,000)"),
        ({"out": "a.bmp"}, "--out a.bmp is none of .png, .gif; write it like a.png"),
        ({"out": "nowhere/a.png"}, "--out nowhere/a.png: there is no folder nowhere; make it, or choose another file"),
        ({"step": 3}, "unknown setting 'step' of drawing"),
        ({"walk": "some"}, "walk='some'"),
    ],
)
def test_wrong_words_get_one_line(
    run: shendu.Run, how: dict[str, Any], line: str, one_line: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        shendu.sample(run, **{"out": tmp_path / "a.png", **how})
    assert one_line(caught.value).startswith(line)


def test_a_walk_is_a_row_of_a_picture_and_frames_of_an_animation(run: shendu.Run, tmp_path: Path) -> None:
    sheet = Image.open(shendu.sample(run, n=3, walk=4, out=tmp_path / "walk.png"))
    assert sheet.width / sheet.height == pytest.approx(5 * 10 / (3 * 10), rel=0.05)
    end = np.asarray(Image.open(shendu.sample(run, n=1, walk=4, out=tmp_path / "one.png")).resize((48, 8), 0))
    assert (end[:, :8] != end[:, 40:]).any()
    with Image.open(shendu.sample(run, n=2, walk=4, out=tmp_path / "walk.gif")) as animation:
        assert animation.n_frames == 5


@pytest.mark.parametrize("system", ["diffusion", "rbm"])
@pytest.mark.slow
def test_an_animation_shows_how_pictures_come_about(system: str, tmp_path: Path) -> None:
    more = {"ais_steps": 20, "ais_runs": 10} if system == "rbm" else {}
    made = shendu.train(system, "digits", out=tmp_path / "run", **more, **TRAINED)
    with Image.open(shendu.sample(made, n=4, out=tmp_path / "a.gif")) as animation:
        assert animation.n_frames > 5
        first = np.asarray(animation.convert("L"))
        animation.seek(animation.n_frames - 1)
        assert (np.asarray(animation.convert("L")) != first).any()


def test_a_class_of_a_model_that_was_told_none_gets_one_line(one_line: Any, tmp_path: Path) -> None:
    plain = shendu.train("vae", "digits", out=tmp_path / "run", **TRAINED)
    with pytest.raises(UserError) as caught:
        shendu.sample(plain, label="7", out=tmp_path / "a.png")
    assert one_line(caught.value).startswith("this model was told no classes; train one with --set conditional=true")


def test_a_machine_that_knows_no_classes_is_not_told_to_be_trained_with_them(one_line: Any, tmp_path: Path) -> None:
    machine = shendu.train("rbm", "digits", out=tmp_path / "run", ais_steps=20, ais_runs=10, **TRAINED)
    with pytest.raises(UserError) as caught:
        shendu.sample(machine, label="7", out=tmp_path / "a.png")
    assert one_line(caught.value) == "this model was told no classes; leave --class out"


def test_a_classifier_draws_nothing(tmp_path: Path) -> None:
    run = shendu.train("lenet", "digits", out=tmp_path / "run", **TRAINED)
    with pytest.raises(UserError, match="is a run of lenet, which draws no pictures"):
        shendu.sample(run, out=tmp_path / "a.png")


def test_the_report_shows_what_is_drawn(run: shendu.Run, tmp_path: Path) -> None:
    page = run.report.read_text(encoding="utf-8")
    for title in ("Drawn", "Suit the model least", "Suit it most"):
        assert f"<h2>{title}</h2>" in page
    few = {"pretrain_epochs": 1, "wake_sleep_epochs": 1}
    deep = shendu.train("dbn", "digits", out=tmp_path / "run", hidden=(16, 16), **few, **TRAINED)
    page = deep.report.read_text(encoding="utf-8")
    assert "<h2>Drawn</h2>" in page
    assert "<h2>Confusion</h2>" in page
