"""Reading pictures: our open() into the cache, then batches from it, against torchvision's ImageFolder and DataLoader.

    python bench/pictures.py               both sets, 3 rounds, interleaved; one line of JSON per result
    python bench/pictures.py --only large

`small`: the 10,000 training JPEGs of $SHENDU_DATA/cifar10 (32x32), a zip for us and the same files unpacked for the
peer. `large`: JPEGs of 1000x1000 pixels that this script draws, the same folder for both. Both sides end with the same
batches of 128 shuffled, standardised pictures of one size; the first pass of ours is open() with an empty cache and an
epoch of batches. All files are in the system's cache beforehand. The peer's best number of workers counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import environments
import machine

WORK = environments.HOME / "work" / "pictures"
BATCH, SIDES, LARGE, LARGE_SIDE = 128, {"small": 32, "large": 224}, 300, 1000
GRAIN = 7
FIRST_TARGET, LATER_TARGET = 1.5, 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["shendu", "peer"], help="one measurement, in this process")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--data", default=os.environ.get("SHENDU_DATA", ""))
    options = parser.parse_args()
    if options.side:
        measured = ours(options.only) if options.side == "shendu" else theirs(options.only, options.workers)
        print("RESULT " + json.dumps(measured))
        return 0
    environments.ready("torch")
    short = False
    for kind in [options.only] if options.only else SIDES:
        prepare(kind, Path(options.data))
        line = compare(kind, options.rounds)
        print(json.dumps(line), flush=True)
        short |= not line["reached"]
    return int(short)


def compare(kind: str, rounds: int) -> dict[str, Any]:
    """Medians over interleaved rounds, every measurement a fresh process."""
    sides = {"shendu": ("shendu", 0), "0 workers": ("peer", 0), "2 workers": ("peer", 2)}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    watch = machine.Watch()
    for _ in range(rounds):
        for name, (side, workers) in sides.items():
            seen[name].append(once(kind, side, workers))
    figures = {
        name: {key: round(statistics.median(run[key] for run in runs), 4) for key in runs[0]}
        for name, runs in seen.items()
    }
    first = min(figures[name]["first_s"] for name in ("0 workers", "2 workers")) / figures["shendu"]["first_s"]
    later = min(figures[name]["later_s"] for name in ("0 workers", "2 workers")) / figures["shendu"]["later_s"]
    return {
        "set": kind, **figures, "first_ratio": round(first, 2), "later_ratio": round(later, 2),
        "reached": first >= FIRST_TARGET and later >= LATER_TARGET, "rounds": rounds, "others": round(watch.others(), 2),
        "commit": machine.commit(), "machine": machine.slug(machine.machine()),
    }  # fmt: skip


def once(kind: str, side: str, workers: int) -> dict[str, float]:
    interpreter = environments.python("shendu" if side == "shendu" else "torch")
    words = [str(interpreter), __file__, "--only", kind, "--side", side, "--workers", str(workers)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return json.loads(found[-1].removeprefix("RESULT "))


# ---- the pictures


def prepare(kind: str, data: Path) -> None:
    """Makes the set where it is missing, and reads every file once."""
    root = WORK / kind
    if not root.exists():
        part = WORK / f"{kind}.part"
        unpack(data / "cifar10" / "CIFAR-10-images-subset.zip", part) if kind == "small" else draw(part)
        part.rename(root)
    for path in root.rglob("*.jpg"):
        path.read_bytes()


def unpack(archive: Path, root: Path) -> None:
    """The training files as a folder, and as a zip beside it."""
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(WORK / "small.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            if "/train/" in name and name.endswith(".jpg"):
                below = name.split("/train/")[1]
                (root / below).parent.mkdir(exist_ok=True)
                (root / below).write_bytes(source.read(name))
                packed.writestr(below, source.read(name))


def draw(root: Path) -> None:
    """Pictures with structure of every size, as photos have it: noise of nine octaves in colour, and a sensor's grain (about 200 kB)."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(LARGE):
        picture = np.zeros((LARGE_SIDE, LARGE_SIDE, 3), np.float32)
        for octave in range(9):
            cells = min(2 ** (octave + 2), LARGE_SIDE)
            noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
            picture += np.asarray(noise.resize((LARGE_SIDE, LARGE_SIDE), Image.Resampling.BILINEAR)) * 0.6 ** (
                octave + 1
            )
        path = root / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = picture * 0.67 + rng.normal(0, GRAIN, picture.shape[:2])[..., None]
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path, quality=85)


# ---- the two sides


def ours(kind: str) -> dict[str, float]:
    import shendu.data
    from shendu.core import At
    from shendu.recipes import labelled
    from shendu.sources.rows import Rows

    with tempfile.TemporaryDirectory(dir=WORK) as cache:
        os.environ["SHENDU_CACHE"] = cache
        began = time.perf_counter()
        data = shendu.data.open(WORK / ("small.zip" if kind == "small" else "large"))
        opened = time.perf_counter() - began
        column = data.fields["image"]
        assert (column.height, column.width) == (SIDES[kind],) * 2
        source = Rows(data.splits["train"], labelled(data), roles=data.roles(), shuffle=True)

        def epoch(number: int) -> Iterator[Any]:
            for start in range(number * source.rows, (number + 1) * source.rows, BATCH):
                yield source.batch(At(start, min(BATCH, (number + 1) * source.rows - start)))["x"]

        laps = timed(epoch, source.rows)
    return {"open_s": opened, "first_s": opened + laps[0], "later_s": statistics.median(laps[1:])}


def theirs(kind: str, workers: int) -> dict[str, float]:
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    import torchvision_names  # noqa: F401
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = [
        transforms.Resize(SIDES[kind]), transforms.CenterCrop(SIDES[kind]), transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.25,) * 3),
    ]  # fmt: skip
    began = time.perf_counter()
    pictures = datasets.ImageFolder(str(WORK / kind), transforms.Compose(steps))
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    listed = time.perf_counter() - began
    laps = timed(lambda number: (x for x, _ in loader), len(pictures))
    return {"first_s": listed + laps[0], "later_s": statistics.median(laps[1:])}


def timed(epoch: Callable[[int], Iterable[Any]], rows: int) -> list[float]:
    """Seconds of four epochs, each of which must give every row."""
    laps = []
    for number in range(4):
        began = time.perf_counter()
        assert sum(len(x) for x in epoch(number)) == rows
        laps.append(time.perf_counter() - began)
    return laps


if __name__ == "__main__":
    sys.exit(main())
