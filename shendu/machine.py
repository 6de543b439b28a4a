"""What a figure was measured on: versions and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

import shendu
from shendu import parallel


def machine() -> dict[str, Any]:
    """Versions and hardware: what a figure was measured on."""
    return {
        "shendu": shendu.__version__, "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
        "platform": platform.platform(), "processor": processor_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "bf16": parallel.bf16_units(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None, "commit": commit(),
        "command": " ".join(sys.argv),
    }  # fmt: skip


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str | None:
    """The git commit of this package's source, where it is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
