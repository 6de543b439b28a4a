"""The data sets that are known by name: what they are, where their files are found, and from where they are fetched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shendu.data import download, generated
from shendu.errors import UserError, unknown

CIFAR_FOLDER, CIFAR_ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"


@dataclass(frozen=True)
class File:
    """A file as its publisher offers it; `size` in bytes, `urls` mirrors in the order in which they are tried."""

    key: str
    filename: str
    sha256: str
    size: int
    urls: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A data set that a name stands for."""

    name: str
    summary: str
    kind: Literal["idx", "cifar-binary", "generated"]
    files: tuple[File, ...] = ()
    classes: tuple[str, ...] = ()
    licence: str
    home: str = ""


@dataclass(frozen=True)
class Found:
    """Where a data set's files are.

    `files`: for `idx` the keys `train_images`, `train_labels`, `test_images`, `test_labels` (gzipped or not); for
    `cifar-binary` either `archive` (a .tar.gz) or `folder` (with data_batch_*.bin in it); none for `generated`.
    """

    name: str
    kind: str
    files: dict[str, Path] = field(default_factory=dict)


def _idx_files(mirrors: tuple[str, ...], figures: dict[str, tuple[str, int, str]]) -> tuple[File, ...]:
    """The four files of a set in MNIST's format, gzipped; key -> (stem, size, sha256)."""
    return tuple(
        File(key, f"{stem}.gz", sha256, size, tuple(f"{mirror}{stem}.gz" for mirror in mirrors))
        for key, (stem, size, sha256) in figures.items()
    )


_MNIST = _idx_files(
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

_FASHION = _idx_files(
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

_CIFAR10 = File(
    "archive",
    CIFAR_ARCHIVE,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)

_DIGITS = tuple(str(digit) for digit in range(10))
_CLOTHES = "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
_OBJECTS = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"


def _gate(name: str) -> Known:
    rows = 2 ** generated.GATES[name][0]
    return Known(
        name=name,
        summary=f"the truth table of the logic gate {name.upper()}: {rows} rows, 2 classes",
        kind="generated",
        classes=("0", "1"),
        licence="none needed",
    )


KNOWN: dict[str, Known] = {
    known.name: known
    for known in (
        Known(
            name="digits",
            summary="handwritten digits, 1,797 grey pictures of 8x8, 10 classes",
            kind="generated",
            classes=_DIGITS,
            licence="CC BY 4.0 (UCI Machine Learning Repository)",
            home="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        ),
        *(_gate(name) for name in generated.GATES),
        Known(
            name="mnist",
            summary="handwritten digits, 60,000 + 10,000 grey pictures of 28x28, 10 classes",
            kind="idx",
            files=_MNIST,
            classes=_DIGITS,
            licence="none stated; usually cited as CC BY-SA 3.0",
            home="http://yann.lecun.com/exdb/mnist/",
        ),
        Known(
            name="fashion-mnist",
            summary="articles of clothing, 60,000 + 10,000 grey pictures of 28x28, 10 classes",
            kind="idx",
            files=_FASHION,
            classes=tuple(_CLOTHES.split(",")),
            licence="MIT (Zalando SE)",
            home="https://github.com/zalandoresearch/fashion-mnist",
        ),
        Known(
            name="cifar10",
            summary="animals and vehicles, 50,000 + 10,000 colour pictures of 32x32, 10 classes",
            kind="cifar-binary",
            files=(_CIFAR10,),
            classes=tuple(_OBJECTS.split(",")),
            licence="none stated (cite Krizhevsky 2009)",
            home="https://www.cs.toronto.edu/~kriz/cifar.html",
        ),
    )
}


def known(name: str) -> Known:
    """The entry of a name; raises UserError that names the near one."""
    if name not in KNOWN:
        raise unknown("data set", name, KNOWN)
    return KNOWN[name]


def find(
    name: str,
    data_dir: str | Path | None = None,
    *,
    fetch: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Found:
    """The files of a known set: from `data_dir`, else from the folders of $SHENDU_DATA, else downloaded.

    In such a folder the files may lie directly or in a folder of the set's name; they are a person's own and used as
    they are. `progress` is called with a download's file name, bytes so far and bytes in all.

    Raises UserError for an unknown name, for a `data_dir` that does not exist, for a failed download, and, where
    `fetch` is False, for a set that would have to be downloaded.
    """
    entry = known(name)
    files = _search(entry, data_dir)
    if files is None:
        if not fetch:
            raise UserError(
                f"{name} is not on this machine: put {', '.join(file.filename for file in entry.files)} "
                f"into {_downloads(name)}, or name the folder that has it with --data-dir"
            )
        files = {file.key: _download(name, file, progress) for file in entry.files}
    return Found(name, entry.kind, files)


def generate(name: str) -> dict[str, Any]:
    """A built-in set: `fields`, `splits` (split -> field -> array), `input`, `target` and `notes` of a Dataset.

    Raises UserError for a name that is not built in.
    """
    if name in generated.GATES:
        return generated.gate(name)
    if name == "digits":
        return generated.digits()
    raise unknown("built-in data set", name, (n for n, entry in KNOWN.items() if entry.kind == "generated"))


def on_disk(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder (or CIFAR archive) in which a set is found; None where it is built in or would be downloaded."""
    entry = known(name)
    files = _search(entry, data_dir)
    if not files:
        return None
    first = next(iter(files.values()))
    return first.parent if entry.kind == "idx" else first


def listing(data_dir: str | Path | None = None) -> list[dict[str, str]]:
    """For each known set its `name`, `summary`, `licence` and `where`: built in, a path, or how much to download."""
    rows = []
    for name, entry in KNOWN.items():
        if entry.kind == "generated":
            where = "built in"
        elif path := on_disk(name, data_dir):
            where = str(path)
        else:
            where = f"would download {sum(file.size for file in entry.files) / 2**20:.1f} MiB"
        rows.append({"name": name, "summary": entry.summary, "licence": entry.licence, "where": where})
    return rows


def _search(entry: Known, data_dir: str | Path | None) -> dict[str, Path] | None:
    """Key -> file from the first place that has all of them; None where no place has."""
    places = list(_places(data_dir))
    if entry.kind == "generated":
        return {}
    look = _idx_in if entry.kind == "idx" else _cifar_in
    for place in places:
        for folder in (place / entry.name, place):
            if files := look(entry, folder):
                return files
    downloads = {file: _downloads(entry.name) / file.filename for file in entry.files}
    if all(path.is_file() and path.stat().st_size == file.size for file, path in downloads.items()):
        return {file.key: path for file, path in downloads.items()}
    return None


def _places(data_dir: str | Path | None) -> Iterator[Path]:
    """The folders in which a person keeps data sets."""
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not folder.is_dir():
            why = "is not a folder" if folder.exists() else "does not exist"
            raise UserError(f"--data-dir {data_dir}: {why}; name the folder that has the data sets' files")
        yield folder
    for name in os.environ.get("SHENDU_DATA", "").split(os.pathsep):
        if name and (folder := Path(name).expanduser()).is_dir():
            yield folder


def _idx_in(entry: Known, folder: Path) -> dict[str, Path] | None:
    """All four files under any of their spellings: gzipped or not, `-idx3-` or `.idx3-`."""
    if folder.name in KNOWN and folder.name != entry.name:  # MNIST and Fashion-MNIST use the same file names
        return None
    files = {}
    for file in entry.files:
        plain = file.filename.removesuffix(".gz")
        dotted = plain.replace("-idx", ".idx")
        path = next((p for n in (plain, dotted) for p in (folder / f"{n}.gz", folder / n) if p.is_file()), None)
        if path is None or _anothers(entry, file, path):
            return None
        files[file.key] = path
    return files


def _anothers(entry: Known, file: File, path: Path) -> bool:
    """Whether a file has, to the byte, the size under which another set publishes the same file name."""
    size = path.stat().st_size
    published = {other.size for e in KNOWN.values() if e is not entry for other in e.files if other.key == file.key}
    return size != file.size and size in published


def _cifar_in(entry: Known, folder: Path) -> dict[str, Path] | None:
    """The published archive, its unpacked folder, or a part of the archive (the name's beginning is the same)."""
    if (folder / CIFAR_ARCHIVE).is_file():
        return {"archive": folder / CIFAR_ARCHIVE}
    for unpacked in (folder / CIFAR_FOLDER, folder):
        if unpacked.name == CIFAR_FOLDER and any(unpacked.glob("data_batch_*.bin")):
            return {"folder": unpacked}
    parts = sorted(folder.glob("cifar-10-binary*.tar.gz"))
    return {"archive": parts[0]} if parts else None


def _downloads(name: str) -> Path:
    from shendu.data import cache

    return cache.root() / "downloads" / name


def _download(name: str, file: File, progress: Callable[[str, int, int], None] | None) -> Path:
    def report(done: int, size: int) -> None:
        if progress:
            progress(file.filename, done, size)

    to = _downloads(name) / file.filename
    return download.fetch(file.urls, to, sha256=file.sha256, size=file.size, progress=report)
