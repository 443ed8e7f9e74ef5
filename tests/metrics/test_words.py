"""Words where spaces divide words, characters where they don't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.metrics.words import pieces, runs, split_unspaced, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Al-Ain, U.S.", ["Al", "-", "Ain", ",", "U", ".", "S", "."]),
        ("iPhone手机", ["iPhone", "手", "机"]),
        ("カメラ 2024年", ["カ", "メ", "ラ", "2024", "年"]),
        ("สวัสดี ok", ["ส", "ว", "ั", "ส", "ด", "ี", "ok"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301s Привет", ["cafe\u0301s", "Привет"]),
        ("서울에서", ["서", "울", "에", "서"]),
        ("a_b", ["a", "_", "b"]),
        ("", []),
    ],
)
def test_pieces_are_words_or_single_characters(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in pieces(text)] == expected


@given(st.text())
def test_pieces_hold_every_visible_character_once(text: str) -> None:
    held = "".join(text[start:end] for start, end in pieces(text))
    assert [char for char in held if not char.isspace()] == [char for char in text if not char.isspace()]
    assert set(runs(text)) <= set(pieces(text))


def test_words_leave_punctuation_out_and_terms_add_pairs_of_unspaced_neighbours() -> None:
    assert words("The U.S., 北京!") == ["the", "u", "s", "北", "京"]
    assert terms("Tea 北京人 tea") == ["tea", "北", "京", "人", "tea", "北京", "京人"]
    assert split_unspaced("in北京 now") == ["in", "北", "京", "now"]
