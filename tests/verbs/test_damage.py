"""What is damaged or hostile in a run's folder is noticed, and said in one line: no traceback, no hang, no gigabytes."""

from __future__ import annotations

import copy
import json
import math
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import shendu
from shendu import kept, published
from shendu.errors import UserError
from shendu.run import Folder, sha256
from shendu.saved import Saved

PARTS = ("recipe.json", "config.json", "task.json", "model.safetensors")
"""What decides a run's answers."""
ROWS = [[0.1, 0.2, 0.3], [1.0, -1.0, 2.0]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    made = shendu.train(
        "mlp",
        (x, (x[:, 0] > 0).astype(np.int64)),
        steps=3,
        hidden="4",
        out=tmp_path_factory.mktemp("damage") / "run",
        quiet=True,
    )
    return made.path


@pytest.fixture
def there(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def asked(path: Path) -> list[Any]:
    """All that a run is opened for."""
    found = Saved(path)
    answers = shendu.predict(found, np.array(ROWS, np.float32), device="cpu")
    _ = found.result, found.continued, found._repr_html_()
    return answers


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        asked(path)
    return str(caught.value)


# ---- damage


@pytest.mark.parametrize("name", PARTS)
def test_a_changed_byte_is_noticed(there: Path, name: str, one_line: Any) -> None:
    file, wanted = there / name, asked(there)
    raw = file.read_bytes()
    same = 0
    for at in {*range(0, len(raw), max(1, len(raw) // 40)), len(raw) - 2}:
        file.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        try:
            assert asked(there) == wanted  # a space became something that means the same
            same += 1
        except UserError as error:
            assert name in one_line(error)  # noqa: PT017
    assert same == 0 or name != "model.safetensors"
    file.write_bytes(raw)
    assert asked(there) == wanted


def test_every_bit_of_the_weights_counts(there: Path) -> None:
    file = there / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-97] ^= 64
    file.write_bytes(raw)
    assert "has changed since it was written: its hash is not the one in config.json" in refused(there)
    with pytest.raises(UserError, match="has changed since it was written"):
        published.read(file)


def test_files_of_two_runs_are_not_mixed(there: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(5, 3, size=(80, 3)).astype(np.float32)
    other = shendu.train(
        "mlp", (x, (x[:, 0] > 5).astype(np.int64)), steps=3, hidden="4", out=tmp_path / "other", quiet=True
    )
    for name, said in (("task.json", "of another run"), ("model.safetensors", "has changed")):
        raw = (there / name).read_bytes()
        shutil.copy(other.path / name, there / name)
        assert said in refused(there)
        (there / name).write_bytes(raw)


def test_figures_are_those_of_the_weights_beside_them(
    there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], one_line: Any
) -> None:
    """Each file's own seal may be right, and the figures another run's."""
    path = there / "result.json"
    other = json.loads(path.read_text()) | {"weights": "0" * 64}
    path.write_text(json.dumps(kept.sealed({k: v for k, v in other.items() if k != kept.SEAL})))
    for ask in (lambda: Saved(there).result, lambda: shendu.report(there), lambda: shendu.compare(there)):
        with pytest.raises(UserError, match="has the figures of other weights than those beside it") as caught:
            ask()
        one_line(caught.value)
    (row,) = shendu.list_runs(there.parent)
    assert row["state"].startswith("damaged: ")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("result.json", lambda v: next(iter(next(iter(v["intervals"].values())).values())).append(1.0), "is a list of 3, not of 2"),
        ("recipe.json", lambda v: v["stages"][0].update(batch_size=[1, 2]), "is a list, not a whole number"),
    ],
)  # fmt: skip
def test_what_was_sealed_anew_is_held_to_its_types(
    name: str, change: Any, said: str, there: Path, one_line: Any
) -> None:
    path = there / name
    values = json.loads(path.read_text())
    del values[kept.SEAL]
    change(values)
    path.write_text(json.dumps(kept.sealed(values)))
    with pytest.raises(UserError, match=said) as caught:
        shendu.report(there)
    one_line(caught.value)


def test_runs_open_wherever_they_are(there: Path, tmp_path: Path) -> None:
    wanted = asked(there)
    moved = there.rename(tmp_path / "moved 深度")
    assert asked(moved) == wanted
    for name in PARTS[:3]:  # line ends and layout as a transfer or an editor may change them
        text = (moved / name).read_text(encoding="utf-8")
        (moved / name).write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    (tmp_path / "blobs").mkdir()
    (moved / "model.safetensors").rename(tmp_path / "blobs" / "w")
    (moved / "model.safetensors").symlink_to(tmp_path / "blobs" / "w")  # as a hub's cache lies
    assert asked(moved) == wanted


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_neither_used_nor_saved(there: Path, value: float) -> None:
    weights = load_file(there / "model.safetensors")
    name = next(iter(weights))
    weights[name].view(-1)[1] = value
    save_file(weights, there / "model.safetensors")
    about = Folder(there).read("config.json")
    Folder(there).write(
        "config.json", {**about, "files": {**about["files"], "model.safetensors": sha256(there / "model.safetensors")}}
    )
    assert f"holds NaN or infinity in {name}" in refused(there)


def test_moments_that_are_not_finite_are_neither_saved_nor_used(tmp_path: Path) -> None:
    folder, said = Folder(tmp_path), []
    folder.save(1, {"optimizer": {0: {"exp_avg": torch.ones(2)}}})
    path = folder.save(2, {"optimizer": {0: {"exp_avg": torch.ones(2)}}})
    state = load_file(path / "state.safetensors")
    save_file({name: t * math.nan for name, t in state.items()}, path / "state.safetensors")
    first, _, text = (path / "state.json").read_text().partition("\n")
    seal = {**json.loads(first)["seal"], "tensors": sha256(path / "state.safetensors")}
    (path / "state.json").write_text(json.dumps({"seal": seal}) + "\n" + text)
    tree = folder.newest(said.append)
    assert tree is not None
    assert "is not finite" in said[0]
    with pytest.raises(Exception, match="exp_avg"):
        folder.save(3, {"optimizer": {0: {"exp_avg": torch.tensor([1.0, math.inf])}}})


def test_a_changed_recipe_is_not_continued(there: Path, one_line: Any) -> None:
    text = (there / "recipe.json").read_text()
    (there / "recipe.json").write_text(text.replace('"steps": 3', '"steps": 4'))
    with pytest.raises(UserError, match="its seal does not match") as caught:
        shendu.train(resume=there, quiet=True)
    one_line(caught.value)


# ---- what is no file, or too large a one


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(7 << 30)


def folder(path: Path) -> None:
    path.mkdir()


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def objects(path: Path) -> None:
    path.write_text('{"a":' * 200 + "1" + "}" * 200)


def digits(path: Path) -> None:
    path.write_text('{"a": ' + "9" * 4000 + "}")


def long(path: Path) -> None:
    path.write_text('{"a": ' + "9" * 100_000 + "}")


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [pipe, device, sparse, folder, nested, objects, digits, long, loop])
@pytest.mark.parametrize("name", [*PARTS, "result.json"])
def test_what_is_no_sound_file_is_one_line(there: Path, name: str, make: Callable[[Path], None], one_line: Any) -> None:
    (there / name).unlink()
    make(there / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        asked(there)
    except UserError as error:
        one_line(error)
    else:
        pytest.fail("it was used")
    rows = shendu.list_runs(there)
    assert len(rows) == (0 if make is loop and name == "recipe.json" else 1)  # a link to itself is found by no search
    assert name in PARTS[1:] or all(row["state"].startswith("damaged: ") for row in rows)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_one_bad_run_is_one_marked_line(there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (name, text) in enumerate(
        [("recipe.json", "{"), ("result.json", "[" * 10_000), ("recipe.json", '{"system": 3}')]
    ):
        copy = shutil.copytree(there, tmp_path / f"bad{number}")
        (copy / name).write_text(text)
    rows = shendu.list_runs(tmp_path)
    assert [row["state"].partition(":")[0] for row in rows] == ["damaged", "damaged", "damaged", "finished"]
    from shendu.verbs.runs import command

    command.callback(str(tmp_path), False)  # type: ignore[misc]
    assert len(capsys.readouterr().out.splitlines()) == 5


# ---- typed JSON


WRONG = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([10**4, 10**9, 2**62, 10**30, -(10**9), 1e300, math.nan, math.inf, 0.5]),
    st.text(max_size=4), st.sampled_from(["../x", "/dev/zero", "mlp", "own.py", "none", "classify", "hf:resnet"]), st.just([]), st.just({}),
    st.lists(st.integers(-2, 10**9), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


def changed(value: Any, at: tuple[Any, ...], new: Any, how: str) -> Any:
    """The value with another one at a place, or without it, or with an entry more."""
    if not at:
        return new if isinstance(new, dict) else value
    value = copy.deepcopy(value)
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    if how == "drop":
        del inner[at[-1]]
    elif how == "more" and isinstance(inner, dict):
        inner["more"] = new
    else:
        inner[at[-1]] = new
    return value


@pytest.mark.parametrize("name", ["recipe.json", "config.json", "task.json", "result.json"])
@settings(max_examples=25, deadline=5000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_fuzz_typed_json(run: Path, name: str, data: Any, one_line: Any) -> None:
    """Sealed anew, as one who means it badly would: it works, or it is one line."""
    whole = Folder(run).read(name)
    plain = json.loads(json.dumps(whole))
    at = data.draw(st.sampled_from(list(places(plain))))
    value = changed(plain, at, data.draw(WRONG), data.draw(st.sampled_from(["set", "set", "drop", "more"])))
    about = json.loads(json.dumps(Folder(run).read("config.json")))
    try:
        Folder(run).write(name, value)
        if name == "task.json":
            Folder(run).write("config.json", {**about, "files": {**about["files"], name: kept.seal_of(value)}})
        try:
            asked(run)
        except UserError as error:
            one_line(error)
        assert len(shendu.list_runs(run)) == 1
    finally:
        Folder(run).write(name, plain)
        Folder(run).write("config.json", about)
