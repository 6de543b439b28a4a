"""scikit-learn's words for tables: ShenduClassifier and ShenduRegressor fit, predict, go into pipelines and searches.

Needs scikit-learn (the extra `sklearn`). Numbers come as an array or a DataFrame, categories, dates and texts as a
DataFrame (pandas, polars or pyarrow); missing values are learned from as they are.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shendu import config, own, parallel, registry
from shendu.core import Recipe
from shendu.data import frames, offsets
from shendu.data.column import Column
from shendu.data.dataset import Dataset
from shendu.data.fields.category import Category
from shendu.data.fields.number import Number
from shendu.data.fields.row import Row
from shendu.data.files import cache
from shendu.data.tables import rows
from shendu.errors import UserError
from shendu.field import Field
from shendu.loop import Setup
from shendu.loop import fit as train
from shendu.predictor import Predictor
from shendu.run import Folder, write_text
from shendu.saved import Saved, save_model

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import assert_all_finite
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise UserError("ShenduClassifier needs scikit-learn: pip install 'shendu[sklearn]'") from error

PUBLIC = ("ShenduClassifier", "ShenduRegressor")
FLOATS = (np.float64, np.float32)
BATCH = 256
"""Rows are predicted in batches of this many, the last one filled up: a row's figures then do not depend on the others."""


class _Table(BaseEstimator):
    """What both estimators share: X and y become a data set, a recipe of a system, and a model.

    `system` is a system that reads tables (None: the one that suits them); `steps`, `epochs`, `batch_size`, `lr` and all of
    `settings` are its own (None: its default for this many rows); `time_limit` (seconds, or 90s, 10m) bounds fitting;
    `random_state` is the seed. A tenth of the rows is set aside to choose the best weights.
    """

    def __init__(
        self,
        system: str | None = None,
        *,
        steps: int | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        settings: dict[str, Any] | None = None,
        time_limit: str | float | None = None,
        device: str = "auto",
        random_state: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.system, self.steps, self.epochs, self.batch_size, self.lr = system, steps, epochs, batch_size, lr
        self.settings, self.time_limit, self.device = settings, time_limit, device
        self.random_state, self.verbose = random_state, verbose

    @property
    def _name(self) -> str:
        return self.system or registry.suited(Row.kind)[0]

    @property
    def _gaps(self) -> bool:
        """Whether missing values are learned from as they are: by the system that suits tables."""
        return self._name == registry.suited(Row.kind)[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._gaps
        return tags

    def fit(self, X: Any, y: Any) -> _Table:
        """Learns y from X [rows, columns]; raises ValueError for what cannot be learned."""
        column, inputs, targets = self._checked(X, y)
        goal = self._goal(targets)
        dataset = _dataset(column, inputs, goal, self._codes(targets, goal)).split_off(parts=("validation",))
        recipe = registry.load(self._name).recipe(dataset, **self._choices())
        self.model_, steps = _trained(recipe, self.device, config.duration(self.time_limit), self.verbose)
        self.task_, self.config_, self.n_iter_ = recipe.task, recipe.model, steps
        return self

    def save(self, path: str | Path) -> Path:
        """Writes a folder with the model, its columns and these parameters, without pickle; `load` reads it."""
        check_is_fitted(self)
        folder = Folder(path)
        folder.prepare()
        name, kept = registry.entry(self._name).name, own.about(self._name) if own.is_file(self._name) else None
        folder.write(
            "recipe.json",
            {"system": name, "own": kept, "estimator": type(self).__name__, "choices": self._choices()},
        )
        if kept:
            write_text(folder.path / own.KEPT, own.read(Path(kept["file"]))[0])
        names = self.feature_names_in_.tolist() if hasattr(self, "feature_names_in_") else None
        params = {k: v for k, v in self.get_params().items() if not callable(v)}
        folder.write(
            "estimator.json", {"kind": type(self).__name__, "params": params, "names": names, **self._labels()}
        )
        save_model(folder, name, self.config_, self.model_, self.task_)
        return folder.path

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """The estimator of a folder that `save` wrote; raises UserError where it is none."""
        run = Saved(path)
        kept = run.folder.read("estimator.json")
        if kept is None or kept["kind"] not in ESTIMATORS:
            raise UserError(f"{path} holds no estimator; save one with estimator.save('{path}')")
        made = ESTIMATORS[kept["kind"]](**kept["params"])
        made.model_, made.task_ = run.model, run.task
        stored = run.folder.read("config.json")
        made.config_ = config.from_json(run.code.Config, stored["config"])
        made.n_features_in_ = kept["columns"]
        if kept["names"] is not None:
            made.feature_names_in_ = np.array(kept["names"], object)
        made._restore(kept)
        return made

    # ---- inside

    def _choices(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("steps", "epochs", "batch_size", "lr")}
        chosen = {name: value for name, value in own.items() if value is not None}
        return {"seed": self.random_state or 0, **chosen, **(self.settings or {})}

    def _checked(self, X: Any, y: Any) -> tuple[Field, np.ndarray, np.ndarray]:
        """The input column, its stored rows, and y as it came."""
        if _typed(X):
            validate_data(self, X, skip_check_array=True)
            targets = column_or_1d(np.asarray(y), warn=True)
            column = rows.inputs(frames.without_index(frames.from_object(X))[0])
            return column, column.parse(X)[""], self._targets(targets)
        gaps = self._gaps
        X, targets = validate_data(
            self, X, y, ensure_all_finite="allow-nan" if gaps else True, dtype=FLOATS, y_numeric=self._numeric,
            ensure_min_samples=2,
        )  # fmt: skip
        away = offsets.found(X)
        each = away or (0.0,) * X.shape[1]
        fields = tuple(Column(name=f"x{i}", kind="number", offset=each[i]) for i in range(X.shape[1]))
        field: Field = Row(columns=fields) if gaps else Number(shape=X.shape[1:], offset=away)
        return field, self._stored(X, field), self._targets(targets)

    def _stored(self, X: np.ndarray, field: Field) -> np.ndarray:
        """Rows as they are stored; raises ValueError for numbers that float32 cannot hold."""
        found = offsets.without(X, field.offset, X.shape[1:])
        assert_all_finite(found, allow_nan=self._gaps, input_name="X")
        return found

    def _outputs(self, X: Any) -> np.ndarray:
        """Outputs [rows, classes] or [rows, 1] in the target's unit."""
        check_is_fitted(self, "model_")
        field = self.task_.input
        if _typed(X):
            validate_data(self, X, skip_check_array=True, reset=False)
            values, unread, notes = field.read(X)
            stored = values[""]
            for line in (*notes, *(f"column {name}: {bad}" for name, bad in unread.items())):
                warnings.warn(line, stacklevel=3)
        else:
            rows_of = validate_data(self, X, ensure_all_finite="allow-nan", dtype=FLOATS, reset=False)
            stored = self._stored(rows_of, field)
        predictor, found = Predictor(self.task_, self.model_, self.device, "fp32"), []
        for start in range(0, len(stored), BATCH):
            piece = stored[start : start + BATCH]
            filled = np.concatenate([piece, np.repeat(piece[:1], BATCH - len(piece), 0)])
            answer = next(iter(predictor({"x": torch.from_numpy(filled)}).values()))
            found.append(answer[: len(piece)].cpu())
        return torch.cat(found).double().reshape(len(stored), -1).numpy()


class ShenduClassifier(ClassifierMixin, _Table):
    __doc__ = f"""Classes from tables. {_Table.__doc__}"""

    _numeric = False

    def _targets(self, targets: np.ndarray) -> np.ndarray:
        if targets.dtype == object and (typed := np.array(targets.tolist())).dtype.kind in "biuf":
            targets = typed
        check_classification_targets(targets)
        self.classes_ = np.unique(targets)
        if len(self.classes_) < 2:
            raise UserError(f"y has only one class ({self.classes_[0]}): there is nothing to tell apart")
        return targets

    def _goal(self, targets: np.ndarray) -> Field:
        return Category(names=tuple(map(str, self.classes_.tolist())))

    def _codes(self, targets: np.ndarray, goal: Field) -> np.ndarray:
        return np.searchsorted(self.classes_, targets)

    def _labels(self) -> dict[str, Any]:
        return {"columns": self.n_features_in_, "classes": self.classes_.tolist(), "dtype": self.classes_.dtype.str}

    def _restore(self, kept: dict[str, Any]) -> None:
        self.classes_ = np.array(kept["classes"], dtype=object if kept["dtype"] == "|O" else kept["dtype"])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [rows, classes], in the order of `classes_`."""
        outputs = self._outputs(X)
        shares = np.exp(outputs - outputs.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]


class ShenduRegressor(RegressorMixin, _Table):
    __doc__ = f"""Numbers from tables. {_Table.__doc__}"""

    _numeric = True

    def _targets(self, targets: np.ndarray) -> np.ndarray:
        values = np.asarray(targets, np.float64)
        if not np.isfinite(values).all():
            raise UserError("y holds NaN or infinity; leave those rows out")
        return values

    def _goal(self, targets: np.ndarray) -> Field:
        return Number(offset=offsets.found(targets[:, None]))

    def _codes(self, targets: np.ndarray, goal: Field) -> np.ndarray:
        return offsets.without(targets, goal.offset)

    def _labels(self) -> dict[str, Any]:
        return {"columns": self.n_features_in_}

    def _restore(self, kept: dict[str, Any]) -> None: ...

    def predict(self, X: Any) -> np.ndarray:
        """The number of each row."""
        return self._outputs(X)[:, 0]


ESTIMATORS = {"ShenduClassifier": ShenduClassifier, "ShenduRegressor": ShenduRegressor}


def _typed(X: Any) -> bool:
    """Whether X is a table whose columns have names and types of their own."""
    return hasattr(X, "__arrow_c_stream__")


def _dataset(column: Field, inputs: np.ndarray, goal: Field, targets: np.ndarray) -> Dataset:
    fields, splits = {"row": column, "target": goal}, {"train": {"row": inputs, "target": targets}}
    return cache.in_memory(cache.Decoded(fields=fields, splits=splits, inputs=("row",), targets=("target",)), "X")


def _trained(recipe: Recipe, device: str, limit: float, verbose: bool) -> tuple[nn.Module, int]:
    """The trained model in eval mode, and how many steps it took."""
    chosen = parallel.choose_device(device)
    say = print if verbose else lambda text: None
    setup = Setup(seed=recipe.seed, device=chosen, precision="auto", compile="off", time_limit=limit, say=say)
    with tempfile.TemporaryDirectory() as folder:
        model, at = train(recipe, Folder(folder), setup)
    return model.eval(), at.total
