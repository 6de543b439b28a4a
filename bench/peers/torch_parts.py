"""Networks, optimisers and per-sample data sets for the peers that stand on PyTorch."""

from __future__ import annotations

import os

import numpy as np
import torch
import torchvision_names  # noqa: F401
from common import BATCH, CIFAR_MEAN, CIFAR_STD, MNIST_MEAN, MNIST_STD, cifar, mnist
from PIL import Image
from torch import nn

# after torchvision_names, which makes torchvision importable
import torchvision  # isort: skip
from torchvision import transforms  # isort: skip


def lenet() -> nn.Module:
    """LeNet-5 as it is taught today: 61,706 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def resnet18() -> nn.Module:
    """torchvision's ResNet-18 with the stem for 32x32 images: 3x3, stride 1, no max-pool; 11,173,962 parameters."""
    network = torchvision.models.resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


NETWORKS = {"lenet": lenet, "resnet": resnet18}
OPTIMIZERS = {
    "lenet": (torch.optim.Adam, {"lr": 1e-3}),
    "resnet": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
}


def optimizer(suite: str, parameters, **more) -> torch.optim.Optimizer:
    """The suite's optimiser: the same for every peer."""
    kind, settings = OPTIMIZERS[suite]
    return kind(parameters, **settings, **more)


class Pictures(torch.utils.data.Dataset):
    """Arrays as PIL images through a transform, one sample at a time: what torchvision's own data sets do."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def to_tensor(mean, std):
    """ToTensor and Normalize, as in the tutorials."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])


def pictures(suite: str, rows: int) -> Pictures:
    """The suite's training data with the tutorials' per-sample transforms."""
    if suite == "lenet":
        return Pictures(*mnist("train", rows), to_tensor(MNIST_MEAN, MNIST_STD))
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    return Pictures(*cifar(rows), transforms.Compose([*augment, to_tensor(CIFAR_MEAN, CIFAR_STD)]))


def loader(dataset, batch: int = BATCH, shuffle: bool = True, workers: int = 0) -> torch.utils.data.DataLoader:
    """A DataLoader with the tutorials' defaults: workers start new processes, which two cores do not pay for."""
    return torch.utils.data.DataLoader(
        dataset, batch_size=batch, shuffle=shuffle, num_workers=workers, pin_memory=workers > 0
    )


def accuracy(model: nn.Module, batches) -> float:
    """Share of right answers in evaluation mode."""
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in batches:
            right += (model(x).argmax(1) == y).sum().item()
            total += len(y)
    return right / total


def seeded() -> None:
    """Round r of the driver is seed r for every peer."""
    torch.manual_seed(int(os.environ.get("BENCH_ROUND", 0)))
