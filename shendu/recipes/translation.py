"""What the recipes of translators share: batches of sentences of similar length, Adam as for Transformers, BLEU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from shendu import optim
from shendu.core import Config, Objective, Recipe
from shendu.data.dataset import Dataset
from shendu.data.processors.translation import BEGIN, PADDING, Translation, texts_of
from shendu.errors import UserError
from shendu.metrics.running import BLEU
from shendu.objectives.translation import Translation as TranslationObjective
from shendu.recipes import Training, device_of, recipe_of, stage
from shendu.sources.bucketed import Bucketed
from shendu.sources.static import Static

BETAS = (0.9, 0.98)
"""Of Adam, as Vaswani et al. 2017 have them."""
POOL = 1000
"""Batches that are sorted together by the lengths of both sentences: with fewer, a tenth of the targets would be padding."""
TRAIN_FIGURE_ROWS = 1000
"""The training part's figure is of its first rows: a translation is searched for, which takes longer than learning it."""


def translation(data: Dataset, net: Config, how: Training, processor: Translation) -> Recipe:
    """One stage of teacher forcing; raises UserError for settings that do not fit the data."""
    if how.loss != "auto":
        raise UserError("translation has a loss of its own: leave loss out, and set label_smoothing if need be")
    if not 0 <= how.label_smoothing < 1:
        raise UserError(
            f"label_smoothing={how.label_smoothing:g} is no share below 1; write it like label_smoothing=0.1"
        )

    def objective(model: nn.Module) -> Objective:
        return TranslationObjective(label_smoothing=how.label_smoothing, padding=PADDING, begin=BEGIN)

    BLEU(processor.texts)  # says now where its library is missing, not after the training
    one = stage(data, processor, how, objective)
    learning = replace(
        one,
        source=lambda model: bucketed(data, processor, one.batch_size, how.seed, device_of(model)),
        optimizer=optim.optimizer(
            how.optimizer, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay, betas=BETAS
        ),
    )
    notes = (
        f"{processor.codes:,} codes for both languages, of the lower-cased training sentences",
        *cut(data, processor),
    )
    return recipe_of(data, net, how, processor, (learning,), notes)


def cut(data: Dataset, processor: Translation) -> tuple[str, ...]:
    """A note of how many training sentences are too long to be read whole; none where all are short enough."""
    train = data.splits["train"]
    longer = sum(processor.cut(texts_of(train.column(field))) for field in (data.input, data.target))
    many = "1 training sentence is" if longer == 1 else f"{longer:,} training sentences are"
    longest = processor.wording.longest
    return (f"{many} cut to the first {longest:,} codes (longest={2 * longest} reads more)",) if longer else ()


def bucketed(data: Dataset, processor: Translation, size: int, seed: int, device: torch.device) -> Bucketed:
    """The training part in batches of sentences of similar length."""
    coded = processor.coded(data.splits["train"], data.input, data.target)
    how: Any = {"columns": {"x": "x", "y": "y"}, "padded": ("x", "y"), "pool": POOL, "device": device}
    return Bucketed(coded, processor, batch_size=size, seed=seed, **how)


def held(data: Dataset, processor: Translation, part: str) -> Static:
    """A part in its own order, references whole; of the training part the first rows."""
    split = data.splits[part]
    rows = np.arange(min(len(split), TRAIN_FIGURE_ROWS if part == "train" else len(split)))
    return Static(processor.coded(split.take(rows), data.input, data.target, cut=False), processor, x="x", y="y")
