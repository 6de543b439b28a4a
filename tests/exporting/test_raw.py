"""What a graph is given becomes, by tensor operations, what the door for a person's rows stores: of every kind of field."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageOps

from shendu import data as data_module
from shendu.data import resizing
from shendu.data.cells import Cells, split_words
from shendu.data.fields.audio import Audio
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.fields.sequence import Sequence
from shendu.data.fields.series import Series
from shendu.data.fields.text import Text
from shendu.data.tokens import BPE, Characters
from shendu.data.wordlists import of_cells, of_letters, of_texts
from shendu.data.words import letters, words
from shendu.field import Field

WORDS = ("the", "film", "isn't", "good", "!", "日", "本", "naïve", "été", "x2")
FIELDS: dict[str, Field] = {
    "gray": Image(height=8, width=8, channels=1),
    "colours": Image(height=11, width=7, channels=3),
    "deep": Image(height=6, width=9, channels=1, levels=(0.0, 4095.0)),
    "transparent": Image(height=5, width=5, channels=4),
    "sound": Audio(rate=8000, length=1200),
    "numbers": Number(shape=(3, 2), mean=(0.0,) * 6, std=(1.0,) * 6),
    "far numbers": Number(shape=(2,), mean=(0.0, 0.0), std=(1.0, 3.0), offset=(1.7e9, -4e8)),
    "series": Series(window=12, horizon=1),
    "far series": Series(window=5, horizon=2, offset=(1.7e9,)),
    "letters": Sequence(letters=("A", "C", "G", "T"), length=30, ambiguous=("N=ACGT",)),
    "text": Text(names=WORDS, length=9),
}


def tensors(values: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(t)) for name, t in values.items()}


@pytest.mark.parametrize("size", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("name", FIELDS)
def test_what_a_graph_is_given_is_stored_as_a_persons_rows_are(name: str, size: float) -> None:
    field = FIELDS[name]
    own = {part: t.numpy() for part, t in field.example(5).items()}
    given, stored = field.offered(own, size)
    ports = field.ports()
    assert list(given) == list(ports)
    for part, port in ports.items():
        assert str(given[part].dtype) == port.dtype
        fixed = [(i, s) for i, s in enumerate(port.shape, 1) if isinstance(s, int)]
        assert all(given[part].shape[i] == s for i, s in fixed)
    found = field.received(tensors(given))
    for part, wanted in tensors(stored).items():
        assert found[part].dtype == wanted.dtype
        assert torch.equal(found[part], wanted), part


def test_pictures_of_any_size_are_pillows_own() -> None:
    """But for levels that lie between two to the last bit; of taller pictures Pillow 13 resizes some down first."""
    rng, differ, of = np.random.default_rng(0), 0, 0
    for trial in range(80):
        height, width = rng.integers(1, 40, 2).tolist()
        h = int(rng.integers(1, 70))
        w = max(1, round(h * width / height) + int(rng.integers(0, 60)))
        x = rng.integers(0, 256, (h, w, 1 if trial % 2 else 3), np.uint8)
        picture = Pillow.fromarray(x[..., 0] if x.shape[2] == 1 else x)
        wanted = np.asarray(ImageOps.fit(picture, (width, height), Pillow.Resampling.BILINEAR)).reshape(
            height, width, -1
        )
        found = resizing.fit(torch.from_numpy(x)[None], height, width)[0].numpy()
        off = np.abs(found - wanted.astype(float))
        assert off.max() <= 1, (h, w, height, width)
        if h * width <= w * height:
            differ, of = differ + int(off.sum()), of + off.size
    assert differ <= 1e-3 * of


def test_pictures_of_the_same_size_stay_as_they_are() -> None:
    x = torch.randint(256, (2, 13, 9, 3), dtype=torch.uint8)
    assert torch.equal(resizing.fit(x, 13, 9), x.float())


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    rng, n = np.random.default_rng(1), 90
    begin = datetime.datetime(1996, 2, 28, 22, 15)
    return pd.DataFrame({
        "age": rng.integers(18, 80, n).astype(float), "stamp": 1.7e9 + rng.random(n) * 50,
        "town": rng.choice(["Bonn", "Köln", "Ulm"], n), "member": rng.choice(["yes", "no"], n),
        "since": [str(begin + datetime.timedelta(days=int(d), seconds=int(d) * 77)) for d in rng.integers(0, 9000, n)],
        "remark": [f"really a {rng.choice(['fine', 'bad', 'odd'])} day number {i}, isn't it? said {i}" for i in range(n)],
        "income": rng.random(n),
    })  # fmt: skip


@pytest.fixture(scope="module")
def row(people: pd.DataFrame) -> tuple[Row, np.ndarray]:
    found = data_module.open(people, target="income").split_off()
    field = found.fields[found.input]
    assert isinstance(field, Row)
    return field, found.splits["train"].column(found.input)[:40]


def test_cells_of_a_table_are_stored_as_its_reader_stores_them(
    people: pd.DataFrame, row: tuple[Row, np.ndarray]
) -> None:
    """By the column's names: numbers, words by what may stand in a cell, and moments, leap years and all."""
    field = row[0]
    assert {column.kind for column in field.columns} >= {"number", "category", "boolean", "date"}
    stored = field.parse(people)[""]
    ports, given = field.ports(), {}
    for name, port in ports.items():
        cells = people[name]
        if port.words:
            given[name] = np.array([port.words.get(str(cell), port.otherwise) for cell in cells])
        elif name == "since":
            given[name] = pd.to_datetime(cells).astype("int64").to_numpy() / 1e9
            given[name] = given[name] if given[name].max() > 1e8 else given[name] * 1e3
        elif port.shape:
            tokenizer = __import__("tokenizers").Tokenizer.from_str(field.tokenizers()[name])
            codes = [tokenizer.encode(str(cell)).ids for cell in cells]
            given[name] = np.array([row + [0] * (max(map(len, codes)) - len(row)) for row in codes])
        else:
            given[name] = cells.to_numpy(port.dtype)
    found = field.received(tensors(given))[""].numpy()
    np.testing.assert_allclose(found, stored, rtol=0, atol=2e-4)


def test_offered_rows_are_the_stored_ones(row: tuple[Row, np.ndarray]) -> None:
    field, values = row
    missing = values.copy()
    missing[0, list(field.numeric)] = np.nan
    given, stored = field.offered({"": missing}, 1.0)
    np.testing.assert_array_equal(field.received(tensors(given))[""].numpy(), stored[""])
    np.testing.assert_allclose(stored[""], missing, rtol=0, atol=2e-3)


def test_words_and_letters_have_the_codes_that_the_library_gives_them() -> None:
    from tokenizers import Tokenizer

    texts = [
        "The film isn't good!", "THE <b>film</b> &amp; the x2", "日本 naïve ETÉ été", "don\u2019t\u200d the\nfilm_good", "", "!?",
        "the " * 30, "a" * 90,
    ]  # fmt: skip
    code = {name: i + 2 for i, name in enumerate(WORDS)}
    known = Tokenizer.from_str(of_texts(WORDS).to_str())
    for text in texts:
        assert known.encode(text).ids == [code.get(word, 1) for word in words(text)], text
    alphabet = tuple(dict.fromkeys("".join("".join(letters(text)) for text in texts)))
    code = {name: i + 2 for i, name in enumerate(alphabet)}
    for text in texts:
        assert of_letters(alphabet).encode(text).ids == [code[letter] for letter in letters(text)], text


def test_cells_have_the_codes_that_the_library_gives_them() -> None:
    import pyarrow as pa

    cells = ["Really a fine day, isn't it? 日本", "'quoted' words''here", "nothing &nbsp; <i>else</i>"]
    coded = Cells("x", pa.chunked_array([cells])).coded.values
    found, counts = split_words(coded)
    names = tuple(dict.fromkeys(found.to_pylist()))
    code = {name: i + 2 for i, name in enumerate(names)}
    wanted = np.split([code[word] for word in found.to_pylist()], np.cumsum(counts)[:-1])
    for text, ids in zip(cells, wanted, strict=True):
        assert of_cells(names).encode(text).ids == ids.tolist(), text


def test_tokenizers_are_those_of_the_library() -> None:
    text = "To be, or not to be:\nthat is the question.\r\n  Ünïcode 日本"
    for own in (Characters.of(text), BPE.of(text * 3, 300)):
        made = own.library()
        assert made.encode(text).ids == own.encode(text).tolist()
        assert made.decode(made.encode(text).ids) == text


def test_a_field_that_no_tensor_holds_says_so(one_line: Any) -> None:
    from shendu.data.fields.sentence import Sentence
    from shendu.errors import UserError

    with pytest.raises(UserError, match="varying length") as caught:
        Sentence().ports()
    one_line(caught.value)


def test_every_port_says_what_it_holds(row: tuple[Row, np.ndarray]) -> None:
    for field in (*FIELDS.values(), row[0], dataclasses.replace(FIELDS["text"], letters=True)):  # type: ignore[type-var]
        assert all(port.about for port in field.ports().values())
