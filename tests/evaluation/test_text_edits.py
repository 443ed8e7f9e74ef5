"""Edits of texts in English and Chinese."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.core.behaviour import EditName
from vertune.evaluation.text_edits import variants

EDITS = get_args(EditName)


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        ("case", "My PIN is wrong", ["my pin is wrong", "MY PIN IS WRONG"]),
        ("case", "卡丢了", []),
        ("punctuation", "It is lost.", ["It is lost"]),
        ("punctuation", "卡丢了，怎么办？", ["卡丢了，怎么办", "卡丢了怎么办", "卡丢了,怎么办?"]),
        ("punctuation", "I paid 12.50 twice", ["I paid 12.50 twice."]),
        ("names", "please call back", []),
        ("numbers", "no digits", []),
        ("spaces", "two words", ["  two words ", "two  words"]),
        ("typos", "ok", []),
    ],
)
def test_edits(edit, text, expected):
    assert variants(text, edit) == expected


def test_numbers_keep_their_number_of_digits():
    [english] = variants("Order 4711 of 2030-01-09 costs 30", "numbers")
    assert english.startswith("Order ")
    assert [len(part) for part in english.split()] == [5, 4, 2, 10, 5, 2]
    [chinese] = variants("还差三百五十元", "numbers")
    assert chinese[3] + chinese[5:] == "百十元"
    assert chinese != "还差三百五十元"


@pytest.mark.parametrize(("text", "old"), [("Please call Mrs. Miller-Smith back", "Miller-Smith"), ("我叫王小明，卡丢了", "王小明")])
def test_names_are_replaced_and_the_rest_stays(text, old):
    found = variants(text, "names")
    assert len(found) == 2
    before, after = text.split(old)
    assert all(one.startswith(before) and one.endswith(after) and old not in one for one in found)


def test_typing_errors_keep_the_letters_of_each_word():
    [found] = variants("where is my replacement card", "typos")
    assert [sorted(word) for word in found.split()] == [sorted(word) for word in ["where", "is", "my", "replacement", "card"]]


def test_characters_that_sound_alike_are_confused():
    assert variants("请帮我查一下帐户", "typos") == ["请帮我查一下账户"]


TEXTS = st.text(st.sampled_from("aBc dE9.,!?银行卡，。的三百 <>_1"), max_size=40)


@pytest.mark.parametrize("edit", EDITS)
@given(TEXTS)
def test_an_edit_changes_the_text_in_the_same_way_each_time(edit, text):
    found = variants(text, edit)
    assert text not in found
    assert found == variants(text, edit)
    assert len(set(found)) == len(found) <= 3


@pytest.mark.parametrize("edit", EDITS)
def test_placeholders_stay(edit):
    assert all("<PHONE_1>" in one for one in variants("My number <PHONE_1> changed in 2030!", edit))
