"""Frozen dataclasses to JSON and back, and words to typed fields."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shendu import config
from shendu.errors import UserError
from shendu.recipes import Training


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 3
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "a"
    flag: bool = False
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    kind: Literal["small", "large", 3] = "small"
    most: int | None = None
    inner: Inner = field(default_factory=Inner)


outers = st.builds(
    Outer,
    name=st.text(),
    flag=st.booleans(),
    sizes=st.lists(st.integers(-(2**50), 2**50)).map(tuple),
    pair=st.tuples(st.integers(-99, 99), st.floats(allow_nan=False)),
    kind=st.sampled_from(["small", "large", 3]),
    most=st.none() | st.integers(-(2**50), 2**50),
    inner=st.builds(Inner, width=st.integers(0, 99), rate=st.floats(allow_nan=False)),
)


@given(outers)
def test_round_trip(value: Outer) -> None:
    assert config.from_json(Outer, json.loads(json.dumps(config.to_json(value)))) == value


@pytest.mark.parametrize(
    ("key", "word", "value"),
    [("flag", "yes", True), ("flag", "OFF", False), ("sizes", "64,64", (64, 64)), ("sizes", "(7)", (7,)), ("sizes", "", ()),
     ("pair", "[2, 0.5]", (2, 0.5)), ("kind", "3", 3), ("kind", "large", "large"), ("most", "none", None), ("most", "4", 4),
     ("sizes", "1e3", (1000,))],
)  # fmt: skip
def test_words(key: str, word: str, value: Any) -> None:
    (settled,) = config.settle({key: word}, Outer())
    assert getattr(settled, key) == value


@pytest.mark.parametrize(
    ("choices", "said"),
    [({"nme": "b"}, "unknown setting 'nme'; did you mean 'name'?"), ({"flag": "maybe"}, "flag='maybe'"),
     ({"sizes": "1,x"}, "sizes='x'"), ({"pair": "1"}, "pair takes 2 values, not 1"), ({"kind": "huge"}, "unknown value for kind: 'huge'"),
     ({"most": "1.5"}, "most='1.5'"), ({"most": "inf"}, "most='inf'"), ({"flag": 3}, "flag=3"), ({"sizes": True}, "sizes=True"),
     ({"name": ["a"]}, "name=['a']"), ({"most": "nan"}, "most='nan'")],
)  # fmt: skip
def test_mistakes_are_one_line(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        config.settle(choices, Outer())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settle_spreads_over_dataclasses_and_the_first_wins() -> None:
    inner, outer = config.settle({"width": "5", "name": "b"}, Inner(), Outer())
    assert (inner.width, outer.name) == (5, "b")


def test_settings_are_words_with_an_equals_sign() -> None:
    assert config.parse_settings(["batch-size=3", "a=b=c"]) == {"batch_size": "3", "a": "b=c"}
    for wrong in ("lr", "=3"):
        with pytest.raises(UserError, match="--set key=value"):
            config.parse_settings([wrong])


def test_a_person_who_gives_epochs_gets_epochs() -> None:
    """Whatever number of steps a system usually takes; steps that are given as well count more."""
    usual = Training(steps=1000)
    (how,) = config.settle({"epochs": "2"}, usual)
    assert (how.epochs, how.steps) == (2, 0)
    (how,) = config.settle({"epochs": "2", "steps": "7"}, usual)
    assert how.steps == 7
    (how,) = config.settle({"lr": "0.1"}, usual)
    assert how.steps == 1000
