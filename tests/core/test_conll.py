"""The tokens of a sentence are found in the text that a comment states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.core.conll import as_comment, join, placed, stated

words = st.lists(st.text("ab\"'李🎉{}[]\\,=#", min_size=1, max_size=4), min_size=1, max_size=6)
gaps = st.lists(st.text(" \t\n\r\u3000", max_size=2), min_size=7, max_size=7)


@given(words, gaps)
def test_a_stated_text_is_read_again(tokens, between):
    parts = [part for pair in zip(between, tokens, strict=False) for part in pair]
    text = "".join(parts) + between[-1]
    comment = as_comment(text)
    assert "\n" not in comment
    assert comment == comment.rstrip(" \t\r\n") or comment == "# text = "
    found = placed(tokens, stated(comment) or "")
    assert found is not None
    assert found[0] == text
    assert [text[start:end] for start, end in found[1]] == tokens


@pytest.mark.parametrize(
    ("tokens", "comment"), [(["a", "b"], "a c b"), (["a"], "b"), (["a"], "a b"), (["a", "b"], "b a"), (["a"], "3"), (["a"], '["a"]')]
)
def test_a_text_of_other_words_is_not_the_text(tokens, comment):
    assert placed(tokens, comment) is None


def test_quotes_around_a_text_are_part_of_it():
    assert placed(['"', "Yes", ".", '"'], '"Yes."') == ('"Yes."', [(0, 1), (1, 4), (4, 5), (5, 6)])


def test_only_one_comment_states_a_text():
    assert [stated(line) for line in ("# text = a b", "# text=a", "# sent_id = 4", "text = a", "")] == ["a b", None, None, None, None]


def test_tokens_are_joined_by_their_script():
    assert join(["Ada", "wrote"])[0] == "Ada wrote"
    assert join(["李", "娜", "。"]) == ("李娜。", [(0, 1), (1, 2), (2, 3)])
    assert join(["北京", "Ada"])[0] == "北京 Ada"
