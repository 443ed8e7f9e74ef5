"""The classifier does what scikit-learn asks of one: clone, pipelines, cross-validation, grids, copies."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from tests.conftest import rows
from vertune.core.errors import DataError
from vertune.sklearn import VertuneClassifier

TEXTS = np.array([row["query"] for row in rows(36)], dtype=object)
LABELS = np.array([7 if row["kind"] == "food" else 12 for row in rows(36)])


@pytest.fixture(scope="module")
def new(tiny_base):
    return lambda **options: VertuneClassifier(
        **{"base": str(tiny_base), "method": "head", "config": {"training": {"epochs": 1}}, **options}
    )


@pytest.fixture(scope="module")
def learnt(new):
    return new().fit(TEXTS, LABELS)


def test_fit_gives_itself_and_its_classes(new):
    estimator = new()
    assert estimator.fit(list(TEXTS), list(LABELS)) is estimator
    assert estimator.classes_.tolist() == [7, 12]
    assert estimator.vertical_.config["method"]["name"] == "head"
    assert estimator.score(TEXTS, LABELS) == np.mean(estimator.predict(TEXTS) == LABELS) >= 0.9


def test_predict_gives_labels_of_the_given_type(learnt):
    assert is_classifier(learnt)
    found = learnt.predict(TEXTS[:3])
    assert found.dtype == LABELS.dtype
    assert learnt.predict([]).shape == (0,)


def test_probabilities_add_up_and_agree_with_the_labels(learnt):
    probabilities = learnt.predict_proba(TEXTS)
    assert probabilities.shape == (36, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (learnt.classes_[probabilities.argmax(axis=1)] == learnt.predict(TEXTS)).all()


def test_classes_stand_in_order_when_there_are_more_than_ten(new):
    texts = [f"{word} of {place}" for place in range(12) for word in ("bread", "cheese", "soup", "rice")]
    labels = [place for place in range(12) for _ in range(4)]
    estimator = new().fit(texts, labels)
    assert estimator.classes_.tolist() == list(range(12))
    answers = estimator.vertical_.predict(texts[:5])
    assert estimator.predict(texts[:5]).tolist() == [int(answer["label"]) for answer in answers]


def test_one_column_or_two_are_texts(new):
    frame = pd.DataFrame({"first": TEXTS, "second": TEXTS[::-1]})
    assert len(new().fit(frame, LABELS).predict(frame)) == 36
    assert len(new().fit(frame[["first"]], LABELS).predict(frame["first"])) == 36


def test_get_params_and_set_params(new):
    estimator = new(seed=3)
    assert estimator.get_params()["seed"] == 3
    assert set(estimator.get_params()) == {"base", "method", "time_limit", "seed", "config", "home"}
    assert estimator.set_params(seed=4).seed == 4


def test_clone_forgets_what_was_learnt(learnt):
    copied = clone(learnt)
    assert copied.get_params() == learnt.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(TEXTS)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda estimator: pickle.loads(pickle.dumps(estimator))])
def test_a_copy_stands_on_its_own(new, duplicate):
    estimator = new().fit(TEXTS, LABELS)
    expected = estimator.predict_proba(TEXTS)
    copied = duplicate(estimator)
    folder = estimator.vertical_.artifact.folder
    del estimator
    assert copied.vertical_.artifact.folder != folder
    np.testing.assert_array_equal(copied.predict_proba(TEXTS), expected)


def test_pipeline(new):
    shout = FunctionTransformer(lambda texts: np.array([text.upper() for text in texts], dtype=object))
    pipeline = Pipeline([("shout", shout), ("classify", new())]).fit(TEXTS, LABELS)
    assert pipeline.score(TEXTS, LABELS) >= 0.9
    assert pipeline.set_params(classify__seed=5).named_steps["classify"].seed == 5


def test_cross_val_score(new):
    scores = cross_val_score(new(), TEXTS, LABELS, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_grid_search(new):
    grid = GridSearchCV(new(), {"method": ["head", {"name": "lora", "rank": 2}]}, cv=2, scoring="accuracy").fit(TEXTS, LABELS)
    assert grid.best_params_["method"] in ("head", {"name": "lora", "rank": 2})
    assert grid.predict(TEXTS).shape == (36,)


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable", "check_estimator_repr", "check_estimator_tags_renamed",
        
        "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_get_params_invariance", "check_set_params",
        "check_valid_tag_types", "check_mixin_order",
    ],
)  # fmt: skip
def test_checks_of_scikit_learn(check):
    getattr(estimator_checks, check)("VertuneClassifier", VertuneClassifier())


def test_the_same_seed_gives_the_same_model(new, learnt):
    np.testing.assert_array_equal(new().fit(TEXTS, LABELS).predict_proba(TEXTS), learnt.predict_proba(TEXTS))


def test_a_home_keeps_the_model(new, tmp_path):
    estimator = new(home=tmp_path).fit(TEXTS, LABELS)
    assert estimator.vertical_.artifact.folder.is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        ([1, 2, 3, 4], [0, 1, 0, 1], "expected only texts"),
        (["a", None, "b", "c"], [0, 1, 0, 1], r"1 value of another type than str, the first in row 1"),
        (["a", "b", "c", "d"], [0.0, 1.0, np.nan, np.nan], "lack a value for 2 texts; the first of them has the index 2"),
        (["a", "b"], pd.Series(["x", None], dtype="string"), "lack a value for 1 text"),
        (["a", "b"], pd.Series(["x", None], dtype="str"), "lack a value for 1 text"),
        (["a", "b"], ["x", None], "lack a value for 1 text"),
        (["a", "b"], np.array(["x", 1], dtype=object), "types int and str"),
        (["a", "b"], ["x", "x"], "only 'x'; expected at least two"),
        (["a", "b"], [0], "one label"),
        (np.full((2, 3), "a", dtype=object), [0, 1], "shape"),
        (TEXTS, np.zeros(36), "label"),
    ],
)
def test_what_can_not_be_learnt_is_said(new, texts, labels, said):
    with pytest.raises(DataError, match=said):
        new().fit(texts, labels)
