"""Downloads one file: resumable, from several mirrors, never longer than it should be, checked before it is there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shendu.errors import UserError

CHUNK = 1 << 16
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 6
"""Connections to one mirror."""
PAUSE = 0.5
"""Seconds before the second attempt; doubled for each further one, 8 at most."""
PASSING = (408, 425, 429)
"""Answers below 500 that may be another one a moment later."""

Progress = Callable[[int, int], None]
"""(bytes that are there, bytes in all)"""


class _Refused(Exception):
    """This mirror does not have the file; asking it again is no use."""


@dataclass(frozen=True)
class _Job:
    urls: tuple[str, ...]
    to: Path
    part: Path
    sha256: str
    size: int
    progress: Progress

    def there(self) -> int:
        """Bytes that have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0


def fetch(urls: Iterable[str], to: Path, *, sha256: str, size: int, progress: Progress | None = None) -> Path:
    """The file `to` of `size` bytes, downloaded from the first of the mirrors that has it; returns `to`.

    What has arrived is kept in `<to>.part`, and a later call continues there. `to` appears only when it is whole and
    its SHA-256 is right. Two processes that want the same file wait for each other. Only http and https are spoken.

    Raises UserError where no mirror gave the file, or it cannot be written.
    """
    urls = tuple(urls)
    with _writing(to, urls):
        to.parent.mkdir(parents=True, exist_ok=True)
        lock = (to.parent / ".lock").open("a+b")
    with lock:  # closing it, however the process ends, lets the next one in
        alone = _lock(lock)
        if to.is_file() and to.stat().st_size == size and _digest(to) == sha256:
            return to
        part = to.with_name(f"{to.name}.part" if alone else f"{to.name}.{os.getpid()}.part")
        job = _Job(urls, to, part, sha256, size, progress or (lambda done, size: None))
        faults = []
        for url in urls:
            fault = _from_mirror(url, job)
            if not fault:
                return to
            faults.append(f"{url} ({fault})")
    raise UserError(
        f"cannot download {to.name}: {'; '.join(faults)}; fetch it by hand and put it into {to.parent}, "
        "or into a folder that you name with --data-dir"
    )


def _from_mirror(url: str, job: _Job) -> str:
    """Why this mirror failed; empty where the file is in its place."""
    while True:
        inherited = job.there() > 0
        try:
            _collect(url, job)
        except _Refused as refusal:
            return str(refusal)
        found = _digest(job.part)
        if found == job.sha256:
            with _writing(job.to, job.urls):
                os.replace(job.part, job.to)
            return ""
        job.part.unlink()
        if not inherited:  # else another mirror's bytes may be the wrong ones
            return f"sent something else: sha256 should be {job.sha256}, is {found}"


def _collect(url: str, job: _Job) -> None:
    """Fills the part up to the file's size, over several connections where one breaks; raises _Refused."""
    fault = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(min(PAUSE * 2 ** (attempt - 1), 8))
        if job.there() > job.size:
            job.part.unlink()
        if job.there() == job.size:
            return
        try:
            _stream(url, job)
            fault = f"the connection ended at {job.there():,} of {job.size:,} bytes"
        except urllib.error.HTTPError as error:
            error.close()
            fault = f"HTTP {error.code} {error.reason}".rstrip()
            if error.code == 416:
                job.part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in PASSING:
                raise _Refused(fault) from None
        except urllib.error.URLError as error:
            fault = _one_line(error.reason)
            if attempt == 0:
                raise _Refused(f"no connection: {fault}") from None
        except (http.client.HTTPException, OSError) as error:
            fault = _one_line(error) or type(error).__name__
    if job.there() != job.size:
        raise _Refused(f"gave up after {ATTEMPTS} attempts: {fault}")


def _stream(url: str, job: _Job) -> None:
    """One connection: appends to the part what is missing, and not a byte more."""
    start = job.there()
    headers = {"User-Agent": "shendu", **({"Range": f"bytes={start}-"} if start else {})}
    with _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        at = _offset(answer, start, job)
        with _writing(job.to, job.urls):
            out = job.part.open("r+b" if at else "wb", buffering=0)
        with out:
            out.seek(at)
            while at < job.size and (chunk := answer.read1(min(CHUNK, job.size - at))):
                with _writing(job.to, job.urls):
                    _write(out, chunk)
                at += len(chunk)
                job.progress(at, job.size)
            with _writing(job.to, job.urls):
                os.fsync(out.fileno())


def _offset(answer: Any, start: int, job: _Job) -> int:
    """Where the answer's first byte belongs; raises _Refused where the file that is offered is too short."""
    if answer.status == 206:
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if not stated or int(stated[1]) != start:
            job.part.unlink(missing_ok=True)  # so that the next attempt asks for the whole file
            raise OSError("answered with a part of the file that was not asked for")
        total = stated[2]
    elif answer.status == 200:
        start, total = 0, answer.headers.get("Content-Length", "*").strip()
    else:
        raise _Refused(f"HTTP {answer.status}")
    if total.isdecimal() and int(total) < job.size:
        raise _Refused(f"offers {int(total):,} bytes, {job.size:,} are expected")
    return start


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirections stay in http and https: the standard handler lets ftp through."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith(("http://", "https://")):
            raise urllib.error.URLError("sent on to an address that is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Speaks http and https alone: no file:, no ftp:, no data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _write(out: IO[bytes], chunk: bytes) -> None:
    """All of the chunk: an unbuffered file may take less at a time."""
    left = memoryview(chunk)
    while left:
        left = left[out.write(left) :]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: object) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200]


@contextlib.contextmanager
def _writing(to: Path, urls: Iterable[str]) -> Iterator[None]:
    """Turns a full disk, or a folder that may not be written, into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {to}: {_one_line(error)}; make room there, set SHENDU_CACHE to another folder, "
            f"or fetch {' or '.join(urls)} by hand and name its folder with --data-dir"
        ) from None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> bool:
        """Waits until no other process holds the file; False where its file system cannot lock."""
        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return True
            except OSError as error:
                if error.errno != errno.EDEADLOCK:  # that one only says that ten seconds have passed
                    return False
else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        """Waits until no other process holds the file; False where its file system cannot lock."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            return False
        return True
