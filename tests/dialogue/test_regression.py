"""The regression over a few values, against that of scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vertune.core.errors import DataError
from vertune.dialogue.regression import Regression

NAMES = ("fit", "lead", "meaning")
ROWS = 300


@pytest.fixture(scope="module")
def rows() -> Any:
    return np.random.default_rng(0).normal(size=(ROWS, len(NAMES))) * [1.0, 5.0, 0.1] + [0.0, 3.0, 1.0]


@pytest.fixture(scope="module")
def positive(rows: Any) -> Any:
    noise = np.random.default_rng(1).normal(size=ROWS)
    return rows[:, 0] + 0.3 * rows[:, 1] + 10 * rows[:, 2] + noise > 11


def test_it_is_the_regression_of_scikit_learn(rows: Any, positive: Any) -> None:
    values = (rows - rows.mean(0)) / rows.std(0)
    oracle = LogisticRegression(max_iter=1_000).fit(values, positive)
    assert Regression.fit(rows, positive, NAMES).score(rows) == pytest.approx(oracle.predict_proba(values)[:, 1], abs=1e-6)


def test_held_out_scores_are_those_of_fits_without_the_row(rows: Any, positive: Any) -> None:
    scores = Regression.held_out(rows, positive, NAMES)
    fold = np.random.default_rng(0).permutation(ROWS) % 5
    fitted = Regression.fit(rows[fold != 0], positive[fold != 0], NAMES)
    assert scores[fold == 0] == pytest.approx(fitted.score(rows[fold == 0]))


def test_columns_without_a_value_are_left_out_and_named_if_they_are_missing_later(rows: Any, positive: Any) -> None:
    bare = rows.copy()
    bare[7, 1] = np.nan
    model = Regression.fit(bare, positive, NAMES)
    assert (model.columns, model.names) == ((0, 2), ("fit", "meaning"))
    assert model.score(rows) == pytest.approx(model.score(bare))
    with pytest.raises(DataError, match="values lead are missing"):
        Regression.fit(rows, positive, NAMES).score(bare)


def test_what_is_stored_scores_the_same_also_without_names(rows: Any, positive: Any) -> None:
    model = Regression.fit(rows, positive, NAMES)
    stored = json.loads(json.dumps(model.as_json()))
    assert Regression.read(stored) == model
    old = Regression.read({name: value for name, value in stored.items() if name != "names"})
    assert np.array_equal(old.score(rows), model.score(rows))
    with pytest.raises(DataError, match="values 2 are missing"):
        old.score(np.array([[0.0, 0.0, np.nan]]))


def test_too_few_rows_are_refused(rows: Any, positive: Any) -> None:
    few = np.concatenate([np.flatnonzero(positive)[:3], np.flatnonzero(~positive)])
    with pytest.raises(DataError, match="3 rows of one kind"):
        Regression.fit(rows[few], positive[few], NAMES)
