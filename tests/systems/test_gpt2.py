"""GPT-2 against Hugging Face's: the same logits and the same texts from the same random weights, and its folders are read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import shendu
from shendu import cli, shown
from shendu.composing import compose
from shendu.data.tokens import BPE
from shendu.errors import UserError
from shendu.nn.generate import generate
from shendu.systems.sequence import gpt2

TEXT = "Forty winks, forty thieves.\nOne swallow, two swallows, makes no summer!\n" * 30
SMALL = {"n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 24}


def theirs(vocabulary: int) -> Any:
    """Hugging Face's network with random weights of some size, biases too."""
    import torchvision_shim  # noqa: F401

    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    made = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=vocabulary, bos_token_id=None, eos_token_id=None, **SMALL)
    ).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def ours(model: Any) -> gpt2.GPT2:
    sizes = {name: getattr(model.config, called) for name, called in gpt2.CONFIG.items()}
    net = gpt2.Config(**sizes).build().eval()
    net.load_state_dict(gpt2.published(model.state_dict()))
    return net


def test_logits_are_those_of_hugging_face() -> None:
    model = theirs(91)
    x = torch.randint(91, (3, 24))
    with torch.no_grad():
        expected, found = model(x).logits, ours(model)(x)
    assert float(expected.std()) > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_texts_are_those_of_hugging_face() -> None:
    model = theirs(91)
    begun = torch.randint(91, (2, 5))
    with torch.no_grad():
        expected = model.generate(
            begun,
            max_new_tokens=18,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
            attention_mask=torch.ones_like(begun),
        )
        found = torch.stack(list(generate(ours(model), begun, 18, temperature=0)), 1)
    assert torch.equal(found, expected[:, 5:])


def test_older_names_are_known_too() -> None:
    """Files on the hub have no prefix, and the causal masks among their weights."""
    model = theirs(91)
    weights = {
        name.removeprefix("transformer."): t for name, t in model.state_dict().items() if name != "lm_head.weight"
    }
    weights |= {"h.0.attn.bias": torch.ones(1, 1, 24, 24), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    renamed = gpt2.published(weights)
    assert renamed.keys() == ours(model).state_dict().keys()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as Hugging Face saves it, with a tokenizer."""
    bpe = BPE.of(TEXT, 280)
    path = tmp_path / "checkpoint"
    theirs(bpe.size).save_pretrained(path)
    (path / "tokenizer.json").write_text(bpe._library.to_str(), encoding="utf-8")
    return path


def test_a_checkpoint_is_read(folder: Path) -> None:
    model, language = gpt2.from_folder(folder)
    expected = theirs(language.vocabulary)
    x = language.tokens(TEXT)[None, :20].long()
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected(x).logits, rtol=0, atol=1e-4)
    assert language.text(language.tokens(TEXT)) == TEXT
    assert (language.context, model.context) == (24, 24)


def test_a_checkpoint_writes_and_is_measured_without_training(
    folder: Path, tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, language = gpt2.from_folder(folder)
    begun = language.prompt("One swallow")
    wanted = torch.stack(list(generate(model, begun[None], 9, temperature=0)), 1)[0]
    (found,) = compose(folder, prompt="One swallow", length=9, temperature=0)
    assert found == language.text(wanted)
    words = ["shendu", "sample", str(folder), "--prompt", "One swallow", "--length", "9", "--temperature", "0"]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    assert capsys.readouterr().out == f"One swallow{shown.text(found)}\n"
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    tokens = language.tokens(TEXT).long()
    windows = [tokens[i : i + 25] for i in range(0, len(tokens) - 1, 24)]
    with torch.no_grad():
        nats = [F.cross_entropy(theirs(280)(w[None, :-1]).logits[0], w[1:], reduction="sum") for w in windows]
    mean = float(sum(nats)) / (len(tokens) - 1)
    assert shendu.evaluate(folder, tmp_path / "book.txt")["metrics"]["loss"] == pytest.approx(mean, rel=1e-4)
    assert shendu.predict(folder, TEXT)[0]["nats"] == pytest.approx(mean, rel=1e-4)
    with pytest.raises(UserError) as caught:
        shendu.evaluate(folder)
    assert one_line(caught.value) == (
        f"{folder} was not trained here; say on what it is to be measured: shendu evaluate {folder} DATA"
    )
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(UserError, match="is no run"):
        compose(folder, prompt="One")


def test_training_goes_on_from_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    run = shendu.train(
        "gpt2", tmp_path / "book.txt", weights=folder, out=tmp_path / "run", steps=2, lr=1e-6, batch_size=2, quiet=True
    )
    before = ours(theirs(280)).state_dict()
    after = run.model.state_dict()
    assert run.recipe["choices"]["tokenizer"] == str(folder.resolve())
    assert before.keys() == after.keys()
    assert all(float((after[name] - before[name]).abs().max()) < 1e-4 for name in before)
    assert run.recipe["model"]["layers"] == 3


def test_wrong_checkpoints_get_one_line(folder: Path, tmp_path: Path, one_line: Any) -> None:
    def refused(where: Path) -> str:
        with pytest.raises(UserError) as caught:
            gpt2.from_folder(where)
        return one_line(caught.value)

    assert refused(tmp_path).startswith(f"{tmp_path / 'config.json'} describes no GPT-2 (FileNotFoundError")
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for changed, line in (
        ({"n_layer": 2}, f"{folder / 'model.safetensors'} does not fit config.json"),
        ({"n_head": 5}, "heads=5 do not share a width of 32 equally"),
        (
            {"n_embd": "wide"},
            f"{folder / 'config.json'} describes no GPT-2 (UserError: width='wide' is not of type int",
        ),
        *(
            (
                {name: value},
                f"{folder / 'config.json'} describes a variant of GPT-2 that is not known here: {name}={word}; name a folder",
            )
            for name, value, word in (
                ("activation_function", "relu", '"relu"'),
                ("layer_norm_epsilon", 1e-6, "1e-06"),
                ("scale_attn_by_inverse_layer_idx", True, "true"),
                ("scale_attn_weights", False, "false"),
                ("tie_word_embeddings", False, "false"),
            )
        ),
    ):
        (folder / "config.json").write_text(json.dumps({**said, **changed}), encoding="utf-8")
        assert refused(folder).startswith(line)
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert refused(folder).startswith(
        f"{folder / 'config.json'} describes no GPT-2 (Unreadable: Expecting property name"
    )
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    (folder / "tokenizer.json").write_text(BPE.of(TEXT, 270)._library.to_str(), encoding="utf-8")
    assert refused(folder) == f"{folder} has a tokenizer of 270 tokens and a network of 280"
    (folder / "model.safetensors").write_bytes(b"nonsense")
    assert refused(folder).startswith(f"{folder / 'model.safetensors'} does not fit config.json")


def test_a_head_of_its_own_is_refused(folder: Path, tmp_path: Path, one_line: Any) -> None:
    """A file may hold one whatever config.json says; where it is the tokens' vectors once more, it is left out."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    tokens = weights["transformer.wte.weight"]
    save_file({**weights, "lm_head.weight": tokens.clone()}, file)
    gpt2.from_folder(folder)
    save_file({**weights, "lm_head.weight": tokens + 1e-3}, file)
    with pytest.raises(UserError) as caught:
        gpt2.from_folder(folder)
    assert "lm_head.weight" in one_line(caught.value)
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        shendu.train("gpt2", tmp_path / "book.txt", weights=folder, out=tmp_path / "run", quiet=True)
    assert "1 extra (lm_head.weight)" in one_line(caught.value)


@pytest.mark.parametrize("said", [
    {"pre_tokenizer": {"type": "Whitespace"}}, {"pre_tokenizer": None}, {"normalizer": {"type": "Lowercase"}},
    {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}},
    {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}},
    {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel"}]}},
])  # fmt: skip
def test_a_tokenizer_that_cuts_otherwise_is_refused(said: dict[str, Any], folder: Path, one_line: Any) -> None:
    file = folder / "tokenizer.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**whole, **said}), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        gpt2.from_folder(folder)
    assert one_line(caught.value).startswith(f"{file} cuts or changes a text otherwise than GPT-2 does")
    older = {key: value for key, value in whole["pre_tokenizer"].items() if key != "use_regex"}
    file.write_text(json.dumps({**whole, "pre_tokenizer": older}), encoding="utf-8")
    gpt2.from_folder(folder)


def test_what_a_folder_says_of_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    assert gpt2.settings_of(folder / "model.safetensors") == {"tokenizer": str(folder)}
    assert gpt2.settings_of(tmp_path / "model.safetensors") == {}
