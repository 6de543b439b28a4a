"""PyTorch by hand. Variants: `tutorial` (the loop of the tutorials) and `tuned` (what an expert writes on a CPU)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import (
    BATCH,
    CIFAR_MEAN,
    CIFAR_STD,
    MNIST_MEAN,
    MNIST_STD,
    Clock,
    Race,
    arguments,
    cifar,
    emit_epochs,
    mnist,
)  # fmt: skip
from torch import nn
from torch_parts import NETWORKS, Pictures, accuracy, loader, optimizer, pictures, seeded, to_tensor

LIBRARIES = ["torch", "torchvision"]


def tutorial(job) -> None:
    """DataLoader over a Dataset of PIL images; one step per batch; the running loss read at every step."""
    data = pictures(job.suite, job.rows)
    model, batches = NETWORKS[job.suite](), loader(data)
    opt = optimizer(job.suite, model.parameters())
    criterion = nn.CrossEntropyLoss()
    clock = Clock()
    for _ in range(job.epochs):
        running = 0.0
        for x, y in batches:
            opt.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            opt.step()
            running += loss.item()
        clock.lap()
    emit_epochs(job, "pytorch-tutorial", LIBRARIES, clock, len(data), loss=running / len(batches))


class Digits:
    """MNIST as one float32 tensor, normalised once; a batch is one gather."""

    def __init__(self, rows: int) -> None:
        images, labels = mnist("train", rows)
        self.x = (torch.from_numpy(images)[:, None].float() / 255 - MNIST_MEAN) / MNIST_STD
        self.y = torch.from_numpy(labels)

    def batch(self, rows: torch.Tensor):
        return self.x.index_select(0, rows), self.y.index_select(0, rows)


class Crops:
    """CIFAR-10 as one padded uint8 tensor [N, 40, 40, 3]; crop, flip and batching are one gather, channels last."""

    def __init__(self, rows: int) -> None:
        images, labels = cifar(rows)
        self.side = torch.arange(32)
        self.padded = torch.from_numpy(np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0))))
        self.y = torch.from_numpy(labels)
        self.mean, self.scale = torch.tensor(CIFAR_MEAN) * 255, 1 / (torch.tensor(CIFAR_STD) * 255)

    def batch(self, rows: torch.Tensor):
        top, left = torch.randint(0, 9, (2, len(rows), 1)).unbind()
        flipped = torch.rand(len(rows), 1) < 0.5
        ys, xs = top + self.side, left + torch.where(flipped, 31 - self.side, self.side)
        crops = self.padded[rows[:, None, None], ys[:, :, None], xs[:, None, :]]
        return ((crops - self.mean) * self.scale).permute(0, 3, 1, 2), self.y[rows]


def tuned(job) -> None:
    """Whole data set in memory, one gather per batch, channels_last, fused optimiser; what pays where it was tried: bf16
    with AMX, of the ResNet with AVX-512 BF16 too; compile with AMX."""
    flags = Path("/proc/cpuinfo").read_text()
    amx = "amx_bf16" in flags
    bf16 = amx or (job.suite == "resnet" and "avx512_bf16" in flags)
    data = Digits(job.rows) if job.suite == "lenet" else Crops(job.rows)
    model = NETWORKS[job.suite]()
    if job.suite == "resnet":
        model = model.to(memory_format=torch.channels_last)
    opt = optimizer(job.suite, model.parameters(), fused=True)

    def forward(x, y):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(x)
        return F.cross_entropy(out.float(), y)

    step = torch.compile(forward) if amx else forward
    clock = Clock()
    for _ in range(job.epochs):
        for rows in torch.randperm(len(data.y)).split(BATCH):
            opt.zero_grad(set_to_none=True)
            loss = step(*data.batch(rows))
            loss.backward()
            opt.step()
        clock.lap()
    emit_epochs(job, "pytorch-tuned", LIBRARIES, clock, len(data.y), loss=loss.item(), bf16=bf16, compiled=amx)


class ExampleNet(nn.Module):
    """The network of the PyTorch examples' MNIST."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(self.head(self.features(x)), dim=1)


def example(job) -> None:
    """github.com/pytorch/examples, mnist/main.py: Adadelta lr 1.0 x 0.7 per epoch, batch 64, 14 epochs, a test each."""
    race = Race()
    transform = to_tensor(MNIST_MEAN, MNIST_STD)
    train = loader(Pictures(*mnist("train", job.rows), transform), 64, shuffle=False)  # its default without a GPU
    test = loader(Pictures(*mnist("t10k", job.rows), transform), 1000, shuffle=False)
    model = ExampleNet()
    opt = torch.optim.Adadelta(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.7)
    for _ in range(job.epochs or 14):
        model.train()
        for i, (x, y) in enumerate(train):
            opt.zero_grad()
            loss = F.nll_loss(model(x), y)
            loss.backward()
            opt.step()
            if i % 10 == 0:
                loss.item()
        if race.test(lambda: accuracy(model, test), aside=False):
            break
        schedule.step()
    race.emit(job, "pytorch-example", LIBRARIES)


if __name__ == "__main__":
    job = arguments()
    seeded()
    if job.suite == "mnist99":
        example(job)
    elif job.variant == "tuned":
        tuned(job)
    else:
        tutorial(job)
