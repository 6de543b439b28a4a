"""The command line: every verb on a small run, and one line with exit code 2 for every mistake."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shendu
from shendu import Run, cli, registry, told
from shendu.data.audit import duplicates
from shendu.errors import UserError
from shendu.pages.display import PLAIN_EVERY, Display
from shendu.run import Folder
from shendu.verbs import reproduce
from shendu.verbs.reproduce import chosen, ledger_command, merge


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "lenet"
    return shendu.train("lenet", "digits", out=out, steps=60, quiet=True)


def call(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, in this process."""
    monkeypatch.setattr(sys, "argv", ["shendu", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["shendu"])
    cli.main()
    shown = capsys.readouterr()
    assert "\nCommands:\n" in shown.out
    assert not shown.err


def test_ctrl_c_while_figures_are_taken_says_that_what_was_learned_is_saved(monkeypatch, capsys, tmp_path):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shendu.verbs.train.finish", stopped)
        code, _, err = call(patch, capsys, "train", "mlp", "digits", "--steps", 3, "--out", tmp_path / "r")
    assert code == 130
    assert "all that was learned is saved" in err.splitlines()[-1]
    code, *_ = call(monkeypatch, capsys, *err.splitlines()[-1].split(" shendu ")[-1].split())
    assert code == 0
    assert Run(tmp_path / "r").result["steps"] == 3


def test_train_prints_its_result_as_json(monkeypatch, capsys, tmp_path):
    code, out, _ = call(
        monkeypatch,
        capsys,
        "train",
        "mlp",
        "digits",
        "--steps",
        5,
        "--set",
        "hidden=8,8",
        "--out",
        tmp_path / "r",
        "--json",
    )
    result = json.loads(out)
    assert code == 0
    assert result["system"] == "mlp"
    assert result["steps"] == 5
    assert set(result["metrics"]) == {"train", "validation", "test"}
    assert result["resume"] == "exact"
    assert Folder(tmp_path / "r").read("result.json") == result
    assert json.loads((tmp_path / "r" / "config.json").read_text())["config"]["hidden"] == [8, 8]


def test_the_run_folder_holds_what_hubs_read(run):
    names = {p.name for p in run.path.iterdir()}
    assert {"config.json", "model.safetensors", "task.json", "README.md", "recipe.json", "env.json"} <= names
    assert {"metrics.jsonl", "result.json", "report.html", "checkpoints"} <= names
    card = (run.path / "README.md").read_text()
    assert f"{run.result['metrics']['test']['accuracy']:.4f}" in card


def test_evaluate_agrees_with_the_result(monkeypatch, capsys, run):
    code, out, _ = call(monkeypatch, capsys, "evaluate", run.path, "--json")
    assert code == 0
    assert json.loads(out)["metrics"]["accuracy"] == pytest.approx(run.result["metrics"]["test"]["accuracy"])


def test_evaluate_on_other_arrays(run):
    data = shendu.open_data("digits")
    x, y = data.splits["train"].column("image")[:50], data.splits["train"].column("label")[:50]
    names = np.array(data.classes)[y]
    whole = run.evaluate((np.concatenate([x, x]), np.concatenate([names, names])))
    assert whole["rows"] == 100
    assert whole["part"] == "train"


def test_predict_reads_pictures_folders_and_arrays(monkeypatch, capsys, run, tmp_path):
    digits = shendu.open_data("digits").splits["train"].column("image")[:6]
    for i, pixels in enumerate(digits):
        Image.fromarray(pixels[..., 0]).save(tmp_path / f"{i}.png")
    np.save(tmp_path / "rows.npy", digits)
    code, out, _ = call(monkeypatch, capsys, "predict", run.path, tmp_path, tmp_path / "rows.npy", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [r["label"] for r in rows[:6]] == [r["label"] for r in rows[6:]]
    assert all(sum(r["probabilities"].values()) == pytest.approx(1, abs=1e-5) for r in rows)
    assert [r["label"] for r in run.predict(*digits)] == [r["label"] for r in rows[6:]]
    code, out, _ = call(monkeypatch, capsys, "predict", run.path, tmp_path / "0.png")
    assert code == 0
    assert out.splitlines()[0].split() == ["input", "label", "probability"]


def test_runs_and_list(monkeypatch, capsys, run):
    code, out, _ = call(monkeypatch, capsys, "runs", run.path.parent, "--json")
    assert code == 0
    assert json.loads(out)[0]["metrics"] == run.result["metrics"]["test"]
    code, out, _ = call(monkeypatch, capsys, "list")
    assert code == 0
    for name in ("lenet", "resnet", "mnist", "digits", "built in"):
        assert name in out


def test_shown_in_a_notebook(run):
    assert "lenet" in run._repr_html_()
    assert "<img" in shendu.open_data("digits")._repr_html_()


def test_report_is_written_anew(monkeypatch, capsys, run):
    run.report.unlink()
    code, out, _ = call(monkeypatch, capsys, "report", run.path)
    assert code == 0
    assert out.strip() == str(run.report)
    assert run.report.stat().st_size > 10_000


def test_reproduce_writes_the_ledger(monkeypatch, capsys, tmp_path):
    words = (
        "reproduce",
        "neuron",
        "--on",
        "xor",
        "--out",
        tmp_path / "runs",
        "--results",
        tmp_path / "results",
        "--json",
        "--quiet",
    )
    for _ in range(2):  # the second time finds the finished run and replaces its own entry
        code, out, _ = call(monkeypatch, capsys, *words)
        assert code == 0
    ledger = json.loads((tmp_path / "results" / "neuron.json").read_text())
    assert len(ledger) == 1
    assert ledger[0]["figure"] == 0.75
    assert ledger[0]["rows"] == {"train": 4}
    assert len(ledger[0]["hash"]) > 8
    assert "copies" not in ledger[0]
    assert ledger[0]["command"] == "shendu reproduce neuron --on xor"


def test_the_ledger_keeps_what_is_better_or_newer(tmp_path):
    """A worse or older figure takes a better or newer one's place where a person says so, and each time it is said."""
    path, said = tmp_path / "x.json", []
    first = {"data": "d", "choices": {}, "metric": "accuracy", "device": "cpu", "higher": True}
    first |= {"figure": 0.81, "date": "2026-11-28", "commit": "b82005a"}
    merge(path, first, False, said.append)
    assert said == []
    merge(path, {**first, "data": "other", "figure": 0.1}, False, said.append)
    for change, kept, why in (
        ({"figure": 0.79}, 0.81, "is better than 0.7900 and stays; --replace puts this in its place"),
        (
            {"figure": 0.82, "date": "2026-11-27"},
            0.81,
            "is newer than 0.8200 and stays; --replace puts this in its place",
        ),
        ({"figure": 0.81, "date": "2026-11-29"}, 0.81, "is replaced by 0.8100"),
        ({"figure": 0.83, "date": "2026-11-29"}, 0.83, "is replaced by 0.8300"),
    ):
        merge(path, {**first, **change}, False, said.append)
        assert [entry["figure"] for entry in json.loads(path.read_text())] == [kept, 0.1]
        assert said[-1].startswith("d: 0.81")
        assert said[-1].endswith(why)
    merge(path, {**first, "figure": 0.5}, True, said.append)
    assert json.loads(path.read_text())[0]["figure"] == 0.5
    assert "is replaced by 0.5000" in said[-1]
    error = {**first, "data": "e", "higher": False}
    merge(path, error, False, said.append)
    merge(path, {**error, "figure": 0.9}, False, said.append)
    assert "is better than 0.9000" in said[-1]


def test_test_rows_that_are_copies_are_said_and_left_out_beside(monkeypatch, capsys, tmp_path):
    """40 rows for the test, of which 10 have the inputs of training rows."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 3)).astype(np.float32), np.arange(100) % 2
    seen = np.concatenate([rng.standard_normal((30, 3)).astype(np.float32), x[:10]])
    arrays = {"x_train": x, "y_train": y, "x_test": seen, "y_test": np.concatenate([np.arange(30) % 2, y[:10]])}
    np.savez(tmp_path / "d.npz", **arrays)
    run = shendu.train("mlp", str(tmp_path / "d.npz"), out=tmp_path / "run", steps=3, hidden=(4,), device="cpu")
    assert (
        "10 of 40 test rows have the inputs of a training row, so the test figures flatter (shendu audit lists them)"
        in capsys.readouterr().err
    )
    found = reproduce.without_copies([run], "accuracy", "test", None)
    alone = run.evaluate({"x_train": x, "y_train": y, "x_test": seen[:30], "y_test": arrays["y_test"][:30]})
    assert found == {"copies": 10, "of": 40, "without_copies": alone["metrics"]["accuracy"]}
    data = shendu.open_data(str(tmp_path / "d.npz"))
    assert duplicates.copied(data, "test").tolist() == [False] * 30 + [True] * 10
    monkeypatch.setattr(duplicates, "LOOKED_THROUGH_MOST", 10)
    assert not duplicates.copied(data, "test").any()


def test_one_of_several_references_is_named_by_its_number():
    assert list(chosen("lenet", None, None)) == [1, 2, 3, 4]
    assert list(chosen("lenet", "mnist", None)) == [1, 2]
    assert chosen("lenet", None, 2) == chosen("lenet", "mnist", 2) != chosen("lenet", "mnist", 1)
    first, second, third, _ = chosen("lenet", None, None).items()
    assert ledger_command("lenet", *first, 3) == "shendu reproduce lenet --on mnist --reference 1 --seeds 3"
    assert ledger_command("lenet", *second, 1) == "shendu reproduce lenet --on mnist --reference 2"
    assert ledger_command("lenet", *third, 1) == "shendu reproduce lenet --on fashion-mnist"
    assert ledger_command("lenet", *third, 1, "cuda") == "shendu reproduce lenet --on fashion-mnist --device cuda"


MISTAKES = [
    (["trian"], "unknown command 'trian'; did you mean 'train'?"),
    (["train", "lent", "digits"], "unknown system 'lent'; did you mean 'lenet'?"),
    (["train", "lenet", "mnits"], "unknown data set 'mnits'; did you mean 'mnist'?"),
    (["train", "lenet", "digits", "--epoch", "3"], "No such option '--epoch'"),
    (["train", "lenet", "digits", "--epochs", "three"], "'three' is not a valid float"),
    (["train", "lenet", "digits", "--set", "dropot=0.5"], "unknown setting 'dropot'; did you mean 'dropout'?"),
    (
        ["train", "lenet", "digits", "--set", "dropout=much"],
        "dropout='much' is not of type float; write it like dropout=0.1",
    ),
    (["train", "lenet", "digits", "--set", "dropout"], "'dropout' is not a setting; write it as --set key=value"),
    (["train", "lenet", "digits", "--lr", "1", "--set", "lr=2"], "lr is given twice"),
    (["train", "lenet", "digits", "--set", "optimizer=adm"], "unknown optimizer 'adm'; did you mean 'adam'?"),
    (["train", "lenet", "digits", "--set", "optimizer=lbfgs"], "a closure"),
    (["train", "lenet", "digits", "--set", "schedule=cosin"], "unknown schedule 'cosin'; did you mean 'cosine'?"),
    (
        ["train", "lenet", "digits", "--set", "loss=crossentropy"],
        "unknown loss 'crossentropy'; did you mean 'cross-entropy'?",
    ),
    (["train", "lenet", "digits", "--set", "activation=rellu"], "unknown activation 'rellu'; did you mean 'relu'?"),
    (
        ["train", "lenet", "digits", "--set", "augment=crop"],
        "augmentation 'crop' lacks its number; write it like crop:4",
    ),
    (["train", "lenet", "digits", "--set", "form=1999"], "unknown value for form: '1999'; did you mean '1998'?"),
    (["train", "lenet", "digits", "--device", "gpu"], "unknown device 'gpu'"),
    (["train", "lenet", "digits", "--precision", "fp16"], "unknown value for --precision: 'fp16'"),
    (["train", "lenet", "digits", "--on-nan", "ignore"], "unknown value for --on-nan: 'ignore'"),
    (["train", "lenet", "digits", "--batch-size", "-3"], "a batch of -3 rows"),
    (["train", "lenet", "xor"], "lenet reads pictures, and xor holds numbers; leave the system out"),
    (["train", "neuron", "digits"], "needs inputs of 0 and 1 and two classes"),
    (
        ["train", "resnet", "digits", "--set", "depth=18", "--set", "stem=large"],
        "8 pixels a side, too few; use --set stem=small",
    ),
    (["train", "resnet", "digits", "--set", "depth=21"], "unknown value for depth: '21'"),
    (["train", "resnet", "digits", "--set", "accumulate=2"], "accumulate must be 1"),
    (["train"], "train needs data"),
    (["train", "--resume"], "--resume needs the run"),
    (["train", "--resume", "nowhere"], "there is no folder nowhere"),
    (["train", "lenet", "digits", "--out", "/proc/none"], "choose another folder with --out"),
    (["evaluate", "nowhere"], "nowhere is no run"),
    (["predict", "nowhere", "x.png"], "nowhere is no run"),
    (["reproduce", "lenet", "--on", "xor"], "lenet has no reference on xor"),
    (
        ["reproduce", "lenet", "--on", "mnist", "--reference", "3"],
        "lenet has no reference on mnist of number 3; it has: 1: mnist; 2: mnist (form=1998); 3: fashion-mnist",
    ),
    (["runs", "nowhere"], "nowhere is no folder"),
]


@pytest.mark.parametrize(("words", "line"), MISTAKES, ids=[" ".join(w) for w, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, words, line):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 2
    assert out == ""
    last = [text for text in err.splitlines() if text.startswith("shendu: ")]
    assert len(last) == 1
    assert line in last[0]
    assert "Traceback" not in err


def test_mistakes_about_a_run(monkeypatch, capsys, run, tmp_path):
    other = np.zeros((3, 5, 5, 1), np.uint8)
    np.save(tmp_path / "five.npy", other)
    (tmp_path / "text.png").write_text("no picture")
    for words, line in [
        (["train", "lenet", "digits", "--out", run.path], "holds a run already; add --resume"),
        (["train", "mlp", "digits", "--out", run.path, "--resume"], "holds a run of lenet, not of mlp"),
        (["train", "lenet", "digits", "--steps", 9, "--out", run.path, "--resume"], "was begun with steps=60"),
        (["train", "lenet", "mnist", "--out", run.path, "--resume"], "was trained on digits, not on mnist"),
        (["evaluate", run.path, "xor"], "give data of the same size and kind"),
        (["evaluate", run.path, "--part", "tset"], "has no part called tset"),
        (["predict", run.path], "nothing to predict"),
        (["predict", run.path, tmp_path / "none.png"], "no such file"),
        (["predict", run.path, tmp_path / "five.npy"], "the model takes pictures of 8x8 pixels"),
        (["predict", run.path, tmp_path / "text.png"], "text.png"),
    ]:
        code, _, err = call(monkeypatch, capsys, *words)
        assert code == 2, words
        assert line in err
        assert len(err.strip().splitlines()) == 1, err


def test_damaged_files_of_a_run_are_one_line(monkeypatch, capsys, run, tmp_path):
    mlp = shendu.train("mlp", "digits", steps=1, out=tmp_path / "mlp", quiet=True)
    whole, other = ((one.path / "model.safetensors").read_bytes() for one in (run, mlp))
    for name, content, line in [
        ("recipe.json", b'{"system"', "cannot be read"),
        ("recipe.json", b"[]", "it is a list, not an object"),
        ("recipe.json", {"system": "lenet"}, "lacks 'data'"),
        ("config.json", {"system": "lenet", "aliases": {}}, "lacks 'config'"),
        ("config.json", {"system": "lennet"}, "describes a network of lennet, recipe.json one of lenet"),
        ("recipe.json", {"system": "lennet", "data": {}}, "unknown system 'lennet'; did you mean 'lenet'?"),
        ("model.safetensors", whole[:20_000], "cannot be read"),
        ("model.safetensors", other, "holds other weights than config.json describes"),
    ]:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run.path, copy)
        (copy / name).write_bytes(content) if isinstance(content, bytes) else Folder(copy).write(name, content)
        code, _, err = call(monkeypatch, capsys, "evaluate", copy)
        assert code == 2
        assert line in err
        assert len(err.strip().splitlines()) == 1, err
    (copy / "model.safetensors").unlink()
    call(monkeypatch, capsys, "train", "--resume", copy, "--quiet")
    assert (copy / "model.safetensors").read_bytes() == whole


def test_a_run_named_its_own_data_is_measured_on_its_test_part(run):
    assert run.evaluate("digits") == run.evaluate()


def test_a_mistake_leaves_no_folder_behind(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for words in (["--device", "gpu"], ["--precision", "fp64"]):
        assert call(monkeypatch, capsys, "train", "lenet", "digits", *words)[0] == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "shown"),
    [("digits", "<figcaption>0</figcaption>"), ("and", "<td"), ("tides", "<td"), ("mixed", "<td"), ("opinions", "<td"),
     ("motifs", "<td"), ("reversal", "<td"), ("counting", "<pre>one\n"), ("chirps", "<img")],
)  # fmt: skip
def test_a_data_set_shows_itself(name, shown):
    page = shendu.open_data(name)._repr_html_()
    assert name in page
    assert shown in page


def test_options_stand_where_they_like(monkeypatch, capsys, tmp_path):
    out = ["--out", tmp_path / "r"]
    for words in (
        ["train", "--quiet", "neuron", *out, "and"],
        ["train", *out, "--quiet", "--resume", "neuron", "and"],
        ["train", "--resume", tmp_path / "r", "--quiet"],
        ["train", "--quiet", *out, "--resume"],
        ["train", *out, "neuron", "and", "--resume", "--quiet"],
    ):
        code, printed, _ = call(monkeypatch, capsys, *words)
        assert (code, printed) == (0, f"{tmp_path / 'r'}\n"), words
    code, _, err = call(monkeypatch, capsys, "train", *out, "--resume", "neuron", "xor")
    assert code == 2
    assert "was trained on and, not on xor" in err


def test_progress_fits_a_terminal_of_80_columns(capsys):
    shown = Display(quiet=False)
    line = {"step": 4_700, "steps": 10_000, "seconds": 5.0, "samples_per_second": 104_107.2, "validation error-rate": 0.02,
            "validation cross-entropy": 0.1, "loss": 0.0731}  # fmt: skip
    with shown.live("resnet9 on cifar10-jpeg", Folder("runs/one")):
        rows = shown._row(line).plain.splitlines()
        shown._last = -PLAIN_EVERY
        shown.show(line)
    assert all(len(row) <= 80 for row in rows)
    for text in (" ".join(rows), capsys.readouterr().err):
        for word in (
            "47%",
            "step 4,700/10,000",
            "0:06 left",
            "loss 0.0731",
            "validation error-rate 0.0200",
            "104,107 samples/s",
        ):
            assert word in text


def test_stopped_while_the_final_figures_are_taken(monkeypatch, capsys, tmp_path):
    def stopped(*given: object, **how: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shendu.verbs.train.Predictor.evaluate", stopped)
        code, _, err = call(monkeypatch, capsys, "train", "neuron", "and", "--out", tmp_path / "r", "--quiet")
    assert code == 130
    assert f"shendu train --resume {tmp_path / 'r'}" in err.splitlines()[-1]
    assert call(monkeypatch, capsys, "train", "--resume", tmp_path / "r", "--quiet")[0] == 0
    assert Run(tmp_path / "r").result["metrics"]["train"]["accuracy"] == 1.0


def test_a_finished_run_is_left_as_it_is(run):
    before = (run.path / "model.safetensors").read_bytes()
    again = shendu.train(resume=run.path, quiet=True)
    assert again.result == run.result
    assert (run.path / "model.safetensors").read_bytes() == before


def test_python_names_the_same_mistakes(tmp_path):
    with pytest.raises(UserError, match="unknown setting 'epoch'; did you mean 'epochs'"):
        shendu.train("lenet", "digits", out=tmp_path / "r", epoch=3)
    assert not (tmp_path / "r").exists()


def silent(code: str, *words: str) -> int:
    """Exit code of some code in a process of its own, whose output nobody wants."""
    done = subprocess.run([sys.executable, "-c", code, *words], check=False, capture_output=True, timeout=60)
    return done.returncode


def test_help_and_import_do_not_load_torch():
    code = "import sys, shendu; from shendu.cli import cli; cli.main({}, standalone_mode=False); sys.exit(bool({} & {{*sys.modules}}))"
    heavy = {"torch", "rich", "numpy", "importlib.metadata"}
    for words, absent in ((["--help"], heavy), (["runs", "--help"], heavy), (["list"], {"torch"})):
        assert silent(code.format(words, absent)) == 0


def test_no_help_of_a_verb_and_no_mistake_in_its_options_waits_for_anything_heavy():
    code = """
import sys
from shendu import cli, registry
for verb in registry.verbs():
    for word, code in (("--help", 0), ("--no-such-option", 2)):
        sys.argv = ["shendu", verb, word]
        try:
            cli.main()
        except SystemExit as end:
            assert end.code == code, (verb, word)
sys.exit(any(name in sys.modules for name in ("torch", "numpy", "pyarrow", "matplotlib", "rich")))
"""
    assert silent(code) == 0


@pytest.mark.parametrize("name", registry.verbs())
def test_a_command_is_what_its_file_tells(name):
    """What is read of a verb's text is the command that its file holds, to the last default."""
    read, own = told.command(name), registry.command(name)
    assert isinstance(read, told.Told)
    assert [each.to_info_dict() for each in read.params] == [each.to_info_dict() for each in own.params]
    assert read.help == inspect.cleandoc(own.help)


def test_a_command_that_is_not_told_plainly_is_imported(monkeypatch, tmp_path):
    verb = registry.verbs()["runs"]
    odd = tmp_path / "runs.py"
    odd.write_text(verb.path.read_text().replace('default="runs"', 'default=str("runs")'))
    monkeypatch.setattr(registry, "verbs", lambda: {"runs": dataclasses.replace(verb, path=odd)})
    assert told.command("runs") is registry.command("runs")


def test_runs_are_dated_folders_by_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    first = shendu.train("neuron", "and", quiet=True)
    second = shendu.train("neuron", "and", quiet=True)
    assert first.path.name.endswith("_neuron_and_1")
    assert second.path.name.endswith("_neuron_and_2")
    assert first.path.parent == Path("runs")


@pytest.mark.parametrize("kept", [True, False])
def test_what_cannot_be_built_leaves_no_run_behind(tmp_path, monkeypatch, kept) -> None:
    """A network that is refused as it is built; the same folder is then free."""
    monkeypatch.chdir(tmp_path)
    folder = {"out": tmp_path / "run"} if kept else {}
    with pytest.raises(UserError, match=r"dropout=1.2 is no probability"):
        shendu.train("mlp", "digits", dropout=1.2, quiet=True, **folder)
    assert not list(tmp_path.rglob("recipe.json"))
    assert not list((tmp_path / "runs").glob("*"))
    assert shendu.train("mlp", "digits", steps=3, quiet=True, **folder).result
