"""The run folder: recipe, metrics, result, atomic checkpoints. Safetensors and JSON, never pickle."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shendu.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""


class NonFinite(Exception):
    """A tensor that was to be saved holds NaN or infinity; `args[0]` is its name."""


# ---- trees of tensors and JSON ---------------------------------------------------------------------------------------


def pack(tree: Any, tensors: dict[str, Tensor], path: str = "", seen: dict[Any, str] | None = None) -> Any:
    """Moves the tensors of a tree into `tensors` and returns the tree as JSON that names them.

    Tensors that share memory (tied weights) are stored once and named twice; channels-last ones become contiguous,
    and other views of the same memory are copied, since safetensors refuses overlaps.
    """
    seen = {} if seen is None else seen
    if isinstance(tree, Tensor):
        key = (tree.data_ptr(), tree.shape, tree.stride(), tree.dtype) if tree.numel() else path
        if key not in seen:
            seen[key] = path
            stored = tree.detach().cpu().contiguous()
            first = seen.setdefault(stored.untyped_storage().data_ptr(), path) == path
            tensors[path] = stored if first else stored.clone()
        return {"$tensor": seen[key]}
    if isinstance(tree, dict):
        items = [[key, pack(value, tensors, f"{path}/{key}", seen)] for key, value in tree.items()]
        return {"$dict": items}
    if isinstance(tree, list | tuple):
        return [pack(value, tensors, f"{path}/{i}", seen) for i, value in enumerate(tree)]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"{path}: {type(tree).__name__} cannot be saved; state holds tensors and JSON scalars only")


def unpack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree that `pack` took apart (tuples come back as lists)."""
    if isinstance(tree, dict):
        if "$tensor" in tree:
            return tensors[tree["$tensor"]]
        return {key: unpack(value, tensors) for key, value in tree["$dict"]}
    if isinstance(tree, list):
        return [unpack(value, tensors) for value in tree]
    return tree


# ---- files -----------------------------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replaces a file at once: readers see the old text or the new one."""
    with writing(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says what a failed write means, in one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        text = str(error)
        if number == errno.ENOSPC or "No space left" in text or "StorageFull" in text:
            raise UserError(
                f"no space left on the disk while writing {path}; free some, then continue with --resume"
            ) from None
        if number in (errno.EFBIG, errno.EDQUOT) or "File too large" in text or "FileTooLarge" in text:
            raise UserError(
                f"the limit on file size or quota was hit while writing {path}; raise it, then --resume"
            ) from None
        if number in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.ENOENT, errno.EEXIST):
            raise UserError(f"cannot write {path} ({os.strerror(number)}); choose another folder with --out") from None
        if number is not None:
            raise UserError(
                f"writing {path} failed ({os.strerror(number)}); mend the disk, then continue with --resume"
            ) from None
        raise


# ---- the folder ------------------------------------------------------------------------------------------------------


class Entries(dict[str, Any]):
    """What a JSON file holds; asking for an entry that a damaged one lacks raises UserError."""

    def __init__(self, path: Path, entries: dict[str, Any]) -> None:
        super().__init__(entries)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.path} lacks '{key}'; restore it, or train again with another --out")


class Folder:
    """One run's files. Creating the object touches nothing; `prepare` makes the folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    def prepare(self) -> None:
        """Makes the folder; raises UserError where it cannot be written."""
        with writing(self.path):
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path):
                pass

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Raises UserError while another process trains in this folder; the lock goes with the process, however it ends."""
        self.prepare()
        if fcntl is None:
            yield
            return
        with (self.path / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is training in {self.path}; wait for its end, or choose another folder with --out"
                ) from None
            except OSError:  # a file system without locks
                pass
            yield

    def read(self, name: str) -> Any:
        """A JSON file of the run, None where it does not exist; raises UserError where it is damaged, now or when an entry is
        asked for that it lacks."""
        path = self.path / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"), object_hook=lambda found: Entries(path, found))
            if not isinstance(values, Entries):
                raise ValueError("it holds no JSON object")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}); restore it, or train again with another --out") from None
        return values

    def write(self, name: str, value: Any) -> None:
        write_json(self.path / name, value)

    # ---- metrics.jsonl

    def log(self, line: dict[str, Any]) -> None:
        """Appends one line; a number that JSON has no word for becomes null."""
        clean = {k: None if isinstance(v, float) and v - v != 0 else v for k, v in line.items()}
        path = self.path / "metrics.jsonl"
        with writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def logged(self) -> int:
        """Bytes of metrics.jsonl: the position that a checkpoint remembers."""
        path = self.path / "metrics.jsonl"
        return path.stat().st_size if path.exists() else 0

    def cut(self, position: int) -> None:
        """Drops the lines after a checkpoint's position: they will be made again."""
        path = self.path / "metrics.jsonl"
        if self.logged() > position:
            os.truncate(path, position)

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a half-written last one is left out."""
        path = self.path / "metrics.jsonl"
        lines = []
        if path.exists():
            for text in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(text))
        return lines

    # ---- checkpoints

    def checkpoints(self) -> list[Path]:
        """Finished checkpoint folders, oldest first."""
        found = (self.path / "checkpoints").glob("step-*")
        return sorted((p for p in found if re.fullmatch(r"step-\d{8,}(-\d+)?", p.name)), key=_order)

    def save(self, step: int, tree: dict[str, Any]) -> Path:
        """Writes a checkpoint: a temporary folder, synced, renamed. Raises NonFinite, or UserError (disk full)."""
        tensors: dict[str, Tensor] = {}
        state = pack(tree, tensors)
        for name, t in tensors.items():
            if t.is_floating_point() and not torch.isfinite(t).all():
                raise NonFinite(name.strip("/"))
        parent = self.path / "checkpoints"
        with writing(parent):
            parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".saving-", dir=parent))
            try:
                save_file(tensors, temporary / "state.safetensors")
                sync(temporary / "state.safetensors")
                text = json.dumps(state)
                seal = {"tensors": sha256(temporary / "state.safetensors"), "state": _digest(text)}
                with open(temporary / "state.json", "w", encoding="utf-8") as file:
                    file.write(json.dumps({"seal": seal}) + "\n" + text)
                    file.flush()
                    os.fsync(file.fileno())
                sync(temporary)
                final = self._fresh_name(step)
                os.rename(temporary, final)
                sync(parent)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        for old in self.checkpoints()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def _fresh_name(self, step: int) -> Path:
        base = self.path / "checkpoints" / f"step-{step:08d}"
        taken = [p for p in self.checkpoints() if p.name.partition("-")[2].partition("-")[0] == f"{step:08d}"]
        return base if not taken else base.with_name(f"{base.name}-{_order(taken[-1])[1] + 1}")

    def newest(self, say: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest valid checkpoint's tree, None where there is none; names each damaged one that it skips."""
        for left_over in (self.path / "checkpoints").glob(".saving-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        for path in reversed(self.checkpoints()):
            try:
                return _load(path)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                say(f"checkpoint {path} is damaged ({error}); skipped")
                path.rename(path.with_name(f"damaged-{path.name}-{os.getpid()}"))
        return None

    def newest_path(self) -> Path | None:
        found = self.checkpoints()
        return found[-1] if found else None


def _order(path: Path) -> tuple[int, int]:
    parts = path.name.split("-")
    return int(parts[1]), int(parts[2]) if len(parts) > 2 else 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _load(path: Path) -> dict[str, Any]:
    first, _, text = (path / "state.json").read_text(encoding="utf-8").partition("\n")
    seal = json.loads(first)["seal"]
    if _digest(text) != seal["state"]:
        raise ValueError("state.json does not match its checksum")
    if sha256(path / "state.safetensors") != seal["tensors"]:
        raise ValueError("state.safetensors does not match its checksum")
    return unpack(json.loads(text), load_file(path / "state.safetensors"))
