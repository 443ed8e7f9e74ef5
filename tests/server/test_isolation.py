"""No customer sees or changes anything of another, whatever route it asks and whatever ids it knows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product

import pytest
from sqlalchemy import select

from tests.server.conftest import TEXTS, admin
from vertune.core.ids import time_ordered_id
from vertune.server.discovery import find_routes
from vertune.server.settings import JobSettings
from vertune.store import alerts, measurements, retrainings, rollouts, schema
from vertune.store.alerts import Alert, Silence
from vertune.store.database import Database, format_time
from vertune.store.keys import Keys
from vertune.store.measurements import Measurement

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
MARK, OPERATOR = "zebra-of-the-bank", "key-of-the-operator"
BODIES = (
    {},
    {"vertical": "intent", "text": "mine", "score": 1},
    {"text": MARK},
    {"customer": "bank"},
    {"texts": TEXTS},
    {"reason": "mine"},
)
QUERIES = ({}, {"vertical": "intent"}, {"vertical": "intent", "usable": "false"}, {"by": "customer"}, {"by": "key"}, {"month": "2030-01"})


def monitored(running) -> str:
    """Store what a monitor found in requests of the bank, with an alert and a retraining, and return the id of the alert."""
    now = format_time(datetime.now(UTC))
    with running.database.writing() as connection:
        measurements.add(
            connection, [Measurement("intent", "text_drift", now, now, 0.5, None, None, None, 9, "quiet", MARK, [{"a": MARK}])]
        )
        alert = Alert(time_ordered_id(), "intent", "drift", "text_drift", "info", "open", now, now, None, 0.5, MARK, [{"a": MARK}])
        alerts.add(connection, alert)
        alerts.add_silence(connection, Silence("intent", None, "2999", "k0", MARK))
        retrainings.move(connection, retrainings.begin(connection, "intent", {"reason": MARK}), "failed", why=MARK)
        rollouts.note(connection, "intent", "deploy", "intent-1", actor=OPERATOR, reason=MARK, evidence={"candidate": MARK})
    return alert.id


WIDE, NARROW = ["predict", "feedback", "train"], ["predict"]


def known(field) -> set[str]:
    """The names that a body or a query of a route may contain."""
    return set(getattr(field.field_info.annotation, "model_fields", None) or [field.alias])


def asked(route, method: str, bodies: Sequence[dict]) -> list[tuple[dict | None, dict]]:
    """The bodies or queries of which a route knows a name, and the empty one; a route refuses others as it refuses that one."""
    if method in ("POST", "PUT", "PATCH"):
        names = known(route.body_field) if route.body_field else set()
        return [(body, {}) for body in bodies if not body or names & body.keys()]
    names = {name for field in route.dependant.query_params for name in known(field)}
    return [(None, query) for query in QUERIES if not query or names & query.keys()]


@pytest.mark.parametrize(
    ("scopes", "every"),
    [(WIDE, 3), (NARROW, 3), pytest.param(WIDE, 1, marks=pytest.mark.matrix), pytest.param(NARROW, 1, marks=pytest.mark.matrix)],
)
def test_nothing_of_another_customer_is_seen_or_changed(home, start, monkeypatch, scopes, every) -> None:
    """Of routes to which several ids can be sent, each id gets every third body or query, other ones than the id before."""
    monkeypatch.setattr("vertune.server.jobs.Jobs.take", lambda self: None)
    running = start(home, admin(home), jobs=JobSettings(cores=1))
    keys = Keys(Database(home.folder / "server.db"))
    theirs, key = keys.create("theirs", ["predict", "feedback", "train"], customer="bank")
    mine = {"Authorization": f"Bearer {keys.create('mine', scopes, customer='shop')[0]}"}
    bank = {"Authorization": f"Bearer {theirs}"}
    answer = running.stranger.post("/v1/verticals/intent/predict", json={"texts": [MARK]}, headers=bank).json()["ids"][0]
    assert running.service.recorder.writer.flush()
    body = {"answer": answer, "comment": MARK, "author": MARK, "score": 3}
    feedback = running.stranger.post("/v1/feedback", json=body, headers=bank).json()["id"]
    table = f"text,label\n{MARK},a\nother,b\n" * 20
    headers = {**bank, "Content-Type": "text/csv"}
    dataset = running.stranger.post("/v1/datasets", content=table, params={"name": MARK}, headers=headers).json()["id"]
    job = running.stranger.post("/v1/jobs", json={"kind": "predict", "model": "intent", "dataset": dataset}, headers=bank).json()["id"]
    alert = monitored(running)
    hidden = (MARK, OPERATOR, key.id, feedback, answer, dataset, job, '"bank"', ",bank,")
    ids = (feedback, answer, dataset, job, alert)
    config = {"name": "mine", "data": {"source": {"dataset": dataset}}}
    bodies = (
        {"answer": answer, "score": 1},
        {"kind": "fit", "config": config},
        {"kind": "predict", "model": "intent", "dataset": dataset},
        {"kind": "prepare", "config": {"name": "mine", "data": {"source": {"feedback": "intent"}}}},
    )
    for route in find_routes():
        if route.required_scope is None:
            continue
        path = route.path.replace("{vertical}", "intent").replace("{name}", "report.html").replace("{monitor}", "text_drift")
        paths = {path.replace("{id}", id) for id in ids}
        step = every if len(paths) > 1 or scopes == NARROW else 1
        for method, (place, path) in product(route.methods - {"HEAD"}, enumerate(sorted(paths))):
            offered = asked(route, method, (*BODIES, *bodies))
            for sent, query in offered[place % step :: step] or offered[:1]:
                found = running.stranger.request(method, path, headers=mine, params=query, json=sent)
                assert found.status_code < 500, (method, path, found.text)
                told = found.text
                for one in (MARK, *ids):  # what is told to who sent it
                    told = told.replace(one, "") if one in f"{path} {sent}" else told
                assert not [one for one in hidden if one in told], (method, path, query, found.text)
    with running.database.reading() as connection:
        rows = connection.execute(select(schema.feedback).where(schema.feedback.c.customer == "bank")).all()
        assert [(row.id, row.comment) for row in rows] == [(feedback, MARK)]
        assert connection.scalar(select(schema.answers.c.request).where(schema.answers.c.request == answer[:32]))
        assert not connection.execute(select(schema.rollouts)).all()
        assert (alerts.get(connection, alert).state, len(alerts.silences(connection))) == ("open", 1)
        assert connection.execute(select(schema.uploads.c.id)).scalars().all() == [dataset]
        kept = connection.execute(select(schema.jobs.c.id, schema.jobs.c.state).where(schema.jobs.c.customer == "bank")).all()
        assert kept == [(job, "queued")]
        own = connection.execute(select(schema.jobs.c.request).where(schema.jobs.c.customer != "bank")).scalars()
        assert not [request for request in own if dataset in request or '"customer":null' in request]
