"""What the recipes of recurrent networks share: texts in batches of similar length, and running text in windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import nn

from shendu.config import settle
from shendu.core import Recipe, Source
from shendu.data.dataset import Dataset
from shendu.data.fields.prose import Prose
from shendu.data.fields.text import Text
from shendu.nn.recurrent import Settings
from shendu.parallel import device_of
from shendu.recipes import Training, answers, check_reads, labelled, supervised
from shendu.recipes.language import Tokens, language
from shendu.sources.bucketed import Bucketed
from shendu.tasks.language import Language

FEW, SHORT = 2000, 100_000
"""Texts, and bytes of running text, below which a network is small and trained by steps."""


def recurrent(system: str, data: Dataset, net: Settings, choices: dict[str, Any]) -> Recipe:
    """Texts' classes or numbers, or running text; raises UserError for other data."""
    check_reads(system, data, Text.kind, Prose.kind)
    return (writing if data.fields[data.input].kind == Prose.kind else reading)(data, net, choices)


def reading(data: Dataset, net: Settings, choices: dict[str, Any]) -> Recipe:
    """Supervised training on texts in batches of similar length."""
    text, task = cast(Text, data.fields[data.input]), labelled(data)
    net = replace(net, words=min(net.words, text.codes), outputs=answers(task))
    how = Training(epochs=4, batch_size=40, lr=4e-3, schedule="one-cycle", weight_decay=0.05, clip=1.0)
    if len(data.splits["train"]) < FEW:
        net = replace(net, width=32, units=32, word_dropout=0.0, dropout=0.2)
        how = replace(how, steps=300, batch_size=32, lr=0.01)
    net, how = settle(choices, net, how, given=("reads", "outputs"))
    recipe = supervised(data, net, how)
    (stage,) = recipe.stages

    def source(model: nn.Module) -> Source:
        return Bucketed(
            data.splits["train"], task, columns={"x": data.input, "y": data.target}, padded=("x",),
            batch_size=stage.batch_size, seed=how.seed, device=device_of(model),
        )  # fmt: skip

    return replace(recipe, stages=(replace(stage, source=source),))


def writing(data: Dataset, net: Settings, choices: dict[str, Any]) -> Recipe:
    """Predicting each next token in windows of running text; each window begins with an empty state."""
    net = replace(net, reads="prose", units=512, dropout=0.2)
    how = Training(epochs=5, batch_size=16, lr=4e-3, schedule="one-cycle", weight_decay=0.01, clip=1.0)
    if len(data.splits["train"]) < SHORT:
        net = replace(net, units=128)
        how = replace(how, steps=500)
    net, how, reads = settle(choices, net, how, Tokens(context=256), given=("reads", "words", "outputs"))
    task = Language.of(data, reads.tokenizer, reads.context)
    return language(data, replace(net, words=task.vocabulary, outputs=task.vocabulary), how, task)
