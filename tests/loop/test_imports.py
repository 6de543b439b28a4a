"""The package's face: each public name is loaded when it is first used."""

from __future__ import annotations

import pytest

import shendu


@pytest.mark.parametrize("name", shendu.__all__)
def test_public_names_are_there_and_explained(name: str) -> None:
    value = getattr(shendu, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = shendu.tarin
    assert set(dir(shendu)) == set(shendu.__all__)
