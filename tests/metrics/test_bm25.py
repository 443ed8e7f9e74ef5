"""BM25 against rank-bm25."""

from __future__ import annotations

import numpy as np
import pytest

from vertune.metrics.bm25 import BM25


@pytest.mark.parametrize("seed", range(5))
def test_equals_rank_bm25(seed: int) -> None:
    rank_bm25 = pytest.importorskip("rank_bm25")
    random = np.random.default_rng(seed)
    vocabulary = [f"w{number}" for number in range(30)]
    documents = [random.choice(vocabulary, size=random.integers(1, 25), p=_skewed(30)).tolist() for _ in range(40)]
    query = random.choice([*vocabulary, "unseen"], size=6).tolist()
    expected = rank_bm25.BM25Okapi(documents).get_scores(query)
    np.testing.assert_allclose(BM25(documents).scores(query), expected, rtol=1e-9)


def _skewed(size: int) -> np.ndarray:
    weights = 1 / np.arange(1, size + 1)
    return weights / weights.sum()


def test_no_documents_and_no_known_term() -> None:
    assert BM25([]).scores(["a"]).shape == (0,)
    assert BM25([["a"], []]).scores(["b"]).tolist() == [0.0, 0.0]
