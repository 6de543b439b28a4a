"""One model's thread: rows of several requests are answered as one batch, and each request gets its own answer.

A batch is what waits while the one before it is computed, so a lone request never waits for others. While other requests are
being read, and where many came together of late, the first waits a few milliseconds for them.

Shape letters: B rows of a batch, R rows of a request.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from shendu.core import Batch, Outputs
from shendu.serving.models import Loaded
from shendu.serving.refusals import Busy
from shendu.serving.writing import Writer

FADING = 0.9
"""What is left, after each batch, of how many requests are expected together."""
REMEMBERED = 64
"""Batches whose time is remembered."""


class Answer(NamedTuple):
    """What a model says of a request's rows."""

    rows: list[dict[str, Any]]
    """As the task tells them."""
    outputs: Outputs
    """[R, …] on the CPU."""
    stored: Batch
    loaded: Loaded
    batch: int
    """Rows that were answered at once, its own among them."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many rows are answered at once, and who has to wait."""

    size: int = 32
    """Rows of a batch at most."""
    wait: float = 0.004
    """Seconds that a batch waits for requests that are being read."""
    room: int = 512
    """Requests that may wait."""
    within: float = 30.0
    """Seconds after which an answer is of no use any more."""
    promised: float = math.inf
    """Seconds within which all but one in a hundred are answered: who would have to wait longer is sent away at once."""


@dataclass(eq=False)
class Job:
    """One request's rows, as its model has them stored."""

    loaded: Loaded
    stored: Batch
    request: str = ""
    done: Future[Answer] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)

    @property
    def rows(self) -> int:
        return len(next(iter(self.stored.values())))

    def like(self) -> Any:
        """What jobs of one batch have in common: the model, and the rows' names, types and shapes."""
        return id(self.loaded), tuple((name, t.dtype, t.shape[1:]) for name, t in sorted(self.stored.items()))


Kept = Callable[[list[Job], list[Answer]], None]
"""Told of each batch, in the order in which they are answered."""


class Engine:
    """The thread that asks one model. Everything that touches the model happens in it, one thing after the other."""

    def __init__(self, pace: Pace | None = None, keep: Kept | None = None, alone: bool = False) -> None:
        """`keep` is told of each batch; `alone`: texts are written one by one, so that a text is the same however many are."""
        self.pace, self.keep = pace or Pace(), keep
        self.reading = 0
        """Requests that are being read, and will bring rows."""
        self.writer = Writer(most=1 if alone else self.pace.size)
        self._jobs: deque[Job] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closing = False
        self._changed = threading.Condition()
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._began = 0.0
        self._together = 0.0
        """How many requests came together of late."""
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    # ---- asked by others

    def submit(self, loaded: Loaded, stored: Batch, request: str = "") -> Future[Answer]:
        """Rows to be answered. Raises Busy where there is no room, or the answer would come later than promised."""
        job = Job(loaded, stored, request)
        with self._changed:
            self._admit(job)
            self._jobs.append(job)
            self._changed.notify()
        return job.done

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        """Anything else that asks the model; in turn. Raises Busy."""
        done: Future[Any] = Future()
        with self._changed:
            self._check_room(len(self._calls))
            self._calls.append((work, done))
            self._changed.notify()
        return done

    def write(self, text: Any) -> None:
        """A text to be written on (`shendu.serving.writing.Text`). Raises Busy."""
        with self._changed:
            self._check_room(self.writer.waiting)
            self.writer.add(text)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._jobs) + len(self._calls) + self.writer.waiting

    def expected(self, rows: int = 1) -> float:
        """Seconds until rows that come now are answered, if batches take as long as the slower ones did of late."""
        ahead = math.ceil((sum(job.rows for job in self._jobs) + rows) / self.pace.size)
        left = max(0.0, self._began + self._slow() - time.monotonic()) if self._began else 0.0
        return left + ahead * self._slow()

    def close(self, seconds: float = 30.0) -> None:
        """Answers what waits, takes nothing more, and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    # ---- in the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._jobs or self._calls or self.writer.busy or self._closing):
                    self._changed.wait()
                if self._closing and not (self._jobs or self._calls or self.writer.busy):
                    return
                called = self._calls.popleft() if self._calls else None
                jobs = self._gathered() if self._jobs else []
            if called:
                self._perform(*called)
            if jobs:
                self._began = time.monotonic()
                try:
                    self._answer(jobs)
                except Exception as error:  # of what is done with answers: this thread is to go on
                    for job in jobs:
                        if not job.done.done():
                            job.done.set_exception(error)
                self._seconds.append(time.monotonic() - self._began)
                self._began = 0.0
            self.writer.step()

    def _gathered(self) -> list[Job]:
        """The next batch: the first that waits, and others like it. Its jobs are running from now on."""
        first = self._jobs[0]
        until = first.arrived + self.pace.wait
        while self._more_come() and not self._closing:
            left = until - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                break
        taken: list[Job] = []
        rows, like = 0, first.like()
        for job in list(self._jobs):
            if taken and (rows + job.rows > self.pace.size or job.like() != like):
                continue
            self._jobs.remove(job)
            if self._wanted(job):
                taken.append(job)
                rows += job.rows
            if rows >= self.pace.size:
                break
        self._together = max(FADING * self._together, len(taken) + len(self._jobs))
        return taken

    def _more_come(self) -> bool:
        """Whether a batch should wait: others are being read, or as many as came together of late are not here yet."""
        rows = sum(job.rows for job in self._jobs)
        return rows < self.pace.size and (bool(self.reading) or 2 * len(self._jobs) < self._together)

    def _wanted(self, job: Job) -> bool:
        """Whether anyone still waits for it: a client that has gone has cancelled it."""
        waited, most = time.monotonic() - job.arrived, min(self.pace.within, self.pace.promised)
        late = waited > most / 10 and waited + self._slow() > most
        if not job.done.set_running_or_notify_cancel():
            return False
        if late:
            job.done.set_exception(Busy("the answer would come too late", self.expected()))
            return False
        return True

    def _answer(self, jobs: list[Job]) -> None:
        """Answers a batch; where that fails, each half by itself, until whoever made it fail is alone."""
        try:
            answers = ask(jobs)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].done.set_exception(error)
                return
            half = len(jobs) // 2
            self._answer(jobs[:half])
            self._answer(jobs[half:])
            return
        if self.keep:
            self.keep(jobs, answers)
        for job, answer in zip(jobs, answers, strict=True):
            job.done.set_result(answer)

    def _perform(self, work: Callable[[], Any], done: Future[Any]) -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    # ---- room

    def _admit(self, job: Job) -> None:
        self._check_room(len(self._jobs))
        idle = not self._jobs and not self._began  # then it is tried: a slow hour must not last for ever
        if not idle and (wait := self.expected(job.rows)) > self.pace.promised:
            raise Busy(f"the answer would take {wait:.3f} s, and {self.pace.promised:g} s are promised", wait)

    def _check_room(self, waiting: int) -> None:
        if self._closing:
            raise Busy("the server is stopping")
        if waiting >= self.pace.room:
            raise Busy(f"{waiting:,} requests are waiting already", self.expected())

    def _slow(self) -> float:
        """Seconds of a batch that was slower than nine in ten of late."""
        times = sorted(self._seconds.copy())
        return times[int(0.9 * len(times))] if times else 0.0


def ask(jobs: list[Job]) -> list[Answer]:
    """The answers to jobs that are alike, as one batch. A row's number is its place in its own request, so that chance in an
    answer does not depend on the others."""
    loaded, counts = jobs[0].loaded, [job.rows for job in jobs]
    names = list(jobs[0].stored)
    stored = {name: torch.cat([job.stored[name] for job in jobs]) for name in names}
    stored["sample"] = torch.cat([torch.arange(count) for count in counts])
    outputs, _ = loaded.predictor.pieces(stored)
    ends = list(itertools.accumulate(counts))
    answers = []
    for job, start, end in zip(jobs, [0, *ends], ends, strict=False):
        own = {name: t[start:end] for name, t in outputs.items()}
        answers.append(Answer(loaded.task.decode(own, job.stored), own, job.stored, loaded, sum(counts)))
    return answers
