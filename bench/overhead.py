"""What Shendu's loop costs per step beyond forward, backward and optimiser.

A bare loop and Shendu's take turns, step by step, each on its own copy of the same network with the same optimiser and
the same batches, gathered before. Means over blocks of steps (a block holds one log line of Shendu's), then the median
of the blocks' differences: a disturbance spoils a block, not the figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shendu import optim, parallel
from shendu.core import At, Batch, Recipe, Stage
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.loop import Session, Setup
from shendu.objectives.supervised import Supervised as SupervisedObjective
from shendu.run import Folder
from shendu.systems.vision import resnet
from shendu.tasks.classify import Classify

BATCH, KEPT = 128, 8


@dataclass(frozen=True, kw_only=True)
class Perceptron:
    """784-256-128-10."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


CASES = {"mlp": (Perceptron(), (784,), 50), "resnet": (resnet.Config(depth=18), (3, 32, 32), 1)}
"""Network, shape of a row, steps per block."""


class Gathered:
    """Batches that are there already."""

    acts, rows = False, BATCH * KEPT

    def __init__(self, shape: tuple[int, ...]) -> None:
        layout = torch.channels_last if len(shape) == 3 else torch.contiguous_format
        x = torch.randn(KEPT, BATCH, *shape)
        self.batches = [{"x": part.contiguous(memory_format=layout), "y": torch.randint(0, 10, (BATCH,))} for part in x]

    def batch(self, at: At, model: nn.Module | None = None) -> Batch:
        return self.batches[at.start // at.size % KEPT]

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None: ...


class Bare:
    """The least that trains: forward, backward, optimiser."""

    def __init__(self, model: nn.Module, source: Gathered, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.source, self.optimizer, self.at = model.train(), source, optimizer, 0

    def step(self) -> Tensor:
        batch = self.source.batches[self.at % KEPT]
        self.at += 1
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.model(batch["x"]), batch["y"])
        loss.backward()
        self.optimizer.step()
        return loss


def contestants(case: str, folder: str) -> tuple[Bare, Session]:
    """Both loops, ready to step."""
    torch.manual_seed(0)
    config, shape, _ = CASES[case]
    source, builder = Gathered(shape), optim.optimizer("momentum", lr=1e-3)
    stage = Stage(objective=lambda model: SupervisedObjective("cross-entropy"), source=lambda model: source, optimizer=builder,
                  steps=1_000_000, batch_size=BATCH)  # fmt: skip
    task = Classify({"x": Number(shape=shape)}, {"y": Category(names=tuple("0123456789"))})
    recipe = Recipe(model=config, stages=(stage,), task=task, splits={})
    session = Session(recipe, Folder(folder), Setup(say=lambda text: None, compile="off"), [])
    model = parallel.place(config.build(), torch.device("cpu"))
    groups = [{"name": "all", "names": [n for n, _ in model.named_parameters()], "params": list(model.parameters())}]
    return Bare(model, source, builder(groups)), session


def seconds(step) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--rows", type=int, default=2_000, help="steps of the perceptron")
    parser.add_argument("--epochs", type=int, default=3, help="steps of the ResNet")
    job = parser.parse_args()
    block = CASES[job.case][2]
    blocks = max(1, job.rows // block) if job.case == "mlp" else job.epochs
    with tempfile.TemporaryDirectory() as folder:
        bare, session = contestants(job.case, folder)
        for _ in range(block):
            bare.step(), session.step()
        plain, ours = [], []
        for _ in range(blocks):
            pairs = [(seconds(bare.step), seconds(session.step)) for _ in range(block)]
            plain.append(statistics.mean(a for a, _ in pairs))
            ours.append(statistics.mean(b for _, b in pairs))
    extra = statistics.median(b - a for a, b in zip(plain, ours, strict=True))
    print("RESULT " + json.dumps({
        "suite": "loop", "name": job.case, "bare_us": round(statistics.median(plain) * 1e6, 1), "overhead_us": round(extra * 1e6, 1),
        "overhead_percent": round(100 * extra / statistics.median(plain), 2), "versions": {"torch": torch.__version__},
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
