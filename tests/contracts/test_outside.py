"""A kind from outside: nothing in the package knows of it, and everything works on it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import shendu
from shendu import cli, own, registry
from shendu.core import At
from shendu.data.reader import Claim, Place, Reader
from shendu.errors import UserError
from shendu.field import Field
from shendu.pages.explanation import attributions
from shendu.reading import Reading
from shendu.run import Folder
from shendu.tasks import Task

HERE = Path(__file__).parent / "outside"
FILE = HERE / "scenes.py"


def scenes(folder: Path) -> Path:
    """A folder of pictures with bright rectangles in noise, and where they are."""
    rng, lines = np.random.default_rng(0), []
    folder.mkdir()
    for part, rows in (("train", 300), ("validation", 60), ("test", 80)):
        for i in range(rows):
            picture, edges, name = rng.integers(0, 60, (24, 24)), [], f"{part}{i}"
            for left, top in ((0, 0), (12, 0), (0, 12), (12, 12)):
                if rng.random() < 0.5:
                    (x, w), (y, h) = ((rng.integers(0, 12 - size + 1), size) for size in rng.integers(5, 10, 2))
                    edges.append((left + x, top + y, left + x + w, top + y + h))
                    picture[top + y : top + y + h, left + x : left + x + w] = rng.integers(150, 256)
            (folder / f"{name}.pgm").write_bytes(b"P5 24 24 255\n" + picture.astype(np.uint8).tobytes())
            (folder / f"{name}.box").write_text("\n".join(" ".join(map(str, edge)) for edge in edges))
            lines.append(f"{part} {name}")
    (folder / "scenes.lst").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("scenes") / "all")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> shendu.Run:
    return shendu.train(str(FILE), str(folder), out=tmp_path_factory.mktemp("run") / "r", quiet=True)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process as it is before any code of a person's own was run."""
    monkeypatch.setattr(own, "_loaded", {})


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["shendu", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_it_trains_and_is_measured_with_an_interval(run: shendu.Run) -> None:
    figure, (low, high) = run.result["metrics"]["test"]["f1"], run.result["intervals"]["test"]["f1"]
    assert figure > 0.8
    assert low < figure < high
    assert run.evaluate()["metrics"]["f1"] == pytest.approx(figure)
    assert run.recipe["system"] == "scenes"
    assert (run.path / "system.py").read_bytes() == FILE.read_bytes()


def test_it_predicts_from_a_file(run: shendu.Run, folder: Path) -> None:
    names = sorted(path.stem for path in folder.glob("test*.pgm"))
    said = run.predict(*(folder / f"{name}.pgm" for name in names))
    counted = [len((folder / f"{name}.box").read_text().split()) // 4 for name in names]
    assert np.mean([len(row["rectangles"]) == n for row, n in zip(said, counted, strict=True)]) > 0.7
    assert said[0]["input"].endswith(f"{names[0]}.pgm")


def test_it_explains_itself_where_its_answer_lies(run: shendu.Run, folder: Path) -> None:
    """Gradient times input is stronger in the rectangles than elsewhere; the report shows it."""
    task, model = run.task, run.model
    data = shendu.open_data(str(folder))
    source = task.held_out(data, "test")
    stored = source.stored(torch.arange(40))  # type: ignore[attr-defined]
    batch = task.prepare(stored)
    found = attributions(task, model, {**batch, **task.said(task.outputs(model, batch))})["x"].abs().sum(1)
    inside = torch.zeros_like(found, dtype=torch.bool)
    for row, (y, count) in enumerate(zip(stored["y"], stored["y_count"].tolist(), strict=True)):
        for left, top, right, bottom in y[:count].int().tolist():
            inside[row, top:bottom, left:right] = True
    assert found[inside].mean() > 2 * found[~inside].mean()
    assert "Explanations" in run.report.read_text()


def test_pictures_and_rectangles_move_together(run: shendu.Run, folder: Path) -> None:
    """Mirrored, every rectangle is as bright inside as it was."""
    recipe = run.code.recipe(shendu.open_data(str(folder)))
    batch = recipe.stages[0].source(run.model).batch(At(0, 200))
    flipped = 0
    for x, y, count in zip(batch["x"][:, 0], batch["y"], batch["y_count"].tolist(), strict=True):
        for left, top, right, bottom in y[:count].round().int().tolist():
            assert x[top:bottom, left:right].min() > x.median()
            flipped += left + right > 24
    assert 0.4 < flipped / int(batch["y_count"].sum()) < 0.6


@pytest.mark.usefixtures("forgotten")
def test_it_resumes_to_the_same_bytes(
    folder: Path, tmp_path: Path, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"steps": 40, "validations": 2, "quiet": True, "compile": "off"}
    whole = shendu.train(str(FILE), str(folder), out=tmp_path / "whole", **short)
    bench.killing(monkeypatch, 25, save_at=17)
    with pytest.raises(bench.Killed):
        shendu.train(str(FILE), str(folder), out=tmp_path / "cut", **short)
    monkeypatch.undo()
    monkeypatch.setattr(own, "_loaded", {})
    with pytest.raises(UserError, match="--trust"):
        shendu.train(resume=tmp_path / "cut", quiet=True)
    cut = shendu.train(str(FILE), str(folder), out=tmp_path / "cut", resume=True, quiet=True, compile="off")
    bench.same(bench.tensors(whole.model.state_dict()), bench.tensors(cut.model.state_dict()))
    assert whole.result["metrics"] == cut.result["metrics"]


@pytest.mark.usefixtures("forgotten")
def test_a_run_is_opened_where_its_code_is_given_or_trusted(
    run: shendu.Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(monkeypatch, capsys, "evaluate", run.path)
    assert code == 2
    assert f"--file {FILE}" in err
    assert "--trust" in err
    assert not own._loaded, "nothing was run"
    code, out, _ = call(monkeypatch, capsys, "evaluate", run.path, "--file", FILE, "--json")
    assert json.loads(out)["metrics"]["f1"] == pytest.approx(run.result["metrics"]["test"]["f1"])
    assert code == 0

    own._loaded.clear()
    code, out, _ = call(monkeypatch, capsys, "predict", run.path, folder / "test0.pgm", "--trust", "--json")
    assert code == 0
    assert "rectangles" in json.loads(out)[0]
    own._loaded.clear()
    assert shendu.Run(run.path, trust=True).model
    own._loaded.clear()
    with pytest.raises(UserError, match="--trust"):  # what was allowed to a command ends with it
        _ = shendu.Run(run.path).model

    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)
    with (moved / "system.py").open("a") as file:
        file.write("\nprint('something else')\n")
    with pytest.raises(UserError, match="not the text that made the run"):
        _ = shendu.Run(moved, trust=True).model
    with pytest.raises(UserError, match="is not the file that made"):
        _ = shendu.Run(run.path, file=moved / "system.py").model


def test_what_a_folder_says_runs_no_file(run: shendu.Run, tmp_path: Path) -> None:
    """A recipe.json may name a file as the system that it never was."""
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)
    (moved / "evil.py").write_text(f"open({str(tmp_path / 'done')!r}, 'w')\n")
    made = Folder(moved).read("recipe.json")
    Folder(moved).write("recipe.json", {**made, "own": None, "system": str(moved / "evil.py")})
    with pytest.raises(UserError, match=r"recipe\.json"):
        _ = shendu.Run(moved).model
    assert not (tmp_path / "done").exists()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file as a package that was installed, with entry points."""
    site = tmp_path / "site"
    about = site / "seer-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "seer").mkdir()
    (site / "seer" / "__init__.py").write_text("")
    text = (
        FILE.read_text()
        .replace('kind = "find"', 'kind = "seek"')
        .replace('"rectangles"\n    words', '"oblongs"\n    words')
    )
    (site / "seer" / "scenery.py").write_text(text.replace('name = "scenes"', 'name = "scenery"'))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: seer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[shendu.systems]\nscenery = seer.scenery\n[shendu.verbs]\ncount-scenes = seer.scenery:command\n"
    )
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    for known, name in ((Reader.known, "scenery"), (Task.known, "seek"), (Field.known, "oblongs")):
        known.pop(name, None)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_brings_systems_and_verbs(
    run: shendu.Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert registry.entry("scenery").summary.startswith("Finds bright rectangles")
    assert {"name": "scenery", "family": "seer.scenery"}.items() <= shendu.list_systems()[-1].items()
    named = ("--reader", "scenery")  # the file of the other tests reads such folders too
    code, _, err = call(
        monkeypatch, capsys, "train", "scenery", folder, *named, "--steps", 5, "--out", tmp_path / "r", "--quiet"
    )
    assert code == 0, err
    assert shendu.Run(tmp_path / "r").predict(folder / "test0.pgm")
    code, out, err = call(monkeypatch, capsys, "count-scenes", run.path, folder / "test0.pgm", "--file", FILE)
    assert code == 0, err
    assert isinstance(json.loads(out)[0], int)
    code, _, err = call(monkeypatch, capsys, "train", "sceneri", folder)
    assert code == 2
    assert "did you mean 'scenery'" in err


def test_two_readers_of_the_same_folder_are_both_named(run: shendu.Run, folder: Path) -> None:
    class Twin(Reader):
        name = "twin"

        def claims(self, place: Place, reading: Reading) -> Claim | None:
            return Claim(1.0, "a list as well") if "scenes.lst" in place.names else None

    try:
        with pytest.raises(UserError, match=r"scenes \(a list of scenes\).* twin \(a list as well\).*--reader"):
            shendu.open_data(str(folder))
        assert shendu.open_data(str(folder), reader="scenes").inputs == ("picture",)
    finally:
        del Reader.known["twin"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\ndef recipe(:\n", ":2: invalid syntax"),
        ("import os\n\nx = 1\n", ":3: the file ends without a function recipe"),
        ("def recipe(data, **choices):\n    pass\n", ":2: the file ends without a class Config"),
        ("x = 1\nimport nothing_like_it\n", ":2: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("x = 1\n\ny = x / 0\n", ":3: ZeroDivisionError: division by zero"),
        ("x = '\0'\n", "null bytes"),
        (
            "from shendu.tasks import Task\n\n\nclass Mine(Task):\n    kind = 'classify'\n",
            "a task of the kind 'classify'",
        ),
    ],
)
def test_a_file_that_is_no_system_is_one_line(text: str, said: str, tmp_path: Path, one_line: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        shendu.train(str(file), "digits")
    assert said in one_line(caught.value)
    assert str(file) in str(caught.value) or "Mine" in str(caught.value)
    assert not (tmp_path / "__pycache__").exists()


# ---- a bare module, and data alone


class Net(nn.Module):
    def __init__(self, answers: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, answers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.parametrize(
    "loss", ["auto", "cross-entropy", nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="none")]
)
def test_a_bare_module_is_trained_and_opened_with_it(loss: Any, tmp_path: Path) -> None:
    """Whichever way its loss is said, the same weights come of it."""
    torch.manual_seed(0)
    net, again = Net(), Net()
    run = shendu.train(net, "digits", loss=loss, steps=30, lr=0.01, seed=3, out=tmp_path / "r", quiet=True)
    torch.manual_seed(0)
    plain = Net()
    shendu.train(plain, "digits", steps=30, lr=0.01, seed=3, out=tmp_path / "plain", quiet=True)
    for key, t in plain.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], t, rtol=1e-4, atol=1e-5)
    assert run.evaluate()["metrics"] == run.result["metrics"]["test"]
    with pytest.raises(UserError, match=r"module=Net\(…\)"):
        _ = shendu.Run(run.path).model
    opened = shendu.Run(run.path, module=again)
    assert opened.evaluate()["metrics"] == run.result["metrics"]["test"]
    assert shendu.report(opened).exists()
    assert (run.path / "README.md").read_text().count("module=Net(…)") == 1


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Linear(3, 10), "Linear does not take the rows of digits, float32 [B, 1, 8, 8]"),
        (Net(7), "Net answers [B, 7] where digits has 10 classes: let it answer [B, 10]"),
    ],
)
def test_a_module_of_another_shape_is_one_line(module: nn.Module, said: str, tmp_path: Path, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        shendu.train(module, "digits", out=tmp_path / "r", quiet=True)
    assert said in one_line(caught.value)


def test_a_table_alone_is_data(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    table = pandas.DataFrame({"a": rng.normal(size=300), "b": rng.normal(size=300)})
    table["y"] = np.where(table.a > 0, "yes", "no")
    run = shendu.train(table, target="y", steps=40, out=tmp_path / "r", quiet=True)
    assert run.result["metrics"]["test"]["accuracy"] > 0.9


def mistaken(tmp_path: Path, wrong: str, right: str) -> Path:
    """The file of scenes with a mistake in it."""
    text = FILE.read_text().replace('kind = "find"', 'kind = "mistaken"')
    assert right in text
    file = tmp_path / "mistaken.py"
    file.write_text(text.replace(right, wrong))
    return file


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("task = Find.off(data)", "task = Find.of(data)", "AttributeError"),
        ("return None", "return recipe_of(data, net, how, task, (stage(data, task, how, lambda model: Cells()),))", "let it return a shendu.core.Recipe"),
        ("def recipe(data: Dataset, choices: Any = 0) -> Recipe:", "def recipe(data: Dataset, **choices: Any) -> Recipe:", "write it as recipe(data, **choices)"),
        ("cells = model(batch['z']).float()", 'cells = model(batch["x"]).float()', "KeyError"),
    ],
)  # fmt: skip
def test_a_mistake_in_ones_own_code_is_one_line_and_leaves_nothing(
    wrong: str,
    right: str,
    said: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, out = mistaken(tmp_path, wrong, right), tmp_path / "r"
    words = ("train", file, folder, "--reader", "scenes", "--steps", 3, "--out", out, "--quiet")
    code, _, err = call(monkeypatch, capsys, *words)
    Task.known.pop("mistaken")
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_what_continues_a_run_is_said_with_its_file(run: shendu.Run, tmp_path: Path) -> None:
    cut = tmp_path / "a run"
    shutil.copytree(run.path, cut)
    (cut / "model.safetensors").unlink()
    with pytest.raises(UserError, match=rf"shendu train --resume '{cut}' --file {FILE}"):
        _ = shendu.Run(cut, trust=True).model


def test_a_resumed_module_keeps_its_loss(tmp_path: Path, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.killing(monkeypatch, 9)
    for name, loss in (("named", "mse"), ("function", nn.MSELoss())):
        with pytest.raises(bench.Killed):
            shendu.train(
                nn.Linear(1, 1),
                (np.arange(9.0)[:, None], np.arange(9.0) / 7),
                loss=loss,
                steps=20,
                out=tmp_path / name,
                quiet=True,
            )
    monkeypatch.undo()
    for name, other in (("named", "huber"), ("named", nn.MSELoss()), ("function", nn.HuberLoss()), ("function", "mse")):
        with pytest.raises(UserError, match="a resumed run keeps its settings"):
            shendu.train(
                nn.Linear(1, 1),
                (np.arange(9.0)[:, None], np.arange(9.0) / 7),
                loss=other,
                out=tmp_path / name,
                resume=True,
                quiet=True,
            )
    with pytest.raises(UserError, match=r"loss=MSELoss, out="):
        shendu.train(resume=tmp_path / "function", quiet=True)


class Twice(nn.Module):
    """Answers twice while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> Any:
        x = x.flatten(1)
        return (self.one(x), self.two(x)) if self.training else self.one(x)


def test_several_answers_while_it_trains_go_to_the_persons_loss(tmp_path: Path) -> None:
    def loss(outputs: Any, y: torch.Tensor) -> torch.Tensor:
        return sum(nn.functional.cross_entropy(o.float(), y) for o in outputs)  # type: ignore[return-value]

    run = shendu.train(Twice(), "digits", loss=loss, steps=100, lr=0.01, out=tmp_path / "r", quiet=True)
    assert run.result["metrics"]["test"]["accuracy"] > 0.8


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(10))

    def forward(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs + self.w, y)


def test_a_loss_with_weights_is_copied(tmp_path: Path) -> None:
    loss = Learned()
    shendu.train(Net(), "digits", loss=loss, steps=5, out=tmp_path / "r", quiet=True)
    assert not loss.w.any()


class Numbered(torch.utils.data.Dataset):
    """PyTorch's kind of data: rows by number."""

    def __init__(self, rows: int, classes: Any = None) -> None:
        self.x = torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows))
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.x[i], int(self.x[i, 0] > 0)


def test_a_torch_dataset_is_data(tmp_path: Path) -> None:
    data = shendu.open_data({"train": Numbered(200, ["low", "high"]), "test": Numbered(50, ["low", "high"])})
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 200, "test": 50}
    assert data.classes == ("low", "high"), "class k is the Dataset's k-th"
    assert data.splits["train"].column("label").tolist() == [y for _, y in Numbered(200)]
    part = torch.utils.data.Subset(Numbered(200, ["low", "high"]), range(50))
    assert shendu.open_data({"train": part, "test": Numbered(50, ["low", "high"])}).classes == ("low", "high")
    with pytest.raises(UserError, match="other classes"):
        shendu.open_data({"train": part, "test": Numbered(50, ["a", "b"])})
    assert np.array_equal(data.splits["train"].column("x"), Numbered(200).x.numpy())
    run = shendu.train("mlp", Numbered(200), steps=60, out=tmp_path / "r", quiet=True)
    assert run.result["metrics"]["test"]["accuracy"] > 0.8
    answer = shendu.Predictor(run.task, run.model).predict(np.array([[9.0, 0, 0, 0, 0]], np.float32))
    assert answer == run.predict(np.array([[9.0, 0, 0, 0, 0]], np.float32))
    assert answer[0]["label"] == 1
    said = run.predict(Numbered(50))
    assert [row["label"] for row in said] == [row["label"] for row in run.predict(Numbered(50).x.numpy())]


def test_what_is_frozen_stays_so(tmp_path: Path) -> None:
    net = Net()
    net.layers[1].requires_grad_(False)
    before = {key: t.clone() for key, t in net.state_dict().items()}
    shendu.train(net, "digits", steps=10, out=tmp_path / "r", quiet=True)
    changed = {key for key, t in net.state_dict().items() if not torch.equal(t, before[key])}
    assert changed == {"layers.3.weight", "layers.3.bias"}
    with pytest.raises(UserError, match="no parameter to train"):
        shendu.train(net.requires_grad_(False), "digits", out=tmp_path / "none", quiet=True)


def test_lazy_layers_take_their_shapes_from_the_data(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    shendu.train(net, "digits", steps=5, out=tmp_path / "r", quiet=True)
    assert net[1].weight.shape == (10, 64)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((nn.Linear, "digits"), "Linear is a class"),
        ((Net(),), "shendu train Net DATA"),
        ((5,), "data cannot be of the type int"),
        ((5, "digits"), "a system cannot be of the type int"),
        ((nn.Linear(1, 1), (np.ones((9, 1)), np.arange(9) % 2 * 1.0)), "holds 0.0 and 1.0 alone"),
        ((nn.Linear(2, 1), {"x": np.ones((9, 2))}), "the arrays x"),
        (("mlp", torch.utils.data.ChainDataset([])), "has no rows"),
    ],
)
def test_what_cannot_be_trained_is_one_line(given: tuple[Any, ...], said: str, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        shendu.train(*given)
    assert said in one_line(caught.value)


def test_a_loss_is_built(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CrossEntropyLoss is a class"):
        shendu.train(Net(), "digits", loss=nn.CrossEntropyLoss, out=tmp_path / "r", quiet=True)


def test_empty_cells_are_said_before_training(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": [1.0, None] * 50, "b": np.arange(100.0), "y": ["p", "q"] * 50})
    with pytest.raises(UserError, match="empty cells, which Linear would be given as NaN"):
        shendu.train(nn.Linear(2, 2), table, target="y", out=tmp_path / "r", quiet=True)


def test_a_loss_must_give_a_tensor(tmp_path: Path, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        shendu.train(Net(), "digits", loss=lambda outputs, y: 3.0, out=tmp_path / "r", quiet=True)
    assert "gives a float" in one_line(caught.value)


def test_an_estimator_keeps_a_file_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    text = (Path(__file__).parents[2] / "docs" / "tutorial" / "6-your-own-system.md").read_text(encoding="utf-8")
    file = tmp_path / "maxout.py"
    file.write_text(re.search(r'^```python title="[^"]+"\n(.*?)^```', text, re.MULTILINE | re.DOTALL)[1])  # type: ignore[index]
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    fitted = shendu.ShenduClassifier(system=str(file), steps=30).fit(x, x[:, 0] > 0)
    fitted.save(tmp_path / "kept")
    assert (tmp_path / "kept" / "system.py").read_text() == file.read_text()
    assert np.array_equal(shendu.ShenduClassifier.load(tmp_path / "kept").predict(x), fitted.predict(x))
