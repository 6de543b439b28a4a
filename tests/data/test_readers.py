"""Every door gives the columns that were written, and the cache gives them again."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import shendu.data
from shendu import reading
from shendu.data import moments, pixels
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.image import Image
from shendu.data.fields.number import Number
from shendu.data.files import cache, layout
from shendu.data.readers import cifar, idx

pytestmark = pytest.mark.usefixtures("fresh_cache")

TWO_CLASSES = ["cat/1.png", "cat/2.png", "dog/1.png"]


def column(data: Dataset, field: str, split: str = "train") -> np.ndarray:
    return data.splits[split].column(field)


def settle(root: Path) -> None:
    """Makes files old enough to be indexed."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (1e9, 1e9))


def test_idx_round_trip(tmp_path: Path, make: SimpleNamespace) -> None:
    arrays = make.mnist_like(tmp_path / "set")
    data = shendu.data.open(tmp_path / "set")
    assert data.name == "set"
    assert data.source == str(tmp_path / "set")
    assert data.fields == {"image": Image(height=5, width=4, channels=1), "label": Category(names=("0", "1", "2"))}
    for split, file in (("train", "train"), ("test", "t10k")):
        assert np.array_equal(column(data, "image", split)[..., 0], arrays[f"{file}-images-idx3-ubyte.gz"])
        assert np.array_equal(column(data, "label", split), arrays[f"{file}-labels-idx1-ubyte.gz"])
        assert column(data, "label", split).dtype == np.int64


def test_one_idx_file_opens_its_set(tmp_path: Path, make: SimpleNamespace) -> None:
    make.mnist_like(tmp_path)
    assert shendu.data.open(str(tmp_path / "train-labels-idx1-ubyte.gz")).hash == shendu.data.open(tmp_path).hash


def test_idx_plain_and_dotted_names(tmp_path: Path, make: SimpleNamespace) -> None:
    images, labels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.array([3, 7], np.uint8)
    make.write(
        tmp_path,
        {
            "emnist-x-train-images.idx3-ubyte": make.idx_bytes(images, packed=False),
            "emnist-x-train-labels.idx1-ubyte": make.idx_bytes(labels, packed=False),
        },
    )
    data = shendu.data.open(tmp_path)
    assert data.classes == ("3", "7")
    assert column(data, "label").tolist() == [0, 1]
    assert set(data.splits) == {"train"}


def test_idx_given_classes_keep_the_numbers(tmp_path: Path, make: SimpleNamespace) -> None:
    make.mnist_like(tmp_path)
    files = idx.pairs(tmp_path, os.listdir(tmp_path))
    decoded = idx.decoded(files, "set", ("a", "b", "c", "d"))
    assert decoded.fields["label"] == Category(names=("a", "b", "c", "d"))
    assert decoded.splits["train"]["label"].tolist()[:4] == [0, 1, 2, 0]


@pytest.mark.parametrize("packing", ["folder", "zip", "tar", "tar.gz"])
def test_class_folders_in_every_packing(tmp_path: Path, make: SimpleNamespace, packing: str) -> None:
    files = make.pictures([*TWO_CLASSES, "dog/10.png"])
    junk = {
        ".hidden/x.png": b"",
        "__MACOSX/cat/1.png": b"",
        "cat/Thumbs.db": b"",
        "cat/.DS_Store": b"",
        "cat/a.txt": b"?",
    }
    place = tmp_path / f"pets.{packing}"
    writer = {"folder": make.write, "zip": make.write_zip}.get(packing, make.write_tar)
    writer(place, dict(reversed({**files, **junk}.items())))
    data = shendu.data.open(place)
    assert data.name == ("pets.folder" if packing == "folder" else "pets")
    assert data.fields["image"] == Image(height=6, width=5, channels=3)
    assert data.classes == ("cat", "dog")
    assert column(data, "label").tolist() == [0, 0, 1, 1]
    for i, name in enumerate(sorted(files)):
        place = tmp_path / "one.png"
        place.write_bytes(files[name])
        with Pillow.open(place) as wanted:
            assert np.array_equal(column(data, "image")[i], np.asarray(wanted))
    assert data.notes == ("no pictures, left out: 1 file (1 .txt), such as cat/a.txt",)


def test_splits_below_a_wrapper(tmp_path: Path, make: SimpleNamespace) -> None:
    names = ["w/train/a/1.png", "w/train/b/1.png", "w/train/b/2.png", "w/Valid/a/1.png", "w/test/b/deep/1.png"]
    data = shendu.data.open(make.write_zip(tmp_path / "x.zip", make.pictures(names)))
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 3, "validation": 1, "test": 1}
    assert column(data, "label", "test").tolist() == [1]


def test_a_class_may_be_called_train(tmp_path: Path, make: SimpleNamespace) -> None:
    data = shendu.data.open(make.write(tmp_path / "vehicles", make.pictures(["train/1.png", "bus/1.png", "logo.png"])))
    assert data.classes == ("bus", "train")
    assert data.notes == ("outside of the class folders, left out: 1 picture, such as logo.png",)


def test_gray_stays_one_channel_and_mixed_becomes_three(tmp_path: Path, make: SimpleNamespace) -> None:
    gray = make.pictures(TWO_CLASSES, channels=1)
    data = shendu.data.open(make.write(tmp_path / "gray", gray))
    assert column(data, "image").shape == (3, 6, 5, 1)
    mixed = {**gray, "dog/2.png": make.pictures(["x"])["x"]}
    pixels = column(shendu.data.open(make.write(tmp_path / "mixed", mixed)), "image")
    assert pixels.shape == (4, 6, 5, 3)
    assert np.array_equal(pixels[:3], np.repeat(column(data, "image"), 3, axis=3))


@pytest.mark.parametrize("kind", ["jpeg", "ppm", "bmp", "gif", "webp", "tiff"])
def test_formats(tmp_path: Path, make: SimpleNamespace, kind: str) -> None:
    flat = np.full((8, 8, 3), (200, 40, 90), np.uint8)
    files = {f"{c}/1.{kind}": make.picture_bytes(flat, kind) for c in "ab"}
    pixels = column(shendu.data.open(make.write(tmp_path / "x", files)), "image")
    assert pixels.shape == (2, 8, 8, 3)
    assert np.abs(pixels.astype(int) - flat).max() <= 8


def test_modes_of_pillow() -> None:
    column = Image(height=1, width=2, channels=3)

    def shown(picture: Pillow.Image) -> list[list[int]]:
        return pixels.fit_picture(picture, column.stored)[0].tolist()

    clear = Pillow.fromarray(np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8))
    assert shown(clear) == [[255, 255, 255], [10, 20, 30]]
    deep = Pillow.fromarray(np.array([[0x0101 * 7, 0xFFFF]], np.uint16))
    assert shown(deep) == [[7] * 3, [255] * 3]
    assert shown(Pillow.fromarray(np.array([[0, 65535]], np.int32))) == [[0] * 3, [255] * 3]
    assert shown(Pillow.new("CMYK", (2, 1), (0, 255, 255, 0))) == [[255, 0, 0]] * 2
    assert shown(Pillow.new("1", (2, 1), 1)) == [[255] * 3] * 2
    palette = Pillow.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    assert shown(palette) == [[9, 8, 7]] * 2
    assert pixels.fit_picture(clear, (1, 2, 4))[0, 0].tolist() == [10, 20, 30, 0]


def test_exif_orientation_is_applied(tmp_path: Path, make: SimpleNamespace) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, :8] = 255
    turned = make.picture_bytes(picture, "jpeg", exif=exif)
    data = shendu.data.open(make.write(tmp_path / "x", {"a/1.jpg": turned, "b/1.jpg": turned}))
    pixels = column(data, "image")[0]
    assert pixels.shape == (16, 8, 3)
    assert pixels[:8].min() > 200
    assert pixels[8:].max() < 50


def test_mixed_sizes_become_the_median_shorter_side(tmp_path: Path, make: SimpleNamespace) -> None:
    shapes = [(300, 400), (10, 30), (20, 12)]
    files = {f"{'ab'[i % 2]}/{i}.png": make.picture_bytes(np.full(s, 50, np.uint8)) for i, s in enumerate(shapes)}
    data = shendu.data.open(make.write(tmp_path / "x", files))
    assert data.fields["image"] == Image(height=12, width=12, channels=1)
    assert (column(data, "image") == 50).all()
    assert data.notes == (
        "pictures of 3 sizes (20×12 to 300×400 pixels) brought to 12×12: the median shorter side, at most 224; "
        "the rest is cropped around the centre",
    )


def test_large_mixed_sizes_are_capped(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {
        f"{c}/1.jpg": make.picture_bytes(np.full((n, n), 90, np.uint8), "jpeg") for c, n in (("a", 900), ("b", 901))
    }
    data = shendu.data.open(make.write(tmp_path / "x", files))
    assert column(data, "image").shape == (2, 224, 224, 1)
    assert np.abs(column(data, "image").astype(int) - 90).max() <= 1


def test_skip_bad_names_what_it_skips(tmp_path: Path, make: SimpleNamespace) -> None:
    files = make.pictures([f"{c}/{i}.png" for c in "ab" for i in range(3)])
    files["a/0.png"] = b"no picture"
    files["b/1.png"] = files["b/1.png"][:-60]  # a sound header, found out only when it is decoded
    data = shendu.data.open(make.write(tmp_path / "x", files), skip_bad=True)
    assert column(data, "label").tolist() == [0, 0, 1, 1]
    assert column(data, "image").shape == (4, 6, 5, 3)
    assert data.notes == ("2 unreadable pictures skipped: a/0.png, b/1.png",)
    again = shendu.data.open(tmp_path / "x", skip_bad=True)
    assert np.array_equal(column(again, "image"), column(data, "image"))


def test_symlink_loops_end(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", make.pictures(TWO_CLASSES))
    (root / "cat" / "up").symlink_to(root)
    (root / "dog" / "self").symlink_to(root / "dog")
    assert len(shendu.data.open(root).splits["train"]) == 3


def test_threads_and_one_thread_agree(tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make.write(tmp_path / "x", make.pictures([f"{c}/{i}.png" for c in "ab" for i in range(40)]))
    one = column(shendu.data.open(root), "image")
    monkeypatch.setattr(layout, "WORTH_THREADS", 0)
    monkeypatch.setattr(layout, "_IN_FLIGHT", 7)
    monkeypatch.setattr(cache, "VERSION", -1)
    assert np.array_equal(column(shendu.data.open(root), "image"), one)


def records(count: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).integers(0, 256, (count, cifar.RECORD), np.uint8)
    made[:, 0] %= 10
    return made


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_binary(tmp_path: Path, make: SimpleNamespace, packed: bool) -> None:
    parts = {"data_batch_1": records(12), "data_batch_2": records(3, 1), "test_batch": records(2, 2)}
    files = {f"c/{name}.bin": part.tobytes() for name, part in parts.items()}
    files["c/batches.meta.txt"] = "\n".join("abcdefghij").encode() + b"\n\n"
    place = make.write_tar(tmp_path / "c.tar.gz", files) if packed else make.write(tmp_path / "x", files)
    data = shendu.data.open(place)
    assert data.classes == tuple("abcdefghij")
    both = np.concatenate([parts["data_batch_1"], parts["data_batch_2"]])
    assert column(data, "label").tolist() == both[:, 0].tolist()
    red = both[7, 1 : 1 + 1024].reshape(32, 32)
    assert np.array_equal(column(data, "image")[7, :, :, 0], red)
    assert len(data.splits["test"]) == 2
    assert data.notes[0] == "data_batch_1.bin is only a part: 12 of 10,000 records"


def test_npz(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 2
    np.savez_compressed(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2], extra=np.arange(3))
    data = shendu.data.open(tmp_path / "d.npz")
    assert data.fields == {"x": Number(shape=(3,)), "label": Category(names=("0", "1"))}
    assert np.array_equal(column(data, "x"), x.astype(np.float32))
    assert len(data.splits["test"]) == 2
    assert np.allclose(data.mean, x.mean(0), atol=1e-6)
    assert np.allclose(data.std, x.std(0), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "stored", "noted"),
    [
        ((4, 6, 5), (4, 6, 5, 1), False),
        ((4, 6, 5, 3), (4, 6, 5, 3), False),
        ((4, 6, 5, 4), (4, 6, 5, 4), False),
        ((4, 3, 6, 5), (4, 6, 5, 3), True),
        ((4, 1, 6, 5), (4, 6, 5, 1), True),
    ],
)
def test_bytes_become_pictures(shape: tuple[int, ...], stored: tuple[int, ...], noted: bool) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = shendu.data.open((x, [0, 1, 0, 1]))
    assert column(data, "image").shape == stored
    wanted = x.transpose(0, 2, 3, 1) if noted else x.reshape(stored)
    assert np.array_equal(column(data, "image"), wanted)
    assert any("read as pictures" in note for note in data.notes) == noted


def test_other_arrays_stay_numbers() -> None:
    for x in (np.zeros((4, 8, 8)), np.zeros((4, 8), np.uint8), np.zeros((4, 2, 6, 5), np.uint8), np.zeros(4, bool)):
        data = shendu.data.open((x, np.array(["b", "a", "b", "c"])))
        assert data.fields == {"x": Number(shape=x.shape[1:]), "label": Category(names=("a", "b", "c"))}
        assert column(data, "x").dtype == np.float32
        assert column(data, "label").tolist() == [1, 0, 1, 2]


def test_tensors_and_targets() -> None:
    x = torch.arange(12, dtype=torch.bfloat16).reshape(6, 2).requires_grad_()
    data = shendu.data.open((x, torch.linspace(0, 1, 6)))
    assert data.fields == {"x": Number(shape=(2,)), "y": Number()}
    assert column(data, "x").tolist() == x.tolist()
    labels = torch.tensor([[10], [9], [-1], [9], [10], [9]])
    assert shendu.data.open((x, labels)).classes == ("-1", "9", "10")
    assert shendu.data.open({"x": x, "y": [b"no", b"yes"] * 3}).classes == ("no", "yes")


def test_objects_are_reopened_from_the_cache() -> None:
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 2
    data = shendu.data.open({"x_train": x, "y_train": y, "x_val": x[:2], "y_val": y[:2]})
    assert data.source == f"cache:{data.hash}"
    again = shendu.data.open(data.source)
    assert (again.hash, again.fields, again.mean, set(again.splits)) == (
        *(data.hash, data.fields, data.mean),
        {"train", "validation"},
    )
    assert np.array_equal(column(again, "x"), column(data, "x"))
    assert shendu.data.open(data) is data
    assert shendu.data.open((x, y)).hash != data.hash
    assert shendu.data.open((x + 1, y)).hash != shendu.data.open((x, y)).hash


def test_columns_are_mapped_copy_on_write() -> None:
    x, y = np.zeros((6, 3)), np.arange(6) % 2
    data = shendu.data.open((x, y))
    column(data, "x")[:] = 5
    assert column(shendu.data.open(data.source), "x").max() == 0


def test_moments_against_numpy() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70_000, 2, 3, 3), np.uint8)
    images[..., 2] = 7
    mean, std = moments.of_images(images).settled()
    assert np.allclose(mean, images.mean((0, 1, 2)), rtol=1e-12)
    assert np.allclose(std[:2], images.std((0, 1, 2))[:2], rtol=1e-9)
    assert std[2] == 1
    bright = np.full((70_000, 1, 1, 1), 255, np.uint8)
    assert moments.of_images(bright).settled() == ((255.0,), (1.0,))
    far = rng.normal(size=(3000, 2, 400)).astype(np.float32) + 1000
    flat = far.reshape(len(far), -1)
    mean, std = moments.of_numbers(flat).settled()
    pieces = moments.merged(moments.of_numbers(part) for part in np.array_split(flat, 7))
    assert np.allclose(pieces.settled()[1], std, rtol=1e-12)
    assert np.allclose(mean, far.astype(np.float64).mean(0).ravel(), rtol=1e-12)
    assert np.allclose(std, far.astype(np.float64).std(0).ravel(), rtol=1e-9)


def test_known_names(tmp_path: Path, make: SimpleNamespace) -> None:
    data = shendu.data.open("xor")
    assert (data.name, data.source, len(data.splits["train"])) == ("xor", "xor", 4)
    make.mnist_like(tmp_path / "mnist")
    data = shendu.data.open("mnist", data_dir=tmp_path)
    assert (data.source, len(data.classes), len(data.splits["test"])) == ("mnist", 10, 10)
    make.write(tmp_path / "cifar10/cifar-10-batches-bin", {"data_batch_1.bin": records(2).tobytes()})
    data = shendu.data.open("cifar10", data_dir=tmp_path)
    assert (data.source, data.classes) == ("cifar10", cifar.CLASSES)


def test_unchanged_sources_are_not_read_again(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make.write(tmp_path / "x", make.pictures(TWO_CLASSES))
    settle(root)
    first = shendu.data.open(root)
    monkeypatch.setattr(cache, "_digest_files", lambda *_: pytest.fail("read again"))
    assert shendu.data.open(root).hash == first.hash


def test_changed_and_moved_sources(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", make.pictures(TWO_CLASSES))
    settle(root)
    first = shendu.data.open(root)
    moved = shendu.data.open(root.rename(tmp_path / "z"))
    assert (moved.hash, moved.name, moved.source) == (first.hash, "z", str(tmp_path / "z"))
    make.write(tmp_path / "z", {"dog/1.png": make.pictures(["a", "b", "c", "d"])["d"]})
    assert shendu.data.open(tmp_path / "z").hash != first.hash
    (tmp_path / "z/dog/1.png").rename(tmp_path / "z/cat/3.png")
    make.write(tmp_path / "z", make.pictures(["dog/9.png"]))
    assert len(shendu.data.open(tmp_path / "z").splits["train"]) == 4


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_suffix(".aside"))
    other.rename(one)
    one.with_suffix(".aside").rename(other)


def rewrite(one: Path, other: Path) -> None:
    """Each gets the other's bytes, and its own times back."""
    texts = one.read_bytes(), other.read_bytes()
    for path, text in ((one, texts[1]), (other, texts[0])):
        about = path.stat()
        path.write_bytes(text)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def links(one: Path, other: Path) -> None:
    """Symbolic links that point at each other's files from now on."""
    ends = os.readlink(one), os.readlink(other)
    for path, end in ((one, ends[1]), (other, ends[0])):
        path.unlink()
        path.symlink_to(end)


@pytest.mark.parametrize("exchange", [swap, rewrite, links])
def test_files_of_one_size_and_time_that_change_places_are_read_again(tmp_path: Path, exchange: Any) -> None:
    root, kept = tmp_path / "x", tmp_path / "kept"
    for name in ("train", "test"):
        (root / f"{name}.csv").parent.mkdir(exist_ok=True)
        kept.mkdir(exist_ok=True)
        number = 1 if name == "train" else 2
        (kept / name).write_text("a,label\n" + "".join(f"{number}{i % 10},{'yn'[i % 2]}\n" for i in range(40)))
        os.utime(kept / name, (10**9, 10**9))
        (root / f"{name}.csv").symlink_to(kept / name) if exchange is links else (kept / name).rename(
            root / f"{name}.csv"
        )

    def first() -> float:
        data = shendu.data.open(root, target="label")
        return float(data.splits["train"].column("row").min())

    assert (first(), first()) == (10, 10)
    exchange(root / "train.csv", root / "test.csv")
    assert first() == 20


def test_no_cache_reads_and_decodes_anew(
    tmp_path: Path, make: SimpleNamespace, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make.write(tmp_path / "x", make.pictures(TWO_CLASSES))
    settle(root)
    data = shendu.data.open(root)
    pixels = data.splits["train"].column("image").copy()
    entry = next((fresh_cache / "data").glob(f"{data.hash}/train.image.npy"))
    raw = entry.read_bytes()
    entry.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))  # a bit of the cache that nothing notices
    assert not np.array_equal(shendu.data.open(root).splits["train"].column("image"), pixels)
    token = reading.anew.set(True)
    try:
        assert np.array_equal(shendu.data.open(root).splits["train"].column("image"), pixels)
    finally:
        reading.anew.reset(token)
    assert entry.read_bytes() == raw


def test_files_changed_just_now_are_not_indexed(tmp_path: Path, make: SimpleNamespace, fresh_cache: Path) -> None:
    shendu.data.open(make.write(tmp_path / "x", make.pictures(TWO_CLASSES)))
    assert not (fresh_cache / "index").exists()


@pytest.mark.parametrize("damage", ["json", "no json", "nonsense", "missing", "short", "empty", "shape", "folder"])
def test_a_damaged_entry_is_rebuilt(tmp_path: Path, make: SimpleNamespace, fresh_cache: Path, damage: str) -> None:
    root = make.write(tmp_path / "x", make.pictures(TWO_CLASSES))
    settle(root)
    first = shendu.data.open(root)
    pixels = column(first, "image").copy()
    entry = fresh_cache / "data" / first.hash
    about, stored = entry / "dataset.json", entry / "train.image.npy"
    if damage == "json":
        about.write_text(about.read_text()[:-20])
    elif damage == "no json":
        about.unlink()
    elif damage == "nonsense":
        about.write_text("[1, 2]")
    elif damage == "missing":
        stored.unlink()
    elif damage == "short":
        stored.write_bytes(stored.read_bytes()[:-9])
    elif damage == "empty":
        stored.write_bytes(b"")
    elif damage == "shape":
        np.save(stored, pixels[:2])
    else:
        for path in entry.iterdir():
            path.unlink()
    assert np.array_equal(column(shendu.data.open(root), "image"), pixels)
    assert sorted(path.name for path in (fresh_cache / "data").iterdir()) == [first.hash]


def test_a_failed_decode_leaves_nothing_behind(tmp_path: Path, make: SimpleNamespace, fresh_cache: Path) -> None:
    files = make.pictures(TWO_CLASSES)
    files["dog/1.png"] = files["dog/1.png"][:-60]
    with pytest.raises(shendu.data.UserError):
        shendu.data.open(make.write(tmp_path / "x", files))
    assert list((fresh_cache / "data").iterdir()) == []


def _race(root: str, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    results.put(column(shendu.data.open(root), "image").sum())  # type: ignore[attr-defined]


def test_two_processes_race(tmp_path: Path, make: SimpleNamespace, fresh_cache: Path) -> None:
    root = make.write(tmp_path / "x", make.pictures([f"{c}/{i}.png" for c in "ab" for i in range(20)]))
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    racers = [context.Process(target=_race, args=(str(root), barrier, results)) for _ in range(3)]
    for racer in racers:
        racer.start()
    sums = {int(results.get(timeout=30)) for _ in racers}
    for racer in racers:
        racer.join()
    assert len(sums) == 1
    assert len(list((fresh_cache / "data").iterdir())) == 1


def test_importing_the_readers_loads_neither_torch_nor_pillow() -> None:
    check = "import sys, shendu.data; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.data
@pytest.mark.skipif("SHENDU_DATA" not in os.environ, reason="needs the real sets")
def test_real_sets() -> None:
    root = Path(os.environ["SHENDU_DATA"])
    mnist = shendu.data.open("mnist", data_dir=root)
    assert column(mnist, "label")[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert mnist.mean[0] / 255 == pytest.approx(0.1307, abs=1e-4)
    assert mnist.std[0] / 255 == pytest.approx(0.3081, abs=1e-4)
    fashion = shendu.data.open("fashion-mnist", data_dir=root)
    assert {split: len(rows) for split, rows in fashion.splits.items()} == {"train": 60000, "test": 10000}
    cifar10 = shendu.data.open(root / "cifar10/cifar-10-binary-first4000.tar.gz")
    assert column(cifar10, "label")[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    assert column(cifar10, "image")[0, 0, :5, 0].tolist() == [59, 43, 50, 68, 98]
    faces = shendu.data.open(root / "orl-faces/att_faces.zip")
    assert faces.fields["image"] == Image(height=112, width=92, channels=1)
    assert np.bincount(column(faces, "label")).tolist() == [10] * 40
    with zipfile.ZipFile(root / "orl-faces/att_faces.zip") as archive:
        raw = np.frombuffer(archive.read("s1/1.pgm")[-92 * 112 :], np.uint8)
    assert np.array_equal(column(faces, "image")[0].ravel(), raw)
