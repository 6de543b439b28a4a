"""Figures of a model over a whole split."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from shendu import parallel
from shendu.core import Batch, Metric, Processor, Source

BATCH = 500


def outputs_of(
    model: nn.Module, processor: Processor, batch: dict[str, Tensor], device: torch.device, precision: str
) -> Tensor:
    """Outputs in float32 for a prepared batch; the caller is in `parallel.evaluating`."""
    with parallel.autocast(device, precision):
        outputs = processor.call(model, parallel.to_device(batch, device))
    return outputs.float()


def measure(
    model: nn.Module,
    processor: Processor,
    source: Source,
    metrics: dict[str, Callable[[], Metric]],
    device: torch.device,
    precision: str = "fp32",
    most: int = 0,
    pulse: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Name -> figure over the source's rows (the first `most` of them where given); `pulse` is called per batch.

    Where memory runs out, smaller batches are measured: a figure does not depend on how the rows are batched.
    """
    running = {name: build() for name, build in metrics.items()}
    rows = min(source.rows, most) if most else source.rows
    start, size = 0, BATCH
    with parallel.evaluating(model):
        while start < rows:
            pulse()
            try:
                batch = parallel.to_device(source.batch(start, min(size, rows - start), None), device)
                outputs = outputs_of(model, processor, batch, device, precision)
            except Exception as error:
                if size == 1 or not parallel.out_of_memory(error):
                    raise
                size //= 2
                continue
            for metric in running.values():
                metric.update(outputs, batch)
            start += size
    return {name: metric.compute() for name, metric in running.items()}


class Outputs:
    """Not a figure but the outputs and targets themselves, gathered in the same pass as the figures."""

    higher = True

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.outputs.append(outputs.cpu())
        self.targets.append(batch["y"].cpu())

    def compute(self) -> float:
        return float(sum(map(len, self.outputs)))
