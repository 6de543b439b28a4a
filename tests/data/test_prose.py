"""Running text: its parts are pieces of it, several files are one text, and what is no text is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import shendu
from shendu import data as data_module
from shendu.data.dataset import Dataset
from shendu.data.fields.prose import Prose
from shendu.errors import UserError

BOOK = "Häuser stehen, Flüsse fließen.\nDer Tag wird früh kühl!\n" * 40
TABLE = "rain, sun\nsnow, wind\n" * 40


@pytest.fixture(autouse=True)
def _own(fresh_cache: Path) -> None:
    pass


def parts(data: Dataset) -> dict[str, bytes]:
    return {part: split.column(data.input).tobytes() for part, split in data.splits.items()}


def refused(path: Path, **how: str) -> str:
    with pytest.raises(UserError) as caught:
        data_module.open(path, **how)
    return str(caught.value)


def test_a_book_is_cut_into_pieces_between_characters(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    size = len(BOOK.encode())
    for cut in range(4):  # the end of a part falls on each byte of a character in turn
        text = "x" * cut + BOOK
        path.write_text(text, encoding="utf-8")
        data = data_module.open(path).split_off()
        found = parts(data)
        assert list(found) == ["train", "validation", "test"]
        assert b"".join(found.values()).decode() == text
        for part, share in (("train", 0.9), ("validation", 0.05), ("test", 0.05)):
            found[part].decode()
            assert abs(len(found[part]) - share * (size + cut)) < 8
    assert (data.name, data.ordered, data.fields) == ("book", True, {"text": Prose()})


def test_a_mark_of_the_encoding_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbf" + BOOK.encode())
    assert b"".join(parts(data_module.open(tmp_path / "book.txt")).values()).decode() == BOOK


def test_texts_of_a_folder_are_one_text(tmp_path: Path) -> None:
    for name, text in (("b.txt", BOOK), ("a.txt", "first\n" * 50), ("README.md", "no text of it")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = data_module.open(tmp_path)
    assert b"".join(parts(data).values()).decode() == "first\n" * 50 + "\n" + BOOK
    assert data.notes[0] == "2 texts joined in the order of their names"


def test_files_called_like_parts_are_the_parts(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 9, encoding="utf-8")
    assert parts(data_module.open(tmp_path)) == {
        "train": b"train " * 9, "validation": b"valid " * 9, "test": b"test " * 9,
    }  # fmt: skip
    assert refused(tmp_path, split="0.2") == f"{tmp_path.name} has parts of its own; leave --split 0.2 out"


def test_a_short_text_is_learned_whole(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a short note", encoding="utf-8")
    data = data_module.open(tmp_path / "note.txt").split_off()
    assert parts(data) == {"train": b"a short note"}
    assert data.notes == ("note has only 12 bytes: none are set aside",)


@pytest.mark.parametrize(("split", "held_out"), [("0.2", 480), ("last:300", 300)])
def test_the_end_is_the_test_part(split: str, held_out: int, tmp_path: Path) -> None:
    text = "0123456789" * 240
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    found = parts(data_module.open(tmp_path / "book.txt", split=split))
    assert found["test"].decode() == text[-held_out:]
    assert b"".join(found.values()).decode() == text
    assert len(found["validation"]) == round(0.05 * (2400 - held_out))


@pytest.mark.parametrize("split", ["2/5", "0.2@3"])
def test_nothing_is_taken_from_the_middle(split: str, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf-8")
    assert refused(tmp_path / "book.txt", split=split) == (
        f"--split {split} would take pieces from the middle of a text; write it like --split 0.1 or last:5000"
    )


def test_a_test_part_of_everything(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf-8")
    size = len(BOOK.encode())
    assert refused(tmp_path / "book.txt", split=f"last:{size}") == (
        f"book has {size:,} bytes, and --split last:{size} leaves no training text; use a share like 0.1"
    )


def bad_inputs() -> list[tuple[bytes, str]]:
    return [
        (b"line\nna\xefve\n", "{} is not UTF-8: byte 7, in line 2, is 0xef; save it as UTF-8, or convert it: "
                              "iconv -f WINDOWS-1252 -t UTF-8"),
        (b"", "{} is empty: download or copy it again"),
        (b"\xef\xbb\xbf", "{} is empty: there is no text to read"),
        (b"text\0text", "{} is no text: byte 4 is a zero; give plain text, saved as UTF-8"),
        ("é".encode(), "book is one character long: nothing follows it that could be predicted, give more text"),
        (b"aaaa" * 200, "book is one character ('a') over and over: there is nothing to learn from it"),
    ]  # fmt: skip


@pytest.mark.parametrize(("content", "line"), bad_inputs())
def test_what_is_no_text(content: bytes, line: str, tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(content)
    assert refused(path) == line.format(path)


def test_other_systems_say_what_they_read(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        shendu.train("mlp", tmp_path / "book.txt", out=tmp_path / "run", quiet=True)
    assert str(caught.value).startswith("mlp reads numbers and pictures")
    assert "book holds running text" in str(caught.value)


def test_text_where_there_is_none_is_no_other_data() -> None:
    column = Prose()
    for wrong in (np.zeros((2, 3), np.uint8), np.zeros(4, np.float32)):
        with pytest.raises(UserError, match="the model takes text, or its bytes in UTF-8 as uint8"):
            column.parse(wrong)[""]
    assert column.parse("né")[""].tobytes() == column.parse("né".encode())[""].tobytes() == "né".encode()


def test_text_that_looks_like_a_table_is_text_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "weather.txt").write_text(TABLE, encoding="utf-8")
    assert "text" not in data_module.open(tmp_path / "weather.txt").fields
    assert b"".join(parts(data_module.open(tmp_path / "weather.txt", task="text")).values()).decode() == TABLE


def test_of_another_text_all_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("To be, or not to be. " * 40, encoding="utf-8")
    assert len(data_module.open(path).splits) == 3
    whole = data_module.open(path, fields={"x": Prose()})
    assert (list(whole.splits), whole.inputs) == (["test"], ("x",))
    assert whole.splits["test"].column("x").tobytes() == path.read_bytes()


def test_another_file_of_that_name_is_not_the_known_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shendu.data import known

    monkeypatch.delenv("SHENDU_DATA", raising=False)
    (tmp_path / "input.txt").write_text("something else", encoding="utf-8")
    assert known.on_disk("tinyshakespeare", tmp_path) is None
    own = tmp_path / "tinyshakespeare"
    own.mkdir()
    (own / "input.txt").write_text(BOOK, encoding="utf-8")
    assert known.on_disk("tinyshakespeare", tmp_path) == own


@pytest.mark.data
def test_tinyshakespeare_is_cut_as_usual() -> None:
    if not os.environ.get("SHENDU_DATA"):
        pytest.skip("SHENDU_DATA names no folder")
    data = data_module.open("tinyshakespeare").split_off()
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 1_003_854, "validation": 111_540}
    assert parts(data)["train"].startswith(b"First Citizen:\nBefore we proceed")


def test_there_is_nothing_to_audit() -> None:
    with pytest.raises(UserError) as caught:
        shendu.audit("counting")
    assert (
        str(caught.value) == "counting is running text and was read without a fault; it has no rows or labels to audit"
    )
