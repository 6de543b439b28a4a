"""Windows of a text: sample i is arithmetic, and an epoch goes through the whole text."""

from __future__ import annotations

import pytest
import torch

from shendu.core import MASKED, At
from shendu.errors import UserError
from shendu.sources.windows import Windows

TOKENS = torch.arange(1000, 1103, dtype=torch.int32)


def test_slices_of_the_stream_agree() -> None:
    source = Windows(TOKENS, 8, seed=3, shuffle=True)
    whole = source.batch(At(0, 60))
    for start, size in ((0, 7), (7, 30), (37, 23)):
        part = Windows(TOKENS, 8, seed=3, shuffle=True).batch(At(start, size))
        assert all(torch.equal(part[name], whole[name][start : start + size]) for name in ("x", "y"))
    assert whole["x"].dtype == torch.int64
    assert torch.equal(whole["y"], whole["x"] + 1)
    assert source.state_dict() == {}


def test_an_epoch_goes_through_the_text_and_the_next_is_cut_elsewhere() -> None:
    source = Windows(TOKENS, 8, seed=3, shuffle=True)
    assert source.rows == 12
    starts = [source.batch(At(epoch * 12, 12))["x"][:, 0] - 1000 for epoch in range(20)]
    for begun in starts:
        read = (begun.sort().values[:, None] + torch.arange(8)).flatten()
        assert len(read.unique()) >= 88  # of 95 places where a window can begin, and what stands behind them
        assert begun.min() >= 0
        assert begun.max() + 8 < len(TOKENS)
    assert len({tuple(begun.sort().values.tolist()) for begun in starts}) > 10
    assert not torch.equal(Windows(TOKENS, 8, seed=4, shuffle=True).batch(At(0, 12))["x"], source.batch(At(0, 12))["x"])


def test_measured_windows_count_every_token_once() -> None:
    source = Windows(TOKENS, 8)
    assert source.rows == 13
    batch = source.batch(At(0, 13))
    assert batch["sample"].tolist() == list(range(13))
    assert torch.equal(source.stored(torch.tensor([12, 3]))["x"], batch["x"][[12, 3]])
    counted = batch["y"][batch["y"] != MASKED]
    assert torch.equal(counted, TOKENS[1:].long())
    assert int((batch["y"] == MASKED).sum()) == 13 * 8 - 102
    exact = Windows(TOKENS[:17], 8)
    assert (exact.rows, int((exact.batch(At(0, 2))["y"] == MASKED).sum())) == (2, 0)


def test_only_the_beginning_where_that_is_enough() -> None:
    source = Windows(TOKENS, 8, most=20)
    batch = source.batch(At(0, source.rows))
    assert torch.equal(batch["y"][batch["y"] != MASKED], TOKENS[1:21].long())


def test_short_texts_make_short_windows() -> None:
    for shuffle in (True, False):
        source = Windows(TOKENS[:3], 8, shuffle=shuffle)
        assert (source.rows, source.length) == (1, 2)
        assert torch.equal(source.batch(At(5, 4))["x"], TOKENS[:2].long().expand(4, -1))
    with pytest.raises(UserError) as caught:
        Windows(TOKENS[:1], 8)
    assert str(caught.value) == "a text of one token has nothing to predict: give at least two"
