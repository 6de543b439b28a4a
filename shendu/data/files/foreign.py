"""Files that are not read here: what they are, by suffix or by their first bytes, and what makes them readable."""

from __future__ import annotations

import os
from collections import Counter

HEAD = 512
"""Bytes that are looked at."""
_AUDIO, _VIDEO = "ffmpeg -i IN{} OUT.wav", "ffmpeg -i IN{} -vf fps=1 OUT-%05d.png (its sound: OUT.wav)"
_PICTURE, _TEXT = "magick IN{} OUT.png", "pandoc -t plain -o OUT.txt IN{}"
_ARRAYS = "numpy.savez('data.npz', x=…, y=…)"
_UNPACK = "unpack and name the folder"
CONVERTS = {
    **dict.fromkeys((".heic", ".heif", ".hif", ".psd", ".xcf", ".exr", ".hdr", ".tga", ".pcx", ".ico", ".dds", ".fits"), _PICTURE),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), _PICTURE),
    ".svg": "rsvg-convert -o OUT.png IN{}",
    ".jxl": "djxl IN{} OUT.png",
    **dict.fromkeys((".dcm", ".dicom", ".ima"), "dcmj2pnm --write-16-bit-png IN{} OUT.png"),
    **dict.fromkeys((".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"), "save its slices as PNG files, such as with nibabel and Pillow"),
    **dict.fromkeys((".m4a", ".m4b", ".aac", ".wma", ".amr", ".ac3", ".mka", ".ape", ".wv", ".dsf", ".alac"), _AUDIO),
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".flv", ".3gp"), _VIDEO),
    ".pdf": "pdftotext IN{} OUT.txt (as pictures: pdftoppm -png IN{} OUT)",
    **dict.fromkeys((".doc", ".docx", ".odt", ".rtf", ".epub", ".html", ".htm"), _TEXT),
    **dict.fromkeys((".npy", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth", ".nc"), _ARRAYS),
    **dict.fromkeys((".rar", ".7z", ".bz2", ".xz", ".zst"), _UNPACK),
}  # fmt: skip
"""Suffix -> what makes such a file readable."""
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), ".heic"),
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), ".m4a"),
    b"qt  ": ".mov",
}
"""Of the container that films, Apple's sound and Apple's pictures are in."""
_BEGINNINGS = {
    b"\x1aE\xdf\xa3": ".mkv", b"%PDF": ".pdf", b"8BPS": ".psd", b"\x76\x2f\x31\x01": ".exr", b"#?RADIANCE": ".hdr",
    b"\xff\x0a": ".jxl", b"\0\0\0\x0cJXL ": ".jxl", b"<svg": ".svg", b"\x30\x26\xb2\x75": ".wma", b"#!AMR": ".amr",
    b"Rar!": ".rar", b"7z\xbc\xaf": ".7z", b"\xfd7zXZ": ".xz", b"BZh": ".bz2", b"\x93NUMPY": ".npy", b"\x89HDF": ".h5",
}  # fmt: skip
_NO_DATA = {
    b"version https://git-lfs": "a Git LFS pointer instead of the file: fetch it with git lfs pull",
    b"<!doctype html": "a web page, as a failed download leaves it: download it again",
    b"<html": "a web page, as a failed download leaves it: download it again",
}


def suffix(name: str) -> str:
    """Of a file's name, lower case; of a volume that is gzipped both."""
    lower = name.lower()
    return ".nii.gz" if lower.endswith(".nii.gz") else os.path.splitext(lower)[1]


def converted_by(end: str) -> str:
    """What makes files of a suffix readable; empty: not known."""
    how = CONVERTS.get(end, "")
    return how.replace("{}", end)


def is_foreign(head: bytes) -> str:
    """The suffix that a file's first bytes belong to; empty: none that is known here."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "" if head[8:12] in (b"avif", b"avis") else ".mp4")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ".avi"
    if head[128:132] == b"DICM":
        return ".dcm"
    if head[:1] == b"\xff" and head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9"):
        return ".aac"
    return next((end for begin, end in _BEGINNINGS.items() if head.startswith(begin)), "")


def inside(head: bytes) -> str:
    """Why a file with these first bytes is not what its name says; empty: not known.

    As `, but .heic inside: convert with magick IN.heic OUT.png`.
    """
    low = head[:HEAD].lstrip().lower()
    if said := next((what for begin, what in _NO_DATA.items() if low.startswith(begin)), ""):
        return f", but {said}"
    end = is_foreign(head)
    return f", but {end} inside: {advice(end)}" if end else ""


def advice(end: str) -> str:
    """`convert with …`, or what else is to be done."""
    how = converted_by(end)
    return how if how == _UNPACK or how.startswith("save") else f"convert with {how}"


def commonest(names: list[str]) -> tuple[str, int]:
    """(the commonest suffix of those that can be converted, how many files have it); empty: none."""
    counts = Counter(end for name in names if (end := suffix(name)) in CONVERTS)
    return counts.most_common(1)[0] if counts else ("", 0)
