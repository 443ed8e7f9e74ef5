"""Warnings about a base that does not know the language of the texts."""

from __future__ import annotations

import pytest

from vertune.core.language import detect
from vertune.reports.language import sentence, warning

ZH = detect(["信用卡丢了怎么办？", "外卖很好吃"]).as_json()
EN = detect(["How do I locate my card?", "The machine kept my card"]).as_json()
FR = detect(["Où est ma carte ? Je ne la trouve pas dans mon sac"]).as_json()


@pytest.mark.parametrize(
    ("base", "language", "unknown"),
    [
        ("minilm", EN, 0.0), ("e5", ZH, 0.01), ("e5", EN, 0.0), ("e5-zh-en", ZH, 0.0), ("owner/name", ZH, 0.0), ("minilm", None, None),
        ("minilm", detect([]).as_json(), 0.0),
    ],
)  # fmt: skip
def test_a_base_that_knows_the_language_gives_no_warning(base: str, language: dict, unknown: float) -> None:
    assert warning(base, language, unknown) is None


def test_the_language_is_named_as_the_cause() -> None:
    found = warning("minilm", ZH, 0.4)
    assert "made for English" in found
    assert "Chinese (100 %)" in found
    assert "40.0\N{NO-BREAK SPACE}% of the tokens are unknown to the base 'minilm'" in found
    assert "Choose base: e5" in found
    assert "made for Chinese and English" in warning("e5-zh-en", FR, 0.0)


def test_unknown_tokens_are_enough_for_a_warning() -> None:
    assert "does not know the language or the script" in warning("owner/name", EN, 0.2)
    assert warning("e5", EN, 0.2).endswith("Choose another base.")


def test_the_sentence_states_language_and_unknown_tokens() -> None:
    assert (
        sentence(ZH, 0.012)
        == "Language of the training texts, as detected: Chinese (100 %); 1.2\N{NO-BREAK SPACE}% of their tokens are unknown to the base."
    )
    assert sentence(None, None) == ""
