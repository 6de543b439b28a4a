"""skorch: NeuralNetClassifier on arrays where its users pass arrays (LeNet), on a Dataset for augmented images."""

from __future__ import annotations

import numpy as np
import torch
from common import BATCH, MNIST_MEAN, MNIST_STD, Clock, Race, arguments, emit_epochs, mnist
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn
from torch_parts import NETWORKS, OPTIMIZERS, pictures, seeded

LIBRARIES = ["skorch", "torch"]


class Laps(Callback):
    """Epochs' ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_epoch_end(self, net, **rest) -> None:
        self.clock.lap()


def speed(job) -> None:
    clock = Clock()
    kind, settings = OPTIMIZERS[job.suite]
    rest = {f"optimizer__{key}": value for key, value in settings.items() if key != "lr"}
    net = NeuralNetClassifier(
        NETWORKS[job.suite](), criterion=nn.CrossEntropyLoss, optimizer=kind, lr=settings["lr"], max_epochs=job.epochs,
        batch_size=BATCH, train_split=None, iterator_train__shuffle=True, verbose=0, callbacks=[("laps", Laps(clock))],
        classes=list(range(10)), **rest,
    )  # fmt: skip
    if job.suite == "lenet":
        images, y = mnist("train", job.rows)
        x = (images[:, None].astype(np.float32) / 255 - MNIST_MEAN) / MNIST_STD
    else:
        x, y = pictures(job.suite, job.rows), None
    clock.start()
    net.fit(x.astype(np.float32) if y is not None else x, y)
    emit_epochs(job, "skorch", LIBRARIES, clock, len(x), loss=net.history[-1, "train_loss"])


class Cnn(nn.Module):
    """The convolutional network of skorch's MNIST notebook."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.Dropout2d(0.5), nn.MaxPool2d(2),
            nn.ReLU(), nn.Flatten(), nn.Linear(1600, 100), nn.Dropout(0.5), nn.ReLU(), nn.Linear(100, 10),
            nn.Softmax(dim=-1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def example(job) -> None:
    """skorch notebooks, MNIST (its network of convolutions): Adam 0.002, batch 128, 10 epochs, a fifth held out, x / 255."""
    race = Race()
    train, test = mnist("train", job.rows), mnist("t10k", job.rows)
    x, x_test = (images[:, None].astype(np.float32) / 255 for images, _ in (train, test))
    epochs = job.epochs or 10

    class Stop(Callback):
        def on_epoch_end(self, net, **rest) -> None:
            last = len(net.history) == epochs
            if race.test(lambda: (net.predict(x_test) == test[1]).mean(), aside=not last):
                raise KeyboardInterrupt  # skorch's own way to stop early

    net = NeuralNetClassifier(
        Cnn, max_epochs=epochs, lr=0.002, optimizer=torch.optim.Adam, verbose=0, callbacks=[Stop()]
    )
    net.fit(x, train[1])
    race.emit(job, "skorch-example", LIBRARIES)


if __name__ == "__main__":
    job = arguments()
    seeded()
    example(job) if job.suite == "mnist99" else speed(job)
