"""DeepBind against what its words say, written out with loops, and finding a hidden motif."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shendu import data as data_module
from shendu.data.dataset import Dataset, Split
from shendu.data.fields.number import Number
from shendu.data.fields.sequence import Sequence
from shendu.errors import UserError
from shendu.systems.sequence import deepbind

COLUMN = Sequence(letters=tuple("ACGT"), ambiguous=("N=ACGT",), length=12)
NET = {"length": 12, "members": 2, "filters": 3, "width": 4, "hidden": 5}


def built(**more: Any) -> deepbind.DeepBind:
    return deepbind.Config(**{**NET, **more}).build().eval()


def taken(*words: str) -> torch.Tensor:
    return COLUMN.prepare({"": torch.from_numpy(COLUMN.parse(list(words))[""])}, {})[""]


def test_a_filter_is_a_matrix_of_letters_by_places() -> None:
    net, word = built(), "ACGTTGCAACGT"
    net.requires_grad_(False)
    fits = net.fits(taken(word))[0]
    matrix, bias = net.motifs.weight, net.motifs.bias
    assert bias is not None
    for f in range(6):
        for start in range(-3, 12):
            score = float(bias[f])
            for place in range(4):
                if 0 <= start + place < 12:
                    score += float(matrix[f, "ACGT".index(word[start + place]), place])
            assert float(fits[f, start + 3]) == pytest.approx(max(0.0, score), abs=1e-5)


def test_an_unknown_base_counts_as_the_mean_of_the_four() -> None:
    net = built()
    scores = net.motifs(taken("ACGTTGNAACGT", *(f"ACGTTG{base}AACGT" for base in "ACGT")))
    torch.testing.assert_close(scores[0], scores[1:].mean(0))


def test_pooled_over_all_places_it_does_not_matter_where() -> None:
    net = built(pool=0, average=True)
    here, there = net(taken("TGACGT", "TGACGT")), net(taken("TGACGT", "TGACGT").roll(5, -1))
    torch.testing.assert_close(here, there)
    aligned = built(pool=3)
    assert not torch.allclose(aligned(taken("TGACGT")), aligned(taken("TGACGT").roll(5, -1)))


def test_eval_is_the_mean_of_the_members_probabilities() -> None:
    net, x = built(outputs=3), taken("ACGTACGTACGT", "NNNNTGACGTAA")
    each = net.members(x).softmax(-1)
    torch.testing.assert_close(net(x).softmax(-1), each.mean(0))
    torch.testing.assert_close(net.train()(x).shape, torch.Size([2, 2, 3]))


def test_a_hidden_motif_is_found_and_can_be_read(bench: Any, tmp_path: Path) -> None:
    data = data_module.open("motifs").split_off()
    recipe = deepbind.recipe(data, steps=250, pool=0, width=6, lr=0.01)
    model, _ = bench.train(recipe, tmp_path)
    figures = bench.figures(recipe, model, "test")
    assert figures["accuracy"] > 0.95
    column = data.fields["bases"]
    assert isinstance(column, Sequence)
    assert isinstance(model, deepbind.DeepBind)
    read = {"".join("ACGT"[i] for i in matrix.argmax(0)) for matrix in model.motifs.weight.detach()}
    assert any(word in "TGACGT" for filter in read for word in (filter[:4], filter[1:5], filter[2:])), read


def test_numbers_of_sequences(bench: Any, tmp_path: Path) -> None:
    """How many Gs a sequence has."""
    codes = np.random.default_rng(0).integers(1, 5, (300, 12), dtype=np.uint8)
    split = {"x": codes, "y": (codes == 3).sum(1).astype(np.float32)}
    data = Dataset(
        "gs", "gs", "0" * 64, {"x": COLUMN, "y": Number()}, {"train": Split(split)}, ("x",), ("y",)
    ).split_off()
    recipe = deepbind.recipe(data, steps=200, width=1, dropout=0.0)
    model, _ = bench.train(recipe, tmp_path)
    figures = bench.figures(recipe, model, "test")
    assert figures["r2"] > 0.8


def test_what_is_no_sequence_gets_one_line(one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        deepbind.recipe(data_module.open("digits").split_off())
    assert one_line(caught.value) == (
        "deepbind reads sequences of letters, and digits holds pictures; leave the system out to have one chosen, "
        "or see `shendu list`"
    )


@pytest.mark.parametrize("wrong", [{"members": 0}, {"filters": -2}, {"width": 0}, {"pool": -1}, {"hidden": -1}])
def test_wrong_settings_get_one_line(wrong: dict[str, Any], one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        deepbind.recipe(data_module.open("motifs").split_off(), **wrong)
    assert "write them like members=4" in one_line(caught.value)
