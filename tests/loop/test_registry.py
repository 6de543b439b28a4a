"""A file is a system."""

from __future__ import annotations

from pathlib import Path

import pytest

from shendu import registry
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
