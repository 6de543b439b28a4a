"""BERT against Hugging Face's, and what it is trained on against its definition: pairs of segments with words hidden."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import shendu
import shendu.data
from shendu.core import MASKED, At
from shendu.data.dataset import Split
from shendu.data.fields.category import Category
from shendu.data.fields.text import Text
from shendu.errors import UserError
from shendu.objectives.masked import MaskedWords
from shendu.sources.bucketed import Bucketed
from shendu.sources.segments import Codes, Segments
from shendu.systems.sequence import bert
from shendu.tasks.classify import Classify

# ---- the network

SMALL = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "max_position_embeddings": 24}
OURS = {"layers": 3, "heads": 4, "width": 32, "length": 24, "words": 88, "position": "learned"}
SEEN = (torch.arange(24) < torch.tensor([[24], [9], [17]])).long()


def theirs(kind: str) -> Any:
    """Hugging Face's network with random weights of some size, biases too."""
    import torchvision_shim  # noqa: F401

    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = transformers.BertConfig(vocab_size=91, intermediate_size=128, num_labels=3, **SMALL)
    made = getattr(transformers, kind)(settings).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def ours(model: Any, **choices: Any) -> Any:
    net = bert.Config(**{**OURS, **choices}).build().eval()
    net.load_state_dict(bert.published(model.state_dict()))
    return net


def read() -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [3, 24], padding after 24, 9 and 17 places; segments."""
    return torch.randint(1, 91, (3, 24)) * SEEN, (torch.arange(24) > 5).long() * SEEN


def test_hidden_states_are_those_of_hugging_face() -> None:
    model, (x, segments) = theirs("BertModel"), read()
    net = ours(model, pretrain=False, outputs=0)
    with torch.no_grad():
        expected = model(x, attention_mask=SEEN, token_type_ids=segments)
        found = net.encoder(x, segments)
        assert float(expected.last_hidden_state.std()) > 0.5
        torch.testing.assert_close(
            found[SEEN > 0], expected.last_hidden_state[SEEN > 0], rtol=0, atol=1e-4, msg="hidden states"
        )
        torch.testing.assert_close(net.encoder.pooled(found), expected.pooler_output, rtol=0, atol=1e-4)
        one = model(x, attention_mask=SEEN).last_hidden_state[SEEN > 0]
        torch.testing.assert_close(net.encoder(x)[SEEN > 0], one, rtol=0, atol=1e-4)


def test_guesses_are_those_of_hugging_face() -> None:
    model, (x, segments) = theirs("BertForPreTraining"), read()
    places = torch.tensor([[3, 23, 0], [8, 1, 1], [16, 2, 5]])
    with torch.no_grad():
        expected = model(x, attention_mask=SEEN, token_type_ids=segments)
        words, other = ours(model, outputs=0).guess(x, segments, places)
    wanted = torch.stack([row[at] for row, at in zip(expected.prediction_logits, places, strict=True)])
    assert float(wanted.std()) > 0.5
    torch.testing.assert_close(words, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(other, expected.seq_relationship_logits, rtol=0, atol=1e-4)


def test_classes_are_those_of_hugging_face() -> None:
    model = theirs("BertForSequenceClassification")
    net = ours(model, pretrain=False, outputs=3)
    rows = torch.zeros(2, 30, dtype=torch.int32)
    rows[0, :7], rows[1, :2] = torch.randint(2, 88, (7,)), torch.tensor([5, 90])
    marked = torch.tensor([[88, *rows[0, :7].tolist(), 89], [88, 5, 1, 89, 0, 0, 0, 0, 0]])
    assert torch.equal(net.marked(rows), marked)
    with torch.no_grad():
        torch.testing.assert_close(
            net(rows), model(marked, attention_mask=(marked > 0).long()).logits, rtol=0, atol=1e-4
        )


def test_older_names_are_known_too() -> None:
    """The first checkpoints call weight and bias of a norm gamma and beta, and keep the numbers of the places."""
    model = theirs("BertForPreTraining")
    weights = {}
    for name, t in model.state_dict().items():
        norm = "LayerNorm" in name
        weights[name.replace("weight", "gamma").replace("bias", "beta") if norm else name] = t
    weights["bert.embeddings.position_ids"] = torch.arange(24)[None]
    assert bert.published(weights).keys() == ours(model, outputs=0).state_dict().keys()
    lonely = {name: t for name, t in weights.items() if ".key." not in name}
    assert "encoder.blocks.0.attention.self.query.weight" in bert.published(lonely)


@pytest.mark.parametrize("kind", ["BertModel", "BertForPreTraining", "BertForSequenceClassification"])
def test_a_published_checkpoint_is_refused_in_one_line(kind: str, tmp_path: Path, one_line: Any) -> None:
    """Even where its sizes are those that were asked for."""
    weights = {name: t.clone() for name, t in theirs(kind).state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    sizes = {"layers": 3, "heads": 4, "width": 32, "length": 24, "words": 88, "pretrain": False}
    for more in ({}, sizes):
        with pytest.raises(UserError) as caught:
            shendu.train("bert", "opinions", weights=tmp_path, out=tmp_path / "run", quiet=True, **more)
        assert one_line(caught.value) == (
            f"{tmp_path / 'model.safetensors'} holds vectors of pieces of words, and here texts are read in whole words of their "
            "own; begin with a run of bert on these texts, or leave --weights out to pretrain on them"
        )


def small(**more: Any) -> bert.BERT:
    return bert.Config(**{"words": 20, "width": 16, "heads": 2, "layers": 2, "length": 12, **more}).build()


TEXTS = torch.tensor([[5, 3, 5, 3, 9, 2, 4, 8], [2, 1, 1, 0, 0, 0, 0, 0], [0] * 8], dtype=torch.int32)


def test_padding_and_neighbours_change_nothing() -> None:
    model = small().double().eval()
    alone = torch.cat([model(row[row > 0][None] if row.any() else row[None]) for row in TEXTS])
    torch.testing.assert_close(model(TEXTS), alone, atol=1e-12, rtol=0)
    torch.testing.assert_close(model(nn.functional.pad(TEXTS, (0, 50))), alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("sizes", [{"width": 128, "heads": 4}, {"width": 64, "heads": 2}])
def test_heads_begin_with_neighbouring_places(sizes: dict[str, int]) -> None:
    """One looks one place back, one ahead, the next two two places: there is most of their weight."""
    encoder = small(words=500, length=40, **sizes).eval().encoder
    x = encoder.norm(encoder.words(torch.randint(2, 500, (20, 40))))
    assert encoder.turned is not None
    with torch.no_grad():
        q, k, _ = encoder.blocks[0].attention.heads_of(x, encoder.turned)
    looked = (q @ k.mT / q.shape[3] ** 0.5).softmax(3).mean(0)
    for head, away in zip(looked, (-1, 1, -2, 2), strict=False):
        shares = {by: float(head.diagonal(by).mean()) for by in range(-8, 9)}
        assert max(shares, key=lambda by: shares[by]) == away
        assert shares[away] > 0.4


def test_of_long_texts_both_ends_are_read() -> None:
    words = torch.arange(2, 18)[None]
    assert small().eval().marked(words).tolist() == [[20, 2, 3, 4, 5, 6, 13, 14, 15, 16, 17, 21]]


def test_words_are_hidden_in_training_alone() -> None:
    model, x = small(word_dropout=0.3, length=102), torch.full((100, 100), 3)
    x[:, 50:] = 0
    marked = model.marked(x)
    assert marked.shape == (100, 52)
    assert (marked[:, 0] == 20).all()
    assert (marked[:, -1] == 21).all()
    assert float((marked == 22).double().sum()) / 5000 == pytest.approx(0.3, abs=0.03)
    assert not (model.eval().marked(x) == 22).any()


# ---- what it is pretrained on

LENGTHS = [0, 1, 2, *([3, 5, 8, 13, 21, 34] * 20)]
CODES = Codes(words=6000)


def stream(lengths: list[int] = LENGTHS, **more: Any) -> Segments:
    """Word j of text i has the code 2 + 40 i + j, so that each code tells where it comes from."""
    rows = np.zeros((len(lengths), 40), np.int32)
    for i, length in enumerate(lengths):
        rows[i, :length] = 2 + 40 * i + np.arange(length)
    split = Split({"text": rows, "label": np.zeros(len(lengths), np.int64)}, more.pop("index", None))
    task = Classify({"x": Text(names=("a",) * 6000, length=40)}, {"y": Category(names=("a",))})
    return Segments(split, task, **{"column": "text", "codes": CODES, "length": 20, "hidden": 0.15, "batch_size": 16, **more})  # fmt: skip


def whole(batch: dict[str, torch.Tensor]) -> list[list[int]]:
    """The rows as they were before words were hidden, without padding."""
    rows = batch["x"].tolist()
    for row, places, words in zip(rows, batch["places"].tolist(), batch["words"].tolist(), strict=True):
        for place, word in zip(places, words, strict=True):
            row[place] = row[place] if word == MASKED else word
    return [[code for code in row if code] for row in rows]


def test_pairs_are_what_they_are_said_to_be() -> None:
    """Brute force over many samples: marks, segments, neighbours within a text, and the share of strangers."""
    source = stream()
    batch = source.batch(At(0, 20 * len(LENGTHS)))
    others, firsts = [], set()
    for row, segments, other in zip(whole(batch), batch["segments"].tolist(), batch["other"].tolist(), strict=True):
        cut = row.index(CODES.end)
        first, second = row[1:cut], row[cut + 1 : -1]
        assert (row[0], row[-1]) == (CODES.begin, CODES.end)
        assert segments == [0] * (cut + 1) + [1] * (len(second) + 1) + [0] * (len(segments) - len(row))
        texts = [{(code - 2) // 40 for code in part} for part in (first, second)]
        assert all(part == list(range(part[0], part[0] + len(part))) for part in (first, second) if part)
        assert max(map(len, texts)) <= 1
        if not second:
            assert len(first) <= 1
            assert other == MASKED
            continue
        own = LENGTHS[min(texts[0])]
        assert len(first) + len(second) == min(own, 17)
        if other:
            assert texts[0] != texts[1]
        else:
            assert second[0] == first[-1] + 1
        others.append(other)
        firsts.add((own, len(first)))
    assert sum(others) / len(others) == pytest.approx(0.5, abs=0.03)
    assert {n for own, n in firsts if own == 34} == set(range(1, 17))


def test_places_shares_and_words_that_are_hidden() -> None:
    source = stream([34] * 140)
    batch = source.batch(At(0, 4000))
    assert batch["x"].shape == (4000, 20)
    assert batch["places"].shape == batch["words"].shape == (4000, round(0.15 * 17))
    counts = batch["words"] != MASKED
    known = [[code for code in row if code < CODES.words] for row in whole(batch)]
    assert counts.sum(1).tolist() == [max(1, round(0.15 * len(row))) for row in known]
    shown = batch["x"].gather(1, batch["places"])[counts]
    words = batch["words"][counts]
    share = {"mask": (shown == CODES.mask), "same": shown == words, "other": (shown != words) & (shown < CODES.words)}
    found = {name: float(which.double().mean()) for name, which in share.items()}
    assert found == pytest.approx({"mask": 0.8, "same": 0.1, "other": 0.1}, abs=0.02)
    assert (shown[share["other"]] >= 2).all()
    assert all(len(set(row[ok].tolist())) == int(ok.sum()) for row, ok in zip(batch["places"], counts, strict=True))
    asked = torch.bincount(batch["places"][counts], minlength=20)
    assert int(asked[0]) == int(asked[-1]) == 0


def test_only_words_with_vectors_are_guessed() -> None:
    """Rare words are read as the unknown one; of a text that has no other there is nothing to guess."""
    batch = stream([34, 34, 34, 34], codes=Codes(words=42), length=20).batch(At(0, 400))
    words = batch["words"]
    assert set(words[words != MASKED].tolist()) <= set(range(2, 42))
    assert (batch["x"] < 45).all()
    nothing = (words == MASKED).all(1)
    assert nothing.any()
    assert not nothing.all()
    assert not (batch["x"][nothing] == 44).any()


def test_each_sample_depends_on_seed_and_number_alone() -> None:
    """Slices of a batch hold the rows of the whole one, whatever they are padded to."""
    source, batch = stream(), stream().batch(At(32, 16))
    for start, size in ((32, 5), (37, 1), (38, 10)):
        part = source.batch(At(start, size))
        at = slice(start - 32, start - 32 + size)
        for name, filler in (("x", 0), ("segments", 0), ("places", 0), ("words", MASKED)):
            wide = nn.functional.pad(part[name], (0, batch[name].shape[1] - part[name].shape[1]), value=filler)
            assert torch.equal(wide, batch[name][at]), name
        assert torch.equal(part["other"], batch["other"][at])
    later, other = source.batch(At(32 + len(LENGTHS) * 16, 16)), stream(seed=1).batch(At(32, 16))
    assert whole(later) != whole(batch)
    assert whole(other) != whole(batch)


def test_strangers_are_the_next_in_length() -> None:
    """All of them come up, a text itself never does; of equal lengths it is chance that says which are next, not their order."""
    lengths = [3] * 200 + [9] * 200
    source, u = stream(lengths), (torch.arange(1000) + 0.5) / 1000
    found = {row: set(source.strangers(torch.full((1000,), row), u).tolist()) for row in (0, 150, 200, 399)}
    for row, strangers in found.items():
        assert len(strangers) == 20
        assert row not in strangers
        assert all(lengths[other] >= lengths[row] for other in strangers)
        assert max(strangers) - min(strangers) > 100
    for few in ([5, 5], [5, 7, 9]):
        some = stream(few)
        for row in range(len(few)):
            assert set(some.strangers(torch.full((1000,), row), u).tolist()) == set(range(len(few))) - {row}


@pytest.mark.parametrize("kind", ["gamma", "lognormal"])
def test_short_and_uneven_texts_leave_little_padding(kind: str) -> None:
    """Tweets (25 words on average) and posts (a median of 100): at most a tenth of what is computed is padding."""
    rng, rows = np.random.default_rng(0), 2000
    drawn = rng.gamma(2, 12.5, rows) if kind == "gamma" else rng.lognormal(np.log(100), 0.8, rows)
    lengths = drawn.round().astype(int).clip(1, 1024)
    texts = (np.arange(lengths.max()) < lengths[:, None]) * np.int32(5)
    task = Classify({"x": Text(names=("a",) * 10, length=texts.shape[1])}, {"y": Category(names=("a",))})
    split = Split({"text": texts, "label": np.zeros(rows, np.int64)})
    source = Segments(split, task, column="text", codes=Codes(words=12), length=256, hidden=0.15, batch_size=32)
    batches = [source.batch(At(start, 32)) for start in range(0, 2 * rows, 32)]
    assert sum(int((b["x"] == 0).sum()) for b in batches) <= 0.1 * sum(b["x"].numel() for b in batches)
    other = torch.cat([b["other"] for b in batches])
    assert float((other == 1).sum() / (other != MASKED).sum()) == pytest.approx(0.5, abs=0.03)


def test_a_single_text_has_no_strangers() -> None:
    assert not stream([34]).batch(At(0, 50))["other"].any()


def test_rows_of_a_split_are_the_ones_it_picks() -> None:
    batch = stream([34] * 8, index=np.array([2, 5])).batch(At(0, 40))
    assert {(code - 2) // 40 for row in whole(batch) for code in row if code < CODES.words} == {2, 5}


# ---- the objective


def test_each_term_is_counted_over_its_own_units() -> None:
    """Brute force: every place's logits, one by one; what is not hidden and has no neighbour does not count."""
    model = small(words=200, dropout=0.0).double()
    batch = stream([0, 1, 5, 8, 13], codes=Codes(words=200), length=12, hidden=0.4).batch(At(0, 5))
    objective = MaskedWords()
    found = objective(model, batch, torch.tensor(0))
    units = objective.units(batch)
    words, other, asked, paired = 0.0, 0.0, 0, 0
    everywhere = torch.arange(batch["x"].shape[1])[None].expand(5, -1)
    with torch.no_grad():
        logits, follows = model.guess(batch["x"], batch["segments"], everywhere)
    for i in range(5):
        for place, word in zip(batch["places"][i].tolist(), batch["words"][i].tolist(), strict=True):
            if word != MASKED:
                words -= float(logits[i, place].log_softmax(0)[word])
                asked += 1
        if batch["other"][i] != MASKED:
            other -= float(follows[i].log_softmax(0)[batch["other"][i]])
            paired += 1
    assert {name: int(n) for name, n in units.items()} == {"masked": asked, "next": paired}
    assert paired == 3
    assert asked < batch["words"].numel()
    assert float(found.sums["masked"].detach()) == pytest.approx(words, rel=1e-5)
    assert float(found.sums["next"].detach()) == pytest.approx(other, rel=1e-5)
    assert float(found.logs["masked"]) == pytest.approx(words / asked, rel=1e-5)


def test_nothing_to_guess_is_no_loss_and_no_gradient() -> None:
    model = small(dropout=0.0)
    batch = stream([0, 0], codes=Codes(words=20), length=12).batch(At(0, 2))
    found = MaskedWords()(model, batch, torch.tensor(0))
    assert {name: float(value.detach()) for name, value in found.sums.items()} == {"masked": 0.0, "next": 0.0}
    sum(found.sums.values(), torch.tensor(0.0)).backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


# ---- training


def opinions(**choices: Any) -> Any:
    return bert.recipe(shendu.data.open("opinions").split_off(), **{**bert.tiny()[1], **choices})


def test_two_stages_or_one() -> None:
    recipe = opinions()
    assert [stage.name for stage in recipe.stages] == ["pretrain", "fine-tune"]
    assert [stage.steps for stage in recipe.stages] == [6, 30]
    assert isinstance(recipe.stages[0].source(recipe.model.build()), Segments)
    assert isinstance(recipe.stages[1].source(recipe.model.build()), Bucketed)
    assert recipe.settings["pretrain_steps"] == 6
    alone = opinions(pretrain=False)
    assert [stage.name for stage in alone.stages] == ["fine-tune"]
    assert not any(name.startswith("heads") for name, _ in alone.model.build().named_parameters())


def test_each_stage_trains_its_own(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = opinions(steps=3, weight_decay=0.1)
    states = bench.seen(monkeypatch)
    model, _ = bench.train(recipe, tmp_path)
    pretrained, tuned = (state["model"] for state in states)
    kept = {name for name in tuned if torch.equal(pretrained[name], tuned[name])}
    assert kept == {name for name in tuned if name.startswith("heads")}
    assert not pretrained["decide.bias"].any()
    assert model.state_dict().keys() == tuned.keys()


def test_pretraining_resumes_bit_for_bit(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = {"steps": 4, "pretrain_steps": 8, "ema": 0.9}
    whole, _ = bench.train(opinions(**choices), tmp_path / "whole")
    for stop, save in ((5, 3), (8, 7), (10, 9)):
        with monkeypatch.context() as patch:
            bench.killing(patch, stop, save)
            with pytest.raises(bench.Killed):
                bench.train(opinions(**choices), tmp_path / "parts")
    parts, _ = bench.train(opinions(**choices), tmp_path / "parts")
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(parts.state_dict()))


@pytest.mark.slow
def test_hidden_words_are_learned(bench: Any, tmp_path: Path) -> None:
    """Texts of one pattern: what stands around a word says which it is, whose share alone would leave 2 nats or more."""
    recipe = opinions(pretrain_steps=150, steps=1, width=32, pretrain_lr=0.01, dropout=0.0)
    model = recipe.model.build()
    source = recipe.stages[0].source(model)
    batch = source.batch(At(10**6, 300))
    known = batch["words"][batch["words"] != MASKED]
    shares = torch.bincount(known).double() / len(known)
    alone = float(-(shares[shares > 0] * shares[shares > 0].log()).sum())
    trained, _ = bench.train(recipe, tmp_path)
    with torch.no_grad():
        missed = {name: float(MaskedWords()(m.eval(), batch, torch.tensor(0)).logs["masked"]) for name, m in (("before", model), ("after", trained))}  # fmt: skip
    assert missed["before"] == pytest.approx(math.log(recipe.model.codes.count), abs=0.5)
    assert missed["after"] < 0.75 * alone


@pytest.mark.data
def test_reviews_leave_little_padding() -> None:
    data = shendu.data.open("imdb").split_off()
    recipe = bert.recipe(data)
    source = recipe.stages[0].source(recipe.model.build())
    rows = [source.batch(At(start, 32))["x"] for start in range(0, 60 * 32, 32)]
    assert sum(int((x > 0).sum()) for x in rows) > 0.9 * sum(x.numel() for x in rows)
    assert max(x.shape[1] for x in rows) == 256


# ---- a person's mistakes


@pytest.mark.parametrize(
    ("choices", "line"),
    [
        ({"length": 4}, "length=4 is below 5; write it like length=256"),
        ({"layers": 0}, "layers=0 is below 1; write it like layers=4"),
        ({"words": 2}, "words=2 is below 3; write it like words=20000"),
        ({"heads": 3}, "heads=3 do not share a width of 16 equally; write it like width=128, heads=4"),
        ({"word_dropout": 1.0}, "word_dropout=1.0 is no share below 1; write it like word_dropout=0.15"),
        ({"masked": 0}, "masked=0 is no share between 0 and 1; write it like masked=0.15"),
        ({"pretrain_epochs": 0}, "pretrain_epochs=0, pretrain_steps=6 is no training; pretrain=false leaves it out"),
        ({"outputs": 7}, "outputs follows from the data and cannot be set; leave it out"),
    ],
)
def test_wrong_settings(choices: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        opinions(**choices)
    assert str(caught.value) == line


def test_other_data(one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        bert.recipe(shendu.data.open("digits"))
    assert one_line(caught.value).startswith("bert reads texts, and digits holds pictures")
