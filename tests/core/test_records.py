"""Copies of answers: equal, and without any part that both could change; notes as sentences."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.core.records import Note, copied

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def changeable(value: Any) -> Iterator[int]:
    if isinstance(value, (dict, list)):
        yield id(value)
        for part in value.values() if isinstance(value, dict) else value:
            yield from changeable(part)


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=3))
def test_a_copy_is_equal_and_shares_nothing_that_can_change(answers):
    found = copied(answers)
    assert found == answers
    assert not set(changeable(found)) & set(changeable(answers))


@pytest.mark.parametrize(
    ("what", "of_one"),
    [
        ("rows were rejected: labels were empty", "rows was rejected: labels were empty"),
        ("spans overlap a longer one and were dropped", "spans overlaps a longer one and was dropped"),
        ("rows have no label and were kept", "rows has no label and was kept"),
        ("labels are repeated in their row and were left out", "labels is repeated in its row and was left out"),
        ("texts contained secrets, which were masked", "texts contained secrets, which were masked"),
    ],
)
def test_the_verb_of_a_note_agrees_with_its_count(what, of_one):
    assert Note("classify", what, 2, 42).sentence == f"classify: 2 of 42 {what}."
    assert Note("classify", what, 1, 42).sentence == f"classify: 1 of 42 {of_one}."
