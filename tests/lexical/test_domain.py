"""Texts are told apart by their words, as well as scikit-learn does, and not where both are alike."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from vertune.lexical.domain import known_words, tell_apart, words_of

WORDS = [f"word{number}" for number in range(80)]


def texts(count: int, seed: int, new: float = 0.0) -> list[str]:
    """Texts of random words, a share of them of other words."""
    random = np.random.default_rng(seed)
    topic = [f"topic{number}" for number in range(20)]
    return [" ".join(random.choice(topic if random.random() < new else WORDS, 7)) for _ in range(count)]


def test_equal_collections_are_told_apart_by_chance_alone():
    found = [tell_apart(texts(100, seed), texts(50, 1000 + seed)).p for seed in range(30)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_a_new_topic_is_seen_and_named():
    found = tell_apart(texts(800, 0), texts(300, 1, new=0.1))
    assert found.p < 1e-5
    assert 0.52 < found.area < 0.62
    assert found.low < found.area < found.high
    assert {word.word[:5] for word in found.words} == {"topic"}
    assert all(word.window > word.reference == 0 for word in found.words)


def test_the_area_is_near_that_of_a_regression_on_the_same_words():
    one, other = texts(400, 0), texts(300, 1, new=0.5)
    vectors = TfidfVectorizer().fit_transform([*one, *other])
    truth = np.arange(700) >= 400
    scores = cross_val_predict(LogisticRegression(C=10), vectors, truth, cv=5, method="decision_function")
    assert abs(tell_apart(one, other).area - roc_auc_score(truth, scores)) < 0.04


def test_words_of_new_texts_are_known_or_not():
    own, known = known_words(["a b", "a c", "c"], ["a z", "", "b"])
    assert own.tolist() == [0.5, 1.0, 1.0]
    assert known.tolist() == [0.5, 0.0, 1.0]
    assert known_words(texts(300, 0), texts(200, 1))[1].mean() > 0.99


def test_words_of_any_script():
    assert words_of("Ein BÄR, 3x") == ["ein", "bär", "3x"]
    assert words_of("转账 card") == ["转", "账", "card"]


def test_few_and_empty_texts_are_no_error():
    assert tell_apart(["a b", "a b", ""], ["", "a b"]).area >= 0
    assert tell_apart(["x"], ["y"]).words == []
