"""Augmentations of photos against brute force and Pillow, one picture at a time, and what they must keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from PIL import ImageEnhance, ImageFilter, ImageOps

from shendu import chance
from shendu.core import At
from shendu.data import augment
from shendu.data.augment import Augment, colours, parts
from shendu.data.augment.colours import OPERATIONS
from shendu.data.augment.words import DRAWS
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.audio import Audio
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.errors import UserError
from shendu.recipes import Training, check_augment
from shendu.sources.rows import Rows
from shendu.tasks.classify import Classify

SIDES = st.integers(3, 12)


def pictures(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8))


def planes(count: int, height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return pictures(count, height, width, channels, seed).permute(0, 3, 1, 2).float()


# ---- resized crop


def boxes(u: torch.Tensor, least: float, height: int, width: int) -> torch.Tensor:
    """Which part of the picture is seen: top, left, height, width in pixels, [B, 4], measured on pictures of coordinates."""
    scale = 8
    down = torch.arange(height * scale, dtype=torch.float32).view(1, -1, 1, 1).expand(len(u), -1, width * scale, 1)
    across = torch.arange(width * scale, dtype=torch.float32).view(1, 1, -1, 1).expand(len(u), height * scale, -1, 1)
    got = augment.geometric(torch.cat([down, across], 3), u, Augment(resized_crop=least))
    inner = got[:, scale:-scale, scale:-scale]  # away from the border, where zeros come in
    rows, columns = inner[:, :, 0, 0], inner[:, 0, :, 1]
    step = (rows[:, -1] - rows[:, 0]) / (rows.shape[1] - 1), (columns[:, -1] - columns[:, 0]) / (columns.shape[1] - 1)
    first = [line[:, 0] + 0.5 - (scale + 0.5) * size for line, size in zip((rows, columns), step, strict=True)]
    return torch.stack([first[0] / scale, first[1] / scale, step[0] * height, step[1] * width], 1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_resized_crops_have_the_areas_and_aspects_that_are_promised(height: int, width: int) -> None:
    u = augment.draws(torch.arange(600), 3)
    top, left, high, wide = boxes(u, 0.08, height, width).unbind(1)
    share, aspect = high * wide / (height * width), wide / high
    assert 0.08 < float(share.min()) < 0.1
    assert 0.97 < float(share.max()) < 1.001
    torch.testing.assert_close(share, 0.08 + 0.92 * u[:, 4], atol=2e-3, rtol=0)
    assert float(aspect.min()) > 0.749
    assert float(aspect.max()) < 1.67
    assert (aspect[share < 0.4] < 1.335).all()
    assert (top > -0.05).all()
    assert (left > -0.05).all()
    assert (top + high < height + 0.05).all()
    assert (left + wide < width + 0.05).all()
    torch.testing.assert_close(top, u[:, 0] * (height - high), atol=0.02, rtol=0)
    torch.testing.assert_close(left, u[:, 1] * (width - wide), atol=0.02, rtol=0)
    small = share < 0.4
    assert abs(float(aspect[small].log().mean())) < 0.03
    assert float(aspect[small].log().var()) == pytest.approx((2 * math.log(4 / 3)) ** 2 / 12, rel=0.15)


@settings(max_examples=20, deadline=None)
@given(SIDES, SIDES, st.integers(1, 4))
def test_a_crop_of_the_whole_changes_nothing_and_flips(height: int, width: int, channels: int) -> None:
    x, u = pictures(5, height, width, channels), augment.draws(torch.arange(5), 1)
    whole = augment.geometric(x, u, Augment(resized_crop=1.0))
    torch.testing.assert_close(whole, x.float(), atol=0.02, rtol=0)
    flipped = augment.geometric(x, u, Augment(resized_crop=1.0, flip=True))
    for got, picture, draw in zip(flipped, x.float(), u[:, 2], strict=True):
        torch.testing.assert_close(got, picture.flip(1) if draw < 0.5 else picture, atol=0.02, rtol=0)


def test_crop_turn_and_mirror_are_one_map() -> None:
    """A picture whose values are a plane stays one: mirrored first, then turned, then enlarged, against each corner by hand."""
    angle, u = 0.3, torch.full((1, DRAWS), 0.5)
    u[:, 2], u[:, 3], u[:, 4] = 0.1, 0.75, 0.0
    grid = torch.stack(torch.meshgrid(torch.arange(17.0), torch.arange(17.0), indexing="ij"), -1)[None]
    got = augment.geometric(grid, u, Augment(resized_crop=0.25, flip=True, rotate=math.degrees(2 * angle)))[0]
    for i, j in ((8, 8), (8, 12), (4, 8), (3, 13)):
        x, y = -(j - 8), i - 8
        right, down = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
        torch.testing.assert_close(got[i, j], torch.tensor([8 + down / 2, 8 + right / 2]), atol=0.01, rtol=0)


# ---- colours


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES, st.integers(1, 4), st.floats(0, 1))
def test_jitter(height: int, width: int, channels: int, most: float) -> None:
    x, samples = pictures(6, height, width, channels), torch.arange(6)
    got = augment.photographic(x, Augment(jitter=most), samples, 7) if most else x.float()
    assert got.shape == x.shape
    assert float(got.min()) >= 0
    assert float(got.max()) <= 255
    mild = 120 + x.permute(0, 3, 1, 2).float() / 16
    torch.testing.assert_close(colours.jitter(mild, torch.full((6, 4), 0.5), most), mild, atol=1e-2, rtol=0)


def test_contrast_saturation_and_hue_keep_the_brightness() -> None:
    x, ones, u = 100 + planes(40, 6, 5) / 10, torch.ones(40), torch.rand(40, 3)
    for contrast, saturation, hue in (
        (2 * u[:, 0], ones, 0 * ones),
        (ones, 2 * u[:, 1], 0 * ones),
        (ones, ones, u[:, 2]),
    ):
        got = colours.recoloured(x, ones, contrast, saturation, hue)
        assert not torch.allclose(got, x, atol=0.5)
        means = [colours.brightness(t).mean((1, 2, 3)) for t in (got, x)]
        torch.testing.assert_close(*means, atol=0.01, rtol=0)
    shown = colours.recoloured(x, ones, ones, ones, u[:, 2])
    torch.testing.assert_close(colours.brightness(shown), colours.brightness(x), atol=0.01, rtol=0)
    again = colours.recoloured(shown, ones, ones, ones, -u[:, 2])
    torch.testing.assert_close(again, x, atol=0.01, rtol=0)
    gray = colours.recoloured(x, ones, ones, 0 * ones, u[:, 2])
    torch.testing.assert_close(gray, colours.brightness(x).expand(-1, 3, -1, -1), atol=0.01, rtol=0)


def test_half_a_turn_of_the_hue_is_the_opposite_colour() -> None:
    x, one = 100 + planes(5, 4, 4) / 10, torch.ones(5)
    got = colours.recoloured(x, one, one, one, one / 2)
    torch.testing.assert_close(got, 2 * colours.brightness(x) - x, atol=0.01, rtol=0)


# ---- RandAugment


def pillow(name: str, picture: Picture.Image, strength: float) -> Picture.Image:
    """An operation as Pillow does it."""
    factor = 1 + colours.FACTOR * strength
    return {
        "identity": lambda: picture,
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(factor),
        "saturation": lambda: ImageEnhance.Color(picture).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(factor),
        "posterize": lambda: ImageOps.posterize(picture, 8 - round(colours.BITS * abs(strength))),
        "solarize": lambda: ImageOps.solarize(picture, round(256 * (1 - abs(strength)))),
        "autocontrast": lambda: ImageOps.autocontrast(picture),
        "equalize": lambda: ImageOps.equalize(picture),
    }[name]()


def operated(name: str, x: torch.Tensor, strength: float) -> torch.Tensor:
    return colours.operated(x, torch.full((len(x),), OPERATIONS.index(name)), torch.full((len(x),), strength))


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 0.75, -0.25, -0.75])
@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in colours.MOVES])
def test_operations_are_pillows(name: str, strength: float) -> None:
    rng = np.random.default_rng(3)
    smooth = np.asarray(
        [
            Picture.fromarray(p).filter(ImageFilter.GaussianBlur(2))
            for p in rng.integers(0, 256, (3, 40, 30, 3), np.uint8)
        ]
    )
    x = torch.from_numpy(smooth // 2 + 60)
    got = operated(name, x.permute(0, 3, 1, 2).float(), strength).permute(0, 2, 3, 1)
    for mine, given_ in zip(got, x, strict=True):
        wanted = np.asarray(pillow(name, Picture.fromarray(given_.numpy()), strength), np.float32)
        slack = {"identity": 0, "posterize": 0, "solarize": 0, "equalize": 0}.get(name, 1.6)
        assert np.abs(mine.numpy() - wanted).max() <= slack


@pytest.mark.parametrize("name", colours.MOVES)
def test_moves_at_quarter_strength(name: str) -> None:
    """A picture of coordinates shows which place each pixel was taken from."""
    height, width, strength = 13, 21, 0.25
    place = torch.stack(torch.meshgrid(torch.arange(13.0), torch.arange(21.0), indexing="ij"))[None]
    got = operated(name, place, strength)[0]
    for i, j in ((6, 10), (6, 13), (9, 10), (4, 8)):
        y, x = i - 6.0, j - 10.0
        turn = colours.TURN * strength
        wanted = {
            "shear-x": (y, x + colours.SHEAR * strength * y),
            "shear-y": (y + colours.SHEAR * strength * x, x),
            "move-x": (y, x + colours.MOVE * strength * width),
            "move-y": (y + colours.MOVE * strength * height, x),
            "rotate": (math.sin(turn) * x + math.cos(turn) * y, math.cos(turn) * x - math.sin(turn) * y),
        }[name]
        torch.testing.assert_close(got[:, i, j], torch.tensor(wanted) + torch.tensor([6.0, 10.0]), atol=0.01, rtol=0)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("autocontrast", "equalize")])
def test_operations_of_no_strength_change_nothing(name: str) -> None:
    x = planes(4, 9, 7)
    torch.testing.assert_close(operated(name, x, 0.0), x, atol=0.02, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.floats(0.1, 30))
def test_randaugment_keeps_the_range_of_any_picture(height: int, width: int, channels: int, strength: float) -> None:
    x = pictures(30, height, width, channels, seed=height)
    got = augment.photographic(x, Augment(randaugment=strength), torch.arange(30), 5)
    assert got.shape == x.shape
    assert got.isfinite().all()
    assert float(got.min()) >= -1e-3
    assert float(got.max()) <= 255 + 1e-3


def test_randaugment_draws_every_operation_equally_often_and_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watch(x: torch.Tensor, chosen: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        seen.append((chosen, strength))
        return x

    monkeypatch.setattr(colours, "operated", watch)
    augment.photographic(pictures(4200, 1, 1, 1), Augment(randaugment=9), torch.arange(4200), 1)
    assert len(seen) == 2
    for chosen, strength in seen:
        counts = torch.bincount(chosen, minlength=len(OPERATIONS))
        assert len(counts) == len(OPERATIONS) == 14
        assert (abs(counts - 300) < 5 * math.sqrt(300)).all()
        assert torch.equal(strength.abs(), torch.full((4200,), 0.3))
        assert abs(float((strength > 0).float().mean()) - 0.5) < 0.04
    pairs = seen[0][0] * 14 + seen[1][0]
    assert len(pairs.unique()) == 196


# ---- cutmix


def source(words: tuple[str, ...], rows: int = 61) -> Rows:
    """Row i is a picture of the value i, and of class i."""
    x = np.arange(rows, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(10, 1).repeat(8, 2)
    task = Classify({"x": Image(height=10, width=8, channels=1)}, {"y": Category(names=tuple(map(str, range(rows))))})
    split = Split({"x": x, "y": np.arange(rows)})
    return Rows(split, task, augment=augment.parse(words), classes=rows, shuffle=True)


def test_cutmix_pastes_a_box_and_mixes_classes_by_its_area() -> None:
    plain, mixed = source(()), source(("cutmix:1",))
    one, other, got = plain.batch(At(5, 40)), plain.batch(At(5 + 61 // 2 + 1, 40)), mixed.batch(At(5, 40))
    assert torch.allclose(got["y"].sum(1), torch.ones(40))
    areas = []
    for i in range(40):
        pasted = got["x"][i, 0] == other["x"][i, 0]
        assert torch.equal(got["x"][i, 0][~pasted], one["x"][i, 0][~pasted])
        rows, columns = pasted.any(1).nonzero(), pasted.any(0).nonzero()
        area = len(rows) * len(columns)
        assert int(pasted.sum()) == area
        if area:
            assert int(rows[-1] - rows[0]) + 1 == len(rows)
            assert int(columns[-1] - columns[0]) + 1 == len(columns)
        wanted = torch.zeros(61)
        wanted[one["y"][i]] += 1 - area / 80
        wanted[other["y"][i]] += area / 80
        torch.testing.assert_close(got["y"][i], wanted)
        areas.append(area / 80)
    assert min(areas) < 0.1
    assert max(areas) > 0.6


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 8), st.integers(0, 2**40))
def test_boxes_against_loops(height: int, width: int, alpha: float, first: int) -> None:
    samples = torch.arange(first, first + 8)
    got = augment.kept(samples, Augment(cutmix=alpha), torch.Size((8, 3, height, width)), 9)
    u = chance.uniform(samples, 4, 9, 4)
    share = parts.mixing_share(u[:, 0], alpha)
    for i in range(8):
        side = float((1 - share[i]).sqrt())
        wanted = torch.ones(height, width)
        high, wide = int(np.float32(side) * height), int(np.float32(side) * width)
        top, left = int(u[i, 1] * height) - high // 2, int(u[i, 2] * width) - wide // 2
        wanted[max(top, 0) : max(top + high, 0), max(left, 0) : max(left + wide, 0)] = 0
        assert torch.equal(got[i, 0], wanted)


def test_with_mixup_each_sample_has_one_of_the_two() -> None:
    shape = torch.Size((2000, 1, 6, 6))
    keep = augment.kept(torch.arange(2000), Augment(cutmix=1, mixup=1), shape, 2).flatten(1)
    boxed = ((keep == 0) | (keep == 1)).all(1)
    assert 0.4 < float(boxed.float().mean()) < 0.6
    blended = keep[~boxed]
    assert torch.equal(blended.amin(1), blended.amax(1))


# ---- what holds for all


@pytest.mark.parametrize("words", ["resized-crop:0.2", "jitter:0.5", "randaugment:20", "cutmix:1"])
def test_draws_depend_on_the_sample_alone_and_on_the_seed(words: str) -> None:
    x = pictures(20, 9, 9)
    split = Split({"x": x.numpy(), "y": np.arange(20) % 2})
    task = Classify({"x": Image(height=9, width=9, channels=3)}, {"y": Category(names=("a", "b"))})

    def batch(seed: int, start: int, size: int) -> torch.Tensor:
        stream = Rows(split, task, augment=augment.parse((words,)), classes=2, seed=seed)
        return stream.batch(At(start, size))["x"]

    whole = batch(1, 0, 60)
    assert torch.equal(whole, batch(1, 0, 60))
    assert torch.equal(whole[7:8], batch(1, 7, 1))
    assert not torch.equal(whole, batch(2, 0, 60))
    assert not torch.equal(whole[:20], whole[20:40])


def test_words() -> None:
    words = ("resized-crop:0.08", "flip", "jitter:0.4", "randaugment:9", "cutmix:1")
    assert augment.parse(words) == Augment(resized_crop=0.08, flip=True, jitter=0.4, randaugment=9.0, cutmix=1.0)
    assert {*Image.augments, *Audio.augments} == set(augment.KINDS)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("resized-crop",), "augmentation 'resized-crop' lacks its number; write it like resized-crop:0.08"),
        (("jitter:x",), "augmentation 'jitter:x' lacks its number; write it like jitter:0.4"),
        (("randaugment",), "augmentation 'randaugment' lacks its number; write it like randaugment:9"),
        (("cutmix:",), "augmentation 'cutmix:' lacks its number; write it like cutmix:1"),
        (("randaugment:31",), "augmentation 'randaugment:31' must be at most 30; write it like randaugment:9"),
        (("jitter:1.5",), "augmentation 'jitter:1.5' must be at most 1; write it like jitter:0.4"),
        (("resized-crop:8",), "augmentation 'resized-crop:8' must be above 0 and at most 1; write it like resized-crop:0.08"),
        (("resized-crop:0",), "augmentation 'resized-crop:0' must be above 0 and at most 1; write it like resized-crop:0.08"),
        (("resized-crop:0.1", "crop:4"), "resized-crop moves the picture already; leave crop out"),
        (("resized-crop:0.1", "shift:4"), "resized-crop moves the picture already; leave shift out"),
        (("resize-crop:0.1",), "unknown augmentation 'resize-crop'; did you mean 'resized-crop'?"),
    ],
)  # fmt: skip
def test_wrong_words(words: tuple[str, ...], line: str) -> None:
    with pytest.raises(UserError) as caught:
        augment.parse(words)
    assert str(caught.value) == line


def test_cutmix_is_for_pictures_with_classes() -> None:
    with pytest.raises(UserError, match="augment=cutmix:1 is not for inputs of type number; use mixup"):
        augment.of(("cutmix:1",), Number(shape=(2,)))
    x: Any = pictures(3, 4, 4).numpy()
    fields = {"x": Image(height=4, width=4, channels=3), "y": Number()}
    data = Dataset("mine", "mine", "", fields, {"train": Split({"x": x})}, ("x",), ("y",))
    with pytest.raises(UserError, match="cutmix blends classes, and mine has numbers as its target; leave it out"):
        check_augment(Training(augment=("cutmix:1",)), data)
