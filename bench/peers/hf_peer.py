"""Hugging Face Trainer over the tutorials' data set; saving and reporting are off, in its favour."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from common import BATCH, PRECISION, Clock, arguments, emit_epochs
from torch import nn
from torch_parts import NETWORKS, optimizer, pictures, seeded

# after torch_parts, which makes torchvision importable
from transformers import Trainer, TrainerCallback, TrainingArguments  # isort: skip

LIBRARIES = ["transformers", "accelerate", "torch"]


class WithLoss(nn.Module):
    """The Trainer's convention: a model that takes named fields and returns its loss."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values=None, labels=None):
        logits = self.network(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Named(torch.utils.data.Dataset):
    """(image, label) pairs as dictionaries."""

    def __init__(self, pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int):
        image, label = self.pairs[i]
        return {"pixel_values": image, "labels": label}


class Laps(TrainerCallback):
    """Epochs' ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_epoch_end(self, *args, **rest) -> None:
        self.clock.lap()


def speed(job) -> None:
    data, clock = Named(pictures(job.suite, job.rows)), Clock()
    model = WithLoss(NETWORKS[job.suite]())
    opt = optimizer(job.suite, model.parameters())
    constant = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1.0)
    settings = TrainingArguments(
        output_dir="hf", num_train_epochs=job.epochs, per_device_train_batch_size=BATCH, use_cpu=True, report_to="none",
        save_strategy="no", logging_strategy="epoch", disable_tqdm=True, remove_unused_columns=False, bf16=PRECISION == "bf16",
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=settings, train_dataset=data, callbacks=[Laps(clock)], optimizers=(opt, constant)
    )
    clock.start()
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    emit_epochs(job, "hf-trainer", LIBRARIES, clock, len(data), loss=float(losses[-1]))


if __name__ == "__main__":
    job = arguments()
    seeded()
    speed(job)
