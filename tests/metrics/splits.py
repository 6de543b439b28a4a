"""A split that holds what a model says of its rows, and threads that play ranks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shendu.core import At, Batch, Outputs


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Told:
    """Rows of a split with their outputs: `ask` gives these back."""

    acts = False

    def __init__(self, outputs: Outputs, batch: Batch, memory: int = 10**9) -> None:
        self.outputs, self.fields, self.rows, self.memory = outputs, batch, len(next(iter(batch.values()))), memory
        self.asked: list[int] = []

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        assert model is None
        assert 0 <= at.start < at.start + at.size <= self.rows
        part = slice(at.start, at.start + at.size)
        return {
            **{n: t[part] for n, t in self.fields.items()},
            **{f"said {n}": t[part] for n, t in self.outputs.items()},
        }

    def ask(self, batch: Batch) -> Outputs:
        self.asked.append(len(batch["sample"]))
        if len(batch["sample"]) > self.memory:
            raise torch.OutOfMemoryError("out of memory")
        return {name.removeprefix("said "): t for name, t in batch.items() if name.startswith("said ")}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Ranks:
    """Threads that play the ranks of a process group: each call waits for all of them and adds up."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=20)
        self.given: dict[int, Tensor] = {}
        self.local = threading.local()

    def sum_over_ranks(self, t: Tensor) -> Tensor:
        self.given[self.local.rank] = t.clone()
        self.barrier.wait()
        total = sum(self.given[rank] for rank in range(self.barrier.parties))
        self.barrier.wait()
        return t.copy_(total)

    def run(self, patch: Any, work: Callable[[], Any]) -> list[Any]:
        """What each rank returns; `patch` is pytest's monkeypatch."""
        from shendu import parallel

        patch.setattr(parallel, "sum_over_ranks", self.sum_over_ranks)
        patch.setattr(parallel, "world", lambda: self.barrier.parties)
        patch.setattr(parallel, "rank", lambda: self.local.rank)
        results: list[Any] = [None] * self.barrier.parties

        def play(rank: int) -> None:
            self.local.rank = rank
            results[rank] = work()

        threads = [threading.Thread(target=play, args=(rank,)) for rank in range(self.barrier.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        patch.undo()
        assert None not in results
        return results
