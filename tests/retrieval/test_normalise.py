"""Normal forms and terms of texts: idempotent, the same for what means the same, and syllables as speakers hear them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.retrieval import normalise, pinyin


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=30) | st.text("帳號龍賬著ＡＢａ①ﬁİßς\u200b\u3000\u0301 é", max_size=20))
def test_forms_are_idempotent(text: str) -> None:
    once = normalise.forms(text)
    assert normalise.forms(once) == once


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ＡＢＣ　１２３", "abc 123"),
        ("信用卡帳號遺失", "信用卡账号遗失"),
        ("關於銀行賬戶的問題", "关于银行账户的问题"),
        ("a\u200bccount\ufeff", "account"),
        ("Straße  \n Müller", "strasse müller"),
    ],
)
def test_forms_are_equal(one: str, other: str) -> None:
    assert normalise.forms(one) == normalise.forms(other)


def test_terms_are_words_characters_pairs_and_sounds() -> None:
    sounds = ["@xin", "@yon", "@zen", "@xin yon", "@yon zen"]
    assert normalise.terms("信用证 Cards") == ["信", "用", "证", "信用", "用证", "card", *sounds]


def test_english_endings_do_not_matter() -> None:
    assert normalise.terms("Blocking customers’ cards") == normalise.terms("blocked customer's card")


def test_codes_and_accents_stay() -> None:
    assert normalise.terms("Invoice AB12-77, naïve") == ["invoic", "ab12", "77", "naïve"]


@pytest.mark.parametrize("text", ["银行", "yinhang", "yin hang", "Yin'hang", "yínháng", "银hang", "yin行"])
def test_syllables_are_heard_however_they_are_written(text: str) -> None:
    assert "yin han" in _pairs(normalise.forms(text))


def test_characters_are_read_in_their_words() -> None:
    assert normalise.sounds("银行") == ["yin", "han"]
    assert normalise.sounds("行走") == ["xin", "zou"]


def test_all_frequent_readings_of_a_character_are_terms() -> None:
    assert {"@huan kuan", "@hai kuan", "@yue di"} <= set(normalise.terms("还款，约定、目的，月底"))
    assert [term for term in normalise.terms("请问") if "@" in term] == ["@qin", "@wen", "@qin wen"]


def test_confused_sounds_are_one() -> None:
    assert normalise.sounds("知道城市")[0] == normalise.sounds("资")[0]
    assert normalise.sounds("程") == normalise.sounds("陈") == normalise.sounds("岑")


def _pairs(plain: str) -> list[str]:
    """The pairs of syllables that a question may have."""
    heard = pinyin.heard(plain)
    chosen = [(heard.syllables[first].sounds, heard.syllables[second].sounds) for first, second in heard.pairs]
    return [f"{one} {other}" for first, second in chosen for one in first for other in second]


def test_all_divisions_with_the_fewest_syllables_are_followed() -> None:
    assert sorted(_pairs("fangan")) == ["fan an", "fan gan"]
    assert [one.sounds for one in pinyin.heard("xian").syllables] == [("xian",)]


def test_words_and_stops_divide_runs() -> None:
    assert _pairs("ka, diu") == []
    assert _pairs("wo xkcd de ka") == ["de ka"]


@pytest.mark.parametrize(("word", "expected"), [("xinyongka", True), ("lvse", True), ("ka", False), ("card", False), ("x" * 500, False)])
def test_is_pinyin(word: str, expected: bool) -> None:
    assert normalise.is_pinyin(word) == expected


def test_replaced_words_leave_the_rest_alone() -> None:
    assert normalise.replace_words("My CRAD, please! 卡", {"crad": "card"}) == "My card, please! 卡"
