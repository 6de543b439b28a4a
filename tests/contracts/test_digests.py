"""The script that proves that a change moved no byte sees every byte, and nothing of time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import digests
import numpy as np
import pytest
from safetensors.numpy import save_file


def written(
    folder: Path,
    *,
    weight: float = 1.0,
    loss: float = 2.0,
    lr: float = 0.1,
    accuracy: float = 0.5,
    seconds: float = 3.0,
) -> dict[str, str]:
    folder.mkdir()
    save_file({"w": np.full((2, 3), weight, np.float32), "count": np.array(7)}, folder / "model.safetensors")
    lines: list[dict[str, Any]] = [
        {"step": 1, "loss": loss, "lr": lr, "seconds": seconds},
        {"validation accuracy": accuracy},
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    result = {"metrics": {"test": {"accuracy": accuracy}}, "intervals": {}, "seconds": seconds}
    (folder / "result.json").write_text(json.dumps(result))
    return digests.digests(folder)


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"weight": float(np.nextafter(np.float32(1), np.float32(2)))}, {"weights"}),
        ({"loss": 2.0000000000000004}, {"losses"}),
        ({"lr": 0.2}, {"losses"}),
        ({"accuracy": 0.25}, {"losses", "figures"}),
        ({"seconds": 4.0}, set()),
    ],
)
def test_one_bit_is_seen_and_time_is_not(changed: dict[str, float], parts: set[str], tmp_path: Path) -> None:
    one, other = written(tmp_path / "one"), written(tmp_path / "other", **changed)
    assert {part for part in digests.PARTS if one[part] != other[part]} == parts


def test_names_shapes_and_types_of_weights_are_seen(tmp_path: Path) -> None:
    """The same bytes under another name, in another shape or of another type."""
    zeros = np.zeros((2, 3), np.float32)
    kinds = ({"w": zeros}, {"v": zeros}, {"w": zeros.T}, {"w": zeros.astype(np.int32)}, {"w": zeros[:1]})
    for i, tensors in enumerate(kinds):
        save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, tmp_path / f"{i}")
    assert len({digests.weights(tmp_path / f"{i}") for i in range(len(kinds))}) == len(kinds)


def test_what_failed_or_is_missing_differs() -> None:
    right = {"choices": "{}", **dict.fromkeys(digests.PARTS, "0")}
    wrong = {"choices": "{}", "error": "UserError: no"}
    assert digests.differences({"a": right}, {"a": right}) == ([], [])
    assert digests.differences({"a": right}, {"a": {**right, "losses": "1"}}) == (["a: losses"], [])
    assert digests.differences({"a": right, "b": right}, {"b": right}) == (["a: only in the first"], [])
    assert digests.differences({"a": right}, {"a": wrong}) == (["a: second: UserError: no"], [])
    assert digests.differences({"a": wrong}, {"a": wrong}) == ([], ["a: fails in both: UserError: no"])
    assert [
        digests.told({"a": one}, {"a": other}) for one, other in ((right, right), (right, wrong), (wrong, wrong))
    ] == [0, 1, 1]
