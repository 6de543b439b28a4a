"""What was kept of a server is asked again and answered to the byte; and the command lines of both verbs."""

from __future__ import annotations

import json
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import shendu.serving
from shendu import UserError
from shendu.registry import command
from shendu.verbs import replay as replaying
from shendu.verbs import serve as verb


@pytest.fixture(scope="module")
def kept(
    runs: dict[str, Path], pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Any]]:
    """A record of clients at once, and what each was told."""
    from served import started

    file = tmp_path_factory.mktemp("record") / "kept.jsonl"
    server = started(runs, record=file)
    said: list[Any] = []

    def ask(i: int) -> None:
        said.append(server.ask("/predict", {"model": "digits", "inputs": pictures[i : i + 1 + i % 3].tolist()}))
        said.append(server.ask("/predict", {"model": "people", "inputs": [{"age": 20 + i, "job": "nurse"}]}))
        said.append(server.ask("/v1/completions", {"model": "counting", "prompt": "one", "seed": i, "max_tokens": 12}))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    server.stop()
    assert all(one.status == 200 for one in said)
    return file, said


def test_a_record_is_answered_again_to_the_byte(kept: tuple[Path, list[Any]]) -> None:
    file, said = kept
    again = {one.request: one for one in replaying.replay(file)}
    assert len(again) == len(said)
    for one in said:
        request = one.headers["x-request-id"]
        assert again[request].same
        told = one.body.decode()
        if "predictions" in told:
            assert f'"predictions": {again[request].answer}, "notes"' in told
        else:
            assert one.json["choices"][0]["text"] == again[request].answer


def test_a_record_is_for_its_owner_alone(kept: tuple[Path, list[Any]]) -> None:
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600


def test_the_command_says_what_differs(kept: tuple[Path, list[Any]], tmp_path: Path) -> None:
    lines = kept[0].read_text().splitlines()
    changed = [
        line.replace('\\"label\\": \\"', '\\"label\\": \\"x', 1) if '"batch": "digits"' in line else line
        for line in lines
    ]
    (tmp_path / "changed.jsonl").write_text("\n".join(changed) + '\n{"cut off')
    run = CliRunner().invoke(command("replay"), [str(tmp_path / "changed.jsonl")])
    assert run.exit_code == 1
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert any(not row["same"] for row in rows)
    assert any(row["same"] for row in rows)
    assert "answers are the same to the byte" in run.stderr


def test_another_model_is_not_asked(kept: tuple[Path, list[Any]], runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["people"], tmp_path / "digits")
    with pytest.raises(UserError, match=r"answered; give the folder that did with --model digits="):
        list(replaying.replay(kept[0], models=(f"digits={tmp_path / 'digits'}",)))


def test_what_is_no_record_is_told(tmp_path: Path, one_line: Callable[[BaseException], str]) -> None:
    for text in ("", "hello", "[1]", '{"kind": "other"}'):
        (tmp_path / "x").write_text(text)
        with pytest.raises(UserError) as told:
            list(replaying.replay(tmp_path / "x"))
        one_line(told.value)
    with pytest.raises(UserError, match="cannot be read"):
        list(replaying.replay(tmp_path / "none"))


def test_a_record_that_cannot_be_written_ends_and_answers_go_on(
    starting: Callable[..., Any], pictures: np.ndarray, tmp_path: Path
) -> None:
    server = starting("digits", "counting", record=tmp_path / "kept.jsonl")
    body = {"model": "digits", "inputs": [pictures[0].tolist()]}
    assert server.ask("/predict", body).status == 200

    def full(line: Any) -> None:
        raise OSError(28, "No space left on device")

    server.state.recorder._write = full
    for _ in range(3):
        assert server.ask("/predict", body).status == 200
    assert server.state.recorder is None
    assert server.ask("/v1/completions", {"model": "counting", "prompt": "one"}).status == 200
    assert (tmp_path / "kept.jsonl").read_text().count('"batch"') == 1


# ---- what serve is told ----------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"host": "0.0.0.0"}, "a token is needed"), ({"host": "::"}, "a token is needed"), ({"workers": 0}, "--workers 2"),
    ({"p99": "soon"}, "--p99 50ms"), ({"p99": "0ms"}, "--p99 50ms"), ({"batch": 0}, "--batch 32"), ({"queue": 0}, "--queue 512"),
    ({"record": "x", "workers": 2}, "leave --workers out"), ({"token_file": "/nowhere"}, "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "why"), WRONG)
def test_what_does_not_go_together_is_told(
    how: dict[str, Any],
    why: str,
    runs: dict[str, Path],
    one_line: Callable[[BaseException], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SHENDU_TOKEN", raising=False)
    with pytest.raises(UserError) as told:
        verb.settled((str(runs["digits"]),), **how)
    assert why in one_line(told.value)


def test_a_token_that_is_easily_guessed_is_none(tmp_path: Path, runs: dict[str, Path]) -> None:
    for text in ("", "short", "a token with blanks in it"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(UserError, match="is no token"):
            verb.settled((str(runs["digits"]),), token_file=tmp_path / "token")
    (tmp_path / "token").write_text("a-good-token-of-some-length\n")
    settings = verb.settled((str(runs["digits"]),), token_file=tmp_path / "token", host="0.0.0.0")
    assert settings.token == "a-good-token-of-some-length"
    assert settings.hosts == ()


def test_runs_are_named(runs: dict[str, Path], tmp_path: Path) -> None:
    settings = verb.settled((str(runs["digits"]), f"other={runs['digits']}"))
    assert settings.runs == {"digits": runs["digits"], "other": runs["digits"]}
    with pytest.raises(UserError, match="two runs are called digits"):
        verb.settled((str(runs["digits"]), str(runs["digits"])))
    with pytest.raises(UserError, match="is no name for a model"):
        verb.settled((f"a b={runs['digits']}",))


def test_a_folder_that_is_no_run_is_told_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        verb.run(verb.settled((str(tmp_path),)), "127.0.0.1", 0, 1)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, runs: dict[str, Path]) -> None:
    for name in [name for name in sys.modules if name.startswith("shendu.serving.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(shendu.serving, name.rpartition(".")[2])
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(UserError, match=r"pip install 'shendu\[serve\]'"):
        verb.settled((str(runs["digits"]),))
