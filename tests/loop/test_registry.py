"""A file is a system, or a verb."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from shendu import registry
from shendu.cli import cli
from shendu.errors import UserError


def test_finds_every_file_and_reads_its_first_line() -> None:
    files = {p.stem.replace("_", "-") for p in registry.ROOT.glob("*/*.py") if not p.stem.startswith("_")}
    assert set(registry.systems()) == files
    lenet = registry.systems()["lenet"]
    assert lenet.family == "vision"
    assert lenet.summary.startswith("LeNet-5 (1998): ")
    assert not lenet.summary.endswith(".")


def test_reads_without_running(tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "new_system.py").write_text('"""New (2030): a thing.\n\nMore."""\nraise SystemExit(1)\n')
    (tmp_path / "family" / "_part.py").write_text("x = 1\n")
    found = registry.systems(tmp_path)
    assert list(found) == ["new-system"]
    assert found["new-system"].summary == "New (2030): a thing"


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    for family in ("a", "b"):
        (tmp_path / family).mkdir()
        (tmp_path / family / "same.py").write_text('"""Same."""\n')
    with pytest.raises(AssertionError, match="two systems are called same"):
        registry.systems(tmp_path)


def test_names_the_near_one() -> None:
    with pytest.raises(UserError, match=r"^unknown system 'lenett'; did you mean 'lenet'\?$"):
        registry.load("lenett")
    with pytest.raises(UserError, match="known: "):
        registry.entry("zzzz")


def test_every_verb_is_listed_as_its_command_says() -> None:
    """The text of a file and the command that it holds say the same; places in the day are taken once."""
    found = registry.verbs()
    for name, verb in found.items():
        command = registry.command(name)
        assert verb.summary == " ".join((command.help or "").split("\n\n")[0].split())
        assert name == verb.module.rpartition(".")[2].replace("_", "-")
    assert len({verb.order for verb in found.values()}) == len(found)
    files = {path.stem for path in (registry.HOUSE / "verbs").glob("*.py")} - {"__init__"}
    assert {verb.module.rpartition(".")[2] for verb in found.values()} == files


def test_a_verb_is_read_without_running(tmp_path: Path) -> None:
    body = 'ORDER = {}\n@click.command()\ndef command(run: str) -> None:\n    """Does\n    it.\n\n    More."""\n'
    (tmp_path / "last_one.py").write_text(body.format(20) + "raise SystemExit(1)\n")
    (tmp_path / "first.py").write_text(body.format(10))
    (tmp_path / "part.py").write_text("ORDER = 5\n")
    found = registry.verbs(tmp_path)
    assert [(verb.name, verb.summary) for verb in found.values()] == [("first", "Does it."), ("last-one", "Does it.")]


def test_an_installed_package_brings_a_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greeting.py").write_text("import click\n\n\n@click.command()\ndef command(): click.echo('hello')\n")
    about = tmp_path / "greeting-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[shendu.verbs]\ngreet = greeting:command\ntrain = greeting:command\n")
    monkeypatch.syspath_prepend(tmp_path)
    shown = CliRunner().invoke(cli, ["greet"], catch_exceptions=False)
    assert shown.output == "hello\n"
    assert registry.command("train") is not registry.command("greet")
    monkeypatch.delitem(sys.modules, "greeting")
    with pytest.raises(UserError, match=r"^unknown command 'gret'; did you mean 'greet'\?$"):
        registry.command("gret")
