from __future__ import annotations

import polars as pl
import pytest

from vertune.core.profile import SPLIT_WORDS
from vertune.core.records import Column
from vertune.data import profile
from vertune.splits.given import Given

WORDS = [(split, word) for split, words in SPLIT_WORDS.items() for word in words]


@pytest.mark.parametrize(("split", "word"), WORDS)
def test_a_word_with_which_init_recognises_a_column_of_splits_is_read(split, word):
    other = "test" if split == "train" else "train"
    frame = pl.DataFrame({"text": [f"text {row}" for row in range(40)], "part": [other] * 20 + [word] * 20})
    measured = next(one for one in profile.profile_table(frame).columns if one.name == "part")
    assert profile.names_splits(frame, measured)
    assert set(Given(by="part").divide(frame, [Column("text", "The text.")])[20:]) <= {split, "validation"}
