from __future__ import annotations

import numpy as np
import pytest

from vertune.baselines.texts import Vectors

PAIRS = [
    {"text": "a red house", "text_pair": "a red house"},
    {"text": "a green tree", "text_pair": "one blue lake"},
    {"text": "房子很大", "text_pair": "房子很小"},
]


def test_a_pair_is_both_sides_their_products_and_their_cosine():
    vectors = Vectors(PAIRS)
    rows = vectors.of(PAIRS).toarray()
    assert rows.dtype == np.float32
    first = len(vectors.parts[0].vocabulary_)
    left, right, product, cosine = rows[:, :first], rows[:, first : 2 * first], rows[:, 2 * first : 3 * first], rows[:, 3 * first]
    assert product == pytest.approx(left * right)
    assert cosine == pytest.approx((left * right).sum(1))
    assert cosine[0] == pytest.approx(1)
    assert cosine[1] == 0
    assert rows.shape[1] == 3 * sum(len(part.vocabulary_) for part in vectors.parts) + 2


def test_characters_see_what_texts_without_spaces_share():
    rows = Vectors(PAIRS).of(PAIRS).toarray()
    assert 0 < rows[2, -1] < 1, "the last column is the cosine of characters"


@pytest.mark.parametrize("text", ["", "?!", "长" * 10_000])
def test_odd_texts_have_a_vector(text):
    vectors = Vectors([{"text": text}])
    assert np.isfinite(vectors.of([{"text": text}, {"text": "other"}]).toarray()).all()


def test_many_texts_of_which_no_two_share_a_word():
    records = [{"text": chr(0x4E00 + row)} for row in range(600)]
    assert Vectors(records).of(records).shape[0] == 600
