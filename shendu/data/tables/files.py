"""Which files are tables, and which part of a data set each is.

What names and first bytes tell is told without pyarrow, so that other data does not wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from shendu.data.files.parts import PARTS, named
from shendu.data.reader import Place, there
from shendu.errors import UserError
from shendu.shown import line

SUFFIXES = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".psv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
    **dict.fromkeys((".xlsx", ".xlsm"), "excel"),
    ".arff": "arff",
}
SENT = frozenset(end for end, kind in SUFFIXES.items() if kind in ("csv", "jsonl", "parquet", "arrow"))
"""Endings of tables that a client may send."""
ALONE = {".json": "json"}
"""Those that are tables where they are named; beside other data they tell of it."""
_MAYBE = ("", ".data", ".dat", ".txt", ".test", ".train", ".asc")
"""Endings of files that are tables where their lines have the same number of cells."""
DELIMITERS = "\t;|,"
"""In the order in which they are believed where two would do: a comma is also a decimal sign."""
_SHARD = re.compile(r"-(\d{1,6})-of-(\d{1,6})$")
"""What the names of a large table's files end in: train-00000-of-00002.parquet."""
SHOWN = 4
"""Files that a note names."""
SURE, SHARE, SAVED = 0.9, 0.6, 0.95
"""Of a file; of a folder of nothing but tables; of a folder that `datasets` wrote."""


def in_folder(path: Path, names: list[str]) -> dict[str, Path] | None:
    """Part -> file of a folder that holds one table, or train.csv and perhaps test.csv; None: no folder of tables.

    Raises UserError where several tables have no such names.
    """
    found = [path / name for name in _tables(names) if not _later(name)]
    if not found:
        return None
    called = named({_stem(file.name) for file in found})
    by_part: dict[str, Path] = {}
    for file in found:
        if part := called.get(_stem(file.name)):
            if part in by_part:
                raise UserError(f"{path} has two {part} parts, {by_part[part].name} and {file.name}: leave one")
            by_part[part] = file
    if "train" in by_part:
        return by_part
    if len(found) > 1:
        raise UserError(
            f"{path} is a folder of tables: name one of them, such as {found[0]}, or name them train.csv and test.csv"
        )
    return {"train": found[0]}


def _tables(names: list[str]) -> list[str]:
    return [name for name in names if "/" not in name and ending(name) in SUFFIXES]


def _stem(name: str) -> str:
    return _SHARD.sub("", name.split(".")[0])


def deeper(names: Iterable[str]) -> str:
    """The first folder within a folder that holds tables; empty: none does."""
    return next((name.rpartition("/")[0] for name in sorted(names) if "/" in name and ending(name) in SUFFIXES), "")


def _later(name: str) -> bool:
    """Whether a file goes on where another one ends."""
    found = _SHARD.search(name.split(".")[0])
    return found is not None and int(found[1]) > 0


def shards(path: Path, names: Container[str] = ()) -> list[Path]:
    """The files that a table was cut into, of which this is the first; most are one. `names`: those of its archive.

    Raises UserError for one that is missing.
    """
    found = _SHARD.search(path.name.split(".")[0])
    if not found:
        return [path]
    begins, ends = path.name[: found.start()], path.name[found.end() :]
    number = f"0{len(found[1])}"
    files = [path.with_name(f"{begins}-{i:{number}}-of-{found[2]}{ends}") for i in range(int(found[2]))]
    for file in files:
        if file.name not in names and not file.exists():
            raise UserError(
                f"{path} is one of {len(files)} files, and {file.name} is not there: put all into one folder"
            )
    return files


def aside(names: Iterable[str], read: Mapping[str, str]) -> tuple[str, ...]:
    """A note on the tables beside those that are read: part -> name."""
    left = sorted(set(names) - set(read.values()))
    if not left:
        return ()
    few = ", ".join(map(line, left[:SHOWN])) + (", …" if len(left) > SHOWN else "")
    told = [part if name == part else f"{line(name)} ({part})" for part, name in read.items()]
    return (f"left aside, no part by its name: {few}; read: {', '.join(told)}",)


def beside(names: list[str], read: Mapping[str, Path]) -> tuple[str, ...]:
    """The same of a folder's files."""
    return aside(
        [name for name in _tables(names) if not _later(name)], {part: file.name for part, file in read.items()}
    )


def only_parts(called: Mapping[str, Any]) -> dict[str, Any]:
    """What is called by a part, in the parts' order."""
    return {part: called[part] for part in PARTS if part in called}


def ending(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def recognised(path: Path) -> str:
    """`csv`, `jsonl`, `json`, `parquet`, `arrow` or `excel`, by content and ending; empty: no table."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    packed = head[:2] == b"\x1f\x8b"
    ending = (path.with_suffix("") if packed and path.suffix.lower() == ".gz" else path).suffix.lower()
    kind = SUFFIXES.get(ending) or ALONE.get(ending, "")
    if head[:2] == b"PK" or head[257:262] == b"ustar":
        return "excel" if kind == "excel" else ""
    if kind or packed or ending not in _MAYBE:
        return kind
    return "csv" if _even(head) else ""


def _even(head: bytes) -> bool:
    """Whether the lines of a text have the same number of cells, two or more."""
    try:
        lines = head.decode("utf-8").splitlines()[:-1][:50]
    except UnicodeDecodeError:
        return False
    lines = [line for line in lines if line.strip()]
    return len(lines) >= 2 and any(
        min(counts := [line.count(sign) for line in lines[1:]]) == max(counts) >= 1 for sign in DELIMITERS
    )


def saved_parts(path: Path, names: list[str]) -> dict[str, list[Path]] | None:
    """Part, or a split that is none -> Arrow files of a folder of `datasets`; None where it is none. Raises UserError."""
    if "dataset_dict.json" not in names and "dataset_info.json" not in names:
        return None
    splits: dict[str, list[Path]] = {}
    for name in names:
        if name.endswith(".arrow"):
            split = Path(name).parent.name if "dataset_dict.json" in names else "train"
            splits.setdefault(split, []).append(path / name)
    called = named(splits)
    if "train" not in called.values():
        raise UserError(
            f"{path} has no train part ({', '.join(sorted(splits)[:6]) or 'no Arrow files'}): save it with a split named train"
        )
    return {called.get(split, split): group for split, group in splits.items()}


def sureness(place: Place) -> tuple[float, str] | None:
    """How sure it is that a place is a table, and why; None: it is none."""
    if place.file:
        kind = recognised(place.file)
        return (SURE, f"a table ({kind})") if kind else None
    if place.folder and {"dataset_dict.json", "dataset_info.json"} & set(place.names):
        return SAVED, "saved by `datasets`"
    mine = [name for name in place.names if ending(name) in SUFFIXES and not (place.folder and "/" in name)]
    return (
        (SHARE * len(mine) / len(place.names), f"{len(mine):,} tables among {len(place.names):,} files")
        if mine
        else None
    )


def packed(given: Any) -> Place | None:
    """A folder or an archive of tables that a path is; None: it is something else. Raises UserError for a damaged one."""
    if not isinstance(given, str | Path) or not there(given):
        return None
    path = Path(given).expanduser()
    if path.is_file() and recognised(path):
        return None
    place = Place.within(path)
    return place if place.tree and sureness(place) else None


def may_hold_files(given: str | Path) -> bool:
    """Whether a path could be a table whose cells are files: Parquet, Arrow, or a folder or an archive of tables. Raises UserError."""
    path = Path(given).expanduser()
    return (path.is_file() and recognised(path) in ("parquet", "arrow")) or bool(packed(given))


def parts_of(place: Place) -> dict[str, Path]:
    """Part -> file, where the parts are files on the disk. Raises UserError where several tables are no parts."""
    if place.file:
        return {"train": place.file}
    return (in_folder(place.folder, place.names) if place.folder else None) or {}
