"""The language that is detected in texts, and how long that takes."""

from __future__ import annotations

import time

import pytest

from vertune.core.language import detect

EN = ["How do I locate my card?", "The machine kept my card", "Why was I charged a fee?", "card arrival pending", "Top-up failed, why?"]
ZH = ["信用卡丢了怎么办？", "这家店的外卖很好吃，就是送得太慢", "我想查询一下最近的账单", "iPhone 15 Pro Max 的屏幕坏了怎么修", "不错"]


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (EN, "English"),
        (ZH, "Chinese"),
        (EN + ZH, "mixed"),
        (["請問信用卡遺失了該怎麼辦", "這個產品非常好用"], "Chinese"),
        (["カードをなくしました。どうすればいいですか", "この料理は美味しい"], "Japanese"),
        (["카드를 잃어버렸어요", "배송이 너무 늦어요"], "Korean"),
        (["Где моя карта?", "Почему так долго?"], "Cyrillic script"),
        (["أين بطاقتي؟"], "Arabic script"),
        (["Πού είναι η κάρτα μου;"], "Greek"),
        (["บัตรของฉันอยู่ที่ไหน"], "Thai"),
        (["मेरा कार्ड कहाँ है"], "Devanagari script"),
        (["ბარათი დავკარგე"], "another script"),
        (["Wo ist meine Karte und warum kann ich sie nicht finden?", "Die Lieferung ist nicht da"], "German"),
        (["Où est ma carte ? Je ne la trouve pas dans mon sac", "La livraison n'est pas là pour moi"], "French"),
        (["¿Dónde está mi tarjeta? No la encuentro en el bolso"], "Spanish"),
        (["Zgubiłem kartę płatniczą", "Proszę o pomoc"], "another language in Latin letters"),
        (["Tôi bị mất thẻ tín dụng"], "another language in Latin letters"),
        (["USB cable 2m", "ThinkPad X1 Carbon"], "English"),
        ([], "none"),
        (["", "  "], "none"),
        (["👍👍", "🎉"], "none"),
        (["123-456", "99.5 %", "!!!"], "none"),
    ],
)
def test_the_language_is_detected(texts: list[str], name: str) -> None:
    assert detect(texts).name == name


def test_emoji_digits_and_addresses_do_not_change_the_language() -> None:
    assert detect([f"{text} 👍 12.5" for text in ZH]).name == "Chinese"
    assert detect([f"{text} 👍 – 12.5" for text in EN]).name == "English"


def test_shares_add_up_and_the_largest_is_first() -> None:
    found = detect(EN * 3 + ZH)
    assert sum(found.shares.values()) == pytest.approx(1, abs=0.001)
    assert next(iter(found.shares)) == "English"
    assert found.name == "mixed"
    assert found.sentence.startswith("English (")
    assert found.sampled == len(EN * 3 + ZH)


def test_a_few_foreign_words_leave_english_english() -> None:
    assert detect(EN * 20 + ["信用卡丢了"]).name == "English"


def test_many_long_texts_take_little_time() -> None:
    texts = [" ".join(EN) * 200, "".join(ZH) * 200] * 50_000
    started = time.process_time()
    found = detect(texts)
    assert time.process_time() - started < 2
    assert found.sampled == 2_000
