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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shendu import kept, untrusted
from shendu.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""
STATE_MOST = 1 << 30
"""Bytes of a checkpoint's JSON, and of metrics.jsonl."""


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


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The first tensor that holds NaN or infinity, by name; empty: none."""
    return next((name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()), "")


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


class Folder:
    """One run's files. Creating the object touches nothing; `prepare` makes the folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: os.stat_result | None = None

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
        """Raises UserError while another process trains in this folder; the lock goes with the process, however it ends.

        What goes wrong because the folder was deleted or moved in the meantime is a UserError that says so.
        """
        self.prepare()
        with (self.path / LOCK).open("w") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is training in {self.path}; wait for its end, or choose another folder with --out"
                ) from None
            except OSError:  # a file system without locks
                pass
            self._lock = os.fstat(file.fileno())
            try:
                yield
            except Exception:
                self.check_there()
                raise
            finally:
                self._lock = None

    def check_there(self) -> None:
        """Raises UserError where the folder is not the one any more that `alone` locked: nothing is written beside it, or into
        what another process has made of its name."""
        if self._lock is None:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.stat(self.path / LOCK), self._lock):
                return
        if (self.path / "recipe.json").exists() and not (self.path / LOCK).exists():  # the lock alone was removed
            return
        raise UserError(
            f"{self.path} was deleted, moved or made anew while it was trained in; bring it back and continue it with --resume, "
            "or train again"
        )

    def remove(self) -> None:
        """Deletes the folder, which is then not missed."""
        shutil.rmtree(self.path)
        self._lock = None

    def read(self, name: str) -> Any:
        """A JSON file of the run, None where it does not exist; raises UserError where it is damaged, now or when an entry is
        asked for that it lacks."""
        return kept.load(self.path / name)

    def need(self, name: str) -> Any:
        """The same; raises UserError where it does not exist."""
        values = self.read(name)
        if values is None:
            raise UserError(f"{self.path / name} is gone; restore it, or train again with another --out")
        return values

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Writes a JSON file of the run, sealed."""
        write_json(self.path / name, kept.sealed(value))

    # ---- metrics.jsonl

    def log(self, line: dict[str, Any]) -> None:
        """Appends one line; a number that JSON has no word for becomes null."""
        self.check_there()
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
        """The lines of metrics.jsonl; a half-written or damaged one is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        try:
            text = untrusted.regular(path, STATE_MOST).decode("utf-8", "replace")
        except (OSError, untrusted.Unreadable) as error:
            raise UserError(f"{path} cannot be read ({error}); restore it, or remove it") from None
        lines = []
        for line in text.splitlines():
            with contextlib.suppress(untrusted.Unreadable):
                lines.append(untrusted.parsed(line))
        return [line for line in lines if not untrusted.misfit(line, dict[str, float | bool | str | None])]

    # ---- checkpoints

    def checkpoints(self) -> list[Path]:
        """Finished checkpoint folders, oldest first."""
        found = (self.path / "checkpoints").glob("step-*")
        return sorted((p for p in found if re.fullmatch(r"step-\d{8,}(-\d+)?", p.name)), key=_order)

    def save(self, step: int, tree: dict[str, Any]) -> Path:
        """Writes a checkpoint: a temporary folder, synced, renamed. Raises NonFinite, or UserError (disk full)."""
        tensors: dict[str, Tensor] = {}
        state = pack(tree, tensors)
        if name := not_finite(tensors):
            raise NonFinite(name.strip("/"))
        self.check_there()
        parent = self.path / "checkpoints"
        with writing(parent):
            parent.mkdir(parents=self._lock is None, exist_ok=True)
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
    first, _, text = untrusted.regular(path / "state.json", STATE_MOST).decode("utf-8").partition("\n")
    seal = untrusted.parsed(first)["seal"]
    if _digest(text) != seal["state"]:
        raise ValueError("state.json does not match its checksum")
    if not (path / "state.safetensors").is_file() or sha256(path / "state.safetensors") != seal["tensors"]:
        raise ValueError("state.safetensors does not match its checksum")
    tensors = load_file(path / "state.safetensors")
    if name := not_finite(tensors):
        raise ValueError(f"{name.strip('/')} is not finite")
    tree: dict[str, Any] = unpack(untrusted.parsed(text), tensors)
    return tree
