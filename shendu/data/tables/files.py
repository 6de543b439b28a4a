"""Which files are tables, and which part of a data set each is.

What names and first bytes tell is told without pyarrow, so that other data does not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shendu.data.reader import Place, there
from shendu.errors import UserError

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
_MAYBE = ("", ".data", ".dat", ".txt", ".test", ".train", ".asc")
"""Endings of files that are tables where their lines have the same number of cells."""
DELIMITERS = "\t;|,"
"""In the order in which they are believed where two would do: a comma is also a decimal sign."""
SURE, SHARE, SAVED = 0.9, 0.6, 0.95
"""Of a file; of a folder of nothing but tables; of a folder that `datasets` wrote."""
PARTS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
          "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip


def in_folder(path: Path, names: list[str]) -> dict[str, Path] | None:
    """Part -> file of a folder that holds one table, or train.csv and perhaps test.csv; None: no folder of tables.

    Raises UserError where several tables have no such names.
    """
    found = [path / name for name in names if "/" not in name and ending(name) in SUFFIXES]
    if not found:
        return None
    parts: dict[str, Path] = {}
    for file in found:
        part = PARTS.get(file.name.split(".")[0].lower())
        if part:
            if part in parts:
                raise UserError(f"{path} has two {part} parts, {parts[part].name} and {file.name}: leave one")
            parts[part] = file
    if "train" in parts:
        return parts
    if len(found) > 1:
        raise UserError(
            f"{path} is a folder of tables: name one of them, such as {found[0]}, or name them train.csv and test.csv"
        )
    return {"train": found[0]}


def ending(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def recognised(path: Path) -> str:
    """`csv`, `jsonl`, `parquet`, `arrow` or `excel`, by content and ending; empty: no table."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    packed = head[:2] == b"\x1f\x8b"
    ending = (path.with_suffix("") if packed and path.suffix.lower() == ".gz" else path).suffix.lower()
    kind = SUFFIXES.get(ending, "")
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
    """Part -> Arrow files of a folder of `datasets`; None where it is none."""
    if "dataset_dict.json" not in names and "dataset_info.json" not in names:
        return None
    parts: dict[str, list[Path]] = {}
    for name in names:
        if name.endswith(".arrow"):
            split = Path(name).parent.name if "dataset_dict.json" in names else "train"
            parts.setdefault(PARTS.get(split.lower(), split), []).append(path / name)
    if "train" not in parts:
        raise UserError(
            f"{path} has no train part ({', '.join(sorted(parts)[:6]) or 'no Arrow files'}): save it with a split named train"
        )
    return {part: group for part, group in parts.items() if part in set(PARTS.values())}


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
