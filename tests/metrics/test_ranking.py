"""Ranking scores against scikit-learn, and what ties are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.metrics import ranking


def _scores(relevant: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    row = ranking.statistics(ranking.ranks(relevant, scores), int(relevant.sum()))
    return {name: float(value) for name, value in ranking.summarise(row).items()}


@pytest.mark.parametrize("seed", range(10))
def test_equals_scikit_learn_without_ties(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    relevant = random.random(25) < 0.3
    relevant[random.integers(25)] = True
    scores = random.permutation(25).astype(float)
    found = _scores(relevant, scores)
    assert found["map"] == pytest.approx(metrics.average_precision_score(relevant, scores))
    assert found["ndcg_at_10"] == pytest.approx(metrics.ndcg_score(relevant[None], scores[None], k=10))
    order = relevant[np.argsort(-scores)]
    assert found["mrr"] == pytest.approx(1 / (1 + order.argmax()))
    assert found["recall_at_10"] == pytest.approx(order[:10].sum() / relevant.sum())
    assert found["recall_at_1"] == pytest.approx(order[0] / relevant.sum())


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=30), st.randoms())
def test_ranks_ignore_the_order_of_rows_and_count_ties_against(pairs: list[tuple[bool, int]], random: object) -> None:
    relevant = np.array([flag for flag, _ in pairs], bool)
    scores = np.array([score for _, score in pairs], float)
    worst = np.lexsort((relevant, -scores))
    assert ranking.ranks(relevant, scores).tolist() == (np.flatnonzero(relevant[worst]) + 1).tolist()


def test_a_constant_score_earns_what_the_last_places_earn() -> None:
    assert ranking.ranks(np.array([True, False, False]), np.zeros(3)).tolist() == [3]


def test_what_was_not_found_adds_nothing() -> None:
    row = ranking.statistics(np.array([1]), relevant=2)
    assert row.tolist() == [1.0, 0.5, 1.0, 0.5, 0.5, pytest.approx(1 / (1 + 1 / np.log2(3)))]
    assert ranking.statistics(np.array([], np.int64), relevant=2).tolist() == [1, 0, 0, 0, 0, 0]


def test_no_query_gives_zero_and_shapes_are_kept() -> None:
    assert all(value == 0 for value in ranking.summarise(np.zeros(6)).values())
    assert ranking.summarise(np.ones((7, 6)))["map"].shape == (7,)
