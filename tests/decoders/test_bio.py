"""Units, tags and the best valid tags, against a slow search and against themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.records import Feature, Places
from vertune.decoders import bio


def feature(offsets: list[tuple[int, int]], window: int = 0) -> Feature:
    """Tokens at these places between two special tokens."""
    size = len(offsets) + 2
    places = np.array([(0, 0), *offsets, (0, 0)], np.int32)
    segments = np.array([-1, *[0] * len(offsets), -1], np.int8)
    return Feature(0, "text", size, None, Places(segments, places), window=window)


def cut(text: str, offsets: list[tuple[int, int]]) -> list[str]:
    found = bio.units(text, feature(offsets), bio.inside(text))
    return [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "offsets", "expected"),
    [
        ("playing it", [(0, 4), (4, 7), (8, 10)], ["playing", "it"]),
        ("AL-AIN", [(0, 2), (2, 3), (3, 6)], ["AL", "-", "AIN"]),
        ("北京人", [(0, 1), (1, 2), (2, 3)], ["北", "京", "人"]),
        ("iPhone手机", [(0, 1), (1, 6), (6, 7), (7, 8)], ["iPhone", "手", "机"]),
        ("ab cd", [(0, 2), (2, 5)], ["ab", "cd"]),  # the space counted to the word
        ("ab  ", [(0, 2), (2, 4)], ["ab"]),  # a token of spaces
        ("😀x", [(0, 1), (0, 1), (0, 1), (1, 2)], ["😀", "x"]),  # bytes of one character
        ("你好", [(0, 1), (0, 2)], ["你好"]),  # a lone boundary mark before the word
        ("unbeliev", [(2, 5), (5, 8)], []),  # the window lacks the word's beginning
        ("unbelievable x", [(0, 2), (2, 5)], ["unbelievable"]),  # the window lacks its end
        ("", [], []),
    ],
)
def test_units_go_by_characters(text: str, offsets: list[tuple[int, int]], expected: list[str]) -> None:
    assert cut(text, offsets) == expected


def test_special_tokens_never_carry_a_tag() -> None:
    found = bio.units("ab", feature([(0, 2)]), bio.inside("ab"))
    assert found.tokens.tolist() == [1]


@given(st.data())
def test_spans_become_tags_and_spans_again(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 12))
    units = bio.Units(np.arange(length), np.arange(length) * 3, np.arange(length) * 3 + 2)
    borders = sorted(data.draw(st.sets(st.integers(0, length), max_size=8)))
    labels = ("a", "b")
    gold = [
        {"start": first * 3, "end": last * 3 - 1, "label": data.draw(st.sampled_from(labels))}
        for first, last in itertools.pairwise(borders)
        if data.draw(st.booleans())
    ]
    tagged, exact = bio.tags(gold, units, {"a": 0, "b": 1})
    assert all(exact)
    assert [span for span, _ in bio.spans(tagged, units, labels)] == gold


def test_a_span_that_does_not_fit_is_said_and_marks_what_it_touches() -> None:
    units = bio.Units(np.arange(3), np.array([0, 5, 10]), np.array([4, 9, 14]))
    tagged, exact = bio.tags([{"start": 6, "end": 12, "label": "a"}, {"start": 4, "end": 5, "label": "a"}], units, {"a": 0})
    assert tagged.tolist() == [0, 1, 2]
    assert exact == [False, False]


def _valid(tags: tuple[int, ...]) -> bool:
    return all(tag == 0 or tag % 2 or (place and tags[place - 1] in (tag, tag - 1)) for place, tag in enumerate(tags))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_viterbi_finds_the_best_of_all_valid_tags(seed: int, lengths: list[int]) -> None:
    random = np.random.default_rng(seed)
    scores = [np.log(random.dirichlet(np.ones(5) * 0.5, size=length)).reshape(length, 5) for length in lengths]
    for score, path in zip(scores, bio.viterbi(scores), strict=True):
        assert len(path) == len(score)
        assert _valid(tuple(path))
        best = max(
            sum(score[place, tag] for place, tag in enumerate(tags))
            for tags in itertools.product(range(5), repeat=len(score))
            if _valid(tags)
        )
        assert sum(score[place, tag] for place, tag in enumerate(path)) == pytest.approx(best)


def test_longest_of_overlapping_spans_is_kept() -> None:
    spans = [{"start": 0, "end": 3, "label": "a"}, {"start": 2, "end": 8, "label": "b"}, {"start": 8, "end": 9, "label": "a"}]
    assert bio.longest([*spans, {**spans[1], "label": "c"}]) == spans[1:]


def test_windows_give_each_unit_where_it_has_most_context() -> None:
    text = "a b c d e f"
    places = [(2 * number, 2 * number + 1) for number in range(6)]
    windows = [feature(places[:4]), feature(places[2:])]
    cuts = [bio.units(text, window, bio.inside(text)) for window in windows]
    merged, chosen = bio.merge(cuts, windows)
    assert merged.starts.tolist() == [0, 2, 4, 6, 8, 10]
    assert chosen.tolist() == [0, 0, 0, 1, 1, 1]
    assert merged.tokens.tolist() == [1, 2, 3, 2, 3, 4]
