from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.augmenters._editing import Replacement, replace
from vertune.augmenters.drop_words import DropWords
from vertune.augmenters.typos import Typos
from vertune.core.errors import ConfigError
from vertune.core.records import Column

TEXT = Column("text", "A text.")
SPANS = Column("spans", "Places in it.", role="target", type="spans")
QUESTION, CONTEXT = Column("question", "A question."), Column("context", "A text.")
ANSWERS = Column("answers", "Its answers.", role="target", type="answers")
AUGMENTERS = st.one_of(
    st.builds(Typos, rate=st.floats(0.01, 0.5), copies=st.integers(1, 3)),
    st.builds(DropWords, rate=st.floats(0.05, 0.9), copies=st.integers(1, 3)),
)
ALPHABET = st.sampled_from("abcdeXYZ 12,.\n我的卡被吞了é👍")


@st.composite
def marked_texts(draw):
    """A text, and places in it."""
    text = draw(st.text(ALPHABET, min_size=1, max_size=40))
    ends = draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True).map(sorted))
    return text, [(start, end) for start, end in zip(ends[::2], ends[1::2], strict=False)]


def frame_of(columns, row):
    schema = {"spans": pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String})),
              "answers": pl.List(pl.Struct({"start": pl.Int64, "text": pl.String}))}  # fmt: skip
    names = [column.name for column in columns]
    return pl.DataFrame([{**row, "__file": "a", "__row": 1}], schema_overrides={name: schema[name] for name in names if name in schema})


@given(marked_texts(), st.data())
def test_a_replacement_moves_the_places_around_it(marked, data):
    text, places = marked
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    parts = [Replacement(a, b, data.draw(st.text(ALPHABET, max_size=3))) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    edited = replace(text, parts, places)
    for start, end in places:
        assert edited.text[edited.offset(start) : edited.offset(end)] == text[start:end]


@settings(max_examples=200)
@given(AUGMENTERS, marked_texts(), st.integers(0, 5))
def test_spans_mark_the_same_text_after_the_edit(augmenter, marked, seed):
    text, places = marked
    spans = [{"start": start, "end": end, "label": str(number)} for number, (start, end) in enumerate(places)]
    frame = frame_of((TEXT, SPANS), {"text": text, "spans": spans})
    for row in augmenter.augment(frame, (TEXT, SPANS), seed).iter_rows(named=True):
        assert [row["text"][span["start"] : span["end"]] for span in row["spans"]] == [text[start:end] for start, end in places]
        assert [span["label"] for span in row["spans"]] == [span["label"] for span in spans]


@settings(max_examples=200)
@given(AUGMENTERS, marked_texts(), st.text(ALPHABET, min_size=1, max_size=20), st.integers(0, 5))
def test_answers_stand_at_their_start_after_the_edit(augmenter, marked, question, seed):
    text, places = marked
    answers = [{"start": start, "text": text[start:end]} for start, end in places]
    columns = (QUESTION, CONTEXT, ANSWERS)
    frame = frame_of(columns, {"question": question, "context": text, "answers": answers})
    for row in augmenter.augment(frame, columns, seed).iter_rows(named=True):
        for answer, original in zip(row["answers"], answers, strict=True):
            assert answer["text"] == original["text"]
            assert row["context"].startswith(answer["text"], answer["start"])


def test_copies_of_a_row_differ_from_it_and_from_one_another():
    frame = frame_of((TEXT,), {"text": "the quick brown fox jumps over the lazy dog"})
    texts = Typos(copies=5, rate=0.1).augment(frame, (TEXT,), 0)["text"].to_list()
    assert len({*texts, frame["text"][0]}) == 6


def test_every_word_but_one_may_be_dropped_and_chinese_loses_characters():
    frame = frame_of((TEXT,), {"text": "我的卡被吞了"})
    (text,) = DropWords(rate=0.3).augment(frame, (TEXT,), 0)["text"]
    assert 0 < len(text) < 6
    words = frame_of((TEXT,), {"text": "one two three"})
    (text,) = DropWords(rate=0.999).augment(words, (TEXT,), 0)["text"]
    assert text.strip() in {"one", "two", "three"}


def test_what_can_not_be_edited_is_refused():
    number = Column("age", "A number.", type="number")
    with pytest.raises(ConfigError, match="no text input"):
        Typos().augment(pl.DataFrame({"age": [1]}), (number,), 0)
    with pytest.raises(ConfigError, match="to which text the spans refer"):
        Typos().augment(frame_of((QUESTION, CONTEXT, SPANS), {"question": "q", "context": "c", "spans": []}), (QUESTION, CONTEXT, SPANS), 0)
