"""SQuAD's exact match and F1, checked by hand and by properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.metrics.squad import exact, f1, tokens


@pytest.mark.parametrize(
    ("answer", "accepted", "match", "overlap"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 1, 1),
        ("an apple a day", ["apple day"], 1, 1),
        ("Denver Broncos", ["Denver", "the Denver Broncos"], 1, 1),
        ("in 1990", ["1990"], 0, 2 / 3),
        ("U.S.", ["US"], 1, 1),
        ("twenty-one", ["twenty one"], 0, 0),
        ("", [], 1, 1),
        ("something", [], 0, 0),
        ("", ["something"], 0, 0),
        ("x x b", ["b b x"], 0, 2 / 3),
        ("the", ["a"], 1, 1),
    ],
)
def test_english(answer: str, accepted: list[str], match: float, overlap: float) -> None:
    assert exact(answer, accepted) == match
    assert f1(answer, accepted) == pytest.approx(overlap)


def test_chinese_is_compared_by_characters_without_punctuation() -> None:
    assert tokens("《红楼梦》的作者，Cao 1715年") == ["红", "楼", "梦", "的", "作", "者", "cao", "1715", "年"]
    assert exact("北京。", ["北京"]) == 1
    assert f1("北京市", ["北京"]) == pytest.approx(0.8)


@given(st.text(max_size=20), st.text(max_size=20))
def test_f1_is_symmetric_bounded_and_one_for_an_exact_match(one: str, other: str) -> None:
    assert f1(one, [other]) == pytest.approx(f1(other, [one]))
    assert 0 <= f1(one, [other]) <= 1
    assert f1(one, [one]) == exact(one, [one]) == 1
    assert exact(one, [other]) <= f1(one, [other])
