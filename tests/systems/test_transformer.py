"""The Transformer held against torch's own layers with the same weights, its formulas, and what must not matter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shendu.errors import UserError
from shendu.objectives.translation import Translation
from shendu.systems.sequence import transformer
from shendu.systems.sequence.transformer import Attention, Config, DecoderLayer, EncoderLayer, Transformer
from shendu.tasks.translate import BEGIN, END

SMALL = Config(codes=40, width=16, heads=4, layers=2, inner=24, dropout=0.0)
X = torch.tensor([[5, 9, 7, 30, END], [6, 8, END, 0, 0]])
Y = torch.tensor([[BEGIN, 11, 12, 13], [BEGIN, 14, 15, 0]])


def net(config: Config = SMALL) -> Transformer:
    torch.manual_seed(1)
    return config.build().eval()


def into(theirs: nn.MultiheadAttention, ours: Attention) -> None:
    """Our weights in torch's attention, whose biases are 0."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.project.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.zero_()


def fill(theirs: Any, ours: EncoderLayer | DecoderLayer) -> None:
    theirs.linear1.load_state_dict(ours.feed[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed[2].state_dict())
    for i, norm in enumerate(ours.norms, 1):
        nn.init.normal_(norm.weight)
        getattr(theirs, f"norm{i}").load_state_dict(norm.state_dict())


def test_attention_is_torchs() -> None:
    ours, theirs = Attention(16, 4).eval(), nn.MultiheadAttention(16, 4, batch_first=True).eval()
    into(theirs, ours)
    x, memory = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    padded = X == 0
    expected, looked = theirs(x, memory, memory, key_padding_mask=padded, average_attn_weights=False)
    mask = ~padded[:, None, None]
    torch.testing.assert_close(ours.attend(x, *ours.remember(memory), mask), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        transformer.weights(ours.ask(x), ours.remember(memory)[0], mask), looked, rtol=0, atol=1e-6
    )


def test_encoder_layer_is_torchs() -> None:
    ours = EncoderLayer(SMALL).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True).train()
    into(theirs.self_attn, ours.attention)
    fill(theirs, ours)
    x, padded = torch.randn(2, 5, 16), X == 0
    expected = theirs(x, src_key_padding_mask=padded)
    torch.testing.assert_close(ours(x, ~padded[:, None, None])[~padded], expected[~padded], rtol=0, atol=1e-5)


def test_decoder_layer_is_torchs() -> None:
    ours = DecoderLayer(SMALL).eval()
    theirs = nn.TransformerDecoderLayer(16, 4, 24, dropout=0.0, batch_first=True).eval()
    into(theirs.self_attn, ours.before)
    into(theirs.multihead_attn, ours.source)
    fill(theirs, ours)
    y, memory, padded = torch.randn(2, 4, 16), torch.randn(2, 5, 16), X == 0
    later = nn.Transformer.generate_square_subsequent_mask(4).isinf()
    expected = theirs(y, memory, tgt_mask=later, memory_key_padding_mask=padded)
    torch.testing.assert_close(ours(y, memory, ~later, ~padded[:, None, None]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("first", [0, 7])
def test_positions_are_the_papers_sinusoids(first: int) -> None:
    found = transformer.positions(first, 5, torch.zeros(1, 8))
    expected = [
        [(math.sin if i % 2 == 0 else math.cos)(p / 10_000 ** (2 * (i // 2) / 8)) for i in range(8)]
        for p in range(first, first + 5)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


def test_embeddings_are_scaled_and_tied_three_ways() -> None:
    model = net()
    assert [name for name, p in model.named_parameters() if p.shape == (40, 16)] == ["embedding.weight"]
    expected = 4 * model.embedding(X) + transformer.positions(0, 5, torch.zeros(1, 16))
    torch.testing.assert_close(model.embed(X), expected)


def test_a_later_word_changes_no_earlier_logits() -> None:
    model = net()
    changed = Y.clone()
    changed[:, 2] = 20
    one, other = model(X, Y), model(X, changed)
    assert torch.equal(one[:, :2], other[:, :2])
    assert (one[:, 2:] != other[:, 2:]).any(-1).all()


def test_padding_never_matters() -> None:
    model = net()
    whole = model(X, Y)
    torch.testing.assert_close(model(X[1:, :3], Y[1:, :3]), whole[1:, :3], rtol=0, atol=1e-5)
    wide = nn.functional.pad(X, (0, 6))
    torch.testing.assert_close(model(wide, Y), whole, rtol=0, atol=1e-5)
    found = model.translate(X, longest=12, beam=3, penalty=0.6)
    alone = model.translate(X[1:, :3], longest=12, beam=3, penalty=0.6)
    assert torch.equal(found[1, : alone.shape[1]], alone[0])


def greedy(model: nn.Module, x: Tensor, longest: int) -> list[int]:
    """The likeliest code each time, from the whole forward pass: nothing is remembered."""
    y = [BEGIN]
    while y[-1] != END and len(y) <= longest:
        logits = model(x, torch.tensor([y]))[0, -1]
        logits[:END] = -torch.inf
        y.append(int(logits.argmax()))
    return y[1:]


def test_width_1_is_greedy_and_what_is_remembered_is_exact() -> None:
    model = net()
    for row in X:
        x = row[row != 0][None]
        found = model.translate(x, longest=12, beam=1, penalty=0.6)[0]
        assert found[found != 0].tolist() == greedy(model, x, 12)


def test_alignment_sums_to_1_over_the_source_alone() -> None:
    looked = net().alignment(X, Y)
    assert looked.shape == (2, 4, 5)
    torch.testing.assert_close(looked.sum(2), torch.ones(2, 4))
    assert not looked[1, :, 3:].any()


@torch.no_grad()
def test_loss_is_the_smoothed_cross_entropy_of_every_code_but_padding() -> None:
    model, smoothing = net(), 0.1
    y = torch.tensor([[11, 12, 13, END], [14, END, 0, 0]])
    objective = Translation(label_smoothing=smoothing, padding=0, begin=BEGIN)
    expected, units = 0.0, 0
    for row, codes in enumerate(y.tolist()):
        for t, code in enumerate(codes):
            if code:
                before = torch.tensor([[BEGIN, *codes[:t]]])
                logs = model(X[row : row + 1], before)[0, -1].log_softmax(0)
                expected -= float((1 - smoothing) * logs[code] + smoothing * logs.mean())
                units += 1
    batch = {"x": X, "y": y}
    assert int(objective.units(batch)["loss"]) == units == 6
    assert float(objective(model, batch, torch.tensor(0)).sums["loss"]) == pytest.approx(expected, rel=1e-5)


def test_widths_that_heads_cannot_share(one_line: Any) -> None:
    with pytest.raises(UserError, match="5 heads of an even width") as caught:
        Config(width=64, heads=5)
    one_line(caught.value)


@pytest.mark.slow
def test_learns_to_reverse(bench: Any, tmp_path: Path) -> None:
    learning = {"width": 64, "inner": 128, "dropout": 0.05, "lr": 3e-3, "steps": 800, "beam": 4}
    recipe = bench.recipe("transformer", **learning)
    model, _ = bench.train(recipe, tmp_path)
    figures = bench.figures(recipe, model, "test")
    assert figures["bleu"] > 80
