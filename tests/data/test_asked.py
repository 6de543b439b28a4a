"""A model is asked about whatever it could be trained on: every reader by its existence, and every dress of the same files."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image as Pillow
from pyarrow import parquet

import shendu
from shendu import UserError
from shendu.data import readers
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.files import archive
from shendu.data.ragged import Ragged

SIDE = 8


def shade(i: int, size: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """Pictures that differ."""
    return np.full((*size, 3), 10 * i, np.uint8)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "png")
    return out.getvalue()


CUT = png(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))[:1000]


def wave(i: int) -> bytes:
    samples = (np.sin(np.arange(2000) * (i + 1) / 50) * 9000).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    return head + struct.pack("<4sI", b"data", len(samples)) + samples


def written(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


class Pairs(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> Any:
        return torch.full((2,), float(i)), i % 2


def of_omniglot(root: Path) -> Path:
    drawings = {f"back/Greek/character0{c}/0{c}0{i}_0{i}.png": png(shade(c + i)) for c in (1, 2) for i in (1, 2)}
    runs: dict[str, bytes | str] = {
        f"all/run01/{kind}/{i}.png": png(shade(10 + i + len(kind))) for kind in ("training", "test") for i in (1, 2)
    }
    runs["all/run01/class_labels.txt"] = "".join(f"all/run01/test/{i}.png all/run01/training/{i}.png\n" for i in (1, 2))
    for name, files in (
        ("images_background_small1", drawings),
        ("images_background_small2", drawings),
        ("all_runs", runs),
    ):
        shutil.make_archive(str(root / "o" / name), "zip", written(root / name, dict(files)))
    return root / "o"


def of_idx(root: Path) -> Path:
    x = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 5, 5), np.uint8)
    parts = {"train-images-idx3-ubyte": x[:4], "t10k-images-idx3-ubyte": x[4:]}
    labels = {"train-labels-idx1-ubyte": x[:4, 0, 0] % 2, "t10k-labels-idx1-ubyte": x[4:, 0, 0] % 2}
    return written(root / "i", {name: idx(array) for name, array in {**parts, **labels}.items()})


def of_cifar(root: Path) -> Path:
    records = [bytes([i % 2]) + bytes([20 * i]) * 3072 for i in range(6)]
    batches = {"data_batch_1.bin": b"".join(records[:4]), "test_batch.bin": b"".join(records[4:])}
    return written(root / "c", {**batches, "batches.meta.txt": "cat\ndog\n"})


ROWS = [{"age": 20.0 + i, "town": ("Ulm", "Rom")[i % 2], "y": ("a", "b")[i // 2 % 2]} for i in range(12)]
LINES = "age,town,y\n" + "".join(f"{row['age']},{row['town']},{row['y']}\n" for row in ROWS)
BASES = "".join(f"{'ACGT'[i % 4]}{'GATTACA' * 3}{'TGCA'[i // 4 % 4]},{'ab'[i % 2]}\n" for i in range(16))

TRAINED: dict[str, Callable[[Path], Any]] = {
    "arrays": lambda root: {"x_train": np.eye(4), "y_train": np.arange(4) % 2, "x_test": 2 * np.eye(4), "y_test": np.arange(4) % 2},
    "cifar": of_cifar,
    "idx": of_idx,
    "objects": lambda root: pa.Table.from_pylist(ROWS),
    "omniglot": of_omniglot,
    "pictures": lambda root: written(root / "p", {f"{'ab'[i % 2]}/{i}.png": png(shade(i)) for i in range(6)}),
    "plain": lambda root: ROWS,
    "prose": lambda root: written(root, {"t.txt": "the end of it all "}) / "t.txt",
    "recordings": lambda root: written(root / "r", {f"{'ab'[i % 2]}/{i}.wav": wave(i) for i in range(6)}),
    "sentences": lambda root: written(root / "s", {"train.de": "ein\nzwei\n", "train.en": "one\ntwo\n", "test.de": "drei\n", "test.en": "three\n"}),
    "sequences": lambda root: written(root, {"q.csv": "bases,y\n" + BASES}) / "q.csv",
    "tables": lambda root: written(root, {"t.csv": LINES}) / "t.csv",
    "texts": lambda root: written(root / "t", {f"{'ab'[i % 2]}/{i}.txt": f"word{i} and more" for i in range(6)}),
    "torch": lambda root: {"train": Pairs(), "test": Pairs()},
}  # fmt: skip
"""Reader -> something that it is trained on; of series below."""


def test_every_reader_is_tried() -> None:
    """Those of people's own files, which other tests define, are theirs."""
    ours = {name for name, reader in readers.readers().items() if type(reader).__module__.startswith("shendu.")}
    assert ours == {*TRAINED, "series"}


def rows_of(values: Any) -> list[bytes]:
    count = len(values)
    return [np.asarray(values[i]).tobytes() for i in range(count)]


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_trained_on_can_be_asked_about(name: str, tmp_path: Path) -> None:
    """The same bytes come through both doors."""
    given = TRAINED[name](tmp_path)
    data = (
        shendu.open_data(given, target="y")
        if name in ("plain", "objects", "tables", "sequences")
        else shendu.open_data(given)
    )
    field = data.fields[data.input]
    found = list(shendu.data.pieces([given], {"x": field}))
    learned = [row for split in data.splits.values() for row in rows_of(split.column(data.input))]
    asked = [row for piece in found for row in rows_of(piece.stored["x"])]
    assert sorted(asked) == sorted(learned)
    assert len({one for piece in found for one in piece.names}) == (1 if field.running else len(learned))


def test_a_series_is_asked_about_as_it_is_trained_on(tmp_path: Path) -> None:
    days = [f"2024-01-{i + 1:02d},{i}.5" for i in range(30)]
    table = written(tmp_path / "f", {"sales.csv": "day,y\n" + "\n".join(days)}) / "sales.csv"
    data = shendu.open_data(table, time="day", target="y", horizon=2)
    packed = shutil.make_archive(str(tmp_path / "z"), "zip", tmp_path / "f")
    for given in (table, table.parent, packed, table.open("rb")):
        (piece,) = shendu.data.pieces([given], {"x": data.fields[data.input]})
        assert piece.names == ["2024-01-31", "2024-02-01"]


# ---- pictures in every dress -----------------------------------------------------------------------------------------

FIELD = Image(height=SIDE, width=SIDE, channels=3)
SHADES = (1, 9, 20)


def ask(*given: Any, **how: Any) -> list[int]:
    """The shade of every picture."""
    found = list(shendu.data.pieces(given, {"x": FIELD}, **how))
    return [int(row[0, 0, 0]) // 10 for piece in found for row in piece.stored["x"]]


def cells() -> list[dict[str, Any]]:
    return [{"id": f"k{i}", "photo": {"bytes": png(shade(i, (9, 12))), "path": None}, "y": "a"} for i in SHADES]


DRESSES: dict[str, Callable[[Path], Any]] = {
    "a folder": lambda root: root,
    "a folder's name": str,
    "a zip": lambda root: shutil.make_archive(f"{root}-1", "zip", root),
    "a tar": lambda root: shutil.make_archive(f"{root}-2", "tar", root),
    "a tar.gz": lambda root: shutil.make_archive(f"{root}-3", "gztar", root),
    "a zip that is open": lambda root: open(shutil.make_archive(f"{root}-4", "zip", root), "rb"),  # noqa: SIM115
    "a list of paths": lambda root: sorted(root.glob("[0-9]*/*.png")),
    "a list of names": lambda root: sorted(map(str, root.glob("[0-9]*/*.png"))),
    "a generator of paths": lambda root: (path for path in sorted(root.glob("[0-9]*/*.png"))),
    "open files": lambda root: [path.open("rb") for path in sorted(root.glob("[0-9]*/*.png"))],
    "bytes": lambda root: [path.read_bytes() for path in sorted(root.glob("[0-9]*/*.png"))],
    "files in memory": lambda root: [io.BytesIO(path.read_bytes()) for path in sorted(root.glob("[0-9]*/*.png"))],
    "Pillow's": lambda root: [Pillow.fromarray(shade(i, (9, 10 + i))) for i in SHADES],
    "arrays of mixed sizes": lambda root: [shade(i, (9, 10 + i)) for i in SHADES],
    "planes": lambda root: np.stack([shade(i) for i in SHADES]).transpose(0, 3, 1, 2),
    "gray arrays of mixed sizes": lambda root: [shade(i, (9, 10 + i))[..., 0] for i in SHADES],
    "(x, y)": lambda root: (np.stack([shade(i) for i in SHADES]), np.arange(3)),
    "cells of a table": lambda root: pa.Table.from_pylist(cells()),
    "cells of rows": lambda root: cells(),
}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of other sizes than the field's, and what lies beside them."""
    root = written(tmp_path / "photos", {f"{i:02d}/x.png": png(shade(i, (10 + i, 12))) for i in SHADES})
    hidden = ("__MACOSX", "@eaDir", "_background_noise_", ".cache", "$RECYCLE.BIN")
    written(root, {f"{name}/y.png": png(shade(5)) for name in hidden})
    return written(root, {"Thumbs.db": b"x", "._x.png": b"x", "desktop.ini": "x"})


@pytest.mark.parametrize("dress", DRESSES)
def test_pictures_are_asked_about_in_any_dress(dress: str, photos: Path) -> None:
    assert ask(DRESSES[dress](photos)) == list(SHADES)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "folder", "zip", "open"])
def test_pictures_in_the_cells_of_files(kind: str, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(cells())
    path = tmp_path / "t" / "test.parquet"
    path.parent.mkdir()
    parquet.write_table(table, path)
    if kind == "arrow":
        path = tmp_path / "t.arrow"
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    given: Any = {"folder": path.parent, "open": path.read_bytes()}.get(kind, path)
    given = shutil.make_archive(str(tmp_path / "z"), "zip", path.parent) if kind == "zip" else given
    (piece,) = shendu.data.pieces([given], {"x": FIELD})
    assert (piece.key, piece.names) == ("id", [f"k{i}" for i in SHADES])
    assert ask(given) == list(SHADES)


def test_what_is_hidden_is_hidden_at_both_doors(photos: Path) -> None:
    data = shendu.open_data(photos)
    assert data.classes == tuple(f"{i:02d}" for i in SHADES)
    assert sum(map(len, data.splits.values())) == len(ask(photos)) == 3
    for name in (
        "a/.b/c.png",
        "__MACOSX/a.png",
        "x/@eaDir/a.png",
        "_background_noise_/a.wav",
        "Thumbs.db",
        ".DS_Store",
    ):
        assert not archive.visible(name)
    assert all(map(archive.visible, ("a/b.png", "background_noise/a.wav", "thumbs.png", "a b/c.d.png")))


def test_what_is_left_aside_is_said(photos: Path) -> None:
    said: list[str] = []
    written(photos, {"a.heic": b"x", "b.heic": b"x", "notes.txt": "x"})
    assert ask(photos, say=said.append) == list(SHADES)
    assert said == [
        "no pictures, left out: 3 files (2 .heic, 1 .txt), such as a.heic; "
        ".heic files: convert with magick IN.heic OUT.png"
    ]


def test_one_bad_file_does_not_end_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(photos, {"05/cut.png": CUT, "00/none.png": b"", "30/text.png": b"hello"})
    places = {0: "an empty file", 2: "cut short", 5: "not a picture"}
    (piece,) = shendu.data.pieces([photos], {"x": FIELD})
    assert [Path(name).name for name in piece.names] == ["none.png", "x.png", "cut.png", "x.png", "x.png", "text.png"]
    assert piece.bad == places
    assert ask(photos) == list(SHADES)
    monkeypatch.setattr(shendu.data, "PIECE", 1)
    several = list(shendu.data.pieces([photos], {"x": FIELD}))
    assert [len(piece.names) for piece in several] == [3, 1, 2]
    assert [piece.bad for piece in several] == [{0: "an empty file", 2: "cut short"}, {}, {1: "not a picture"}]


def test_bad_files_of_an_archive_and_of_cells(photos: Path, tmp_path: Path) -> None:
    written(photos, {"05/cut.png": CUT})
    with tarfile.open(tmp_path / "p.tar", "w") as tar:
        tar.add(photos, "p")
    (piece,) = shendu.data.pieces([tmp_path / "p.tar"], {"x": FIELD})
    assert {Path(piece.names[i]).name: why for i, why in (piece.bad or {}).items()} == {"cut.png": "cut short"}
    rows = cells()
    rows[1]["photo"]["bytes"], rows[2]["photo"] = b"no", None
    (piece,) = shendu.data.pieces([pa.Table.from_pylist(rows)], {"x": FIELD})
    assert (piece.names, piece.bad) == (["k1", "k9", "k20"], {1: "not a picture", 2: "an empty file"})


def test_where_nothing_can_be_read(tmp_path: Path, one_line: Any) -> None:
    root = written(tmp_path / "p", {"a.png": b"no", "b.png": b""})
    for given, line in (
        ([root], f"none of the 2 inputs can be read, the first is {root}/a.png (not a picture); give a PNG, JPEG or other picture file"),
        ([root / "b.png"], f"cannot read {root}/b.png: an empty file; give a PNG, JPEG or other picture file"),
        ([["no.png", "neither.png"]], "no such file: no.png"),
        ([root / "c.png"], f"no such file: {root}/c.png"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            list(shendu.data.pieces(given, {"x": FIELD}))
        assert one_line(caught.value) == line


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 20, 20, 3), (20, 20, 3), (2, 8, 8)])
def test_an_array_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    """Training takes arrays of one size as they are."""
    with pytest.raises(UserError, match=r"the model takes pictures of 8x8 pixels"):
        ask(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("odd", [np.zeros((3, 9, 9), np.uint8), np.zeros((9, 9)), np.zeros((2, 9, 9, 3), np.uint8)])
def test_among_pictures_of_mixed_sizes_each_is_one(odd: np.ndarray) -> None:
    with pytest.raises(UserError, match="pictures of mixed sizes are uint8"):
        ask([shade(1), odd])


def test_data_of_another_kind_is_one_line(tmp_path: Path, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        list(shendu.data.pieces([of_idx(tmp_path)], {"x": Number(shape=(3,))}))
    assert one_line(caught.value) == "i holds pictures, and the model reads numbers: give some of these"


def test_a_known_set_and_a_dataset_are_asked_about() -> None:
    data = shendu.open_data("digits")
    field = data.fields[data.input]
    for given in ("digits", data):
        found = list(shendu.data.pieces([given], {"x": field}))
        assert sum(len(piece.names) for piece in found) == sum(map(len, data.splits.values()))
        assert isinstance(found[0].stored["x"], np.ndarray | Ragged)


def test_arrays_in_files(tmp_path: Path) -> None:
    field = Number(shape=(3,))
    x = np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "one.npz", x)
    np.savez(tmp_path / "two.npz", x_train=x, y_train=np.arange(4), x_test=x[:1], y_test=np.arange(1))
    np.savez(tmp_path / "odd.npz", a=x, b=x)
    (piece,) = shendu.data.pieces([tmp_path / "one.npz"], {"x": field})
    assert piece.stored["x"].tolist() == x.tolist()
    (piece,) = shendu.data.pieces([tmp_path / "two.npz"], {"x": field})
    assert piece.names[-1] == f"{tmp_path / 'two.npz'}:x_test"
    assert len(piece.names) == 5
    with pytest.raises(UserError, match="holds none of x, x_train"):
        list(shendu.data.pieces([tmp_path / "odd.npz"], {"x": field}))
    file = io.BytesIO()
    np.save(file, x)
    (piece,) = shendu.data.pieces([file.getvalue()], {"x": field})
    assert piece.stored["x"].tolist() == x.tolist()


def test_ragged_rows_are_left_out_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    rows = shendu.open_data(ROWS, target="y").fields["row"]
    path = written(tmp_path, {"t.csv": LINES.replace("22.0,Ulm,b", "22.0,Ulm,b,9,9")}) / "t.csv"
    said: list[str] = []
    with pytest.raises(
        UserError, match="in line 4 but 3 columns: correct the line, or leave such rows out with --skip-bad"
    ):
        list(shendu.data.pieces([path], {"x": rows}))
    (piece,) = shendu.data.pieces([path], {"x": rows}, shendu.data.Reading(skip_bad=True), said.append)
    assert piece.names == ["1", "2", *map(str, range(4, 13))]
    assert said == [f"1 row of {path} with too few or too many cells left out (--skip-bad)"]


def test_tables_in_folders_archives_and_several_parts(tmp_path: Path) -> None:
    rows = shendu.open_data(ROWS, target="y").fields["row"]
    folder = written(tmp_path / "f", {"train.csv": LINES, "test.csv": LINES})
    frame = pa.Table.from_pylist(ROWS)
    for given in (folder, shutil.make_archive(str(tmp_path / "z"), "zip", folder), {"train": frame, "test": frame}):
        found = list(shendu.data.pieces([given], {"x": rows}))
        names = {name for piece in found for name in piece.names}
        assert names == {f"{part} {i}" for part in ("train", "test") for i in range(1, 13)}
    (piece,) = shendu.data.pieces([(frame, [0] * 12)], {"x": rows})
    assert len(piece.names) == 12
