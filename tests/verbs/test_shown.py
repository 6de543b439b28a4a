"""Names that others wrote: on a line, in a page, in a spreadsheet's cell."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shendu import shown
from shendu.pages.templates import _shown

PLAIN = (
    *(
        "cat",
        "größer",
        "猫",
        "مرحبا",
        "नमस्ते",
        "👨‍👩‍👧",
        "می‌خواهم",
        "New\u00a0York",
        "a=b",
        "a-b",
        "x@y.de",
        "1+1",
        "",
        "-",
        "+",
    ),
    *("-5", "+3.2e5", "-1,234.50", "-5 %", "+49 171 23", ".5", "-.5"),
)
FORMULAS = (
    *("=1+1", "=cmd|' /C calc'!A0", "@SUM(A1)", "+1+cmd|x", "-1+1|x", "\t=1", "  =1", "\n=1", "＝1", "－x", "-cat", "+a", "==", "-=1"),
    *("\tcat", "=HYPERLINK(1)", "@x", "--", "-1-1", "+A1"),
)  # fmt: skip
OBEYED = {
    "\x1b[31mred": "\\x1b[31mred",
    "a\x00b": "a\\x00b",
    "\x9b2J": "\\x9b2J",
    "\x07": "\\x07",
    "\u202etxt.exe": "\\u202etxt.exe",
    "\u2066x\u2069": "\\u2066x\\u2069",
    "a\u2028b": "a\\u2028b",
    "\udcff": "\\udcff",
    "a\x7f": "a\\x7f",
}


@pytest.mark.parametrize("words", PLAIN)
def test_what_is_harmless_stays_as_it_is(words: str) -> None:
    assert shown.line(words) == shown.text(words) == shown.cell(words) == words


@pytest.mark.parametrize("words", FORMULAS)
def test_a_formula_is_text(words: str) -> None:
    assert shown.cell(words).startswith("'")


@pytest.mark.parametrize("words", OBEYED)
def test_what_a_terminal_would_obey_is_written_out(words: str) -> None:
    assert shown.line(words) == shown.text(words) == shown.cell(words) == OBEYED[words] == _shown(words)


def test_line_breaks_belong_to_texts() -> None:
    assert shown.line("a\nb\tc\rd") == "a\\nb\\tc\\rd"
    assert shown.text("a\r\nb\tc\rd") == "a\r\nb\tc\\rd"


@given(st.text(), st.text())
def test_a_line_is_one_line_and_names_stay_apart(one: str, other: str) -> None:
    line = shown.line(one)
    assert len(line.splitlines()) <= 1
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in line)
    assert shown.line(line) == line
    if one != other and "\\" not in one + other:
        assert line != shown.line(other)


@given(st.text())
def test_no_cell_begins_like_a_formula(words: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([shown.cell(words), "x"])
    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    began = row[0].lstrip()[:1]
    assert began not in "=@＝＠" or len(row[0].strip()) <= 1


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_numbers_stay_numbers(value: float) -> None:
    assert shown.cell(str(value)) == str(value)
