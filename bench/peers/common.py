"""What the peers' scripts share: their arguments, the data, the clock, and the one line of JSON that they print.

Nothing but numpy is imported here, so that no peer pays for another's start.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tarfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

BATCH = 128
TARGET = 0.99
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PRECISION = os.environ.get("BENCH_PRECISION", "fp32")
"""What a peer is asked to compute in: float32 is what each does by itself."""


def arguments() -> argparse.Namespace:
    """suite (resnet, lenet, mnist99), variant of the script, rows per epoch (0: all), epochs (0: the example's own)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", choices=["resnet", "lenet", "mnist99"])
    parser.add_argument("variant", nargs="?", default="")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=0)
    return parser.parse_args()


def _idx(path: Path) -> np.ndarray:
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy()


def mnist(split: str = "train", rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and labels int64 [N] of `train` or `t10k`, from the publisher's IDX files."""
    folder = Path(os.environ["SHENDU_DATA"]) / "mnist"
    images, labels = (_idx(folder / f"{split}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return images[: rows or None], labels[: rows or None].astype(np.int64)


def cifar(rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels int64 [N] from the CIFAR-10 binary archive (records of 1 + 3,072 bytes)."""
    archive = sorted((Path(os.environ["SHENDU_DATA"]) / "cifar10").glob("cifar-10-binary*.tar.gz"))[0]
    with tarfile.open(archive) as tar:
        parts = [tar.extractfile(m).read() for m in sorted(tar, key=lambda m: m.name) if "data_batch" in m.name]
    records = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 3073)[: rows or None]
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)


class Clock:
    """Laps: the first runs from `start` to the end of the first epoch, each later one from epoch's end to epoch's end,
    so whatever a framework does between epochs is inside."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        self.start()

    def start(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> None:
        now = time.perf_counter()
        self.laps.append(now - self.last)
        self.last = now


class Race:
    """Seconds from the command (start-up included) until the test set is right to 99.0 %, or the example ends.

    `aside` is a stopwatch for test passes that the example itself does not make: they are taken off the clock.
    """

    def __init__(self) -> None:
        self.began = float(os.environ.get("BENCH_STARTED", time.time()))
        self.off = 0.0
        self.accuracies: list[float] = []
        self.seconds = 0.0

    def test(self, measure, aside: bool) -> bool:
        """Calls `measure` (accuracy in 0 … 1); True when the target is reached."""
        before = time.time()
        self.accuracies.append(float(measure()))
        if aside:
            self.off += time.time() - before
        self.seconds = time.time() - self.began - self.off
        return self.accuracies[-1] >= TARGET

    def emit(self, job: argparse.Namespace, name: str, libraries: list[str]) -> None:
        emit(job, name, libraries, seconds=round(self.seconds, 2), accuracy=self.accuracies[-1],
             reached=self.accuracies[-1] >= TARGET, epochs=len(self.accuracies))  # fmt: skip


def emit(job: argparse.Namespace, name: str, libraries: list[str], **figures) -> None:
    """The one line that the driver reads."""
    versions = {library: version(library) for library in libraries}
    if not name.startswith("shendu"):  # which says itself what it has chosen
        figures.setdefault("precision", PRECISION)
    print("RESULT " + json.dumps({"suite": job.suite, "name": name, **figures, "versions": versions}), flush=True)


def emit_epochs(job: argparse.Namespace, name: str, libraries: list[str], clock: Clock, n: int, **figures) -> None:
    """Speed: seconds of the first epoch (compilation, warm-up) and of each later one; n images in an epoch."""
    emit(job, name, libraries, first_epoch_s=round(clock.laps[0], 4), epoch_s=[round(lap, 4) for lap in clock.laps[1:]],
         n=n, threads=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)), **figures)  # fmt: skip
