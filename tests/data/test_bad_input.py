"""What a person, or a hostile file, gets wrong is one line: what, why and how to mend it; never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shendu.data
from shendu.data import Dataset
from shendu.data.fields.image import Image
from shendu.data.files import archive, picture
from shendu.data.readers import arrays, cifar
from shendu.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_cache")

X, Y = np.zeros((4, 3)), np.array([0, 1, 0, 1])
EXPECTED = "expected a folder, zip or tar.gz of class folders, IDX or CIFAR-10 binary files, an .npz, a table (CSV, Parquet, JSONL), or a text (.txt)"


def refused(data: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        shendu.data.open(data, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_path(tmp_path: Path) -> None:
    assert refused(tmp_path / "no") == f"there is no file or folder {tmp_path / 'no'}: check the path"
    assert (
        refused("minst") == "unknown data set 'minst'; did you mean 'mnist'? (there is no file or folder of that name)"
    )
    assert refused("a\0b").endswith("(there is no file or folder of that name)")
    assert refused("photos/") == "there is no file or folder photos/: check the path"
    assert refused("") == "the data's name is empty: give a name (`shendu list`) or a path"
    assert refused("x" * 5000).startswith("unknown data set 'xxx")


def test_what_is_no_data() -> None:
    assert refused(3) == "data cannot be of the type int: give a name, a path, a table, (x, y), or a dict of arrays"
    assert refused("cache:../../etc").startswith("'cache:../../etc' is not in the cache ")


def test_empty_folder_and_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"the folder {tmp_path} is empty: {EXPECTED}"
    path = tmp_path / "a.zip"
    path.touch()
    assert refused(path) == f"{path} is empty: download or copy it again"
    zipfile.ZipFile(path, "w").close()
    assert refused(path) == f"{path} is empty: {EXPECTED}"


def test_unknown_file(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("hello")
    assert refused(path) == f"{path} is no data that can be read: {EXPECTED}"
    path.write_bytes(gzip.compress(b"hello"))
    assert refused(path) == f"{path} is no data that can be read: {EXPECTED}"


def test_no_class_folders(tmp_path: Path, make: SimpleNamespace) -> None:
    flat = make.write(tmp_path / "flat", make.pictures(["1.png", "2.png"]))
    assert refused(flat) == (
        f"{flat} has 2 pictures but no class folders: put each class into a folder of its own, such as {flat}/cat/1.png"
    )
    notes = make.write(tmp_path / "notes", {"a/b.md": b"", "c/d.md": b""})
    assert refused(notes) == (
        f"{notes} has no pictures, recordings or texts: put each class into a folder of its own, such as {notes}/cat/1.png"
    )
    no_train = make.write(tmp_path / "no_train", make.pictures(["test/a/1.png", "val/b/1.png"]))
    assert refused(no_train) == (
        f"{no_train} has test, val but no train folder: put the training pictures into {no_train}/train"
    )


def test_folder_of_archives(tmp_path: Path, make: SimpleNamespace) -> None:
    make.write_zip(tmp_path / "b.zip", {})
    assert refused(tmp_path) == f"{tmp_path} is a folder of archives: name one of them, such as {tmp_path / 'b.zip'}"


def test_only_one_class(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", make.pictures(["cat/1.png", "cat/2.png"]))
    only = f"{root} has only one class (cat): there is nothing to tell apart, add a folder for a second class"
    assert refused(root) == only
    assert refused(make.write(root, make.pictures(["cat/dog_1.png"]))) == only
    told = make.write(tmp_path / "y", make.pictures([f"all/{name}_{i}.png" for name in ("cat", "dog") for i in "12"]))
    assert refused(told) == (
        f"{told} has only one class (all): there is nothing to tell apart, add a folder for a second class, or say where "
        "names hold the class with --label-from '{label}_*'"
    )
    assert refused((X, ["a"] * 4)) == "data has only one class (a): there is nothing to tell apart, add a second class"


def test_class_that_train_lacks(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", make.pictures(["train/a/1.png", "train/b/1.png", "test/c/1.png"]))
    assert refused(root) == (
        f"{root} has the class c in its test part but not in train: add training pictures of it, or take c out of test"
    )


def test_unreadable_pictures(tmp_path: Path, make: SimpleNamespace) -> None:
    files = make.pictures(["a/1.png", "b/1.png"])
    root = make.write(tmp_path / "x", {**files, "b/2.png": b"no picture", "b/3.png": b""})
    assert refused(root) == (
        f"{root} has 2 unreadable pictures, the first is b/2.png (not a picture): "
        "mend or remove them, or add --skip-bad"
    )
    cut = make.write(tmp_path / "cut", {**files, "b/1.png": files["b/1.png"][:-60]})
    assert refused(cut).startswith(f"{cut} has 1 unreadable picture, the first is b/1.png (")
    link = make.write(tmp_path / "link", files)
    (link / "a" / "0.png").symlink_to(tmp_path / "nowhere")
    assert refused(link).startswith(f"{link} has 1 unreadable picture, the first is a/0.png (No such file")
    none = make.write(tmp_path / "none", {"a/1.png": b"", "b/1.png": b""})
    assert refused(none, skip_bad=True) == f"{none} has no readable picture: a/1.png (an empty file)"


def test_a_picture_with_too_many_pixels(tmp_path: Path, make: SimpleNamespace) -> None:
    huge = b"P5 20000 20000 255\n" + b"\0" * 64
    root = make.write(tmp_path / "x", {**make.pictures(["a/1.png"]), "b/1.pgm": huge})
    assert "b/1.pgm (" in refused(root)
    with pytest.raises(UserError, match="10,001 × 10,000 pixels, more than 100,000,000"):
        picture.read_picture(b"P5 10001 10000 255\n", Image(height=1, width=1, channels=1))


def test_read_picture(tmp_path: Path) -> None:
    column = Image(height=1, width=1, channels=1)
    with pytest.raises(
        UserError, match=re.escape(f"cannot read {tmp_path / 'no.png'}: No such file or directory; give a")
    ):
        picture.read_picture(tmp_path / "no.png", column)
    with pytest.raises(UserError, match="cannot read the picture: not a picture; give a"):
        picture.read_picture(b"text", column)


@pytest.fixture
def mnist(tmp_path: Path, make: SimpleNamespace) -> Path:
    make.mnist_like(tmp_path / "m")
    return tmp_path / "m"


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def test_truncated_and_damaged_gzip(mnist: Path) -> None:
    path = mnist / IMAGES
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert refused(mnist) == f"{path} is a truncated gzip file: download or copy it again"
    path.write_bytes(whole[:-8] + b"\0" * 8)
    assert refused(mnist).startswith(f"{path} is a damaged gzip file (CRC check failed")
    path.write_bytes(whole[:5])
    assert refused(path) == f"{path} is a truncated gzip file: download or copy it again"
    path.write_bytes(b"")
    assert refused(mnist) == f"{path} is empty: download or copy it again"


def test_wrong_magic(mnist: Path) -> None:
    (mnist / IMAGES).write_bytes((mnist / LABELS).read_bytes())
    assert refused(mnist) == (
        f"{mnist / IMAGES} begins with 00000801 but IDX images begin with 00000803: give the right file"
    )


@pytest.mark.parametrize("packed", [False, True])
def test_header_against_bytes(mnist: Path, packed: bool) -> None:
    path = mnist / IMAGES
    pack: Callable[[bytes], bytes] = gzip.compress if packed else bytes

    def header(*sizes: int) -> bytes:
        return struct.pack(f">{len(sizes) + 1}I", 0x803, *sizes)

    path.write_bytes(pack(header(20, 5, 4) + bytes(399)))
    promise = f"{path} promises 20 × 5 × 4 = 400 bytes in its header"
    assert refused(mnist) == f"{promise} but has 399: download or copy it again"
    path.write_bytes(pack(header(20, 5, 4) + bytes(401)))
    assert refused(mnist) == f"{promise} but has more: it is not this IDX file"
    path.write_bytes(pack(header(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(99)))
    assert "more than it can hold: download or copy it again" in refused(mnist)
    path.write_bytes(pack(header(0, 5, 4)))
    assert refused(mnist) == f"{path} holds nothing: its header says 0 × 5 × 4"
    path.write_bytes(pack(header(20)))
    assert refused(mnist) == f"{path} ends within its header: download or copy it again"


def test_a_gzip_bomb_stops_at_its_header(mnist: Path, make: SimpleNamespace) -> None:
    path = mnist / IMAGES
    path.write_bytes(make.idx_bytes(np.zeros((20, 5, 4))) + gzip.compress(bytes(1 << 24)))
    assert "in its header but has more" in refused(mnist)


def test_counts_that_differ(mnist: Path, make: SimpleNamespace) -> None:
    (mnist / LABELS).write_bytes(make.idx_bytes(np.zeros(19)))
    assert refused(mnist) == ("m has 20 images but 19 labels in its train part: the two files do not belong together")


def test_labels_outside_of_the_classes(mnist: Path, make: SimpleNamespace) -> None:
    (mnist / "t10k-labels-idx1-ubyte.gz").write_bytes(make.idx_bytes(np.array([0] * 9 + [77])))
    assert refused(mnist) == ("m has label 77 in row 9 of its test part, which no training row has: correct the labels")
    assert refused("mnist", data_dir=mnist) == (
        "mnist has label 77 in row 9 of its test part, outside of its 10 classes 0 to 9: correct the labels"
    )


def test_incomplete_idx_folders(mnist: Path, make: SimpleNamespace) -> None:
    (mnist / LABELS).rename(mnist / "labels")
    assert refused(mnist) == (f"{mnist / IMAGES} has no train labels beside it: put that file into the same folder")
    (mnist / IMAGES).unlink()
    assert refused(mnist) == (
        f"{mnist} has no train-images-idx3-ubyte file: put the training files into the same folder"
    )
    assert refused(mnist.rename(mnist.parent / "n") / "labels").startswith(f"{mnist.parent / 'n'} has no train-images")
    lone = make.write(mnist.parent / "lone", {"data": make.idx_bytes(np.zeros(3))}) / "data"
    assert refused(lone) == f"{lone} is an IDX file of unknown part: name it like train-images-idx3-ubyte"


def test_cifar_records(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "c", {"data_batch_1.bin": bytes(3074)})
    assert refused(root) == (
        f"data_batch_1.bin of {root} has 3,074 bytes, not a whole number of 3,073-byte records: "
        "download or copy it again"
    )
    make.write(root, {"data_batch_1.bin": b"\x0a" + bytes(3072)})
    assert refused(root) == (
        "c has label 10 in row 0 of its train part, outside of its 10 classes 0 to 9: correct the labels"
    )
    make.write(root, {"data_batch_1.bin": b""})
    assert "has 0 bytes, not a whole number" in refused(root)
    assert cifar.RECORD == 3073


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": X, "b": Y}, "data has the arrays a, b: name them x_train and y_train, or x and y"),
        ({}, "data has the arrays nothing: name them x_train and y_train, or x and y"),
        (
            {"x_train": X, "y_train": Y, "x_test": X},
            "data has x_test without its other half among x_train, y_train, x_test: give x_test and y_test",
        ),
        ((X, Y[:3]), "data has 4 rows in x but 3 rows in y: both must have one row per sample"),
        ((X, 1), "data has 4 rows in x but a single value in y: both must have one row per sample"),
        ((X[:0], Y[:0]), "data has no training rows: put some into its train part"),
        (
            (X + np.array([0, 0, np.nan]), Y),
            "x of data has NaN or an infinite value in row 0: remove that row or fill it in",
        ),
        (
            (X, Y + np.array([0, 0, np.nan, 0])),
            "y of data has NaN or an infinite value in row 2: remove that row or fill it in",
        ),
        (
            (X + np.array([[0], [1e300], [0], [0]]), Y),
            "x of data has NaN or an infinite value in row 1: remove that row or fill it in",
        ),
        ((np.array(list("abcd")), Y), "x of data is text: give numbers"),
        ((X, np.eye(4, dtype=int)), "y of data has rows of shape [4]: give one class per row, such as y.argmax(1)"),
        ((X, [object()] * 4), "y of data is an array of object: give numbers or text"),
        (([[1], [1, 2]], Y), "x of data has rows of different lengths: make it a rectangular array"),
        ((X[:, :0], Y), "x of data has rows of shape [0], so no values: give at least one per row"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y},
            "x_test of data has rows of shape [2], x_train of data of [3]: give all parts the same shape",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
            "y_test of data has the class 2 in row 1, which no training row has: correct the labels",
        ),
        (
            {"x_train": X, "y_train": Y, "x_val": X, "y_val": list("abab")},
            "y_val of data is <U1 but y_train of data is int64: give both the same type",
        ),
    ],
)
def test_arrays(given: Any, message: str) -> None:
    with np.errstate(invalid="ignore"):
        assert refused(given) == message


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([{}, {}], dtype=object), y=Y[:2])
    assert refused(path) == f"{path} needs pickle for x.npy, which could run any code: save numbers or text"
    np.savez(path, images=X, labels=Y)
    assert refused(path) == f"{path} has the arrays images, labels: name them x_train and y_train, or x and y"
    np.savez_compressed(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-30])
    assert re.fullmatch(re.escape(f"{path} is damaged or cut short (") + ".*: save or copy it again", refused(path))


def test_an_npz_that_promises_too_much(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50, 3)})
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as made:
        made.writestr("x.npy", out.getvalue())
        made.writestr("y.npy", out.getvalue())
    assert "promises 27,021,597,764,222,976 bytes, has 0" in refused(tmp_path / "d.npz")


@pytest.mark.parametrize("name", ["../a/1.png", "/a/1.png", "a/../../1.png", "C:/a/1.png", "a\\..\\..\\1.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_leave_the_archive(tmp_path: Path, make: SimpleNamespace, kind: str, name: str) -> None:
    path = tmp_path / f"x.{kind}"
    (make.write_zip if kind == "zip" else make.write_tar)(path, {name: b""})
    assert refused(path) == f"{path} has an entry outside of its folder ({name!r}): pack it without such paths"


def test_links_in_archives_are_skipped(tmp_path: Path, make: SimpleNamespace) -> None:
    files = make.pictures(["a/1.png", "b/1.png"])
    make.write_tar(tmp_path / "x.tar", files)
    with tarfile.open(tmp_path / "x.tar", "a") as made:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"b/{kind.decode()}.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            made.addfile(entry)
    assert len(shendu.data.open(tmp_path / "x.tar").splits["train"]) == 2
    make.write_zip(tmp_path / "x.zip", files)
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as made_zip:
        info = zipfile.ZipInfo("b/link.png")
        info.external_attr = 0o120777 << 16
        made_zip.writestr(info, "/etc/passwd")
    assert len(shendu.data.open(tmp_path / "x.zip").splits["train"]) == 2


def test_limits_of_archives(tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make.pictures(["a/1.png", "b/1.png"])
    path = make.write_zip(tmp_path / "x.zip", files)
    tar = make.write_tar(tmp_path / "x.tar.gz", files)
    monkeypatch.setattr(archive, "ENTRIES_MOST", 1)
    for place in (path, tar):
        assert refused(place) == f"{place} has more than 1 entries: split it up"
    assert "holds more than 1 files" in refused(make.write(tmp_path / "x", files))
    monkeypatch.undo()
    monkeypatch.setenv("SHENDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(archive, "ENTRY_BYTES_MOST", 50)
    for place in (path, tar):
        assert "unpack it yourself and name the folder" in refused(place) or "is damaged" in refused(place)


def test_an_encrypted_zip(tmp_path: Path, make: SimpleNamespace) -> None:
    path = make.write_zip(tmp_path / "x.zip", make.pictures(["a/1.png", "b/1.png"]))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert refused(path) == f"{path} is encrypted: unpack it yourself and name the folder"


def test_a_tar_header_that_promises_gigabytes_of_metadata(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 32
    (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert refused(tmp_path / "x.tar").startswith(
        f"{tmp_path / 'x.tar'} is damaged or cut short (an entry beyond the limit)"
    )


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHENDU_CACHE", str(tmp_path / "file"))
    assert refused((X, Y)) == (
        f"cannot write the cache {tmp_path / 'file'}: Not a directory; "
        "set SHENDU_CACHE=FOLDER to a folder that is writable and has room"
    )


def survives(path: Path) -> None:
    """Either a data set or a line for the person, nothing else."""
    try:
        data: Dataset | str = shendu.data.open(path)
    except UserError as error:
        data = str(error)
    assert isinstance(data, Dataset) or "\n" not in data


def mutations(size: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, 255)), max_size=8)


def mutate(data: bytes, changes: list[tuple[int, int]], keep: int) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[: max(1, keep % (len(data) * 2))])


fuzz = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@fuzz
@given(changes=mutations(40), keep=st.integers(0, 10**6), packed=st.booleans())
def test_fuzz_idx(make: SimpleNamespace, changes: list[tuple[int, int]], keep: int, packed: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        raw = make.idx_bytes(np.arange(24).reshape(6, 2, 2), packed=False)
        data = mutate(raw, changes, keep)
        (root / "train-images-idx3-ubyte").write_bytes(gzip.compress(data, 1) if packed else data)
        (root / "train-labels-idx1-ubyte").write_bytes(make.idx_bytes(np.arange(6) % 2, packed=False))
        survives(root)
        (root / "train-images-idx3-ubyte").write_bytes(mutate(gzip.compress(raw, 1), changes, keep))
        survives(root)


@fuzz
@given(changes=mutations(10**4), keep=st.integers(0, 10**6), packed=st.booleans())
def test_fuzz_npz(changes: list[tuple[int, int]], keep: int, packed: bool) -> None:
    out = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(out, x=X, y=Y)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "d.npz"
        path.write_bytes(mutate(out.getvalue(), changes, keep))
        survives(path)


@fuzz
@given(changes=mutations(200), keep=st.integers(0, 10**6))
def test_fuzz_the_header_of_an_array(changes: list[tuple[int, int]], keep: int) -> None:
    out = io.BytesIO()
    np.save(out, X)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "d.npz"
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("x.npy", mutate(out.getvalue(), changes, keep))
            out = io.BytesIO()
            np.save(out, Y)
            made.writestr("y.npy", out.getvalue())
        survives(path)


@fuzz
@given(changes=mutations(10**4), keep=st.integers(0, 10**6), kind=st.sampled_from(["zip", "tar", "tar.gz"]))
def test_fuzz_archives(make: SimpleNamespace, changes: list[tuple[int, int]], keep: int, kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"x.{kind}"
        writer = make.write_zip if kind == "zip" else make.write_tar
        writer(path, make.pictures(["a/1.png", "a/2.png", "b/1.png"]))
        path.write_bytes(mutate(path.read_bytes(), changes, keep))
        survives(path)


@fuzz
@given(data=st.binary(min_size=1, max_size=600), head=st.sampled_from([b"", b"PK\3\4", b"\x1f\x8b\x08", b"\0\0\x08\3"]))
def test_fuzz_any_file(data: bytes, head: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x"
        path.write_bytes(head + data)
        survives(path)


@fuzz
@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda s: st.dictionaries(st.text(max_size=8), s)))
def test_fuzz_the_cache_description(fresh_cache: Path, about: Any) -> None:
    data = shendu.data.open((X, Y))
    path = fresh_cache / "data" / data.hash / "dataset.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, **about} if isinstance(about, dict) else about))
    assert np.array_equal(shendu.data.open((X, Y)).splits["train"].column("x"), X)


def test_an_array_loader_reads_no_more_than_it_was_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=Y, evil=np.array([{}], dtype=object))
    assert set(arrays.load(tmp_path / "d.npz")) == {"x", "y"}
