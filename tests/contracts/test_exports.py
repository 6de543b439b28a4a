"""Every system exports to ONNX and agrees with its export, or it says in a line why not; docs/gen/exports.json has what was found.

python tests/contracts/test_exports.py --write   tries every system, and writes that file (minutes)
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from forms import FORMS

from shendu import data as data_module
from shendu import registry
from shendu.errors import UserError
from shendu.exporting import formats, graph, proof

LEDGER = Path(__file__).resolve().parents[2] / "docs" / "gen" / "exports.json"
ROWS = 33
QUICK = ("neuron", "seq2seq")
"""Systems that are tried in `make test`; CI tries all."""
MUST = ("vision", "tables")
"""Families of which every network of one row's answer exports."""
CASES = [
    pytest.param(name, form, id=label, marks=() if name in QUICK else pytest.mark.slow)
    for name in registry.systems()
    for form in FORMS.get(name, ({},))
    for label in [" ".join([name, *(f"{key}={value}" for key, value in form.items())])]
]


def tried(name: str, form: dict[str, Any]) -> str:
    """Why a system's small network does not export to ONNX; empty: it does, and agrees on its example's rows."""
    module = registry.load(name)
    given, choices = module.tiny()
    recipe = module.recipe(data_module.open(given).split_off(), **{**choices, **form})
    torch.manual_seed(0)
    form_of = formats.of("onnx")
    try:
        made = graph.made(recipe.task, recipe.model.build(), name, "its small data")
        with tempfile.TemporaryDirectory() as room:
            form_of.write(made, Path(room) / "model.onnx")
            proof.prove(form_of, made, Path(room) / "model.onnx", graph.rows_of(recipe.task, ROWS))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "form"), CASES)
def test_exports_or_says_why_not(
    name: str, form: dict[str, Any], request: pytest.FixtureRequest, one_line: Any
) -> None:
    found = tried(name, form)
    if found:
        one_line(UserError(found))
    label = request.node.callspec.id
    assert bool(found) == bool(known()[label]), f"{found}; write anew: python tests/contracts/test_exports.py --write"
    assert not (found and registry.entry(name).family in MUST), found


def known() -> dict[str, str]:
    found: dict[str, str] = json.loads(LEDGER.read_text(encoding="utf-8"))
    return found


def test_the_table_has_every_system_and_no_other() -> None:
    assert set(known()) == {case.id for case in CASES}


def main() -> None:
    found = known() if LEDGER.exists() else {}
    for case in CASES:
        name, form = case.values
        found[str(case.id)] = tried(name, form)  # type: ignore[arg-type]
        print(f"{case.id}: {found[str(case.id)] or 'exports'}", flush=True)
        LEDGER.write_text(
            json.dumps({c.id: found.get(str(c.id), "") for c in CASES}, indent=1, ensure_ascii=False) + "\n"
        )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
