from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from vertune.metrics import classification


@pytest.fixture(autouse=True)
def _quiet():
    """The oracle warns of classes without rows; what it returns for them is what is compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


classes = st.integers(2, 6)


@st.composite
def answered(draw):
    count = draw(classes)
    rows = draw(st.integers(1, 40))
    labels = st.lists(st.integers(0, count - 1), min_size=rows, max_size=rows)
    return count, np.array(draw(labels)), np.array(draw(labels))


@given(answered())
@settings(max_examples=30, deadline=None)
def test_single_label_metrics_equal_those_of_scikit_learn(case):
    count, truth, guess = case
    found = classification.summarise(classification.tally(truth, guess, count).sum(0), count)
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(truth, guess, average="macro"))
    assert found["weighted_f1"] == pytest.approx(oracle.f1_score(truth, guess, average="weighted"))
    assert found["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, guess))
    assert found["mcc"] == pytest.approx(oracle.matthews_corrcoef(truth, guess), abs=1e-9)
    cells = classification.confusion(truth, guess, count)
    matrix = np.zeros((count, count), int)
    for row, column, number in cells:
        matrix[row, column] = number
    assert (matrix == oracle.confusion_matrix(truth, guess, labels=range(count))).all()
    numbers = [number for _, _, number in cells]
    assert 0 not in numbers
    assert numbers == sorted(numbers, reverse=True)


def test_metrics_of_a_subset_of_rows_are_those_of_its_tallies():
    random = np.random.default_rng(0)
    truth, guess = random.integers(77, size=500), random.integers(77, size=500)
    tally = classification.tally(truth, guess, 77)
    draws = random.integers(500, size=(4, 500))
    many = classification.summarise(np.stack([tally[rows].sum(0) for rows in draws]), 77)
    assert many["macro_f1"] == pytest.approx([oracle.f1_score(truth[rows], guess[rows], average="macro") for rows in draws])


@st.composite
def sets(draw):
    shape = draw(st.integers(1, 20)), draw(st.integers(2, 5))
    cells = st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    return np.array(draw(cells)).reshape(shape), np.array(draw(cells)).reshape(shape)


@given(sets())
@settings(max_examples=30, deadline=None)
def test_metrics_of_label_sets_equal_those_of_scikit_learn(case):
    truth, guess = case
    found = classification.summarise_sets(classification.tally_sets(truth, guess).sum(0), truth.shape[1])
    assert found["micro_f1"] == pytest.approx(oracle.f1_score(truth, guess, average="micro", zero_division=0))
    assert found["weighted_f1"] == pytest.approx(oracle.f1_score(truth, guess, average="weighted", zero_division=0))
    assert found["samples_f1"] == pytest.approx(oracle.f1_score(truth, guess, average="samples", zero_division=1))
    assert found["micro_precision"] == pytest.approx(oracle.precision_score(truth, guess, average="micro", zero_division=0))
    assert found["micro_recall"] == pytest.approx(oracle.recall_score(truth, guess, average="micro", zero_division=0))
    assert found["subset_accuracy"] == pytest.approx((truth == guess).all(1).mean())
    assert found["hamming_loss"] == pytest.approx(oracle.hamming_loss(truth, guess))
    present = (truth | guess).any(0)
    each = oracle.f1_score(truth, guess, average=None, zero_division=0)[present]
    assert found["macro_f1"] == pytest.approx(each.mean() if len(each) else 0)


def test_scores_of_each_class_equal_those_of_scikit_learn():
    random = np.random.default_rng(1)
    truth, guess = random.integers(4, size=200), random.integers(3, size=200)
    rows = classification.per_class(classification.tally(truth, guess, 4).sum(0), list("abcd"))
    columns = oracle.precision_recall_fscore_support(truth, guess, labels=range(4), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        assert [row[name] for row in rows] == pytest.approx(column.tolist())
    assert [row["label"] for row in rows] == list("abcd")


def test_nothing_scores_nothing():
    for value in classification.summarise(np.zeros((2, 9)), 3).values():
        assert value.tolist() == [0, 0]
