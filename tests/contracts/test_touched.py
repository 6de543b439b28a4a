"""What ./check runs after a change."""

from __future__ import annotations

import pytest
from touched import systems, touched

CONTRACT = "tests/contracts/test_systems.py"


@pytest.mark.parametrize(
    ("test", "system", "files", "runs"),
    [
        (CONTRACT, "vgg", ["shendu/systems/vision/vgg.py"], True),
        (CONTRACT, "alexnet", ["shendu/systems/vision/vgg.py"], False),
        (CONTRACT, "lenet", ["shendu/systems/vision/vgg.py"], False),
        (CONTRACT, "lenet", ["shendu/loop/pace.py"], True),
        (CONTRACT, "vgg", ["shendu/loop/pace.py"], False),
        (CONTRACT, "vgg", [CONTRACT], True),
        (CONTRACT, "lenet", ["README.md"], False),
        (CONTRACT, None, [], True),
        ("tests/systems/test_vgg.py", None, ["shendu/systems/vision/vgg.py"], True),
        ("tests/systems/test_vgg.py", None, ["shendu/core.py"], False),
        ("tests/systems/test_gpt.py", None, ["shendu/core.py"], True),
        ("tests/systems/test_recurrent.py", None, ["shendu/systems/sequence/lstm.py"], True),
        ("tests/metrics/test_intervals.py", None, ["shendu/metrics/classes.py"], True),
        ("tests/metrics/test_intervals.py", None, ["shendu/data/sound.py"], False),
        ("tests/metrics/test_intervals.py", None, ["tests/metrics/cases.py"], True),
        ("tests/metrics/test_intervals.py", None, ["tests/metrics/test_figures.py"], False),
        ("tests/metrics/test_intervals.py", None, ["tests/conftest.py"], True),
        ("tests/loop/test_optim.py", None, ["shendu/optim.py"], True),
        ("tests/faults/test_kills.py", None, ["shendu/run.py"], True),
        ("tests/faults/test_kills.py", None, ["shendu/pages/report.py"], False),
        ("tests/docs/test_pages.py", None, ["docs/tutorial/1-neuron.md"], True),
    ],
)
def test_a_change_runs_what_it_touches(test: str, system: str | None, files: list[str], runs: bool) -> None:
    assert touched(test, system, files) == runs


def test_a_changed_system_is_held_to_its_slow_contracts() -> None:
    assert systems(["shendu/systems/vision/vgg.py", "shendu/core.py"]) == {"vgg"}
