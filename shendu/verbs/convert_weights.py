"""convert-weights: a .pth becomes .safetensors, the one place where torch.load stands.

It stands in a process of its own, with limits on memory, time and processor time, and takes tensors alone: what else a file
asks for is named and not done. `python -m shendu.verbs.convert_weights SOURCE TARGET` is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from shendu.errors import UserError
from shendu.options import echo
from shendu.run import writing

ORDER = 40
MOST_BYTES = 16 << 30
"""No file is larger, nor what it unpacks to."""
ROOM, COPIES = 2 << 30, 4
"""Bytes of memory beyond what torch itself takes, and how many times the file's size comes on top."""
SECONDS, PER_GB = 60, 60
"""How long a conversion may take, and how much longer for each GB."""
INSIDE = (
    "state_dict", "model", "model_state_dict", "model_state", "module", "net", "network", "params", "weights",
    "state_dict_ema", "model_ema", "checkpoint",
)  # fmt: skip
"""Where a training's file keeps its weights, the likely first."""
DEPTH = 3
"""How many dictionaries may lie in each other."""


def convert_weights(path: str | Path, out: str | Path | None = None) -> Path:
    """Writes a torch file's tensors as .safetensors (beside it, or to `out`) and returns where.

    Takes a state dict, or a dictionary that holds one; tied tensors are stored twice. Raises UserError for a file that is
    none of torch's, asks for code to be run, holds no tensors, or takes too much memory or time.
    """
    source = Path(path).expanduser()
    target = Path(out).expanduser() if out else source.with_suffix(".safetensors")
    check(source, target)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
    try:
        said = apart(source, Path(temporary))
        if said != "done":
            raise UserError(f"{source} {said}")
        with writing(target):
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return target


def check(source: Path, target: Path) -> None:
    """Raises UserError for what is clear before anything is opened."""
    if not source.is_file():
        raise UserError(f"there is no file {source}: check the path")
    if target.suffix != ".safetensors":
        raise UserError(f"weights are written as .safetensors; write it like --out {target.stem}.safetensors")
    if source.suffix == ".safetensors":
        raise UserError(f"{source} is a .safetensors file already; use it with --weights {source}")
    size = source.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"{source} is too large: {size / 2**30:.0f} GB, and at most {MOST_BYTES >> 30} GB are read")
    with source.open("rb") as file:
        head = file.read(8)
    if not head.startswith((b"PK\x03\x04", b"\x80\x02")):
        what = "empty" if not head else "no torch file"
        raise UserError(f"{source} is {what}; give what torch.save(model.state_dict(), FILE) wrote")
    if head.startswith(b"PK"):
        check_archive(source)


def check_archive(source: Path) -> None:
    """Raises UserError for a zip archive that is none of torch's, is damaged, or unpacks to more than may be read."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UserError(f"{source} is damaged or cut off; fetch it again") from None
    names = [entry.filename for entry in entries]
    if any("/code/" in name for name in names):
        raise UserError(
            f"{source} is a TorchScript program, not weights; where it is from: torch.save(model.state_dict(), FILE)"
        )
    if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        raise UserError(f"{source} is a zip archive and no torch file; give what torch.save wrote")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > min(MOST_BYTES, 2 * source.stat().st_size + (64 << 20)):
        raise UserError(f"{source} is too large: it unpacks to {unpacked / 2**30:.1f} GB")


def apart(source: Path, target: Path) -> str:
    """Runs the conversion in a process of its own; `done`, or what is wrong with the file."""
    limit = SECONDS + PER_GB * source.stat().st_size / 2**30
    words = [sys.executable, "-P", "-m", "shendu.verbs.convert_weights", str(source.resolve()), str(target.resolve())]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    try:
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=limit, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"took longer than {limit:.0f} s to read and was given up"
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return str(json.loads(ended.stdout.splitlines()[-1])["said"])
    return "could not be read: it took more memory or time than its size allows, or is damaged"


@click.command()
@click.argument("file")
@click.option("--out", metavar="FILE", help="Where to (default: beside it, as .safetensors).")
def command(file: str, out: str | None) -> None:
    """Make a .safetensors of a torch FILE (.pth, .pt, .bin), for train --weights; nothing in it is run.

    \b
    shendu convert-weights resnet18.pth
    shendu train resnet photos/ --weights resnet18.safetensors
    """
    echo(convert_weights(file, out))


# ---- in the process of its own ---------------------------------------------------------------------------------------


def limit_myself(size: int) -> None:
    """Bounds on this process's memory and processor time, from a file's size; where the system has such bounds."""
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = int(SECONDS + PER_GB * size / 2**30)
    bounds = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0}
    taken = Path("/proc/self/statm")
    if taken.exists():
        pages = int(taken.read_text(encoding="ascii").split()[0])
        bounds[resource.RLIMIT_AS] = pages * resource.getpagesize() + ROOM + COPIES * size
    for kind, bound in bounds.items():
        hard = resource.getrlimit(kind)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))


def converted(source: Path, target: Path) -> str:
    """Does it, and says `done` or what is wrong."""
    import torch
    from safetensors.torch import save_file

    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
        tensors = state_of(loaded)
        if not tensors:
            return "holds no tensors by name; give what torch.save(model.state_dict(), FILE) wrote"
        wrong = [name for name, t in tensors.items() if t.layout is not torch.strided or t.is_quantized or t.is_meta]
        if wrong:
            return f"holds {wrong[0]} as a sparse, quantised or empty tensor, and .safetensors has none such"
        if sum(t.numel() * t.element_size() for t in tensors.values()) > COPIES * source.stat().st_size + ROOM:
            return "is too large: its tensors repeat what it holds many times over"
        save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, target, {"format": "pt"})
    except MemoryError:
        return "is too large: reading it took more memory than its size allows"
    except Exception as error:
        return reason(str(error))
    return "done"


def state_of(loaded: Any, depth: int = DEPTH) -> dict[str, Any]:
    """The named tensors of a state dict, or of the likeliest one in a dictionary of other things; empty where none is."""
    import torch

    if not isinstance(loaded, Mapping) or not depth:
        return {}
    for name in INSIDE:
        if name in loaded and (found := state_of(loaded[name], depth - 1)):
            return found
    return {name: t for name, t in loaded.items() if isinstance(name, str) and torch.is_tensor(t)}


def reason(text: str) -> str:
    """What torch's message comes down to."""
    asked = re.search(r"GLOBAL ([\w.]+)", text)
    if "Weights only load failed" in text or "WeightsUnpickler" in text or asked:
        code = f" ({asked.group(1)})" if asked else ""
        return f"holds code{code}, which is not run: a whole model or more was saved; save model.state_dict() alone instead"
    if "can't allocate memory" in text or "not enough memory" in text:
        return "is too large: reading it took more memory than its size allows"
    return f"is damaged or no torch file ({text.splitlines()[0][:160] if text else 'no reason given'})"


def main(words: list[str]) -> None:
    import torch  # noqa: F401  (before the limits: it takes memory of its own)

    source, target = map(Path, words)
    limit_myself(source.stat().st_size)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        said = converted(source, target)
    print(json.dumps({"said": said}))


if __name__ == "__main__":
    main(sys.argv[1:])
