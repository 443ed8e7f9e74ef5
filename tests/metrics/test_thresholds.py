from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from vertune.metrics import thresholds


def _drawn(seed, rows=200, labels=4, share=0.3):
    random = np.random.default_rng(seed)
    truth = random.random((rows, labels)) < share
    probability = np.clip(0.25 * truth + random.random((rows, labels)) * 0.6, 0, 1).round(1)
    return truth, probability


@pytest.mark.parametrize("seed", range(4))
def test_each_label_takes_its_best_cut(seed):
    truth, probability = _drawn(seed)
    found = thresholds.best(truth, probability, "macro")
    for label in range(truth.shape[1]):
        tried = [f1_score(truth[:, label], probability[:, label] >= cut) for cut in np.arange(0.05, 1, 0.1)]
        assert f1_score(truth[:, label], probability[:, label] >= found[label]) == pytest.approx(max(tried))


@pytest.mark.parametrize("seed", range(4))
def test_micro_f1_is_at_least_that_of_any_common_threshold_and_of_any_change_of_one(seed):
    truth, probability = _drawn(seed, labels=3)
    found = thresholds.best(truth, probability, "micro")
    best = f1_score(truth, probability >= found, average="micro")
    for cut in np.arange(0.05, 1, 0.1):
        assert best >= f1_score(truth, probability >= cut, average="micro") - 1e-12
        for label in range(3):
            changed = found.copy()
            changed[label] = cut
            assert best >= f1_score(truth, probability >= changed, average="micro") - 1e-12


def test_a_rare_label_shares_the_threshold_of_all():
    truth, probability = _drawn(0, labels=3)
    truth[:, 2] = False
    truth[: thresholds.ENOUGH - 1, 2] = True
    probability[:, 2] = 0.9
    probability[:, 1] /= 3
    found = thresholds.learn(truth, probability)
    assert found[2] == thresholds._common(truth, probability)
    assert len(set(found.tolist())) > 1


def test_a_label_is_trusted_the_more_the_more_positive_rows_it_has():
    truth, probability = _drawn(0, labels=3)
    probability[:, 1] /= 3
    own, common = thresholds.best(truth, probability, "micro")[1], thresholds._common(truth, probability)
    few, many = (thresholds.learn(np.tile(truth, (n, 1)), np.tile(probability, (n, 1)))[1] for n in (1, 20))
    assert own < many < few < common
    assert many == pytest.approx(own, abs=0.01)


def test_without_any_positive_row_the_threshold_is_one_half():
    assert thresholds.learn(np.zeros((5, 2), bool), np.random.default_rng(0).random((5, 2))).tolist() == [0.5, 0.5]
