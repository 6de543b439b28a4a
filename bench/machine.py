"""What a figure was measured on, and whether anything else was running meanwhile."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BUSY = 0.15
"""Cores' worth of other processes from which a measurement does not count."""


def machine() -> dict[str, Any]:
    """Processor, cores, the instruction sets that decide, memory, system."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(re.search(r"^flags\s*:(.*)$", text, re.M).group(1).split())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8")).group(1))
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    family = [re.search(rf"^{key}\s*:\s*(\d+)$", text, re.M).group(1) for key in ("cpu family", "model")]
    return {
        "cpu": re.search(r"^model name\s*:\s*(.*)$", text, re.M).group(1), "family": "/".join(family),
        "cores": os.cpu_count(), "has": [flag for flag in wanted if flag in flags],
        "lacks": [flag for flag in wanted if flag not in flags], "memory_gib": round(memory / 2**20, 1),
        "system": platform.platform(), "python": platform.python_version(),
    }  # fmt: skip


def slug(about: dict[str, Any]) -> str:
    """The machine as a file name."""
    words = re.sub(r"\(.*?\)|CPU|@.*", "", about["cpu"]).lower()
    best = about["has"][-1] if about["has"] else "plain"
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {about['family']} {about['cores']}-cores {best}").strip("-")


def commit() -> str:
    """The commit of this checkout; `+` where the working tree differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "shendu") else "")


class Watch:
    """Processor time that was not ours: all that the machine did, less what our finished children used."""

    def __init__(self) -> None:
        self.began, self.busy, self.ours = time.time(), _busy(), _children()

    def others(self) -> float:
        """Cores' worth of other work (stolen time included) since the watch was started."""
        foreign = (_busy() - self.busy) - (_children() - self.ours)
        return max(0.0, foreign / max(time.time() - self.began, 1e-9))


def _busy() -> float:
    """Seconds of work (all but idle and waiting) of all cores since the start of the machine."""
    ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wait_until_quiet(patience: float) -> float:
    """Waits until other processes use less than BUSY cores; returns what they used when it stopped waiting."""
    deadline = time.time() + patience
    while True:
        watch = Watch()
        time.sleep(0.5)
        others = watch.others()
        if others < BUSY or time.time() > deadline:
            return others
