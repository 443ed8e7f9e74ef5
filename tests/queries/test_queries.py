"""What single queries choose, where the right choice is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vertune.core.query import Beliefs, Pool
from vertune.queries.badge import Badge
from vertune.queries.contrast import Contrast
from vertune.queries.core_set import CoreSet
from vertune.queries.coverage import Coverage
from vertune.queries.entropy import Entropy
from vertune.queries.least_confidence import LeastConfidence
from vertune.queries.margin import Margin
from vertune.queries.staged import Staged
from vertune.queries.typical import Typical
from vertune.queries.uniform import Uniform
from vertune.testing.queries import pool


def apart(angles: list[float]) -> np.ndarray:
    """Vectors of length 1 in a plane, at these angles in degrees."""
    turned = np.radians(angles)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def of(states: np.ndarray, labelled=(), probabilities=None) -> Pool:
    known = np.isin(np.arange(len(states)), list(labelled))
    return Pool(states, known, known, None if probabilities is None else Beliefs.of_classes(np.array(probabilities)))


@pytest.mark.parametrize(("query", "measure"), [(Margin(), "margin"), (LeastConfidence(), "confidence"), (Entropy(), "entropy")])
def test_the_most_doubtful_records_are_chosen(query, measure):
    one = pool(records=60, labelled=10)
    spread = replace(one, states=np.eye(60, dtype=np.float32))  # no two are alike
    values = getattr(one.beliefs, measure)[10:] * (-1 if measure == "entropy" else 1)
    assert query.pick(spread, 3).tolist() == (10 + np.argsort(values, kind="stable")[:3]).tolist()


def test_each_label_of_the_model_is_in_a_batch():
    probabilities = np.array([[0.5, 0.5 - 1e-3, 1e-3]] * 30 + [[0.01, 0.04, 0.95]])
    picked = Margin().pick(of(np.eye(31, dtype=np.float32), (), probabilities), 6)
    assert 30 in picked


def test_the_farthest_record_comes_first():
    picked = CoreSet().pick(of(apart([0, 10, 50, 90, 180]), labelled=[0]), 3)
    assert picked.tolist() == [4, 3, 2]


def test_a_typical_record_of_each_cluster_without_a_label_is_chosen():
    states = apart([0, 1, 2, 3, 4, 120, 121, 122, 240, 241, 242])
    assert sorted(row // 3 for row in (Typical().pick(of(states), 3) - 2).clip(0).tolist()) == [0, 1, 2]
    assert 0 not in (Typical().pick(of(states, labelled=[2]), 2) // 5).tolist()


def test_the_record_that_covers_most_comes_first():
    draw = np.random.default_rng(0)
    large, small = 10 + draw.normal(0, 1, 80), 100 + draw.normal(0, 1, 20)
    picked = Coverage().pick(of(apart([*large, *small])), 2)
    assert picked[0] < 80 <= picked[1]
    assert Coverage().pick(of(apart([*large, *small]), labelled=[0]), 1)[0] >= 80


def test_gradients_that_are_zero_are_not_drawn_first():
    probabilities = [[1.0, 0.0]] * 8 + [[0.5, 0.5], [0.45, 0.55]]
    assert set(Badge().pick(of(np.eye(10, dtype=np.float32), (), probabilities), 2).tolist()) == {8, 9}


def test_a_record_that_differs_from_its_neighbours_is_chosen():
    states = apart([0, 2, 4, 90, 92, 94])
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]]
    assert Contrast(neighbours=1).pick(of(states, [0, 3], probabilities), 1).tolist() == [2]


def test_random_choices_are_uniform():
    counts = np.zeros(20)
    for seed in range(400):
        counts[Uniform().pick(replace(pool(records=20, labelled=0, believes=False), seed=seed), 5)] += 1
    assert counts.sum() == 2000
    assert (abs(counts - 100) < 5 * (100 * 0.75) ** 0.5).all()


def test_a_tenth_of_staged_choices_is_random_however_small_the_batches_are():
    one, drawn = pool(records=300, labelled=20), 0
    certain = replace(one, beliefs=Beliefs.of_classes(np.eye(4)[np.arange(300) % 4] * 0.9 + 0.025))
    for seed in range(300):
        first = Staged().pick(replace(certain, seed=seed), 1)
        others = Staged(random=0.0).pick(replace(certain, seed=seed), 1)
        drawn += first.tolist() != others.tolist()
    assert 10 <= drawn <= 60
    assert Staged().random_share() == 0.1
