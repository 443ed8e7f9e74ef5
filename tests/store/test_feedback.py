"""Pages of stored feedback: what a filter takes and leaves, in both databases."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from vertune.core.ids import time_ordered_id
from vertune.store import feedback, schema
from vertune.store.database import Database
from vertune.store.feedback import Filter

VERTICALS = [f"v{number}" for number in range(8)]


@pytest.fixture
def rows(database: Database) -> list[dict]:
    """Feedback of three customers on all verticals, in the order of its ids."""
    draw = random.Random(0)
    made = [
        {
            "id": time_ordered_id(), "at": "", "customer": draw.choice("abc"), "vertical": draw.choice(VERTICALS), "digest": b"",
            "verdict": draw.choice(["right", "wrong", None]), "trust": draw.random(), "author": draw.choice(["x", "y"]),
            "record": draw.choice(['{"text": "a"}', None]), "target": draw.choice(['{"label": "b"}', None]),
        }
        for _ in range(400)
    ]  # fmt: skip
    with database.writing() as connection:
        connection.execute(schema.feedback.insert(), made)
    return sorted(made, key=lambda row: row["id"])


@pytest.mark.parametrize("verticals", [None, [], ["v1"], ["v3", "v1", "v3"], VERTICALS[2:7], [*VERTICALS, "none"]])
@pytest.mark.parametrize("about", [{}, {"customer": "a"}, {"customer": "b", "verdict": "wrong"}, {"author": "y", "usable": True}])
def test_pages_contain_what_the_filter_names_once_and_in_order(database: Database, rows: list[dict], verticals, about) -> None:
    wanted = Filter(verticals=verticals, after=rows[40]["id"], before=rows[360]["id"], least_trust=0.2, **about)
    named = {name: value for name, value in about.items() if name != "usable"}
    expected = [
        row["id"] for row in rows[41:360]
        if (verticals is None or row["vertical"] in verticals) and row["trust"] >= 0.2 and named.items() <= row.items()
        and ("usable" not in about or (row["record"] and row["target"]))
    ]  # fmt: skip
    found = []
    with database.reading() as connection:
        while page := feedback.find(connection, wanted, 7):
            found += [one.id for one in page]
            wanted = replace(wanted, after=found[-1])
    assert found == expected


def test_more_verticals_than_are_searched_one_by_one_give_the_same(database: Database, rows: list[dict], monkeypatch) -> None:
    wanted = Filter(verticals=VERTICALS[:4])
    with database.reading() as connection:
        merged = feedback.find(connection, wanted, 50)
        monkeypatch.setattr(feedback, "_MERGED", 3)
        assert feedback.find(connection, wanted, 50) == merged
