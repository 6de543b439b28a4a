"""An epoch of the variational autoencoder beside a plain PyTorch loop, same network, batch and optimiser.

The network is 784-400-20-400-784 with ReLU, batch 128, Adam 1e-3, on MNIST. The plain loop is written as examples of
PyTorch usually are: a Dataset whose rows pass through Pillow and a function per sample, a DataLoader, and the loss of the
paper. Ours also draws every picture anew as black and white. The two take turns; the median of each is compared.

    python bench/vae.py [--data-dir DIR] [--rounds 3] [--steps N] [--workers 0]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from shendu import data, loop, registry
from shendu.data.dataset import Dataset
from shendu.run import Folder

BATCH, HIDDEN, LATENT = 128, 400, 20


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """MNIST, a picture at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = torch.from_numpy(images.copy()), labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.images[i].numpy())
        pixels = torch.from_numpy(np.array(picture)).view(28, 28, 1).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255), int(self.labels[i])


class Plain(nn.Module):
    """The network, as a tutorial would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, HIDDEN)
        self.mean, self.log_variance = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
        self.back, self.out = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.hidden(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return torch.sigmoid(self.out(F.relu(self.back(z)))), mean, log_variance


def plain(dataset: Dataset, steps: int, workers: int) -> float:
    """Seconds per step of the plain loop."""
    train = dataset.splits["train"]
    loader = DataLoader(
        Rows(train.column(dataset.input)[..., 0], train.column(dataset.target)),
        BATCH,
        shuffle=True,
        num_workers=workers,
    )
    model = Plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    done, total, began = 0, 0.0, time.perf_counter()
    while done < steps:
        for x, _ in loader:
            optimizer.zero_grad()
            x = x.view(-1, 784)
            back, mean, log_variance = model(x)
            error = F.binary_cross_entropy(back, x, reduction="sum")
            loss = error - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss.backward()
            total += loss.item()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return (time.perf_counter() - began) / steps


def ours(dataset: Dataset, steps: int) -> float:
    """Seconds per step of the package's loop."""
    choices = {
        "hidden": (HIDDEN,), "latent": LATENT, "activation": "relu", "batch_size": BATCH, "optimizer": "adam", "lr": 1e-3,
        "schedule": "constant", "steps": steps, "select_by": "none",
    }  # fmt: skip
    only = {"train": dataset.splits["train"]}
    recipe = registry.load("vae").recipe(Dataset(**{**vars(dataset), "splits": only}), **choices)
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(Path(place) / "run")
        folder.prepare()
        began = time.perf_counter()
        loop.fit(recipe, folder, loop.Setup(precision="auto", compile="off", say=lambda text: None))
        return (time.perf_counter() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="of each; 0: an epoch")
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    dataset = data.open("mnist", data_dir=given.data_dir)
    epoch = len(dataset.splits["train"]) // BATCH
    steps = given.steps or epoch
    found: dict[str, list[float]] = {"shendu": [], "plain": []}
    ours(dataset, 5)  # what is loaded once is no part of an epoch
    plain(dataset, 5, given.workers)
    for _ in range(given.rounds):
        found["shendu"].append(ours(dataset, steps) * epoch)
        found["plain"].append(plain(dataset, steps, given.workers) * epoch)
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        print(f"{name}: {medians[name]:.2f} s per epoch ({', '.join(f'{v:.2f}' for v in values)})")
    print(f"ratio {medians['plain'] / medians['shendu']:.2f}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
