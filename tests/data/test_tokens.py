"""Tokenizers against their definitions, and the windows that a text is read in."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shendu import data as data_module
from shendu import tasks
from shendu.core import MASKED
from shendu.data import tokens
from shendu.data.tokens import ALPHABET, BPE, Characters
from shendu.errors import UserError
from shendu.tasks.language import Language

TEXT = "the cat's hat, the cat's mat;\n  the cats of 1999 sat.\n\nNaïve café — 猫が好き 🙂 tab\tend\n" * 4


def test_characters_are_those_of_the_text() -> None:
    found = Characters.of("banana né🙂")
    assert found.letters == " abné🙂"
    assert found.encode("bane xé🙂").tolist() == [3, 2, 4, 0, 1, 0, 5, 6]
    assert b"".join(found.pieces[i] for i in found.encode("nab 🙂é")).decode() == "nab 🙂é"
    assert tokens.from_json(json.loads(json.dumps(found.to_json()))).to_json() == found.to_json()


def in_words(text: str) -> list[str]:
    """GPT-2's pieces within which bytes are joined, of ASCII text."""
    return re.findall(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", text)


def by_definition(text: str, bpe: BPE) -> list[int]:
    """Bytes, of which the neighbours whose merge was learned first are joined, until none is left (Sennrich et al. 2016)."""
    rank = {pair: i for i, pair in enumerate(bpe.merges)}
    letter = {byte: written for written, byte in ALPHABET.items()}
    number = {token: i for i, token in enumerate(bpe.tokens)}
    found = []
    for word in in_words(text):
        pieces = [letter[byte] for byte in word.encode()]
        while pairs := [pair for pair in itertools.pairwise(pieces) if pair in rank]:
            first = min(pairs, key=rank.__getitem__)
            joined, i = [], 0
            while i < len(pieces):
                both = tuple(pieces[i : i + 2]) == first
                joined.append("".join(pieces[i : i + 1 + both]))
                i += 1 + both
            pieces = joined
        found += [number[piece] for piece in pieces]
    return found


def test_bpe_is_what_it_is_defined_to_be() -> None:
    ascii_text = TEXT.encode("ascii", "ignore").decode()
    bpe = BPE.of(ascii_text, 280)
    assert bpe.size == 280
    assert len(bpe.merges) == 24
    assert bpe.encode(ascii_text).tolist() == by_definition(ascii_text, bpe)
    other = "that hat's  at\n\n the matter; 12 cats'll "
    assert bpe.encode(other).tolist() == by_definition(other, bpe)


def test_bpe_writes_every_text() -> None:
    bpe = BPE.of(TEXT, 400)
    for text in (TEXT, "", "\x01 ÿ 中文 👩‍👩‍👧 \u2028", "\n\n \n"):
        assert b"".join(bpe.pieces[i] for i in bpe.encode(text)).decode() == text


def test_bpe_of_the_same_text_is_the_same() -> None:
    assert BPE.of(TEXT, 350).to_json() == BPE.of(TEXT, 350).to_json()


def test_a_long_text_is_read_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    bpe = BPE.of(TEXT, 350)
    whole = bpe.encode(TEXT)
    for piece in (1, 7, 40):
        monkeypatch.setattr(tokens, "_PIECE", piece)
        assert len(list(tokens._lines(TEXT))) > 1
        assert "".join(tokens._lines(TEXT)) == TEXT
        assert np.array_equal(bpe.encode(TEXT), whole)


def test_published_tokenizers(tmp_path: Path) -> None:
    bpe = BPE.of(TEXT, 320)
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(bpe.tokens)}), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in bpe.merges), ""]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    assert tokens.tokenizer(str(tmp_path), "").to_json() == bpe.to_json()
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "tokenizer.json").write_text(bpe._library.to_str(), encoding="utf-8")
    assert tokens.tokenizer(str(whole), "").to_json() == bpe.to_json()
    assert tokens.from_json(json.loads(json.dumps(bpe.to_json()))).to_json() == bpe.to_json()


def test_wrong_tokenizers_get_one_line(tmp_path: Path, one_line: object) -> None:
    bpe = BPE.of(TEXT, 300)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": [["a", 0.1]]}}', encoding="utf-8")
    wrong = {
        "bpe:256": "tokenizer=bpe:256: the bytes alone are 256 tokens",
        "words": "unknown tokenizer 'words'; write characters, bpe:1000, or the folder",
        str(tmp_path): f"{tmp_path} holds a tokenizer of another kind than byte-level BPE",
        str(tmp_path.parent): f"{tmp_path.parent} holds no tokenizer: neither tokenizer.json nor vocab.json",
    }
    for name, line in wrong.items():
        with pytest.raises(UserError) as caught:
            tokens.tokenizer(name, TEXT)
        assert str(caught.value).startswith(line)
    stored = bpe.to_json()
    for values in (
        {}, {"kind": "words"}, {**stored, "tokens": stored["tokens"][1:]}, {**stored, "merges": [["a", "nonsense"]]},
        {"kind": "characters", "letters": "ba"}, {"kind": "bpe", "tokens": 3, "merges": []},
    ):  # fmt: skip
        with pytest.raises(UserError):
            tokens.from_json(values)


# ---- the task --------------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Logits of each next token that depend on the token alone."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table(x)


@pytest.mark.parametrize("tokenizer", ["characters", "bpe:300"])
@pytest.mark.parametrize("context", [4, 64, 10_000])
def test_figures_are_those_of_the_whole_text(tokenizer: str, context: int) -> None:
    """Every token but the first counts once, whatever the windows; bits are per character, whatever the tokens."""
    language = Language.with_tokenizer(tokens.tokenizer(tokenizer, TEXT), context)
    model = Fixed(language.vocabulary)
    found = language.tokens(TEXT).long()
    nats = nn.functional.cross_entropy(model(found[:-1]), found[1:], reduction="sum").item()
    batch, metric, counted = language.encode([TEXT]), language.metrics()["nats"], []
    for start in range(0, len(batch["x"]), 3):
        some = {name: t[start : start + 3] for name, t in batch.items()}
        counted.append(metric.rows({name: t.detach() for name, t in language.outputs(model, some).items()}, some))
    loss, perplexity, bits = metric.figures(torch.cat(counted)).values()
    assert loss == pytest.approx(nats / (len(found) - 1), rel=1e-5)
    assert perplexity == pytest.approx(math.exp(loss))
    first = language.text(found[:1])
    assert bits == pytest.approx(nats / (len(TEXT) - len(first)) / math.log(2), rel=1e-5)


def test_windows_follow_one_another() -> None:
    language = Language.with_tokenizer(Characters.of("abcdefgh"), 3)
    batch = language.encode(["abcdefgh"])
    assert [language.text(x) for x in batch["x"]] == ["abc", "def", "ghh"]
    assert batch["y"].tolist() == [[2, 3, 4], [5, 6, 7], [8, MASKED, MASKED]]


def test_texts_of_several_lengths() -> None:
    language = Language.with_tokenizer(Characters.of(TEXT), 50)
    model = Fixed(language.vocabulary)
    texts = ["the cat", "the hat, the mat"]
    together = language.outputs(model, language.encode(texts))["nats"]
    alone = torch.cat([language.outputs(model, language.encode([text]))["nats"] for text in texts])
    torch.testing.assert_close(together, alone)
    nats = together[0].item()
    assert language.decode({"nats": together.detach()}, language.encode(texts))[0] == {
        "nats": nats,
        "perplexity": pytest.approx(math.exp(nats)),
    }


def test_logits_are_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    language = Language.with_tokenizer(Characters.of(TEXT), 8)
    model, batch = Fixed(language.vocabulary), language.encode([TEXT])
    whole = language.outputs(model, batch)["nats"]
    monkeypatch.setattr("shendu.tasks.language.TOKENS_AT_ONCE", 24)
    torch.testing.assert_close(language.outputs(model, batch)["nats"], whole)


def test_other_letters_are_said_to_be_unknown() -> None:
    language = Language.with_tokenizer(Characters.of("the cat sat on the mat"), 8)
    assert language.tokens("the cat sat on the mat, the cat sat on").tolist().count(0) == 1
    with pytest.raises(UserError) as caught:
        language.tokens("der Hund")
    assert str(caught.value) == (
        "62% of the text's characters are none that the model has learned, such as 'd'; give text in the letters of its training text"
    )
    with pytest.raises(UserError) as caught:
        language.prompt("the dog")
    assert str(caught.value) == "the prompt has 'd', 'g', which the training text does not have; leave them out"
    with pytest.raises(UserError) as caught:
        language.encode(["a"])
    assert str(caught.value) == "a text of one token has nothing to predict: give at least two"


def test_a_prompt_of_nothing_begins_a_line() -> None:
    assert Language.with_tokenizer(Characters.of("a\nb"), 8).prompt("").tolist() == [1]
    assert Language.with_tokenizer(Characters.of("ab"), 8).prompt("").tolist() == [1]
    assert Language.with_tokenizer(BPE.of(TEXT, 300), 8).prompt("").tolist() == [ALPHABET_ORDER.index("Ċ")]


ALPHABET_ORDER = sorted(ALPHABET)


def test_the_task_is_kept() -> None:
    data = data_module.open("counting")
    for name in ("characters", "bpe:300"):
        language = Language.of(data, name, 16)
        again = tasks.from_file(json.loads(json.dumps(language.to_json())))
        assert isinstance(again, Language)
        text = data.splits["validation"].column("text").tobytes().decode()
        assert torch.equal(again.tokens(text), language.tokens(text))
        assert again.text(language.tokens(text)) == text
        assert again.context == 16
