"""Runs the contracts as other processors would: kernels of older and newer instruction sets, on one thread and on two.

    python tests/processors.py [PYTEST'S WORDS]   # else the contracts of systems

Each of torch's own kernels (ATEN_CPU_CAPABILITY) and of oneDNN's (ONEDNN_MAX_CPU_ISA) that this machine has; what it lacks is
named. They round differently, so a test that passes on one alone asserts what is not true of a network. Exit code 1 where
any run fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ATEN, ONEDNN = "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"
AVX2, AVX512 = {"avx2", "fma"}, {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
SETTINGS: tuple[tuple[str, str, set[str]], ...] = (
    (ATEN, "default", set()),
    (ATEN, "avx2", AVX2),
    (ATEN, "avx512", AVX2 | AVX512),
    (ONEDNN, "AVX2", AVX2),
    (ONEDNN, "AVX512_CORE", AVX512),
    (ONEDNN, "AVX512_CORE_BF16", AVX512 | {"avx512_bf16"}),
    (ONEDNN, "AVX512_CORE_AMX", AVX512 | {"avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"}),
)
"""Variable, its value, and the flags that a processor needs for it."""
THREADS = (1, 2)
CONTRACTS = ("tests/contracts/test_systems.py",)
WORKERS = os.environ.get("WORKERS", "2")


def flags() -> set[str]:
    """What the processor says that it can do; nothing where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def run(variable: str, value: str, threads: int, words: list[str]) -> int:
    """Exit code of the tests under one setting. Threads sleep while they wait: spinning, two workers slow each other tenfold."""
    environment = {**os.environ, variable: value, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    asked = ["-n", WORKERS, "--dist", "worksteal", "-m", "not data and not faults and not gpu", *words]
    return subprocess.run([sys.executable, "-m", "pytest", *asked], cwd=ROOT, env=environment, check=False).returncode


def main(words: list[str]) -> int:
    """Runs every setting, and says at the end how each went."""
    has, said, failed = flags(), [], 0
    for variable, value, needs in SETTINGS:
        if missing := needs - has:
            said.append(f"skipped  {variable}={value}: this processor has no {', '.join(sorted(missing))}")
            print(said[-1], flush=True)
            continue
        for threads in THREADS:
            setting = f"{variable}={value} OMP_NUM_THREADS={threads}"
            print(f"\n{setting}", flush=True)
            began = time.monotonic()
            code = run(variable, value, threads, words or list(CONTRACTS))
            failed += code != 0
            said.append(f"{'failed ' if code else 'passed '}  {setting}  {time.monotonic() - began:.0f} s")
    print("\n" + "\n".join(said))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
