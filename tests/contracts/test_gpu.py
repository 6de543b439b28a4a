"""The promises that every system keeps on a GPU: the same figures as on a CPU, exact resume, and every verb. `make test-gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_systems import CASES, NAMES, steps

import shendu
from shendu import Run, composing, registry
from shendu.run import Folder
from shendu.verbs.sample import drawn

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")]
SHORT = 6
WHOLE = {"dbn": {"pretrain": True}}
"""Choices with which a system can do all that it is for."""


def brief(name: str, choices: dict[str, Any], count: int = SHORT) -> dict[str, Any]:
    """The choices that end every stage after a few steps."""
    return {key: count for key in choices if key.endswith("steps")} | ({"steps": count} if steps(name) else {})


@pytest.mark.parametrize(("name", "form"), CASES)
def test_learns_as_on_a_cpu(name: str, form: dict[str, Any], bench: Any, tmp_path: Path) -> None:
    """From equal weights and equal batches, the first loss is the CPU's; only drawn numbers may be others."""
    data, choices = bench.opened(name)
    losses = []
    for device, precision in (("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "bf16")):
        recipe = bench.recipe(name, data, **{**form, **bench.quiet(name), **brief(name, choices)})
        path = tmp_path / f"{device}-{precision}"
        model, _ = bench.train(recipe, path, device=torch.device(device), precision=precision)
        losses.append([line["loss"] for line in Folder(path).history() if "loss" in line])
        for key, p in model.state_dict().items():
            assert p.device.type == device, key
            assert not p.is_floating_point() or p.isfinite().all(), key
    noisy = any(stage.objective(recipe.model.build()).noisy for stage in recipe.stages if stage.steps)
    cpu, single, half = (np.array(found[:1]) for found in losses)
    if not noisy:
        np.testing.assert_allclose(single, cpu, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(half, single, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_resumes_bit_for_bit(
    name: str, form: dict[str, Any], bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, choices = bench.opened(name)
    if not steps(name):
        return
    how = {**form, **bench.rich(name, data), **brief(name, choices, 12)}
    cuda = {"device": torch.device("cuda"), "precision": "bf16"}
    whole, _ = bench.train(bench.recipe(name, data, **how), tmp_path / "whole", **cuda)
    with monkeypatch.context() as patch:
        bench.killing(patch, 9, 7)
        with pytest.raises(bench.Killed):
            bench.train(bench.recipe(name, data, **how), tmp_path / "parts", **cuda)
    model, _ = bench.train(bench.recipe(name, data, **how), tmp_path / "parts", **cuda)
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(model.state_dict()))


@pytest.mark.parametrize("name", NAMES)
def test_the_verbs(name: str, tmp_path: Path) -> None:
    given, choices = registry.load(name).tiny()
    choices = {**choices, **brief(name, choices), **WHOLE.get(name, {})}
    run = shendu.train(name, given, out=tmp_path / "run", device="cuda", compile="off", quiet=True, **choices)
    assert run.report.exists()
    here, there = (run.evaluate(device=device)["metrics"] for device in ("cpu", "cuda"))
    for metric, figure in here.items():
        assert there[metric] == pytest.approx(figure, rel=0.02, abs=0.02), metric
    opened = Run(run.path)
    if "step" in opened.task.can:
        assert composing.compose(opened, prompt="one ", length=8, device="cuda")[0]
    elif "draw" in opened.task.can and opened.task.input.pictured:
        *_, pictures = drawn(opened, 4, seed=1, device="cuda")
        assert len(pictures) == 4
