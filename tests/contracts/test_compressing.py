"""Every system is pruned, or says in a line why not: by existing. What is removed is not heard, and nothing else changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from forms import FORMS
from torch import Tensor, nn

from shendu import compressing, parallel, registry
from shendu.compressing import forms
from shendu.compressing.changes import narrowed
from shendu.compressing.units import Ask, close
from shendu.errors import UserError

NAMES = tuple(registry.systems())
QUICK = ("lenet", "resnet", "gpt", "perceptron")
"""In `make test`; the others in CI."""
CASES = [
    pytest.param(
        name, form, id=f"{name}{''.join(map(str, form.values()))}", marks=() if name in QUICK else pytest.mark.slow
    )
    for name in NAMES
    for form in FORMS.get(name, ({},))
]
TIED = {
    "linear", "neuron", "perceptron", "boltzmann", "gan", "hopfield", "rbm", "deepbind", "fasttext", "gru", "lstm", "rnn", "nbeats",
    "seq2seq", "tabm",
}  # fmt: skip
"""Systems of which no channel can be removed by itself."""
SHARE = 0.2


def found_in(name: str, form: dict[str, Any], bench: Any) -> tuple[Any, nn.Module, Ask]:
    recipe = bench.recipe(name, **form)
    model = recipe.model.build().eval()
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():  # statistics as after a training
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return recipe, model, forms.asking_of(recipe)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_is_narrowed_or_says_why_not(name: str, form: dict[str, Any], bench: Any, one_line: Any) -> None:
    """The narrower network answers what the whole one answers in which each layer that reads a removed unit reads zeros."""
    recipe, model, ask = found_in(name, form, bench)
    try:
        found = narrowed.prunable(model, ask)
    except UserError as error:
        one_line(error)
        assert name in TIED
        return
    assert name not in TIED
    gone = narrowed.chosen(found, SHARE)
    assert gone
    change, small = narrowed.narrowed(found, gone)
    total, left = (sum(p.numel() for p in each.parameters()) for each in (model, small))
    assert left <= (1 - SHARE) * total
    assert left == narrowed.left(found, gone)
    deaf = copy.deepcopy(model)
    for place, mask in heard(found, gone):
        layer = dict(deaf.named_modules()).get(place.tensor.removesuffix(".weight"))
        if layer is not None and isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            layer.register_forward_pre_hook(zeros(mask, -1 if isinstance(layer, nn.Linear) else 1))
    assert close(ask.answers(small), ask.answers(deaf), 1e-5)

    kept = compressing.from_file(json.loads(json.dumps([change.to_json()])))
    again = parallel.place(compressing.changed(recipe.model, kept).build().eval(), torch.device("cpu"))
    again.load_state_dict(small.state_dict())
    bench.same(
        {str(i): t for i, t in enumerate(ask.answers(small))}, {str(i): t for i, t in enumerate(ask.answers(again))}
    )


def heard(found: narrowed.Prunable, gone: list[int]) -> Iterator[tuple[Any, Tensor]]:
    for place in found.units.places:
        if place.heard:
            yield place, torch.tensor([unit not in set(gone) for unit in place.labels.tolist()])


def zeros(mask: Tensor, dim: int) -> Any:
    def silence(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shape = [1] * args[0].dim()
        shape[dim] = -1
        return (args[0] * mask.view(shape), *args[1:])

    return silence
