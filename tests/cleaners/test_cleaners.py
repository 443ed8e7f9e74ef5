from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.cleaners.duplicates import Duplicates
from vertune.cleaners.length import Length
from vertune.cleaners.normalise import Normalise
from vertune.core.errors import ConfigError
from vertune.core.records import Column

COLUMNS = (Column("text", "A text."), Column("label", "Its class.", role="target", type="label"))
OPTIONS = st.builds(
    Normalise, form=st.sampled_from(["NFC", "NFKC"]), half_width=st.booleans(), spaces=st.sampled_from(["collapse", "keep"])
)


def table(*rows: tuple[str | None, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"text": [text for text, _ in rows], "label": [label for _, label in rows], "__file": "a.csv", "__row": range(1, len(rows) + 1)},
        schema_overrides={"text": pl.String},
    )


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({}, "cafe\u0301", "café"),
        ({}, "zero\u200bwidth and soft\u00adhyphen\ufeff", "zerowidth and softhyphen"),
        ({}, "bell\x07 and \x00nul", "bell and nul"),
        ({}, "  one\ttwo\n\nthree\u3000four ", "one two three four"),
        ({}, "ＡＢＣ，１２３", "ＡＢＣ，１２３"),
        ({"half_width": True}, "ＡＢＣ，１２３　元", "ABC,123 元"),
        ({"form": "NFKC"}, "ﬁne x²", "fine x2"),
        ({"spaces": "keep"}, " a\n\nb ", " a\n\nb "),
        ({}, "👩\u200d💻", "👩\u200d💻"),
        ({}, "می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_normalised_texts(options, text, expected):
    assert Normalise(**options).edit(text) == expected


@given(OPTIONS, st.text())
def test_normalising_twice_changes_nothing_more(cleaner, text):
    once = cleaner.edit(text)
    assert cleaner.edit(once) == once
    assert unicodedata.is_normalized(cleaner.form, once)


def test_a_dropped_copy_names_the_row_that_it_repeats():
    frame = table(("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"), ("a", "x"))
    cleaned = Duplicates().clean(frame, COLUMNS)
    assert cleaned.frame["__row"].to_list() == [1, 2, 3]
    assert [(row["row"], row["values"]["first"]) for row in cleaned.rejected] == [(4, "a.csv, row 1"), (5, "a.csv, row 1")]
    assert Duplicates(by="inputs").clean(frame, COLUMNS).frame["__row"].to_list() == [1, 2]


def test_lengths_are_counted_in_characters_without_white_space_at_the_ends():
    frame = table((" ab ", "x"), ("我", "x"), ("我的卡", "x"), ("abcdef", "x"), (None, "x"))
    cleaned = Length(least=2, most=4).clean(frame, COLUMNS)
    assert cleaned.frame["text"].to_list() == [" ab ", "我的卡", None]
    assert [row["reason"] for row in cleaned.rejected] == ["text has fewer than 2 characters", "text has more than 4 characters"]
    with pytest.raises(ConfigError, match="it would drop every text"):
        Length(least=5, most=4)
