"""Attention over an encoder's notes, held against its formulas written out, and what must not matter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shendu.systems.sequence import seq2seq
from shendu.systems.sequence.seq2seq import Config, Seq2Seq
from shendu.tasks.translate import BEGIN, END

SMALL = Config(codes=40, embedding=6, hidden=5, aligned=4, dropout=0.0)
X = torch.tensor([[5, 9, 7, 30, END], [6, 8, END, 0, 0]])
Y = torch.tensor([[BEGIN, 11, 12, 13], [BEGIN, 14, 15, 0]])


def net() -> Seq2Seq:
    torch.manual_seed(1)
    return SMALL.build().eval()


def test_encoder_is_torchs_bidirectional_unit_on_packed_rows() -> None:
    ours = net().encoder
    theirs = nn.GRU(6, 5, batch_first=True, bidirectional=True)
    theirs.load_state_dict(
        dict(ours.forwards.state_dict()) | {f"{name}_reverse": p for name, p in ours.backwards.state_dict().items()}
    )
    h, lengths = torch.randn(2, 5, 6), torch.tensor([5, 3])
    packed = nn.utils.rnn.pack_padded_sequence(h, lengths, batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    real = torch.arange(5) < lengths[:, None]
    torch.testing.assert_close(ours(h, lengths)[real], expected[real])


def test_alignment_by_hand() -> None:
    align = net().align
    state, notes, mask = torch.randn(1, 2, 5), torch.randn(1, 3, 10), torch.tensor([[True, True, False]])
    looked = align(state, align.notes(notes), mask)
    for k in range(2):
        hidden = [torch.tanh(align.state.weight @ state[0, k] + align.notes.weight @ notes[0, s]) for s in range(2)]
        scores = torch.stack([align.score.weight[0] @ h for h in hidden])
        torch.testing.assert_close(looked[0, k], torch.cat([scores.softmax(0), torch.zeros(1)]))


def test_gated_unit_by_hand() -> None:
    unit = net().unit
    word, context, state = torch.randn(6), torch.randn(10), torch.randn(5)
    given = unit.word(word) + unit.context(context)
    from_word = unit.word.weight @ word + unit.word.bias + unit.context.weight @ context
    z = torch.sigmoid(from_word[:5] + unit.gates.weight[:5] @ state)
    r = torch.sigmoid(from_word[5:10] + unit.gates.weight[5:] @ state)
    proposed = torch.tanh(from_word[10:] + unit.new.weight @ (r * state))
    torch.testing.assert_close(unit(given, state), (1 - z) * state + z * proposed)


def test_unrolled_is_step_by_step_with_every_gradient() -> None:
    model = net().double()
    fixed, state = model.encode(X)
    given = model.unit.word(model.embedding(Y))
    found, expected = model.unrolled(given, state, fixed), model.step_by_step(given, state, fixed)
    torch.testing.assert_close(found, expected)
    weights = [torch.randn_like(part) for part in found]
    used = [p for name, p in model.named_parameters() if not name.startswith("deep")]
    gradients = [torch.autograd.grad(parts, used, weights, retain_graph=True) for parts in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_first_state_is_of_the_first_words_note_from_behind() -> None:
    model = net()
    fixed, state = model.encode(X)
    torch.testing.assert_close(state[:, 0], torch.tanh(model.first(fixed["notes"][:, 0, 5:])))


def test_attention_sums_to_1_over_the_source_alone() -> None:
    looked = net().alignment(X, Y)
    assert looked.shape == (2, 4, 5)
    torch.testing.assert_close(looked.sum(2), torch.ones(2, 4))
    assert not looked[1, :, 3:].any()


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
    torch.testing.assert_close(model(X[1:, :3], Y[1:, :3]), whole[1:, :3], rtol=0, atol=1e-6)
    torch.testing.assert_close(model(nn.functional.pad(X, (0, 6)), Y), whole, rtol=0, atol=1e-6)
    found = model.translate(X, longest=12, beam=3, penalty=0.6)
    alone = model.translate(X[1:, :3], longest=12, beam=3, penalty=0.6)
    assert torch.equal(found[1, : alone.shape[1]], alone[0])


def test_width_1_is_greedy() -> None:
    model = net()
    for row in X:
        x, y = row[row != 0][None], [BEGIN]
        while y[-1] != END and len(y) <= 9:
            logits = model(x, torch.tensor([y]))[0, -1]
            logits[:END] = -torch.inf
            y.append(int(logits.argmax()))
        found = model.translate(x, longest=9, beam=1, penalty=1.0)[0]
        assert found[found != 0].tolist() == y[1:]


def test_reading_backwards_within_a_rows_length() -> None:
    assert seq2seq.turned(torch.tensor([4, 2, 1]), 4).tolist() == [[3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("vocabulary", [30_000])
def test_the_papers_sizes(vocabulary: int) -> None:
    """620 for words, 1,000 units, 1,000 for the alignment: counted from the equations of its appendix."""
    e, h, a = 620, 1000, 1000
    encoder = 2 * (3 * h * (e + h) + 6 * h)
    decoder = 3 * h * (e + 2 * h + h) + 3 * h + h * h + h
    align, deep = a * h + a * 2 * h + a, 2 * e * (h + e + 2 * h) + 2 * e
    with torch.device("meta"):
        model = Config(codes=vocabulary, embedding=e, hidden=h, aligned=a).build()
    assert sum(p.numel() for p in model.parameters()) == vocabulary * e + encoder + decoder + align + deep
