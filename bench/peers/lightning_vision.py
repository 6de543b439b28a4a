"""Lightning trains a network of torchvision's on random pictures through the tutorials' per-sample transforms; bars, logger and
checkpoints are off, in its favour. Prints the median images per second.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from common import CIFAR_MEAN, CIFAR_STD, emit
from torch_parts import Pictures, loader, to_tensor, torchvision, transforms

# after torch_parts, which makes torchvision importable
import lightning as L  # isort: skip

from lightning_peer import QUIET

LIBRARIES = ["lightning", "torchvision", "torch"]
NETWORKS = {
    "alexnet": "alexnet",
    "vgg": "vgg11",
    "googlenet": "googlenet",
    "mobilenet": "mobilenet_v2",
    "resnext": "resnext50_32x4d",
}
WORKERS = 8
"""Processes that load beside a GPU."""
AUXILIARY = 0.3
"""Weight of GoogLeNet's two auxiliary losses."""


class Classifier(L.LightningModule):
    """The network, Nesterov's momentum as ours."""

    def __init__(self, name: str) -> None:
        super().__init__()
        more = {"init_weights": False} if name == "googlenet" else {}
        self.network = torchvision.models.get_model(NETWORKS[name], num_classes=10, **more)

    def training_step(self, batch, index):
        x, y = batch
        main, *others = out if isinstance(out := self.network(x), tuple) else (out,)
        return F.cross_entropy(main, y) + AUXILIARY * sum(F.cross_entropy(other, y) for other in others)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)


class Watch(L.Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args) -> None:
        self.ends.append(time.perf_counter())


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", choices=sorted(NETWORKS))
    for name in ("side", "batch", "steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--device", default="cpu")
    said = parser.parse_args()
    torch.manual_seed(0)
    rows, random = said.batch * said.steps, np.random.default_rng(0)
    images = random.integers(0, 256, (rows, said.side, said.side, 3), np.uint8)
    augmented = [transforms.RandomCrop(said.side, padding=4), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*augmented, to_tensor(CIFAR_MEAN, CIFAR_STD)])
    data = Pictures(images, random.integers(0, 10, rows), transform)
    watch, model = Watch(), Classifier(said.suite)
    trainer = L.Trainer(
        max_epochs=1, callbacks=[watch], precision=said.precision, **{**QUIET, "accelerator": said.device}
    )
    trainer.fit(model, loader(data, said.batch, workers=0 if said.device == "cpu" else WORKERS))
    count = sum(p.numel() for p in model.parameters())
    emit(said, f"lightning-{said.precision}", LIBRARIES, parameters=count,
         images_per_s=said.batch / statistics.median(np.diff(watch.ends)))  # fmt: skip
