"""compress: what comes out is a run; its costs are those of its files; nothing slower is given back; killed, it ends the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import shendu
from shendu import Run, cli
from shendu.compressing import costs
from shendu.compressing.wanted import Wanted, size_or_time
from shendu.errors import UserError
from shendu.kept import sealed
from shendu.verbs import compress as verb
from shendu.verbs.compress import compress

WAYS: dict[str, dict[str, Any]] = {
    "int8": {"int8": "weights"}, "int4": {"int4": True}, "static": {"int8": "static"}, "dynamic": {"int8": "dynamic"}, "auto": {"int8": "auto"},
    "channels": {"prune": 0.7}, "weights": {"prune": 0.7, "unstructured": True}, "gradual": {"prune": 0.5, "gradual": True},
    "gradual weights": {"prune": 0.5, "gradual": True, "unstructured": True}, "lottery": {"prune": 0.5, "rewind": 5},
    "lottery of weights": {"prune": 0.5, "rewind": 0, "unstructured": True}, "low rank": {"low_rank": 0.5},
    "student": {"distill": "mlp", "student": {"hidden": "8"}}, "taught": {"prune": 0.5, "teach": True}, "qat": {"int4": True, "qat": True},
    "average": {"average": True}, "several": {"prune": 0.5, "int8": "static", "teach": True}, "size": {"budget": "60 kB"},
    "time": {"budget": "10 s", "int8": "weights"},
}  # fmt: skip


QUICK = ("static", "channels")
SLOWLY = [pytest.param(way, marks=() if way in QUICK else pytest.mark.slow) for way in WAYS]
"""The others in `make test-all`."""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few calls, by which nothing is slower."""
    for name, value in (("SPENT", 0.0), ("LEAST", 2), ("WARM", 1), ("NOISE", 1e9)):
        monkeypatch.setattr(costs, name, value)
    monkeypatch.setattr(verb, "LOOKED_AT", 50)
    monkeypatch.setattr(verb, "STRENGTHS", (0.5,))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shendu.train("lenet", "digits", out=tmp_path_factory.mktemp("runs") / "lenet", steps=40, quiet=True)


@pytest.mark.parametrize("way", SLOWLY)
def test_what_comes_out_is_a_run(way: str, run: Run, tmp_path: Path) -> None:
    wanted = WAYS[way]
    done = compress(run, out=tmp_path / "out", quiet=True, epochs=0.5, **wanted)
    found = done.result["compressed"]
    assert found["after"]["bytes"] == (tmp_path / "out" / "model.safetensors").stat().st_size
    assert found["before"]["bytes"] == (run.path / "model.safetensors").stat().st_size
    again = Run(tmp_path / "out")
    assert again.evaluate()["metrics"] == done.result["metrics"]["test"]
    assert len(again.predict(torch.zeros(2, 8, 8, 1, dtype=torch.uint8).numpy())) == 2
    report = shendu.report(again).read_text(encoding="utf-8")
    assert "Before and after" in report
    assert "shendu compress" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    model = again.model
    assert found["after"]["parameters"] == costs.parameters(model)
    if wanted.get("prune") and not wanted.get("unstructured"):
        assert found["after"]["parameters"] <= (1 - wanted["prune"] + 0.02) * found["before"]["parameters"]
        assert found["after"]["multiply_adds"] < found["before"]["multiply_adds"]
    elif wanted.get("unstructured"):
        zeros = sum(int((p == 0).sum()) for p in model.parameters())
        assert zeros >= (wanted["prune"] - 0.01) * sum(p.numel() for p in model.parameters() if p.dim() > 1)
        assert found["after"]["bytes"] < found["before"]["bytes"]
    elif wanted.get("int8"):
        assert found["after"]["bytes"] < 0.3 * found["before"]["bytes"]
        assert found["after"]["multiply_adds"] == found["before"]["multiply_adds"]
    if way == "size":
        assert found["after"]["bytes"] <= 60_000


@pytest.mark.slow
def test_it_is_compressed_again(run: Run, tmp_path: Path) -> None:
    """Each change lies on the one before; what is not said again stays as it was."""
    first = compress(run, out=tmp_path / "a", quiet=True, prune=0.5, int8="weights", epochs=0.2)
    second = compress(first, out=tmp_path / "b", quiet=True, low_rank=0.5, epochs=0.2)
    third = compress(second, out=tmp_path / "c", quiet=True, int8="static")
    kinds = [
        [change.kind for change in each.net.changes]
        for each in map(Run, (tmp_path / "a", tmp_path / "b", tmp_path / "c"))
    ]
    assert kinds == [["narrowed"], ["narrowed", "factored"], ["narrowed", "factored", "quantized"]]
    assert second.packing
    sizes = [each.result["compressed"]["after"]["bytes"] for each in (first, second, third)]
    assert sizes[0] > sizes[1]
    assert third.result["compressed"]["of"] == str(tmp_path / "b")


@pytest.mark.slow
def test_a_soup_is_the_mean_of_the_weights(run: Run, tmp_path: Path) -> None:
    other = shendu.train("lenet", "digits", out=tmp_path / "other", steps=40, seed=1, quiet=True)
    done = compress(run, out=tmp_path / "soup", soup=(str(other.path),), quiet=True)
    for name, t in done.model.state_dict().items():
        mean = (run.model.state_dict()[name].double() + other.model.state_dict()[name].double()) / 2
        torch.testing.assert_close(t.double(), mean, rtol=1e-6, atol=1e-7)
    wide = shendu.train("lenet", "digits", out=tmp_path / "wide", steps=2, maps="4,8", quiet=True)
    with pytest.raises(UserError, match="another network"):
        compress(run, out=tmp_path / "none", soup=(str(wide.path),), quiet=True)


@pytest.mark.parametrize(
    "wanted",
    [
        {"prune": 0.5, "teach": True},
        *(pytest.param(each, marks=pytest.mark.slow) for each in (
            {"prune": 0.5, "gradual": True, "unstructured": True}, {"prune": 0.5, "rewind": 4}, {"distill": "mlp"}, {"average": True},
            {"int4": True, "qat": True},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_killed_and_continued_it_ends_with_the_same_bytes(
    wanted: dict[str, Any], run: Run, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compress(run, out=tmp_path / "whole", quiet=True, epochs=0.4, **wanted)
    with monkeypatch.context() as patch:
        bench.killing(patch, 5, 3)
        with pytest.raises(bench.Killed):
            compress(run, out=tmp_path / "parts", quiet=True, epochs=0.4, **wanted)
    listed = shendu.list_runs(tmp_path)
    assert any(f"compress --resume {tmp_path / 'parts'}" in row.get("state", "") for row in listed)
    with pytest.raises(UserError, match="shendu compress --resume"):
        shendu.train(resume=tmp_path / "parts", quiet=True)
    done = compress(resume=tmp_path / "parts", quiet=True)
    assert (whole.path / "model.safetensors").read_bytes() == (done.path / "model.safetensors").read_bytes()
    assert whole.result["metrics"] == done.result["metrics"]
    assert compress(resume=done.path, quiet=True).result == done.result, "a finished one stays as it is"


@pytest.mark.slow
def test_nothing_slower_is_given_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_line: Any) -> None:
    monkeypatch.setattr(costs, "timed", lambda pair, count, spent=None: [[0.001] * 30, [0.002] * 30])
    monkeypatch.setattr(costs, "NOISE", 1.03)
    with pytest.raises(UserError, match=r"2\.00 times as long") as caught:
        compress(run, out=tmp_path / "a", quiet=True, int8="static")
    assert "--allow-slower" in one_line(caught.value)
    assert not (tmp_path / "a").exists()
    with pytest.raises(UserError, match="before it is trained"):
        compress(run, out=tmp_path / "b", quiet=True, prune=0.5, epochs=0.2)
    slow = compress(run, out=tmp_path / "c", quiet=True, int8="static", allow_slower=True)
    assert slow.result["compressed"]["slower"]["32"][0] == 2.0
    sized = compress(run, out=tmp_path / "d", quiet=True, budget="50 kB", int8="weights", epochs=0.2)
    assert sized.result["compressed"]["after"]["bytes"] <= 50_000, "where size is the aim it may be slower"
    same = compress(run, out=tmp_path / "e", quiet=True, int8="weights")
    assert same.result, "the same computation takes as long, whatever the clock says"


def test_ratios_beyond_the_noise_are_told_from_those_within(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "NOISE", 1.03)
    generator = torch.Generator().manual_seed(0)
    base = (1 + 0.2 * torch.rand(200, generator=generator)).tolist()
    other = (1 + 0.2 * torch.rand(200, generator=generator)).tolist()
    assert not costs.slower(base, other).sure
    assert costs.slower(base, [1.2 * each for each in other]).sure
    assert not costs.slower([1.2 * each for each in base], other).sure


def test_memory_counts_what_is_alive_at_once() -> None:
    class Wide(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(3):
                x = (x.repeat(1, 4))[:, ::4].contiguous()  # the wide one is gone when the next is made
            return x

    living = costs.Living()
    x = torch.zeros(10, 100)
    with living, torch.no_grad():
        Wide()(x)
    assert living.peak <= 4 * 1000 * (1 + 1 + 4 + 1)
    assert living.peak >= 4 * 1000 * 5


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, "say what is to be done"), ({"prune": 1.5}, "--prune 0.8"), ({"unstructured": True, "int8": "auto"}, "add --prune"),
        ({"int8": "auto", "int4": True}, "leave one out"), ({"qat": True, "prune": 0.5}, "add --int8 or --int4"), ({"int8": "fast"}, "auto"),
        ({"budget": "2 apples"}, "2 MB"), ({"budget": "3 ms", "prune": 0.5}, "searches"), ({"prune": 0.9999}, "or less"),
        ({"distill": "nonet"}, "nonet"), ({"distill": "gpt"}, "gpt"), ({"student": {"hidden": 3}, "int8": "auto"}, "--distill"),
        ({"rewind": 3, "int8": "auto"}, "--prune"), ({"budget": "9 MB"}, "as it is"),
            ({"qat": True, "int4": True, "prune": 0.5, "gradual": True}, "twice"), ({"budget": "1 b"}, "nothing fits"), ({"prun": 0.5}, "did you mean"),
    ],
    ids=str,
)  # fmt: skip
def test_a_mistake_gets_one_line(wanted: dict[str, Any], words: str, run: Run, tmp_path: Path, one_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        compress(run, out=tmp_path / "out", quiet=True, **wanted)
    assert words in one_line(caught.value)
    assert not (tmp_path / "out").exists()


def test_budgets_are_sizes_and_times() -> None:
    assert size_or_time("2 MB") == ("bytes", 2e6)
    assert size_or_time("200kB") == ("bytes", 2e5)
    assert size_or_time("0.5 s") == ("ms", 500.0)
    assert size_or_time(" ") == ("", 0.0)
    words = Wanted(prune=0.8, int8="static", student={"hidden": "8"}, distill="mlp", soup=()).words()
    assert words == ["--int8=static", "--prune", "0.8", "--distill", "mlp", "--set", "hidden=8"]


@pytest.mark.slow
def test_a_damaged_file_is_not_opened(run: Run, tmp_path: Path, one_line: Any) -> None:
    done = compress(run, out=tmp_path / "out", quiet=True, int4=True)
    stored = json.loads((done.path / "config.json").read_text())
    for change in (
        {"changes": [{"kind": "narrowed", "shapes": {"features.0.weight": [10**9, 1, 5, 5]}, "groups": {}}]},
        {"changes": [{"kind": "nothing"}]}, {"packing": {"features.0.weight": {"bits": 5}}}, {"packing": {"features.0.weight": 3}},
    ):  # fmt: skip
        (done.path / "config.json").write_text(
            json.dumps(sealed({**{k: v for k, v in stored.items() if k != "seal"}, **change}))
        )
        with pytest.raises(UserError) as caught:
            _ = Run(done.path).model
        one_line(caught.value)


@pytest.mark.slow
def test_compressed_weights_are_no_beginning_of_another_run(run: Run, tmp_path: Path, one_line: Any) -> None:
    done = compress(run, out=tmp_path / "out", quiet=True, int8="weights")
    with pytest.raises(UserError, match="compressed run") as caught:
        shendu.train("lenet", "digits", weights=done.path, out=tmp_path / "b", steps=2, quiet=True)
    one_line(caught.value)


def test_the_command_prints_a_table_and_json(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for more in ((), ("--json",)):
        out = tmp_path / f"out{len(more)}"
        monkeypatch.setattr(
            sys, "argv", ["shendu", "compress", str(run.path), "--int8=weights", "--out", str(out), *more]
        )
        cli.main()
        text = capsys.readouterr().out
        assert json.loads(text)["compressed"]["after"]["bytes"] if more else "multiply-adds of a row" in text
