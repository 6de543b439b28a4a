"""Batches of similar length: each epoch still visits every row once, batches hold little padding, and slices agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shendu.core import At
from shendu.data.dataset import Split
from shendu.data.fields.category import Category
from shendu.data.fields.text import Text
from shendu.sources.bucketed import Bucketed, lengths_of, order, sort_key
from shendu.tasks.classify import Classify


def lengths(rows: int, longest: int = 400) -> torch.Tensor:
    """As texts have them: many short ones, some long."""
    drawn = torch.rand(rows, generator=torch.Generator().manual_seed(rows))
    return (drawn**3 * (longest - 1)).long() + 1


def source(rows: int, longest: int = 40, **more: Any) -> Bucketed:
    """Row i is labelled i and holds the code i + 2 at each of its places."""
    codes = np.zeros((rows, longest + 3), np.int32)
    for row, length in zip(codes, lengths(rows, longest).tolist(), strict=True):
        row[:length] = 1
    codes *= np.arange(rows, dtype=np.int32)[:, None] + 2
    split = Split({"text": codes, "label": np.arange(rows)}, more.pop("index", None))
    task = Classify({"x": Text(names=("a",) * rows, length=longest + 3)}, {"y": Category(names=("a",))})
    return Bucketed(split, task, columns={"x": "text", "y": "label"}, padded=("x",), **more)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 70), st.integers(0, 3), st.integers(0, 5), st.integers(1, 4))
def test_each_epoch_is_a_permutation_of_its_own(rows: int, size: int, seed: int, epoch: int, pool: int) -> None:
    found = order(lengths(rows), seed, epoch, size, pool)
    assert torch.equal(found.sort().values, torch.arange(rows))
    assert torch.equal(found, order(lengths(rows), seed, epoch, size, pool))
    if rows > 50:
        assert not torch.equal(found, order(lengths(rows), seed, epoch + 1, size, pool))
        assert not torch.equal(found, order(lengths(rows), seed + 1, epoch, size, pool))


@pytest.mark.parametrize("size", [32, 50])
def test_whole_batches_of_every_epoch_are_of_similar_length(size: int) -> None:
    """Batches lie at the multiples of the batch size in the stream; all but the ones that two epochs share are sorted."""
    rows, epochs, padding, words = 1003, 4, 0, 0
    known = lengths(rows)
    stream = torch.cat([order(known, 0, epoch, size) for epoch in range(epochs)])
    for start in range(0, epochs * rows - size, size):
        if start // rows == (start + size - 1) // rows:
            batch = known[stream[start : start + size]]
            assert torch.equal(batch, batch.sort().values)
            padding += int((batch.max() - batch).sum())
            words += int(batch.sum())
    assert padding < 0.1 * words
    apart = [known[stream[start : start + size]].max() for start in range(0, rows - size, size)]
    assert apart != sorted(apart), "the batches themselves come in no order of length"


def test_padding_of_texts_in_pools_is_a_few_in_a_hundred() -> None:
    rows, size = 6000, 50
    known = lengths(rows)
    batches = known[order(known, 0, 0, size)].view(-1, size)
    drawn = known.view(-1, size)
    waste, unsorted = (float((b.amax(1, keepdim=True) - b).sum() / b.sum()) for b in (batches, drawn))
    assert waste < 0.05 < 1 < unsorted


def test_rows_meet_others_in_the_next_epoch() -> None:
    known, size = torch.ones(400, dtype=torch.int64), 20
    groups = [{frozenset(b.tolist()) for b in order(known, 0, epoch, size).view(-1, size)} for epoch in range(2)]
    assert not groups[0] & groups[1]


def test_slices_agree_with_the_whole_and_are_cut_to_their_longest() -> None:
    stream = source(101, batch_size=8)
    for start, size in ((0, 8), (96, 8), (100, 1), (203, 30), (5, 250)):
        whole = stream.batch(At(start, size))
        x, y = whole["x"], whole["y"]
        assert torch.equal(lengths_of(x), lengths(101, 40)[y])
        assert x.shape == (size, int(lengths_of(x).max()))
        assert torch.equal(x.amax(1), y.int() + 2)
        for at in range(0, size, 5):
            part = stream.batch(At(start + at, min(5, size - at)))
            assert torch.equal(part["y"], y[at : at + 5])
            assert torch.equal(part["x"], x[at : at + 5, : part["x"].shape[1]])


def test_picked_rows() -> None:
    index = np.array([7, 3, 90, 14, 2])
    stream = source(100, index=index, batch_size=2)
    assert stream.rows == 5
    assert sorted(stream.batch(At(0, 5))["y"].tolist()) == sorted(index.tolist())
    assert sorted(stream.batch(At(10**9, 5))["y"].tolist()) == sorted(index.tolist())


def test_a_row_without_words_has_one_place() -> None:
    split = Split({"text": np.zeros((3, 6), np.int32), "label": np.zeros(3, np.int64)})
    task = Classify({"x": Text(names=("a",), length=6)}, {"y": Category(names=("a",))})
    stream = Bucketed(split, task, columns={"x": "text", "y": "label"}, padded=("x",), batch_size=2)
    assert stream.batch(At(0, 3))["x"].shape == (3, 1)


def test_pairs_are_sorted_by_both_lengths() -> None:
    first, second = torch.tensor([3, 1, 3, 2, 1]), torch.tensor([2, 9, 1, 5, 4])
    found = sort_key([first, second]).argsort()
    assert [(int(first[i]), int(second[i])) for i in found] == [(1, 4), (1, 9), (2, 5), (3, 1), (3, 2)]


def test_length_is_up_to_the_last_word() -> None:
    assert lengths_of(torch.tensor([[4, 0, 5, 0], [0, 0, 0, 0], [1, 1, 1, 1]])).tolist() == [3, 0, 4]


def test_there_is_nothing_to_save() -> None:
    stream = source(10, batch_size=2)
    assert stream.state_dict() == {}
    assert not stream.acts
    stream.load_state_dict({})
