"""Shendu (深度): deep learning as one system.

    import shendu
    run = shendu.train("lenet", "digits")
    run.result["metrics"]["test"]

Importing this package imports no torch; each public name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shendu.errors import UserError as UserError

__version__ = "0.1.0"

if TYPE_CHECKING:  # what `registry.public` finds, for type checkers
    from shendu.composing import compose as compose
    from shendu.data import open_data as open_data
    from shendu.estimator import ShenduClassifier as ShenduClassifier
    from shendu.estimator import ShenduRegressor as ShenduRegressor
    from shendu.predictor import Predictor as Predictor
    from shendu.verbs.audit import audit as audit
    from shendu.verbs.compare import compare as compare
    from shendu.verbs.compress import compress as compress
    from shendu.verbs.evaluate import evaluate as evaluate
    from shendu.verbs.export import export as export
    from shendu.verbs.judge import judge as judge
    from shendu.verbs.list import list_systems as list_systems
    from shendu.verbs.predict import predict as predict
    from shendu.verbs.replay import replay as replay
    from shendu.verbs.report import report as report
    from shendu.verbs.reproduce import reproduce as reproduce
    from shendu.verbs.runs import list_runs as list_runs
    from shendu.verbs.sample import sample as sample
    from shendu.verbs.serve import serve as serve
    from shendu.verbs.train import Run as Run
    from shendu.verbs.train import train as train


def __getattr__(name: str) -> Any:
    from shendu.registry import public

    if name == "__all__":
        return sorted([*public(), "UserError", "__version__"])
    if name not in public():
        raise AttributeError(f"module 'shendu' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(public()[name]), name)


def __dir__() -> list[str]:
    return list(__getattr__("__all__"))
