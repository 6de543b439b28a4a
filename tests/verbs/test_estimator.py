"""ShenduClassifier and ShenduRegressor keep scikit-learn's own contract, and learn from typed columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from shendu import ShenduClassifier, ShenduRegressor, UserError
from shendu.run import Folder

SMALL: dict[str, Any] = {"steps": 60, "settings": {"members": 4, "hidden": "32", "pieces": 8}}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [ShenduClassifier, ShenduRegressor])
def test_scikit_learns_own_checks(kind: Any) -> None:
    found = check_estimator(kind(**SMALL), on_fail=None, on_skip=None)
    assert [c["check_name"] for c in found if c["status"] == "failed"] == []
    assert sum(c["status"] == "passed" for c in found) >= 50


@pytest.fixture(scope="module")
def people() -> Any:
    """Pay follows from the trade and the years, and liking the job from a word in what was said of it."""
    rng = np.random.default_rng(0)
    trade, years = rng.choice(["baker", "nurse", "pilot"], 400), rng.uniform(0, 30, 400)
    pay = pd.Series(trade).map({"baker": 1.0, "nurse": 2.0, "pilot": 4.0}).to_numpy() + years / 10
    happy = rng.random(400) < 0.5
    words = np.where(happy, "what a wonderful day of work", "such a dreadful day of work")
    said = [f"{text} number {i} {rng.choice(['today', 'again', 'really', 'still'])}" for i, text in enumerate(words)]
    frame = pd.DataFrame({"trade": trade, "years": np.where(rng.random(400) < 0.1, np.nan, years), "said": said})
    return frame, pay, np.where(happy, "yes", "no")


def test_numbers_categories_and_text_of_a_frame(people: Any) -> None:
    frame, pay, happy = people
    regressor = ShenduRegressor(**SMALL).fit(frame[:300], pay[:300])
    assert regressor.score(frame[300:], pay[300:]) > 0.7
    classifier = ShenduClassifier(**SMALL).fit(frame[:300], happy[:300])
    assert classifier.score(frame[300:], happy[300:]) > 0.95
    assert list(classifier.classes_) == ["no", "yes"]
    assert list(classifier.feature_names_in_) == ["trade", "years", "said"]
    shares = classifier.predict_proba(frame[300:])
    assert np.allclose(shares.sum(1), 1)
    unseen = frame[300:].assign(trade="astronaut")
    with pytest.warns(
        UserWarning, match="column trade: none of its values is one that training had, such as 'astronaut'"
    ):
        assert len(classifier.predict(unseen)) == 100
    arrow = pa.Table.from_pandas(frame[300:], preserve_index=False)
    assert (classifier.predict(arrow) == classifier.predict(frame[300:])).all()


def test_a_renamed_column_is_told(people: Any) -> None:
    frame, pay, _ = people
    fitted = ShenduRegressor(**SMALL).fit(frame[["trade", "years"]], pay)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame[["trade", "years"]].rename(columns={"years": "year"}))


def test_in_a_pipeline_a_search_and_cloned() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    search = GridSearchCV(ShenduClassifier(**SMALL), {"lr": [1e-6, 0.01]}, cv=2).fit(x, y)
    assert search.best_params_ == {"lr": 0.01}
    scores = cross_val_score(make_pipeline(StandardScaler(), clone(search.best_estimator_)), x, y, cv=3)
    assert scores.mean() > 0.8


def test_saved_and_loaded_without_pickle(people: Any, tmp_path: Path) -> None:
    frame, pay, happy = people
    for kind, target in ((ShenduClassifier, happy), (ShenduRegressor, pay)):
        fitted = kind(**SMALL).fit(frame, target)
        again = kind.load(fitted.save(tmp_path / kind.__name__))
        again = kind.load(again.save(tmp_path / f"{kind.__name__} again"))
        assert (again.predict(frame) == fitted.predict(frame)).all()
        assert again.get_params() == fitted.get_params()
    other = tmp_path / "other"
    other.mkdir()
    Folder(other).write("recipe.json", {})
    with pytest.raises(UserError, match="holds no estimator"):
        ShenduClassifier.load(other)


def test_other_systems_and_seeds() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5, 0.0])
    linear = ShenduRegressor("linear").fit(x, y)
    assert linear.score(x, y) > 0.99
    one, two = (ShenduRegressor(random_state=seed, **SMALL).fit(x, y).predict(x) for seed in (0, 1))
    assert not np.allclose(one, two)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShenduClassifier().fit(np.zeros((9, 2)), np.zeros(9)), "y has only one class (0.0)"),
        (lambda: ShenduRegressor(system="lenet").fit(np.eye(30), np.arange(30.0)), "lenet reads pictures"),
        (lambda: ShenduRegressor(system="tabn").fit(np.eye(30), np.arange(30.0)), "did you mean 'tabm'?"),
        (lambda: ShenduRegressor(time_limit="soon").fit(np.eye(30), np.arange(30.0)), "--time-limit soon is no length"),
    ],
)
def test_mistakes_are_one_line(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([1, 2] * 30, dtype="Int64"), pd.Series(["b", "a"] * 30, dtype="category"), pd.Series([True, False] * 30, dtype="boolean"),
        np.array([1, 2] * 30, object), np.array(["1", "01"] * 30), np.array([2**60, 2**60 + 1] * 30), pd.Series(["u", "NA"] * 30),
    ],
)  # fmt: skip
def test_classes_are_the_values_that_they_were(y: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((60, 2))
    made = ShenduClassifier(**{**SMALL, "steps": 3}).fit(pd.DataFrame(x, columns=["a", "b"]), y)
    assert set(made.predict(pd.DataFrame(x, columns=["a", "b"])).tolist()) <= set(y)
    made.save(tmp_path / "kept")
    loaded = ShenduClassifier.load(tmp_path / "kept")
    assert loaded.classes_.tolist() == made.classes_.tolist()
    assert list(map(type, loaded.classes_.tolist())) == list(map(type, made.classes_.tolist()))


def test_an_index_is_no_column_and_unread_cells_are_warned_of() -> None:
    frame = pd.DataFrame(
        {"a": np.arange(60) / 7, "b": np.sin(np.arange(60))}, index=pd.Index(np.arange(60)[::-1], name="id")
    )
    made = ShenduClassifier(**{**SMALL, "steps": 3}).fit(frame, [0, 1] * 30)
    assert [column.name for column in made.task_.input.columns] == ["a", "b"]
    with pytest.warns(UserWarning, match="column a: 1 cell cannot be read, such as 'err', and counts as missing"):
        made.predict(pd.DataFrame({"a": ["1.5", "err"], "b": [1, 2]}))
