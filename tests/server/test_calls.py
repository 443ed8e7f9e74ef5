"""Every request is one call, which its listeners hear of once, whatever comes of it."""

from __future__ import annotations

import pytest

from tests.server.conftest import TEXTS, admin
from tests.server.running import problem
from vertune.answering.call import Call

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def heard(home, start):
    """A server and the calls that its listeners heard of."""
    running = start(home, admin(home), cache=100)
    calls: list[Call] = []
    running.service.listeners.append(calls.append)
    return running, calls


def test_a_call_says_what_was_asked_by_whom_and_what_came_of_it(heard) -> None:
    running, calls = heard
    found = running.ask.post("/v1/predict", json={"verticals": ["intent", "spans"], "texts": TEXTS}).json()["results"]
    (call,) = calls
    assert (call.resource, call.status, call.refusal) == ("predict_with_many", 200, "")
    assert call.key == call.client == running._key.split("_")[1]
    assert [deployment.name for deployment in call.verticals] == ["intent", "spans"]
    assert [record["text"] for record in call.records] == TEXTS
    assert call.answers == [one["answers"] for one in found]
    assert call.tokens > len(TEXTS)
    assert call.cache_hits == [0, 0]
    assert 0 < call.tokenizing < call.total
    assert call.inference > 0
    assert 0 <= call.waiting < call.total


def test_tokens_tell_what_was_computed(heard) -> None:
    """Once where verticals share features, and as many for what is cached, which is told apart."""
    running, calls = heard
    for names in (["intent"], ["intent", "spans"], ["spans", "find"], ["intent", "spans"]):
        running.ask.post("/v1/predict", json={"verticals": names, "texts": TEXTS})
    assert len({call.tokens for call in calls}) == 1
    assert [call.cached_tokens for call in calls] == [0, 0, 0, calls[0].tokens], "of the second call, spans computes what intent has cached"


def test_the_cache_tells_no_customer_what_another_has_asked(heard, home) -> None:
    running, calls = heard
    for key in (running._key, admin(home), running._key):
        headers = {"Authorization": f"Bearer {key}"}
        running.stranger.post("/v1/predict", json={"verticals": ["intent"], "texts": TEXTS}, headers=headers)
    assert [call.cache_hits for call in calls] == [[0], [0], [len(TEXTS)]]
    assert [call.cached_tokens > 0 for call in calls] == [False, False, True]
    assert len({call.tokens for call in calls}) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "refusal"),
    [
        ("/v1/nothing", {}, 404, ""),
        ("/v1/verticals/nobody/predict", {"texts": ["a"]}, 404, ""),
        ("/v1/verticals/intent/predict", {"texts": 1}, 422, ""),
        ("/v1/verticals/intent/predict", {"texts": [" "]}, 422, ""),
    ],
)
def test_a_request_that_fails_is_a_call_too(heard, path, body, status, refusal) -> None:
    running, calls = heard
    assert problem(running.ask.post(path, json=body), status)
    assert [(call.status, call.refusal) for call in calls] == [(status, refusal)]


def test_who_is_refused_is_a_call_without_a_key(heard) -> None:
    running, calls = heard
    assert problem(running.stranger.post("/v1/predict", json={}), 401)
    assert [(call.status, call.refusal, call.key) for call in calls] == [(401, "key", None)]


def test_a_listener_that_fails_harms_no_request(heard, caplog) -> None:
    running, calls = heard

    def fail(call: Call) -> None:
        raise RuntimeError("a full disk")

    running.service.listeners.insert(0, fail)
    assert running.predict("intent", "soup").status_code == 200
    assert [call.status for call in calls] == [200]
    assert running.metric("vertune_requests_total", resource="predict") == 1
    assert "a full disk" in caplog.text


def test_a_readiness_probe_is_heard_by_nobody(heard) -> None:
    running, calls = heard
    running.service.answers.batcher.last_success = None
    assert running.ask.get("/health/ready").status_code == 200
    assert [call.resource for call in calls] == [""], "the request for the health, and not the probe"
    assert running.metric("vertune_requests_total") == 0
