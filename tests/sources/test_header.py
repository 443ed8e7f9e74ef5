"""The row with the names of the columns is found, or that there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.sources._header import row_of_names

DATA = [["1", "the card was swallowed", "card"], ["2", "the rate is too high", "rate"], ["3", "my card is lost", "card"]]


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        ([["id", "text", "label"], *DATA], 0),
        (DATA, None),
        ([["What is your problem?", "", "Kind"], *DATA], 0),
        ([["Export of today", "", ""], ["", "", ""], ["id", "text", "label"], *DATA], 2),
        ([["text"], ["one"], ["two"]], 0),
        ([["0.5", "a"], ["0.7", "b"], ["1.5", "c"]], None),
        ([["2024-01-05", "a"], ["2024-01-06", "b"]], None),
        ([["a", "a"], ["b", "c"]], None),
        ([["name", "label"], ["x", "y"], ["name", "label"], ["z", "y"]], 0),
        ([["2024", "text", "label"], ["2021", "brake", "a"], ["2022", "wheel", "b"]], 0),  # names may be numbers
        ([["2.5", "label", "1", "text"], ["3", "a", "0", "brake"], ["1", "b", "1", "wheel"], ["6", "c", "0", "oil"]], 0),  # usual names
        ([["2.5", "Ticket No.", "%"], ["3.4", "a", "7"], ["1.2", "b", "9"], ["0.6", "", "8"]], None),  # as likely as not
        ([["2.5", "Ticket", "%", "rank"], ["3.4", "a", "7", "1"], ["1.2", "b", "9", "2"], ["0.6", "c", "8", "3"]], 0),
        ([["[a]", "no", "null", "x:y"], *[["-2", "no" if place % 2 else "", '["a"]', "True"] for place in range(30)]], 0),  # a value
        ([["2024", "x"], ["2021", "y"], ["2022", "z"]], None),
        ([["text", "text", "label"], *DATA], 0),  # names that occur twice are names nevertheless
        ([["", "label"], *[[f"the card {place} was lost", "lost"] for place in range(9)]], 0),  # one column has no name
        ([["Export of today", ""], ["text", "label"], *[[f"the card {place} was lost", "lost"] for place in range(9)]], 1),
        ([], 0),
        ([["only", "names"]], 0),
        ([["The delivery of my bike is late, and nobody answers the phone.", "x"], ["My wheel came off for the second time.", "y"]], None),
    ],
)  # fmt: skip
def test_the_row_of_names(rows, row):
    assert row_of_names(rows) == row


@given(st.lists(st.sampled_from(["good", "bad", "poor"]), min_size=12, max_size=60), st.booleans())
def test_a_label_that_repeats_is_no_name(labels, header):
    rows = [[f"text {place}", label] for place, label in enumerate(labels)]
    repeats = labels.count(labels[0]) > 1 + 0.02 * len(labels)
    assert row_of_names([["text", "label"], *rows] if header else rows) == (0 if header or not repeats else None)
