"""Small data sets in every format that is read."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHENDU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def idx_bytes(values: np.ndarray, packed: bool = True) -> bytes:
    raw = struct.pack(f">{values.ndim + 1}I", 0x0800 | values.ndim, *values.shape) + values.astype(np.uint8).tobytes()
    return gzip.compress(raw, 1) if packed else raw


def mnist_like(folder: Path, rows: int = 20, tests: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    """Writes the four files; returns the arrays by file name."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", rows), ("t10k", tests)):
        arrays[f"{split}-images-idx3-ubyte.gz"] = rng.integers(0, 256, (count, 5, 4), np.uint8)
        arrays[f"{split}-labels-idx1-ubyte.gz"] = np.arange(count, dtype=np.uint8) % 3
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        (folder / name).write_bytes(idx_bytes(values))
    return arrays


def picture_bytes(picture: Any, kind: str = "png", **options: Any) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Pillow.fromarray(picture)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def pictures(names: list[str], size: tuple[int, int] = (6, 5), channels: int = 3) -> dict[str, bytes]:
    """PNG bytes of pictures (height, width), each of its own colours."""
    shape = size if channels == 1 else (*size, channels)
    return {
        name: picture_bytes(np.random.default_rng(i).integers(0, 256, shape, np.uint8)) for i, name in enumerate(names)
    }


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(
        idx_bytes=idx_bytes,
        mnist_like=mnist_like,
        picture_bytes=picture_bytes,
        pictures=pictures,
        write=write,
        write_zip=write_zip,
        write_tar=write_tar,
    )
