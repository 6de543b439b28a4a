"""Text that is no Unicode is Western European by its letters, or in the encoding that a person names; never by a guess that is not said."""

from __future__ import annotations

from pathlib import Path

import pytest

import shendu
import shendu.data
from shendu.data.files import encodings
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")

PAIRS = {
    "cp1251": ("хорошо", "плохо"), "koi8-r": ("хорошо", "плохо"), "cp866": ("хорошо", "плохо"), "iso8859-5": ("да", "нет"),
    "shift_jis": ("良い", "悪い"), "euc-jp": ("良い", "悪い"), "gb18030": ("好看", "难看"), "big5": ("好看", "難看"), "euc-kr": ("좋다", "나쁘다"),
    "cp1253": ("καλό", "κακό"), "cp1255": ("טוב", "רע"), "cp1256": ("جيد", "سيئ"), "tis-620": ("ดี", "เลว"), "mac_roman": ("für", "grün"),
    "cp437": ("café", "résumé"), "gbk": ("男", "女"), "iso8859-2": ("łódź", "żółw"),
}  # fmt: skip
WESTERN = "Größe, Übung, naïve café, créée, São Tomé, Þýðing, smørrebrød, año, L’été où j’ai — «ça va»?, 5 °C, 3½ €, Åse, m², Œuvre, “Spaß“, Ñandú"


def written(path: Path, encoding: str, words: tuple[str, str]) -> Path:
    path.write_bytes(("n,y\n" + "".join(f"{i % 9},{words[i % 2]}\n" for i in range(80))).encode(encoding))
    return path


@pytest.mark.parametrize("encoding", PAIRS)
def test_letters_of_no_western_language_are_asked_for(encoding: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", encoding, PAIRS[encoding])
    with pytest.raises(UserError, match=r"name its encoding with --encoding \(cp1251, .*\), or save it as UTF-8$"):
        shendu.data.open(path, target="y")
    data = shendu.data.open(path, target="y", encoding=encoding)
    assert set(data.classes) == set(PAIRS[encoding])


def test_western_letters_are_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(("n;y\n" + "".join(f"{i % 9};{('Größe', 'où')[i % 2]}\n" for i in range(80))).encode("cp1252"))
    data = shendu.data.open(path, target="y")
    assert set(data.classes) == {"Größe", "où"}
    assert data.notes[0] == (
        "a.csv read as cp1252 text, since it is no UTF-8 and its words look Western European (another: --encoding NAME)"
    )
    assert encodings.western(WESTERN.encode("cp1252"))
    assert encodings.western("20 °C, 30 €".encode("cp1252"))


@pytest.mark.parametrize("words", [("М", "Ж"), ("é", "è")])
def test_single_letters_may_be_of_any_script(words: tuple[str, str], tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "cp1251" if words[0] == "М" else "cp1252", words)
    with pytest.raises(UserError, match="name its encoding"):
        shendu.data.open(path, target="y")


def test_broken_utf8_is_no_western_text() -> None:
    assert not encodings.western("Größe, Übung, schön".encode() + b" \xff")


def test_what_is_said_and_what_the_file_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "utf-8", PAIRS["cp1251"])
    with pytest.raises(UserError, match="is UTF-8 text, and --encoding cp1251 is said: write --encoding utf-8"):
        shendu.data.open(path, target="y", encoding="cp1251")
    assert set(shendu.data.open(path, target="y", encoding="UTF8").classes) == set(PAIRS["cp1251"])
    with pytest.raises(UserError, match=r"--encoding cp12 is no encoding of texts; write it like --encoding cp1251"):
        shendu.data.open(path, target="y", encoding="cp12")
    path = written(tmp_path / "b.csv", "cp1251", PAIRS["cp1251"])
    with pytest.raises(UserError, match="is no text in shift_jis: name its encoding with --encoding"):
        shendu.data.open(path, target="y", encoding="shift_jis")


def test_a_text_of_another_script_is_refused(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.txt").write_bytes(f"это хорошая книга номер {i}".encode("cp1251"))
    with pytest.raises(UserError, match="neither UTF-8 nor, by its letters, Windows-1252 text"):
        shendu.data.open(tmp_path)


def test_a_run_reads_as_it_was_trained(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(("w,y\n" + "".join(f"{('да', 'нет')[i % 2]},{'ab'[i % 2]}\n" for i in range(80))).encode("cp1251"))
    run = shendu.train("tabm", path, target="y", encoding="cp1251", steps=30, quiet=True, out=tmp_path / "run")
    answers = [row["label"] for row in shendu.predict(run.path, path)]
    assert answers == ["a", "b"] * 40
    other = tmp_path / "b.csv"
    other.write_text(path.read_bytes().decode("cp1251"), "utf-8")
    with pytest.raises(UserError, match="write --encoding utf-8"):
        shendu.predict(run.path, other)
    assert [row["label"] for row in shendu.predict(run.path, other, encoding="utf-8")] == answers
