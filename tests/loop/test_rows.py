"""Rows of a data set as a stream that is addressed by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shendu.core import At
from shendu.data import augment
from shendu.data.dataset import Split
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.sources import rows as rows_module
from shendu.sources.rows import Rows
from shendu.tasks.classify import Classify

CLASSES = ("a", "b", "c")


def source(rows: int, index: Any = None, words: tuple[str, ...] = (), **more: Any) -> Rows:
    """Row i is a picture of the bytes of i and is labelled i % 3."""
    numbers = np.arange(rows)
    pixels = np.stack([numbers // 256**k % 256 for k in range(4)], 1).astype(np.uint8).reshape(rows, 2, 2, 1)
    pixels = np.ascontiguousarray(pixels.repeat(3, 1).repeat(3, 2))
    split = Split({"x": pixels, "y": numbers % 3}, index)
    picture = Image(height=6, width=6, channels=1, mean=(0.0,), std=(1.0,))
    task = Classify({"x": picture}, {"y": Category(names=CLASSES)})
    return Rows(split, task, augment=augment.parse(words), classes=3, **more)


def rows_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    corners = batch["x"][:, 0, ::3, ::3].reshape(-1, 4).long()
    return (corners * 256 ** torch.arange(4)).sum(1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 5))
def test_one_epoch_visits_every_row_once(rows: int, size: int, seed: int) -> None:
    stream = source(rows, shuffle=True, seed=seed)
    found = torch.cat([rows_of(stream.batch(At(i, size))) for i in range(0, 3 * rows + size, size)])
    epochs = found[: 3 * rows].view(3, rows)
    assert torch.equal(epochs.sort(1).values, torch.arange(rows).expand(3, -1))
    if rows > 50:
        assert not torch.equal(epochs[0], epochs[1])
        assert not torch.equal(epochs[0], torch.arange(rows))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("crop:2", "flip", "shift:1", "rotate:30", "cutout:2"),
        ("mixup:0.4", "crop:1"),
        ("resized-crop:0.3", "flip", "rotate:20", "jitter:0.4"),
        ("randaugment:15",),
        ("cutmix:1", "randaugment:5"),
        ("cutmix:0.7", "mixup:0.4"),
    ],
)
def test_slicing_changes_nothing(words: tuple[str, ...], shuffle: bool) -> None:
    rows = 50
    whole = source(rows, words=words, shuffle=shuffle).batch(At(0, 3 * rows))
    stream, rng = source(rows, words=words, shuffle=shuffle), np.random.default_rng(0)
    for _ in range(40):
        start, size = int(rng.integers(0, 2 * rows)), int(rng.integers(1, rows))
        batch = stream.batch(At(start, size))
        for name in ("x", "y"):
            assert torch.equal(batch[name], whole[name][start : start + size])


def test_batches_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of(source(40, shuffle=True).batch(At(0, 200)))
    monkeypatch.setattr(rows_module, "CHUNK", 16)
    stream = source(40, shuffle=True)
    assert torch.equal(rows_of(stream.batch(At(0, 200))), whole)
    for start in (0, 15, 16, 17, 31, 100):
        for size in (1, 2, 16, 17, 33, 50):
            assert torch.equal(rows_of(stream.batch(At(start, size))), whole[start : start + size])


def test_far_away_samples_are_as_cheap() -> None:
    stream = source(1000, shuffle=True)
    assert torch.equal(
        rows_of(stream.batch(At(10**12 + 7, 5))), rows_of(source(1000, shuffle=True).batch(At(10**12, 20)))[7:12]
    )


def test_picked_rows_in_their_own_order() -> None:
    index = np.array([7, 3, 90, 14])
    stream = source(100, index)
    assert stream.rows == 4
    assert rows_of(stream.batch(At(0, 6))).tolist() == [7, 3, 90, 14, 7, 3]
    assert stream.batch(At(0, 4))["y"].tolist() == [7 % 3, 0, 0, 2]
    shuffled = rows_of(source(100, index, shuffle=True).batch(At(0, 4)))
    assert sorted(shuffled.tolist()) == [3, 7, 14, 90]


def test_there_is_nothing_to_save() -> None:
    stream = source(10)
    assert stream.state_dict() == {}
    assert not stream.acts
    stream.load_state_dict({})


def test_mixup_blends_with_a_sample_of_the_stream() -> None:
    plain, mixed = source(101, shuffle=True), source(101, words=("mixup:0.5",), shuffle=True)
    got, one, other = mixed.batch(At(3, 60)), plain.batch(At(3, 60)), plain.batch(At(3 + 101 // 2 + 1, 60))
    assert torch.allclose(got["y"].sum(1), torch.ones(60))
    share = (got["x"] - other["x"]).flatten(1)[:, 0] / (one["x"] - other["x"]).flatten(1)[:, 0]
    known = share.isfinite()
    share = share[known]
    assert ((share >= -1e-4) & (share <= 1 + 1e-4)).all()
    blended = share[:, None] * torch.eye(3)[one["y"]][known] + (1 - share)[:, None] * torch.eye(3)[other["y"]][known]
    assert torch.allclose(got["y"][known], blended, atol=1e-3)


def test_seeds_are_other_streams() -> None:
    streams = [rows_of(source(200, shuffle=True, seed=s).batch(At(0, 200))) for s in (0, 1)]
    assert int((streams[0] == streams[1]).sum()) < 10


def test_only_rows_in_their_own_order_have_numbers() -> None:
    index = np.array([7, 3, 90, 14])
    assert source(100, index).batch(At(1, 3))["sample"].tolist() == [1, 2, 3]
    assert "sample" not in source(100, index, shuffle=True).batch(At(1, 3))


def test_windows_that_share_moments_say_which() -> None:
    batch = source(9, overlap=3).batch(At(2, 2))
    assert batch["group"].tolist() == [[2, 3, 4], [3, 4, 5]]
    assert "group" not in source(9).batch(At(2, 2))


def test_stored_rows_by_number_are_those_that_batches_are_prepared_from() -> None:
    stream = source(100, np.array([7, 3, 90, 14]))
    stored = stream.stored(torch.tensor([2, 0]))
    assert stored["sample"].tolist() == [2, 0]
    assert stored["x"].dtype == torch.uint8
    assert stored["y"].tolist() == [0, 1]
    assert torch.equal(stream.task.prepare(stored)["x"], stream.batch(At(0, 4))["x"][[2, 0]])
