"""The rows of an uploaded file, page by page: in its order, those with a text alone, and those that can't be read with the reason."""

from __future__ import annotations

import json

import pytest

from tests.server.running import problem
from tests.server.test_jobs import as_csv, parquet, upload, working

__all__ = ["working"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def page(client, id: str, **query) -> dict:
    found = client.get(f"/v1/datasets/{id}/rows", params=query)
    assert found.status_code == 200, found.text
    return found.json()


@pytest.mark.parametrize(("content", "kind"), [(as_csv(), "text/csv"), (parquet(), "application/vnd.apache.parquet")])
def test_pages_contain_every_row_once_and_in_order(working, content, kind) -> None:
    id = upload(working.ask, content, kind)["id"]
    first = page(working.ask, id, limit=20)
    second = page(working.ask, id, limit=20, after=first["next"])
    assert second["next"] is None
    rows = [*first["rows"], *second["rows"]]
    assert [row["row"] for row in rows] == list(range(1, 31))
    assert rows[0] == {"row": 1, "values": {"text": "tell me 0 of rome", "label": "place"}, "error": None}


def test_a_text_is_found_in_any_column_without_regard_to_case(working) -> None:
    rows = [{"text": "Rome", "labels": ["a", "Bread"]}, {"text": "soup", "labels": []}, {"text": "bread", "labels": None}]
    id = upload(working.ask, "\n".join(map(json.dumps, rows)).encode(), "application/x-ndjson")["id"]
    assert [row["row"] for row in page(working.ask, id, text="BREAD")["rows"]] == [1, 3]
    assert page(working.ask, id, text="bread", limit=1)["next"] == 1
    assert page(working.ask, id, text="a.*")["rows"] == []
    assert page(working.ask, id)["rows"][0]["values"] == rows[0]


def test_rows_that_can_not_be_read_say_why_and_long_values_are_cut(working) -> None:
    id = upload(working.ask, b"text,label\n" + b"x" * 5000 + b",b\nc,d,e\nf,g\n")["id"]
    rows = page(working.ask, id)["rows"]
    assert (len(rows[0]["values"]["text"]), rows[0]["values"]["text"][-1]) == (2000, "…")
    assert [bool(row["error"]) for row in rows] == [False, True, False]


def test_rows_of_others_are_not_found_and_wrong_queries_are_refused(working) -> None:
    id = upload(working.ask)["id"]
    problem(working.ask.get(f"/v1/datasets/{'0' * 32}/rows"), 404)
    for query in ({"limit": 0}, {"after": -1}, {"text": "x" * 201}, {"more": 1}):
        problem(working.ask.get(f"/v1/datasets/{id}/rows", params=query), 422)
