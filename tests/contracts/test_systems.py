"""The promises that every system keeps. A new file under systems/ is enrolled by existing."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forms import FORMS, REPRESENTATIVES

from shendu import config, registry, tasks
from shendu import data as data_module
from shendu.core import At
from shendu.data.fields.image import Image
from shendu.data.fields.prose import Prose
from shendu.errors import UserError
from shendu.field import kind_of
from shendu.metrics.evaluation import asking, evaluate
from shendu.metrics.numbers import Errors
from shendu.run import Folder
from shendu.saved import Saved, save_model

NAMES = tuple(registry.systems())
MEMORISED = {"bert": 120, "dbn": 120, "mobilenet": 200, "resnet9": 120, "tabm": 120}
"""Steps in which 16 rows are learned by heart, where 60 are too few."""
UNMIXED = ("perceptron", "siamese", "face")
"""Systems for which blended classes have no meaning, and which say so."""
ABILITIES = ("draw", "inpaint", "views", "step", "remark")
"""What a model may do besides answering, as `shendu.core` describes it."""
CASES = [
    pytest.param(name, form, id=f"{name}{''.join(map(str, form.values()))}")
    for name in NAMES
    for form in FORMS.get(name, ({},))
]
LONG = [
    pytest.param(*case.values, id=case.id, marks=pytest.mark.slow if case.id in ("mobilenet", "googlenet") else ())
    for case in CASES
]
"""The same, without the 200 steps of MobileNet and GoogLeNet's in `make test`."""
SOME = [
    pytest.param(*case.values, id=case.id, marks=() if case.values[0] in REPRESENTATIVES else pytest.mark.slow)
    for case in CASES
]
"""The same, in `make test` of the representatives alone; ./check runs them of a system whose file was changed, CI of all."""


def steps(name: str) -> int:
    data, choices = data_module.open(registry.load(name).tiny()[0]).split_off(), registry.load(name).tiny()[1]
    return max(stage.steps for stage in registry.load(name).recipe(data, **choices).stages)


# ---- it learns


@pytest.mark.parametrize(("name", "form"), LONG)
def test_overfits_one_batch(name: str, form: dict[str, Any], bench: Any, tmp_path: Path) -> None:
    data, choices = bench.opened(name)
    rows = min(16, len(data.splits["train"]))
    few = dataclasses.replace(data, splits={"train": data.splits["train"].take(np.arange(rows))})
    recipe = bench.recipe(name, few, **form, **bench.quiet(name), steps=MEMORISED.get(name, 60), batch_size=rows)
    model, _ = bench.train(recipe, tmp_path)
    if recipe.task.kind not in ("classify", "regress", "forecast"):
        first, higher = next(iter(next(iter(recipe.task.metrics().values())).higher.items()))
        before, after = (bench.figures(recipe, m, "train")[first] for m in (recipe.model.build(), model))
        sign = 1 if higher else -1
        assert sign * (after - before) > 0.05 * abs(before), f"{first} was {before} untrained and is {after}"
        return
    losses = [line["loss"] for line in Folder(tmp_path).history() if "loss" in line]
    if losses:
        assert losses[-1] <= 0.1 * losses[0]
    if (
        recipe.task.kind == "classify"
    ):  # how many of 16 a network in eval mode has right depends on the processor's last bits
        accuracy = bench.figures(recipe, model, "train")["accuracy"]
        assert accuracy > 0.5 if losses else accuracy == 1.0
    else:
        ask = asking(recipe.task, model.eval(), torch.device("cpu"), "fp32", frozenset())
        with torch.no_grad():
            assert evaluate(ask, recipe.splits["train"], {"errors": Errors()}).figures["r2"] > 0.95


@pytest.mark.parametrize(("name", "form"), SOME)
def test_learns_in_half_precision(name: str, form: dict[str, Any], bench: Any, tmp_path: Path) -> None:
    """Its weights stay float32 and finite, and its first losses are those of single precision, rounded."""
    data, choices = bench.opened(name)
    short = {key: 3 for key in choices if key.endswith("steps")} | ({"steps": 3} if steps(name) else {})
    losses = []
    for precision in ("fp32", "bf16"):
        recipe = bench.recipe(name, data, **{**form, **bench.quiet(name), **short})
        model, _ = bench.train(recipe, tmp_path / precision, precision=precision)
        losses.append([line["loss"] for line in Folder(tmp_path / precision).history() if "loss" in line])
        for key, p in model.state_dict().items():
            assert p.dtype != torch.bfloat16, key
            assert not p.is_floating_point() or p.isfinite().all(), key
    single, half = (np.array(found[:1]) for found in losses)
    np.testing.assert_allclose(half, single, rtol=0.05, atol=0.05)


# ---- it resumes


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.slow), "rich"])
@pytest.mark.parametrize(("name", "form"), SOME)
def test_resumes_bit_for_bit(
    name: str, form: dict[str, Any], kind: str, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = bench.opened(name)
    choices = {**form, **(bench.rich(name, data) if kind == "rich" else {})}
    count = min(12, steps(name))
    choices |= {"steps": count} if count else {}

    with monkeypatch.context() as patch:
        states = bench.seen(patch)
        whole, at = bench.train(bench.recipe(name, data, **choices), tmp_path / "whole")
        uninterrupted = states[-1]
    for stop, save in ((0, 0), (1, 0), (count // 2, count // 3), (count - 1, count - 2)) if count else ():
        with monkeypatch.context() as patch:
            bench.killing(patch, stop, save)
            with pytest.raises(bench.Killed):
                bench.train(bench.recipe(name, data, **choices), tmp_path / "parts")
    with monkeypatch.context() as patch:
        states = bench.seen(patch)
        model, again = bench.train(bench.recipe(name, data, **choices), tmp_path / "parts")

    bench.same(bench.tensors(uninterrupted), bench.tensors(states[-1]))
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(model.state_dict()))
    assert bench.progress(dataclasses.asdict(at)) == bench.progress(dataclasses.asdict(again))
    bench.same(
        bench.tensors(Folder(tmp_path / "whole").newest(print)), bench.tensors(Folder(tmp_path / "parts").newest(print))
    )

    finished, _ = bench.train(bench.recipe(name, data, **choices), tmp_path / "parts")
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(finished.state_dict()))


def test_same_seed_same_bytes_other_seed_others(bench: Any, tmp_path: Path) -> None:
    models = [bench.train(bench.recipe("mlp", seed=s, steps=6), tmp_path / f"{i}")[0] for i, s in enumerate((1, 1, 2))]
    first, second, third = (bench.tensors(model.state_dict()) for model in models)
    bench.same(first, second)
    assert not any(torch.equal(first[name], third[name]) for name in first)


# ---- it accumulates


@pytest.mark.parametrize(("name", "form"), SOME)
def test_accumulates(name: str, form: dict[str, Any], bench: Any, tmp_path: Path, one_line: Any) -> None:
    data, _ = bench.opened(name)
    picture = isinstance(data.fields[data.input], Image)
    words = (
        ("crop:1", "flip", "shift:1", "cutout:2", *(("mixup:0.4",) if name not in UNMIXED else ())) if picture else ()
    )
    same = {**form, **bench.quiet(name), "augment": words, "optimizer": "momentum", "lr": 0.01, "clip": 1.0, "steps": 8,
            "batch_size": 22, "select_by": "none", "l2": 1e-3}  # fmt: skip
    recipe = bench.recipe(name, data, **same)
    if not recipe.stages[-1].steps:
        return
    if recipe.stages[-1].objective(recipe.model.build()).coupled:
        with pytest.raises(UserError, match="accumulate must be 1") as caught:
            bench.train(bench.recipe(name, data, **same, accumulate=4), tmp_path / "four")
        one_line(caught.value)
        return
    if any(stage.objective(recipe.model.build()).noisy for stage in recipe.stages):
        bench.train(bench.recipe(name, data, **same, accumulate=4), tmp_path / "four")
        return
    one, _ = bench.train(recipe, tmp_path / "one")
    four, _ = bench.train(bench.recipe(name, data, **same, accumulate=4), tmp_path / "four")
    for (key, a), b in zip(one.state_dict().items(), four.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


# ---- it is saved and loaded without pickle


@pytest.mark.parametrize(("name", "form"), CASES)
def test_saved_and_loaded(name: str, form: dict[str, Any], bench: Any, tmp_path: Path) -> None:
    data, _ = bench.opened(name)
    recipe = bench.recipe(name, data, **form, **({"steps": 3} if steps(name) else {}))
    model, _ = bench.train(recipe, tmp_path)
    folder = Folder(tmp_path)
    folder.write("recipe.json", {"system": name})
    save_model(folder, name, recipe.model, model, recipe.task)

    loaded = Saved(tmp_path)
    bench.same(bench.tensors(model.state_dict()), bench.tensors(loaded.model.state_dict()))
    assert loaded.task.to_json() == recipe.task.to_json()
    batch = recipe.splits["train"].batch(At(0, min(20, recipe.splits["train"].rows)))
    with torch.no_grad():
        ours, theirs = (
            task.outputs(m.eval(), batch) for task, m in ((recipe.task, model), (loaded.task, loaded.model))
        )
    bench.same(ours, theirs)
    assert config.from_json(type(recipe.model), json.loads(json.dumps(config.to_json(recipe.model)))) == recipe.model
    raw = data.splits["train"].column(data.input)[:3]
    if isinstance(data.fields[data.input], Prose):
        raw = bytes(data.splits["train"].column(data.input)[:200]).split(b"\n")[:3]
    prepared = loaded.task.encode(raw)
    with torch.no_grad():
        decoded = recipe.task.decode(recipe.task.outputs(model, prepared), prepared)
    assert len(decoded) == len(raw)


# ---- its task says what it is


@pytest.mark.parametrize(("name", "form"), CASES)
def test_task_says_what_its_model_can(name: str, form: dict[str, Any], bench: Any) -> None:
    """Exactly that; `step` is of a model that goes on from what it has read."""
    recipe = bench.recipe(name, **form)
    model = recipe.model.build()
    able = {word for word in ABILITIES if hasattr(model, word)} - ({"step"} if not hasattr(model, "context") else set())
    assert set(recipe.task.can) & set(ABILITIES) == able
    assert ("condition" in recipe.task.can) == ("conditional" in config.hints(type(recipe.model)))


@pytest.mark.parametrize(("name", "form"), CASES)
def test_outputs_have_a_row_for_each_row(name: str, form: dict[str, Any], bench: Any) -> None:
    """Of prepared rows, and of stored ones without a target."""
    recipe = bench.recipe(name, **form)
    task, model = recipe.task, recipe.model.build().eval()
    inputs = [role + part for role, field in task.inputs.items() for part in field.parts]
    stored = {key: t for key, t in task.example(3).items() if key in (*inputs, "sample")}
    with torch.no_grad():
        for rows, outputs in (
            (5, task.outputs(model, recipe.splits["train"].batch(At(0, 5)))),
            (5, task.measure(model, recipe.splits["train"].batch(At(0, 5)), frozenset(task.metrics()))),
            (3, task(model, stored)),
        ):
            assert outputs
            for key, t in outputs.items():
                assert torch.is_tensor(t), key
                assert len(t) == rows, key


@pytest.mark.parametrize(("name", "form"), CASES)
def test_task_comes_back_from_its_file(name: str, form: dict[str, Any], bench: Any) -> None:
    """As JSON that every reader takes; the same rows then get the same answers, calibrated or not."""
    recipe = bench.recipe(name, **form)
    model, batch = recipe.model.build().eval(), recipe.splits["train"].batch(At(0, 8))
    with torch.no_grad():
        outputs = recipe.task.outputs(model, batch)
        for calibrated in (False, True):
            for t in recipe.task.state_dict().values() if calibrated else ():
                t.fill_(1 / 3)
            again = tasks.from_file(json.loads(json.dumps(recipe.task.to_json(), allow_nan=False)))
            assert again.to_json() == recipe.task.to_json()
            for key, t in recipe.task.state_dict().items():
                torch.testing.assert_close(again.state_dict()[key], t, rtol=0, atol=0, equal_nan=True)
            stored = recipe.task.example(4)
            bench.same(recipe.task.prepare(stored), again.prepare(stored))
            bench.same(outputs, again.outputs(model, batch))
            assert again.decode(outputs, batch) == recipe.task.decode(outputs, batch)


@pytest.mark.parametrize("name", NAMES)
def test_file_says_what_its_models_can(name: str, bench: Any) -> None:
    """In one form or another: messages recommend systems by it. Going on from a text needs running text, not the small data."""
    found = [bench.recipe(name, **form).task for form in FORMS.get(name, ({},))]
    able = {word for task in found for word in task.can} | {"embed" for task in found if "embedding" in task.answers()}
    said = registry.entry(name).can
    assert sorted(said) == list(said)
    assert able <= set(said)
    assert set(said) - able <= {"step"}


@pytest.mark.parametrize("name", NAMES)
def test_suits_kinds_of_fields(name: str) -> None:
    """Each kind stands alone, or after the task that a person has to name."""
    for word, why in registry.entry(name).suits.items():
        task, _, kind = word.rpartition(" ")
        assert kind_of(kind).kind == kind
        assert task in ("", "anomaly")
        assert why
        assert registry.suited(word) == (name, why), "another system says that it suits the same"


# ---- a wrong setting, wrong data, a wrong shape: one line


@pytest.mark.parametrize("name", NAMES)
def test_wrong_settings_get_one_line(name: str, bench: Any, one_line: Any) -> None:
    data, choices = bench.opened(name)
    recipe = registry.load(name).recipe
    for wrong, expected in (
        ({"batch_sizes": 3}, "did you mean 'batch_size'?"),
        ({"batch_size": "many"}, "batch_size='many'"),
        ({"seed": "0.5"}, "seed='0.5'"),
        ({"seed": True}, "seed=True"),
        ({"lr": "fast"}, "lr=0.1"),
        ({"qqqq": 1}, "unknown setting 'qqqq'"),
    ):
        with pytest.raises(UserError) as caught:
            recipe(data, **{**choices, **wrong})
        assert expected in one_line(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_cannot_be_trained_get_one_line(name: str, bench: Any, one_line: Any) -> None:
    if not steps(name):
        pytest.skip(f"{name} is constructed, not trained")
    data, choices = bench.opened(name)
    wrong: list[dict[str, Any]] = [
        {"optimizer": "adamm"}, {"optimizer": "lbfgs"}, {"schedule": "cosin"}, {"lr": -1}, {"loss": "crossentropy"},
        {"augment": "flipp"}, {"augment": "crop"}, {"select_by": "acuracy"}, {"batch_size": -3}, {"accumulate": 10**6},
        {"steps": -1}, {"momentum": 2, "optimizer": "momentum"},
    ]  # fmt: skip
    for settings in wrong:
        with pytest.raises(UserError) as caught:
            registry.load(name).recipe(data, **{**choices, **settings})
        one_line(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_data_gets_one_line_or_trains(name: str, bench: Any, one_line: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small, labels = rng.standard_normal((30, 3)).astype(np.float32), np.arange(30) % 2
    for i, given in enumerate((
        (small, labels), (small, rng.standard_normal(30)), (rng.integers(0, 256, (30, 9, 7, 3), np.uint8), labels),
        (rng.integers(0, 256, (30, 1, 1, 1), np.uint8), labels),
    )):  # fmt: skip
        try:
            recipe = registry.load(name).recipe(data_module.open(given).split_off(), steps=1)
        except UserError as error:
            one_line(error)
        else:
            bench.train(recipe, tmp_path / f"{i}")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shape_gets_one_line(name: str, bench: Any, one_line: Any) -> None:
    task = bench.recipe(name).task
    for wrong in (np.zeros((2, 7, 9, 5), np.float32), np.zeros((1, 1000), np.float32)):
        with pytest.raises(UserError) as caught:
            task.encode(wrong)
        assert "[" in one_line(caught.value)


# ---- its size is the paper's


@pytest.mark.parametrize(
    ("net", "size"),
    [
        pytest.param(net, size, id=f"{name}-{size}")
        for name in NAMES
        for net, size in getattr(registry.load(name), "SIZES", ())
    ],
)
def test_size_is_the_papers(net: Any, size: int) -> None:
    with torch.device("meta" if size > 10**6 else "cpu"):
        assert sum(p.numel() for p in net.build().parameters()) == size


# ---- it is a file that can be read


@pytest.mark.parametrize("name", NAMES)
def test_docstring_tells_the_story(name: str) -> None:
    doc = registry.load(name).__doc__ or ""
    first, *rest = doc.split("\n")
    assert re.fullmatch(r".+ \(\d{4}\): .+\.", first), "the first line is 'Name (year): what it brought.'"
    assert registry.entry(name).summary == first.rstrip(".")
    text = " ".join(rest)
    assert re.search(r"\b(1[89]|20)\d\d\b", text), "the paper"
    numbers = [int(n) for n in re.findall(r"\((\d)\) ", text[text.index("eviations") :])]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
    assert "Shape letters: B rows" in text


@pytest.mark.parametrize("name", NAMES)
def test_references_are_well_formed(name: str) -> None:
    references = registry.load(name).REFERENCES
    assert references
    for reference in references:
        assert reference.keys() - {"choices", "readings"} == {"data", "metric", "published", "target", "source"}
        assert reference["published"] is None or reference["source"]
        assert isinstance(reference["target"], float)
        assert "choices" not in reference or set(reference["choices"]) <= set(config.hints(registry.load(name).Config))


@pytest.mark.parametrize("name", NAMES)
def test_imports_are_a_systems(name: str) -> None:
    """A system stands alone: it knows data, parts, sources and objectives, not the machinery that runs it."""
    forbidden = ("loop", "run", "saved", "predictor", "verbs", "cli", "parallel", "systems")
    for node in ast.walk(ast.parse(registry.entry(name).path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        else:
            continue
        for module in imported:
            parts = module.split(".")
            assert parts[0] != "shendu" or parts[1] not in forbidden, f"{name} imports {module}"
