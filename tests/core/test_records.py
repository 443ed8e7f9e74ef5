"""Copies of answers: equal, and without any part that both could change."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vertune.core.records import copied

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
