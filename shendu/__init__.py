"""Shendu (深度): deep learning as one system.

    import shendu
    run = shendu.train("lenet", "digits")
    run.result["metrics"]["test"]

Importing this package imports no torch; each verb is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shendu.errors import UserError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from shendu.composing import compose
    from shendu.data import open as open_data
    from shendu.estimator import ShenduClassifier, ShenduRegressor
    from shendu.verbs.audit import audit
    from shendu.verbs.compare import compare
    from shendu.verbs.evaluate import evaluate
    from shendu.verbs.judge import judge
    from shendu.verbs.list import list_systems
    from shendu.verbs.predict import predict
    from shendu.verbs.report import report
    from shendu.verbs.reproduce import reproduce
    from shendu.verbs.runs import list_runs
    from shendu.verbs.sample import sample
    from shendu.verbs.train import Run, train

_WHERE = {
    "Run": ("shendu.verbs.train", "Run"),
    "ShenduClassifier": ("shendu.estimator", "ShenduClassifier"),
    "ShenduRegressor": ("shendu.estimator", "ShenduRegressor"),
    "audit": ("shendu.verbs.audit", "audit"),
    "compare": ("shendu.verbs.compare", "compare"),
    "compose": ("shendu.composing", "compose"),
    "judge": ("shendu.verbs.judge", "judge"),
    "sample": ("shendu.verbs.sample", "sample"),
    "train": ("shendu.verbs.train", "train"),
    "evaluate": ("shendu.verbs.evaluate", "evaluate"),
    "predict": ("shendu.verbs.predict", "predict"),
    "report": ("shendu.verbs.report", "report"),
    "reproduce": ("shendu.verbs.reproduce", "reproduce"),
    "open_data": ("shendu.data", "open"),
    "list_runs": ("shendu.verbs.runs", "list_runs"),
    "list_systems": ("shendu.verbs.list", "list_systems"),
}

__all__ = [
    "Run", "ShenduClassifier", "ShenduRegressor", "UserError", "__version__", "audit", "compare", "compose", "evaluate",
    "judge", "list_runs", "list_systems", "open_data", "predict", "report", "reproduce", "sample", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'shendu' has no attribute {name!r}")
    import importlib

    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
