"""The package's face: each public name is loaded when it is first used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import shendu
from shendu import registry


@pytest.mark.parametrize("name", shendu.__all__)
def test_public_names_are_there_and_explained(name: str) -> None:
    value = getattr(shendu, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = shendu.tarin
    assert set(dir(shendu)) == set(shendu.__all__)


def test_type_checkers_see_what_is_found() -> None:
    """The imports that only type checkers read are the public names, each from its file."""
    tree = ast.parse(Path(shendu.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == registry.public()
