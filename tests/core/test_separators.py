"""How several labels are written in one cell is recognised, and names that only look like several stay complete."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertune.core import separators

NAMES = st.lists(st.text("abcxyz轮胎", min_size=1, max_size=4), min_size=3, max_size=6, unique=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NAMES, st.sampled_from(["|", ";", "；", "、", ",", "，", "\t", "\n", " "]), st.data())
def test_sets_of_words_are_recognised(names, separator, data) -> None:
    pairs = data.draw(st.permutations([[one, other] for one in names for other in names if one != other]))
    cells = [separator.join(labels) for labels in [[name] for name in names] + pairs]
    assert separators.recognise(cells) == separator
    assert [separators.split(cell, separator) for cell in cells] == [[name] for name in names] + pairs


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1), max_size=5))
def test_a_printed_list_is_read_back(items) -> None:
    assert separators.listed(repr(items)) == items
    assert separators.listed(repr(tuple(items))) == items


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=20))
def test_no_cell_raises(cell) -> None:
    separators.listed(cell)
    separators.recognise([cell, cell + "|", cell])
    assert separators.listed("[" * 50_000 + cell + "]" * 50_000) is None


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["Billing, payments; Refunds", "Billing, payments", "Refunds", "Delivery; Refunds", "Billing, payments; Delivery"], ";"),
        (["Refund; I paid twice", "Where is it?", "Delivery; it came late"], ""),
        (["card lost", "card stolen", "pin lost", "pin"], ""),
        (["TCP/IP", "HTTP", "I/O"], ""),
        (["a,b"], ","),
        (["one"], ""),
        ([], ""),
        (["['a', 'b']", "['a']"], ""),
    ],
)
def test_what_a_person_would_see(cells, separator) -> None:
    assert separators.recognise(cells) == separator


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("['a' 'b']", ["a", "b"]),
        ('["a", null]', ["a", ""]),
        ("[a, b c]", ["a", "b c"]),
        ("[1 2]", ["1", "2"]),
        ("[]", []),
        ("{'a', 'b'}", ["a", "b"]),
        ("{'a': 1}", None),
        ("(wheel)", None),
        ("[a]|[b]", None),
        ("[[1]]", None),
        ("wheel", None),
    ],
)
def test_lists_written_as_text(cell, items) -> None:
    assert separators.listed(cell) == items
