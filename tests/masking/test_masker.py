"""Equal values get equal placeholders, overlapping places the longest one, and no character outside of a place changes."""

from __future__ import annotations

import random
import re
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.cleaners.mask import MaskData
from vertune.core import part
from vertune.core.errors import ConfigError
from vertune.core.kinds import Cleaner, Mask
from vertune.core.parse import build
from vertune.core.records import Column
from vertune.masking import Masker

ALL = Masker([build(Mask, name) for name in part.names("masks")])
COLUMNS = (Column("text", "A text."), Column("label", "A class.", role="target", type="label"))


def test_equal_values_of_a_record_have_the_same_number() -> None:
    found = ALL.record(["我叫王芳，电话13812345678", "call 138-1234-5678 or +44 20 7946 0958", "138 1234 5678 belongs to me"])
    assert found.texts == ["我叫<NAME_1>，电话<PHONE_1>", "call <PHONE_1> or <PHONE_2>", "<PHONE_1> belongs to me"]
    assert found.counts == {"NAME": 1, "PHONE": 4}


def test_placeholders_of_a_text_stay_and_keep_their_numbers() -> None:
    assert ALL.text("<PHONE_1> is not 415-736-5000") == "<PHONE_1> is not <PHONE_2>"


def test_the_longest_of_overlapping_places_counts() -> None:
    assert ALL.text("see https://anna:s3cret@example.com/x?mail=a@b.com") == "see <URL_1>"
    assert ALL.text("IBAN DE89 3704 0044 0532 0130 00.") == "IBAN <IBAN_1>."


@given(st.text(max_size=80))
def test_any_text_is_masked_once_and_keeps_the_rest(text: str) -> None:
    once = ALL.text(text)
    assert ALL.text(once) == once
    rest = re.split(r"<[A-Z_]+_\d+>", once)
    position = 0
    for piece in rest:
        position = text.index(piece, position) + len(piece)


@pytest.mark.parametrize("piece", ["密码", "https://", "市区路1号", "?token="])
def test_hostile_texts_take_no_time_by_their_length_squared(piece: str) -> None:
    text = piece * (60_000 // len(piece))
    started = time.process_time()
    ALL.text(text)
    assert time.process_time() - started < 1.2


def test_generated_values_are_masked_and_look_alikes_are_not() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        import masking as generated
    finally:
        sys.path.pop(0)
    draw, cleaner = random.Random(7), MaskData()
    missed = []
    for place in range(600):
        kind = list(generated.KINDS)[place % len(generated.KINDS)]
        text, value = generated.known(draw, kind)
        if text.replace(value, f"<{generated.KINDS[kind][0]}_1>") != cleaner.edit(text):
            missed.append((text, cleaner.edit(text)))
    assert len(missed) <= 3, missed
    wrong = [text for text in (generated.look_alike(draw) for _ in range(600)) if cleaner.edit(text) != text]
    assert len(wrong) <= 2, wrong


def test_the_cleaner_shows_no_value_in_its_note() -> None:
    frame = pl.DataFrame(
        {"text": ["mail a@example.com", "nothing"], "label": ["x@example.com", "y"], "__file": ["f", "f"], "__row": [1, 2]}
    )
    cleaned = MaskData().clean(frame, COLUMNS)
    assert cleaned.frame["text"].to_list() == ["mail <MAIL_1>", "nothing"]
    assert cleaned.frame["label"].to_list() == ["x@example.com", "y"], "targets stay"
    assert [(note.count, note.of) for note in cleaned.notes] == [(1, 2)]
    assert "a@example.com" not in str(cleaned.notes)


def test_own_patterns_are_one_line() -> None:
    cleaner = build(Cleaner, {"name": "mask", "masks": ["mail"], "patterns": {"CONTRACT": r"CT-\d{6}"}})
    assert cleaner.edit("CT-123456 of a@example.com, 13812345678") == "<CONTRACT_1> of <MAIL_1>, 13812345678"
    again = build(Cleaner, cleaner.model_dump())
    assert again.edit("CT-123456") == "<CONTRACT_1>"
    with pytest.raises(ConfigError, match="expression"):
        build(Cleaner, {"name": "mask", "patterns": {"CONTRACT": "("}})
