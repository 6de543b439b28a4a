"""Readers and fields are found by being there: the surest reads, and any field is kept, parsed and shown by its own word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image as Pillow

import shendu.data
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.fields.prose import Prose
from shendu.data.fields.text import Text
from shendu.data.files import cache
from shendu.data.files.cache import Decoded, Room
from shendu.data.ragged import Ragged, joined
from shendu.data.reader import Claim, Key, Place, Reader
from shendu.errors import UserError
from shendu.field import Field, Storage, Values
from shendu.reading import Reading

pytestmark = pytest.mark.usefixtures("fresh_cache")

WORDS = Text(names=("good", "bad"), length=3)


@pytest.fixture
def known() -> Iterator[None]:
    """What a test defines is forgotten after it."""
    readers, fields = dict(Reader.known), dict(Field.known)
    yield
    for registry, before in ((Reader.known, readers), (Field.known, fields)):
        registry.clear()
        registry.update(before)


# ---- who reads


def test_pictures_with_a_readme_are_pictures(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {**make.pictures(["cat/1.png", "dog/1.png"]), "README.txt": b"about these pictures"}
    data = shendu.data.open(make.write(tmp_path / "pets", files))
    assert data.classes == ("cat", "dog")


def test_two_kinds_of_files_are_told_apart_by_their_number(
    tmp_path: Path, make: SimpleNamespace, one_line: Any
) -> None:
    files = {**make.pictures(["cat/1.png", "dog/1.png"]), "cat/one.txt": b"a cat", "dog/one.txt": b"a dog"}
    place = make.write(tmp_path / "pets", files)
    with pytest.raises(UserError) as caught:
        shendu.data.open(place)
    assert one_line(caught.value) == (
        f"{place} could be read as pictures (2 pictures among 4 files) or texts (2 texts among 4 files): "
        "say which with --reader pictures"
    )
    assert shendu.data.open(place, reader="pictures").inputs == ("image",)
    assert shendu.data.open(place, reader="texts").inputs == ("text",)
    data = shendu.data.open(make.write(place, make.pictures(["dog/2.png"])))
    assert (data.inputs, data.notes[0]) == (
        ("image",), "read as pictures: 3 pictures among 5 files (another: --reader texts)",
    )  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_a_named_reader_that_cannot_read_it(packed: bool, tmp_path: Path, make: SimpleNamespace, one_line: Any) -> None:
    files = make.pictures(["cat/1.png", "dog/1.png"])
    place = make.write_zip(tmp_path / "x.zip", files) if packed else make.write(tmp_path / "x", files)
    for name, line in (
        ("tables", f"{place} holds nothing that the reader tables reads; leave --reader out"),
        ("picture", "unknown reader 'picture'; did you mean 'pictures'?"),
    ):
        with pytest.raises(UserError) as caught:
            shendu.data.open(place, reader=name)
        assert one_line(caught.value) == line


def test_a_file_that_is_a_part_stands_for_its_folder(tmp_path: Path, make: SimpleNamespace) -> None:
    make.mnist_like(tmp_path / "set")
    data = shendu.data.open(tmp_path / "set" / "train-images-idx3-ubyte.gz")
    assert (data.name, data.source) == ("set", str(tmp_path / "set"))


def test_rows_as_dicts_are_a_table() -> None:
    rows = [{"age": 20 + i, "town": "ab"[i % 2], "label": i % 3 == 0} for i in range(30)]
    data = shendu.data.open(rows)
    assert (data.inputs, data.targets, len(data.splits["train"])) == (("row",), ("target",), 30)
    other = shendu.data.open(rows[:4], fields={"x": data.fields["row"], "y": data.fields["target"]})
    np.testing.assert_array_equal(other.splits["train"].column("x"), data.splits["train"].column("row")[:4])


# ---- a person's own


def own_field() -> type[Field]:
    @dataclass(frozen=True, kw_only=True)
    class Things(Field):
        kind: ClassVar[str] = "things"
        words: ClassVar[str] = "things with corners"
        parts: ClassVar[tuple[str, ...]] = ("", "_size")

        most: int = 9

        def storage(self) -> dict[str, Storage]:
            return {"": Storage("float32", (4,), True), "_size": Storage("int64", (2,))}

        def parse(self, values: Any) -> Values:
            return {"": Ragged.of([v["boxes"] for v in values], "float32", (4,)),
                    "_size": np.array([v["size"] for v in values], np.int64)}  # fmt: skip

        def show(self, own: dict[str, np.ndarray]) -> str:
            return f"{len(own[''])} in {own['_size'].tolist()}"

    return Things


def own_reader(field: Field, rows: list[Any]) -> type[Reader]:
    class OfThings(Reader):
        name = "things"

        def claims(self, place: Place, reading: Reading) -> Claim | None:
            mine = place.file and place.file.suffix == ".things"
            return Claim(0.99, "a .things file", place.file) if mine else None

        def key(self, claim: Claim) -> Key:
            return Key({"file": claim.found}, {"kind": "things"})

        def read(self, claim: Claim, room: Room) -> Decoded:
            train = {"things" + part: values for part, values in field.parse(rows).items()}
            return Decoded(fields={"things": field}, splits={"train": train}, inputs=("things",))

    return OfThings


ROWS = [{"boxes": [[i, j, 3, 4] for j in range(i % 4)], "size": [i, 2]} for i in range(30)]


def test_a_persons_field_and_reader(known: None, tmp_path: Path) -> None:
    """Several stored parts, one of them ragged with dimensions of its own, without a target; kept, split and shown."""
    made = own_field()(most=5)  # type: ignore[call-arg]
    own_reader(made, ROWS)
    (tmp_path / "a.things").write_bytes(b"things")
    assert Field.from_json(made.to_json()) == made
    for _ in range(2):
        data = shendu.data.open(tmp_path / "a.things")
        train = data.splits["train"]
        assert (data.inputs, data.targets, data.target, data.overlap, len(train)) == (("things",), (), "", 1, 30)
        assert train.column("things").shape == (30,)
        for i in range(30):
            assert train.column("things")[i].tolist() == [[float(v) for v in box] for box in ROWS[i]["boxes"]]
        assert train.column("things_size").tolist() == [row["size"] for row in ROWS]
    parts = data.split_off().splits
    kept = [part.values("things", made) for part in parts.values()]
    assert sorted(size[0] for own in kept for size in own["_size"].tolist()) == list(range(30))
    for own in kept:
        assert own[""].lengths.tolist() == [size[0] % 4 for size in own["_size"].tolist()]
    assert "3 in [3, 2]" in data._repr_html_()
    with pytest.raises(UserError, match="has no target, so no classes"):
        assert data.classes
    (piece,) = shendu.data.pieces([[{"things": row} for row in ROWS]], {"things": made})
    assert (piece.key, piece.names[:2], set(piece.stored)) == ("row", ["1", "2"], {"things", "things_size"})
    assert piece.stored["things"].values.shape == train.column("things").values.shape


def test_no_file_can_name_code(one_line: Any) -> None:
    for kind in ("os", "..core", "spectrogram", "__init__", ["image"], 3, None):
        with pytest.raises((UserError, TypeError)) as caught:
            Field.from_json({"kind": kind})
        assert not isinstance(caught.value, UserError) or "unknown kind of field" in one_line(caught.value)


# ---- parts


def test_only_the_training_part_needs_a_target(known: None) -> None:
    fields: dict[str, Field] = {"x": Number(), "y": Category(names=("a", "b"))}
    x, y = np.arange(6, dtype=np.float32), np.arange(6) % 2
    made = Decoded(fields=fields, splits={"train": {"x": x, "y": y}, "test": {"x": x}}, inputs=("x",), targets=("y",))
    data = cache.through_arrays(made, "half")
    assert {part: list(split.columns) for part, split in data.splits.items()} == {"train": ["x", "y"], "test": ["x"]}
    assert len(data.split_off().splits["test"]) == 6


def test_ragged_rows_of_boxes() -> None:
    rows = [np.arange(4.0 * n).reshape(n, 4) for n in (2, 0, 3)]
    made = Ragged.of(rows, "float32", (4,))
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(made[i], row)
    assert (made.values.shape, made.lengths.tolist()) == ((5, 4), [2, 0, 3])
    np.testing.assert_array_equal(made[[2, 0]][1], rows[0])
    padded = made.padded(2)
    assert padded.shape == (3, 2, 4)
    np.testing.assert_array_equal(padded[2], rows[2][:2])
    assert not padded[1].any()
    twice = joined([made, made[1:]])
    assert [twice[i].tolist() for i in range(5)] == [row.tolist() for row in (*rows, *rows[1:])]
    assert Ragged.of([], "float32", (4,)).values.shape == (0, 4)


# ---- what a model is asked about


def test_rows_of_several_fields(one_line: Any) -> None:
    fields: dict[str, Field] = {"picture": Image(height=2, width=2, channels=1), "words": WORDS}
    light, dark = (Pillow.new("L", (2, 2), shade) for shade in (200, 10))
    rows = [{"picture": light, "words": "good"}, {"picture": dark, "words": "so bad"}]
    for given in (rows, {"picture": [light, dark], "words": ["good", "so bad"]}):
        (piece,) = shendu.data.pieces([given], fields)
        assert (piece.key, piece.names) == ("row", ["1", "2"])
        assert piece.stored["picture"][:, 0, 0, 0].tolist() == [200, 10]
        assert piece.stored["words"].tolist() == [[2, 0, 0], [1, 3, 0]]
    with pytest.raises(UserError) as caught:
        list(shendu.data.pieces([[{"picture": light}]], fields))
    assert one_line(caught.value) == (
        'a list says nothing of picture, words; give rows like [{"picture": …, "words": …}]'
    )


def test_single_rows_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shendu.data, "PIECE", 3)
    found = list(shendu.data.pieces(["good", "bad", "so", "good"], {"x": WORDS}))
    assert [piece.names for piece in found] == [["good", "bad", "so"], ["good"]]
    assert [piece.stored["x"][:, 0].tolist() for piece in found] == [[2, 3, 1], [2]]
    found = list(shendu.data.pieces(["a", "b"], {"x": Prose()}))
    assert [(piece.names, piece.stored["x"].tobytes()) for piece in found] == [(["a"], b"a"), (["b"], b"b")]


def test_an_array_of_several_rows_names_each() -> None:
    number = Number(shape=(2,))
    (piece,) = shendu.data.pieces([np.eye(2), [[5, 6], [7, 8]], np.ones(2)], {"x": number})
    assert piece.names == ["ndarray[0]", "ndarray[1]", "list[0]", "list[1]", "ndarray"]
    assert piece.stored["x"].tolist() == [[1, 0], [0, 1], [5, 6], [7, 8], [1, 1]]


# ---- encoded by a run's fields


def test_pictures_are_brought_to_a_runs_size_and_classes(tmp_path: Path, make: SimpleNamespace, one_line: Any) -> None:
    place = make.write(tmp_path / "pets", make.pictures(["dog/1.png", "cat/1.png", "cat/2.png"]))
    own = Image(height=3, width=4, channels=1, mean=(9.0,), std=(2.0,))
    data = shendu.data.open(place, fields={"x": own, "y": Category(names=("bird", "dog", "cat"))})
    assert (data.inputs, data.targets, data.fields["x"].statistics()["mean"]) == (("x",), ("y",), (9.0,))
    assert data.splits["train"].column("x").shape == (3, 3, 4, 1)
    assert data.splits["train"].column("y").tolist() == [2, 2, 1]
    without = shendu.data.open(place, fields={"x": own})
    np.testing.assert_array_equal(without.splits["train"].column("x"), data.splits["train"].column("x"))
    with pytest.raises(UserError) as caught:
        shendu.data.open(place, fields={"x": own, "y": Category(names=("dog", "cats"))})
    assert one_line(caught.value) == f"{place} has the class 'cat', which the run has not; did you mean 'cats'?"


def test_classes_of_arrays_have_the_runs_numbers(one_line: Any) -> None:
    given = (np.eye(3), np.array(["b", "c", "b"]))
    fields: dict[str, Field] = {"x": Number(shape=(3,)), "y": Category(names=("a", "b", "c"))}
    data = shendu.data.open(given, fields=fields)
    assert (list(data.fields), data.inputs, data.targets) == (["x", "y"], ("x",), ("y",))
    assert data.splits["train"].column("y").tolist() == [1, 2, 1]
    with pytest.raises(UserError, match=r"has not the classes of the data \(b, c\)"):
        shendu.data.open(given, fields={**fields, "y": Category(names=("x", "y"))})
