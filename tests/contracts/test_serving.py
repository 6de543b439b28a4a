"""Every system is served by existing: what it takes and gives is told, tensors go in and come out, a person is asked for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from forms import REPRESENTATIVES

from shendu import registry, serving
from shendu.pages.single import explained
from shendu.predictor import Predictor
from shendu.serving import tensors
from shendu.serving.engine import Job, ask
from shendu.serving.inputs import finite
from shendu.serving.models import Loaded
from shendu.serving.tools import FORMS

PAGE = (Path(serving.__file__).parent / "page.html").read_text(encoding="utf-8")
SYSTEMS = [pytest.param(name, marks=() if name in REPRESENTATIVES else pytest.mark.slow) for name in registry.systems()]


def loaded(bench: SimpleNamespace, name: str) -> Loaded:
    """The system's small network, untrained."""
    recipe = bench.recipe(name)
    torch.manual_seed(0)
    predictor = Predictor(recipe.task, recipe.model.build().eval(), "cpu", "fp32")
    example = recipe.task.example(2)
    outputs, _ = predictor.pieces(example)
    return Loaded(name, Path(), "0" * 64, name, predictor, "step" in recipe.task.can, (example, outputs))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_served(bench: SimpleNamespace, name: str) -> None:
    model = loaded(bench, name)
    about = tensors.metadata(model)
    assert json.loads(json.dumps(finite(about)))["inputs"]
    assert {each["name"] for each in about["inputs"]} == set(model.task.inputs)
    for field in model.task.inputs.values():
        entry = field.entry()
        assert entry["as"] in (*FORMS, "columns")
        assert re.search(rf"^  (?:.*, )?{entry['as']}[:(,]", PAGE, re.MULTILINE), "the page knows how to ask for it"
        assert json.dumps(finite(field.schema()))
    given = stored(model)
    if given is None:
        return
    request = tensors.request_of(model, json.dumps({"inputs": given}).encode(), None)
    answer = ask([Job(model, request.read.stored)])[0]
    why = explained(model.predictor, request.read.stored)
    assert set(why) <= set(model.task.inputs)
    assert all(re.search(rf"^  {one['form']}\(one", PAGE, re.MULTILINE) for one in why.values()), "the page shows it"
    assert json.dumps(finite(why))
    body, size = tensors.answer_of(request, answer)
    assert size is None
    told = {each["name"]: each for each in json.loads(body)["outputs"]}
    assert set(told) == {each["name"] for each in about["outputs"]}
    alone, _ = model.predictor.pieces(request.read.stored)
    for key, t in alone.items():
        assert told[key]["shape"] == list(t.shape)
        if t.is_floating_point():
            assert np.allclose(
                np.array(told[key]["data"], np.float64), t.double().flatten().numpy(), atol=1e-5, equal_nan=True
            )


def stored(model: Loaded) -> list[dict[str, Any]] | None:
    """An example's rows as tensors in JSON; of running text and sentences, which are stored as bytes, a text."""
    found = []
    example = model.task.example(2)
    for each in tensors.metadata(model)["inputs"]:
        if each["datatype"] == "BYTES":
            found.append({**each, "shape": [1], "data": ["one two three"]})
            continue
        rows = example[each["name"]]
        if rows.is_floating_point() and bool(rows.isnan().any()):
            return None
        found.append({**each, "shape": list(rows.shape), "data": rows.tolist()})
    return found
