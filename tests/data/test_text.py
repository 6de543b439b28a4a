"""Texts: their words, their codes, the files and tables they come from, and what is wrong with some of them."""

from __future__ import annotations

import io
import re
import uuid
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shendu.data
from shendu.data import cells
from shendu.data.cells import Cells
from shendu.data.column import LETTERS
from shendu.data.fields.text import SHOWN, Text
from shendu.data.files import text as text_file
from shendu.data.readers import texts
from shendu.data.tables import kinds
from shendu.data.words import length_kept, letters, words
from shendu.errors import UserError
from shendu.field import Field

pytestmark = pytest.mark.usefixtures("fresh_cache")

GOOD, BAD = "A lovely film, truly lovely!", "What a dull film... dull as rain."
COLUMN = Text(names=("the", "film", "lovely"), length=4)


def files(good: Any = GOOD, bad: Any = BAD, each: int = 3) -> dict[str, bytes]:
    """Class folders of texts."""
    both = {"good": good, "bad": bad}
    return {
        f"{label}/{i}.txt": one if isinstance(one, bytes) else one.encode()
        for label, one in both.items()
        for i in range(each)
    }


def refused(data: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        shendu.data.open(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- words


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("A lovely film!", "a|lovely|film|!"),
        ("It isn't 'good'?! 10/10", "it|isn't|good|?|!|10|10"),
        ("don\u2019t", "don't"),
        ("one<br /><br />two <b>three</b> 1 < 2 > 0", "one|two|three|1|2|0"),
        ("salt &amp; pepper &#33;", "salt|pepper|!"),
        ("snake_case e-mail a.b", "snake|case|e|mail|a|b"),
        ("ÜBER straße café", "über|straße|café"),
        ("cafe\u0301", "café"),
        ("Привет, мир", "привет|мир"),
        ("这部电影很好看!", "这|部|电|影|很|好|看|!"),
        ("すごい映画 film", "す|ご|い|映|画|film"),
        ("한국 영화", "한국|영화"),
        ("हिन्दी फ़िल्म", "हिन्दी|फ़िल्म"),
        ("great😀film", "great|😀|film"),
        ("x" * 100, "|".join(["x" * 40, "x" * 40, "x" * 20])),
        ("", ""),
        ("... --- ,,,", ""),
    ],
)
def test_words(given_text: str, expected: str) -> None:
    import unicodedata

    assert "|".join(words(given_text)) == unicodedata.normalize("NFKC", expected)


@given(st.text(st.characters(max_codepoint=127)))
def test_one_rule_for_every_script(plain: str) -> None:
    """A letter outside of ASCII takes the general path; it must agree with the quick one."""
    assert words(plain + " é") == [*words(plain), "é"] or "<" in plain or "&" in plain


@given(st.text())
def test_any_text_has_words(anything: str) -> None:
    found = words(anything)
    assert all(re.fullmatch(r"\S+", word) for word in found)
    assert words(" ".join(found)) == found


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ("⭐⭐ 👍🏽", "⭐|⭐|👍|🏽"),
        ("👨\u200d👩\u200d👧 ❤\ufe0f", "👨|👩|👧|❤"),
        ("🇩🇪", "🇩|🇪"),
        ("ດີ ល្អ", "ດ|ີ|ល|្|អ"),
        ("བཀྲ་ཤིས", "བཀྲ|ཤིས"),
        ("ދިވެހި", "ދިވެހި"),
        ("ශ්\u200dරී", "ශ්රී"),
        ("〇々ヽ", "〇|々|ヽ"),
        ("ｶﾅ ＡＢ", "カ|ナ|ab"),
    ],
)
def test_words_of_scripts_and_signs(plain: str, expected: str) -> None:
    assert "|".join(words(plain)) == expected


PIECES = st.sampled_from(["film", "don't", "10", "'", "''", "\u2019", "!", "?", " ", "\t", "-", "_", "<br>", "é", "ü", "Ж", "한", "국", "好", "看", "す", "ส", "ั", "😀", "👍🏽", "⭐", "हि", "न्", "བཀྲ", "་", "\u200d", "\ufe0f", ".", ","])  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=12).map("".join), min_size=1, max_size=5))
def test_a_tables_words_are_those_of_texts(texts_of: list[str]) -> None:
    """Columns are split by Arrow, texts by Python; both are one rule."""
    found, counts = cells.split_words(pa.array(texts_of))
    expected = [words(text) for text in texts_of]
    assert found.to_pylist() == [word for each in expected for word in each]
    assert counts.tolist() == [len(each) for each in expected]
    found, counts = cells.split_words(pa.array(texts_of), LETTERS)
    expected = [letters(text) for text in texts_of]
    assert found.to_pylist() == [letter for each in expected for letter in each]


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ([3] * 99 + [5], 5),
        (range(1, 31), 30),
        ([3] * 99 + [50], 3),
        ([100] * 90 + [120] * 10, 120),
        ([100] * 99 + [126], 100),
        ([5000] * 10, 1024),
        ([0], 1),
        ([], 1),
    ],
)
def test_texts_are_cut_where_it_saves(counts: list[int], kept: int) -> None:
    assert length_kept(list(counts), 0.98, 1024) == kept


# ---- texts, names and ids in tables

rng = np.random.default_rng(0)
NOUNS = ["sad", "horse", "lemon", "dull", "chair", "tiger", "slow", "table", "glass", "quick", "shirt", "plant"]


def drawn(pieces: Any, least: int, most: int, between: str = "") -> list[str]:
    return [between.join(rng.choice(list(pieces), rng.integers(least, most))) for _ in range(120)]


COLUMNS: dict[str, tuple[list[str], str]] = {
    "Chinese": (drawn("这家店的服务非常好味道难吃垃圾不错", 6, 20), "text"),
    "Japanese": (drawn(["すごい", "映画", "つまらない", "とても", "面白い"], 3, 7), "text"),
    "Thai": (drawn(["อาหาร", "อร่อย", "มาก", "แย่", "บริการ"], 3, 7), "text"),
    "Burmese": (drawn(["ကောင်း", "မကောင်း", "အစား", "ဆိုင်"], 4, 8), "text"),
    "emoji": (drawn("😀😡🎉💔👍👎⭐", 4, 8), "text"),
    "titles": (drawn(NOUNS, 3, 4, " "), "text"),
    "two words": ([f"{a} {b}" for a in NOUNS for b in NOUNS][:120], "text"),
    "Korean": (drawn(["좋은", "영화", "나쁜", "이야기", "매우", "음악"], 3, 5, " "), "text"),
    "lists": (drawn(["Action", "Comedy", "Drama", "Horror", "War", "Noir"], 3, 5, "|"), "text"),
    "numbered": ([f"user {i}" for i in range(120)], "id"),
    "numbered in Chinese": ([f"用户{i:03}" for i in range(120)], "id"),
    "invoices": ([f"INV 2024 {i:05}" for i in range(120)], "id"),
    "UUIDs": ([str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(120)], "id"),
    "addresses of mail": ([f"{rng.choice(NOUNS)}.{rng.choice(NOUNS)}{i}@mail.com" for i in range(120)], "id"),
    "links": ([f"https://www.example.com/{rng.choice(NOUNS)}/{i}" for i in range(120)], "id"),
    "files": ([f"/data/reports/{i}.pdf" for i in range(120)], "id"),
    "two values": (["left turn", "right turn"] * 60, "category"),
    "sentences that recur": ([f"{a} {b} was {c} and {d}" for a in NOUNS[:5] for b in NOUNS[5:9] for c, d in zip(NOUNS, NOUNS[::-1], strict=True)][:150] * 4, "text"),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_texts_are_told_from_ids(name: str) -> None:
    values, kind = COLUMNS[name]
    found = kinds.judge(Cells("x", pa.chunked_array([values])), None, False)
    assert (found.field.kind if found.field else found.left) == kind


@pytest.mark.parametrize("name", [name for name, (_, kind) in COLUMNS.items() if kind == "id"])
def test_the_only_column_is_learned_from_as_advised(name: str) -> None:
    values, _ = COLUMNS[name]
    labels, numbers = ["a", "b"] * 60, rng.normal(size=120).round(3).tolist()
    beside = shendu.data.open(pa.table({"x": values, "n": numbers, "y": labels}), target="y")
    assert "left out: x (all values differ) (to keep one: --type x=text)" in beside.notes
    kept = shendu.data.open(pa.table({"x": values, "n": numbers, "y": labels}), target="y", types=("x=text",))
    assert [len(column.names) > 2 for column in kept.fields["row"].columns] == [True, False]  # type: ignore[attr-defined]
    alone = shendu.data.open(pa.table({"x": values, "y": labels}), target="y")
    field = alone.fields["text"]
    assert isinstance(field, Text)
    assert field.letters == kept.fields["row"].columns[0].form.startswith("letters")  # type: ignore[attr-defined]
    assert any(note.startswith("column x: kept, since there is no other") for note in alone.notes)
    stored = alone.splits["train"].column("text")
    assert len(np.unique(stored, axis=0)) > 100
    np.testing.assert_array_equal(field.parse({"x": values}["x"])[""], stored)
    assert Field.from_json(field.to_json()) == field


def test_no_category_of_values_that_all_differ() -> None:
    with pytest.raises(UserError, match="read its words with --type x=text"):
        shendu.data.open(
            pa.table({"x": COLUMNS["numbered"][0], "y": ["a", "b"] * 60}), target="y", types=("x=category",)
        )


def test_a_rows_texts_say_where_they_are_cut() -> None:
    values = [*(" ".join(rng.choice(NOUNS, 4)) for _ in range(119)), " ".join(rng.choice(NOUNS, 60))]
    data = shendu.data.open(pa.table({"x": values, "n": rng.normal(size=120), "y": ["a", "b"] * 60}), target="y")
    distinct = len(set(values))
    assert f"column x: 1 of {distinct} different texts cut to their first 4 words: 95% are no longer" in data.notes


# ---- the column


def test_vocabulary_is_the_training_texts_most_frequent_first() -> None:
    column, notes = texts.column(["b a b", "a b c", None, "d d"], "review")
    assert column == Text(names=("b", "a", "d"), length=3, column="review")
    assert notes == ("vocabulary of column review: the 3 words seen twice or more in the training texts",)
    assert column.encode(["a c b", "", None, "d"]).tolist() == [[3, 1, 2], [0, 0, 0], [0, 0, 0], [4, 0, 0]]
    assert column.encode(["c"]).dtype == np.int32


def test_words_seen_once_are_known_where_there_are_no_others() -> None:
    assert texts.column(["b", "a"])[0].names == ("a", "b")


def test_vocabulary_and_length_have_limits() -> None:
    many = [" ".join(f"w{i}" for i in range(start, start + 1000)) for start in range(0, 60_000, 1000)]
    column, notes = texts.column(many * 2)
    assert len(column.names) == texts.VOCABULARY_MOST
    assert notes == ("vocabulary: the 50,000 most frequent words in the training texts",)
    column, notes = texts.column(["a " * 2000] * 2)
    assert column.length == texts.WORDS_MOST
    assert notes[1] == "2 of 2 training texts cut to their first 1,024 words: at most 1,024 are kept"
    lengths = texts.column(["a a a"] * 99 + ["a " * 50])
    assert lengths[0].length == 3
    assert lengths[1][1] == "1 of 100 training texts cut to their first 3 words: 98% are no longer"


def test_a_table_column_and_arrow_agree_with_lists() -> None:
    values = [GOOD, BAD, None, "good", ""] * 2000
    arrow = pa.chunked_array([values[:4000], values[4000:]])
    column, notes = texts.column(values, "t")
    assert texts.column(arrow, "t") == (column, notes)
    assert np.array_equal(column.encode(arrow), column.encode(values))


def test_column_is_saved_and_loaded() -> None:
    assert Field.from_json(COLUMN.to_json()) == COLUMN
    assert len(repr(Text(names=("word",) * 10_000, length=3))) < 100


def test_what_a_person_has_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("The film", encoding="utf-16")
    rows = [[2, 3, 0, 0]]
    frame = pa.table({"text": ["The film"], "id": [7]})
    for raw in ("The film", path, ["The film"], np.array(["The film"]), {"text": ["The film"]}, {"text": "The film"},
                frame, frame.to_pandas() if hasattr(frame, "to_pandas") and _pandas() else frame, np.array(rows)):  # fmt: skip
        (piece,) = shendu.data.pieces([raw], {"x": COLUMN})
        assert piece.stored["x"].tolist() == rows
        assert piece.stored["x"].dtype == np.int32


def _pandas() -> bool:
    try:
        import pandas  # noqa: F401
    except ImportError:
        return False
    return True


def test_show_and_example() -> None:
    assert COLUMN.show({"": np.array([2, 1, 1, 4], np.int32)}) == "the … lovely"
    assert COLUMN.show({"": np.zeros(4, np.int32)}) == ""
    long = Text(names=("word",), length=1000)
    assert len(long.show({"": np.full(1000, 2, np.int32)})) <= SHOWN + 2
    x = COLUMN.example(5)[""]
    assert x.shape == (5, 4)
    assert 1 <= int(x.min()) <= int(x.max()) < COLUMN.codes


def test_what_is_to_be_predicted(tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make.write(tmp_path, {"r/a.txt": b"lovely", "r/b.txt": b"the film", "r/c.md": b"no"})
    (tmp_path / "t.csv").write_text("id,text\n7,the film\n8,lovely\n", encoding="utf-8")
    for given_, key, names, rows in (
        ("a lovely film", "input", ["a lovely film"], [[1, 4, 3, 0]]),
        ("x " * 2500, "input", ["x " * 19 + "x…"], [[1, 1, 1, 1]]),
        ("r/a.txt", "input", ["r/a.txt"], [[4, 0, 0, 0]]),
        ("r", "input", ["r/a.txt", "r/b.txt"], [[4, 0, 0, 0], [2, 3, 0, 0]]),
        ("t.csv", "id", ["7", "8"], [[2, 3, 0, 0], [4, 0, 0, 0]]),
    ):
        (piece,) = shendu.data.pieces([given_], {"x": COLUMN})
        assert (piece.key, piece.names, piece.stored["x"].tolist()) == (key, names, rows)


# ---- files


@pytest.mark.parametrize("pack", ["folder", "zip", "tar.gz"])
def test_class_folders(pack: str, tmp_path: Path, make: SimpleNamespace) -> None:
    given_files = {f"train/{k}": v for k, v in files().items()} | {f"test/{k}": v for k, v in files(each=1).items()}
    path = tmp_path / f"reviews.{pack}"
    {"folder": make.write, "zip": make.write_zip, "tar.gz": make.write_tar}[pack](path, given_files)
    data = shendu.data.open(path)
    column = data.fields["text"]
    assert isinstance(column, Text)
    assert column.names == ("a", "dull", "film", "lovely", "!", "as", "rain", "truly", "what")
    assert column.length == 7
    assert data.classes == ("bad", "good")
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 6, "test": 2}
    assert column.show({"": data.splits["test"].column("text")[1]}) == "a lovely film truly lovely !"
    assert data.splits["train"].column("label").tolist() == [0, 0, 0, 1, 1, 1]
    assert data.notes == ("vocabulary: the 9 words seen twice or more in the training texts",)
    for part in ("train", "test"):
        texts = [BAD, GOOD] if part == "test" else [BAD] * 3 + [GOOD] * 3
        assert np.array_equal(data.splits[part].column("text"), column.encode(texts))


def test_only_training_texts_make_the_vocabulary(tmp_path: Path, make: SimpleNamespace) -> None:
    test = {"test/good/1.txt": b"secret secret secret", "test/bad/1.txt": b"secret"}
    data = shendu.data.open(make.write(tmp_path, {f"train/{k}": v for k, v in files().items()} | test))
    assert "secret" not in data.fields["text"].names  # type: ignore[attr-defined]
    assert set(data.splits["test"].column("text").ravel().tolist()) == {0, 1}


def test_labels_from_names(tmp_path: Path, make: SimpleNamespace) -> None:
    named = {f"{label}_{i}.txt": one for i in range(3) for label, one in (("pos", b"good"), ("neg", b"bad"))}
    data = shendu.data.open(make.write(tmp_path, named), label_from="{label}_*", test_from="_2")
    assert data.classes == ("neg", "pos")
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 4, "test": 2}


def test_reviews_without_a_label_are_no_class(tmp_path: Path, make: SimpleNamespace) -> None:
    data = shendu.data.open(make.write(tmp_path, files() | {"unsup/1.txt": b"who knows", "unsup/2.txt": b"hm"}))
    assert data.classes == ("bad", "good")
    assert data.notes[0] == "in the folder unsup, without a class, left out: 2 texts"


def test_two_languages_and_many_classes(tmp_path: Path, make: SimpleNamespace) -> None:
    spoken = {f"{label}/{i}.txt": f"{what} {i}".encode() for i in range(2)
              for label, what in (("中文", "电影 很好"), ("العربية", "فيلم جميل"), ("deutsch", "ein schöner Film"))}  # fmt: skip
    spoken |= {f"class {n}/{i}.txt": f"word{n}".encode() for n in range(100) for i in range(2)}
    data = shendu.data.open(make.write(tmp_path, spoken))
    assert len(data.classes) == 103
    assert {"电", "فيلم", "schöner", "word7"} <= set(data.fields["text"].names)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoding", "called"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-16-be", "UTF-16"),
     ("utf-32", "UTF-32"), ("cp1252", "Windows-1252")],
)  # fmt: skip
def test_encodings(encoding: str, called: str, tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path, files(good="Ein schöner Film für alle".encode(encoding)))
    data = shendu.data.open(root)
    assert data.fields["text"].show({"": data.splits["train"].column("text")[3]}) == "ein schöner film für alle"
    read = [note for note in data.notes if "read as" in note]
    assert read == ([f"3 texts read as {called}: good/0.txt, good/1.txt, good/2.txt"] if called else [])


def test_of_a_huge_file_the_beginning_is_read(tmp_path: Path, make: SimpleNamespace) -> None:
    huge = ("ö" * 3 + " word ") * 400_000
    data = shendu.data.open(make.write(tmp_path, files(good=huge, each=1)))
    assert data.fields["text"].stored == (texts.WORDS_MOST,)
    assert set(data.splits["train"].column("text")[1].tolist()) <= set(range(len(data.fields["text"].names) + 2))  # type: ignore[attr-defined]


# ---- what is wrong with some of them


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "an empty file"),
        (b" \n\t ", "nothing but white space"),
        ("\ufeff \n".encode("utf-16"), "nothing but white space"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "not a text but binary data"),
        (bytes(100), "not a text but binary data"),
        (b"\x7fELF\x01\x02\x01\0\0\0\0\0\0\0\0\0\x03", "not a text but binary data"),
        (b"\xff\xd8\xff\xe0 \x81\x8d", "neither UTF-8 nor, by its letters, Windows-1252 text"),
        (b"\xff\xfea\0\0\xd8b\0", "no valid UTF-16"),
        (b"\xff\xfe\0\0\xff\xff\xff\xff", "no valid UTF-32"),
    ],
)
def test_files_that_are_no_texts(content: bytes, why: str, tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path, files() | {"bad/9.txt": content})
    assert refused(root) == (
        f"{root} has 1 unreadable text, the first is bad/9.txt ({why}): mend or remove them, or add --skip-bad"
    )
    kept = shendu.data.open(root, skip_bad=True)
    assert len(kept.splits["train"]) == 6
    assert kept.notes[-1] == "1 unreadable text skipped: bad/9.txt"
    with pytest.raises(UserError) as caught:
        list(shendu.data.pieces([root / "bad/9.txt"], {"x": COLUMN}))
    assert str(caught.value) == f"cannot read {root / 'bad/9.txt'}: {why}; give a text file in UTF-8"


def test_nothing_to_learn_from(tmp_path: Path, make: SimpleNamespace) -> None:
    empty = make.write(tmp_path / "empty", files(good=b"", bad=b""))
    assert refused(empty, skip_bad=True) == f"{empty} has no readable training text: bad/0.txt (an empty file)"
    dots = make.write(tmp_path / "dots", files(good="...", bad="-"))
    assert refused(dots) == (
        f"{dots} holds no word in its training texts: there is nothing to learn from, give other texts"
    )
    one = make.write(tmp_path / "one", {"a/1.txt": b"x", "a/2.txt": b"y"})
    assert refused(one).startswith(f"{one} has only one class (a)")
    loose = make.write(tmp_path / "loose", {"parts/1.txt": b"x", "2.txt": b"y"})
    assert refused(loose).startswith(f"{loose} has only one class (parts)")


def test_a_class_that_is_never_learned(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path, {f"train/{k}": v for k, v in files().items()} | {"test/ugly/1.txt": b"x"})
    assert refused(root) == (
        f"{root} has the class ugly in its test part but not in train: add training texts of it, or take ugly out of test"
    )


def test_damaged_archive(tmp_path: Path, make: SimpleNamespace) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files().items():
            archive.writestr(name, data)
    path = tmp_path / "reviews.zip"
    path.write_bytes(out.getvalue().replace(BAD.encode(), b"x" * len(BAD), 1))
    assert refused(path) == (
        f"{path} has 1 unreadable text, the first is bad/0.txt (damaged in the archive (Bad CRC-32 for file 'bad/0.txt')): "
        "mend or remove them, or add --skip-bad"
    )


def test_what_cannot_be_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    for given_input, line in (
        ("gone.txt", "no such file: gone.txt"),
        ("reviews/gone", "no such file: reviews/gone"),
        ("gone.csv", "no such file: gone.csv"),
        ("none", "none holds no texts (.txt)"),
    ):
        with pytest.raises(UserError) as caught:
            list(shendu.data.pieces([given_input], {"x": COLUMN}))
        assert str(caught.value) == line


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"texts": ["x"]}, "there is no column 'text', which the model reads; did you mean 'texts'?"),
        (pa.table({"body": ["x"]}), "there is no column 'text', which the model reads; known: body"),
        (
            np.zeros((2, 3), np.float32),
            "the model takes texts, or their words' codes as integers [n, 4] from 0 to 4; this array is float32 [2, 3]",
        ),
        (
            np.full((2, 4), 9),
            "the model takes texts, or their words' codes as integers [n, 4] from 0 to 4; this array is int64 [2, 4]",
        ),
    ],
)
def test_inputs_that_do_not_fit(raw: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        list(shendu.data.pieces([raw], {"x": COLUMN}))
    assert str(caught.value) == line


@given(st.binary(max_size=300) | st.text(max_size=99).map(lambda s: s.encode("utf-16")))
def test_any_bytes_are_a_text_or_refused(data: bytes) -> None:
    try:
        found, encoding = text_file.decoded(data)
    except ValueError as error:
        found, encoding = "refused", str(error)
    assert found.strip()
    assert encoding in ("UTF-8", "UTF-16", "UTF-32", "Windows-1252") or re.fullmatch(
        r"(an|no|not|nothing) .*|neither .*", encoding
    )


@pytest.mark.data
def test_imdb() -> None:
    data = shendu.data.open("imdb")
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 12_500, "test": 12_500}
    assert data.classes == ("neg", "pos")
    assert np.bincount(data.splits["test"].column("label")).tolist() == [6250, 6250]
    assert data.fields["text"].names[:5] == ("the", "and", "a", "of", "to")  # type: ignore[attr-defined]


def test_words_for_nothing_are_empty_texts(tmp_path: Path) -> None:
    """Also when the run is asked."""
    texts = ["good film indeed", "bad film indeed", "NA"] * 12
    (tmp_path / "t.csv").write_text("text,y\n" + "".join(f"{t},{'ab'[i % 2]}\n" for i, t in enumerate(texts)))
    data = shendu.data.open(tmp_path / "t.csv", target="y", missing="NA")
    name, field = data.input, data.fields[data.input]
    (piece,) = shendu.data.pieces([{"text": ["NA", "good film"]}], {name: field})
    assert [bool(row.any()) for row in piece.stored[name]] == [False, True]
    assert Field.from_json(field.to_json()) == field
