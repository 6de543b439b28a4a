"""Writing on from a prompt: as it comes, to a stop, one or several; and what else can be asked of a language model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import shendu
from shendu import Run
from shendu.cli import cli
from shendu.composing import Text, compose, pieces
from shendu.errors import UserError
from shendu.tasks.language import Language


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "gpt"
    choices = {"steps": 60, "batch_size": 8, "layers": 2, "width": 64, "context": 32}
    return shendu.train("gpt", "counting", out=out, quiet=True, **choices)


@pytest.mark.slow
def test_the_text_comes_token_by_token_and_is_the_same_again(run: Run) -> None:
    came = list(pieces(run, prompt="twenty one\n", length=40))
    assert len(came) == 41
    (text,) = compose(run, prompt="twenty one\n", length=40)
    assert "".join(part for (part,) in came) == text
    assert len(text) == 40
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz \n")
    assert compose(run, prompt="twenty one\n", length=40, n=3)[0] == text
    assert compose(run, prompt="twenty one\n", length=40, seed=1) != [text]
    assert torch.is_grad_enabled()


def test_it_ends_before_the_stop(run: Run) -> None:
    how: dict[str, Any] = {"prompt": "one\n", "length": 80, "n": 3}
    for whole, cut in zip(compose(run, **how), compose(run, **how, stop="hundred"), strict=True):
        assert cut == whole.partition("hundred")[0]


def test_what_may_begin_the_stop_is_held_back() -> None:
    text = Text("END")
    assert [text.add(piece) for piece in (b"a", b"E", b"N", b"E", b"N", b"D", b"b")] == ["a", "", "", "EN", "", "", ""]
    assert text.ended
    text = Text("END")
    assert [text.add(b"xEN"), text.rest()] == ["x", "EN"]
    text = Text("")
    assert [text.add(bytes([byte])) for byte in "é!".encode()] == ["", "é", "!"]


def test_a_prompt_beyond_the_context_slides_and_says_so_once(run: Run) -> None:
    told: list[str] = []
    prompt = "one\ntwo\nthree\n" * 8
    (text,) = compose(run, prompt=prompt, length=50, say=told.append)
    assert told == ["the prompt has 112 tokens and the model sees 32: its beginning is forgotten"]
    assert len(text) == 50


@pytest.mark.parametrize(("how", "line"), [
    ({"prompt": "ONE"}, "the prompt has 'E', 'N', 'O', which the training text does not have; leave them out"),
    ({"n": 0}, "cannot write 0 texts; write it like --n 3 (at most 1,000)"),
    ({"length": 0}, "--length 0 is out of range; write it like --length 200"),
    ({"temperature": -1.0}, "--temperature -1.0 is out of range; write it like --temperature 0.8"),
    ({"top_p": 0.0}, "--top-p 0.0 is out of range; write it like --top-p 0.9"),
])  # fmt: skip
def test_what_cannot_be_written(how: dict[str, Any], line: str, run: Run) -> None:
    with pytest.raises(UserError) as caught:
        compose(run, **how)
    assert str(caught.value) == line


@pytest.mark.parametrize("tokenizer", ["characters", "bpe:300"])
def test_a_prompt_in_bytes_that_are_no_text(tokenizer: str) -> None:
    """As a shell hands on $'one\\xff'."""
    task = Language.of(shendu.open_data("counting"), tokenizer, 8)
    with pytest.raises(UserError) as caught:
        task.prompt(b"one\xff".decode("utf-8", "surrogateescape"))
    assert str(caught.value) == "the prompt is not UTF-8 after its first 3 characters; type it anew"
    assert task.text(task.prompt("one")) == "one"


def test_the_command(run: Run) -> None:
    shown = CliRunner().invoke(
        cli, ["sample", str(run.path), "--prompt", "one\n", "--length", "30", "--temperature", "0"]
    )
    assert shown.output == "one\n" + compose(run, prompt="one\n", length=30, temperature=0)[0] + "\n"
    several = CliRunner().invoke(cli, ["sample", str(run.path), "--n", "2", "--length", "9", "--prompt", "one"])
    assert several.output.startswith("1\none")
    assert "\n2\none" in several.output
    wrong = CliRunner().invoke(cli, ["sample", str(run.path), "--out", "a.png"])
    assert str(wrong.exception) == "--out is for models that draw pictures; leave it out"


def test_another_systems_run_writes_nothing(tmp_path: Path) -> None:
    other = shendu.train("mlp", "xor", out=tmp_path / "xor", steps=2, quiet=True)
    with pytest.raises(UserError) as caught:
        compose(other, prompt="x")
    said = f"{other.path} is a run of mlp, which writes no text; train one that does: gpt, gpt2, gru, lstm, rnn"
    assert str(caught.value) == said


def test_texts_are_weighed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one hundred twenty one\none hundred twenty two\n" * 3, encoding="utf-8")
    (tmp_path / "b.txt").write_text("nnoo ttwweehh sseevv\n", encoding="utf-8")
    likely, strange = run.predict(tmp_path)
    assert likely["input"].endswith("a.txt")
    assert likely["perplexity"] < strange["perplexity"]
    assert run.predict("one two")[0]["input"] == "one two"
    with pytest.raises(UserError, match="are none that the model has learned, such as 'T'"):
        run.predict("THAT")


def test_other_text_is_measured_whole(run: Run, tmp_path: Path) -> None:
    text = "one hundred twenty one\none hundred twenty two\n" * 20
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = run.evaluate(tmp_path / "a.txt")
    assert found["part"] == "test"
    nats = run.predict(tmp_path / "a.txt")[0]["nats"]
    assert found["metrics"]["loss"] == pytest.approx(nats, rel=1e-5)
    own = run.evaluate()
    assert own["part"] == "validation"
    assert own["metrics"]["loss"] == pytest.approx(run.result["metrics"]["validation"]["loss"])
    low, high = own["intervals"]["loss"]
    assert low < own["metrics"]["loss"] < high


def test_the_report_shows_what_it_writes(run: Run) -> None:
    page = run.report.read_text(encoding="utf-8")
    assert "Written on" in page
    assert "Most surprising passages" in page
    assert page.count("│") >= 3
    assert re.search(r"\d nats per token, window \d+:", page)
    assert "first 100,000 tokens" in page
