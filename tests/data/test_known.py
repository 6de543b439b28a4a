"""Known data sets: what is built in, where files are looked for, and what is fetched."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shendu.data import augment, known
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.files import cache, download
from shendu.errors import UserError

DATA = os.environ.get("SHENDU_DATA", "")
KEYS = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data of this machine, and no network."""
    monkeypatch.setenv("SHENDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SHENDU_DATA", raising=False)

    def refuse(*args: Any, **more: Any) -> Path:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(download, "fetch", refuse)


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def idx(folder: Path, pattern: str = "{}-{}-idx{}-ubyte.gz") -> Path:
    return put(folder, *(pattern.format(s, k, n) for s in ("train", "t10k") for k, n in (("images", 3), ("labels", 1))))


def test_entries_are_complete() -> None:
    assert set(known.KNOWN) >= {"digits", "and", "or", "not", "xor", "mnist", "fashion-mnist", "cifar10", "adult"}
    for name, entry in known.KNOWN.items():
        assert entry.name == name
        assert entry.summary
        assert entry.licence
        assert "\n" not in entry.summary
        assert (entry.kind == "generated") == (not entry.files) == (entry.make is not None)
        augment.parse(entry.augment)
        assert len(set(entry.classes)) == len(entry.classes) != 1
        for file in entry.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.urls or entry.home.startswith("https://")
            assert all(url.startswith("http") and url.endswith(file.filename) for url in file.urls)
    assert tuple(file.key for file in known.KNOWN["mnist"].files) == KEYS


def test_a_set_is_known_by_being_in_a_file() -> None:
    files = [file for file in Path(known.__file__).parent.glob("*.py") if file.stem not in ("__init__", "entry")]
    said = [each for file in files for each in importlib.import_module(f"shendu.data.known.{file.stem}").SETS]
    assert len(said) == len(known.KNOWN)
    assert {each.name: each for each in said} == known.KNOWN


def test_digits_are_the_published_ones() -> None:
    made = known.generate("digits")
    image, label = made["splits"]["train"]["image"], made["splits"]["train"]["label"]
    assert made["fields"]["image"] == Image(height=8, width=8, channels=1)
    assert made["fields"]["label"] == Category(names=tuple("0123456789"))
    assert (image.shape, image.dtype, label.shape, label.dtype) == ((1797, 8, 8, 1), np.uint8, (1797,), np.int64)
    assert np.bincount(label).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    levels = np.round(np.arange(17) * 255 / 16).astype(np.uint8)
    assert np.isin(image, levels).all()
    first = "00 00 05 13 09 01 00 00 00 00 13 15 10 15 05 00 00 03 15 02 00 11 08 00 00 04 12 00 00 08 08 00"
    assert image[0].reshape(-1)[:32].tolist() == levels[[int(v) for v in first.split()]].tolist()


def test_digits_agree_with_scikit_learn() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    train = known.generate("digits")["splits"]["train"]
    assert (train["image"][..., 0] == np.round(digits.images * 255 / 16)).all()
    assert (train["label"] == digits.target).all()


@pytest.mark.parametrize(
    ("name", "outputs"), [("and", [0, 0, 0, 1]), ("or", [0, 1, 1, 1]), ("xor", [0, 1, 1, 0]), ("not", [1, 0])]
)
def test_gates(name: str, outputs: list[int]) -> None:
    made = known.generate(name)
    (split,) = made["splits"].values()
    arity = 1 if name == "not" else 2
    assert made["fields"] == {"inputs": Number(shape=(arity,)), "output": Category(names=("0", "1"))}
    assert made["splits"]["train"] is split
    assert (split["inputs"].dtype, split["output"].dtype) == (np.float32, np.int64)
    assert split["inputs"].tolist() == [[0.0], [1.0]] if arity == 1 else [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert split["output"].tolist() == outputs
    assert set(made) == {"fields", "splits", "inputs", "targets", "notes"}


def test_names_are_checked() -> None:
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        known.find("mnits")
    with pytest.raises(UserError, match="unknown built-in data set"):
        known.generate("mnist")
    assert known.find("xor") == known.Found("xor", "generated", {})


@pytest.mark.parametrize("below", ["", "mnist"])
@pytest.mark.parametrize(
    "pattern", ["{}-{}-idx{}-ubyte.gz", "{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte", "{}-{}.idx{}-ubyte.gz"]
)
def test_every_spelling_of_idx(tmp_path: Path, below: str, pattern: str) -> None:
    folder = idx(tmp_path / "data" / below, pattern)
    found = known.find("mnist", tmp_path / "data")
    assert tuple(found.files) == KEYS
    assert found.files["test_labels"] == folder / pattern.format("t10k", "labels", 1)
    assert found.kind == "idx"
    assert known.on_disk("mnist", tmp_path / "data") == folder


def test_the_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [idx(tmp_path / name / "mnist") for name in ("given", "first", "second")]
    monkeypatch.setenv("SHENDU_DATA", os.pathsep.join(str(tmp_path / n) for n in ("nowhere", "first", "second")))
    for expected in places:
        assert known.on_disk("mnist", tmp_path / "given") == expected
        for file in expected.iterdir():
            file.unlink()
    assert known.on_disk("mnist", tmp_path / "given") is None


def test_other_sets_of_the_same_file_names_are_not_taken(tmp_path: Path) -> None:
    idx(tmp_path / "fashion-mnist")
    assert known.on_disk("mnist", tmp_path / "fashion-mnist") is None
    flat = idx(tmp_path / "flat")
    for file in known.KNOWN["fashion-mnist"].files:
        with (flat / file.filename).open("wb") as out:
            out.truncate(file.size)
    assert known.on_disk("mnist", flat) is None
    assert known.on_disk("fashion-mnist", flat) == flat


def test_cifar_archive_folder_and_part(tmp_path: Path) -> None:
    folder = put(tmp_path / "cifar10", "cifar-10-binary-first4000.tar.gz")
    assert known.find("cifar10", tmp_path).files == {"archive": folder / "cifar-10-binary-first4000.tar.gz"}
    unpacked = put(tmp_path / "cifar10" / "cifar-10-batches-bin", "data_batch_1.bin")
    assert known.find("cifar10", tmp_path).files == {"folder": unpacked}
    assert known.find("cifar10", unpacked).files == {"folder": unpacked}
    put(folder, "cifar-10-binary.tar.gz")
    assert known.find("cifar10", tmp_path).files == {"archive": folder / "cifar-10-binary.tar.gz"}
    assert known.on_disk("cifar10", tmp_path) == folder / "cifar-10-binary.tar.gz"


def test_a_data_dir_that_is_not_there(tmp_path: Path) -> None:
    for name in ("mnist", "digits"):
        with pytest.raises(UserError, match=r"--data-dir .*nowhere: does not exist"):
            known.find(name, tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        known.on_disk("mnist", tmp_path / "file")


def test_what_is_missing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake(urls: Any, to: Path, *, sha256: str, size: int, progress: Any) -> Path:
        asked.append((to.name, sha256, size, urls))
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("wb") as out:
            out.truncate(size)
        progress(size, size)
        return to

    seen: list[Any] = []
    monkeypatch.setattr(download, "fetch", fake)
    put(tmp_path / "data" / "mnist", "train-images-idx3-ubyte.gz")  # a set must be whole to be taken
    found = known.find("mnist", tmp_path / "data", progress=lambda *now: seen.append(now))
    folder = cache.root() / "downloads" / "mnist"
    assert {path.parent for path in found.files.values()} == {folder}
    assert asked == [(f.filename, f.sha256, f.size, f.urls) for f in known.KNOWN["mnist"].files]
    assert seen[-1] == ("t10k-labels-idx1-ubyte.gz", 4542, 4542)
    known.find("mnist")
    assert len(asked) == 4
    assert known.on_disk("mnist") == folder
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"cut short")
    assert known.on_disk("mnist") is None


def test_fetching_can_be_forbidden() -> None:
    with pytest.raises(UserError, match=r"put cifar-10-binary\.tar\.gz into .*downloads.*--data-dir"):
        known.find("cifar10", fetch=False)


def test_listing(tmp_path: Path) -> None:
    folder = idx(tmp_path / "mnist")
    where = {row["name"]: row["where"] for row in known.listing(tmp_path)}
    assert where["digits"] == where["xor"] == "built in"
    assert where["mnist"] == str(folder)
    assert where["fashion-mnist"] == "would download 29.4 MiB"
    assert {row["name"]: row["where"] for row in known.listing()}["mnist"] == "would download 11.1 MiB"


def test_listing_does_not_wait_for_torch() -> None:
    code = "import sys; from shendu.data import known; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.data
def test_published_files_have_the_checksums_that_are_told() -> None:
    if not DATA:
        pytest.skip("needs $SHENDU_DATA")
    for name in ("mnist", "fashion-mnist"):
        found = known.find(name, DATA.split(os.pathsep)[0])
        for file in known.KNOWN[name].files:
            data = found.files[file.key].read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
