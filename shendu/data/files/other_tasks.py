"""What lies beside pictures and recordings and tells of another task than classes: boxes, masks, captions, tables of labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from shendu.data.files.parts import Rows, part_of, some, words

_PICTURES = {"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpegimages", "input", "inputs",
             "original", "originals", "rgb", "frames"}  # fmt: skip
_MASKS = {"mask", "masks", "label", "labels", "annotation", "annotations", "annots", "segmentation", "segmentations",
          "seg", "segs", "gt", "groundtruth", "truth", "trimaps"}  # fmt: skip
_SAID = {
    "boxes",
    "bboxes",
    "captions",
    "texts",
    "txt",
    "xml",
    "xmls",
    "json",
    "jsons",
    "transcripts",
    "wav",
    "wavs",
    "audio",
}
_TWIN = re.compile(r"(.+)[ _-](?:mask|seg|segmentation|gt|label|annotation)s?(?:[ _-]\d+)?", re.IGNORECASE)
_COCO = re.compile(r"coco|instances|annotation|keypoints|captions|panoptic|labels", re.IGNORECASE)
TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".parquet", ".arrow", ".feather", ".xlsx", ".arff")
_ABOUT = re.compile(
    r"(readme|licen[cs]e|copying|notice|changelog|changes|authors|credits|citation|about|info|description|notes?|"
    r"class(es)?(_?names)?|labels?|categories|synsets?|wnids|words|names|vocab\w*|annotations?|metadata|index|"
    r"requirements|todo|urls?\w*|checksums?|md5\w*|sha\d*\w*|.*_(list|names|labels|classes|readme|urls|split|ids)|"
    r"(train|training|val|valid|validation|dev|test|testing|trainval|all)(_?(list|set|files|ids|split|names|\d+))?)",
    re.IGNORECASE,
)


def is_about(name: str) -> bool:
    """Whether a text is called like one that tells of other files (README, notes, testing_list), or lies in a folder of such (labels/)."""
    *folders, _ = name.lower().split("/")
    return bool(_ABOUT.fullmatch(_stem(name).replace("-", "_"))) or not (_MASKS | _SAID).isdisjoint(folders)


def is_readme(name: str) -> bool:
    """Whether a text is called like one that is no data in any company."""
    return bool(re.fullmatch(r"readme|licen[cs]e|copying|changelog", _stem(name), re.IGNORECASE))


def beside(texts: Iterable[str], files: Collection[str]) -> set[str]:
    """The texts that tell of one of the files each: called as it is, in its folder or in one for labels (images/1.png, labels/1.txt)."""
    places = {name: _place(name) for name in texts}
    stems = {stem for _, stem in places.values()}
    known = {_place(name) for name in files if _stem(name) in stems}
    return {name for name, place in places.items() if place in known}


def _place(name: str) -> tuple[str, str]:
    """A file's folder, but for those that only tell pictures from what is said of them, and its stem."""
    *folders, _ = name.split("/")
    told = [folder for folder in folders if folder.lower() not in _PICTURES | _MASKS | _SAID]
    return told[-1] if told else "", _stem(name)


def _stem(name: str) -> str:
    base = name[name.rfind("/") + 1 :]
    dot = base.rfind(".")
    return base[:dot] if dot > 0 else base


def masks(rows: Rows) -> tuple[str, str]:
    """(a folder of pictures, the folder of masks that lies beside it); empty: there is none."""
    beside_each_other: dict[tuple[str, ...], set[str]] = {}
    for folders in {parts[:-1] for _, parts in rows}:
        for i in range(len(folders)):
            beside_each_other.setdefault(folders[:i], set()).add(folders[i])
    for names in beside_each_other.values():
        for mask in sorted(names):
            kept = [word for word in words(mask) if word not in _MASKS]
            if len(kept) < len(words(mask)) and (of := _pictures_of(mask, kept, names)):
                return of, mask
    return "", ""


def classes_beside(rows: Rows, pictures: str) -> str:
    """How classes can be learned from folders of pictures beside which masks lie: what is to be said or done."""
    inside = any(pictures in folders[:-2] for _, folders in rows)
    above = any(folders.index(pictures) and not part_of(folders[folders.index(pictures) - 1])
                for _, folders in rows if pictures in folders[:-1])  # fmt: skip
    if inside or above:
        return f"--label-from '{pictures}/([^/]+)/'" if inside else f"--label-from '([^/]+)/{pictures}/'"
    return "put the pictures alone into class folders"


def _pictures_of(mask: str, kept: list[str], names: set[str]) -> str:
    """The folder of pictures that a folder of masks belongs to, of those beside it; `kept`: what else its name says."""
    for name in sorted(names - {mask}):
        said = words(name)
        rest = [word for word in said if word not in _PICTURES]
        if not set(said) & _MASKS and rest == kept and (len(rest) < len(said) or any(map(part_of, said))):
            return name
    return ""


def twins(rows: Rows) -> set[str]:
    """Masks that lie beside their picture under its name: 1.png and 1_mask.png."""
    called = [
        (name, folders[:-1], match[1]) for name, folders in rows if (match := _TWIN.fullmatch(_stem(folders[-1])))
    ]
    places = {(folders[:-1], _stem(folders[-1])) for _, folders in rows} if called else set()
    return {name for name, folders, stem in called if (folders, stem) in places}


def told_by(names: Iterable[str], mine: Collection[str], kind: str) -> str:
    """What files of a kind without class folders are for, as what lies beside them says; empty: it says nothing."""
    own = set(mine)
    others = sorted(name for name in names if name not in own)
    ends = {end: [n for n in others if n.lower().endswith(end)] for end in (".txt", ".xml", ".json", *TABLES)}
    own_texts, own_xml, own_json = (sorted(beside(ends[end], own)) for end in (".txt", ".xml", ".json"))
    if own_texts:
        what = "boxes as of YOLO, or captions" if kind == "picture" else "transcripts"
        return f"{own_texts[0]} beside its {kind} ({what}: another task than classes)"
    if own_xml:
        return f"{own_xml[0]} beside its {kind} (boxes as of VOC: another task than classes)"
    if coco := [name for name in ends[".json"] if kind == "picture" and _COCO.search(name)]:
        return f"{coco[0]} (boxes or masks as of COCO: another task than classes)"
    if own_json:
        return f"{own_json[0]} beside its {kind} (annotations: another task than classes)"
    tables = [name for end in (*TABLES, ".json") for name in ends[end]]
    if hub := [name for name in tables if _stem(name) == "metadata"]:
        folder = "imagefolder" if kind == "picture" else "audiofolder"
        return (
            f"{hub[0]} (not read beside {kind}s; from Python: "
            f"shendu.train(datasets.load_dataset('{folder}', data_dir=…)))"
        )
    return f"{some(tables)} (may name the classes, but is not read beside {kind}s)" if tables else ""
