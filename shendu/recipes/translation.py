"""What the recipes of translators share: batches of sentences of similar length, Adam as for Transformers, BLEU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from shendu import optim
from shendu.core import Config, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.errors import UserError
from shendu.metrics.text import BLEU
from shendu.objectives.translation import Translation as TranslationObjective
from shendu.parallel import device_of
from shendu.recipes import Training, recipe_of, stage
from shendu.sources.bucketed import Bucketed
from shendu.tasks.translate import BEGIN, PADDING, Translate, texts_of

BETAS = (0.9, 0.98)
"""Of Adam, as Vaswani et al. 2017 have them."""
POOL = 1000
"""Batches that are sorted together by the lengths of both sentences: with fewer, a tenth of the targets would be padding."""


def translation(data: Dataset, net: Config, how: Training, task: Translate) -> Recipe:
    """One stage of teacher forcing; raises UserError for settings that do not fit the data."""
    if how.loss != "auto":
        raise UserError("translation has a loss of its own: leave loss out, and set label_smoothing if need be")
    if not 0 <= how.label_smoothing < 1:
        raise UserError(
            f"label_smoothing={how.label_smoothing:g} is no share below 1; write it like label_smoothing=0.1"
        )

    def objective(model: nn.Module) -> Objective:
        return TranslationObjective(label_smoothing=how.label_smoothing, padding=PADDING, begin=BEGIN)

    BLEU(task.texts)  # says now where its library is missing, not after the training
    one = stage(data, task, how, objective)
    learning = replace(
        one,
        source=lambda model: bucketed(data, task, one.batch_size, how.seed, device_of(model)),
        optimizer=optim.optimizer(
            how.optimizer, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay, betas=BETAS
        ),
    )
    notes = (
        f"{task.codes:,} codes for both languages, of the lower-cased training sentences",
        *cut(data, task),
    )
    return recipe_of(data, net, how, task, (learning,), notes)


def cut(data: Dataset, task: Translate) -> tuple[str, ...]:
    """A note of how many training sentences are too long to be read whole; none where all are short enough."""
    train = data.splits["train"]
    longer = sum(task.cut(texts_of(train.column(field))) for field in (data.input, data.target))
    many = "1 training sentence is" if longer == 1 else f"{longer:,} training sentences are"
    longest = task.wording.longest
    return (f"{many} cut to the first {longest:,} codes (longest={2 * longest} reads more)",) if longer else ()


def bucketed(data: Dataset, task: Translate, size: int, seed: int, device: torch.device) -> Bucketed:
    """The training part in batches of sentences of similar length."""
    coded = task.coded(data.splits["train"], data.input, data.target)
    how: Any = {"columns": {"x": "x", "y": "y"}, "padded": ("x", "y"), "pool": POOL, "device": device}
    return Bucketed(coded, task, batch_size=size, seed=seed, **how)
