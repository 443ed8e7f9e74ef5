"""What a vertical answered over time: counted, with labels, times and verdicts, and refused where it can't be divided."""

from __future__ import annotations

import pytest

from tests.server.conftest import admin
from tests.server.running import problem, until

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def running(home, start):
    return start(home, admin(home))


def last(running, **query) -> dict:
    found = running.ask.get("/v1/traffic", params={"vertical": "intent", **query})
    assert found.status_code == 200, found.text
    return found.json()


def test_answers_are_counted_with_their_labels_times_and_verdicts(running) -> None:
    ids = [running.predict("intent", "tell me of rome", "soup").json()["ids"] for _ in range(3)]
    until(lambda: sum(point["answers"] for point in last(running)["points"]) == 6)
    for answer, verdict in ((ids[0][0], "right"), (ids[1][1], "wrong")):
        assert running.ask.post("/v1/feedback", json={"answer": answer, "verdict": verdict}).status_code == 201
    found = last(running)
    assert len(found["points"]) in (24, 25)
    assert found["feedback_complete"]
    points = [point for point in found["points"] if point["answers"]]
    assert sum(point["sampled"] for point in points) == 6
    assert sum(point["right"] for point in found["points"]) == sum(point["wrong"] for point in found["points"]) == 1
    assert set(found["labels"]) <= {"food", "place"}
    for point in points:
        assert not point["estimated"]
        assert 0 < point["seconds"]["median"] <= point["seconds"]["p95"]
        assert 0 < point["confidence"] <= 1
        assert sum(point["labels"].values()) == pytest.approx(1)
    assert {point["answers"] for point in last(running, step="minute")["points"]} >= {0}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"vertical": "nobody"}, 404),
        ({"since": "2030-01-02T00:00:00", "until": "2030-01-01T00:00:00"}, 422),
        ({"since": "2030-01-01T00:00:00Z", "until": "2031-01-01T00:00:00Z"}, 422),
        ({"until": "0001-01-01T00:00:00Z"}, 422),
        ({"until": "9999-12-31T23:59:59Z"}, 422),
        ({"until": "0001-01-01T00:00:00+14:00"}, 422),
        ({"step": "year"}, 422),
        ({"more": "1"}, 422),
    ],
)
def test_what_can_not_be_divided_is_refused(running, query, status) -> None:
    problem(running.ask.get("/v1/traffic", params={"vertical": "intent", **query}), status)


def test_a_key_sees_its_own_customer_and_its_own_verticals_alone(running) -> None:
    def with_key(**about) -> dict[str, str]:
        made = running.ask.post("/v1/keys", json={"name": "k", "scopes": ["predict"], **about}).json()
        return {"Authorization": f"Bearer {made['secret']}"}

    running.predict("intent", "soup")
    until(lambda: sum(point["answers"] for point in last(running)["points"]) == 1)
    other = running.stranger.get("/v1/traffic", params={"vertical": "intent"}, headers=with_key(customer="shop"))
    assert sum(point["answers"] for point in other.json()["points"]) == 0
    problem(running.stranger.get("/v1/traffic", params={"vertical": "intent"}, headers=with_key(verticals=["find"])), 403)
