"""PyTorch Lightning: its Trainer over the tutorials' DataLoader. Bars, logger and checkpoints are off, in its favour."""

from __future__ import annotations

import logging
import warnings

import torch
import torch.nn.functional as F
from common import MNIST_MEAN, MNIST_STD, PRECISION, Clock, Race, arguments, emit_epochs, mnist
from torch import nn
from torch_parts import NETWORKS, Pictures, accuracy, loader, optimizer, pictures, seeded, to_tensor

# after torch_parts, which makes torchvision importable
import lightning as L  # isort: skip

LIBRARIES = ["lightning", "torch"]
HOW = {"fp32": "32-true", "bf16": "bf16-mixed"}
QUIET = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
         "enable_model_summary": False}  # fmt: skip


class Classifier(L.LightningModule):
    """A network with the suite's optimiser."""

    def __init__(self, suite: str) -> None:
        super().__init__()
        self.suite, self.network = suite, NETWORKS[suite]()

    def training_step(self, batch, index):
        x, y = batch
        loss = F.cross_entropy(self.network(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return optimizer(self.suite, self.parameters())


class Laps(L.Callback):
    """Epochs' ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_end(self, trainer, module) -> None:
        self.clock.lap()


def speed(job) -> None:
    data, clock = pictures(job.suite, job.rows), Clock()
    trainer = L.Trainer(max_epochs=job.epochs, callbacks=[Laps(clock)], precision=HOW[PRECISION], **QUIET)
    model = Classifier(job.suite)
    clock.start()
    trainer.fit(model, loader(data))
    loss = float(trainer.callback_metrics["loss"])
    emit_epochs(job, "lightning", LIBRARIES, clock, len(data), loss=loss)


class HelloWorld(L.LightningModule):
    """The `LitMNIST` of Lightning's MNIST hello-world: a 784-64-64-10 perceptron, dropout 0.1, Adam at 2e-4."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(self.network(x), dim=1)

    def training_step(self, batch, index):
        return F.nll_loss(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        logits = self(batch[0])
        self.log("val_loss", F.nll_loss(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-4)


def example(job) -> None:
    """Lightning tutorials, mnist-hello-world: 55,000 rows, 5,000 for validation, batch 64, unshuffled, 3 epochs, a test."""
    race = Race()
    transform = to_tensor(MNIST_MEAN, MNIST_STD)
    full = Pictures(*mnist("train", job.rows), transform)
    held_out = len(full) // 12
    train, valid = torch.utils.data.random_split(full, [len(full) - held_out, held_out])
    test = loader(Pictures(*mnist("t10k", job.rows), transform), 64, shuffle=False)

    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer, module) -> None:
            last = trainer.current_epoch + 1 == trainer.max_epochs
            trainer.should_stop = race.test(lambda: accuracy(module, test), aside=not last)
            module.train()

    trainer = L.Trainer(max_epochs=job.epochs or 3, callbacks=[Stop()], **QUIET)
    trainer.fit(HelloWorld(), loader(train, 64, shuffle=False), loader(valid, 64, shuffle=False))
    race.emit(job, "lightning-example", LIBRARIES)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    job = arguments()
    seeded()
    example(job) if job.suite == "mnist99" else speed(job)
