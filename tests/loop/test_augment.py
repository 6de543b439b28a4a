"""Augmentation against brute force, one picture at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shendu.data import augment
from shendu.data.augment import Augment, parts
from shendu.data.augment.words import DRAWS
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.errors import UserError


def pictures(count: int, height: int, width: int, channels: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(1, 256, (count, height, width, channels), np.uint8))


def fixed(count: int, **draws: float) -> torch.Tensor:
    """Draws of 0.5 everywhere but where said, by their number: u3=0.25."""
    u = torch.full((count, DRAWS), 0.5)
    for name, value in draws.items():
        u[:, int(name[1:])] = value
    return u


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 4), st.booleans(), st.integers(1, 3))
def test_crop_and_flip(height: int, width: int, pad: int, flip: bool, channels: int) -> None:
    x = pictures(9, height, width, channels)
    u = augment.draws(torch.arange(9), 4)
    got = augment.geometric(x, u, Augment(crop=pad, flip=flip))
    if not pad and not flip:
        assert got is x
        return
    for i in range(9):
        padded = np.pad(x[i].numpy(), ((pad, pad), (pad, pad), (0, 0)))
        top, left = int(u[i, 0] * (2 * pad + 1)), int(u[i, 1] * (2 * pad + 1))
        wanted = padded[top : top + height, left : left + width]
        if flip and u[i, 2] < 0.5:
            wanted = padded[top : top + height, left : left + width][:, ::-1]
        assert np.array_equal(got[i].numpy(), wanted)


def test_crop_reaches_every_corner_and_flip_half() -> None:
    u = augment.draws(torch.arange(4000), 1)
    x = torch.zeros(4000, 3, 3, 1, dtype=torch.uint8)
    x[:, 1, 1] = 255
    moved = augment.geometric(x, u, Augment(crop=1))[..., 0].flatten(1).float().argmax(1)
    counts = torch.bincount(moved, minlength=9)
    assert (abs(counts - 4000 / 9) < 5 * math.sqrt(4000 / 9)).all()
    x[:] = 0
    x[:, 1, 0] = 255
    left = augment.geometric(x, u, Augment(flip=True))[:, 1, 0, 0] == 255
    assert abs(float(left.float().mean()) - 0.5) < 0.04


@pytest.mark.parametrize(("height", "width"), [(5, 5), (4, 6), (7, 3)])
def test_whole_pixel_shifts(height: int, width: int) -> None:
    x = pictures(1, height, width, 2)
    for down in (-2, -1, 0, 1, 2):
        for right in (-2, 0, 1):
            u = fixed(1, u4=(right / 2 + 1) / 2, u5=(down / 2 + 1) / 2)
            got = augment.geometric(x, u, Augment(shift=2))[0]
            wanted = torch.zeros_like(got)
            for i in range(height):
                for j in range(width):
                    if 0 <= i + down < height and 0 <= j + right < width:
                        wanted[i, j] = x[0, i + down, j + right]
            torch.testing.assert_close(got, wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize("side", [5, 6])
def test_quarter_turns(side: int) -> None:
    x = pictures(2, side, side, 3)
    for quarters, u3 in ((1, 0.75), (-1, 0.25), (2, 1.0), (0, 0.5)):
        got = augment.geometric(x, fixed(2, u3=u3), Augment(rotate=180))
        turned = [torch.rot90(x, k, (1, 2)).float() for k in (quarters, -quarters)]
        closest = min(float((got - wanted).abs().max()) for wanted in turned)
        assert closest < 0.1


def test_a_turn_of_a_wide_picture_keeps_its_scale() -> None:
    """A bar of 2x6 in a 9x15 picture, turned by 90 degrees, is a bar of 6x2."""
    x = torch.zeros(1, 9, 15, 1, dtype=torch.uint8)
    x[0, 4:6, 5:11] = 200
    turned = augment.geometric(x, fixed(1, u3=0.75), Augment(rotate=180))[0, :, :, 0]
    there = (turned > 100).nonzero()
    extent = there.amax(0) - there.amin(0) + 1
    assert abs(int(extent[0]) - 6) <= 1
    assert abs(int(extent[1]) - 2) <= 1


def test_bilinear_between_pixels() -> None:
    x = pictures(1, 1, 6)
    got = augment.geometric(x, fixed(1, u4=0.75), Augment(shift=1))[0, 0, :, 0]
    line = x[0, 0, :, 0].float()
    torch.testing.assert_close(got[:5], (line[:5] + line[1:]) / 2, atol=0.05, rtol=0)


MOVES = [
    ("crop:3",),
    ("flip",),
    ("shift:2",),
    ("rotate:40",),
    ("crop:2", "flip"),
    ("flip", "rotate:40"),
    ("crop:2", "flip", "shift:1.5", "rotate:30"),
    ("resized-crop:0.2", "flip", "rotate:20"),
]


@pytest.mark.parametrize(("height", "width"), [(24, 24), (25, 32)])
@pytest.mark.parametrize("words", MOVES, ids=":".join)
def test_one_affine_map_moves_a_picture_as_geometric_does(words: tuple[str, ...], height: int, width: int) -> None:
    x = torch.zeros(12, height, width, 3, dtype=torch.uint8)
    x[:, 8:-8, 8:-8] = pictures(12, height - 16, width - 16, 3)  # nothing of it is cropped away before it is shifted
    u, how = augment.draws(torch.arange(12), 6), augment.parse(words)
    maps = augment.affine(u, how, height, width)
    assert maps.shape == (12, 2, 3)
    moved = Image(height=height, width=width, channels=3).transform({"": x}, maps)[""]
    assert moved.shape == x.shape
    torch.testing.assert_close(moved, augment.geometric(x, u, how).float(), atol=0.05, rtol=0)
    assert not torch.equal(moved, x.float())


def test_without_a_move_the_affine_map_is_the_identity() -> None:
    maps = augment.affine(augment.draws(torch.arange(5), 6), augment.parse(("jitter:0.4", "cutout:3")), 7, 9)
    assert torch.equal(maps, torch.eye(2, 3).expand(5, 2, 3))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 10))
def test_cutout(height: int, width: int, size: int) -> None:
    x = torch.randn(6, 2, height, width)
    u = augment.draws(torch.arange(6), 2)
    got = augment.cutout(x, u, size)
    for i in range(6):
        middle = int(u[i, 6] * height), int(u[i, 7] * width)
        wanted = x[i].clone()
        top, left = middle[0] - size // 2, middle[1] - size // 2
        wanted[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
        assert torch.equal(got[i], wanted)
        assert (wanted == 0).any()


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 8.0, 100.0])
def test_mixing_shares_are_beta_distributed(alpha: float) -> None:
    u = (torch.arange(200_000) + 0.5) / 200_000
    share = parts.mixing_share(u, alpha).double()
    assert float(share.min()) >= 0
    assert float(share.max()) <= 1
    assert float(share.mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.01)
    fourth = float(((share - 0.5) ** 4).mean())
    assert fourth == pytest.approx(3 / (16 * (2 * alpha + 1) * (2 * alpha + 3)), rel=0.02)
    assert torch.equal(share, share.sort().values)


def test_mixing_shares_with_alpha_one_are_uniform() -> None:
    u = torch.linspace(0, 0.999, 999)
    torch.testing.assert_close(parts.mixing_share(u, 1.0), u, atol=1e-3, rtol=0)


def test_words() -> None:
    assert augment.parse(("crop:4", "flip", "shift:1.5", "rotate:10", "cutout:8", "mixup:0.2")) == Augment(
        crop=4, flip=True, shift=1.5, rotate=10.0, cutout=8, mixup=0.2
    )
    assert augment.parse(()) == Augment()


@pytest.mark.parametrize(
    "word", ["crop", "crop:", "crop:x", "shift:-1", "rotate:nan", "mixup:inf", "cutout:1e300", "flipp", "", "crop:4:4"]
)
def test_wrong_words_get_one_line(word: str) -> None:
    with pytest.raises(UserError) as caught:
        augment.parse((word,))
    assert "\n" not in str(caught.value)


def test_what_is_usual_can_be_parsed() -> None:
    x = np.zeros((3, 28, 28, 1), np.uint8)
    for name in ("mnist", "digits", "fashion-mnist", "cifar10", "mine"):
        data = Dataset(
            name, name, "", {"x": Image(height=28, width=28, channels=1)}, {"train": Split({"x": x})}, ("x",), ("y",)
        )
        assert augment.parse(augment.usual(data)).geometric
    for name in ("mine", "mnist"):
        numbers = Dataset(name, name, "", {"x": Number(shape=(3,))}, {"train": Split({"x": x})}, ("x",), ("y",))
        assert augment.usual(numbers) == ()


def test_pictures_whose_classes_have_sides_are_not_mirrored() -> None:
    x = np.zeros((3, 32, 32, 3), np.uint8)
    for names, usual in ((("cat", "dog"), ("crop:4", "flip")), (("turn_left", "straight"), ("shift:2",))):
        fields = {"x": Image(height=32, width=32, channels=3), "y": Category(names=names)}
        data = Dataset("mine", "mine", "", fields, {"train": Split({"x": x})}, ("x",), ("y",))
        assert augment.usual(data) == usual
