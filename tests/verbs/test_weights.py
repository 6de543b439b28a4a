"""Published weights: all or nothing, and every misfit named; torch files become .safetensors apart from everything else."""

from __future__ import annotations

import builtins
import dataclasses
import json
import re
import struct
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import shendu
from shendu import cli, registry
from shendu import published as weights
from shendu.errors import UserError
from shendu.systems.sequence import lstm
from shendu.systems.vision import lenet, mobilenet, resnet, vgg
from shendu.verbs import convert_weights as converting
from shendu.verbs.convert_weights import convert_weights

for module in (lstm, lenet, mobilenet, resnet, vgg):  # as registry.load gives them
    registry.whole(module)
NET = lenet.Config()


def state(net: Any = NET, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: t.clone() for name, t in net.build().state_dict().items()}


def stored(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: t.contiguous() for name, t in tensors.items()}, path)
    return path


def library(rename: Any) -> ModuleType:
    """lenet as a module that knows another library's names."""
    module = ModuleType("shendu.systems.vision.lenet")
    module.__dict__.update({**lenet.__dict__, "__name__": "shendu.systems.vision.lenet", "published": rename})
    return module


def foreign(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A library's names: conv0.weight for features.0.weight, fc1.weight for classifier.1.weight."""
    return {n.replace("features.", "conv").replace("classifier.", "fc"): t for n, t in tensors.items()}


def ours(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.replace("conv", "features.").replace("fc", "classifier."): t for n, t in tensors.items()}


def refused(one_line: Any, path: Path, module: ModuleType = lenet, net: Any = NET) -> str:
    with pytest.raises(UserError) as caught:
        weights.load_published(module, net, path)
    return one_line(caught.value).replace(str(path), "FILE")


EVERY = weights.candidates


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two systems to guess among: building all takes seconds."""
    monkeypatch.setattr(weights, "candidates", lambda module: (lenet, resnet))


# ---- loading


def test_own_names_and_a_librarys_names(tmp_path: Path) -> None:
    wanted = state()
    for tensors in (wanted, foreign(wanted), {f"module.{n}": t for n, t in wanted.items()}):
        got = weights.load_published(library(ours), NET, stored(tmp_path / "w.safetensors", tensors))
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_all_that_does_not_fit_is_named_and_nothing_is_loaded(tmp_path: Path, one_line: Any) -> None:
    tensors = state()
    del tensors["features.0.bias"], tensors["classifier.1.bias"]
    tensors |= {"surplus": torch.ones(2), "features.3.weight": torch.ones(16, 6, 3, 3)}
    tensors["features.3.bias"] = torch.ones(16, dtype=torch.int64)
    text = refused(one_line, stored(tmp_path / "w.safetensors", tensors))
    assert text == (
        "FILE does not fit lenet: 2 missing (features.0.bias, classifier.1.bias), 1 extra (surplus), 2 misshapen "
        "(features.3.weight [16, 6, 3, 3] in the file, [16, 6, 5, 5] here, "
        "features.3.bias int64 [16] in the file, float32 [16] here)"
    )


def test_a_head_of_other_classes_is_begun_anew(tmp_path: Path, one_line: Any) -> None:
    path = stored(tmp_path / "w.safetensors", state(lenet.Config(classes=1000)))
    said: list[str] = []
    got = weights.load_published(lenet, NET, path, said.append)
    assert said == ["head: 1,000 classes in the file, 10 here: begun anew"]
    assert state().keys() - got.keys() == {"classifier.7.weight", "classifier.7.bias"}
    other = stored(
        tmp_path / "v.safetensors", {**state(lenet.Config(classes=1000)), "classifier.1.bias": torch.ones(7)}
    )
    assert refused(one_line, other) == (
        "FILE does not fit lenet: 1 misshapen (classifier.1.bias [7] in the file, [120] here)"
    )


def test_two_heads_that_disagree_are_misshapen(tmp_path: Path, one_line: Any) -> None:
    tensors = {**state(lenet.Config(classes=5)), "classifier.7.bias": torch.ones(6)}
    assert "2 misshapen (classifier.7.weight [5, 84]" in refused(one_line, stored(tmp_path / "w.safetensors", tensors))


def test_batchnorm_counters_may_lack(tmp_path: Path) -> None:
    net = resnet.Config(depth=20)
    tensors = {n: t for n, t in state(net).items() if not n.endswith("num_batches_tracked")}
    assert weights.load_published(resnet, net, stored(tmp_path / "w.safetensors", tensors)).keys() == tensors.keys()


@pytest.mark.slow
def test_weights_of_another_network_name_it(tmp_path: Path, one_line: Any) -> None:
    path = stored(tmp_path / "w.safetensors", state(resnet.Config(depth=20)))
    text = refused(one_line, path)
    missing = "features.0.* (2), features.3.* (2), classifier.1.* (2), classifier.4.* (2), classifier.7.* (2)"
    assert text.startswith(f"FILE does not fit lenet: 10 missing ({missing}), ")
    assert text.endswith("it looks like resnet: shendu train resnet DATA")
    deeper = stored(tmp_path / "v.safetensors", state(resnet.Config(depth=32, classes=7)))
    assert refused(one_line, deeper, resnet, resnet.Config()).endswith(
        "it looks like resnet: shendu train resnet DATA --set depth=32"
    )


def test_a_network_that_refuses_the_file_is_not_recommended(
    tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    picky = ModuleType("shendu.systems.vision.resnet")
    picky.__dict__.update(resnet.__dict__, __name__=resnet.__name__, unusable=lambda found: "is of no use")
    path = stored(tmp_path / "w.safetensors", state(resnet.Config(depth=20)))
    monkeypatch.setattr(weights, "candidates", lambda module: (lenet, picky))
    assert "it looks like" not in refused(one_line, path)
    assert refused(one_line, path, picky, resnet.Config()) == "FILE is of no use"


@pytest.mark.slow
def test_the_likely_network_is_found_among_all(tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "candidates", EVERY)
    path = stored(tmp_path / "w.safetensors", state(mobilenet.Config(version=2, classes=7)))
    assert refused(one_line, path).endswith("; it looks like mobilenet: shendu train mobilenet DATA --set version=2")


def test_many_tensors_are_folded_and_none_is_left_out(tmp_path: Path, one_line: Any) -> None:
    """VGG's weights for a deep residual network."""
    ours, theirs = resnet.Config(depth=50, stem="large", classes=1000), vgg.Config(depth=11, classes=1000)
    with torch.device("meta"):
        theirs_by_name = theirs.build().state_dict()
    file = stored(tmp_path / "w.safetensors", {name: torch.zeros(1) for name in theirs_by_name})
    text = refused(one_line, file, resnet, ours)
    with torch.device("meta"):
        wanted = [name for name in ours.build().state_dict() if not name.endswith("num_batches_tracked")]
    found = re.search(r"missing \((.*)\), \d+ extra \((.*)\)$", text)
    assert found
    missing, extra = found.groups()
    for shown, names in ((missing, wanted), (extra, list(theirs_by_name))):
        left = list(names)
        for part in shown.split(", "):
            if fold := re.fullmatch(r"(.+\.)\* \((\d+)\)", part):
                covered = [name for name in left if name.startswith(fold[1])]
                assert len(covered) == int(fold[2]) > 1, part
            else:
                covered = [part]
            left = [name for name in left if name not in covered]
        assert left == []


@pytest.mark.parametrize(("names", "line"), [
    (["a.b", "c"], "a.b, c"),
    ([f"stages.{i}.{j}.weight" for i in (1, 2) for j in range(30)], "stages.1.* (30), stages.2.* (30)"),
    ([*(f"body.{i}.weight" for i in range(60)), "head.bias"], "body.* (60), head.bias"),
    ([f"w{i}" for i in range(200)], "* (200)"),
    ([f"body.{i}.weight [3, 3] in the file, [5, 5] here" for i in range(60)], "body.* (60)"),
])  # fmt: skip
def test_names_fold_as_deep_as_it_takes(names: list[str], line: str) -> None:
    assert weights.listed(names) == line


def test_a_rename_that_fails_on_foreign_names_is_no_traceback(tmp_path: Path, one_line: Any) -> None:
    def picky(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"features.0.weight": tensors["conv0.weight"]}

    path = stored(tmp_path / "w.safetensors", {"stem": torch.ones(3)})
    assert "1 extra (stem)" in refused(one_line, path, library(picky))


@pytest.mark.slow
def test_what_must_be_set_for_a_file_to_fit(tmp_path: Path) -> None:
    path = stored(tmp_path / "w.safetensors", state(resnet.Config(depth=32, classes=100)))
    assert weights.settings(resnet, resnet.Config(), path) == {"depth": 32}
    assert weights.settings(resnet, resnet.Config(depth=32), path) == {}
    assert weights.settings(resnet, resnet.Config(channels=1), path) == {}
    assert weights.settings(lenet, NET, path) == {}


# ---- files that are none


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_damaged_and_foreign_files(tmp_path: Path, one_line: Any) -> None:
    sound = stored(tmp_path / "sound.safetensors", state()).read_bytes()
    path = tmp_path / "w.safetensors"
    torch.save(state(), tmp_path / "torch.pth")
    for content, line in (
        (b"", "FILE is no sound .safetensors file (header too small); fetch it again"),
        (sound[:5], "FILE is no sound .safetensors file (header too small); fetch it again"),
        (sound[:100], "FILE is no sound .safetensors file (invalid header length); fetch it again"),
        (sound[:-9], "FILE is no sound .safetensors file (incomplete metadata, file not fully covered); fetch it again"),
        (sound + b"more", "FILE is no sound .safetensors file (incomplete metadata, file not fully covered); fetch it again"),
        (struct.pack("<Q", 2**63) + b"{}", "FILE is no sound .safetensors file (header too large); fetch it again"),
        (struct.pack("<Q", 99_000_000) + b"{}", "FILE is no sound .safetensors file (invalid header length); fetch it again"),
        ((tmp_path / "torch.pth").read_bytes(), "FILE is a torch file under another name; rename it to .pth, then: shendu convert-weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "FILE stands for the weights and does not hold them; fetch them with: git lfs pull"),
    ):  # fmt: skip
        assert refused(one_line, damaged(path, content)) == line
    assert refused(one_line, stored(path, {})) == "FILE holds no tensors"
    bad = {**state(), "features.0.bias": torch.tensor([1.0, float("nan"), 1, 1, 1, 1])}
    assert (
        refused(one_line, stored(path, bad))
        == "FILE holds NaN or infinity in features.0.bias; take a sound copy of the file"
    )
    for name, line in (
        ("none.safetensors", "there is no file of weights FILE: check the path"),
        ("torch.pth", "FILE may hold code, so it is not read here; first: shendu convert-weights FILE"),
        ("w.h5", "FILE is no .safetensors file; of a .pth make one with: shendu convert-weights FILE.pth"),
    ):
        damaged(tmp_path / "w.h5", b"")
        assert refused(one_line, tmp_path / name) == line


@pytest.mark.parametrize("seed", range(60))
def test_any_damage_is_one_line_or_none(seed: int, tmp_path: Path, one_line: Any) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(
        stored(tmp_path / "sound.safetensors", {"a": torch.ones(3), "b": torch.ones(2, 2)}).read_bytes()
    )
    for _ in range(int(rng.integers(1, 5))):
        content[int(rng.integers(len(content)))] = int(rng.integers(256))
    refused(one_line, damaged(tmp_path / "w.safetensors", bytes(content[: int(rng.integers(1, len(content) + 1))])))


# ---- training from weights


def test_a_run_begins_with_weights_and_resumes_without_them(tmp_path: Path) -> None:
    first = shendu.train("lenet", "digits", out=tmp_path / "first", steps=3, quiet=True)
    begun = shendu.train(
        "lenet", "digits", out=tmp_path / "begun", steps=1, lr=1e-12, seed=5, weights=first.path, quiet=True
    )
    for name, t in first.model.state_dict().items():
        torch.testing.assert_close(begun.model.state_dict()[name], t, atol=1e-6, rtol=0)
    file = first.path / "model.safetensors"
    assert begun.recipe["weights"] == weights.about(file)
    assert first.recipe["weights"] is None
    (begun.path / "result.json").unlink()
    file.unlink()
    again = shendu.train(resume=begun.path, quiet=True)
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in begun.model.state_dict().items())


@pytest.mark.slow
def test_a_run_without_a_checkpoint_asks_for_the_same_file(tmp_path: Path, one_line: Any) -> None:
    file = stored(tmp_path / "w.safetensors", state(lenet.Config(classes=7)))
    run = shendu.train("lenet", "digits", out=tmp_path / "run", steps=2, weights=file, quiet=True)
    stored(tmp_path / "other.safetensors", state(seed=1))
    with pytest.raises(UserError, match="was begun with weights="):
        shendu.train(resume=run.path, weights=tmp_path / "other.safetensors", quiet=True)
    wanted = {name: t.clone() for name, t in run.model.state_dict().items()}
    for path in run.folder.checkpoints():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    (run.path / "report.html").unlink()
    again = shendu.train(resume=run.path, weights=file, quiet=True)
    assert all(torch.equal(t, again.model.state_dict()[name]) for name, t in wanted.items())
    for path in run.folder.checkpoints():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    stored(file, state(seed=2))
    with pytest.raises(UserError) as caught:
        shendu.train(resume=run.path, quiet=True)
    assert one_line(caught.value).endswith(
        "is not what the run was to begin with; restore it, or train anew with another --out"
    )


@pytest.mark.slow
def test_the_file_settles_the_network(tmp_path: Path) -> None:
    file = stored(tmp_path / "w.safetensors", state(resnet.Config(depth=32, channels=1, classes=100)))
    said: list[str] = []
    run = shendu.train("resnet", "digits", out=tmp_path / "run", steps=1, batch_size=4, weights=file, say=said.append)
    assert run.recipe["choices"]["depth"] == 32
    assert "depth=32: as w.safetensors has it" in said
    assert "head: 100 classes in the file, 10 here: begun anew" in said
    with pytest.raises(UserError, match="--set depth=32"):
        shendu.train("resnet", "digits", out=tmp_path / "other", depth=20, weights=file, quiet=True)
    assert not (tmp_path / "other").exists()


# ---- vocabularies

OTHER_WORDS = "was trained with another vocabulary than that of {}, so its vectors would stand for other words; leave --weights out, "


def texts(folder: Path, words: str, classes: tuple[str, ...] = ("good", "bad")) -> Path:
    """Class folders of short texts, made of some words."""
    for i, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for j in range(12):
            (folder / label / f"{j}.txt").write_text(f"{words} {words.split()[i]}", encoding="utf-8")
    return folder


SMALL: dict[str, dict[str, Any]] = {
    "gpt": {"layers": 1, "width": 16, "heads": 2, "context": 8},
    "lstm": {"width": 8, "units": 8},
    "fasttext": {"buckets": 64},
    "bert": {"layers": 1, "width": 16, "heads": 2, "length": 12, "pretrain_steps": 1},
    "transformer": {"layers": 1, "width": 16, "heads": 2, "inner": 16, "vocabulary": 262, "longest": 8, "beam": 1},
}


def small(system: str, data: Any, out: Path, **more: Any) -> shendu.Run:
    return shendu.train(system, str(data), out=out, steps=1, batch_size=4, quiet=True, **SMALL[system], **more)


@pytest.mark.parametrize("system", ["gpt", "lstm"])
def test_letters_of_another_text_are_refused_though_all_shapes_agree(
    system: str, tmp_path: Path, one_line: Any
) -> None:
    for name, letters in (("one", "abcd efgh "), ("other", "ijkl mnop ")):
        (tmp_path / f"{name}.txt").write_text(letters * 50, encoding="utf-8")
    more = {"units": 8, "context": 8} if system == "lstm" else SMALL["gpt"]
    how: dict[str, Any] = {"steps": 1, "batch_size": 4, "quiet": True, **more}
    first = shendu.train(system, str(tmp_path / "one.txt"), out=tmp_path / "first", **how)
    with pytest.raises(UserError) as caught:
        shendu.train(system, str(tmp_path / "other.txt"), out=tmp_path / "run", weights=first.path, **how)
    assert OTHER_WORDS.format("other") in one_line(caught.value)
    assert not (tmp_path / "run").exists()
    shendu.train(system, str(tmp_path / "one.txt"), out=tmp_path / "again", weights=first.path, **how)


@pytest.mark.parametrize("system", ["lstm", "fasttext", "bert"])
def test_words_of_other_texts_are_refused_though_all_shapes_agree(system: str, tmp_path: Path, one_line: Any) -> None:
    first = small(system, texts(tmp_path / "one", "a fine film"), tmp_path / "first")
    texts(tmp_path / "other", "the dull play")
    with pytest.raises(UserError) as caught:
        small(system, tmp_path / "other", tmp_path / "run", weights=first.path)
    assert OTHER_WORDS.format("other") in one_line(caught.value)
    small(system, tmp_path / "one", tmp_path / "again", weights=first.path)


@pytest.mark.parametrize("system", ["lstm", "gru", "rnn", "fasttext", "bert"])
def test_a_head_for_more_classes_of_the_same_texts(system: str, tmp_path: Path) -> None:
    """The same words in the same order, so one vocabulary; all but the head is as it was."""
    how = {"steps": 1, "batch_size": 4, **SMALL.get(system, SMALL["lstm"])}
    line = "a fine dull film a fine dull a fine a"
    for name, classes in (("two", ("bad", "good")), ("three", ("bad", "good", "so"))):
        for label in classes:
            (tmp_path / name / label).mkdir(parents=True)
            for j in range(12):
                (tmp_path / name / label / f"{j}.txt").write_text(line, encoding="utf-8")
    two = shendu.train(system, str(tmp_path / "two"), out=tmp_path / "first", quiet=True, **how)
    said: list[str] = []
    how |= {"lr": 1e-12, "weights": two.path, **({"pretrain_lr": 1e-12} if system == "bert" else {})}
    three = shendu.train(system, str(tmp_path / "three"), out=tmp_path / "run", say=said.append, **how)
    assert "head: 2 classes in the file, 3 here: begun anew" in said
    before, after = two.model.state_dict(), three.model.state_dict()
    differing = {name for name in after if before[name].shape != after[name].shape}
    assert differing == {name for name in after if len(after[name]) == 3 and name.startswith("decide")}
    assert len(differing) == 2
    for name in after.keys() - differing:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)


def test_letters_vectors_are_no_head(tmp_path: Path, one_line: Any) -> None:
    """Where a run's weights lie alone, without what says its vocabulary."""
    net = lstm.Config(words=30, outputs=30, units=8, width=8, reads="prose")
    path = stored(tmp_path / "w.safetensors", state(dataclasses.replace(net, words=20, outputs=20)))
    assert "1 misshapen (vectors.weight [20, 8] in the file, [30, 8] here)" in refused(one_line, path, lstm, net)


def test_codes_of_other_sentences_are_refused_though_all_shapes_agree(tmp_path: Path, one_line: Any) -> None:
    for name, lines in (("one", "ein mann\n"), ("other", "une femme\n")):
        (tmp_path / name).mkdir()
        for language in ("de", "en"):
            (tmp_path / name / f"train.{language}").write_text(lines * 8, encoding="utf-8")
    first = small("transformer", tmp_path / "one", tmp_path / "first")
    with pytest.raises(UserError) as caught:
        small("transformer", tmp_path / "other", tmp_path / "run", weights=first.path)
    assert OTHER_WORDS.format("other") in one_line(caught.value)


def test_a_damaged_task_beside_the_weights_says_nothing(tmp_path: Path) -> None:
    file = stored(tmp_path / "model.safetensors", state())
    for content in ("[1]", "{", '{"inputs": 3, "settings": {}}', '{"inputs": {"x": 3}, "settings": {}}', "[" * 100_000):
        (tmp_path / "task.json").write_text(content, encoding="utf-8")
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
        weights.check_vocabulary(lenet.recipe(shendu.open_data("digits").split_off()).task, file, "digits")
        assert weights.load_published(lenet, NET, file).keys() == state().keys()


# ---- torch files


class Code:
    """Unpickled, it would call `print`."""

    def __reduce__(self) -> Any:
        return builtins.print, ("never",)


def kept(path: Path, value: Any, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion in this process, which needs no second start of torch."""
    monkeypatch.setattr(converting, "apart", converting.converted)


@pytest.mark.usefixtures("at_once")
def test_torch_files_become_safetensors(tmp_path: Path) -> None:
    tensors = state()
    tied = {**tensors, "tied": tensors["features.0.weight"], "view": torch.arange(6.0).view(2, 3).T}
    for value in (
        tied, {"epoch": 3, "state_dict": tied, "optimizer": {"state": {0: torch.ones(2)}}}, {"checkpoint": {"model": tied}},
        {**tied, "epoch": 3},
    ):  # fmt: skip
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            out = convert_weights(kept(tmp_path / "w.pth", value, **options))
            assert out == tmp_path / "w.safetensors"
            got = load_file(out)
            assert got.keys() == tied.keys()
            assert all(torch.equal(got[name], t) for name, t in tied.items())
    named = convert_weights(tmp_path / "w.pth", tmp_path / "deep" / "x.safetensors")
    assert load_file(named).keys() == tied.keys()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("at_once")
def test_files_that_are_not_converted(tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pth"

    def line(**options: Any) -> str:
        with pytest.raises(UserError) as caught:
            convert_weights(path, **options)
        assert not list(tmp_path.glob(".*"))
        assert not list(tmp_path.glob("*.safetensors"))
        return one_line(caught.value).replace(str(path), "FILE")

    wrote = "; give what torch.save(model.state_dict(), FILE) wrote"
    assert line() == "there is no file FILE: check the path"
    assert (path.touch(), line())[1] == f"FILE is empty{wrote}"
    assert (path.write_text("no weights"), line())[1] == f"FILE is no torch file{wrote}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    assert line() == "FILE is a zip archive and no torch file; give what torch.save wrote"
    path.write_bytes(kept(tmp_path / "whole.pt", state()).read_bytes()[:3000])
    assert line() == "FILE is damaged or cut off; fetch it again"
    whole = "which is not run: a whole model or more was saved; save model.state_dict() alone instead"
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        kept(path, {"a": Code()}, **options)
        assert line().startswith("FILE holds code (")
        assert line().endswith(whole)
    kept(path, NET.build())
    assert line() == f"FILE holds code (shendu.systems.vision.lenet.LeNet), {whole}"
    for empty in ({}, {"epoch": 3}, [torch.ones(2)], torch.ones(3), {"a": {"b": {"c": {"state_dict": state()}}}}):
        kept(path, empty)
        assert line() == f"FILE holds no tensors by name{wrote}"
    kept(path, {"a": torch.ones(3).to_sparse()})
    assert line() == "FILE holds a as a sparse, quantised or empty tensor, and .safetensors has none such"
    kept(path, {"a": torch.ones(1).expand(2**33)})
    assert line() == "FILE is too large: its tensors repeat what it holds many times over"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(100 << 20))
    assert line() == "FILE is too large: it unpacks to 0.1 GB"
    kept(path, state())
    assert line(out=tmp_path / "w.bin") == "weights are written as .safetensors; write it like --out w.safetensors"
    monkeypatch.setattr(converting, "MOST_BYTES", 1000)
    assert line() == "FILE is too large: 0 GB, and at most 0 GB are read"


@pytest.mark.slow
def test_the_process_of_its_own_refuses_code_and_has_a_time_limit(
    tmp_path: Path, one_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tmp_path / "w.pth", {"a": Code()})
    with pytest.raises(UserError, match=r"holds code \((builtins\.)?print\), which is not run"):
        convert_weights(path)
    path = kept(tmp_path / "w.pth", state())
    monkeypatch.setattr(converting, "SECONDS", 0)
    with pytest.raises(UserError, match="took longer than 0 s to read and was given up"):
        convert_weights(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.pth"]


@pytest.mark.slow
def test_the_process_bounds_itself() -> None:
    import subprocess

    code = (
        "import resource, torch; from shendu.verbs import convert_weights as c; c.limit_myself(1 << 20)\n"
        "assert resource.getrlimit(resource.RLIMIT_CPU)[0] <= c.SECONDS + c.PER_GB\n"
        "try: torch.ones(3 << 30)\n"
        "except RuntimeError as error: print(c.reason(str(error)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.strip() == "is too large: reading it took more memory than its size allows"


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = kept(tmp_path / "w.pth", state())
    monkeypatch.setattr(sys, "argv", ["shendu", "convert-weights", str(path)])
    cli.main()
    assert capsys.readouterr().out.strip() == str(tmp_path / "w.safetensors")
    words = ["shendu", "train", "lenet", "digits", "--steps", "1", "--weights", str(tmp_path / "w.safetensors"), "--quiet",
             "--out", str(tmp_path / "run")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["weights"]["path"] == str(
        tmp_path / "w.safetensors"
    )
