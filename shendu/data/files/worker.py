"""The decode worker: thousands of small pictures, decoded by a second process beside this one.

Threads only wait for the interpreter's lock where a picture takes some microseconds to decode. The worker is
given bytes and returns pixels; what it cannot decode, or cannot be started for, is decoded here.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from shendu.data.fields.image import Image
from shendu.data.files.archive import Tree
from shendu.data.files.layout import WORTH_THREADS
from shendu.data.files.picture import alike

LEAST = 4000
"""Pictures from which the start of another Python (a fifth of a second) pays."""
_CHUNK = 128
_START = "import sys; sys.path.insert(0, sys.argv[1]); from shendu.data.files import worker; worker.serve()"
Chunk = list[tuple[str, bytes]]


def pays(tree: Tree, names: list[str]) -> bool:
    """Whether these are many pictures, each of them small."""
    many = len(names) >= LEAST and bool(sys.executable) and (os.cpu_count() or 1) > 1
    return many and sum(tree.sizes[name] for name in names) < WORTH_THREADS * len(names)


class Worker:
    """The worker as this process sees it; `decode` blocks until it has answered, and raises OSError where there is none."""

    def __init__(self, field: Image) -> None:
        self.field = field
        self.process: subprocess.Popen[bytes] | None
        words = [sys.executable, "-c", _START, str(Path(__file__).parents[3]), *map(str, field.stored)]
        try:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
            )
        except OSError:
            self.process = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *why: object) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()

    def decode(self, chunk: Chunk) -> tuple[bytes, np.ndarray]:
        """(1 or 0 for each picture: decoded, or not as the field says; pixels uint8 [n, *stored])."""
        if not (self.process and self.process.stdin and self.process.stdout):
            raise OSError("there is no decode worker")
        to, back = self.process.stdin, self.process.stdout
        to.write(struct.pack(f"<{len(chunk) + 1}I", len(chunk), *(len(data) for _, data in chunk)))
        to.write(b"".join(data for _, data in chunk))
        to.flush()
        shape = (len(chunk), *self.field.stored)
        answer = back.read(len(chunk) + int(np.prod(shape)))
        if len(answer) < len(chunk) + np.prod(shape):
            raise OSError("the decode worker ended")
        return answer[: len(chunk)], np.frombuffer(answer, np.uint8, offset=len(chunk)).reshape(shape)


def serve() -> None:
    """In the decode worker: pictures come in as counts, sizes and bytes, until there are no more."""
    height, width, channels = map(int, sys.argv[2:5])
    field = Image(height=height, width=width, channels=channels)
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        count = struct.unpack("<I", head)[0]
        sizes = struct.unpack(f"<{count}I", source.read(4 * count))
        pixels, good = np.zeros((count, *field.stored), np.uint8), bytearray(count)
        for i, size in enumerate(sizes):
            try:
                found = alike(source.read(size), field)
            except Exception:  # the one who asked will find out why
                continue
            if found is not None:
                pixels[i], good[i] = found, 1
        answers.write(good)
        answers.write(pixels.data)
        answers.flush()


def each(
    tree: Tree,
    names: list[str],
    field: Image,
    work: Callable[[bytes], Any],
    done: Callable[[str, Any], None],
    reason: Callable[[Exception], str],
) -> None:
    """As `layout.each`, for pictures that are as the field says; the worker takes a chunk whenever it is idle."""

    def here(chunk: Chunk) -> None:
        for entry, data in chunk:
            try:
                found = work(data)
            except Exception as error:  # decoders raise anything on damaged bytes
                found = reason(error)
            done(entry, found)

    def collect(chunk: Chunk, future: Future[tuple[bytes, np.ndarray]]) -> None:
        try:
            good, pixels = future.result()
        except OSError:
            good, pixels = bytes(len(chunk)), np.empty(0)
        for i, ok in enumerate(good):
            done(chunk[i][0], pixels[i]) if ok else here([chunk[i]])

    waiting: list[tuple[Chunk, Future[tuple[bytes, np.ndarray]]]] = []
    with Worker(field) as worker, ThreadPoolExecutor(1) as pool:
        for chunk in _chunks(tree, names, lambda entry, error: done(entry, reason(error))):
            if waiting and not waiting[0][1].done():
                here(chunk)
                continue
            if waiting:
                collect(*waiting.pop())
            waiting.append((chunk, pool.submit(worker.decode, chunk)))
        if waiting:
            collect(*waiting.pop())


def _chunks(tree: Tree, names: list[str], bad: Callable[[str, OSError], None]) -> Iterator[Chunk]:
    files = tree.each(names)
    while some := list(islice(files, _CHUNK)):
        chunk = []
        for entry, read in some:
            try:
                chunk.append((entry, read()))
            except OSError as error:
                bad(entry, error)
        yield chunk
