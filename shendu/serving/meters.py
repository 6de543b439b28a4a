"""What Prometheus asks for: requests, their time, batches, what waits. With several processes it is of all of them together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where several processes of one server put their counts; not set: there is one."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Meters:
    """One server's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        how: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("shendu_requests", "Requests that were answered", ("route", "model", "status"), **how)
        self._seconds = Histogram(
            "shendu_request_seconds", "From a request to its answer", ("route",), buckets=SECONDS, **how
        )
        self._batches = Histogram(
            "shendu_batch_rows", "Rows that were answered at once", ("model",), buckets=ROWS, **how
        )
        self._tokens = Counter("shendu_tokens", "Tokens that were written", ("model",), **how)
        self._waiting = Gauge("shendu_waiting", "Requests that wait", ("model",), multiprocess_mode="livesum", **how)
        self._swaps = Counter("shendu_swaps", "Models that took another's place, or were not taken", ("result",), **how)

    def request(self, route: str, model: str, status: int, seconds: float) -> None:
        self._requests.labels(route, model, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, model: str, rows: int) -> None:
        self._batches.labels(model).observe(rows)

    def tokens(self, model: str, count: int) -> None:
        self._tokens.labels(model).inc(count)

    def swap(self, result: str) -> None:
        self._swaps.labels(result).inc()

    def told(self, waiting: dict[str, int]) -> tuple[bytes, str]:
        """The page, and its content type; `waiting` requests by model."""
        for name, count in waiting.items():
            self._waiting.labels(name).set(count)
        registry = self.registry
        if os.environ.get(FOLDER):
            registry = CollectorRegistry()
            forget_the_dead(Path(os.environ[FOLDER]))
            MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST


def forget_the_dead(folder: Path) -> None:
    """What waited in a process that is no more does not wait."""
    for path in folder.glob("gauge_live*_*.db"):
        try:
            os.kill(int(path.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
