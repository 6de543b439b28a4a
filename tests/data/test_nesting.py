"""How deep JSON lines are nested: what no parser gets to see, and what it must."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shendu
from shendu.data import frames
from shendu.data.tables import formats
from shendu.data.tables.nesting import Nesting, Shallow
from shendu.errors import UserError
from shendu.untrusted import DEPTH_MOST

DEEP = 100_000
values = st.recursive(
    st.none() | st.integers() | st.text('ab"\\[]{}\n\t/é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\[{}]', max_size=3), inner, max_size=3),
    max_leaves=12,
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@settings(max_examples=50)
@given(st.lists(values, max_size=5), st.integers(1, 9), st.booleans())
def test_the_depth_of_sound_lines_is_theirs(rows: list[Any], size: int, ascii_only: bool) -> None:
    text = "".join(f"{json.dumps(row, ensure_ascii=ascii_only)}\n" for row in rows).encode()
    depths = [depth(row) for row in rows]
    for most in range(6):
        found, lines, nesting = None, 0, Nesting()
        for at in range(0, len(text), size):
            line = nesting.too_deep(text[at : at + size], most)
            found = lines + line if found is None and line is not None else found
            lines += text[at : at + size].count(b"\n")
        assert found == next((i for i, deep in enumerate(depths) if deep > most), None)


@given(
    st.lists(st.sampled_from(['"', "\\", "[", "]", "{", "}", "\n", "a", ":", ","]), max_size=40).map("".join),
    st.integers(1, 7),
)
def test_no_parser_that_begins_at_a_line_goes_deeper(text: str, size: int) -> None:
    """Broken lines too: each parse goes from a line's beginning to the first line's end within a string."""

    def reached(line: str) -> int:
        inside = escaped = False
        deep = most = 0
        for letter in line:
            if inside:
                if letter == "\n":
                    break
                escaped, inside = letter == "\\" and not escaped, letter != '"' or escaped
                continue
            inside = letter == '"'
            deep += (letter in "[{") - (letter in "]}")
            most = max(most, deep)
            if letter == "\\" or deep < 0:
                break
        return most

    starts = [0, *(i + 1 for i, letter in enumerate(text) if letter == "\n")]
    most = max(reached(text[start:]) for start in starts)
    nesting, raw = Nesting(), text.encode()
    found = [nesting.too_deep(raw[at : at + size], most - 1) for at in range(0, len(raw), size)]
    assert most == 0 or any(line is not None for line in found)


BOMBS = {
    "lists": b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b', "y": 1}',
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "mixed": b'[{"a":' * DEEP + b"1" + b"}]" * DEEP,
    "cut": b"[" * DEEP,
    "of lines": b"[\n" * DEEP,
    "behind text": b'{"t": "]]]]\\"}", "a": ' + b"[" * DEEP,
    "behind a broken line": b'{"t": "\n' + b'{"a": ' + b"[" * DEEP,
    "behind closed ones": b"]" * DEEP + b"\n" + b"[" * DEEP,
    "one more than may be": b'{"a": ' + b"[" * DEPTH_MOST + b"]" * DEPTH_MOST + b"}",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("packed", [False, True])
def test_bombs_are_one_line(name: str, packed: bool, tmp_path: Path, one_line: Any) -> None:
    text = b'{"a": [1], "y": 0}\n' * 3 + BOMBS[name] + b"\n"
    path = tmp_path / ("t.jsonl.gz" if packed else "t.jsonl")
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(UserError, match=r"nested deeper than 64 in line \d") as caught:
        formats.read(path)
    one_line(caught.value)
    with pytest.raises(UserError, match="nested deeper than 64"):
        shendu.open_data(path, target="y")


def test_the_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a": 1}\n' * 200_000 + BOMBS["lists"])
    with pytest.raises(UserError, match="in line 200,001"):
        formats.read(path)


def test_what_looks_deep_and_is_not(tmp_path: Path) -> None:
    texts = ["[" * 1000, '"' * 999, "\\" * 501 + '"[[[', "{" * 500 + "\\u005b" * 9, "]" * 700]
    nested = {"a": 1}
    for _ in range(DEPTH_MOST - 2):
        nested = {"a": nested}  # type: ignore[dict-item]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"t": text, "n": nested}) + "\n" for text in texts), encoding="utf-8")
    assert formats.read(path)[0].column("t").to_pylist() == texts


def test_pieces_end_anywhere() -> None:
    text = json.dumps({"t": '\\"[[' * 50}).encode() + b"\n"
    file = Shallow(io.BytesIO(text * 30), Path("t.jsonl"))
    assert b"".join(iter(lambda: file.read(7), b"")) == text * 30


@pytest.mark.parametrize("kind", ["lists", "dicts"])
def test_python_values_nested_deep_are_one_line(kind: str) -> None:
    value: Any = 1
    for _ in range(DEEP):
        value = [value] if kind == "lists" else {"a": value}
    with pytest.raises(UserError, match="nested deeper than 64"):
        frames.from_object({"a": [value] * 3, "y": [0, 1, 0]})
    with pytest.raises(UserError, match="nested deeper than 64"):
        frames.from_object([{"a": value, "y": 0}] * 3)
