"""Sequences of letters: found in tables and ARFF files, coded, spread over what a letter may be, and refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shendu import data as data_module
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.sequence import Sequence
from shendu.data.tables import arff
from shendu.errors import UserError
from shendu.field import Field

pytestmark = pytest.mark.usefixtures("fresh_cache")
DNA = Sequence(letters=tuple("ACGT"), ambiguous=("R=AG", "N=ACGT"), length=8)


def drawn(rows: int, length: int = 20, letters: str = "ACGT", seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), length)) for _ in range(rows)]


def csv(path: Path, header: str, *columns: list[Any]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n")
    return path


def column_of(data: Dataset) -> Sequence:
    column = data.fields[data.input]
    assert isinstance(column, Sequence), column
    return column


# ---- codes and channels


def test_letters_become_channels_and_ambiguous_ones_shares() -> None:
    x = DNA.prepare({"": torch.from_numpy(DNA.parse("ACGTRNa")[""])}, {})[""]
    expected = torch.zeros(1, 4, 8)
    for place, shares in enumerate(
        [{0: 1}, {1: 1}, {2: 1}, {3: 1}, {0: 0.5, 2: 0.5}, dict.fromkeys(range(4), 0.25), {0: 1}]
    ):
        for letter, share in shares.items():
            expected[0, letter, place] = share
    torch.testing.assert_close(x, expected, rtol=0, atol=0)
    assert x.shape[1:] == DNA.shape


def test_stored_and_shown_and_stored_again() -> None:
    words = drawn(50, 8, "ACGTRN")
    codes = DNA.parse(words)[""]
    assert [DNA.show({"": row}) for row in codes] == words
    np.testing.assert_array_equal(DNA.parse(codes)[""], codes)
    assert Field.from_json(DNA.to_json()) == DNA


def test_example_is_one_hot() -> None:
    x = DNA.prepare(DNA.example(5), {})[""]
    assert x.shape == (5, *DNA.shape)
    assert (x.sum(1) == 1).all()


# ---- where sequences are found


def test_a_column_of_sequences(tmp_path: Path) -> None:
    words, names = drawn(40), [f"gene-{i}" for i in range(40)]
    data = data_module.open(csv(tmp_path / "d.csv", "name,dna,kind", names, words, ["a", "b"] * 20))
    column = column_of(data)
    assert (column.letters, column.length, column.columns) == (tuple("ACGT"), 20, ("dna",))
    assert [column.show({"": row}) for row in data.splits["train"].column("sequence")] == words
    assert isinstance(data.fields["target"], Category)
    assert any("not read: name" in note for note in data.notes)


def test_columns_of_single_letters(tmp_path: Path) -> None:
    words = drawn(60, 12)
    header = ",".join(f"p{i}" for i in range(12)) + ",kind"
    path = csv(tmp_path / "d.csv", header, *[[w[i] for w in words] for i in range(12)], ["x", "y"] * 30)
    column = column_of(data_module.open(path))
    assert column.columns == tuple(f"p{i}" for i in range(12))
    assert column.length == 12


def test_a_missing_letter_moves_no_other(tmp_path: Path) -> None:
    words = drawn(60, 12)
    cells = [[w[i] for w in words] for i in range(12)]
    cells[3][0] = ""
    header = ",".join(f"p{i}" for i in range(12)) + ",kind"
    data = data_module.open(csv(tmp_path / "d.csv", header, *cells, ["x", "y"] * 30))
    row = data.splits["train"].column("sequence")[0]
    assert row[3] == 0
    assert column_of(data).show({"": row}) == words[0][:3] + " " + words[0][4:]


@pytest.mark.parametrize(
    ("letters", "known"), [("ACGU", "ACGU"), ("ACDEFGHIKLMNPQRSTVWY", "ACDEFGHIKLMNPQRSTVWY"), ("XYZQ", "QXYZ")]
)
def test_other_alphabets(tmp_path: Path, letters: str, known: str) -> None:
    path = csv(tmp_path / "d.csv", "chain,kind", drawn(60, 30, letters), ["a", "b", "c"] * 20)
    assert "".join(column_of(data_module.open(path)).letters) == known


def test_lower_case_is_the_same(tmp_path: Path) -> None:
    words = drawn(40)
    path = csv(tmp_path / "d.csv", "dna,kind", [w.lower() for w in words[:20]] + words[20:], ["a", "b"] * 20)
    data = data_module.open(path)
    assert [column_of(data).show({"": row}) for row in data.splits["train"].column("sequence")] == words


@pytest.mark.parametrize(
    "table",
    [
        {"word": ["international", "extraordinary", "circumference", "pharmaceutics"] * 10},
        {"text": ["a good film with a long title", "another one of the same kind"] * 20},
        {**{f"q{i}": list("yn" * 20) for i in range(16)}},
        {**{f"trait{i}": list("abcdefgh"[i % 4 :][:4] * 10) for i in range(14)}},
    ],
    ids=["long words", "sentences", "votes", "traits with letters of their own"],
)
def test_what_is_no_sequence(tmp_path: Path, table: dict[str, list[str]]) -> None:
    path = csv(tmp_path / "d.csv", ",".join([*table, "kind"]), *table.values(), ["u", "v"] * 20)
    data = data_module.open(path)
    assert not isinstance(data.fields[data.input], Sequence)


def test_a_person_knows_better(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", "moves,dna,kind", ["0101", "1100", "11", "0"] * 10, drawn(20) * 2, ["a", "b"] * 20)
    forced = column_of(data_module.open(path, types="moves=sequence"))
    assert (forced.letters, forced.columns) == (("0", "1"), ("moves",))
    other = data_module.open(path, types="dna=category,moves=category")
    assert not isinstance(other.fields[other.input], Sequence)


# ---- prediction


def test_items_of_a_table_and_of_a_word(tmp_path: Path) -> None:
    words = drawn(5, 8)
    path = csv(tmp_path / "new.csv", "id,sequence", list(range(5)), words)
    (piece,) = data_module.pieces([path], {"x": DNA})
    assert (piece.key, piece.names) == ("id", ["0", "1", "2", "3", "4"])
    np.testing.assert_array_equal(piece.stored["x"], DNA.parse(words)[""])
    (piece,) = data_module.pieces(["ACGT"], {"x": DNA})
    assert (piece.key, piece.names) == ("input", ["ACGT"])
    np.testing.assert_array_equal(piece.stored["x"], [[1, 2, 3, 4, 0, 0, 0, 0]])


REFUSED: dict[str, tuple[Any, str]] = {
    "a letter never seen": (["ACGT", "ACLT"], "row 2 of the input has the letter 'L', which the model has not seen: it reads ACGTRN"),
    "longer than trained": (["ACGTACGTA"], "row 1 of the input has 9 letters, and the model reads 8: cut it"),
    "an array of another shape": (np.zeros((2, 5)), "the model takes sequences, or codes 0 to 6 of shape [n, 8]; this array has shape [2, 5]"),
    "codes out of range": (np.full((1, 8), 9), "the model takes sequences, or codes 0 to 6 of shape [n, 8]; this array has shape [1, 8]"),
    "a column renamed": ({"sequences": ["ACGT"]}, "the table has no column 'sequence', which the model reads; did you mean 'sequences'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_model_cannot_read_gets_its_line(name: str, one_line: Any) -> None:
    given, expected = REFUSED[name]
    with pytest.raises(UserError) as caught:
        list(data_module.pieces([given], {"x": DNA}))
    assert one_line(caught.value) == expected


def test_a_row_without_a_sequence_gets_its_line(tmp_path: Path, one_line: Any) -> None:
    words = drawn(40)
    words[6] = ""
    path = csv(tmp_path / "d.csv", "dna,kind", words, ["a", "b"] * 20)
    with pytest.raises(UserError) as caught:
        data_module.open(path)
    assert one_line(caught.value) == f"row 7 of {path} has no sequence: leave it out"


# ---- ARFF

WHOLE = """% a comment
@RELATION weather

@attribute 'the outlook' {sunny, 'very wet', "it's fine"}
@attribute temperature REAL
@attribute windy {yes,no}
@Data
sunny, 21.5, yes
'very wet', ?, no
% another comment
"it's fine",3,no
"""


def test_arff_cells(tmp_path: Path) -> None:
    path = tmp_path / "w.arff"
    path.write_text(WHOLE.replace('"it\'s fine"', "fine"))
    found = arff.read(path)
    assert found.column_names == ["the outlook", "temperature", "windy"]
    stripped = [[None if cell is None else cell.strip() for cell in column.to_pylist()] for column in found.columns]
    assert stripped == [["sunny", "very wet", "fine"], ["21.5", None, "3"], ["yes", "no", "no"]]


BROKEN = {
    "no data line": (WHOLE.replace("@Data", "% gone").split("% gone")[0], "PATH has no @data line, so it has no rows: it may be cut off, download or copy it again"),
    "no rows": (WHOLE.split("sunny, 21")[0], "PATH has no rows below @data: add some"),
    "no columns": ("@relation x\n@data\n1\n", "PATH has no @attribute line above @data: write one per column"),
    "a column without a kind": (WHOLE.replace(" REAL", ""), "PATH has '@attribute temperature' in line 5: write it like @attribute age numeric"),
    "an unknown kind": (WHOLE.replace("REAL", "numerical"), "PATH has a column of kind 'numerical' in line 5; did you mean 'numeric'?"),
    "an open list": (WHOLE.replace("{yes,no}", "{yes,no"), "PATH has a list of names without its end in line 6: close it with }"),
    "a stray line": (WHOLE.replace("@Data", "data\n@data"), "PATH has 'data' in line 7 of its header, where @relation, @attribute or @data stands"),
    "a word misspelt": (WHOLE.replace("@attribute windy", "@atribute windy"), "PATH has '@atribute windy {yes,no}' in line 6 of its header, where @relation, @attribute or @data stands; did you mean '@attribute'?"),
    "a name twice": (WHOLE.replace("windy", "temperature"), "PATH has two columns named 'temperature' (line 6): give each its own name"),
    "a short row": (WHOLE.replace("sunny, 21.5, yes", "sunny, 21.5"), "PATH has 2 cells in row 1 (near line 8) for 3 columns: correct that row"),
    "sparse rows": (WHOLE.replace("sunny, 21.5, yes", "{1 21.5}"), "PATH has sparse rows ({index value, …}), which are not read: save it with all values"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_arff_gets_its_line(name: str, tmp_path: Path, one_line: Any) -> None:
    text, expected = BROKEN[name]
    path = tmp_path / "w.arff"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        arff.read(path)
    assert one_line(caught.value).replace(str(path), "PATH") == expected


# ---- published sets


@pytest.mark.data
def test_uci_splice_is_one_sequence_of_sixty_bases() -> None:
    data = data_module.open("uci-splice")
    column = column_of(data)
    assert (len(data.splits["train"]), column.length, column.letters) == (3190, 60, tuple("ACGT"))
    assert np.bincount(data.splits["train"].column("target")).tolist() == [767, 768, 1655]
    assert column.show({"": data.splits["train"].column("sequence")[0]}).startswith("CCAGCTGCATCACAGGAGGCCAGCGAGCAGG")


@pytest.mark.data
def test_uci_promoters_is_a_column_of_57_bases() -> None:
    data = data_module.open("uci-promoters")
    assert (len(data.splits["train"]), column_of(data).length) == (106, 57)
    assert np.bincount(data.splits["train"].column("target")).tolist() == [53, 53]
