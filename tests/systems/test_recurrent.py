"""What rnn, lstm and gru share: equations equal to torch's kernels, padding that never matters, reading on from a state."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import shendu.data
from shendu.core import At
from shendu.data.fields.number import Number
from shendu.errors import UserError
from shendu.nn.recurrent import PADDING, UNKNOWN, Reader, Recurrent, Writer, backwards, ends, pooled
from shendu.sources.bucketed import Bucketed
from shendu.systems.sequence import gru, lstm, rnn

SYSTEMS = {"rnn": rnn, "lstm": lstm, "gru": gru}
CELLS = {"rnn": rnn.RNN, "lstm": lstm.LSTM, "gru": gru.GRU}
TORCH: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
LENGTHS = torch.tensor([7, 1, 4, 6])


def of(name: str, *, layers: int = 1, both: bool = False, dtype: torch.dtype = torch.float64) -> Recurrent:
    """Random weights and biases, 5 inputs, 6 units."""
    made = Recurrent(CELLS[name], 5, 6, layers=layers, both=both).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.normal_(std=0.4)
    return made


def peer(ours: Recurrent, name: str, layers: int, both: bool) -> Any:
    """torch's module of several layers and directions with the same weights."""
    theirs = TORCH[name](5, 6, layers, batch_first=True, bidirectional=both).to(next(ours.parameters()).dtype)
    with torch.no_grad():
        for cells, suffix in ((ours.ahead, ""), (ours.back, "_reverse")):
            for i, cell in enumerate(cells):
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(theirs, f"{part}_l{i}{suffix}").copy_(cell.get_parameter(f"{part}_l0"))
    return theirs


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_outputs_and_gradients_are_those_of_torch(
    name: str, unrolled: bool, layers: int, both: bool, padded: bool
) -> None:
    """Against torch's packed rows where they are padded."""
    ours = of(name, layers=layers, both=both)
    theirs = peer(ours, name, layers, both)
    x = torch.randn(4, 7, 5, dtype=torch.float64)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    there = (torch.arange(7) < LENGTHS[:, None])[..., None] if padded else torch.ones(4, 7, 1, dtype=torch.bool)
    out = ours(mine, LENGTHS if padded else None, unrolled=unrolled)[0] * there
    if padded:
        packed = nn.utils.rnn.pack_padded_sequence(other, LENGTHS, batch_first=True, enforce_sorted=False)
        expected = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    else:
        expected = theirs(other)[0]
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=1e-12)

    weigh = torch.randn_like(expected)
    (out * weigh).sum().backward()
    (expected * weigh).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-11, rtol=1e-9)
    for cells, suffix in ((ours.ahead, ""), (ours.back, "_reverse")):
        for i, cell in enumerate(cells):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                torch.testing.assert_close(
                    cell.get_parameter(f"{part}_l0").grad,
                    theirs.get_parameter(f"{part}_l{i}{suffix}").grad,
                    atol=1e-11,
                    rtol=1e-9,
                )


@pytest.mark.parametrize("name", SYSTEMS)
def test_equations_equal_the_kernel_in_single_precision(name: str) -> None:
    ours = of(name, layers=2, both=True, dtype=torch.float32)
    x = torch.randn(4, 7, 5)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(x, LENGTHS)[0], ours(x, LENGTHS, unrolled=True)[0], atol=1e-6, rtol=1e-5, msg=name
        )


@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_reading_in_pieces_is_reading_at_once(name: str, unrolled: bool) -> None:
    model, x = of(name, layers=2), torch.randn(3, 9, 5, dtype=torch.float64)
    whole, last = model(x, unrolled=unrolled)
    state, pieces = None, []
    for piece in x.split(4, 1):
        out, state = model(piece, state=state, unrolled=unrolled)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
    torch.testing.assert_close(state, last)


# ---- parts


def test_rows_are_reversed_within_their_length() -> None:
    x = torch.arange(1, 11).view(2, 5, 1)
    assert backwards(x, torch.tensor([3, 0]))[..., 0].tolist() == [[3, 2, 1, 4, 5], [6, 7, 8, 9, 10]]
    assert backwards(x, None)[..., 0].tolist() == [[5, 4, 3, 2, 1], [10, 9, 8, 7, 6]]


def test_of_long_texts_both_ends_are_read() -> None:
    rows = [[1, 2, 3, 4, 5, 6, 7], [8, 9, 0, 0, 0, 0, 0], [1, 0, 2, 3, 4, 5, 0], [0] * 7]
    x, lengths = ends(torch.tensor(rows), 5)
    assert x.tolist() == [[1, 2, 3, 6, 7], [8, 9, 0, 0, 0], [1, 0, 2, 4, 5], [0] * 5]
    assert lengths.tolist() == [5, 2, 5, 0]
    x, lengths = ends(torch.tensor(rows[1:2]), 5)
    assert x.tolist() == [[8, 9]]
    assert ends(torch.zeros(2, 7, dtype=torch.int64), 5)[0].shape == (2, 1)
    assert ends(torch.tensor(rows), 1)[0].tolist() == [[1], [8], [1], [0]]


def test_mean_and_maximum_are_over_what_is_there() -> None:
    x = torch.randn(3, 5, 2) - 3
    lengths = torch.tensor([5, 2, 0])
    found = pooled(x, lengths)
    for i in range(2):
        there = x[i, : lengths[i]]
        torch.testing.assert_close(found[i], torch.cat([there.mean(0), there.max(0).values]))
    assert found[2].tolist() == [0] * 4


# ---- texts

TEXTS = torch.tensor([[5, 3, 5, 3, 9, 2, 4, 8], [2, 1, 1, 0, 0, 0, 0, 0], [0] * 8], dtype=torch.int32)


def reader(name: str, **more: Any) -> Reader:
    made = SYSTEMS[name].Config(**{"words": 10, "width": 4, "units": 5, "layers": 2, **more}).build()
    assert isinstance(made, Reader)
    return made.double()


@pytest.mark.parametrize("name", SYSTEMS)
def test_padding_and_neighbours_change_nothing(name: str) -> None:
    model = reader(name).eval()
    alone = torch.cat([model(row[row > 0][None] if row.any() else row[None]) for row in TEXTS])
    torch.testing.assert_close(model(TEXTS), alone, atol=1e-12, rtol=0)
    torch.testing.assert_close(model(nn.functional.pad(TEXTS, (0, 50))), alone, atol=1e-12, rtol=0)
    assert model(TEXTS).isfinite().all()


def test_padding_gets_no_gradient() -> None:
    model = reader("lstm", dropout=0.0, word_dropout=0.0)
    model(TEXTS).sum().backward()
    gradient = model.vectors.weight.grad
    assert gradient is not None
    assert gradient.any(1).nonzero()[:, 0].tolist() == [1, 2, 3, 4, 5, 8, 9]


def test_no_step_is_taken_where_all_rows_are_padding() -> None:
    model, seen = reader("lstm", keep=6), []
    model.recurrent.ahead[0].register_forward_hook(lambda module, given, out: seen.append(given[0].shape[1]))
    for rows in (TEXTS, TEXTS[1:], TEXTS[2:]):
        model(nn.functional.pad(rows, (0, 1016)))
    assert seen == [6, 3, 1]


def test_rare_words_are_the_unknown_one() -> None:
    model = reader("gru", words=5).eval()
    torch.testing.assert_close(model(TEXTS), model(TEXTS.masked_fill(TEXTS >= 5, UNKNOWN)))


def test_words_are_dropped_in_training_alone() -> None:
    model, codes = reader("gru", word_dropout=0.3), torch.full((100, 100), 3)
    codes[:, 50:] = PADDING
    dropped = model.known(codes)
    assert (dropped[:, 50:] == PADDING).all()
    assert float((dropped[:, :50] == UNKNOWN).double().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(model.eval().known(codes), codes)


def test_training_rows_come_in_buckets() -> None:
    data = shendu.data.open("opinions").split_off()
    recipe = lstm.recipe(data)
    source = recipe.stages[0].source(recipe.model.build())
    assert isinstance(source, Bucketed)
    length = data.fields["text"].stored[0]
    widths = {source.batch(At(start, 32))["x"].shape[1] for start in range(0, 256, 32)}
    assert max(widths) <= length
    assert len(widths) > 2


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.slow
def test_the_order_of_words_is_learned(name: str, bench: Any, tmp_path: Path) -> None:
    """`not good` and `good` share all words with `not bad` and `bad`."""
    data = shendu.data.open("opinions").split_off()
    recipe = SYSTEMS[name].recipe(data, steps=150)
    model, _ = bench.train(recipe, tmp_path)
    figures = bench.figures(recipe, model, "test")
    assert figures["accuracy"] > 0.95


def test_numbers_can_be_the_target(bench: Any, tmp_path: Path) -> None:
    data = shendu.data.open("opinions")
    texts = data.splits["train"].column("text")
    split = shendu.data.Split({"text": texts, "words": (texts > 0).sum(1).astype(np.float32)})
    fields = {"text": data.fields["text"], "words": Number()}
    changed = shendu.data.Dataset("lengths", "", "", fields, {"train": split}, ("text",), ("words",))
    recipe = gru.recipe(changed, steps=150, dropout=0.0, word_dropout=0.0, lr=0.01)
    model, _ = bench.train(recipe, tmp_path)
    assert bench.figures(recipe, model, "train")["r2"] > 0.9


# ---- running text


@pytest.mark.parametrize("name", SYSTEMS)
def test_going_on_from_a_state_says_what_the_whole_text_says(name: str) -> None:
    model = SYSTEMS[name].Config(reads="prose", words=9, outputs=9, width=4, units=5, layers=2).build()
    assert isinstance(model, Writer)
    model = model.double().eval()
    tokens = torch.randint(9, (2, 11))
    whole = model(tokens)
    assert whole.shape == (2, 11, 9)
    logits, state = model.step(tokens[:, :4])
    torch.testing.assert_close(logits, whole[:, 3])
    for at in range(4, 11):
        logits, state = model.step(tokens[:, at : at + 1], state)
        torch.testing.assert_close(logits, whole[:, at])


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_character_is_predicted_from_those_before_it_alone(name: str) -> None:
    model = SYSTEMS[name].Config(reads="prose", words=9, outputs=9, width=4, units=5).build().eval()
    tokens = torch.randint(9, (2, 8))
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 9
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


PROSE: dict[str, Any] = {"units": 48, "width": 16, "batch_size": 16, "context": 48, "lr": 0.02, "dropout": 0.0}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.slow
def test_counting_is_learned(name: str, bench: Any, tmp_path: Path) -> None:
    recipe = SYSTEMS[name].recipe(shendu.data.open("counting").split_off(), **PROSE, steps=100)
    assert recipe.task.can == ("step",)
    model, _ = bench.train(recipe, tmp_path)
    figures = bench.figures(recipe, model, "validation")
    untrained = bench.figures(recipe, recipe.model.build(), "validation")
    assert untrained["loss"] == pytest.approx(math.log(recipe.task.vocabulary), abs=0.3)
    assert figures["loss"] < 0.8


def test_running_text_resumes_bit_for_bit(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe() -> Any:
        return lstm.recipe(shendu.data.open("counting").split_off(), **{**PROSE, "dropout": 0.2}, steps=8)

    whole, _ = bench.train(recipe(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        bench.killing(patch, 5, 3)
        with pytest.raises(bench.Killed):
            bench.train(recipe(), tmp_path / "parts")
    parts, _ = bench.train(recipe(), tmp_path / "parts")
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(parts.state_dict()))


# ---- a person's mistakes


@pytest.mark.parametrize(
    ("choices", "line"),
    [
        ({"units": 0}, "units=0 is out of range; write it like units=64"),
        ({"words": 1}, "words=1 is out of range; write it like words=20000"),
        ({"word_dropout": 1.0}, "word_dropout=1.0 is no share below 1; write it like word_dropout=0.2"),
        ({"outputs": 7}, "outputs follows from the data and cannot be set; leave it out"),
        ({"reads": "prose"}, "reads follows from the data and cannot be set; leave it out"),
        ({"augment": "flip"}, "augment=flip is not for inputs of type text; leave it out"),
    ],
)
def test_wrong_settings(choices: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        lstm.recipe(shendu.data.open("opinions"), **choices)
    assert str(caught.value) == line


@pytest.mark.parametrize("name", SYSTEMS)
def test_other_data(name: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        SYSTEMS[name].recipe(shendu.data.open("digits"))
    assert one_line(caught.value).startswith(f"{name} reads texts and running text, and digits holds pictures")
