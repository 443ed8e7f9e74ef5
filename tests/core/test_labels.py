"""Spellings of one label have one key, and different labels have different ones."""

from __future__ import annotations

import unicodedata

import pytest

from vertune.core import labels

SAME = [
    ("Security", "security"),
    ("card lost", " card  lost\n"),
    ("caf\u00e9", "cafe\u0301"),
    ("ABC-1", "ＡＢＣ－１"),
    ("x\u200by", "xy"),
    ("\ufeffwheel", "wheel"),
    ("Straße", "STRASSE"),
    ("退款 一", "退款\u3000一"),
    ("投诉", "投 诉"),
    ("投诉 A", "投  诉 a"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_label_agree(one, other) -> None:
    assert labels.key(one) == labels.key(other)
    assert labels.nearly_equal({one: 2, other: 3, "else": 9}) == [{other: 3, one: 2}]


@pytest.mark.parametrize(("one", "other"), [("A", "A-"), ("1", "10"), ("card_lost", "cardlost"), ("退款", "退货"), ("a b", "ab")])
def test_different_labels_stay_different(one, other) -> None:
    assert labels.key(one) != labels.key(other)
    assert labels.nearly_equal({one: 2, other: 3}) == []


def test_labels_that_look_alike_are_told_apart() -> None:
    for one, other in SAME:
        assert labels.quoted(one) != labels.quoted(other)
    assert labels.quoted("café") == "'café'"
    assert labels.quoted(unicodedata.normalize("NFD", "café")) == "'cafe\\u0301'"
