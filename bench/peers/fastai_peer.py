"""fastai: its Learner over the tutorials' DataLoader; bars and validation are off in the speed suites, in its favour."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from common import MNIST_MEAN, MNIST_STD, Clock, Race, arguments, emit_epochs, mnist
from torch import nn
from torch_parts import NETWORKS, OPTIMIZERS, Pictures, loader, pictures, seeded, to_tensor

# after torch_parts, which makes torchvision importable
from fastai.vision.all import (  # isort: skip
    Adam, Callback, CancelValidException, DataLoaders, Learner, OptimWrapper, accuracy as fastai_accuracy,
)  # fmt: skip

LIBRARIES = ["fastai", "torch"]


class Laps(Callback):
    """Epochs' ends; and no validation."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def before_validate(self) -> None:
        raise CancelValidException

    def after_epoch(self) -> None:
        self.clock.lap()


def speed(job) -> None:
    data, clock = pictures(job.suite, job.rows), Clock()
    batches = loader(data)
    kind, settings = OPTIMIZERS[job.suite]
    rate = settings.pop("lr")
    learner = Learner(DataLoaders(batches, batches), NETWORKS[job.suite](), loss_func=F.cross_entropy,
                      opt_func=partial(OptimWrapper, opt=kind, **settings))  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        clock.start()
        learner.fit(job.epochs, rate, cbs=[Laps(clock)])
    emit_epochs(job, "fastai", LIBRARIES, clock, len(data), loss=float(learner.smooth_loss))


def example(job) -> None:
    """fastai docs, "From plain PyTorch": batches of 256, fit_one_cycle(1, 1e-2), fastai's Adam; validates on the test set."""
    race = Race()
    transform = to_tensor(MNIST_MEAN, MNIST_STD)
    train = loader(Pictures(*mnist("train", job.rows), transform), 256)
    test = loader(Pictures(*mnist("t10k", job.rows), transform), 512)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.MaxPool2d(2), nn.Dropout2d(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    learner = Learner(DataLoaders(train, test), network, loss_func=F.nll_loss, opt_func=Adam, metrics=fastai_accuracy)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(job.epochs or 1, 1e-2)
    race.test(lambda: learner.recorder.values[-1][-1], aside=False)
    race.emit(job, "fastai-example", LIBRARIES)


if __name__ == "__main__":
    job = arguments()
    seeded()
    example(job) if job.suite == "mnist99" else speed(job)
