"""The peers' environments: .bench/torch and .bench/tf, because their pins contradict each other and Shendu's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".bench"


def python(environment: str) -> Path:
    """The interpreter of an environment: torch, tf, or shendu (the one that runs this)."""
    return Path(sys.executable) if environment == "shendu" else HOME / environment / "bin" / "python"


def of_peers(device: str) -> str:
    """Peers run in .bench/torch; on a GPU beside Shendu, whose environment has its driver's build of torch and theirs."""
    return "torch" if device == "cpu" else "shendu"


def ready(environment: str) -> None:
    """Builds the environment where it is missing or its pins have changed.

    Every package is pinned and none is resolved (--no-deps), so nothing unpinned can come in. torch must come from an
    index with CPU builds; on PyPI the same version is the CUDA build. Set PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to one.
    """
    if environment == "shendu":
        return
    pins = Path(__file__).parent / f"requirements-{environment}.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    stamp = HOME / environment / "pins"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"building {HOME / environment} (some minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", HOME / environment], check=True)
    install = [
        python(environment),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "-r",
        pins,
        "-c",
        ROOT / "constraints.txt",
    ]
    subprocess.run(install, check=True)
    stamp.write_text(digest)
