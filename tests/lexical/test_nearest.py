"""The nearest texts against scikit-learn's TF-IDF, and where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from vertune.lexical.nearest import TextIndex

WORDS = ["card", "lost", "fee", "abroad", "transfer", "cash", "machine", "kept", "new", "old", "when", "where", "why"]


def made(random, count):
    return [" ".join(random.choice(WORDS, random.integers(1, 9))) for _ in range(count)]


def test_equals_the_cosines_of_scikit_learn() -> None:
    """A pair of words that no text has counts here, and not there, so that only the order can be compared then."""
    random = np.random.default_rng(0)
    texts = made(random, 80)
    asked = [*made(random, 20), *texts[:5]]
    oracle = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    expected = (oracle.fit_transform(texts) @ oracle.transform(asked).T).toarray()
    analyse, index = oracle.build_analyzer(), TextIndex.of(texts)
    equal = 0
    for place, text in enumerate(asked):
        if all(word in oracle.vocabulary_ for word in analyse(text)):
            found = dict(index.nearest(text, len(texts)))
            assert [found.get(row, 0.0) for row in range(len(texts))] == pytest.approx(expected[:, place], abs=1e-5)
            equal += 1
        order = [row for row, _ in index.nearest(text, 5)]
        assert [expected[row, place] for row in order] == pytest.approx(sorted(expected[:, place], reverse=True)[: len(order)], abs=1e-5)
    assert equal >= 5


def test_the_same_text_comes_first_and_unlike_ones_not_at_all() -> None:
    index = TextIndex.of(["我的卡丢了", "Where is my CARD?", "", "the fee", "where is my card"])
    assert index.nearest("Where is my card", 2) == [(1, pytest.approx(1)), (4, pytest.approx(1))]
    assert index.nearest("卡在哪里", 9)[0][0] == 0
    assert index.nearest("nothing alike", 9) == []
    assert index.nearest("", 9) == []
    assert TextIndex.of([]).nearest("card", 9) == []
