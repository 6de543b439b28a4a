"""The run folder: trees of tensors, atomic checkpoints, files that are damaged, disks that are full."""

from __future__ import annotations

import builtins
import errno
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shendu import run
from shendu.errors import UserError
from shendu.run import Folder, NonFinite, pack, unpack

TREE = {
    "at": {"step": 3, "best": None, "name": "ü"},
    "model": {"w": torch.arange(6.0).view(2, 3)},
    7: [torch.ones(2), (1, 2.5)],
}


def round_trip(tree: Any) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    return unpack(json.loads(json.dumps(pack(tree, tensors))), tensors)


# ---- trees


scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(-9, 9), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(trees)
def test_trees_come_back(tree: Any) -> None:
    assert round_trip(tree) == tree


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
)
def test_tensors_come_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    t = (torch.randn(3, 4, 5) * 3).to(dtype)
    tree = {
        "a": t,
        "nothing": torch.empty(0, 3, dtype=dtype),
        "scalar": t[0, 0, 0],
        "turned": t.permute(2, 0, 1),
        "part": t[1:, :2],
    }
    folder = Folder(tmp_path)
    folder.save(1, tree)
    back = folder.newest(print)
    assert back is not None
    for name, value in tree.items():
        assert back[name].dtype == dtype
        assert torch.equal(back[name], value)


def test_tied_and_channels_last_tensors() -> None:
    kernel = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(3, 3)
    tensors: dict[str, torch.Tensor] = {}
    state = pack({"a": weight, "b": weight, "turned": weight.T, "kernel": kernel}, tensors)
    assert len(tensors) == 3
    assert all(t.is_contiguous() for t in tensors.values())
    back = unpack(state, tensors)
    assert torch.equal(back["a"], back["b"])
    assert torch.equal(back["turned"], weight.T)
    assert torch.equal(back["kernel"], kernel)


def test_what_cannot_be_saved_is_named() -> None:
    for wrong in (object(), {1, 2}, lambda: 0, b"bytes"):
        with pytest.raises(TypeError, match="/here/there"):
            pack({"here": {"there": wrong}}, {})


# ---- checkpoints


def test_the_newest_is_read_and_two_are_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.newest(print) is None
    assert folder.newest_path() is None
    for step in (0, 5, 5, 90, 100_000_000, 100_000_000):
        folder.save(step, {"step": step, "t": torch.tensor(step)})
    assert [p.name for p in folder.checkpoints()] == ["step-100000000", "step-100000000-1"]
    assert folder.newest(print)["step"] == 100_000_000  # type: ignore[index]


def test_many_checkpoints_of_one_step_are_in_order(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for i in range(25):
        assert folder.save(7, {"i": i}).name == ("step-00000007" if not i else f"step-00000007-{i}")
    assert folder.newest(print) == {"i": 24}


def test_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.save(3, {"i": 1})
    for name in ("step-", "step-x", "step-00000009.bak", ".saving-abc", "damaged-step-00000009", "step-9"):
        (tmp_path / "checkpoints" / name).mkdir()
    assert [p.name for p in folder.checkpoints()] == ["step-00000003"]
    assert folder.newest(print) == {"i": 1}
    assert not (tmp_path / "checkpoints" / ".saving-abc").exists(), "what a dead process left is cleared away"


def damage(path: Path, how: str) -> None:
    state, tensors = path / "state.json", path / "state.safetensors"
    raw = tensors.read_bytes()
    text = state.read_text(encoding="utf-8")
    match how:
        case "cut tensors":
            tensors.write_bytes(raw[:-5])
        case "empty tensors":
            tensors.write_bytes(b"")
        case "flipped bit of a tensor":
            tensors.write_bytes(raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:])
        case "flipped bit of the header":
            tensors.write_bytes(raw[:20] + bytes([raw[20] ^ 1]) + raw[21:])
        case "no tensors":
            tensors.unlink()
        case "cut state":
            state.write_text(text[: len(text) // 2], encoding="utf-8")
        case "changed state":
            state.write_text(text.replace('"step", 2', '"step", 3'), encoding="utf-8")
        case "changed seal":
            state.write_text(text.replace('"seal"', '"sael"'), encoding="utf-8")
        case "seal of another shape":
            state.write_text('{"seal": 3}\n' + text.partition("\n")[2], encoding="utf-8")
        case "a list for a seal":
            state.write_text("[1]\n" + text.partition("\n")[2], encoding="utf-8")
        case "binary state":
            state.write_bytes(os.urandom(200))
        case "empty state":
            state.write_bytes(b"")
        case "no state":
            state.unlink()
        case "a file for a folder":
            for file in (state, tensors):
                file.unlink()
            path.rmdir()
            path.write_text("")
        case "a folder for a file":
            state.unlink()
            state.mkdir()


HOW = ["cut tensors", "empty tensors", "flipped bit of a tensor", "flipped bit of the header", "no tensors", "cut state", "changed state",
       "changed seal", "seal of another shape", "a list for a seal", "binary state", "empty state", "no state", "a file for a folder",
       "a folder for a file"]  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_checkpoint_is_named_and_the_older_wins(tmp_path: Path, how: str) -> None:
    folder = Folder(tmp_path)
    for step in (1, 2):
        folder.save(step, {"step": step, "t": torch.full((50,), float(step))})
    newest = folder.newest_path()
    assert newest is not None
    damage(newest, how)
    said: list[str] = []
    found = folder.newest(said.append)
    assert found is not None
    assert found["step"] == 1
    assert len(said) == 1
    assert str(newest) in said[0]
    assert "damaged" in said[0]
    assert "\n" not in said[0]
    assert folder.newest(said.append)["step"] == 1  # type: ignore[index]
    assert len(said) == 1, "named once"


def test_all_damaged_means_from_the_start(bench: Any, tmp_path: Path) -> None:
    made = bench.recipe("mlp", steps=5)
    whole, _ = bench.train(made, tmp_path)
    for path in Folder(tmp_path).checkpoints():
        damage(path, "cut tensors")
    said: list[str] = []
    model, at = bench.train(made, tmp_path, say=said.append)
    assert len(said) == 2
    assert at.total == 5
    bench.same(bench.tensors(whole.state_dict()), bench.tensors(model.state_dict()))
    assert [line["step"] for line in Folder(tmp_path).history() if "loss" in line] == [1, 2, 3, 4, 5]


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.save(1, {"w": torch.ones(2)})
    for bad in (math.nan, math.inf):
        with pytest.raises(NonFinite, match="model/w"):
            folder.save(2, {"model": {"w": torch.tensor([1.0, bad])}})
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


FAILURES = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "quota",
    errno.EFBIG: "file size",
    errno.EIO: "failed",
    errno.EROFS: "--out",
    errno.EACCES: "--out",
}


@pytest.mark.parametrize("number", FAILURES)
@pytest.mark.parametrize("place", ["save_file", "fsync", "rename", "open"])
def test_a_failed_write_is_one_line_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, place: str, one_line: Any
) -> None:
    folder = Folder(tmp_path)
    folder.save(1, {"step": 1, "t": torch.ones(3)})

    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    real = builtins.open
    with monkeypatch.context() as patch:
        if place == "save_file":
            patch.setattr(run, "save_file", fail)
        elif place == "open":
            patch.setattr(
                builtins, "open", lambda p, *a, **k: fail() if str(p).endswith("state.json") else real(p, *a, **k)
            )
        else:
            patch.setattr(os, place, fail)
        with pytest.raises(UserError) as caught:
            folder.save(2, {"step": 2, "t": torch.ones(3)})
    assert FAILURES[number] in one_line(caught.value)
    assert os.listdir(tmp_path / "checkpoints") == ["step-00000001"]
    assert folder.newest(print)["step"] == 1  # type: ignore[index]


def test_a_folder_that_cannot_be_written(tmp_path: Path, one_line: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder with --out") as caught:
        Folder(tmp_path / "file" / "run").prepare()
    one_line(caught.value)


# ---- JSON and metrics


def test_json_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    assert folder.read("result.json") is None
    folder.write("result.json", {"größe": 1.5})
    assert folder.read("result.json") == {"größe": 1.5}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(UserError, match="no space left"):
            folder.write("result.json", {"größe": 2})
    assert folder.read("result.json") == {"größe": 1.5}
    assert os.listdir(tmp_path) == ["result.json"]


def test_damaged_json_is_one_line(tmp_path: Path, one_line: Any) -> None:
    for raw in (b"{", b"\xff\xfe", b"", b"[]"):
        (tmp_path / "recipe.json").write_bytes(raw)
        with pytest.raises(UserError, match="cannot be read") as caught:
            Folder(tmp_path).read("recipe.json")
        one_line(caught.value)


def test_a_missing_entry_is_one_line(tmp_path: Path, one_line: Any) -> None:
    Folder(tmp_path).write("recipe.json", {"data": {"name": "digits"}})
    made = Folder(tmp_path).read("recipe.json")
    assert made.get("choices") is None
    for ask in (lambda: made["choices"], lambda: made["data"]["hash"]):
        with pytest.raises(UserError, match=r"recipe.json lacks '(choices|hash)'") as caught:
            ask()
        one_line(caught.value)


def test_metrics_are_appended_cut_and_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.history() == []
    assert folder.logged() == 0
    folder.cut(0)
    folder.log({"step": 1, "loss": 0.5})
    position = folder.logged()
    folder.log({"step": 2, "loss": math.nan})
    assert folder.history()[1] == {"step": 2, "loss": None}
    folder.cut(position)
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 9, "lo')
    assert folder.history() == [{"step": 1, "loss": 0.5}]
    folder.cut(10**9)
    assert folder.logged() > position


def test_a_saved_model_fits_other_readers(tmp_path: Path) -> None:
    """model.safetensors holds each tensor under its own name, tied ones once."""
    from safetensors.torch import load_file

    from shendu.data.fields.category import Category
    from shendu.data.fields.number import Number
    from shendu.saved import save_model, unaliased
    from shendu.systems.foundations.mlp import Config
    from shendu.tasks.classify import Classify

    net = Config(hidden=(3,)).build()
    net.again = nn.Linear(2, 3)
    net.again.weight = net.layers[2].weight  # type: ignore[union-attr,assignment,index]
    task = Classify({"x": Number(shape=(2,))}, {"y": Category(names=("a", "b"))})
    save_model(Folder(tmp_path), "mlp", Config(hidden=(3,)), net, task)
    stored = load_file(tmp_path / "model.safetensors")
    aliases = Folder(tmp_path).read("config.json")["aliases"]
    assert aliases == {"again.weight": "layers.2.weight"}
    back = unaliased(stored, aliases)
    assert back.keys() == net.state_dict().keys()
    assert all(torch.equal(back[n], t) for n, t in net.state_dict().items())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first, second = Folder(tmp_path / "run"), Folder(tmp_path / "run")
    with first.alone(), pytest.raises(UserError, match="another process is training in"), second.alone():
        pass
    with second.alone():
        pass


@pytest.mark.parametrize("how", ["deleted", "moved", "made anew"])
def test_a_folder_that_is_gone_is_one_line_and_not_written_to(tmp_path: Path, how: str, one_line: Any) -> None:
    folder = Folder(tmp_path / "run")

    def trained() -> None:
        with folder.alone():
            folder.write("recipe.json", {})
            shutil.rmtree(folder.path) if how == "deleted" else folder.path.rename(tmp_path / "aside")
            if how == "made anew":
                Folder(folder.path).prepare()
                (folder.path / ".lock").touch()
            folder.save(1, {"a": 1})

    with pytest.raises(UserError, match="was deleted, moved or made anew") as caught:
        trained()
    one_line(caught.value)
    assert not list(folder.path.glob("checkpoints/*"))


def test_a_hangup_never_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from shendu.loop.signals import stop_signals

    outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    with stop_signals() as caught:
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)
        assert caught == [signal.SIGHUP, signal.SIGHUP]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_signals() as caught:
            signal.raise_signal(signal.SIGHUP)
            assert caught == []
    finally:
        signal.signal(signal.SIGHUP, outside)
