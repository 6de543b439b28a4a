"""Exports are proven before they are given back, run without this package, and say what is wrong in a line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image as Pillow

import shendu
from shendu.errors import UserError
from shendu.exporting import formats, graph, proof
from shendu.exporting.format import Arrays
from shendu.exporting.formats import onnx
from shendu.saved import Saved
from shendu.verbs.export import command, export


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    path = tmp_path_factory.mktemp("runs") / "lenet"
    shendu.train("lenet", "digits", steps=30, out=path, quiet=True, compile="off")
    return Saved(path)


@pytest.fixture(scope="module")
def exported(run: Saved, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The run as ONNX, written once."""
    place = tmp_path_factory.mktemp("exported") / "digits.onnx"
    return SimpleNamespace(place=place, said=export(run, out=place))


def asked(script: Path, *words: str) -> str:
    """What a snippet prints, run in its folder by a Python that cannot import this package."""
    shim = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); import torchvision_shim; "
    shim = shim if "transformers" in script.read_text(encoding="utf-8") else ""
    code = f"{shim}import sys; sys.modules['shendu'] = None; sys.argv = {[script.name, *words]}; exec(open({script.name!r}).read())"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=script.parent, env=environment, capture_output=True, text=True, timeout=120
    )
    assert not done.returncode, done.stderr
    return done.stdout


# ---- ONNX


@pytest.mark.slow
def test_an_export_is_proven_on_real_rows_of_several_sizes(exported: SimpleNamespace) -> None:
    said = exported.said["proof"]
    assert (said["rows"], said["batches"], said["sizes"]) == (100, (1, 7, 32), (1.0, 0.6, 1.7))
    assert said["worst"] <= said["tolerance"] == 1e-4
    assert exported.said["bytes"] == exported.place.stat().st_size


def test_its_file_says_what_it_is_given_and_what_its_classes_are(exported: SimpleNamespace, run: Saved) -> None:
    import onnx as library

    model = library.load(exported.place)
    library.checker.check_model(model, full_check=True)
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(told["labels"]) == list(run.task.labels)
    assert json.loads(told["schema"]) == run.task.schema()
    assert json.loads(told["inputs"])["x"]["shape"] == ["rows", "height", "width", 1]
    (given,) = model.graph.input
    dims = given.type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims][1:] == ["height", "width", 1]
    assert dims[0].dim_param
    assert str(Path(shendu.__file__).parent).encode() not in exported.place.read_bytes(), "no folder of this machine"


def test_it_runs_without_this_package_and_says_the_same(exported: SimpleNamespace, run: Saved, tmp_path: Path) -> None:
    picture = Path(exported.place.parent) / "some.png"
    values = np.random.default_rng(0).integers(0, 256, (33, 41, 3), np.uint8)
    Pillow.fromarray(values).save(picture)
    printed = asked(exported.place.with_name("digits_usage.py"), picture.name)
    (wanted,) = shendu.predict(run, picture)
    label, logits = re.fullmatch(r"(\S+) \[\[(.*)\]\]\n", printed).groups()  # type: ignore[union-attr]
    assert label == str(wanted["label"])
    said = torch.tensor([float(number) for number in logits.split(",")]).softmax(0)
    np.testing.assert_allclose(said, list(wanted["probabilities"].values()), atol=1e-5)


def test_snippets_are_short(exported: SimpleNamespace) -> None:
    lines = exported.place.with_name("digits_usage.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line]) <= 13


def test_an_export_that_parts_from_its_model_is_not_given_back(
    run: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: SimpleNamespace, one_line: Any
) -> None:
    """A damaged layer is named, and nothing is left behind."""
    import onnx as library
    from onnx import numpy_helper

    model = library.load(exported.place)
    (name,) = [name for name, _ in run.model.named_parameters() if name.endswith("weight")][2:3]
    stored = next(t for t in model.graph.initializer if t.name.endswith(name))
    stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) * np.float32(1.5), stored.name))
    monkeypatch.setattr(onnx.Onnx, "write", lambda self, made, place: library.save(model, place))
    with pytest.raises(
        UserError, match=f"the first layer that differs is {re.escape(name.removesuffix('.weight'))} "
    ) as caught:
        export(run, out=tmp_path / "bad.onnx")
    assert "parts from the model" in one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_exported_differs_by_nan() -> None:
    assert proof.difference(np.array([np.nan]), np.array([1.0])) != 0.0
    assert not proof.difference(np.array([np.nan]), np.array([1.0])) <= proof.TOLERANCE
    assert proof.difference(np.array([np.nan, 2.0]), np.array([np.nan, 2.0])) == 0.0
    assert proof.difference(np.array([[1.0]]), np.array([1.0])) == float("inf")
    assert proof.difference(np.array([1000.05]), np.array([1000.0])) == pytest.approx(5e-5)


# ---- what is wrong is said in a line


def test_what_is_wrong_is_said_in_a_line(
    run: Saved, tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.onnx").touch()
    for words, expected in (
        ({"format": "onxx"}, "did you mean 'onnx'?"),
        ({"out": tmp_path / "there.onnx"}, "exists already"),
        ({"out": tmp_path / "model.bin"}, "write it like --out model.onnx"),
        ({"format": "pt2", "out": tmp_path / "model.onnx"}, "write it like --out model.pt2"),
        ({"part": "tests", "out": tmp_path / "m.onnx"}, "no part called tests"),
        ({"data": (np.zeros((8, 5, 5, 1), np.uint8), [0, 1] * 4), "out": tmp_path / "m.onnx"}, "was trained on"),
    ):
        with pytest.raises(UserError) as caught:
            export(run, **words)  # type: ignore[arg-type]
        assert expected in one_line(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'shendu[export]'")) as caught:
        formats.of("onnx")
    one_line(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["there.onnx"]


def test_a_task_that_searches_says_that_no_graph_does(bench: Any, one_line: Any) -> None:
    recipe = bench.recipe("seq2seq")
    with pytest.raises(UserError, match="searched for") as caught:
        graph.made(recipe.task, recipe.model.build(), "seq2seq", "sentences")
    one_line(caught.value)


def test_every_format_has_a_name_an_ending_and_a_docstring() -> None:
    for name in formats.names():
        module = __import__(f"shendu.exporting.formats.{name}", fromlist=["FORMAT"])
        assert module.FORMAT.name == name
        assert type(module.FORMAT).__doc__
        assert module.__doc__


# ---- other formats


@pytest.mark.slow
def test_pt2_is_proven_and_runs_without_this_package(run: Saved, tmp_path: Path) -> None:
    said = export(run, format="pt2", out=tmp_path / "digits.pt2")
    assert said["proof"]["worst"] <= 1e-4
    Pillow.fromarray(np.full((20, 20), 99, np.uint8)).save(tmp_path / "some.png")
    (wanted,) = shendu.predict(run, tmp_path / "some.png")
    assert asked(tmp_path / "digits_usage.py", "some.png").split()[0] == str(wanted["label"])


@pytest.mark.slow
def test_openvino_computes_in_float32(run: Saved, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    said = export(run, format="openvino", out=tmp_path / "digits.xml")
    assert said["proof"]["worst"] <= 1e-4
    Pillow.fromarray(np.full((20, 20), 99, np.uint8)).save(tmp_path / "some.png")
    (wanted,) = shendu.predict(run, tmp_path / "some.png")
    assert asked(tmp_path / "digits_usage.py", "some.png").split()[0] == str(wanted["label"])


@pytest.mark.slow
def test_a_hubs_folder_opens_as_a_run_and_names_no_place(run: Saved, tmp_path: Path) -> None:
    export(run, format="hub", out=tmp_path / "hub")
    copy = Saved(tmp_path / "hub")
    rows = np.random.default_rng(0).integers(0, 256, (4, *run.task.input.stored), np.uint8)
    assert shendu.predict(copy, rows) == shendu.predict(run, rows)
    texts = [
        file.read_text(encoding="utf-8")
        for file in (tmp_path / "hub").iterdir()
        if file.suffix in (".json", ".md", ".py")
    ]
    assert not any(str(run.path) in text or str(tmp_path) in text for text in texts)
    Pillow.fromarray(np.full((20, 20), 99, np.uint8)).save(tmp_path / "hub" / "some.png")
    assert asked(tmp_path / "hub" / "usage.py", "some.png")


# ---- tables and texts


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    rng, n = np.random.default_rng(0), 160
    frame = pd.DataFrame({
        "age": rng.integers(18, 80, n), "town": rng.choice(["Bonn", "Köln", "Ulm"], n), "member": rng.choice(["yes", "no"], n),
        "since": [f"20{y:02d}-{m:02d}-11" for y, m in zip(rng.integers(0, 24, n), rng.integers(1, 13, n), strict=True)],
    })  # fmt: skip
    frame["label"] = np.where(frame.age > 50, "old", "young")
    place = tmp_path_factory.mktemp("table")
    shendu.train("tabm", frame, target="label", steps=10, out=place / "run", quiet=True, compile="off")
    return SimpleNamespace(run=Saved(place / "run"), frame=frame, place=place)


@pytest.mark.slow
def test_cells_of_a_table_are_given_by_name_and_words_as_words(table: SimpleNamespace) -> None:
    said = export(table.run, table.frame, target="label", out=table.place / "people.onnx")
    assert said["proof"]["worst"] <= 1e-4
    row = {"age": 64, "town": "Köln", "member": "no", "since": 1.2e9}
    printed = asked(table.place / "people_usage.py", json.dumps(row))
    known = {**row, "since": "2008-01-10 21:20:00"}
    (wanted,) = shendu.predict(table.run, pd.DataFrame([known]))
    label, logits = re.fullmatch(r"(\S+) \[\[(.*)\]\]\n", printed).groups()  # type: ignore[union-attr]
    assert label == wanted["label"]
    shares = torch.tensor([float(number) for number in logits.split(",")]).softmax(0)
    np.testing.assert_allclose(shares, list(wanted["probabilities"].values()), atol=1e-4)


@pytest.mark.slow
def test_a_language_models_tokenizer_lies_beside_it(tmp_path: Path) -> None:
    text = "to be or not to be, that is the question. " * 60
    (tmp_path / "play.txt").write_text(text, encoding="utf-8")
    shendu.train(
        "gpt",
        tmp_path / "play.txt",
        steps=30,
        layers=1,
        heads=2,
        width=16,
        context=16,
        out=tmp_path / "run",
        quiet=True,
        compile="off",
    )
    said = export(tmp_path / "run", out=tmp_path / "gpt.onnx")
    assert [Path(file).name for file in said["files"]] == [
        "gpt.onnx",
        "gpt.json",
        "gpt.x.tokenizer.json",
        "gpt_usage.py",
    ]
    assert len(asked(tmp_path / "gpt_usage.py", "to be or").strip("\n")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("system", "more"), [
    ("gpt2", {"tokenizer": "bpe:300"}), ("gpt2", {"tokenizer": "characters"}),
    ("gpt", {"norm": "rms", "feedforward": "swiglu", "kv_heads": 1}),
])  # fmt: skip
def test_gguf_is_read_by_another_library_to_the_same_logits(system: str, more: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    (tmp_path / "play.txt").write_text("to be or not to be, that is the question. " * 60, encoding="utf-8")
    small = {"layers": 2, "heads": 2, "width": 16, "context": 16, "steps": 10, "quiet": True, "compile": "off"}
    shendu.train(system, tmp_path / "play.txt", **small, **more, out=tmp_path / "run")
    said = export(tmp_path / "run", format="gguf", out=tmp_path / "play.gguf")
    assert said["proof"]["worst"] <= 1e-4
    assert asked(tmp_path / "play_usage.py", "to be or").strip("\n")


def test_gguf_says_which_choices_it_knows(bench: Any, one_line: Any, tmp_path: Path) -> None:
    from shendu.exporting.formats.gguf import FORMAT, vocabulary
    from shendu.systems.sequence import gpt

    recipe = bench.recipe("gpt")
    made = graph.made(recipe.task, recipe.model.build(), "gpt", "counting", None, gpt.ggml)
    pytest.importorskip("gguf")
    with pytest.raises(UserError, match="--set norm=rms --set feedforward=swiglu") as caught:
        FORMAT.write(made, tmp_path / "x.gguf")
    one_line(caught.value)
    with pytest.raises(UserError, match="made of bytes") as caught:
        vocabulary({"letters": "abé"})
    one_line(caught.value)


# ---- the command


def test_the_command_says_what_was_proven(run: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.Onnx, "write", lambda self, made, place: place.write_bytes(b"graph"))
    monkeypatch.setattr(onnx.Onnx, "runs", lambda self, made, place: exact(made))
    result = CliRunner().invoke(command, [str(run.path), "--out", str(tmp_path / "m.onnx")], catch_exceptions=False)
    assert result.output.splitlines()[-1].startswith("proven: 100 rows, 1, 7, 32 at once and 3 input sizes")
    result = CliRunner().invoke(
        command, [str(run.path), "--out", str(tmp_path / "n.onnx"), "--json"], catch_exceptions=False
    )
    assert json.loads(result.output)["proof"]["rows"] == 100


def exact(made: graph.Made) -> Any:
    """The model itself in a runtime's place."""
    asking = graph.Graph(made.task, made.model)

    def run(given: Arrays) -> Arrays:
        with torch.no_grad():
            return {
                name: t.numpy()
                for name, t in asking.answers({n: torch.from_numpy(a.copy()) for n, a in given.items()}).items()
            }

    return run


# ---- llama.cpp, where node-llama-cpp is installed: the folder with its node_modules is named by $SHENDU_LLAMA

ASKING = """
import { getLlama } from "node-llama-cpp";
const model = await (await getLlama({ gpu: false, build: "never" })).loadModel({ modelPath: process.argv[2] });
const sequence = (await model.createContext({ contextSize: 16 })).getSequence(), ids = model.tokenize(process.argv[3]);
const last = [ids.at(-1), { generateNext: { probabilities: true } }];
const said = (await sequence.controlledEvaluate([...ids.slice(0, -1), last])).at(-1);
console.log(JSON.stringify([ids, [...said.next.probabilities]]));
process.exit(0);
"""


@pytest.mark.slow
@pytest.mark.skipif("SHENDU_LLAMA" not in os.environ, reason="node-llama-cpp is not installed")
@pytest.mark.parametrize(("system", "more"), [("gpt2", {}), ("gpt", {"norm": "rms", "feedforward": "swiglu"})])
def test_llama_cpp_gives_the_models_own_probabilities(system: str, more: dict[str, Any], tmp_path: Path) -> None:
    text = "to be or not to be, that is the question. " * 60
    (tmp_path / "play.txt").write_text(text, encoding="utf-8")
    small = {"layers": 2, "heads": 2, "width": 16, "context": 16, "steps": 10, "quiet": True, "compile": "off"}
    shendu.train(system, tmp_path / "play.txt", tokenizer="characters", **small, **more, out=tmp_path / "run")
    run = Saved(tmp_path / "run")
    place, place_of_node = tmp_path / "play.gguf", Path(os.environ["SHENDU_LLAMA"])
    made = graph.made(run.task, run.model, system, "a play", run.path, run.code.ggml)
    formats.of("gguf").write(made, place)
    (place_of_node / "asking.mjs").write_text(ASKING, encoding="utf-8")
    command = ["node", str(place_of_node / "asking.mjs"), str(place), "to be or n"]
    done = subprocess.run(command, cwd=place_of_node, capture_output=True, text=True, timeout=120, check=True)
    ids, shares = json.loads(done.stdout.splitlines()[-1])
    assert ids == run.task.tokens("to be or n").tolist()  # type: ignore[attr-defined]
    with torch.no_grad():
        wanted = run.model(torch.tensor([ids]))[0, -1].softmax(0)
    found = torch.tensor([share for _, share in sorted(shares)])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
