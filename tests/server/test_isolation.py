"""No customer sees or changes anything of another, whatever route it asks and whatever ids it knows."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.server.conftest import TEXTS, admin
from vertune.server.discovery import find_routes
from vertune.store import schema
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
MARK = "zebra-of-the-bank"
BODIES = (
    {},
    {"vertical": "intent", "text": "mine", "score": 1},
    {"text": MARK},
    {"customer": "bank"},
    {"texts": TEXTS},
    {"reason": "mine"},
)
QUERIES = ({}, {"vertical": "intent"}, {"vertical": "intent", "usable": "false"}, {"by": "customer"}, {"by": "key"}, {"month": "2030-01"})


@pytest.mark.parametrize("scopes", [["predict"], ["predict", "feedback", "train"]])
def test_nothing_of_another_customer_is_seen_or_changed(home, start, scopes) -> None:
    running = start(home, admin(home))
    keys = Keys(Database(home.folder / "server.db"))
    theirs, key = keys.create("theirs", ["predict", "feedback"], customer="bank")
    mine = {"Authorization": f"Bearer {keys.create('mine', scopes, customer='shop')[0]}"}
    bank = {"Authorization": f"Bearer {theirs}"}
    answer = running.stranger.post("/v1/verticals/intent/predict", json={"texts": [MARK]}, headers=bank).json()["ids"][0]
    body = {"answer": answer, "comment": MARK, "author": MARK, "score": 3}
    feedback = running.stranger.post("/v1/feedback", json=body, headers=bank).json()["id"]
    assert running.service.recorder.writer.flush()
    hidden = (MARK, key.id, feedback, answer, '"bank"', ",bank,")
    for route in find_routes():
        if route.required_scope is None:
            continue
        path = route.path.replace("{vertical}", "intent").replace("{id}", feedback)
        for method in route.methods - {"HEAD"}:
            if method in ("POST", "PUT", "PATCH"):
                asked = [(body, {}) for body in (*BODIES, {"answer": answer, "score": 1})]
            else:
                asked = [(None, query) for query in QUERIES]
            for sent, query in asked:
                found = running.stranger.request(method, path, headers=mine, params=query, json=sent)
                assert found.status_code < 500, (method, path, found.text)
                told = found.text
                for one in (MARK, answer, feedback):  # what is told to who sent it
                    told = told.replace(one, "") if one in f"{path} {sent}" else told
                assert not [one for one in hidden if one in told], (method, path, query, found.text)
    with running.database.reading() as connection:
        rows = connection.execute(select(schema.feedback).where(schema.feedback.c.customer == "bank")).all()
        assert [(row.id, row.comment) for row in rows] == [(feedback, MARK)]
        assert connection.scalar(select(schema.answers.c.request).where(schema.answers.c.request == answer[:32]))
        assert not connection.execute(select(schema.rollouts)).all()
