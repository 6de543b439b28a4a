"""Folders as people have them: what is a part and what a class, what is left aside, and which layouts are another task."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shendu.data
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.files import foreign, layout, parts
from shendu.errors import UserError
from shendu.order import wanted
from shendu.reading import Reading

pytestmark = pytest.mark.usefixtures("fresh_cache")

TEXT = b"some words about this and that\n" * 30
OR_CLASSES = "if these are the classes: --label-from '^([^/]+)/'"


def tree(*folders: str, ends: tuple[str, ...] = (".png",), count: int = 2) -> list[str]:
    return [f"{folder}/{i}{end}" for folder in folders for i in range(count) for end in ends]


def pets(*around: str) -> list[str]:
    """Two classes in each folder."""
    return tree(*(f"{folder}/{pet}" for folder in around for pet in ("cat", "dog")))


@pytest.fixture
def write(tmp_path: Path, make: SimpleNamespace) -> Any:
    def written(names: list[str], root: str = "x") -> Path:
        drawn = make.pictures([name for name in names if name.endswith(".png")])
        return make.write(tmp_path / root, {name: drawn.get(name, TEXT) for name in names})

    return written


def counts(data: Dataset) -> dict[str, int]:
    return {part: len(split) for part, split in data.splits.items()}


def refused(path: Path, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        shendu.data.open(path, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- which files are learned from


@pytest.mark.parametrize(
    "more",
    [
        ["notes.txt"], ["README.txt", "classes.txt", "testing_list.txt", "LICENSE.txt", "train.txt", "labels.txt"],
        ["cat/notes.txt", "dog/notes.txt"], ["cat/0.txt", "cat/1.txt", "dog/0.txt", "dog/1.txt"],
        ["labels/0.txt", "labels/1.txt"], ["requirements.txt", "synset_words.txt"], ["captions/cat/0.txt"],
    ],
)  # fmt: skip
def test_texts_about_pictures_make_no_text_of_them(more: list[str], write: Any) -> None:
    data = shendu.data.open(write([*pets("."), *more]))
    assert (data.inputs, data.classes) == (("image",), ("cat", "dog"))
    said = f"no pictures, left out: {layout.count(len(more), 'file')} ({len(more)} .txt), such as {min(more)}"
    assert data.notes == (said,)


def test_the_commonest_kind_decides(write: Any) -> None:
    chapters = [f"chapter {i}.txt" for i in range(9)]
    assert shendu.data.open(write([*pets("."), *chapters[:3]])).inputs == ("image",)
    data = shendu.data.open(write([*pets("."), *chapters], "y"))
    assert data.inputs == ("text",)
    assert data.notes[0] == "9 texts joined in the order of their names"
    assert data.notes[-1] == "no texts, left out: 4 files (4 .png), such as cat/0.png"


def test_a_readme_is_no_text_among_others(write: Any) -> None:
    data = shendu.data.open(write([*tree("pos", "neg", ends=(".txt",)), "pos/README.txt", "README.txt"]))
    assert counts(data) == {"train": 4}
    assert data.notes[0] == "about the data, left out: 2 texts, such as README.txt"
    prose = shendu.data.open(write(["a.txt", "b.txt", "README.txt"], "y"))
    assert prose.notes[0] == "2 texts joined in the order of their names"
    assert prose.notes[-1] == "about the data, left out: 1 text, such as README.txt"


def test_what_others_read_is_named(write: Any) -> None:
    for end, how in {
        ".heic": "magick IN.heic OUT.png", ".m4a": "ffmpeg -i IN.m4a OUT.wav", ".docx": "pandoc -t plain -o OUT.txt IN.docx",
        ".dcm": "dcmj2pnm --write-16-bit-png IN.dcm OUT.png",
        ".mp4": "ffmpeg -i IN.mp4 -vf fps=1 OUT-%05d.png (its sound: OUT.wav)",
    }.items():  # fmt: skip
        root = write(tree("a", "b", ends=(end,)), end)
        assert refused(root) == f"{root} holds 4 {end} files, which are not read: convert with {how}"
        one = root / "a" / f"0{end}"
        assert refused(one) == f"{one} is a {end} file, which is not read: convert with {how}"
    data = shendu.data.open(write([*pets("."), "cat/9.heic"]))
    assert data.notes == (
        "no pictures, left out: 1 file (1 .heic), such as cat/9.heic; .heic files: convert with magick IN.heic OUT.png",
    )
    volume = write(["1.nii.gz"], "nii")
    assert refused(volume).startswith(f"{volume} holds 1 .nii.gz file, which is not read: save its slices as PNG files")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\0\0\0\x18ftypheic", ", but .heic inside: convert with magick IN.heic OUT.png"),
        (b"\0\0\0\x18ftypisom", ", but .mp4 inside: convert with ffmpeg -i IN.mp4 -vf fps=1 OUT-%05d.png (its sound: OUT.wav)"),
        (b"\0\0\0\x18ftypM4A ", ", but .m4a inside: convert with ffmpeg -i IN.m4a OUT.wav"),
        (bytes(128) + b"DICM", ", but .dcm inside: convert with dcmj2pnm --write-16-bit-png IN.dcm OUT.png"),
        (b"\n<!DOCTYPE HTML>", ", but a web page, as a failed download leaves it: download it again"),
        (b"version https://git-lfs.github.com/spec/v1", ", but a Git LFS pointer instead of the file: fetch it with git lfs pull"),
        (b"\x89PNG", ""), (b"", ""), (b"RIFF\0\0\0\0WAVE", ""), (b"\0\0\0\x18ftypavif", ""),
    ],
)  # fmt: skip
def test_what_is_inside_is_told_by_the_first_bytes(head: bytes, said: str) -> None:
    assert foreign.inside(head) == said


def test_files_without_a_suffix_are_known_by_their_bytes(tmp_path: Path, make: SimpleNamespace) -> None:
    root = make.write(tmp_path / "x", {f"{c}/IM{i}": bytes(128) + b"DICM" for c in "ab" for i in range(2)})
    assert refused(root).startswith(f"{root} holds 4 .dcm files, which are not read: convert with dcmj2pnm")


def test_a_readme_beside_a_table_makes_no_text_of_it(tmp_path: Path, make: SimpleNamespace) -> None:
    table = "a,b,y\n" + "".join(f"{i},{i * i % 7},{'pq'[i % 2]}\n" for i in range(40))
    for name in ("README.txt", "names.txt", "notes.txt"):
        data = shendu.data.open(make.write(tmp_path / name, {"people.csv": table.encode(), name: TEXT}))
        assert data.inputs == ("row",)


def test_many_texts_beside_a_picture_are_texts(write: Any) -> None:
    names = tree("texts/pos", "texts/neg", ends=(".txt",), count=3)
    assert shendu.data.open(write([*names, "plot.png"])).inputs == ("text",)


# ---- parts


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("train", "dev", "test"), ("train", "validation", "test")), (("training", "testing"), ("train", "test")),
        (("train", "eval"), ("train", "test")), (("train", "eval", "test"), ("train", "validation", "test")),
        (("train", "dev", "eval"), ("train", "validation", "test")), (("seg_train", "seg_test"), ("train", "test")),
        (("Train", "Valid"), ("train", "validation")), (("TRAIN", "TEST"), ("train", "test")),
        (("training_set", "test_set"), ("train", "test")), (("trainset", "testset"), ("train", "test")),
        (("train_images", "val_images"), ("train", "validation")), (("train2017", "val2017"), ("train", "validation")),
        (("train-clean-100", "dev-clean", "test-clean"), ("train", "validation", "test")),
        (("petTrain", "petTest"), ("train", "test")), (("train", "hold-out"), ("train", "test")),
        (("train/train", "test/test"), ("train", "test")), (("seg_train/seg_train", "seg_test/seg_test"), ("train", "test")),
        (("x/x/train", "x/x/test"), ("train", "test")), (("train/images", "test/images"), ("train", "test")),
    ],
)  # fmt: skip
def test_folders_that_are_parts(folders: tuple[str, ...], found: tuple[str, ...], write: Any) -> None:
    for i, more in enumerate(([], ["stray.png"])):
        data = shendu.data.open(write([*pets(*folders), *more], f"{i}"))
        assert (data.classes, counts(data)) == (("cat", "dog"), dict.fromkeys(found, 4))


@given(
    st.sampled_from(["train", "training"]),
    st.sampled_from(["test", "testing", "val", "valid", "validation", "dev", "eval"]),
    st.sampled_from(["{}", "{}_set", "{}set", "{}-images", "{} data", "my_{}", "{}_v2", "2024_{}", "{}.split"]),
    st.sampled_from([str.lower, str.upper, str.capitalize]),
)
@settings(max_examples=60)
def test_parts_under_any_usual_name(train: str, other: str, around: str, spelled: Any) -> None:
    one, two = (spelled(around.format(word)) for word in (train, other))
    expected = {"test": "test", "testing": "test", "eval": "test"}.get(other, "validation")
    assert parts.named([one, two]) == {one: "train", two: expected}
    assert parts.named([one, two, "bird"]) == parts.named([one, two])


WORDS = ("train", "test", "val", "eval", "dev", "training", "cat", "dog", "images", "masks", "labels", "fold1", "fold2", "seg_train",
         "seg_test", "train_masks", "no", "2019", "1_mask", "1", "2", "x", "café")  # fmt: skip


@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(tuple), min_size=1, max_size=12, unique=True),
    st.sampled_from(["", "{label}/*", "^([^/]+)/", "(cat|dog)", "{label}_*"]),
    st.sampled_from(["auto", "anomaly"]),
)
@settings(max_examples=60)
def test_any_tree_is_planned_or_refused_in_one_line(places: list[tuple[str, ...]], label_from: str, task: str) -> None:
    names = ["/".join(place) + ".png" for place in places]
    line, plan = "", None
    try:
        plan = layout.plan(names, "x", layout.PICTURES, Reading(label_from=label_from, task=task))
    except UserError as error:
        line = str(error)
    assert (plan is None) == bool(line)
    assert "\n" not in line
    if plan is None:
        return
    kept = plan.names()
    assert len(set(kept)) == len(kept) <= len(names)
    assert len(kept) == len(names) or any("left out" in note for note in plan.notes)
    for rows in plan.splits.values():
        for name, label in rows:
            assert (label in name.split("/")[:-1] or label_from) if task == "auto" else label == ""


@pytest.mark.parametrize(
    "classes",
    [("train", "bus", "car"), ("valid", "invalid"), ("test", "control"), ("mask", "no_mask"), ("with_mask", "without_mask"),
     ("trained", "untrained"), ("contest", "protest"), ("test1", "test2"), ("1", "2"), ("evaluate", "ignore")],
)  # fmt: skip
def test_classes_whose_names_remind_of_parts(classes: tuple[str, ...], write: Any) -> None:
    data = shendu.data.open(write(tree(*classes)))
    assert (data.classes, counts(data)) == (tuple(sorted(classes)), {"train": 2 * len(classes)})


def test_what_looks_like_parts_and_is_not_laid_as_parts_is_refused(write: Any) -> None:
    flat = write(tree("train", "test"), "flat")
    assert refused(flat) == (
        f"{flat} has test, train, called like parts, without class folders in them: put each class into a folder of its own, "
        f"such as {flat}/train/cat, or say where names hold it with --label-from '{{label}}_*'; {OR_CLASSES}"
    )
    assert shendu.data.open(flat, label_from="^([^/]+)/").classes == ("test", "train")
    more = write(pets("train", "more"), "more")
    assert refused(more) == (
        f"{more} has the folder train, a training part with cat, dog in it, beside more: call those validation or test, or "
        f"move them away; {OR_CLASSES}"
    )
    two = write(pets("train", "val", "valid"), "two")
    assert refused(two) == (
        f"{two} has 2 validation parts, val, valid: leave one of them, or put them together; {OR_CLASSES}"
    )
    folds = write(pets("fold1", "fold2", "fold10"), "folds")
    assert refused(folds) == (
        f"{folds} holds folds (fold1, fold10, fold2) and no classes: say where the class stands and which fold is the test "
        f"part, as with --label-from '{{label}}/*' --test-from '^fold2/'; {OR_CLASSES}"
    )
    data = shendu.data.open(folds, label_from="{label}/*", test_from="^fold2/")
    assert (data.classes, counts(data)) == (("cat", "dog"), {"train": 8, "test": 4})


def test_folders_beside_parts_and_trees_in_trees(write: Any) -> None:
    extra = shendu.data.open(write(pets("train", "test", "extra"), "extra"))
    assert (counts(extra), extra.notes) == (
        {"train": 4, "test": 4}, ("left out: 4 pictures in extra, beside the parts test, train",),
    )  # fmt: skip
    packed = shendu.data.open(write(pets(".", "pets"), "packed"))
    assert (packed.classes, counts(packed)) == (("cat", "dog"), {"train": 4})
    assert packed.notes == ("left out: 4 pictures in the folder pets, in which cat, dog lie once more",)
    beside = shendu.data.open(write(pets(".", "test"), "beside"))
    assert (beside.classes, counts(beside)) == (("cat", "dog"), {"train": 4, "test": 4})
    within = shendu.data.open(
        write(tree(*(f"{pet}/{part}" for pet in ("cat", "dog") for part in ("train", "test"))), "in")
    )
    assert (within.classes, counts(within)) == (("cat", "dog"), {"train": 4, "test": 4})


def test_anomalies_are_parted_as_classes_are(write: Any) -> None:
    data = shendu.data.open(
        write(tree("train/good", "test/good", "test/broken", "ground_truth/broken")), task="anomaly"
    )
    assert counts(data) == {"train": 2, "test": 4}


def test_pictures_deeper_than_their_class(write: Any) -> None:
    root = write(tree("2019/cat", "2019/dog", "2020/cat", "2020/dog"))
    data = shendu.data.open(root)
    assert data.classes == ("2019", "2020")
    assert data.notes == (
        "deeper than its class's folder: 8 pictures, such as 2019/cat/0.png (for the folder that it lies in: --label-from '{label}/*')",
    )
    assert shendu.data.open(root, label_from="{label}/*").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("pattern", "classes"),
    [("{label}/*", "xy"), ("{label}/*/*", "ab"), ("{label}/*/1_*.png", "ab"), ("^([^/]+)/", "ab"), ("/(x|y)/", "xy"),
     ("(x|y)", "xy"), ("[^/]+/(.)/", "xy"), ("_(.)", "pq"), ("*_{label}.png", "pq"), ("x/*_{label}.png", "pq")],
)  # fmt: skip
def test_labels_in_paths_and_names(pattern: str, classes: str, write: Any) -> None:
    names = [f"{a}/{x}/{i}_{p}.png" for a in "ab" for x in "xy" for i, p in enumerate("pq")]
    data = shendu.data.open(write(names), label_from=pattern)
    assert data.classes == tuple(classes)


# ---- other tasks


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (tree("images", ends=(".png",)) + tree("labels", ends=(".txt",)), "labels/0.txt beside its picture (boxes as of YOLO, or captions"),
        (tree("train/images", "valid/images") + tree("train/labels", "valid/labels", ends=(".txt",)), "train/labels/0.txt beside its picture"),
        (tree("images/train", "images/val") + tree("labels/train", "labels/val", ends=(".txt",)), "labels/train/0.txt beside its picture"),
        (["0.png", "0.txt", "1.png", "1.txt"], "0.txt beside its picture (boxes as of YOLO, or captions"),
        (tree("JPEGImages") + tree("Annotations", ends=(".xml",)), "Annotations/0.xml beside its picture (boxes as of VOC"),
        ([*tree("train2017", "val2017"), "annotations/instances_val2017.json"], "annotations/instances_val2017.json (boxes or masks as of COCO"),
        ([*tree("train", "valid"), "train/_annotations.coco.json"], "train/_annotations.coco.json (boxes or masks as of COCO"),
        ([*tree("train"), "train/metadata.csv"], "train/metadata.csv (not read beside pictures; from Python: shendu.train(datasets.load_"),
        (["0.png", "1.png", "metadata.jsonl"], "metadata.jsonl (not read beside pictures"),
        ([*tree("images"), "labels.csv"], "labels.csv (may name the classes, but is not read beside pictures)"),
        ([*tree("train", "test"), "train.csv", "test.csv"], "test.csv, train.csv (may name the classes"),
    ],
)  # fmt: skip
def test_layouts_of_other_tasks_are_named(names: list[str], told: str, write: Any) -> None:
    assert f", and {told}" in refused(write(names))


@pytest.mark.parametrize(
    ("folders", "pair", "how"),
    [
        (("images", "masks"), "images/ and masks/", "put the pictures alone into class folders"),
        (("image", "label"), "image/ and label/", "put the pictures alone into class folders"),
        (("train", "train_masks"), "train/ and train_masks/", "put the pictures alone into class folders"),
        (("train/images", "train/masks", "test/images", "test/masks"), "images/ and masks/", "put the pictures alone into class folders"),
        (("imagesTr", "labelsTr"), "imagesTr/ and labelsTr/", "put the pictures alone into class folders"),
        (("a/images", "a/masks", "b/images", "b/masks"), "images/ and masks/", "--label-from '([^/]+)/images/'"),
        (("images/a", "images/b", "masks/a", "masks/b"), "images/ and masks/", "--label-from 'images/([^/]+)/'"),
    ],
)  # fmt: skip
def test_masks_are_named(folders: tuple[str, ...], pair: str, how: str, write: Any) -> None:
    root = write(tree(*folders))
    assert refused(root) == (
        f"{root} holds pictures and masks of them ({pair}): segmentation is another task than classes; to learn classes: {how}"
    )
    if how.startswith("--label-from"):
        data = shendu.data.open(root, label_from=how.removeprefix("--label-from ").strip("'"))
        assert (data.classes, counts(data)) == (("a", "b"), {"train": 4})


def test_masks_beside_their_pictures_are_left_out(write: Any) -> None:
    data = shendu.data.open(write(tree("benign", "malignant", ends=(".png", "_mask.png", "_mask_1.png"))))
    assert counts(data) == {"train": 4}
    assert data.notes == ("masks of other pictures, left out: 8 pictures, such as benign/0_mask.png",)


# ---- names


def test_a_class_in_either_form_of_unicode_is_one(write: Any, tmp_path: Path, make: SimpleNamespace) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    files = make.pictures([f"{composed}/1.png", f"{apart}/2.png", "x/1.png"])
    root = make.write(tmp_path / "x", files)
    assert (data := shendu.data.open(root)).classes == (composed, "x")
    assert data.splits["train"].column("label").tolist().count(0) == 2
    parted = make.pictures(
        [f"{part}/{name}/1.png" for part, name in (("train", composed), ("train", "x"), ("test", apart))]
    )
    assert counts(shendu.data.open(make.write(tmp_path / "y", parted))) == {"train": 2, "test": 1}
    named = make.write(tmp_path / "z", make.pictures([f"{apart}_{label}_1.png" for label in "ab"]))
    assert shendu.data.open(named, label_from=f"{composed}_{{label}}_*").classes == ("a", "b")


def test_an_archive_whose_names_are_utf8_and_not_said_to_be(tmp_path: Path, make: SimpleNamespace) -> None:
    class Entry(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return unicodedata.normalize("NFD", self.filename).encode(), self.flag_bits & ~0x800

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in make.pictures(["café/1.png", "x/1.png"]).items():
            archive.writestr(Entry(name), data)
    assert shendu.data.open(tmp_path / "x.zip").classes == ("café", "x")


@pytest.mark.skipif(os.name == "nt", reason="names are bytes elsewhere")
def test_classes_whose_names_are_no_unicode_stay_apart(tmp_path: Path, make: SimpleNamespace) -> None:
    (data,) = make.pictures(["x"]).values()
    for name in (b"caf\xe8", b"caf\xe9"):
        folder = os.fsencode(tmp_path / "x") + b"/" + name
        os.makedirs(folder)
        with open(folder + b"/1.png", "wb") as file:
            file.write(data)
    assert shendu.data.open(tmp_path / "x").classes == (r"caf\udce8", r"caf\udce9")


# ---- what is said before training


def test_classes_are_told_with_their_counts(write: Any) -> None:
    data = shendu.data.open(write([*pets("train", "test"), "train/cat/9.png"]))
    assert data.tally() == ("2 classes: cat (5), dog (4)",)
    codes = np.repeat(np.arange(100), np.arange(100) + 1)
    many = Category(names=tuple(f"c{i:02}" for i in range(100)))
    assert many.tally([{"": codes[:50]}, {"": codes[50:]}]) == (
        "100 classes: c00 (1), c01 (2), c02 (3), c03 (4), c04 (5), c05 (6), c06 (7), c07 (8), c08 (9), c09 (10), and 90 more; "
        "1 (c00) to 100 (c99) rows each"
    )
    assert Category(names=("a" * 50, "b\n")).tally([{"": np.array([0, 1, 1])}]) == f"2 classes: {'a' * 39}… (1), b? (2)"


def test_training_says_the_classes(write: Any) -> None:
    data = wanted("lenet", write(pets("train", "test")), None, False, {}, None).open()
    assert data.notes == ("2 classes: cat (4), dog (4)",)
