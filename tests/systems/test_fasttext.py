"""fastText held against its definition: a sum over a set, written out in Python; and what pairs of words are good for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import shendu.data
from shendu import chance
from shendu.data.fields.number import Number
from shendu.errors import UserError
from shendu.systems.sequence import fasttext
from shendu.systems.sequence.fasttext import PAIRS, Config

TEXTS = torch.tensor(
    [[5, 3, 5, 3, 0, 0], [2, 1, 1, 1, 7, 6], [4, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.int32
)


def by_hand(model: fasttext.FastText, row: list[int], config: Config) -> torch.Tensor:
    words = [code for code in row if code]
    places = set(words)
    for length in range(2, config.ngrams + 1):
        for start in range(len(words) - length + 1):
            number = 0
            for code in words[start : start + length]:
                number = number * config.words + code
            places.add(int(chance.mix(torch.tensor([number]), PAIRS)) % config.buckets + config.words)
    weight = model.vectors.weight
    mean = sum((weight[place] for place in sorted(places)), torch.zeros(config.width)) / math.sqrt(max(1, len(places)))
    return model.decide(mean)


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_is_the_sum_over_the_set_of_words_and_neighbours(ngrams: int) -> None:
    config = Config(words=8, outputs=3, width=5, ngrams=ngrams, buckets=64)
    model = config.build().eval()
    assert isinstance(model, fasttext.FastText)
    expected = torch.stack([by_hand(model, row, config) for row in TEXTS.tolist()])
    torch.testing.assert_close(model(TEXTS), expected)


def test_padding_changes_nothing() -> None:
    model = Config(words=8, buckets=64).build().eval()
    torch.testing.assert_close(model(TEXTS), model(torch.nn.functional.pad(TEXTS, (0, 7))))
    torch.testing.assert_close(model(TEXTS[2:3]), model(TEXTS[2:3, :1]))


def test_padding_gets_no_gradient() -> None:
    model = Config(words=8, buckets=64).build()
    model(TEXTS).sum().backward()
    gradient = model.get_parameter("vectors.weight").grad
    assert gradient is not None
    assert not gradient[0].any()
    assert gradient[1:8].any(1).tolist() == [True] * 7


def test_order_counts_for_pairs_alone() -> None:
    there, back = torch.tensor([[2, 3, 4, 5]]), torch.tensor([[5, 4, 3, 2]])
    for ngrams in (1, 2):
        model = Config(words=8, buckets=1024, ngrams=ngrams).build().eval()
        assert torch.allclose(model(there), model(back)) == (ngrams == 1)


def accuracy(bench: Any, path: Path, **choices: Any) -> float:
    data = shendu.data.open("opinions").split_off()
    recipe = fasttext.recipe(data, **{**fasttext.tiny()[1], "steps": 300, **choices})
    model, _ = bench.train(recipe, path)
    return bench.figures(recipe, model, "test")["accuracy"]


def test_pairs_tell_what_words_alone_cannot(bench: Any, tmp_path: Path) -> None:
    """`not good` and `good` share all words with `not bad` and `bad`: the sum of words alone cannot part them."""
    assert accuracy(bench, tmp_path / "pairs") > 0.95
    assert accuracy(bench, tmp_path / "words", ngrams=1) < 0.8


def test_numbers_can_be_the_target(bench: Any, tmp_path: Path) -> None:
    data = shendu.data.open("opinions")
    train = data.splits["train"]
    lengths = (train.column("text") > 0).sum(1).astype(np.float32)
    numbers = shendu.data.Split({"text": train.column("text"), "length": lengths})
    fields = {"text": data.fields["text"], "length": Number()}
    changed = shendu.data.Dataset("lengths", "", "", fields, {"train": numbers}, ("text",), ("length",))
    recipe = fasttext.recipe(changed, steps=200, batch_size=64, buckets=1024, dropout=0.0, lr=0.02)
    model, _ = bench.train(recipe, tmp_path)
    assert bench.figures(recipe, model, "train")["r2"] > 0.9


def test_places_suit_the_texts() -> None:
    data = shendu.data.open("opinions")
    words = (data.splits["train"].column("text") > 0).sum()
    assert words <= fasttext.buckets_for(data) < 2 * words
    assert fasttext.recipe(data).stages[0].steps == 500


@pytest.mark.parametrize(
    ("choices", "line"),
    [
        ({"ngrams": 9}, "ngrams=9 is out of range; write it like ngrams=2"),
        ({"width": 0}, "width=0 is out of range; write it like width=16"),
        ({"buckets": 0}, "buckets=0 is out of range; write it like buckets=262144"),
        ({"words": 7}, "words follows from the data and cannot be set; leave it out"),
        ({"augment": "flip"}, "augment=flip is not for inputs of type text; leave it out"),
        ({"augment": "mixup:0.2"}, "augment=mixup:0.2 is not for inputs of type text; leave it out"),
    ],
)
def test_wrong_settings(choices: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        fasttext.recipe(shendu.data.open("opinions"), **choices)
    assert str(caught.value) == line


def test_other_data() -> None:
    with pytest.raises(UserError) as caught:
        fasttext.recipe(shendu.data.open("digits"))
    assert (
        str(caught.value)
        == "fasttext reads texts, and digits holds pictures; leave the system out to have one chosen, or see `shendu list`"
    )
