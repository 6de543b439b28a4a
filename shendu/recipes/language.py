"""What the recipes of language models share: the text as tokens, windows of it, and predicting each next token."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from shendu import optim
from shendu.core import Config, Recipe, Source
from shendu.data.dataset import Dataset
from shendu.objectives.language import NextToken
from shendu.parallel import device_of
from shendu.recipes import Training, check_own_loss, recipe_of, stage, steps_of
from shendu.sources.windows import Windows
from shendu.tasks.language import Language

BETAS = (0.9, 0.99)
"""Of AdamW: with few tokens in a batch, squared gradients are averaged over more steps."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """How a text is read."""

    tokenizer: str = "characters"
    """characters, bpe:1000 (as many pieces, learned from the training text), or the folder of a published tokenizer."""
    context: int = 64
    """Tokens of a window, where the network has no limit of its own."""


def language(
    data: Dataset,
    net: Config,
    how: Training,
    task: Language,
    *,
    by_adamw: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Recipe:
    """One stage of predicting each next token; raises UserError for settings that do not fit the data.

    `by_adamw` are names of parameters (or what their names begin with) that Muon leaves to AdamW: tables of vectors.
    An epoch is as many windows as the training text has.
    """
    check_own_loss(how)
    train = task.tokens(data.splits["train"].column(data.input))
    windows = Windows(train, task.context, shuffle=True)
    steps, size = steps_of(replace(how, batch_size=how.batch_size or windows.rows), max(windows.rows, how.batch_size))

    def source(model: nn.Module) -> Source:
        return Windows(train, task.context, seed=how.seed, shuffle=True, device=device_of(model))

    optimizer = optim.optimizer(
        how.optimizer, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay, betas=BETAS, by_adamw=by_adamw
    )
    begun = stage(data, task, how, lambda model: NextToken())
    made = replace(begun, source=source, steps=steps, batch_size=size, optimizer=optimizer)
    recipe = recipe_of(data, net, how, task, (made,), (*notes, *described(data, task)))
    return replace(recipe, validate_every=max(1, steps // how.validations))


def described(data: Dataset, task: Language) -> tuple[str, ...]:
    """What was decided about the text, and what of the parts that are measured was never seen in training."""
    notes = [f"the text is read in {task.tokenizer.words}: {task.vocabulary:,} different ones"]
    for part in (part for part in data.splits if part != "train"):
        if strange := task.strange(task.tokens(data.splits[part].column(data.input)).numpy()):
            notes.append(f"{strange:,} characters of the {part} part are not in the training text: read as unknown")
    return tuple(notes)
